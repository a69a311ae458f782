// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Stacks of what runs on every CPU, sampled by a timer. The idle task is left
 * out.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct stack_key {
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_kstack kernel;
	k_ustack user;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 127 * sizeof(__u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct stack_key);
	__type(value, k_count);
} samples SEC(".maps") KGENT_OUTPUT;

SEC("perf_event/cpu-clock/99")
int sampled(struct bpf_perf_event_data *ctx)
{
	struct stack_key key = {};
	k_count *n;

	if (!k_current_tid() || !k_task_wanted())
		return 0;
	key.pid = k_current_pid();
	k_process_comm(key.comm, (const void *)bpf_get_current_task());
	/* Negative when there is none: a kernel thread has no user stack. */
	key.kernel = bpf_get_stackid(ctx, &stacks, 0);
	key.user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	n = k_cell(&samples, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
