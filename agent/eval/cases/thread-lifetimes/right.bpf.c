// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct thread_end {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	k_tid creator;
	k_ns lived;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct thread_end);
} threads SEC(".maps");

struct birth {
	__u64 at;
	__u32 creator;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct birth);
} born SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(begins, struct task_struct *parent, struct task_struct *child)
{
	struct birth b = {};
	__u32 tid = child->pid;

	if (child->pid == child->tgid || !k_task_wanted()) /* a process of its own */
		return 0;
	b.at = bpf_ktime_get_ns();
	b.creator = k_current_tid();
	k_put(&born, &tid, &b);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(ends, struct task_struct *task)
{
	__u32 tid = k_current_tid();
	struct birth *b = bpf_map_lookup_elem(&born, &tid);
	struct thread_end *ev;

	if (!b)
		return 0;
	ev = bpf_ringbuf_reserve(&threads, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = k_current_pid();
		ev->tid = tid;
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->creator = b->creator;
		ev->lived = ev->time - b->at;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&born, &tid);
	return 0;
}
