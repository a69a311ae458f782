package probe

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// turn is how many records are read from one ring before the others have
// theirs.
const turn = 4096

// buffer is what the events of one stream go through: a ring buffer, or the perf buffers in its place.
type buffer interface {
	// pass hands over a turn of records, until stop says so, and reports how many those were and
	// whether there are more.
	pass(stop func() bool, stream int, fn func(stream int, raw []byte)) (n uint64, left ringState, err error)
	// descriptors are watched for being filled.
	descriptors() []int
	// finish says that the programs have ended.
	finish()
	close() error
}

// source is a map that carries the events of a stream.
type source struct {
	m *ebpf.Map
	// bytes and event are the sizes of all perf buffers and of an event; 0 for a ring buffer.
	bytes uint32
	event int
}

func (s source) open() (buffer, error) {
	if s.event == 0 {
		return newMappedRing(s.m)
	}
	return newPerfBuffers(s.m, s.bytes, s.event)
}

// ringReader reads the buffers of several streams from one goroutine.
//
// Programs submit without waking anyone: a wake-up for each event costs the
// traced program several times the event itself. So the reader looks at the
// rings at each tick, and programs wake it only when a ring holds 64 KiB. To
// be woken by those wake-ups and nothing else it waits on an epoll instance of
// its own, edge-triggered: a level-triggered one would return at once for
// every event that came without a wake-up, and small batches are what makes
// reading expensive.
type ringReader struct {
	rings  []buffer
	epoll  int
	event  *os.File // eventfd that ends a wait
	events [8]unix.EpollEvent
}

// newRingReader takes no ownership of the maps.
func newRingReader(sources []source) (_ *ringReader, err error) {
	r := &ringReader{epoll: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("creating the readers' epoll instance: %w", err)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("creating the readers' eventfd: %w", err)
	}
	r.event = os.NewFile(uintptr(fd), "eventfd")
	if err := r.watch(fd); err != nil {
		return nil, err
	}
	for _, s := range sources {
		ring, err := s.open()
		if err != nil {
			return nil, fmt.Errorf("reading buffer %s: %w", s.m, err)
		}
		r.rings = append(r.rings, ring)
		for _, fd := range ring.descriptors() {
			if err := r.watch(fd); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

func (r *ringReader) watch(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watching a ring buffer: %w", err)
	}
	return nil
}

// wait returns at the next tick, or sooner when a ring fills or wake is
// called.
func (r *ringReader) wait(tick time.Duration) error {
	ms := max(1, int(tick.Milliseconds()))
	_, err := unix.EpollWait(r.epoll, r.events[:], ms)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("waiting for events: %w", err)
	}
	return nil
}

// wake ends the current or the next wait. It may be called at any time from
// any goroutine, also after close.
func (r *ringReader) wake() {
	// The counter is never read: each write is an edge. It cannot overflow.
	one := [8]byte{0: 1}
	_, _ = r.event.Write(one[:]) // fails only once closed, when nobody waits
}

// pass hands over what the rings hold, up to one turn each, until stop says
// so. It reports how many records that were, and whether there are more: of a
// ring that is busy with a record that a program is writing, [ringBusy].
func (r *ringReader) pass(stop func() bool, fn func(stream int, raw []byte)) (n uint64, left ringState, err error) {
	left = ringEmpty
	for i, ring := range r.rings {
		taken, state, err := ring.pass(stop, i, fn)
		n += taken
		if err != nil {
			return n, ringEmpty, fmt.Errorf("reading buffer %d: %w", i, err)
		}
		if state == ringRecord || left == ringEmpty {
			left = state
		}
	}
	return n, left, nil
}

// finish says that the programs have ended.
func (r *ringReader) finish() {
	for _, ring := range r.rings {
		ring.finish()
	}
}

func (r *ringReader) close() error {
	var errs []error
	for _, ring := range r.rings {
		errs = append(errs, ring.close())
	}
	if r.event != nil {
		errs = append(errs, r.event.Close())
	}
	if r.epoll >= 0 {
		errs = append(errs, unix.Close(r.epoll))
	}
	return errors.Join(errs...)
}
