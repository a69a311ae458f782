#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct args {
	__u64 fd;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct args);
} active SEC(".maps");

struct failure {
	k_time ts;
	k_pid pid;
	k_errno error;
	__u32 fd;
	char comm[16];
	__u32 _pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
	__type(value, struct failure);
} failures SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_connect")
int enter_connect(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct args a = { .fd = ctx->args[0] };

	bpf_map_update_elem(&active, &tid, &a, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_connect")
int exit_connect(struct trace_event_raw_sys_exit *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = id;
	struct args *a = bpf_map_lookup_elem(&active, &tid);
	struct failure *f;

	if (!a)
		return 0;
	if (ctx->ret >= 0)
		goto cleanup;
	f = bpf_ringbuf_reserve(&failures, sizeof(*f), 0);
	if (!f)
		goto cleanup;
	f->ts = bpf_ktime_get_ns();
	f->pid = id >> 32;
	f->error = -ctx->ret;
	f->fd = a->fd;
	f->_pad = 0;
	bpf_get_current_comm(f->comm, sizeof(f->comm));
	bpf_ringbuf_submit(f, 0);
cleanup:
	bpf_map_delete_elem(&active, &tid);
	return 0;
}
