// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct caller { k_pid pid; char comm[TASK_COMM_LEN]; };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct caller);
	__type(value, k_count);
} calls SEC(".maps") KGENT_OUTPUT;

SEC("tp/syscalls/sys_enter_getppid")
int asked(struct trace_event_raw_sys_enter *ctx)
{
	struct caller key = {};

	key.pid = k_current_pid();
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	k_count *n = k_cell(&calls, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
