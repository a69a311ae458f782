#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct flags {
	__u64 seen;
};

struct ev {
	k_time ts;
	k_pid pid;
	__u32 bits;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct ev);
} protections SEC(".maps");

static long count_bit(__u32 i, void *data)
{
	struct { __u64 v; __u32 n; } *c = data;

	if (c->v >> i & 1)
		c->n++;
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_mprotect")
int on_mprotect(struct trace_event_raw_sys_enter *ctx)
{
	struct { __u64 v; __u32 n; } c = { .v = ctx->args[2] };
	struct ev *e;

	bpf_loop(3, count_bit, &c, 0);
	e = bpf_ringbuf_reserve(&protections, sizeof(*e), 0);
	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->bits = c.n;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
