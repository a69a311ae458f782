// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* TCP connections when they end: the local port they had. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct end_event {
	k_port lport;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct end_event);
} ended SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u16);
} ports SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, const struct sock *sk, int oldstate, int newstate)
{
	__u64 id = (__u64)sk;
	struct end_event *ev;
	__u16 *port, now = BPF_CORE_READ(sk, __sk_common.skc_num);

	if (newstate == TCP_ESTABLISHED)
		k_put(&ports, &id, &now);
	if (newstate != TCP_CLOSE)
		return 0;
	port = bpf_map_lookup_elem(&ports, &id);
	if (!port)
		return 0;
	ev = bpf_ringbuf_reserve(&ended, sizeof(*ev), 0);
	if (ev) {
		ev->lport = *port;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&ports, &id);
	return 0;
}
