package probe

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

// Tick is a good interval for [Set.Drain]: short enough for a person to see no
// delay, long enough to read many events at once.
const Tick = 20 * time.Millisecond

// Drain reads the programs' events until ctx ends, and then returns nil soon,
// without reading what is left. It calls fn for each event with the number of
// its stream and the bytes the program submitted, which are only valid during
// the call; fn is called from this goroutine alone and must not close the Set.
// Rings are looked at every tick, and sooner when one fills; so are perf buffers, whose events
// wait for a millisecond, until those of other processors are there.
//
// Only one of Drain and Rest runs at a time; another waits its turn.
func (s *Set) Drain(ctx context.Context, tick time.Duration, fn func(stream int, raw []byte)) error {
	return s.DrainTo(ctx, tick, fn, func() {})
}

// DrainTo is Drain, and calls idle, too, from the same goroutine, when it has handed
// over events and there are no more for now.
func (s *Set) DrainTo(ctx context.Context, tick time.Duration, fn func(stream int, raw []byte), idle func()) error {
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.release()
	if s.ring == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-s.done:
			return ErrClosed
		}
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	var ended atomic.Bool
	defer context.AfterFunc(ctx, func() {
		ended.Store(true)
		s.ring.wake()
	})()
	stop := func() bool { return ended.Load() || s.closing.Load() }
	// At first it looks more often: an event is not kept waiting for longer than it
	// took to come.
	soon := min(tick, time.Millisecond)
	// Since idle was called last: a pass can end with the last event, and not know it.
	var handed uint64
	for !stop() {
		n, left, err := s.ring.pass(stop, fn)
		s.delivered += n
		handed += n
		if err != nil {
			return err
		}
		if left == ringRecord {
			continue
		}
		if handed > 0 {
			handed = 0
			idle()
		}
		wait := soon
		if left == ringBusy { // the program may have lost its processor; others go on writing
			wait = min(tick, time.Millisecond)
		}
		if err := s.ring.wait(wait); err != nil {
			return err
		}
		soon = min(tick, 2*soon)
	}
	if s.closing.Load() {
		return ErrClosed
	}
	return nil
}

// restLimit bounds how long Rest waits for programs that still run.
const restLimit = time.Second

// Rest reads what the programs had submitted when they were detached. When it
// returns nil, every event that was produced has been handed to fn, here or by
// Drain, or is counted as lost, and [Set.Counts] and [Set.Cells] are final. It takes a
// millisecond or two, at most a second; an error says that the counters of the
// program and the events read do not agree.
func (s *Set) Rest(ctx context.Context, fn func(stream int, raw []byte)) error {
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.release()
	s.links.Lock()
	ended := s.attached == attachEnded
	s.links.Unlock()
	if !ended {
		return errors.New("draining the rest: the programs are still attached; detach them first")
	}
	quiesce() // what was running may still count in a map, too
	if s.ring == nil {
		return nil
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	s.ring.finish()
	deadline := time.Now().Add(restLimit)
	stop := func() bool { return ctx.Err() != nil || s.closing.Load() }
	var last program.Counts
	for first := true; ; first = false {
		n, left, err := s.ring.pass(stop, fn)
		s.delivered += n
		if err != nil {
			return err
		}
		switch {
		case s.closing.Load():
			return ErrClosed
		case ctx.Err() != nil:
			return fmt.Errorf("draining the rest: %w", ctx.Err())
		case left == ringRecord:
			continue
		}
		counts, err := s.counts()
		if err != nil {
			return err
		}
		if !first && counts == last && s.delivered == counts.Produced {
			return nil
		}
		// On a busy machine the deadline can pass before the second look: as long
		// as the numbers agree there is no fault in that.
		if time.Now().After(deadline) && s.delivered != counts.Produced {
			return fmt.Errorf("draining the rest: the program says it submitted %d events, %d were read", counts.Produced, s.delivered)
		}
		last = counts
		if err := s.ring.wait(time.Millisecond); err != nil {
			return err
		}
	}
}

// quiesce waits until no CPU runs code that it entered before: programs that
// were running when their links were closed have then ended, except those
// that may sleep.
func quiesce() {
	// Refused on hosts with tickless CPUs; the loop in Rest then does alone.
	const global = 1 // MEMBARRIER_CMD_GLOBAL
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0)
}

// Counts is the account of a Set's events.
type Counts struct {
	// Produced is how many events the programs made, lost ones included.
	Produced uint64
	// Lost is how many of them found their buffer full; of perf buffers also those that came while
	// another one was being put together on their processor.
	Lost uint64
	// MapFull is how many updates found an output map full. They are not
	// events.
	MapFull uint64
}

// Counts returns what the programs have counted so far, over all CPUs. The
// numbers only grow; they are final after [Set.Rest]. All are zero when the
// programs neither have ring buffers nor include kgent.bpf.h.
func (s *Set) Counts() (Counts, error) {
	if err := s.acquire(); err != nil {
		return Counts{}, err
	}
	defer s.release()
	c, err := s.counts()
	return Counts{Produced: c.Produced + c.Lost, Lost: c.Lost, MapFull: c.MapFull}, err
}

// counts sums the counters over the CPUs.
func (s *Set) counts() (program.Counts, error) {
	var sum program.Counts
	if s.stats == nil {
		return sum, nil
	}
	var cpus []program.Counts
	if err := s.stats.Lookup(uint32(0), &cpus); err != nil {
		return sum, fmt.Errorf("reading the program's counters: %w", err)
	}
	for _, c := range cpus {
		sum.Produced += c.Produced
		sum.Lost += c.Lost
		sum.MapFull += c.MapFull
	}
	return sum, nil
}
