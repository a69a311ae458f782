package probe_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// Events of any size come out of perf buffers as they went in, each through the one of its type, also
// where a record lies over the end of one.
func TestPerfBuffers(t *testing.T) {
	inForms(t, "perf.bpf.c", func(t *testing.T, o *program.Object) {
		residue.Check(t)
		const calls = 20_000 // several times through a buffer
		mark := newMark()
		s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
		attach(t, s)
		if got := s.Streams(); !slices.Equal(got, []string{"evens", "odds"}) {
			t.Fatalf("streams %q", got)
		}
		r := drain(t, s)
		var odds, evens int
		for n := range uint64(calls) {
			if n%1000 == 0 {
				r.wait(odds + evens)
			}
			call(mark, n)
			evens++
			if odds++; n%2 == 1 {
				odds++
			}
		}
		all, c := r.finish()
		if c.Lost != 0 || len(all) != odds+evens {
			t.Fatalf("%d events, %+v; want %d", len(all), c, odds+evens)
		}
		var n, k uint64
		for _, e := range all {
			switch e.stream {
			case 0:
				if len(e.raw) != 100 || e.u64(0) != n || e.raw[99] != byte(n) {
					t.Fatalf("event %d is %d bytes: %x", n, len(e.raw), e.raw)
				}
				n++
			case 1: // one of each call, and after it another one of every second
				want := k / 3 * 2
				if k%3 > 0 {
					want += k % 3
				}
				if !bytes.Equal(e.raw, bytes.Repeat([]byte{byte(want)}, 13)) {
					t.Fatalf("odd event %d is %x, want %d", k, e.raw, byte(want))
				}
				k++
			}
		}
	})
}

// Who begins an event while another one of that buffer is being put together on the processor loses it,
// which is counted, and leaves the first one as it is.
func TestPerfBusy(t *testing.T) {
	residue.Check(t)
	o := perfObject(t, "busy.bpf.c")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	attach(t, s)
	r := drain(t, s)
	const calls = 100
	for n := range uint64(calls) {
		call(mark, n)
	}
	all, c := r.finish()
	if c.Produced != 2*calls || c.Lost != calls {
		t.Errorf("%+v, want half of %d lost", c, 2*calls)
	}
	for n, e := range all {
		if e.u64(0) != uint64(n) {
			t.Errorf("event %d is %d", n, e.u64(0))
		}
	}
}

// Events of several processors come in the order in which they happened.
func TestPerfOrder(t *testing.T) {
	inForms(t, "tp_btf.bpf.c", func(t *testing.T, o *program.Object) {
		residue.Check(t)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var before, set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &before); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.SchedSetaffinity(0, &before); err != nil {
				t.Error(err)
			}
		}()
		var cpus []int
		for cpu := range 1024 {
			if before.IsSet(cpu) {
				cpus = append(cpus, cpu)
			}
		}
		if len(cpus) < 2 {
			t.Skip("needs two processors")
		}
		mark := newMark()
		s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
		attach(t, s)
		r := drain(t, s)
		const calls = 3000
		for n := range uint64(calls) {
			set.Zero()
			set.Set(cpus[int(n)%len(cpus)])
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				t.Fatal(err)
			}
			call(mark, n)
		}
		all, c := r.finish()
		if len(all) != calls || c.Lost != 0 {
			t.Fatalf("%d events, %+v", len(all), c)
		}
		for n, e := range all {
			if e.u64(8) != uint64(n) {
				t.Fatalf("event %d is that of call %d", n, e.u64(8))
			}
		}
	})
}

// A program that interrupts another one in the middle of an event does not touch it.
func TestPerfInterrupted(t *testing.T) {
	residue.Check(t)
	o := perfObject(t, "interrupted.bpf.c")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	attach(t, s)
	var calls, samples, torn atomic.Uint64
	count := func(_ int, raw []byte) {
		first := raw[:8]
		if len(raw) != 8*256 || !bytes.Equal(raw, bytes.Repeat(first, 256)) {
			torn.Add(1)
		}
		if binary.NativeEndian.Uint64(first) == ^uint64(0) {
			samples.Add(1)
		} else {
			calls.Add(1)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(ctx, probe.Tick, count) }()
	for deadline := time.Now().Add(20 * time.Second); calls.Load() < 50_000 || samples.Load() < 500; {
		flood(mark, 1000, 1)
		if time.Now().After(deadline) {
			t.Fatalf("%d calls and %d samples in 20 s", calls.Load(), samples.Load())
		}
	}
	cancel()
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if err := s.Detach(); err != nil {
		t.Fatal(err)
	}
	if err := s.Rest(t.Context(), count); err != nil {
		t.Fatal(err)
	}
	c, err := s.Counts()
	if err != nil || c.Produced != calls.Load()+samples.Load()+c.Lost {
		t.Errorf("%d calls and %d samples, %+v, %v: they do not add up", calls.Load(), samples.Load(), c, err)
	}
	if torn.Load() > 0 {
		t.Errorf("%d of %d events are of two programs", torn.Load(), calls.Load()+samples.Load())
	}
	t.Logf("%d calls, %d samples, %d lost", calls.Load(), samples.Load(), c.Lost)
}
