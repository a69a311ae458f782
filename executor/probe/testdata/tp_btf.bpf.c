// Every getppid whose first argument register holds the mark: tests call it
// with one of their own, so that nobody else's calls are seen.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;
const volatile k_pid kgent_self = 0;

struct call {
	k_pid pid;
	k_pid self;
	__u64 number;
	__u64 pad[6];
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct call);
} events SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	if (PT_REGS_PARM1(regs) != mark)
		return 0;
	struct call *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->pid = k_current_pid();
	e->self = kgent_self;
	e->number = PT_REGS_PARM2(regs);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
