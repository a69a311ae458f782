// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct nap {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	k_ns asked;
	k_ns slept;
	k_ns late;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct nap);
} naps SEC(".maps");

struct wish {
	__u64 since;
	__u64 asked;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct wish);
} asleep SEC(".maps");

static __always_inline int asks(const void *request)
{
	__u32 tid = k_current_tid();
	__u64 ts[2] = {};
	struct wish w = {};

	if (!k_task_wanted())
		return 0;
	bpf_probe_read_user(ts, sizeof(ts), request);
	w.since = bpf_ktime_get_ns();
	w.asked = ts[0] * NSEC_PER_SEC + ts[1];
	k_put(&asleep, &tid, &w);
	return 0;
}

static __always_inline int wakes(long ret)
{
	__u32 tid = k_current_tid();
	struct wish *w = bpf_map_lookup_elem(&asleep, &tid);
	struct nap *ev;

	if (!w)
		return 0;
	if (ret == 0) {
		ev = bpf_ringbuf_reserve(&naps, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = bpf_ktime_get_ns();
			ev->pid = k_current_pid();
			ev->tid = tid;
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			ev->asked = w->asked;
			ev->slept = ev->time - w->since;
			ev->late = ev->slept - w->asked;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&asleep, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_nanosleep")
int nanosleep_asks(struct trace_event_raw_sys_enter *ctx) { return asks((const void *)ctx->args[0]); }
SEC("tp/syscalls/sys_exit_nanosleep")
int nanosleep_ends(struct trace_event_raw_sys_exit *ctx) { return wakes(ctx->ret); }

SEC("tp/syscalls/sys_enter_clock_nanosleep")
int clock_asks(struct trace_event_raw_sys_enter *ctx)
{
	if (ctx->args[1] & 1) /* TIMER_ABSTIME: a moment, no duration */
		return 0;
	return asks((const void *)ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_clock_nanosleep")
int clock_ends(struct trace_event_raw_sys_exit *ctx) { return wakes(ctx->ret); }
