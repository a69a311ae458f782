// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Opens that fail because the process has too many files open. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct limit_event {
	k_pid pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct limit_event);
} limits SEC(".maps");

SEC("tp/syscalls/sys_exit_prlimit64")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	struct limit_event *ev;

	if (ctx->ret < 0)
		return 0;
	ev = bpf_ringbuf_reserve(&limits, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->pid = k_current_pid();
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
