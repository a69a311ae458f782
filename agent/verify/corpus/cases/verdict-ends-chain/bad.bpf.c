// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Bytes that leave an interface. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, k_bytes);
} sent SEC(".maps") KGENT_OUTPUT;

SEC("tcx/egress")
int leaves(struct __sk_buff *skb)
{
	__u32 zero = 0;
	k_bytes *sum = bpf_map_lookup_elem(&sent, &zero);

	if (sum)
		*sum += skb->len;
	return TC_ACT_OK;
}
