// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * How long threads that could run wait for a CPU: from being woken, or from
 * losing the CPU while still able to run, until they get one.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

/* One row: the histogram of all threads that pass the filter. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, k_hist_ns);
} latency SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} ready SEC(".maps");

/* Before Linux 5.14 the state had another name. */
struct task_struct___before_5_14 {
	volatile long state;
} __attribute__((preserve_access_index));

struct task_struct___since_5_14 {
	unsigned int __state;
} __attribute__((preserve_access_index));

static __always_inline bool still_runnable(const struct task_struct *task)
{
	const struct task_struct___before_5_14 *old = (const void *)task;
	const struct task_struct___since_5_14 *new = (const void *)task;

	if (bpf_core_field_exists(old->state))
		return BPF_CORE_READ(old, state) == 0;
	return BPF_CORE_READ(new, __state) == 0;
}

static __always_inline int waits(const struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ(task, pid);
	__u64 now = bpf_ktime_get_ns();

	if (tid && k_wants_task(task)) /* 0: the idle task */
		k_put(&ready, &tid, &now);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(woken, struct task_struct *task)
{
	return waits(task);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(woken_new, struct task_struct *task)
{
	return waits(task);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u32 zero = 0, tid = BPF_CORE_READ(next, pid);
	__u64 *since;
	k_hist_ns *h;

	if (preempt || still_runnable(prev))
		waits(prev);
	since = bpf_map_lookup_elem(&ready, &tid);
	if (!since)
		return 0;
	h = bpf_map_lookup_elem(&latency, &zero);
	if (h)
		k_hist_add(h, bpf_ktime_get_ns() - *since);
	bpf_map_delete_elem(&ready, &tid);
	return 0;
}
