// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct open_event {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	k_uid uid;
	char path[128];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct open_event);
} opens SEC(".maps");

/* The user that a thread was, before a call that changes it; and threads that are no longer root. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} changing SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u8);
} dropped SEC(".maps");

static __always_inline int changes(void)
{
	__u32 tid = k_current_tid(), was = k_current_uid();

	if (k_task_wanted())
		k_put(&changing, &tid, &was);
	return 0;
}

static __always_inline int changed(void)
{
	__u32 tid = k_current_tid();
	__u32 *was = bpf_map_lookup_elem(&changing, &tid);
	__u8 yes = 1;

	if (was && *was == 0 && k_current_uid() != 0)
		k_put(&dropped, &tid, &yes);
	bpf_map_delete_elem(&changing, &tid);
	return 0;
}

SEC("tp/syscalls/sys_enter_setuid")
int setuid_asks(struct trace_event_raw_sys_enter *ctx) { return changes(); }
SEC("tp/syscalls/sys_exit_setuid")
int setuid_done(struct trace_event_raw_sys_exit *ctx) { return changed(); }
SEC("tp/syscalls/sys_enter_setreuid")
int setreuid_asks(struct trace_event_raw_sys_enter *ctx) { return changes(); }
SEC("tp/syscalls/sys_exit_setreuid")
int setreuid_done(struct trace_event_raw_sys_exit *ctx) { return changed(); }
SEC("tp/syscalls/sys_enter_setresuid")
int setresuid_asks(struct trace_event_raw_sys_enter *ctx) { return changes(); }
SEC("tp/syscalls/sys_exit_setresuid")
int setresuid_done(struct trace_event_raw_sys_exit *ctx) { return changed(); }

SEC("tp/syscalls/sys_enter_openat")
int opened(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	struct open_event *ev;

	if (!bpf_map_lookup_elem(&dropped, &tid))
		return 0;
	ev = bpf_ringbuf_reserve(&opens, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->tid = tid;
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	ev->uid = k_current_uid();
	bpf_probe_read_user_str(ev->path, sizeof(ev->path), (void *)ctx->args[1]);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(gone, struct task_struct *task)
{
	__u32 tid = k_current_tid();

	bpf_map_delete_elem(&dropped, &tid);
	bpf_map_delete_elem(&changing, &tid);
	return 0;
}
