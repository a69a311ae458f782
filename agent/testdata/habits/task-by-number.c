// Members of the current task are read as if its pointer could be followed.
#include "kgent.bpf.h"

struct forked { k_pid pid; k_pid parent; __s32 prio; char comm[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct forked);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_getppid")
int asked(struct trace_event_raw_sys_enter *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct forked *e;

	if (task->prio > 200 || task->real_parent->tgid == 0)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(struct forked), 0);
	if (!e)
		return 0;
	e->pid = task->tgid;
	e->parent = task->real_parent->tgid;
	e->prio = task->prio;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
