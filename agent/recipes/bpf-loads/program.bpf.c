// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * BPF programs that are loaded, and attempts that fail.
 *
 * What is loaded stands in the attributes that the process hands to bpf(2);
 * the id of the new program is found through the descriptor that it returns.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_pid kgent_self = 0;

#define K_BPF_PROG_LOAD 5

struct load_event {
	k_time time;
	k_pid pid;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	char name[16];
	k_bpfprog type;
	__u32 instructions;
	__u32 id; /* 0: not loaded */
	k_errno result;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct load_event);
} loads SEC(".maps");

struct load_call {
	__u64 attr;
	__u64 size;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct load_call);
} calls SEC(".maps");

/* The beginning of union bpf_attr for this command, which is ABI. */
struct load_attr {
	__u32 prog_type;
	__u32 insn_cnt;
	__u64 insns;
	__u64 license;
	__u32 log_level;
	__u32 log_size;
	__u64 log_buf;
	__u32 kern_version;
	__u32 prog_flags;
	char prog_name[16];
};

SEC("tp/syscalls/sys_enter_bpf")
int load_enter(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	struct load_call c = {};

	c.attr = ctx->args[1];
	c.size = (__u32)ctx->args[2];
	if ((__u32)ctx->args[0] == K_BPF_PROG_LOAD && k_current_pid() != kgent_self)
		k_put(&calls, &tid, &c);
	return 0;
}

static __always_inline __u32 program_id(long fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file **fds = BPF_CORE_READ(task, files, fdt, fd), *file = NULL;
	struct bpf_prog *prog;

	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	prog = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(prog, aux, id);
}

SEC("tp/syscalls/sys_exit_bpf")
int load_exit(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	struct load_call *c = bpf_map_lookup_elem(&calls, &tid);
	struct load_attr attr = {};
	struct load_event *ev;
	long ret = ctx->ret;
	__u64 size;

	if (!c)
		return 0;
	/* Older programs hand over fewer bytes; what they leave out is 0. */
	size = c->size < sizeof(attr) ? c->size : sizeof(attr);
	bpf_probe_read_user(&attr, size, (const void *)c->attr);
	ev = bpf_ringbuf_reserve(&loads, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = bpf_ktime_get_ns();
		ev->pid = k_current_pid();
		ev->uid = k_current_uid();
		k_process_comm(ev->comm, (const void *)bpf_get_current_task());
		__builtin_memcpy(ev->name, attr.prog_name, sizeof(ev->name));
		ev->type = attr.prog_type;
		ev->instructions = attr.insn_cnt;
		if (ret >= 0)
			ev->id = program_id(ret);
		else
			ev->result = ret;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}
