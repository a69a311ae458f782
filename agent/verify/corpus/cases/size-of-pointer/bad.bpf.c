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
	const char *name;

	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	name = __builtin_preserve_access_index(&task->comm[0]);
	bpf_probe_read_kernel_str(ev->comm, sizeof(name), name);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
