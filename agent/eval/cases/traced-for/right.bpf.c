// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct session {
	k_time time;
	k_pid tracer;
	char comm[TASK_COMM_LEN];
	k_pid target;
	k_ns lasted;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct session);
} sessions SEC(".maps");

struct request {
	__u64 what;
	__u32 target;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct request);
} asking SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} attached SEC(".maps");

SEC("tp/syscalls/sys_enter_ptrace")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	struct request r = {};

	if (!k_task_wanted())
		return 0;
	r.what = ctx->args[0];
	r.target = ctx->args[1];
	k_put(&asking, &tid, &r);
	return 0;
}

SEC("tp/syscalls/sys_exit_ptrace")
int answered(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid(), target;
	struct request *r = bpf_map_lookup_elem(&asking, &tid);
	__u64 now = bpf_ktime_get_ns(), what, *since;
	struct session *ev;

	if (!r)
		return 0;
	target = r->target;
	what = r->what;
	bpf_map_delete_elem(&asking, &tid);
	if (ctx->ret != 0)
		return 0;
	if (what == 16 /* PTRACE_ATTACH */ || what == 0x4206 /* PTRACE_SEIZE */)
		k_put(&attached, &target, &now);
	since = bpf_map_lookup_elem(&attached, &target);
	if (what != 17 /* PTRACE_DETACH */ || !since)
		return 0;
	ev = bpf_ringbuf_reserve(&sessions, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = now;
		ev->tracer = k_current_pid();
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->target = target;
		ev->lasted = now - *since;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&attached, &target);
	return 0;
}
