#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} start SEC(".maps");

struct stat {
	k_count count;
	k_ns time;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct stat);
} softirqs SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/softirq_entry")
int BPF_PROG(softirq_entry, unsigned int vec)
{
	__u32 key = 0;
	__u64 *ts = bpf_map_lookup_elem(&start, &key);

	if (ts)
		*ts = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(softirq_exit, unsigned int vec)
{
	__u32 key = 0, v = vec;
	__u64 *ts = bpf_map_lookup_elem(&start, &key);
	struct stat *s;

	if (!ts || *ts == 0)
		return 0;
	if (v >= 16)
		return 0;
	s = bpf_map_lookup_elem(&softirqs, &v);
	if (s) {
		s->count++;
		s->time += bpf_ktime_get_ns() - *ts;
	}
	*ts = 0;
	return 0;
}
