// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Capability checks of the kernel, by process, capability and outcome. Many
 * checks only choose between two ways of doing something: a denied one need not
 * be an error.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_cap cap = (k_cap)-1; /* -1: any */

struct cap_key {
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_cap capability;
	k_bool granted;
	__u8 _pad[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct cap_key);
	__type(value, k_count);
} checks SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/cap_capable")
int BPF_PROG(cap_checked, const struct cred *cred, struct user_namespace *target, const struct user_namespace *capable,
	     int capability, int ret)
{
	struct cap_key key = {};
	k_count *n;

	if ((cap != (k_cap)-1 && (k_cap)capability != cap) || !k_task_wanted())
		return 0;
	key.pid = k_current_pid();
	k_process_comm(key.comm, (const void *)bpf_get_current_task());
	key.capability = capability;
	key.granted = ret == 0;
	n = k_cell(&checks, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
