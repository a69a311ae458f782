// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * System calls that take long. Which call it is and when it began is kept by
 * thread; a call whose start was before the trace is left out.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_ns threshold = 10 * NSEC_PER_MSEC;
const volatile k_syscall syscall = -1; /* -1: any */

struct slow_event {
	k_time time; /* of the start */
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	k_syscall syscall;
	k_ns duration;
	k_ret result;
};

struct slow_call {
	__u64 start;
	__u64 nr;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct slow_event);
} slow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct slow_call);
} calls SEC(".maps");

/* Calls that do not return would stay in the map. */
static __always_inline bool returns(long nr)
{
#ifdef __TARGET_ARCH_x86
	return nr != 60 && nr != 231;
#else
	return nr != 93 && nr != 94;
#endif
}

SEC("tp_btf/sys_enter")
int BPF_PROG(slow_enter, struct pt_regs *regs, long nr)
{
	__u32 tid = k_current_tid();
	struct slow_call c = { .nr = nr };

	if ((syscall != -1 && nr != syscall) || !returns(nr) || !k_task_wanted())
		return 0;
	c.start = bpf_ktime_get_ns();
	k_put(&calls, &tid, &c);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(slow_exit, struct pt_regs *regs, long ret)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 tid = k_current_tid();
	struct slow_call *c = bpf_map_lookup_elem(&calls, &tid);
	struct slow_event *ev;

	if (!c)
		return 0;
	if (now - c->start >= threshold) {
		ev = bpf_ringbuf_reserve(&slow, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = c->start;
			ev->pid = k_current_pid();
			ev->tid = tid;
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			ev->syscall = c->nr;
			ev->duration = now - c->start;
			ev->result = ret;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}
