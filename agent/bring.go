package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/llm"
	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

// bringing is the judging of a program that somebody has, by a contract that is not
// made from it.
type bringing struct {
	*preparation
	object *program.Object
	source string
	match  *recipes.Match // the recipe that answers the request; nil: none does
	where  string         // the container or pod that the request names
	// tried says of each contract that was had why it is not the program's.
	tried []string
	said  []string
	// form says of a script how it calls what it shows, and remarks how that differs from
	// what kgent's own programs show; empty for programs in C.
	form    string
	remarks []string
}

// yardstick is a contract that a brought program can be held against.
type yardstick struct {
	contract *contract.Contract
	by       string // as Candidate.ContractBy
	said     string // where it is from, for people
	opt      program.Options
	// binding: the program is refused when it has another form than the contract asks for.
	// Of a contract that nobody wrote for this program the form says nothing.
	binding bool
}

// fromBrought judges the program that came with the request. The contract is the one that
// came with it, or that of the recipe which answers the request, or one that a model writes
// from the request. The model is told how the program calls its outputs, and nothing else
// of it. Without any of them the program is unproved, and says so.
func (p *preparation) fromBrought(ctx context.Context) (*Candidate, error) {
	b := &bringing{preparation: p}
	if err := b.choose(ctx); err != nil {
		return nil, err
	}
	brought := p.req.Program
	judge := b.judge
	source, notes := brought.Source, []string(nil)
	if brought.IsScript() {
		judge = b.judgeScript
	} else if source != "" {
		source, notes = amend(source)
	}
	b.source = source
	if brought.IsScript() {
		b.said = append(b.said, "the program is "+brought.Called()+", a bpftrace script, as it was brought")
	} else if brought.Generated {
		b.said = append(b.said, "the contract is "+brought.Called()+", as it was brought, and the program was generated from it")
	} else {
		b.said = append(b.said, "the program is "+brought.Called()+", as it was brought")
	}
	if len(notes) > 0 {
		b.said = append(b.said, "kgent changed its source: "+strings.Join(notes, "; "))
	}
	att := p.record.attempt("file "+brought.Called(), source)
	att.Notes = notes
	c, err := judge(ctx)
	att.end(err)
	if err != nil {
		if r := refutation(err); r != nil {
			att.Verdict = r.Verdict.String()
		}
		if _, ok := errors.AsType[*verify.Failure](err); ok {
			return nil, &RejectedError{Record: p.record, Last: err}
		}
		return nil, err
	}
	att.Verdict = c.Finding.Verdict.String()
	c.Origin = "file " + brought.Called()
	if brought.Generated {
		c.Origin = "generated from the contract in " + brought.Called()
	}
	c.Understood = append(c.Understood, b.said...)
	return c, nil
}

// choose replaces hooks of a contract that came alone, whose program is kgent's to write, where a kernel lacks them. A
// program that was brought is judged as it is.
func (b *bringing) choose(ctx context.Context) error {
	if !b.req.Program.Generated {
		return nil
	}
	c, err := contract.Parse(b.req.Program.Contract)
	if err != nil {
		return nil // which is said when it is read
	}
	next, said, err := b.chosen(ctx, c)
	if err != nil || len(said) == 0 {
		return err
	}
	source, err := b.programOf(next)
	if unsupported := (*codegen.Unsupported)(nil); errors.As(err, &unsupported) {
		return nil // the gates refuse the program that is there
	}
	if err != nil {
		return err
	}
	other := *b.req.Program
	other.Contract, other.Source = contract.Format(next), source
	b.req.Program = &other
	b.said = said
	return nil
}

func (b *bringing) judge(ctx context.Context) (*Candidate, error) {
	err := b.step("compile", func() (string, error) {
		var err error
		if b.object, err = b.objectOf(ctx); err != nil {
			return "", err
		}
		return plural(len(b.object.Programs()), "program"), nil
	})
	if err != nil {
		return nil, err
	}
	if err := b.matched(); err != nil {
		return nil, err
	}
	if b.req.Program.Contract != "" {
		y, err := b.given()
		if err != nil {
			return nil, err
		}
		c, err := b.against(ctx, y)
		if err != nil && len(b.tried) == 0 {
			return nil, err
		}
		return c, err
	}
	if c, err := b.found(ctx, b.against); c != nil || err != nil {
		return c, err
	}
	return b.unproved(ctx)
}

// found holds the program against the first contract that is one for it, of those that can be
// had for the request. It returns neither a candidate nor an error when there is none.
func (b *bringing) found(ctx context.Context, against func(context.Context, *yardstick) (*Candidate, error)) (*Candidate, error) {
	for _, find := range []func(context.Context) (*yardstick, error){b.recipes, b.composed, b.model} {
		y, err := find(ctx)
		if err != nil {
			return nil, err
		}
		if y == nil {
			continue
		}
		if c, err := against(ctx, y); c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}

// matched finds the recipe that answers the request, if one does.
func (b *bringing) matched() error {
	match, err := b.Recipes.MatchAfter(b.req.Before, b.req.Text, recipes.MatchOptions{UserID: b.UserID})
	if _, none := errors.AsType[*recipes.NoMatchError](err); err != nil && !none {
		return err
	}
	b.match = match
	b.where, err = b.named()
	return err
}

func (b *bringing) objectOf(ctx context.Context) (*program.Object, error) {
	if b.source != "" {
		o, err := b.compiled(ctx, b.source)
		if f, ok := errors.AsType[*verify.Failure](err); ok && !b.req.Program.Generated {
			f.Err = fmt.Errorf("%s: %w", b.req.Program.Called(), f.Err)
		}
		return o, err
	}
	o, err := program.Parse(b.req.Program.ELF)
	if err != nil {
		return nil, &verify.Failure{Gate: verify.GateCompile, Err: fmt.Errorf("%s: %w", b.req.Program.Called(), err)}
	}
	return o, nil
}

// given is the contract that came with the program. It is its author's, as a model's is.
func (b *bringing) given() (*yardstick, error) {
	wrong := func(err error) error {
		if b.req.Program.Generated {
			return fmt.Errorf("%w: the contract %s: %w", ErrRequest, b.req.Program.Called(), err)
		}
		return fmt.Errorf("%w: the contract that came with %s: %w", ErrRequest, b.req.Program.Called(), err)
	}
	c, err := contract.Parse(b.req.Program.Contract)
	if err == nil { // positions are those of this text from now on
		c, err = contract.Parse(contract.Format(inOwnWords(c)))
	}
	if err != nil {
		return nil, wrong(err)
	}
	for _, t := range b.targets {
		types, err := contract.NewTypes(t.Facts)
		if err != nil {
			return nil, err
		}
		if _, err := contract.Check(c, types); err != nil {
			return nil, wrong(err)
		}
	}
	if where, err := b.named(); err != nil {
		return nil, err
	} else if where != "" && contract.Where(c) != where {
		return nil, wrong(fmt.Errorf("the request is about what happens in %s, and it is not: write inside(%q) into its conditions, or leave that out of the request", program.WhereWords(where), where))
	}
	if name := contract.Beyond(c); b.where != "" && name != "" {
		return nil, wrong(fmt.Errorf("the request is about what happens in %s, and the case %s is not: write inside(%q) into its condition, or leave that out of the request", program.WhereWords(b.where), name, b.where))
	}
	y := &yardstick{contract: c, by: "file " + b.req.Program.Called(), said: "its contract came with it", opt: b.options(c.Title), binding: true}
	if b.req.Program.Generated { // which is said once
		y.said = ""
	}
	values, err := given(c, b.object)
	if err != nil {
		return nil, wrong(err)
	}
	b.set(&y.opt, values)
	return y, nil
}

// recipes finds the contract of the recipe that answers the request.
func (b *bringing) recipes(context.Context) (*yardstick, error) {
	if b.match == nil || b.match.Recipe.Contract == nil || len(b.match.Only) > 0 { // the recipe shows more than is asked for
		b.tried = append(b.tried, "no recipe answers the request")
		return nil, nil
	}
	r := b.match.Recipe
	y := &yardstick{contract: r.Contract, said: fmt.Sprintf("it is held against the contract of the recipe %s, which answers the request", r.Name), opt: b.options(r.Title)}
	b.set(&y.opt, b.match.Options.Constants)
	return y, nil
}

// model has the model write a contract from the request.
func (b *bringing) model(ctx context.Context) (*yardstick, error) {
	if b.Model == nil {
		b.tried = append(b.tried, "no model is configured that could write a contract")
		return nil, nil
	}
	asked := ctx
	err := b.shared(ctx)
	if asked.Err() != nil {
		return nil, context.Cause(asked)
	}
	if err != nil {
		b.tried = append(b.tried, "the model may not be asked for one: "+clip(firstLine(err.Error()), 200))
		return nil, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, b.budget.Time, fmt.Errorf("a request may take %v, and they are over", b.budget.Time))
	defer cancel()
	budget := llm.NewBudget(llm.Bounds{Tokens: b.budget.Tokens, Money: b.budget.Money, Requests: requestsPerTry * max(b.budget.Contracts, b.budget.Tries)})
	a, err := b.newAuthor(ctx, budget)
	if err != nil {
		return nil, err
	}
	// It looks nothing up: the form is all that it is told.
	a.tools = &toolbox{writing: &writing{preparation: b.preparation, asked: asked, budget: budget, author: a}}
	form := b.form
	if form == "" {
		form = formOf(b.object)
	}
	a.question += "\n" + form
	a.messages = []llm.Message{llm.User(a.question)}
	c, _, err := a.write(ctx)
	switch none := (*noContract)(nil); {
	case asked.Err() != nil:
		return nil, context.Cause(asked)
	case errors.As(err, &none):
		b.tried = append(b.tried, "the model wrote none: "+none.why)
		return nil, nil
	case err != nil:
		b.tried = append(b.tried, "the model could not be asked for one: "+clip(firstLine(err.Error()), 200))
		return nil, nil
	}
	y := &yardstick{contract: c, by: "model " + a.model, said: "model " + a.model + " wrote the contract from the request alone; of the program it was told how its outputs are called", opt: b.options(c.Title)}
	b.set(&y.opt, settle(c))
	return y, nil
}

// options are those of a brought program. The title is the author's of its contract, or the
// request's; cards quote it.
func (b *bringing) options(title string) program.Options {
	name, _, _ := strings.Cut(b.req.Program.Called(), ".")
	opt := program.Options{Name: identifier(name), Title: clip(strings.Join(strings.Fields(title), " "), 120), Constants: map[string]string{}, Where: b.where,
		Interface: interfaceIn(b.req.Text)}
	if m := b.match; m != nil {
		opt.Interface, opt.Cgroup, opt.Hz, opt.View = cmp.Or(m.Options.Interface, opt.Interface), m.Options.Cgroup, m.Options.Hz, m.Options.View
	}
	return opt
}

// set sets those parameters that the program has. That it lacks one shows against the contract.
func (b *bringing) set(opt *program.Options, values map[string]string) {
	if b.object.IsScript() { // it has none: they go into the contract
		maps.Copy(opt.Constants, values)
	}
	for _, p := range b.object.Params() {
		if v, ok := values[p.Name]; ok {
			opt.Constants[p.Name] = v
		}
	}
}

// against holds the program against a contract. It returns neither a candidate nor an error
// when the contract is not one for this program.
func (b *bringing) against(ctx context.Context, y *yardstick) (*Candidate, error) {
	c := &Candidate{Request: b.req, Source: b.source, Record: b.record, Contract: y.contract, ContractBy: y.by}
	if _, err := c.build(b.object, y.opt); err != nil {
		return nil, err
	}
	c, err := b.judged(ctx, c)
	if err != nil {
		return nil, b.unfit(y, err)
	}
	if b.match != nil {
		c.Understood = append(c.Understood, b.match.Understood...)
	}
	if y.said != "" {
		c.Understood = append(c.Understood, y.said)
	}
	c.Duration = b.duration()
	return c, nil
}

// unfit notes that the contract is not one for the program, if that is what the error says, and
// returns any other.
func (b *bringing) unfit(y *yardstick, err error) error {
	switch r := refutation(err); {
	case r == nil, y.binding:
		return err
	case r.Verdict == proof.Vacuous:
		b.tried = append(b.tried, y.said+", which can hardly be broken: "+clip(shapely(r.Reasons)[0], 160))
		return nil
	case ofForm(r):
		b.tried = append(b.tried, y.said+", which asks for another form of output: "+clip(firstLine(r.Reasons[0]), 200))
		return nil
	}
	return err
}

// duration is how long the request asks to run: as a recipe read it, or its words.
func (b *bringing) duration() time.Duration {
	if b.match == nil || b.match.Duration == 0 {
		return durationIn(b.req)
	}
	return b.match.Duration
}

// unproved judges the program by what needs no contract.
func (b *bringing) unproved(ctx context.Context) (*Candidate, error) {
	c := &Candidate{Request: b.req, Source: b.source, Record: b.record}
	if _, err := c.build(b.object, b.options(b.req.Text)); err != nil {
		return nil, err
	}
	c, err := b.judged(ctx, c)
	if err != nil {
		return nil, err
	}
	why := strings.Join(b.tried, "; ")
	if c.Finding.Verdict == proof.Unknown {
		c.Finding.Reason = "unproved: no contract was found for it; what needs none was checked"
	}
	c.Understood = append(c.Understood, "there is no contract: "+why)
	c.Duration = b.duration()
	return c, nil
}

// ofForm tells whether a program differs from a contract in how it looks only.
func ofForm(r *proof.Report) bool {
	return r.Counterexample != nil && len(r.Counterexample.Scenario) == 0 && strings.HasPrefix(r.Counterexample.Obligation, "form/")
}

// formOf says how a program calls what it shows, for the author of a contract: hooks,
// outputs with their members, parameters. What is put into them it does not say.
func formOf(o *program.Object) string {
	var b strings.Builder
	b.WriteString("# The form that the output has to have (a program is there already; use these hooks, names and types, and no others)\n")
	fmt.Fprintf(&b, "Hooks: %s.\n", strings.Join(placesOf(o), "; "))
	for _, m := range o.Maps() {
		switch m.Role {
		case program.RoleEvents:
			fmt.Fprintf(&b, "Event `%s` with the members %s.\n", m.Name, membersWords(m.Value))
		case program.RoleOutput:
			fmt.Fprintf(&b, "Table `%s`, key: %s; value: %s.\n", m.Name, membersWords(m.Key), membersWords(m.Value))
		}
	}
	var params []string
	for _, p := range o.Params() {
		params = append(params, p.Name+": "+typeWords(p.Type))
	}
	if len(params) > 0 {
		fmt.Fprintf(&b, "Parameters: %s.\n", strings.Join(params, ", "))
	}
	return b.String()
}

// membersWords are the members of a struct, or the type itself.
func membersWords(t btf.Type) string {
	if t == nil {
		return "nothing"
	}
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if name := typeWords(t); !ok || strings.HasPrefix(name, "k_") {
		return name
	}
	var out []string
	for _, m := range s.Members {
		if m.Name != "" && !strings.HasPrefix(m.Name, "_pad") {
			out = append(out, m.Name+": "+typeWords(m.Type))
		}
	}
	return strings.Join(out, ", ")
}

// typeWords names a type as contracts do.
func typeWords(t btf.Type) string {
	for range 32 { // an object's BTF may be cyclic
		switch q := t.(type) {
		case *btf.Const:
			t = q.Type
		case *btf.Volatile:
			t = q.Type
		case *btf.Typedef:
			if strings.HasPrefix(q.Name, "k_") {
				return q.Name
			}
			t = q.Type
		case *btf.Array:
			return fmt.Sprintf("%s[%d]", typeWords(q.Type), q.Nelems)
		case *btf.Int:
			switch {
			case q.Name == "char" || q.Encoding == btf.Char:
				return "char"
			case q.Encoding == btf.Signed:
				return fmt.Sprintf("s%d", 8*q.Size)
			}
			return fmt.Sprintf("u%d", 8*q.Size)
		case *btf.Struct:
			return q.Name
		case *btf.Enum:
			return "enum " + q.Name
		default:
			return "unknown"
		}
	}
	return "unknown"
}

// placesOf are the hooks of an object as contracts write them, sorted.
func placesOf(o *program.Object) []string {
	var out []string
	for _, p := range o.Programs() {
		if h, err := program.HookOf(p); err == nil {
			out = append(out, placeOf(h.Place()))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// placeOf writes "tracepoint", "sched:sched_switch" as a contract does.
func placeOf(kind, target string) string {
	if kind == "tracepoint" {
		target = strings.Replace(target, ":", "/", 1)
	}
	return strings.TrimSuffix(kind+"/"+target, "/")
}
