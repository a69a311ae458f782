package smt

import (
	"context"
	"fmt"
	"slices"
)

// problem is a set of formulas that is being made simpler. What its formulas
// say of single variables and terms is used in all the others.
type problem struct {
	b        *Builder
	formulas []Term
	solved   []binding // in the order in which they were found
	never    bool
}

// binding is a variable that was replaced by what it must equal, or by smaller
// variables of which it consists.
type binding struct {
	v, is Term
}

const maxRounds = 64 // each costs a walk through the formulas

// newProblem simplifies until nothing changes. It may stop at any round, and
// does when the context ends.
func newProblem(ctx context.Context, b *Builder, formulas []Term) *problem {
	p := &problem{b: b}
	p.set(formulas)
	for range maxRounds {
		if p.never || ctx.Err() != nil || !(p.bindVariables() || p.useBounds() || p.useFormulas()) {
			break
		}
	}
	return p
}

// set takes conjunctions apart, drops what is true and sorts.
func (p *problem) set(formulas []Term) {
	p.formulas = p.formulas[:0:0]
	for _, f := range formulas {
		isBool("a formula", f)
		p.formulas = append(p.formulas, flat(OpAnd, f)...)
	}
	p.formulas = slices.Compact(sorted(p.formulas))
	p.formulas = slices.DeleteFunc(p.formulas, (*Node).IsTrue)
	all := make(map[Term]bool, len(p.formulas))
	for _, f := range p.formulas {
		all[f] = true
	}
	for _, f := range p.formulas {
		if f.IsFalse() || all[p.b.Not(f)] {
			p.never = true
		}
	}
}

// bindVariables eliminates variables. It says whether it found one.
func (p *problem) bindVariables() bool {
	by := make(map[Term]Term)
	know := make(map[Term]facts)
	for _, f := range p.formulas {
		if v, is := p.solve(f); v != nil && by[v] == nil && (is.op == OpConst || len(by) == 0) {
			p.solved = append(p.solved, binding{v, is})
			by[v] = is
			if is.op != OpConst {
				break // what the other formulas say may mention v
			}
		} else if v, says := aboutVariable(f); v != nil {
			old, seen := know[v]
			if !seen {
				old = v.facts
			}
			know[v] = old.meet(says).tighten(v.width)
		}
	}
	if len(by) == 0 {
		for v, k := range know {
			if k.impossible() {
				p.never = true
				return true
			}
			if is := p.split(v, k); is != nil {
				by[v] = is
			}
		}
		vars := make([]Term, 0, len(by))
		for v := range by {
			vars = append(vars, v)
		}
		for _, v := range sorted(vars) {
			p.solved = append(p.solved, binding{v, by[v]})
		}
	}
	if len(by) == 0 {
		return false
	}
	s := newSubstitution(p.b, by)
	out := make([]Term, len(p.formulas))
	for i, f := range p.formulas {
		out[i] = s.apply(f)
	}
	s.end()
	p.set(out)
	return true
}

// solve finds a variable that the formula makes equal to something without it.
func (p *problem) solve(f Term) (v, is Term) {
	switch {
	case f.op == OpVar:
		return f, p.b.True()
	case f.op == OpNot && f.args[0].op == OpVar:
		return f.args[0], p.b.False()
	case f.op != OpEq:
		return nil, nil
	}
	l := p.b.linearOf(f.args[0]).plus(p.b.linearOf(f.args[1]).times(^uint64(0)))
	for i, t := range l.terms {
		if t.base.op != OpVar || t.coef&1 == 0 {
			continue
		}
		rest := linear{width: l.width, c: l.c}
		rest.terms = append(append(rest.terms, l.terms[:i]...), l.terms[i+1:]...)
		is := p.b.fromLinear(rest.times(-inverse(t.coef)))
		if !slices.Contains(Vars(is), t.base) {
			return t.base, is
		}
	}
	return nil, nil
}

// aboutVariable is what a formula says of the one variable it compares with a
// constant.
func aboutVariable(f Term) (v Term, says facts) {
	v, says = aboutTerm(f)
	if v == nil || v.op == OpVar {
		return v, says
	}
	if v.op == OpExtract && v.args[0].op == OpVar {
		x := v.args[0]
		known := bitFacts(says.zeros<<v.Lo(), says.ones<<v.Lo(), x.width)
		return x, known
	}
	return nil, says
}

// aboutTerm is what a formula says of the term it compares with a constant.
func aboutTerm(f Term) (t Term, says facts) {
	yes := true
	if f.op == OpNot {
		f, yes = f.args[0], false
	}
	switch {
	case f.op == OpExtract: // one bit
		return f, constFacts(bit(yes), 1)
	case len(f.args) != 2 || f.args[1].op != OpConst:
		return nil, says
	}
	t, k := f.args[0], f.args[1]
	says = anyFacts(t.width)
	switch {
	case f.op == OpEq && yes:
		return t, k.facts
	case f.op == OpUlt && yes:
		says.umax = k.val - 1 // k is not 0, or the formula would be false
	case f.op == OpUlt:
		says.umin = k.val
	case f.op == OpSlt && yes:
		says.smax = k.facts.smin - 1
	case f.op == OpSlt:
		says.smin = k.facts.smin
	default:
		return nil, says
	}
	return t, says.tighten(t.width)
}

// split gives the unknown bits of a variable to a smaller variable: known
// zeros above and below let the simplifier see that nothing overflows.
func (p *problem) split(v Term, k facts) Term {
	known := (k.zeros | k.ones) & mask(v.width)
	if known == 0 {
		return nil
	}
	var parts []Term
	for hi := int(v.width) - 1; hi >= 0; {
		lo := hi
		for lo > 0 && known>>(lo-1)&1 == known>>hi&1 {
			lo--
		}
		width := uint(hi - lo + 1)
		if known>>hi&1 == 1 {
			parts = append(parts, p.b.Const(width, k.ones>>lo))
		} else {
			name := fmt.Sprintf("%s⟨%d:%d⟩", v.info.Name, hi, lo)
			parts = append(parts, p.b.Var(width, &Info{Name: name, Data: v.info.Data}))
		}
		hi = lo - 1
	}
	return p.b.Concat(parts...)
}

// useBounds keeps of all bounds of one term the tightest.
func (p *problem) useBounds() bool {
	know := make(map[Term]facts)
	for _, f := range p.formulas {
		if t, says := aboutTerm(f); t != nil {
			old, seen := know[t]
			if !seen {
				old = t.facts
			}
			know[t] = old.meet(says).tighten(t.width)
		}
	}
	changed := false
	out := slices.Clone(p.formulas)
	for i, f := range out {
		t, _ := aboutTerm(f)
		if t == nil {
			continue
		}
		k := know[t]
		if k.impossible() {
			p.never = true
			return true
		}
		if out[i] = p.b.tightest(f, t, k); out[i] != f {
			changed = true
		}
	}
	if changed {
		p.set(out)
	}
	return changed
}

// tightest is the bound f of t, given that k is known of t.
func (b *Builder) tightest(f, t Term, k facts) Term {
	negated := f.op == OpNot
	inner := f
	if negated {
		inner = f.args[0]
	}
	number := func(v uint64) Term { return b.Const(t.width, v) }
	switch {
	case k.isConst():
		return b.Eq(t, number(k.umin))
	case inner.op == OpUlt && negated:
		return b.Uge(t, number(k.umin))
	case inner.op == OpUlt:
		return b.Ule(t, number(k.umax))
	case inner.op == OpSlt && negated:
		return b.Sge(t, number(uint64(k.smin)))
	case inner.op == OpSlt:
		return b.Sle(t, number(uint64(k.smax)))
	}
	return f
}

// useFormulas puts what each formula says into the inside of the others: a
// formula is true, t == k makes t the constant k. A formula keeps its own root
// and so stays in force: only what is strictly inside of it is replaced, so no
// two formulas can be used to remove each other.
func (p *problem) useFormulas() bool {
	by := make(map[Term]Term)
	for _, f := range p.formulas {
		by[f] = p.b.True()
		if n := p.b.Not(f); n.op == OpNot || f.op == OpNot {
			by[n] = p.b.False()
		}
		if t, k, ok := equalsConst(f); ok {
			by[t] = k
		}
	}
	s := newSubstitution(p.b, by)
	changed := false
	out := slices.Clone(p.formulas)
	for i, f := range p.formulas {
		if out[i] = s.inside(f); out[i] != f {
			changed = true
		}
	}
	s.end()
	if changed {
		p.set(out)
	}
	return changed
}

// inside substitutes in the arguments of a formula, not for the formula
// itself, nor for what it says.
func (s *substitution) inside(f Term) Term {
	if f.op == OpNot {
		return s.b.Not(s.root(f.args[0]))
	}
	return s.root(f)
}

func (s *substitution) root(f Term) Term {
	args := make([]Term, len(f.args))
	changed := false
	for i, a := range f.args {
		if i == 0 && f.op == OpEq && f.args[1].op == OpConst {
			args[i] = s.root(a) // a == k: a itself stays
		} else {
			args[i] = s.apply(a)
		}
		changed = changed || args[i] != a
	}
	if !changed {
		return f
	}
	return s.b.rebuild(f, args)
}

// slice splits the formulas into sets that have no variable in common.
func slice(formulas []Term) [][]Term {
	parent := make(map[Term]Term)
	var find func(Term) Term
	find = func(v Term) Term {
		if parent[v] == nil || parent[v] == v {
			parent[v] = v
			return v
		}
		parent[v] = find(parent[v])
		return parent[v]
	}
	first := make([]Term, len(formulas))
	for i, f := range formulas {
		vars := Vars(f)
		if len(vars) == 0 {
			vars = []Term{f}
		}
		first[i] = vars[0]
		for _, v := range vars[1:] {
			parent[find(v)] = find(vars[0])
		}
	}
	var sets [][]Term
	index := make(map[Term]int)
	for i, f := range formulas {
		root := find(first[i])
		n, ok := index[root]
		if !ok {
			n = len(sets)
			index[root] = n
			sets = append(sets, nil)
		}
		sets[n] = append(sets[n], f)
	}
	return sets
}
