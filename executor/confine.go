package executor

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// An executor needs its capabilities for the next run as long as it lives, so
// the process cannot give them up once a program is attached. Its threads can:
// capabilities are a thread's. What reads a program's output, which is bytes
// that others chose, and turns it into text runs on threads of its own, which
// give up, for good, all that reading does not take. Such a thread ends with the
// goroutine that is locked to it, and Go makes no new ones from it.
//
// It is no wall against code of an attacker's in this process, whose memory the
// threads share; it is one against being made to open, attach or change
// something while reading.
//
// A process for each run, which gave up everything once it is attached, would be
// that wall. There is none, for what it costs (measured on the machine of the
// README): a second kgent takes 26 MB and 30 to 50 ms before it has done anything,
// so that the 8 runs a node allows would take 200 MB more than the 50 of the one
// process, and a run 44 to 64 ms instead of 14 from its job to its first probe. And
// it would not be without privileges: measuring what programs cost takes
// CAP_SYS_ADMIN all through the run, detaching a clsact filter CAP_NET_ADMIN at
// its end, and a process that loses touch with its runs has one more way to leave
// something behind. What reads is written in Go, which checks every access. What the whole process may do the unit bounds
// (deploy/systemd): nine capabilities, and the system calls it needs.

// reading are the capabilities that turning output into text can take: other
// users' binaries (symbols of user stacks), other processes' memory maps, and
// the addresses of kernel symbols.
var reading = [...]int{unix.CAP_DAC_READ_SEARCH, unix.CAP_SYS_PTRACE, unix.CAP_SYSLOG}

// capabilities are the sets of a thread.
type capabilities [2]unix.CapUserData

func ownCapabilities() (capabilities, error) {
	var c capabilities
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &c[0]); err != nil {
		return c, fmt.Errorf("reading this thread's capabilities: %w", err)
	}
	return c, nil
}

// keep takes away all but these from every set.
func (c *capabilities) keep(caps ...int) {
	var mask [2]uint32
	for _, n := range caps {
		mask[n/32] |= 1 << (n % 32)
	}
	for i := range c {
		c[i].Effective &= mask[i]
		c[i].Permitted &= mask[i]
		c[i].Inheritable = 0
	}
}

// confine locks the goroutine to its thread, for good, and gives up all of the
// thread's capabilities but these.
func confine(keep ...int) error {
	runtime.LockOSThread()
	c, err := ownCapabilities()
	if err != nil {
		return err
	}
	c.keep(keep...)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&header, &c[0]); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	return nil
}

// confined runs f on a thread that has only these capabilities. A panic of f is
// one of confined's.
func confined(f func() error, keep ...int) error {
	type outcome struct {
		err   error
		panic any
		stack []byte
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if o.panic = recover(); o.panic != nil {
				o.stack = debug.Stack()
			}
			done <- o
		}()
		if o.err = confine(keep...); o.err == nil {
			o.err = f()
		}
	}()
	o := <-done
	if o.panic != nil {
		panic(fmt.Sprintf("%v\n%s", o.panic, o.stack))
	}
	return o.err
}

// readersNeed returns what a thread that reads maps must keep: before Linux
// 5.19 every BPF call takes CAP_BPF where unprivileged BPF is switched off. It
// is tried, for distributions bring changes to older kernels.
func readersNeed() ([]int, error) {
	keep := reading[:]
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "kgent_try", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("trying what reading a map takes: %w", err)
	}
	defer m.Close()
	var value uint64
	err = confined(func() error { return m.Lookup(uint32(0), &value) }, keep...)
	if errors.Is(err, unix.EPERM) {
		return append([]int{unix.CAP_BPF}, keep...), nil
	}
	if err != nil {
		return nil, fmt.Errorf("trying what reading a map takes: %w", err)
	}
	return keep, nil
}
