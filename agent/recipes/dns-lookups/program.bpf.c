// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Host names looked up with the C library's getaddrinfo, how long that took and
 * what came of it. A call whose start was before the trace is left out.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_ns threshold = 0; /* 0: all */

/* What getaddrinfo returns; the names are those of netdb.h without EAI_. */
enum lookup_result {
	FOUND = 0,
	BADFLAGS = -1,
	NONAME = -2,
	AGAIN = -3,
	FAIL = -4,
	NODATA = -5,
	FAMILY = -6,
	SOCKTYPE = -7,
	SERVICE = -8,
	ADDRFAMILY = -9,
	MEMORY = -10,
	SYSTEM = -11,
};

struct lookup_event {
	k_time time; /* of the call */
	k_pid pid;
	k_tid tid;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	char host[256];
	enum lookup_result result;
	k_ns latency;
};

struct lookup_call {
	__u64 start;
	const char *host;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct lookup_event);
} lookups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct lookup_call);
} calls SEC(".maps");

SEC("uprobe/libc.so.6:getaddrinfo")
int BPF_UPROBE(lookup_enter, const char *host)
{
	struct lookup_call c = { .host = host };
	__u32 tid = k_current_tid();

	if (!host || !k_task_wanted()) /* without a host it is no lookup */
		return 0;
	c.start = bpf_ktime_get_ns();
	k_put(&calls, &tid, &c);
	return 0;
}

SEC("uretprobe/libc.so.6:getaddrinfo")
int BPF_URETPROBE(lookup_exit, int result)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 tid = k_current_tid();
	struct lookup_call *c = bpf_map_lookup_elem(&calls, &tid);
	struct lookup_event *ev;

	if (!c)
		return 0;
	if (now - c->start >= threshold) {
		ev = bpf_ringbuf_reserve(&lookups, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = c->start;
			ev->pid = k_current_pid();
			ev->tid = tid;
			ev->uid = k_current_uid();
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			bpf_probe_read_user_str(ev->host, sizeof(ev->host), c->host);
			ev->result = result;
			ev->latency = now - c->start;
			bpf_ringbuf_submit(ev, 0);
		}
	}
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}
