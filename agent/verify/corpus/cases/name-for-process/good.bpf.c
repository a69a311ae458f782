// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Bytes that processes read with read(2). */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, k_pid);
	__type(value, k_bytes);
} read_bytes SEC(".maps") KGENT_OUTPUT;

SEC("tp/syscalls/sys_exit_read")
int leave_read(struct trace_event_raw_sys_exit *ctx)
{
	k_pid pid = k_current_pid();
	k_bytes *sum;

	if (ctx->ret <= 0)
		return 0;
	sum = k_cell(&read_bytes, &pid, k_bytes);
	if (sum)
		*sum += ctx->ret;
	return 0;
}
