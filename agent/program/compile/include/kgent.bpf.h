/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * kgent.bpf.h: the one header a kgent program includes.
 *
 * It brings vmlinux.h (cut down to the kernel types the program touches), the
 * BPF helpers, the CO-RE accessors, a few uapi constants that BTF does not
 * carry, and the conventions by which user space understands a program's
 * output from its BTF alone:
 *
 *   events      a ring buffer whose __type(value, struct x) is the event;
 *               every member of x becomes a field of the output, in order;
 *               members named _pad, _pad1, ... are not shown. Where a kernel
 *               has no ring buffers, others take their place; see KGENT_PERF.
 *   output map  any map tagged KGENT_OUTPUT; other maps are never shown.
 *   parameters  `const volatile` globals; user space sets them before load.
 *   meaning     the typedef of a member says what it is: k_ns is a duration in
 *               nanoseconds, k_port a port in host order, and so on (below).
 *
 * No libbpf header is needed, and none may be included beside this one.
 */
#ifndef KGENT_BPF_H
#define KGENT_BPF_H

#include "vmlinux.h"

/* ---- sections, attributes, map definitions -------------------------------- */

#define SEC(name) __attribute__((section(name), used))
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#define __hidden __attribute__((visibility("hidden")))
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __arg_nonnull __attribute__((btf_decl_tag("arg:nonnull")))
#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
#ifndef NULL
#define NULL ((void *)0)
#endif
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef container_of
#define container_of(ptr, type, member) ((type *)((void *)(ptr) - offsetof(type, member)))
#endif
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#ifndef READ_ONCE
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) ((*(volatile typeof(x) *)&(x)) = (v))
#endif
#define barrier() asm volatile("" ::: "memory")
#define barrier_var(v) asm volatile("" : "+r"(v))
#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#endif

#define __uint(name, val) int(*name)[val]
#define __ulong(name, val) enum { __K_CAT(__unused_value_, __COUNTER__) = val } name
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __K_CAT_(a, b) a##b
#define __K_CAT(a, b) __K_CAT_(a, b)

/* A map with this tag is part of the answer; maps without it are scratch. */
#define KGENT_OUTPUT __attribute__((btf_decl_tag("kgent:output")))

/* ---- types that carry meaning --------------------------------------------- */

typedef __u64 k_ns;      /* duration, nanoseconds */
typedef __u64 k_us;      /* duration, microseconds */
typedef __u64 k_ms;      /* duration, milliseconds */
typedef __u64 k_time;    /* bpf_ktime_get_ns(): shown as wall-clock time */
typedef __u64 k_boottime;/* bpf_ktime_get_boot_ns(): shown as wall-clock time */
typedef __u64 k_bytes;   /* size in bytes */
typedef __u64 k_pages;   /* size in pages */
typedef __u64 k_count;   /* how many */
typedef __u32 k_pid;     /* process id (the kernel's tgid) */
typedef __u32 k_tid;     /* thread id (the kernel's pid) */
typedef __u32 k_uid;     /* user id */
typedef __u32 k_gid;     /* group id */
typedef __u16 k_port;    /* port, HOST byte order: convert with bpf_ntohs */
typedef __be16 k_be16;   /* port or other 16 bits, network byte order */
typedef __be32 k_ipv4;   /* IPv4 address, network byte order */
typedef struct k_ip { __u8 b[16]; } k_ip; /* IPv4 (as ::ffff:a.b.c.d) or IPv6 address */
typedef __u8 k_mac[6];   /* Ethernet address */
typedef char k_dnsname[128]; /* DNS name as it is sent, each label behind its length, NUL at the end; shown with dots */
typedef __u16 k_family;  /* AF_* */
typedef __u8 k_ipproto;  /* IPPROTO_* */
typedef __u16 k_ethproto;/* ETH_P_*, host order */
typedef __u32 k_tcpstate;/* TCP_ESTABLISHED, ... */
typedef __u32 k_tcpflags;/* FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32 */
typedef __s32 k_errno;   /* 0, or the error, negative or positive; shown by name */
typedef __s64 k_ret;     /* system call result: >= 0, or -errno shown by name */
typedef __s32 k_signal;  /* shown as SIGKILL */
typedef __s32 k_syscall; /* system call number of this machine; shown by name */
typedef __s32 k_exitcode;/* task->exit_code: shown as "exit 3" or "SIGSEGV" */
typedef __u32 k_dev;     /* kernel dev_t, 12:20; shown as major:minor */
typedef __u32 k_mode;    /* file mode; octal */
typedef __u32 k_oflags;  /* open(2) flags */
typedef __u32 k_mntflags;/* mount(2) flags */
typedef __u32 k_cap;     /* CAP_* number */
typedef __u32 k_bpfprog; /* enum bpf_prog_type */
typedef __u32 k_ifindex; /* network interface; shown by name */
typedef __u64 k_cgroup;  /* cgroup v2 id; shown as its path */
typedef __u64 k_inode;   /* inode number */
typedef __u64 k_addr;    /* address in memory; hexadecimal, symbolized when in the kernel's text */
typedef __u64 k_hex;     /* any 64 bits, hexadecimal */
typedef __s32 k_kstack;  /* bpf_get_stackid(): kernel stack; shown as frames */
typedef __s32 k_ustack;  /* the same with BPF_F_USER_STACK; needs a k_pid in the same key */
typedef __u8 k_bool;     /* yes or no */
typedef __u64 k_permille;/* a share in 1/1000 */
/* char[N] is a NUL-terminated string. k_args is one of several strings. */
typedef struct k_args { __u32 len; char s[1020]; } k_args; /* NUL-separated, len bytes used; len > 1020: cut short */

/*
 * Log2 histogram. slot 0 counts the value 0, slot i values in [2^(i-1), 2^i).
 * The typedef says the unit of what is counted.
 */
struct k_hist { __u64 slot[64]; };
typedef struct k_hist k_hist_ns;
typedef struct k_hist k_hist_us;
typedef struct k_hist k_hist_bytes;
typedef struct k_hist k_hist_count;

/*
 * Linear histogram, a member of a struct: slot i counts the values in
 * [step * i, step * (i + 1)), the last one also all above. step is a plain
 * number, unit one of ns, us, ms, bytes, count.
 */
#define K_LINEAR(name, step, slots, unit) \
	__u64 name[slots] __attribute__((btf_decl_tag("kgent:linear:" #step ":" #unit)))
#define k_linear_add(slots, step, v) ({ \
	__u64 _k_at = (__u64)(v) / (step); \
	if (_k_at >= ARRAY_SIZE(slots)) \
		_k_at = ARRAY_SIZE(slots) - 1; \
	__sync_fetch_and_add(&(slots)[_k_at], 1); \
})

/* count, sum, minimum, maximum; shown with the mean. Zeroed is empty. */
struct k_stats { __u64 count, sum, min, max; };
typedef struct k_stats k_stats_ns;
typedef struct k_stats k_stats_us;
typedef struct k_stats k_stats_bytes;
typedef struct k_stats k_stats_count;

/* ---- helpers --------------------------------------------------------------- */
/*
 * As in the kernel's uapi/linux/bpf.h; numbers are ABI. Kernel types are plain
 * pointers here, so that a program's vmlinux.h holds only the types the
 * program itself names.
 */

#define K_HELPER(id) = (void *)(id)
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) K_HELPER(1);
static long (*const kgent_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) K_HELPER(2);
static long (*const bpf_map_delete_elem)(void *map, const void *key) K_HELPER(3);
static long (*const bpf_probe_read)(void *dst, __u32 size, const void *unsafe_ptr) K_HELPER(4);
static __u64 (*const bpf_ktime_get_ns)(void) K_HELPER(5);
static long (*const bpf_trace_printk)(const char *fmt, __u32 fmt_size, ...) K_HELPER(6);
static __u32 (*const bpf_get_prandom_u32)(void) K_HELPER(7);
static __u32 (*const bpf_get_smp_processor_id)(void) K_HELPER(8);
static long (*const bpf_skb_store_bytes)(void *skb, __u32 offset, const void *from, __u32 len, __u64 flags) K_HELPER(9);
static long (*const bpf_l3_csum_replace)(void *skb, __u32 offset, __u64 from, __u64 to, __u64 size) K_HELPER(10);
static long (*const bpf_l4_csum_replace)(void *skb, __u32 offset, __u64 from, __u64 to, __u64 flags) K_HELPER(11);
static long (*const bpf_tail_call)(void *ctx, void *prog_array_map, __u32 index) K_HELPER(12);
static long (*const bpf_clone_redirect)(void *skb, __u32 ifindex, __u64 flags) K_HELPER(13);
static __u64 (*const bpf_get_current_pid_tgid)(void) K_HELPER(14);
static __u64 (*const bpf_get_current_uid_gid)(void) K_HELPER(15);
static long (*const bpf_get_current_comm)(void *buf, __u32 size_of_buf) K_HELPER(16);
static __u32 (*const bpf_get_cgroup_classid)(void *skb) K_HELPER(17);
static __u64 (*const bpf_perf_event_read)(void *map, __u64 flags) K_HELPER(22);
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) K_HELPER(23);
static long (*const bpf_perf_event_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size) K_HELPER(25);
static long (*const bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) K_HELPER(26);
static long (*const bpf_get_stackid)(void *ctx, void *map, __u64 flags) K_HELPER(27);
static __s64 (*const bpf_csum_diff)(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size, __wsum seed) K_HELPER(28);
static long (*const bpf_skb_under_cgroup)(void *skb, void *map, __u32 index) K_HELPER(33);
static __u32 (*const bpf_get_hash_recalc)(void *skb) K_HELPER(34);
static __u64 (*const bpf_get_current_task)(void) K_HELPER(35);
static long (*const bpf_probe_write_user)(void *dst, const void *src, __u32 len) K_HELPER(36);
static long (*const bpf_current_task_under_cgroup)(void *map, __u32 index) K_HELPER(37);
static long (*const bpf_skb_pull_data)(void *skb, __u32 len) K_HELPER(39);
static long (*const bpf_get_numa_node_id)(void) K_HELPER(42);
static long (*const bpf_xdp_adjust_head)(void *xdp_md, int delta) K_HELPER(44);
static long (*const bpf_probe_read_str)(void *dst, __u32 size, const void *unsafe_ptr) K_HELPER(45);
static __u64 (*const bpf_get_socket_cookie)(void *ctx) K_HELPER(46);
static __u32 (*const bpf_get_socket_uid)(void *skb) K_HELPER(47);
static long (*const bpf_setsockopt)(void *bpf_socket, int level, int optname, void *optval, int optlen) K_HELPER(49);
static long (*const bpf_redirect_map)(void *map, __u64 key, __u64 flags) K_HELPER(51);
static long (*const bpf_xdp_adjust_meta)(void *xdp_md, int delta) K_HELPER(54);
static long (*const bpf_perf_event_read_value)(void *map, __u64 flags, void *buf, __u32 buf_size) K_HELPER(55);
static long (*const bpf_getsockopt)(void *bpf_socket, int level, int optname, void *optval, int optlen) K_HELPER(57);
static long (*const bpf_override_return)(void *regs, __u64 rc) K_HELPER(58);
static long (*const bpf_sock_ops_cb_flags_set)(void *bpf_sock, int argval) K_HELPER(59);
static long (*const bpf_xdp_adjust_tail)(void *xdp_md, int delta) K_HELPER(65);
static long (*const bpf_get_stack)(void *ctx, void *buf, __u32 size, __u64 flags) K_HELPER(67);
static long (*const bpf_skb_load_bytes_relative)(const void *skb, __u32 offset, void *to, __u32 len, __u32 start_header) K_HELPER(68);
static long (*const bpf_fib_lookup)(void *ctx, void *params, int plen, __u32 flags) K_HELPER(69);
static __u64 (*const bpf_skb_cgroup_id)(void *skb) K_HELPER(79);
static __u64 (*const bpf_get_current_cgroup_id)(void) K_HELPER(80);
static void *(*const bpf_get_local_storage)(void *map, __u64 flags) K_HELPER(81);
static __u64 (*const bpf_skb_ancestor_cgroup_id)(void *skb, int ancestor_level) K_HELPER(83);
static long (*const bpf_map_push_elem)(void *map, const void *value, __u64 flags) K_HELPER(87);
static long (*const bpf_map_pop_elem)(void *map, void *value) K_HELPER(88);
static long (*const bpf_map_peek_elem)(void *map, void *value) K_HELPER(89);
static long (*const bpf_spin_lock)(void *lock) K_HELPER(93);
static long (*const bpf_spin_unlock)(void *lock) K_HELPER(94);
static void *(*const bpf_sk_fullsock)(void *sk) K_HELPER(95);
static void *(*const bpf_tcp_sock)(void *sk) K_HELPER(96);
static long (*const bpf_strtol)(const char *buf, unsigned long buf_len, __u64 flags, long *res) K_HELPER(105);
static long (*const bpf_strtoul)(const char *buf, unsigned long buf_len, __u64 flags, unsigned long *res) K_HELPER(106);
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) K_HELPER(107);
static long (*const bpf_sk_storage_delete)(void *map, void *sk) K_HELPER(108);
static long (*const bpf_send_signal)(__u32 sig) K_HELPER(109);
static long (*const bpf_skb_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size) K_HELPER(111);
static long (*const bpf_probe_read_user)(void *dst, __u32 size, const void *unsafe_ptr) K_HELPER(112);
static long (*const bpf_probe_read_kernel)(void *dst, __u32 size, const void *unsafe_ptr) K_HELPER(113);
static long (*const bpf_probe_read_user_str)(void *dst, __u32 size, const void *unsafe_ptr) K_HELPER(114);
static long (*const bpf_probe_read_kernel_str)(void *dst, __u32 size, const void *unsafe_ptr) K_HELPER(115);
static long (*const bpf_send_signal_thread)(__u32 sig) K_HELPER(117);
static __u64 (*const bpf_jiffies64)(void) K_HELPER(118);
static long (*const bpf_get_ns_current_pid_tgid)(__u64 dev, __u64 ino, void *nsdata, __u32 size) K_HELPER(120);
static __u64 (*const bpf_get_netns_cookie)(void *ctx) K_HELPER(122);
static __u64 (*const bpf_get_current_ancestor_cgroup_id)(int ancestor_level) K_HELPER(123);
static __u64 (*const bpf_ktime_get_boot_ns)(void) K_HELPER(125);
static long (*const bpf_seq_printf)(void *m, const char *fmt, __u32 fmt_size, const void *data, __u32 data_len) K_HELPER(126);
static long (*const bpf_seq_write)(void *m, const void *data, __u32 len) K_HELPER(127);
static __u64 (*const bpf_sk_cgroup_id)(void *sk) K_HELPER(128);
static long (*const kgent_ringbuf_output)(void *ringbuf, void *data, __u64 size, __u64 flags) K_HELPER(130);
static void *(*const kgent_ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags) K_HELPER(131);
static void (*const kgent_ringbuf_submit)(void *data, __u64 flags) K_HELPER(132);
static void (*const kgent_ringbuf_discard)(void *data, __u64 flags) K_HELPER(133);
static __u64 (*const bpf_ringbuf_query)(void *ringbuf, __u64 flags) K_HELPER(134);
static void *(*const bpf_skc_to_tcp6_sock)(void *sk) K_HELPER(136);
static void *(*const bpf_skc_to_tcp_sock)(void *sk) K_HELPER(137);
static void *(*const bpf_skc_to_udp6_sock)(void *sk) K_HELPER(140);
static long (*const bpf_get_task_stack)(void *task, void *buf, __u32 size, __u64 flags) K_HELPER(141);
static long (*const bpf_d_path)(void *path, char *buf, __u32 sz) K_HELPER(147);
static long (*const bpf_copy_from_user)(void *dst, __u32 size, const void *user_ptr) K_HELPER(148);
static void *(*const bpf_per_cpu_ptr)(const void *percpu_ptr, __u32 cpu) K_HELPER(153);
static void *(*const bpf_this_cpu_ptr)(const void *percpu_ptr) K_HELPER(154);
static void *(*const bpf_task_storage_get)(void *map, void *task, void *value, __u64 flags) K_HELPER(156);
static long (*const bpf_task_storage_delete)(void *map, void *task) K_HELPER(157);
static void *(*const bpf_get_current_task_btf)(void) K_HELPER(158);
static __u64 (*const bpf_ktime_get_coarse_ns)(void) K_HELPER(160);
static void *(*const bpf_sock_from_file)(void *file) K_HELPER(162);
static long (*const bpf_for_each_map_elem)(void *map, void *callback_fn, void *callback_ctx, __u64 flags) K_HELPER(164);
static long (*const bpf_snprintf)(char *str, __u32 str_size, const char *fmt, __u64 *data, __u32 data_len) K_HELPER(165);
static long (*const bpf_timer_init)(void *timer, void *map, __u64 flags) K_HELPER(169);
static long (*const bpf_timer_set_callback)(void *timer, void *callback_fn) K_HELPER(170);
static long (*const bpf_timer_start)(void *timer, __u64 nsecs, __u64 flags) K_HELPER(171);
static long (*const bpf_timer_cancel)(void *timer) K_HELPER(172);
static __u64 (*const bpf_get_func_ip)(void *ctx) K_HELPER(173);
static __u64 (*const bpf_get_attach_cookie)(void *ctx) K_HELPER(174);
static long (*const bpf_task_pt_regs)(void *task) K_HELPER(175);
static void *(*const bpf_skc_to_unix_sock)(void *sk) K_HELPER(178);
static long (*const bpf_loop)(__u32 nr_loops, void *callback_fn, void *callback_ctx, __u64 flags) K_HELPER(181);
static long (*const bpf_strncmp)(const char *s1, __u32 s1_sz, const char *s2) K_HELPER(182);
static long (*const bpf_get_func_arg)(void *ctx, __u32 n, __u64 *value) K_HELPER(183);
static long (*const bpf_get_func_ret)(void *ctx, __u64 *value) K_HELPER(184);
static long (*const bpf_get_func_arg_cnt)(void *ctx) K_HELPER(185);
static __u64 (*const bpf_xdp_get_buff_len)(void *xdp_md) K_HELPER(188);
static long (*const bpf_xdp_load_bytes)(void *xdp_md, __u32 offset, void *buf, __u32 len) K_HELPER(189);
static long (*const bpf_copy_from_user_task)(void *dst, __u32 size, const void *user_ptr, void *tsk, __u64 flags) K_HELPER(191);
static void *(*const bpf_map_lookup_percpu_elem)(void *map, const void *key, __u32 cpu) K_HELPER(195);
static __u64 (*const bpf_ktime_get_tai_ns)(void) K_HELPER(208);
static void *(*const bpf_cgrp_storage_get)(void *map, void *cgroup, void *value, __u64 flags) K_HELPER(210);
static long (*const bpf_cgrp_storage_delete)(void *map, void *cgroup) K_HELPER(211);

/* ---- what every program counts, so that no loss goes unsaid ---------------- */

struct kgent_counts {
	__u64 produced;  /* events submitted */
	__u64 lost;      /* events that found the buffer full */
	__u64 map_full;  /* updates that a map had no room for, or could not take */
	__u64 wakeup;    /* flags of the submit in progress, not a count */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kgent_counts);
} kgent_stats SEC(".maps");

#define KGENT_RB_NO_WAKEUP 1ULL
#define KGENT_RB_FORCE_WAKEUP 2ULL
/*
 * The reader drains on a timer, so an event does not pay for a wake-up (0.6 us);
 * only when this much waits is the reader woken, once per crossing.
 */
#define KGENT_WAKEUP_AT (64 * 1024)
#define KGENT_WAKEUP_SPAN 1024

static __always_inline struct kgent_counts *kgent_counts(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&kgent_stats, &zero);
}

/* One more update is lost. */
static __always_inline void kgent_count_map_full(void)
{
	struct kgent_counts *c = kgent_counts();
	if (c)
		__sync_fetch_and_add(&c->map_full, 1);
}

/* bpf_map_update_elem and the four of ring buffers have the kernel's names and meaning, and count. */
static __always_inline long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags)
{
	long err = kgent_map_update_elem(map, key, value, flags);
	/*
	 * No room is -E2BIG, no memory -ENOMEM, a bucket that is in use -EBUSY,
	 * -EDEADLK or -ETIMEDOUT, as the kernel goes: each is a loss. That a key is
	 * there (-EEXIST) or is not (-ENOENT) is an answer to the flags.
	 */
	if (err && err != -17 && err != -2)
		kgent_count_map_full();
	return err;
}

#ifndef KGENT_PERF

static __always_inline __u64 kgent_wakeup_flag(void *ringbuf)
{
	__u64 waiting = bpf_ringbuf_query(ringbuf, 0 /* BPF_RB_AVAIL_DATA */);
	return waiting - KGENT_WAKEUP_AT < KGENT_WAKEUP_SPAN ? KGENT_RB_FORCE_WAKEUP : KGENT_RB_NO_WAKEUP;
}

static __always_inline void *bpf_ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags)
{
	struct kgent_counts *c = kgent_counts();
	void *p = kgent_ringbuf_reserve(ringbuf, size, 0);
	(void)flags;
	if (c) {
		if (!p)
			__sync_fetch_and_add(&c->lost, 1);
		else
			c->wakeup = kgent_wakeup_flag(ringbuf);
	}
	return p;
}

static __always_inline void bpf_ringbuf_submit(void *data, __u64 flags)
{
	struct kgent_counts *c = kgent_counts();
	__u64 wakeup = KGENT_RB_NO_WAKEUP;
	(void)flags;
	if (c) {
		__sync_fetch_and_add(&c->produced, 1);
		wakeup = c->wakeup;
	}
	kgent_ringbuf_submit(data, wakeup);
}

static __always_inline void bpf_ringbuf_discard(void *data, __u64 flags)
{
	(void)flags;
	kgent_ringbuf_discard(data, KGENT_RB_NO_WAKEUP);
}

static __always_inline long bpf_ringbuf_output(void *ringbuf, void *data, __u64 size, __u64 flags)
{
	struct kgent_counts *c = kgent_counts();
	long err = kgent_ringbuf_output(ringbuf, data, size, kgent_wakeup_flag(ringbuf));
	(void)flags;
	if (c) {
		if (err)
			__sync_fetch_and_add(&c->lost, 1);
		else
			__sync_fetch_and_add(&c->produced, 1);
	}
	return err;
}

#else
/*
 * For kernels without ring buffers (before Linux 5.8): the same source, with a
 * perf buffer on each processor in the place of each ring buffer. kgent compiles
 * with this where one of the nodes needs it. An event is put together in
 * kgent_records, of which each processor has a record for each buffer, and is
 * copied from there.
 *
 * A record belongs to who counts it up from 0: a program that is run in the
 * middle, in an interrupt or because the first one has lost the processor,
 * reads more than 1 and takes its hand off again; the event is lost then, and
 * counted. Programs stay on their processor, and an addition is not torn apart
 * by an interrupt, so of several that count up at the same time at most one
 * reads 1. No more than additions is used, since older kernels have no more.
 *
 * The buffer that an event belongs to is known by the event's type:
 * KGENT_RING_OF and KGENT_RING_INDEX, which kgent defines. The context comes from where
 * the event is handed over: the function there must have it as ctx.
 */
#define BPF_MAP_TYPE_RINGBUF BPF_MAP_TYPE_PERF_EVENT_ARRAY
static long (*const kgent_perf_event_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size) K_HELPER(25);
#define bpf_perf_event_output(ctx, map, flags, data, size) \
	({ _Static_assert(0, "a perf buffer of its own: define a BPF_MAP_TYPE_RINGBUF with __type(value, struct ...) and use bpf_ringbuf_output"); 0L; })

/* What a function finds that has no ctx of its own. */
static struct kgent_no_ctx *const ctx;
#define K_CTX ({ \
	_Static_assert(!__builtin_types_compatible_p(typeof(ctx), struct kgent_no_ctx *), \
		       "one of the kernels has no ring buffers, and for perf buffers an event must be handed over where the program's context is at hand: hand it down to this function as ctx"); \
	(void *)(ctx); \
})
#define K_WHOLE(ringbuf, size) \
	_Static_assert((size) == sizeof(*(ringbuf)->value), "an event of another size than the buffer's __type(value, ...)")

#ifdef KGENT_RINGS
struct kgent_record {
	__u64 taken;
	__u8 data[KGENT_RECORD];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KGENT_RINGS);
	__type(key, __u32);
	__type(value, struct kgent_record);
} kgent_records SEC(".maps");

static __always_inline void *kgent_record_take(__u32 ring)
{
	struct kgent_record *r = bpf_map_lookup_elem(&kgent_records, &ring);
	struct kgent_counts *c;
	if (r) {
		__sync_fetch_and_add(&r->taken, 1);
		if (READ_ONCE(r->taken) == 1)
			return r->data;
		__sync_fetch_and_add(&r->taken, -1);
	}
	c = kgent_counts();
	if (c)
		__sync_fetch_and_add(&c->lost, 1);
	return NULL;
}

static __always_inline void kgent_record_give_back(void *data)
{
	struct kgent_record *r = container_of(data, struct kgent_record, data);
	barrier();
	__sync_fetch_and_add(&r->taken, -1);
}

/* Full is -ENOSPC, from Linux 5.0 on; another processor's buffer is never meant. */
static __always_inline long kgent_perf_output(void *ctx, void *perf, void *data, __u64 size)
{
	struct kgent_counts *c = kgent_counts();
	long err = kgent_perf_event_output(ctx, perf, 0xffffffffULL /* BPF_F_CURRENT_CPU */, data, size);
	if (c) {
		if (err)
			__sync_fetch_and_add(&c->lost, 1);
		else
			__sync_fetch_and_add(&c->produced, 1);
	}
	return err;
}
#else
/* Only compiled to see which buffers there are. */
#define KGENT_RING_OF(data) ((struct { void *value; } *)0)
#define KGENT_RING_INDEX(data) 0
static __always_inline void *kgent_record_take(__u32 ring) { return NULL; }
static __always_inline void kgent_record_give_back(void *data) {}
static __always_inline long kgent_perf_output(void *ctx, void *perf, void *data, __u64 size) { return 0; }
#endif

#define bpf_ringbuf_reserve(ringbuf, size, flags) ({ \
	K_WHOLE(ringbuf, size); \
	(typeof((ringbuf)->value))kgent_record_take(KGENT_RING_INDEX((ringbuf)->value)); \
})
#define bpf_ringbuf_submit(data, flags) ({ \
	void *_k_data = (data); \
	kgent_perf_output(K_CTX, KGENT_RING_OF(data), _k_data, sizeof(*KGENT_RING_OF(data)->value)); \
	kgent_record_give_back(_k_data); \
})
#define bpf_ringbuf_discard(data, flags) kgent_record_give_back(data)
#define bpf_ringbuf_output(ringbuf, data, size, flags) ({ \
	K_WHOLE(ringbuf, size); \
	kgent_perf_output(K_CTX, (ringbuf), (void *)(data), (size)); \
})
#endif

/* ---- CO-RE ------------------------------------------------------------------ */

#define bpf_core_read(dst, sz, src) \
	bpf_probe_read_kernel(dst, sz, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user(dst, sz, src) \
	bpf_probe_read_user(dst, sz, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_str(dst, sz, src) \
	bpf_probe_read_kernel_str(dst, sz, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user_str(dst, sz, src) \
	bpf_probe_read_user_str(dst, sz, (const void *)__builtin_preserve_access_index(src))

/* The last argument of these builtins is the kind of question, see clang's CO-RE documentation. */
#define bpf_core_field_offset(f...) __builtin_preserve_field_info(K_FIELD(f), 0)
#define bpf_core_field_size(f...) __builtin_preserve_field_info(K_FIELD(f), 1)
#define bpf_core_field_exists(f...) __builtin_preserve_field_info(K_FIELD(f), 2)
#define K_FIELD(...) __K_CAT(K_FIELD, K_NARG(__VA_ARGS__))(__VA_ARGS__)
#define K_FIELD1(access) access
#define K_FIELD2(type, field) ((typeof(type) *)0)->field
#define bpf_core_type_id_local(t) __builtin_btf_type_id(*(typeof(t) *)0, 0)
#define bpf_core_type_id_kernel(t) __builtin_btf_type_id(*(typeof(t) *)0, 1)
#define bpf_core_type_exists(t) __builtin_preserve_type_info(*(typeof(t) *)0, 0)
#define bpf_core_type_size(t) __builtin_preserve_type_info(*(typeof(t) *)0, 1)
#define bpf_core_type_matches(t) __builtin_preserve_type_info(*(typeof(t) *)0, 2)
#define bpf_core_enum_value_exists(t, v) __builtin_preserve_enum_value(*(typeof(t) *)v, 0)
#define bpf_core_enum_value(t, v) __builtin_preserve_enum_value(*(typeof(t) *)v, 1)

/* A bit-field of kernel memory, as an unsigned (or, for a signed field, sign-extended) 64-bit value. */
#define BPF_CORE_READ_BITFIELD_PROBED(s, field) ({ \
	__u64 _bits = 0; \
	bpf_probe_read_kernel(&_bits, __builtin_preserve_field_info((s)->field, 1), \
			      (const char *)(s) + __builtin_preserve_field_info((s)->field, 0)); \
	_bits <<= __builtin_preserve_field_info((s)->field, 4); \
	__builtin_preserve_field_info((s)->field, 3) \
		? (__u64)((__s64)_bits >> __builtin_preserve_field_info((s)->field, 5)) \
		: _bits >> __builtin_preserve_field_info((s)->field, 5); \
})
#define BPF_CORE_READ_BITFIELD(s, field) BPF_CORE_READ_BITFIELD_PROBED(s, field)

/* Counts its arguments, 0 to 12. */
#define K_NARG(...) K_NARG_(_, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define K_NARG_(_0, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, n, ...) n

/* The type of an expression without const and volatile, which an initializer drops. */
#define K_PLAIN(x) typeof(({ __auto_type _k_u = (x); _k_u; }))

/*
 * BPF_CORE_READ(p, a, b.c, d) reads p->a->b.c->d, one safe read an arrow; a
 * failing read yields what the helper leaves: zeroes.
 */
#define K_HOP(read, n, src, f) ({ \
	__auto_type _k_p##n = (src); \
	K_PLAIN(_k_p##n->f) _k_v##n; \
	_Static_assert(sizeof(_k_v##n) == sizeof(_k_p##n->f), "an array: read it with BPF_CORE_READ_INTO or BPF_CORE_READ_STR_INTO"); \
	read(&_k_v##n, sizeof(_k_v##n), (const void *)__builtin_preserve_access_index(&_k_p##n->f)); \
	_k_v##n; \
})
#define K_CHAIN1(r, s, a) K_HOP(r, 1, s, a)
#define K_CHAIN2(r, s, a, b) K_HOP(r, 2, K_CHAIN1(r, s, a), b)
#define K_CHAIN3(r, s, a, b, c) K_HOP(r, 3, K_CHAIN2(r, s, a, b), c)
#define K_CHAIN4(r, s, a, b, c, d) K_HOP(r, 4, K_CHAIN3(r, s, a, b, c), d)
#define K_CHAIN5(r, s, a, b, c, d, e) K_HOP(r, 5, K_CHAIN4(r, s, a, b, c, d), e)
#define K_CHAIN6(r, s, a, b, c, d, e, f) K_HOP(r, 6, K_CHAIN5(r, s, a, b, c, d, e), f)
#define K_CHAIN7(r, s, a, b, c, d, e, f, g) K_HOP(r, 7, K_CHAIN6(r, s, a, b, c, d, e, f), g)
#define K_CHAIN8(r, s, a, b, c, d, e, f, g, h) K_HOP(r, 8, K_CHAIN7(r, s, a, b, c, d, e, f, g), h)
#define K_CHAIN(r, s, ...) __K_CAT(K_CHAIN, K_NARG(__VA_ARGS__))(r, s, ##__VA_ARGS__)
#define BPF_CORE_READ(src, ...) K_CHAIN(bpf_probe_read_kernel, src, ##__VA_ARGS__)
#define BPF_CORE_READ_USER(src, ...) K_CHAIN(bpf_probe_read_user, src, ##__VA_ARGS__)
#define BPF_PROBE_READ(src, ...) BPF_CORE_READ(src, ##__VA_ARGS__)
#define BPF_PROBE_READ_USER(src, ...) BPF_CORE_READ_USER(src, ##__VA_ARGS__)

/*
 * The last hop goes to *dst instead. Both sizes count: never more than the
 * destination holds, never more than the field has (an IPv4 address read into
 * sixteen bytes must not take its neighbours along).
 */
#define K_LAST(read, dst, src, f) ({ \
	__auto_type _k_pi = (src); \
	read((void *)(dst), sizeof(*(dst)) < sizeof(_k_pi->f) ? sizeof(*(dst)) : sizeof(_k_pi->f), \
	     (const void *)__builtin_preserve_access_index(&_k_pi->f)); \
})
#define K_LAST_STR(read, dst, src, f) ({ \
	__auto_type _k_pi = (src); \
	read((void *)(dst), sizeof(*(dst)), (const void *)__builtin_preserve_access_index(&_k_pi->f)); \
})
#define K_INTO1(l, p, r, d, s, a) l(r, d, s, a)
#define K_INTO2(l, p, r, d, s, a, b) l(r, d, K_CHAIN1(p, s, a), b)
#define K_INTO3(l, p, r, d, s, a, b, c) l(r, d, K_CHAIN2(p, s, a, b), c)
#define K_INTO4(l, p, r, d, s, a, b, c, e) l(r, d, K_CHAIN3(p, s, a, b, c), e)
#define K_INTO5(l, p, r, d, s, a, b, c, e, f) l(r, d, K_CHAIN4(p, s, a, b, c, e), f)
#define K_INTO6(l, p, r, d, s, a, b, c, e, f, g) l(r, d, K_CHAIN5(p, s, a, b, c, e, f), g)
#define K_INTO(l, p, r, d, s, ...) __K_CAT(K_INTO, K_NARG(__VA_ARGS__))(l, p, r, d, s, ##__VA_ARGS__)
#define BPF_CORE_READ_INTO(dst, src, ...) \
	K_INTO(K_LAST, bpf_probe_read_kernel, bpf_probe_read_kernel, dst, src, ##__VA_ARGS__)
#define BPF_CORE_READ_USER_INTO(dst, src, ...) \
	K_INTO(K_LAST, bpf_probe_read_user, bpf_probe_read_user, dst, src, ##__VA_ARGS__)
#define BPF_PROBE_READ_INTO(dst, src, ...) BPF_CORE_READ_INTO(dst, src, ##__VA_ARGS__)
#define BPF_PROBE_READ_USER_INTO(dst, src, ...) BPF_CORE_READ_USER_INTO(dst, src, ##__VA_ARGS__)
/* For a member that is an array of characters. For a `char *` member read the pointer, then the string. */
#define BPF_CORE_READ_STR_INTO(dst, src, ...) \
	K_INTO(K_LAST_STR, bpf_probe_read_kernel, bpf_probe_read_kernel_str, dst, src, ##__VA_ARGS__)
#define BPF_CORE_READ_USER_STR_INTO(dst, src, ...) \
	K_INTO(K_LAST_STR, bpf_probe_read_user, bpf_probe_read_user_str, dst, src, ##__VA_ARGS__)
#define BPF_PROBE_READ_STR_INTO(dst, src, ...) BPF_CORE_READ_STR_INTO(dst, src, ##__VA_ARGS__)
#define BPF_PROBE_READ_USER_STR_INTO(dst, src, ...) BPF_CORE_READ_USER_STR_INTO(dst, src, ##__VA_ARGS__)
#define bpf_ksym_exists(sym) (!!(sym))

/* ---- program arguments ------------------------------------------------------ */
/*
 * int BPF_PROG(name, struct sock *sk, int old, int new) { ... }
 * for raw_tp, tp_btf, fentry, fexit, lsm: arguments come as 64-bit slots of ctx.
 */
#define K_SLOTS0
#define K_SLOTS1 , (void *)ctx[0]
#define K_SLOTS2 K_SLOTS1, (void *)ctx[1]
#define K_SLOTS3 K_SLOTS2, (void *)ctx[2]
#define K_SLOTS4 K_SLOTS3, (void *)ctx[3]
#define K_SLOTS5 K_SLOTS4, (void *)ctx[4]
#define K_SLOTS6 K_SLOTS5, (void *)ctx[5]
#define K_SLOTS7 K_SLOTS6, (void *)ctx[6]
#define K_SLOTS8 K_SLOTS7, (void *)ctx[7]
#define K_SLOTS9 K_SLOTS8, (void *)ctx[8]
#define K_SLOTS10 K_SLOTS9, (void *)ctx[9]
#define K_SLOTS11 K_SLOTS10, (void *)ctx[10]
#define K_SLOTS12 K_SLOTS11, (void *)ctx[11]

#define K_BODY(name, ctxtype, passed, ...) \
name(ctxtype *ctx); \
static __always_inline typeof(name(0)) __K_CAT(kgent_body_, name)(ctxtype *ctx, ##__VA_ARGS__); \
typeof(name(0)) name(ctxtype *ctx) \
{ \
	_Pragma("GCC diagnostic push") \
	_Pragma("GCC diagnostic ignored \"-Wint-conversion\"") \
	return __K_CAT(kgent_body_, name)(ctx passed); \
	_Pragma("GCC diagnostic pop") \
} \
static __always_inline typeof(name(0)) __K_CAT(kgent_body_, name)(__attribute__((unused)) ctxtype *ctx, ##__VA_ARGS__)

#define BPF_PROG(name, ...) \
	K_BODY(name, unsigned long long, __K_CAT(K_SLOTS, K_NARG(__VA_ARGS__)), ##__VA_ARGS__)

#if defined(__TARGET_ARCH_x86)
#define K_REG(x) (x)
#define K_REG1 di
#define K_REG2 si
#define K_REG3 dx
#define K_REG4 cx
#define K_REG5 r8
#define K_REG6 r9
#define K_REG4_SYSCALL r10
#define K_REG_FP bp
#define K_REG_RC ax
#define K_REG_SP sp
#define K_REG_IP ip
#define PT_REGS_RET(x) (*(unsigned long *)(x)->sp)
#elif defined(__TARGET_ARCH_arm64)
#define K_REG(x) ((const struct user_pt_regs *)(x))
#define K_REG1 regs[0]
#define K_REG2 regs[1]
#define K_REG3 regs[2]
#define K_REG4 regs[3]
#define K_REG5 regs[4]
#define K_REG6 regs[5]
#define K_REG4_SYSCALL regs[3]
#define K_REG_FP regs[29]
#define K_REG_RC regs[0]
#define K_REG_SP sp
#define K_REG_IP pc
#define PT_REGS_RET(x) (K_REG(x)->regs[30])
#endif

/* Of a probe's ctx. The argument of the kernel's system calls is such a struct too, see BPF_KSYSCALL. */
#define PT_REGS_PARM1(x) (K_REG(x)->K_REG1)
#define PT_REGS_PARM2(x) (K_REG(x)->K_REG2)
#define PT_REGS_PARM3(x) (K_REG(x)->K_REG3)
#define PT_REGS_PARM4(x) (K_REG(x)->K_REG4)
#define PT_REGS_PARM5(x) (K_REG(x)->K_REG5)
#define PT_REGS_PARM6(x) (K_REG(x)->K_REG6)
#define PT_REGS_FP(x) (K_REG(x)->K_REG_FP)
#define PT_REGS_RC(x) (K_REG(x)->K_REG_RC)
#define PT_REGS_SP(x) (K_REG(x)->K_REG_SP)
#define PT_REGS_IP(x) (K_REG(x)->K_REG_IP)

/* Of any other registers: a system call's, a task's. */
#define PT_REGS_PARM1_CORE(x) BPF_CORE_READ(K_REG(x), K_REG1)
#define PT_REGS_PARM2_CORE(x) BPF_CORE_READ(K_REG(x), K_REG2)
#define PT_REGS_PARM3_CORE(x) BPF_CORE_READ(K_REG(x), K_REG3)
#define PT_REGS_PARM4_CORE(x) BPF_CORE_READ(K_REG(x), K_REG4)
#define PT_REGS_PARM5_CORE(x) BPF_CORE_READ(K_REG(x), K_REG5)
#define PT_REGS_PARM6_CORE(x) BPF_CORE_READ(K_REG(x), K_REG6)
#define PT_REGS_FP_CORE(x) BPF_CORE_READ(K_REG(x), K_REG_FP)
#define PT_REGS_RC_CORE(x) BPF_CORE_READ(K_REG(x), K_REG_RC)
#define PT_REGS_SP_CORE(x) BPF_CORE_READ(K_REG(x), K_REG_SP)
#define PT_REGS_IP_CORE(x) BPF_CORE_READ(K_REG(x), K_REG_IP)

/* A system call passes its fourth argument in another register than a function. */
#define PT_REGS_PARM1_SYSCALL(x) PT_REGS_PARM1(x)
#define PT_REGS_PARM2_SYSCALL(x) PT_REGS_PARM2(x)
#define PT_REGS_PARM3_SYSCALL(x) PT_REGS_PARM3(x)
#define PT_REGS_PARM4_SYSCALL(x) (K_REG(x)->K_REG4_SYSCALL)
#define PT_REGS_PARM5_SYSCALL(x) PT_REGS_PARM5(x)
#define PT_REGS_PARM6_SYSCALL(x) PT_REGS_PARM6(x)
#define PT_REGS_PARM1_CORE_SYSCALL(x) PT_REGS_PARM1_CORE(x)
#define PT_REGS_PARM2_CORE_SYSCALL(x) PT_REGS_PARM2_CORE(x)
#define PT_REGS_PARM3_CORE_SYSCALL(x) PT_REGS_PARM3_CORE(x)
#define PT_REGS_PARM4_CORE_SYSCALL(x) BPF_CORE_READ(K_REG(x), K_REG4_SYSCALL)
#define PT_REGS_PARM5_CORE_SYSCALL(x) PT_REGS_PARM5_CORE(x)
#define PT_REGS_PARM6_CORE_SYSCALL(x) PT_REGS_PARM6_CORE(x)
/* At the entry of a system call's function, such as __x64_sys_openat: the caller's registers. */
#define PT_REGS_SYSCALL_REGS(ctx) ((struct pt_regs *)PT_REGS_PARM1(ctx))

/* The number of the system call that the registers at its exit belong to. */
#if defined(__TARGET_ARCH_x86)
#define K_SYSCALL_NR(regs) ((int)BPF_CORE_READ((regs), orig_ax))
#elif defined(__TARGET_ARCH_arm64)
#define K_SYSCALL_NR(regs) ((int)BPF_CORE_READ((regs), syscallno))
#endif

#define K_REGS0
#define K_REGS1 , (void *)PT_REGS_PARM1(ctx)
#define K_REGS2 K_REGS1, (void *)PT_REGS_PARM2(ctx)
#define K_REGS3 K_REGS2, (void *)PT_REGS_PARM3(ctx)
#define K_REGS4 K_REGS3, (void *)PT_REGS_PARM4(ctx)
#define K_REGS5 K_REGS4, (void *)PT_REGS_PARM5(ctx)
#define K_REGS6 K_REGS5, (void *)PT_REGS_PARM6(ctx)
#define K_RC0
#define K_RC1 , (void *)PT_REGS_RC(ctx)

/* Function entry: int BPF_KPROBE(name, const char *path, int flags) { ... }, also for uprobes. */
#define BPF_KPROBE(name, ...) \
	K_BODY(name, struct pt_regs, __K_CAT(K_REGS, K_NARG(__VA_ARGS__)), ##__VA_ARGS__)
/* Function return: int BPF_KRETPROBE(name, long ret) { ... } */
#define BPF_KRETPROBE(name, ...) \
	K_BODY(name, struct pt_regs, __K_CAT(K_RC, K_NARG(__VA_ARGS__)), ##__VA_ARGS__)
/* Entry of a system call's function, by kprobe: int BPF_KSYSCALL(name, int dfd, const char *path) { ... } */
#define K_SYSREGS0
#define K_SYSREGS1 , (void *)PT_REGS_PARM1_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define K_SYSREGS2 K_SYSREGS1, (void *)PT_REGS_PARM2_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define K_SYSREGS3 K_SYSREGS2, (void *)PT_REGS_PARM3_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define K_SYSREGS4 K_SYSREGS3, (void *)PT_REGS_PARM4_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define K_SYSREGS5 K_SYSREGS4, (void *)PT_REGS_PARM5_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define K_SYSREGS6 K_SYSREGS5, (void *)PT_REGS_PARM6_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define BPF_KSYSCALL(name, ...) \
	K_BODY(name, struct pt_regs, K_SYSREGS(K_NARG(__VA_ARGS__)), ##__VA_ARGS__)
/* Not __K_CAT: what comes of it uses that itself, which a macro may not. */
#define K_SYSREGS_(n) K_SYSREGS##n
#define K_SYSREGS(n) K_SYSREGS_(n)
#define BPF_KPROBE_SYSCALL(name, ...) BPF_KSYSCALL(name, ##__VA_ARGS__)
#define BPF_UPROBE(name, ...) BPF_KPROBE(name, ##__VA_ARGS__)
#define BPF_URETPROBE(name, ...) BPF_KRETPROBE(name, ##__VA_ARGS__)

/* ---- text ------------------------------------------------------------------- */

#define K_U64S0
#define K_U64S1(a) (__u64)(a)
#define K_U64S2(a, b) K_U64S1(a), (__u64)(b)
#define K_U64S3(a, b...) K_U64S1(a), K_U64S2(b)
#define K_U64S4(a, b...) K_U64S1(a), K_U64S3(b)
#define K_U64S5(a, b...) K_U64S1(a), K_U64S4(b)
#define K_U64S6(a, b...) K_U64S1(a), K_U64S5(b)
#define K_U64S7(a, b...) K_U64S1(a), K_U64S6(b)
#define K_U64S8(a, b...) K_U64S1(a), K_U64S7(b)
#define K_U64S9(a, b...) K_U64S1(a), K_U64S8(b)
#define K_U64S10(a, b...) K_U64S1(a), K_U64S9(b)
#define K_U64S11(a, b...) K_U64S1(a), K_U64S10(b)
#define K_U64S12(a, b...) K_U64S1(a), K_U64S11(b)
#define K_PRINTED(call, fmt, ...) ({ \
	static const char _k_fmt[] = fmt; \
	__u64 _k_args[] = { 0, K_PRINTED_(__K_CAT(K_U64S, K_NARG(__VA_ARGS__)), ##__VA_ARGS__) }; \
	call; \
})
#define K_PRINTED_(f, ...) __VA_OPT__(f(__VA_ARGS__))
/* What an iterator (SEC("iter/…")) prints is shown line by line. */
#define BPF_SEQ_PRINTF(seq, fmt, ...) \
	K_PRINTED(bpf_seq_printf(seq, _k_fmt, sizeof(_k_fmt), _k_args + 1, sizeof(_k_args) - 8), fmt, ##__VA_ARGS__)
#define BPF_SNPRINTF(out, size, fmt, ...) \
	K_PRINTED(bpf_snprintf(out, size, _k_fmt, _k_args + 1, sizeof(_k_args) - 8), fmt, ##__VA_ARGS__)
/* Nobody reads the kernel's trace pipe: what is to be seen goes through a ring buffer or an output map. */
#define bpf_printk(fmt, ...) ((void)0)

/* ---- loops and memory, by the names that other headers give them -------------- */

#define bpf_for(i, start, end) for (int _k_end = ((i) = (start), (end)); (i) < _k_end; (i)++)
#define bpf_repeat(n) for (int _k_i = 0, _k_n = (n); _k_i < _k_n; _k_i++)
#define memset(p, c, n) __builtin_memset(p, c, n)
#define memcpy(to, from, n) __builtin_memcpy(to, from, n)
#define memmove(to, from, n) __builtin_memmove(to, from, n)
#define memcmp(a, b, n) __builtin_memcmp(a, b, n)

/* ---- byte order --------------------------------------------------------------- */

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_ntohs(x) ((__u16)__builtin_bswap16((__u16)(x)))
#define bpf_ntohl(x) ((__u32)__builtin_bswap32((__u32)(x)))
#define bpf_be64_to_cpu(x) ((__u64)__builtin_bswap64((__u64)(x)))
#else
#define bpf_ntohs(x) ((__u16)(x))
#define bpf_ntohl(x) ((__u32)(x))
#define bpf_be64_to_cpu(x) ((__u64)(x))
#endif
#define bpf_htons(x) bpf_ntohs(x)
#define bpf_htonl(x) bpf_ntohl(x)
#define bpf_cpu_to_be64(x) bpf_be64_to_cpu(x)
#define bpf_be16_to_cpu(x) bpf_ntohs(x)
#define bpf_be32_to_cpu(x) bpf_ntohl(x)
#define bpf_cpu_to_be16(x) bpf_htons(x)
#define bpf_cpu_to_be32(x) bpf_htonl(x)
#define ntohs(x) bpf_ntohs(x)
#define ntohl(x) bpf_ntohl(x)
#define htons(x) bpf_htons(x)
#define htonl(x) bpf_htonl(x)

/* ---- constants that are macros in the kernel and so not in BTF -------------------- */

#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define AF_PACKET 17
#define ETH_ALEN 6
#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8
#define ETH_P_IPV6 0x86DD
#define IPPROTO_ICMPV6 58
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_DSTOPTS 60
#define IP_OFFSET 0x1FFF
#define IP_MF 0x2000
#define TC_ACT_UNSPEC (-1)
#define TC_ACT_OK 0
#define TC_ACT_SHOT 2
#define TCX_NEXT (-1)
#define TCX_PASS 0
#define TCX_DROP 2
#define EPERM 1
#define ENOENT 2
#define ESRCH 3
#define EINTR 4
#define EIO 5
#define ENXIO 6
#define E2BIG 7
#define ENOEXEC 8
#define EBADF 9
#define ECHILD 10
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define EXDEV 18
#define ENODEV 19
#define ENOTDIR 20
#define EISDIR 21
#define EINVAL 22
#define ENFILE 23
#define EMFILE 24
#define ENOTTY 25
#define ETXTBSY 26
#define EFBIG 27
#define ENOSPC 28
#define ESPIPE 29
#define EROFS 30
#define EMLINK 31
#define EPIPE 32
#define ERANGE 34
#define EDEADLK 35
#define ENAMETOOLONG 36
#define ENOSYS 38
#define ENOTEMPTY 39
#define ELOOP 40
#define ENODATA 61
#define EOVERFLOW 75
#define ENOTSOCK 88
#define EDESTADDRREQ 89
#define EMSGSIZE 90
#define ENOPROTOOPT 92
#define EPROTONOSUPPORT 93
#define EOPNOTSUPP 95
#define EAFNOSUPPORT 97
#define EADDRINUSE 98
#define EADDRNOTAVAIL 99
#define ENETDOWN 100
#define ENETUNREACH 101
#define ECONNABORTED 103
#define ECONNRESET 104
#define ENOBUFS 105
#define EISCONN 106
#define ENOTCONN 107
#define ETIMEDOUT 110
#define ECONNREFUSED 111
#define EHOSTUNREACH 113
#define EALREADY 114
#define EINPROGRESS 115
#define ESTALE 116
#define EDQUOT 122
#define ECANCELED 125
#define EWOULDBLOCK EAGAIN
#define MAX_ERRNO 4095
#define O_ACCMODE 3
#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0100
#define O_EXCL 0200
#define O_TRUNC 01000
#define O_APPEND 02000
#define O_NONBLOCK 04000
#define O_CLOEXEC 02000000
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define S_ISREG(m) (((m) & S_IFMT) == S_IFREG)
#define S_ISDIR(m) (((m) & S_IFMT) == S_IFDIR)
#define S_ISLNK(m) (((m) & S_IFMT) == S_IFLNK)
#define S_ISSOCK(m) (((m) & S_IFMT) == S_IFSOCK)
#define S_ISFIFO(m) (((m) & S_IFMT) == S_IFIFO)
#define S_ISCHR(m) (((m) & S_IFMT) == S_IFCHR)
#define S_ISBLK(m) (((m) & S_IFMT) == S_IFBLK)
#define PF_KTHREAD 0x00200000
#define TASK_RUNNING 0
#define TASK_INTERRUPTIBLE 1
#define TASK_UNINTERRUPTIBLE 2
#define CLONE_VM 0x00000100
#define CLONE_THREAD 0x00010000
#define PROT_READ 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define TASK_COMM_LEN 16
#define PATH_MAX 4096
#define NAME_MAX 255
#define SIGHUP 1
#define SIGINT 2
#define SIGQUIT 3
#define SIGILL 4
#define SIGTRAP 5
#define SIGABRT 6
#define SIGBUS 7
#define SIGFPE 8
#define SIGKILL 9
#define SIGUSR1 10
#define SIGSEGV 11
#define SIGUSR2 12
#define SIGPIPE 13
#define SIGALRM 14
#define SIGTERM 15
#define SIGCHLD 17
#define SIGCONT 18
#define SIGSTOP 19
#define SIGTSTP 20
#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_SEC 1000000000ULL

/* ---- small things most programs need ------------------------------------------------ */

static __always_inline __u32 k_current_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline __u32 k_current_tid(void)
{
	return (__u32)bpf_get_current_pid_tgid();
}

static __always_inline __u32 k_current_uid(void)
{
	return (__u32)bpf_get_current_uid_gid();
}

/*
 * Zeroes size bytes, a multiple of 8. For records beyond 1 KiB, for which
 * __builtin_memset would become a call; volatile keeps the loop from becoming
 * one again.
 */
static __always_inline void k_zero(void *p, __u32 size)
{
	volatile __u64 *word = p;
	for (__u32 i = 0; i < size / 8; i++)
		word[i] = 0;
}

/*
 * Whether text begins with the parameter prefix, an array of K_PREFIX_LEN
 * bytes ending in NUL. Every text begins with "".
 */
#define K_PREFIX_LEN 128
static __always_inline bool k_has_prefix(const volatile char *prefix, const char *text)
{
	bool same = true;

	/* One way out: of several, clang -O1 makes a flag that it does not set. */
	for (int i = 0; same && i < K_PREFIX_LEN; i++) {
		char c = prefix[i];
		if (!c)
			break;
		same = c == text[i];
	}
	return same;
}

/* The IPv4 address v (network order) as ::ffff:a.b.c.d. */
static __always_inline void k_ip_from_v4(k_ip *ip, __be32 v)
{
	__builtin_memset(ip->b, 0, 10);
	ip->b[10] = ip->b[11] = 0xff;
	__builtin_memcpy(ip->b + 12, &v, 4);
}

static __always_inline void k_ip_from_v6(k_ip *ip, const struct in6_addr *v)
{
	__builtin_memcpy(ip->b, v, 16);
}

/* Whether an address parameter is unset (all zero bytes). */
static __always_inline bool k_ip_any(const volatile k_ip *ip)
{
	const volatile __u64 *w = (const volatile __u64 *)ip;
	return w[0] == 0 && w[1] == 0;
}

static __always_inline bool k_ip_eq(const volatile k_ip *a, const k_ip *b)
{
	for (int i = 0; i < 16; i++)
		if (a->b[i] != b->b[i])
			return false;
	return true;
}

static __always_inline bool k_comm_eq(const volatile char *want, const char *have)
{
	for (int i = 0; i < TASK_COMM_LEN; i++) {
		if (want[i] != have[i])
			return false;
		if (!want[i])
			return true;
	}
	return true;
}

/*
 * The two ends of a socket, or of anything else that begins with a
 * sock_common (a request_sock, a timewait socket). Read safely, so any pointer
 * to one will do.
 */
struct in6_addr___kgent { __u8 b[16]; };
struct sock_common___kgent {
	unsigned short skc_family;
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	volatile unsigned char skc_state;
	struct in6_addr___kgent skc_v6_daddr, skc_v6_rcv_saddr;
} __attribute__((preserve_access_index));
struct inet_sock___kgent { __be16 inet_sport; } __attribute__((preserve_access_index));

struct k_ends {
	k_ip laddr; /* this host's end */
	k_ip raddr; /* the other end */
	k_port lport, rport;
};

/* False, and zeroes, when the socket is neither IPv4 nor IPv6. */
static __always_inline bool k_ends_of(const void *sock_common, struct k_ends *e)
{
	const struct sock_common___kgent *c = sock_common;
	__u16 family = BPF_CORE_READ(c, skc_family);

	__builtin_memset(e, 0, sizeof(*e));
	if (family == AF_INET) {
		k_ip_from_v4(&e->laddr, BPF_CORE_READ(c, skc_rcv_saddr));
		k_ip_from_v4(&e->raddr, BPF_CORE_READ(c, skc_daddr));
	} else if (family == AF_INET6) {
		BPF_CORE_READ_INTO(&e->laddr, c, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&e->raddr, c, skc_v6_daddr);
	} else {
		return false;
	}
	e->lport = BPF_CORE_READ(c, skc_num); /* host order, unlike the next */
	e->rport = bpf_ntohs(BPF_CORE_READ(c, skc_dport));
	/*
	 * A socket that closes has given its port back before it says so; its
	 * header field still has it. Only full sockets have one: not a
	 * request (NEW_SYN_RECV, 12) nor what is left in TIME_WAIT (6).
	 */
	if (!e->lport) {
		__u8 state = BPF_CORE_READ(c, skc_state);
		const struct inet_sock___kgent *inet = sock_common;

		if (state != 12 && state != 6)
			e->lport = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	}
	return true;
}

/* Whether a port and an address, where given, are at either end. */
static __always_inline bool k_ends_match(const struct k_ends *e, __u16 port, const volatile k_ip *address)
{
	if (port && e->lport != port && e->rport != port)
		return false;
	return k_ip_any(address) || k_ip_eq(address, &e->laddr) || k_ip_eq(address, &e->raddr);
}

/* 0 for 0, else 1 + floor(log2(v)), at most 63. */
static __always_inline __u32 k_log2_slot(__u64 v)
{
	__u32 n = 0;
	if (v >> 32) { n += 32; v >>= 32; }
	if (v >> 16) { n += 16; v >>= 16; }
	if (v >> 8) { n += 8; v >>= 8; }
	if (v >> 4) { n += 4; v >>= 4; }
	if (v >> 2) { n += 2; v >>= 2; }
	n += v >= 2 ? 2 : v;
	return n > 63 ? 63 : n;
}

static __always_inline void k_hist_add(struct k_hist *h, __u64 v)
{
	__sync_fetch_and_add(&h->slot[k_log2_slot(v) & 63], 1);
}

/*
 * For values of per-CPU maps only: nothing here is atomic. An empty record has
 * count 0, and then the first value sets both ends.
 */
static __always_inline void k_stats_add(struct k_stats *s, __u64 v)
{
	if (s->count == 0 || v < s->min)
		s->min = v;
	if (v > s->max)
		s->max = v;
	s->count++;
	s->sum += v;
}

/*
 * The cell of an output map for a key, made with zeroes when it is new; NULL
 * (and counted as map_full) when the map has no room. val_type is the map's
 * value type.
 */
#define k_cell(map, key, val_type) ({ \
	static const val_type _k_zero; \
	val_type *_k_cell = bpf_map_lookup_elem(map, key); \
	if (!_k_cell) { \
		kgent_map_update_elem(map, key, &_k_zero, 1 /* BPF_NOEXIST */); \
		_k_cell = bpf_map_lookup_elem(map, key); \
		if (!_k_cell) \
			kgent_count_map_full(); \
	} \
	_k_cell; \
})

/* bpf_map_update_elem for scratch maps, whether the key is new or not. */
static __always_inline long k_put(void *map, const void *key, const void *value)
{
	return bpf_map_update_elem(map, key, value, 0 /* BPF_ANY */);
}

/* Of the kernel's task_struct, what the following reads. */
struct cred___kgent { struct { __u32 val; } uid; } __attribute__((preserve_access_index));
struct task_struct___kgent {
	struct task_struct___kgent *group_leader;
	const struct cred___kgent *real_cred;
	int pid, tgid;
	char comm[TASK_COMM_LEN];
} __attribute__((preserve_access_index));

/* The name of the process that a task belongs to, which is its first thread's. */
static __always_inline void k_process_comm(char comm[TASK_COMM_LEN], const void *task)
{
	const struct task_struct___kgent *t = task, *leader = BPF_CORE_READ(t, group_leader);
	bpf_core_read_str(comm, TASK_COMM_LEN, &leader->comm);
}

/*
 * KGENT_TASK_FILTER declares the parameters pid, comm and uid; k_task_wanted()
 * then says whether the current task passes them, k_wants_task(task) whether
 * another one does. 0 and "" mean any. comm matches the thread's own name or
 * its process's, so that "postgres" finds all threads of a process of that
 * name. kgent itself is never wanted: kgent_self, which the node sets, is the
 * pid that must not trace its own output.
 */
#define KGENT_TASK_FILTER \
	const volatile k_pid pid = 0; \
	const volatile char comm[TASK_COMM_LEN] = ""; \
	const volatile k_uid uid = (k_uid)-1; \
	const volatile k_pid kgent_self = 0; \
	static __always_inline bool k_task_passes(__u32 _tgid, __u32 _uid, const char *_name, const void *_task) \
	{ \
		char _process[TASK_COMM_LEN] = {}; \
		if (kgent_self && _tgid == kgent_self) \
			return false; \
		if (pid && _tgid != pid) \
			return false; \
		if (uid != (k_uid)-1 && _uid != uid) \
			return false; \
		if (!comm[0] || k_comm_eq(comm, _name)) \
			return true; \
		k_process_comm(_process, _task); \
		return k_comm_eq(comm, _process); \
	} \
	static __always_inline bool k_task_wanted(void) \
	{ \
		char _name[TASK_COMM_LEN] = {}; \
		if (comm[0]) \
			bpf_get_current_comm(_name, sizeof(_name)); \
		return k_task_passes(k_current_pid(), k_current_uid(), _name, (const void *)bpf_get_current_task()); \
	} \
	static __always_inline bool k_wants_task(const void *task) \
	{ \
		const struct task_struct___kgent *_t = task; \
		char _name[TASK_COMM_LEN] = {}; \
		if (comm[0]) \
			bpf_core_read_str(_name, sizeof(_name), &_t->comm); \
		return k_task_passes(BPF_CORE_READ(_t, tgid), uid == (k_uid)-1 ? 0 : BPF_CORE_READ(_t, real_cred, uid.val), _name, task); \
	}

/*
 * KGENT_WHERE declares the control groups that a run is narrowed to: the node
 * fills them in, for the containers or pods that the manifest names, and keeps
 * them up to date. k_inside() then says whether the current task is in one of
 * them, or in a group within one. There is no branch for each, so that the
 * program has no more paths for it; an empty place answers below zero.
 */
#define KGENT_WHERE_GROUPS 8
#define KGENT_WHERE \
	struct { \
		__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY); \
		__uint(max_entries, KGENT_WHERE_GROUPS); \
		__type(key, __u32); \
		__type(value, __u32); \
	} kgent_where SEC(".maps"); \
	static __always_inline bool k_inside(void) \
	{ \
		__u64 _in = 0; \
		_Pragma("unroll") \
		for (__u32 _i = 0; _i < KGENT_WHERE_GROUPS; _i++) { \
			__u64 _is = bpf_current_task_under_cgroup(&kgent_where, _i); \
			_in |= _is & ~(_is >> 63); \
		} \
		return _in & 1; \
	}

#endif /* KGENT_BPF_H */
