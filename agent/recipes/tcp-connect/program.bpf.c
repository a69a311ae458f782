// SPDX-License-Identifier: MIT OR GPL-2.0-only
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

static __always_inline void ends(const struct sock *sk, k_ip *src, k_ip *dst)
{
	if (sk->__sk_common.skc_family == AF_INET) {
		k_ip_from_v4(src, sk->__sk_common.skc_rcv_saddr);
		k_ip_from_v4(dst, sk->__sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO(src, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(dst, sk, __sk_common.skc_v6_daddr);
	}
}

static __always_inline void remember(const struct sock *sk)
{
	__u64 id = (__u64)sk;
	struct connect_task t = {};
	k_ip src, dst;

	if (!k_task_wanted())
		return;
	if (dport && bpf_ntohs(sk->__sk_common.skc_dport) != dport)
		return;
	ends(sk, &src, &dst);
	if (!k_ip_any(&daddr) && !k_ip_eq(&daddr, &dst))
		return;
	t.start = bpf_ktime_get_ns();
	t.pid = k_current_pid();
	t.tid = k_current_tid();
	t.uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(t.comm, sizeof(t.comm));
	k_put(&pending, &id, &t);
}

static __always_inline void report(const struct sock *sk, int result)
{
	__u64 id = (__u64)sk;
	struct connect_task *t = bpf_map_lookup_elem(&pending, &id);
	struct connect_event *e;

	if (!t)
		return;
	e = bpf_ringbuf_reserve(&connects, sizeof(*e), 0);
	if (e) {
		__builtin_memset(e, 0, sizeof(*e));
		e->time = t->start;
		e->pid = t->pid;
		e->tid = t->tid;
		e->uid = t->uid;
		__builtin_memcpy(e->comm, t->comm, sizeof(e->comm));
		ends(sk, &e->saddr, &e->daddr);
		e->sport = sk->__sk_common.skc_num; /* host order, unlike skc_dport */
		e->dport = bpf_ntohs(sk->__sk_common.skc_dport);
		e->result = result;
		e->latency = bpf_ktime_get_ns() - t->start;
		bpf_ringbuf_submit(e, 0);
	}
	bpf_map_delete_elem(&pending, &id);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(connect_state, const struct sock *sk, int oldstate, int newstate)
{
	__u16 family = sk->__sk_common.skc_family;

	if (sk->sk_protocol != IPPROTO_TCP || (family != AF_INET && family != AF_INET6))
		return 0;
	if (newstate == TCP_SYN_SENT)
		remember(sk);
	else if (oldstate == TCP_SYN_SENT) {
		/* A program that gives up before the answer leaves no error. */
		int err = sk->sk_err;
		report(sk, newstate == TCP_CLOSE ? (err ? err : ECONNABORTED) : 0);
	}
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(connect_unanswered, const struct sock *sk)
{
	if (sk->__sk_common.skc_state == TCP_SYN_SENT)
		report(sk, EINPROGRESS);
	return 0;
}
