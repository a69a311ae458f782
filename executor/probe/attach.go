package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

// AttachError says why a program could not be attached to its hook.
type AttachError struct {
	Program string
	Hook    program.Hook
	// Reason says in words what is missing on this host, and what to do.
	Reason string
	// Err is the kernel's error; nil when it adds nothing.
	Err error
}

func (e *AttachError) Error() string {
	s := fmt.Sprintf("attaching program %s to %s: %s", e.Program, e.Hook, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return printable(s)
}

func (e *AttachError) Unwrap() error { return e.Err }

// refusal is what the functions that attach return: the Reason and Err of an
// AttachError.
type refusal struct {
	reason string
	err    error
}

func (r *refusal) Error() string { return r.reason }
func (r *refusal) Unwrap() error { return r.err }

func refuse(err error, format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...), err}
}

// loaded is one program in the kernel and what attaches it.
type loaded struct {
	name       string
	hook       program.Hook
	prog       *ebpf.Program
	attachType ebpf.AttachType
	passive    bool // of tcx: never decides about a packet
	places     []place

	iter  *link.Iter
	links []io.Closer // closed last to first
}

// host is where programs are attached.
type host struct {
	opt         Options
	uprobeMulti bool // Linux 6.6: one link for many places, without CAP_SYS_ADMIN
	perfLinks   bool // try them: Linux 5.15
}

func newHost(opt Options) host {
	if opt.Resolve == nil {
		opt.Resolve = resolveBinary
	}
	return host{opt: opt, uprobeMulti: features.HaveBPFLinkUprobeMulti() == nil, perfLinks: true}
}

// Attach attaches every program, or none: when one cannot be attached, those
// before it are detached again and the error says which and why (an
// [AttachError]). It returns the hooks as found on this host, one for each
// program in the manifest's order. It can be called once.
func (s *Set) Attach(ctx context.Context) ([]string, error) {
	if err := s.acquire(); err != nil {
		return nil, err
	}
	defer s.release()
	s.links.Lock()
	defer s.links.Unlock()
	if s.attached != attachNone {
		return nil, errors.New("attaching: the programs have been attached before")
	}
	var hooks []string
	for _, p := range s.programs {
		err := ctx.Err()
		var resolved string
		if err == nil {
			resolved, err = s.host.attach(p)
		}
		if err != nil {
			return nil, errors.Join(err, s.detachLocked())
		}
		hooks = append(hooks, printable(resolved))
	}
	s.attached = attachDone
	s.measured.attached(time.Since(s.started))
	return hooks, nil
}

// Detach detaches every program. When it returns, no new event starts, but
// programs that run at that moment on another CPU may still submit theirs: see
// [Set.Rest]. Detaching what is not attached does nothing.
func (s *Set) Detach() error {
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.release()
	return s.detach()
}

func (s *Set) detach() error {
	s.links.Lock()
	defer s.links.Unlock()
	return s.detachLocked()
}

func (s *Set) detachLocked() error {
	s.attached = attachEnded
	var errs []error
	for _, p := range slices.Backward(s.programs) {
		if err := p.detach(); err != nil {
			errs = append(errs, fmt.Errorf("detaching program %s from %s: %w", p.name, p.hook, err))
		}
	}
	return errors.Join(errs...)
}

func (p *loaded) detach() error {
	var errs []error
	for _, l := range slices.Backward(p.links) {
		errs = append(errs, l.Close())
	}
	p.links, p.iter = nil, nil
	return errors.Join(errs...)
}

// attach attaches one program and returns the hook as resolved. On error,
// nothing of it stays attached.
func (h host) attach(p *loaded) (string, error) {
	resolved, err := h.attachKind(p)
	if err == nil {
		return resolved, nil
	}
	e := &AttachError{Program: p.name, Hook: p.hook, Reason: "the kernel refused", Err: err}
	var r *refusal
	if errors.As(err, &r) {
		e.Reason, e.Err = r.reason, r.err
	}
	return "", errors.Join(e, p.detach())
}

func (h host) attachKind(p *loaded) (string, error) {
	switch p.hook.Kind {
	case program.Tracepoint:
		return p.attachTracepoint()
	case program.RawTracepoint:
		return p.attachRawTracepoint()
	case program.TPBTF, program.Fentry, program.Fexit, program.FmodRet:
		return p.attachTracing()
	case program.LSM:
		return p.attachLSM()
	case program.Iter:
		return p.attachIter()
	case program.Kprobe, program.Kretprobe:
		return p.attachKprobe()
	case program.Uprobe, program.Uretprobe:
		return h.attachUprobe(p)
	case program.USDT:
		return h.attachUSDT(p)
	case program.PerfEvent:
		return h.attachPerfEvent(p)
	case program.XDP:
		return p.attachXDP()
	case program.TCXIngress, program.TCXEgress:
		return p.attachTCX()
	case program.CgroupIngress, program.CgroupEgress, program.CgroupSock:
		return h.attachCgroup(p)
	}
	return "", refuse(nil, "this version of kgent does not attach programs of this kind")
}

func (p *loaded) add(l io.Closer) { p.links = append(p.links, l) }

// closer makes a function an io.Closer.
type closer func() error

func (c closer) Close() error { return c() }

// because reduces an error to the kernel's own, when there is one: the
// library's context repeats what the AttachError says.
func because(err error) error { return errno(err) }

// forbidden reports whether the kernel refused for lack of privilege.
func forbidden(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}
