// Global variables of every kind.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;
const volatile __u32 parameter = 7;
__u64 zeroed;
__u64 initialized = 40;
static __u64 hidden = 2;
__u64 own_section SEC(".data.own") = 5;
extern int LINUX_KERNEL_VERSION __kconfig;

struct values {
	__u64 parameter, zeroed, initialized, hidden, own_section, version;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct values);
} events SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	if (PT_REGS_PARM1(regs) != mark)
		return 0;
	struct values e = {
		.parameter = parameter,
		.zeroed = __sync_fetch_and_add(&zeroed, 1),
		.initialized = __sync_fetch_and_add(&initialized, 1),
		.hidden = __sync_fetch_and_add(&hidden, 1),
		.own_section = own_section,
		.version = LINUX_KERNEL_VERSION,
	};
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
