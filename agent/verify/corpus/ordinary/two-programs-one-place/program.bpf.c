#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, k_pid);
	__type(value, k_count);
} forks SEC(".maps") KGENT_OUTPUT;

struct child {
	k_time ts;
	k_pid parent, pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct child);
} children SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(count_fork, struct task_struct *parent, struct task_struct *child)
{
	k_pid pid = parent->tgid;
	k_count one = 1, *n;

	n = bpf_map_lookup_elem(&forks, &pid);
	if (n)
		*n += 1;
	else
		bpf_map_update_elem(&forks, &pid, &one, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(show_fork, struct task_struct *parent, struct task_struct *child)
{
	struct child c = {};

	if (child->pid != child->tgid)
		return 0;
	c.ts = bpf_ktime_get_ns();
	c.parent = parent->tgid;
	c.pid = child->tgid;
	bpf_ringbuf_output(&children, &c, sizeof(c), 0);
	return 0;
}
