// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct fallback {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	k_ip from;
	k_ip to;
	k_port port;
	k_ns after;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct fallback);
} fallbacks SEC(".maps");

struct attempt {
	k_ip ip;
	__u64 at;
	k_port port;
	__u16 family;
	__u32 pad;
};

/* What a thread connects to, and the IPv6 address that refused it last. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct attempt);
} connecting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct attempt);
} refused SEC(".maps");

SEC("tp/syscalls/sys_enter_connect")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	struct sockaddr_in6 a = {};
	const struct sockaddr_in *four = (void *)&a;
	struct attempt t = {};
	__u32 tid = k_current_tid();

	if (!k_task_wanted())
		return 0;
	bpf_probe_read_user(&a, sizeof(struct sockaddr_in), (void *)ctx->args[1]);
	t.family = a.sin6_family;
	t.port = bpf_ntohs(a.sin6_port);
	if (t.family == AF_INET) {
		k_ip_from_v4(&t.ip, four->sin_addr.s_addr);
	} else if (t.family == AF_INET6) {
		bpf_probe_read_user(&a, sizeof(a), (void *)ctx->args[1]);
		k_ip_from_v6(&t.ip, &a.sin6_addr);
	} else {
		return 0;
	}
	k_put(&connecting, &tid, &t);
	return 0;
}

SEC("tp/syscalls/sys_exit_connect")
int answered(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	struct attempt *now = bpf_map_lookup_elem(&connecting, &tid), *six, t;
	struct fallback *ev;

	if (!now)
		return 0;
	t = *now;
	t.at = bpf_ktime_get_ns();
	bpf_map_delete_elem(&connecting, &tid);
	if (t.family == AF_INET6) {
		if (ctx->ret == -ECONNREFUSED)
			k_put(&refused, &tid, &t);
		else
			bpf_map_delete_elem(&refused, &tid);
		return 0;
	}
	six = bpf_map_lookup_elem(&refused, &tid);
	if (!six || (ctx->ret != 0 && ctx->ret != -EINPROGRESS))
		return 0;
	if (six->port == t.port) {
		ev = bpf_ringbuf_reserve(&fallbacks, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = t.at;
			ev->pid = k_current_pid();
			ev->tid = tid;
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			ev->from = six->ip;
			ev->to = t.ip;
			ev->port = t.port;
			ev->after = t.at - six->at;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&refused, &tid);
	return 0;
}
