// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * How long requests to block devices take from issue to completion, by device
 * and operation.
 *
 * A request can complete in pieces; the last one, which covers all that is
 * left of it, counts. A request that was requeued counts from its last issue.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* The low byte of a request's flags, as in enum req_op. */
enum block_op { read = 0, write = 1, flush = 2, discard = 3, secure_erase = 5, write_zeroes = 9 };
#define K_REQ_OP_MASK 0xff

struct block_key {
	k_dev device;
	enum block_op op;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 512);
	__type(key, struct block_key);
	__type(value, k_hist_ns);
} latency SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u64);
} issued SEC(".maps");

/* Before Linux 5.17 the disk hung from the request itself. */
struct request___before_5_17 {
	struct gendisk *rq_disk;
} __attribute__((preserve_access_index));

struct request_queue___since_5_17 {
	struct gendisk *disk;
} __attribute__((preserve_access_index));

static __always_inline k_dev device(const struct request *rq)
{
	const struct request___before_5_17 *old = (const void *)rq;
	const struct request_queue___since_5_17 *queue;
	struct gendisk *disk;

	if (bpf_core_field_exists(old->rq_disk)) {
		disk = BPF_CORE_READ(old, rq_disk);
	} else {
		queue = (const void *)BPF_CORE_READ(rq, q);
		disk = BPF_CORE_READ(queue, disk);
	}
	return BPF_CORE_READ(disk, major) << 20 | BPF_CORE_READ(disk, first_minor);
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(block_issue, const struct request *rq)
{
	__u64 id = (__u64)rq, now = bpf_ktime_get_ns();

	k_put(&issued, &id, &now);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_complete, const struct request *rq, int error, unsigned int bytes)
{
	__u64 id = (__u64)rq, *start = bpf_map_lookup_elem(&issued, &id);
	struct block_key key = {};
	k_hist_ns *h;

	if (!start || bytes < BPF_CORE_READ(rq, __data_len))
		return 0;
	key.device = device(rq);
	key.op = BPF_CORE_READ(rq, cmd_flags) & K_REQ_OP_MASK;
	h = k_cell(&latency, &key, k_hist_ns);
	if (h)
		k_hist_add(h, bpf_ktime_get_ns() - *start);
	bpf_map_delete_elem(&issued, &id);
	return 0;
}
