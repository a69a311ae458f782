// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Packets that arrive on an interface, by protocol. Every packet is passed on.
 *
 * VLAN tags are looked through, and so are the IPv6 extension headers that may
 * stand before the transport header. A packet too short for its own headers is
 * counted under what could be read of it.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct packet_key {
	k_ethproto ethertype;
	k_ipproto protocol; /* 59, none, when it is not IP or too short to tell */
	__u8 _pad;
};

struct packet_counts {
	k_count packets;
	k_bytes bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct packet_key);
	__type(value, struct packet_counts);
} packets SEC(".maps") KGENT_OUTPUT;

struct vlan_tag {
	__be16 control;
	__be16 ethertype;
};

struct ipv6_extension {
	__u8 next;
	__u8 length; /* beyond the first 8 bytes, in units of 8 */
};

static __always_inline void classify(void *data, void *end, struct packet_key *key)
{
	struct ethhdr *eth = data;
	void *next = eth + 1;

	if (next > end)
		return;
	key->ethertype = bpf_ntohs(eth->h_proto);
	for (int i = 0; i < 2 && (key->ethertype == ETH_P_8021Q || key->ethertype == ETH_P_8021AD); i++) {
		struct vlan_tag *tag = next;

		if ((void *)(tag + 1) > end)
			return;
		key->ethertype = bpf_ntohs(tag->ethertype);
		next = tag + 1;
	}
	if (key->ethertype == ETH_P_IP) {
		struct iphdr *ip = next;

		if ((void *)(ip + 1) <= end)
			key->protocol = ip->protocol;
	} else if (key->ethertype == ETH_P_IPV6) {
		struct ipv6hdr *ip6 = next;

		if ((void *)(ip6 + 1) > end)
			return;
		key->protocol = ip6->nexthdr;
		next = ip6 + 1;
		for (int i = 0; i < 4; i++) {
			struct ipv6_extension *ext = next;
			__u32 length;

			if (key->protocol != IPPROTO_HOPOPTS && key->protocol != IPPROTO_ROUTING &&
			    key->protocol != IPPROTO_DSTOPTS && key->protocol != IPPROTO_FRAGMENT)
				return;
			if ((void *)(ext + 1) > end)
				return;
			length = key->protocol == IPPROTO_FRAGMENT ? 8 : ((__u32)ext->length + 1) * 8;
			key->protocol = ext->next;
			next += length;
		}
	}
}

SEC("xdp")
int count_packet(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet_key key = { .protocol = 59 };
	struct packet_counts *c;

	classify(data, end, &key);
	c = k_cell(&packets, &key, struct packet_counts);
	if (c) {
		c->packets++;
		c->bytes += end - data;
	}
	return XDP_PASS;
}
