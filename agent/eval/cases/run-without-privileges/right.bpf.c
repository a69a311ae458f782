// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct run {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_pid parent;
	char file[128];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct run);
} runs SEC(".maps");

SEC("tp_btf/sched_process_exec")
int BPF_PROG(executed, struct task_struct *p, int old_pid, struct linux_binprm *bprm)
{
	const struct task_struct *parent = BPF_CORE_READ(p, real_parent);
	struct run *ev;

	if (!k_wants_task(parent))
		return 0;
	if (!(BPF_CORE_READ(p, atomic_flags) & 1 /* PFA_NO_NEW_PRIVS */))
		return 0;
	ev = bpf_ringbuf_reserve(&runs, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	ev->parent = BPF_CORE_READ(parent, tgid);
	bpf_probe_read_kernel_str(ev->file, sizeof(ev->file), BPF_CORE_READ(bprm, filename));
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
