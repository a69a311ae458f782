package smt

import "math/bits"

// UDiv is the unsigned quotient; x / 0 is all ones.
func (b *Builder) UDiv(x, y Term) Term {
	sameWidth("UDiv", x, y)
	w := x.width
	if w == 1 { // 1 unless 0/1
		return b.Or(x, b.Not(y))
	}
	if x == y && y.facts.umin > 0 {
		return b.Const(w, 1)
	}
	k, ok := y.Const()
	if q := withoutZeros(x); ok && k != 0 && q.op == OpUDiv && q.args[1].op == OpConst {
		return b.divideTwice(q, k, w)
	}
	if t := b.narrowDivision(x, y, y.facts.umin > 0, b.UDiv); t != nil {
		return t
	}
	switch {
	case !ok:
		return b.node(OpUDiv, w, 0, x, y)
	case k == 0:
		return b.Const(w, ^uint64(0))
	case isPow2(k):
		return b.LShr(x, b.Const(w, uint64(log2(k))))
	}
	if l := b.linearOf(x); l.multipleOf(k) {
		if _, fits := l.greatest(); fits {
			return b.fromLinear(l.dividedBy(k))
		}
	}
	return b.node(OpUDiv, w, 0, x, y)
}

// withoutZeros is a term of any width with the value of x, of which x is the
// low bits or the extension by zeros.
func withoutZeros(x Term) Term {
	if x.op == OpConcat && len(x.args) == 2 && x.args[0].op == OpConst && x.args[0].val == 0 {
		x = x.args[1]
	}
	if x.op == OpExtract && x.Lo() == 0 && x.args[0].facts.umax <= mask(x.width) {
		x = x.args[0]
	}
	return x
}

// divideTwice is the quotient of q, itself one by a constant, by k: a division
// by both. It is width bits wide.
func (b *Builder) divideTwice(q Term, k uint64, width uint) Term {
	over, p := bits.Mul64(q.args[1].val, k)
	if over != 0 || p > mask(q.width) {
		return b.Const(width, 0)
	}
	t := b.UDiv(q.args[0], b.Const(q.width, p))
	if width < q.width {
		return b.Extract(width-1, 0, t)
	}
	return b.ZeroExt(width, t)
}

// narrowDivision divides in as few bits as the operands need. The quotient by
// 0 depends on the width, the remainder does not.
func (b *Builder) narrowDivision(x, y Term, allowed bool, divide func(x, y Term) Term) Term {
	need := uint(bits.Len64(max(x.facts.umax, y.facts.umax, 1)))
	if !allowed || need >= x.width {
		return nil
	}
	return b.ZeroExt(x.width, divide(b.Extract(need-1, 0, x), b.Extract(need-1, 0, y)))
}

// multipleOf says whether k divides the constant and every coefficient.
func (l linear) multipleOf(k uint64) bool {
	for _, t := range l.terms {
		if t.coef%k != 0 {
			return false
		}
	}
	return l.c%k == 0
}

func (l linear) dividedBy(k uint64) linear {
	q := linear{width: l.width, c: l.c / k}
	for _, t := range l.terms {
		q.terms = append(q.terms, monomial{t.coef / k, t.base})
	}
	return q
}

// URem is the unsigned remainder; of x by 0 it is x.
func (b *Builder) URem(x, y Term) Term {
	sameWidth("URem", x, y)
	w := x.width
	if w == 1 { // 1%0 alone is 1
		return b.And(x, b.Not(y))
	}
	if x.facts.umax < y.facts.umin {
		return x
	}
	if x == y {
		return b.Const(w, 0)
	}
	if t := b.narrowDivision(x, y, true, b.URem); t != nil {
		return t
	}
	k, ok := y.Const()
	switch {
	case !ok:
		return b.node(OpURem, w, 0, x, y)
	case k == 0:
		return x
	case isPow2(k):
		return b.And(x, b.Const(w, k-1))
	case x.op == OpURem && x.args[1].op == OpConst && x.args[1].val != 0 && x.args[1].val%k == 0:
		return b.URem(x.args[0], y)
	}
	// Made as a sum, in which multiples of k may cancel.
	return b.Sub(x, b.Mul(b.UDiv(x, y), y))
}

// SDiv is the signed quotient towards zero; x / 0 is -1 for x >= 0 and 1 for
// x < 0; the least value by -1 is the least value.
func (b *Builder) SDiv(x, y Term) Term {
	sameWidth("SDiv", x, y)
	w := x.width
	if w == 1 { // 1 is -1: only 0/1 is 0
		return b.signedBit(OpSDiv, x, y)
	}
	switch k, ok := y.Const(); {
	case x.facts.smin >= 0 && y.facts.smin >= 0:
		return b.UDiv(x, y)
	case ok && k == 1:
		return x
	case ok && k == mask(w):
		return b.Neg(x)
	}
	return b.fold(OpSDiv, x, y)
}

// SRem is the signed remainder, with the sign of x; of x by 0 it is x.
func (b *Builder) SRem(x, y Term) Term {
	sameWidth("SRem", x, y)
	w := x.width
	if w == 1 {
		return b.signedBit(OpSRem, x, y)
	}
	switch k, ok := y.Const(); {
	case x.facts.smin >= 0 && y.facts.smin >= 0:
		return b.URem(x, y)
	case ok && (k == 1 || k == mask(w)):
		return b.Const(w, 0)
	case ok && k == 0:
		return x
	}
	return b.fold(OpSRem, x, y)
}

// signedBit divides in one bit, by its table of values.
func (b *Builder) signedBit(op Op, x, y Term) Term {
	at := func(i, j uint64) Term { return b.Const(1, apply(op, 1, 0, nil, []uint64{i, j})) }
	return b.Ite(x, b.Ite(y, at(1, 1), at(1, 0)), b.Ite(y, at(0, 1), at(0, 0)))
}

// fold makes the node, or its value if both arguments are constant.
func (b *Builder) fold(op Op, x, y Term) Term {
	if x.op == OpConst && y.op == OpConst {
		return b.Const(x.width, apply(op, x.width, 0, nil, []uint64{x.val, y.val}))
	}
	return b.node(op, x.width, 0, x, y)
}
