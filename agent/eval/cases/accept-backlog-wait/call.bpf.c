// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct wait {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_port lport;
	k_ip raddr;
	k_port rport;
	k_ns waited;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct wait);
} waits SEC(".maps");

/* When each thread called accept. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} arrived SEC(".maps");

static __always_inline int asks(void)
{
	__u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();

	k_put(&arrived, &id, &now);
	return 0;
}

SEC("tp/syscalls/sys_enter_accept4")
int accept4_asks(struct trace_event_raw_sys_enter *ctx)
{
	return asks();
}

SEC("tp/syscalls/sys_enter_accept")
int accept_asks(struct trace_event_raw_sys_enter *ctx)
{
	return asks();
}

static __always_inline int taken(long fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file **fds, *file = NULL;
	struct socket *socket;
	struct sock *sk;
	struct wait *ev;
	struct k_ends e;
	__u64 id, *since, now;

	if (fd < 0)
		return 0;
	fds = BPF_CORE_READ(task, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	id = bpf_get_current_pid_tgid();
	now = bpf_ktime_get_ns();
	since = bpf_map_lookup_elem(&arrived, &id);
	if (!since)
		return 0;
	if (k_task_wanted() && k_ends_of(sk, &e)) {
		ev = bpf_ringbuf_reserve(&waits, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = now;
			ev->pid = k_current_pid();
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			ev->lport = e.lport;
			ev->raddr = e.raddr;
			ev->rport = e.rport;
			ev->waited = now - *since;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&arrived, &id);
	return 0;
}

SEC("tp/syscalls/sys_exit_accept4")
int accept4_took(struct trace_event_raw_sys_exit *ctx)
{
	return taken(ctx->ret);
}

SEC("tp/syscalls/sys_exit_accept")
int accept_took(struct trace_event_raw_sys_exit *ctx)
{
	return taken(ctx->ret);
}
