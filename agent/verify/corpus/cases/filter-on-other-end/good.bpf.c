// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Outgoing TCP connections to a port, when they are established. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_port port = 443;

struct connect_event {
	k_port lport;
	k_port rport;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct connect_event);
} connects SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, const struct sock *sk, int oldstate, int newstate)
{
	__u16 lport = BPF_CORE_READ(sk, __sk_common.skc_num), rport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	struct connect_event *ev;

	if (oldstate != TCP_SYN_SENT || newstate != TCP_ESTABLISHED)
		return 0;
	if (port && rport != port)
		return 0;
	ev = bpf_ringbuf_reserve(&connects, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->lport = lport;
	ev->rport = rport;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
