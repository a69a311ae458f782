// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Calls that change a process's user or group ids, with their result. An id of -1
 * leaves what it stands for as it is.
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
	__s64 arg0; /* real, or the only id */
	__s64 arg1; /* effective */
	__s64 arg2; /* saved */
	k_errno result;
};

struct setid_call {
	__u32 uid;
	__u32 fs[2]; /* user and group for files, before */
	__u32 pad;
	__s64 args[3];
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

static __always_inline void file_ids(__u32 fs[2])
{
	struct task_struct *task = (void *)bpf_get_current_task();

	fs[0] = BPF_CORE_READ(task, cred, fsuid.val);
	fs[1] = BPF_CORE_READ(task, cred, fsgid.val);
}

/*
 * setfsuid and setfsgid return the id before, never an error. They refused
 * what differs from it when nothing has changed; -1 only asks.
 */
static __always_inline long refused(int which, struct setid_call *c, __s64 before)
{
	__u32 fs[2];

	file_ids(fs);
	return c->args[0] != -1 && c->args[0] != before && fs[which] == c->fs[which] ? -EPERM : 0;
}

/* Ids are 32 bits wide, of which all but -1 are a number. */
static __always_inline __s64 id(unsigned long arg)
{
	return (__u32)arg == (__u32)-1 ? -1 : (__s64)(__u32)arg;
}

static __always_inline int enter(struct trace_event_raw_sys_enter *ctx, int args)
{
	struct setid_call c = { .uid = k_current_uid() };
	__u32 tid = k_current_tid();

	c.args[0] = id(ctx->args[0]);
	c.args[1] = args > 1 ? id(ctx->args[1]) : -1;
	c.args[2] = args > 2 ? id(ctx->args[2]) : -1;
	file_ids(c.fs);
	k_put(&calls, &tid, &c);
	return 0;
}

static __always_inline int leave(void *ctx, enum id_call call, long ret)
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
		k_process_comm(ev->comm, (const void *)bpf_get_current_task());
		ev->uid_before = c->uid;
		ev->call = call;
		ev->arg0 = c->args[0];
		ev->arg1 = c->args[1];
		ev->arg2 = c->args[2];
		if (call == setfsuid || call == setfsgid)
			ev->result = refused(call == setfsgid, c, id(ret));
		else
			ev->result = ret;
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
		return leave(ctx, name, ctx->ret); \
	}

SETID_CALL(setuid, 1)
SETID_CALL(setgid, 1)
SETID_CALL(setreuid, 2)
SETID_CALL(setregid, 2)
SETID_CALL(setresuid, 3)
SETID_CALL(setresgid, 3)
SETID_CALL(setfsuid, 1)
SETID_CALL(setfsgid, 1)
