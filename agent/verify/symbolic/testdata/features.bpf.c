// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/* Programs for TestFeatures: each uses one thing, and returns or emits what shows that it was followed. */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct event {
	__u32 a, b;
	__u64 c;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

struct hist {
	__u64 slot[16];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hist);
} hists SEC(".maps");

struct timed {
	struct bpf_timer timer;
	__u64 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

int last(void *ctx);
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} progs SEC(".maps") = { .values = { [1] = (void *)&last } };

__u64 total;

static long add(__u64 i, void *sum)
{
	*(__u64 *)sum += i;
	return i == 9;
}

SEC("raw_tp/sched_switch")
int loop_constant(void *ctx)
{
	__u64 sum = 0;
	bpf_loop(5, add, &sum, 0);
	return sum;
}

SEC("raw_tp/sched_switch")
int loop_stopped(void *ctx)
{
	__u64 sum = 0;
	long turns = bpf_loop(100, add, &sum, 0);
	return sum * 100 + turns;
}

SEC("raw_tp/sched_switch")
int loop_symbolic(void *ctx)
{
	__u64 sum = 0;
	bpf_loop(bpf_get_prandom_u32() & 3, add, &sum, 0);
	return sum;
}

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

SEC("raw_tp/sched_switch")
int iterator(void *ctx)
{
	struct bpf_iter_num it;
	int *i, sum = 0;

	bpf_iter_num_new(&it, 2, 6);
	while ((i = bpf_iter_num_next(&it)))
		sum += *i;
	bpf_iter_num_destroy(&it);
	return sum;
}

static long visit(void *map, const void *key, void *value, void *ctx)
{
	*(__u64 *)ctx = *(__u64 *)ctx * 10 + *(__u32 *)key;
	*(__u64 *)value = *(__u32 *)key;
	return 0;
}

SEC("raw_tp/sched_switch")
int each(void *ctx)
{
	__u64 sum = 0;
	bpf_for_each_map_elem(&slots, visit, &sum, 0);
	return sum;
}

SEC("raw_tp/sched_switch")
int last(void *ctx)
{
	return 9;
}

SEC("raw_tp/sched_switch")
int tail(void *ctx)
{
	bpf_tail_call(ctx, &progs, 1);
	return 7;
}

static int fires(void *map, __u32 *key, struct timed *t)
{
	struct event *ev = kgent_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->a = *key;
	ev->b = 1;
	ev->c = t->value;
	kgent_ringbuf_submit(ev, 0);
	return 0;
}

SEC("raw_tp/sched_switch")
int arm(void *ctx)
{
	__u32 key = 3;
	struct timed *t = bpf_map_lookup_elem(&timers, &key);
	if (!t)
		return 0;
	bpf_timer_init(&t->timer, &timers, 1);
	bpf_timer_set_callback(&t->timer, fires);
	bpf_timer_start(&t->timer, 1000, 0);
	return 1;
}

SEC("raw_tp/sched_switch")
int global(void *ctx)
{
	total += 2;
	return 0;
}

SEC("raw_tp/sched_switch")
int histogram(void *ctx)
{
	__u32 zero = 0;
	struct hist *h = bpf_map_lookup_elem(&hists, &zero);
	if (h)
		__sync_fetch_and_add(&h->slot[bpf_get_prandom_u32() & 15], 1);
	return 0;
}

SEC("raw_tp/sched_switch")
int stale(void *ctx)
{
	struct event *ev = kgent_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->a = 1;
	ev->c = 2;
	kgent_ringbuf_submit(ev, 0); /* b is what was there */
	return 0;
}

/* An entry and an exit, paired by thread. */
SEC("raw_tp/sys_enter")
int enters(void *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 now = bpf_ktime_get_ns();
	bpf_map_update_elem(&counts, &tid, &now, 0);
	return 0;
}

SEC("raw_tp/sys_exit")
int exits(void *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 *start = bpf_map_lookup_elem(&counts, &tid);
	struct event ev = {};

	if (!start)
		return 0;
	ev.a = tid;
	ev.c = bpf_ktime_get_ns() - *start;
	bpf_map_delete_elem(&counts, &tid);
	kgent_ringbuf_output(&events, &ev, sizeof(ev), 0);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(fields, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct event ev = {};

	ev.a = prev->tgid;
	ev.b = BPF_CORE_READ(next, group_leader, tgid);
	ev.c = preempt;
	kgent_ringbuf_output(&events, &ev, sizeof(ev), 0);
	return 0;
}
