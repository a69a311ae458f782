// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* New TCP connections: family, and the other end if it is IPv4. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct state_event {
	k_family family;
	__u16 _pad;
	k_ipv4 daddr;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
	__type(value, struct state_event);
} states SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, const struct sock *sk, int oldstate, int newstate)
{
	struct state_event *ev;

	if (newstate != TCP_ESTABLISHED)
		return 0;
	ev = bpf_ringbuf_reserve(&states, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	ev->_pad = 0;
	if (ev->family == AF_INET)
		ev->daddr = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
