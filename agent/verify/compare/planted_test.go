package compare

import (
	"os"
	"strings"
	"testing"
)

// oneEvent is a program that shows an event with members where a process ends; before stands before the event,
// set fills it.
func oneEvent(members, before, set string) string {
	return `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
struct seen { ` + members + ` };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); __type(value, struct seen); } seen SEC(".maps");
__u32 count; __u32 level = 1;
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *p)
{
	` + before + `
	struct seen *e = bpf_ringbuf_reserve(&seen, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	` + set + `
	bpf_ringbuf_submit(e, 0);
	return 0;
}
`
}

// counted is a program that keeps a table, at the end of write.
func counted(maps, do string) string {
	return `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
` + maps + `
SEC("tp/syscalls/sys_exit_write")
int wrote(struct trace_event_raw_sys_exit *ctx)
{
	long ret = ctx->ret;
	` + do + `
	return 0;
}
`
}

// timed is a program that shows how long fsync takes.
func timed(key, exit string) string {
	return `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
struct done { k_pid pid; __u32 _pad; k_ns took; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); __type(value, struct done); } done SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, __u32); __type(value, __u64); } start SEC(".maps");
SEC("tp/syscalls/sys_enter_fsync")
int begin(struct trace_event_raw_sys_enter *ctx)
{
	__u32 key = ` + key + `;
	__u64 now = bpf_ktime_get_ns();
	k_put(&start, &key, &now);
	return 0;
}
SEC("tp/syscalls/sys_exit_fsync")
int end(struct trace_event_raw_sys_exit *ctx)
{
	__u32 key = ` + key + `;
	` + exit + `
	struct done *e = bpf_ringbuf_reserve(&done, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->_pad = 0;
	e->took = took;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
`
}

const takes = `__u64 *at = bpf_map_lookup_elem(&start, &key);
	if (!at)
		return 0;
	__u64 took = bpf_ktime_get_ns() - *at;
	bpf_map_delete_elem(&start, &key);`

const table = `struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, k_pid); __type(value, k_count); } writes SEC(".maps") KGENT_OUTPUT;`

const slots = `struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, k_hist_bytes); } sizes SEC(".maps") KGENT_OUTPUT;`

const addOne = `__u32 key = bpf_get_current_pid_tgid() >> 32; k_count *n = k_cell(&writes, &key, k_count); if (n) __sync_fetch_and_add(n, 1);`

// inStats lets only one of n events pass, which it counts where kgent counts lost events.
func inStats(n string) string {
	return `__u32 zero = 0; __u64 *s = bpf_map_lookup_elem(&kgent_stats, &zero); if (!s || (*s)++ % ` + n + `) return 0;`
}

// tenth shows, from the tenth time on, the member x of a member that has two.
func tenth(members string) string {
	return strings.Replace(oneEvent("__u32 v;", `__u32 zero = 0; struct memory *m = bpf_map_lookup_elem(&memory, &zero); if (!m) return 0;
	__u32 was = m->in.x; ((volatile __u32 *)m)[0] = 1; ((volatile __u32 *)m)[1] = 2; if (m->times < 9) { m->times++; return 0; }`, "e->v = was;"), "__u32 count;", `struct inner { __u32 `+members+`; };
struct memory { struct inner in; __u32 times; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct memory); } memory SEC(".maps");
__u32 count;`, 1)
}

// planted are programs that differ, in ways that a comparison could overlook.
var planted = []struct {
	name, a, b string
	// words are in what is said of the difference.
	words []string
	// hidden says that the difference is beyond what can be shown: then Same must not be said.
	hidden bool
}{
	{name: "a value of another size's sign", a: oneEvent("__s64 v;", "", "e->v = p->exit_code;"), b: oneEvent("__u64 v;", "", "e->v = (__u32)p->exit_code;"), words: []string{"v = -"}},
	{name: "signs of one width", a: oneEvent("__s32 v;", "", "e->v = p->exit_code;"), b: oneEvent("__u32 v;", "", "e->v = p->exit_code;"), words: []string{"v = -"}},
	{name: "thread for process of the same task", a: oneEvent("__u32 v;", "", "e->v = p->pid;"), b: oneEvent("__u32 v;", "", "e->v = p->tgid;"), words: []string{"p.pid (a thread id)", "p.tgid (a process id)"}},
	{name: "the argument for the current task", a: oneEvent("__u32 v;", "", "e->v = p->tgid;"), b: oneEvent("__u32 v;", "", "e->v = bpf_get_current_pid_tgid() >> 32;")},
	{name: "clocks", a: oneEvent("__u64 v;", "", "e->v = bpf_ktime_get_ns();"), b: oneEvent("__u64 v;", "", "e->v = bpf_ktime_get_boot_ns();")},
	{name: "a text cut short", a: oneEvent("char comm[16];", "", "bpf_get_current_comm(e->comm, 16);"), b: oneEvent("char comm[16];", "", "bpf_get_current_comm(e->comm, 8);"), words: []string{"comm = "}},
	{name: "a text cut short by its type", a: oneEvent("char comm[16];", "", "bpf_get_current_comm(e->comm, 16);"), b: oneEvent("char comm[8];", "", "bpf_get_current_comm(e->comm, 8);"), words: []string{"comm = "}},
	{name: "the first and the second random number", hidden: true, a: oneEvent("__u32 v;", "", "e->v = bpf_get_prandom_u32();"), b: oneEvent("__u32 v;", "", "bpf_get_prandom_u32(); e->v = bpf_get_prandom_u32();")},
	{name: "random numbers of two calls each", hidden: true, a: oneEvent("__u32 v;", "__u32 x = bpf_get_prandom_u32(), y = bpf_get_prandom_u32();", "e->v = y; count = x;"),
		b: oneEvent("__u32 v;", "__u32 x = bpf_get_prandom_u32(), y = bpf_get_prandom_u32(), z = bpf_get_prandom_u32();", "e->v = z; count = x + y;")},
	{name: "every second and every third", a: oneEvent("__u32 v;", "if (count++ % 2) return 0;", "e->v = 1;"), b: oneEvent("__u32 v;", "if (count++ % 3) return 0;", "e->v = 1;"), words: []string{"then tp_btf/sched_process_exit"}},
	{name: "every tenth and every eleventh", hidden: true, a: oneEvent("__u32 v;", "if (count++ % 10) return 0;", "e->v = 1;"), b: oneEvent("__u32 v;", "if (count++ % 11) return 0;", "e->v = 1;")},
	{name: "what is remembered among the counts of losses", hidden: true, a: oneEvent("__u32 v;", inStats("2"), "e->v = 1;"), b: oneEvent("__u32 v;", inStats("3"), "e->v = 1;")},
	{name: "members of a member that change places", hidden: true, a: tenth("x, y"), b: tenth("y, x")},
	{name: "what a global begins with", a: oneEvent("__u32 v;", "", "e->v = level++;"), b: strings.Replace(oneEvent("__u32 v;", "", "e->v = level++;"), "level = 1", "level = 2", 1), words: []string{"v = 1", "v = 2"}},
	{name: "two events", a: oneEvent("__u32 v;", "", "e->v = 1;"), b: oneEvent("__u32 v;", "__u32 one = 1; bpf_ringbuf_output(&seen, &one, 4, 0);", "e->v = 1;"), words: []string{"“seen” (v = 1) and “seen” (v = 1)"}},
	{name: "garbage of the same place", hidden: true, a: oneEvent("__u32 v;", "volatile __u32 x[2]; x[0] = 1;", "e->v = x[1];"), b: oneEvent("__u32 v;", "volatile __u32 x[2]; x[0] = 2;", "e->v = x[1];")},
	{name: "stacks of two kinds", hidden: true, a: oneEvent("__u64 v;", "__u64 x[2] = {}; bpf_get_stack(ctx, x, 16, 0);", "e->v = x[0];"), b: oneEvent("__u64 v;", "__u64 x[2] = {}; bpf_get_stack(ctx, x, 16, 256);", "e->v = x[0];")},
	{name: "a failed read", a: oneEvent("__u32 v;", "__u32 x = 0; if (bpf_probe_read_kernel(&x, 4, (void *)p->real_parent)) return 0;", "e->v = x;"),
		b: oneEvent("__u32 v;", "__u32 x = 0; bpf_probe_read_kernel(&x, 4, (void *)p->real_parent);", "e->v = x;"), words: []string{"shows nothing"}},
	{name: "user and kernel memory", a: oneEvent("__u32 v;", "__u32 x = 0; bpf_probe_read_kernel(&x, 4, (void *)p->mm->start_code);", "e->v = x;"), b: oneEvent("__u32 v;", "__u32 x = 0; bpf_probe_read_user(&x, 4, (void *)p->mm->start_code);", "e->v = x;")},
	{name: "a signal besides", a: oneEvent("__u32 v;", "", "e->v = 1;"), b: oneEvent("__u32 v;", "if (p->exit_code == 77) bpf_send_signal(9);", "e->v = 1;"), words: []string{"77"}},
	{name: "two signals", a: oneEvent("__u32 v;", "bpf_send_signal(9);", "e->v = 1;"), b: oneEvent("__u32 v;", "bpf_send_signal(15);", "e->v = 1;")},

	{name: "keys of entry and exit", a: timed("(__u32)bpf_get_current_pid_tgid()", takes), b: timed("bpf_get_current_pid_tgid() >> 32", takes), words: []string{"thread id"}},
	{name: "a beginning that is not forgotten", a: timed("(__u32)bpf_get_current_pid_tgid()", takes), b: timed("(__u32)bpf_get_current_pid_tgid()", strings.Replace(takes, "bpf_map_delete_elem(&start, &key);", "", 1)), words: []string{"shows nothing"}},
	{name: "a beginning that is forgotten only if the call succeeds", a: timed("(__u32)bpf_get_current_pid_tgid()", takes),
		b: timed("(__u32)bpf_get_current_pid_tgid()", strings.Replace(takes, "bpf_map_delete_elem", "if (ctx->ret >= 0) bpf_map_delete_elem", 1)), words: []string{"shows nothing"}},

	{name: "another step", a: counted(table, addOne), b: counted(table, strings.Replace(addOne, "(n, 1)", "(n, 2)", 1)), words: []string{"1", "2"}},
	{name: "a count that stands still", a: counted(table, addOne), b: counted(table, `__u32 key = bpf_get_current_pid_tgid() >> 32; k_count one = 1; k_count *n = bpf_map_lookup_elem(&writes, &key); if (!n) k_put(&writes, &key, &one);`)},
	{name: "a row for those who wrote nothing", a: counted(table, "if (ret <= 0) return 0; "+addOne), b: counted(table, "if (ret < 0) return 0; "+addOne), words: []string{"return 0"}},
	{name: "a row that is deleted", a: counted(table, addOne), b: counted(table, addOne+" if (ret == -9) bpf_map_delete_elem(&writes, &key);"), words: []string{"EBADF (-9)"}},
	{name: "slots of a histogram", a: counted(slots, "__u32 k = 0; struct k_hist *h = k_cell(&sizes, &k, struct k_hist); if (h) k_hist_add(h, ret < 0 ? 0 : ret);"),
		b: counted(slots, "__u32 k = 0; struct k_hist *h = k_cell(&sizes, &k, struct k_hist); if (h) k_hist_add(h, ret <= 1 ? 0 : ret);"), words: []string{"slot 0", "slot 1"}},
	{name: "a table of another length",
		a: counted(`struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32); __type(value, k_count); } n SEC(".maps") KGENT_OUTPUT;`, "__u32 k = ret; k_count *c = bpf_map_lookup_elem(&n, &k); if (c) __sync_fetch_and_add(c, 1);"),
		b: counted(`struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 9); __type(key, __u32); __type(value, k_count); } n SEC(".maps") KGENT_OUTPUT;`, "__u32 k = ret; k_count *c = bpf_map_lookup_elem(&n, &k); if (c) __sync_fetch_and_add(c, 1);")},
	{name: "a parameter that is set otherwise", a: counted(table+" const volatile long least = 1;", "if (ret < least) return 0; "+addOne), b: counted(table+" const volatile long least = 2;", "if (ret < least) return 0; "+addOne), words: []string{"ret"}},
	{name: "a parameter that one obeys", a: counted(table+" const volatile long least = 0;", "if (ret < 0 || ret < least) return 0; "+addOne), b: counted(table+" const volatile long least = 0;", "if (ret < 0 || !least && 0) return 0; "+addOne), words: []string{"least"}},
	{name: "kgent sees itself", a: oneEvent("__u32 v;", "", "e->v = 1;"), b: strings.Replace(oneEvent("__u32 v;", "if ((bpf_get_current_pid_tgid() >> 32) == kgent_self) return 0;", "e->v = 1;"), "__u32 count;", "const volatile __u32 kgent_self; __u32 count;", 1),
		words: []string{"kgent's own process id"}},
	{name: "a verdict", a: xdp("XDP_PASS"), b: xdp("XDP_DROP"), words: []string{"XDP_DROP (1)"}},
	{name: "a byte of the packet", a: xdp("((char *)(long)ctx->data + 14 <= (char *)(long)ctx->data_end && ((char *)(long)ctx->data)[12] == 8) ? XDP_DROP : XDP_PASS"),
		b: xdp("((char *)(long)ctx->data + 14 <= (char *)(long)ctx->data_end && ((char *)(long)ctx->data)[13] == 8) ? XDP_DROP : XDP_PASS"), words: []string{"Ethernet type"}},
}

func xdp(verdict string) string {
	return `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
` + table + `
SEC("xdp")
int one(struct xdp_md *ctx)
{
	return ` + verdict + `;
}
`
}

// None of the planted pairs is the same; and each program is the same as itself, as far as it can be
// followed.
func TestPlanted(t *testing.T) {
	for _, tc := range planted {
		t.Run(tc.name, func(t *testing.T) {
			a, b := compiled(t, "this one", tc.a), compiled(t, "that one", tc.b)
			pairs := [][2]Program{{a, b}, {b, a}}
			if os.Getenv("KGENT_SOAK") == "" {
				pairs = pairs[:1]
			}
			for _, pair := range pairs {
				r := held(t, pair[0], pair[1], here(t))
				switch {
				case r.Verdict == Same && (!tc.hidden || r.Within == 0):
					t.Fatalf("they are the same %s: %s", r.Reach(), r.How)
				case tc.hidden:
					continue
				case r.Verdict != Different:
					t.Fatalf("%s: %s", r.Verdict, strings.Join(r.Reasons, "; "))
				}
				wellSaid(t, r.Difference)
				for _, w := range tc.words {
					if all := r.Difference.String() + " " + r.Difference.Question(); !strings.Contains(all, w) {
						t.Errorf("%q lacks %q", all, w)
					}
				}
			}
		})
	}
}
