// Each marked call leaves records of several sizes, and between them some that it discards.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;

struct sized {
	__u64 n;
	char rest[];
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct sized);
} records SEC(".maps");

#define RECORD(size) do { \
	struct sized *r = bpf_ringbuf_reserve(&records, size, 0); \
	if (r) { \
		__builtin_memset(r, 0, 16); \
		r->n = n; \
		((__u64 *)r)[(size) / 8 - 1] = n; \
		bpf_ringbuf_submit(r, 0); \
	} \
} while (0)

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	__u64 n = PT_REGS_PARM2(regs);

	if (PT_REGS_PARM1(regs) != mark)
		return 0;
	RECORD(16);
	void *left = bpf_ringbuf_reserve(&records, 4000, 0);
	if (left)
		bpf_ringbuf_discard(left, 0);
	RECORD(24);
	RECORD(3000);
	RECORD(100000);
	RECORD(1500000);
	return 0;
}
