package proof

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
)

// A family is a row of programs with their contracts that grow in one way,
// towards what the kernel itself accepts.
type family struct {
	name string
	// of is what sizes count.
	of      string
	sizes   []int
	verdict Verdict
	source  func(n int) string
	text    func(n int) string
	// limits of the proof, if the size is in them.
	limits func(n int) Limits
}

const (
	costTens  = "#define TEN(x) x x x x x x x x x x\n"
	costPlace = "\nSEC(\"tp_btf/inet_sock_set_state\")\nint BPF_PROG(state, const struct sock *sk, int oldstate, int newstate)\n{\n"
	costHook  = "hook tp_btf/inet_sock_set_state(sk, oldstate, newstate)\n"
	costRing  = "\nstruct ev { __u64 x; };\nstruct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct ev); } steps SEC(\".maps\");\n"
	costEvent = "event steps { x: u64 }\n\n"
)

// families are what the cost of a proof is measured against. The kernel allows
// 1,000,000 instructions (BPF_COMPLEXITY_LIMIT_INSNS) and 8192 branches that
// wait to be looked at (BPF_COMPLEXITY_LIMIT_JMP_SEQ).
var families = []family{
	{
		// From 10,000 on a loop, for a jump back must not be too far.
		name: "instructions", of: "instructions executed", verdict: Verified,
		sizes: []int{100, 1_000, 10_000, 50_000, 100_000, 300_000, 990_000},
		source: func(n int) string {
			return costTens + costRing + costPlace + fmt.Sprintf(`	__u64 x = (__u32)newstate;
	struct ev *ev;
#pragma clang loop unroll(disable)
	for (int i = 0; i < %d; i++)
		asm volatile(%s : "+r"(x));
	ev = bpf_ringbuf_reserve(&steps, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->x = x;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
`, max(n/10_000, 1), repeated(min(n, 10_000), `"%0 += 3\n\t"`))
		},
		text: func(n int) string {
			return costEvent + costHook + fmt.Sprintf("  case all: always\n    emit steps { x: u32(newstate) + %d }\n  otherwise nothing\n", 3*n)
		},
	},
	{
		name: "branches", of: "branches in a row whose states merge again", verdict: Verified,
		sizes: []int{8, 64, 512, 2048, 8184},
		source: func(n int) string {
			var turn strings.Builder
			for i := range 8 {
				fmt.Fprintf(&turn, `if %%1 & %d goto +1\n\t%%0 += 1\n\t`, 1<<i)
			}
			return costTens + costRing + costPlace + fmt.Sprintf(`	__u64 x = 0, y = (__u32)newstate;
	struct ev *ev;
	asm volatile(%s : "+r"(x) : "r"(y));
	ev = bpf_ringbuf_reserve(&steps, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->x = x;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
`, repeated(n/8, `"`+turn.String()+`"`))
		},
		text: func(n int) string {
			var set []string
			for i := range 8 {
				set = append(set, fmt.Sprintf("((newstate >> %d) & 1)", i))
			}
			return costEvent + costHook + fmt.Sprintf("  case all: always\n    emit steps { x: %d - %d * (%s) }\n  otherwise nothing\n", n/8*8, n/8, strings.Join(set, " + "))
		},
	},
	{
		// Each event is emitted, or not asked for, or finds the buffer full.
		name: "paths", of: "paths: combinations of events", verdict: Verified,
		sizes: []int{3, 9, 27, 81, 243, 729},
		source: func(n int) string {
			out := costRing + "static __always_inline void emit(__u64 x)\n{\n\tstruct ev *ev = bpf_ringbuf_reserve(&steps, sizeof(*ev), 0);\n\n\tif (!ev)\n\t\treturn;\n\tev->x = x;\n\tbpf_ringbuf_submit(ev, 0);\n}\n" + costPlace
			for i := range emissions(n) {
				out += fmt.Sprintf("\tif (newstate & %d)\n\t\temit((__u64)(__u32)oldstate + %d);\n", 1<<i, i)
			}
			return out + "\treturn 0;\n}\n"
		},
		text: func(n int) string {
			var all []string
			for i := range emissions(n) {
				all = append(all, fmt.Sprintf("  case bit%d: (newstate & %d) != 0\n    emit steps { x: u32(oldstate) + %d }\n  otherwise nothing\n", i, 1<<i, i))
			}
			return costEvent + costHook + strings.Join(all, "  then\n")
		},
	},
	{
		name: "maps", of: "samples added to cells of one map", verdict: Verified,
		sizes: []int{1, 2, 4, 8, 12, 16},
		source: func(n int) string {
			out := "\nstruct key { __u32 k; };\nstruct cell { k_count n; };\nstruct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1024); __type(key, struct key); __type(value, struct cell); } counts SEC(\".maps\") KGENT_OUTPUT;\n" +
				"static __always_inline void count(__u32 k)\n{\n\tstruct key key = { .k = k };\n\tstruct cell *c = k_cell(&counts, &key, struct cell);\n\n\tif (c)\n\t\tc->n++;\n}\n" + costPlace
			for i := range n {
				out += fmt.Sprintf("\tcount((__u32)newstate + %d);\n", i)
			}
			return out + "\treturn 0;\n}\n"
		},
		text: func(n int) string {
			out := "table counts { k: u32 } : { n: count }\n\n" + costHook + "  case all: always\n"
			for i := range n {
				out += fmt.Sprintf("    add { n: 1 } to counts[k: u32(newstate) + %d]\n", i)
			}
			return out + "  otherwise nothing\n"
		},
	},
	{
		name: "interleavings", of: "invocations in a row that are searched for a counterexample", verdict: Unknown,
		sizes: []int{1, 2, 3, 4, 5},
		// It keeps the complement of the time, which no relation that is tried
		// describes: the contract is kept, but is not proved.
		source: func(int) string {
			return costRing + `
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, __u32); __type(value, __u64); } began SEC(".maps");
SEC("tp/raw_syscalls/sys_enter")
int enter(void *ctx)
{
	__u32 tid = k_current_tid();
	__u64 not_now = ~bpf_ktime_get_ns();

	k_put(&began, &tid, &not_now);
	return 0;
}
SEC("tp/raw_syscalls/sys_exit")
int leave(void *ctx)
{
	__u32 tid = k_current_tid();
	__u64 *start = bpf_map_lookup_elem(&began, &tid);
	struct ev *ev;

	if (!start)
		return 0;
	ev = bpf_ringbuf_reserve(&steps, sizeof(*ev), 0);
	if (ev) {
		ev->x = bpf_ktime_get_ns() - ~*start;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&began, &tid);
	return 0;
}
`
		},
		text: func(int) string {
			return costEvent + `memory began { thread: k_tid } : { start: k_time }

hook tracepoint/raw_syscalls/sys_enter()
  case begins: always
    remember began[current.tid] { start: now }
  otherwise nothing

hook tracepoint/raw_syscalls/sys_exit()
  case ends: known began[current.tid]
    emit steps { x: now - began[current.tid].start }
    forget began[current.tid]
  otherwise nothing
`
		},
		limits: func(n int) Limits { return Limits{Scenario: n} },
	},
}

// repeated is C for a text n times, with the macros of tens.
func repeated(n int, text string) string {
	var out strings.Builder
	for macro := text; n > 0; macro = "TEN(" + macro + ")" {
		for range n % 10 {
			out.WriteString(macro + " ")
		}
		n /= 10
	}
	return out.String()
}

// emissions is how many events make n paths.
func emissions(n int) int { return int(math.Round(math.Log(float64(n)) / math.Log(3))) }

// cost is what the proof of one program of a family took.
type cost struct {
	size    int
	insns   int
	time    time.Duration
	peak    float64 // MB
	verdict Verdict
	stats   Stats
	why     string
}

// The cost of a proof against the size of its program. With
// KGENT_PROOF_COST=DIR all sizes, and a table and pictures of them in DIR; else
// the smallest two, to see that the programs are right.
func TestCost(t *testing.T) {
	dir := os.Getenv("KGENT_PROOF_COST")
	var table strings.Builder
	table.WriteString("family         size     instructions  time        peak MB  verdict   paths  questions\n")
	for _, f := range families {
		sizes := f.sizes
		if dir == "" {
			sizes = sizes[:2]
		}
		var row []cost
		for _, n := range sizes {
			c := f.measure(t, n)
			row = append(row, c)
			fmt.Fprintf(&table, "%-14s %-8d %-13d %-11v %-8.0f %-9s %-6d %d\n", f.name, c.size, c.insns, c.time.Round(100*time.Microsecond), c.peak, c.verdict, c.stats.Paths, c.stats.Queries)
			if c.verdict != f.verdict && (dir == "" || c.verdict == Refuted) {
				t.Errorf("%s of size %d: %s, want %s: %s", f.name, n, c.verdict, f.verdict, c.why)
			} else if c.verdict != f.verdict {
				fmt.Fprintf(&table, "               %s\n", c.why)
			}
		}
		if dir != "" {
			save(t, filepath.Join(dir, f.name+".svg"), f.svg(row))
		}
	}
	t.Log("\n" + table.String())
	if dir != "" {
		save(t, filepath.Join(dir, "table.txt"), table.String())
	}
}

func save(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f *family) measure(t *testing.T, n int) cost {
	t.Helper()
	h := here(t)
	o := programtest.Object(t, head+f.source(n))
	m, err := program.Build(o, program.Options{Name: "test", Title: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.Parse(fmt.Sprintf("contract %q\n\n", f.name) + f.text(n))
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Object: o, Manifest: m, Kernel: h.kernel, Types: h.types, Contract: c}
	if f.limits != nil {
		in.Limits = f.limits(n)
	}
	in.Limits.Time, in.Limits.Machine.Time = 2*time.Minute, time.Minute
	insns := 0
	spec, err := o.Collection(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range spec.Programs {
		insns += len(p.Instructions)
	}
	debug.FreeOSMemory()
	resetPeak(t)
	r, err := Verify(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return cost{n, insns, r.Stats.Time, peakMB(t), r.Verdict, r.Stats, strings.Join(r.Reasons[:min(len(r.Reasons), 2)], "; ")}
}

// svg draws time against size, both in powers of ten. The dashed line is
// what twice the time for twice the size would be, from the second point on.
func (f *family) svg(row []cost) string {
	const w, h, left, under, right, above = 720.0, 420.0, 80.0, 60.0, 30.0, 50.0
	x0, x1 := math.Log10(float64(row[0].size)), math.Log10(float64(row[len(row)-1].size))
	ms := func(c cost) float64 { return math.Max(float64(c.time.Microseconds())/1000, 0.1) }
	y0, y1 := 0.0, 1.0
	for i, c := range row {
		l := math.Log10(ms(c))
		if i == 0 {
			y0, y1 = math.Floor(l), math.Ceil(l+0.01)
		}
		y0, y1 = math.Min(y0, math.Floor(l)), math.Max(y1, math.Ceil(l))
	}
	x := func(size float64) float64 { return left + (math.Log10(size)-x0)/math.Max(x1-x0, 0.1)*(w-left-right) }
	y := func(ms float64) float64 { return h - under - (math.Log10(ms)-y0)/(y1-y0)*(h-under-above) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" font-family="sans-serif" font-size="13">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="%g" y="26" font-size="16">Time of a proof: %s</text>`+"\n", left, f.of)
	for e := y0; e <= y1; e++ {
		v := math.Pow(10, e)
		fmt.Fprintf(&b, `<path d="M%g %.1fH%g" stroke="#ddd"/><text x="%g" y="%.1f" text-anchor="end">%s ms</text>`+"\n", left, y(v), w-right, left-8, y(v)+4, strconv.FormatFloat(v, 'f', -1, 64))
	}
	for _, c := range row {
		fmt.Fprintf(&b, `<path d="M%.1f %gv5" stroke="#000"/><text x="%.1f" y="%g" text-anchor="middle">%d</text>`+"\n", x(float64(c.size)), h-under, x(float64(c.size)), h-under+20, c.size)
	}
	var at []string
	for _, c := range row {
		at = append(at, fmt.Sprintf("%.1f %.1f", x(float64(c.size)), y(ms(c))))
	}
	from := row[min(1, len(row)-1)]
	last := row[len(row)-1].size
	straight := ms(from) * float64(last) / float64(from.size)
	if straight > math.Pow(10, y1) { // up to the edge of the picture
		last = int(float64(from.size) * math.Pow(10, y1) / ms(from))
		straight = math.Pow(10, y1)
	}
	fmt.Fprintf(&b, `<path d="M%.1f %.1fL%.1f %.1f" stroke="#888" stroke-dasharray="5 4" fill="none"/>`+"\n", x(float64(from.size)), y(ms(from)), x(float64(last)), y(straight))
	fmt.Fprintf(&b, `<path d="M%s" stroke="#0b62c4" stroke-width="2" fill="none"/>`+"\n", strings.Join(at, "L"))
	for _, c := range row {
		fill := "#0b62c4"
		if c.verdict != f.verdict {
			fill = "#c62f1d"
		}
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"><title>%d: %v, %.0f MB, %s</title></circle>`+"\n", x(float64(c.size)), y(ms(c)), fill, c.size, c.time.Round(100*time.Microsecond), c.peak, c.verdict)
	}
	note := "dashed: in proportion to the size"
	if slices.ContainsFunc(row, func(c cost) bool { return c.verdict != f.verdict }) {
		note += "; red: not " + f.verdict.String()
	}
	fmt.Fprintf(&b, `<text x="%g" y="%g" fill="#555">%s</text></svg>`+"\n", left, h-12, note)
	return b.String()
}
