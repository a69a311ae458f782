// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";


const volatile k_port port = 0;

enum side {
	server = 1,
	client = 2,
};

struct end {
	k_port port;
	__u16 _pad;
	enum side first;
};

/* Who closes first, by the server's port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct end);
	__type(value, k_count);
} hangups SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state, const struct sock *sk, int oldstate, int newstate)
{
	struct end key = {};
	struct k_ends e;
	k_count *n;

	/* Whoever sends the first FIN goes from ESTABLISHED to FIN_WAIT1, the other one to CLOSE_WAIT. */
	if (sk->sk_protocol != IPPROTO_TCP || oldstate != TCP_ESTABLISHED || newstate != TCP_FIN_WAIT1)
		return 0;
	if (!k_ends_of(sk, &e) || !port)
		return 0;
	if (e.lport == port)
		key.first = server;
	else if (e.rport == port)
		key.first = client;
	else
		return 0;
	key.port = port;
	n = k_cell(&hangups, &key, k_count);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
