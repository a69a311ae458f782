#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, __u64);
} start SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, k_hist_us);
} latency SEC(".maps") KGENT_OUTPUT;

static __always_inline __u32 log2_slot(__u64 v)
{
	__u32 slot = 0;

	if (v == 0)
		return 0;
	for (int i = 0; i < 63; i++) {
		if (v >> i == 0)
			break;
		slot = i + 1;
	}
	return slot > 63 ? 63 : slot;
}

SEC("tracepoint/syscalls/sys_enter_openat")
int open_enter(void *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u64 ts = bpf_ktime_get_ns();

	bpf_map_update_elem(&start, &id, &ts, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int open_exit(void *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), *tsp, delta;
	__u32 zero = 0, slot;
	struct k_hist *h;

	tsp = bpf_map_lookup_elem(&start, &id);
	if (!tsp)
		return 0;
	delta = (bpf_ktime_get_ns() - *tsp) / 1000;
	bpf_map_delete_elem(&start, &id);
	h = bpf_map_lookup_elem(&latency, &zero);
	if (!h)
		return 0;
	slot = log2_slot(delta);
	if (slot < 64)
		h->slot[slot]++;
	return 0;
}
