// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct failure {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_exitcode status;
	k_ns lived;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct failure);
} failures SEC(".maps");

/* Processes that descend from a wanted one, and when they were born. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} family SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(born, struct task_struct *parent, struct task_struct *child)
{
	__u32 process = child->tgid, me = k_current_pid();
	__u64 now = bpf_ktime_get_ns();

	if (child->pid != child->tgid) /* a thread */
		return 0;
	if (k_task_wanted() || bpf_map_lookup_elem(&family, &me))
		k_put(&family, &process, &now);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(gone, struct task_struct *task)
{
	__u64 *since, now = bpf_ktime_get_ns();
	struct failure *ev;
	__u32 me = k_current_pid();
	int status;

	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	since = bpf_map_lookup_elem(&family, &me);
	if (!since)
		return 0;
	status = BPF_CORE_READ(task, signal, flags) & 4 /* SIGNAL_GROUP_EXIT */ ? BPF_CORE_READ(task, signal, group_exit_code) : BPF_CORE_READ(task, group_leader, exit_code);
	if (status != 0) {
		ev = bpf_ringbuf_reserve(&failures, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = now;
			ev->pid = me;
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			ev->status = status;
			ev->lived = now - *since;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&family, &me);
	return 0;
}
