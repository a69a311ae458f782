package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
	"kgent/retrieval/notes"
)

// Explanation is what can be said of a program that somebody brings. All of it follows from
// its bytecode and from what is known about the kernel; what a model says is set apart.
type Explanation struct {
	Name string
	// Object and Manifest are the program's; nil when it cannot be run by kgent at all,
	// and then Unfit says why.
	Object   *program.Object
	Manifest *program.Manifest
	Unfit    error
	Source   string
	// Changed says what was changed of the source before it was compiled.
	Changed []string
	// Hooks says of each place when it fires and what is to know of it.
	Hooks []ExplainedHook
	// Absent says what of it a kernel lacks; empty when it has all.
	Absent string
	// Helpers are the kernel's functions that it calls.
	Helpers []string
	Params  []string
	// Mistake is an input for which it does what no program may do; nil when none was found.
	Mistake *proof.Counterexample
	// Checked says what came of the checks that need no contract, in words.
	Checked string
	// Warnings are worth a look and no mistakes.
	Warnings []string
	// Contract is one that it was proved to keep; nil when none was found. ContractFrom
	// says whose it is: "recipe tcp-connect".
	Contract     *contract.Contract
	ContractFrom string
	// Reading is what a model made of the program's source alone; nil when none was asked. Its summary
	// is the model's words. Nothing else here depends on it.
	Reading *Reading
	// Tried says which contracts it was held against and does not keep, and why, a line each.
	Tried []string
}

// ExplainedHook is a place where a program runs.
type ExplainedHook struct {
	Place string // as in a contract
	Words string // what is known about it; empty when that is nothing
}

// maxRecipesTried is how many recipes a program is held against.
const maxRecipesTried = 3

// Explain says what the request's program does, on the first of the targets, and looks for mistakes
// that need no contract to be mistakes. It needs no model; where there is one, and effort for it, the
// model reads the source of what can be run as well, within the request's budget and quota. Nothing is loaded.
func (a *Agent) Explain(ctx context.Context, req Request, targets []Target, progress func(Step)) (*Explanation, error) {
	if len(targets) == 0 {
		return nil, errors.New("explaining a program: no kernel was named")
	}
	b := req.Program
	if b == nil {
		return nil, errors.New("explaining a program: there is none")
	}
	if err := b.readable(); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(Step) {}
	}
	req.Text = "what does this program do" // no recipe answers that
	p := &preparation{Agent: a, req: req, targets: targets[:1], progress: progress, record: &Record{Started: a.Now()}, budget: a.Budget}
	if a.Model != nil {
		p.model = &recording{a.Model, p.record}
	}
	defer p.settle(ctx)
	x := &Explanation{Name: b.Called(), Source: b.Source}
	if b.IsScript() {
		return x, x.explainScript(ctx, p)
	}
	if x.Source != "" {
		x.Source, x.Changed = amend(b.Source)
	}
	br := &bringing{preparation: p, source: x.Source, where: "container:NAME"}
	c := &Candidate{Record: p.record}
	err := p.step("compile", func() (string, error) {
		o, err := br.objectOf(ctx)
		if err != nil {
			return "", err
		}
		br.object, x.Object = o, o
		return c.build(o, br.options(b.Called()))
	})
	if f, ok := errors.AsType[*verify.Failure](err); ok {
		x.Unfit = f
		if x.Object == nil {
			return x, nil
		}
	} else if err != nil {
		return nil, err
	}
	x.describe(targets[0].Facts)
	if x.Unfit != nil {
		return x, nil
	}
	x.Manifest = c.Manifest
	for _, f := range c.Facts {
		x.Helpers = append(x.Helpers, append(slices.Clone(f.Helpers), f.Kfuncs...)...)
	}
	slices.Sort(x.Helpers)
	x.Helpers = slices.Compact(x.Helpers)
	if err := p.fits(c); err != nil {
		f, ok := errors.AsType[*verify.Failure](err)
		if !ok {
			return nil, err
		}
		x.Absent = f.Error()
		return x, nil
	}
	if err := x.check(ctx, p, c); err != nil {
		return nil, err
	}
	if err := x.contract(ctx, p, c); err != nil {
		return nil, err
	}
	return x, x.read(ctx, p, c)
}

// read has a model read the program, when there is one and effort for it. That it gave nothing is
// said in the reading.
func (x *Explanation) read(ctx context.Context, p *preparation, c *Candidate) (err error) {
	if p.Model == nil || !p.Effort.Comprehend || x.Source == "" {
		return nil
	}
	asked := ctx
	if err := p.shared(ctx); err != nil {
		if asked.Err() != nil {
			return context.Cause(asked)
		}
		x.Reading = &Reading{Reason: firstLine(detail(err))}
		return nil
	}
	c.Source, c.Contract = x.Source, x.Contract
	if x.Contract != nil {
		c.Finding.Verdict = proof.Verified
	}
	x.Reading, err = p.rest(ctx, c)
	return err
}

// describe says what can be read off the object.
func (x *Explanation) describe(facts *kernel.Facts) {
	for _, spec := range x.Object.Programs() {
		h, err := program.HookOf(spec)
		if err != nil || h.Kind.OfScripts() { // of those there is nothing to know
			continue
		}
		kind, target := h.Place()
		e := ExplainedHook{Place: placeOf(kind, target)}
		if slices.ContainsFunc(x.Hooks, func(o ExplainedHook) bool { return o.Place == e.Place }) {
			continue
		}
		if n := notes.Of(kind, target); n != nil {
			e.Words = strings.TrimSpace(n.For(facts.Release, kind))
		} else if line, _, err := placeLine(facts, kernel.Hook{Kind: kind, Target: target}); err == nil {
			e.Words = "it hands over " + strings.TrimPrefix(line, e.Place+": ")
		}
		x.Hooks = append(x.Hooks, e)
	}
	for _, p := range x.Object.Params() {
		x.Params = append(x.Params, p.Name+" ("+typeWords(p.Type)+")")
	}
}

// report holds the program against a contract, or none.
func (x *Explanation) report(ctx context.Context, p *preparation, c *Candidate, name string, want *contract.Contract) (r *proof.Report, err error) {
	judge := p.Prover
	if judge == nil {
		judge = &p.prover
	}
	err = p.step("prove", func() (string, error) {
		if r, err = judge.Prove(ctx, p.targets[0].Facts, c.Object, c.Manifest, want); err != nil {
			return "", err
		}
		r = p.req.Program.named(r)
		return fmt.Sprintf("%s: %s", name, r.Verdict), nil
	})
	if err != nil && ctx.Err() == nil { // it cannot be asked about
		return &proof.Report{Reasons: []string{err.Error()}}, nil
	}
	return r, err
}

// check looks for what no program may do.
func (x *Explanation) check(ctx context.Context, p *preparation, c *Candidate) error {
	r, err := x.report(ctx, p, c, "what needs no contract", nil)
	if err != nil {
		return err
	}
	holds := 0
	var unsure []string
	for _, o := range r.Obligations {
		switch {
		case o.Outcome == proof.Holds:
			holds++
		case o.Outcome != proof.Fails && o.Why != "":
			unsure = append(unsure, o.Words+": "+o.Why)
		}
	}
	x.Warnings = r.Warnings
	switch {
	case r.Verdict == proof.Refuted:
		x.Mistake = r.Counterexample
		x.Checked = "a mistake was found: " + r.Reasons[0]
	case len(r.Obligations) == 0 && len(r.Reasons) > 0:
		x.Checked = "it could not be checked: " + r.Reasons[0]
	case len(unsure) > 0:
		x.Checked = fmt.Sprintf("%s of %d that every program has to meet hold for all inputs; not settled: %s", plural(holds, "rule"), len(r.Obligations), strings.Join(unsure[:min(3, len(unsure))], "; "))
	default:
		x.Checked = fmt.Sprintf("no mistake was found: the %s that every program has to meet hold for all inputs (nothing leaves that was never written, no kernel address, byte order and sizes are right)", plural(holds, "rule"))
	}
	return nil
}

// contract looks for a contract that the program keeps: the one it came with, or a recipe's
// with the same hooks.
func (x *Explanation) contract(ctx context.Context, p *preparation, c *Candidate) error {
	if x.Mistake != nil && len(x.Mistake.Scenario) == 0 {
		return nil
	}
	if text := p.req.Program.Contract; text != "" {
		y, err := (&bringing{preparation: p, object: x.Object}).given()
		if err != nil {
			return err
		}
		return x.keeps(ctx, p, c, "the contract that came with it", y.contract)
	}
	for i, r := range likeRecipes(p.Recipes, x.Object) {
		if i == maxRecipesTried || x.Contract != nil {
			break
		}
		if err := x.keeps(ctx, p, c, "recipe "+r.Name, r.Contract); err != nil {
			return err
		}
	}
	return nil
}

func (x *Explanation) keeps(ctx context.Context, p *preparation, c *Candidate, name string, want *contract.Contract) error {
	r, err := x.report(ctx, p, c, name, want)
	switch {
	case err != nil:
		return err
	case r.Verdict == proof.Verified:
		x.Contract, x.ContractFrom = want, name
	case len(r.Reasons) > 0:
		how := "not settled"
		switch {
		case r.Verdict == proof.Refuted && ofForm(r):
			how = "its output has another form"
		case r.Verdict == proof.Refuted:
			how = "it does something else"
		case r.Verdict == proof.Vacuous:
			how = "the contract can hardly be broken"
		}
		x.Tried = append(x.Tried, fmt.Sprintf("%s: %s: %s", name, how, clip(firstLine(r.Reasons[0]), 240)))
	}
	return nil
}

// likeRecipes are the recipes that run where a program does.
func likeRecipes(l *recipes.Library, o *program.Object) []*recipes.Recipe {
	hooks := placesOf(o)
	var out []*recipes.Recipe
	for _, r := range l.Recipes() {
		var want []string
		for _, h := range r.Contract.Hooks {
			for _, p := range h.Places {
				want = append(want, placeOf(p.Where()))
			}
		}
		if len(hooks) > 0 && !slices.ContainsFunc(hooks, func(h string) bool { return !slices.Contains(want, h) }) {
			out = append(out, r)
		}
	}
	return out
}
