// bpf_ringbuf_output with an event on the stack, and a queue of padding.
#include "kgent.bpf.h"

struct exec_event {
	u32 pid;
	u32 uid;
	u64 cgroup;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16384);
} ringbuf SEC(".maps");

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *ctx)
{
	struct exec_event ev = {0};
	u64 ids = bpf_get_current_pid_tgid();
	ev.pid = ids >> 32;
	ev.uid = bpf_get_current_uid_gid() & 0xffffffff;
	ev.cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(&ev.comm, sizeof(ev.comm));
	bpf_ringbuf_output(&ringbuf, &ev, sizeof(ev), 0);
	return 0;
}
