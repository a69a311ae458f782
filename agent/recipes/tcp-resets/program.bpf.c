// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * TCP resets that this host sends or receives.
 *
 * A reset in answer to a packet has that packet: its destination is this
 * host's end, and there may be no socket, or one that listens and has no other
 * end. A socket that a process closes with unread data, or at once, is in CLOSE
 * when it sends its reset; the state it was in before is what says something.
 * Resets happen while a packet is handled, or in that process; no process is
 * reported.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_port port = 0;   /* either end; 0: any */
const volatile k_ip address = {}; /* either end; all zero: any */

enum reset_direction { sent = 1, received = 2 };

struct reset_event {
	k_time time;
	enum reset_direction direction;
	k_ip laddr;
	k_port lport;
	k_ip raddr;
	k_port rport;
	k_tcpstate state; /* CLOSE when there was no socket */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct reset_event);
} resets SEC(".maps");

/* The state that sockets left for CLOSE, of the last ones to do so. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u32);
} closed SEC(".maps");

static __always_inline void report(void *ctx, const struct k_ends *e, enum reset_direction direction, __u32 state)
{
	struct reset_event *ev;

	if (!k_ends_match(e, port, &address))
		return;
	ev = bpf_ringbuf_reserve(&resets, sizeof(*ev), 0);
	if (!ev)
		return;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->direction = direction;
	ev->laddr = e->laddr;
	ev->lport = e->lport;
	ev->raddr = e->raddr;
	ev->rport = e->rport;
	ev->state = state;
	bpf_ringbuf_submit(ev, 0);
}

/* The ends of the connection that a received packet belongs to. */
static __always_inline bool ends_of_packet(const struct sk_buff *skb, struct k_ends *e)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	struct iphdr *ip = (void *)(head + BPF_CORE_READ(skb, network_header));
	struct tcphdr *tcp = (void *)(head + BPF_CORE_READ(skb, transport_header));
	struct tcphdr t = {};
	__u8 version = 0;

	__builtin_memset(e, 0, sizeof(*e));
	bpf_probe_read_kernel(&version, sizeof(version), ip);
	version >>= 4;
	if (version == 4) {
		k_ip_from_v4(&e->laddr, BPF_CORE_READ(ip, daddr));
		k_ip_from_v4(&e->raddr, BPF_CORE_READ(ip, saddr));
	} else if (version == 6) {
		struct ipv6hdr *ip6 = (void *)ip;
		BPF_CORE_READ_INTO(&e->laddr, ip6, daddr);
		BPF_CORE_READ_INTO(&e->raddr, ip6, saddr);
	} else {
		return false;
	}
	bpf_probe_read_kernel(&t, sizeof(t), tcp);
	e->lport = bpf_ntohs(t.dest);
	e->rport = bpf_ntohs(t.source);
	return true;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(reset_closed, const struct sock *sk, int oldstate, int newstate)
{
	__u64 id = (__u64)sk;
	__u32 state = oldstate;

	if (newstate == TCP_CLOSE && sk->sk_protocol == IPPROTO_TCP)
		k_put(&closed, &id, &state);
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(reset_sent, const struct sock *sk, const struct sk_buff *skb)
{
	__u32 state = sk ? BPF_CORE_READ(sk, __sk_common.skc_state) : TCP_CLOSE;
	__u64 id = (__u64)sk;
	struct k_ends e;

	if (skb) {
		if (ends_of_packet(skb, &e))
			report(ctx, &e, sent, state);
	} else if (sk && k_ends_of(sk, &e)) {
		__u32 *before = bpf_map_lookup_elem(&closed, &id);

		report(ctx, &e, sent, state == TCP_CLOSE && before ? *before : state);
	}
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(reset_received, struct sock *sk)
{
	struct k_ends e;

	if (k_ends_of(sk, &e))
		report(ctx, &e, received, sk->__sk_common.skc_state);
	return 0;
}
