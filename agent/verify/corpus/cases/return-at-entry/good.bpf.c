// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Calls of getaddrinfo that fail. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct lookup_event {
	k_tid tid;
	__s32 result;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct lookup_event);
} lookups SEC(".maps");

SEC("uretprobe/libc.so.6:getaddrinfo")
int BPF_URETPROBE(looked_up, int result)
{
	struct lookup_event *ev;

	if (result == 0)
		return 0;
	ev = bpf_ringbuf_reserve(&lookups, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->tid = k_current_tid();
	ev->result = result;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
