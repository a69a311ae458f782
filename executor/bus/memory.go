package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Memory is the bus of one process: the terminal with its own executor. It
// forgets everything with the process, and needs no closing.
type Memory struct {
	mu      sync.Mutex
	queues  map[string]*queue     // by node
	streams map[string]*runOutput // by run
	leases  map[string]lease      // by run
	nodes   map[string]announced  // by name
	facts   map[string]*facts     // by hash
	stops   map[chan string]bool  // listeners
	swept   time.Time
}

// NewMemory returns an empty bus.
func NewMemory() *Memory {
	return &Memory{
		queues:  map[string]*queue{},
		streams: map[string]*runOutput{},
		leases:  map[string]lease{},
		nodes:   map[string]announced{},
		facts:   map[string]*facts{},
		stops:   map[chan string]bool{},
	}
}

// queue holds the jobs of one node, oldest first.
type queue struct {
	jobs    []queued
	last    uint64 // id of the newest job
	changed signal
}

type queued struct {
	id       uint64
	envelope []byte
	taken    bool
}

// runOutput holds the streams of one run.
type runOutput struct {
	streams map[string]*stream // by node
	changed signal
	touched time.Time
	readers int // that follow it: it is kept for them
}

// stream holds chunks; the first has the index begin.
type stream struct {
	begin  uint64
	chunks []Chunk
	bytes  int // of all of them
}

// trim drops the oldest chunks over the bounds.
func (s *stream) trim(share int) {
	n := 0
	for left := len(s.chunks); left > 1 && (left > KeepChunks || s.bytes > share); left-- {
		s.bytes -= s.chunks[n].size()
		n++
	}
	clear(s.chunks[:n]) // the array behind the slice must not keep their lines
	s.chunks = s.chunks[n:]
	s.begin += uint64(n)
}

type lease struct {
	stopped bool
	until   time.Time
}

type announced struct {
	info  NodeInfo
	until time.Time
}

type facts struct {
	blob    []byte
	touched time.Time
}

// signal wakes everyone who waits for a change. Its zero value is ready; its
// methods are called with the bus locked.
type signal struct{ ch chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) wake() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// sweepEvery is how often expired state is looked for.
const sweepEvery = time.Minute

// sweep forgets what has expired. It is called with the bus locked by methods
// that add something, so that the bus does not grow.
func (m *Memory) sweep(now time.Time) {
	if now.Sub(m.swept) < sweepEvery {
		return
	}
	m.swept = now
	maps.DeleteFunc(m.streams, func(_ string, o *runOutput) bool {
		return o.readers == 0 && now.Sub(o.touched) > OutputKept
	})
	maps.DeleteFunc(m.leases, func(_ string, l lease) bool { return now.After(l.until) })
	maps.DeleteFunc(m.nodes, func(_ string, n announced) bool { return now.After(n.until) })
	maps.DeleteFunc(m.facts, func(_ string, f *facts) bool { return now.Sub(f.touched) > FactsKept })
}

func checkNames(kind string, names ...string) error {
	for _, n := range names {
		if err := CheckName(n); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func (m *Memory) queue(node string) *queue {
	q := m.queues[node]
	if q == nil {
		q = &queue{}
		m.queues[node] = q
	}
	return q
}

func (m *Memory) output(run string, now time.Time) *runOutput {
	o := m.streams[run]
	if o == nil {
		o = &runOutput{streams: map[string]*stream{}, touched: now}
		m.streams[run] = o
	}
	return o
}

// Submit implements [Control].
func (m *Memory) Submit(ctx context.Context, envelope []byte, nodes ...string) error {
	if err := checkNames("node", nodes...); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep(time.Now())
	envelope = slices.Clone(envelope)
	for _, node := range nodes {
		q := m.queue(node)
		q.last++
		q.jobs = append(q.jobs, queued{id: q.last, envelope: envelope})
		if n := len(q.jobs) - KeepJobs; n > 0 {
			q.jobs = slices.Delete(q.jobs, 0, n)
		}
		q.changed.wake()
	}
	return nil
}

// Consume implements [Node].
func (m *Memory) Consume(ctx context.Context, node, consumer string, each func(Job)) error {
	if err := checkNames("node", node); err != nil {
		return err
	}
	if consumer == "" {
		return errors.New("consuming jobs: the consumer has no name")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// What was taken up to now is delivered again, once, before anything new.
	m.mu.Lock()
	q := m.queue(node)
	var again []uint64
	for _, j := range q.jobs {
		if j.taken {
			again = append(again, j.id)
		}
	}
	m.mu.Unlock()
	for _, id := range again {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.mu.Lock()
		i := slices.IndexFunc(q.jobs, func(j queued) bool { return j.id == id })
		var j Job
		if i >= 0 {
			j = q.jobs[i].job(true)
		}
		m.mu.Unlock()
		if i >= 0 {
			each(j)
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.mu.Lock()
		i := slices.IndexFunc(q.jobs, func(j queued) bool { return !j.taken })
		if i < 0 {
			changed := q.changed.wait()
			m.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		q.jobs[i].taken = true
		j := q.jobs[i].job(false)
		m.mu.Unlock()
		each(j)
	}
}

func (q queued) job(again bool) Job {
	return Job{ID: strconv.FormatUint(q.id, 10), Envelope: q.envelope, Again: again}
}

// Ack implements [Node].
func (m *Memory) Ack(ctx context.Context, node, id string) error {
	if err := checkNames("node", node); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return fmt.Errorf("acknowledging job %q: no such id", id)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queue(node)
	q.jobs = slices.DeleteFunc(q.jobs, func(j queued) bool { return j.taken && j.id == n })
	return nil
}

// Publish implements [Node].
func (m *Memory) Publish(ctx context.Context, c Chunk) error {
	if err := checkNames("run", c.Run); err != nil {
		return err
	}
	if err := checkNames("node", c.Node); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.sweep(now)
	o := m.output(c.Run, now)
	o.touched = now
	s := o.streams[c.Node]
	if s == nil {
		s = &stream{}
		o.streams[c.Node] = s
	}
	c.Lines = slices.Clone(c.Lines)
	s.chunks = append(s.chunks, c)
	s.bytes += c.size()
	s.trim(c.share())
	o.changed.wake()
	return nil
}

// Follow implements [Control].
func (m *Memory) Follow(ctx context.Context, run string, nodes []string, each func(Chunk) error) error {
	if err := checkNames("run", run); err != nil {
		return err
	}
	if err := checkNames("node", nodes...); err != nil {
		return err
	}
	m.mu.Lock()
	now := time.Now()
	m.sweep(now)
	o := m.output(run, now)
	o.readers++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		o.readers--
		m.mu.Unlock()
	}()
	next := make([]uint64, len(nodes))
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var got []Chunk
		m.mu.Lock()
		for i, node := range nodes {
			s := o.streams[node]
			if s == nil {
				continue
			}
			next[i] = max(next[i], s.begin)
			// A few at a time and of every node, so that none waits for another
			// and what is not yet handed over counts against the stream's bound.
			from := s.chunks[next[i]-s.begin:]
			from = from[:min(len(from), 16)]
			got = append(got, from...)
			next[i] += uint64(len(from))
		}
		changed := o.changed.wait()
		m.mu.Unlock()
		for _, c := range got {
			if err := ctx.Err(); err != nil {
				return err
			}
			if c.Foreign() != "" {
				c = Chunk{Run: c.Run, Node: c.Node, Format: c.Format}
			}
			if err := each(c); err != nil {
				return err
			}
		}
		if len(got) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Renew implements [Control].
func (m *Memory) Renew(ctx context.Context, run string, ttl time.Duration) error {
	if err := checkNames("run", run); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.sweep(now)
	if l := m.leases[run]; l.stopped && now.Before(l.until) {
		return ErrStopped
	}
	m.leases[run] = lease{until: now.Add(ttl)}
	return nil
}

// Stop implements [Control].
func (m *Memory) Stop(ctx context.Context, run string) error {
	if err := checkNames("run", run); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.sweep(now)
	m.leases[run] = lease{stopped: true, until: now.Add(StopKept)}
	for ch := range m.stops {
		select {
		case ch <- run:
		default: // it does not listen; the lease will tell it
		}
	}
	return nil
}

// Lease implements [Node].
func (m *Memory) Lease(ctx context.Context, run string) (Lease, error) {
	if err := checkNames("run", run); err != nil {
		return LeaseGone, err
	}
	if err := ctx.Err(); err != nil {
		return LeaseGone, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch l, ok := m.leases[run]; {
	case !ok || !time.Now().Before(l.until):
		return LeaseGone, nil
	case l.stopped:
		return LeaseStopped, nil
	}
	return LeaseLive, nil
}

// Stops implements [Node].
func (m *Memory) Stops(ctx context.Context) (<-chan string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ch := make(chan string, 64)
	m.mu.Lock()
	m.stops[ch] = true
	m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.stops, ch)
		close(ch)
	})
	return ch, nil
}

// Announce implements [Node].
func (m *Memory) Announce(ctx context.Context, n NodeInfo, ttl time.Duration) error {
	if err := checkNames("node", n.Name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.sweep(now)
	if ttl <= 0 {
		delete(m.nodes, n.Name)
		return nil
	}
	m.nodes[n.Name] = announced{info: n.clone(), until: now.Add(ttl)}
	return nil
}

// Nodes implements [Control].
func (m *Memory) Nodes(ctx context.Context) ([]NodeInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var out []NodeInfo
	for _, name := range slices.Sorted(maps.Keys(m.nodes)) {
		n := m.nodes[name]
		if !now.Before(n.until) {
			continue
		}
		if f := m.facts[n.info.Facts]; f != nil {
			f.touched = now
		}
		if n.info.Format > InfoFormat {
			out = append(out, n.info.foreign())
			continue
		}
		out = append(out, n.info.clone())
	}
	return out, nil
}

// PublishFacts implements [Node].
func (m *Memory) PublishFacts(ctx context.Context, hash string, blob []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkFacts(hash, blob); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.sweep(now)
	if f := m.facts[hash]; f != nil {
		f.touched = now
		return nil
	}
	m.facts[hash] = &facts{blob: slices.Clone(blob), touched: now}
	return nil
}

// Facts implements [Control].
func (m *Memory) Facts(ctx context.Context, hash string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.facts[hash]
	if f == nil {
		return nil, noFacts(hash)
	}
	return slices.Clone(f.blob), nil
}
