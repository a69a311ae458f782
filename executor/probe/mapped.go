package probe

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	// windowSize is how much of a ring is mapped at a time. Mapped pages count as
	// this process's memory from the start, each as often as it is mapped: a whole
	// ring of 16 MiB is 32 MiB, since records that reach over its end lie in a
	// second mapping of it. To map the next window costs less than 2 ns an event.
	windowSize = 1 << 20
	// freeAfter is how many bytes are read before the programs get their room
	// back. For each record by itself, the reader and the programs would take the
	// page of its position from each other.
	freeAfter = 16 << 10

	// busySpins is how often a record is looked at that a program is writing: for
	// longer than that takes, unless the program has lost its processor.
	busySpins = 1000

	recordHeader  = 8 // bytes: length and flags, and a number of the kernel's own
	recordBusy    = 1 << 31
	recordDiscard = 1 << 30
)

// mappedRing is one ring buffer in this process's memory. Its layout is the
// kernel's ABI (Linux 5.8, kernel/bpf/ringbuf.c): a page with the consumer's
// position, one with the producers', and the data, twice in a row. Positions
// only grow. It is not safe for concurrent use.
type mappedRing struct {
	fd, page int
	size     uintptr // bytes of data, a power of two
	consumer []byte
	producer []byte

	window []byte  // of the data
	begins uintptr // the position of the window's first byte
	read   uintptr // up to here
	freed  uintptr // what the programs know of read
}

// newMappedRing takes no ownership of the map.
func newMappedRing(m *ebpf.Map) (*mappedRing, error) {
	r := &mappedRing{fd: m.FD(), page: os.Getpagesize(), size: uintptr(m.MaxEntries())}
	if m.Type() != ebpf.RingBuf || r.size == 0 || r.size&(r.size-1) != 0 || r.size%uintptr(r.page) != 0 {
		return nil, fmt.Errorf("mapping %s: it is no ring buffer of a power of two bytes", m)
	}
	var err error
	if r.consumer, err = unix.Mmap(r.fd, 0, r.page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("mapping the consumer's position: %w", err)
	}
	if r.producer, err = unix.Mmap(r.fd, int64(r.page), r.page, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(fmt.Errorf("mapping the producers' position: %w", err), r.close())
	}
	r.read = atomic.LoadUintptr(position(r.consumer))
	r.freed = r.read
	return r, nil
}

// position is the number at the beginning of a page.
func position(page []byte) *uintptr { return (*uintptr)(unsafe.Pointer(&page[0])) }

// ringState is why [mappedRing.next] had no record.
type ringState int

const (
	ringRecord ringState = iota // it had one
	ringEmpty
	ringBusy // a program is writing the oldest
)

// next returns the oldest record that was not read. Its bytes are valid until the
// next call, and not after free.
func (r *mappedRing) next() ([]byte, ringState, error) {
	for {
		if r.read-r.freed >= freeAfter {
			r.free()
		}
		produced := atomic.LoadUintptr(position(r.producer)) - r.read
		if produced == 0 {
			return nil, ringEmpty, nil
		}
		if produced < recordHeader || produced > r.size {
			return nil, ringEmpty, fmt.Errorf("%d bytes of %d are to be read, which cannot be", produced, r.size)
		}
		header, err := r.at(r.read, recordHeader)
		if err != nil {
			return nil, ringEmpty, err
		}
		// The kernel sets the length without the busy bit after everything else.
		at := (*uint32)(unsafe.Pointer(&header[0]))
		length := atomic.LoadUint32(at)
		for spin := 0; length&recordBusy != 0; spin++ {
			if spin == busySpins {
				return nil, ringBusy, nil
			}
			length = atomic.LoadUint32(at)
		}
		n := uintptr(length &^ (recordBusy | recordDiscard))
		whole := recordHeader + (n+7)&^7
		if whole > produced {
			return nil, ringEmpty, fmt.Errorf("a record of %d bytes where %d are to be read, which cannot be", n, produced)
		}
		if length&recordDiscard != 0 {
			r.read += whole
			continue
		}
		raw, err := r.at(r.read+recordHeader, n)
		if err != nil {
			return nil, ringEmpty, err
		}
		r.read += whole
		return raw, ringRecord, nil
	}
}

// at returns n bytes from a position on, of which the window is moved there if it
// has not all of them.
func (r *mappedRing) at(from, n uintptr) ([]byte, error) {
	off := from - r.begins
	if off+n <= uintptr(len(r.window)) {
		return r.window[off : off+n : off+n], nil
	}
	if err := r.unmapWindow(); err != nil {
		return nil, err
	}
	page := uintptr(r.page)
	r.begins = from &^ (page - 1)
	off = from - r.begins
	begins := r.begins & (r.size - 1)
	length := min(max(windowSize, (off+n+page-1)&^(page-1)), 2*r.size-begins)
	var err error
	if r.window, err = unix.Mmap(r.fd, int64(2*page+begins), int(length), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("mapping the data of a ring buffer: %w", err)
	}
	return r.window[off : off+n : off+n], nil
}

// free lets the programs have the room of all that was read.
func (r *mappedRing) free() {
	if r.freed != r.read {
		r.freed = r.read
		atomic.StoreUintptr(position(r.consumer), r.read)
	}
}

func (r *mappedRing) unmapWindow() error {
	if r.window == nil {
		return nil
	}
	err := unix.Munmap(r.window)
	r.window = nil
	if err != nil {
		return fmt.Errorf("unmapping the data of a ring buffer: %w", err)
	}
	return nil
}

func (r *mappedRing) descriptors() []int { return []int{r.fd} }

func (r *mappedRing) finish() {}

// pass is a turn of one ring.
func (r *mappedRing) pass(stop func() bool, stream int, fn func(stream int, raw []byte)) (n uint64, left ringState, err error) {
	defer r.free()
	for ; n < turn; n++ {
		if stop() {
			return n, ringEmpty, nil
		}
		raw, state, err := r.next()
		if state != ringRecord {
			return n, state, err
		}
		fn(stream, raw)
	}
	return n, ringRecord, nil
}

func (r *mappedRing) close() error {
	errs := []error{r.unmapWindow()}
	for _, page := range [][]byte{r.consumer, r.producer} {
		if page != nil {
			errs = append(errs, unix.Munmap(page))
		}
	}
	r.consumer, r.producer = nil, nil
	return errors.Join(errs...)
}
