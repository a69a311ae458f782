package executor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
)

// calling has an event for each getppid that is called with a mark as its first
// argument. Its buffer is small: a flood does not fit.
func calling() string {
	first := 112 // of struct pt_regs: rdi
	if runtime.GOARCH == "arm64" {
		first = 0 // x0
	}
	return prelude + fmt.Sprintf(`
static long (*const bpf_probe_read_kernel)(void *dst, __u32 size, const void *src) = (void *)113;
struct kgent_counts { __u64 produced, lost, map_full, wakeup; };
struct { __uint(type, 6); __uint(max_entries, 1); __type(key, __u32); __type(value, struct kgent_counts); } kgent_stats SEC(".maps");
struct call { __u64 n; };
struct { __uint(type, 27); __uint(max_entries, 4096); __type(value, struct call); } events SEC(".maps");
const volatile __u64 mark = 0;
SEC("raw_tp/sys_enter") int on_enter(__u64 *ctx) {
	struct kgent_counts *counts;
	struct call *c;
	__u64 first = 0;
	__u32 zero = 0;
	if (ctx[1] != %d) return 0;
	bpf_probe_read_kernel(&first, sizeof(first), (char *)ctx[0] + %d);
	counts = bpf_map_lookup_elem(&kgent_stats, &zero);
	if (first != mark || !counts) return 0;
	c = bpf_ringbuf_reserve(&events, sizeof(*c), 0);
	if (!c) {
		__sync_fetch_and_add(&counts->lost, 1);
		return 0;
	}
	c->n = 1;
	bpf_ringbuf_submit(c, 0);
	__sync_fetch_and_add(&counts->produced, 1);
	return 0;
}`, unix.SYS_GETPPID, first)
}

// perfCalling is a program that does what calling's does, in the form for kernels without ring buffers.
func perfCalling(t *testing.T, mark uint64) job.Program {
	t.Helper()
	o := programtest.PerfObject(t, fmt.Sprintf(`#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "GPL";
struct call { __u64 n; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct call); } events SEC(".maps");
const volatile __u64 mark = 0;
SEC("raw_tp/sys_enter") int BPF_PROG(on_enter, struct pt_regs *regs, long id) {
	struct call *c;
	if (id != %d || PT_REGS_PARM1_CORE(regs) != mark) return 0;
	c = bpf_ringbuf_reserve(&events, sizeof(*c), 0);
	if (!c) return 0;
	c->n = 1;
	bpf_ringbuf_submit(c, 0);
	return 0;
}`, unix.SYS_GETPPID))
	m, err := program.Build(o, program.Options{Name: "calling", Constants: map[string]string{"mark": fmt.Sprint(mark)}})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return job.Program{ELF: o.ELF(), Manifest: manifest, Contract: []byte("{}")}
}

// The account of a real flood is exact to the last event, however the run ends
// and whoever is slow: the workload counts its own calls.
func TestAccountOfAFlood(t *testing.T) {
	needsCapabilities(t)
	const enough = 100_000
	for _, test := range []struct {
		name   string
		limits job.Limits
		slow   bool // the reader of the output waits until all calls were made
		cut    bool // stopped while calls are made
		perf   bool // in the form for kernels without ring buffers
	}{
		{name: "all read", limits: job.Limits{Duration: time.Minute}},
		{name: "a reader that does not read", limits: job.Limits{Duration: time.Minute}, slow: true},
		{name: "a rate far below", limits: job.Limits{Duration: time.Minute, EventsPerSecond: 100}},
		{name: "stopped in the middle", limits: job.Limits{Duration: time.Minute}, cut: true},
		{name: "stopped in the middle, and not read", limits: job.Limits{Duration: time.Minute}, cut: true, slow: true},
		{name: "perf buffers", limits: job.Limits{Duration: time.Minute}, perf: true},
		{name: "perf buffers, and a rate far below", limits: job.Limits{Duration: time.Minute, EventsPerSecond: 100}, perf: true},
		{name: "perf buffers, stopped in the middle, and not read", limits: job.Limits{Duration: time.Minute}, cut: true, slow: true, perf: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			residue.Check(t)
			mark := rand.Uint64()
			b := realBench(t, calling(), program.Options{Constants: map[string]string{"mark": fmt.Sprint(mark)}})
			if test.perf {
				b.prog = perfCalling(t, mark)
			}
			b.e.Kernel = NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
			b.e.Policy = OwnHostPolicy()
			b.serve()
			defer b.end()
			g := b.grant(time.Minute)
			g.Limits = test.limits
			g = b.dispatch(g)

			var calls atomic.Uint64
			var over atomic.Bool // the run, and no program is attached any more
			var before uint64    // calls that were over when the run was told to stop
			attached, flooded, told := make(chan struct{}), make(chan struct{}), make(chan struct{})
			begin := sync.OnceFunc(func() { close(attached) })
			var stopErr error
			go func() { // the workload
				defer close(flooded)
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				<-attached
				for test.cut || calls.Load() < enough {
					last := test.cut && over.Load() // one that no program sees any more
					unix.RawSyscall(unix.SYS_GETPPID, uintptr(mark), 0, 0)
					if calls.Add(1)%20_000 == 0 {
						time.Sleep(50 * time.Microsecond) // the reader needs a processor, too
					}
					if last {
						return
					}
				}
			}()
			go func() { // the one who stops it
				defer close(told)
				<-attached
				for test.cut && calls.Load() < enough/2 {
					time.Sleep(time.Millisecond)
				}
				if !test.cut {
					<-flooded
				}
				before = calls.Load()
				stopErr = b.bus.Stop(t.Context(), g.Run)
			}()
			var events uint64
			s, err := Follow(t.Context(), b.bus, &g, func(line []byte) {
				switch {
				case strings.HasPrefix(string(line), `{"type":"attached"`):
					begin()
					if test.slow {
						<-told
					}
				case strings.HasPrefix(string(line), `{"type":"event"`):
					events++
				}
			})
			over.Store(true)
			begin() // if it was not
			<-flooded
			<-told
			if err := errors.Join(err, stopErr); err != nil {
				t.Fatal(err)
			}
			result{summary: s}.want(t, output.ReasonStopped, "")
			c := s.Counters
			t.Logf("%d calls, %d before the stop: %+v", calls.Load(), before, c)
			if !c.Balanced() || c.Delivered != events {
				t.Errorf("%d events came: %+v does not balance", events, c)
			}
			if all := calls.Load(); c.Produced > all || c.Produced < before || !test.cut && c.Produced != all || test.cut && c.Produced == all {
				t.Errorf("%d calls, %d of them before the stop, and %d events", all, before, c.Produced)
			}
			if test.limits.EventsPerSecond > 0 && c.Dropped == 0 {
				t.Error("nothing was dropped, so the case shows nothing")
			}
		})
	}
}

// What a flood loses, and that it has ended, is told at once, whatever waits to be sent:
// it does not go through the ring that the flood fills.
func TestFloodHidesNothing(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	mark := rand.Uint64()
	b := realBench(t, calling(), program.Options{Constants: map[string]string{"mark": fmt.Sprint(mark)}})
	b.e.Kernel = NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
	b.e.Policy = OwnHostPolicy()
	var calls atomic.Uint64
	var before uint64 // calls that were over when the chunk before was taken
	told := make(chan struct{})
	chunks, late, enough := 0, 0, false
	b.bus.publish = func(ctx context.Context, c bus.Chunk) error {
		if chunks++; !enough {
			if c.Counters.Produced < before {
				late++
			}
			before = calls.Load()
			if enough = chunks >= 20 && c.Counters.KernelLost > 0; enough {
				close(told) // what was lost is known while the flood goes on
			}
		}
		if c.Events > 0 {
			time.Sleep(3 * time.Millisecond) // so that more comes than goes
		}
		return b.bus.Bus.Publish(ctx, c)
	}
	b.serve()
	defer b.end()
	g := b.dispatch(b.grant(time.Minute))
	var over atomic.Bool
	begun, flooded := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	go func() {
		defer close(flooded)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		<-begun
		for !over.Load() {
			unix.RawSyscall(unix.SYS_GETPPID, uintptr(mark), 0, 0)
			calls.Add(1)
		}
	}()
	stopErr := make(chan error, 1)
	go func() {
		<-told
		stopErr <- b.bus.Stop(t.Context(), g.Run)
	}()
	s, err := Follow(t.Context(), b.bus, &g, func(line []byte) {
		if strings.HasPrefix(string(line), `{"type":"attached"`) {
			begin()
		}
	})
	over.Store(true)
	begin()
	<-flooded
	if err := errors.Join(err, <-stopErr); err != nil {
		t.Fatal(err)
	}
	result{summary: s}.want(t, output.ReasonStopped, "")
	if late > 0 || !s.Balanced() || s.KernelLost == 0 {
		t.Errorf("of %d chunks, %d had counts from before the chunk before them; %+v", chunks, late, s.Counters)
	}
}

// loud is a sink that cannot take lines.
type loud struct{ silence }

func (loud) Lines([]byte, int) { panic("too bad") }

// What renders may fail: the run is over then, its reader does not wait for ever.
func TestRenderingPanics(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	mark := rand.Uint64()
	o, m := built(t, calling(), program.Options{Constants: map[string]string{"mark": fmt.Sprint(mark)}})
	p, err := NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv()).Load(t.Context(), o, m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	var over atomic.Bool
	var flooding sync.WaitGroup
	flooding.Go(func() {
		for !over.Load() {
			unix.RawSyscall(unix.SYS_GETPPID, uintptr(mark), 0, 0)
		}
	})
	defer flooding.Wait()
	defer over.Store(true)
	if err := p.Stream(t.Context(), loud{}); err == nil || !strings.Contains(err.Error(), "too bad") {
		t.Errorf("it ended with %v", err)
	}
}
