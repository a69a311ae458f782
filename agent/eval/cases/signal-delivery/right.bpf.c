// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct arrival {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_signal sig;
	k_pid sender;
	char sender_comm[TASK_COMM_LEN];
	k_ns latency;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct arrival);
} arrivals SEC(".maps");

struct pending {
	__u64 since;
	__u32 sender;
	char comm[TASK_COMM_LEN];
};

struct target {
	__u32 pid;
	__s32 sig;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct target);
	__type(value, struct pending);
} waiting SEC(".maps");

SEC("tp_btf/signal_generate")
int BPF_PROG(sent, int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	struct target key = { .pid = task->tgid, .sig = sig };
	struct pending p = {};

	if (result != 0 || !k_task_wanted()) /* ignored, or one of it was there already */
		return 0;
	p.since = bpf_ktime_get_ns();
	p.sender = k_current_pid();
	bpf_get_current_comm(p.comm, sizeof(p.comm));
	k_put(&waiting, &key, &p);
	return 0;
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(delivered, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	struct target key = { .pid = k_current_pid(), .sig = sig };
	struct pending *p = bpf_map_lookup_elem(&waiting, &key);
	struct arrival *ev;

	if (!p)
		return 0;
	ev = bpf_ringbuf_reserve(&arrivals, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = key.pid;
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->sig = sig;
		ev->sender = p->sender;
		__builtin_memcpy(ev->sender_comm, p->comm, sizeof(ev->sender_comm));
		ev->latency = ev->time - p->since;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&waiting, &key);
	return 0;
}
