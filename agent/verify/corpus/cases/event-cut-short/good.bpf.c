// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Processes that end: id and time. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct exit_event {
	k_pid pid;
	__u32 _pad;
	k_time time;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct exit_event);
} exits SEC(".maps");

SEC("tp_btf/sched_process_exit")
int BPF_PROG(ends, struct task_struct *task)
{
	struct exit_event ev = {};

	ev.pid = BPF_CORE_READ(task, tgid);
	ev.time = bpf_ktime_get_ns();
	bpf_ringbuf_output(&exits, &ev, sizeof(ev), 0);
	return 0;
}
