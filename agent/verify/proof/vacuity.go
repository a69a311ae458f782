package proof

import (
	"context"
	"fmt"
	"slices"

	"kgent/agent/contract"
	"kgent/agent/verify/smt"
)

// sight is what an induction saw at one place: kept for the question whether the
// contract says anything there.
type sight struct {
	place  *placeBinding
	ask    *asked
	runs   []*run
	assume []smt.Term
	start  *ledger
}

// vacuity looks for reasons why the contract could not have been broken. One of them is
// enough: what cannot be broken is not kept.
func (s *session) vacuity(ctx context.Context, r *Report, d *induction) {
	x := &vacuum{session: s, ctx: ctx, d: d}
	err := guarded(func() error {
		x.assumptions()
		x.cases(r)
		if err := x.predicates(); err != nil {
			return err
		}
		x.outputs()
		return nil
	})
	switch {
	case len(x.empty) > 0:
		r.Verdict, r.Reasons = Vacuous, append(x.empty, r.Reasons...)
	case err != nil:
		r.Verdict, r.Reasons = Unknown, append(r.Reasons, "whether the contract says anything: "+err.Error())
	case len(x.unsure) > 0:
		r.Verdict, r.Reasons = Unknown, append(r.Reasons, x.unsure...)
	default:
		s.mutants(ctx, r, d)
	}
}

type vacuum struct {
	*session
	ctx   context.Context
	d     *induction
	empty []string
	// unsure are questions that were not answered.
	unsure []string
}

func (x *vacuum) vacuous(format string, args ...any) {
	if t := fmt.Sprintf(format, args...); !slices.Contains(x.empty, t) {
		x.empty = append(x.empty, t)
	}
}

func (x *vacuum) doubt(format string, args ...any) {
	if t := fmt.Sprintf(format, args...); !slices.Contains(x.unsure, t) {
		x.unsure = append(x.unsure, t)
	}
}

// assumptions must not contradict each other.
func (x *vacuum) assumptions() {
	for _, s := range x.d.sights {
		switch a := x.ask(x.ctx, s.assume...); a.Result {
		case smt.Unsat:
			x.vacuous("at %s what is assumed cannot be true", s.place.name)
		case smt.Unknown:
			x.doubt("whether what is assumed at %s can be true was not settled: %s", s.place.name, a.Why)
		}
	}
}

// cases must each be reached, at one place of their hook at least.
func (x *vacuum) cases(r *Report) {
	for _, h := range x.checked.Contract.Hooks {
		reached := map[string]bool{}
		here := false
		for _, s := range x.d.sights {
			if s.place.place == nil || s.place.place.Hook != h {
				continue
			}
			here = true
			for _, run := range s.runs {
				i := slices.IndexFunc(r.Cases, func(c Case) bool { return c.ID == caseID(s.place, run) })
				for _, name := range run.cases {
					reached[name] = reached[name] || i >= 0 && r.Cases[i].reached
				}
			}
		}
		for _, step := range h.Steps {
			for _, c := range step.Cases {
				if here && !reached[c.Name] {
					x.vacuous("the case %s at %s never applies", c.Name, placeName(h.Places[0]))
				}
			}
		}
	}
}

// predicates must each be able to be true, and to be false, at one place of their hook.
func (x *vacuum) predicates() error {
	type seen struct {
		text     string
		yes, no  bool
		question bool
		guard    bool
	}
	all := map[string]*seen{}
	var order []string
	for _, s := range x.d.sights {
		if s.place.place == nil {
			continue
		}
		t := &translator{words: x.words, in: s.ask, mem: s.start, args: s.place.place.Args, seen: keptOf(s.ask)}
		for _, step := range s.place.place.Steps {
			for _, c := range step.Cases {
				for _, leaf := range conditions(c, nil) {
					term, err := t.condition(leaf)
					if err != nil {
						return err
					}
					key := fmt.Sprintf("%p %s %s %d", s.place.place.Hook, caseName(&c), leaf.At, leaf.Op)
					p := all[key]
					if p == nil {
						p = &seen{text: fmt.Sprintf("%s, in the condition of case %s at %s,", said(leaf), caseName(&c), s.place.name)}
						p.guard = slices.ContainsFunc(leaf.Args, func(v *contract.Value) bool { return v.Op == contract.OpLen })
						all[key], order = p, append(order, key)
					}
					if !p.yes {
						p.yes, p.question = x.can(s, term, p.question)
					}
					if !p.no {
						p.no, p.question = x.can(s, x.b.Not(term), p.question)
					}
				}
			}
		}
	}
	for _, key := range order {
		switch p := all[key]; {
		case p.yes && p.no:
		case p.guard: // whether a packet is long enough is asked out of caution
			x.warn(p.text + " is always the same")
		case p.question:
			x.doubt("whether %s can be both true and false was not settled", p.text)
		case p.yes:
			x.vacuous("%s is always true", p.text)
		default:
			x.vacuous("%s is never true", p.text)
		}
	}
	return nil
}

// said is a condition as it was written.
func said(v *contract.Value) string {
	if v.From != nil {
		return contract.ExprString(v.From)
	}
	return v.String()
}

// can asks whether a condition is possible at a place. A question that is not answered
// stays one.
func (x *vacuum) can(s *sight, c smt.Term, question bool) (yes, open bool) {
	a := x.askOfTexts(x.ctx, x.b, append(slices.Clone(s.assume), c)...)
	return a.Result == smt.Sat, question || a.Result == smt.Unknown
}

// conditions are the condition of a case and those that it is put together of. "always" is
// none.
func conditions(c contract.CheckedCase, out []*contract.Value) []*contract.Value {
	if c.Case != nil && c.Case.When == nil {
		return out
	}
	return parts(c.When, out)
}

func parts(v *contract.Value, out []*contract.Value) []*contract.Value {
	if v.Op == contract.OpConst {
		return out
	}
	out = append(out, v)
	switch v.Op {
	case contract.OpNot, contract.OpBoth, contract.OpEither:
		for _, a := range v.Args {
			out = parts(a, out)
		}
	}
	return out
}

// output is a member of what a contract shows, with all that it can be.
type output struct {
	values []outputValue
	fixed  bool // the contract's words say a constant each time
}

type outputValue struct {
	sight *sight
	run   *run
	value value
}

// outputs must each be able to vary, unless the contract's words fix them.
func (x *vacuum) outputs() {
	all := map[string]*output{}
	var order []string
	add := func(id string, s *sight, r *run, v value, said *contract.Value) {
		o := all[id]
		if o == nil {
			o = &output{fixed: true}
			all[id], order = o, append(order, id)
		}
		o.values = append(o.values, outputValue{s, r, v})
		o.fixed = o.fixed && isFixed(said)
	}
	pairs := map[string]*pairing{}
	for _, s := range x.d.sights {
		for _, r := range s.runs {
			for _, e := range r.events {
				x.pairs(pairs, s, r, e)
				for j, v := range e.fields {
					add(x.checked.Events[e.event].Name+"."+x.checked.Events[e.event].Members[j].Name, s, r, v, e.by.Fields[j])
				}
			}
			for _, a := range r.adds {
				t := x.checked.Tables[a.table]
				for j, v := range a.key {
					add(t.Name+"["+t.Key[j].Name+"]", s, r, v, a.by.Key[j])
				}
			}
		}
	}
	slices.Sort(order)
	for _, id := range order {
		x.varies(id, all[id])
	}
	x.unequal(pairs)
}

// pairing are two members of one type in an event: what can never differ is shown twice, and a
// program that takes one for the other shows the same.
type pairing struct {
	words  string
	values []outputValue
	others []value
}

func (x *vacuum) pairs(into map[string]*pairing, s *sight, r *run, e emission) {
	ev := x.checked.Events[e.event]
	for i, a := range ev.Members {
		for j := i + 1; j < len(ev.Members); j++ {
			b := ev.Members[j]
			if a.Type.Kind != b.Type.Kind || a.Type.Meaning != b.Type.Meaning || a.Type.Meaning == "" && a.Type.Kind == contract.Int || a.Type.Size != b.Type.Size {
				continue
			}
			id := ev.Name + "." + a.Name + "." + b.Name
			p := into[id]
			if p == nil {
				p = &pairing{words: fmt.Sprintf("%s.%s and %s.%s", ev.Name, a.Name, ev.Name, b.Name)}
				into[id] = p
			}
			p.values, p.others = append(p.values, outputValue{s, r, e.fields[i]}), append(p.others, e.fields[j])
		}
	}
}

func (x *vacuum) unequal(pairs map[string]*pairing) {
	for _, p := range pairs {
		differ, open := false, false
		for i, v := range p.values {
			same, err := x.equal(v.value, p.others[i])
			if err != nil {
				open = true
				continue
			}
			a := x.ask(x.ctx, append(slices.Concat(v.sight.assume, v.run.conds), x.b.Not(same))...)
			open = open || a.Result == smt.Unknown
			if differ = a.Result == smt.Sat; differ {
				break
			}
		}
		if !differ && !open {
			x.vacuous("%s are always the same", p.words)
		}
	}
}

// isFixed tells whether an expression is a constant by its words: a name of an enum, or of
// the kernel's. A plain number in each case shows nothing.
func isFixed(v *contract.Value) bool {
	if v == nil || v.Op != contract.OpConst && v.Op != contract.OpText {
		return false
	}
	_, number := v.From.(*contract.Number)
	return !number
}

// varies finds two different values of an output.
func (x *vacuum) varies(id string, o *output) {
	if o.fixed {
		return
	}
	first, open := "", false
	for _, v := range o.values {
		a := x.ask(x.ctx, slices.Concat(v.sight.assume, v.run.conds)...)
		if a.Result != smt.Sat {
			open = open || a.Result == smt.Unknown
			continue
		}
		here, other := x.otherThan(v.value, a.Model)
		if first != "" && here != first {
			return
		}
		first = here
		if other.IsFalse() {
			continue
		}
		switch x.ask(x.ctx, append(slices.Concat(v.sight.assume, v.run.conds), other)...).Result {
		case smt.Sat:
			return
		case smt.Unknown:
			open = true
		}
	}
	if open {
		x.doubt("whether %s can vary was not settled", id)
		return
	}
	x.vacuous("%s has the same value whatever happens", id)
}

// otherThan is a value in a model, and the condition that it is another one.
func (x *vacuum) otherThan(v value, m smt.Model) (string, smt.Term) {
	if v.term != nil {
		n := m.Value(v.term)
		return fmt.Sprint(n), x.b.Ne(v.term, x.b.Const(v.term.Width(), n))
	}
	data := v.bytes.Eval(m)
	var other []smt.Term
	for i, c := range data {
		other = append(other, x.b.Ne(v.bytes.At(i, 1), x.b.Const(8, uint64(c))))
	}
	return string(data), x.b.Or(other...)
}
