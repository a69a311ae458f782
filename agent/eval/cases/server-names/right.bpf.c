// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct hello {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	char server[128];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct hello);
} hellos SEC(".maps");

#define MESSAGE 512
#define EXTENSIONS 16

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8[MESSAGE + 256]);
} room SEC(".maps");

static __always_inline __u32 two(const __u8 *b, __u32 at)
{
	if (at > MESSAGE)
		return 0;
	return b[at] << 8 | b[at + 1];
}

SEC("tp/syscalls/sys_enter_write")
int writes(struct trace_event_raw_sys_enter *ctx)
{
	__u32 zero = 0, at;
	__u64 size = ctx->args[2];
	struct hello *ev;
	__u8 *b;

	b = bpf_map_lookup_elem(&room, &zero);
	if (size > MESSAGE)
		size = MESSAGE;
	barrier_var(size); /* or else the compiler knows more than the verifier */
	if (!b || size < 64 || size > MESSAGE || !k_task_wanted())
		return 0;
	if (bpf_probe_read_user(b, size, (void *)ctx->args[1]))
		return 0;
	/* A record of type handshake, and in it a ClientHello. */
	if (b[0] != 22 || b[1] != 3 || b[5] != 1)
		return 0;
	at = 5 + 4 + 2 + 32;
	at += 1 + b[at];                  /* session */
	at += 2 + two(b, at);             /* ciphers */
	if (at > MESSAGE)
		return 0;
	at += 1 + b[at];                  /* compression */
	at += 2;                          /* the extensions' length */
	for (int i = 0; i < EXTENSIONS; i++) {
		__u32 length;

		if (at + 4 > size || at > MESSAGE)
			return 0;
		length = two(b, at + 2);
		if (two(b, at) == 0) { /* server_name: a list of one, its type, its length, and the name */
			length = two(b, at + 7);
			if (length > 127)
				length = 127;
			if (at + 9 + length > size)
				return 0;
			ev = bpf_ringbuf_reserve(&hellos, sizeof(*ev), 0);
			if (!ev)
				return 0;
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = bpf_ktime_get_ns();
			ev->pid = k_current_pid();
			bpf_get_current_comm(ev->comm, sizeof(ev->comm));
			bpf_probe_read_user(ev->server, length & 127, (const char *)ctx->args[1] + at + 9);
			bpf_ringbuf_submit(ev, 0);
			return 0;
		}
		at += 4 + length;
	}
	return 0;
}
