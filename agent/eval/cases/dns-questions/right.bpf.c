// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct question {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_ip server;
	__u16 qtype;
	char name[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct question);
} questions SEC(".maps");

SEC("tp/syscalls/sys_enter_sendto")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	__u8 packet[128] = {};
	struct sockaddr_in6 to = {};
	const struct sockaddr_in *four = (void *)&to;
	struct question *ev;
	__u64 len = ctx->args[2];
	__u32 i, left = 0, n = 0;
	bool done = false;

	if (len < 18 || !ctx->args[4] || !k_task_wanted())
		return 0;
	bpf_probe_read_user(&to, sizeof(struct sockaddr_in), (void *)ctx->args[4]);
	if (to.sin6_family == AF_INET6)
		bpf_probe_read_user(&to, sizeof(to), (void *)ctx->args[4]);
	else if (to.sin6_family != AF_INET)
		return 0;
	if (to.sin6_port != bpf_htons(53))
		return 0;
	bpf_probe_read_user(packet, len < sizeof(packet) ? (__u32)len & 127 : (__u32)sizeof(packet), (void *)ctx->args[1]);
	if (packet[2] & 0x80) /* an answer */
		return 0;
	ev = bpf_ringbuf_reserve(&questions, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	if (to.sin6_family == AF_INET6)
		k_ip_from_v6(&ev->server, &to.sin6_addr);
	else
		k_ip_from_v4(&ev->server, four->sin_addr.s_addr);
	/* Labels, each with its length before it, from byte 12 on; dots between them. */
	for (i = 12; i < 76; i++) {
		__u8 c = packet[i];
		if (left == 0) {
			if (c == 0) {
				ev->qtype = (__u16)packet[i + 1] << 8 | packet[i + 2];
				done = true;
				break;
			}
			if (n > 0 && n < 63)
				ev->name[n++ & 63] = '.';
			left = c;
			continue;
		}
		left--;
		if (n < 63)
			ev->name[n++ & 63] = c;
	}
	if (done)
		bpf_ringbuf_submit(ev, 0);
	else
		bpf_ringbuf_discard(ev, 0);
	return 0;
}
