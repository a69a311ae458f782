package executor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// script is a node that says what a test wants.
type script struct {
	t    *testing.T
	b    bus.Bus
	run  string
	node string
	seq  uint64
	sum  output.Counters
}

// say publishes a chunk with so many events.
func (s *script) say(events int) bus.Chunk {
	s.t.Helper()
	s.seq++
	s.sum.Produced += uint64(events)
	s.sum.Delivered += uint64(events)
	c := bus.Chunk{
		Run: s.run, Node: s.node, Seq: s.seq, Events: uint64(events), Counters: s.sum,
		Lines: []byte(strings.Repeat(`{"type":"event","node":"`+s.node+`"}`+"\n", events)),
	}
	if err := s.b.Publish(s.t.Context(), c); err != nil {
		s.t.Error(err)
	}
	return c
}

// end publishes the final chunk.
func (s *script) end(reason output.Reason, detail string) {
	s.t.Helper()
	s.seq++
	line, err := output.Encode(output.NodeSummary{Node: "whoever", Reason: reason, Detail: detail,
		Overhead: output.Overhead{Runs: 1, Available: true, AttachMS: float64(len(s.node))}})
	if err != nil {
		s.t.Fatal(err)
	}
	c := bus.Chunk{Run: s.run, Node: s.node, Seq: s.seq, Counters: s.sum, Attached: 3 * time.Second, Lines: line, Final: true}
	if err := s.b.Publish(s.t.Context(), c); err != nil {
		s.t.Error(err)
	}
}

// scripted runs a test of Follow against nodes that follow scripts.
func scripted(t *testing.T, nodes []string, f func(t *testing.T, b *bench, g job.Grant, s []*script)) {
	onBench(t, func(t *testing.T, b *bench) {
		g := b.grant(time.Minute, nodes...)
		var s []*script
		for _, n := range nodes {
			s = append(s, &script{t: t, b: b.bus.Bus, run: g.Run, node: n})
		}
		f(t, b, g, s)
	})
}

func TestFollowMerges(t *testing.T) {
	scripted(t, []string{"a", "b", "c"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
		for i, n := range s {
			go func() {
				for range 10 {
					n.say(i + 1)
					time.Sleep(time.Second)
				}
				n.sum.KernelLost, n.sum.Dropped, n.sum.MapFull = 1, 2, 3
				n.sum.Produced += 3
				n.end(output.ReasonDeadline, "")
			}()
		}
		r := b.follow(t.Context(), g)
		r.want(t, output.ReasonDeadline, "")
		want := output.Counters{Produced: 69, Delivered: 60, KernelLost: 3, Dropped: 6, MapFull: 9}
		if r.err != nil || r.summary.Counters != want || r.summary.Detail != "" || r.summary.Seconds != 3 {
			t.Errorf("%+v, %v", r.summary, r.err)
		}
		if o := r.summary.Overhead; o.Runs != 3 || o.AttachMS != 1 || !o.Available {
			t.Errorf("overhead %+v", o)
		}
		for i, n := range r.summary.Nodes {
			if n.Node != s[i].node || n.Delivered != 10*uint64(i+1) || n.Reason != output.ReasonDeadline {
				t.Errorf("node %d: %+v", i, n)
			}
		}
		if r.count("node_summary") != 0 {
			t.Error("a node's summary was handed on")
		}
	})
}

// Chunks that come twice, not at all, or from elsewhere.
func TestFollowCounts(t *testing.T) {
	for _, test := range []struct {
		name    string
		act     func(b *bench, s *script)
		want    output.Counters
		reason  output.Reason
		detail  string
		missing bool
	}{
		{"chunks come twice", func(b *bench, s *script) {
			one := s.say(3)
			s.b.Publish(context.Background(), one)
			two := s.say(4)
			s.b.Publish(context.Background(), one)
			s.b.Publish(context.Background(), two)
			s.end(output.ReasonDeadline, "")
			s.b.Publish(context.Background(), two)
		}, output.Counters{Produced: 7, Delivered: 7}, output.ReasonDeadline, "", false},
		{"the first chunks are gone", func(b *bench, s *script) {
			s.seq, s.sum = 5, output.Counters{Produced: 100, Delivered: 100}
			s.say(4)
			s.end(output.ReasonDeadline, "")
		}, output.Counters{Produced: 104, Delivered: 4, BusTrimmed: 100}, output.ReasonDeadline, "5 chunks of its output did not arrive", true},
		{"chunks in the middle are gone", func(b *bench, s *script) {
			s.say(1)
			s.seq += 2
			s.sum.Produced, s.sum.Delivered, s.sum.KernelLost = s.sum.Produced+23, s.sum.Delivered+20, 3
			s.say(1)
			s.end(output.ReasonStopped, "by hand")
		}, output.Counters{Produced: 25, Delivered: 2, BusTrimmed: 20, KernelLost: 3}, output.ReasonStopped, "by hand; 2 chunks", true},
		{"everything but the end is gone", func(b *bench, s *script) {
			s.seq, s.sum = 9, output.Counters{Produced: 50, Delivered: 40, Dropped: 10}
			s.end(output.ReasonDeadline, "")
		}, output.Counters{Produced: 50, BusTrimmed: 40, Dropped: 10}, output.ReasonDeadline, "9 chunks", true},
		{"it refuses", func(b *bench, s *script) {
			line, _ := output.Encode(output.NodeSummary{Reason: output.ReasonRefused, Detail: "refusing grant: expired"})
			s.b.Publish(context.Background(), bus.Chunk{Run: s.run, Node: s.node, Lines: line, Final: true})
		}, output.Counters{}, output.ReasonRefused, "refusing grant: expired", false},
		{"it has forgotten the run", func(b *bench, s *script) {
			s.say(3)
			s.sum.Produced += 7 // that it had not delivered yet
			s.say(3)
			line, _ := output.Encode(output.NodeSummary{Reason: output.ReasonFailed, Detail: "restarted"})
			s.b.Publish(context.Background(), bus.Chunk{Run: s.run, Node: s.node, Lines: line, Final: true})
		}, output.Counters{Produced: 13, Delivered: 6, BusTrimmed: 7}, output.ReasonFailed, "restarted", false},
		{"it falls silent", func(b *bench, s *script) {
			s.say(3)
			s.sum.Produced += 7
			s.say(3)
		}, output.Counters{Produced: 13, Delivered: 6, BusTrimmed: 7}, output.ReasonFailed, "it fell silent: nothing for 10s", false},
		{"it never answers", func(b *bench, s *script) {
		}, output.Counters{}, output.ReasonFailed, "no answer within 10s: see that its executor runs", false},
		{"it does not end", func(b *bench, s *script) {
			for range 190 {
				time.Sleep(time.Second)
				s.say(0)
			}
		}, output.Counters{}, output.ReasonFailed, "its 1m0s were over long ago", false},
		{"its end cannot be read", func(b *bench, s *script) {
			s.seq++
			s.b.Publish(context.Background(), bus.Chunk{Run: s.run, Node: s.node, Seq: 1, Lines: []byte("{\"type\":\"summ\n"), Final: true})
		}, output.Counters{}, output.ReasonFailed, "reading the end of its output: decoding record", false},
		{"its end is something else", func(b *bench, s *script) {
			s.b.Publish(context.Background(), bus.Chunk{Run: s.run, Node: s.node, Seq: 1, Lines: []byte("{\"type\":\"text\"}\n"), Final: true})
		}, output.Counters{}, output.ReasonFailed, "it is no summary", false},
		{"its end has no lines", func(b *bench, s *script) {
			s.b.Publish(context.Background(), bus.Chunk{Run: s.run, Node: s.node, Seq: 1, Final: true})
		}, output.Counters{}, output.ReasonFailed, "reading the end of its output", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			scripted(t, []string{"a"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
				done := make(chan struct{})
				go func() {
					defer close(done)
					test.act(b, s[0])
				}()
				r := b.follow(t.Context(), g)
				r.want(t, test.reason, test.detail)
				if r.summary.Counters != test.want || r.err != nil {
					t.Errorf("account %+v, %v; want %+v", r.summary.Counters, r.err, test.want)
				}
				if strings.Contains(r.summary.Detail, "did not arrive") != test.missing {
					t.Errorf("detail %q", r.summary.Detail)
				}
				if n := r.summary.Nodes; len(n) != 1 || n[0].Node != "a" || n[0].Counters != test.want {
					t.Errorf("nodes %+v", n)
				}
				// A node that is given up must not run on, or begin.
				gaveUp := test.reason == output.ReasonFailed && test.detail != "restarted" && !strings.Contains(test.name, "its end")
				if l, err := b.bus.Lease(t.Context(), g.Run); err != nil || (l == bus.LeaseStopped) != gaveUp {
					t.Errorf("the lease is %v, %v; given up: %v", l, err, gaveUp)
				}
				<-done
			})
		})
	}
}

// A node whose numbers make no sense is not believed.
// A node that was taken over cannot put words into another's mouth, end the run
// in its name, or send what nobody can hold.
func TestFollowOtherVoices(t *testing.T) {
	good := []string{
		`{"type":"event","node":"a","stream":"s","data":{"x":1}}`, `{"type":"event","node":"a","stream":"s","data":{"node":"b"}}`,
		`{"type":"event","node":"a","stream":"s","data":{"x":"\"node\":\"b\""}}`, `{"type":"text","node":"a","line":"b"}`, `{"type":"error","code":"node","message":"m"}`, `no record`,
	}
	bad := []string{
		`{"type":"event","node":"b","stream":"s","data":{}}`, `{"type":"event","node":"a","stream":"s","data":{},"node":"b"}`,
		`{"type":"event","node":"a","stream":"s","data":{},"NoDe":"b"}`, `{"type":"event","node":"a","stream":"s","data":{},"\u006eode":"b"}`,
		`{"node":"b","type":"event"}`, `{"type":"map","node":"b","name":"m"}`, `{"type":"text","node":"ab","line":"x"}`, `{"type":"attached","node":"b"}`,
		`{"type":"summary","reason":"deadline"}`, `{"type":"node_summary","node":"a","reason":"deadline"}`, `{"type":"candidate","digest":"d"}`, `{"type":"stage","name":"load"}`,
		`{"type":"text","node":"a","line":"` + strings.Repeat("x", output.MaxLine) + `"}`,
	}
	f := newFollower(&job.Grant{Run: "r", Nodes: []string{"a", "b"}}, nil, time.Now())
	var got []string
	f.sink = func(line []byte) { got = append(got, strings.TrimSuffix(string(line), "\n")) }
	for i, line := range append(slices.Clone(bad), good...) {
		f.take(bus.Chunk{Run: "r", Node: "a", Seq: uint64(i + 1), Lines: []byte(line + "\n")}, time.Now())
	}
	if !slices.Equal(got, good) {
		t.Errorf("handed on %.2000q, want %q", got, good)
	}
	last, err := output.Encode(output.NodeSummary{Node: "b", Reason: output.ReasonDeadline, Detail: strings.Repeat("ä", 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	f.take(bus.Chunk{Run: "r", Node: "a", Seq: 100, Final: true, Lines: last}, time.Now())
	end := f.named["a"].end
	if end == nil || f.named["b"].end != nil || end.Node != "a" || len(end.Detail) > maxDetail+200 || !strings.Contains(end.Detail, fmt.Sprintf("%d records were left out", len(bad))) {
		t.Errorf("its end: %+.300v", end)
	}
}

func TestFollowLies(t *testing.T) {
	for _, c := range []output.Counters{
		{Produced: 1, Delivered: 1},                   // less than came
		{Produced: 10, Delivered: 3},                  // and 7 that nobody knows of
		{Produced: 3, Delivered: 3, KernelLost: 1000}, // more than there were
	} {
		scripted(t, []string{"a"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
			s[0].say(3)
			s[0].sum = c
			s[0].end(output.ReasonDeadline, "")
			sum, err := Follow(t.Context(), b.bus, &g, func([]byte) {})
			result{summary: sum}.want(t, output.ReasonFailed, "its account of events does not add up")
			if sum.Delivered != 3 || err != nil {
				t.Errorf("%+v, %v", sum, err)
			}
		})
	}
}

func TestFollowSeveral(t *testing.T) {
	all := []string{"n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"}
	scripted(t, all, func(t *testing.T, b *bench, g job.Grant, s []*script) {
		for _, n := range s[2:] {
			n.say(1)
		}
		s[7].end(output.ReasonStopped, "")
		for _, n := range s[2:7] {
			n.end(output.ReasonRefused, "no")
		}
		r := b.follow(t.Context(), g)
		r.want(t, output.ReasonFailed, "n1: no answer within 10s")
		if d := r.summary.Detail; !strings.Contains(d, "n5: no; and 2 more") || strings.Contains(d, "n8") || len(r.summary.Nodes) != 8 {
			t.Errorf("detail %q", d)
		}
	})
}

// Forty nodes, of which one never answers, one falls silent and one is late: the answer
// comes after a bounded wait, has all that arrived, and names them.
func TestFollowMany(t *testing.T) {
	var all []string
	for i := range 40 {
		all = append(all, fmt.Sprint("n", i+1))
	}
	scripted(t, all, func(t *testing.T, b *bench, g job.Grant, s []*script) {
		go func() {
			for i, n := range s {
				if i != 4 {
					n.say(i)
				}
			}
			time.Sleep(3 * time.Second)
			for i, n := range s {
				if i != 4 && i != 9 && i != 20 {
					n.end(output.ReasonDeadline, "")
				}
			}
			time.Sleep(4 * time.Second)
			s[20].end(output.ReasonDeadline, "")
		}()
		r := b.follow(t.Context(), g)
		r.want(t, output.ReasonFailed, "n5: no answer within 10s")
		if want := 39*40/2 - 4; r.summary.Delivered != uint64(want) {
			t.Errorf("%d events, want %d", r.summary.Delivered, want)
		}
		if r.took > answerLimit+2*lookEvery {
			t.Errorf("it took %v", r.took)
		}
		for _, n := range r.summary.Nodes {
			want := output.ReasonDeadline
			if n.Node == "n5" || n.Node == "n10" {
				want = output.ReasonFailed
			}
			if n.Reason != want {
				t.Errorf("%+v", n)
			}
		}
		if d := r.summary.Detail; !strings.Contains(d, "n10: it fell silent") {
			t.Errorf("detail %q", d)
		}
	})
}

// A node that was given up and comes back is heard to its end, and that it was late is
// said. What is only repeated brings nobody back.
func TestFollowLate(t *testing.T) {
	for _, test := range []struct {
		name   string
		late   func(s *script)
		want   output.Counters // of the late one
		reason output.Reason
		detail string
	}{
		{"its first word", func(s *script) {
			time.Sleep(14 * time.Second)
			s.say(3)
			time.Sleep(5 * time.Second)
			s.end(output.ReasonDeadline, "")
		}, output.Counters{Produced: 3, Delivered: 3}, output.ReasonDeadline, "its first word came only after 14s"},
		{"silent for a while", func(s *script) {
			s.say(2)
			s.sum.Produced += 5
			s.say(2)
			time.Sleep(13 * time.Second)
			s.sum.Dropped = 5
			s.say(1)
			s.end(output.ReasonDeadline, "")
		}, output.Counters{Produced: 10, Delivered: 5, Dropped: 5}, output.ReasonDeadline, "nothing came from it for 13s"},
		{"it refuses", func(s *script) {
			time.Sleep(12 * time.Second)
			line, _ := output.Encode(output.NodeSummary{Reason: output.ReasonRefused, Detail: "refusing grant: expired"})
			s.b.Publish(context.Background(), bus.Chunk{Run: s.run, Node: s.node, Lines: line, Final: true})
		}, output.Counters{}, output.ReasonRefused, "refusing grant: expired; its first word came only after 12s"},
		{"a repetition", func(s *script) {
			one := s.say(2)
			time.Sleep(13 * time.Second)
			s.b.Publish(context.Background(), one)
		}, output.Counters{Produced: 2, Delivered: 2}, output.ReasonFailed, "it fell silent: nothing for 10s"},
		{"after its end", func(s *script) {
			s.end(output.ReasonDeadline, "")
			time.Sleep(13 * time.Second)
			s.say(2)
		}, output.Counters{}, output.ReasonDeadline, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			scripted(t, []string{"a", "b"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
				go func() {
					for range 30 {
						s[0].say(1)
						time.Sleep(time.Second)
					}
					s[0].end(output.ReasonDeadline, "")
				}()
				go test.late(s[1])
				r := b.follow(t.Context(), g)
				n := r.summary.Nodes[1]
				if n.Counters != test.want || n.Reason != test.reason || n.Detail != test.detail {
					t.Errorf("%+v, want %+v, %s, %q", n, test.want, test.reason, test.detail)
				}
				if a := r.summary.Nodes[0]; a.Delivered != 30 || a.Reason != output.ReasonDeadline {
					t.Errorf("the other: %+v", a)
				}
				lost := test.reason == output.ReasonFailed
				if l, err := b.bus.Lease(t.Context(), g.Run); err != nil || (l == bus.LeaseStopped) != lost {
					t.Errorf("the lease is %v, %v; given up: %v", l, err, lost)
				}
			})
		})
	}
}

// A node whose executor starts when the others have been running for long takes its job,
// and its part is in the answer.
func TestLateNode(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
				p.emit(sink)
				<-ctx.Done()
				return nil
			}}
		}
		b.serve()
		late := func() {}
		defer func() { late() }()
		time.AfterFunc(15*time.Second, func() { late = b.start(b.executor("n2")) })
		r := b.run(b.grant(time.Minute, "n1", "n2"))
		r.want(t, output.ReasonDeadline, "n2: its first word came only after 15s")
		if r.summary.Delivered != 2 || r.took < 74*time.Second || r.took > 80*time.Second {
			t.Errorf("%+v after %v", r.summary, r.took)
		}
	})
}

// When the caller has enough, Follow waits for the end of what answered, and
// not for what did not.
func TestFollowIsInterrupted(t *testing.T) {
	for _, test := range []struct {
		name   string
		act    func(s *script)
		detail string
		took   time.Duration // after the interruption, at most
	}{
		{"it ends", func(s *script) {
			s.say(1)
			time.Sleep(4 * time.Second)
			s.say(5)
			s.end(output.ReasonStopped, "")
		}, "", 2*time.Second + lookEvery},
		{"it had not answered", func(s *script) {}, "it had not answered when the run was stopped", stopUnanswered + 2*lookEvery},
		{"it does not end", func(s *script) {
			for range 60 {
				s.say(1)
				time.Sleep(time.Second)
			}
		}, "it was told to stop and had not ended after", stopLimit + 2*lookEvery},
	} {
		t.Run(test.name, func(t *testing.T) {
			scripted(t, []string{"a"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
				done := make(chan struct{})
				go func() {
					defer close(done)
					test.act(s[0])
				}()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				r := b.follow(ctx, g)
				r.want(t, output.ReasonInterrupted, test.detail)
				if d := r.took - 2*time.Second; d > test.took {
					t.Errorf("it took another %v, want at most %v", d, test.took)
				}
				if l, err := b.bus.Lease(t.Context(), g.Run); err != nil || l != bus.LeaseStopped {
					t.Errorf("the lease is %v, %v", l, err)
				}
				<-done
			})
		})
	}
}

// The time that the reader of the output takes is not held against nodes.
func TestSlowSink(t *testing.T) {
	scripted(t, []string{"a", "b"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
		for _, n := range s {
			go func() {
				for range 20 {
					n.say(1)
					time.Sleep(time.Second)
				}
				n.end(output.ReasonDeadline, "")
			}()
		}
		sum, err := Follow(t.Context(), b.bus, &g, func([]byte) { time.Sleep(15 * time.Second) })
		result{summary: sum}.want(t, output.ReasonDeadline, "")
		if sum.Delivered != 40 || err != nil {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

// A sink that blocks does not keep an interruption from the nodes.
func TestBlockedSink(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		g := b.dispatch(b.grant(time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		blocked := make(chan struct{})
		followed := make(chan struct{})
		go func() {
			defer close(followed)
			Follow(ctx, b.bus, &g, func([]byte) { <-blocked })
		}()
		time.Sleep(30 * time.Second)
		if b.probe().isDetached() {
			t.Error("the run ended although it is followed")
		}
		cancel()
		time.Sleep(time.Second)
		if !b.probe().isDetached() {
			t.Error("the run goes on although nobody wants it")
		}
		close(blocked)
		<-followed
	})
}

func TestFollowBadBus(t *testing.T) {
	t.Run("for a while", func(t *testing.T) {
		onBench(t, func(t *testing.T, b *bench) {
			n := 0
			b.bus.follow = func(ctx context.Context, run string, nodes []string, each func(bus.Chunk) error) error {
				n++
				if n%2 == 1 {
					return errors.New("connection reset")
				}
				limit, cancel := context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
				return b.bus.Bus.Follow(limit, run, nodes, each)
			}
			b.kernel.make = func() *fakeProbe {
				return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
					for ctx.Err() == nil {
						p.emit(sink)
						time.Sleep(100 * time.Millisecond)
					}
					return nil
				}}
			}
			b.serve()
			r := b.run(b.grant(time.Minute))
			r.want(t, output.ReasonDeadline, "")
			if r.summary.Delivered != b.probe().produced || r.summary.BusTrimmed != 0 || n < 10 {
				t.Errorf("%+v after %d reads", r.summary.Counters, n)
			}
		})
	})
	t.Run("for good", func(t *testing.T) {
		onBench(t, func(t *testing.T, b *bench) {
			down := errors.New("connection refused")
			b.bus.follow = func(context.Context, string, []string, func(bus.Chunk) error) error { return down }
			stops := 0
			b.bus.stop = func(ctx context.Context, run string) error { stops++; return down }
			g := b.grant(time.Minute)
			r := b.follow(t.Context(), g)
			r.want(t, output.ReasonFailed, "connection refused")
			if !errors.Is(r.err, down) || r.took > 2*busLimit || stops > 0 { // the lease ends it, unless somebody else follows
				t.Errorf("%v after %v, %d attempts to stop", r.err, r.took, stops)
			}
		})
	})
	// What the nodes said meanwhile is there afterwards, so that their silence
	// was none.
	t.Run("for nearly too long", func(t *testing.T) {
		scripted(t, []string{"a", "b"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
			begun, away := time.Now(), 5*time.Second
			b.bus.follow = func(ctx context.Context, run string, nodes []string, each func(bus.Chunk) error) error {
				now := time.Since(begun)
				if now >= away && now < away+busLimit-busAgain {
					return errors.New("connection refused")
				}
				if now < away {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, away-now)
					defer cancel()
				}
				return b.bus.Bus.Follow(ctx, run, nodes, each)
			}
			stops := 0
			b.bus.stop = func(ctx context.Context, run string) error { stops++; return nil }
			for _, n := range s {
				go func() {
					for range 10 {
						n.say(1)
						time.Sleep(3 * time.Second)
					}
					n.end(output.ReasonDeadline, "")
				}()
			}
			r := b.follow(t.Context(), g)
			r.want(t, output.ReasonDeadline, "")
			if r.err != nil || r.summary.Delivered != 20 || stops > 0 {
				t.Errorf("%+v, %v, %d stops", r.summary, r.err, stops)
			}
		})
	})
	// A node that is silent before, during and after is found to be.
	t.Run("and a node is gone", func(t *testing.T) {
		scripted(t, []string{"a"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
			s[0].say(1)
			n := 0
			b.bus.follow = func(ctx context.Context, run string, nodes []string, each func(bus.Chunk) error) error {
				if n++; n < 5 {
					return errors.New("connection reset")
				}
				return b.bus.Bus.Follow(ctx, run, nodes, each)
			}
			r := b.follow(t.Context(), g)
			r.want(t, output.ReasonFailed, "it fell silent: nothing for 10s")
			if l, err := b.bus.Lease(t.Context(), g.Run); err != nil || l != bus.LeaseStopped || r.took > 2*silenceLimit {
				t.Errorf("the lease is %v, %v; it took %v", l, err, r.took)
			}
		})
	})
	t.Run("names", func(t *testing.T) {
		onBench(t, func(t *testing.T, b *bench) {
			for _, g := range []job.Grant{{Run: "a b", Nodes: []string{"n"}}, {Run: "r", Nodes: []string{"n", "a/b"}}, {Run: "r"}} {
				if s, err := Follow(t.Context(), b.bus, &g, func([]byte) {}); err == nil || len(s.Nodes) != len(g.Nodes) {
					t.Errorf("%+v: %+v", g, s)
				}
			}
		})
	})
}

func TestDispatch(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		full := errors.New("OOM command not allowed")
		b.bus.submit = func(ctx context.Context, envelope []byte, _ ...string) error {
			return cmp.Or(b.bus.Bus.Submit(ctx, envelope, "n1"), error(bus.Unsent{"n2": full}))
		}
		g, raw := b.seal(b.grant(time.Minute, "n1", "n2"))
		err := Dispatch(t.Context(), b.bus, &g, raw)
		if !errors.Is(err, full) || !strings.Contains(err.Error(), "for n2") {
			t.Errorf("Dispatch: %v", err)
		}
		b.serve()
		synctest.Wait()
		if b.kernel.loads != 0 {
			t.Error("the node that was reached runs it")
		}
		b.bus.submit = nil
		if err := Dispatch(t.Context(), b.bus, &g, raw); !errors.Is(err, bus.ErrStopped) {
			t.Errorf("dispatching a stopped run: %v", err)
		}
	})
}

// Several real executors on one bus, one of them against it.
func TestSeveralNodes(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{stream: func(ctx context.Context, p *fakeProbe, sink Sink) error {
				for range 100 {
					p.emit(sink)
				}
				<-ctx.Done()
				return nil
			}}
		}
		nodes := []string{"n1", "n2", "n3", "n4"}
		for _, n := range nodes[:3] {
			e := b.executor(n)
			if n == "n2" {
				e.Policy.MaxPrograms = 0
			}
			end := b.start(e)
			defer end()
		}
		r := b.run(b.grant(20*time.Second, nodes...))
		r.want(t, output.ReasonFailed, "n2: refused by this node's policy")
		r.want(t, output.ReasonFailed, "n4: no answer within 10s")
		var reasons []output.Reason
		for _, n := range r.summary.Nodes {
			reasons = append(reasons, n.Reason)
		}
		if !slices.Equal(reasons, []output.Reason{output.ReasonDeadline, output.ReasonRefused, output.ReasonDeadline, output.ReasonFailed}) ||
			r.summary.Delivered != 200 {
			t.Errorf("%v, %+v", reasons, r.summary.Counters)
		}
	})
}

// Whatever chunks come, nothing breaks, and a node that counted right is
// accounted for right.
func FuzzFollower(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	f.Add(bytes.Repeat([]byte{0x10, 0x01}, 50))
	f.Fuzz(func(t *testing.T, choices []byte) {
		g := job.Grant{Run: "r", Nodes: []string{"a"}, Limits: job.Limits{Duration: time.Minute}}
		now := time.Unix(0, 0)
		got := 0
		fo := newFollower(&g, func(line []byte) {
			if strings.HasPrefix(string(line), `{"type":"event"`) {
				got++
			}
		}, now)
		// An honest node: every choice makes a chunk, and what becomes of it.
		var sum output.Counters
		var seq uint64
		var old []bus.Chunk
		for _, choice := range choices {
			seq++
			events := uint64(choice >> 5)
			sum.Produced += events + 2
			sum.Delivered += events
			sum.KernelLost++
			sum.Dropped++
			c := bus.Chunk{Run: "r", Node: "a", Seq: seq, Events: events, Counters: sum,
				Lines: []byte(strings.Repeat("{\"type\":\"event\"}\n", int(events)))}
			old = append(old, c)
			switch choice & 3 {
			case 0: // lost
			case 1:
				fo.take(c, now)
			case 2: // twice, and an old one
				fo.take(c, now)
				fo.take(c, now)
				fo.take(old[int(choice)%len(old)], now)
			case 3: // from elsewhere
				fo.take(c, now)
				c.Node, c.Seq = "b", c.Seq+1
				fo.take(c, now)
				c.Run, c.Node = "q", "a"
				fo.take(c, now)
			}
		}
		if len(choices)%2 == 0 {
			fo.take(bus.Chunk{Run: "r", Node: "a", Seq: seq + 1, Counters: sum, Final: true,
				Lines: []byte("{\"type\":\"node_summary\",\"reason\":\"deadline\"}\n")}, now)
		} else {
			now = now.Add(time.Hour)
			fo.look(now)
		}
		if !fo.done() {
			t.Fatal("it is not over")
		}
		s := fo.summary()
		if !s.Balanced() || s.Delivered != uint64(got) {
			t.Errorf("%+v, %d events came", s.Counters, got)
		}
		if len(choices)%2 == 0 && (s.Produced != sum.Produced || s.BusTrimmed != sum.Delivered-uint64(got) || s.Reason != output.ReasonDeadline) {
			t.Errorf("%+v of %+v: %s", s, sum, s.Detail)
		}
	})
}

// Rubbish as lines comes out as lines, and does not end the follower.
func FuzzChunkLines(f *testing.F) {
	f.Add([]byte("{}\n\n{\"type\":\"x\"}"), true)
	f.Add([]byte("\n"), true)
	f.Add([]byte(""), false)
	f.Fuzz(func(t *testing.T, lines []byte, final bool) {
		g := job.Grant{Run: "r", Nodes: []string{"a"}}
		var out []byte
		fo := newFollower(&g, func(line []byte) { out = append(out, line...) }, time.Time{})
		fo.take(bus.Chunk{Run: "r", Node: "a", Seq: 1, Lines: lines, Final: final}, time.Unix(1, 0))
		if final != fo.done() {
			t.Error("only a final chunk is final")
		}
		if !final && !bytes.Equal(out, lines) || !bytes.HasPrefix(lines, out) {
			t.Errorf("%q became %q", lines, out)
		}
	})
}

// What another process has taken over is not stopped, whatever this one makes of
// it; what nobody can say that of is not either.
func TestShared(t *testing.T) {
	scripted(t, []string{"a", "b"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
		unknown := errors.New("no route to the store")
		for _, whose := range []error{nil, bus.ErrHandOver, unknown} {
			stops := 0
			b.bus.stop = func(context.Context, string) error { stops++; return nil }
			asked := 0
			shared := Shared{b.bus, func(context.Context) error { asked++; return whose }}
			want := 0
			if whose == nil {
				want = 1
			}
			// One node never answers.
			start := time.Now()
			if _, err := Follow(t.Context(), shared, &g, func([]byte) {}); !errors.Is(err, whose) || stops != want {
				t.Errorf("mine: %v: following ends with %v and %d stops", whose, err, stops)
			}
			if took := time.Since(start); took > answerLimit+grace+time.Second {
				t.Errorf("mine: %v: it took %v", whose, took)
			}
			// One node cannot be sent the job.
			full := errors.New("OOM command not allowed")
			b.bus.submit = func(context.Context, []byte, ...string) error { return full }
			stops = 0
			if err := Dispatch(t.Context(), shared, &g, nil); !errors.Is(err, full) || !errors.Is(err, whose) && whose != nil || stops != want {
				t.Errorf("mine: %v: dispatching ends with %v and %d stops", whose, err, stops)
			}
			if asked == 0 || errors.Is(whose, bus.ErrHandOver) && asked != 2 {
				t.Errorf("mine: %v: asked %d times", whose, asked)
			}
		}
	})
}

// A follower that hands over leaves the run alone, and the next one sees all
// of it.
func TestFollowHandsOver(t *testing.T) {
	scripted(t, []string{"a"}, func(t *testing.T, b *bench, g job.Grant, s []*script) {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			s[0].say(2)
			time.Sleep(3 * time.Second)
			cancel(bus.ErrHandOver)
			time.Sleep(leaseTTL / 2)
			s[0].say(3)
			time.Sleep(time.Second)
			s[0].end(output.ReasonDeadline, "")
		}()
		first := b.follow(ctx, g)
		if !errors.Is(first.err, bus.ErrHandOver) || first.count("event") != 2 {
			t.Errorf("handing over: %v", first.err)
		}
		if l, err := b.bus.Lease(t.Context(), g.Run); err != nil || l != bus.LeaseLive {
			t.Errorf("the run is %v, %v", l, err)
		}
		second := b.follow(t.Context(), g)
		second.want(t, output.ReasonDeadline, "")
		if second.err != nil || second.summary.Delivered != 5 || second.count("event") != 5 {
			t.Errorf("taking over: %+v, %v", second.summary, second.err)
		}
	})
}

// The quick look for a name agrees with a slow one, wherever the name stands.
func TestNamesNode(t *testing.T) {
	for _, tt := range []struct {
		line string
		want bool
	}{
		{``, false},
		{`"node`, false},
		{`"node"`, true},
		{`"data":{"pid":1,"node":"db-2"}}`, true},
		{`,"nOdE":"db-2"`, true},
		{`""node"`, true},
		{`"no"node"de"`, true},
		{`"nod"node":1`, true},
		{`"data":{"nodes":"node-1","a node":"ode\""}}`, false},
		{`"data":{"comm":"x","args":"node"}}`, true}, // a value: such a line is decoded
	} {
		for _, before := range []string{"", "x", "xx", "nod", `"nod`, "node\"\"", strings.Repeat("edon", 9)} {
			for _, after := range []string{"", `"`, "node", strings.Repeat("d", 7)} {
				line := before + tt.line + after
				want := strings.Contains(strings.ToLower(line), `"node"`)
				if got := namesNode([]byte(line)); got != want || before == "" && after == "" && got != tt.want {
					t.Errorf("%q: %v", line, got)
				}
			}
		}
	}
}
