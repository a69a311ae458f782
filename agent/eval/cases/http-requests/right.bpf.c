// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

#define LINE 64

struct request {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	char method[8];
	char path[LINE];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct request);
} requests SEC(".maps");

static __always_inline int sends(const char *buf, __u64 len)
{
	char line[LINE] = {};
	struct request *ev;
	__u32 i, at = 0, n = 0;

	if (len < 6 || !k_task_wanted())
		return 0;
	bpf_probe_read_user(line, len < LINE ? (__u32)len & (LINE - 1) : LINE, buf);
	if (!k_has_prefix("GET ", line) && !k_has_prefix("POST ", line) && !k_has_prefix("PUT ", line) && !k_has_prefix("DELETE ", line) && !k_has_prefix("HEAD ", line))
		return 0;
	ev = bpf_ringbuf_reserve(&requests, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	for (i = 0; i < LINE; i++) {
		char c = line[i];
		if (c == ' ' || c == '\r' || c == '\n' || !c) {
			if (at++)
				break;
			n = 0;
			continue;
		}
		if (at == 0 && n < sizeof(ev->method) - 1)
			ev->method[n & 7] = c;
		if (at == 1 && n < LINE - 1)
			ev->path[n & (LINE - 1)] = c;
		n++;
	}
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

SEC("tp/syscalls/sys_enter_write")
int writes(struct trace_event_raw_sys_enter *ctx)
{
	return sends((const char *)ctx->args[1], ctx->args[2]);
}

SEC("tp/syscalls/sys_enter_sendto")
int sendto(struct trace_event_raw_sys_enter *ctx)
{
	return sends((const char *)ctx->args[1], ctx->args[2]);
}
