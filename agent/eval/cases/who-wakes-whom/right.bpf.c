// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct pair {
	k_pid waker;
	char waker_comm[TASK_COMM_LEN];
	k_pid woken;
	char woken_comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct pair);
	__type(value, k_count);
} wakeups SEC(".maps") KGENT_OUTPUT;

/* sched_waking runs where the waker is, sched_wakeup maybe on the CPU of who is woken. */
SEC("tp_btf/sched_waking")
int BPF_PROG(wakes, struct task_struct *p)
{
	struct pair key = {};
	k_count *n;

	if (!k_wants_task(p))
		return 0;
	key.waker = k_current_pid();
	bpf_get_current_comm(key.waker_comm, sizeof(key.waker_comm));
	key.woken = p->tgid;
	bpf_core_read_str(key.woken_comm, sizeof(key.woken_comm), &p->comm);
	n = k_cell(&wakeups, &key, k_count);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
