// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* TCP connections when they are established: the local port. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct established_event {
	k_port lport;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct established_event);
} established SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, const struct sock *sk, int oldstate, int newstate)
{
	struct established_event *ev;

	if (newstate != TCP_ESTABLISHED)
		return 0;
	ev = bpf_ringbuf_reserve(&established, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->lport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_num));
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
