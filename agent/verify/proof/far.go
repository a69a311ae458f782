package proof

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// Where a packet is read at an offset that another byte of it gives, as behind IPv6
// extension headers, program and contract have variables of their own for what may
// be the same byte. That equal offsets mean equal bytes is too much for a solver
// when offsets hang on each other. So such claims are shown case by case, in
// the order in which a parser decides: with each decision the offsets on both
// sides become simpler, and where they become one term the bytes become one variable.

// Bounds of following decisions.
const (
	maxFarCases = 3000
	farQuery    = 400 * time.Millisecond // for whether a case is possible at all
)

// far is a claim that is shown case by case.
type far struct {
	*session
	ctx   context.Context
	visit *visit
	cases int
}

// packets shows claims about packets that are read at offsets which bytes of them give.
// What it cannot show it returns.
func (d *induction) packets(ctx context.Context, v *visit, hyp []smt.Term, claims []*claim) []*claim {
	var open, rest []*claim
	var all []smt.Term
	for _, c := range claims {
		if c.holds.IsTrue() || !farIn(smt.Vars(c.holds)) {
			rest = append(rest, c)
			continue
		}
		open, all = append(open, c), append(all, c.holds)
	}
	if len(open) == 0 {
		return claims
	}
	x := &far{session: d.session, ctx: ctx, visit: v}
	same := symbolic.SamePacket(d.b, smt.Vars(append(slices.Clone(hyp), all...)...))
	terms := slices.DeleteFunc(slices.Clone(hyp), func(t smt.Term) bool { return slices.Contains(same, t) })
	began := time.Now()
	if !x.impossible(append(terms, d.b.Not(d.b.And(all...)))) {
		return claims
	}
	each := time.Since(began) / time.Duration(len(open))
	for _, c := range open {
		d.noteInvariant(c, Holds, bySolver, "", each)
	}
	return rest
}

// farIn tells whether a byte of a packet is among variables whose offset is not constant.
func farIn(vars []smt.Term) bool { return slices.ContainsFunc(vars, isFar) }

func isFar(v smt.Term) bool {
	in := symbolic.InputOf(v)
	return in != nil && in.Base != nil && in.Kind == symbolic.Data && strings.HasPrefix(in.Name, "packet[")
}

// impossible tells whether a case cannot be: no input makes all its terms true.
func (x *far) impossible(terms []smt.Term) bool {
	if x.cases++; x.cases > maxFarCases || x.ctx.Err() != nil {
		return false
	}
	terms, never := x.simplify(terms)
	if never {
		return true
	}
	d := x.decision(terms)
	if d == nil {
		return x.refuted(terms, x.query)
	}
	for _, t := range []smt.Term{d, x.b.Not(d)} {
		next := append(slices.Clone(terms), t)
		if !x.refuted(slices.DeleteFunc(slices.Clone(next), hasChoice), farQuery) && !x.impossible(next) {
			return false
		}
	}
	return true
}

// refuted asks the solver whether terms cannot all be true.
func (x *far) refuted(terms []smt.Term, limit time.Duration) bool {
	all := append(slices.Clone(terms), symbolic.SamePacket(x.b, smt.Vars(terms...))...)
	ctx, cancel := context.WithTimeout(x.ctx, limit)
	defer cancel()
	return x.ask(ctx, all...).Result == smt.Unsat
}

// simplify puts what is known by each term into the others, until nothing changes. It
// reports whether they turned out to contradict each other. What comes out is never more than
// what went in: a replacement is one that the terms and the packet imply.
func (x *far) simplify(terms []smt.Term) ([]smt.Term, bool) {
	terms = conjuncts(terms)
	all := x.learn(terms)
	for changed := true; changed; {
		changed = false
		for i := 0; i < len(terms); i++ {
			by := x.known(all, terms, i)
			t := x.b.Substitute(terms[i], by)
			if t == terms[i] {
				continue
			}
			changed = true
			if t.IsFalse() {
				return nil, true
			}
			parts := slices.DeleteFunc(conjuncts([]smt.Term{t}), func(p smt.Term) bool { return p.IsTrue() || slices.Contains(terms, p) })
			terms = slices.Concat(terms[:i:i], parts, terms[i+1:])
			i += len(parts) - 1
			all = x.learn(terms) // what was known by the old term must not be used any more
		}
	}
	return terms, false
}

// learned is what terms say, each about the others.
type learned struct {
	by map[smt.Term]smt.Term
	// below and above are the terms that bound a number, by the number.
	below, above map[smt.Term][]bound
}

// bound is a limit that one term gives.
type bound struct {
	of smt.Term
	k  uint64
}

// learn collects what terms say.
func (x *far) learn(terms []smt.Term) *learned {
	all := &learned{map[smt.Term]smt.Term{}, map[smt.Term][]bound{}, map[smt.Term][]bound{}}
	for _, t := range terms {
		if hasChoice(t) {
			continue
		}
		all.by[t], all.by[x.b.Not(t)] = x.b.True(), x.b.False()
		if v, k, ok := fixed(t); ok {
			all.by[v] = k
		}
		if p, k, ok := below(t); ok {
			all.below[p] = append(all.below[p], bound{t, k})
		} else if t.Op() == smt.OpNot {
			if p, k, ok := below(t.Args()[0]); ok {
				all.above[p] = append(all.above[p], bound{t, k})
			}
		}
	}
	return all
}

// fixed takes v == k apart.
func fixed(t smt.Term) (v, k smt.Term, ok bool) {
	if t.Op() != smt.OpEq {
		return nil, nil, false
	}
	v, k = t.Args()[0], t.Args()[1]
	return v, k, v.Op() == smt.OpVar && k.Op() == smt.OpConst
}

// conjuncts are terms that are together what terms are, none of them "and".
func conjuncts(terms []smt.Term) []smt.Term {
	var out []smt.Term
	for _, t := range terms {
		if t.Width() == 1 && t.Op() == smt.OpAnd {
			out = append(out, conjuncts(t.Args())...)
		} else if !t.IsTrue() && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// known is what the terms other than the one at index i put in the place of terms in it.
func (x *far) known(all *learned, terms []smt.Term, i int) map[smt.Term]smt.Term {
	by, own := maps.Clone(all.by), terms[i]
	delete(by, own)
	delete(by, x.b.Not(own))
	if v, k, ok := fixed(own); ok && by[v] == k {
		delete(by, v)
		for j, t := range terms { // another may fix it, too
			if w, k, ok := fixed(t); ok && w == v && j != i {
				by[v] = k
			}
		}
	}
	x.bounds(all, own, by)
	x.unify(own, by)
	return by
}

// hasChoice tells whether a term has a choice in it.
func hasChoice(t smt.Term) bool { return t.Has(smt.OpIte) }

// bounds decides comparisons with constants in a term, and in its offsets, that follow
// from other terms about the same number.
func (x *far) bounds(all *learned, in smt.Term, by map[smt.Term]smt.Term) {
	walkFar([]smt.Term{in}, func(t smt.Term) {
		p, k, ok := below(t)
		if !ok || by[t] != nil {
			return
		}
		switch {
		case slices.ContainsFunc(all.below[p], func(b bound) bool { return b.of != in && b.k <= k }):
			by[t] = x.b.True()
		case slices.ContainsFunc(all.above[p], func(b bound) bool { return b.of != in && b.k >= k }), k == 0:
			by[t] = x.b.False()
		}
	})
}

// walkFar visits the terms in terms, and in the offsets of bytes in them.
func walkFar(terms []smt.Term, f func(smt.Term)) {
	seen := map[smt.Term]bool{}
	var visit func(smt.Term)
	visit = func(t smt.Term) {
		if seen[t] {
			return
		}
		seen[t] = true
		f(t)
		for _, a := range t.Args() {
			visit(a)
		}
		if isFar(t) {
			visit(symbolic.InputOf(t).Base)
		}
	}
	for _, t := range terms {
		visit(t)
	}
}

// below takes p < k apart.
func below(t smt.Term) (p smt.Term, k uint64, ok bool) {
	if t.Op() != smt.OpUlt {
		return nil, 0, false
	}
	k, ok = t.Args()[1].Const()
	return t.Args()[0], k, ok
}

// unify finds bytes whose offsets are one term in this case: they are one variable.
func (x *far) unify(in smt.Term, by map[smt.Term]smt.Term) {
	var visit func(v smt.Term)
	done := map[smt.Term]bool{}
	visit = func(v smt.Term) {
		if done[v] || !isFar(v) {
			return
		}
		done[v] = true
		base := symbolic.InputOf(v).Base
		for _, u := range smt.Vars(base) { // the inner ones first
			visit(u)
		}
		off := x.b.Substitute(base, by)
		if off == base {
			return
		}
		w := x.visit.inv.PacketByte(off)
		if k, ok := by[w]; ok {
			w = k
		}
		if w != v {
			by[v] = w
		}
	}
	for _, v := range smt.Vars(in) {
		visit(v)
	}
}

// decision is the condition that is to be decided next: of those that terms, and offsets in
// them, choose by, one that depends on the fewest offsets. nil if there is none left.
func (x *far) decision(terms []smt.Term) smt.Term {
	var best smt.Term
	least := 0
	ranks := map[smt.Term]int{}
	walkFar(terms, func(t smt.Term) {
		if t.Op() != smt.OpIte {
			return
		}
		p := x.simplest(t.Args()[0], ranks)
		if slices.Contains(terms, p) || slices.Contains(terms, x.b.Not(p)) {
			return
		}
		if r := x.rank(p, ranks); best == nil || r < least {
			best, least = p, r
		}
	})
	return best
}

// simplest is a part of a condition that depends on fewer offsets than the whole, else
// the condition.
func (x *far) simplest(t smt.Term, ranks map[smt.Term]int) smt.Term {
	if t.Op() == smt.OpNot {
		return x.simplest(t.Args()[0], ranks)
	}
	if t.Width() != 1 || t.Op() != smt.OpAnd && t.Op() != smt.OpOr {
		return t
	}
	for _, a := range t.Args() {
		if x.rank(a, ranks) < x.rank(t, ranks) {
			return x.simplest(a, ranks)
		}
	}
	return t
}

// rank is how many offsets hang on each other in a term, and more for choices in it: those come
// first.
func (x *far) rank(t smt.Term, ranks map[smt.Term]int) int {
	if r, ok := ranks[t]; ok {
		return r
	}
	r := 0
	for _, a := range t.Args() {
		r = max(r, x.rank(a, ranks))
	}
	switch {
	case isFar(t):
		r = 4*(x.rank(symbolic.InputOf(t).Base, ranks)/4) + 4
	case t.Op() == smt.OpIte:
		r |= 1
	}
	ranks[t] = r
	return r
}
