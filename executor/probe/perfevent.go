package probe

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

// attachPerfEvent opens one sampling event on each CPU that is online now. A
// CPU that comes online later is not sampled.
func (h host) attachPerfEvent(p *loaded) (string, error) {
	cpus, err := onlineCPUs()
	if err != nil {
		return "", refuse(err, "the CPUs of this host cannot be listed")
	}
	for _, cpu := range cpus {
		if err := h.attachSampler(p, cpu); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s on %d CPUs", p.hook, len(cpus)), nil
}

func (h host) attachSampler(p *loaded, cpu int) error {
	kind, config, ok := program.PerfEventCode(p.hook.Target)
	if !ok {
		return refuse(nil, "this version of kgent knows no event %s", p.hook.Target)
	}
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
		Type:   kind,
		Size:   uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Config: config,
		Sample: uint64(p.hook.Hz),
		Bits:   unix.PerfBitFreq,
	}, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	switch {
	case forbidden(err):
		return refuse(err, "this host does not let kgent sample its CPUs; it needs CAP_PERFMON%s", paranoid())
	case err != nil:
		return err // more samples than the host allows, or no such counter: explain finds out
	}
	p.add(closer(func() error { return unix.Close(fd) }))
	// Closing a link detaches the program; before Linux 5.15 there are no such
	// links, and closing the event does.
	if h.perfLinks {
		l, err := link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: p.prog, Attach: ebpf.AttachPerfEvent})
		if err == nil {
			p.add(l)
			return nil
		}
		if !errors.Is(err, link.ErrNotSupported) && !errors.Is(err, unix.EINVAL) {
			return refuse(err, "attaching to the event of CPU %d", cpu)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, p.prog.FD()); err != nil {
		return refuse(err, "attaching to the event of CPU %d", cpu)
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return refuse(err, "starting the event of CPU %d", cpu)
	}
	return nil
}

// paranoid says, in brackets, how the host restricts perf events.
func paranoid() string {
	b, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if err != nil {
		return ""
	}
	return " (kernel.perf_event_paranoid is " + strings.TrimSpace(string(b)) + ")"
}

func onlineCPUs() ([]int, error) {
	b, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	return parseCPUs(strings.TrimSpace(string(b)))
}

// parseCPUs reads a list such as 0-3,5.
func parseCPUs(list string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || from > to {
			return nil, fmt.Errorf("%q is no list of CPUs", list)
		}
		for cpu := from; cpu <= to; cpu++ {
			cpus = append(cpus, int(cpu))
		}
	}
	return cpus, nil
}
