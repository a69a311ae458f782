#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct kill_event {
	k_time ts;
	k_pid pid;
	k_pid target;
	k_signal sig;
	__u32 _pad;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct kill_event);
} kills SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_kill")
int on_kill(struct trace_event_raw_sys_enter *ctx)
{
	struct kill_event ev = {};

	ev.ts = bpf_ktime_get_ns();
	ev.pid = bpf_get_current_pid_tgid() >> 32;
	ev.target = (pid_t)BPF_CORE_READ(ctx, args[0]);
	ev.sig = (int)BPF_CORE_READ(ctx, args[1]);
	bpf_get_current_comm(&ev.comm, sizeof(ev.comm));
	bpf_ringbuf_output(&kills, &ev, sizeof(ev), 0);
	return 0;
}
