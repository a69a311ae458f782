// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct bucket {
	k_pid parent;
	char comm[TASK_COMM_LEN];
	__u32 _pad;
	__u64 second;
};

/* Processes born, by who made them and the second in which they did. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct bucket);
	__type(value, k_count);
} births SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/sched_process_fork")
int BPF_PROG(born, struct task_struct *parent, struct task_struct *child)
{
	struct bucket key = {};
	k_count *n;

	if (child->pid != child->tgid || !k_task_wanted()) /* a thread */
		return 0;
	key.parent = k_current_pid();
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	key.second = bpf_ktime_get_ns() / NSEC_PER_SEC;
	n = k_cell(&births, &key, k_count);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
