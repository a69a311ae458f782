// The record's type is called after the event, which belongs to a class of another name.
#include "kgent.bpf.h"

struct wake { k_pid pid; char comm[16]; int cpu; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct wake);
} wakes SEC(".maps");

SEC("tracepoint/sched/sched_wakeup")
int on_wakeup(struct trace_event_raw_sched_wakeup *ctx)
{
	struct wake *e = bpf_ringbuf_reserve(&wakes, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->pid = ctx->pid;
	e->cpu = ctx->target_cpu;
	bpf_probe_read_kernel_str(e->comm, sizeof(e->comm), ctx->comm);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
