package smt

import (
	"math/bits"
	"slices"
)

// Ult is the unsigned x < y.
func (b *Builder) Ult(x, y Term) Term {
	sameWidth("Ult", x, y)
	if x.width == 1 {
		return b.And(b.Not(x), y)
	}
	return b.less(OpUlt, x, y)
}

// Ule is the unsigned x <= y.
func (b *Builder) Ule(x, y Term) Term { return b.Not(b.Ult(y, x)) }

// Slt is the signed x < y.
func (b *Builder) Slt(x, y Term) Term {
	sameWidth("Slt", x, y)
	if x.width == 1 {
		return b.And(x, b.Not(y))
	}
	if x.facts.smin >= 0 && y.facts.smin >= 0 || x.facts.smax < 0 && y.facts.smax < 0 {
		return b.Ult(x, y) // one sign: the orders agree
	}
	return b.less(OpSlt, x, y)
}

// Sle is the signed x <= y.
func (b *Builder) Sle(x, y Term) Term { return b.Not(b.Slt(y, x)) }

// Ugt is the unsigned x > y.
func (b *Builder) Ugt(x, y Term) Term { return b.Ult(y, x) }

// Uge is the unsigned x >= y.
func (b *Builder) Uge(x, y Term) Term { return b.Not(b.Ult(x, y)) }

// Sgt is the signed x > y.
func (b *Builder) Sgt(x, y Term) Term { return b.Slt(y, x) }

// Sge is the signed x >= y.
func (b *Builder) Sge(x, y Term) Term { return b.Not(b.Slt(x, y)) }

// less is x < y in the order of op. Comparisons with a constant become
// x < k or its negation, so that x <= 4, x < 5, 4 >= x are one term.
func (b *Builder) less(op Op, x, y Term) Term {
	if x == y {
		return b.False()
	}
	if answer, ok := decideLess(op, x.facts, y.facts); ok {
		return b.Bool(answer)
	}
	if x.op == OpConst { // k < y unless y < k+1; k is not the greatest, that was decided
		return b.Not(b.less(op, y, b.Const(x.width, x.val+1)))
	}
	key := memoKey{op: op, x: x, y: y}
	if t := b.memo.get(key); t != nil {
		return t
	}
	for _, rule := range []func(Op, Term, Term) Term{b.lessConst, b.lessIte, b.lessSignExt, b.lessSum, b.lessParts} {
		if t := rule(op, x, y); t != nil {
			return b.memo.put(key, t)
		}
	}
	if x.op == OpNot && y.op == OpNot {
		return b.less(op, y.args[0], x.args[0])
	}
	if x.op == OpNot && y.op == OpConst {
		return b.less(op, b.Not(y), x.args[0])
	}
	return b.node(op, 1, 0, x, y)
}

// decideLess says what the facts alone say of x < y.
func decideLess(op Op, x, y facts) (answer, ok bool) {
	if op == OpSlt {
		return x.smax < y.smin, x.smax < y.smin || x.smin >= y.smax
	}
	return x.umax < y.umin, x.umax < y.umin || x.umin >= y.umax
}

// lessConst is for constants at the ends of the range, or behind a division.
func (b *Builder) lessConst(op Op, x, y Term) Term {
	if y.op != OpConst {
		return nil
	}
	w := x.width
	least, greatest := uint64(0), mask(w)
	if op == OpSlt {
		least, greatest = uint64(1)<<(w-1), mask(w)>>1
	}
	zero := least ^ uint64(1)<<(w-1) // where the sign bit of x changes, in this order
	switch {
	case y.val == (least+1)&mask(w):
		return b.Eq(x, b.Const(w, least))
	case y.val == greatest:
		return b.Not(b.Eq(x, y))
	case y.val == zero && op == OpUlt:
		return b.Not(b.Extract(w-1, w-1, x))
	case y.val == zero:
		return b.Extract(w-1, w-1, x)
	case op == OpUlt && x.op == OpUDiv && x.args[1].op == OpConst:
		if over, p := bits.Mul64(y.val, x.args[1].val); over == 0 && p <= mask(w) {
			return b.Ult(x.args[0], b.Const(w, p))
		}
	}
	return nil
}

// lessIte compares the branches of a choice if that decides one of them.
func (b *Builder) lessIte(op Op, x, y Term) Term {
	if x.op == OpIte {
		_, ok1 := decideLess(op, x.args[1].facts, y.facts)
		_, ok2 := decideLess(op, x.args[2].facts, y.facts)
		if ok1 || ok2 {
			return b.Ite(x.args[0], b.less(op, x.args[1], y), b.less(op, x.args[2], y))
		}
	}
	if y.op == OpIte {
		_, ok1 := decideLess(op, x.facts, y.args[1].facts)
		_, ok2 := decideLess(op, x.facts, y.args[2].facts)
		if ok1 || ok2 {
			return b.Ite(y.args[0], b.less(op, x, y.args[1]), b.less(op, x, y.args[2]))
		}
	}
	return nil
}

// lessSignExt compares what was extended: that keeps both orders.
func (b *Builder) lessSignExt(op Op, x, y Term) Term {
	compare := b.Ult
	if op == OpSlt {
		compare = b.Slt
	}
	switch {
	case x.op == OpSignExt && y.op == OpSignExt && x.args[0].width == y.args[0].width:
		return compare(x.args[0], y.args[0])
	case x.op == OpSignExt && y.op == OpConst:
		if low := b.Extract(x.args[0].width-1, 0, y); b.SignExt(x.width, low) == y {
			return compare(x.args[0], low)
		}
	}
	return nil
}

// lessSum drops what both sides have as a summand, when neither sum wraps
// around: x+256 < 278 is x < 22.
func (b *Builder) lessSum(op Op, x, y Term) Term {
	if op != OpUlt || x.op != OpAdd && y.op != OpAdd {
		return nil
	}
	p, q := b.linearOf(x), b.linearOf(y)
	_, pFits := p.greatest()
	_, qFits := q.greatest()
	if !pFits || !qFits {
		return nil
	}
	common := linear{width: p.width, c: min(p.c, q.c)}
	for _, t := range p.terms {
		if i := slices.IndexFunc(q.terms, func(u monomial) bool { return u.base == t.base }); i >= 0 {
			common.terms = append(common.terms, monomial{min(t.coef, q.terms[i].coef), t.base})
		}
	}
	if common.c == 0 && len(common.terms) == 0 {
		return nil
	}
	less := common.times(^uint64(0))
	return b.less(op, b.fromLinear(p.plus(less)), b.fromLinear(q.plus(less)))
}

// lessParts drops parts of concatenations: above, what is the same in both;
// below, what cannot matter.
func (b *Builder) lessParts(op Op, x, y Term) Term {
	cuts := cutsOf(x) | cutsOf(y)
	if cuts == 0 {
		return nil
	}
	w := x.width
	compare := b.Ult
	top := uint(bits.Len64(cuts) - 1)
	if b.Extract(w-1, top, x) == b.Extract(w-1, top, y) {
		return compare(b.Extract(top-1, 0, x), b.Extract(top-1, 0, y))
	}
	if op == OpSlt {
		compare = b.Slt
	}
	low := log2(cuts)
	p, q := b.Extract(low-1, 0, x).facts, b.Extract(low-1, 0, y).facts
	above := func(t Term) Term { return b.Extract(w-1, low, t) }
	switch {
	case p.umin >= q.umax:
		return compare(above(x), above(y))
	case p.umax < q.umin:
		return b.Not(compare(above(y), above(x)))
	}
	return nil
}
