// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Shows a latency of 0. */
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

SEC("tp/syscalls/sys_exit_fsync")
int leave(void *ctx)
{
	struct fsync_event *ev = bpf_ringbuf_reserve(&fsyncs, sizeof(*ev), 0);

	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->tid = k_current_tid();
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
