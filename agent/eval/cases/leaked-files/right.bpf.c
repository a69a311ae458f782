// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct handle {
	k_pid pid;
	__u32 fd;
};

struct opened {
	k_time since;
	char path[256];
};

/* What is open and was opened in the trace: what is left at its end was never closed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct handle);
	__type(value, struct opened);
} open_files SEC(".maps") KGENT_OUTPUT;

/* The path that a thread asks for, between the call and its return. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct opened);
} asked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct opened);
} room SEC(".maps");

static __always_inline int asks(const char *path)
{
	__u32 tid = k_current_tid(), zero = 0;
	struct opened *o = bpf_map_lookup_elem(&room, &zero);

	if (!o || !k_task_wanted())
		return 0;
	o->since = bpf_ktime_get_ns();
	__builtin_memset(o->path, 0, sizeof(o->path));
	bpf_probe_read_user_str(o->path, sizeof(o->path), path);
	k_put(&asked, &tid, o);
	return 0;
}

static __always_inline int answered(long fd)
{
	__u32 tid = k_current_tid();
	struct opened *o = bpf_map_lookup_elem(&asked, &tid);
	struct handle key = { .pid = k_current_pid(), .fd = fd };

	if (!o)
		return 0;
	if (fd >= 0)
		k_put(&open_files, &key, o);
	bpf_map_delete_elem(&asked, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_openat")
int openat_asks(struct trace_event_raw_sys_enter *ctx)
{
	return asks((const char *)ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_openat")
int openat_answers(struct trace_event_raw_sys_exit *ctx)
{
	return answered(ctx->ret);
}

SEC("tp/syscalls/sys_enter_open")
int open_asks(struct trace_event_raw_sys_enter *ctx)
{
	return asks((const char *)ctx->args[0]);
}

SEC("tp/syscalls/sys_exit_open")
int open_answers(struct trace_event_raw_sys_exit *ctx)
{
	return answered(ctx->ret);
}

SEC("tp/syscalls/sys_enter_close")
int closes(struct trace_event_raw_sys_enter *ctx)
{
	struct handle key = { .pid = k_current_pid(), .fd = ctx->args[0] };

	bpf_map_delete_elem(&open_files, &key);
	return 0;
}
