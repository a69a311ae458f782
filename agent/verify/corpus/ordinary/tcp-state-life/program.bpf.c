#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct sock *);
	__type(value, __u64);
} births SEC(".maps");

struct life {
	k_time ts;
	k_ns age;
	k_ipv4 saddr, daddr;
	k_port dport;
	__u16 _pad1;
	__u32 _pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct life);
} lives SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(handle_set_state, const struct sock *sk, int oldstate, int newstate)
{
	__u64 now = bpf_ktime_get_ns(), *born;
	struct sock *key = (struct sock *)sk;
	struct life *e;

	if (sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_family != AF_INET)
		return 0;
	switch (newstate) {
	case TCP_ESTABLISHED:
		bpf_map_update_elem(&births, &key, &now, BPF_ANY);
		break;
	case TCP_CLOSE:
		born = bpf_map_lookup_elem(&births, &key);
		if (!born)
			break;
		e = bpf_ringbuf_reserve(&lives, sizeof(*e), 0);
		if (e) {
			e->ts = now;
			e->age = now - *born;
			e->saddr = sk->__sk_common.skc_rcv_saddr;
			e->daddr = sk->__sk_common.skc_daddr;
			e->dport = bpf_ntohs(sk->__sk_common.skc_dport);
			e->_pad = 0;
			e->_pad1 = 0;
			bpf_ringbuf_submit(e, 0);
		}
		bpf_map_delete_elem(&births, &key);
		break;
	}
	return 0;
}
