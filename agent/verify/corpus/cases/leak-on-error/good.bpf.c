// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Calls of fsync that succeed, but for descriptors 0 to 2: thread and time taken. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct fsync_event {
	k_tid tid;
	k_ns latency;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct fsync_event);
} fsyncs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} started SEC(".maps");

SEC("tp/syscalls/sys_enter_fsync")
int enter(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	__u64 now = bpf_ktime_get_ns();

	if ((__u32)ctx->args[0] > 2)
		k_put(&started, &tid, &now);
	return 0;
}

SEC("tp/syscalls/sys_exit_fsync")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	__u64 *start = bpf_map_lookup_elem(&started, &tid);
	struct fsync_event *ev;

	if (!start)
		return 0;
	if (ctx->ret == 0) {
		ev = bpf_ringbuf_reserve(&fsyncs, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->tid = k_current_tid();
			ev->latency = bpf_ktime_get_ns() - *start;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&started, &tid);
	return 0;
}
