// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* One event of 64 bytes for every getppid(2): the benchmarks' load. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct hit_event {
	k_time time;
	k_pid pid;
	k_tid tid;
	char comm[TASK_COMM_LEN];
	__u64 args[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
	__type(value, struct hit_event);
} hits SEC(".maps");

const volatile k_pid pid = 0;

SEC("tp/syscalls/sys_enter_getppid")
int hit(void *ctx)
{
	struct hit_event *e;

	if (k_current_pid() != pid)
		return 0;
	e = bpf_ringbuf_reserve(&hits, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = k_current_pid();
	e->tid = k_current_tid();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	__builtin_memset(e->args, 0, sizeof(e->args));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
