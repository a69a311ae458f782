package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/verify"
)

// ErrNoBpftrace says that scripts cannot be judged here: without bpftrace nobody
// knows what one would do.
var ErrNoBpftrace = bpftrace.ErrNone

// Script is a program in bpftrace's language that somebody brings along, or a model
// wrote.
type Script struct {
	Text string
	// Name is a short name for it, such as its file's; empty is "script".
	Name string
	// Origin says where it came from, for the card: "script opens.bt", "model gpt-…".
	Origin string
	// Explanation is its author's own words about it, which are not to be trusted.
	Explanation string
}

// FromScript takes a script through its gates: kgent's own reading of it, the real
// bpftrace's translation for every kernel, and the facts of those kernels. What
// comes of it is a candidate as any other, and needs the same approval; it is
// UNPROVED and says why, so it counts as one tier more. A script that does not pass
// is a *[RejectedError]. Errors are those of [Agent.PrepareFor], or
// [ErrNoBpftrace].
func (a *Agent) FromScript(ctx context.Context, req Request, s Script, targets []Target, progress func(Step)) (*Candidate, error) {
	if len(targets) == 0 {
		targets = []Target{a.Target}
	}
	p := preparation{Agent: a, req: req, targets: targets, progress: progress}
	if p.progress == nil {
		p.progress = func(Step) {}
	}
	if err := req.readable(); err != nil {
		return nil, err
	}
	first := targets[0].Facts
	p.record = &Record{Request: req, Started: a.Now(), PromptVersion: PromptVersion, Kernel: first.Release, BTF: first.BTFHash}
	for _, t := range targets[1:] {
		p.record.Others = append(p.record.Others, t.String())
	}
	att := p.record.attempt(s.Origin, s.Text)
	c, err := p.scriptGates(ctx, s)
	att.end(err)
	p.record.Seconds = a.Now().Sub(p.record.Started).Seconds()
	var failed *verify.Failure
	if errors.As(err, &failed) {
		err = &RejectedError{Record: p.record, Last: err}
	}
	if err != nil {
		p.record.Outcome = err.Error()
		return nil, err
	}
	p.record.Outcome = "candidate"
	c.Origin, c.Explanation = s.Origin, s.Explanation
	return c, nil
}

// scriptGates are the gates of a script: read, translate, facts, load.
func (p *preparation) scriptGates(ctx context.Context, s Script) (*Candidate, error) {
	if p.Bpftrace == nil {
		return nil, ErrNoBpftrace
	}
	c := &Candidate{Request: p.req, Source: s.Text, Record: p.record}
	var script *bpftrace.Script
	err := p.step("read", func() (_ string, err error) {
		if script, err = bpftrace.Parse([]byte(s.Text)); err != nil {
			return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
		}
		return plural(len(script.Probes), "probe"), nil
	})
	if err != nil {
		return nil, err
	}
	// First of all whether the hooks exist: bpftrace's own words about that are of
	// no help.
	err = p.step("facts", func() (string, error) {
		return plural(len(script.Probes), "hook") + " found" + onKernels(p.targets), p.scriptFits(script)
	})
	if err != nil {
		return nil, err
	}
	objects := make([]*program.Object, len(p.targets))
	err = p.step("compile", func() (string, error) {
		_, err := p.each(func(i int, t Target, _ *KernelResult) (err error) {
			objects[i], err = p.Bpftrace.Translate(ctx, script, t.Facts)
			return untaken(err)
		})
		if err != nil {
			return "", err
		}
		return p.scriptObject(c, s, script, objects)
	})
	if err != nil {
		return nil, err
	}
	c.Finding = verify.Finding{Reason: UnprovedScript}
	p.progress(Step{Name: "prove", State: "skipped", Detail: UnprovedScript})
	err = p.step("load", func() (_ string, err error) {
		c.Checked, err = p.load(ctx, c)
		return "each node translates it alike" + onKernels(p.targets), err
	})
	if err != nil {
		return nil, err
	}
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
func (p *preparation) scriptObject(c *Candidate, s Script, script *bpftrace.Script, objects []*program.Object) (string, error) {
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
		Language: bpftrace.Language, Text: s.Text, Requires: script.Requires.String(), By: p.Bpftrace.Version.String(),
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
