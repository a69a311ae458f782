package executor

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
)

// statusOf reads a set of capabilities as the kernel shows it.
func statusOf(t *testing.T, path, set string) uint64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, set+":"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", path, set)
	return 0
}

const thread = "/proc/thread-self/status"

func maskOf(caps []int) (mask uint64) {
	for _, c := range caps {
		mask |= 1 << c
	}
	return mask
}

func needsCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: without capabilities there are none to give up")
	}
}

// A thread gives them up for good; no other thread does.
func TestConfined(t *testing.T) {
	needsCapabilities(t)
	all := statusOf(t, thread, "CapPrm")
	within := func(f func()) {
		t.Helper()
		if err := confined(func() error { f(); return nil }, unix.CAP_SYSLOG); err != nil {
			t.Fatal(err)
		}
	}
	within(func() {
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			want := uint64(0)
			if set == "CapPrm" || set == "CapEff" {
				want = 1 << unix.CAP_SYSLOG & all
			}
			if got := statusOf(t, thread, set); got != want {
				t.Errorf("%s is %x, want %x", set, got, want)
			}
		}
		// Not to be had back.
		c, err := ownCapabilities()
		if err != nil {
			t.Error(err)
		}
		c[0].Permitted, c[0].Effective = ^uint32(0), ^uint32(0)
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &c[0]); !errors.Is(err, unix.EPERM) {
			t.Errorf("taking them back: %v", err)
		}
		if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); !errors.Is(err, unix.EPERM) {
			t.Errorf("mounting: %v", err)
		}
		// What it starts has them: Go makes no threads from a locked one.
		var others sync.WaitGroup
		for range 20 {
			others.Go(func() {
				if got := statusOf(t, thread, "CapPrm"); got != all {
					t.Errorf("another goroutine has %x, want %x", got, all)
				}
			})
		}
		others.Wait()
	})
	if got := statusOf(t, thread, "CapPrm"); got != all {
		t.Errorf("afterwards this has %x, want %x", got, all)
	}
}

func TestConfinedPanics(t *testing.T) {
	defer func() {
		if p := recover(); p == nil || !strings.Contains(p.(string), "too bad") {
			t.Errorf("panic %v", p)
		}
	}()
	confined(func() error { panic("too bad") }, reading[:]...)
}

// witness is a sink that looks at the thread that it is called from.
type witness struct {
	Sink
	t    *testing.T
	mu   sync.Mutex
	seen []uint64
	told func() // that it has seen something; nil tells nobody
}

func (w *witness) look() {
	got := statusOf(w.t, thread, "CapPrm")
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.seen, got) {
		w.seen = append(w.seen, got)
	}
	if w.told != nil {
		w.told()
	}
}

func (w *witness) Admit() bool            { w.look(); return true }
func (w *witness) Line([]byte)            { w.look() }
func (w *witness) Lines([]byte, int)      { w.look() }
func (w *witness) Record(r output.Record) { w.look() }

// What a run's output passes through cannot load or attach anything.
func TestStreamIsConfined(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	all := statusOf(t, thread, "CapPrm")
	o, m := built(t, prelude+`
struct { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } calls SEC(".maps") __attribute__((btf_decl_tag("kgent:output")));
SEC("raw_tp/sys_enter") int p(void *ctx) { __u32 k = 0; __u64 *n = bpf_map_lookup_elem(&calls, &k); if (n) __sync_fetch_and_add(n, 1); return 0; }`, program.Options{View: program.View{Interval: time.Second}})
	k := NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
	p, err := k.Load(t.Context(), o, m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	keep, err := k.needs()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1100*time.Millisecond)
	defer cancel()
	w := &witness{t: t}
	syscall.Getuid()
	if err := p.Stream(ctx, w); err != nil {
		t.Fatal(err)
	}
	if want := maskOf(keep) & all; len(w.seen) != 1 || w.seen[0] != want || want&(1<<unix.CAP_SYS_ADMIN|1<<unix.CAP_PERFMON|1<<unix.CAP_NET_ADMIN) != 0 {
		t.Errorf("output came from threads with %x, want %x alone", w.seen, want)
	}
	if got := statusOf(t, thread, "CapPrm"); got != all {
		t.Errorf("afterwards this has %x, want %x", got, all)
	}
}
