// A program that is in the middle of one event when it begins another one of the same buffer, as one
// that interrupts it would: perf buffers have room for one at a time.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;

struct call { __u64 n; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct call);
} calls SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	if (PT_REGS_PARM1(regs) != mark)
		return 0;
	struct call *first = bpf_ringbuf_reserve(&calls, sizeof(*first), 0);
	if (!first)
		return 0;
	first->n = PT_REGS_PARM2(regs);
	struct call *second = bpf_ringbuf_reserve(&calls, sizeof(*second), 0);
	if (second) {
		second->n = 1 << 20;
		bpf_ringbuf_submit(second, 0);
	}
	bpf_ringbuf_submit(first, 0);
	return 0;
}
