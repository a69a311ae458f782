// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Slow reads.
 *
 * Written from a contract; the lines that are named are the contract's.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_ns threshold = 1000000ULL; /* only reads that take at least this long */

struct slow_event {
	k_time time;
	k_pid pid;
	char comm[16];
	__u8 _pad[4];
	k_ns took;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct slow_event);
} slow SEC(".maps");

struct started_cell {
	k_time at;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, k_tid);
	__type(value, struct started_cell);
} started SEC(".maps");

SEC("tp/syscalls/sys_enter_read")
int on_sys_enter_read(struct trace_event_raw_sys_enter *ctx)
{
	/* begins (line 7) */
	k_tid started_cell_key = k_current_tid();
	struct started_cell new_started_cell = {};
	new_started_cell.at = bpf_ktime_get_ns();
	k_put(&started, &started_cell_key, &new_started_cell);
	return 0;
}

SEC("tp/syscalls/sys_exit_read")
int on_sys_exit_read(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	struct started_cell *started_cell = bpf_map_lookup_elem(&started, &tid);
	if (!started_cell)
		return 0;
	__u64 took = bpf_ktime_get_ns() - started_cell->at;
	if (took >= threshold) {
		/* slow (line 11) */
		struct slow_event *ev = bpf_ringbuf_reserve(&slow, sizeof(*ev), 0);
		if (ev) {
			__builtin_memset(ev, 0, sizeof(*ev));
			ev->time = started_cell->at;
			ev->pid = k_current_pid();
			bpf_get_current_comm(ev->comm, 16);
			ev->took = took;
			bpf_ringbuf_submit(ev, 0);
		}
		bpf_map_delete_elem(&started, &tid);
		return 0;
	}
	/* quick (line 14) */
	bpf_map_delete_elem(&started, &tid);
	return 0;
}
