package probe

import (
	"context"
	"errors"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/retrieval/kernel"
)

// tracePrefix starts the names of the trace events that kernels before 4.17
// make kgent create in tracefs for kprobes and uprobes.
const tracePrefix = "kgent"

func (p *loaded) attachTracepoint() (string, error) {
	category, name, _ := strings.Cut(p.hook.Target, ":")
	l, err := link.Tracepoint(category, name, p.prog, nil)
	if err != nil {
		return "", err
	}
	p.add(l)
	return p.hook.String(), nil
}

func (p *loaded) attachRawTracepoint() (string, error) {
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: p.hook.Target, Program: p.prog})
	if err != nil {
		return "", err
	}
	p.add(l)
	return p.hook.String(), nil
}

// attachTracing attaches to what the program's BTF target, fixed at load,
// names. Requires Linux 5.5.
func (p *loaded) attachTracing() (string, error) {
	l, err := link.AttachTracing(link.TracingOptions{Program: p.prog, AttachType: p.attachType})
	switch {
	case errors.Is(err, unix.EBUSY):
		return "", refuse(errno(err), "another tracer holds this function in a way that excludes kgent's")
	case err != nil:
		return "", err
	}
	p.add(l)
	return p.hook.String(), nil
}

// attachLSM attaches to a security hook. Requires Linux 5.7 with BPF among the
// active security modules: without it the program would load, attach, and
// never run.
func (h host) attachLSM(ctx context.Context, p *loaded) (string, error) {
	facts, err := h.facts(ctx)
	if err != nil {
		return "", err
	}
	if objection := facts.CheckHook(kernel.KindLSM, p.hook.Target); errors.Is(objection, kernel.ErrNotSupported) {
		return "", objected(objection)
	}
	l, err := link.AttachLSM(link.LSMOptions{Program: p.prog})
	if err != nil {
		return "", err
	}
	p.add(l)
	return p.hook.String(), nil
}

// attachIter makes the iterator ready; [Set.Iterate] runs it. Requires Linux
// 5.8.
func (p *loaded) attachIter() (string, error) {
	it, err := link.AttachIter(link.IterOptions{Program: p.prog})
	switch {
	case errors.Is(err, unix.EBADF), errors.Is(err, unix.EINVAL):
		return "", refuse(errno(err), "an iterator over the elements of one map cannot be run by kgent; iterators over kernel objects can: task, task_file, task_vma, tcp, udp, bpf_map, bpf_prog, bpf_link")
	case err != nil:
		return "", err
	}
	p.add(it)
	p.iter = it
	return p.hook.String(), nil
}

func (p *loaded) attachKprobe() (string, error) {
	probe := link.Kprobe
	if p.hook.Kind == program.Kretprobe {
		probe = link.Kretprobe
	}
	l, err := probe(p.hook.Target, p.prog, &link.KprobeOptions{TraceFSPrefix: tracePrefix})
	if err != nil {
		return "", err
	}
	p.add(l)
	return p.hook.String(), nil
}
