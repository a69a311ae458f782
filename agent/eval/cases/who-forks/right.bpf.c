// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct forker { k_pid pid; char comm[TASK_COMM_LEN]; };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct forker);
	__type(value, k_count);
} children SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	struct forker key = {};

	if (child->exit_signal < 0) /* a thread */
		return 0;
	key.pid = k_current_pid();
	k_process_comm(key.comm, (const void *)bpf_get_current_task());
	k_count *n = k_cell(&children, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
