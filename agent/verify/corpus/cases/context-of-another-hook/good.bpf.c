// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Packets that arrive, by Ethernet protocol. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, k_ethproto);
	__type(value, k_count);
} packets SEC(".maps") KGENT_OUTPUT;

SEC("xdp")
int arrives(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	k_ethproto protocol;
	k_count *n;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	protocol = bpf_ntohs(eth->h_proto);
	n = k_cell(&packets, &protocol, k_count);
	if (n)
		(*n)++;
	return XDP_PASS;
}
