#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, k_hist_bytes);
} sizes SEC(".maps") KGENT_OUTPUT;

static __always_inline __u64 log2(__u32 v)
{
	__u32 shift, r;

	r = (v > 0xFFFF) << 4; v >>= r;
	shift = (v > 0xFF) << 3; v >>= shift; r |= shift;
	shift = (v > 0xF) << 2; v >>= shift; r |= shift;
	shift = (v > 0x3) << 1; v >>= shift; r |= shift;
	r |= (v >> 1);
	return r;
}

static __always_inline __u64 log2l(__u64 v)
{
	__u32 hi = v >> 32;

	if (hi)
		return log2(hi) + 32;
	return log2(v);
}

SEC("tracepoint/syscalls/sys_exit_write")
int on_write(struct trace_event_raw_sys_exit *ctx)
{
	__u32 zero = 0;
	__u64 slot;
	struct k_hist *h;

	if (ctx->ret <= 0)
		return 0;
	h = bpf_map_lookup_elem(&sizes, &zero);
	if (!h)
		return 0;
	slot = log2l(ctx->ret) + 1;
	if (slot > 63)
		slot = 63;
	h->slot[slot]++;
	return 0;
}
