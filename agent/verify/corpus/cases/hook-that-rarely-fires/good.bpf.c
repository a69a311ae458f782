// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Files that are opened, with openat: flags. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct open_event {
	k_oflags flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct open_event);
} opens SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int opening(struct trace_event_raw_sys_enter *ctx)
{
	struct open_event *ev = bpf_ringbuf_reserve(&opens, sizeof(*ev), 0);

	if (!ev)
		return 0;
	ev->flags = ctx->args[2];
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
