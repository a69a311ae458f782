// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Calls that change a process's user or group ids, with their result. An id of
 * 4294967295 (-1) leaves what it stands for as it is.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum id_call { setuid = 1, setgid, setreuid, setregid, setresuid, setresgid, setfsuid, setfsgid };

struct setid_event {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_uid uid_before; /* real */
	enum id_call call;
	__s32 arg0; /* real, or the only id */
	__s32 arg1; /* effective */
	__s32 arg2; /* saved */
	k_errno result;
};

struct setid_call {
	__u32 uid;
	__s32 args[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct setid_event);
} setids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct setid_call);
} calls SEC(".maps");

static __always_inline int enter(struct trace_event_raw_sys_enter *ctx, int args)
{
	struct setid_call c = { .uid = k_current_uid() };
	__u32 tid = k_current_tid();

	c.args[0] = ctx->args[0];
	c.args[1] = args > 1 ? (__s32)ctx->args[1] : -1;
	c.args[2] = args > 2 ? (__s32)ctx->args[2] : -1;
	k_put(&calls, &tid, &c);
	return 0;
}

static __always_inline int leave(enum id_call call, long ret)
{
	__u32 tid = k_current_tid();
	struct setid_call *c = bpf_map_lookup_elem(&calls, &tid);
	struct setid_event *ev;

	if (!c)
		return 0;
	ev = bpf_ringbuf_reserve(&setids, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = k_current_pid();
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->uid_before = c->uid;
		ev->call = call;
		ev->arg0 = c->args[0];
		ev->arg1 = c->args[1];
		ev->arg2 = c->args[2];
		/* setfsuid and setfsgid return the id before, never an error. */
		ev->result = call == setfsuid || call == setfsgid ? 0 : ret;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}

#define SETID_CALL(name, args) \
	SEC("tp/syscalls/sys_enter_" #name) \
	int name##_enter(struct trace_event_raw_sys_enter *ctx) \
	{ \
		return enter(ctx, args); \
	} \
	SEC("tp/syscalls/sys_exit_" #name) \
	int name##_exit(struct trace_event_raw_sys_exit *ctx) \
	{ \
		return leave(name, ctx->ret); \
	}

SETID_CALL(setuid, 1)
SETID_CALL(setgid, 1)
SETID_CALL(setreuid, 2)
SETID_CALL(setregid, 2)
SETID_CALL(setresuid, 3)
SETID_CALL(setresgid, 3)
SETID_CALL(setfsuid, 1)
SETID_CALL(setfsgid, 1)
