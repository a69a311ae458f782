// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* TCP packets over IPv4 that arrive, by destination port. */
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
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp;
	k_port port;
	k_count *n;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	if (ip->frag_off & bpf_htons(IP_OFFSET))
		return XDP_PASS;
	tcp = (void *)ip + ip->ihl * 4;
	if (ip->ihl < 5 || (void *)(tcp + 1) > end)
		return XDP_PASS;
	port = bpf_ntohs(tcp->source);
	n = k_cell(&ports, &port, k_count);
	if (n)
		(*n)++;
	return XDP_PASS;
}
