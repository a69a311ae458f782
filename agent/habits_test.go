package agent_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	progRE = regexp.MustCompile(`SEC\("([^"]+)"\)\s*\n?\s*int (?:BPF_[A-Z]+\()?(\w+)`)
	mapRE  = regexp.MustCompile(`}\s*(\w+) SEC\("\.maps"\)( KGENT_OUTPUT)?;`)
)

// told is the answer of an author who describes the source as it is.
func told(source string) said {
	programs, maps := []any{}, []any{}
	for _, m := range progRE.FindAllStringSubmatch(source, -1) {
		programs = append(programs, said{"name": m[2], "section": m[1]})
	}
	for _, m := range mapRE.FindAllStringSubmatch(source, -1) {
		role := "internal"
		at := strings.Index(source, m[0])
		def := source[strings.LastIndex(source[:at], "struct {"):at]
		switch {
		case m[2] != "":
			role = "output"
		case strings.Contains(def, "STACK_TRACE"):
			role = "stacks"
		case strings.Contains(def, "RINGBUF"):
			role = "events"
		}
		maps = append(maps, said{"name": m[1], "role": role})
	}
	return answer(source).with("programs", programs, "maps", maps, "interface", "lo")
}

// firstTry are programs that must pass at once: what models write by habit,
// and what the prompt tells them, clause by clause.
var firstTry = map[string]string{
	"libbpf": `#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <linux/errno.h>

#define TASK_COMM_LEN 16
#define ETH_P_IP 0x0800
typedef unsigned int u32;

struct event { u32 pid; u32 ppid; char comm[TASK_COMM_LEN]; char filename[64]; long ret; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
	__type(value, struct event);
} rb SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_execve")
int handle_exec(struct trace_event_raw_sys_enter *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct event *e;
	char text[32];
	int i, sum = 0;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	memset(e, 0, sizeof(*e));
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->ppid = BPF_CORE_READ(task, real_parent, tgid);
	bpf_get_current_comm(&e->comm, sizeof(e->comm));
	bpf_probe_read_user_str(e->filename, sizeof(e->filename), (const char *)ctx->args[0]);
	bpf_for(i, 0, 4)
		sum += i;
	bpf_repeat(3)
		sum++;
	if (bpf_core_type_exists(struct task_struct) && bpf_core_field_exists(task->__state) && sum == EOVERFLOW)
		BPF_SNPRINTF(text, sizeof(text), "%d %s", sum, e->comm);
	bpf_printk("exec %d %s", e->pid, e->comm);
	e->ret = bpf_ntohs(ETH_P_IP) + htons(443) + bpf_be16_to_cpu(1);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
`,
	"a record of a class": `#include "kgent.bpf.h"
struct req_event { k_pid pid; char comm[16]; k_pid child; char name[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct req_event); } freed SEC(".maps");
SEC("tp/sched/sched_wakeup")
int woken(struct trace_event_raw_sched_wakeup_template *ctx)
{
	struct req_event *e = bpf_ringbuf_reserve(&freed, sizeof(*e), 0);
	if (!e) return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->pid = ctx->pid;
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), ctx->comm);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
SEC("tp/sched/sched_process_exec")
int executed(struct trace_event_raw_sched_process_exec *ctx)
{
	struct req_event *e = bpf_ringbuf_reserve(&freed, sizeof(*e), 0);
	if (!e) return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->pid = k_current_pid();
	bpf_probe_read_kernel_str(e->name, sizeof(e->name), (void *)ctx + (ctx->__data_loc_filename & 0xffff));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
`,
	"system calls and sockets": `#include "kgent.bpf.h"
KGENT_TASK_FILTER
struct req_start { __u64 at; __u64 nr; };
struct req_key { k_pid pid; char comm[16]; k_syscall call; };
struct req_value { k_count calls; k_ns total; };
struct req_conn { k_time time; k_pid pid; char comm[16]; k_ip saddr; k_port sport; k_ip daddr; k_port dport; k_tcpstate state; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, __u32); __type(value, struct req_start); } started SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 10240); __type(key, struct req_key); __type(value, struct req_value); } totals SEC(".maps") KGENT_OUTPUT;
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 64); __type(key, k_syscall); __type(value, k_stats_ns); } times SEC(".maps") KGENT_OUTPUT;
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct req_conn); } conns SEC(".maps");
SEC("tp_btf/sys_enter")
int BPF_PROG(entered, struct pt_regs *regs, long id)
{
	__u32 tid = k_current_tid();
	struct req_start s = { .at = bpf_ktime_get_ns(), .nr = id };
	if (k_task_wanted())
		k_put(&started, &tid, &s);
	return 0;
}
SEC("tp_btf/sys_exit")
int BPF_PROG(left, struct pt_regs *regs, long ret)
{
	__u32 tid = k_current_tid();
	struct req_start *s = bpf_map_lookup_elem(&started, &tid);
	struct req_key key = {};
	k_syscall nr = K_SYSCALL_NR(regs);
	if (!s)
		return 0;
	key.pid = k_current_pid();
	key.call = nr;
	k_process_comm(key.comm, (void *)bpf_get_current_task());
	struct req_value *v = k_cell(&totals, &key, struct req_value);
	if (v && nr == s->nr) { v->calls++; v->total += bpf_ktime_get_ns() - s->at; }
	k_stats_ns *st = k_cell(&times, &nr, k_stats_ns);
	if (st) k_stats_add(st, bpf_ktime_get_ns() - s->at);
	bpf_map_delete_elem(&started, &tid);
	return 0;
}
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state, const struct sock *sk, int oldstate, int newstate)
{
	struct k_ends ends;
	if (newstate != TCP_SYN_SENT || !k_task_wanted() || !k_ends_of(sk, &ends))
		return 0;
	struct req_conn *e = bpf_ringbuf_reserve(&conns, sizeof(*e), 0);
	if (!e) return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->time = bpf_ktime_get_ns();
	e->pid = k_current_pid();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->saddr = ends.laddr; e->sport = ends.lport; e->daddr = ends.raddr; e->dport = ends.rport;
	e->state = newstate;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
SEC("tp_btf/sched_process_exec")
int BPF_PROG(execed, struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
{
	return k_wants_task(p) && p->tgid == 1;
}
`,
	"stacks": `#include "kgent.bpf.h"
struct req_key { k_pid pid; char comm[16]; k_kstack kernel; k_ustack user; };
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 16384); __uint(key_size, 4); __uint(value_size, 127 * 8); } stacks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 10240); __type(key, struct req_key); __type(value, k_count); } samples SEC(".maps") KGENT_OUTPUT;
SEC("perf_event/cpu-clock/49")
int sample(struct bpf_perf_event_data *ctx)
{
	struct req_key key = {};
	key.pid = k_current_pid();
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	key.kernel = bpf_get_stackid(ctx, &stacks, 0);
	key.user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	k_count *n = k_cell(&samples, &key, k_count);
	if (n) (*n)++;
	return 0;
}
`,
	"iterator": `#include "kgent.bpf.h"
SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	if (!t) return 0;
	if (ctx->meta->seq_num == 0)
		BPF_SEQ_PRINTF(ctx->meta->seq, "pid comm\n");
	BPF_SEQ_PRINTF(ctx->meta->seq, "%d %s\n", t->tgid, t->comm);
	return 0;
}
`,
	"packets": `#include "kgent.bpf.h"
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1024); __type(key, k_ethproto); __type(value, k_stats_bytes); } seen SEC(".maps") KGENT_OUTPUT;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, k_ipproto); __type(value, k_count); } by_ip SEC(".maps") KGENT_OUTPUT;
static __always_inline void count(k_ethproto proto, __u64 bytes)
{
	k_stats_bytes *s = k_cell(&seen, &proto, k_stats_bytes);
	if (s) k_stats_add(s, bytes);
}
SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) <= end)
		count(bpf_ntohs(eth->h_proto), end - data);
	return XDP_PASS;
}
SEC("tcx/egress")
int on_tcx(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) <= end)
		count(bpf_ntohs(eth->h_proto), skb->len);
	return TCX_NEXT;
}
SEC("cgroup_skb/ingress")
int on_cgroup(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	if ((void *)(ip + 1) <= end && ip->version == 4) {
		k_ipproto proto = ip->protocol;
		k_count *n = k_cell(&by_ip, &proto, k_count);
		if (n) __sync_fetch_and_add(n, 1);
	}
	return 1;
}
`,
	"user space": `#include "kgent.bpf.h"
struct req_key { char host[64]; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1024); __type(key, struct req_key); __type(value, k_count); } hosts SEC(".maps") KGENT_OUTPUT;
SEC("uprobe/libc.so.6:getaddrinfo")
int BPF_UPROBE(lookup, const char *node)
{
	struct req_key key = {};
	bpf_probe_read_user_str(key.host, sizeof(key.host), node);
	k_count *n = k_cell(&hosts, &key, k_count);
	if (n) (*n)++;
	return 0;
}
SEC("uretprobe/libc.so.6:getaddrinfo")
int BPF_URETPROBE(answered, int ret)
{
	return ret != 0 && PT_REGS_RC(ctx) != 0 && PT_REGS_RC_CORE(ctx) != 0;
}
`,
	// The host may lack kprobes; compiled all the same, below.
	"registers": `#include "kgent.bpf.h"
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16); __type(key, k_hex); __type(value, k_count); } args SEC(".maps") KGENT_OUTPUT;
SEC("tp_btf/sys_enter")
int BPF_PROG(entered, struct pt_regs *regs, long id)
{
	k_hex key = PT_REGS_PARM1_CORE_SYSCALL(regs) + PT_REGS_PARM4_CORE_SYSCALL(regs) + PT_REGS_IP_CORE(regs) + PT_REGS_SP_CORE(regs) + PT_REGS_FP_CORE(regs) + PT_REGS_PARM6_CORE(regs);
	k_count *n = k_cell(&args, &key, k_count);
	if (n) (*n)++;
	return 0;
}
`,
}

func TestPassesAtOnce(t *testing.T) {
	m := host(t)
	for name, source := range firstTry {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, m, nil, told(source))
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatalf("%v\n%v", err, b.asked())
			}
			notes := c.Record.Attempts[0].Notes
			if !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, "license") }) {
				t.Errorf("no note of the license: %q", notes)
			}
			if strings.Contains(c.Source, "<bpf/") || c.Source != c.Record.Attempts[0].Source || strings.Count(c.Source, `#include "kgent.bpf.h"`) != 1 {
				t.Errorf("the source is\n%s", c.Source)
			}
			wants(t, "the source", c.Source, `SEC("license")`)
		})
	}
}

// Entry of a system call by kprobe: this host may not load it, clang must take it.
func TestKsyscall(t *testing.T) {
	m := host(t)
	args := []string{"int a", "const char *b", "long c", "int d", "__u64 e", "void *f"}
	for n := range len(args) + 1 {
		list := ""
		for _, a := range args[:n] {
			list += ", " + a
		}
		source := fmt.Sprintf("#include \"kgent.bpf.h\"\nchar LICENSE[] SEC(\"license\") = \"GPL\";\nSEC(\"kprobe/__x64_sys_openat\")\nint BPF_KSYSCALL(f%s) { return 0; }\nSEC(\"kprobe/x\")\nint BPF_KPROBE(g%s) { return 0; }\n", list, list)
		res, err := m.compiler.Compile(t.Context(), source, m.types)
		if err != nil {
			t.Fatalf("%d arguments: %v", n, err)
		}
		if len(res.Warnings) > 0 {
			t.Errorf("%d arguments: %v", n, res.Warnings)
		}
	}
}
