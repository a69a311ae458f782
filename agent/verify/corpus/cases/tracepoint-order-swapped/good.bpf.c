// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* TCP connections that begin: the destination port, from the tracepoint. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct connect_event {
	k_port dport;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct connect_event);
} connects SEC(".maps");

SEC("tp/sock/inet_sock_set_state")
int connecting(struct trace_event_raw_inet_sock_set_state *ctx)
{
	struct connect_event *ev;

	if (ctx->newstate != TCP_SYN_SENT)
		return 0;
	ev = bpf_ringbuf_reserve(&connects, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->dport = ctx->dport;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
