package executor

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/output"
)

// A real Redis fails in mid-run. The run goes on or says why it ended, the
// account is exact either way, and the node takes the next run.
func TestBusInTrouble(t *testing.T) {
	rdb.Quiet()
	for _, test := range []struct {
		name    string
		trouble func(t *testing.T, run string) (bus.Bus, func())
	}{
		{"restarted with its data", func(t *testing.T, _ string) (bus.Bus, func()) {
			s := rdbtest.Start(t, rdbtest.AppendOnly())
			return bus.NewRedis(s.Client()), s.Restart
		}},
		{"restarted without", func(t *testing.T, _ string) (bus.Bus, func()) {
			s := rdbtest.Start(t)
			return bus.NewRedis(s.Client()), s.Restart
		}},
		{"emptied, groups and all", func(t *testing.T, _ string) (bus.Bus, func()) {
			s := rdbtest.Start(t)
			return bus.NewRedis(s.Client()), func() { s.Client().FlushAll(t.Context()) }
		}},
		{"its output trimmed", func(t *testing.T, run string) (bus.Bus, func()) {
			s := rdbtest.Start(t)
			return bus.NewRedis(s.Client()), func() { s.Client().XTrimMaxLen(t.Context(), "out:"+run+":n1", 0) }
		}},
		{"a primary of a cluster killed", func(t *testing.T, run string) (bus.Bus, func()) {
			c := rdbtest.StartCluster(t, 1)
			return bus.NewRedis(c.Client()), func() { c.Failover("out:{" + run + "}:n1") }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := realBench(t, plain, program.Options{})
			b.kernel.make = func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
					for tick := time.NewTicker(2 * time.Millisecond); ; {
						select {
						case <-ctx.Done():
							tick.Stop()
							return nil
						case <-tick.C:
							p.emit(sink)
						}
					}
				}}
			}
			g := b.grant(time.Minute)
			line, trouble := test.trouble(t, g.Run)
			b.bus.Bus = line
			b.serve()
			defer b.end()
			g = b.dispatch(g)

			came := make(chan struct{}, 1)
			ended := make(chan result, 1)
			go func() {
				var r result
				r.summary, r.err = Follow(t.Context(), b.bus, &g, func(line []byte) {
					if strings.HasPrefix(string(line), `{"type":"event"`) {
						r.lines = append(r.lines, string(line))
						select {
						case came <- struct{}{}:
						default:
						}
					}
				})
				ended <- r
			}()
			<-came
			trouble()
			select { // what was on its way
			case <-came:
			default:
			}
			var r result
			select {
			case <-came: // it goes on
				if err := keepStopping(t.Context(), b.bus, g.Run); err != nil {
					t.Error(err)
				}
				r = <-ended
			case r = <-ended:
			}
			t.Logf("it ended %s: %s; %+v", r.summary.Reason, r.summary.Detail, r.summary.Counters)
			if r.err != nil || !r.summary.Balanced() || r.summary.Delivered != uint64(len(r.lines)) {
				t.Errorf("%v; %d events came", r.err, len(r.lines))
			}
			switch r.summary.Reason {
			case output.ReasonStopped, output.ReasonOutput:
				if p := b.probe(); r.summary.Produced != p.produced {
					t.Errorf("%d events produced, %d according to the account", p.produced, r.summary.Produced)
				}
			case output.ReasonFailed: // its last word was lost with what held it
			default:
				t.Errorf("it ended %s: %s", r.summary.Reason, r.summary.Detail)
			}

			// The node is there for the next one.
			next := b.run(b.grant(100 * time.Millisecond))
			next.want(t, output.ReasonDeadline, "")
		})
	}
}

// A node floods its share of a run on very many while nobody reads: the oldest output gives
// way, is counted as trimmed, and the account is exact.
func TestShareOfARun(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		const events = 20_000
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
				for n := range events {
					p.emit(sink)
					if n%100 == 0 {
						pause(ctx, 10*time.Millisecond) // for the sender
					}
				}
				<-ctx.Done()
				return nil
			}}
		}
		var nodes []string
		for i := range 1000 {
			nodes = append(nodes, fmt.Sprint("n", i))
		}
		b.bus.follow = func(ctx context.Context, run string, nodes []string, each func(bus.Chunk) error) error {
			pause(ctx, 8*time.Second) // who follows is slow to begin
			return b.bus.Bus.Follow(ctx, run, nodes, each)
		}
		b.serve()
		r := b.run(b.grant(5*time.Second, nodes...))
		s := r.summary
		if s.Produced != events || s.BusTrimmed == 0 || s.Delivered+s.BusTrimmed != events || s.Delivered*60 > bus.RunBytes/1000 || s.Delivered*80 < bus.RunBytes/1000/2 {
			t.Errorf("%+v", s.Counters)
		}
	})
}
