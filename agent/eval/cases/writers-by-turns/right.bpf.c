// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct log {
	k_inode inode;
	char name[64];
};

/* How often another thread went on writing where one had written. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct log);
	__type(value, k_count);
} turns SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} last SEC(".maps");

SEC("tp/syscalls/sys_enter_write")
int writes(struct trace_event_raw_sys_enter *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 fd = ctx->args[0], tid = k_current_tid(), *before;
	struct file **fds, *file = NULL;
	const unsigned char *name;
	struct log key = {};
	__u64 inode;
	k_count *n;

	if (!k_task_wanted())
		return 0;
	fds = BPF_CORE_READ(task, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd]);
	if (!file || !(BPF_CORE_READ(file, f_flags) & 02000 /* O_APPEND */))
		return 0;
	inode = BPF_CORE_READ(file, f_inode, i_ino);
	before = bpf_map_lookup_elem(&last, &inode);
	if (before && *before != tid) {
		key.inode = inode;
		name = BPF_CORE_READ(file, f_path.dentry, d_name.name);
		bpf_probe_read_kernel_str(key.name, sizeof(key.name), name);
		n = k_cell(&turns, &key, k_count);
		if (n)
			__sync_fetch_and_add(n, 1);
	}
	k_put(&last, &inode, &tid);
	return 0;
}
