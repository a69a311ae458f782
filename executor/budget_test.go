package executor

import (
	"context"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
)

var (
	enter  = program.Hook{Kind: program.RawTracepoint, Target: "sys_enter"}
	sends  = program.Hook{Kind: program.Kprobe, Target: "tcp_sendmsg"}
	mallop = program.Hook{Kind: program.Uprobe, Binary: "libc.so.6", Symbol: "malloc"}
)

// sampleOf is a window of 20 ms in which a program at hook ran so often.
func sampleOf(hook program.Hook, runs uint64, each time.Duration) probe.Sample {
	return probe.Sample{
		Overhead: output.Overhead{Available: true, Runs: runs},
		Window:   sampleWindow,
		Programs: []probe.Cost{{Program: "p", Hook: hook, Runs: runs, Spent: time.Duration(runs) * each}},
	}
}

func TestTooHot(t *testing.T) {
	times := func(n int, s probe.Sample) []probe.Sample { return slices.Repeat([]probe.Sample{s}, n) }
	stall := sampleOf(sends, 10, 0)
	stall.Programs[0].Spent = 15 * time.Millisecond // the host stood still in one of them
	two := probe.Sample{Window: sampleWindow, Programs: []probe.Cost{
		{Program: "a", Hook: sends, Runs: 100, Spent: 100 * time.Microsecond},
		{Program: "b", Hook: enter, Runs: 10_000, Spent: 2 * time.Millisecond},
	}}
	for _, test := range []struct {
		name string
		runs map[string][]probe.Sample
		want map[string]string // what is said of those that end
	}{
		{"nothing runs", nil, nil},
		// 20 hits in 20 ms are 1000/s at 180 ns.
		{"cheap", map[string][]probe.Sample{"r": times(4, sampleOf(sends, 20, 30*time.Nanosecond))}, nil},
		// 60,000/s × 200 ns = 1.2 %.
		{"a little too much", map[string][]probe.Sample{"r": times(4, sampleOf(sends, 1200, 50*time.Nanosecond))},
			map[string]string{"r": "kprobe tcp_sendmsg was too hot: 60,000 hits a second at 200ns each are 1.2 % of a core, and this node allows a run 1.0 %"}},
		{"a little less", map[string][]probe.Sample{"r": times(4, sampleOf(sends, 900, 50*time.Nanosecond))}, nil},
		{"not for long enough to know", map[string][]probe.Sample{"r": times(3, sampleOf(sends, 9000, time.Microsecond))}, nil},
		{"a burst", map[string][]probe.Sample{"r": append(times(2, sampleOf(sends, 0, 0)), times(2, sampleOf(sends, 9000, 100*time.Nanosecond))...)}, nil},
		{"since a moment ago", map[string][]probe.Sample{"r": append(times(1, sampleOf(sends, 0, 0)), times(3, sampleOf(sends, 9000, 100*time.Nanosecond))...)},
			map[string]string{"r": "kprobe tcp_sendmsg"}},
		{"one slow hit among few", map[string][]probe.Sample{"r": append(times(3, sampleOf(sends, 10, 100*time.Nanosecond)), stall)}, nil},
		{"reaching it is the most of it", map[string][]probe.Sample{"r": times(4, sampleOf(mallop, 200, 100*time.Nanosecond))},
			map[string]string{"r": "uprobe libc.so.6:malloc was too hot: 10,000 hits a second at 1.8µs"}},
		{"the hotter of two programs", map[string][]probe.Sample{"r": times(4, two)},
			map[string]string{"r": "raw_tracepoint sys_enter was too hot: 500,000 hits a second at 230ns each are 12 % of a core, and"}},
		{"each little, together too much", map[string][]probe.Sample{
			"a": times(4, sampleOf(sends, 500, 100*time.Nanosecond)), "b": times(4, sampleOf(sends, 700, 100*time.Nanosecond)),
			"c": times(4, sampleOf(sends, 600, 100*time.Nanosecond)), "d": times(4, sampleOf(sends, 500, 100*time.Nanosecond)),
			"e": times(4, sampleOf(sends, 790, 100*time.Nanosecond)), "f": times(4, sampleOf(sends, 500, 100*time.Nanosecond)),
			"g": times(4, sampleOf(sends, 780, 100*time.Nanosecond)),
		}, map[string]string{"e": "all runs on this node together cost 5.5 %, and it allows them 5.0 %"}},
		{"no budget", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			loads := map[string]load{}
			for run, samples := range test.runs {
				var m meter
				for _, s := range samples {
					m.add(s)
				}
				if l, ok := m.load(); ok {
					loads[run] = l
				}
			}
			got := tooHot(loads, 0.01, 0.05)
			if len(got) != len(test.want) {
				t.Errorf("ended %q, want %q", got, test.want)
			}
			for run, why := range test.want {
				if !strings.Contains(got[run], why) {
					t.Errorf("of %s it says\n %q, want\n %q", run, got[run], why)
				}
			}
			if got := tooHot(loads, 0, 0); len(got) != 0 {
				t.Errorf("without a budget: %q", got)
			}
		})
	}
}

// Whatever was sampled, what is computed is a number.
func TestMeterOfNothing(t *testing.T) {
	var m meter
	for range 2 * decideOn {
		m.add(probe.Sample{Programs: []probe.Cost{{}}})
		m.add(probe.Sample{})
	}
	l, _ := m.load()
	for _, x := range append(l.parts, l.share) {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			t.Errorf("load %+v", l)
		}
	}
}

func TestAdvice(t *testing.T) {
	for _, test := range []struct {
		hook program.Hook
		rate float64
		want string
	}{
		{enter, 1e6, "syscalls:sys_enter_openat"},
		{program.Hook{Kind: program.Tracepoint, Target: "raw_syscalls:sys_exit"}, 1e6, "syscalls:sys_exit_openat"},
		{program.Hook{Kind: program.PerfEvent, Target: "cpu-clock", Hz: 10000}, 1e5, "less often"},
		{sends, 1e6, "no filter in the program"},
		{sends, 1e4, "Filter there by process, command, user or container, or count"},
	} {
		if got := (heat{cost: probe.Cost{Hook: test.hook}, rate: test.rate, reports: true}).advice(0.01); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.hook, got, test.want)
		}
	}
	if got := (heat{cost: probe.Cost{Hook: sends}, rate: 1e4}).advice(0.01); got != "Filter there by process, command, user or container" {
		t.Errorf("what counts already is told %q", got)
	}
}

// A run that is too hot ends soon, with its account; one beside it goes on.
func TestBudget(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		var n int
		b.kernel.make = func() *fakeProbe {
			n++
			runs := uint64(20)
			if n == 1 {
				runs = 10_000
			}
			return &fakeProbe{
				stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
					p.emit(sink)
					<-ctx.Done()
					p.detach()
					return nil
				},
				sample: func(ctx context.Context, window time.Duration) (probe.Sample, error) {
					pause(ctx, window)
					return sampleOf(enter, runs, 300*time.Nanosecond), nil
				},
			}
		}
		b.serve()
		first := b.dispatch(b.grant(time.Minute))
		var hot, cool result
		var following sync.WaitGroup
		following.Go(func() { hot = b.follow(t.Context(), first) })
		time.Sleep(100 * time.Millisecond)
		following.Go(func() { cool = b.run(b.grant(10 * time.Second)) })
		following.Wait()
		hot.want(t, output.ReasonBudget, "")
		if s := hot.summary; len(s.Nodes) != 1 || !strings.Contains(s.Nodes[0].Detail, "sys_enter was too hot: 500,000 hits a second") || s.Produced != 1 || s.Delivered != 1 {
			t.Errorf("summary %+v", s)
		}
		if hot.took > 2*time.Second {
			t.Errorf("it took %v", hot.took)
		}
		cool.want(t, output.ReasonDeadline, "")
	})
}

// Where the kernel does not let anything be measured, events are counted.
func TestBudgetUnmeasured(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{
				stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
					for pause(ctx, 10*time.Millisecond) {
						p.lose(200) // 20,000 a second: 2 %
					}
					return nil
				},
				sample: func(context.Context, time.Duration) (probe.Sample, error) { return probe.Sample{}, nil },
			}
		}
		b.serve()
		r := b.run(b.grant(time.Minute))
		r.want(t, output.ReasonBudget, "")
		if d := r.summary.Nodes[0].Detail; !strings.Contains(d, "does not let them be measured") || r.took > 2*time.Second {
			t.Errorf("after %v: %q", r.took, d)
		}
	})
}

// This kernel, a hot program, and a busy process.
func TestBudgetByKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON, measuring them CAP_SYS_ADMIN")
	}
	residue.Check(t)
	b := realBench(t, prelude+`SEC("raw_tp/sys_enter") int p(void *ctx) { return bpf_get_current_pid_tgid() >> 32 == 1; }`, program.Options{})
	b.e.Kernel = NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
	b.serve()
	defer b.end()
	busy, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for busy.Err() == nil {
			for range 1000 {
				syscall.Getuid()
			}
		}
	})
	defer work.Wait()
	defer stop()
	start := time.Now()
	r := b.run(b.grant(time.Minute))
	r.want(t, output.ReasonBudget, "")
	if len(r.summary.Nodes) != 1 || !strings.Contains(r.summary.Nodes[0].Detail, "raw_tracepoint sys_enter was too hot") {
		t.Errorf("summary %+v", r.summary)
	}
	t.Logf("ended after %v, attached for %v s: %s", time.Since(start), r.summary.Seconds, r.summary.Nodes[0].Detail)
	// The statistics are off again, as far as kgent is concerned.
	if s, err := os.ReadFile("/proc/sys/kernel/bpf_stats_enabled"); err == nil && string(s) != "0\n" {
		t.Errorf("kernel.bpf_stats_enabled is %s", s)
	}
}
