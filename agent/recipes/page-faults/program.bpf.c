// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * How many page faults processes take, in user mode and in the kernel on their
 * behalf.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct process_key {
	k_pid pid;
	char comm[TASK_COMM_LEN];
};

struct fault_counts {
	k_count faults;
	k_count user;
	k_count kernel;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, struct fault_counts);
} faults SEC(".maps") KGENT_OUTPUT;

static __always_inline int fault(bool user)
{
	struct process_key key = {};
	struct fault_counts *c;

	if (!k_task_wanted())
		return 0;
	key.pid = k_current_pid();
	k_process_comm(key.comm, (const void *)bpf_get_current_task());
	c = k_cell(&faults, &key, struct fault_counts);
	if (!c)
		return 0;
	c->faults++;
	if (user)
		c->user++;
	else
		c->kernel++;
	return 0;
}

SEC("tp/exceptions/page_fault_user")
int fault_in_user(void *ctx)
{
	return fault(true);
}

SEC("tp/exceptions/page_fault_kernel")
int fault_in_kernel(void *ctx)
{
	return fault(false);
}
