// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct stop {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_pid by;
	k_ns stopped;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct stop);
} stops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} since SEC(".maps");

SEC("tp_btf/signal_generate")
int BPF_PROG(generated, int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	__u32 target = task->tgid;
	__u64 *at, now = bpf_ktime_get_ns();
	struct stop *ev;

	if (!k_task_wanted())
		return 0;
	if (sig == SIGSTOP) {
		k_put(&since, &target, &now);
		return 0;
	}
	at = bpf_map_lookup_elem(&since, &target);
	if (sig != SIGCONT || !at)
		return 0;
	ev = bpf_ringbuf_reserve(&stops, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = now;
		ev->pid = target;
		k_process_comm(ev->comm, task);
		ev->by = k_current_pid();
		ev->stopped = now - *at;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&since, &target);
	return 0;
}
