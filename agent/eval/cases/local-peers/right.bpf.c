// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct end {
	k_ip from, to;
	k_port fport, tport;
};

struct side {
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
};

struct pair {
	k_time time;
	k_pid client;
	k_tid client_tid;
	char client_comm[TASK_COMM_LEN];
	k_pid server;
	k_tid server_tid;
	char server_comm[TASK_COMM_LEN];
	k_ip address;
	k_port port;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct pair);
} pairs SEC(".maps");

/* Who connects from where to where. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct end);
	__type(value, struct side);
} clients SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state, const struct sock *sk, int oldstate, int newstate)
{
	struct side me = {};
	struct end key = {};
	struct k_ends e;

	/* The client's own port is set by now; on loopback the handshake's last step runs within its connect. */
	if (sk->sk_protocol != IPPROTO_TCP || !k_ends_of(sk, &e))
		return 0;
	if (newstate != TCP_ESTABLISHED || oldstate != TCP_SYN_SENT)
		return 0;
	me.pid = k_current_pid();
	me.tid = k_current_tid();
	bpf_get_current_comm(me.comm, sizeof(me.comm));
	key.from = e.laddr;
	key.fport = e.lport;
	key.to = e.raddr;
	key.tport = e.rport;
	k_put(&clients, &key, &me);
	return 0;
}

static __always_inline int taken(long fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file **fds, *file = NULL;
	struct socket *socket;
	struct side *client;
	struct end key = {};
	struct pair *ev;
	struct k_ends e;
	struct sock *sk;

	if (fd < 0)
		return 0;
	fds = BPF_CORE_READ(task, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || !k_ends_of(sk, &e))
		return 0;
	key.from = e.raddr;
	key.fport = e.rport;
	key.to = e.laddr;
	key.tport = e.lport;
	client = bpf_map_lookup_elem(&clients, &key);
	if (!client || !k_task_wanted())
		return 0;
	ev = bpf_ringbuf_reserve(&pairs, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->client = client->pid;
		ev->client_tid = client->tid;
		__builtin_memcpy(ev->client_comm, client->comm, sizeof(ev->client_comm));
		ev->server = k_current_pid();
		ev->server_tid = k_current_tid();
		bpf_get_current_comm(ev->server_comm, sizeof(ev->server_comm));
		ev->address = e.laddr;
		ev->port = e.lport;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&clients, &key);
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
