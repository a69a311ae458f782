#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;

struct call {
	k_pid pid;
	__u32 pad;
	__u64 number;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct call);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_close")
int enter(struct trace_event_raw_sys_enter *ctx)
{
	struct call e = {.pid = k_current_pid(), .number = ctx->args[0]};

	if (ctx->args[0] == mark)
		bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
