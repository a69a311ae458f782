// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* TCP connections when they are established: both addresses. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct state_event {
	k_ip saddr;
	k_ip daddr;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct state_event);
} states SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, const struct sock *sk, int oldstate, int newstate)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct state_event *ev;

	if (newstate != TCP_ESTABLISHED || (family != AF_INET && family != AF_INET6))
		return 0;
	ev = bpf_ringbuf_reserve(&states, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	if (family == AF_INET) {
		k_ip_from_v4(&ev->saddr, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		k_ip_from_v4(&ev->daddr, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	} else {
		BPF_CORE_READ_INTO(&ev->saddr, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&ev->daddr, sk, __sk_common.skc_v6_daddr);
	}
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
