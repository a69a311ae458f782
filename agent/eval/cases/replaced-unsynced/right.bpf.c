// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

#define PATH 128

struct handle {
	k_pid pid;
	__u32 fd;
};

struct name {
	k_pid pid;
	char path[PATH];
};

struct replaced {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	char from[PATH];
	char to[PATH];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct replaced);
} replaced SEC(".maps");

/* What a thread asks to open, and what each descriptor is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct name);
} opening SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct handle);
	__type(value, struct name);
} files SEC(".maps");

/* Written and not synced since. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct name);
	__type(value, __u8);
} dirty SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct name);
} room SEC(".maps");

static __always_inline struct name *named(const char *path)
{
	__u32 zero = 0;
	struct name *n = bpf_map_lookup_elem(&room, &zero);

	if (!n)
		return NULL;
	n->pid = k_current_pid();
	__builtin_memset(n->path, 0, sizeof(n->path));
	bpf_probe_read_user_str(n->path, sizeof(n->path), path);
	return n;
}

SEC("tp/syscalls/sys_enter_openat")
int opens(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	struct name *n;

	if (!k_task_wanted())
		return 0;
	n = named((const char *)ctx->args[1]);
	if (n)
		k_put(&opening, &tid, n);
	return 0;
}

SEC("tp/syscalls/sys_exit_openat")
int opened(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	struct name *n = bpf_map_lookup_elem(&opening, &tid);
	struct handle h = { .pid = k_current_pid(), .fd = ctx->ret };

	if (n && ctx->ret >= 0)
		k_put(&files, &h, n);
	bpf_map_delete_elem(&opening, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_write")
int writes(struct trace_event_raw_sys_enter *ctx)
{
	struct handle h = { .pid = k_current_pid(), .fd = ctx->args[0] };
	struct name *n = bpf_map_lookup_elem(&files, &h);
	__u8 yes = 1;

	if (n)
		k_put(&dirty, n, &yes);
	return 0;
}

static __always_inline int syncs(__u32 fd)
{
	struct handle h = { .pid = k_current_pid(), .fd = fd };
	struct name *n = bpf_map_lookup_elem(&files, &h);

	if (n)
		bpf_map_delete_elem(&dirty, n);
	return 0;
}

SEC("tp/syscalls/sys_enter_fsync")
int fsyncs(struct trace_event_raw_sys_enter *ctx)
{
	return syncs(ctx->args[0]);
}

SEC("tp/syscalls/sys_enter_fdatasync")
int fdatasyncs(struct trace_event_raw_sys_enter *ctx)
{
	return syncs(ctx->args[0]);
}

SEC("tp/syscalls/sys_enter_close")
int closes(struct trace_event_raw_sys_enter *ctx)
{
	struct handle h = { .pid = k_current_pid(), .fd = ctx->args[0] };

	bpf_map_delete_elem(&files, &h);
	return 0;
}

static __always_inline int renames(const char *from, const char *to)
{
	struct replaced *ev;
	struct name *n;

	if (!k_task_wanted())
		return 0;
	n = named(from);
	if (!n || !bpf_map_lookup_elem(&dirty, n))
		return 0;
	ev = bpf_ringbuf_reserve(&replaced, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = n->pid;
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		__builtin_memcpy(ev->from, n->path, PATH);
		bpf_probe_read_user_str(ev->to, PATH, to);
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&dirty, n);
	return 0;
}

SEC("tp/syscalls/sys_enter_rename")
int rename1(struct trace_event_raw_sys_enter *ctx)
{
	return renames((const char *)ctx->args[0], (const char *)ctx->args[1]);
}

SEC("tp/syscalls/sys_enter_renameat")
int rename2(struct trace_event_raw_sys_enter *ctx)
{
	return renames((const char *)ctx->args[1], (const char *)ctx->args[3]);
}

SEC("tp/syscalls/sys_enter_renameat2")
int rename3(struct trace_event_raw_sys_enter *ctx)
{
	return renames((const char *)ctx->args[1], (const char *)ctx->args[3]);
}
