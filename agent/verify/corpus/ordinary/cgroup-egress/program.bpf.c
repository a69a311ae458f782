#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, k_ipproto);
	__type(value, k_bytes);
} protocols SEC(".maps") KGENT_OUTPUT;

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	struct iphdr ip = {};
	k_ipproto proto;
	k_bytes *n, len = skb->len;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return 1;
	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0)
		return 1;
	proto = ip.protocol;
	n = bpf_map_lookup_elem(&protocols, &proto);
	if (n)
		*n += len;
	else
		bpf_map_update_elem(&protocols, &proto, &len, BPF_ANY);
	return 1;
}
