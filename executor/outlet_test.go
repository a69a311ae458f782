package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

func TestBucket(t *testing.T) {
	start := time.Unix(0, 0)
	for _, test := range []struct {
		name string
		rate int
		at   []time.Duration // one attempt each
		want string          // of each attempt: y or n
	}{
		{"no bound", 0, []time.Duration{0, 0, 0, 0}, "yyyy"},
		{"a second's worth at once", 3, []time.Duration{0, 0, 0, 0}, "yyyn"},
		{"filled again in time", 2, []time.Duration{0, 0, 0, 499 * time.Millisecond, 500 * time.Millisecond, 501 * time.Millisecond}, "yynnyn"},
		{"never more than a second's worth", 2, []time.Duration{time.Hour, time.Hour, time.Hour}, "yyn"},
		{"a clock that goes back fills nothing", 1, []time.Duration{time.Second, 0, time.Second}, "ynn"},
	} {
		b := newBucket(test.rate, start)
		got := ""
		for _, at := range test.at {
			if b.take(start.Add(at)) {
				got += "y"
			} else {
				got += "n"
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// A flood over the rate: what passes, and that nothing is unaccounted for.
func TestFloodIsLimited(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
				for ctx.Err() == nil { // 20000 events a second
					for range 200 {
						p.emit(sink)
					}
					p.lose(3)
					time.Sleep(10 * time.Millisecond)
				}
				return nil
			}}
		}
		b.serve()
		g := b.grant(10 * time.Second)
		g.Limits.EventsPerSecond = 500
		r := b.run(g)
		r.want(t, output.ReasonDeadline, "")
		c := r.summary.Counters
		if c.Produced != b.probe().produced || c.Produced < 200_000 || c.KernelLost < 3000 {
			t.Errorf("account %+v, produced %d", c, b.probe().produced)
		}
		if c.Delivered < 500*10 || c.Delivered > 500*11+1 || c.BusTrimmed != 0 {
			t.Errorf("%d delivered in 10 s, want 500 a second and 500 more at once", c.Delivered)
		}
	})
}

// Whatever a bus does to chunks, the account comes out exact, and the probe
// never waits.
func TestBadBuses(t *testing.T) {
	lost := errors.New("i/o timeout")
	rng := rand.New(rand.NewPCG(1, 2))
	for _, test := range []struct {
		name    string
		publish func(b *bench) func(ctx context.Context, c bus.Chunk) error
		check   func(c output.Counters) bool
	}{
		{"says that it failed, and did not", func(b *bench) func(context.Context, bus.Chunk) error {
			return func(ctx context.Context, c bus.Chunk) error {
				if err := b.bus.Bus.Publish(ctx, c); err != nil {
					return err
				}
				if rng.IntN(3) == 0 {
					return lost
				}
				return nil
			}
		}, func(c output.Counters) bool { return c.BusTrimmed == 0 && c.Dropped == 0 }},
		{"fails now and then", func(b *bench) func(context.Context, bus.Chunk) error {
			return func(ctx context.Context, c bus.Chunk) error {
				if rng.IntN(3) == 0 {
					return lost
				}
				return b.bus.Bus.Publish(ctx, c)
			}
		}, func(c output.Counters) bool { return c.BusTrimmed == 0 && c.Dropped == 0 }},
		{"says that it succeeded, and did not", func(b *bench) func(context.Context, bus.Chunk) error {
			return func(ctx context.Context, c bus.Chunk) error {
				if !c.Final && rng.IntN(3) == 0 {
					return nil
				}
				return b.bus.Bus.Publish(ctx, c)
			}
		}, func(c output.Counters) bool { return c.BusTrimmed > 0 && c.Dropped == 0 }},
		{"is slow", func(b *bench) func(context.Context, bus.Chunk) error {
			return func(ctx context.Context, c bus.Chunk) error {
				time.Sleep(time.Second)
				return b.bus.Bus.Publish(ctx, c)
			}
		}, func(c output.Counters) bool { return c.BusTrimmed > 0 && c.Dropped > 0 && c.Delivered > 0 }},
		{"does not answer for a while", func(b *bench) func(context.Context, bus.Chunk) error {
			start := time.Now()
			return func(ctx context.Context, c bus.Chunk) error {
				if d := time.Since(start); d > 3*time.Second && d < 7*time.Second {
					<-ctx.Done()
					return ctx.Err()
				}
				return b.bus.Bus.Publish(ctx, c)
			}
		}, func(c output.Counters) bool { return c.BusTrimmed == 0 && c.Dropped > 0 && c.Delivered > 0 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				b.bus.publish = test.publish(b)
				b.kernel.make = func() *fakeProbe {
					return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
						for range 1000 {
							start := time.Now()
							for range 20 {
								p.emit(sink)
								sink.Record(output.Text{Node: "n1", Line: "beside"})
							}
							// Fake time: any wait at all would show.
							if d := time.Since(start); d != 0 {
								t.Errorf("the probe waited %v", d)
							}
							time.Sleep(10 * time.Millisecond)
						}
						<-ctx.Done()
						return nil
					}}
				}
				if strings.Contains(test.name, "slow") || strings.Contains(test.name, "answer") {
					wide := strings.Repeat("x", 2000)
					b.kernel.make = func() *fakeProbe {
						return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
							for range 1000 {
								start := time.Now()
								for range 20 {
									p.mu.Lock()
									p.produced++
									p.mu.Unlock()
									if sink.Admit() {
										sink.Line(fmt.Appendf(nil, `{"type":"event","data":{"x":"%s"}}`, wide))
									}
								}
								if d := time.Since(start); d != 0 {
									t.Errorf("the probe waited %v", d)
								}
								time.Sleep(10 * time.Millisecond)
							}
							<-ctx.Done()
							return nil
						}}
					}
				}
				b.serve()
				r := b.run(b.grant(12 * time.Second))
				if c := r.summary.Counters; c.Produced != 20_000 || !test.check(c) {
					t.Errorf("account %+v (%s)", c, r.summary.Detail)
				}
				missing := ""
				if r.summary.BusTrimmed > 0 {
					missing = "chunks of its output did not arrive"
				}
				r.want(t, output.ReasonDeadline, missing)
				if r.took > 12*time.Second+2*grace {
					t.Errorf("it took %v", r.took)
				}
			})
		})
	}
}

// A follower that cannot keep up: the bus trims, and that is accounted for.
func TestTrimming(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
				for range 4 * bus.KeepChunks {
					for range 3 {
						p.emit(sink)
					}
					time.Sleep(chunkDelay)
				}
				<-ctx.Done()
				return nil
			}}
		}
		b.serve()
		g := b.dispatch(b.grant(10 * time.Minute))
		first := true
		events := uint64(0)
		s, err := Follow(t.Context(), b.bus, &g, func(line []byte) {
			if strings.HasPrefix(string(line), `{"type":"event"`) {
				events++
			}
			if first {
				first = false
				time.Sleep(9 * time.Minute) // a pipe that nobody reads
			}
		})
		if err != nil || s.Reason != output.ReasonDeadline {
			t.Errorf("%s: %s, %v", s.Reason, s.Detail, err)
		}
		if s.BusTrimmed == 0 || s.Delivered != events || s.Produced != 3*4*bus.KeepChunks || !s.Balanced() {
			t.Errorf("%+v, %d events came", s.Counters, events)
		}
	})
}

// published collects the chunks of an outlet.
type published struct {
	bus.Node
	mu     sync.Mutex
	chunks []bus.Chunk
	at     []time.Time
}

func (p *published) Publish(_ context.Context, c bus.Chunk) error {
	c.Lines = bytes.Clone(c.Lines)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chunks, p.at = append(p.chunks, c), append(p.at, time.Now())
	return nil
}

// all returns the chunks and when they came.
func (p *published) all() ([]bus.Chunk, []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.chunks), slices.Clone(p.at)
}

func TestChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &published{}
		start := time.Now()
		o := newOutlet(t.Context(), p, "r", "n", rates{}, nil, nil)
		line := []byte(`{"type":"event","data":{"x":"` + strings.Repeat("y", 400) + `"}}`)
		big := output.Text{Line: strings.Repeat("z", 3*chunkBytes)}
		var produced atomic.Uint64
		o.begin(func() (uint64, uint64, uint64, error) { return produced.Load(), 0, 0, nil })
		emit := func() {
			produced.Add(1)
			if o.Admit() {
				o.Line(line)
			}
		}
		synctest.Wait()
		if chunks, _ := p.all(); len(chunks) != 1 || len(chunks[0].Lines) != 0 || chunks[0].Seq != 1 {
			t.Fatalf("no sign of life at the beginning: %+v", chunks)
		}
		time.Sleep(heartbeat / 2)
		emit()
		emitted := time.Now()
		time.Sleep(3 * heartbeat)
		chunks, at := p.all()
		for i, c := range chunks {
			if c.Events == 1 {
				if d := at[i].Sub(emitted); d > chunkDelay {
					t.Errorf("a lone event was sent after %v, at most %v", d, chunkDelay)
				}
			}
		}
		if n := len(chunks); n < 4 || n > 6 {
			t.Errorf("%d chunks after 3.5 s with one event; want a sign of life a second", n)
		}
		for range 2000 {
			emit()
		}
		o.Record(big)
		emit()
		c, err := o.seal(true)
		if err != nil {
			t.Error(err)
		}
		emit() // too late
		o.Line(line)
		o.Record(big)
		produced.Add(^uint64(0))
		if err := o.finish(output.NodeSummary{Node: "n", Reason: output.ReasonDeadline, Counters: c}); err != nil {
			t.Error(err)
		}

		var events uint64
		var all []byte
		chunks, _ = p.all()
		for i, c := range chunks {
			if c.Seq != uint64(i)+1 || c.Run != "r" || c.Node != "n" {
				t.Fatalf("chunk %d: %s %s %d", i, c.Run, c.Node, c.Seq)
			}
			if n := len(c.Lines); n > 0 && c.Lines[n-1] != '\n' {
				t.Errorf("chunk %d ends in the middle of a line", c.Seq)
			}
			if len(c.Lines) > chunkBytes && bytes.Count(c.Lines, []byte("\n")) > 1 {
				t.Errorf("chunk %d has %d bytes and more than one line", c.Seq, len(c.Lines))
			}
			if got := uint64(bytes.Count(c.Lines, []byte(`"event"`))); got != c.Events {
				t.Errorf("chunk %d has %d events and says %d", c.Seq, got, c.Events)
			}
			events += c.Events
			if c.Counters.Delivered != events || c.Counters.Produced < events {
				t.Errorf("chunk %d: %+v after %d events", c.Seq, c.Counters, events)
			}
			if c.Final != (i == len(chunks)-1) {
				t.Errorf("chunk %d of %d: final %v", c.Seq, len(chunks), c.Final)
			}
			all = append(all, c.Lines...)
		}
		last := chunks[len(chunks)-1]
		if events != 2002 || c.Delivered != 2002 || last.Counters != c || last.Attached < 3*heartbeat || last.Attached > time.Since(start) {
			t.Errorf("%d events; account %+v; final chunk %+v", events, c, last.Counters)
		}
		lines := bytes.Split(bytes.TrimSuffix(all, []byte("\n")), []byte("\n"))
		if len(lines) != 2004 || !bytes.HasPrefix(lines[2003], []byte(`{"type":"node_summary"`)) {
			t.Errorf("%d lines, the last %.40s", len(lines), lines[len(lines)-1])
		}
	})
}

// Many writers at once, for the race detector.
// A node's own rates hold whatever was granted; what is over is counted, and of
// text it is said.
func TestNodeRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &published{}
		o := newOutlet(t.Context(), p, "r", "n", rates{lines: 10, bytes: 1000}, nil, nil)
		o.begin(func() (uint64, uint64, uint64, error) { return 12, 0, 0, nil })
		for range 8 { // of 100 bytes: within both
			if o.Admit() {
				o.Line(bytes.Repeat([]byte("e"), 99))
			}
		}
		for range 3 { // two more lines are
			o.Record(output.Text{Line: "hello"})
		}
		time.Sleep(time.Second)
		for range 4 { // of 600 bytes: two of them empty the second bucket
			if o.Admit() {
				o.Line(bytes.Repeat([]byte("e"), 599))
			}
		}
		c, err := o.seal(true)
		if want := (output.Counters{Produced: 12, Delivered: 10, Dropped: 2}); c != want || err == nil || !strings.Contains(err.Error(), "1 lines of text were over this node's rate") {
			t.Errorf("account %+v, %v; want %+v", c, err, want)
		}
		if err := o.finish(); err != nil {
			t.Error(err)
		}
	})
}

func TestOutletConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &published{}
		o := newOutlet(t.Context(), p, "r", "n", rates{events: 1000}, nil, nil)
		done := make(chan struct{})
		for range 4 {
			go func() {
				for range 5000 {
					if o.Admit() {
						o.Line([]byte(`{"type":"event"}`))
					}
					o.Record(output.Text{Line: "x"})
				}
				done <- struct{}{}
			}()
		}
		for range 4 {
			<-done
		}
		c, err := o.seal(true)
		if err == nil {
			t.Error("an account of 20000 events of which the probe knows nothing balances")
		}
		if c.Delivered+c.Dropped != 20_000 || c.Delivered < 1000 {
			t.Errorf("%+v", c)
		}
		if err := o.finish(output.NodeSummary{}); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkSink(b *testing.B) {
	o := newOutlet(b.Context(), discard{}, "r", "n", rates{}, nil, nil)
	line := []byte(`{"type":"event","node":"n1","stream":"events","data":{"pid":1234,"comm":"postgres","daddr":"2001:db8::1","dport":443}}` + "\n")
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if o.Admit() {
			o.Line(line)
		}
	}
	b.StopTimer()
	o.finish(output.NodeSummary{})
}

type discard struct{ bus.Node }

func (discard) Publish(context.Context, bus.Chunk) error { return nil }

// BenchmarkDelivery takes events the whole way: sink, chunks, bus, follower.
func BenchmarkDelivery(b *testing.B) {
	line := []byte(`{"type":"event","node":"n","stream":"events","data":{"pid":1234,"comm":"postgres","daddr":"2001:db8::1","dport":443}}` + "\n")
	m := bus.NewMemory()
	o := newOutlet(b.Context(), m, "r", "n", rates{}, nil, nil)
	var produced atomic.Uint64
	o.begin(func() (uint64, uint64, uint64, error) { return produced.Load(), 0, 0, nil })
	g := job.Grant{Run: "r", Nodes: []string{"n"}, Limits: job.Limits{Duration: time.Hour}}
	done := make(chan output.Summary)
	go func() {
		s, err := Follow(b.Context(), m, &g, func([]byte) {})
		if err != nil {
			b.Error(err)
		}
		done <- s
	}()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		produced.Add(1)
		if o.Admit() {
			o.Line(line)
		}
	}
	c, err := o.seal(true)
	if err != nil {
		b.Error(err)
	}
	if err := o.finish(output.NodeSummary{Node: "n", Reason: output.ReasonDeadline, Counters: c}); err != nil {
		b.Error(err)
	}
	s := <-done
	if !s.Balanced() {
		b.Errorf("%+v", s.Counters)
	}
	b.ReportMetric(float64(s.Delivered)/b.Elapsed().Seconds(), "delivered/s")
	b.ReportMetric(100*float64(s.Produced-s.Delivered)/float64(s.Produced), "%lost")
}
