// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define PROT_WRITE 2
#define PROT_EXEC 4

KGENT_TASK_FILTER

struct region {
	__u64 address;
	k_pid pid;
	__u32 pad;
};

struct turned {
	k_time time;
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_addr address;
	k_bytes length;
	k_ns after;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct turned);
} turned SEC(".maps");

/* Threads that ask for writable, not executable memory; and what they got, since when. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} asked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct region);
	__type(value, __u64);
} writable SEC(".maps");

SEC("tp/syscalls/sys_enter_mmap")
int maps(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	__u8 yes = 1;

	if ((ctx->args[2] & (PROT_WRITE | PROT_EXEC)) == PROT_WRITE && k_task_wanted())
		k_put(&asked, &tid, &yes);
	return 0;
}

SEC("tp/syscalls/sys_exit_mmap")
int mapped(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	struct region r = { .address = ctx->ret, .pid = k_current_pid() };
	__u64 now = bpf_ktime_get_ns();

	if (!bpf_map_lookup_elem(&asked, &tid))
		return 0;
	bpf_map_delete_elem(&asked, &tid);
	if (ctx->ret > 0)
		k_put(&writable, &r, &now);
	return 0;
}

SEC("tp/syscalls/sys_enter_mprotect")
int protects(struct trace_event_raw_sys_enter *ctx)
{
	struct region r = { .address = ctx->args[0], .pid = k_current_pid() };
	__u64 *since = bpf_map_lookup_elem(&writable, &r), now = bpf_ktime_get_ns();
	struct turned *ev;

	if (!since || !(ctx->args[2] & PROT_EXEC))
		return 0;
	ev = bpf_ringbuf_reserve(&turned, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->time = now;
		ev->pid = r.pid;
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->address = r.address;
		ev->length = ctx->args[1];
		ev->after = now - *since;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&writable, &r);
	return 0;
}

SEC("tp/syscalls/sys_enter_munmap")
int unmaps(struct trace_event_raw_sys_enter *ctx)
{
	struct region r = { .address = ctx->args[0], .pid = k_current_pid() };

	bpf_map_delete_elem(&writable, &r);
	return 0;
}
