#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct disk {
	k_dev dev;
	__u32 cmd;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct request *);
	__type(value, __u64);
} issued SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, k_dev);
	__type(value, k_stats_ns);
} disks SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/block_rq_issue")
int BPF_PROG(block_rq_issue, struct request *rq)
{
	__u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&issued, &rq, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_rq_complete, struct request *rq, blk_status_t error, unsigned int nr_bytes)
{
	__u64 *start = bpf_map_lookup_elem(&issued, &rq), delta;
	struct k_stats *s, init = {};
	k_dev dev;
	struct gendisk *disk;

	if (!start)
		return 0;
	delta = bpf_ktime_get_ns() - *start;
	bpf_map_delete_elem(&issued, &rq);
	disk = BPF_CORE_READ(rq, q, disk);
	dev = disk ? BPF_CORE_READ(disk, major) << 20 | BPF_CORE_READ(disk, first_minor) : 0;
	s = bpf_map_lookup_elem(&disks, &dev);
	if (!s) {
		bpf_map_update_elem(&disks, &dev, &init, BPF_NOEXIST);
		s = bpf_map_lookup_elem(&disks, &dev);
		if (!s)
			return 0;
	}
	if (s->count == 0 || delta < s->min)
		s->min = delta;
	if (delta > s->max)
		s->max = delta;
	s->count++;
	s->sum += delta;
	return 0;
}
