// tc as libbpf spells it.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define TC_ACT_OK 0
#define ETH_P_IP 0x0800

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u64);
} bytes_by_port SEC(".maps") KGENT_OUTPUT;

SEC("tc")
int tc_egress(struct __sk_buff *ctx)
{
	void *data_end = (void *)(__u64)ctx->data_end;
	void *data = (void *)(__u64)ctx->data;
	struct ethhdr *l2;
	struct iphdr *l3;
	struct tcphdr *tcp;
	__u16 port;
	__u64 init = 0, *v;

	if (ctx->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	l2 = data;
	if ((void *)(l2 + 1) > data_end)
		return TC_ACT_OK;
	l3 = (struct iphdr *)(l2 + 1);
	if ((void *)(l3 + 1) > data_end)
		return TC_ACT_OK;
	if (l3->protocol != IPPROTO_TCP)
		return TC_ACT_OK;
	tcp = (void *)l3 + l3->ihl * 4;
	if ((void *)(tcp + 1) > data_end)
		return TC_ACT_OK;
	port = bpf_ntohs(tcp->dest);
	v = bpf_map_lookup_elem(&bytes_by_port, &port);
	if (!v) {
		bpf_map_update_elem(&bytes_by_port, &port, &init, BPF_NOEXIST);
		v = bpf_map_lookup_elem(&bytes_by_port, &port);
		if (!v)
			return TC_ACT_OK;
	}
	__sync_fetch_and_add(v, ctx->len);
	return TC_ACT_OK;
}
char __license[] SEC("license") = "GPL";
