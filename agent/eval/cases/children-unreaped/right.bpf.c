// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct reaped {
	k_time time;
	k_pid parent;
	char comm[TASK_COMM_LEN];
	k_pid child;
	k_ns dead;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct reaped);
} reapings SEC(".maps");

/* When each process ended. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} ended SEC(".maps");

SEC("tp_btf/sched_process_exit")
int BPF_PROG(ends, struct task_struct *task)
{
	__u32 me = k_current_pid();
	__u64 now = bpf_ktime_get_ns();

	if (BPF_CORE_READ(task, signal, live.counter) == 0) /* its last thread */
		k_put(&ended, &me, &now);
	return 0;
}

SEC("tp/syscalls/sys_exit_wait4")
int waited(struct trace_event_raw_sys_exit *ctx)
{
	__u32 child = ctx->ret;
	__u64 *since = bpf_map_lookup_elem(&ended, &child);
	struct reaped *ev;

	if (ctx->ret <= 0 || !since)
		return 0;
	if (k_task_wanted()) {
		ev = bpf_ringbuf_reserve(&reapings, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = bpf_ktime_get_ns();
			ev->parent = k_current_pid();
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			ev->child = child;
			ev->dead = ev->time - *since;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&ended, &child);
	return 0;
}
