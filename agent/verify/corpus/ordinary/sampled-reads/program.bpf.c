#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct read_event {
	k_time ts;
	k_pid pid;
	k_uid uid;
	k_bytes size;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct read_event);
} reads SEC(".maps");

SEC("tracepoint/syscalls/sys_exit_read")
int trace_read_exit(struct trace_event_raw_sys_exit *ctx)
{
	struct read_event *e;
	long ret = ctx->ret;

	if (ret <= 0)
		return 0;
	if (bpf_get_prandom_u32() % 100 != 0)
		return 0;
	e = bpf_ringbuf_reserve(&reads, sizeof(*e), 0);
	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->uid = (__u32)bpf_get_current_uid_gid();
	e->size = ret;
	bpf_get_current_comm(&e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
