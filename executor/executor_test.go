package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

func TestRun(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
				for range 1000 {
					p.emit(sink)
				}
				p.lose(17)
				sink.Record(output.Map{Node: "n1", Name: "calls"})
				<-ctx.Done()
				p.detach()
				for range 5 { // what was left
					p.emit(sink)
				}
				p.mapFull = 3
				sink.Record(output.Map{Node: "n1", Name: "calls", Final: true})
				return nil
			}}
		}
		b.serve()
		r := b.run(b.grant(30 * time.Second))
		r.want(t, output.ReasonDeadline, "")
		want := output.Counters{Produced: 1022, Delivered: 1005, KernelLost: 17, MapFull: 3}
		if r.summary.Counters != want || r.err != nil {
			t.Errorf("account %+v, error %v; want %+v", r.summary.Counters, r.err, want)
		}
		if r.summary.Seconds != 30 || r.took < 30*time.Second || r.took > 31*time.Second {
			t.Errorf("attached for %v s, followed for %v, want 30 s", r.summary.Seconds, r.took)
		}
		if o := r.summary.Overhead; !o.Available || o.Runs != 10 || o.CPUShare != 0.25 {
			t.Errorf("overhead %+v", o)
		}
		if k := r.kinds(t); !slices.Equal(k, []string{"Attached", "Event", "Map", "Event", "Map"}) {
			t.Errorf("records %v", k)
		}
		p := b.probe()
		if d := p.detachedAt.Sub(p.attachedAt); d != 30*time.Second {
			t.Errorf("attached for %v, want exactly 30s", d)
		}
		rec, err := output.Decode([]byte(r.lines[0]))
		if err != nil {
			t.Fatal(err)
		}
		a := rec.(output.Attached)
		if a.Node != "n1" || a.Run == "" || a.Deadline != output.Time(p.attachedAt.Add(30*time.Second)) {
			t.Errorf("attached record %+v", a)
		}
		b.end()
		if got := b.audit(); got != "accepted attached ended" {
			t.Errorf("audit log: %s", got)
		}
		last := b.entries[2]
		if last.Summary == nil || last.Summary.Produced != 1022 || last.Approval.Requester != "r" || last.Grant == "" || last.Digest == "" || last.At.IsZero() {
			t.Errorf("last entry %+v", last)
		}
	})
}

// What attaches is told before it has been silent for long.
func TestAttachedIsToldAtOnce(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		g := b.dispatch(b.grant(time.Minute))
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		s, err := Follow(ctx, b.bus, &g, func(line []byte) {
			if d := time.Since(start); d > 10*time.Millisecond {
				t.Errorf("the first record came after %v", d)
			}
			cancel()
		})
		if err != nil || s.Reason != output.ReasonInterrupted {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// Every way in which a run can fail, each leaving nothing behind.
func TestFailures(t *testing.T) {
	broken := errors.New("it is broken")
	boom := func() { panic("boom") }
	twenty := func(ctx context.Context, p *fakeProbe, sink Sink) {
		for range 20 {
			p.emit(sink)
		}
	}
	for _, test := range []struct {
		name   string
		kernel func() *fakeKernel
		reason output.Reason
		detail string
		events uint64 // delivered
		loads  int    // probes
	}{
		{"loading fails", func() *fakeKernel {
			return &fakeKernel{load: func(context.Context) error { return fmt.Errorf("loading program p: %w", broken) }}
		}, output.ReasonFailed, "loading program p: it is broken", 0, 0},
		{"loading panics", func() *fakeKernel {
			return &fakeKernel{load: func(context.Context) error { boom(); return nil }}
		}, output.ReasonFailed, "loading the program: panic: boom", 0, 0},
		{"loading gives nothing", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe { return nil }}
		}, output.ReasonFailed, "gave nothing to attach", 0, 0},
		{"attaching fails half way", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{attach: func(ctx context.Context, p *fakeProbe) error { p.hook(1); p.lose(3); return broken }}
			}}
		}, output.ReasonFailed, "it is broken", 0, 1},
		{"attaching panics half way", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{attach: func(ctx context.Context, p *fakeProbe) error { p.hook(1); boom(); return nil }}
			}}
		}, output.ReasonFailed, "attaching the program: panic: boom", 0, 1},
		{"reading fails", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error { twenty(ctx, p, sink); return broken }}
			}}
		}, output.ReasonFailed, "reading the output: it is broken", 20, 1},
		{"reading panics", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error { twenty(ctx, p, sink); boom(); return nil }}
			}}
		}, output.ReasonFailed, "reading the output: panic: boom", 20, 1},
		{"reading the rest fails", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
					<-ctx.Done()
					twenty(ctx, p, sink)
					p.mu.Lock()
					p.produced += 5 // never read
					p.mu.Unlock()
					return broken
				}}
			}}
		}, output.ReasonFailed, "reading the output: it is broken (it was ending: deadline)", 20, 1},
		{"reading does not end", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
					twenty(ctx, p, sink)
					time.Sleep(time.Hour)
					p.emit(sink)
					return nil
				}}
			}}
		}, output.ReasonFailed, "not done after 20s, it was cut off", 20, 1},
		{"reading ends early with the context's error of another", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error { return context.Canceled }}
			}}
		}, output.ReasonFailed, "context canceled", 0, 1},
		{"reading returns its context's error", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error { <-ctx.Done(); return ctx.Err() }}
			}}
		}, output.ReasonDeadline, "", 0, 1},
		{"the program has said everything", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error { twenty(ctx, p, sink); return nil }}
			}}
		}, reasonComplete, "", 20, 1},
		{"an event is admitted and cannot be rendered", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
					twenty(ctx, p, sink)
					p.mu.Lock()
					p.produced++
					p.mu.Unlock()
					sink.Admit()
					return nil
				}}
			}}
		}, reasonComplete, "", 20, 1},
		{"counting fails", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{counts: func() error { return broken }}
			}}
		}, output.ReasonFailed, "counting events: it is broken", 0, 1},
		{"counting fails after a while", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				var calls atomic.Int64
				return &fakeProbe{
					counts: func() error {
						if calls.Add(1) > 3 {
							return broken
						}
						return nil
					},
					stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
						for range 20 {
							p.emit(sink)
							time.Sleep(100 * time.Millisecond)
						}
						return nil
					},
				}
			}}
		}, output.ReasonFailed, "counting events: it is broken (it was ending: complete)", 20, 1},
		{"counting panics", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe { return &fakeProbe{counts: func() error { boom(); return nil }} }}
		}, output.ReasonFailed, "counting events: panic: boom", 0, 1},
		{"measuring panics", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe { return &fakeProbe{overhead: boom} }}
		}, output.ReasonFailed, "panic: boom", 0, 1},
		{"detaching fails", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{close: func(*fakeProbe) error { return broken }}
			}}
		}, output.ReasonFailed, "detaching, something may be left in the kernel: it is broken (it was ending: deadline)", 0, 1},
		{"detaching panics", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{close: func(*fakeProbe) error { boom(); return nil }}
			}}
		}, output.ReasonFailed, "detaching: panic: boom", 0, 1},
		{"a map is too large", func() *fakeKernel {
			return &fakeKernel{make: func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
					sink.Record(output.Text{Node: "n1", Line: strings.Repeat("x", output.MaxLine)})
					return nil
				}}
			}}
		}, output.ReasonFailed, "1 maps or other records were too large", 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				b.kernel = test.kernel()
				b.e.Kernel = b.kernel
				b.serve()
				r := b.run(b.grant(10 * time.Second))
				r.want(t, test.reason, test.detail)
				if r.err != nil {
					t.Error(r.err)
				}
				if r.summary.Delivered != test.events {
					t.Errorf("%d events delivered, want %d", r.summary.Delivered, test.events)
				}
				if got := r.count("error"); (got == 1) != (test.reason == output.ReasonFailed) || got > 1 {
					t.Errorf("%d error records", got)
				}
				if len(b.kernel.probes) != test.loads {
					t.Errorf("%d probes, want %d", len(b.kernel.probes), test.loads)
				}
				b.end()
				if a := b.audit(); !strings.HasSuffix(a, "ended") {
					t.Errorf("audit log: %s", a)
				}
				// Nothing is delivered again.
				b.end = b.start(b.e)
				time.Sleep(time.Minute)
				if b.kernel.loads != 1 {
					t.Errorf("loaded %d times", b.kernel.loads)
				}
				time.Sleep(2 * time.Hour) // for the stream that sleeps
			})
		})
	}
}

// A log that panics does not take the node down.
func TestAuditPanics(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.e.Audit = func(Entry) { panic("disk full") }
		b.serve()
		b.run(b.grant(time.Second)).want(t, output.ReasonDeadline, "")
	})
}

// A log that hangs keeps nothing attached, and nothing new from being refused
// or loaded without it.
func TestAuditHangs(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		hang := make(chan struct{})
		b.e.Audit = func(e Entry) {
			if e.What == "attached" {
				<-hang
			}
		}
		b.serve()
		g := b.dispatch(b.grant(10 * time.Second))
		followed := make(chan result)
		go func() { followed <- b.follow(t.Context(), g) }()
		time.Sleep(5 * time.Second)
		second := b.dispatch(b.grant(time.Minute))
		r := <-followed
		r.want(t, output.ReasonDeadline, "")
		p := b.probe() // and no second one
		if d := p.detachedAt.Sub(p.attachedAt); d != 10*time.Second {
			t.Errorf("attached for %v", d)
		}
		close(hang)
		b.follow(t.Context(), second)
	})
}

// Loading that does not end.
func TestSlowStart(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.kernel.load = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		b.serve()
		r := b.run(b.grant(time.Hour))
		r.want(t, output.ReasonFailed, "loading and attaching: not done after 1m0s")
		if r.took > startLimit+time.Second {
			t.Errorf("it took %v", r.took)
		}
	})
}

// Everything that ends a run before its time.
func TestEndings(t *testing.T) {
	for _, test := range []struct {
		name   string
		act    func(t *testing.T, b *bench, g job.Grant, cancel context.CancelCauseFunc)
		reason output.Reason
		detail string
		within time.Duration // detached after that act
	}{
		{"stopped", func(t *testing.T, b *bench, g job.Grant, _ context.CancelCauseFunc) {
			if err := Stop(t.Context(), b.bus, g.Run); err != nil {
				t.Error(err)
			}
		}, output.ReasonStopped, "", 0},
		{"stopped, and only the lease tells", func(t *testing.T, b *bench, g job.Grant, _ context.CancelCauseFunc) {
			b.bus.Bus.Stop(t.Context(), g.Run)
		}, output.ReasonStopped, "", leasePoll},
		{"the follower is interrupted", func(t *testing.T, b *bench, g job.Grant, cancel context.CancelCauseFunc) {
			cancel(nil)
		}, output.ReasonInterrupted, "", 0},
		{"nobody reads the output", func(t *testing.T, b *bench, g job.Grant, cancel context.CancelCauseFunc) {
			cancel(fmt.Errorf("writing: %w", ErrNoReader))
		}, output.ReasonOutput, "", 0},
		{"somebody stops it through the follower", func(t *testing.T, b *bench, g job.Grant, cancel context.CancelCauseFunc) {
			cancel(bus.ErrStopped)
		}, output.ReasonStopped, "", 0},
		{"the executor ends", func(t *testing.T, b *bench, g job.Grant, _ context.CancelCauseFunc) {
			b.end()
		}, output.ReasonInterrupted, "the executor on this node was stopped", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				if strings.Contains(test.name, "lease") {
					b.bus.stops = func(ctx context.Context) (<-chan string, error) {
						ch := make(chan string)
						context.AfterFunc(ctx, func() { close(ch) })
						return ch, nil
					}
				}
				b.serve()
				g := b.dispatch(b.grant(time.Hour))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				var acted time.Time
				go func() {
					time.Sleep(3210 * time.Millisecond)
					acted = time.Now()
					test.act(t, b, g, cancel)
				}()
				r := b.follow(ctx, g)
				r.want(t, test.reason, test.detail)
				if r.err != nil {
					t.Error(r.err)
				}
				if d := b.probe().detachedAt.Sub(acted); d > test.within {
					t.Errorf("detached after %v, want at most %v", d, test.within)
				}
				if d := time.Since(acted); d > time.Second {
					t.Errorf("followed for another %v", d)
				}
			})
		})
	}
}

// The follower is gone without a word: killed, or cut off.
func TestFollowerVanishes(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		b.dispatch(b.grant(time.Hour))
		time.Sleep(time.Minute)
		b.end()
		p := b.probe()
		if d := p.detachedAt.Sub(p.attachedAt); p.detachedAt.IsZero() || d > leaseTTL+leasePoll {
			t.Errorf("detached after %v, want at most %v", d, leaseTTL+leasePoll)
		}
		last := b.entries[len(b.entries)-1]
		if last.Summary.Reason != output.ReasonOutput || last.Summary.Detail != "nobody follows the run any more" {
			t.Errorf("it ended %+v", last.Summary)
		}
	})
}

// The bus is gone: the run ends by itself, and what is left is told when the
// bus comes back in time.
func TestBusVanishes(t *testing.T) {
	for _, back := range []time.Duration{4 * time.Second, 8 * time.Second, time.Hour} {
		t.Run(back.String(), func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				gone := time.Now().Add(5 * time.Second)
				down := errors.New("connection refused")
				isDown := func() bool { return time.Since(gone) >= 0 && time.Since(gone) < back }
				b.bus.publish = func(ctx context.Context, c bus.Chunk) error {
					if isDown() {
						return down
					}
					return b.bus.Bus.Publish(ctx, c)
				}
				b.bus.lease = func(ctx context.Context, run string) (bus.Lease, error) {
					if isDown() {
						return bus.LeaseGone, down
					}
					return b.bus.Bus.Lease(ctx, run)
				}
				b.kernel.make = func() *fakeProbe {
					return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
						for ctx.Err() == nil {
							p.emit(sink)
							time.Sleep(10 * time.Millisecond)
						}
						return nil
					}}
				}
				b.serve()
				g := b.dispatch(b.grant(20 * time.Second))
				r := b.follow(t.Context(), g)
				p := b.probe()
				survives := back < grace
				if survives {
					r.want(t, output.ReasonDeadline, "")
				} else {
					if d := p.detachedAt.Sub(gone); d > grace+time.Second {
						t.Errorf("detached %v after the bus was gone", d)
					}
					if back < time.Hour {
						r.want(t, output.ReasonOutput, "the bus could not be reached for 5s: connection refused")
					} else {
						r.want(t, output.ReasonFailed, "it fell silent")
					}
				}
				if back < time.Hour && r.summary.Delivered != p.produced {
					t.Errorf("%d of %d events delivered", r.summary.Delivered, p.produced)
				}
				b.end()
				if back == time.Hour && !strings.Contains(b.entries[len(b.entries)-1].Detail, "could not be reached") {
					t.Errorf("last entry %+v", b.entries[len(b.entries)-1])
				}
			})
		})
	}
}

// Before it begins there is a last question.
func TestNotWanted(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(t *testing.T, b *bench, run string)
		reason output.Reason
		detail string
	}{
		{"stopped before", func(t *testing.T, b *bench, run string) {
			if err := Stop(t.Context(), b.bus, run); err != nil {
				t.Error(err)
			}
		}, output.ReasonStopped, "before it began"},
		{"nobody follows", func(*testing.T, *bench, string) { time.Sleep(2 * leaseTTL) }, output.ReasonOutput, "nobody follows"},
		{"the bus does not say", func(t *testing.T, b *bench, run string) {
			b.bus.lease = func(context.Context, string) (bus.Lease, error) { return bus.LeaseLive, errors.New("no route to host") }
		}, output.ReasonOutput, "asking whether anybody follows the run: no route to host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				g := b.dispatch(b.grant(time.Minute))
				test.before(t, b, g.Run)
				b.serve()
				time.Sleep(time.Minute)
				if b.kernel.loads != 0 {
					t.Error("it was loaded")
				}
				if got := b.audit(); got != "refused:lease" {
					t.Errorf("audit log: %s", got)
				}
				b.bus.lease = nil
				r := b.follow(t.Context(), g)
				r.want(t, test.reason, test.detail)
			})
		})
	}
}

// A stop that comes while the kernel is busy.
func TestStopWhileBusy(t *testing.T) {
	busy := func(ctx context.Context) { // does not look at its context
		time.Sleep(3 * time.Second)
	}
	for _, test := range []struct {
		name     string
		kernel   *fakeKernel
		attached int
	}{
		{"loading", &fakeKernel{load: func(ctx context.Context) error { busy(ctx); return nil }}, 0},
		{"loading, which gives up", &fakeKernel{load: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, 0},
		{"attaching", &fakeKernel{make: func() *fakeProbe {
			return &fakeProbe{
				attach: func(ctx context.Context, p *fakeProbe) error { busy(ctx); return nil },
				stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
					<-ctx.Done()
					for range 3 {
						p.emit(sink) // what it saw meanwhile
					}
					return nil
				},
			}
		}}, 1},
		{"attaching, which gives up", &fakeKernel{make: func() *fakeProbe {
			return &fakeProbe{attach: func(ctx context.Context, p *fakeProbe) error { <-ctx.Done(); return ctx.Err() }}
		}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				b.kernel = test.kernel
				b.e.Kernel = b.kernel
				b.serve()
				g := b.dispatch(b.grant(time.Minute))
				time.AfterFunc(time.Second, func() { Stop(t.Context(), b.bus, g.Run) })
				r := b.follow(t.Context(), g)
				r.want(t, output.ReasonStopped, "")
				if r.took > 4*time.Second || r.count("attached") != test.attached || r.summary.Delivered != 3*uint64(test.attached) {
					t.Errorf("it took %v, %v", r.took, r.lines)
				}
			})
		})
	}
}

func TestRefusals(t *testing.T) {
	other := func(b *bench) ed25519Key { return newKey(b.t) }
	for _, test := range []struct {
		name    string
		rule    string
		detail  string
		grant   func(b *bench, g *job.Grant)
		corrupt func(b *bench, e *job.Envelope)
		raw     func(b *bench, raw []byte) []byte
		setup   func(b *bench)
		silent  bool // there is nobody to answer
	}{
		{name: "oversized", rule: "oversized", silent: true,
			raw: func(b *bench, raw []byte) []byte { return append(raw, make([]byte, job.MaxEnvelope)...) }},
		{name: "no envelope", rule: "malformed", silent: true,
			raw: func(b *bench, raw []byte) []byte { return raw[:len(raw)/2] }},
		{name: "unknown field", rule: "malformed",
			raw: func(b *bench, raw []byte) []byte { return append([]byte(`{"x":1,`), raw[1:]...) }},
		{name: "wrong key", rule: "unknown-key",
			corrupt: func(b *bench, e *job.Envelope) { k := other(b); e.KeyID = k.id(); e.Signature = k.sign(e.Grant) }},
		{name: "forged: another key under a known name", rule: "bad-signature",
			corrupt: func(b *bench, e *job.Envelope) { e.Signature = other(b).sign(e.Grant) }},
		{name: "altered grant", rule: "bad-signature",
			corrupt: func(b *bench, e *job.Envelope) {
				e.Grant = []byte(strings.Replace(string(e.Grant), `"observe"`, `"act"`, 1))
			}},
		{name: "signature of the bare bytes", rule: "bad-signature",
			corrupt: func(b *bench, e *job.Envelope) { e.Signature = ed25519Key{b.key}.bare(e.Grant) }},
		{name: "other version", rule: "unknown-version", grant: func(b *bench, g *job.Grant) { g.Version = 2 }},
		{name: "re-targeted", rule: "other-node", grant: func(b *bench, g *job.Grant) { g.Nodes = []string{"n2", "n3"} }},
		{name: "not yet valid", rule: "not-yet-valid", grant: func(b *bench, g *job.Grant) {
			g.NotBefore, g.Expires = g.NotBefore.Add(time.Hour), g.Expires.Add(time.Hour)
		}},
		{name: "expired", rule: "expired", grant: func(b *bench, g *job.Grant) {
			g.NotBefore, g.Expires = g.NotBefore.Add(-time.Hour), g.Expires.Add(-time.Hour)
		}},
		{name: "valid for too long", rule: "window-too-long", grant: func(b *bench, g *job.Grant) { g.Expires = g.NotBefore.Add(time.Hour) }},
		{name: "runs for too long", rule: "limits", grant: func(b *bench, g *job.Grant) { g.Limits.Duration = 2 * time.Hour }},
		{name: "altered program", rule: "digest-mismatch",
			corrupt: func(b *bench, e *job.Envelope) { e.ELF = slices.Clone(e.ELF); e.ELF[len(e.ELF)/2] ^= 1 }},
		{name: "altered manifest", rule: "digest-mismatch",
			corrupt: func(b *bench, e *job.Envelope) {
				e.Manifest = []byte(strings.Replace(string(e.Manifest), `"view":{}`, `"view":{"top":5}`, 1))
			}},
		{name: "altered contract", rule: "digest-mismatch", corrupt: func(b *bench, e *job.Envelope) { e.Contract = nil }},
		{name: "a run that is no name", rule: "run", silent: true, grant: func(b *bench, g *job.Grant) { g.Run = "a/../b" }},
		{name: "no program", rule: "program", detail: "parsing object", setup: func(b *bench) { b.prog.ELF = []byte("\x7fELF and no more") }},
		{name: "no manifest", rule: "program", detail: "decoding manifest", setup: func(b *bench) { b.prog.Manifest = []byte(`{"version":1,"x":2}`) }},
		{name: "a manifest for another program", rule: "program", detail: "manifest", setup: func(b *bench) {
			b.prog.Manifest = []byte(strings.Replace(string(b.prog.Manifest), "on_enter", "on_exit", 1))
		}},
		{name: "against the node's policy", rule: "kind", detail: "refused by this node's policy", setup: func(b *bench) {
			b.e.Policy.DenyKinds = append(b.e.Policy.DenyKinds, "raw_tracepoint")
		}},
		{name: "no room", rule: "runs", detail: "0 runs are in progress, at most 0", setup: func(b *bench) { b.e.Policy.MaxRuns = 0 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				if test.setup != nil {
					test.setup(b)
				}
				g := b.grant(time.Minute)
				if test.grant != nil {
					test.grant(b, &g)
				}
				g, raw := b.seal(g)
				if test.corrupt != nil {
					raw = reseal(t, raw, func(e *job.Envelope) { test.corrupt(b, e) })
				}
				if test.raw != nil {
					raw = test.raw(b, raw)
				}
				b.serve()
				if err := b.bus.Submit(t.Context(), raw, "n1"); err != nil {
					t.Fatal(err)
				}
				if bus.CheckName(g.Run) == nil {
					b.bus.Renew(t.Context(), g.Run, time.Minute)
				}
				if test.silent {
					synctest.Wait()
				} else {
					g.Nodes = []string{"n1"}
					r := b.follow(t.Context(), g)
					if test.detail == "" {
						test.detail = test.rule
					}
					r.want(t, output.ReasonRefused, test.detail)
					if r.count("error") != 1 || len(r.lines) != 1 || r.took > time.Second {
						t.Errorf("after %v: %v", r.took, r.lines)
					}
				}
				b.end()
				if got := b.audit(); got != "refused:"+test.rule {
					t.Errorf("audit log: %s, want refused:%s", got, test.rule)
				}
				if b.kernel.loads != 0 {
					t.Error("it was loaded")
				}
				// It was acknowledged: the next executor does not see it.
				again := b.start(b.executor("n1"))
				synctest.Wait()
				again()
				if len(b.entries) != 1 {
					t.Errorf("delivered again: %s", b.audit())
				}
			})
		})
	}
}

// An account that does not balance is told, not repaired.
func TestEventsDisappear(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
				p.emit(sink)
				p.mu.Lock()
				p.produced += 3
				p.mu.Unlock()
				return nil
			}}
		}
		b.serve()
		g := b.dispatch(b.grant(time.Second))
		s, err := Follow(t.Context(), b.bus, &g, func([]byte) {})
		result{summary: s}.want(t, output.ReasonFailed, "accounting for events: 4 were produced, but 1 delivered, 0 lost in the kernel and 0 dropped")
		if err != nil || s.Produced != 4 || s.Delivered != 1 || s.Balanced() {
			t.Errorf("%+v, %v", s.Counters, err)
		}
	})
}

// A job that is delivered again is never run again.
func TestDeliveredAgain(t *testing.T) {
	t.Run("while it runs", func(t *testing.T) {
		onBench(t, func(t *testing.T, b *bench) {
			consumed := 0
			b.bus.consume = func(ctx context.Context, node, consumer string, each func(bus.Job)) error {
				consumed++
				limit, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				if err := b.bus.Bus.Consume(limit, node, consumer, each); ctx.Err() != nil {
					return err
				}
				return errors.New("connection reset")
			}
			b.serve()
			r := b.run(b.grant(time.Minute))
			r.want(t, output.ReasonDeadline, "")
			time.Sleep(time.Minute)
			b.end()
			if b.kernel.loads != 1 || consumed < 5 || b.audit() != "accepted attached ended" {
				t.Errorf("%d loads, consumed %d times, audit log: %s", b.kernel.loads, consumed, b.audit())
			}
		})
	})
	t.Run("sent twice", func(t *testing.T) {
		onBench(t, func(t *testing.T, b *bench) {
			b.serve()
			g, raw := b.seal(b.grant(time.Minute))
			if err := Dispatch(t.Context(), b.bus, &g, raw); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(10*time.Second, func() { b.bus.Submit(t.Context(), raw, "n1") })
			// And an altered one of the same run: nobody ends a run with rubbish.
			time.AfterFunc(20*time.Second, func() {
				b.bus.Submit(t.Context(), reseal(t, raw, func(e *job.Envelope) { e.Signature[3] ^= 1 }), "n1")
			})
			b.follow(t.Context(), g).want(t, output.ReasonDeadline, "")
			time.Sleep(time.Second)
			b.bus.Submit(t.Context(), raw, "n1")
			synctest.Wait()
			b.end()
			if want := "accepted attached refused:replayed refused:bad-signature ended refused:replayed"; b.audit() != want {
				t.Errorf("audit log: %s, want %s", b.audit(), want)
			}
			if b.kernel.loads != 1 {
				t.Errorf("%d loads", b.kernel.loads)
			}
		})
	})
	for _, died := range []bool{false, true} {
		t.Run(fmt.Sprintf("after the executor was gone, died %v", died), func(t *testing.T) {
			dir := t.TempDir()
			onBench(t, func(t *testing.T, b *bench) {
				// The first executor takes the job, attaches, and dies: its words
				// and acknowledgements reach nobody from then on.
				dead := false
				b.bus.publish = func(ctx context.Context, c bus.Chunk) error {
					if dead {
						return errors.New("dead")
					}
					return b.bus.Bus.Publish(ctx, c)
				}
				b.bus.ack = func(ctx context.Context, node, id string) error {
					if dead {
						return errors.New("dead")
					}
					return b.bus.Bus.Ack(ctx, node, id)
				}
				b.kernel.make = func() *fakeProbe {
					return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
						for range 7 {
							p.emit(sink)
						}
						<-ctx.Done()
						return nil
					}}
				}
				b.serve()
				g := b.dispatch(b.grant(time.Minute))
				restarted := make(chan struct{})
				go func() {
					defer close(restarted)
					time.Sleep(2 * time.Second)
					synctest.Wait()
					dead = true
					b.end()
					dead = false
					next := b.executor("n1")
					next.Verifier.Replays = b.e.Verifier.Replays // as from its file
					if died {
						s, _, err := OpenTombstones(dir, time.Minute, time.Hour, time.Now)
						if err == nil {
							err = s.Begin("abc", "opens")
						}
						if err == nil {
							next.Tombstones, _, err = OpenTombstones(dir, time.Minute, time.Hour, time.Now)
						}
						if err != nil {
							t.Error(err)
						}
					}
					b.end = b.start(next)
				}()
				r := b.follow(t.Context(), g)
				<-restarted
				r.want(t, output.ReasonFailed, "cannot tell how it ended: its executor "+map[bool]string{false: "was restarted", true: "died while opens was loaded"}[died])
				if r.summary.Delivered != 7 || b.kernel.loads != 1 {
					t.Errorf("%d events, %d loads", r.summary.Delivered, b.kernel.loads)
				}
			})
		})
	}
	t.Run("it was over but not acknowledged", func(t *testing.T) {
		onBench(t, func(t *testing.T, b *bench) {
			b.bus.ack = func(context.Context, string, string) error { return errors.New("timeout") }
			b.serve()
			r := b.run(b.grant(time.Second))
			r.want(t, output.ReasonDeadline, "")
			b.end()
			b.bus.ack = nil
			b.end = b.start(b.e)
			synctest.Wait()
			b.end()
			b.end = b.start(b.executor("n1")) // it forgot, but nothing is left to deliver
			synctest.Wait()
			if b.kernel.loads != 1 || b.audit() != "accepted attached ended refused:replayed" {
				t.Errorf("%d loads, audit log: %s", b.kernel.loads, b.audit())
			}
		})
	})
}

func TestSeveralRuns(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.e.Policy.MaxRuns = 2
		b.serve()
		first, second, third := b.dispatch(b.grant(20*time.Second)), b.dispatch(b.grant(time.Hour)), b.dispatch(b.grant(time.Minute))
		results := make(chan result, 3)
		for _, g := range []job.Grant{first, second} {
			go func() { results <- b.follow(t.Context(), g) }()
		}
		synctest.Wait()
		b.follow(t.Context(), third).want(t, output.ReasonRefused, "2 runs are in progress, at most 2")

		sameName := b.grant(time.Minute)
		sameName.Run = second.Run
		b.dispatch(sameName)
		synctest.Wait()

		(<-results).want(t, output.ReasonDeadline, "")
		// The node gives the place back after its last word; then there is room again.
		synctest.Wait()
		b.run(b.grant(time.Second)).want(t, output.ReasonDeadline, "")
		if err := Stop(t.Context(), b.bus, second.Run); err != nil {
			t.Error(err)
		}
		(<-results).want(t, output.ReasonStopped, "")
		b.end()
		if !strings.Contains(b.audit(), "refused:runs") || !strings.Contains(b.audit(), "refused:run ") || b.kernel.loads != 3 {
			t.Errorf("%d loads, audit log: %s", b.kernel.loads, b.audit())
		}
	})
}

func TestServeNeedsItsParts(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		for name, spoil := range map[string]func(*Executor){
			"name":     func(e *Executor) { e.Node.Name = "no name" },
			"verifier": func(e *Executor) { e.Verifier = nil },
			"another":  func(e *Executor) { e.Verifier.Node = "n2" },
			"labels":   func(e *Executor) { e.Node.Labels = map[string]string{"env": "prod"} },
			"kernel":   func(e *Executor) { e.Kernel = nil },
			"bus":      func(e *Executor) { e.Bus = nil },
		} {
			e := b.executor("n1")
			spoil(e)
			if err := e.Serve(t.Context()); err == nil {
				t.Errorf("%s: it serves", name)
			}
		}
	})
}

func TestAnnouncement(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.e.Node.Labels = map[string]string{"role": "db"}
		b.e.Verifier.Labels = b.e.Node.Labels
		b.serve()
		for range 3 {
			time.Sleep(time.Minute)
			nodes, err := b.bus.Nodes(t.Context())
			if err != nil || len(nodes) != 1 || nodes[0].Name != "n1" || nodes[0].Labels["role"] != "db" || nodes[0].Kernel != "6.18.0" {
				t.Fatalf("listed %+v, %v", nodes, err)
			}
		}
		b.end()
		if nodes, err := b.bus.Nodes(t.Context()); err != nil || len(nodes) != 0 {
			t.Errorf("listed after the end: %+v, %v", nodes, err)
		}
	})
}

func FuzzClaimedRun(f *testing.F) {
	f.Add([]byte(`{"grant":"eyJydW4iOiJyLTEifQ=="}`)) // {"run":"r-1"}
	f.Add([]byte(`{"grant":"eyJydW4iOiJhLy4uL2IifQ=="}`))
	f.Add([]byte(`{"grant":null}`))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		if run := claimedRun(envelope); run != "" && bus.CheckName(run) != nil {
			t.Errorf("%q is no name", run)
		}
	})
}
