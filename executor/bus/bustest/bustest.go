// Package bustest is the contract of package bus as tests: every
// implementation runs them and passes.
package bustest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/executor/bus"
	"kgent/executor/output"
)

// patience bounds every wait for something that must happen, on a machine that may
// have other things to do.
const patience = time.Minute

// Run tests the bus that each call of open returns. Every test gets a bus of
// its own, or at least names its own runs and nodes; open closes it with
// t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) bus.Bus) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, bus.Bus, names)
	}{
		{"JobsInOrder", jobsInOrder},
		{"JobsOfOneNode", jobsOfOneNode},
		{"JobsOfManyNodes", jobsOfMany},
		{"JobsThatAreNotTaken", jobsNotTaken},
		{"JobsAreDeliveredAgain", jobsAgain},
		{"JobsAreTakenOver", jobsTakenOver},
		{"JobQueueIsBounded", jobsBounded},
		{"ConsumeEndsWithItsContext", consumeEnds},
		{"OutputFromTheBeginning", outputFromBeginning},
		{"OutputAsItComes", outputAsItComes},
		{"OutputOfSeveralNodes", outputSeveralNodes},
		{"OutputTwice", outputTwice},
		{"OutputIsTrimmed", outputTrimmed},
		{"OutputIsBoundedInBytes", outputBounded},
		{"NewerFormats", newerFormats},
		{"FollowEndsWithItsContext", followEnds},
		{"FollowEndsWithTheError", followError},
		{"Lease", leases},
		{"LeaseExpires", leaseExpires},
		{"StopIsFinal", stopIsFinal},
		{"StopIsHeard", stopIsHeard},
		{"Nodes", nodes},
		{"NodesExpire", nodesExpire},
		{"Facts", facts},
		{"BadNames", badNames},
		{"EndedContext", endedContext},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // they wait more than they work
			test.run(t, open(t), names{strings.ToLower(test.name), time.Now().UnixNano()})
		})
	}
}

// names makes names that no other test and no earlier call used.
type names struct {
	test string
	at   int64
}

func (n names) of(what string) string { return fmt.Sprintf("%s-%s-%d", what, n.test, n.at) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// taken are the deliveries that a consumer got.
type taken struct {
	t    *testing.T
	jobs chan bus.Job
	end  func() error // stops the consumer and returns the error of Consume
}

func consume(t *testing.T, b bus.Bus, node, consumer string) taken {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	jobs := make(chan bus.Job, 4*bus.KeepJobs)
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, node, consumer, func(j bus.Job) { jobs <- j }) }()
	end := sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("Consume did not return")
		}
	})
	t.Cleanup(func() { end() })
	return taken{t, jobs, end}
}

func (c taken) next() bus.Job {
	c.t.Helper()
	select {
	case j := <-c.jobs:
		return j
	case <-time.After(patience):
		c.t.Fatal("no job came")
		return bus.Job{}
	}
}

func (c taken) want(envelope string, again bool) bus.Job {
	c.t.Helper()
	j := c.next()
	if string(j.Envelope) != envelope || j.Again != again || j.ID == "" {
		c.t.Fatalf("got job %q %q again=%v, want %q again=%v", j.ID, j.Envelope, j.Again, envelope, again)
	}
	return j
}

func jobsInOrder(t *testing.T, b bus.Bus, n names) {
	node := n.of("node")
	raw := "\x00\xff\n{\"binary\":\x01}"
	must(t, b.Submit(t.Context(), []byte(raw), node))
	must(t, b.Submit(t.Context(), []byte("second"), node))
	c := consume(t, b, node, "c1")
	first := c.want(raw, false)
	second := c.want("second", false)
	must(t, b.Submit(t.Context(), []byte("third"), node))
	third := c.want("third", false)
	if first.ID == second.ID || second.ID == third.ID {
		t.Errorf("ids %q, %q, %q are not distinct", first.ID, second.ID, third.ID)
	}
	for _, j := range []bus.Job{third, first, second, first} { // in any order, and twice
		must(t, b.Ack(t.Context(), node, j.ID))
	}
}

func jobsOfOneNode(t *testing.T, b bus.Bus, n names) {
	a, z := consume(t, b, n.of("a"), "c"), consume(t, b, n.of("z"), "c")
	must(t, b.Submit(t.Context(), []byte("for z"), n.of("z")))
	z.want("for z", false)
	must(t, b.Submit(t.Context(), []byte("for a"), n.of("a")))
	a.want("for a", false)
	if len(a.jobs)+len(z.jobs) != 0 {
		t.Error("a node got a job of another")
	}
}

// A job for many nodes, more of them than one command to a server takes.
func jobsOfMany(t *testing.T, b bus.Bus, n names) {
	var nodes []string
	for i := range 9 {
		nodes = append(nodes, n.of(fmt.Sprint("many-", i)))
	}
	must(t, b.Submit(t.Context(), []byte("small"), nodes...))
	large := strings.Repeat("large", 200_000)
	must(t, b.Submit(t.Context(), []byte(large), nodes...))
	for _, node := range nodes {
		c := consume(t, b, node, "c")
		c.want("small", false)
		c.want(large, false)
	}
	must(t, b.Submit(t.Context(), []byte("for none")))
}

// Refuser is a bus of which single queues can be made to take no jobs.
type Refuser interface {
	// Refuse has the queue of a node take none until again is called.
	Refuse(node string) (again func())
}

// Nodes whose queue does not take a job are named, and no others: these have it, whether they
// come before or after and however many are told at a time.
func jobsNotTaken(t *testing.T, b bus.Bus, n names) {
	large := strings.Repeat("large", 200_000)
	var nodes []string
	refused := map[string]bool{}
	var again []func()
	for i := range 13 {
		node := n.of(fmt.Sprint("taken-", i))
		nodes = append(nodes, node)
		if r, ok := b.(Refuser); ok && (i == 1 || i == 7) {
			refused[node] = true
			again = append(again, r.Refuse(node))
		}
	}
	err := b.Submit(t.Context(), []byte(large), nodes...)
	var unsent bus.Unsent
	if errors.As(err, &unsent); len(unsent) != len(refused) || err != nil && unsent == nil {
		t.Fatalf("%d nodes take none: %v", len(refused), err)
	}
	for node := range refused {
		if why := unsent[node]; why == nil || errors.Is(why, bus.ErrUnheard) {
			t.Errorf("%s: %v, want a certain reason", node, why)
		}
	}
	for _, f := range again {
		f()
	}
	must(t, b.Submit(t.Context(), []byte("small"), nodes...))
	for _, node := range nodes {
		c := consume(t, b, node, "c")
		if !refused[node] {
			c.want(large, false)
		}
		c.want("small", false)
	}
}

func jobsAgain(t *testing.T, b bus.Bus, n names) {
	node := n.of("node")
	for _, e := range []string{"one", "two", "three"} {
		must(t, b.Submit(t.Context(), []byte(e), node))
	}
	c := consume(t, b, node, "c")
	one, two := c.want("one", false), c.want("two", false)
	c.want("three", false)
	must(t, b.Ack(t.Context(), node, two.ID))
	c.end()

	must(t, b.Submit(t.Context(), []byte("four"), node))
	c = consume(t, b, node, "c")
	if again := c.want("one", true); again.ID != one.ID {
		t.Errorf("delivered again as %q, was %q", again.ID, one.ID)
	}
	three := c.want("three", true)
	four := c.want("four", false)
	for _, j := range []bus.Job{one, three, four} {
		must(t, b.Ack(t.Context(), node, j.ID))
	}
	c.end()

	must(t, b.Submit(t.Context(), []byte("five"), node))
	consume(t, b, node, "c").want("five", false)
}

func jobsTakenOver(t *testing.T, b bus.Bus, n names) {
	node := n.of("node")
	must(t, b.Submit(t.Context(), []byte("one"), node))
	c := consume(t, b, node, "before the restart")
	c.want("one", false)
	c.end()
	c = consume(t, b, node, "after the restart")
	must(t, b.Ack(t.Context(), node, c.want("one", true).ID))
	c.end()
	must(t, b.Submit(t.Context(), []byte("two"), node))
	consume(t, b, node, "after another").want("two", false)
}

func jobsBounded(t *testing.T, b bus.Bus, n names) {
	node := n.of("node")
	const sent = 2*bus.KeepJobs + 10
	for i := range sent {
		must(t, b.Submit(t.Context(), fmt.Appendf(nil, "%d", i), node))
	}
	c := consume(t, b, node, "c")
	count := 0
	for {
		count++
		if string(c.next().Envelope) == fmt.Sprint(sent-1) {
			break
		}
	}
	if count > 2*bus.KeepJobs {
		t.Errorf("%d jobs were kept, at most %d may be", count, 2*bus.KeepJobs)
	}
}

func consumeEnds(t *testing.T, b bus.Bus, n names) {
	c := consume(t, b, n.of("node"), "c")
	must(t, b.Submit(t.Context(), []byte("x"), n.of("node")))
	c.want("x", false)
	start := time.Now()
	if err := c.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("Consume returned %v, want its context's error", err)
	}
	if d := time.Since(start); d > 10*bus.MaxBlock {
		t.Errorf("Consume returned %v after its context had ended", d)
	}
}

// followed are the chunks that a follower got.
type followed struct {
	t      *testing.T
	chunks chan bus.Chunk
	end    func() error
}

func follow(t *testing.T, b bus.Bus, run string, nodes ...string) followed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	chunks := make(chan bus.Chunk, 8*bus.KeepChunks)
	done := make(chan error, 1)
	go func() {
		done <- b.Follow(ctx, run, nodes, func(c bus.Chunk) error { chunks <- c; return nil })
	}()
	end := sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("Follow did not return")
		}
	})
	t.Cleanup(func() { end() })
	return followed{t, chunks, end}
}

func (f followed) next() bus.Chunk {
	f.t.Helper()
	select {
	case c := <-f.chunks:
		return c
	case <-time.After(patience):
		f.t.Fatal("no chunk came")
		return bus.Chunk{}
	}
}

func (f followed) want(c bus.Chunk) {
	f.t.Helper()
	if got := f.next(); !equal(got, c) {
		f.t.Fatalf("got chunk %+v, want %+v", got, c)
	}
}

func equal(a, b bus.Chunk) bool {
	if string(a.Lines) != string(b.Lines) {
		return false
	}
	a.Lines, b.Lines = nil, nil
	return fmt.Sprint(a) == fmt.Sprint(b)
}

func chunk(run, node string, seq uint64) bus.Chunk {
	return bus.Chunk{
		Run: run, Node: node, Seq: seq,
		Lines:    fmt.Appendf(nil, "{\"type\":\"text\",\"line\":\"%d\"}\n", seq),
		Events:   seq * 3,
		Counters: output.Counters{Produced: seq * 10, Delivered: seq * 6, KernelLost: seq * 3, Dropped: seq, MapFull: 1 << 63},
		Attached: time.Duration(seq) * time.Millisecond,
	}
}

func outputFromBeginning(t *testing.T, b bus.Bus, n names) {
	run, node := n.of("run"), n.of("node")
	var sent []bus.Chunk
	for seq := range uint64(5) {
		c := chunk(run, node, seq)
		c.Final = seq == 4
		sent = append(sent, c)
		c.Lines = slices.Clone(c.Lines)
		must(t, b.Publish(t.Context(), c))
		clear(c.Lines) // they are the publisher's again
	}
	other := chunk(n.of("other-run"), node, 77)
	must(t, b.Publish(t.Context(), other))
	for range 2 { // every follower sees everything
		f := follow(t, b, run, node)
		for _, c := range sent {
			f.want(c)
		}
	}
}

func outputAsItComes(t *testing.T, b bus.Bus, n names) {
	run, node := n.of("run"), n.of("node")
	f := follow(t, b, run, node)
	for seq := range uint64(50) {
		c := chunk(run, node, seq+1)
		if seq%10 == 3 {
			c.Lines, c.Events = nil, 0
		}
		must(t, b.Publish(t.Context(), c))
		f.want(c)
	}
}

func outputSeveralNodes(t *testing.T, b bus.Bus, n names) {
	run := n.of("run")
	var all []string
	for i := range 5 {
		all = append(all, n.of(fmt.Sprint("node", i)))
	}
	const each = 100
	var wg sync.WaitGroup
	for _, node := range all {
		wg.Go(func() {
			for seq := range uint64(each) {
				if err := b.Publish(t.Context(), chunk(run, node, seq+1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wanted := all[:4] // and one that nobody asks for
	f := follow(t, b, run, wanted...)
	last := map[string]uint64{}
	for range each * len(wanted) {
		c := f.next()
		if c.Seq != last[c.Node]+1 {
			t.Fatalf("%s: chunk %d after %d", c.Node, c.Seq, last[c.Node])
		}
		last[c.Node] = c.Seq
	}
	wg.Wait()
	for _, node := range wanted {
		if last[node] != each {
			t.Errorf("%s: %d chunks, want %d", node, last[node], each)
		}
	}
}

func outputTwice(t *testing.T, b bus.Bus, n names) {
	c := chunk(n.of("run"), n.of("node"), 1)
	must(t, b.Publish(t.Context(), c))
	must(t, b.Publish(t.Context(), c))
	f := follow(t, b, c.Run, c.Node)
	f.want(c)
	f.want(c)
}

func outputTrimmed(t *testing.T, b bus.Bus, n names) {
	run, node := n.of("run"), n.of("node")
	const sent = 3 * bus.KeepChunks
	for seq := range uint64(sent) {
		must(t, b.Publish(t.Context(), bus.Chunk{Run: run, Node: node, Seq: seq + 1}))
	}
	f := follow(t, b, run, node)
	first := f.next().Seq
	for last := first; last < sent; last++ {
		if got := f.next().Seq; got != last+1 {
			t.Fatalf("chunk %d after %d: there is a hole in what was kept", got, last)
		}
	}
	if kept := sent - first + 1; kept < bus.KeepChunks || kept > 2*bus.KeepChunks {
		t.Errorf("%d chunks were kept, want %d to %d", kept, bus.KeepChunks, 2*bus.KeepChunks)
	}
}

// Many nodes flood a run that nobody reads: of each its newest chunks are kept, within its share
// of what a run may have; the numbers show what is missing. A chunk larger than the
// share is kept as long as it is the newest, and silence costs a share nothing of note.
func outputBounded(t *testing.T, b bus.Bus, n names) {
	const nodes, named = 4, 1000 // as if of a run on so many
	const share, line = bus.RunBytes / named, 20 << 10
	run := n.of("run")
	lines := []byte(strings.Repeat("x", line-1) + "\n")
	publish := func(node string, seq uint64, lines []byte, final bool) {
		must(t, b.Publish(t.Context(), bus.Chunk{Run: run, Node: node, Nodes: named, Seq: seq, Lines: lines, Final: final}))
	}
	var all []string
	const sent = 60
	for i := range nodes {
		node := n.of(fmt.Sprint("n", i))
		all = append(all, node)
		for seq := range uint64(sent) {
			publish(node, seq+1, lines, false)
		}
	}
	f := follow(t, b, run, all...)
	first, last, bytes := map[string]uint64{}, map[string]uint64{}, map[string]int{}
	for ended := 0; ended < nodes; {
		c := f.next()
		if first[c.Node] == 0 {
			first[c.Node] = c.Seq
		} else if c.Seq != last[c.Node]+1 {
			t.Fatalf("%s: chunk %d after %d: there is a hole in what was kept", c.Node, c.Seq, last[c.Node])
		}
		last[c.Node] = c.Seq
		bytes[c.Node] += len(c.Lines)
		if c.Seq == sent {
			ended++
		}
	}
	f.end()
	for _, node := range all {
		if bytes[node] > share || bytes[node] < share-2*line {
			t.Errorf("%s: %d bytes are kept, its share is %d", node, bytes[node], share)
		}
	}
	// One chunk over the share alone, then signs of life beside it.
	large := []byte(strings.Repeat("y", 2*share) + "\n")
	publish(all[0], sent+1, large, false)
	f = follow(t, b, run, all[0])
	if c := f.next(); c.Seq != sent+1 || len(c.Lines) != len(large) {
		t.Errorf("kept beside a large chunk: %d", c.Seq)
	}
	f.end()
	for seq := range uint64(10) {
		publish(all[0], sent+2+seq, nil, seq == 9)
	}
	f = follow(t, b, run, all[0])
	if c := f.next(); c.Seq != sent+2 {
		t.Errorf("kept: %d, want what came after the large chunk", c.Seq)
	}
}

// What is of a newer format is handed on as such, and nothing of it is taken for anything.
func newerFormats(t *testing.T, b bus.Bus, n names) {
	c := chunk(n.of("run"), n.of("node"), 1)
	newer := chunk(c.Run, c.Node, 2)
	newer.Format, newer.Final = bus.ChunkFormat+1, true
	same := chunk(c.Run, c.Node, 3)
	same.Format = bus.ChunkFormat
	for _, x := range []bus.Chunk{c, newer, same} {
		must(t, b.Publish(t.Context(), x))
	}
	f := follow(t, b, c.Run, c.Node)
	f.want(c)
	got := f.next()
	if want := (bus.Chunk{Run: c.Run, Node: c.Node, Format: bus.ChunkFormat + 1}); !reflect.DeepEqual(got, want) || !strings.Contains(got.Foreign(), "update the bot") {
		t.Errorf("of a newer format: %+v: %q", got, got.Foreign())
	}
	f.want(same)
	if c.Foreign() != "" || same.Foreign() != "" {
		t.Error("what is understood is foreign")
	}

	node := bus.NodeInfo{Format: bus.InfoFormat + 1, Name: n.of("newer"), Version: "v9", Kernel: "9.9", Labels: map[string]string{"env": "dev"}, Facts: bus.FactsHash(nil)}
	must(t, b.Announce(t.Context(), node, time.Minute))
	known, err := b.Nodes(t.Context())
	must(t, err)
	i := slices.IndexFunc(known, func(x bus.NodeInfo) bool { return x.Name == node.Name })
	if i < 0 {
		t.Fatal("a node that announces itself in a newer format is not listed")
	}
	if x := known[i]; x.Version != "v9" || x.Kernel != "unknown" || x.Labels != nil || x.Facts != "" || !strings.Contains(x.Drained, "update this one") {
		t.Errorf("listed as %+v", x)
	}
}

func followEnds(t *testing.T, b bus.Bus, n names) {
	f := follow(t, b, n.of("run"), n.of("node"))
	c := chunk(n.of("run"), n.of("node"), 1)
	must(t, b.Publish(t.Context(), c))
	f.want(c)
	start := time.Now()
	if err := f.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("Follow returned %v, want its context's error", err)
	}
	if d := time.Since(start); d > 10*bus.MaxBlock {
		t.Errorf("Follow returned %v after its context had ended", d)
	}
}

func followError(t *testing.T, b bus.Bus, n names) {
	run, node := n.of("run"), n.of("node")
	for seq := range uint64(3) {
		must(t, b.Publish(t.Context(), chunk(run, node, seq+1)))
	}
	enough := errors.New("enough")
	var seen []uint64
	err := b.Follow(t.Context(), run, []string{node}, func(c bus.Chunk) error {
		seen = append(seen, c.Seq)
		if c.Seq == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !slices.Equal(seen, []uint64{1, 2}) {
		t.Errorf("Follow returned %v after chunks %d, want %v after 1 and 2", err, seen, enough)
	}
}

func wantLease(t *testing.T, b bus.Bus, run string, want bus.Lease) {
	t.Helper()
	got, err := b.Lease(t.Context(), run)
	must(t, err)
	if got != want {
		t.Fatalf("the lease is %v, want %v", got, want)
	}
}

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("waited %v in vain: %s", patience, what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func leases(t *testing.T, b bus.Bus, n names) {
	run := n.of("run")
	wantLease(t, b, run, bus.LeaseGone)
	must(t, b.Renew(t.Context(), run, time.Hour))
	wantLease(t, b, run, bus.LeaseLive)
	must(t, b.Renew(t.Context(), run, time.Hour))
	wantLease(t, b, run, bus.LeaseLive)
	wantLease(t, b, n.of("other"), bus.LeaseGone)
}

func leaseExpires(t *testing.T, b bus.Bus, n names) {
	run := n.of("run")
	const ttl = 150 * time.Millisecond
	must(t, b.Renew(t.Context(), run, time.Hour))
	start := time.Now()
	must(t, b.Renew(t.Context(), run, ttl)) // the last word counts, also when shorter
	eventually(t, "the lease is gone", func() bool {
		l, err := b.Lease(t.Context(), run)
		must(t, err)
		if l == bus.LeaseGone && time.Since(start) < ttl {
			t.Fatalf("the lease was gone before its %v", ttl)
		}
		return l == bus.LeaseGone
	})
	must(t, b.Renew(t.Context(), run, time.Hour)) // gone is not stopped
	wantLease(t, b, run, bus.LeaseLive)
}

func stopIsFinal(t *testing.T, b bus.Bus, n names) {
	live, never := n.of("live"), n.of("never")
	must(t, b.Renew(t.Context(), live, time.Hour))
	for _, run := range []string{live, never} {
		must(t, b.Stop(t.Context(), run))
		must(t, b.Stop(t.Context(), run))
		wantLease(t, b, run, bus.LeaseStopped)
		if err := b.Renew(t.Context(), run, time.Hour); !errors.Is(err, bus.ErrStopped) {
			t.Errorf("renewing a stopped run: %v, want %v", err, bus.ErrStopped)
		}
		wantLease(t, b, run, bus.LeaseStopped)
	}
}

func stopIsHeard(t *testing.T, b bus.Bus, n names) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var heard []<-chan string
	for range 2 {
		ch, err := b.Stops(ctx)
		must(t, err)
		heard = append(heard, ch)
	}
	run := n.of("run")
	for _, ch := range heard {
		// Listening may begin a moment after Stops has returned.
		eventually(t, "the stop is heard", func() bool {
			must(t, b.Stop(t.Context(), run))
			limit := time.After(50 * time.Millisecond)
			for {
				select {
				case got := <-ch:
					if got == run { // others are of other tests
						return true
					}
				case <-limit:
					return false
				}
			}
		})
	}
	// A listener that does not listen holds up nobody.
	for range 500 {
		must(t, b.Stop(t.Context(), run))
	}
	cancel()
	for _, ch := range heard {
		limit := time.After(patience)
		for open := true; open; {
			select {
			case _, open = <-ch:
			case <-limit:
				t.Fatal("the channel was not closed when its context ended")
			}
		}
	}
}

// listed returns what the bus lists of the named nodes.
func listed(t *testing.T, b bus.Bus, names ...string) []bus.NodeInfo {
	t.Helper()
	all, err := b.Nodes(t.Context())
	must(t, err)
	if !slices.IsSortedFunc(all, func(x, y bus.NodeInfo) int { return strings.Compare(x.Name, y.Name) }) {
		t.Errorf("the list is not by name: %v", all)
	}
	return slices.DeleteFunc(all, func(i bus.NodeInfo) bool { return !slices.Contains(names, i.Name) })
}

func nodes(t *testing.T, b bus.Bus, n names) {
	a, z := n.of("a"), n.of("z")
	info := bus.NodeInfo{
		Name: a, Labels: map[string]string{"role": "db", "zone": "eu 1"}, Kernel: "6.18.44", Arch: "amd64", Version: "1.2", Instance: "i",
		BTF: strings.Repeat("ab", 32), Facts: strings.Repeat("cd", 32), Capabilities: []string{"CAP_BPF", "CAP_PERFMON"},
		Kinds: map[string]string{"tracepoint": "", "kprobe": "the kernel has none", "ring buffer": "needs Linux 5.8"},
	}
	must(t, b.Announce(t.Context(), bus.NodeInfo{Name: z, Kernel: "5.15.0", Arch: "arm64"}, time.Hour))
	must(t, b.Announce(t.Context(), bus.NodeInfo{Name: a, Labels: map[string]string{"old": "label"}}, time.Hour))
	must(t, b.Announce(t.Context(), info, time.Hour))
	got := listed(t, b, a, z)
	if len(got) != 2 || !reflect.DeepEqual(got[0], info) || got[1].Name != z || len(got[1].Labels) != 0 {
		t.Fatalf("listed %+v", got)
	}
	must(t, b.Announce(t.Context(), bus.NodeInfo{Name: a}, 0))
	if got := listed(t, b, a, z); len(got) != 1 || got[0].Name != z {
		t.Fatalf("after one was taken off the list: %+v", got)
	}
}

func nodesExpire(t *testing.T, b bus.Bus, n names) {
	a := n.of("a")
	must(t, b.Announce(t.Context(), bus.NodeInfo{Name: a}, time.Hour))
	must(t, b.Announce(t.Context(), bus.NodeInfo{Name: a}, 100*time.Millisecond))
	eventually(t, "the node is off the list", func() bool { return len(listed(t, b, a)) == 0 })
}

func facts(t *testing.T, b bus.Bus, n names) {
	blob := []byte(n.of("facts of a kernel") + "\x00\xff\r\n")
	hash := bus.FactsHash(blob)
	want := func(hash string, blob []byte) {
		t.Helper()
		got, err := b.Facts(t.Context(), hash)
		if blob == nil {
			if !errors.Is(err, bus.ErrNoFacts) {
				t.Fatalf("error %v, want %v", err, bus.ErrNoFacts)
			}
			return
		}
		must(t, err)
		if string(got) != string(blob) {
			t.Fatalf("%d bytes that are not what was published", len(got))
		}
	}
	want(hash, nil)
	for range 2 {
		must(t, b.PublishFacts(t.Context(), hash, blob))
		want(hash, blob)
	}
	large := bytes.Repeat([]byte(n.of("x")), bus.MaxFacts)[:bus.MaxFacts]
	must(t, b.PublishFacts(t.Context(), bus.FactsHash(large), large))
	want(bus.FactsHash(large), large)

	// A blob goes under its own hash only, and has a bound.
	other := bus.FactsHash([]byte(n.of("other")))
	too := append(large, 'x')
	for name, err := range map[string]error{
		"another's hash": b.PublishFacts(t.Context(), other, blob),
		"no hash":        b.PublishFacts(t.Context(), "*", blob),
		"upper case":     b.PublishFacts(t.Context(), strings.ToUpper(hash), blob),
		"too large":      b.PublishFacts(t.Context(), bus.FactsHash(too), too),
	} {
		if err == nil {
			t.Errorf("published with %s", name)
		}
	}
	for _, hash := range []string{other, "", "*", strings.ToUpper(hash), bus.FactsHash(too)} {
		want(hash, nil)
	}
}

func badNames(t *testing.T, b bus.Bus, n names) {
	ctx, good := t.Context(), n.of("good")
	none := func(bus.Chunk) error { return nil }
	for _, bad := range []string{"", "a b", "a:b", "a/b", "*", "-a", ".a", "a\n", "ä", strings.Repeat("a", 254)} {
		_, leaseErr := b.Lease(ctx, bad)
		for what, err := range map[string]error{
			"Submit":       b.Submit(ctx, nil, bad),
			"Follow run":   b.Follow(ctx, bad, []string{good}, none),
			"Follow node":  b.Follow(ctx, good, []string{good, bad}, none),
			"Renew":        b.Renew(ctx, bad, time.Hour),
			"Stop":         b.Stop(ctx, bad),
			"Consume":      b.Consume(ctx, bad, "c", func(bus.Job) {}),
			"Ack":          b.Ack(ctx, bad, "1"),
			"Publish run":  b.Publish(ctx, bus.Chunk{Run: bad, Node: good}),
			"Publish node": b.Publish(ctx, bus.Chunk{Run: good, Node: bad}),
			"Lease":        leaseErr,
			"Announce":     b.Announce(ctx, bus.NodeInfo{Name: bad}, time.Hour),
		} {
			if err == nil {
				t.Errorf("%s took the name %q", what, bad)
			}
		}
	}
}

func endedContext(t *testing.T, b bus.Bus, n names) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	run, node := n.of("run"), n.of("node")
	_, leaseErr := b.Lease(ctx, run)
	_, stopsErr := b.Stops(ctx)
	_, nodesErr := b.Nodes(ctx)
	_, factsErr := b.Facts(ctx, bus.FactsHash(nil))
	for what, err := range map[string]error{
		"Submit":   b.Submit(ctx, nil, node),
		"Follow":   b.Follow(ctx, run, []string{node}, func(bus.Chunk) error { return nil }),
		"Renew":    b.Renew(ctx, run, time.Hour),
		"Stop":     b.Stop(ctx, run),
		"Consume":  b.Consume(ctx, node, "c", func(bus.Job) {}),
		"Ack":      b.Ack(ctx, node, "1"),
		"Publish":  b.Publish(ctx, chunk(run, node, 1)),
		"Lease":    leaseErr,
		"Stops":    stopsErr,
		"Nodes":    nodesErr,
		"Announce": b.Announce(ctx, bus.NodeInfo{Name: node}, time.Hour),

		"Facts":        factsErr,
		"PublishFacts": b.PublishFacts(ctx, bus.FactsHash(nil), nil),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want the context's error", what, err)
		}
	}
}
