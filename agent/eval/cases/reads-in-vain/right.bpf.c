// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct spin {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	__u32 fd;
	k_count vain;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct spin);
} spins SEC(".maps");

struct handle {
	k_pid pid;
	__u32 fd;
};

/* Reads of a descriptor that found nothing, since something came. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct handle);
	__type(value, __u64);
} vain SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u32);
} reading SEC(".maps");

SEC("tp/syscalls/sys_enter_read")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid(), fd = ctx->args[0];

	if (k_task_wanted())
		k_put(&reading, &tid, &fd);
	return 0;
}

SEC("tp/syscalls/sys_exit_read")
int answered(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid(), *fd = bpf_map_lookup_elem(&reading, &tid);
	struct handle key = { .pid = k_current_pid() };
	__u64 *n, one = 1;
	struct spin *ev;

	if (!fd)
		return 0;
	key.fd = *fd;
	bpf_map_delete_elem(&reading, &tid);
	n = bpf_map_lookup_elem(&vain, &key);
	if (ctx->ret == -EAGAIN) {
		if (n)
			__sync_fetch_and_add(n, 1);
		else
			k_put(&vain, &key, &one);
		return 0;
	}
	if (ctx->ret <= 0 || !n)
		return 0;
	ev = bpf_ringbuf_reserve(&spins, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = key.pid;
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->fd = key.fd;
		ev->vain = *n;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&vain, &key);
	return 0;
}
