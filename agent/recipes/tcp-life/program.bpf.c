// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * TCP connections when they end: whose, between which ends, for how long, and
 * how many bytes of data went each way.
 *
 * Whose: the task that connects or accepts; of a connection older than the
 * trace, the task that closes it. The end itself mostly comes in softirq.
 * Bytes are data alone: retransmissions, SYN and FIN are not counted.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_port port = 0;   /* either end; 0: any */
const volatile k_ip address = {}; /* either end; all zero: any */

struct life_event {
	k_time time;
	k_pid pid;  /* 0: no process connected, accepted or closed it in the trace */
	k_uid uid;
	char comm[TASK_COMM_LEN];
	k_ip laddr;
	k_port lport;
	k_ip raddr;
	k_port rport;
	k_bytes sent;
	k_bytes received;
	k_ns duration; /* 0: it began before the trace */
};

struct life {
	__u64 start;
	__u32 pid, uid;
	char comm[TASK_COMM_LEN];
	bool owned;
	bool wanted;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct life_event);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct life);
} lives SEC(".maps");

/* Makes the current task the owner, when there is none yet. */
static __always_inline void own(const void *sk, __u64 start)
{
	__u64 id = (__u64)sk;
	struct life *known = bpf_map_lookup_elem(&lives, &id), l = {};

	if (known) {
		if (known->owned)
			return;
		l = *known;
	} else {
		l.start = start;
	}
	l.owned = true;
	l.wanted = k_task_wanted();
	l.pid = k_current_pid();
	l.uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(l.comm, sizeof(l.comm));
	k_put(&lives, &id, &l);
}

static __always_inline bool filtered_by_task(void)
{
	return pid || comm[0] || uid != (k_uid)-1;
}

static __always_inline void ended(void *ctx, const struct sock *sk)
{
	const struct tcp_sock *tp = (const void *)sk;
	__u64 id = (__u64)sk, now = bpf_ktime_get_ns();
	struct life *l = bpf_map_lookup_elem(&lives, &id);
	struct life_event *ev;
	struct k_ends e;
	bool wanted = l && l->owned ? l->wanted : !filtered_by_task();

	if (wanted && k_ends_of(sk, &e) && k_ends_match(&e, port, &address)) {
		ev = bpf_ringbuf_reserve(&connections, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = now;
			ev->laddr = e.laddr;
			ev->lport = e.lport;
			ev->raddr = e.raddr;
			ev->rport = e.rport;
			ev->sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
			ev->received = BPF_CORE_READ(tp, bytes_received);
			/* The peer's FIN counts as a byte received; SOCK_DONE says there was one. */
			if (ev->received && (BPF_CORE_READ(sk, __sk_common.skc_flags) >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1))
				ev->received--;
			if (l) {
				ev->pid = l->pid;
				ev->uid = l->uid;
				__builtin_memcpy(ev->comm, l->comm, sizeof(ev->comm));
				ev->duration = l->start ? now - l->start : 0;
			}
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&lives, &id);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(life_state, const struct sock *sk, int oldstate, int newstate)
{
	__u64 id = (__u64)sk;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	switch (newstate) {
	case TCP_SYN_SENT: /* connect(2) */
		bpf_map_delete_elem(&lives, &id); /* of another socket at this address */
		own(sk, bpf_ktime_get_ns());
		break;
	case TCP_ESTABLISHED:
		if (oldstate == TCP_SYN_RECV) { /* softirq: the owner shows at accept(2) */
			struct life l = { .start = bpf_ktime_get_ns() };
			k_put(&lives, &id, &l);
		}
		break;
	case TCP_FIN_WAIT1: /* close(2) or shutdown(2): these two only come from there */
	case TCP_LAST_ACK:
		own(sk, 0);
		break;
	case TCP_CLOSE:
		/* Neither listening sockets nor attempts that got no connection. */
		if (oldstate != TCP_LISTEN && oldstate != TCP_SYN_SENT && oldstate != TCP_CLOSE)
			ended(ctx, sk);
		else
			bpf_map_delete_elem(&lives, &id);
	}
	return 0;
}

static __always_inline int accepted(long fd)
{
	struct task_struct *task;
	struct file **fds, *file = NULL;
	struct socket *socket;
	struct sock *sk;

	if (fd < 0)
		return 0;
	task = (void *)bpf_get_current_task();
	fds = BPF_CORE_READ(task, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (sk && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_CLOSE)
		own(sk, 0);
	return 0;
}

SEC("tp/syscalls/sys_exit_accept4")
int life_accept4(struct trace_event_raw_sys_exit *ctx)
{
	return accepted(ctx->ret);
}

SEC("tp/syscalls/sys_exit_accept")
int life_accept(struct trace_event_raw_sys_exit *ctx)
{
	return accepted(ctx->ret);
}
