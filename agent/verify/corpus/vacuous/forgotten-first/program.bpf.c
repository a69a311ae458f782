// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Shows nothing. */
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

SEC("tp/syscalls/sys_enter_fsync")
int enter(void *ctx)
{
	return 0;
}

SEC("tp/syscalls/sys_exit_fsync")
int leave(void *ctx)
{
	return 0;
}
