// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct temporary {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	k_ns lived;
	char path[96];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct temporary);
} temporaries SEC(".maps");

struct name {
	char path[96];
};

struct call {
	struct name name;
	__u32 deletes;
};

/* What a thread asks for, between a call and its return. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

/* When each file was made. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct name);
	__type(value, __u64);
} made SEC(".maps");

static __always_inline int asks(const void *path, __u32 deletes)
{
	__u32 tid = k_current_tid();
	struct call c = {};

	if (!k_task_wanted())
		return 0;
	c.deletes = deletes;
	bpf_probe_read_user_str(c.name.path, sizeof(c.name.path), path);
	k_put(&calls, &tid, &c);
	return 0;
}

static __always_inline int answered(long ret)
{
	__u32 tid = k_current_tid();
	struct call *known = bpf_map_lookup_elem(&calls, &tid);
	__u64 now = bpf_ktime_get_ns(), *since;
	struct temporary *ev;
	struct call c;

	if (!known)
		return 0;
	c = *known;
	bpf_map_delete_elem(&calls, &tid);
	if (ret < 0)
		return 0;
	if (!c.deletes) {
		k_put(&made, &c.name, &now);
		return 0;
	}
	since = bpf_map_lookup_elem(&made, &c.name);
	if (!since)
		return 0;
	ev = bpf_ringbuf_reserve(&temporaries, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = now;
		ev->pid = k_current_pid();
		ev->tid = tid;
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->lived = now - *since;
		__builtin_memcpy(ev->path, c.name.path, sizeof(ev->path));
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&made, &c.name);
	return 0;
}

SEC("tp/syscalls/sys_enter_openat")
int openat_asks(struct trace_event_raw_sys_enter *ctx)
{
	if (!(ctx->args[2] & 0100 /* O_CREAT */))
		return 0;
	return asks((const void *)ctx->args[1], 0);
}

SEC("tp/syscalls/sys_exit_openat")
int openat_ends(struct trace_event_raw_sys_exit *ctx) { return answered(ctx->ret); }

SEC("tp/syscalls/sys_enter_unlinkat")
int unlinkat_asks(struct trace_event_raw_sys_enter *ctx) { return asks((const void *)ctx->args[1], 1); }
SEC("tp/syscalls/sys_exit_unlinkat")
int unlinkat_ends(struct trace_event_raw_sys_exit *ctx) { return answered(ctx->ret); }
SEC("tp/syscalls/sys_enter_unlink")
int unlink_asks(struct trace_event_raw_sys_enter *ctx) { return asks((const void *)ctx->args[0], 1); }
SEC("tp/syscalls/sys_exit_unlink")
int unlink_ends(struct trace_event_raw_sys_exit *ctx) { return answered(ctx->ret); }
