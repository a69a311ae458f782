// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Reads that return more bytes than a limit. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_bytes limit = 1 << 20;

struct read_event {
	k_bytes size;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct read_event);
} large SEC(".maps");

SEC("tp/syscalls/sys_exit_read")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	struct read_event *ev;
	long size = ctx->ret;

	if (size < 0 || size <= limit)
		return 0;
	ev = bpf_ringbuf_reserve(&large, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->size = size;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
