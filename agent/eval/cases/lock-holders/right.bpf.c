// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct wait {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	k_inode inode;
	k_tid holder;
	char holder_comm[TASK_COMM_LEN];
	k_ns waited;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct wait);
} waits SEC(".maps");

struct owner {
	__u32 tid;
	char comm[TASK_COMM_LEN];
};

struct request {
	__u64 inode;
	__u64 since;
	struct owner holder; /* tid 0: nobody had it */
	__u32 how;
};

/* Who has the exclusive lock of a file. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct owner);
} holders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct request);
} asking SEC(".maps");

SEC("tp/syscalls/sys_enter_flock")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 fd = ctx->args[0], tid = k_current_tid();
	struct file **fds, *file = NULL;
	struct request r = {};
	struct owner *holder;

	if (!k_task_wanted())
		return 0;
	fds = BPF_CORE_READ(task, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	r.inode = (__u64)BPF_CORE_READ(file, f_inode);
	r.since = bpf_ktime_get_ns();
	r.how = ctx->args[1] & ~4; /* LOCK_NB */
	holder = bpf_map_lookup_elem(&holders, &r.inode);
	if (holder)
		r.holder = *holder;
	if (r.how == 8 /* LOCK_UN */ && r.holder.tid == tid)
		bpf_map_delete_elem(&holders, &r.inode); /* now: before whoever waits gets it */
	k_put(&asking, &tid, &r);
	return 0;
}

SEC("tp/syscalls/sys_exit_flock")
int answered(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	struct request *r = bpf_map_lookup_elem(&asking, &tid);
	struct owner me = { .tid = tid };
	struct wait *ev;
	__u64 inode;

	if (!r)
		return 0;
	inode = r->inode;
	bpf_get_current_comm(me.comm, sizeof(me.comm));
	if (ctx->ret == 0 && r->how == 2 /* LOCK_EX */)
		k_put(&holders, &inode, &me);
	if (ctx->ret == 0 && r->how != 8 && r->holder.tid && r->holder.tid != tid) {
		ev = bpf_ringbuf_reserve(&waits, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = bpf_ktime_get_ns();
			ev->pid = k_current_pid();
			ev->tid = tid;
			__builtin_memcpy(ev->comm, me.comm, sizeof(ev->comm));
			ev->inode = BPF_CORE_READ((struct inode *)inode, i_ino);
			ev->holder = r->holder.tid;
			__builtin_memcpy(ev->holder_comm, r->holder.comm, sizeof(ev->holder_comm));
			ev->waited = ev->time - r->since;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&asking, &tid);
	return 0;
}
