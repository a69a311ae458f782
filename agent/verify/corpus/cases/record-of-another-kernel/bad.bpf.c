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

struct old_record {
	__u64 common;
	char parent_comm[16];
	int parent_pid;
	char child_comm[16];
	int child_pid;
};

SEC("tp/sched/sched_process_fork")
int forked(struct old_record *ctx)
{
	struct fork_event *ev = bpf_ringbuf_reserve(&forks, sizeof(*ev), 0);

	if (!ev)
		return 0;
	ev->child = ctx->child_pid;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
