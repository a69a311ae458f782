// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct run {
	k_time time;
	k_pid pid;
	k_pid parent;
	char parent_comm[TASK_COMM_LEN];
	char name[64];
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
	const unsigned char *name = BPF_CORE_READ(bprm, file, f_path.dentry, d_name.name);
	char text[64] = {};
	struct run *ev;

	if (!k_wants_task(parent))
		return 0;
	bpf_probe_read_kernel_str(text, sizeof(text), name);
	/* Anybody may name a file so; only what is in no directory has no link. */
	if (text[0] != 'm' || text[1] != 'e' || text[2] != 'm' || text[3] != 'f' || text[4] != 'd' || text[5] != ':')
		return 0;
	if (BPF_CORE_READ(bprm, file, f_inode, i_nlink) != 0)
		return 0;
	ev = bpf_ringbuf_reserve(&runs, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->parent = BPF_CORE_READ(parent, tgid);
	bpf_core_read_str(ev->parent_comm, sizeof(ev->parent_comm), &parent->comm);
	__builtin_memcpy(ev->name, text, sizeof(ev->name));
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
