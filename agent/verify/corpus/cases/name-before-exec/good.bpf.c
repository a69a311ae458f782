// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Programs that are executed: the new name. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct exec_event {
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct exec_event);
} execs SEC(".maps");

SEC("tp/sched/sched_process_exec")
int executed(void *ctx)
{
	struct exec_event *ev = bpf_ringbuf_reserve(&execs, sizeof(*ev), 0);

	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
