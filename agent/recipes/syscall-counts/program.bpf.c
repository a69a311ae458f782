// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * How many system calls begin, by process and by call.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_syscall syscall = -1; /* -1: any */

struct process_key {
	k_pid pid;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, k_count);
} by_process SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, k_syscall);
	__type(value, k_count);
} by_syscall SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/sys_enter")
int BPF_PROG(count_enter, struct pt_regs *regs, long nr)
{
	struct process_key key = {};
	k_syscall call = nr;
	k_count *n;

	if ((syscall != -1 && nr != syscall) || !k_task_wanted())
		return 0;
	key.pid = k_current_pid();
	k_process_comm(key.comm, (const void *)bpf_get_current_task());
	n = k_cell(&by_process, &key, k_count);
	if (n)
		(*n)++;
	n = k_cell(&by_syscall, &call, k_count);
	if (n)
		(*n)++;
	return 0;
}
