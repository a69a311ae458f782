// Each marked call leaves events of two kinds, of sizes that are no multiple of 8, in an order that
// their numbers tell; of two that are put together at the same time, and one that is thrown away.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;

struct odd { __u8 b[13]; };
struct even { __u64 n; __u8 b[92]; } __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct odd);
} odds SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct even);
} evens SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	if (PT_REGS_PARM1(regs) != mark)
		return 0;
	__u64 n = PT_REGS_PARM2(regs);
	struct odd copied = {};
	__builtin_memset(copied.b, n, sizeof(copied.b));
	bpf_ringbuf_output(&odds, &copied, sizeof(copied), 0);

	struct even *e = bpf_ringbuf_reserve(&evens, sizeof(*e), 0);
	if (!e)
		return 0;
	struct odd *o = bpf_ringbuf_reserve(&odds, sizeof(*o), 0); /* of the other buffer: there is room */
	if (o) {
		__builtin_memset(o->b, n + 1, sizeof(o->b));
		if (n % 2)
			bpf_ringbuf_submit(o, 0);
		else
			bpf_ringbuf_discard(o, 0);
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->n = n;
	e->b[91] = n;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
