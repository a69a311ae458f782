#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u32 length = 0; // of the packets wanted, without Ethernet header

struct packet {
	__u32 len;
	__u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct packet);
} events SEC(".maps");

SEC("xdp")
int packets(struct xdp_md *ctx)
{
	struct packet e = {.len = ctx->data_end - ctx->data - ETH_HLEN};

	if (e.len == length)
		bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 2; /* XDP_PASS */
}
