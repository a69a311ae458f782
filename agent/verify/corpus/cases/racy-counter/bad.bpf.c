// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* System calls that fail. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, k_syscall);
	__type(value, k_count);
} failures SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/sys_exit")
int BPF_PROG(leave, struct pt_regs *regs, long ret)
{
	k_syscall nr = K_SYSCALL_NR(regs);
	k_count *n;

	if (ret >= 0 || ret < -MAX_ERRNO)
		return 0;
	n = k_cell(&failures, &nr, k_count);
	if (n)
		(*n)++;
	return 0;
}
