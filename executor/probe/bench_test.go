package probe_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/probe"
)

// BenchmarkLoad is the time from object to programs in the kernel, with the
// kernel's types known from an earlier load.
func BenchmarkLoad(b *testing.B) {
	o := object(b, "tp_btf.bpf.c", "")
	m := manifest(b, o, program.Options{})
	l := probe.NewLoader(probe.Options{})
	for i := -1; i < b.N; i++ {
		if i == 0 {
			b.ResetTimer()
		}
		s, err := l.Load(b.Context(), o, m)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkAttach is the time to attach; the time to detach is reported beside
// it.
func BenchmarkAttach(b *testing.B) {
	bin := target(b)
	for _, section := range []string{"tp/sched/sched_process_exec", "raw_tp/sched_process_exec", "tp_btf/sched_process_exec", "uprobe/" + bin + ":work", "iter/task", "perf_event", "xdp", "tcx/ingress"} {
		kind, _, _ := strings.Cut(section, "/")
		b.Run(kind, func(b *testing.B) {
			prolog := "BPF_PROG"
			if kind == "uprobe" {
				prolog = "BPF_KPROBE"
			}
			o := object(b, "kernel.bpf.c", fmt.Sprintf("#define SECTION %q\n#define PROLOG %s\n", section, prolog))
			m := manifest(b, o, program.Options{Interface: "lo"})
			if kind == "xdp" {
				o = object(b, "xdp.bpf.c", "")
				m = manifest(b, o, program.Options{Interface: "lo"})
			}
			l := probe.NewLoader(probe.Options{})
			var detach time.Duration
			b.StopTimer()
			for range b.N {
				s, err := l.Load(b.Context(), o, m)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				_, err = s.Attach(b.Context())
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				if err := s.Detach(); err != nil {
					b.Fatal(err)
				}
				detach += time.Since(start)
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(detach.Nanoseconds())/float64(b.N), "detach-ns/op")
		})
	}
}

// BenchmarkHit is what a system call costs: alone, with a probe that is not
// interested, and with one that reports each call in a 64-byte event while the
// reader keeps up.
func BenchmarkHit(b *testing.B) {
	calls := func(b *testing.B, mark uint64) {
		for n := range uint64(b.N) {
			call(mark, n)
		}
	}
	b.Run("bare", func(b *testing.B) { calls(b, 1) })
	run := func(b *testing.B, used uint64) {
		const mark = 0x5b00_0000_0000_0001
		s := started(b, mark, 0)
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Drain(ctx, probe.Tick, func(int, []byte) {}) }()
		b.ResetTimer()
		calls(b, used|mark&^1)
		b.StopTimer()
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.Run("filtered", func(b *testing.B) { run(b, 2) })
	b.Run("event", func(b *testing.B) { run(b, 1) })
}

// started returns attached programs that report marked calls; ring, if not 0,
// is the size of their ring buffer.
func started(b *testing.B, mark uint64, ring uint32) *probe.Set {
	b.Helper()
	o := object(b, "tp_btf.bpf.c", "")
	m := manifest(b, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}})
	for i := range m.Maps {
		if m.Maps[i].Role == program.RoleEvents && ring != 0 {
			m.Maps[i].MaxEntries = ring
		}
	}
	s := load(b, probe.NewLoader(probe.Options{}), o, m)
	attach(b, s)
	return s
}

// BenchmarkRead is what an event costs the reader: one operation is an event
// of 64 bytes out of a full ring.
func BenchmarkRead(b *testing.B) {
	const full = 900_000 // of 72 bytes in 64 MiB
	mark := newMark()
	s := started(b, mark, program.MaxRing)
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(left, full)
		left -= n
		b.StopTimer()
		flood(mark, uint64(n), 1)
		b.StartTimer()
		ctx, cancel := context.WithCancel(b.Context())
		seen := 0
		if err := s.Drain(ctx, probe.Tick, func(int, []byte) {
			if seen++; seen == n {
				cancel()
			}
		}); err != nil || seen != n {
			b.Fatal(seen, err)
		}
	}
}

// BenchmarkThroughput is the rate of events from producer to reader through a
// ring of the usual size, as fast as one thread can make them; lost is the
// share of them that found the ring full.
func BenchmarkThroughput(b *testing.B) {
	mark := newMark()
	s := started(b, mark, 0)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	done := make(chan error, 1)
	delivered := 0
	none := func(int, []byte) { delivered++ }
	b.ResetTimer()
	go func() { done <- s.Drain(ctx, probe.Tick, none) }()
	flood(mark, uint64(b.N), 1)
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(s.Detach(), s.Rest(b.Context(), none)); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	c, err := s.Counts()
	if err != nil {
		b.Fatal(err)
	}
	if c.Produced != uint64(b.N) || c.Produced != uint64(delivered)+c.Lost {
		b.Fatalf("%d calls, %+v, delivered %d", b.N, c, delivered)
	}
	b.ReportMetric(float64(delivered)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(100*float64(c.Lost)/float64(b.N), "lost-%")
}

// BenchmarkCells is the time to copy a hash map; one operation is the map.
func BenchmarkCells(b *testing.B) {
	o := object(b, "maps.bpf.c", "")
	mark := newMark()
	s := load(b, probe.NewLoader(probe.Options{}), o, manifest(b, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	attach(b, s)
	flood(mark, 10_000, 1)
	for _, name := range []string{"hash", "percpu_hash", "array"} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if _, err := s.Cells(name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
