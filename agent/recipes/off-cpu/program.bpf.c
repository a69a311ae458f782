// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * How long threads are off the CPU, by process: from the switch away from a
 * thread to the switch back to it, whether it slept, was blocked or preempted.
 * Time that has not ended when the trace does is not counted.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct process_key {
	k_pid pid;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, k_stats_ns);
} off_cpu SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} left SEC(".maps");

SEC("tp_btf/sched_switch")
int BPF_PROG(off_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u32 prev_tid = BPF_CORE_READ(prev, pid), next_tid = BPF_CORE_READ(next, pid);
	__u64 now = bpf_ktime_get_ns(), *since;
	struct process_key key = {};
	k_stats_ns *s;

	if (prev_tid && k_wants_task(prev)) /* 0: the idle task */
		k_put(&left, &prev_tid, &now);
	since = bpf_map_lookup_elem(&left, &next_tid);
	if (!since)
		return 0;
	key.pid = BPF_CORE_READ(next, tgid);
	k_process_comm(key.comm, next);
	s = k_cell(&off_cpu, &key, k_stats_ns);
	if (s)
		k_stats_add(s, now - *since);
	bpf_map_delete_elem(&left, &next_tid);
	return 0;
}

/* A thread that ends is never switched to again. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(off_freed, struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ(task, pid);

	bpf_map_delete_elem(&left, &tid);
	return 0;
}
