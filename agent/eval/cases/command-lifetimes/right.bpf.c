// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct ended {
	k_time time;
	k_pid pid;
	k_pid parent;
	char file[256];
	k_exitcode status;
	k_ns ran;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct ended);
} commands SEC(".maps");

struct command {
	__u64 start;
	__u32 parent;
	char file[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct command);
} running SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct command);
} room SEC(".maps");

SEC("tp_btf/sched_process_exec")
int BPF_PROG(begins, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	__u32 zero = 0, me = k_current_pid();
	struct command *c;

	if (!k_wants_task(parent))
		return 0;
	c = bpf_map_lookup_elem(&room, &zero);
	if (!c)
		return 0;
	c->start = bpf_ktime_get_ns();
	c->parent = BPF_CORE_READ(parent, tgid);
	__builtin_memset(c->file, 0, sizeof(c->file));
	bpf_probe_read_kernel_str(c->file, sizeof(c->file), BPF_CORE_READ(bprm, filename));
	k_put(&running, &me, c);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(ends, struct task_struct *task)
{
	__u32 me = k_current_pid();
	struct command *c;
	struct ended *ev;

	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	c = bpf_map_lookup_elem(&running, &me);
	if (!c)
		return 0;
	ev = bpf_ringbuf_reserve(&commands, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = me;
		ev->parent = c->parent;
		__builtin_memcpy(ev->file, c->file, sizeof(ev->file));
		ev->status = BPF_CORE_READ(task, signal, flags) & 4 /* SIGNAL_GROUP_EXIT */ ? BPF_CORE_READ(task, signal, group_exit_code) : BPF_CORE_READ(task, group_leader, exit_code);
		ev->ran = ev->time - c->start;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&running, &me);
	return 0;
}
