// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Bytes and packets that the sockets of each cgroup send and receive, with IP
 * headers. Every packet is let through.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct traffic {
	k_bytes bytes;
	k_bytes sent;
	k_bytes received;
	k_count sent_packets;
	k_count received_packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, k_cgroup);
	__type(value, struct traffic);
} traffic SEC(".maps") KGENT_OUTPUT;

static __always_inline struct traffic *cell(struct __sk_buff *skb)
{
	k_cgroup id = bpf_skb_cgroup_id(skb);

	return k_cell(&traffic, &id, struct traffic);
}

SEC("cgroup_skb/egress")
int sends(struct __sk_buff *skb)
{
	struct traffic *t = cell(skb);

	if (t) {
		t->bytes += skb->len;
		t->sent += skb->len;
		t->sent_packets++;
	}
	return 1;
}

SEC("cgroup_skb/ingress")
int receives(struct __sk_buff *skb)
{
	struct traffic *t = cell(skb);

	if (t) {
		t->bytes += skb->len;
		t->received += skb->len;
		t->received_packets++;
	}
	return 1;
}
