#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u32 length = 0;

struct seen {
	__u32 what;
	__u32 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct seen);
} events SEC(".maps");

static __always_inline int report(void *ctx, __u32 what, __u32 value)
{
	struct seen e = {.what = what, .value = value};

	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 1;
}

SEC("cgroup_skb/ingress")
int in(struct __sk_buff *skb)
{
	return skb->len == length ? report(skb, 1, skb->len) : 1;
}

SEC("cgroup_skb/egress")
int out(struct __sk_buff *skb)
{
	return skb->len == length ? report(skb, 2, skb->len) : 1;
}

SEC("cgroup/connect4")
int connect(struct bpf_sock_addr *ctx)
{
	return report(ctx, 3, bpf_ntohs(ctx->user_port));
}
