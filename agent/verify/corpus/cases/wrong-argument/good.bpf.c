// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Calls of kill: target and signal. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct kill_event {
	k_pid target;
	k_signal sig;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct kill_event);
} kills SEC(".maps");

SEC("tp/syscalls/sys_enter_kill")
int killing(struct trace_event_raw_sys_enter *ctx)
{
	struct kill_event *ev = bpf_ringbuf_reserve(&kills, sizeof(*ev), 0);

	if (!ev)
		return 0;
	ev->target = ctx->args[0];
	ev->sig = ctx->args[1];
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
