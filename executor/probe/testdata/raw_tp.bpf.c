// Two rings: one for the entry, one for the exit of the same system call.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;

struct call {
	k_pid pid;
	__u32 pad;
	__u64 number;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct call);
} enters SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct call);
} leaves SEC(".maps");

static __always_inline int report(void *ring, const struct pt_regs *regs)
{
	struct call e = {.pid = k_current_pid()};

	bpf_core_read(&e.number, sizeof(e.number), &PT_REGS_PARM1(regs));
	if (e.number != mark)
		return 0;
	bpf_core_read(&e.number, sizeof(e.number), &PT_REGS_PARM2(regs));
	bpf_ringbuf_output(ring, &e, sizeof(e), 0);
	return 0;
}

SEC("raw_tp/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	return report(&enters, regs);
}

SEC("raw_tp/sys_exit")
int BPF_PROG(leave, struct pt_regs *regs, long ret)
{
	return report(&leaves, regs);
}
