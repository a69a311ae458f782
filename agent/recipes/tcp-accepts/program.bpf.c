// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * TCP connections that a process accepts, when accept(2) or accept4(2)
 * returns: the new descriptor leads to the socket. A descriptor that is no TCP
 * socket (a UNIX one) is left out. With multipath TCP, which some servers ask
 * for by default, it is the socket of that. Connections accepted through
 * io_uring do not pass here.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_port port = 0;   /* local; 0: any */
const volatile k_ip address = {}; /* remote; all zero: any */

struct accept_event {
	k_time time;
	k_pid pid;
	k_tid tid;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	k_ip laddr;
	k_port lport;
	k_ip raddr;
	k_port rport;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct accept_event);
} accepts SEC(".maps");

static __always_inline int accepted(void *ctx, long fd)
{
	struct task_struct *task;
	struct accept_event *ev;
	struct file **fds, *file = NULL;
	struct socket *socket;
	struct sock *sk;
	struct k_ends e;
	__u16 protocol;

	if (fd < 0 || !k_task_wanted())
		return 0;
	task = (void *)bpf_get_current_task();
	fds = BPF_CORE_READ(task, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	protocol = sk ? BPF_CORE_READ(sk, sk_protocol) : 0;
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP) || !k_ends_of(sk, &e))
		return 0;
	if (port && e.lport != port)
		return 0;
	if (!k_ip_any(&address) && !k_ip_eq(&address, &e.raddr))
		return 0;
	ev = bpf_ringbuf_reserve(&accepts, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->tid = k_current_tid();
	ev->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	ev->laddr = e.laddr;
	ev->lport = e.lport;
	ev->raddr = e.raddr;
	ev->rport = e.rport;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

SEC("tp/syscalls/sys_exit_accept4")
int accept4_returns(struct trace_event_raw_sys_exit *ctx)
{
	return accepted(ctx, ctx->ret);
}

SEC("tp/syscalls/sys_exit_accept")
int accept_returns(struct trace_event_raw_sys_exit *ctx)
{
	return accepted(ctx, ctx->ret);
}
