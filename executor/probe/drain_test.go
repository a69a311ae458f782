package probe_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// inForms runs a test with a program of testdata as it is, and in the form for kernels without ring
// buffers.
func inForms(t *testing.T, file string, run func(t *testing.T, o *program.Object)) {
	t.Helper()
	t.Run("ring buffers", func(t *testing.T) { run(t, object(t, file, "")) })
	t.Run("perf buffers", func(t *testing.T) { run(t, perfObject(t, file)) })
}

// Whatever rate the programs produce at, every event is delivered or counted
// as lost, none twice. The reader waits in one case until the buffer has
// overflowed, and is detached in mid-flood in another.
func TestFlood(t *testing.T) { inForms(t, "tp_btf.bpf.c", testFlood) }

func testFlood(t *testing.T, o *program.Object) {
	const processes, threads, calls = 3, 3, 100_000
	const all = (processes + 1) * threads * calls
	for _, tt := range []struct {
		name string
		slow bool // the reader stands still until something was lost
		cut  bool // detach while the flood goes on
	}{
		{name: "reader at full speed"},
		{name: "slow reader", slow: true},
		{name: "detached in between", cut: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			residue.Check(t)
			mark := newMark()
			s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
			attach(t, s)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var delivered, bad atomic.Uint64
			count := func(_ int, raw []byte) {
				n := delivered.Add(1)
				if len(raw) != 64 || (record{raw: raw}).u32(0) == 0 {
					bad.Add(1)
				}
				for tt.slow && n == 1 && ctx.Err() == nil {
					if c, err := s.Counts(); err != nil || c.Lost > 0 {
						break
					}
					time.Sleep(time.Millisecond)
				}
			}
			drained := make(chan error, 1)
			go func() { drained <- s.Drain(ctx, probe.Tick, count) }()

			var wg sync.WaitGroup
			if tt.cut {
				endless := floodFrom(t, mark, 1<<40, threads)
				defer func() {
					_ = endless.Process.Kill() // it is there until then
					_ = endless.Wait()         // which says that it was killed
				}()
				for delivered.Load() < 10_000 {
					time.Sleep(time.Millisecond)
				}
			} else {
				for range processes {
					cmd := floodFrom(t, mark, calls, threads)
					wg.Go(func() {
						if err := cmd.Wait(); err != nil {
							t.Error(err)
						}
					})
				}
				flood(mark, calls, threads)
				wg.Wait()
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
			if err != nil {
				t.Fatal(err)
			}
			if after, err := s.Counts(); err != nil || after != c {
				t.Errorf("counts went on from %+v to %+v after Rest (%v)", c, after, err)
			}
			t.Logf("produced %d, delivered %d, lost %d", c.Produced, delivered.Load(), c.Lost)
			if c.Produced != delivered.Load()+c.Lost {
				t.Errorf("produced %d, delivered %d, lost %d: they do not add up", c.Produced, delivered.Load(), c.Lost)
			}
			if !tt.cut && c.Produced != all {
				t.Errorf("produced %d, %d calls were made", c.Produced, all)
			}
			if tt.slow && c.Lost == 0 {
				t.Error("nothing was lost, so the case shows nothing")
			}
			if bad.Load() > 0 {
				t.Errorf("%d events are not as they were written", bad.Load())
			}
		})
	}
}

// Drain returns soon after its context ends: idle, long before the tick, and
// in the middle of a flood.
func TestDrainEnds(t *testing.T) {
	residue.Check(t)
	for _, file := range []string{"tp_btf.bpf.c", "maps.bpf.c"} { // with and without rings
		t.Run(file, func(t *testing.T) {
			o := object(t, file, "")
			mark := newMark()
			s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
			attach(t, s)
			for _, flooded := range []bool{false, true} {
				stop := make(chan struct{})
				var wg sync.WaitGroup
				if flooded {
					wg.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
								flood(mark, 1000, 1)
							}
						}
					})
				}
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				err := s.Drain(ctx, time.Hour, func(int, []byte) {})
				end, _ := ctx.Deadline()
				late := time.Since(end)
				cancel()
				close(stop)
				wg.Wait()
				if err != nil {
					t.Fatal(err)
				}
				if late < 0 || late > patience {
					t.Errorf("flooded %v: returned %v after the context's end", flooded, late)
				}
			}
		})
	}
}

// Whoever collects events is told when there are no more for now, also where the
// last of them is the last of a turn.
func TestDrainIdles(t *testing.T) {
	inForms(t, "tp_btf.bpf.c", func(t *testing.T, o *program.Object) {
		residue.Check(t)
		mark := newMark()
		m := manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}})
		for i := range m.Maps {
			if m.Maps[i].Role == program.RoleEvents { // one processor's part has room for all
				m.Maps[i].MaxEntries = 16 << 20
			}
		}
		s := load(t, probe.NewLoader(probe.Options{}), o, m)
		attach(t, s)
		var read, told int
		for _, calls := range []int{1, probe.Turn, 2 * probe.Turn, probe.Turn + 1} {
			flood(mark, uint64(calls), 1)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			read, told = 0, 0
			err := s.DrainTo(ctx, probe.Tick, func(int, []byte) { read++ }, func() {
				if told = read; read == calls {
					cancel()
				}
			})
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if read != calls || told != read {
				t.Errorf("%d of %d events were read, and told of %d", read, calls, told)
			}
		}
	})
}

// Closing ends a Drain, which says why it ended.
func TestCloseEndsDrain(t *testing.T) {
	inForms(t, "tp_btf.bpf.c", func(t *testing.T, o *program.Object) {
		residue.Check(t)
		mark := newMark()
		s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
		attach(t, s)
		first := make(chan struct{})
		var once sync.Once
		drained := make(chan error, 1)
		go func() {
			drained <- s.Drain(context.Background(), time.Hour, func(int, []byte) { once.Do(func() { close(first) }) })
		}()
		// 64 KiB wake the reader in spite of the hour.
		flood(mark, 3000, 1)
		<-first
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		if err := <-drained; !errors.Is(err, probe.ErrClosed) {
			t.Errorf("Drain returned %v, want ErrClosed", err)
		}
		wg.Wait()
	})
}

func TestRestNeedsDetach(t *testing.T) {
	residue.Check(t)
	o := object(t, "tp_btf.bpf.c", "")
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{}))
	attach(t, s)
	if err := s.Rest(t.Context(), func(int, []byte) {}); err == nil {
		t.Error("Rest of attached programs succeeded")
	}
}

// A program whose counters do not agree with its events is found out.
func TestRestDisagrees(t *testing.T) {
	residue.Check(t)
	o := object(t, "liar.bpf.c", "")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	attach(t, s)
	flood(mark, 10, 1)
	if err := s.Detach(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	n := 0
	err := s.Rest(t.Context(), func(int, []byte) { n++ })
	if want := "the program says it submitted 0 events, 10 were read"; err == nil || n != 10 || err.Error() != "draining the rest: "+want {
		t.Errorf("%d events, error %v; want %q", n, err, want)
	}
	if took := time.Since(start); took > patience {
		t.Errorf("took %v", took)
	}
}

// Reading events allocates nothing for each.
func TestDrainAllocations(t *testing.T) {
	inForms(t, "tp_btf.bpf.c", func(t *testing.T, o *program.Object) {
		residue.Check(t)
		mark := newMark()
		s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
		attach(t, s)
		const events = 5000
		round := func() {
			flood(mark, events, 1)
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			if err := s.Drain(ctx, probe.Tick, func(int, []byte) {
				if n++; n == events {
					cancel()
				}
			}); err != nil || n != events {
				t.Fatal(n, err)
			}
		}
		if allocs := testing.AllocsPerRun(5, round); allocs > 100 {
			t.Errorf("%v allocations for %d events", allocs, events)
		}
	})
}

func TestSample(t *testing.T) {
	residue.Check(t)
	o := object(t, "tp_btf.bpf.c", "")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	if got := s.Overhead(); got.Available || got.Runs != 0 {
		t.Errorf("before any sample: %+v", got)
	}
	attach(t, s)
	r := drain(t, s)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				flood(mark, 1000, 1)
			}
		}
	})
	var runs uint64
	for range 2 {
		got, err := s.Sample(t.Context(), 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Available || got.Runs == 0 || got.Nanos == 0 || got.CPUShare <= 0 || got.CPUShare > 64 {
			t.Errorf("sample %+v", got)
		}
		runs += got.Runs
	}
	close(stop)
	wg.Wait()
	r.finish()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := s.Overhead()
	if !got.Available || got.Runs != runs || got.CPUShare <= 0 || got.AttachMS <= 0 {
		t.Errorf("overhead %+v, want %d runs", got, runs)
	}
	// The statistics are off again, as far as kgent is concerned.
	if b, err := os.ReadFile("/proc/sys/kernel/bpf_stats_enabled"); err == nil && string(b) != "0\n" {
		t.Errorf("kernel.bpf_stats_enabled is %s", b)
	}
}

func TestSampleEndsWithContext(t *testing.T) {
	residue.Check(t)
	o := object(t, "tp_btf.bpf.c", "")
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{}))
	attach(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	got, err := s.Sample(ctx, time.Hour)
	if err != nil || !got.Available {
		t.Errorf("%+v, %v: want what was measured until then", got, err)
	}
}
