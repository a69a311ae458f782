// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Changes of state by socket, told apart by cookie. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, k_hex);
	__type(value, k_count);
} changes SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, const struct sock *sk, int oldstate, int newstate)
{
	k_hex id = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	k_count *n = k_cell(&changes, &id, k_count);

	if (n)
		(*n)++;
	return 0;
}
