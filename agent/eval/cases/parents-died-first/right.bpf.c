// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct orphan {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_pid first_parent;
	k_pid last_parent;
	k_exitcode status;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct orphan);
} orphans SEC(".maps");

/* Who made each process that descends from a wanted one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u32);
} family SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(born, struct task_struct *parent, struct task_struct *child)
{
	__u32 process = child->tgid, me = k_current_pid();

	if (child->pid != child->tgid)
		return 0;
	if (k_task_wanted() || bpf_map_lookup_elem(&family, &me))
		k_put(&family, &process, &me);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(gone, struct task_struct *task)
{
	__u32 me = k_current_pid(), parent;
	__u32 *first;
	struct orphan *ev;

	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	first = bpf_map_lookup_elem(&family, &me);
	if (!first)
		return 0;
	parent = BPF_CORE_READ(task, real_parent, tgid);
	if (parent != *first) {
		ev = bpf_ringbuf_reserve(&orphans, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = bpf_ktime_get_ns();
			ev->pid = me;
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			ev->first_parent = *first;
			ev->last_parent = parent;
			ev->status = BPF_CORE_READ(task, exit_code);
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&family, &me);
	return 0;
}
