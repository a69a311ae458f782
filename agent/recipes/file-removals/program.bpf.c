// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Files and directories that are deleted or renamed, and attempts that fail.
 *
 * Paths are read when the call returns, for the reason given in file-opens.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile char path[K_PREFIX_LEN] = ""; /* prefix of either path; "": any */

#define K_AT_REMOVEDIR 0x200

enum removal { deleted = 1, removed_directory = 2, renamed = 3 };

struct removal_event {
	k_time time;
	k_pid pid;
	k_tid tid;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	enum removal what;
	k_errno result;
	char path[256];
	char new_path[256];
};

struct removal_call {
	const char *path;
	const char *new_path;
	__u32 what;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct removal_event);
} removals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct removal_call);
} calls SEC(".maps");

static __always_inline int enter(enum removal what, __u64 name, __u64 new_name)
{
	struct removal_call c = { .what = what, .path = (const char *)name, .new_path = (const char *)new_name };
	__u32 tid = k_current_tid();

	if (k_task_wanted())
		k_put(&calls, &tid, &c);
	return 0;
}

static __always_inline int leave(void *ctx, long ret)
{
	__u32 tid = k_current_tid();
	struct removal_call *c = bpf_map_lookup_elem(&calls, &tid);
	struct removal_event *ev;

	if (!c)
		return 0;
	ev = bpf_ringbuf_reserve(&removals, sizeof(*ev), 0);
	if (!ev)
		goto done;
	__builtin_memset(ev, 0, sizeof(*ev));
	bpf_probe_read_user_str(ev->path, sizeof(ev->path), c->path);
	if (c->new_path)
		bpf_probe_read_user_str(ev->new_path, sizeof(ev->new_path), c->new_path);
	if (!k_has_prefix(path, ev->path) && !k_has_prefix(path, ev->new_path)) {
		bpf_ringbuf_discard(ev, 0);
		goto done;
	}
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->tid = tid;
	ev->uid = k_current_uid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	ev->what = c->what;
	ev->result = ret;
	bpf_ringbuf_submit(ev, 0);
done:
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_unlinkat")
int unlinkat_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter(ctx->args[2] & K_AT_REMOVEDIR ? removed_directory : deleted, ctx->args[1], 0);
}

SEC("tp/syscalls/sys_enter_renameat2")
int renameat2_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter(renamed, ctx->args[1], ctx->args[3]);
}

SEC("tp/syscalls/sys_enter_renameat")
int renameat_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter(renamed, ctx->args[1], ctx->args[3]);
}

SEC("tp/syscalls/sys_exit_unlinkat")
int unlinkat_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

SEC("tp/syscalls/sys_exit_renameat2")
int renameat2_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

SEC("tp/syscalls/sys_exit_renameat")
int renameat_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

#ifdef __TARGET_ARCH_x86 /* newer machines never had these three */
SEC("tp/syscalls/sys_enter_unlink")
int unlink_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter(deleted, ctx->args[0], 0);
}

SEC("tp/syscalls/sys_enter_rmdir")
int rmdir_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter(removed_directory, ctx->args[0], 0);
}

SEC("tp/syscalls/sys_enter_rename")
int rename_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter(renamed, ctx->args[0], ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_unlink")
int unlink_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

SEC("tp/syscalls/sys_exit_rmdir")
int rmdir_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

SEC("tp/syscalls/sys_exit_rename")
int rename_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}
#endif
