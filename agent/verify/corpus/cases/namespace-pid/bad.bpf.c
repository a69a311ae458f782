// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* New processes: the id on the host. */
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

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	struct pid *pid = BPF_CORE_READ(child, thread_pid);
	struct upid inner = {};
	__u32 level;
	struct fork_event *ev = bpf_ringbuf_reserve(&forks, sizeof(*ev), 0);

	if (!ev)
		return 0;
	level = BPF_CORE_READ(pid, level) & 31;
	bpf_core_read(&inner, sizeof(inner), &pid->numbers[level]);
	ev->child = inner.nr;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
