// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Processes that end: id and status. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct exit_event {
	k_pid pid;
	k_exitcode status;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct exit_event);
} exits SEC(".maps");

SEC("tp_btf/sched_process_exit")
int BPF_PROG(ends, struct task_struct *task)
{
	struct exit_event *ev = bpf_ringbuf_reserve(&exits, sizeof(*ev), 0);

	if (!ev)
		return 0;
	ev->pid = BPF_CORE_READ(task, tgid);
	ev->status = BPF_CORE_READ(task, exit_code);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
