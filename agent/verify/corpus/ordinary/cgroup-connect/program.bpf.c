// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Connects over IPv4, before the kernel makes them. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct connect_event {
	k_time time;
	k_pid pid;
	k_port port;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct connect_event);
} connects SEC(".maps");

SEC("cgroup/connect4")
int conn(struct bpf_sock_addr *ctx)
{
	struct connect_event *ev;

	if (ctx->protocol != IPPROTO_TCP)
		return 1;
	ev = bpf_ringbuf_reserve(&connects, sizeof(*ev), 0);
	if (!ev)
		return 1;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->port = bpf_ntohs(ctx->user_port);
	bpf_ringbuf_submit(ev, 0);
	return 1;
}
