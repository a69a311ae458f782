// Constants and types of the kernel are defined once more.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#define AF_INET 2
#define AF_INET6 10
#define ETH_P_IP 0x0800
#define IPPROTO_TCP 6
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define EPERM 1
#define SIGKILL 9
#define NULL ((void *)0)
#define MAX_ENTRIES 10240
#define bpf_ntohs(x) __builtin_bswap16(x)
#define __always_inline inline __attribute__((always_inline))
#define likely(x) __builtin_expect(!!(x), 1)

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef __u32 __be32;

struct conn_event {
	u64 ts_ns;
	u32 pid;
	char comm[TASK_COMM_LEN];
	u32 saddr;
	u32 daddr;
	u16 sport;
	u16 dport;
	u8 saddr_v6[16];
	u8 daddr_v6[16];
	u16 family;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} events SEC(".maps");

static __always_inline u16 swap(u16 x) { return bpf_ntohs(x); }

SEC("tp/sock/inet_sock_set_state")
int trace_state(struct trace_event_raw_inet_sock_set_state *ctx)
{
	struct conn_event *ev;

	if (ctx->protocol != IPPROTO_TCP)
		return 0;
	if (ctx->newstate != TCP_SYN_SENT)
		return 0;
	ev = bpf_ringbuf_reserve(&events, sizeof(struct conn_event), 0);
	if (!ev)
		return 0;
	ev->ts_ns = bpf_ktime_get_ns();
	ev->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(&ev->comm, sizeof(ev->comm));
	ev->sport = ctx->sport;
	ev->dport = ctx->dport;
	ev->family = ctx->family;
	__builtin_memcpy(&ev->saddr, ctx->saddr, 4);
	__builtin_memcpy(&ev->daddr, ctx->daddr, 4);
	__builtin_memcpy(ev->saddr_v6, ctx->saddr_v6, 16);
	__builtin_memcpy(ev->daddr_v6, ctx->daddr_v6, 16);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
