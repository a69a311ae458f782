// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* TCP resets that arrive: the other end's port. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct reset_event {
	k_port rport;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct reset_event);
} resets SEC(".maps");

SEC("raw_tp/tcp_receive_reset")
int BPF_PROG(reset, const struct sock *sk)
{
	struct reset_event *ev = bpf_ringbuf_reserve(&resets, sizeof(*ev), 0);

	if (!ev)
		return 0;
	ev->rport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
