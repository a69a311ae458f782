// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Processes that end, once each, when their last thread does.
 *
 * Two threads that end at the same time can both find themselves the last;
 * whoever is first to enter the process into a map reports it.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_signal sig = 0; /* that ended the process; 0: any end */

#define SIGNAL_GROUP_EXIT 4

struct exit_event {
	k_time time;
	k_pid pid;
	k_pid parent;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	k_exitcode status;
	k_ns lived;
};

struct exit_key {
	__u64 start;
	__u32 pid;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct exit_event);
} exits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct exit_key);
	__type(value, __u8);
} reported SEC(".maps");

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct exit_event *ev;
	struct exit_key key = {};
	__u8 one = 1;
	int status;

	if (BPF_CORE_READ(signal, live.counter) != 0 || !k_task_wanted())
		return 0;
	/* exit_group(2) and deadly signals end all threads with one status. */
	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		status = BPF_CORE_READ(signal, group_exit_code);
	else
		status = BPF_CORE_READ(leader, exit_code);
	if (sig && (status & 0x7f) != sig)
		return 0;
	key.start = BPF_CORE_READ(leader, start_time);
	key.pid = k_current_pid();
	if (bpf_map_update_elem(&reported, &key, &one, BPF_NOEXIST))
		return 0;
	ev = bpf_ringbuf_reserve(&exits, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = key.pid;
	ev->parent = BPF_CORE_READ(leader, real_parent, tgid);
	ev->uid = k_current_uid();
	BPF_CORE_READ_STR_INTO(&ev->comm, leader, comm);
	ev->status = status;
	ev->lived = ev->time - key.start;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
