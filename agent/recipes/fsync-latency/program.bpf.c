// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * How long fsync(2) and fdatasync(2) take, whether they succeed or not. A call
 * whose start was before the trace is left out.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

enum sync_call { fsync = 1, fdatasync = 2 };

struct sync_key {
	enum sync_call call;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2);
	__type(key, struct sync_key);
	__type(value, k_hist_ns);
} latency SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} started SEC(".maps");

static __always_inline int enter(void)
{
	__u32 tid = k_current_tid();
	__u64 now = bpf_ktime_get_ns();

	if (k_task_wanted())
		k_put(&started, &tid, &now);
	return 0;
}

static __always_inline int leave(enum sync_call call)
{
	__u32 tid = k_current_tid();
	__u64 *start = bpf_map_lookup_elem(&started, &tid);
	struct sync_key key = { .call = call };
	k_hist_ns *h;

	if (!start)
		return 0;
	h = k_cell(&latency, &key, k_hist_ns);
	if (h)
		k_hist_add(h, bpf_ktime_get_ns() - *start);
	bpf_map_delete_elem(&started, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_fsync")
int fsync_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter();
}

SEC("tp/syscalls/sys_exit_fsync")
int fsync_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(fsync);
}

SEC("tp/syscalls/sys_enter_fdatasync")
int fdatasync_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter();
}

SEC("tp/syscalls/sys_exit_fdatasync")
int fdatasync_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(fdatasync);
}
