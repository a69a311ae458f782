// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct amounts {
	k_tid tid;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct amounts);
	__type(value, k_bytes);
} asked_for SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct amounts);
	__type(value, k_bytes);
} came SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, __u64);
} reading SEC(".maps");

static __always_inline int asks(__u64 count)
{
	__u32 tid = k_current_tid();

	if (k_task_wanted())
		k_put(&reading, &tid, &count);
	return 0;
}

static __always_inline int answers(long ret)
{
	__u32 tid = k_current_tid();
	__u64 *count = bpf_map_lookup_elem(&reading, &tid);
	struct amounts key = { .tid = k_current_tid() };
	k_bytes *sum;

	if (!count)
		return 0;
	if (ret >= 0) {
		bpf_get_current_comm(key.comm, sizeof(key.comm));
		sum = k_cell(&asked_for, &key, k_bytes);
		if (sum)
			*sum += *count;
		sum = k_cell(&came, &key, k_bytes);
		if (sum)
			*sum += ret;
	}
	bpf_map_delete_elem(&reading, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_read")
int read_asks(struct trace_event_raw_sys_enter *ctx)
{
	return asks(ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_read")
int read_answers(struct trace_event_raw_sys_exit *ctx)
{
	return answers(ctx->ret);
}

SEC("tp/syscalls/sys_enter_pread64")
int pread_asks(struct trace_event_raw_sys_enter *ctx)
{
	return asks(ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_pread64")
int pread_answers(struct trace_event_raw_sys_exit *ctx)
{
	return answers(ctx->ret);
}
