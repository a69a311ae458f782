package probe

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

// TracePrefix starts the names of the trace events that kernels before 4.17
// make kgent create in tracefs for kprobes and uprobes.
const TracePrefix = "kgent"

func (p *loaded) attachTracepoint() (string, error) {
	category, name, _ := strings.Cut(p.hook.Target, ":")
	l, err := link.Tracepoint(category, name, p.prog, nil)
	if err == nil {
		p.add(l)
		return p.hook.String(), nil
	}
	dir := tracefs()
	switch {
	case dir == "":
		return "", refuse(nil, "tracefs is not mounted; run: mount -t tracefs nodev /sys/kernel/tracing")
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Stat(filepath.Join(dir, "events", category)); err != nil {
			return "", refuse(nil, "this kernel has no tracepoint category %s%s", category, didYouMean(p.hook.Target, tracepoints()))
		}
		return "", refuse(nil, "this kernel has no tracepoint %s%s", p.hook.Target, didYouMean(p.hook.Target, tracepoints()))
	case forbidden(err) || strings.Contains(err.Error(), unix.EACCES.Error()) || strings.Contains(err.Error(), unix.EPERM.Error()):
		// The library cuts the chain of some errors here, but not their text.
		return "", refuse(because(err), "this host does not let kgent attach to tracepoints; it needs CAP_PERFMON, and CAP_DAC_READ_SEARCH to read %s", dir)
	}
	return "", refuse(err, "the kernel refused")
}

func (p *loaded) attachRawTracepoint() (string, error) {
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: p.hook.Target, Program: p.prog})
	switch {
	case err == nil:
		p.add(l)
		return p.hook.String(), nil
	case errors.Is(err, os.ErrNotExist):
		return "", refuse(nil, "this kernel has no raw tracepoint %s%s", p.hook.Target, didYouMean(p.hook.Target, rawTracepoints()))
	case forbidden(err):
		return "", refuse(because(err), "this host does not let kgent attach to raw tracepoints; it needs CAP_PERFMON")
	}
	return "", refuse(err, "the kernel refused")
}

// attachTracing attaches to what the program's BTF target, fixed at load,
// names. Requires Linux 5.5.
func (p *loaded) attachTracing() (string, error) {
	l, err := link.AttachTracing(link.TracingOptions{Program: p.prog, AttachType: p.attachType})
	if err == nil {
		p.add(l)
		return p.hook.String(), nil
	}
	return "", p.tracingRefusal(err)
}

func (p *loaded) tracingRefusal(err error) error {
	switch {
	case forbidden(err):
		return refuse(because(err), "this host forbids it%s", why(forbidding()))
	case errors.Is(err, link.ErrNotSupported) && p.hook.Kind != program.TPBTF:
		return refuse(nil, "this kernel (%s) cannot patch its functions at run time (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS); use a tracepoint", release())
	case errors.Is(err, unix.EBUSY):
		return refuse(because(err), "another tracer holds this function in a way that excludes kgent's")
	}
	return refuse(err, "the kernel refused")
}

// attachLSM attaches to a security hook. Requires Linux 5.7 with BPF among the
// active security modules: without it the program would load, attach, and
// never run.
func (p *loaded) attachLSM() (string, error) {
	if b, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil && !hasWord(string(b), "bpf") {
		return "", refuse(nil, "the bpf security module is not active on this host (active: %s); boot with lsm=%s,bpf", b, b)
	}
	l, err := link.AttachLSM(link.LSMOptions{Program: p.prog})
	if err == nil {
		p.add(l)
		return p.hook.String(), nil
	}
	return "", p.tracingRefusal(err)
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		if w == word {
			return true
		}
	}
	return false
}

// attachIter makes the iterator ready; [Set.Iterate] runs it. Requires Linux
// 5.8.
func (p *loaded) attachIter() (string, error) {
	it, err := link.AttachIter(link.IterOptions{Program: p.prog})
	switch {
	case err == nil:
		p.add(it)
		p.iter = it
		return p.hook.String(), nil
	case errors.Is(err, unix.EBADF) || errors.Is(err, unix.EINVAL):
		return "", refuse(because(err), "an iterator over the elements of one map cannot be run by kgent; iterators over kernel objects can: task, task_file, task_vma, tcp, udp, bpf_map, bpf_prog, bpf_link")
	}
	return "", refuse(err, "the kernel refused")
}

func (p *loaded) attachKprobe() (string, error) {
	probe := link.Kprobe
	if p.hook.Kind == program.Kretprobe {
		probe = link.Kretprobe
	}
	l, err := probe(p.hook.Target, p.prog, &link.KprobeOptions{TraceFSPrefix: TracePrefix})
	if err == nil {
		p.add(l)
		return p.hook.String(), nil
	}
	switch {
	case !haveKprobes():
		return "", noKprobes()
	case forbidden(err):
		return "", refuse(because(err), "this host forbids kprobes%s", why(forbidding()))
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EADDRNOTAVAIL):
		return "", refuse(because(err), "this kernel has no function %s that can be probed%s", p.hook.Target, didYouMean(p.hook.Target, kernelFunctions()))
	}
	return "", refuse(err, "the kernel refused")
}

func noKprobes() error {
	return refuse(nil, "this kernel (%s) was built without kprobes (CONFIG_KPROBES); use a tracepoint", release())
}

// haveKprobes looks for either interface by which kprobes are made. A kernel
// of which neither can be seen (sysfs and tracefs not mounted) has none as far
// as kgent is concerned.
func haveKprobes() bool {
	for _, f := range []string{"/sys/bus/event_source/devices/kprobe", filepath.Join(tracefs(), "kprobe_events")} {
		if _, err := os.Stat(f); err == nil {
			return true
		}
	}
	return false
}
