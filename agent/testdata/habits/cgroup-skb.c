// Sections of programs on packets as libbpf spells them.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct flow { __be32 saddr; __be32 daddr; __u8 proto; __u8 pad[3]; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, __u64);
} flows SEC(".maps") KGENT_OUTPUT;

SEC("cgroup/skb")
int egress(struct __sk_buff *skb)
{
	struct iphdr iph;
	struct flow f = {};
	__u64 *bytes, len = skb->len;

	if (bpf_skb_load_bytes(skb, 0, &iph, sizeof(iph)) < 0)
		return 1;
	if (iph.version != 4)
		return 1;
	f.saddr = iph.saddr;
	f.daddr = iph.daddr;
	f.proto = iph.protocol;
	bytes = bpf_map_lookup_elem(&flows, &f);
	if (bytes)
		__sync_fetch_and_add(bytes, len);
	else
		bpf_map_update_elem(&flows, &f, &len, BPF_ANY);
	return 1;
}
char LICENSE[] SEC("license") = "GPL";
