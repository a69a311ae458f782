// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Attempts to open a file that fail: open, creat, openat and openat2.
 *
 * The path is read when the call returns: the kernel has just read it itself,
 * so its memory is present, which at the start of the call it may not be.
 * A call whose start was before the trace is left out.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile char path[K_PREFIX_LEN] = ""; /* prefix; "": any */
const volatile k_errno errno = 0; /* 0: any */

#define K_ERESTARTSYS 512 /* never leaves the kernel */
#define K_SIG_DFL 0
#define K_SIG_IGN 1
#define K_SA_RESTART 0x10000000

struct open_event {
	k_time time;
	k_pid pid;
	k_tid tid;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	k_errno error;
	k_oflags flags;
	char path[256];
};

struct open_call {
	const char *path;
	__u32 flags;
	__u32 interrupted;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct open_event);
} opens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct open_call);
} calls SEC(".maps");

static __always_inline int enter(const void *name, __u32 flags)
{
	struct open_call c = { .path = name, .flags = flags };
	__u32 tid = k_current_tid();

	if (k_task_wanted())
		k_put(&calls, &tid, &c);
	return 0;
}

static __always_inline int leave(void *ctx, long ret)
{
	__u32 tid = k_current_tid();
	struct open_call *c = bpf_map_lookup_elem(&calls, &tid);
	struct open_event *ev;

	if (!c)
		return 0;
	if (ret == -K_ERESTARTSYS) { /* whether that is an error, the signal says */
		c->interrupted = 1;
		return 0;
	}
	if (ret >= 0 || (errno && ret != -errno))
		goto done;
	ev = bpf_ringbuf_reserve(&opens, sizeof(*ev), 0);
	if (!ev)
		goto done;
	__builtin_memset(ev, 0, sizeof(*ev));
	bpf_probe_read_user_str(ev->path, sizeof(ev->path), c->path);
	if (!k_has_prefix(path, ev->path)) {
		bpf_ringbuf_discard(ev, 0);
		goto done;
	}
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->tid = tid;
	ev->uid = k_current_uid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	ev->error = ret;
	ev->flags = c->flags;
	bpf_ringbuf_submit(ev, 0);
done:
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}

/*
 * A signal that interrupts an open makes it fail only where it has a handler
 * and that was not set up to restart calls. Else the kernel begins the call
 * again, which is another start.
 */
SEC("tp/signal/signal_deliver")
int interrupted(struct trace_event_raw_signal_deliver *ctx)
{
	__u32 tid = k_current_tid();
	struct open_call *c = bpf_map_lookup_elem(&calls, &tid);

	if (!c || !c->interrupted || ctx->sa_handler == K_SIG_IGN)
		return 0;
	if (ctx->sa_handler == K_SIG_DFL || ctx->sa_flags & K_SA_RESTART)
		bpf_map_delete_elem(&calls, &tid); /* begins again, or never ends */
	else
		leave(ctx, -EINTR);
	return 0;
}

SEC("tp/syscalls/sys_enter_openat")
int openat_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter((const void *)ctx->args[1], ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_openat")
int openat_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

SEC("tp/syscalls/sys_enter_openat2")
int openat2_enter(struct trace_event_raw_sys_enter *ctx)
{
	__u64 flags = 0; /* the first member of struct open_how */

	bpf_probe_read_user(&flags, sizeof(flags), (const void *)ctx->args[2]);
	return enter((const void *)ctx->args[1], flags);
}

SEC("tp/syscalls/sys_exit_openat2")
int openat2_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

#ifdef __TARGET_ARCH_x86 /* newer machines never had these two */
SEC("tp/syscalls/sys_enter_open")
int open_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter((const void *)ctx->args[0], ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_open")
int open_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}

SEC("tp/syscalls/sys_enter_creat")
int creat_enter(struct trace_event_raw_sys_enter *ctx)
{
	return enter((const void *)ctx->args[0], O_CREAT | O_WRONLY | O_TRUNC);
}

SEC("tp/syscalls/sys_exit_creat")
int creat_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx, ctx->ret);
}
#endif
