// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Outgoing TCP connections when they are established: the thread that connected. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct out_event {
	k_tid tid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct out_event);
} outgoing SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} owners SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, const struct sock *sk, int oldstate, int newstate)
{
	__u64 id = (__u64)sk;
	__u32 tid = k_current_tid(), *owner;
	struct out_event *ev;

	if (newstate == TCP_SYN_SENT)
		k_put(&owners, &id, &tid);
	if (oldstate != TCP_SYN_SENT)
		return 0;
	owner = bpf_map_lookup_elem(&owners, &id);
	if (!owner)
		return 0;
	if (newstate == TCP_ESTABLISHED) {
		ev = bpf_ringbuf_reserve(&outgoing, sizeof(*ev), 0);
		if (ev) {
			ev->tid = *owner;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&owners, &id);
	return 0;
}
