package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/agent/compose"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
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

// readied is a script that passed the gates before a proof: the candidate without a
// contract, and what the real bpftrace made of it for each kernel.
type readied struct {
	*Candidate
	objects []*program.Object
}

// judgeScript holds the script that came with the request against a contract, as far as
// what it shows can be mapped to one. Otherwise it is UNPROVED and says why, so it counts
// as one tier more.
func (b *bringing) judgeScript(ctx context.Context) (*Candidate, error) {
	brought := b.req.Program
	ready, err := b.scriptObjects(ctx, script{Text: brought.Source, Name: brought.Called()})
	if err != nil {
		return nil, err
	}
	b.object = ready.Object
	if err := b.matched(); err != nil {
		return nil, err
	}
	form, err := verify.ScriptForm(b.targets[0].Facts, ready.Object, ready.Manifest)
	switch unmapped, ok := errors.AsType[*bpftrace.UnmappedError](err); {
	case ok:
		if brought.Contract != "" {
			return nil, fmt.Errorf("%w: a contract came with %s, and the script cannot be held against one: %w; leave it out, or write the script without that", ErrRequest, brought.Called(), unmapped)
		}
		b.tried = append(b.tried, "the script cannot be held against one: "+unmapped.Error())
		return b.unprovedScript(ctx, ready)
	case err != nil:
		return nil, err
	}
	b.form, b.remarks = scriptForm(form, ready.Object), form.Remarks
	if brought.Contract != "" {
		y, err := b.given()
		if err != nil {
			return nil, err
		}
		return b.scriptAgainst(ctx, ready, y)
	}
	against := func(ctx context.Context, y *yardstick) (*Candidate, error) { return b.scriptAgainst(ctx, ready, y) }
	if c, err := b.found(ctx, against); c != nil || err != nil {
		return c, err
	}
	return b.unprovedScript(ctx, ready)
}

// refineScript answers a request that changes a script, or one of its own. The model changes
// the script. Without one, the contract that the script kept is changed, for which a program
// in C is generated; a script without a contract cannot be changed, which is said.
func (p *preparation) refineScript(ctx context.Context) (*Candidate, error) {
	if p.Model != nil {
		return p.scriptFromModel(ctx)
	}
	own, err := p.Recipes.MatchAfter(nil, p.req.Text, recipes.MatchOptions{UserID: p.UserID})
	if err == nil { // a request of its own
		return p.recipe(ctx, own)
	}
	if none := (*recipes.NoMatchError)(nil); !errors.As(err, &none) {
		return nil, err
	}
	c, why := p.composed(ctx)
	no := (*uncomposedError)(nil)
	switch {
	case why == nil:
		c.Understood = append(c.Understood, "the contract of the bpftrace script was changed, and a program in C generated from it")
		return c, nil
	case !errors.As(why, &no):
		return nil, why
	case p.req.Previous.Contract == "":
		return nil, &UnansweredError{Found: "the program before is a bpftrace script without a contract, in which kgent changes nothing by itself: change the script and bring it again.\n"}
	}
	return nil, &UnansweredError{Found: fmt.Sprintf("the program before is a bpftrace script, whose contract could not be changed so: %v. Change the script and bring it again.\n", why)}
}

// composed is the contract that can be composed from the words of the request.
func (b *bringing) composed(ctx context.Context) (*yardstick, error) {
	composer, err := b.composer()
	if err != nil {
		return nil, err
	}
	made, err := composer.Continue(ctx, b.req.Before, b.previous(), b.req.Text)
	if _, no := errors.AsType[*compose.NoError](err); no {
		b.tried = append(b.tried, "none can be composed from the words of the request")
		return nil, nil
	}
	if err != nil || made.Match != nil { // a recipe's was tried
		return nil, err
	}
	y := &yardstick{contract: made.Contract, said: "it is held against a contract composed from the words of the request", opt: b.options(made.Contract.Title)}
	b.set(&y.opt, made.Options.Constants)
	return y, nil
}

// scriptAgainst holds a script against a contract, as against does. A script has no
// parameters: the contract is taken with the values that the request has for them.
func (b *bringing) scriptAgainst(ctx context.Context, ready *readied, y *yardstick) (*Candidate, error) {
	k, err := contract.Parse(contract.Format(y.contract))
	if err != nil {
		return nil, err
	}
	if err := fix(k, y.opt.Constants); err != nil {
		b.tried = append(b.tried, y.said+", which a script cannot be held against: "+err.Error())
		return nil, nil
	}
	c := *ready.Candidate
	c.Contract, c.ContractBy = k, y.by
	c.Finding, err = b.prove(ctx, &c, ready.objects...)
	if err != nil {
		return nil, b.unfit(y, err)
	}
	if c.Finding.Verdict == proof.Verified {
		manifest, pinned := *c.Manifest, *c.Manifest.Script
		pinned.Pinned = true
		manifest.Script, c.Manifest = &pinned, &manifest
	}
	c.Understood = append(c.Understood, b.remarks...)
	if y.said != "" {
		c.Understood = append(c.Understood, y.said)
	}
	if b.match != nil {
		c.Understood = append(c.Understood, b.match.Understood...)
	}
	c.Duration = b.duration()
	return &c, b.loadScript(ctx, &c)
}

// fix writes values for parameters into a contract, as their defaults.
func fix(k *contract.Contract, values map[string]string) error {
	for _, p := range k.Params {
		text, set := values[p.Name]
		if !set {
			continue
		}
		if strings.HasPrefix(p.Type.Name, "char") {
			p.Default = &contract.Text{Value: text}
			continue
		}
		n, err := strconv.ParseInt(text, 0, 64)
		if d, e := time.ParseDuration(text); err != nil && e == nil && p.Type.Name == "k_ns" {
			n, err = int64(d), nil
		}
		switch {
		case err != nil:
			return fmt.Errorf("its parameter %s is %.40q", p.Name, text)
		case n < 0:
			p.Default = &contract.Unary{Op: "-", X: &contract.Number{Value: uint64(-n)}}
		default:
			p.Default = &contract.Number{Value: uint64(n)}
		}
	}
	return nil
}

// unprovedScript is a script for which no contract was found.
func (b *bringing) unprovedScript(ctx context.Context, ready *readied) (*Candidate, error) {
	c := ready.Candidate
	why := strings.Join(b.tried, "; ")
	c.Finding = verify.Finding{Reason: "unproved: it is a bpftrace script, for which no contract was found"}
	if last := b.tried[len(b.tried)-1]; b.form == "" { // nor can there be one
		c.Finding.Reason = "unproved: " + last
	}
	c.Understood = append(c.Understood, "there is no contract: "+why)
	c.Duration = b.duration()
	b.progress(Step{Name: "prove", State: "skipped", Detail: c.Finding.Reason})
	return c, b.loadScript(ctx, c)
}

// loadScript asks the nodes.
func (p *preparation) loadScript(ctx context.Context, c *Candidate) error {
	return p.step("load", func() (_ string, err error) {
		c.Checked, err = p.load(ctx, c)
		return "bpftrace makes the same of it there" + onKernels(p.targets), err
	})
}

// scriptForm says how a script calls what it shows, as formOf does of programs in C.
func scriptForm(f *program.Form, o *program.Object) string {
	var b strings.Builder
	b.WriteString("# The form that the output has to have (a bpftrace script is there already; use these hooks, and these numbers of columns, and no others)\n")
	fmt.Fprintf(&b, "Hooks: %s.\n", strings.Join(tracedPlaces(o), "; "))
	columns := func(list []program.FormColumn) string {
		var out []string
		for i, c := range list {
			name, kind := c.Name, "a number"
			if name == "" {
				name = fmt.Sprintf("value%d", i+1)
			}
			if c.Text {
				kind = fmt.Sprintf("char[%d]", c.Size)
			}
			out = append(out, name+": "+kind)
		}
		return strings.Join(out, ", ")
	}
	for i, p := range f.Prints {
		fmt.Fprintf(&b, "Event `line%d` with the members %s.\n", i+1, columns(p.Columns))
	}
	for _, m := range f.Maps {
		if !m.Shown {
			continue
		}
		key := columns(m.Key)
		if key == "" {
			key = "none"
		}
		what := map[string]string{"hist": "log2", "lhist": "linear", "avg": "{ count: count, sum: sum }", "stats": "{ count: count, sum: sum }", "": "last"}[m.Call]
		if what == "" {
			what = m.Call
		}
		name := strings.TrimPrefix(strings.TrimPrefix(m.Name, "AT_"), "@")
		if name == "" {
			name = "rows"
		}
		fmt.Fprintf(&b, "Table `%s`, key: %s; value: %s.\n", name, key, what)
	}
	return b.String()
}

// tracedPlaces are the hooks of a script that a contract can name.
func tracedPlaces(o *program.Object) []string {
	var out []string
	for _, p := range o.Programs() {
		if h, err := program.HookOf(p); err == nil && !h.Kind.OfScripts() {
			out = append(out, placeOf(h.Place()))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
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
	c.Finding = verify.Finding{Reason: UnprovedScript}
	p.progress(Step{Name: "prove", State: "skipped", Detail: c.Finding.Reason})
	return c.Candidate, p.loadScript(ctx, c.Candidate)
}

// scriptObjects are the gates before nodes are asked.
func (p *preparation) scriptObjects(ctx context.Context, s script) (*readied, error) {
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
		return p.scriptObject(ctx, c, s, read, objects)
	})
	if err != nil {
		return nil, err
	}
	return &readied{c, objects}, nil
}

// UnprovedScript is what a script is that nobody brought with a contract.
const UnprovedScript = "unproved: it is a bpftrace script, which was not held against a contract here"

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
func (p *preparation) scriptObject(ctx context.Context, c *Candidate, s script, read *bpftrace.Script, objects []*program.Object) (string, error) {
	bad := func(err error) (string, error) {
		return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
	}
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
	release, err := p.Bpftrace.Release(ctx)
	if err != nil {
		return "", err
	}
	name := identifier(strings.TrimSuffix(s.Name, ".bt"))
	if s.Name == "" {
		name = "script"
	}
	c.Manifest, err = program.Build(c.Object, program.Options{Name: name, Title: firstLine(clip(p.req.Text, 120)), Script: &program.Script{
		Language: bpftrace.Language, Text: s.Text, Requires: read.Requires.String(), By: release.String(),
	}})
	if err != nil {
		return bad(err)
	}
	n := 0
	for _, f := range c.Facts {
		n += f.Instructions
	}
	return fmt.Sprintf("bpftrace %s: %s, %s", release, plural(len(c.Facts), "program"), plural(n, "instruction")), nil
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
