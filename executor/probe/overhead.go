package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/executor/output"
)

// measured is what is known of a Set's cost.
type measured struct {
	mu     sync.Mutex
	attach time.Duration
	window time.Duration // of all samples
	runs   uint64
	spent  time.Duration
	missed uint64 // runs left out, as the programs say
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

func (m *measured) attached(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.attach = took
}

// Sample measures for the length of window what the programs cost, and adds it
// to [Set.Overhead]. The returned Overhead is of this window alone; it is not
// Available when the kernel does not let kgent measure (before Linux 5.8, or
// without CAP_SYS_ADMIN). While a sample runs, every run of every BPF program
// on the host takes some 20 to 90 ns longer, so windows should be short.
func (s *Set) Sample(ctx context.Context, window time.Duration) (_ output.Overhead, err error) {
	if err := s.acquire(); err != nil {
		return output.Overhead{}, err
	}
	defer s.release()
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
		_, missed, err := s.programStats()
		return output.Overhead{Missed: missed}, err
	}
	if err != nil {
		return output.Overhead{}, fmt.Errorf("switching on the kernel's program statistics: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	before, _, err := s.programStats()
	if err != nil {
		return output.Overhead{}, err
	}
	start := time.Now()
	timer := time.NewTimer(window)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.done:
		return output.Overhead{}, ErrClosed
	}
	took := time.Since(start)
	after, missed, err := s.programStats()
	if err != nil {
		return output.Overhead{}, err
	}
	o := usage(after.RunCount-before.RunCount, after.Runtime-before.Runtime, took)
	o.Missed = missed
	s.measured.mu.Lock()
	defer s.measured.mu.Unlock()
	s.measured.window += took
	s.measured.runs += o.Runs
	s.measured.spent += after.Runtime - before.Runtime
	s.measured.missed = missed
	return o, nil
}

// usage is the cost of runs that together took spent, over window.
func usage(runs uint64, spent, window time.Duration) output.Overhead {
	o := output.Overhead{Runs: runs, Nanos: uint64(spent), Available: window > 0}
	if window > 0 {
		o.CPUShare = float64(spent) / float64(window)
	}
	return o
}

// Overhead is what all samples together measured: runs and time are those
// within the samples, the CPU share is the time over the samples' length.
// Available is false when there was none. What was missed is complete when the
// programs are detached. It can be called after Close.
func (s *Set) Overhead() output.Overhead {
	if s.acquire() == nil {
		if _, missed, err := s.programStats(); err == nil {
			s.measured.mu.Lock()
			s.measured.missed = missed
			s.measured.mu.Unlock()
		}
		s.release()
	}
	m := &s.measured
	m.mu.Lock()
	defer m.mu.Unlock()
	o := usage(m.runs, m.spent, m.window)
	o.Missed = m.missed + m.hooks
	o.AttachMS = float64(m.attach) / float64(time.Millisecond)
	return o
}

// programStats sums the kernel's counters over the programs. missed counts the
// runs that the kernel left out because a program was already running there
// (Linux 5.12), and needs no statistics switched on.
func (s *Set) programStats() (sum ebpf.ProgramStats, missed uint64, err error) {
	for _, p := range s.programs {
		st, err := p.prog.Stats()
		if err != nil {
			return sum, 0, fmt.Errorf("reading the statistics of program %s: %w", p.name, err)
		}
		sum.RunCount += st.RunCount
		sum.Runtime += st.Runtime
		missed += st.RecursionMisses
	}
	return sum, missed, nil
}
