// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Bytes that processes read with read(2). */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct by_name {
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct by_name);
	__type(value, k_bytes);
} read_bytes SEC(".maps") KGENT_OUTPUT;

SEC("tp/syscalls/sys_exit_read")
int leave_read(struct trace_event_raw_sys_exit *ctx)
{
	struct by_name key = {};
	k_bytes *sum;

	if (ctx->ret <= 0)
		return 0;
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	sum = k_cell(&read_bytes, &key, k_bytes);
	if (sum)
		*sum += ctx->ret;
	return 0;
}
