#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct name {
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct name);
	__type(value, k_count);
} switches SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct name key = {};
	k_count *val, init = 1;

	if (next->pid == 0)
		return 0;
	bpf_probe_read_kernel_str(&key.comm, sizeof(key.comm), next->comm);
	val = bpf_map_lookup_elem(&switches, &key);
	if (val) {
		__sync_fetch_and_add(val, 1);
		return 0;
	}
	bpf_map_update_elem(&switches, &key, &init, BPF_NOEXIST);
	return 0;
}
