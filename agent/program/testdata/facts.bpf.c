/*
 * Programs whose facts are known; each comment says what the compiler must
 * not be allowed to hide. Some would not pass the kernel's verifier.
 */
#include "kgent.bpf.h"

struct packet_event { __u8 bytes[32]; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
	__type(value, struct packet_event);
} packets SEC(".maps");

struct flow { k_ip a, b; k_port p, q; k_ipproto proto; };
struct traffic { k_count packets; k_bytes bytes; k_hist_bytes sizes; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct flow);
	__type(value, struct traffic);
} flows SEC(".maps") KGENT_OUTPUT;

struct payload { char bytes[256]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct payload);
	__type(value, __u64);
} payloads SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} protocols SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} jumps SEC(".maps");

const volatile int verdict = XDP_DROP;

#define DATA(ctx) ((void *)(long)(ctx)->data)
#define DATA_END(ctx) ((void *)(long)(ctx)->data_end)

static __always_inline void count(__u32 key)
{
	__u64 *n = bpf_map_lookup_elem(&protocols, &key);
	if (n)
		(*n)++;
}

/* ---- verdicts ---- */

SEC("xdp") int x_pass(struct xdp_md *ctx) { count(1); return XDP_PASS; }

SEC("xdp") int x_several(struct xdp_md *ctx)
{
	if (ctx->rx_queue_index > 9)
		return XDP_ABORTED;
	count(0);
	if (ctx->ingress_ifindex == 1)
		return XDP_DROP;
	count(1);
	if (ctx->egress_ifindex != 3)
		return XDP_PASS;
	count(2);
	return XDP_TX;
}

/* From memory: a parameter may be anything. */
SEC("xdp") int x_parameter(struct xdp_md *ctx) { return verdict; }

/* From arithmetic. */
SEC("xdp") int x_computed(struct xdp_md *ctx) { return bpf_get_prandom_u32() % 3; }

/* From a helper. */
SEC("xdp") int x_redirect(struct xdp_md *ctx) { return bpf_redirect(1, 0); }

/* Another program's verdict. */
SEC("xdp") int x_tail(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 0);
	return XDP_PASS;
}

/* Each kernel puts its own number of the enumerator there. */
SEC("xdp") int x_enumerator(struct xdp_md *ctx) { return __builtin_preserve_enum_value(*(enum xdp_action *)XDP_PASS, 1); }

/* A register that keeps its value over a loop with calls. */
SEC("xdp") __attribute__((naked)) int x_kept(struct xdp_md *ctx)
{
	asm volatile("r6 = 2\nr7 = 0\nagain:\ncall 7\nr7 += 1\nif r7 < 10 goto again\nr0 = r6\nexit");
}

/* The exits of a subprogram and of a callback are not the program's. */
static __noinline int one_of(struct xdp_md *ctx, int n) { return n > 3 ? XDP_DROP : XDP_TX; }
static long each(__u32 i, void *arg) { count(i); return i > 7; }
SEC("xdp") int x_called(struct xdp_md *ctx)
{
	__u32 n = one_of(ctx, bpf_get_prandom_u32());
	bpf_loop(n, each, NULL, 0);
	return XDP_PASS;
}

/* An acquiring load changes a register that looks like a store's address. */
SEC("xdp") __attribute__((naked)) int x_acquire(struct xdp_md *ctx)
{
	asm volatile("r6 = 2\n*(u64 *)(r10 - 8) = r6\n"
		     ".8byte 0x00000100fff8a6db\n" /* r6 = load_acquire(r10 - 8) */
		     "r0 = r6\nexit");
}

/* A jump to an address in a register. */
SEC("xdp") __attribute__((naked)) int x_gotox(struct xdp_md *ctx)
{
	asm volatile("r0 = 2\n.8byte 0x000000000000010d\nexit\nr0 = 1\nexit");
}

SEC("tcx/egress") int t_several(struct __sk_buff *skb) { return skb->len > 100 ? TC_ACT_OK : TC_ACT_UNSPEC; }

/* A load of classic BPF, which returns 0 when the packet is too short. */
SEC("tcx/ingress") __attribute__((naked)) int t_classic(struct __sk_buff *skb)
{
	asm volatile("r6 = r1\nr7 = -1\nr0 = *(u8 *)skb[12]\nr0 = r7\nexit");
}

SEC("cgroup_skb/ingress") int c_pass(struct __sk_buff *skb) { count(skb->len); return 1; }
SEC("lsm/file_open") int l_deny(void *ctx) { return bpf_get_current_pid_tgid() & 1 ? -EPERM : 0; }
SEC("fmod_ret/bpf_modify_return_test") int m_zero(void *ctx) { return 0; }

/* ---- packet bytes ---- */

SEC("xdp") int p_header(struct xdp_md *ctx)
{
	struct ethhdr *eth = DATA(ctx);
	if ((void *)(eth + 1) <= DATA_END(ctx))
		count(eth->h_proto & 0xff);
	return XDP_PASS;
}

SEC("xdp") int p_flow(struct xdp_md *ctx)
{
	struct flow f = {};
	__u8 *p = DATA(ctx);
	struct traffic *t;
	if (p + 42 > (__u8 *)DATA_END(ctx))
		return XDP_PASS;
	__builtin_memcpy(&f.a, p + 26, 4);
	t = k_cell(&flows, &f, struct traffic);
	if (t)
		k_hist_add(&t->sizes, p[40]);
	return XDP_PASS;
}

/* The packet itself as key of a map that is wide enough to hold it. */
SEC("xdp") int p_payload(struct xdp_md *ctx)
{
	struct payload *p = DATA(ctx);
	__u64 one = 1;
	if ((void *)(p + 1) <= DATA_END(ctx))
		bpf_map_update_elem(&payloads, p, &one, BPF_ANY);
	return XDP_PASS;
}

SEC("tcx/ingress") int p_event(struct __sk_buff *skb)
{
	struct packet_event *p = DATA(skb);
	if ((void *)(p + 1) <= DATA_END(skb))
		bpf_ringbuf_output(&packets, p, sizeof(*p), 0);
	return TCX_NEXT;
}

/* The pointer goes over the stack of another function. */
struct passed { __u8 *p, *end; };
static long read_first(__u32 i, void *arg)
{
	struct passed *v = arg;
	if (v->p + 1 <= v->end)
		count(*v->p);
	return 1;
}
SEC("xdp") int p_callback(struct xdp_md *ctx)
{
	struct passed v = { DATA(ctx), DATA_END(ctx) };
	bpf_loop(1, read_first, &v, 0);
	return XDP_PASS;
}

/* ---- writes ---- */

SEC("xdp") int w_packet(struct xdp_md *ctx)
{
	struct ethhdr *eth = DATA(ctx);
	if ((void *)(eth + 1) <= DATA_END(ctx))
		eth->h_dest[0] = 2;
	return XDP_PASS;
}

static __noinline int set_first(__u8 *p, __u8 *end)
{
	if (p + 1 <= end)
		*p = 2;
	return 0;
}
SEC("xdp") int w_subprogram(struct xdp_md *ctx)
{
	set_first(DATA(ctx), DATA_END(ctx));
	return XDP_PASS;
}

static long write_first(__u32 i, void *arg)
{
	struct passed *v = arg;
	if (v->p + 1 <= v->end)
		*v->p = 2;
	return 1;
}
SEC("xdp") int w_callback(struct xdp_md *ctx)
{
	struct passed v = { DATA(ctx), DATA_END(ctx) };
	bpf_loop(1, write_first, &v, 0);
	return XDP_PASS;
}

static __noinline __u8 *find(struct xdp_md *ctx)
{
	__u8 *p = DATA(ctx);
	return p + 1 <= (__u8 *)DATA_END(ctx) ? p : NULL;
}
SEC("xdp") int w_returned(struct xdp_md *ctx)
{
	__u8 *p = find(ctx);
	if (p)
		*p = 1;
	return XDP_PASS;
}

/* A helper that fills the memory it is given. */
SEC("xdp") int w_helper(struct xdp_md *ctx)
{
	__u8 *p = DATA(ctx);
	if (p + 8 <= (__u8 *)DATA_END(ctx))
		bpf_map_pop_elem(&protocols, p);
	return XDP_PASS;
}

SEC("tcx/egress") int w_mark(struct __sk_buff *skb) { skb->mark = 7; return TCX_NEXT; }
SEC("cgroup/connect4") int w_address(struct bpf_sock_addr *ctx) { ctx->user_ip4 = 1; return 1; }
SEC("uprobe//bin/true:main") int w_registers(struct pt_regs *ctx) { ctx->di = 0; return 0; }

/* The value of a socket option lies behind the context. */
SEC("cgroup/setsockopt") int w_option(struct bpf_sockopt *ctx)
{
	__u8 *p = ctx->optval;
	if (p + 1 <= (__u8 *)ctx->optval_end)
		*p = 0;
	return 1;
}

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u64 offset, void *buffer, __u64 size) __ksym;
extern int bpf_copy_from_user_str(void *to, __u32 size, const void *from, __u64 flags) __ksym;

/* Kernel functions that fill the memory they are given. */
SEC("tcx/ingress") int w_kfunc(struct __sk_buff *skb)
{
	struct bpf_dynptr d;
	__u8 *p = DATA(skb);
	if (!bpf_dynptr_from_skb(skb, 0, &d) && p + 8 <= (__u8 *)DATA_END(skb))
		bpf_dynptr_slice(&d, 40, p, 8);
	return TCX_NEXT;
}
SEC("uprobe.s//bin/true:main") int w_filled(struct pt_regs *ctx)
{
	bpf_copy_from_user_str(ctx, 8, (void *)PT_REGS_PARM1(ctx), 0);
	return 0;
}

/* A spilled context, restored and written through. */
SEC("uprobe//bin/true:main") __attribute__((naked)) int w_spilled(struct pt_regs *ctx)
{
	asm volatile("*(u64 *)(r10 - 16) = r1\ncall 14\nr2 = *(u64 *)(r10 - 16)\nr0 = 0\n*(u64 *)(r2 + 0) = r0\nexit");
}

/* The same through a copy of the frame pointer. */
SEC("uprobe//bin/true:main") __attribute__((naked)) int w_aliased(struct pt_regs *ctx)
{
	asm volatile("r3 = r10\nr3 += -16\n*(u64 *)(r3 + 0) = r1\ncall 14\nr2 = *(u64 *)(r10 - 16)\nr0 = 0\n*(u64 *)(r2 + 0) = r0\nexit");
}

/* What only looks like it: stack, map cells and events are the program's own. */
SEC("uprobe//bin/true:main") int w_own(struct pt_regs *ctx)
{
	struct packet_event *e = bpf_ringbuf_reserve(&packets, sizeof(*e), 0);
	__u32 slot = bpf_get_prandom_u32() & 15;
	__u8 local[16];
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	for (int i = 0; i < 16; i++)
		local[i] = i * slot;
	barrier_var(slot);
	local[slot & 15] = PT_REGS_PARM1(ctx);
	e->bytes[slot & 15] = local[(slot + 1) & 15];
	__builtin_memcpy(e->bytes + 16, local, 16);
	bpf_ringbuf_submit(e, 0);
	count(PT_REGS_PARM2(ctx));
	return 0;
}

/* ---- helpers and kfuncs ---- */

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

SEC("raw_tp/sys_enter") int h_kfuncs(void *ctx)
{
	struct bpf_iter_num it;
	int *i;
	bpf_iter_num_new(&it, 0, 10);
	while ((i = bpf_iter_num_next(&it)))
		count(*i);
	bpf_iter_num_destroy(&it);
	return 0;
}

SEC("tp_btf/sched_process_exec") int BPF_PROG(h_user, struct task_struct *p, int old_pid, struct linux_binprm *bprm)
{
	char name[16];
	bpf_probe_read_user_str(name, sizeof(name), bprm->filename);
	bpf_core_read_str(name, sizeof(name), &p->comm);
	count(name[0]);
	bpf_send_signal(SIGKILL);
	return 0;
}

/* ---- loops ---- */

static long turn(__u32 i, void *arg) { count(i); return 0; }
static long turns_within(__u32 i, void *arg) { bpf_loop(300, turn, NULL, 0); return 0; }
SEC("raw_tp/sys_enter") int n_nested(void *ctx) { bpf_loop(200, turns_within, NULL, 0); return 0; }
SEC("raw_tp/sys_enter") int n_unknown(void *ctx) { bpf_loop(bpf_get_prandom_u32(), turn, NULL, 0); return 0; }

/* A helper that no kernel has. */
SEC("raw_tp/sys_exit") __attribute__((naked)) int h_unknown(void *ctx)
{
	asm volatile("call 9999\nr0 = 0\nexit");
}

char LICENSE[] SEC("license") = "GPL";
