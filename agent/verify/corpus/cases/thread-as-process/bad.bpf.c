// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Calls of sync: the process. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct sync_event {
	k_pid pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct sync_event);
} syncs SEC(".maps");

SEC("tp/syscalls/sys_enter_sync")
int syncing(void *ctx)
{
	struct sync_event *ev = bpf_ringbuf_reserve(&syncs, sizeof(*ev), 0);

	if (!ev)
		return 0;
	ev->pid = bpf_get_current_pid_tgid();
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
