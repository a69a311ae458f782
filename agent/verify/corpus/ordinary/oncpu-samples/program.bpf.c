#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct who {
	k_pid pid;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct who);
	__type(value, k_count);
} samples SEC(".maps") KGENT_OUTPUT;

SEC("perf_event/cpu-clock/99")
int on_sample(struct bpf_perf_event_data *ctx)
{
	struct who w = {};
	k_count *c, one = 1;

	w.pid = bpf_get_current_pid_tgid() >> 32;
	if (w.pid == 0)
		return 0;
	bpf_get_current_comm(&w.comm, sizeof(w.comm));
	c = bpf_map_lookup_elem(&samples, &w);
	if (c)
		__sync_fetch_and_add(c, 1);
	else
		bpf_map_update_elem(&samples, &w, &one, BPF_NOEXIST);
	return 0;
}
