// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* chmod(2), fchmodat(2) and fchmodat2(2) name a path. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct loosening {
	k_time time;
	k_pid pid;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	k_mode mode;
	char path[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct loosening);
} loosened SEC(".maps");

static __always_inline int report(const void *path, __u32 mode)
{
	struct loosening *ev = bpf_ringbuf_reserve(&loosened, sizeof(*ev), 0);

	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->uid = k_current_uid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	ev->mode = mode;
	bpf_probe_read_user_str(ev->path, sizeof(ev->path), path);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

SEC("tp/syscalls/sys_enter_fchmodat")
int by_fchmodat(struct trace_event_raw_sys_enter *ctx)
{
	if (!(ctx->args[2] & 2))
		return 0;
	return report((const void *)ctx->args[1], (__u16)ctx->args[2]);
}

SEC("tp/syscalls/sys_enter_fchmodat2")
int by_fchmodat2(struct trace_event_raw_sys_enter *ctx)
{
	__u32 mode = (__u16)ctx->args[2];

	if (!(mode & 2))
		return 0;
	return report((const void *)ctx->args[1], mode);
}

SEC("tp/syscalls/sys_enter_chmod")
int by_chmod(struct trace_event_raw_sys_enter *ctx)
{
	__u32 mode = (__u16)ctx->args[1];

	if (!(mode & 2))
		return 0;
	return report((const void *)ctx->args[0], mode);
}
