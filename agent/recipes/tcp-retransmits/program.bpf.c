// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * TCP segments that this host sends again: data, FIN and SYN of a socket, and
 * the SYN-ACK of a connection that has no socket yet.
 *
 * A retransmission happens on a timer or while a packet is handled, so no
 * process is reported.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_port port = 0;   /* either end; 0: any */
const volatile k_ip address = {}; /* either end; all zero: any */

struct retransmit_event {
	k_time time;
	k_ip laddr;
	k_port lport;
	k_ip raddr;
	k_port rport;
	k_tcpstate state;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct retransmit_event);
} retransmits SEC(".maps");

static __always_inline void report(void *ctx, const void *sock_common, __u32 state)
{
	struct retransmit_event *ev;
	struct k_ends e;

	if (!k_ends_of(sock_common, &e) || !k_ends_match(&e, port, &address))
		return;
	ev = bpf_ringbuf_reserve(&retransmits, sizeof(*ev), 0);
	if (!ev)
		return;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->laddr = e.laddr;
	ev->lport = e.lport;
	ev->raddr = e.raddr;
	ev->rport = e.rport;
	ev->state = state;
	bpf_ringbuf_submit(ev, 0);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit, const struct sock *sk)
{
	report(ctx, sk, sk->__sk_common.skc_state);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(retransmit_synack, const struct sock *listener, const struct request_sock *req)
{
	report(ctx, req, TCP_NEW_SYN_RECV);
	return 0;
}
