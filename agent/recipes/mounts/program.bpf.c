// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * mount(2) and umount2(2) calls with their result.
 *
 * The texts are read when the call returns, for the reason given in
 * file-opens. mount takes null pointers for what does not apply.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define K_MS_MGC 0xc0ed

enum mount_what { mounted = 1, unmounted = 2 };

struct mount_event {
	k_time time;
	k_pid pid;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	enum mount_what what;
	k_errno result;
	char fstype[24];
	k_mntflags flags; /* of mount; umount2 has others */
	char source[200];
	char target[200];
};

struct mount_call {
	const char *source, *target, *fstype;
	__u32 flags;
	__u32 what;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct mount_event);
} mounts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct mount_call);
} calls SEC(".maps");

static __always_inline int leave(void *ctx, long ret)
{
	__u32 tid = k_current_tid();
	struct mount_call *c = bpf_map_lookup_elem(&calls, &tid);
	struct mount_event *ev;

	if (!c)
		return 0;
	ev = bpf_ringbuf_reserve(&mounts, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = k_current_pid();
		ev->uid = k_current_uid();
		k_process_comm(ev->comm, (const void *)bpf_get_current_task());
		ev->what = c->what;
		ev->result = ret;
		ev->flags = c->flags;
		if (c->fstype)
			bpf_probe_read_user_str(ev->fstype, sizeof(ev->fstype), c->fstype);
		if (c->source)
			bpf_probe_read_user_str(ev->source, sizeof(ev->source), c->source);
		if (c->target)
			bpf_probe_read_user_str(ev->target, sizeof(ev->target), c->target);
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_mount")
int mount_enter(struct trace_event_raw_sys_enter *ctx)
{
	struct mount_call c = { .what = mounted };
	__u32 tid = k_current_tid();

	c.source = (const char *)ctx->args[0];
	c.target = (const char *)ctx->args[1];
	c.fstype = (const char *)ctx->args[2];
	c.flags = ctx->args[3];
	if (c.flags >> 16 == K_MS_MGC) /* what old programs must say; the kernel takes it off */
		c.flags &= 0xffff;
	k_put(&calls, &tid, &c);
	return 0;
}

SEC("tp/syscalls/sys_exit_mount")
int mount_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

SEC("tp/syscalls/sys_enter_umount")
int umount_enter(struct trace_event_raw_sys_enter *ctx)
{
	struct mount_call c = { .what = unmounted };
	__u32 tid = k_current_tid();

	c.target = (const char *)ctx->args[0];
	k_put(&calls, &tid, &c);
	return 0;
}

SEC("tp/syscalls/sys_exit_umount")
int umount_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}
