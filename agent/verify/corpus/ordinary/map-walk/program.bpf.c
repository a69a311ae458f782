#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct total {
	__u64 sum;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} weights SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, k_count);
} yields SEC(".maps") KGENT_OUTPUT;

static long add(void *map, __u32 *key, __u64 *value, struct total *t)
{
	t->sum += 1;
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_sched_yield")
int on_yield(void *ctx)
{
	struct total t = {};
	__u32 zero = 0;
	k_count *n;

	bpf_for_each_map_elem(&weights, add, &t, 0);
	n = bpf_map_lookup_elem(&yields, &zero);
	if (n)
		*n += t.sum;
	return 0;
}
