#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u32 length = 0;

struct packet {
	__u32 len;
	__u32 out;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct packet);
} events SEC(".maps");

static __always_inline void report(struct __sk_buff *ctx, __u32 out)
{
	struct packet e = {.len = ctx->len - ETH_HLEN, .out = out};

	if (e.len == length)
		bpf_ringbuf_output(&events, &e, sizeof(e), 0);
}

SEC("tcx/ingress")
int in(struct __sk_buff *ctx)
{
	report(ctx, 0);
	return TCX_NEXT;
}

SEC("tcx/egress")
int out(struct __sk_buff *ctx)
{
	report(ctx, 1);
	return TCX_PASS;
}
