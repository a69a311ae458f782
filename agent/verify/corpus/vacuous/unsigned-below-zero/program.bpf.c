// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Connections that begin. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct connect_event {
	k_pid pid;
	k_port dport;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct connect_event);
} connects SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(connecting, const struct sock *sk, int oldstate, int newstate)
{
	struct connect_event *ev;

	if (!(newstate == TCP_SYN_SENT))
		return 0;
	ev = bpf_ringbuf_reserve(&connects, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->pid = k_current_pid();
	ev->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
