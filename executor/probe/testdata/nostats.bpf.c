// What a program without kgent.bpf.h could look like: its map of counters has
// another layout.
#define kgent_stats kgent_real_stats
#include "kgent.bpf.h"
#undef kgent_stats
char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct event {
	__u64 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} kgent_stats SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(enter)
{
	return 0;
}
