#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 512);
	__type(key, __u32);
	__type(value, k_count);
} calls SEC(".maps") KGENT_OUTPUT;

SEC("raw_tracepoint/sys_enter")
int on_enter(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 nr = ctx->args[1];
	k_count *n;

	if ((long)ctx->args[1] < 0 || ctx->args[1] >= 512)
		return 0;
	n = bpf_map_lookup_elem(&calls, &nr);
	if (n)
		(*n)++;
	return 0;
}
