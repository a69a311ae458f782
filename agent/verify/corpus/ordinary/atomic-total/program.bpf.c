#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct totals {
	k_count packets;
	k_bytes bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} traffic SEC(".maps") KGENT_OUTPUT;

SEC("tcx/ingress")
int count_ingress(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct totals *t = bpf_map_lookup_elem(&traffic, &key);

	if (t) {
		__sync_fetch_and_add(&t->packets, 1);
		__sync_fetch_and_add(&t->bytes, skb->len);
	}
	return -1; /* TCX_NEXT */
}
