#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct tcp_event {
	k_time ts;
	k_pid pid;
	k_bytes size;
	k_port dport;
	__u16 _pad[1];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, k_pid);
	__type(value, k_bytes);
} sent SEC(".maps") KGENT_OUTPUT;

SEC("kprobe/tcp_sendmsg")
int BPF_KPROBE(kprobe__tcp_sendmsg, struct sock *sk, struct msghdr *msg, size_t size)
{
	k_pid pid = bpf_get_current_pid_tgid() >> 32;
	k_bytes *total, init = size;
	__u16 family = 0;

	bpf_core_read(&family, sizeof(family), &sk->__sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	total = bpf_map_lookup_elem(&sent, &pid);
	if (total)
		*total += size;
	else
		bpf_map_update_elem(&sent, &pid, &init, BPF_ANY);
	return 0;
}
