package smt

import (
	"math/bits"
	"slices"
)

// Ite is x if c is true, else y.
func (b *Builder) Ite(c, x, y Term) Term {
	isBool("Ite", c)
	sameWidth("Ite", x, y)
	switch {
	case c.IsTrue() || x == y:
		return x
	case c.IsFalse():
		return y
	case c.op == OpNot || c.op == OpOr:
		return b.Ite(b.Not(c), y, x)
	case x.op == OpIte && x.args[0] == c:
		return b.Ite(c, x.args[1], y)
	case y.op == OpIte && y.args[0] == c:
		return b.Ite(c, x, y.args[2])
	}
	if x.width == 1 {
		return b.iteBool(c, x, y)
	}
	if t := b.iteMerged(c, x, y); t != nil {
		return t
	}
	if c.op == OpEq { // p == q ? p : q is q
		if p, q := c.args[0], c.args[1]; p == x && q == y || p == y && q == x {
			return y
		}
	}
	if t := b.iteSum(c, x, y); t != nil {
		return t
	}
	return b.iteByParts(c, x, y)
}

// iteSum takes a sum out of the choice between it and more of it: a counter
// that grows if c is true is the counter plus c.
func (b *Builder) iteSum(c, x, y Term) Term {
	if x.op != OpAdd && y.op != OpAdd {
		return nil
	}
	p, q := b.linearOf(x), b.linearOf(y)
	common := linear{width: p.width}
	for _, t := range p.terms {
		if slices.Contains(q.terms, t) {
			common.terms = append(common.terms, t)
		}
	}
	if n := len(common.terms); n == 0 || n < len(p.terms) && n < len(q.terms) {
		return nil
	}
	less := common.times(^uint64(0))
	more := b.Ite(c, b.fromLinear(p.plus(less)), b.fromLinear(q.plus(less)))
	return b.fromLinear(common.plus(b.linearOf(more)))
}

func (b *Builder) iteBool(c, x, y Term) Term {
	switch {
	case x.IsTrue() || x == c:
		return b.Or(c, y)
	case x.IsFalse() || x == b.Not(c):
		return b.And(b.Not(c), y)
	case y.IsTrue() || y == b.Not(c):
		return b.Or(b.Not(c), x)
	case y.IsFalse() || y == c:
		return b.And(c, x)
	case x == b.Not(y):
		return b.Not(b.Xor(c, x))
	}
	return b.node(OpIte, 1, 0, c, x, y)
}

// iteMerged joins two nested choices that share a branch.
func (b *Builder) iteMerged(c, x, y Term) Term {
	if x.op == OpIte {
		switch y {
		case x.args[2]:
			return b.Ite(b.And(c, x.args[0]), x.args[1], y)
		case x.args[1]:
			return b.Ite(b.And(c, b.Not(x.args[0])), x.args[2], y)
		}
	}
	if y.op == OpIte {
		switch x {
		case y.args[1]:
			return b.Ite(b.Or(c, y.args[0]), x, y.args[2])
		case y.args[2]:
			return b.Ite(b.Or(c, b.Not(y.args[0])), x, y.args[1])
		}
	}
	return nil
}

// iteByParts takes out of the choice what both branches have in common: whole
// parts of concatenations, leading bits of constants.
func (b *Builder) iteByParts(c, x, y Term) Term {
	w := x.width
	if x.op == OpConst && y.op == OpConst {
		n := uint(bits.Len64(x.val ^ y.val))
		if n == 1 {
			low := b.Ite(c, b.Const(1, x.val), b.Const(1, y.val))
			return b.Concat(b.Const(w-1, x.val>>1), low)
		}
		choice := b.node(OpIte, n, 0, c, b.Const(n, x.val), b.Const(n, y.val))
		if n == w {
			return choice
		}
		return b.Concat(b.Const(w-n, x.val>>n), choice)
	}
	cuts := cutsOf(x) | cutsOf(y)
	type piece struct{ hi, lo uint } // that differs
	var parts []Term
	var open *piece
	flush := func() {
		if open != nil {
			parts = append(parts, b.iteWhole(c, x, y, open.hi, open.lo))
			open = nil
		}
	}
	for hi := int(w) - 1; hi >= 0; {
		lo := hi
		for lo > 0 && cuts>>lo&1 == 0 {
			lo--
		}
		p := b.Extract(uint(hi), uint(lo), x)
		if q := b.Extract(uint(hi), uint(lo), y); p == q {
			flush()
			parts = append(parts, p)
		} else if open != nil {
			open.lo = uint(lo)
		} else {
			open = &piece{uint(hi), uint(lo)}
		}
		hi = lo - 1
	}
	flush()
	return b.Concat(parts...)
}

// iteWhole is the choice between the bits hi..lo of both.
func (b *Builder) iteWhole(c, x, y Term, hi, lo uint) Term {
	p, q := b.Extract(hi, lo, x), b.Extract(hi, lo, y)
	if hi-lo+1 < x.width {
		return b.Ite(c, p, q)
	}
	return b.node(OpIte, x.width, 0, c, p, q)
}
