/* One of everything the conventions know. */
#include "kgent.bpf.h"

struct event {
	k_pid pid;
	char comm[TASK_COMM_LEN];
	k_ip daddr;
	k_port dport;
	k_errno error;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
	__type(value, struct event);
} events SEC(".maps");

struct key { k_pid pid; char comm[TASK_COMM_LEN]; };
struct cell { k_count calls; k_bytes bytes; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, struct cell);
} by_process SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, k_hist_ns);
} latency SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 128);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64);
} entered SEC(".maps");

KGENT_TASK_FILTER
const volatile k_port dport = 0;
const volatile k_ip daddr = {};
const volatile k_ns longer_than = 1000000;
const int ordinary = 3; /* no parameter: not volatile */
static const volatile int hidden = 4; /* no parameter: not global */
volatile int seen; /* no parameter: not const */

SEC("tp/syscalls/sys_enter_connect")
int on_connect(struct trace_event_raw_sys_enter *ctx)
{
	struct event *e;
	__u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();

	if (!k_task_wanted() || hidden + ordinary == 0)
		return 0;
	seen++;
	bpf_map_update_elem(&entered, &id, &now, BPF_ANY);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->pid = k_current_pid();
	e->dport = dport;
	if (!k_ip_any(&daddr))
		__builtin_memcpy(&e->daddr, (void *)&daddr, 16);
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("perf_event")
int on_sample(struct bpf_perf_event_data *ctx)
{
	__u32 zero = 0;
	struct k_hist *h = bpf_map_lookup_elem(&latency, &zero);
	struct key k = {};
	struct cell *c;

	if (h)
		k_hist_add(h, longer_than);
	k.pid = bpf_get_stackid(ctx, &stacks, 0);
	c = k_cell(&by_process, &k, struct cell);
	if (c)
		c->calls++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
