package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/recipes"
	"kgent/agent/verify"
)

// ErrNoBpftrace says that scripts cannot be judged here: without bpftrace nobody
// knows what one would do.
var ErrNoBpftrace = bpftrace.ErrNone

// IsScript reports whether what is brought is a script of bpftrace, by its name.
func (b *Brought) IsScript() bool {
	return !b.Generated && b.Source != "" && strings.HasSuffix(b.Called(), ".bt")
}

// script is a program in bpftrace's language that somebody brings along, or a model
// wrote.
type script struct {
	Text string
	// Name is a short name for it, such as its file's; empty is "script".
	Name string
}

// fromScript judges the script that came with the request. It is UNPROVED and says why,
// so it counts as one tier more; otherwise it is a candidate as any other.
func (p *preparation) fromScript(ctx context.Context) (*Candidate, error) {
	b := p.req.Program
	if b.Contract != "" {
		return nil, fmt.Errorf("%w: a contract came with %s; scripts are not held against any: leave it out, or bring a program in C", ErrRequest, b.Called())
	}
	att := p.record.attempt("file "+b.Called(), b.Source)
	c, err := p.scriptGates(ctx, script{Text: b.Source, Name: b.Called()})
	att.end(err)
	if _, failed := errors.AsType[*verify.Failure](err); failed {
		return nil, &RejectedError{Record: p.record, Last: err}
	}
	if err != nil {
		return nil, err
	}
	att.Verdict = c.Finding.Verdict.String()
	c.Origin = "file " + b.Called()
	c.Understood = []string{"the program is " + b.Called() + ", a bpftrace script, as it was brought"}
	if m, err := p.Recipes.MatchAfter(p.req.Before, p.req.Text, recipes.MatchOptions{UserID: p.UserID}); err == nil {
		c.Duration = m.Duration
	}
	return c, nil
}

// explainScript fills in what can be said of a script.
func (x *Explanation) explainScript(ctx context.Context, p *preparation) error {
	c, err := p.scriptObjects(ctx, script{Text: x.Source, Name: x.Name})
	if f, ok := errors.AsType[*verify.Failure](err); ok {
		x.Unfit = f
		return nil
	}
	if err != nil {
		return err
	}
	x.Object, x.Manifest, x.Checked = c.Object, c.Manifest, "none is looked for in a bpftrace script, beyond what kgent refuses"
	x.describe(p.targets[0].Facts)
	for _, f := range c.Facts {
		x.Helpers = append(x.Helpers, append(slices.Clone(f.Helpers), f.Kfuncs...)...)
	}
	slices.Sort(x.Helpers)
	x.Helpers = slices.Compact(x.Helpers)
	return nil
}

// scriptGates takes a script through its gates: kgent's own reading of it, the facts of
// every kernel, the real bpftrace's translation for each, and what the nodes say of it.
// What comes of it is a candidate as any other, unproved. A script that does not pass
// is a *[verify.Failure].
func (p *preparation) scriptGates(ctx context.Context, s script) (*Candidate, error) {
	c, err := p.scriptObjects(ctx, s)
	if err != nil {
		return nil, err
	}
	p.progress(Step{Name: "prove", State: "skipped", Detail: UnprovedScript})
	err = p.step("load", func() (_ string, err error) {
		c.Checked, err = p.load(ctx, c)
		return "bpftrace makes the same of it there" + onKernels(p.targets), err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// scriptObjects are the gates before nodes are asked.
func (p *preparation) scriptObjects(ctx context.Context, s script) (*Candidate, error) {
	if p.Bpftrace == nil {
		return nil, ErrNoBpftrace
	}
	c := &Candidate{Request: p.req, Source: s.Text, Record: p.record}
	var read *bpftrace.Script
	err := p.step("read", func() (_ string, err error) {
		if read, err = bpftrace.Parse([]byte(s.Text)); err != nil {
			return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
		}
		return plural(len(read.Probes), "probe"), nil
	})
	if err != nil {
		return nil, err
	}
	// First of all whether the hooks exist: bpftrace's own words about that are of
	// no help.
	err = p.step("facts", func() (string, error) {
		return plural(len(read.Probes), "hook") + " found" + onKernels(p.targets), p.scriptFits(read)
	})
	if err != nil {
		return nil, err
	}
	objects := make([]*program.Object, len(p.targets))
	err = p.step("compile", func() (string, error) {
		_, err := p.each(func(i int, t Target, _ *KernelResult) (err error) {
			objects[i], err = p.Bpftrace.Translate(ctx, read, t.Facts)
			return untaken(err)
		})
		if err != nil {
			return "", err
		}
		return p.scriptObject(c, s, read, objects)
	})
	if err != nil {
		return nil, err
	}
	c.Finding = verify.Finding{Reason: UnprovedScript}
	return c, nil
}

// UnprovedScript is why a script is not proved.
const UnprovedScript = "unproved: it is a bpftrace script, and what bpftrace prints for it is not held against a contract"

// untaken is what bpftrace says against a script, as the failure of a gate.
func untaken(err error) error {
	var bad *bpftrace.FailedError
	if errors.As(err, &bad) {
		return &verify.Failure{Gate: verify.GateCompile, Err: err}
	}
	return err
}

// scriptObject fills in what follows from the objects, one for each kernel, which
// must all do the same.
func (p *preparation) scriptObject(c *Candidate, s script, read *bpftrace.Script, objects []*program.Object) (string, error) {
	bad := func(err error) (string, error) {
		return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
	}
	var err error
	for i, o := range objects {
		facts, err := o.Facts()
		if err != nil {
			return bad(err)
		}
		if i == 0 {
			c.Object, c.Facts = o, facts
			continue
		}
		if err := program.SameDoings(c.Facts, facts); err != nil {
			return bad(fmt.Errorf("it does not do the same on %s as on %s: %w", p.targets[i], p.targets[0], err))
		}
	}
	name := identifier(strings.TrimSuffix(s.Name, ".bt"))
	if s.Name == "" {
		name = "script"
	}
	c.Manifest, err = program.Build(c.Object, program.Options{Name: name, Title: firstLine(clip(p.req.Text, 120)), Script: &program.Script{
		Language: bpftrace.Language, Text: s.Text, Requires: read.Requires.String(), By: p.Bpftrace.Version.String(),
	}})
	if err != nil {
		return bad(err)
	}
	n := 0
	for _, f := range c.Facts {
		n += f.Instructions
	}
	return fmt.Sprintf("bpftrace %s: %s, %s", p.Bpftrace.Version, plural(len(c.Facts), "program"), plural(n, "instruction")), nil
}

// scriptFits asks every kernel for the script's hooks.
func (p *preparation) scriptFits(s *bpftrace.Script) error {
	m := &program.Manifest{}
	for _, x := range s.Probes {
		h, err := program.ScriptHook(x.Name)
		if err != nil {
			return &verify.Failure{Gate: verify.GateFacts, Err: err}
		}
		m.Programs = append(m.Programs, program.Program{Name: x.Name, Hook: h})
	}
	_, err := p.each(func(_ int, t Target, _ *KernelResult) error { return verify.Facts(m, t.Facts) })
	return err
}
