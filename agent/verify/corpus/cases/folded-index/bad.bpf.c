// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* System calls by number, 0 to 511. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 512);
	__type(key, k_syscall);
	__type(value, k_count);
} calls SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long nr)
{
	__u32 index = nr;
	k_count *n;

	index &= 511;
	n = bpf_map_lookup_elem(&calls, &index);
	if (n)
		(*n)++;
	return 0;
}
