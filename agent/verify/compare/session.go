package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// The two programs of a comparison.
const (
	left = iota
	right
)

// session is one comparison.
type session struct {
	opt     Options
	limits  Limits
	b       *smt.Builder
	solver  smt.Solver
	machine *symbolic.Machine
	side    [2]*side
	form    *pairing
	places  []place
	params  []string // that both have, set alike
	ren     *renamer

	queries, scenarios int
	assumed            map[string]bool
	doubts             []string
}

// side is one of the programs.
type side struct {
	Program
	spec  *ebpf.CollectionSpec
	progs map[string]*symbolic.Program
	form  form
	// shown are the maps that people see, kept those that the program remembers things in.
	kept map[string]bool
}

// place is where programs run; prog is the name of each one's program there, empty if it has none.
type place struct {
	name string
	kind program.Kind
	prog [2]string
}

func compare(ctx context.Context, a, b Program, opt Options) (*Result, error) {
	if a.Object == nil || a.Manifest == nil || b.Object == nil || b.Manifest == nil || opt.Kernel == nil {
		return nil, errors.New("comparing: two objects, their manifests and a kernel are needed")
	}
	if len(a.Manifest.Programs) == 0 || len(b.Manifest.Programs) == 0 {
		return nil, errors.New("comparing: an object has no program")
	}
	if a.Name == "" {
		a.Name = "A"
	}
	if b.Name == "" {
		b.Name = "B"
	}
	began := time.Now()
	r := &Result{}
	if oneContract(a.Kept, b.Kept) && slices.Equal(a.Manifest.Constants, b.Manifest.Constants) && slices.Equal(sampling(a.Manifest), sampling(b.Manifest)) {
		r.Verdict, r.How = Same, "both were proved against one contract, which leaves nothing open"
		return r, nil
	}
	s, err := open(a, b, opt)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.Time)
	defer cancel()
	err = guarded(func() error { return s.run(ctx, r) })
	if err != nil && r.Verdict == Unknown {
		r.Reasons = append(r.Reasons, err.Error())
	}
	r.Stats = Stats{Time: time.Since(began), Queries: s.queries, Scenarios: s.scenarios}
	if r.Verdict == Unknown && len(r.Reasons) == 0 {
		r.Reasons = []string{"it could not be settled"}
	}
	if r.Verdict != Different {
		r.Difference = nil
	}
	return r, nil
}

// guarded turns what package smt or the machine give up with into an error.
func guarded(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case smt.Exhausted:
			err = p
		default:
			err = fmt.Errorf("the comparison broke off: %v", p)
		}
	}()
	return f()
}

// open links the programs.
func open(a, b Program, opt Options) (*session, error) {
	s := &session{opt: opt, limits: opt.Limits.Or(Defaults), b: smt.New(), assumed: map[string]bool{}}
	s.solver = smt.NewBuiltin(s.b, smt.Limits{Time: s.limits.Query})
	if opt.Solver != nil {
		s.solver = opt.Solver(s.b)
	}
	s.machine = symbolic.New(s.b, s.solver, s.limits.Machine)
	s.ren = newRenamer(s.b)
	for i, p := range []Program{a, b} {
		x := &side{Program: p, progs: map[string]*symbolic.Program{}, kept: map[string]bool{}}
		var err error
		if x.spec, err = p.Object.Collection(p.Manifest, nil); err != nil {
			return nil, fmt.Errorf("comparing %s: %w", p.Name, err)
		}
		for _, m := range p.Manifest.Programs {
			linked, err := symbolic.Link(x.spec, m.Name, opt.Kernel)
			if err != nil {
				return nil, fmt.Errorf("comparing %s: %w", p.Name, err)
			}
			x.progs[m.Name] = linked
		}
		for _, m := range p.Object.Maps() {
			if m.Role == program.RoleInternal && m.Name != program.StatsMap && m.Name != program.RecordsMap {
				x.kept[m.Name] = true
			}
		}
		s.side[i] = x
	}
	return s, nil
}

// any is one of the side's programs: all know the same maps.
func (x *side) any() *symbolic.Program { return x.progs[x.Manifest.Programs[0].Name] }

// maps of the object, by name.
func (x *side) maps() map[string]*symbolic.Map { return x.any().Maps }

func (s *session) names() [2]string { return [2]string{s.side[left].Name, s.side[right].Name} }

func (s *session) run(ctx context.Context, r *Result) error {
	var err error
	for _, x := range s.side {
		if x.form, err = formOf(x.Object); err != nil {
			return fmt.Errorf("%s: %w", x.Name, err)
		}
	}
	var d *Difference
	if s.form, d = pair(s.side[left].form, s.side[right].form, s.names()); d != nil {
		r.Verdict, r.Difference = Different, d
		return nil
	}
	if err := s.findPlaces(); err != nil {
		return err
	}
	s.commonParams()
	x := &searching{session: s, ctx: ctx}
	if d := x.rates(); d != nil {
		r.Verdict, r.Difference = Different, d
		return nil
	}
	if d := x.depths(); d != nil {
		r.Verdict, r.Difference = Different, d
		return nil
	}
	return x.decide(r)
}

// findPlaces lists where either program runs.
func (s *session) findPlaces() error {
	at := map[string]int{}
	for i, x := range s.side {
		for _, p := range x.Manifest.Programs {
			key := fmt.Sprintf("%s %s %s %s", p.Hook.Kind, p.Hook.Target, p.Hook.Binary, p.Hook.Symbol)
			n, ok := at[key]
			if !ok {
				n = len(s.places)
				at[key] = n
				s.places = append(s.places, place{name: placeName(p.Hook), kind: p.Hook.Kind})
			}
			if s.places[n].prog[i] != "" {
				return fmt.Errorf("%s has two programs at %s, which is not followed", x.Name, s.places[n].name)
			}
			s.places[n].prog[i] = p.Name
		}
	}
	return nil
}

// placeName is how contracts write a hook.
func placeName(h program.Hook) string {
	kind, target := h.Place()
	switch {
	case h.Kind == program.PerfEvent:
		target = h.Target
	case h.Kind.NeedsInterface(), h.Kind == program.CgroupIngress, h.Kind == program.CgroupEgress:
		target = ""
	case h.Kind == program.CgroupSock:
		target = strings.TrimPrefix(h.Symbol, kind+"/")
	}
	return strings.TrimSuffix(kind+"/"+target, "/")
}

// commonParams finds the parameters that both programs have, of one form and set to one value: what
// is true for all values of these is asked for. Every other one has the value that it is set to.
func (s *session) commonParams() {
	value := func(x *side, name string) []byte {
		v := x.spec.Variables[name]
		if v == nil {
			return nil
		}
		b := make([]byte, v.Size())
		if v.Get(b) != nil {
			return nil
		}
		return b
	}
	theirs := s.side[right].Object.Params()
	for _, p := range s.side[left].Object.Params() {
		i := slices.IndexFunc(theirs, func(o program.Param) bool { return o.Name == p.Name })
		if i < 0 {
			continue
		}
		va, vb := value(s.side[left], p.Name), value(s.side[right], p.Name)
		ca, errA := columnOf("", 0, p.Type)
		cb, errB := columnOf("", 0, theirs[i].Type)
		if va != nil && bytes.Equal(va, vb) && errA == nil && errB == nil && ca.size == cb.size && ca.shape == cb.shape {
			s.params = append(s.params, p.Name)
		}
	}
	if len(s.params) < max(len(s.side[left].Object.Params()), len(theirs)) {
		s.assumes(asSet)
	}
	if s.side[left].spec.Variables[selfParam] != nil || s.side[right].spec.Variables[selfParam] != nil {
		s.params = append(s.params, selfParam)
	}
}

// selfParam is the process of kgent itself, which the node tells programs.
const selfParam = program.NodePrefix + "self"

// ask decides whether terms can be true together.
func (s *session) ask(ctx context.Context, terms ...smt.Term) smt.Answer {
	var open []smt.Term
	seen := map[smt.Term]bool{}
	for _, t := range terms {
		if t.IsFalse() {
			return smt.Answer{Result: smt.Unsat}
		}
		if !t.IsTrue() && !seen[t] {
			seen[t] = true
			open = append(open, t)
		}
	}
	if ctx.Err() != nil {
		return smt.Answer{Why: "there was no time left"}
	}
	s.queries++
	ctx, cancel := context.WithTimeout(ctx, s.limits.Query)
	defer cancel()
	a, err := s.solver.Check(ctx, open...)
	if err != nil {
		return smt.Answer{Why: err.Error()}
	}
	return a
}

// doubt notes why Same cannot be said.
func (s *session) doubt(format string, values ...any) {
	if text := fmt.Sprintf(format, values...); !slices.Contains(s.doubts, text) {
		s.doubts = append(s.doubts, text)
	}
}

// assumes notes, by its name in contracts, what is taken for granted.
func (s *session) assumes(name string) { s.assumed[name] = true }

// oneContract tells whether two programs keep one contract that says everything.
func oneContract(a, b *contract.Contract) bool {
	return a != nil && b != nil && Total(a) && contract.Format(a) == contract.Format(b)
}

// sampling are the rates at which programs sample and where they are attached, which no contract says.
func sampling(m *program.Manifest) []string {
	var out []string
	for _, p := range m.Programs {
		if p.Hook.Kind == program.PerfEvent || p.Hook.Kind.NeedsInterface() || p.Hook.Kind.NeedsCgroup() {
			out = append(out, fmt.Sprintf("%s %s %d", p.Hook.Kind, p.Hook.Target, p.Hook.Hz))
		}
	}
	slices.Sort(out)
	return out
}

// Total tells whether a contract says everything about the effects of a program: whether no event
// or table of it may have further members.
func Total(c *contract.Contract) bool {
	for _, e := range c.Events {
		if e.More {
			return false
		}
	}
	for _, t := range c.Tables {
		if t.More {
			return false
		}
	}
	return true
}
