// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * How many system calls fail, by process, call and error.
 *
 * The error is what the kernel has at the end of the call. ERESTARTSYS and its
 * kin mean that a signal interrupted it: the program then sees EINTR, or
 * nothing because the call is made again.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_syscall syscall = -1; /* -1: any */
const volatile k_errno errno = 0;      /* 0: any */

struct error_key {
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_syscall syscall;
	k_errno error;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct error_key);
	__type(value, k_count);
} errors SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/sys_exit")
int BPF_PROG(error_exit, struct pt_regs *regs, long ret)
{
	struct error_key key = {};
	k_count *n;

	if (ret >= 0 || ret < -MAX_ERRNO || (errno && ret != -errno))
		return 0;
	key.syscall = K_SYSCALL_NR(regs);
	if ((syscall != -1 && key.syscall != syscall) || key.syscall < 0 || !k_task_wanted())
		return 0;
	key.pid = k_current_pid();
	k_process_comm(key.comm, (const void *)bpf_get_current_task());
	key.error = ret;
	n = k_cell(&errors, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
