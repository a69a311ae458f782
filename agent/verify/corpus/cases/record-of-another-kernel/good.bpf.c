// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* New processes: the child's id. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct fork_event {
	k_pid child;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct fork_event);
} forks SEC(".maps");

SEC("tp/sched/sched_process_fork")
int forked(struct trace_event_raw_sched_process_fork *ctx)
{
	struct fork_event *ev = bpf_ringbuf_reserve(&forks, sizeof(*ev), 0);

	if (!ev)
		return 0;
	ev->child = ctx->child_pid;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
