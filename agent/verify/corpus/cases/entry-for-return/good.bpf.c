// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* What calls of read return. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct read_event {
	k_ret result;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct read_event);
} reads SEC(".maps");

SEC("tp/syscalls/sys_exit_read")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	struct read_event *ev = bpf_ringbuf_reserve(&reads, sizeof(*ev), 0);

	if (!ev)
		return 0;
	ev->result = ctx->ret;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
