// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct mistake {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	__s32 fd;
	k_tid closer;
	k_ns since;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct mistake);
} mistakes SEC(".maps");

struct handle {
	__u32 pid;
	__s32 fd;
};

struct end {
	__u64 at;
	__u32 tid;
};

/* Who closed a descriptor last, and when; a number that is used again is closed again. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct handle);
	__type(value, struct end);
} closed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __s32);
} closing SEC(".maps");

SEC("tp/syscalls/sys_enter_close")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	__s32 fd = ctx->args[0];

	if (k_task_wanted())
		k_put(&closing, &tid, &fd);
	return 0;
}

SEC("tp/syscalls/sys_exit_close")
int answered(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	__s32 *fd = bpf_map_lookup_elem(&closing, &tid);
	struct handle key = {};
	struct end now = {}, *before;
	struct mistake *ev;

	if (!fd)
		return 0;
	key.pid = k_current_pid();
	key.fd = *fd;
	bpf_map_delete_elem(&closing, &tid);
	now.at = bpf_ktime_get_ns();
	now.tid = tid;
	if (ctx->ret == 0) {
		k_put(&closed, &key, &now);
		return 0;
	}
	before = bpf_map_lookup_elem(&closed, &key);
	if (ctx->ret != -EBADF || !before)
		return 0;
	ev = bpf_ringbuf_reserve(&mistakes, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = now.at;
	ev->pid = key.pid;
	ev->tid = tid;
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	ev->fd = key.fd;
	ev->closer = before->tid;
	ev->since = now.at - before->at;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
