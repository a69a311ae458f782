// kgent-target is target.c, compiled by the test; see there.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct hit {
	k_pid pid;
	__u32 where;
	__u64 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct hit);
} events SEC(".maps");

static __always_inline int hit(void *ctx, __u32 where, __u64 value)
{
	struct hit e = {.pid = k_current_pid(), .where = where, .value = value};

	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}

SEC("uprobe/kgent-target:work")
int BPF_UPROBE(called, int n)
{
	return hit(ctx, 1, (__u32)n);
}

SEC("uretprobe/kgent-target:work")
int BPF_URETPROBE(returned, int n)
{
	return hit(ctx, 2, (__u32)n);
}

SEC("usdt/kgent-target:kgent:plain")
int plain(struct pt_regs *ctx)
{
	return hit(ctx, 3, 0);
}

SEC("usdt/kgent-target:kgent:guarded")
int guarded(struct pt_regs *ctx)
{
	return hit(ctx, 4, 0);
}
