// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Calls of fsync, by process. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, k_pid);
	__type(value, k_count);
} calls SEC(".maps") KGENT_OUTPUT;

static __always_inline int called(void)
{
	k_pid pid = k_current_pid();
	k_count *n = k_cell(&calls, &pid, k_count);

	if (n)
		(*n)++;
	return 0;
}

SEC("tp/syscalls/sys_enter_fsync")
int enter(void *ctx)
{
	return called();
}
