package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// How long the control side waits.
const (
	// leaseTTL is how long a run outlives its follower: long enough for another
	// process to notice and to go on in its place.
	leaseTTL     = 12 * time.Second
	renewEvery   = time.Second
	lookEvery    = 250 * time.Millisecond
	answerLimit  = 10 * time.Second // for a node's first word
	silenceLimit = 10 * time.Second // between two of its words
	busLimit     = 10 * time.Second // for a bus that fails
	// endLimit is how much longer than approved a node may take, for loading
	// and for the rest of its output.
	endLimit = 2 * time.Minute
	// After a stop, a node that has not said a word may still be about to
	// find that out; one that has is ending its run.
	stopUnanswered = 2 * time.Second
	stopLimit      = drainLimit + 3*grace
)

// ErrNoReader, as the cause of the end of the context of [Follow], says that
// nobody reads the output any more.
var ErrNoReader = errors.New("nobody reads the output any more")

// Shared is a bus whose runs other processes may take over: what [Dispatch] and
// [Follow] find out by themselves does not stop a run that is another's by then.
type Shared struct {
	bus.Control
	// Mine returns nil if this process has the run, [bus.ErrHandOver] if another
	// has, and other errors if that cannot be told now.
	Mine func(ctx context.Context) error
}

// Stop stops a run if it is this process's.
func (s Shared) Stop(ctx context.Context, run string) error {
	if err := s.Mine(ctx); err != nil {
		return err
	}
	return s.Control.Stop(ctx, run)
}

// Dispatch sends a sealed grant to each of its nodes. Call [Follow] right
// after it: a run that nobody follows does not last. When a node's queue
// cannot be reached the run is stopped everywhere.
func Dispatch(ctx context.Context, b bus.Control, g *job.Grant, envelope []byte) error {
	if err := b.Renew(ctx, g.Run, leaseTTL); err != nil {
		return fmt.Errorf("dispatching run %s: %w", g.Run, err)
	}
	err := b.Submit(ctx, envelope, g.Nodes...)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("dispatching run %s: %w", g.Run, err)
	if errors.Is(context.Cause(ctx), bus.ErrHandOver) {
		return err // whoever takes over sends it again
	}
	return errors.Join(err, stopSoon(ctx, b, g.Run))
}

// Stop ends a run on all its nodes, or keeps it from beginning.
func Stop(ctx context.Context, b bus.Control, run string) error {
	if err := b.Stop(ctx, run); err != nil {
		return fmt.Errorf("stopping run %s: %w", run, err)
	}
	return nil
}

// stopSoon stops a run although ctx may have ended.
func stopSoon(ctx context.Context, b bus.Control, run string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	return keepStopping(ctx, b, run)
}

// keepStopping tries to stop a run until that is done, it is another process's,
// or ctx ends.
func keepStopping(ctx context.Context, b bus.Control, run string) error {
	for {
		err := Stop(ctx, b, run)
		if err == nil || errors.Is(err, bus.ErrHandOver) || !pause(ctx, publishAgain) {
			return err
		}
	}
}

// Follow keeps a dispatched run alive and hands its records to sink, each a
// line with its newline that sink must copy to keep, until every node has
// ended or is given up. What the nodes say of their end is not handed on but
// returned as the summary, the caller's last record.
//
// When ctx ends the run is stopped, and Follow goes on to hand over what is
// left, for a bounded time. The reason in the summary is then "interrupted",
// or what the context's cause says: "output" for [ErrNoReader], "stopped" for
// [bus.ErrStopped].
//
// With [bus.ErrHandOver] as the cause, Follow returns only that error, at once, and
// leaves the run alone: another process follows it from its beginning, before
// the lease ends.
//
// A node that does not answer, falls silent or does not end is named in the
// summary and given up, and the run is stopped so that it does not run
// unwatched. One that is heard again while the others still run is taken back, which
// the summary says. The time in which the bus could not be read is not held against
// nodes. The summary is complete also when an error is returned, which
// means that the bus cannot be read; then the run is left to its lease, since
// another process may be following it. On a [Shared] bus the error can be
// [bus.ErrHandOver], too: then one is.
func Follow(ctx context.Context, b bus.Control, g *job.Grant, sink func(line []byte)) (output.Summary, error) {
	f := newFollower(g, sink, time.Now())
	if err := f.check(); err != nil {
		f.giveUp(err.Error())
		return f.summary(), err
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	chunks, unread, broken := make(chan bus.Chunk), make(chan time.Duration), make(chan error, 1)
	wg.Go(func() {
		if err := read(work, b, f.run, f.names(), chunks, unread); err != nil {
			broken <- err
		}
	})
	wg.Go(func() { renew(ctx, work, b, f.run) })
	wg.Go(func() { // not in the loop, which sink can hold up
		select {
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), bus.ErrHandOver) {
				keepStopping(work, b, f.run)
			}
		case <-work.Done():
		}
	})

	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	ended := ctx.Done()
	var err error
	for !f.done() {
		select {
		case c := <-chunks:
			start := time.Now()
			f.take(c, start)
			f.excuse(time.Since(start))
		case d := <-unread:
			f.excuse(d)
		case <-tick.C:
			f.look(time.Now())
		case <-ended:
			if errors.Is(context.Cause(ctx), bus.ErrHandOver) {
				return output.Summary{}, bus.ErrHandOver
			}
			f.stop(context.Cause(ctx), time.Now())
			ended = nil
		case err = <-broken:
			err = fmt.Errorf("following run %s: %w", f.run, err)
			f.giveUp(err.Error())
		}
	}
	// When it is the bus that cannot be read, another process may be following
	// the run, and if none is its lease ends.
	if f.gaveUp() && err == nil {
		err = stopSoon(ctx, b, f.run)
	}
	return f.summary(), err
}

// read hands on a run's chunks until ctx ends or the bus has failed for long.
// After a failure it begins again; the repetition is known by its numbers. It
// tells unread for how long no node may have been heard because of a failure:
// when the connection broke is not known, so that is all the time since the
// last chunk.
func read(ctx context.Context, b bus.Control, run string, nodes []string, chunks chan<- bus.Chunk, unread chan<- time.Duration) error {
	var failing time.Time
	quiet := time.Now()
	for {
		err := b.Follow(ctx, run, nodes, func(c bus.Chunk) error {
			failing = time.Time{}
			select {
			case chunks <- c:
				quiet = time.Now()
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if time.Since(failing) >= busLimit {
			return err
		}
		select {
		case unread <- time.Since(quiet):
			quiet = time.Now()
		case <-ctx.Done():
			return nil
		}
		if !pause(ctx, busAgain) {
			return nil
		}
	}
}

// renew renews the lease until the caller or the work has ended. That it
// cannot be renewed needs no other answer than the nodes': they detach.
func renew(caller, work context.Context, b bus.Control, run string) {
	ctx, cancel := context.WithCancel(caller)
	defer cancel()
	defer context.AfterFunc(work, cancel)()
	for {
		limit, cancel := context.WithTimeout(ctx, leaseTTL)
		err := b.Renew(limit, run, leaseTTL)
		cancel()
		if errors.Is(err, bus.ErrStopped) || !pause(ctx, renewEvery) {
			return
		}
	}
}

// follower merges what the nodes of a run say. It knows no bus and no clock. Its times are
// of a clock that stands still while it is excused.
type follower struct {
	run     string
	sink    func([]byte)
	nodes   []*tail
	named   map[string]*tail // the same
	excused time.Duration    // in all
	limit   time.Duration    // of the run
	begun   time.Time
	stopped time.Time     // when the caller's context ended
	reason  output.Reason // of that
}

// tail is what is known of one node.
type tail struct {
	name     string
	heard    time.Time // zero before its first word
	seq      uint64    // of the newest chunk
	missing  uint64    // chunks that never came
	received uint64    // events
	strange  uint64    // lines that were not its to say
	counters output.Counters
	attached time.Duration
	final    bool   // the counters are the node's last
	late     string // what is to be said of its having been given up for a while
	end      *output.NodeSummary
	lost     bool // it was given up, which is its end unless it is heard again
}

func newFollower(g *job.Grant, sink func([]byte), now time.Time) *follower {
	f := &follower{run: g.Run, sink: sink, limit: g.Limits.Duration, begun: now, named: map[string]*tail{}}
	for _, name := range g.Nodes {
		if f.named[name] == nil {
			t := &tail{name: name}
			f.nodes, f.named[name] = append(f.nodes, t), t
		}
	}
	return f
}

func (f *follower) names() []string {
	out := make([]string, len(f.nodes))
	for i, t := range f.nodes {
		out[i] = t.name
	}
	return out
}

func (f *follower) check() error {
	if err := bus.CheckName(f.run); err != nil {
		return fmt.Errorf("following run: %w", err)
	}
	if len(f.nodes) == 0 {
		return fmt.Errorf("following run %s: its grant names no node", f.run)
	}
	for _, t := range f.nodes {
		if err := bus.CheckName(t.name); err != nil {
			return fmt.Errorf("following run %s: node: %w", f.run, err)
		}
	}
	return nil
}

func (f *follower) done() bool {
	for _, t := range f.nodes {
		if t.end == nil {
			return false
		}
	}
	return true
}

// take takes in a chunk.
func (f *follower) take(c bus.Chunk, now time.Time) {
	now = now.Add(-f.excused)
	t := f.named[c.Node]
	if t == nil || c.Run != f.run || t.end != nil && !f.takeBack(t, c, now) {
		return
	}
	if why := c.Foreign(); why != "" {
		if t.end == nil {
			f.lose(t, why)
		}
		return
	}
	t.heard = now
	lines := c.Lines
	switch {
	case c.Seq == 0 && c.Final:
		// The node keeps no account; what is known of it stays.
	case c.Seq <= t.seq:
		return // seen before
	default:
		t.missing += c.Seq - t.seq - 1
		t.seq = c.Seq
		t.received += c.Events
		t.counters, t.attached, t.final = c.Counters, c.Attached, c.Final
	}
	var last []byte
	if c.Final {
		lines, last = lastLine(lines)
	}
	for len(lines) > 0 {
		n := bytes.IndexByte(lines, '\n') + 1
		if n == 0 {
			n = len(lines)
		}
		if ownLine(lines[:n], t.name) {
			f.sink(lines[:n:n])
		} else {
			t.strange++
		}
		lines = lines[n:]
	}
	if c.Final {
		t.finish(last)
	}
}

// takeBack goes on with a node that was given up, when it says something new before the
// run is over for all.
func (f *follower) takeBack(t *tail, c bus.Chunk, now time.Time) bool {
	isNew := c.Seq > t.seq || c.Seq == 0 && c.Final
	if !t.lost || !isNew || f.overdue(now) != "" {
		return false
	}
	if t.heard.IsZero() {
		t.late = fmt.Sprintf("its first word came only after %v", now.Sub(f.begun).Round(time.Second))
	} else {
		t.late = fmt.Sprintf("nothing came from it for %v", now.Sub(t.heard).Round(time.Second))
	}
	t.end, t.lost = nil, false
	return true
}

// lastLine cuts off the last line.
func lastLine(lines []byte) (rest, last []byte) {
	i := bytes.LastIndexByte(bytes.TrimSuffix(lines, []byte{'\n'}), '\n') + 1
	return lines[:i], lines[i:]
}

// finish takes a node at its last word.
func (t *tail) finish(line []byte) {
	s := output.NodeSummary{}
	r, err := output.Decode(line)
	if err == nil {
		var ok bool
		if s, ok = r.(output.NodeSummary); !ok {
			err = errors.New("it is no summary")
		}
	}
	if err != nil {
		s = output.NodeSummary{Reason: output.ReasonFailed, Detail: fmt.Sprintf("reading the end of its output: %v", err)}
	}
	if len(s.Detail) > maxDetail {
		s.Detail = strings.ToValidUTF8(s.Detail[:maxDetail], "") + "…"
	}
	t.conclude(s)
}

// conclude ends a node with its account as seen from here: what it handed to
// the bus and what arrived may differ, and when its own end is not known, what
// it had not delivered by its last word is gone too.
func (t *tail) conclude(s output.NodeSummary) {
	c := t.counters
	adds := c.Delivered >= t.received
	if adds {
		c.BusTrimmed = c.Delivered - t.received
	}
	c.Delivered = t.received
	if sum := c.Delivered + c.KernelLost + c.Dropped + c.BusTrimmed; !t.final && c.Produced > sum {
		c.BusTrimmed += c.Produced - sum
	}
	s.Node, s.Counters = t.name, c
	note := func(format string, args ...any) {
		if s.Detail != "" {
			s.Detail += "; "
		}
		s.Detail += fmt.Sprintf(format, args...)
	}
	if t.late != "" {
		note("%s", t.late)
	}
	if !adds || !c.Balanced() {
		note("its account of events does not add up")
		s.Reason = output.ReasonFailed
	}
	if t.missing > 0 {
		note("%d chunks of its output did not arrive", t.missing)
	}
	if t.strange > 0 {
		note("%d records were left out: they were too long or spoke for others", t.strange)
	}
	t.end = &s
}

// maxDetail is how much is taken of a node's own words about its end, in bytes.
const maxDetail = 4000

// ownLine reports whether a line may be handed on as a node's: it is not too
// long, and if it is a record, then of that node and no other. A node that
// was taken over must not be able to speak for the others.
func ownLine(line []byte, node string) bool {
	if len(line) > output.MaxLine {
		return false
	}
	if rest, ok := bytes.CutPrefix(line, []byte(`{"type":"event","node":"`)); ok {
		// The quick way, for what our own encoder has written: nothing else in the
		// line can be read as the record's node.
		if rest, ok = bytes.CutPrefix(rest, []byte(node)); ok && bytes.HasPrefix(rest, []byte(`",`)) && bytes.IndexByte(rest, '\\') < 0 && !namesNode(rest) {
			return true
		}
	}
	r, err := output.Decode(line)
	if err != nil {
		return true // no record: whoever reads it sees that
	}
	var who string
	switch r := r.(type) {
	case output.Attached:
		who = r.Node
	case output.Event:
		who = r.Node
	case output.Map:
		who = r.Node
	case output.Hist:
		who = r.Node
	case output.Stack:
		who = r.Node
	case output.Text:
		who = r.Node
	case output.Error:
		who = r.Node
	default:
		return false // not a node's to say
	}
	return who == node || who == ""
}

// namesNode reports whether there is a name "node" in any spelling that JSON
// takes for it.
func namesNode(line []byte) bool {
	const last = len(nodeName) - 1
	for i := last; i < len(line); i += int(nodeShift[line[i]]) {
		if line[i] == '"' && bytes.EqualFold(line[i-last:i+1], []byte(nodeName)) {
			return true
		}
	}
	return false
}

const nodeName = `"node"`

// nodeShift is how far it is, at least, from a byte to where the name may end next
// (Horspool): most of a line is not looked at.
var nodeShift = func() (t [256]uint8) {
	for i := range t {
		t[i] = uint8(len(nodeName))
	}
	for i, c := range []byte(nodeName[:len(nodeName)-1]) {
		t[c], t[bytes.ToUpper([]byte{c})[0]] = uint8(len(nodeName)-1-i), uint8(len(nodeName)-1-i)
	}
	return t
}()

// look gives up the nodes that are overdue.
func (f *follower) look(now time.Time) {
	now = now.Add(-f.excused)
	for _, t := range f.nodes {
		if t.end != nil {
			continue
		}
		answered, stopping := !t.heard.IsZero(), !f.stopped.IsZero()
		switch {
		case !answered && stopping && now.Sub(f.stopped) > stopUnanswered:
			f.lose(t, "it had not answered when the run was stopped")
		case !answered && now.Sub(f.begun) > answerLimit:
			f.lose(t, fmt.Sprintf("no answer within %v: see that its executor runs and reaches the bus", answerLimit))
		case !answered:
		case now.Sub(t.heard) > silenceLimit:
			f.lose(t, fmt.Sprintf("it fell silent: nothing for %v", silenceLimit))
		default:
			if why := f.overdue(now); why != "" {
				f.lose(t, why)
			}
		}
	}
}

// overdue says why no node is waited for any more; empty: one that is heard is.
func (f *follower) overdue(now time.Time) string {
	switch {
	case !f.stopped.IsZero() && now.Sub(f.stopped) > stopLimit:
		return fmt.Sprintf("it was told to stop and had not ended after %v", stopLimit)
	case now.Sub(f.begun) > f.limit+endLimit:
		return fmt.Sprintf("its %v were over long ago and it had not ended", f.limit)
	}
	return ""
}

// gaveUp reports whether a node was given up, and was not heard again.
func (f *follower) gaveUp() bool {
	return slices.ContainsFunc(f.nodes, func(t *tail) bool { return t.lost })
}

func (f *follower) lose(t *tail, why string) {
	t.lost = true
	t.conclude(output.NodeSummary{Reason: output.ReasonFailed, Detail: why})
}

func (f *follower) giveUp(why string) {
	for _, t := range f.nodes {
		if t.end == nil {
			f.lose(t, why)
		}
	}
}

// excuse keeps time in which nobody listened, because sink took it or the bus
// could not be read, from being held against the nodes.
func (f *follower) excuse(d time.Duration) { f.excused += d }

// stop notes that the caller does not want to go on.
func (f *follower) stop(cause error, now time.Time) {
	f.stopped = now.Add(-f.excused)
	switch {
	case errors.Is(cause, ErrNoReader):
		f.reason = output.ReasonOutput
	case errors.Is(cause, bus.ErrStopped):
		f.reason = output.ReasonStopped
	default:
		f.reason = output.ReasonInterrupted
	}
}

// gravity orders the reasons of nodes: that of the whole run is the gravest.
var gravity = map[output.Reason]int{
	output.ReasonDeadline:    1,
	reasonComplete:           2,
	output.ReasonStopped:     3,
	output.ReasonInterrupted: 4,
	output.ReasonOutput:      5,
	output.ReasonRefused:     6,
	output.ReasonFailed:      7,
}

// summary adds up what the nodes, which have all ended, have said.
func (f *follower) summary() output.Summary {
	s := output.Summary{Nodes: []output.NodeSummary{}, Overhead: output.Overhead{Available: len(f.nodes) > 0}}
	var details []string
	for _, t := range f.nodes {
		n := *t.end
		s.Nodes = append(s.Nodes, n)
		s.Counters = s.Counters.Add(n.Counters)
		s.Overhead = worse(s.Overhead, n.Overhead)
		s.Seconds = max(s.Seconds, t.attached.Seconds())
		if s.Reason == "" || gravity[n.Reason] > gravity[s.Reason] {
			s.Reason = n.Reason
		}
		switch {
		case n.Detail == "":
		case len(f.nodes) == 1:
			details = append(details, n.Detail)
		default:
			details = append(details, n.Node+": "+n.Detail)
		}
	}
	const shown = 5
	if n := len(details); n > shown {
		details = append(details[:shown], fmt.Sprintf("and %d more", n-shown))
	}
	s.Detail = strings.Join(details, "; ")
	if s.Order = output.OrderStream; len(f.nodes) > 1 {
		s.Order = output.OrderNodes
	}
	if f.reason != "" {
		s.Reason = f.reason
	}
	return s
}

// worse adds up the overhead of two nodes; of shares and delays, which do not
// add up, it keeps the larger.
func worse(a, b output.Overhead) output.Overhead {
	return output.Overhead{
		Runs:      a.Runs + b.Runs,
		Nanos:     a.Nanos + b.Nanos,
		CPUShare:  max(a.CPUShare, b.CPUShare),
		Available: a.Available && b.Available,
		Missed:    a.Missed + b.Missed,

		MissedUnknown: a.MissedUnknown || b.MissedUnknown,

		AttachMS: max(a.AttachMS, b.AttachMS),
	}
}
