// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct chain {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_count execs;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct chain);
} chains SEC(".maps");

/* How many programs each process that descends from a wanted one has been so far. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} been SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(born, struct task_struct *parent, struct task_struct *child)
{
	__u32 process = child->tgid, me = k_current_pid();
	__u64 none = 0;

	if (child->pid != child->tgid)
		return 0;
	if (k_task_wanted() || bpf_map_lookup_elem(&been, &me))
		k_put(&been, &process, &none);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(becomes, struct task_struct *p, int old_pid, struct linux_binprm *bprm)
{
	__u32 me = k_current_pid();
	__u64 *n = bpf_map_lookup_elem(&been, &me);

	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(gone, struct task_struct *task)
{
	__u32 me = k_current_pid();
	__u64 *n = bpf_map_lookup_elem(&been, &me);
	struct chain *ev;

	if (BPF_CORE_READ(task, signal, live.counter) != 0 || !n)
		return 0;
	if (*n >= 3) {
		ev = bpf_ringbuf_reserve(&chains, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = bpf_ktime_get_ns();
			ev->pid = me;
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			ev->execs = *n;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&been, &me);
	return 0;
}
