package mutate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"kgent/agent/verify/mutate"
	"kgent/agent/verify/mutate/mutatetest"
)

// every is a program in which every source operator finds something to do.
const every = `#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

const volatile k_port port = 0;

enum every_kind { first = 1, second = 2 };

struct every_event {
	k_pid pid;
	k_tid tid;
	k_uid uid;
	k_port sport;
	k_port dport;
	k_ns latency;
	k_ret result;
	char comm[TASK_COMM_LEN];
	char path[64];
	k_kstack stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct every_event);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} starts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps") KGENT_OUTPUT;

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1024);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 127 * sizeof(__u64));
} stacks SEC(".maps");

static __always_inline bool waits(int state)
{
	switch (state) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
		return true;
	}
	return false;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(change, const struct sock *sk, int oldstate, int newstate)
{
	__u32 tid = k_current_tid();
	__u64 now = bpf_ktime_get_ns(), *start = bpf_map_lookup_elem(&starts, &tid), *n;
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct every_event *ev;

	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (waits(newstate)) {
		bpf_map_update_elem(&starts, &tid, &now, BPF_NOEXIST);
	} else if (start && now - *start > 1000) {
		ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);
		if (!ev)
			return 0;
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->pid = k_current_pid();
		ev->tid = tid;
		ev->uid = k_current_uid();
		ev->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
		ev->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
		ev->latency = now - *start;
		bpf_get_current_comm(ev->comm, sizeof(ev->comm));
		ev->stack = bpf_get_stackid(ctx, &stacks, 0);
		if (port && ev->dport != port) {
			bpf_ringbuf_discard(ev, 0);
			return 0;
		}
		bpf_ringbuf_submit(ev, 0);
		bpf_map_delete_elem(&starts, &tid);
	}
	n = k_cell(&counts, &tid, __u64);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

SEC("tp/syscalls/sys_exit_openat")
int opened(struct trace_event_raw_sys_exit *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct every_event ev = {};
	long ret = ctx->ret;

	if (ret < 0 && (ret & 1))
		return 0;
	if (bpf_probe_read_user(ev.path, sizeof(ev.path), (const void *)ret))
		return 0;
	ev.result = ret;
	ev.uid = ret & 4 ? first : second;
	ev.tid = BPF_CORE_READ(task, real_parent, pid);
	bpf_ringbuf_output(&events, &ev, sizeof(ev), 0);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, k_count);
} packets SEC(".maps") KGENT_OUTPUT;

SEC("xdp")
int packet(struct xdp_md *ctx)
{
	__u32 zero = 0;
	k_count *n = bpf_map_lookup_elem(&packets, &zero);

	if (n)
		(*n)++;
	return XDP_PASS;
}
`

// TestEveryOperator holds that each operator makes of that program at least one
// that a kernel takes and that is not the same.
func TestEveryOperator(t *testing.T) {
	j := mutatetest.Judge(t)
	byOperator := map[string][]mutate.Mutant{}
	for _, m := range mutate.Mutants(every) {
		byOperator[m.Operator] = append(byOperator[m.Operator], m)
	}
	// One of each operator; of those whose first is refused, the next.
	for round := 0; len(byOperator) > 0 && round < 6; round++ {
		var ms []mutate.Mutant
		for _, o := range mutate.Operators() {
			if all := byOperator[o.Name]; round < len(all) {
				ms = append(ms, all[round])
			}
		}
		out, err := j.Source(t.Context(), every, ms)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out {
			// The same mistake by another operator's name is left as well.
			if o.Class == mutate.Live || o.Class == mutate.Repeated {
				delete(byOperator, o.Operator)
			} else {
				t.Logf("%s: %s: %s", o.Name, o.Class, o.Why)
			}
		}
	}
	for o := range byOperator {
		t.Errorf("operator %s leaves nothing", o)
	}
}

// TestOperators holds what operators make of one line in a function, or of a
// declaration.
func TestOperators(t *testing.T) {
	tests := []struct{ operator, before, after string }{
		{"bswap-drop", "x = bpf_ntohs(y);", "x = (y);"},
		{"end-swap", "ev->saddr = r.daddr;", "ev->daddr = r.daddr;"},
		{"order-twin", "x = BPF_CORE_READ(c, skc_num);", "x = BPF_CORE_READ(c, skc_dport);"},
		{"id-swap", "x = k_current_pid();", "x = k_current_tid();"},
		{"id-swap", "x = bpf_get_current_pid_tgid() >> 32;", "x = bpf_get_current_pid_tgid() ;"},
		{"id-swap", "x = (__u32)bpf_get_current_uid_gid();", "x = (__u32)(bpf_get_current_uid_gid() >> 32);"},
		{"id-swap", "x = k_current_uid();", "x = (__u32)(bpf_get_current_uid_gid() >> 32);"},
		{"id-swap", "x = BPF_CORE_READ(task, tgid);", "x = BPF_CORE_READ(task, pid);"},
		{"comm-scope", "k_process_comm(key.comm, t);", "bpf_get_current_comm(key.comm, TASK_COMM_LEN);"},
		{"sibling-field", "x = BPF_CORE_READ(disk, major);", "x = BPF_CORE_READ(disk, first_minor);"},
		{"family-drop", "if (f == AF_INET6) g();", "if (f == 0xffff) g();"},
		{"case-drop", "switch (x) { case 3: g(); }", "switch (x) { ; g(); }"},
		{"arg-next", "x = ctx->args[1];", "x = ctx->args[2];"},
		{"error-ignored", "if (bpf_probe_read_user(a, 8, b)) return 0;", "if ((bpf_probe_read_user(a, 8, b)) && 0) return 0;"},
		{"guard-never", "if (a > b) g();", "if ((a > b) && 0) g();"},
		{"guard-always", "if (a > b) g();", "if ((a > b) || 1) g();"},
		{"guard-negate", "if (a > b) g();", "if (!(a > b)) g();"},
		{"operand-drop", "if (a && b(1, 2)) g();", "if ( b(1, 2)) g();"},
		{"operand-drop", "return a || b;", "return a ;"},
		{"and-or", "if (a && b) g();", "if (a || b) g();"},
		{"equal", "if (a == b) g();", "if (a != b) g();"},
		{"boundary", "if (a < b) g();", "if (a <= b) g();"},
		{"relation", "if (a < b) g();", "if (a > b) g();"},
		{"else-drop", "if (a) g(); else h();", "if (a) g(); else if (0) h();"},
		{"delete-drop", "bpf_map_delete_elem(&m, &k);", ";"},
		{"update-drop", "k_put(&m, &k, &v);", ";"},
		{"early-delete", "v = bpf_map_lookup_elem(&m, &k);", "v = (bpf_map_delete_elem(&m, &k), bpf_map_lookup_elem(&m, &k));"},
		{"unit", "k_hist_add(h, v);", "k_hist_add(h, (v) / 1000);"},
		{"unit", "x = y * NSEC_PER_MSEC;", "x = y * NSEC_PER_USEC;"},
		{"unit", "x = y / 1000;", "x = y ;"},
		{"clock", "x = bpf_ktime_get_ns();", "x = bpf_ktime_get_boot_ns();"},
		{"sizeof-pointer", "g(sizeof(*ev));", "g(sizeof(ev));"},
		{"sizeof-pointer", "g(sizeof(x));", "g(sizeof(&x));"},
		{"sizeof-pointer", "g(sizeof(struct sock));", "g(sizeof(struct sock *));"},
		{"size-cut", "g(sizeof(x));", "g((sizeof(x) - 1));"},
		{"zero-drop", "struct a b = {};", "struct a b ;"},
		{"zero-drop", "struct a b = { .x = y };", "struct a b ; b.x = y;"},
		{"zero-drop", "__builtin_memset(ev, 0, 8);", ";"},
		{"space-swap", "bpf_probe_read_user(a, 8, b);", "bpf_probe_read_kernel(a, 8, b);"},
		{"assign-drop", "ev->x = y;", ";"},
		{"assign-drop", "bpf_get_current_comm(ev->comm, 16);", ";"},
		{"constant", "ev->x = y;", "ev->x = 1;"},
		{"signedness", "int x = y;", "__u32 x = y;"},
		{"atomic-drop", "__sync_fetch_and_add(&c->n, 1);", "(*(&c->n) += 1);"},
		{"twice", "k_hist_add(h, v);", "k_hist_add(h, v); k_hist_add(h, v);"},
		{"submit-discard", "bpf_ringbuf_submit(ev, 0);", "bpf_ringbuf_discard(ev, 0);"},
		{"early-emit", "if (a) { bpf_ringbuf_discard(ev, 0); }", "if (0 && (a)) { bpf_ringbuf_discard(ev, 0); }"},
		{"number", "x = y + 0x10UL;", "x = y + 17UL;"},
		{"arithmetic", "x = a - b;", "x = a + b;"},
		{"mask", "x = a & b;", "x = a | b;"},
		{"term-drop", "x = a - b->c[2].d;", "x = a ;"},
		{"step", "x++;", "x += 2;"},
		{"step", "x += y;", "x = y;"},
		{"stack-side", "x = bpf_get_stackid(ctx, &s, 0);", "x = bpf_get_stackid(ctx, &s, BPF_F_USER_STACK);"},
		{"count-drop", "x->n++;", ";"},
		{"count-drop", "k_hist_add(h, v);", ";"},
		{"boolean", "return true;", "return false;"},
		{"update-flags", "bpf_map_update_elem(&m, &k, &v, BPF_NOEXIST);", "bpf_map_update_elem(&m, &k, &v, BPF_ANY);"},
		{"verdict", "return XDP_PASS;", "return XDP_DROP;"},
	}
	for _, tt := range tests {
		source := "int f(void)\n{\n" + tt.before + "\n}\n"
		want := "int f(void)\n{\n" + tt.after + "\n}\n"
		var got []string
		for _, m := range mutate.Mutants(source) {
			if m.Operator == tt.operator {
				got = append(got, m.After)
				if m.Source == want {
					if m.Line != 3 || m.Before != strings.TrimSpace(tt.before) {
						t.Errorf("%s: line %d, before %q", tt.operator, m.Line, m.Before)
					}
					got = nil
					break
				}
				if len(got) == 0 {
					got = []string{""}
				}
			}
		}
		if got != nil || !slices.ContainsFunc(mutate.Mutants(source), func(m mutate.Mutant) bool { return m.Operator == tt.operator }) {
			t.Errorf("%s of %q is %q, want %q", tt.operator, tt.before, got, tt.after)
		}
	}
}

// TestHooks holds what becomes of sections and parameters.
func TestHooks(t *testing.T) {
	const source = `enum call { fsync = 1, fdatasync };
SEC("tp/syscalls/sys_enter_openat")
int BPF_PROG(f, struct sock *sk, int state)
{
	return leave(fsync);
}
`
	for operator, want := range map[string]string{
		"hook-sibling": `SEC("tp/syscalls/sys_enter_open")`,
		"hook-side":    `SEC("tp/syscalls/sys_exit_openat")`,
		"arg-next":     `BPF_PROG(f, struct sock *sk, void *_skipped1, int state)`,
		"enumerator":   `leave(fdatasync)`,
		"signedness":   `BPF_PROG(f, struct sock *sk, __u32 state)`,
	} {
		if !slices.ContainsFunc(mutate.Mutants(source), func(m mutate.Mutant) bool {
			return m.Operator == operator && strings.Contains(m.Source, want)
		}) {
			t.Errorf("%s does not make %s", operator, want)
		}
	}
}

// TestLeftAlone holds that nothing is changed outside functions, in comments, in
// texts or in preprocessor lines.
func TestLeftAlone(t *testing.T) {
	const source = `#define LIMIT(a) ((a) < 10 && (a) != 3) /* if (a == b) */
// if (a == b) x++;
struct s { int a[10 + 3]; };
static const char name[] = "if (a == b) x++;";
int f(void)
{
	/* if (a == b) x++; */
	return g("a == b && c < 10");
}
`
	for _, m := range mutate.Mutants(source) {
		t.Errorf("%v", m)
	}
}

// TestMutate holds what the operators make of instructions.
func TestMutate(t *testing.T) {
	p := &ebpf.ProgramSpec{Name: "p", Type: ebpf.XDP, SectionName: "xdp", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 8, asm.DWord),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.StoreMem(asm.RFP, -8, asm.R2, asm.Word),
		asm.StoreImm(asm.RFP, -4, 7, asm.Word),
		asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.JEq), Dst: asm.R2, Offset: 1, Constant: 443},
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Imm(asm.R0, 2),
		asm.Return(),
	}}
	before := p.Instructions.String()
	found := map[string]bool{}
	for _, v := range mutate.Mutate(p) {
		found[v.Operator] = true
		n := 0
		for i, ins := range v.Program.Instructions {
			if ins.OpCode != p.Instructions[i].OpCode || ins.Offset != p.Instructions[i].Offset || ins.Constant != p.Instructions[i].Constant || ins.Src != p.Instructions[i].Src || ins.Dst != p.Instructions[i].Dst {
				n++
			}
		}
		if want := 1 + strings.Count(v.Operator, "code-store-swap"); n != want || len(v.Program.Instructions) != len(p.Instructions) {
			t.Errorf("%v changes %d instructions, want %d", v, n, want)
		}
	}
	if p.Instructions.String() != before {
		t.Error("the original was changed")
	}
	for _, want := range []string{"code-bswap-drop", "code-compare", "code-branch-never", "code-branch-always", "code-immediate", "code-store-swap", "code-store-drop",
		"code-constant", "code-truncate", "code-helper", "code-verdict"} {
		if !found[want] {
			t.Errorf("%s makes nothing", want)
		}
	}
}

// FuzzMutants holds that any text is taken, and that what comes out is as
// promised.
func FuzzMutants(f *testing.F) {
	f.Add(every[len(every)-2<<10:])
	f.Add("int f(void)\n{\n" + strings.Repeat("= a && ", 200) + "\n}\n")
	f.Add("int f(void)\n{\n\tx = (a; }{ ] \"\n}\n")
	f.Add("struct { __uint(type, X); } m SEC(\".maps\");\nint BPF_PROG(\n")
	f.Add("int f() { case ; = = . , -> ( ) k_hist_add(,) sizeof( }")
	f.Fuzz(func(t *testing.T, source string) {
		if len(source) > 2<<10 {
			return // the work grows with the square
		}
		seen := map[string]bool{source: true}
		for _, m := range mutate.Mutants(source) {
			if seen[m.Source] {
				t.Errorf("%v is no new program", m)
			}
			seen[m.Source] = true
			if m.Line < 1 || m.Line > strings.Count(source, "\n")+1 {
				t.Errorf("%v: line %d", m, m.Line)
			}
		}
	})
}
