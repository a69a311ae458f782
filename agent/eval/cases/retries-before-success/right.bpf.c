// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct end {
	k_ip ip;
	k_port port;
	__u16 pad;
	k_pid pid;
};

struct success {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_ip address;
	k_port port;
	k_count failures;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct success);
} successes SEC(".maps");

/* Where a thread is connecting to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct end);
} connecting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct end);
	__type(value, __u64);
} failed SEC(".maps");

SEC("tp/syscalls/sys_enter_connect")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	struct sockaddr_in6 a = {};
	const struct sockaddr_in *four = (void *)&a;
	struct end e = { .pid = k_current_pid() };
	__u32 tid = k_current_tid();

	if (!k_task_wanted())
		return 0;
	bpf_probe_read_user(&a, sizeof(struct sockaddr_in), (void *)ctx->args[1]);
	if (a.sin6_family == AF_INET) {
		k_ip_from_v4(&e.ip, four->sin_addr.s_addr);
	} else if (a.sin6_family == AF_INET6) {
		bpf_probe_read_user(&a, sizeof(a), (void *)ctx->args[1]);
		k_ip_from_v6(&e.ip, &a.sin6_addr);
	} else {
		return 0;
	}
	e.port = bpf_ntohs(a.sin6_port);
	k_put(&connecting, &tid, &e);
	return 0;
}

SEC("tp/syscalls/sys_exit_connect")
int answered(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	struct end *known = bpf_map_lookup_elem(&connecting, &tid), e;
	__u64 *count, one = 1;
	struct success *ev;

	if (!known)
		return 0;
	e = *known;
	bpf_map_delete_elem(&connecting, &tid);
	count = bpf_map_lookup_elem(&failed, &e);
	if (ctx->ret < 0) {
		if (count)
			__sync_fetch_and_add(count, 1);
		else
			k_put(&failed, &e, &one);
		return 0;
	}
	if (!count)
		return 0;
	ev = bpf_ringbuf_reserve(&successes, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = e.pid;
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->address = e.ip;
		ev->port = e.port;
		ev->failures = *count;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&failed, &e);
	return 0;
}
