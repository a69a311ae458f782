// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct renicing { k_time time; k_pid pid; char comm[TASK_COMM_LEN]; __s32 nice; };
struct renice_call { __s32 nice; };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct renicing);
} reniced SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct renice_call);
} calls SEC(".maps");

SEC("tp/syscalls/sys_enter_setpriority")
int asked(struct trace_event_raw_sys_enter *ctx)
{
	struct renice_call c = { .nice = (int)ctx->args[2] };
	__u32 tid = k_current_tid();

	k_put(&calls, &tid, &c);
	return 0;
}

SEC("tp/syscalls/sys_exit_setpriority")
int done(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	struct renice_call *c = bpf_map_lookup_elem(&calls, &tid);
	struct renicing *ev;

	if (!c || ctx->ret < 0)
		goto out;
	ev = bpf_ringbuf_reserve(&reniced, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = k_current_pid();
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->nice = c->nice;
		bpf_ringbuf_submit(ev, 0);
	}
out:
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}
