// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct cell {
	k_pid pid;
	char comm[TASK_COMM_LEN];
	__u32 status;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct cell);
	__type(value, k_count);
} statuses SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} reading SEC(".maps");

SEC("tp/syscalls/sys_enter_read")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	__u64 buf = ctx->args[1];

	if (k_task_wanted())
		k_put(&reading, &tid, &buf);
	return 0;
}

static __always_inline bool digit(char c)
{
	return c >= '0' && c <= '9';
}

SEC("tp/syscalls/sys_exit_read")
int answered(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	__u64 *buf = bpf_map_lookup_elem(&reading, &tid), at;
	struct cell key = {};
	char b[12] = {};
	k_count *n;

	if (!buf)
		return 0;
	at = *buf;
	bpf_map_delete_elem(&reading, &tid);
	/* "HTTP/1.1 200": what is there is there only after the call. */
	if (ctx->ret < 12 || bpf_probe_read_user(b, sizeof(b), (void *)at))
		return 0;
	if (b[0] != 'H' || b[1] != 'T' || b[2] != 'T' || b[3] != 'P' || b[4] != '/' || b[5] != '1' || b[6] != '.' || b[8] != ' ')
		return 0;
	if (!digit(b[9]) || !digit(b[10]) || !digit(b[11]))
		return 0;
	key.pid = k_current_pid();
	k_process_comm(key.comm, (void *)bpf_get_current_task());
	key.status = (b[9] - '0') * 100 + (b[10] - '0') * 10 + (b[11] - '0');
	n = k_cell(&statuses, &key, k_count);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
