package proof

import (
	"context"
	"fmt"

	"kgent/agent/contract"
	"kgent/agent/verify/smt"
)

// run is one way through the steps of a contract at a place: in each step the
// case that applies. On a run nothing is left open: its effects happen, in this
// order, where its conditions hold.
type run struct {
	// cases are the names of what applies, "otherwise" among them.
	cases []string
	// conds hold exactly where the contract takes this run.
	conds  []smt.Term
	events []emission
	adds   []sample
	ret    *value
	unread smt.Term // where nobody asks for ret; nil: nowhere
	after  *ledger
}

// emission is an event that the contract emits.
type emission struct {
	event  int
	fields []value
	by     *contract.CheckedEffect
	name   string // of the case
}

// sample is something that the contract adds to a cell of a table.
type sample struct {
	table  int
	key    []value
	fields []*value // by the table's values; nil: nothing
	by     *contract.CheckedEffect
	name   string
}

// entry is one change of a memory.
type entry struct {
	memory int
	key    []value
	forget bool
	// fields that are nil keep their value; then the change has no effect on a cell that is not known.
	fields []*value
	change bool
}

// ledger is what a contract remembers: what it did at the beginning, and what has been
// changed since, the latest last. It never changes itself.
type ledger struct {
	words
	c    *contract.Checked
	base memories
	log  []entry
}

// with is the ledger after one more change.
func (l *ledger) with(e entry) *ledger {
	n := *l
	n.log = append(append([]entry(nil), l.log...), e)
	return &n
}

// known is part of memories.
func (l *ledger) known(m int, key []value) (smt.Term, error) {
	key = l.keyOf(m, key)
	out, err := l.base.known(m, key)
	if err != nil {
		return nil, err
	}
	for _, e := range l.log {
		if e.memory != m || e.change {
			continue
		}
		same, err := l.sameKey(e.key, key)
		if err != nil {
			return nil, err
		}
		out = l.b.Ite(same, l.b.Bool(!e.forget), out)
	}
	return out, nil
}

// field is part of memories.
func (l *ledger) field(m, field int, key []value) (value, error) {
	key = l.keyOf(m, key)
	out, err := l.base.field(m, field, key)
	if err != nil {
		return value{}, err
	}
	for _, e := range l.log {
		if e.memory != m || e.forget || e.fields[field] == nil {
			continue
		}
		same, err := l.sameKey(e.key, key)
		if err != nil {
			return value{}, err
		}
		if out, err = l.choose(same, *e.fields[field], out); err != nil {
			return value{}, err
		}
	}
	out.typ = l.c.Memories[m].Fields[field].Type
	return out, nil
}

// keyOf brings a key into the types of a memory's key: what goes into a memory has as
// many bits as the member.
func (l *ledger) keyOf(m int, key []value) []value {
	out := make([]value, len(key))
	for i, v := range key {
		out[i] = l.held(l.c.Memories[m].Key[i].Type, v)
	}
	return out
}

// sameKey says that two keys are equal, as members of the key's types.
func (l *ledger) sameKey(x, y []value) (smt.Term, error) {
	if len(x) != len(y) {
		return nil, fmt.Errorf("two keys of one memory have %d and %d members", len(x), len(y))
	}
	all := make([]smt.Term, len(x))
	for i := range x {
		if x[i].padded && y[i].padded && x[i].bytes != nil && y[i].bytes != nil && x[i].bytes.Len() == y[i].bytes.Len() {
			all[i] = x[i].bytes.Equal(y[i].bytes)
			continue
		}
		e, err := l.equal(x[i], y[i])
		if err != nil {
			return nil, err
		}
		all[i] = e
	}
	return l.b.And(all...), nil
}

// nothing is the memory of a contract that has not run yet.
type nothing struct {
	words
	c *contract.Checked
}

func (n nothing) known(int, []value) (smt.Term, error) { return n.b.False(), nil }

// field of a cell that is not known is 0.
func (n nothing) field(m, field int, _ []value) (value, error) {
	return n.zero(n.c.Memories[m].Fields[field].Type)
}

// zero is the value of a type whose bytes are zeroes.
func (w words) zero(typ contract.Type) (value, error) {
	size := typ.InMemory()
	if size == 0 {
		return value{}, fmt.Errorf("a value of this kind cannot be remembered")
	}
	return w.load(typ, constBytes(w.b, size))
}

// feasible asks whether conditions can hold together.
type feasible func(conds []smt.Term) (bool, error)

// maxRuns bounds the ways through a contract's steps at one place.
const maxRuns = 4096

// runs are all ways through a place's steps, beginning with what the contract
// remembers.
func contractRuns(ctx context.Context, c *contract.Checked, p *contract.CheckedPlace, in inputs, b *smt.Builder, start *ledger, can feasible) ([]*run, error) {
	begin := &run{after: start}
	if p == nil {
		return []*run{begin}, nil
	}
	at := []*run{begin}
	for i := range p.Steps {
		var next []*run
		for _, r := range at {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			more, err := stepRuns(c, p, &p.Steps[i], in, b, r, can)
			if err != nil {
				return nil, err
			}
			if next = append(next, more...); len(next) > maxRuns {
				return nil, fmt.Errorf("the contract has more than %d combinations of cases at one place", maxRuns)
			}
		}
		at = next
	}
	return at, nil
}

// stepRuns continues a run by each case of a step that can apply.
func stepRuns(c *contract.Checked, p *contract.CheckedPlace, s *contract.CheckedStep, in inputs, b *smt.Builder, r *run, can feasible) ([]*run, error) {
	t := &translator{words: words{b}, in: in, mem: r.after, args: p.Args, seen: keptOf(in)}
	var out []*run
	not := append([]smt.Term(nil), r.conds...)
	add := func(name string, conds []smt.Term, effects []contract.CheckedEffect) error {
		if ok, err := can(conds); !ok || err != nil {
			return err
		}
		n := &run{cases: append(append([]string(nil), r.cases...), name), conds: conds, after: r.after, ret: r.ret, unread: r.unread,
			events: append([]emission(nil), r.events...), adds: append([]sample(nil), r.adds...)}
		out = append(out, n)
		return n.apply(c, t, effects, name)
	}
	for i := range s.Cases {
		k := &s.Cases[i]
		when, err := t.condition(k.When)
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", caseName(k), err)
		}
		if err := add(caseName(k), append(append([]smt.Term(nil), not...), when), k.Effects); err != nil {
			return nil, fmt.Errorf("case %s: %w", caseName(k), err)
		}
		if when.IsTrue() {
			return out, nil
		}
		not = append(not, b.Not(when))
	}
	if err := add(otherwise, not, s.Otherwise); err != nil {
		return nil, fmt.Errorf("otherwise: %w", err)
	}
	return out, nil
}

// otherwise names what applies if no case does.
const otherwise = "otherwise"

func caseName(k *contract.CheckedCase) string {
	if k.Case != nil && k.Case.Name != "" {
		return k.Case.Name
	}
	return "case"
}

// apply adds the effects of a case. All expressions see the state before the case.
func (r *run) apply(c *contract.Checked, t *translator, effects []contract.CheckedEffect, name string) error {
	for i := range effects {
		e := &effects[i]
		key, err := t.all(e.Key)
		if err != nil {
			return err
		}
		fields, err := t.some(e.Fields)
		if err != nil {
			return err
		}
		switch e.Verb {
		case contract.Emit:
			ev := emission{event: e.Index, by: e, name: name}
			for j, f := range fields {
				if f == nil {
					return fmt.Errorf("event %s does not say what %s is", e.To, c.Events[e.Index].Members[j].Name)
				}
				ev.fields = append(ev.fields, *f)
			}
			r.events = append(r.events, ev)
		case contract.Add:
			r.adds = append(r.adds, sample{table: e.Index, key: key, fields: fields, by: e, name: name})
		case contract.Remember, contract.Change:
			r.after = r.after.with(entry{memory: e.Index, key: r.after.keyOf(e.Index, key), fields: t.fields(c, e.Index, fields), change: e.Verb == contract.Change})
		case contract.Forget:
			r.after = r.after.with(entry{memory: e.Index, key: r.after.keyOf(e.Index, key), forget: true})
		case contract.Return:
			v, err := t.value(e.Value)
			if err != nil {
				return err
			}
			r.ret = &v
			if back, err := t.in.Named("probe.returns"); err == nil { // a session: what it returns at the return
				r.unread = back.Term
			}
		default:
			return fmt.Errorf("the effect %q is not modelled", e.Verb)
		}
	}
	return nil
}

// all translates expressions that must be there.
func (t *translator) all(vs []*contract.Value) ([]value, error) {
	out := make([]value, len(vs))
	for i, v := range vs {
		x, err := t.value(v)
		if err != nil {
			return nil, err
		}
		out[i] = x
	}
	return out, nil
}

// some translates expressions of which some may be missing.
func (t *translator) some(vs []*contract.Value) ([]*value, error) {
	out := make([]*value, len(vs))
	for i, v := range vs {
		if v == nil {
			continue
		}
		x, err := t.value(v)
		if err != nil {
			return nil, err
		}
		out[i] = &x
	}
	return out, nil
}

func (t *translator) fields(c *contract.Checked, m int, fields []*value) []*value {
	out := make([]*value, len(fields))
	for i, v := range fields {
		if v != nil {
			x := t.held(c.Memories[m].Fields[i].Type, *v)
			out[i] = &x
		}
	}
	return out
}

// held is a value as a member of a type holds it.
func (w words) held(typ contract.Type, v value) value {
	switch {
	case typ.Kind == contract.Int && v.term != nil && v.term.Width() == 64:
		v.term = w.extend(w.cut(v.term, int(typ.Bits)), typ.Signed)
	case typ.Kind == contract.Int && v.term != nil:
		v.term = w.b.ZeroExt(64, v.term)
	case typ.Kind == contract.TextKind && v.again != nil && typ.Size > 0:
		if text, err := v.again(int(typ.Size)); err == nil {
			v.bytes, v.again = text, nil
		}
	case typ.Kind == contract.TextKind && v.bytes != nil && v.bytes.Len() > int(typ.Size) && typ.Size > 0:
		// A text that may be longer than the member is cut to leave room for the NUL.
		v.bytes = w.join(v.bytes.Slice(0, int(typ.Size)-1), constBytes(w.b, 1))
	case typ.Kind == contract.Bool && v.term != nil && v.term.Width() != 1:
		v.term = w.b.Ne(v.term, w.b.Const(v.term.Width(), 0))
	}
	v.typ = typ
	return v
}
