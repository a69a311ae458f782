// One program of a kind that the tests of single kinds have not, chosen by a
// #define before this text. Each reports what a process that is known to the
// test did.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_pid pid = 0;

struct seen {
	k_pid pid;
	__u32 what;
	__s64 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct seen);
} events SEC(".maps");

static __always_inline void report(void *ctx, __u32 what, __s64 value)
{
	struct seen e = {.pid = k_current_pid(), .what = what, .value = value};

	if (!pid || e.pid == pid)
		bpf_ringbuf_output(&events, &e, sizeof(e), 0);
}

#ifdef CALLED /* a kprobe or the like on do_filp_open, or on it and others */
SEC(CALLED)
int BPF_KPROBE(called, int dfd, int nice)
{
	report(ctx, dfd, nice);
#ifdef BUSY
	char c;

	if (dfd == 0x5b1234 && k_current_pid() == pid)
		bpf_probe_read_user(&c, 1, (void *)8);
#endif
	return 0;
}
#endif

#ifdef BUSY /* on a function that called() makes the kernel call */
SEC(BUSY)
int BPF_KPROBE(busy)
{
	report(ctx, 0xb0, 0);
	return 0;
}
#endif

#ifdef RETURNED
SEC(RETURNED)
int BPF_KRETPROBE(returned, long ret)
{
	report(ctx, 0, ret);
	return 0;
}
#endif

#ifdef SESSION
SEC(SESSION)
int session(struct pt_regs *ctx)
{
	report(ctx, (__u32)PT_REGS_PARM1(ctx), PT_REGS_RC(ctx));
	return 0;
}
#endif

#ifdef ENTERED
SEC(ENTERED)
int BPF_PROG(entered, int dfd)
{
	report(ctx, dfd, 0);
	return 0;
}
#endif

#ifdef LEFT
SEC(LEFT)
int BPF_PROG(left, int dfd, struct filename *name, const struct open_flags *op, struct file *ret)
{
	report(ctx, dfd, (__s64)ret);
	return 0;
}
#endif

#ifdef ASKED /* a security hook, or its function; VERDICT for one nice value only */
SEC(ASKED)
int BPF_PROG(asked, struct task_struct *p, int nice, int ret)
{
	report(ctx, 1, nice);
	return pid && k_current_pid() == pid && nice == 13 ? VERDICT : 0;
}
#endif

#ifdef SAMPLED
SEC(SAMPLED)
int sampled(struct bpf_perf_event_data *ctx)
{
	report(ctx, 1, 0);
	return 0;
}
#endif

#ifdef CAPTURED
const volatile __u32 length = 0;

SEC("socket")
int captured(struct __sk_buff *ctx)
{
	struct seen e = {.what = ctx->len - ETH_HLEN, .value = ctx->ingress_ifindex};

	if (e.what == length)
		bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
#endif

#ifdef SOCKOPS
SEC("sockops")
int connections(struct bpf_sock_ops *ctx)
{
	struct seen e = {.what = ctx->op, .value = bpf_ntohl(ctx->remote_port)};

	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 1;
}
#endif

#ifdef ADDRESSES
#define ADDRESS(section, name, n) \
	SEC(section) \
	int name(struct bpf_sock_addr *ctx) \
	{ \
		report(ctx, n, bpf_ntohs(ctx->user_port)); \
		return 1; \
	}
ADDRESS("cgroup/connect4", connect4, 1)
ADDRESS("cgroup/bind4", bind4, 2)
ADDRESS("cgroup/sendmsg4", sendmsg4, 3)
#endif
