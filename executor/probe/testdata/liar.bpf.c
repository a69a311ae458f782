// Submits events behind the back of the counters.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;

struct event {
	__u64 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	struct event e = {.value = id};

	if (PT_REGS_PARM1(regs) == mark)
		kgent_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
