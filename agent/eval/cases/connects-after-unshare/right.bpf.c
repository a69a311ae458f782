// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct attempt {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	k_port port;
	k_ns after;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct attempt);
} attempts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u8);
} asking SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} alone SEC(".maps");

SEC("tp/syscalls/sys_enter_unshare")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	__u8 yes = 1;

	if ((ctx->args[0] & 0x40000000 /* CLONE_NEWNET */) && k_task_wanted())
		k_put(&asking, &tid, &yes);
	return 0;
}

SEC("tp/syscalls/sys_exit_unshare")
int answered(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	__u64 now = bpf_ktime_get_ns();

	if (!bpf_map_lookup_elem(&asking, &tid))
		return 0;
	if (ctx->ret == 0)
		k_put(&alone, &tid, &now);
	bpf_map_delete_elem(&asking, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_connect")
int connects(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	__u64 *since = bpf_map_lookup_elem(&alone, &tid);
	struct sockaddr_in a = {};
	struct attempt *ev;

	if (!since)
		return 0;
	bpf_probe_read_user(&a, sizeof(a), (void *)ctx->args[1]);
	if (a.sin_family != AF_INET && a.sin_family != AF_INET6)
		return 0;
	ev = bpf_ringbuf_reserve(&attempts, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->tid = tid;
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	ev->port = bpf_ntohs(a.sin_port); /* IPv6 has it at the same place */
	ev->after = ev->time - *since;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(gone, struct task_struct *task)
{
	__u32 tid = k_current_tid();

	bpf_map_delete_elem(&alone, &tid);
	bpf_map_delete_elem(&asking, &tid);
	return 0;
}
