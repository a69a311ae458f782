#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, __u64);
} woken SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, k_pid);
	__type(value, k_stats_us);
} waits SEC(".maps") KGENT_OUTPUT;

static int trace_enqueue(__u32 pid)
{
	__u64 ts;

	if (!pid)
		return 0;
	ts = bpf_ktime_get_ns();
	bpf_map_update_elem(&woken, &pid, &ts, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup, struct task_struct *p)
{
	return trace_enqueue(p->pid);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new, struct task_struct *p)
{
	return trace_enqueue(p->pid);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u32 pid = next->pid;
	k_pid tgid = next->tgid;
	struct k_stats *s, fresh = {};
	__u64 *tsp, us;

	tsp = bpf_map_lookup_elem(&woken, &pid);
	if (!tsp)
		return 0;
	us = (bpf_ktime_get_ns() - *tsp) / 1000;
	bpf_map_delete_elem(&woken, &pid);
	s = bpf_map_lookup_elem(&waits, &tgid);
	if (!s) {
		if (bpf_map_update_elem(&waits, &tgid, &fresh, BPF_NOEXIST))
			return 0;
		s = bpf_map_lookup_elem(&waits, &tgid);
		if (!s)
			return 0;
	}
	if (!s->count || us < s->min)
		s->min = us;
	if (us > s->max)
		s->max = us;
	s->sum += us;
	s->count += 1;
	return 0;
}
