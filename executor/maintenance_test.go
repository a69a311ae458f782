package executor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

func TestMaintenance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drained")
	m, err := OpenMaintenance(path)
	if err != nil || m.Drained() != nil {
		t.Fatalf("%v, %v", m.Drained(), err)
	}
	d := Drain{Since: time.Unix(1_800_000_000, 0).UTC(), By: "alice", Why: "a new disk"}
	if err := m.Set(&d); err != nil {
		t.Fatal(err)
	}
	again, err := OpenMaintenance(path)
	if err != nil || *again.Drained() != d {
		t.Errorf("read again: %v, %v", again, err)
	}
	for _, why := range []string{strings.Repeat("x", maxWhy+1), "a disk\nruns: 0 of at most 8", "\x1b[2J", "\xff"} {
		if err := m.Set(&Drain{Why: why}); err == nil || *m.Drained() != d {
			t.Errorf("the reason %q: %v", why, err)
		}
	}
	for range 2 { // twice is no error
		if err := m.Set(nil); err != nil || m.Drained() != nil {
			t.Errorf("ended: %v, %v", m.Drained(), err)
		}
	}
	if again, err = OpenMaintenance(path); err != nil || again.Drained() != nil {
		t.Errorf("read again: %v, %v", again.Drained(), err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMaintenance(path); err == nil {
		t.Error("what cannot be read could be a drained node's")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+lastSuffix, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMaintenance(path); err == nil {
		t.Error("without the time of the last word an old order counts")
	}
	// A clock that was years ahead once does not keep orders out for years.
	if err := os.WriteFile(path+lastSuffix, []byte(`"2050-01-01T00:00:00Z"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err = OpenMaintenance(path); err != nil {
		t.Fatal(err)
	}
	if err := m.obey(&Drain{}, time.Now()); err == nil {
		t.Error("what came later does not count")
	}
	if err := errors.Join(m.Set(nil), m.obey(&Drain{}, time.Now().Add(time.Second)), m.Set(nil)); err != nil {
		t.Error(err)
	}
	if err := m.obey(&Drain{}, time.Now().Add(time.Second/2)); err == nil {
		t.Error("an order from before one by a clock that is ahead counts")
	}
	var none *Maintenance
	if none.Drained() != nil || none.refuses() != nil {
		t.Error("without a switch a node is drained")
	}
}

// A drained node refuses runs and checks, says why, and counts it; with end it
// also ends what runs, and the account stays exact.
func TestDrain(t *testing.T) {
	dir := t.TempDir()
	onBench(t, func(t *testing.T, b *bench) {
		var err error
		if b.e.Maintenance, err = OpenMaintenance(filepath.Join(dir, "drained")); err != nil {
			t.Fatal(err)
		}
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
				for range 10 {
					p.emit(sink)
				}
				p.lose(3)
				<-ctx.Done()
				p.detach()
				return nil
			}}
		}
		started := false
		b.e.Started = func() { started = true }
		b.serve()
		var first result
		g := b.dispatch(b.grant(time.Minute))
		done := make(chan struct{})
		go func() { defer close(done); first = b.follow(t.Context(), g) }()
		time.Sleep(2 * time.Second)
		if st := b.e.Status(); !started || len(st.Runs) != 1 || st.Runs[0].Counters.Produced != 13 || st.Runs[0].Counters.Delivered != 10 || st.Runs[0].Deadline.Sub(st.Runs[0].Attached) != time.Minute || st.Totals.Events.KernelLost != 3 || st.Lag != 0 {
			t.Errorf("while it runs: %+v", st)
		}
		if err := b.e.Drain(Drain{Since: time.Now(), By: "alice", Why: "a new disk"}, false); err != nil {
			t.Fatal(err)
		}
		// No time passes until those who choose nodes can know.
		synctest.Wait()
		if known, err := b.bus.Nodes(t.Context()); err != nil || len(known) != 1 || known[0].Drained == "" {
			t.Errorf("it announces %+v, %v", known, err)
		}
		b.run(b.grant(time.Second)).want(t, output.ReasonRefused, "(drained): this node is in maintenance")
		if c := b.check("n1")[0]; c.OK || c.Rule != "drained" {
			t.Errorf("check: %+v", c)
		}
		if b.probe().isDetached() {
			t.Error("what ran was ended")
		}
		if err := b.e.Drain(Drain{Since: time.Now(), By: "alice", Why: "a new disk"}, true); err != nil {
			t.Fatal(err)
		}
		<-done
		first.want(t, output.ReasonInterrupted, "")
		if n := first.summary.Nodes[0]; !strings.Contains(n.Detail, "by alice: a new disk") || n.Delivered != 10 {
			t.Errorf("what ran: %+v", n)
		}
		synctest.Wait() // its end is on record after its last word is out
		if err := b.e.Undrain("alice"); err != nil {
			t.Fatal(err)
		}
		b.run(b.grant(time.Second)).want(t, output.ReasonDeadline, "")
		synctest.Wait() // its last word is out before the node has let go of the run
		st := b.e.Status()
		want := output.Counters{Produced: 26, Delivered: 20, KernelLost: 6}
		if st.Totals.Events != want || st.Totals.Jobs["refused: drained"] != 2 || st.Totals.Jobs["interrupted"] != 1 || st.Totals.Jobs["deadline"] != 1 || len(st.Runs) != 0 || st.Drained != nil {
			t.Errorf("totals %+v", st)
		}
		b.end()
		if got := b.audit(); got != "accepted attached drained refused:drained refused:drained drained ended undrained accepted attached ended" {
			t.Errorf("audit log: %s", got)
		}
	})
}

// While the bus takes nothing, that shows as lag.
func TestBusLag(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		var away atomic.Bool
		b.bus.publish = func(ctx context.Context, c bus.Chunk) error {
			if away.Load() {
				return errors.New("it is away")
			}
			return b.bus.Bus.Publish(ctx, c)
		}
		b.serve()
		g := b.dispatch(b.grant(10 * time.Second))
		done := make(chan struct{})
		go func() { defer close(done); b.follow(t.Context(), g) }()
		time.Sleep(time.Second)
		away.Store(true)
		time.Sleep(4 * time.Second)
		if st := b.e.Status(); st.Lag < 2*time.Second || st.Lag > 4*time.Second || st.Totals.BusErrors < 10 {
			t.Errorf("away: lag %v, %d failures", st.Lag, st.Totals.BusErrors)
		}
		away.Store(false)
		time.Sleep(time.Second)
		if st := b.e.Status(); st.Lag != 0 {
			t.Errorf("there again: lag %v", st.Lag)
		}
		<-done
	})
}

// A run that is let in while the node is drained is one that draining ends, or is
// refused: none slips through between the two.
func TestDrainWhileEntering(t *testing.T) {
	m, err := OpenMaintenance(filepath.Join(t.TempDir(), "drained"))
	if err != nil {
		t.Fatal(err)
	}
	e := &Executor{Maintenance: m, Policy: DefaultPolicy(), runs: map[string]*run{}}
	entered := make(chan string)
	e.mu.Lock() // Drain is looking at what runs
	go func() {
		rule, _ := e.enter(&run{grant: &job.Grant{Run: "r"}})
		entered <- rule
	}()
	time.Sleep(20 * time.Millisecond)
	if err := m.Set(&Drain{Since: time.Now()}); err != nil {
		t.Fatal(err)
	}
	e.mu.Unlock()
	if rule := <-entered; rule != "drained" || len(e.runs) > 0 {
		t.Errorf("rule %q, %d runs", rule, len(e.runs))
	}
}
