// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Programs that are executed, with their arguments.
 *
 * When the event fires the new program's stack has just been written, so the
 * arguments are read from there in one piece, as the program will see them.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct exec_event {
	k_time time;
	k_pid pid;
	k_pid parent;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	char file[256];
	k_args args;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct exec_event);
} execs SEC(".maps");

/*
 * The filter is for the program that starts and for the process that started
 * it: "what does cron run" means cron's children. The user is the program's.
 */
static __always_inline bool wanted(struct task_struct *task)
{
	struct task_struct *parent;
	char name[TASK_COMM_LEN] = {};

	if (k_task_wanted())
		return true;
	if (!pid && !comm[0])
		return false;
	parent = BPF_CORE_READ(task, real_parent);
	bpf_core_read_str(name, sizeof(name), &parent->comm);
	return k_task_passes(BPF_CORE_READ(parent, tgid), k_current_uid(), name, parent);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(executed, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct exec_event *ev;
	__u64 start, length;

	if (!wanted(task))
		return 0;
	ev = bpf_ringbuf_reserve(&execs, sizeof(*ev), 0);
	if (!ev)
		return 0;
	k_zero(ev, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->parent = BPF_CORE_READ(task, real_parent, tgid);
	ev->uid = k_current_uid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	bpf_probe_read_kernel_str(ev->file, sizeof(ev->file), BPF_CORE_READ(bprm, filename));
	start = BPF_CORE_READ(task, mm, arg_start);
	length = BPF_CORE_READ(task, mm, arg_end) - start;
	if (length > sizeof(ev->args.s)) {
		ev->args.len = sizeof(ev->args.s) + 1; /* says that it is cut short */
		length = sizeof(ev->args.s);
	} else {
		ev->args.len = length;
	}
	bpf_probe_read_user(ev->args.s, length, (const void *)start);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
