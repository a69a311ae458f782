package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/output"
)

// measured is what is known of a Set's cost.
type measured struct {
	mu     sync.Mutex
	attach time.Duration
	total  Total
	// hooks is how often a hook was hit and did not call the program, as the links
	// said before they were closed.
	hooks uint64
}

func (m *measured) skipped(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks += n
}

// hooksMissed is how often the kernel did not come to run a program because the
// hook itself was busy: a kprobe hit while another one was handled, or a kretprobe
// with too many calls at a time. Kernels before 6.7 do not tell; what they count
// in the program is in [programStats].
func hooksMissed(links []io.Closer) (missed uint64) {
	for _, c := range links {
		l, ok := c.(link.Link)
		if !ok {
			continue
		}
		info, err := l.Info()
		if err != nil {
			continue // links before Linux 5.8 tell nothing
		}
		if e := info.PerfEvent(); e != nil && e.Kprobe() != nil {
			missed += e.Kprobe().Missed
		}
		if m := info.KprobeMulti(); m != nil {
			missed += m.Missed
		}
	}
	return missed
}

// countsMissed tells whether the kernel counts what it leaves out at kprobes and at programs that
// are run one at a time on each CPU. The counters that links tell came with the others in Linux 6.7.
func countsMissed() bool {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return false // the counters are newer than such kernels
	}
	var info *btf.Struct
	return types.TypeByName("bpf_link_info", &info) == nil && hasMember(info.Members, "missed")
}

func hasMember(members []btf.Member, name string) bool {
	return slices.ContainsFunc(members, func(m btf.Member) bool {
		switch t := m.Type.(type) {
		case *btf.Struct:
			return hasMember(t.Members, name)
		case *btf.Union:
			return hasMember(t.Members, name)
		}
		return m.Name == name
	})
}

// uncounted tells whether the kernel may leave out runs of the Set's programs without counting them.
func (s *Set) uncounted() bool {
	oneAtATime := func(p *loaded) bool {
		k := p.hook.Kind.Single()
		return k == program.Kprobe || k == program.Kretprobe || k == program.Tracepoint
	}
	return slices.ContainsFunc(s.programs, oneAtATime) && !s.host.countsMissed()
}

func (m *measured) attached(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.attach = took
}

// Total sums samples. Its zero value is that of none.
type Total struct {
	window time.Duration
	runs   uint64
	spent  time.Duration
	missed uint64
}

// Add adds a sample.
func (t *Total) Add(s Sample) {
	t.window += s.Window
	t.runs += s.Runs
	t.spent += time.Duration(s.Nanos)
	t.missed = max(t.missed, s.Missed)
}

// Overhead is what all samples together measured: runs and time are those
// within the samples, the CPU share is the time over the samples' length. It is
// not Available when there was none.
func (t *Total) Overhead() output.Overhead {
	o := usage(t.runs, t.spent, t.window)
	o.Missed = t.missed
	return o
}

// Sample is what a Set's programs cost in one window.
type Sample struct {
	// Overhead is that of all programs together. It is not Available when the
	// kernel does not let kgent measure (before Linux 5.8, or without
	// CAP_SYS_ADMIN); then only Missed counts.
	output.Overhead
	// Window is how long was measured.
	Window time.Duration
	// Programs are in the manifest's order.
	Programs []Cost
}

// Cost is what one program cost in a window.
type Cost struct {
	Program string
	Hook    program.Hook
	Runs    uint64
	Spent   time.Duration // in the program itself: reaching the hook is not in it
}

// Sample measures for the length of window what the programs cost, and adds it
// to [Set.Overhead]. While a sample runs, every run of every BPF program on the
// host takes some 20 to 90 ns longer, so windows should be short; those of
// several Sets had better be at the same time. Whatever happens, the statistics
// are switched off again when it returns.
func (s *Set) Sample(ctx context.Context, window time.Duration) (Sample, error) {
	if err := s.acquire(); err != nil {
		return Sample{}, err
	}
	defer s.release()
	progs := make([]*ebpf.Program, len(s.programs))
	costs := make([]Cost, len(s.programs))
	for i, p := range s.programs {
		progs[i], costs[i] = p.prog, Cost{Program: p.name, Hook: p.hook}
	}
	out, err := observe(ctx, s.done, window, progs, costs)
	if err != nil {
		return Sample{}, err
	}
	s.measured.mu.Lock()
	defer s.measured.mu.Unlock()
	s.measured.total.Add(out)
	return out, nil
}

// SampleIDs is [Set.Sample] for programs that another process has loaded, by
// their ids, which takes CAP_SYS_ADMIN; it does not know their hooks. A program
// that has left the kernel costs nothing.
func SampleIDs(ctx context.Context, window time.Duration, ids []uint32) (_ Sample, err error) {
	var progs []*ebpf.Program
	var costs []Cost
	defer func() {
		for _, p := range progs {
			err = errors.Join(err, p.Close())
		}
	}()
	for _, id := range ids {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		switch {
		case errors.Is(err, unix.ENOENT):
			continue
		case errors.Is(err, unix.EPERM):
			return Sample{}, nil
		case err != nil:
			return Sample{}, fmt.Errorf("opening program %d: %w", id, err)
		}
		progs = append(progs, p)
		info, err := p.Info()
		if err != nil {
			return Sample{}, fmt.Errorf("reading what program %d is: %w", id, err)
		}
		costs = append(costs, Cost{Program: info.Name})
	}
	return observe(ctx, nil, window, progs, costs)
}

// observe fills in the costs of programs. It gives up when done is closed.
func observe(ctx context.Context, done <-chan struct{}, window time.Duration, progs []*ebpf.Program, costs []Cost) (_ Sample, err error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
		_, missed, err := statistics(progs)
		return Sample{Overhead: output.Overhead{Missed: missed}}, err
	}
	if err != nil {
		return Sample{}, fmt.Errorf("switching on the kernel's program statistics: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	before, _, err := statistics(progs)
	if err != nil {
		return Sample{}, err
	}
	start := time.Now()
	timer := time.NewTimer(window)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-done:
		return Sample{}, ErrClosed
	}
	took := time.Since(start)
	after, missed, err := statistics(progs)
	if err != nil {
		return Sample{}, err
	}
	var runs uint64
	var spent time.Duration
	for i := range costs {
		c := &costs[i]
		c.Runs, c.Spent = after[i].RunCount-before[i].RunCount, after[i].Runtime-before[i].Runtime
		runs, spent = runs+c.Runs, spent+c.Spent
	}
	out := Sample{Overhead: usage(runs, spent, took), Window: took, Programs: costs}
	out.Missed = missed
	return out, nil
}

// usage is the cost of runs that together took spent, over window.
func usage(runs uint64, spent, window time.Duration) output.Overhead {
	o := output.Overhead{Runs: runs, Nanos: uint64(spent), Available: window > 0}
	if window > 0 {
		o.CPUShare = float64(spent) / float64(window)
	}
	return o
}

// Overhead is what all samples together measured, see [Total.Overhead]. What was
// missed is complete when the programs are detached. It can be called after
// Close.
func (s *Set) Overhead() output.Overhead {
	if s.acquire() == nil {
		if missed, err := s.missed(); err == nil {
			s.measured.mu.Lock()
			s.measured.total.missed = missed
			s.measured.mu.Unlock()
		}
		s.release()
	}
	unknown := s.uncounted()
	m := &s.measured
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.total.Overhead()
	o.MissedUnknown = unknown
	o.Missed += m.hooks
	o.AttachMS = float64(m.attach) / float64(time.Millisecond)
	return o
}

// missed counts the runs that the kernel left out so far because a program was
// already running there (Linux 5.12); it needs no statistics switched on.
func (s *Set) missed() (uint64, error) {
	progs := make([]*ebpf.Program, len(s.programs))
	for i, p := range s.programs {
		progs[i] = p.prog
	}
	_, missed, err := statistics(progs)
	return missed, err
}

// statistics returns the kernel's counters of each program, and the sum of the
// runs it left out.
func statistics(progs []*ebpf.Program) (each []ebpf.ProgramStats, missed uint64, err error) {
	for _, p := range progs {
		st, err := p.Stats()
		if err != nil {
			return nil, 0, fmt.Errorf("reading the statistics of %s: %w", p, err)
		}
		each = append(each, *st)
		missed += st.RecursionMisses
	}
	return each, missed, nil
}
