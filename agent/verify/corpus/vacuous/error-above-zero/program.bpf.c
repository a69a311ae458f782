// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Shows nothing. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct failure_event {
	k_pid pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct failure_event);
} failures SEC(".maps");

SEC("tp/syscalls/sys_exit_read")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	struct failure_event *ev;

	if (ctx->ret <= 0 || ctx->ret != -EIO)
		return 0;
	ev = bpf_ringbuf_reserve(&failures, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->pid = k_current_pid();
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
