package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
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
	// Absent when securityfs is not mounted; then the facts decide, which take
	// much longer.
	active, _ := os.ReadFile("/sys/kernel/security/lsm")
	if !slices.Contains(strings.Split(strings.TrimSpace(string(active)), ","), "bpf") {
		facts, err := h.facts(ctx)
		if err != nil {
			return "", err
		}
		if objection := facts.CheckHook(kernel.KindLSM, p.hook.Target); errors.Is(objection, kernel.ErrNotSupported) {
			return "", objected(objection)
		}
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
	if err := p.attachFunction(p.hook.Target); err != nil {
		return "", err
	}
	return p.hook.String(), nil
}

// attachFunction puts a probe on one function.
func (p *loaded) attachFunction(name string) error {
	probe := link.Kprobe
	if p.hook.Kind.Single() == program.Kretprobe {
		probe = link.Kretprobe
	}
	l, err := probe(name, p.prog, &link.KprobeOptions{TraceFSPrefix: tracePrefix})
	if err != nil {
		return err
	}
	p.add(l)
	return nil
}

// maxOneByOne is on how many functions probes are put one by one, where the
// kernel cannot do it with one call: each takes some milliseconds to put there
// and to take away.
const maxOneByOne = 64

// attachKprobeMulti attaches to all functions that the target stands for. Where
// the kernel has no kprobe_multi (Linux 5.18 with CONFIG_FPROBE), ordinary
// probes run the same program; a session has nothing that could take its place.
func (h host) attachKprobeMulti(ctx context.Context, p *loaded) (string, error) {
	functions := strings.Split(p.hook.Target, ",")
	if strings.ContainsAny(p.hook.Target, "*?[") {
		facts, err := h.facts(ctx)
		if err != nil {
			return "", err
		}
		if functions, err = facts.Functions(string(p.hook.Kind), p.hook.Target); err != nil {
			return "", objected(err)
		}
	}
	slices.Sort(functions)
	functions = slices.Compact(functions) // one that is named twice is probed once, on every kernel
	session := p.hook.Kind == program.KprobeSession
	if !h.kprobeMulti && !session {
		if len(functions) > maxOneByOne {
			return "", refuse(nil, "these are %d functions; this kernel (%s) has no kprobe_multi, and so at most %d can be probed: choose a narrower pattern", len(functions), release(), maxOneByOne)
		}
		for _, name := range functions {
			if err := p.attachFunction(name); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("%s (%d functions, one by one: this kernel has no kprobe_multi)", p.hook, len(functions)), nil
	}
	attach := link.KprobeMulti
	if p.hook.Kind == program.KretprobeMulti {
		attach = link.KretprobeMulti
	}
	l, err := attach(p.prog, link.KprobeMultiOptions{Symbols: functions, Session: session})
	if errors.Is(err, link.ErrNotSupported) {
		return "", refuse(nil, "this kernel (%s) does not attach one program to several functions in this way; a session needs Linux 6.10, the others 5.18, built with CONFIG_FPROBE", release())
	}
	if err != nil {
		return "", err
	}
	p.add(l)
	return fmt.Sprintf("%s (%d functions)", p.hook, len(functions)), nil
}
