// Parameters called like the filter's, and a local called pid.
#include "kgent.bpf.h"

const volatile __u32 pid = 0;
const volatile char comm[16] = "";

struct event { k_pid pid; char comm[16]; k_errno err; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

KGENT_TASK_FILTER

SEC("tp/syscalls/sys_exit_openat")
int failed(struct trace_event_raw_sys_exit *ctx)
{
	if (ctx->ret >= 0 || !k_task_wanted())
		return 0;
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->pid = k_current_pid();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->err = -ctx->ret;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
