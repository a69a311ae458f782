// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct cut {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	__u32 fd;
	k_bytes asked;
	k_bytes written;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct cut);
} cuts SEC(".maps");

struct call {
	__u32 fd;
	__u64 asked;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline int asks(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	struct call c = {};

	if (!k_task_wanted())
		return 0;
	c.fd = ctx->args[0];
	c.asked = ctx->args[2];
	k_put(&calls, &tid, &c);
	return 0;
}

static __always_inline int answered(long ret)
{
	__u32 tid = k_current_tid();
	struct call *c = bpf_map_lookup_elem(&calls, &tid);
	struct cut *ev;

	if (!c)
		return 0;
	if (ret >= 0 && ret < c->asked) {
		ev = bpf_ringbuf_reserve(&cuts, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = bpf_ktime_get_ns();
			ev->pid = k_current_pid();
			ev->tid = tid;
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			ev->fd = c->fd;
			ev->asked = c->asked;
			ev->written = ret;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_write")
int write_asks(struct trace_event_raw_sys_enter *ctx) { return asks(ctx); }
SEC("tp/syscalls/sys_exit_write")
int write_ends(struct trace_event_raw_sys_exit *ctx) { return answered(ctx->ret); }
SEC("tp/syscalls/sys_enter_pwrite64")
int pwrite_asks(struct trace_event_raw_sys_enter *ctx) { return asks(ctx); }
SEC("tp/syscalls/sys_exit_pwrite64")
int pwrite_ends(struct trace_event_raw_sys_exit *ctx) { return answered(ctx->ret); }
