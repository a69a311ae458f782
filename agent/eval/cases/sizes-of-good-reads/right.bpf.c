// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct reader {
	k_pid pid;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct reader);
	__type(value, k_hist_bytes);
} sizes SEC(".maps") KGENT_OUTPUT;

/* Threads that are reading from a regular file. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u8);
} reading SEC(".maps");

static __always_inline int asks(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file **fds, *file = NULL;
	__u32 tid = k_current_tid();
	__u8 yes = 1;

	if (!k_task_wanted())
		return 0;
	fds = BPF_CORE_READ(task, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	if ((BPF_CORE_READ(file, f_inode, i_mode) & 0170000) == 0100000)
		k_put(&reading, &tid, &yes);
	return 0;
}

static __always_inline int answered(long ret)
{
	__u32 tid = k_current_tid();
	struct reader key = {};
	k_hist_bytes *h;

	if (!bpf_map_lookup_elem(&reading, &tid))
		return 0;
	bpf_map_delete_elem(&reading, &tid);
	if (ret <= 0)
		return 0;
	key.pid = k_current_pid();
	k_process_comm(key.comm, (void *)bpf_get_current_task());
	h = k_cell(&sizes, &key, k_hist_bytes);
	if (h)
		k_hist_add(h, ret);
	return 0;
}

SEC("tp/syscalls/sys_enter_read")
int read_asks(struct trace_event_raw_sys_enter *ctx) { return asks(ctx->args[0]); }
SEC("tp/syscalls/sys_exit_read")
int read_ends(struct trace_event_raw_sys_exit *ctx) { return answered(ctx->ret); }
SEC("tp/syscalls/sys_enter_pread64")
int pread_asks(struct trace_event_raw_sys_enter *ctx) { return asks(ctx->args[0]); }
SEC("tp/syscalls/sys_exit_pread64")
int pread_ends(struct trace_event_raw_sys_exit *ctx) { return answered(ctx->ret); }
