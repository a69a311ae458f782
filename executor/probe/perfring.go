package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

const (
	// holdBack is how long an event of one processor waits for earlier ones of others,
	// whose programs may still be copying them.
	holdBack = time.Millisecond

	// wakeUpAt is how many bytes of a processor wake the reader, as in kgent.bpf.h.
	wakeUpAt = 64 << 10

	perfRecordSample = 9 // PERF_RECORD_SAMPLE
	perfHeader       = 8 // bytes: type, flags, size
	// sampleHead is what a sample has before the event: its time, and the event's length.
	sampleHead = perfHeader + 8 + 4
)

// perfBuffers are the perf buffers of all processors that take the place of one ring
// buffer: what programs use on kernels before Linux 5.8. From Linux 5.0 on, the kernel tells a
// program when its processor's buffer is full, so that losses are counted as those of
// rings are; what the kernel says of them here (PERF_RECORD_LOST) is the same once more.
// No such kernel was to be had for tests: what is tested is the form, on later ones.
//
// Events of a processor come in the order in which its programs handed them over, and those
// of several in the order of their time, which the kernel notes: an event is held back for a
// millisecond, until earlier ones of other processors are there. Where a processor
// was kept from finishing one for longer, it comes late. It is not safe for concurrent use.
type perfBuffers struct {
	cpus  []*perfCPU
	event int  // bytes of an event
	all   bool // nothing is held back: nobody writes any more
}

// perfCPU is one processor's buffer in this process's memory: a page of positions, and the data.
type perfCPU struct {
	fd   int
	mem  []byte
	data []byte // a power of two bytes
	read uint64 // up to here
	head uint64 // up to here there are records, as of the beginning of the pass
	// next is the oldest sample that was not handed over, whole the size of its record; nil: none
	// was looked at.
	next  []byte
	time  uint64
	whole uint64
	wrap  []byte // a record that lies over the end
}

// newPerfBuffers opens a buffer on each processor that is online now, and puts them into
// the array. Programs on processors that come later find none: their events are lost, and counted.
func newPerfBuffers(m *ebpf.Map, bytes uint32, event int) (_ *perfBuffers, err error) {
	p := &perfBuffers{event: event}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	online, err := onlineCPUs()
	if err != nil {
		return nil, err
	}
	size := program.PerfBytes(bytes, len(online))
	for _, cpu := range online {
		c, err := openPerfCPU(cpu, size)
		if err != nil {
			return nil, fmt.Errorf("opening the perf buffer of processor %d: %w", cpu, err)
		}
		p.cpus = append(p.cpus, c)
		if err := m.Put(uint32(cpu), uint32(c.fd)); err != nil {
			return nil, fmt.Errorf("handing programs the perf buffer of processor %d: %w", cpu, err)
		}
	}
	return p, nil
}

func openPerfCPU(cpu, size int) (*perfCPU, error) {
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
		Type:        unix.PERF_TYPE_SOFTWARE,
		Size:        uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Config:      unix.PERF_COUNT_SW_BPF_OUTPUT,
		Sample:      1,
		Sample_type: unix.PERF_SAMPLE_TIME | unix.PERF_SAMPLE_RAW,
		Bits:        unix.PerfBitWatermark | unix.PerfBitUseClockID,
		Clockid:     unix.CLOCK_MONOTONIC,
		// Programs wake nobody but when this much waits.
		Wakeup: uint32(min(wakeUpAt, size/2)),
	}, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	switch {
	case forbidden(err):
		return nil, refuse(err, "this host does not let kgent open perf buffers; it needs CAP_PERFMON%s", paranoid())
	case err != nil:
		return nil, err
	}
	c := &perfCPU{fd: fd}
	page := os.Getpagesize()
	if c.mem, err = unix.Mmap(fd, 0, page+size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		err = fmt.Errorf("mapping %d KiB of it: %w", size>>10, err)
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: more memory may not be locked; give kgent CAP_IPC_LOCK, or raise kernel.perf_event_mlock_kb", err)
		}
		return nil, errors.Join(err, c.close())
	}
	c.data = c.mem[page:]
	return c, nil
}

// At these offsets of the first page the kernel has the position up to which there are records, and takes
// the one up to which they were read (struct perf_event_mmap_page).
const (
	dataHead = 1024
	dataTail = 1032
)

func (c *perfCPU) position(off int) *uint64 { return (*uint64)(unsafe.Pointer(&c.mem[off])) }

// load finds the oldest sample that was not handed over; false if there is none.
func (c *perfCPU) load() (bool, error) {
	for c.next == nil {
		there := c.head - c.read
		if there == 0 {
			return false, nil
		}
		if there < perfHeader || there > uint64(len(c.data)) {
			return false, fmt.Errorf("%d bytes of %d are to be read, which cannot be", there, len(c.data))
		}
		header := c.at(c.read, perfHeader)
		kind, size := binary.NativeEndian.Uint32(header), uint64(binary.NativeEndian.Uint16(header[6:]))
		if size < perfHeader || size > there {
			return false, fmt.Errorf("a record of %d bytes where %d are to be read, which cannot be", size, there)
		}
		if kind != perfRecordSample { // of losses: see perfBuffers
			c.read += size
			continue
		}
		raw := c.at(c.read, size)
		if size < sampleHead || uint64(binary.NativeEndian.Uint32(raw[sampleHead-4:])) > size-sampleHead {
			return false, fmt.Errorf("a sample of %d bytes that holds less than it says", size)
		}
		c.time = binary.NativeEndian.Uint64(raw[perfHeader:])
		length := binary.NativeEndian.Uint32(raw[sampleHead-4:])
		c.next, c.whole = raw[sampleHead:sampleHead+length:sampleHead+length], size
	}
	return true, nil
}

// at returns n bytes from a position on.
func (c *perfCPU) at(from, n uint64) []byte {
	off := from & uint64(len(c.data)-1)
	if off+n <= uint64(len(c.data)) {
		return c.data[off : off+n]
	}
	c.wrap = append(append(c.wrap[:0], c.data[off:]...), c.data[:off+n-uint64(len(c.data))]...)
	return c.wrap
}

// free lets the programs have the room of all that was handed over.
func (c *perfCPU) free() {
	if at := c.position(dataTail); *at != c.read {
		atomic.StoreUint64(at, c.read)
	}
}

func (c *perfCPU) close() error {
	var err error
	if c.mem != nil {
		err = unix.Munmap(c.mem)
		c.mem, c.data, c.next = nil, nil, nil
	}
	return errors.Join(err, unix.Close(c.fd))
}

func (p *perfBuffers) descriptors() []int {
	var out []int
	for _, c := range p.cpus {
		out = append(out, c.fd)
	}
	return out
}

// finish says that the programs have ended.
func (p *perfBuffers) finish() { p.all = true }

// pass is a turn of all processors' buffers together.
func (p *perfBuffers) pass(stop func() bool, stream int, fn func(stream int, raw []byte)) (n uint64, left ringState, err error) {
	// What was handed over before now is read, so that what is later on another
	// processor cannot overtake it.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, ringEmpty, fmt.Errorf("reading the clock: %w", err)
	}
	latest := uint64(now.Nano() - holdBack.Nanoseconds())
	var waiting []*perfCPU
	for _, c := range p.cpus {
		c.head = atomic.LoadUint64(c.position(dataHead))
		defer c.free()
		if there, err := c.load(); err != nil {
			return 0, ringEmpty, err
		} else if there {
			waiting = append(waiting, c)
		}
	}
	for ; len(waiting) > 0; n++ {
		i := 0
		for j, c := range waiting[1:] {
			if c.time < waiting[i].time {
				i = j + 1
			}
		}
		c := waiting[i]
		switch {
		case stop():
			return n, ringEmpty, nil
		case n == turn:
			return n, ringRecord, nil
		case !p.all && c.time > latest:
			return n, ringBusy, nil
		}
		fn(stream, p.trimmed(c.next))
		c.next, c.read = nil, c.read+c.whole
		if c.read-atomic.LoadUint64(c.position(dataTail)) >= freeAfter {
			c.free()
		}
		if there, err := c.load(); err != nil {
			return n + 1, ringEmpty, err
		} else if !there {
			waiting = slices.Delete(waiting, i, i+1)
		}
	}
	return n, ringEmpty, nil
}

// trimmed is an event without what the kernel has put behind it: a record's size is a multiple of 8,
// and begins with a number of 4 bytes. What cannot be an event stays as it is.
func (p *perfBuffers) trimmed(raw []byte) []byte {
	if len(raw) == (p.event+4+7)&^7-4 {
		return raw[:p.event]
	}
	return raw
}

func (p *perfBuffers) close() error {
	var errs []error
	for _, c := range p.cpus {
		errs = append(errs, c.close())
	}
	p.cpus = nil
	return errors.Join(errs...)
}
