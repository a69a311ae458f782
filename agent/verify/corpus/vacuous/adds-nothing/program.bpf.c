// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Adds nothing. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, k_pid);
	__type(value, k_bytes);
} read_bytes SEC(".maps") KGENT_OUTPUT;

SEC("tp/syscalls/sys_exit_read")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	k_pid pid = k_current_pid();

	if (ctx->ret > 0)
		k_cell(&read_bytes, &pid, k_bytes);
	return 0;
}
