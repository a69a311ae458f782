// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct command {
	k_pid pid;
	char name[12];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct command);
	__type(value, k_count);
} commands SEC(".maps") KGENT_OUTPUT;

SEC("tp/syscalls/sys_enter_write")
int writes(struct trace_event_raw_sys_enter *ctx)
{
	__u64 len = ctx->args[2];
	char head[32] = {};
	struct command key = {};
	k_count *n;
	__u32 i;

	if (len < 10 || !k_task_wanted())
		return 0;
	bpf_probe_read_user(head, len < sizeof(head) ? (__u32)len & 31 : (__u32)sizeof(head), (void *)ctx->args[1]);
	/* *2 \r\n $3 \r\n GET \r\n: no command has ten arguments or letters here. */
	if (head[0] != '*')
		return 0;
	for (i = 0; i < sizeof(key.name) - 1; i++) {
		char c = head[8 + i];
		if (c == '\r' || !c)
			break;
		if (c >= 'a' && c <= 'z')
			c -= 'a' - 'A';
		key.name[i] = c;
	}
	key.pid = k_current_pid();
	n = k_cell(&commands, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
