// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct answer {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_ip server;
	k_port port;
	k_ns took;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct answer);
} answers SEC(".maps");

struct handle {
	__u32 pid;
	__u32 fd;
};

struct question {
	k_ip server;
	__u64 at;
	k_port port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct handle);
	__type(value, struct question);
} asked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u32);
} receiving SEC(".maps");

SEC("tp/syscalls/sys_enter_sendto")
int sends(struct trace_event_raw_sys_enter *ctx)
{
	struct handle key = { .pid = k_current_pid(), .fd = ctx->args[0] };
	struct sockaddr_in6 a = {};
	const struct sockaddr_in *four = (void *)&a;
	struct question q = {};

	if (!k_task_wanted() || !ctx->args[4])
		return 0;
	bpf_probe_read_user(&a, sizeof(struct sockaddr_in), (void *)ctx->args[4]);
	if (a.sin6_family == AF_INET) {
		k_ip_from_v4(&q.server, four->sin_addr.s_addr);
	} else if (a.sin6_family == AF_INET6) {
		bpf_probe_read_user(&a, sizeof(a), (void *)ctx->args[4]);
		k_ip_from_v6(&q.server, &a.sin6_addr);
	} else {
		return 0;
	}
	q.port = bpf_ntohs(a.sin6_port);
	q.at = bpf_ktime_get_ns();
	k_put(&asked, &key, &q);
	return 0;
}

SEC("tp/syscalls/sys_enter_recvfrom")
int receives(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid(), fd = ctx->args[0];

	if (k_task_wanted())
		k_put(&receiving, &tid, &fd);
	return 0;
}

SEC("tp/syscalls/sys_exit_recvfrom")
int received(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid(), *fd = bpf_map_lookup_elem(&receiving, &tid);
	struct handle key = { .pid = k_current_pid() };
	struct question *q;
	struct answer *ev;

	if (!fd)
		return 0;
	key.fd = *fd;
	bpf_map_delete_elem(&receiving, &tid);
	q = bpf_map_lookup_elem(&asked, &key);
	if (ctx->ret < 0 || !q)
		return 0;
	ev = bpf_ringbuf_reserve(&answers, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = key.pid;
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->server = q->server;
		ev->port = q->port;
		ev->took = ev->time - q->at;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&asked, &key);
	return 0;
}
