package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify"
)

// KernelResult is what one kernel said of a program.
type KernelResult struct {
	Release string
	Hash    string   // of its facts
	Nodes   []string // that have it
	// OK: everything that the program uses is there, and the verifier takes it.
	OK bool
	// Detail is why not.
	Detail string
	// Instructions is how many the verifier looked at over all programs; 0 when
	// the kernel does not tell.
	Instructions uint64
}

// KernelsError says that a program does not fit every kernel that it is for.
type KernelsError struct {
	// Results has every kernel, in the order of the targets. One that is not OK
	// and has no Detail passed this gate and was not asked further.
	Results []KernelResult
	errs    []error
}

// Error names each kernel that does not take the program, with its nodes and
// the reason, a line each.
func (e *KernelsError) Error() string {
	lines := make([]string, len(e.errs))
	for i, err := range e.errs {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

func (e *KernelsError) Unwrap() []error { return e.errs }

// each asks something of every kernel. A single one without nodes is this
// machine, which needs no name in its errors. What says nothing about the
// program, such as that a node does not answer, comes before what does.
func (p *preparation) each(ask func(int, Target, *KernelResult) error) ([]KernelResult, error) {
	results := make([]KernelResult, len(p.targets))
	found := make([]error, len(p.targets))
	var wg sync.WaitGroup
	for i, t := range p.targets {
		results[i] = KernelResult{Release: t.Facts.Release, Hash: t.Hash, Nodes: t.Nodes}
		wg.Go(func() {
			// Facts come from nodes, whose types no library may stumble over here.
			defer func() {
				if p := recover(); p != nil {
					found[i] = fmt.Errorf("its types cannot be read: %v", p)
				}
			}()
			found[i] = ask(i, t, &results[i])
		})
	}
	wg.Wait()
	here := len(p.targets) == 1 && len(p.targets[0].Nodes) == 0
	var gate verify.Gate
	var errs []error
	for i, err := range found {
		if err == nil {
			continue
		}
		results[i].Detail = err.Error()
		if !here {
			err = fmt.Errorf("on %s: %w", p.targets[i], err)
		}
		var f *verify.Failure
		if !errors.As(err, &f) {
			return nil, err
		}
		gate = f.Gate
		errs = append(errs, err)
	}
	switch {
	case len(errs) == 0:
		return results, nil
	case here:
		return nil, errs[0]
	}
	return nil, &verify.Failure{Gate: gate, Err: &KernelsError{results, errs}}
}

// fits holds the candidate against the facts of every kernel.
func (p *preparation) fits(c *Candidate) error {
	_, err := p.each(func(_ int, t Target, _ *KernelResult) error {
		if err := verify.Facts(c.Manifest, t.Facts); err != nil {
			return err
		}
		return verify.Types(c.Object, t.Facts)
	})
	return err
}

// load has every kernel verify the candidate.
func (p *preparation) load(ctx context.Context, c *Candidate) ([]KernelResult, error) {
	return p.each(func(_ int, t Target, r *KernelResult) error {
		programs, err := verify.Kernel(ctx, t.Loader, c.Object, c.Manifest)
		for _, v := range programs {
			r.Instructions += uint64(v.Processed)
		}
		r.OK = err == nil
		return err
	})
}

// onKernels is said of what holds on all of several kernels.
func onKernels(targets []Target) string {
	if len(targets) == 1 {
		return ""
	}
	return fmt.Sprintf(" on %d kernels", len(targets))
}

// WithConstants returns the candidate with other values for some parameters,
// as [program.WithConstants] does. A value that the contract does not allow is an
// error. What kernels said of it and what was proved does not hold any more: Checked
// is empty, and the program unproved, until they are asked again with
// [Agent.Recheck].
func (c *Candidate) WithConstants(values map[string]string) (*Candidate, error) {
	m, err := c.Manifest.With(c.Object, values)
	if err != nil {
		return nil, err
	}
	if err := Allowed(c.Contract, c.Object, m); err != nil {
		return nil, err
	}
	next := *c
	next.Manifest, next.Checked, next.Finding = m, nil, verify.Finding{Reason: "unproved: it was not held against its contract with these values"}
	return &next, nil
}

// Allowed says what a manifest sets that the contract (nil: none) does not allow, a line for
// each value.
func Allowed(want *contract.Contract, o *program.Object, m *program.Manifest) error {
	if want == nil {
		return nil
	}
	var wrong []error
	for _, p := range o.Params() {
		for _, c := range m.Constants {
			if c.Name != p.Name {
				continue
			}
			bits, signed, ok := program.Number(p, c.Value)
			if !ok {
				continue
			}
			if err := want.Allows(p.Name, bits, signed); err != nil {
				wrong = append(wrong, err)
			}
		}
	}
	return errors.Join(wrong...)
}

// Recheck asks kernels about a candidate whose parameters or targets have
// changed, and returns it with what they said and what is proved for them. Of the
// candidate only Object, Manifest and Contract need to be set, so that a stored
// one can be asked about. It fails as
// [Agent.PrepareFor] does, with a [*verify.Failure] instead of a rejection.
func (a *Agent) Recheck(ctx context.Context, c *Candidate, targets []Target) (*Candidate, error) {
	if len(targets) == 0 {
		return nil, errors.New("checking a program: no kernel was named")
	}
	p := preparation{Agent: a, targets: targets, progress: func(Step) {}}
	if err := p.fits(c); err != nil {
		return nil, err
	}
	finding, err := p.prove(ctx, c)
	if err != nil {
		return nil, err
	}
	checked, err := p.load(ctx, c)
	if err != nil {
		return nil, err
	}
	next := *c
	next.Finding, next.Checked = finding, checked
	return &next, nil
}
