// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Sizes of writes, as a histogram. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, k_hist_bytes);
} sizes SEC(".maps") KGENT_OUTPUT;

SEC("tp/syscalls/sys_exit_write")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	__u32 zero = 0;
	k_hist_bytes *h = bpf_map_lookup_elem(&sizes, &zero);

	if (h && ctx->ret >= 0)
		__sync_fetch_and_add(&h->slot[(k_log2_slot(ctx->ret) - 1) & 63], 1);
	return 0;
}
