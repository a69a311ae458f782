// Large events of one buffer from two programs, one of which interrupts the other: what each writes is
// one number, over and over.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;

struct filled { __u64 word[256]; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
	__type(value, struct filled);
} events SEC(".maps");

static __always_inline void fill(void *ctx, __u64 n)
{
	struct filled *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return;
	for (int i = 0; i < 256; i++)
		WRITE_ONCE(e->word[i], n);
	bpf_ringbuf_submit(e, 0);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	if (PT_REGS_PARM1(regs) == mark)
		fill(ctx, PT_REGS_PARM2(regs));
	return 0;
}

SEC("perf_event/cpu-clock/5000")
int sampled(void *ctx)
{
	fill(ctx, ~0ULL);
	return 0;
}
