// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Latency of requests to block devices, by the process that makes them.
 *
 * A request begins in the process that wants it, but may be issued to the
 * device by a kernel thread and completes in an interrupt: the process is
 * taken at the beginning, the time from issue to completion. Of requests
 * that no beginning was seen of, whoever issues them is the process.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct block_process {
	k_pid pid;
	char comm[TASK_COMM_LEN];
};

struct block_request {
	struct block_process process;
	__u32 pad;
	__u64 issued; /* 0: not yet */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct block_process);
	__type(value, k_stats_ns);
} requests SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct block_process);
	__type(value, k_hist_ns);
} latency SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct block_request);
} pending SEC(".maps");

static __always_inline void current_process(struct block_process *p)
{
	p->pid = k_current_pid();
	k_process_comm(p->comm, (const void *)bpf_get_current_task());
}

SEC("tp_btf/block_io_start")
int BPF_PROG(io_begins, const struct request *rq)
{
	struct block_request r = {};
	__u64 id = (__u64)rq;

	current_process(&r.process);
	k_put(&pending, &id, &r);
	return 0;
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(io_issued, const struct request *rq)
{
	__u64 id = (__u64)rq;
	struct block_request *known = bpf_map_lookup_elem(&pending, &id), r = {};

	if (known) {
		known->issued = bpf_ktime_get_ns();
		return 0;
	}
	current_process(&r.process);
	r.issued = bpf_ktime_get_ns();
	k_put(&pending, &id, &r);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(io_completed, const struct request *rq, int error, unsigned int bytes)
{
	__u64 id = (__u64)rq, took;
	struct block_request *r = bpf_map_lookup_elem(&pending, &id);
	struct block_process key;
	k_stats_ns *s;
	k_hist_ns *h;

	if (!r || bytes < BPF_CORE_READ(rq, __data_len))
		return 0;
	if (r->issued) {
		took = bpf_ktime_get_ns() - r->issued;
		key = r->process;
		s = k_cell(&requests, &key, k_stats_ns);
		if (s)
			k_stats_add(s, took);
		h = k_cell(&latency, &key, k_hist_ns);
		if (h)
			k_hist_add(h, took);
	}
	bpf_map_delete_elem(&pending, &id);
	return 0;
}
