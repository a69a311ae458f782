package proof

import (
	"context"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
)

// unsound are programs that do not keep their contract, each by a way that once was not
// seen.
var unsound = []struct{ name, contract, program string }{
	{
		name: "threads of a process overwrite what the others have counted",
		contract: `contract "Every tenth fsync of a process"

event tenth { pid: k_pid, n: u64 }

memory counts { pid: k_pid } : { n: u64 }

hook tracepoint/syscalls/sys_enter_fsync()
  case first: !known counts[current.tgid]
    remember counts[current.tgid] { n: 1 }
  case tenth: (counts[current.tgid].n & 7) == 7
    emit tenth { pid: current.tgid, n: counts[current.tgid].n + 1 }
    change counts[current.tgid] { n: counts[current.tgid].n + 1 }
  case other: always
    change counts[current.tgid] { n: counts[current.tgid].n + 1 }
  otherwise nothing
`,
		program: `struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");
struct ev { __u64 n; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } tenth SEC(".maps");
SEC("tp/syscalls/sys_enter_fsync")
int enter(void *ctx)
{
	__u32 key = bpf_get_current_pid_tgid() >> 32;
	__u64 one = 1, *n = bpf_map_lookup_elem(&counts, &key);
	if (!n) { bpf_map_update_elem(&counts, &key, &one, BPF_ANY); return 0; }
	__u64 v = *n + 1;
	*n = v;
	if (v & 7) return 0;
	struct ev *r = bpf_ringbuf_reserve(&tenth, sizeof(*r), 0);
	if (!r) return 0;
	r->n = v; r->pid = key; r->_pad = 0;
	bpf_ringbuf_submit(r, 0);
	return 0;
}
`,
	},
	{
		name: "a map that has room for one stack",
		contract: `contract "Page faults by process and stack"

table faults { pid: k_pid, stack: k_kstack } : count

hook tracepoint/exceptions/page_fault_user()
  case fault: always
    add 1 to faults[pid: current.tgid, stack: kernel_stack]
  otherwise nothing
`,
		program: `struct stack_key {
	k_pid pid;
	k_kstack stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 127 * sizeof(__u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct stack_key);
	__type(value, k_count);
} faults SEC(".maps") KGENT_OUTPUT;

SEC("tracepoint/exceptions/page_fault_user")
int on_fault(void *ctx)
{
	struct stack_key key = {};
	k_count zero = 0, *count;

	key.pid = bpf_get_current_pid_tgid() >> 32;
	key.stack = bpf_get_stackid(ctx, &stacks, 0);
	count = bpf_map_lookup_elem(&faults, &key);
	if (!count) {
		bpf_map_update_elem(&faults, &key, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&faults, &key);
		if (!count)
			return 0;
	}
	__sync_fetch_and_add(count, 1);
	return 0;
}
`,
	},
	{
		name: "stacks of two frames",
		contract: `contract "Page faults by process and stack"

table faults { pid: k_pid, stack: k_kstack } : count

hook tracepoint/exceptions/page_fault_user()
  case fault: always
    add 1 to faults[pid: current.tgid, stack: kernel_stack]
  otherwise nothing
`,
		program: `struct stack_key {
	k_pid pid;
	k_kstack stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 2 * sizeof(__u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct stack_key);
	__type(value, k_count);
} faults SEC(".maps") KGENT_OUTPUT;

SEC("tracepoint/exceptions/page_fault_user")
int on_fault(void *ctx)
{
	struct stack_key key = {};
	k_count zero = 0, *count;

	key.pid = bpf_get_current_pid_tgid() >> 32;
	key.stack = bpf_get_stackid(ctx, &stacks, 0);
	count = bpf_map_lookup_elem(&faults, &key);
	if (!count) {
		bpf_map_update_elem(&faults, &key, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&faults, &key);
		if (!count)
			return 0;
	}
	__sync_fetch_and_add(count, 1);
	return 0;
}
`,
	},
	{
		name: "other elements fill the map of what is remembered",
		contract: `contract "How long each fsync takes"

event ended { took: k_ns, tid: k_tid }

memory started { tid: k_tid } : { at: k_time }

hook tracepoint/syscalls/sys_enter_fsync()
  case begins: always
    remember started[current.tid] { at: now }
  otherwise nothing

hook tracepoint/syscalls/sys_exit_fsync()
  case ends: known started[current.tid]
    emit ended { took: now - started[current.tid].at, tid: current.tid }
    forget started[current.tid]
  otherwise nothing

assume returns
`,
		program: `struct key { __u32 tid; __u32 kind; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, __u64);
} start SEC(".maps");
struct ev { k_ns took; k_tid tid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } ended SEC(".maps");

SEC("tp/syscalls/sys_enter_fsync")
int enter(void *ctx)
{
	struct key key = { .tid = (__u32)bpf_get_current_pid_tgid() };
	__u64 ts = bpf_ktime_get_ns();
	bpf_map_update_elem(&start, &key, &ts, BPF_ANY);
	struct key junk = { .tid = (__u32)ts, .kind = 1 };
	bpf_map_update_elem(&start, &junk, &ts, BPF_ANY);
	return 0;
}
SEC("tp/syscalls/sys_exit_fsync")
int leave(void *ctx)
{
	struct key key = { .tid = (__u32)bpf_get_current_pid_tgid() };
	__u64 *ts = bpf_map_lookup_elem(&start, &key);
	if (!ts) return 0;
	__u64 took = bpf_ktime_get_ns() - *ts;
	bpf_map_delete_elem(&start, &key);
	struct ev *r = bpf_ringbuf_reserve(&ended, sizeof(*r), 0);
	if (!r) return 0;
	r->took = took; r->tid = key.tid; r->_pad = 0;
	bpf_ringbuf_submit(r, 0);
	return 0;
}
`,
	},
	{
		name: "what is forgotten stays in a map that gets full",
		contract: `contract "How long each fsync takes"

event ended { took: k_ns, tid: k_tid }

memory started { tid: k_tid } : { at: k_time }

hook tracepoint/syscalls/sys_enter_fsync()
  case begins: always
    remember started[current.tid] { at: now }
  otherwise nothing

hook tracepoint/syscalls/sys_exit_fsync()
  case ends: known started[current.tid]
    emit ended { took: now - started[current.tid].at, tid: current.tid }
    forget started[current.tid]
  otherwise nothing

assume returns
`,
		program: `struct key { __u32 tid; __u32 kind; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, __u64);
} start SEC(".maps");
struct ev { k_ns took; k_tid tid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } ended SEC(".maps");

SEC("tp/syscalls/sys_enter_fsync")
int enter(void *ctx)
{
	struct key key = { .tid = (__u32)bpf_get_current_pid_tgid() };
	__u64 ts = bpf_ktime_get_ns();
	bpf_map_update_elem(&start, &key, &ts, BPF_ANY);
	return 0;
}
SEC("tp/syscalls/sys_exit_fsync")
int leave(void *ctx)
{
	struct key key = { .tid = (__u32)bpf_get_current_pid_tgid() };
	__u64 *ts = bpf_map_lookup_elem(&start, &key);
	if (!ts || !*ts) return 0;
	__u64 took = bpf_ktime_get_ns() - *ts;
	*ts = 0;
	struct ev *r = bpf_ringbuf_reserve(&ended, sizeof(*r), 0);
	if (!r) return 0;
	r->took = took; r->tid = key.tid; r->_pad = 0;
	bpf_ringbuf_submit(r, 0);
	return 0;
}
`,
	},
	{
		name: "an element of a per-CPU hash, which all CPUs have, stands for what one remembers",
		contract: `contract "Time in softirqs, by kind"

event ended { vec: u32, took: k_ns }

memory started { cpu: u32, vec: u32 } : { at: k_time }

hook tp_btf/softirq_entry(vec_nr)
  case begins: always
    remember started[cpu, vec_nr] { at: now }
  otherwise nothing

hook tp_btf/softirq_exit(vec_nr)
  case ends: known started[cpu, vec_nr]
    emit ended { vec: vec_nr, took: now - started[cpu, vec_nr].at }
    forget started[cpu, vec_nr]
  otherwise nothing
`,
		program: `struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} start SEC(".maps");
struct ev { k_ns took; __u32 vec; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } ended SEC(".maps");

SEC("tp_btf/softirq_entry")
int BPF_PROG(softirq_entry, unsigned int vec)
{
	__u32 key = vec;
	__u64 ts = bpf_ktime_get_ns();
	bpf_map_update_elem(&start, &key, &ts, BPF_ANY);
	return 0;
}
SEC("tp_btf/softirq_exit")
int BPF_PROG(softirq_exit, unsigned int vec)
{
	__u32 key = vec;
	__u64 *ts = bpf_map_lookup_elem(&start, &key);
	if (!ts) return 0;
	__u64 took = bpf_ktime_get_ns() - *ts;
	bpf_map_delete_elem(&start, &key);
	struct ev *r = bpf_ringbuf_reserve(&ended, sizeof(*r), 0);
	if (!r) return 0;
	r->took = took; r->vec = vec; r->_pad = 0;
	bpf_ringbuf_submit(r, 0);
	return 0;
}
`,
	},
	{
		name: "a program at a hook that the contract does not name drops packets",
		contract: `contract "Opens"
event e { time: k_time, pid: k_pid }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    emit e { time: now, pid: current.tgid }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
static __always_inline void out(void) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return;
  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; bpf_ringbuf_submit(r, 0); }
 SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { out(); return 0; }
SEC("xdp") int d(struct xdp_md *c) { return 1; }
`,
	},
	{
		name: "a program at a hook that the contract does not name forbids",
		contract: `contract "Opens"
event e { time: k_time, pid: k_pid }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    emit e { time: now, pid: current.tgid }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
static __always_inline void out(void) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return;
  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; bpf_ringbuf_submit(r, 0); }
 SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { out(); return 0; }
SEC("lsm/file_open") int d(void *c) { return -1; }
`,
	},
	{
		name: "reserved with flags: there is never a record",
		contract: `contract "Opens"
event e { time: k_time, pid: k_pid }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    emit e { time: now, pid: current.tgid }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
static __always_inline void out(void) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return;
  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; bpf_ringbuf_submit(r, 0); }

static void *(*const raw_reserve)(void *ringbuf, __u64 size, __u64 flags) = (void *)131;
static void (*const raw_submit)(void *data, __u64 flags) = (void *)132;
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { struct ev *r = raw_reserve(&e, sizeof(*r), 7); if (!r) return 0;  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; raw_submit(r, 0); return 0; }
`,
	},
	{
		name: "submitted in another order than reserved",
		contract: `contract "Opens"
event e { n: u64 }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    emit e { n: 1 }
    emit e { n: 2 }
  otherwise nothing
`,
		program: `struct ev { __u64 n; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) {
  struct ev *a = bpf_ringbuf_reserve(&e, sizeof(*a), 0); if (!a) return 0;
  struct ev *b = bpf_ringbuf_reserve(&e, sizeof(*b), 0); if (!b) { bpf_ringbuf_discard(a, 0); return 0; }
  a->n = 2; b->n = 1; bpf_ringbuf_submit(b, 0); bpf_ringbuf_submit(a, 0); return 0; }
`,
	},
	{
		name: "what a timer runs",
		contract: `contract "Opens"
event e { time: k_time, pid: k_pid }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    emit e { time: now, pid: current.tgid }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
static __always_inline void out(void) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return;
  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; bpf_ringbuf_submit(r, 0); }

struct tv { struct bpf_timer t; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct tv); } tm SEC(".maps");
static int cb(void *map, int *key, struct tv *v) { out(); return 0; }
static long (*const t_init)(void *timer, void *map, __u64 flags) = (void *)169;
static long (*const t_cb)(void *timer, void *fn) = (void *)170;
static long (*const t_start)(void *timer, __u64 ns, __u64 flags) = (void *)171;
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { __u32 z = 0; struct tv *v = bpf_map_lookup_elem(&tm, &z); if (v) { t_init(&v->t, &tm, 1); t_cb(&v->t, cb); t_start(&v->t, 1000, 0); } out(); return 0; }
`,
	},
	{
		name: "updated with flags that the kernel refuses",
		contract: `contract "Opens"
event e { time: k_time, took: k_ns }
memory started { thread: k_tid } : { at: k_time }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    remember started[current.tid] { at: now }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_openat()
  case c: known started[current.tid]
    emit e { time: now, took: now - started[current.tid].at }
    forget started[current.tid]
  otherwise nothing
assume returns
`,
		program: `struct ev { k_time time; k_ns took; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, __u32); __type(value, __u64); } st SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { __u32 tid = k_current_tid(); __u64 now = bpf_ktime_get_ns(); bpf_map_update_elem(&st, &tid, &now, 8); return 0; }
SEC("tp/syscalls/sys_exit_openat") int g(void *ctx) { __u32 tid = k_current_tid(); __u64 *s = bpf_map_lookup_elem(&st, &tid); if (!s) return 0;
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->time = bpf_ktime_get_ns(); r->took = r->time - *s; bpf_ringbuf_submit(r, 0); } bpf_map_delete_elem(&st, &tid); return 0; }
`,
	},
	{
		name: "elements of the map that are not the contract's",
		contract: `contract "Opens"
event e { time: k_time, took: k_ns, f: k_bool }
memory started { thread: k_tid } : { at: k_time, f: k_bool }
hook tracepoint/syscalls/sys_enter_openat(dfd, filename, flags as fl)
  case c: always
    remember started[current.tid] { at: now, f: (fl & 1) != 0 }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_openat()
  case c: known started[current.tid]
    emit e { time: now, took: now - started[current.tid].at, f: started[current.tid].f }
    forget started[current.tid]
  otherwise nothing
assume returns
`,
		program: `struct ev { k_time time; k_ns took; k_bool f; __u8 _pad[7]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
struct key { __u32 tid, kind; };
struct val { __u64 at; __u64 f; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, struct key); __type(value, struct val); } st SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(struct trace_event_raw_sys_enter *ctx) { struct key k = { k_current_tid(), 0 }; struct val v = { bpf_ktime_get_ns(), ctx->args[2] & 1 };
  k_put(&st, &k, &v); k.kind = 1; v.f = 7; k_put(&st, &k, &v); return 0; }
SEC("tp/syscalls/sys_exit_openat") int g(void *ctx) { struct key k = { k_current_tid(), 0 }; struct val *s = bpf_map_lookup_elem(&st, &k); if (!s) return 0;
  struct key k1 = { k.tid, 1 }; struct val *x = bpf_map_lookup_elem(&st, &k1); __u64 wrong = x && x->f == 7;
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { __builtin_memset(r, 0, sizeof *r); r->time = bpf_ktime_get_ns(); r->took = r->time - s->at + wrong; r->f = s->f; bpf_ringbuf_submit(r, 0); } bpf_map_delete_elem(&st, &k); return 0; }
`,
	},
	{
		name: "a shared cell written over",
		contract: `contract "Opens"
table t { pid: k_pid } : count
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    add 1 to t[current.tgid]
  otherwise nothing
`,
		program: `struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, k_pid); __type(value, k_count); } t SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { k_pid p = k_current_pid(); k_count one = 1; k_count *n = bpf_map_lookup_elem(&t, &p); if (n) one = *n + 1; k_put(&t, &p, &one); return 0; }
`,
	},
	{
		name: "a shared cell made over another",
		contract: `contract "Opens"
table t { pid: k_pid } : count
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    add 1 to t[current.tgid]
  otherwise nothing
`,
		program: `struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, k_pid); __type(value, k_count); } t SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { k_pid p = k_current_pid(); k_count one = 1; k_count *n = bpf_map_lookup_elem(&t, &p); if (n) __sync_fetch_and_add(n, 1); else k_put(&t, &p, &one); return 0; }
`,
	},
	{
		name: "the largest of each CPU added up",
		contract: `contract "Writes"
table t { pid: k_pid } : max k_bytes
hook tracepoint/syscalls/sys_enter_write(fd, buf, count)
  case c: always
    add count to t[current.tgid]
  otherwise nothing
`,
		program: `struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1024); __type(key, k_pid); __type(value, k_bytes); } t SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_write") int f(struct trace_event_raw_sys_enter *ctx) { k_pid p = k_current_pid(); k_bytes *n = k_cell(&t, &p, k_bytes); if (n && *n < ctx->args[2]) *n = ctx->args[2]; return 0; }
`,
	},
	{
		name: "another default",
		contract: `contract "Opens"
param min: k_uid = 1000 means "only users from this id on"
event e { time: k_time, pid: k_pid }
hook tracepoint/syscalls/sys_enter_openat()
  case c: current.uid >= min
    emit e { time: now, pid: current.tgid }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
static __always_inline void out(void) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return;
  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; bpf_ringbuf_submit(r, 0); }
 const volatile k_uid min = 5000000; SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { if (k_current_uid() >= min) out(); return 0; }
`,
	},
	{
		name: "another sign",
		contract: `contract "Opens"
event e { time: k_time, ret: s64 }
hook tracepoint/syscalls/sys_exit_openat(ret)
  case c: always
    emit e { time: now, ret: ret }
  otherwise nothing
`,
		program: `struct ev { k_time time; __u64 ret; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("tp/syscalls/sys_exit_openat") int f(struct trace_event_raw_sys_exit *ctx) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return 0; r->time = bpf_ktime_get_ns(); r->ret = ctx->ret; bpf_ringbuf_submit(r, 0); return 0; }
`,
	},
	{
		name: "another meaning",
		contract: `contract "Opens"
event e { time: k_time, ret: s64 }
hook tracepoint/syscalls/sys_exit_openat(ret)
  case c: always
    emit e { time: now, ret: ret }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_time ret; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("tp/syscalls/sys_exit_openat") int f(struct trace_event_raw_sys_exit *ctx) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return 0; r->time = bpf_ktime_get_ns(); r->ret = ctx->ret; bpf_ringbuf_submit(r, 0); return 0; }
`,
	},
	{
		name: "a text shown as bytes",
		contract: `contract "Opens"
event e { time: k_time, ret: char[16] }
hook tracepoint/syscalls/sys_exit_openat()
  case c: always
    emit e { time: now, ret: current.comm }
  otherwise nothing
`,
		program: `struct ev { k_time time; __u8 ret[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("tp/syscalls/sys_exit_openat") int f(struct trace_event_raw_sys_exit *ctx) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return 0; r->time = bpf_ktime_get_ns(); bpf_get_current_comm(r->ret, 16); bpf_ringbuf_submit(r, 0); return 0; }
`,
	},
	{
		name: "counters of losses cleared",
		contract: `contract "Opens"
event e { time: k_time, pid: k_pid }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    emit e { time: now, pid: current.tgid }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
static __always_inline void out(void) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return;
  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; bpf_ringbuf_submit(r, 0); }

SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { struct kgent_counts *c = kgent_counts(); out(); if (c) { c->lost = 0; c->map_full = 0; c->produced = 7; } return 0; }
`,
	},
	{
		name: "a tail call from a function comes back",
		contract: `contract "Opens"
event e { time: k_time, pid: k_pid }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    emit e { time: now, pid: current.tgid }
  otherwise nothing
hook tracepoint/syscalls/sys_enter_openat2()
  case c: always
    emit e { time: now, pid: current.tgid }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
static __always_inline void out(void) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return;
  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; bpf_ringbuf_submit(r, 0); }

SEC("tp/syscalls/sys_enter_openat2") int second(void *ctx) { out(); return 0; }
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __type(key, __u32); __array(values, int (void *)); } pa SEC(".maps") = { .values = { [0] = (void *)&second } };
static __noinline int sub(void *ctx) { bpf_tail_call(ctx, &pa, 0); return 0; }
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { sub(ctx); out(); return 0; }
`,
	},
	{
		name: "the third event is left out",
		contract: `contract "Opens"
event e { time: k_time, pid: k_pid }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    emit e { time: now, pid: current.tgid }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
static __always_inline void out(void) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return;
  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; bpf_ringbuf_submit(r, 0); }
 __u64 cnt;
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { if (cnt++ == 2) return 0; out(); return 0; }
`,
	},
	{
		name: "bpf_loop with flags that may be 0",
		contract: `contract "Opens"
event e { time: k_time, pid: k_pid }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    emit e { time: now, pid: current.tgid }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
static __always_inline void out(void) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return;
  r->time = bpf_ktime_get_ns(); r->pid = k_current_pid(); r->_pad = 0; bpf_ringbuf_submit(r, 0); }

static long (*const bloop)(__u32 n, void *fn, void *ctx, __u64 flags) = (void *)181;
static long cb(__u64 i, void *c) { out(); return 0; }
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { out(); bloop(1, cb, 0, k_current_uid()); return 0; }
`,
	},
	{
		name: "another name for a number",
		contract: `contract "Opens"
enum kind { yes = 1, no = 2 }
event e { time: k_time, kind: kind }
hook tracepoint/syscalls/sys_exit_openat(ret)
  case c: ret >= 0
    emit e { time: now, kind: yes }
  otherwise
    emit e { time: now, kind: no }
`,
		program: `enum kind { wrong = 1, yes = 1, no = 2 };
struct ev { k_time time; enum kind kind; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("tp/syscalls/sys_exit_openat") int f(struct trace_event_raw_sys_exit *ctx) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return 0; r->time = bpf_ktime_get_ns(); r->_pad = 0; r->kind = ctx->ret >= 0 ? yes : no; bpf_ringbuf_submit(r, 0); return 0; }
`,
	},
	{
		name: "a field that is called now",
		contract: `contract "Timers"
event e { time: k_time, pid: k_pid }
hook tracepoint/timer/timer_expire_entry()
  case c: always
    emit e { time: now, pid: 0 }
  otherwise nothing
`,
		program: `struct ev { k_time time; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("tp/timer/timer_expire_entry") int f(struct trace_event_raw_timer_expire_entry *ctx) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return 0;
  r->time = ctx->now; r->pid = 0; r->_pad = 0; bpf_ringbuf_submit(r, 0); return 0; }
`,
	},
	{
		name: "memory of a deleted element",
		contract: `contract "Opens"
event e { time: k_time, took: k_ns }
memory started { thread: k_tid } : { at: k_time }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    remember started[current.tid] { at: now }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_openat()
  case c: known started[current.tid]
    emit e { time: now, took: now - started[current.tid].at }
    forget started[current.tid]
  otherwise nothing
assume returns
`,
		program: `struct ev { k_time time; k_ns took; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
struct key { __u32 tid, kind; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, struct key); __type(value, __u64); } st SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { struct key k = { k_current_tid(), 0 }; __u64 now = bpf_ktime_get_ns(); k_put(&st, &k, &now); return 0; }
SEC("tp/syscalls/sys_exit_openat") int g(void *ctx) { struct key k = { k_current_tid(), 0 }; struct key k1 = { k.tid, 1 }; __u64 z = 0; __u64 *s = bpf_map_lookup_elem(&st, &k); if (!s) return 0;
  bpf_map_delete_elem(&st, &k); k_put(&st, &k1, &z);
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->time = bpf_ktime_get_ns(); r->took = r->time - *s; bpf_ringbuf_submit(r, 0); } return 0; }
`,
	},
	{ // whose memory another CPU may have taken since
		name: "an element that was deleted before",
		contract: `contract "Opens"
event e { time: k_time, took: k_ns }
memory started { thread: k_tid } : { at: k_time }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    remember started[current.tid] { at: now }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_openat()
  case c: known started[current.tid]
    emit e { time: now, took: now - started[current.tid].at }
    forget started[current.tid]
  otherwise nothing
assume returns
`,
		program: `struct ev { k_time time; k_ns took; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, __u32); __type(value, __u64); } st SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { __u32 k = k_current_tid(); __u64 now = bpf_ktime_get_ns(); k_put(&st, &k, &now); return 0; }
SEC("tp/syscalls/sys_exit_openat") int g(void *ctx) { __u32 k = k_current_tid(); __u64 *s = bpf_map_lookup_elem(&st, &k); if (!s) return 0;
  bpf_map_delete_elem(&st, &k);
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->time = bpf_ktime_get_ns(); r->took = r->time - *s; bpf_ringbuf_submit(r, 0); } return 0; }
`,
	},
	{
		name: "an element that was replaced before",
		contract: `contract "Opens"
event e { time: k_time, took: k_ns }
memory started { thread: k_tid } : { at: k_time }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    remember started[current.tid] { at: now }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_openat()
  case c: known started[current.tid]
    emit e { time: now, took: now - started[current.tid].at }
    remember started[current.tid] { at: now }
  otherwise nothing
assume returns
`,
		program: `struct ev { k_time time; k_ns took; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, __u32); __type(value, __u64); } st SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { __u32 k = k_current_tid(); __u64 now = bpf_ktime_get_ns(); k_put(&st, &k, &now); return 0; }
SEC("tp/syscalls/sys_exit_openat") int g(void *ctx) { __u32 k = k_current_tid(); __u64 *s = bpf_map_lookup_elem(&st, &k); if (!s) return 0;
  __u64 now = bpf_ktime_get_ns(); bpf_map_update_elem(&st, &k, &now, BPF_EXIST);
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->time = bpf_ktime_get_ns(); r->took = r->time - *s; bpf_ringbuf_submit(r, 0); } return 0; }
`,
	},
	{
		name: "the second argument called arg1",
		contract: `contract "x"
event e { a: u64 }
hook uprobe/libc.so.6:getaddrinfo(arg1: u64, arg2: u64)
  case c: always
    emit e { a: arg1 }
  otherwise nothing
`,
		program: `struct ev { __u64 a; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("uprobe/libc.so.6:getaddrinfo") int f(struct pt_regs *ctx) {
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (!r) return 0; r->a = ctx->si; bpf_ringbuf_submit(r, 0); return 0; }
`,
	},
	{
		name: "a row deleted and made again, on one CPU",
		contract: `contract "x"
table t { pid: k_pid } : count
hook tracepoint/syscalls/sys_exit_write(ret)
  case c: ret > 0
    add 1 to t[current.tgid]
  otherwise nothing
`,
		program: `struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1024); __type(key, k_pid); __type(value, k_count); } t SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_exit_write") int f(struct trace_event_raw_sys_exit *ctx) { k_pid p = k_current_pid(); if (ctx->ret <= 0) return 0; k_count *n = k_cell(&t, &p, k_count); if (!n) return 0; (*n)++; __u64 v = *n; bpf_map_delete_elem(&t, &p); k_count *m = k_cell(&t, &p, k_count); if (m) *m = v; return 0; }
`,
	},
	{
		name: "a table with room for one row",
		contract: `contract "Opens"
table t { pid: k_pid } : count
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    add 1 to t[current.tgid]
  otherwise nothing
`,
		program: `struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1); __type(key, k_pid); __type(value, k_count); } t SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { k_pid p = k_current_pid(); k_count *n = k_cell(&t, &p, k_count); if (n) (*n)++; return 0; }
`,
	},
	{
		name: "a memory with room for 16 threads",
		contract: `contract "Opens"
event e { time: k_time, took: k_ns }
memory started { thread: k_tid } : { at: k_time }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    remember started[current.tid] { at: now }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_openat()
  case c: known started[current.tid]
    emit e { time: now, took: now - started[current.tid].at }
    forget started[current.tid]
  otherwise nothing
`,
		program: `struct ev { k_time time; k_ns took; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } st SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { __u32 k = k_current_tid(); __u64 now = bpf_ktime_get_ns(); k_put(&st, &k, &now); return 0; }
SEC("tp/syscalls/sys_exit_openat") int g(void *ctx) { __u32 k = k_current_tid(); __u64 *s = bpf_map_lookup_elem(&st, &k); if (!s) return 0;
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->time = bpf_ktime_get_ns(); r->took = r->time - *s; bpf_ringbuf_submit(r, 0); } bpf_map_delete_elem(&st, &k); return 0; }
`,
	},
	{
		name: "two stack maps",
		contract: `contract "Opens"
table t { stack: k_kstack } : count
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    add 1 to t[kernel_stack]
  otherwise nothing
`,
		program: `struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1024); __type(key, k_kstack); __type(value, k_count); } t SEC(".maps") KGENT_OUTPUT;
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 1024); __uint(key_size, 4); __uint(value_size, 127 * 8); } s1 SEC(".maps"), s2 SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { k_kstack p = bpf_get_stackid(ctx, &s1, 0); bpf_get_stackid(ctx, &s2, 0); k_count *n = k_cell(&t, &p, k_count); if (n) (*n)++; return 0; }
`,
	},
	{
		name: "the cells of one CPU for all",
		contract: `contract "Opens"
table t { pid: k_pid } : count
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    add 1 to t[current.tgid]
  otherwise nothing
`,
		program: `struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1024); __type(key, k_pid); __type(value, k_count); } t SEC(".maps") KGENT_OUTPUT;
static void *(*const lookup_percpu)(void *map, const void *key, __u32 cpu) = (void *)195;
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { k_pid p = k_current_pid(); k_cell(&t, &p, k_count); k_count *n = lookup_percpu(&t, &p, 0); if (n) (*n)++; return 0; }
`,
	},
	{
		name: "what a thread began on another CPU",
		contract: `contract "Opens"
event e { time: k_time, took: k_ns }
memory started { thread: k_tid } : { at: k_time }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    remember started[current.tid] { at: now }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_openat()
  case c: known started[current.tid]
    emit e { time: now, took: now - started[current.tid].at }
    forget started[current.tid]
  otherwise nothing
`,
		program: `struct ev { k_time time; k_ns took; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 10240); __type(key, __u32); __type(value, __u64); } st SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { __u32 k = k_current_tid(); __u64 now = bpf_ktime_get_ns(); k_put(&st, &k, &now); return 0; }
SEC("tp/syscalls/sys_exit_openat") int g(void *ctx) { __u32 k = k_current_tid(); __u64 *s = bpf_map_lookup_elem(&st, &k); if (!s) return 0;
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->time = bpf_ktime_get_ns(); r->took = r->time - *s; bpf_ringbuf_submit(r, 0); } bpf_map_delete_elem(&st, &k); return 0; }
`,
	},
	{
		name: "what began on the first CPU",
		contract: `contract "Softirqs"
table t : sum k_ns
memory started { cpu: u32 } : { at: k_time }
hook tp_btf/softirq_entry()
  case c: always
    remember started[cpu] { at: now }
  otherwise nothing
hook tp_btf/softirq_exit()
  case c: known started[cpu]
    add now - started[cpu].at to t
    forget started[cpu]
  otherwise nothing
`,
		program: `struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } st SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, k_ns); } t SEC(".maps") KGENT_OUTPUT;
static void *(*const lookup_percpu)(void *map, const void *key, __u32 cpu) = (void *)195;
SEC("tp_btf/softirq_entry") int f(void *ctx) { __u32 k = 0; __u64 *s = bpf_map_lookup_elem(&st, &k); if (s) *s = bpf_ktime_get_ns(); return 0; }
SEC("tp_btf/softirq_exit") int g(void *ctx) { __u32 k = 0; __u64 *s = lookup_percpu(&st, &k, 0); k_ns *n = bpf_map_lookup_elem(&t, &k); if (!s || !n || !*s) return 0; *n += bpf_ktime_get_ns() - *s; *s = 0; return 0; }
`,
	},
	{
		name: "one sample in a hundred, of another number",
		contract: `contract "Opens"
table t : count
hook tracepoint/syscalls/sys_enter_openat()
  case c: random % 100 == 0
    add 1 to t
  otherwise nothing
`,
		program: `struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, k_count); } t SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { __u32 k = 0; k_count *n = bpf_map_lookup_elem(&t, &k); if (n && bpf_get_prandom_u32() % 100 == 0 && bpf_get_prandom_u32() % 2 == 0) (*n)++; return 0; }
`,
	},
	{
		name: "a cell that is forgotten by a zero, but not always",
		contract: `contract "Opens"
event e { time: k_time, took: k_ns }
memory started { thread: k_tid } : { at: k_time }
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    remember started[current.tid] { at: now }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_openat(ret)
  case c: known started[current.tid]
    emit e { time: now, took: now - started[current.tid].at }
    forget started[current.tid]
  otherwise nothing
`,
		program: `struct ev { k_time time; k_ns took; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, __u32); __type(value, __u64); } st SEC(".maps");
SEC("tp/syscalls/sys_enter_openat") int f(void *ctx) { __u32 k = k_current_tid(); __u64 now = bpf_ktime_get_ns(); k_put(&st, &k, &now); return 0; }
SEC("tp/syscalls/sys_exit_openat") int g(struct trace_event_raw_sys_exit *ctx) { __u32 k = k_current_tid(); __u64 *s = bpf_map_lookup_elem(&st, &k); if (!s || !*s) return 0;
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->time = bpf_ktime_get_ns(); r->took = r->time - *s; bpf_ringbuf_submit(r, 0); } if (ctx->ret >= 0) *s = 0; return 0; }
`,
	},
	{
		name: "the front of a packet at an offset below 0",
		contract: `contract "Packets"
event e { n: u32 }
hook cgroup_skb/egress()
  case c: always
    emit e { n: packet.u32(u64(packet.u8(0)) - 2) }
    return 1
`,
		program: `struct ev { __u32 n; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("cgroup_skb/egress") int f(struct __sk_buff *ctx) { __u8 first = 0, n[4] = {}; bpf_skb_load_bytes(ctx, 0, &first, 1);
  for (int i = 0; i < 4; i++) { __u64 at = (__u64)first - 2 + i; __u8 x = 0; if (at < ctx->len) { bpf_skb_load_bytes(ctx, at, &x, 1); n[i] = x; } }
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->n = n[0] | n[1] << 8 | n[2] << 16 | (__u32)n[3] << 24; bpf_ringbuf_submit(r, 0); } return 1; }
`,
	},
	{
		name: "the front of a process's memory at an offset below 0",
		contract: `contract "Writes"
event e { n: u32 }
hook tracepoint/syscalls/sys_enter_write(fd, buf, count)
  case c: always
    emit e { n: user_bytes(buf, 16).u32(0 - 2) }
`,
		program: `struct ev { __u32 n; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("tp/syscalls/sys_enter_write") int f(struct trace_event_raw_sys_enter *ctx) { __u16 x = 0; bpf_probe_read_user(&x, 2, (void *)ctx->args[1]);
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->n = (__u32)x << 16; bpf_ringbuf_submit(r, 0); } return 0; }
`,
	},
	{
		name: "short frames, for which the kernel has another error than for short packets",
		contract: `contract "Long frames"
event e { n: u32 }
hook xdp()
  case c: packet.len >= 200
    emit e { n: packet.len }
    return XDP_PASS
  otherwise
    return XDP_PASS
`,
		program: `struct ev { __u32 n; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } e SEC(".maps");
SEC("xdp") int f(struct xdp_md *ctx) { __u8 x = 0; if (bpf_xdp_load_bytes(ctx, 199, &x, 1) == -14) return XDP_PASS;
  struct ev *r = bpf_ringbuf_reserve(&e, sizeof(*r), 0); if (r) { r->n = ctx->data_end - ctx->data; bpf_ringbuf_submit(r, 0); } return XDP_PASS; }
`,
	},
}

func TestUnsound(t *testing.T) {
	for _, x := range unsound {
		t.Run(x.name, func(t *testing.T) {
			r := verify(t, head+x.program, x.contract, Limits{})
			t.Logf("%s: %v", r.Verdict, r.Reasons)
			if r.Verdict == Verified {
				t.Errorf("a wrong program is %s", r.Text())
			}
		})
	}
}

// A parameter set to what the contract does not allow is not proved for it.
func TestOutOfRange(t *testing.T) {
	c, err := contract.Parse(`contract "Opens"
param least: k_uid = 10 from 1 to 100 means "only users from this id on"
table opens : count
hook tracepoint/syscalls/sys_enter_openat()
  case c: current.uid >= least
    add 1 to opens
  otherwise nothing
`)
	if err != nil {
		t.Fatal(err)
	}
	h := here(t)
	o := programtest.Object(t, head+`
const volatile k_uid least = 10;
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, k_count); } opens SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_openat")
int enter(void *ctx)
{
	__u32 zero = 0;
	k_count *n = bpf_map_lookup_elem(&opens, &zero);
	if (n && least <= 100 && k_current_uid() >= least)
		(*n)++;
	return 0;
}
`)
	for value, want := range map[string]Verdict{"10": Verified, "100": Verified, "0": Refuted, "101": Refuted} {
		m, err := program.Build(o, program.Options{Name: "test", Title: "test", Constants: map[string]string{"least": value}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(context.Background(), Input{Object: o, Manifest: m, Contract: c, Kernel: h.kernel, Types: h.types, Limits: patient})
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != want {
			t.Errorf("%s: %s, want %s: %v", value, r.Verdict, want, r.Reasons)
		}
	}
}
