package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/retrieval/kernel"
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

	iter  *link.Iter
	links []io.Closer // closed last to first
}

// host is where programs are attached.
type host struct {
	opt         Options
	uprobeMulti bool // Linux 6.6: one link for many places, without CAP_SYS_ADMIN
	kprobeMulti bool // Linux 5.18 with CONFIG_FPROBE: one link for many functions
	perfLinks   bool // try them: Linux 5.15
	tcx         bool // try it: Linux 6.6
	filters     *filters
	// countsMissed says whether the kernel counts all runs that it leaves out: Linux 6.7.
	countsMissed func() bool
	// facts reads what is known of the kernel. It is asked when something has
	// failed, and then for what holds now.
	facts func(context.Context) (*kernel.Facts, error)
}

func newHost(opt Options) host {
	return host{
		opt:         opt,
		uprobeMulti: features.HaveBPFLinkUprobeMulti() == nil,
		kprobeMulti: features.HaveBPFLinkKprobeMulti() == nil,
		perfLinks:   true,
		tcx:         true,
		filters:     &filters{made: map[int]bool{}},
		facts:       kernel.Live,

		countsMissed: sync.OnceValue(countsMissed),
	}
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
	var err error
	if s.narrowed, err = s.narrow(ctx); err != nil {
		return nil, err
	}
	var hooks []string
	for _, p := range s.programs {
		err := ctx.Err()
		var resolved string
		if err == nil {
			resolved, err = s.host.attach(ctx, p)
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
	// The kernel waits for a grace period for each link, some 80 ms for a
	// tracepoint: together they wait for the same one.
	// Whoever detaches may be a thread that has given up its capabilities, and a filter
	// of clsact takes CAP_NET_ADMIN: so each is closed on a thread of another's.
	errs := make([]error, len(s.programs))
	var closing sync.WaitGroup
	for i, p := range s.programs {
		closing.Go(func() {
			s.measured.skipped(hooksMissed(p.links))
			if err := p.detach(); err != nil {
				errs[i] = fmt.Errorf("detaching program %s from %s: %w", p.name, p.hook, err)
			}
		})
	}
	closing.Wait()
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
func (h host) attach(ctx context.Context, p *loaded) (string, error) {
	resolved, err := h.attachKind(ctx, p)
	if err == nil {
		return resolved, nil
	}
	var r *refusal
	if !errors.As(err, &r) {
		errors.As(h.explain(ctx, p.hook, err), &r)
	}
	e := &AttachError{Program: p.name, Hook: p.hook, Reason: r.reason, Err: r.err}
	return "", errors.Join(e, p.detach())
}

func (h host) attachKind(ctx context.Context, p *loaded) (string, error) {
	switch p.hook.Kind {
	case program.Tracepoint:
		return p.attachTracepoint()
	case program.RawTracepoint:
		return p.attachRawTracepoint()
	case program.TPBTF, program.Fentry, program.Fexit, program.FmodRet:
		return p.attachTracing()
	case program.KprobeMulti, program.KretprobeMulti, program.KprobeSession:
		return h.attachKprobeMulti(ctx, p)
	case program.SocketFilter:
		return p.attachSocket()
	case program.LSM:
		return h.attachLSM(ctx, p)
	case program.Iter:
		return p.attachIter()
	case program.Kprobe, program.Kretprobe:
		return p.attachKprobe()
	case program.Uprobe, program.Uretprobe:
		return h.attachUprobe(ctx, p)
	case program.USDT:
		return h.attachUSDT(ctx, p)
	case program.PerfEvent:
		return h.attachPerfEvent(p)
	case program.XDP:
		return p.attachXDP()
	case program.TCXIngress, program.TCXEgress:
		return h.attachTCX(p)
	case program.CgroupIngress, program.CgroupEgress, program.CgroupSock:
		return h.attachCgroup(ctx, p)
	}
	return "", refuse(nil, "this version of kgent does not attach programs of this kind")
}

// explain finds out why the kernel did not attach to a hook, or load a program
// for it: most often the hook does not exist, which the kernel says in the
// most various ways. It always returns a refusal.
func (h host) explain(ctx context.Context, hook program.Hook, err error) error {
	facts, factsErr := h.facts(ctx)
	if factsErr == nil {
		if hook.Kind == program.Kprobe || hook.Kind == program.Kretprobe {
			// Whose place fentry and fexit take, if the host lets them.
			facts.Refused = h.refused(ctx, program.Fentry, program.Fexit)
		}
		objection := facts.CheckHook(string(hook.Kind), checkTarget(hook))
		var missing *kernel.NotFoundError
		if errors.As(objection, &missing) || errors.Is(objection, kernel.ErrNotSupported) || errors.Is(objection, kernel.ErrAmbiguous) || errors.Is(objection, kernel.ErrNoTracefs) {
			return objected(objection)
		}
	} else if errors.Is(factsErr, kernel.ErrNoBTF) && errors.Is(err, ebpf.ErrNotSupported) {
		return refuse(nil, "%v", factsErr)
	}
	if forbidden(err) {
		return refuse(errno(err), "this host forbids it%s", suspects(facts, hook.Kind))
	}
	return refuse(errno(err), "the kernel refused")
}

// refused tries kinds of hooks and says why those that fail cannot be used.
func (h host) refused(ctx context.Context, kinds ...program.Kind) map[string]string {
	refused := map[string]string{}
	types := btf.NewCache()
	for _, s := range samples {
		if slices.Contains(kinds, s.hook.Kind) {
			if err := h.try(ctx, s, types); err != nil {
				refused[string(s.hook.Kind)] = whyNot(err)
			}
		}
	}
	return refused
}

// objected makes an objection of package kernel a refusal. That the hook cannot
// be attached to goes without saying by then.
func objected(objection error) error {
	text := objection.Error()
	if _, reason, ok := strings.Cut(text, kernel.ErrNotSupported.Error()+": "); ok && errors.Is(objection, kernel.ErrNotSupported) {
		text = reason
	}
	return refuse(nil, "%s", text)
}

// checkTarget is a hook's target as package kernel writes it.
func checkTarget(h program.Hook) string {
	switch {
	case h.Kind.NeedsBinary():
		return h.Binary + ":" + h.Symbol
	case h.Kind == program.PerfEvent:
		return fmt.Sprintf("%s@%d", h.Target, h.Hz)
	}
	return h.Target
}

// suspects names, in brackets, what may keep this process from attaching and
// loading programs.
func suspects(facts *kernel.Facts, kind program.Kind) string {
	if facts == nil {
		return ""
	}
	type capability struct {
		bit  int
		name string
	}
	needed := []capability{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}}
	if kind.NeedsInterface() || kind.NeedsCgroup() {
		needed[1] = capability{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}
	}
	var all []string
	if !facts.Capabilities.Has(unix.CAP_SYS_ADMIN) { // it stands for the others
		for _, c := range needed {
			if !facts.Capabilities.Has(c.bit) {
				all = append(all, "kgent lacks "+c.name)
			}
		}
	}
	if facts.Lockdown == kernel.LockdownIntegrity || facts.Lockdown == kernel.LockdownConfidentiality {
		all = append(all, "kernel lockdown is "+string(facts.Lockdown))
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

func (p *loaded) add(l io.Closer) { p.links = append(p.links, l) }

// closer makes a function an io.Closer.
type closer func() error

func (c closer) Close() error { return c() }

// forbidden reports whether the kernel refused for lack of privilege.
func forbidden(err error) bool {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return true
	}
	// The library cuts the chain of what it returns for perf events.
	return err != nil && (strings.HasSuffix(err.Error(), ": "+unix.EPERM.Error()) || strings.HasSuffix(err.Error(), ": "+unix.EACCES.Error()))
}
