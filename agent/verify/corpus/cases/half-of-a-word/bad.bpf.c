// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Packets that a service sends: remote port and protocol. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct sent_event {
	k_port port;
	k_ethproto proto;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct sent_event);
} sent SEC(".maps");

SEC("cgroup_skb/egress")
int leaving(struct __sk_buff *skb)
{
	struct sent_event *ev = bpf_ringbuf_reserve(&sent, sizeof(*ev), 0);

	if (!ev)
		return 1;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->port = bpf_ntohs(skb->remote_port);
	ev->proto = bpf_ntohs(skb->protocol);
	bpf_ringbuf_submit(ev, 0);
	return 1;
}
