// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Every change of a TCP socket's state, and how long the old state lasted.
 *
 * Most changes happen in softirq, so no process is reported. The time in the
 * old state is 0 for the first change seen of a socket.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_port port = 0;   /* either end; 0: any */
const volatile k_ip address = {}; /* either end; all zero: any */

struct state_event {
	k_time time;
	k_ip laddr;
	k_port lport;
	k_ip raddr;
	k_port rport;
	k_tcpstate from;
	k_tcpstate to;
	k_ns lasted;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct state_event);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} since SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, const struct sock *sk, int oldstate, int newstate)
{
	__u64 id = (__u64)sk, now = bpf_ktime_get_ns(), *start;
	struct state_event *ev;
	struct k_ends e;

	if (sk->sk_protocol != IPPROTO_TCP || !k_ends_of(sk, &e))
		return 0;
	start = bpf_map_lookup_elem(&since, &id);
	if (k_ends_match(&e, port, &address)) {
		ev = bpf_ringbuf_reserve(&states, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = now;
			ev->laddr = e.laddr;
			ev->lport = e.lport;
			ev->raddr = e.raddr;
			ev->rport = e.rport;
			ev->from = oldstate;
			ev->to = newstate;
			ev->lasted = start ? now - *start : 0;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	/* The socket's memory may be another socket's soon. */
	if (newstate == TCP_CLOSE)
		bpf_map_delete_elem(&since, &id);
	else
		k_put(&since, &id, &now);
	return 0;
}
