// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Processes that end: their name. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct exit_event {
	char comm[TASK_COMM_LEN];
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
	__builtin_memset(ev, 0, sizeof(*ev));
	BPF_CORE_READ_USER_STR_INTO(&ev->comm, task, comm);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
