// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* TCP packets over IPv6 that arrive, by destination port. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, k_port);
	__type(value, k_count);
} ports SEC(".maps") KGENT_OUTPUT;

SEC("xdp")
int arrives(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	k_port port;
	k_count *n;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	if (ip->nexthdr != IPPROTO_TCP)
		return XDP_PASS;
	if ((void *)(tcp + 1) > end)
		return XDP_PASS;
	port = bpf_ntohs(tcp->dest);
	n = k_cell(&ports, &port, k_count);
	if (n)
		(*n)++;
	return XDP_PASS;
}
