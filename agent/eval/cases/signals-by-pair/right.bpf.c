// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct pair {
	k_pid sender;
	char sender_comm[TASK_COMM_LEN];
	k_pid receiver;
	char receiver_comm[TASK_COMM_LEN];
	k_signal sig;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct pair);
	__type(value, k_count);
} sent SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/signal_generate")
int BPF_PROG(generated, int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	struct pair key = {};
	k_count *n;

	if (!k_task_wanted())
		return 0;
	key.sender = k_current_pid();
	k_process_comm(key.sender_comm, (void *)bpf_get_current_task());
	key.receiver = task->tgid;
	k_process_comm(key.receiver_comm, task);
	key.sig = sig;
	n = k_cell(&sent, &key, k_count);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
