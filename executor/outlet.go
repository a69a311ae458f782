package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kgent/executor/bus"
	"kgent/executor/output"
)

// How output leaves a node.
const (
	chunkBytes = 64 << 10               // a chunk is sent when it has this much
	chunkDelay = 100 * time.Millisecond // or at the end of such a time; at once if none was sent in one
	heartbeat  = time.Second            // a silent run says that it lives
	// Lines wait for a slow bus in bounded memory. Events that find no room
	// are dropped and counted; maps and other records, which are the answer,
	// have more.
	maxEventBytes  = 4 << 20
	maxRecordBytes = 64 << 20
	publishLimit   = 2 * time.Second        // one attempt to publish
	publishAgain   = 100 * time.Millisecond // between attempts
	// grace is how long the bus may be out of reach before a run is ended, how
	// long the rest of its output has to leave, and how long its last words.
	grace = 5 * time.Second
)

// outlet is where a run's output leaves the node: the [Sink] of its probe, the
// rate limit, the batches, and the account of what was handed to the bus.
//
// It never makes the probe wait. An event counts as delivered from the moment
// its chunk has a number: whether a numbered chunk arrives is visible to
// whoever follows, even if the bus lost it or wrongly said that it did.
type outlet struct {
	bus       bus.Node
	run, node string
	nodes     int // of the run
	// cut is called once, when the bus is out of reach for the grace, and
	// failing is since when it is; both are the sender's.
	cut     func(error)
	failing time.Time
	failed  func() // if set, is told each time that the bus does not take a chunk

	wake   chan struct{} // something is to be sent now
	done   chan struct{} // the sender has ended
	cancel context.CancelFunc

	mu        sync.Mutex
	limit     bucket  // events
	lines     bucket  // events and lines of text
	size      bucket  // bytes of all lines
	full      []batch // to be sent, oldest first
	cur       batch
	usual     int      // bytes of a batch
	spare     [][]byte // of batches that were sent
	bytes     int      // waiting, in full and cur
	flushing  bool     // send cur without delay
	sealed    bool     // takes no more lines
	ending    time.Time
	ended     bool // the final chunk is published
	spoken    time.Time
	sent      time.Time // when lines were last sent that nobody had flushed
	seq       uint64
	admitted  uint64 // events
	lined     uint64 // of them, those that became lines
	waiting   uint64 // events in full and cur
	delivered uint64 // events in numbered chunks
	dropped   uint64
	refused   int       // records that found no room
	silenced  int       // lines of text over the node's rate
	behind    time.Time // since when the bus does not take a chunk; zero: it does
	attached  time.Time
	lasted    time.Duration // from attached to detached, once that is over

	// countMu is held while counting, so that the probe is not closed under it.
	countMu sync.Mutex
	count   func() (produced, lost, mapFull uint64, err error)
	counted output.Counters // the last count
}

// batch becomes a chunk.
type batch struct {
	lines  []byte
	events uint64
}

// rates bound what leaves the node of one run, a second; 0 is no bound.
type rates struct {
	events int
	lines  int // events and lines of text
	bytes  int
	// nodes share what the bus keeps of the run; see [bus.RunBytes].
	nodes int
}

// newOutlet starts to send; finish ends it.
func newOutlet(ctx context.Context, b bus.Node, run, node string, most rates, cut func(error), failed func()) *outlet {
	ctx, cancel := context.WithCancel(ctx)
	now := time.Now()
	o := &outlet{
		bus: b, run: run, node: node, nodes: most.nodes, cut: cut, failed: failed,
		wake: make(chan struct{}, 1), done: make(chan struct{}), cancel: cancel,
		limit: newBucket(most.events, now), lines: newBucket(most.lines, now), size: newBucket(most.bytes, now),
	}
	go o.send(ctx)
	return o
}

// Admit implements [Sink].
func (o *outlet) Admit() bool {
	var now time.Time
	if o.limit.rate > 0 || o.lines.rate > 0 {
		now = time.Now()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed {
		return false
	}
	if !o.limit.take(now) || !o.lines.take(now) {
		o.dropped++
		return false
	}
	o.admitted++
	return true
}

// Line implements [Sink].
func (o *outlet) Line(line []byte) {
	if len(line) > output.MaxLine {
		o.take(nil, 1, true)
		return
	}
	o.take(line, 1, false)
}

// Lines implements [Sink].
func (o *outlet) Lines(lines []byte, events int) { o.take(lines, uint64(events), false) }

// take takes the lines of admitted events, or drops them.
func (o *outlet) take(lines []byte, events uint64, drop bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed {
		return
	}
	o.lined += events
	if drop || o.bytes+len(lines) > maxEventBytes || !o.affords(len(lines)) {
		o.dropped += events
		return
	}
	o.append(lines)
	o.cur.events += events
	o.waiting += events
}

// affords takes a line's bytes off the node's rate, if it has any left. It is
// called with mu held.
func (o *outlet) affords(n int) bool { return o.size.rate == 0 || o.size.takeN(n, time.Now()) }

// Record implements [Sink]. Lines of text count towards the rates; maps and the
// like are the answer, of which there is little.
func (o *outlet) Record(r output.Record) {
	line, err := output.Encode(r)
	_, text := r.(output.Text)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed {
		return
	}
	if text && o.lines.rate > 0 && !o.lines.take(time.Now()) || text && !o.affords(len(line)) {
		o.silenced++
		return
	}
	if err != nil || len(line) > output.MaxLine || o.bytes+len(line) > maxRecordBytes {
		o.refused++
		return
	}
	o.append(line)
}

// append adds lines to the current batch. It is called with mu held.
func (o *outlet) append(line []byte) {
	if len(o.cur.lines) > 0 && len(o.cur.lines)+len(line) > chunkBytes {
		o.full = append(o.full, o.cur)
		o.cur = batch{}
		o.poke()
	}
	if o.cur.lines == nil {
		if n := len(o.spare); n > 0 {
			o.cur.lines, o.spare = o.spare[n-1], o.spare[:n-1]
		} else {
			// As much as last time: little when it is quiet, all of it in a flood.
			o.cur.lines = make([]byte, 0, max(o.usual, len(line)+1))
		}
		if len(o.full) == 0 {
			o.poke() // perhaps it need not wait
		}
	}
	n := len(o.cur.lines)
	o.cur.lines = append(o.cur.lines, line...)
	if !bytes.HasSuffix(line, []byte{'\n'}) {
		o.cur.lines = append(o.cur.lines, '\n')
	}
	o.bytes += len(o.cur.lines) - n
}

// poke wakes the sender.
func (o *outlet) poke() {
	select {
	case o.wake <- struct{}{}:
	default: // it is awake
	}
}

// begin notes that the probe is attached, and how to count its events.
func (o *outlet) begin(count func() (produced, lost, mapFull uint64, err error)) {
	o.countMu.Lock()
	o.count = count
	o.countMu.Unlock()
	o.mu.Lock()
	o.attached = time.Now()
	o.mu.Unlock()
}

// duration is how long the probe was attached.
func (o *outlet) duration() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lasted
}

// status returns the account as last counted, since when the probe is attached,
// and how long a chunk has waited for the bus to take it.
func (o *outlet) status() (c output.Counters, attached time.Time, lag time.Duration) {
	o.countMu.Lock()
	c = o.counted
	o.countMu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	c.Delivered, c.Dropped = o.delivered+o.waiting, o.dropped
	if !o.behind.IsZero() {
		lag = time.Since(o.behind)
	}
	return c, o.attached, lag
}

// late notes since when the bus does not take a chunk; zero: it does.
func (o *outlet) late(since time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.behind = since
}

// flush sends what there is without delay.
func (o *outlet) flush() {
	o.mu.Lock()
	o.flushing = true
	o.mu.Unlock()
	o.poke()
}

// detach notes that the probe is told to detach.
func (o *outlet) detach() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.attached.IsZero() && o.lasted == 0 {
		o.lasted = time.Since(o.attached)
	}
}

// seal ends the output and returns its account. Clean says that the probe was
// read to its end; otherwise what it held unread counts as dropped. An error
// means that the output or its account is incomplete.
func (o *outlet) seal(clean bool) (output.Counters, error) {
	o.detach()
	o.mu.Lock()
	o.sealed = true
	// Admitted and then not rendered.
	o.dropped += o.admitted - o.lined
	o.mu.Unlock()

	o.countMu.Lock()
	defer o.countMu.Unlock()
	began := o.count != nil
	err := o.recount()
	o.count = nil
	c := o.counted

	o.mu.Lock()
	defer o.mu.Unlock()
	seen := o.delivered + o.waiting + o.dropped + c.KernelLost
	if err != nil {
		c.Produced = max(c.Produced, seen) // what is known
	}
	if began && (err != nil || !clean) && c.Produced > seen {
		o.dropped += c.Produced - seen
	}
	o.counted = c // for the chunks to come
	c.Delivered, c.Dropped = o.delivered+o.waiting, o.dropped
	if err == nil && !c.Balanced() {
		err = fmt.Errorf("accounting for events: %d were produced, but %d delivered, %d lost in the kernel and %d dropped",
			c.Produced, c.Delivered, c.KernelLost, c.Dropped)
	}
	if o.silenced > 0 {
		err = errors.Join(err, fmt.Errorf("sending output: %d lines of text were over this node's rate and left out", o.silenced))
	}
	if o.refused > 0 {
		err = errors.Join(err, fmt.Errorf("sending output: %d maps or other records were too large or found no room", o.refused))
	}
	return c, err
}

// produced counts the events that the attached probe has produced so far.
func (o *outlet) produced() (uint64, error) {
	o.countMu.Lock()
	defer o.countMu.Unlock()
	if o.count == nil {
		return 0, errors.New("counting events: the probe is not attached")
	}
	err := o.recount()
	return o.counted.Produced, err
}

// recount reads the probe's counters. It is called with countMu held.
func (o *outlet) recount() error {
	if o.count == nil {
		return nil
	}
	produced, lost, full, err := o.count()
	if err != nil {
		return fmt.Errorf("counting events: %w", err)
	}
	o.counted = output.Counters{Produced: produced, KernelLost: lost, MapFull: full}
	return nil
}

// finish sends what is waiting, as much as the grace allows, and these records
// as the end of the final chunk. It returns an error when that could not be
// published.
func (o *outlet) finish(last ...output.Record) error {
	var lines []byte
	for _, r := range last {
		line, err := output.Encode(r)
		if err != nil {
			return err
		}
		lines = append(lines, line...)
	}
	o.mu.Lock()
	o.sealed = true
	o.append(lines)
	o.ending = time.Now()
	o.mu.Unlock()
	o.poke()
	<-o.done
	o.cancel()
	if !o.ended {
		return errors.New("publishing the end of the output: the bus could not be reached")
	}
	return nil
}

// send publishes chunks until the final one is or cannot be published.
func (o *outlet) send(ctx context.Context) {
	defer close(o.done)
	tick := time.NewTicker(chunkDelay)
	defer tick.Stop()
	aged := false // what waits has waited for the delay
	for {
		c, ok := o.next(aged)
		aged = false
		if !ok {
			select {
			case <-o.wake:
			case <-tick.C:
				aged = true
			case <-ctx.Done():
				return
			}
			continue
		}
		sent := o.publish(ctx, c)
		o.reuse(c.Lines)
		if c.Final || ctx.Err() != nil {
			o.ended = sent && c.Final
			return
		}
	}
}

// next takes the next chunk to send, if there is one.
func (o *outlet) next(aged bool) (bus.Chunk, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b batch
	now := time.Now()
	if !o.ending.IsZero() && now.Sub(o.ending) >= grace {
		// No time for the rest. It is skipped with its numbers, so that what
		// is missing shows.
		for _, b := range o.full {
			o.number(b)
		}
		o.full = nil
	}
	switch {
	case len(o.full) > 0:
		b = o.full[0]
		o.full[0] = batch{}
		o.full = o.full[1:]
		o.sent = now
	case len(o.cur.lines) > 0 && (o.flushing || !o.ending.IsZero()):
		b, o.cur = o.cur, batch{}
		o.flushing = false
	case len(o.cur.lines) > 0 && (aged || now.Sub(o.sent) >= chunkDelay):
		b, o.cur = o.cur, batch{}
		o.sent = now
	case now.Sub(o.spoken) < heartbeat:
		return bus.Chunk{}, false
	}
	o.spoken = now
	o.usual = min(len(b.lines), chunkBytes)
	o.number(b)
	c := bus.Chunk{
		Run: o.run, Node: o.node, Nodes: o.nodes, Seq: o.seq, Lines: b.lines, Events: b.events,
		Attached: o.lasted,
		Final:    !o.ending.IsZero() && len(o.full) == 0 && len(o.cur.lines) == 0,
	}
	if !o.attached.IsZero() && o.lasted == 0 {
		c.Attached = now.Sub(o.attached)
	}
	c.Counters.Delivered, c.Counters.Dropped = o.delivered, o.dropped
	return c, true
}

// maxSpare is how many batches' memory is kept for those to come.
const maxSpare = 16

// reuse keeps the memory of lines that were sent, so that a flood makes no garbage.
func (o *outlet) reuse(lines []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if cap(lines) > 0 && cap(lines) <= chunkBytes && len(o.spare) < maxSpare {
		o.spare = append(o.spare, lines[:0])
	}
}

// number gives a batch its number. It is called with mu held.
func (o *outlet) number(b batch) {
	o.seq++
	o.bytes -= len(b.lines)
	o.waiting -= b.events
	o.delivered += b.events
}

// publish completes a chunk's counters and hands it to the bus, again and
// again until the bus takes it: what has a number is not skipped while there
// is hope. It reports false when there is none.
func (o *outlet) publish(ctx context.Context, c bus.Chunk) bool {
	// Counted after what was delivered, so that a chunk never accounts for
	// more events than were produced.
	o.countMu.Lock()
	o.recount() // an error here shows again when the output is sealed
	c.Counters.Produced, c.Counters.KernelLost, c.Counters.MapFull = o.counted.Produced, o.counted.KernelLost, o.counted.MapFull
	o.countMu.Unlock()
	o.late(time.Now())
	for {
		err := o.try(ctx, c)
		if err == nil {
			o.failing = time.Time{}
			o.late(time.Time{})
			return true
		}
		if o.failed != nil {
			o.failed()
		}
		if o.failing.IsZero() {
			o.failing = time.Now()
		}
		if time.Since(o.failing) >= grace {
			o.mu.Lock()
			ending := o.ending
			o.mu.Unlock()
			if !ending.IsZero() && time.Since(ending) >= grace {
				return false
			}
			if o.cut != nil {
				o.cut(err)
				o.cut = nil
			}
		}
		if !pause(ctx, publishAgain) {
			return false
		}
	}
}

func (o *outlet) try(ctx context.Context, c bus.Chunk) error {
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	return o.bus.Publish(ctx, c)
}
