// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Processes that the out-of-memory killer ends. The current task is the one
 * whose allocation found no memory.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct oom_event {
	k_time time;
	k_pid victim_pid;
	char victim[TASK_COMM_LEN];
	k_uid victim_uid;
	k_bytes virtual;
	k_bytes anonymous;
	k_bytes file;
	k_bytes shared;
	__s32 oom_score_adj;
	k_pid by_pid;
	char by[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct oom_event);
} kills SEC(".maps");

SEC("tp/oom/mark_victim")
int oom_victim(struct trace_event_raw_mark_victim *ctx)
{
	struct oom_event *ev = bpf_ringbuf_reserve(&kills, sizeof(*ev), 0);

	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->victim_pid = ctx->pid;
	/* A dynamic string: its offset from the record is in the low half. */
	bpf_probe_read_kernel_str(ev->victim, sizeof(ev->victim), (const char *)ctx + (ctx->__data_loc_comm & 0xffff));
	ev->victim_uid = ctx->uid;
	ev->virtual = ctx->total_vm << 10; /* from KiB */
	ev->anonymous = ctx->anon_rss << 10;
	ev->file = ctx->file_rss << 10;
	ev->shared = ctx->shmem_rss << 10;
	ev->oom_score_adj = ctx->oom_score_adj;
	ev->by_pid = k_current_pid();
	k_process_comm(ev->by, (const void *)bpf_get_current_task());
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
