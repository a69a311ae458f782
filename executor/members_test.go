package executor

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/job"
	"kgent/executor/output"
)

// wire is one node's way to the bus, which a test cuts, or on which the node finds no lease.
type wire struct {
	bus.Bus
	cut      atomic.Bool
	unleased atomic.Bool
}

var errCut = errors.New("connection refused")

func (w *wire) Publish(ctx context.Context, c bus.Chunk) error {
	if w.cut.Load() {
		return errCut
	}
	return w.Bus.Publish(ctx, c)
}

func (w *wire) Ack(ctx context.Context, node, id string) error {
	if w.cut.Load() {
		return errCut
	}
	return w.Bus.Ack(ctx, node, id)
}

func (w *wire) Announce(ctx context.Context, n bus.NodeInfo, ttl time.Duration) error {
	if w.cut.Load() {
		return errCut
	}
	return w.Bus.Announce(ctx, n, ttl)
}

func (w *wire) Lease(ctx context.Context, run string) (bus.Lease, error) {
	switch {
	case w.cut.Load():
		return bus.LeaseGone, errCut
	case w.unleased.Load():
		return bus.LeaseGone, nil
	}
	return w.Bus.Lease(ctx, run)
}

// Nodes come and go while a run is on its way: one comes late, one is stopped in order, one
// dies, one dies and is started again, one loses its lease, one that was never asked is
// started beside. Each that is missing is named with the reason, what the others
// say counts, and the account is exact.
func TestMembersOfARun(t *testing.T) {
	t.Run("memory", func(t *testing.T) { onBench(t, func(t *testing.T, b *bench) { membersOfARun(t, b) }) })
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		rdb.Quiet()
		b := realBench(t, plain, program.Options{})
		b.bus.Bus = bus.NewRedis(rdbtest.Start(t).Client())
		membersOfARun(t, b)
	})
}

// speaking is what a program of a node does: an event now and then, and one that is lost.
func speaking(node string) func(ctx context.Context, p *fakeProbe, sink Sink) error {
	line := []byte(`{"type":"event","node":"` + node + `","stream":"events","data":{"n":1}}` + "\n")
	return func(ctx context.Context, p *fakeProbe, sink Sink) error {
		for pause(ctx, 50*time.Millisecond) {
			p.mu.Lock()
			p.produced++
			p.mu.Unlock()
			if sink.Admit() {
				sink.Line(line)
			}
		}
		p.lose(1)
		return nil
	}
}

func membersOfARun(t *testing.T, b *bench) {
	var kernels []*fakeKernel
	replays := map[string]job.Replays{}
	start := func(node string) (*wire, func()) {
		t.Helper()
		e, w := b.executor(node), &wire{Bus: b.bus.Bus}
		k := &fakeKernel{make: func() *fakeProbe { return &fakeProbe{stream: speaking(node)} }}
		kernels = append(kernels, k)
		e.Bus, e.Kernel = w, k
		if replays[node] == nil {
			replays[node] = e.Verifier.Replays
		}
		e.Verifier.Replays = replays[node] // its disk
		return w, b.start(e)
	}
	_, endStays := start("stays")
	defer endStays()
	_, endStops := start("stops")
	dies, endDies := start("dies")
	returns, endReturns := start("returns")
	leaseless, endLeaseless := start("leaseless")
	defer endLeaseless()

	g := b.grant(silenceLimit+2*time.Second, "stays", "stops", "dies", "returns", "leaseless", "late", "never")
	g = b.dispatch(g)
	var ended result
	done := make(chan struct{})
	var events atomic.Int64
	spoke := make(chan string, 8) // the first event of each
	go func() {
		defer close(done)
		heard := map[string]bool{}
		ended.summary, ended.err = Follow(t.Context(), b.bus, &g, func(line []byte) {
			r, err := output.Decode(line)
			if err != nil {
				t.Error(err)
			}
			if e, ok := r.(output.Event); ok {
				if events.Add(1); !heard[e.Node] {
					heard[e.Node] = true
					spoke <- e.Node
				}
			}
		})
	}()
	for range 5 {
		<-spoke
	}
	// One that was never asked runs nothing; what it publishes is not heard.
	_, endBeside := start("beside")
	defer endBeside()
	if err := b.bus.Publish(t.Context(), bus.Chunk{Run: g.Run, Node: "beside", Seq: 1, Lines: []byte(`{"type":"event","node":"stays"}` + "\n"), Events: 1}); err != nil {
		t.Fatal(err)
	}
	dies.cut.Store(true)
	go endDies() // it has nobody to tell
	returns.cut.Store(true)
	go endReturns()
	_, endAgain := start("returns")
	defer endAgain()
	leaseless.unleased.Store(true)
	endStops()
	_, endLate := start("late")
	defer endLate()
	if node := <-spoke; node != "late" {
		t.Errorf("%s has an event, want the late one", node)
	}
	<-done
	endDies()
	endReturns()
	if ended.err != nil {
		t.Fatal(ended.err)
	}
	for i, want := range []struct {
		node   string
		reason output.Reason
		detail string
		whole  bool // its account is its own last word
	}{
		{"stays", output.ReasonDeadline, "", true},
		{"stops", output.ReasonInterrupted, "", true},
		{"dies", output.ReasonFailed, "it fell silent", false},
		{"returns", output.ReasonFailed, "its executor was restarted", false},
		{"leaseless", output.ReasonOutput, "nobody follows the run any more", true},
		{"late", output.ReasonDeadline, "", true},
		{"never", output.ReasonFailed, "no answer within 10s", false},
	} {
		n := ended.summary.Nodes[i]
		if n.Node != want.node || n.Reason != want.reason || !strings.Contains(n.Detail, want.detail) {
			t.Errorf("%s: %s: %q; want %+v", n.Node, n.Reason, n.Detail, want)
		}
		if !n.Balanced() || want.whole && (n.KernelLost != 1 || n.BusTrimmed != 0 || n.Delivered == 0) {
			t.Errorf("%s: its account is %+v", n.Node, n.Counters)
		}
	}
	for _, end := range []func(){endStays, endLeaseless, endAgain, endLate, endBeside} {
		end()
	}
	for _, k := range kernels {
		(&bench{t: t, kernel: k}).checkResidue()
	}
	if s := ended.summary; !s.Balanced() || int64(s.Delivered) != events.Load() {
		t.Errorf("%d events came: %+v", events.Load(), s.Counters)
	}
}
