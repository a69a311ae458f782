package fleettest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kgent/bot/fleettest"
	"kgent/bot/result"
	"kgent/bot/target"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/output"
	"kgent/executor/render/text"
)

// Forty nodes over a real Redis, from the selector to the answer: who is dead or in
// maintenance is not chosen, what is counted is added up, what is the same is said once,
// and who did not go along is named.
func TestFleet(t *testing.T) {
	count := func(n int) json.Number { return json.Number(strconv.Itoa(n)) }
	number := func(node string) int {
		n, err := strconv.Atoi(strings.TrimPrefix(node, "node-"))
		if err != nil {
			t.Error(err)
		}
		return n
	}
	f := fleettest.Start(t, fleettest.Config{
		Nodes:   40,
		Drained: func(i int) bool { return i == 0 },
		Refuse: func(node string) error {
			if node == "node-5" {
				return errors.New("the kernel of node-5 has no such hook")
			}
			return nil
		},
		Streams: []output.Stream{
			{Name: "opens", Columns: []output.Column{
				{Name: "comm", Kind: "string"},
				{Name: "count", Kind: "k_count", Merge: output.MergeSum},
			}},
			{Name: "latency"},
		},
		Stream: func(_ context.Context, p *fleettest.Probe, sink executor.Sink) error {
			n := number(p.Node)
			sink.Record(output.Map{Node: p.Node, Name: "opens", Final: true, Total: 2, Entries: []output.MapEntry{
				{Key: output.Fields{{Name: "comm", Value: "own-" + p.Node}}, Value: output.Fields{{Name: "count", Value: count(100 + n)}}},
				{Key: output.Fields{{Name: "comm", Value: "everywhere"}}, Value: output.Fields{{Name: "count", Value: count(n)}}},
			}})
			sink.Record(output.Hist{Node: p.Node, Name: "latency", Unit: "ns", Count: uint64(n), Buckets: []output.Bucket{{Min: 1024, Max: 2047, Count: uint64(n)}}, Final: true})
			release := "6.12.1"
			if n == 3 {
				release = "5.10.0"
			}
			sink.Record(output.Text{Node: p.Node, Line: "kernel " + release + "\n"})
			return nil
		},
	})
	f.Kill("node-9")
	// One that crashed has nobody to take it off the list, until what it said of itself expires.
	if err := f.Bus.Announce(t.Context(), bus.NodeInfo{Name: "node-0"}, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		known, err := f.Bus.Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if nodes, err = target.Resolve("any 38 of all", known); err == nil && !slices.Contains(nodes, "node-0") {
			if nodes, err = target.Resolve("any 38 of all, node-1", known); err != nil {
				t.Fatal(err)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v, %v", nodes, err)
		}
	}
	if got := text.Ranges(nodes); got != "node-[1-8,10-40]" {
		t.Fatal(got)
	}
	g, envelope := f.Seal(time.Minute, nodes...)
	r := result.New(result.Options{Nodes: nodes, Dir: t.TempDir()})
	defer r.Close()
	if err := executor.Dispatch(t.Context(), f.Bus, &g, envelope); err != nil {
		t.Fatal(err)
	}
	s, err := executor.Follow(t.Context(), f.Bus, &g, r.Line)
	if err != nil {
		t.Fatal(err)
	}
	r.End(s)
	got := r.Final()
	sum := 0
	for _, n := range nodes {
		if n != "node-1" && n != "node-5" {
			sum += number(n)
		}
	}
	var groups []string
	for _, g := range result.Groups(got.Nodes) {
		groups = append(groups, g.String())
	}
	all := fmt.Sprint(got.Headline, "\n", strings.Join(groups, "\n"), "\n", got.Blocks)
	for _, want := range []string{
		"from 37 of 39 nodes",
		"node-1: refused: refused by this node's policy (drained): this node is in maintenance",
		"node-5: failed: ",
		"the kernel of node-5 has no such hook",
		"37 nodes (node-[2-4,6-8,10-40]): answered",
		"\nall 37   everywhere   " + strconv.Itoa(sum) + "\nnode-40  own-node-40  140\n",
		strconv.Itoa(sum) + " values by buckets",
		"on 36 nodes, node-[2,4,6-8,10-40]:\n  kernel 6.12.1\non node-3:\n  kernel 5.10.0",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("there is no %q in\n%s", want, all)
		}
	}
}

// heard is a bus that notes when every node has said its first word.
type heard struct {
	bus.Control
	want  int
	all   chan struct{} // closed then
	words map[string]bool
}

func newHeard(b bus.Control, want int) *heard {
	return &heard{Control: b, want: want, all: make(chan struct{}), words: map[string]bool{}}
}

// Follow implements [bus.Control].
func (h *heard) Follow(ctx context.Context, run string, nodes []string, each func(bus.Chunk) error) error {
	return h.Control.Follow(ctx, run, nodes, func(c bus.Chunk) error {
		if !h.words[c.Node] {
			if h.words[c.Node] = true; len(h.words) == h.want {
				close(h.all)
			}
		}
		return each(c)
	})
}

func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cost is the processor time that this process and its Redis have used.
func cost(b *testing.B, f *fleettest.Fleet) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()+u.Stime.Nano()) + f.RedisCPU()
}

// BenchmarkDispatch shows how long it takes from the moment a sealed grant is sent until
// the last of its nodes has taken it from its queue, believed it, and said so to who
// follows. All nodes, Redis and the follower share this machine: cpu-ms is what they cost
// together in that time, which spread over its processors is as fast as it can be.
// Under "bus" the nodes only take the job and answer, which leaves what is not done by
// the nodes, each of which is a machine of its own where it is no test.
func BenchmarkDispatch(b *testing.B) {
	for _, nodes := range []int{10, 100, 500} {
		for _, kind := range []string{"bus", "executors"} {
			b.Run(fmt.Sprintf("%s/%d", kind, nodes), func(b *testing.B) {
				f := fleettest.Start(b, fleettest.Config{Nodes: nodes, Light: kind == "bus"})
				var sent, all []time.Duration
				var spent, redis time.Duration
				for b.Loop() {
					g, envelope := f.Seal(time.Minute, f.Names()...)
					h := newHeard(f.Bus, nodes)
					ctx, cancel := context.WithCancelCause(b.Context())
					var wg sync.WaitGroup
					wg.Go(func() {
						if s, err := executor.Follow(ctx, h, &g, func([]byte) {}); err != nil || len(s.Nodes) != nodes {
							b.Error(err, s)
						}
					})
					before, server, begun := cost(b, f), f.RedisCPU(), time.Now()
					if err := executor.Dispatch(ctx, h, &g, envelope); err != nil {
						b.Fatal(err)
					}
					sent = append(sent, time.Since(begun))
					select {
					case <-h.all:
					case <-time.After(time.Minute):
						b.Fatalf("only %d of %d nodes answered", len(h.words), nodes)
					}
					all = append(all, time.Since(begun))
					spent += cost(b, f) - before
					redis += f.RedisCPU() - server
					cancel(bus.ErrStopped)
					wg.Wait()
				}
				slices.Sort(sent)
				slices.Sort(all)
				b.ReportMetric(ms(percentile(sent, 50)), "ms/sent-p50")
				b.ReportMetric(ms(percentile(all, 50)), "ms/all-p50")
				b.ReportMetric(ms(percentile(all, 99)), "ms/all-p99")
				b.ReportMetric(ms(spent)/float64(b.N), "cpu-ms/op")
				b.ReportMetric(ms(redis)/float64(b.N), "redis-cpu-ms/op")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// memory returns what Redis says of its memory, in bytes.
func memory(b *testing.B, f *fleettest.Fleet, name string) float64 {
	b.Helper()
	info, err := f.Client.Info(b.Context(), "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatalf("Redis says nothing of %s", name)
	return 0
}

// BenchmarkFlood shows what one Redis and one follower take of hundreds of nodes that all
// report as fast as they can, for some seconds, and that what they do not take is counted.
// Everything shares this machine.
func BenchmarkFlood(b *testing.B) {
	for _, nodes := range []int{10, 100, 500} {
		b.Run(strconv.Itoa(nodes), func(b *testing.B) {
			const lasts = 5 * time.Second
			f := fleettest.Start(b, fleettest.Config{
				Nodes:   nodes,
				Streams: []output.Stream{{Name: "opens", Events: true, Columns: []output.Column{{Name: "comm", Kind: "string"}, {Name: "path", Kind: "string"}}}},
				Stream: func(ctx context.Context, p *fleettest.Probe, sink executor.Sink) error {
					line := fmt.Appendf(nil, `{"type":"event","node":"%s","stream":"opens","data":{"comm":"postgres","path":"%s"}}`+"\n", p.Node, strings.Repeat("x", 64))
					tick := time.NewTicker(10 * time.Millisecond)
					defer tick.Stop()
					for end := time.Now().Add(lasts); time.Now().Before(end); {
						for range 1_000_000 / 100 / nodes { // a million a second, all together
							p.Event(sink, line)
						}
						select {
						case <-ctx.Done():
							return nil
						case <-tick.C:
						}
					}
					return nil
				},
			})
			for b.Loop() {
				g, envelope := f.Seal(time.Minute, f.Names()...)
				r := result.New(result.Options{Nodes: f.Names(), Dir: b.TempDir()})
				cpu, begun := f.RedisCPU(), time.Now()
				if err := executor.Dispatch(b.Context(), f.Bus, &g, envelope); err != nil {
					b.Fatal(err)
				}
				s, err := executor.Follow(b.Context(), f.Bus, &g, r.Line)
				if err != nil {
					b.Fatal(err)
				}
				took := time.Since(begun)
				r.End(s)
				if !s.Balanced() || s.Produced == 0 {
					b.Errorf("the account does not balance: %+v", s.Counters)
				}
				b.ReportMetric(float64(s.Delivered)/took.Seconds(), "delivered/s")
				b.ReportMetric(100*float64(s.Dropped)/float64(s.Produced), "%dropped")
				b.ReportMetric(100*float64(s.BusTrimmed)/float64(s.Produced), "%trimmed")
				b.ReportMetric(100*float64(f.RedisCPU()-cpu)/float64(took), "%redis-core")
				b.ReportMetric(memory(b, f, "used_memory_peak")/(1<<20), "MiB-redis")
				b.ReportMetric(took.Seconds(), "s/run")
				b.ReportMetric(0, "ns/op")
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkQuiet shows what a run on hundreds of nodes costs Redis while nothing happens:
// each says once a second that it lives.
func BenchmarkQuiet(b *testing.B) {
	const nodes, lasts = 500, 5 * time.Second
	f := fleettest.Start(b, fleettest.Config{Nodes: nodes})
	idle := f.RedisCPU()
	time.Sleep(lasts)
	idle = f.RedisCPU() - idle
	for b.Loop() {
		g, envelope := f.Seal(lasts, f.Names()...)
		h := newHeard(f.Bus, nodes)
		var wg sync.WaitGroup
		wg.Go(func() {
			if s, err := executor.Follow(b.Context(), h, &g, func([]byte) {}); err != nil || s.Reason != output.ReasonDeadline {
				b.Error(err, s.Reason, s.Detail)
			}
		})
		if err := executor.Dispatch(b.Context(), h, &g, envelope); err != nil {
			b.Fatal(err)
		}
		<-h.all
		cpu := f.RedisCPU()
		time.Sleep(lasts - time.Second)
		b.ReportMetric(100*float64(f.RedisCPU()-cpu)/float64(lasts-time.Second), "%redis-core/run")
		wg.Wait()
	}
	b.ReportMetric(100*float64(idle)/float64(lasts), "%redis-core/idle")
	b.ReportMetric(0, "ns/op")
}
