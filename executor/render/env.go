package render

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kgent/executor/redact"
)

// Clocks is one reading of the kernel's clocks, in nanoseconds.
type Clocks struct {
	Monotonic int64 // CLOCK_MONOTONIC, bpf_ktime_get_ns
	Boot      int64 // CLOCK_BOOTTIME, bpf_ktime_get_boot_ns
	Real      int64 // CLOCK_REALTIME, since 1970
}

// Env is what rendering needs to know of the node beyond a program's BTF. One
// Env serves all runs of a node; it is safe for concurrent use when its
// functions are. The zero Env knows the clocks and nothing else: what it
// cannot name is shown as a number.
type Env struct {
	// Clocks reads the clocks; nil asks the kernel.
	Clocks func() Clocks
	// Interface names a network interface.
	Interface func(index uint32) (string, bool)
	// Cgroup returns the path of a cgroup v2 below its mount, "/" for the root; of a
	// container whose name is known that, as in shop/web-1/nginx.
	Cgroup func(id uint64) (string, bool)
	// KernelSymbol names an address in the kernel's text.
	KernelSymbol func(addr uint64) (string, bool)
	// Redact takes secrets out of text that the traced programs had: strings,
	// arguments, and what iterators print. Nil takes out nothing.
	Redact *redact.Redactor

	// Monotonic and boot time to wall-clock time, and the monotonic and boot
	// time until which that is believed.
	monoOffset, bootOffset atomic.Int64
	monoUntil, bootUntil   atomic.Int64
	// readAgain is when the clocks may be read again, by now.
	readAgain atomic.Int64
	// now is the time since any moment; nil: the process's.
	now func() time.Duration
}

// NewEnv returns the Env of this machine: its clocks, the interfaces of the
// network namespace and the cgroups this process sees, and with what is known to
// look like a secret taken out. Kernel symbols are the
// caller's to add, since reading them takes memory and a privilege.
func NewEnv() *Env {
	return &Env{Redact: new(redact.Redactor), Interface: newInterfaces(listInterfaces, time.Now).name, Cgroup: newCgroups(findCgroup2(), time.Now).name}
}

// clockTrust is how long the offsets between the clocks are used before they
// are read again: as long as a wrong wall-clock time is shown after somebody
// has set the clock, or the machine has slept.
const clockTrust = int64(time.Second)

// clockRest is how long the clocks are not read again, whatever a program says: a time that
// has not come yet, as when a timer will expire or what is no time at all, is beyond what is believed
// however often they are read.
const clockRest = 10 * time.Millisecond

// clockNoise is how far two readings of the same offset may be apart. Below it
// the old offset stays, so that times within a run keep their distances.
const clockNoise = int64(50 * time.Microsecond)

// wall turns a monotonic or boot time into nanoseconds since 1970. It is false
// for a number that is no time.
func (e *Env) wall(ns uint64, boot bool) (int64, bool) {
	t := int64(ns)
	if t < 0 {
		return 0, false
	}
	offset, until := &e.monoOffset, &e.monoUntil
	if boot {
		offset, until = &e.bootOffset, &e.bootUntil
	}
	if t >= until.Load() {
		e.mayReadClocks()
	}
	o := offset.Load()
	w := t + o
	if o > 0 && w < t || w < 0 {
		return 0, false
	}
	return w, true
}

// started is any moment.
var started = time.Now()

// mayReadClocks reads the clocks unless that was just done.
func (e *Env) mayReadClocks() {
	now := time.Since(started)
	if e.now != nil {
		now = e.now()
	}
	if int64(now) < e.readAgain.Load() {
		return
	}
	e.readClocks()
	e.readAgain.Store(int64(now + clockRest)) // last: whoever does not read finds what was read
}

func (e *Env) readClocks() {
	read := e.Clocks
	if read == nil {
		read = readClocks
	}
	c := read()
	adopt := func(offset *atomic.Int64, now int64) {
		if d := c.Real - now - offset.Load(); d > clockNoise || d < -clockNoise {
			offset.Store(c.Real - now)
		}
	}
	adopt(&e.monoOffset, c.Monotonic)
	adopt(&e.bootOffset, c.Boot)
	e.monoUntil.Store(c.Monotonic + clockTrust)
	e.bootUntil.Store(c.Boot + clockTrust)
}

// readClocks reads the three clocks as one: of a few readings it keeps the one
// that was not interrupted.
func readClocks() Clocks {
	var best Clocks
	spread := int64(-1)
	for range 3 {
		before := clock(unix.CLOCK_MONOTONIC)
		c := Clocks{Real: clock(unix.CLOCK_REALTIME), Boot: clock(unix.CLOCK_BOOTTIME)}
		after := clock(unix.CLOCK_MONOTONIC)
		if d := after - before; spread < 0 || d < spread {
			c.Monotonic = before + d/2
			best, spread = c, d
		}
	}
	return best
}

func clock(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0 // cannot happen: the three clocks exist on every Linux
	}
	return ts.Nano()
}
