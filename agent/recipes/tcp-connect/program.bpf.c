// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Outgoing TCP connections, one event each, when it is known how they went.
 *
 * A socket enters SYN_SENT in the connecting task: that is whose connection it
 * is. The source port is chosen after that, and the answer comes in softirq,
 * where the current task means nothing; so the task is remembered by socket
 * until the socket leaves SYN_SENT. A connection that nobody answers would
 * show only after minutes: its first retransmission, after a second, reports
 * it as EINPROGRESS.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_port dport = 0; /* 0: any */
const volatile k_ip daddr = {};  /* all zero: any */
const volatile k_errno errno = 0; /* of the result; 0: any */

struct connect_event {
	k_time time;
	k_pid pid;
	k_tid tid;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	k_ip saddr;
	k_port sport;
	k_ip daddr;
	k_port dport;
	k_errno result;
	k_ns latency;
};

struct connect_task {
	__u64 start;
	__u32 pid, tid, uid;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct connect_event);
} connects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct connect_task);
} pending SEC(".maps");

static __always_inline void remember(const struct sock *sk)
{
	__u64 id = (__u64)sk;
	struct connect_task t = {};
	struct k_ends e;

	if (!k_task_wanted() || !k_ends_of(sk, &e))
		return;
	if (dport && e.rport != dport)
		return;
	if (!k_ip_any(&daddr) && !k_ip_eq(&daddr, &e.raddr))
		return;
	t.start = bpf_ktime_get_ns();
	t.pid = k_current_pid();
	t.tid = k_current_tid();
	t.uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(t.comm, sizeof(t.comm));
	k_put(&pending, &id, &t);
}

static __always_inline void report(void *ctx, const struct sock *sk, int result)
{
	__u64 id = (__u64)sk;
	struct connect_task *t = bpf_map_lookup_elem(&pending, &id);
	struct connect_event *ev;
	struct k_ends e;

	if (!t)
		return;
	if (errno && result != errno && !(errno == ETIMEDOUT && result == EINPROGRESS)) {
		if (result != EINPROGRESS) /* that is not how it ends */
			bpf_map_delete_elem(&pending, &id);
		return;
	}
	k_ends_of(sk, &e);
	ev = bpf_ringbuf_reserve(&connects, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = t->start;
		ev->pid = t->pid;
		ev->tid = t->tid;
		ev->uid = t->uid;
		__builtin_memcpy(ev->comm, t->comm, sizeof(ev->comm));
		ev->saddr = e.laddr;
		ev->sport = e.lport;
		ev->daddr = e.raddr;
		ev->dport = e.rport;
		ev->result = result;
		ev->latency = bpf_ktime_get_ns() - t->start;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&pending, &id);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(connect_state, const struct sock *sk, int oldstate, int newstate)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == TCP_SYN_SENT) {
		remember(sk);
	} else if (oldstate == TCP_SYN_SENT) {
		/* A program that gives up before the answer leaves no error. */
		int err = sk->sk_err;
		report(ctx, sk, newstate == TCP_CLOSE ? (err ? err : ECONNABORTED) : 0);
	}
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(connect_unanswered, const struct sock *sk)
{
	if (sk->__sk_common.skc_state == TCP_SYN_SENT)
		report(ctx, sk, EINPROGRESS);
	return 0;
}
