// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Block requests that are issued, by device. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 512);
	__type(key, k_dev);
	__type(value, k_count);
} issued SEC(".maps") KGENT_OUTPUT;

SEC("raw_tp/block_rq_issue")
int BPF_PROG(issue, const struct request_queue *queue, const struct request *rq)
{
	struct gendisk *disk = BPF_CORE_READ(rq, q, disk);
	k_dev dev = BPF_CORE_READ(disk, major) << 20 | BPF_CORE_READ(disk, first_minor);
	k_count *n = k_cell(&issued, &dev, k_count);

	if (n)
		(*n)++;
	return 0;
}
