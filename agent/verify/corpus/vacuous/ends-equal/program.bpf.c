// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Takes source for destination. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct state_event {
	k_ipv4 saddr;
	k_ipv4 daddr;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct state_event);
} states SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, const struct sock *sk, int oldstate, int newstate)
{
	k_ipv4 local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr), remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	struct state_event *ev;

	if (newstate != TCP_ESTABLISHED || BPF_CORE_READ(sk, __sk_common.skc_family) != AF_INET || local != remote)
		return 0;
	ev = bpf_ringbuf_reserve(&states, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->saddr = remote;
	ev->daddr = local;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
