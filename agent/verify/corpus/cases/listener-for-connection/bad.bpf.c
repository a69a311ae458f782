// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* SYN-ACKs that are sent again: the remote port. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct synack_event {
	k_port rport;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct synack_event);
} synacks SEC(".maps");

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(again, const struct sock *listener, const struct request_sock *req)
{
	struct synack_event *ev = bpf_ringbuf_reserve(&synacks, sizeof(*ev), 0);

	if (!ev)
		return 0;
	ev->rport = bpf_ntohs(BPF_CORE_READ(listener, __sk_common.skc_dport));
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
