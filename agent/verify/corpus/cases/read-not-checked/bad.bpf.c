// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Opens whose path can be read and is not empty: the path. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct open_event {
	char path[64];
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
	__builtin_memset(ev, 0, sizeof(*ev));
	bpf_probe_read_user_str(ev->path, sizeof(ev->path), (const void *)ctx->args[1]);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
