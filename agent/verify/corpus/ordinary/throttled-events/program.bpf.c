#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

const volatile k_ns interval = 1000000000;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, __u64);
} last SEC(".maps");

struct oom {
	k_time ts;
	k_pid pid;
	__u32 _pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct oom);
} yields SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_sched_yield")
int on_yield(void *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns();
	__u64 *prev = bpf_map_lookup_elem(&last, &pid);
	struct oom *e;

	if (prev && now - *prev < interval)
		return 0;
	bpf_map_update_elem(&last, &pid, &now, BPF_ANY);
	e = bpf_ringbuf_reserve(&yields, sizeof(*e), 0);
	if (!e)
		return 0;
	e->ts = now;
	e->pid = pid;
	e->_pad = 0;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
