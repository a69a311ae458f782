// A call's own tracepoint by another name of the section, and a struct for its arguments by hand.
#include "kgent.bpf.h"

struct sys_enter_kill_args {
	unsigned short common_type;
	unsigned char common_flags;
	unsigned char common_preempt_count;
	int common_pid;
	long __syscall_nr;
	long pid;
	long sig;
};

struct kill_event { k_pid pid; k_pid target; k_signal sig; char comm[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} kills SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_kill")
int on_kill(struct sys_enter_kill_args *args)
{
	struct kill_event *k = bpf_ringbuf_reserve(&kills, sizeof(struct kill_event), 0);

	if (!k)
		return 0;
	k->pid = bpf_get_current_pid_tgid() >> 32;
	k->target = args->pid;
	k->sig = args->sig;
	bpf_get_current_comm(k->comm, sizeof(k->comm));
	bpf_ringbuf_submit(k, 0);
	return 0;
}
