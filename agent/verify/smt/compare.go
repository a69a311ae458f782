package smt

import "slices"

// Eq is whether x and y are equal.
func (b *Builder) Eq(x, y Term) Term { return b.eq(x, y, 0) }

// eq also knows how many comparisons this one came of. They are ever simpler
// ones; the bound makes sure of an end.
func (b *Builder) eq(x, y Term, steps int) Term {
	sameWidth("Eq", x, y)
	switch {
	case x == y:
		return b.True()
	case x.width == 1: // not of exclusive or
		return b.Not(b.Xor(x, y))
	case x.facts.meet(y.facts).impossible():
		return b.False()
	case x.op == OpConst || y.op != OpConst && compare(x, y) > 0:
		x, y = y, x
	}
	if t := b.eqParts(x, y); t != nil {
		return t
	}
	if x.op == OpIte || y.op == OpIte {
		key := memoKey{op: OpEq, x: x, y: y}
		if t := b.memo.get(key); t != nil {
			return t
		}
		if t := b.eqIte(x, y); t != nil {
			return b.memo.put(key, t)
		}
		if t := b.eqIte(y, x); t != nil {
			return b.memo.put(key, t)
		}
	}
	switch {
	case x.op == OpSignExt && y.op == OpSignExt && x.args[0].width == y.args[0].width:
		return b.Eq(x.args[0], y.args[0])
	case x.op == OpSignExt && y.op == OpConst:
		return b.eqSignExt(x, y)
	case y.op == OpConst && x.op == OpXor:
		return b.eqXor(x, y)
	case y.op == OpConst && (x.op == OpOr && y.val == 0 || x.op == OpAnd && y.val == mask(y.width)):
		return b.eqEach(x.args, y)
	}
	return b.eqLinear(x, y, steps)
}

func (b *Builder) eqEach(xs []Term, y Term) Term {
	all := make([]Term, len(xs))
	for i, x := range xs {
		all[i] = b.Eq(x, y)
	}
	return b.And(all...)
}

func (b *Builder) eqSignExt(x, k Term) Term {
	low := b.Extract(x.args[0].width-1, 0, k)
	if b.SignExt(x.width, low) != k {
		return b.False()
	}
	return b.Eq(x.args[0], low)
}

// eqXor moves the constant of x ^ k1 == k2 to the right, and turns a sum of
// zero into an equality of its two terms.
func (b *Builder) eqXor(x, k Term) Term {
	args := x.args
	if last := args[len(args)-1]; last.op == OpConst {
		return b.Eq(b.xorWhole(args[:len(args)-1], 0, x.width), b.Xor(k, last))
	}
	if k.val == 0 && len(args) == 2 {
		return b.Eq(args[0], args[1])
	}
	return b.eqNode(x, k)
}

// eqIte compares the branches of a choice, if that decides one of them.
func (b *Builder) eqIte(x, y Term) Term {
	if x.op != OpIte {
		return nil
	}
	c, p, q := x.args[0], x.args[1], x.args[2]
	switch {
	case y.op == OpIte && y.args[0] == c:
		return b.Ite(c, b.Eq(p, y.args[1]), b.Eq(q, y.args[2]))
	case p == y:
		return b.Or(c, b.Eq(q, y))
	case q == y:
		return b.Or(b.Not(c), b.Eq(p, y))
	case p.facts.meet(y.facts).impossible():
		return b.And(b.Not(c), b.Eq(q, y))
	case q.facts.meet(y.facts).impossible():
		return b.And(c, b.Eq(p, y))
	}
	return nil
}

// aligned is two runs of bits that are compared with each other.
type aligned struct {
	x, y   Term // of which bits are taken
	lo     uint // the lowest bit of x
	yLo    uint // the lowest bit of y
	length uint
}

// eqParts compares part by part if one side is a concatenation. Runs of bits
// that continue one another are compared as one, in whatever order they stood:
// bswap(x) == bswap(y) is x == y.
func (b *Builder) eqParts(x, y Term) Term {
	cuts := cutsOf(x) | cutsOf(y)
	if cuts == 0 || x.op == OpAdd || y.op == OpAdd { // a sum has better uses
		return nil
	}
	var runs []aligned
	for hi := int(x.width) - 1; hi >= 0; {
		lo := hi
		for lo > 0 && cuts>>lo&1 == 0 {
			lo--
		}
		p, q := b.Extract(uint(hi), uint(lo), x), b.Extract(uint(hi), uint(lo), y)
		if p.op == OpConst {
			p, q = q, p
		}
		runs = append(runs, alignedOf(p, q))
		hi = lo - 1
	}
	all := make([]Term, 0, len(runs))
	for _, r := range b.joinRuns(runs) {
		p := b.Extract(r.lo+r.length-1, r.lo, r.x)
		q := r.y
		if q.op != OpConst {
			q = b.Extract(r.yLo+r.length-1, r.yLo, r.y)
		}
		all = append(all, b.Eq(p, q))
	}
	return b.And(all...)
}

func alignedOf(p, q Term) aligned {
	if q.op != OpConst && compare(bitsOf(p), bitsOf(q)) > 0 {
		p, q = q, p
	}
	r := aligned{bitsOf(p), q, p.Lo(), 0, p.width}
	if q.op != OpConst {
		r.y, r.yLo = bitsOf(q), q.Lo()
	}
	return r
}

// bitsOf is the term of which x is a run of bits.
func bitsOf(x Term) Term {
	if x.op == OpExtract {
		return x.args[0]
	}
	return x
}

func (b *Builder) joinRuns(runs []aligned) []aligned {
	slices.SortStableFunc(runs, func(r, s aligned) int {
		if c := compare(r.x, s.x); c != 0 {
			return c
		}
		return int(r.lo) - int(s.lo)
	})
	out := runs[:0:0]
	for _, r := range runs {
		if n := len(out); n > 0 && out[n-1].x == r.x && out[n-1].lo+out[n-1].length == r.lo {
			if last := &out[n-1]; last.y.op == OpConst && r.y.op == OpConst {
				last.y = b.Concat(r.y, last.y)
				last.length += r.length
				continue
			} else if last.y == r.y && r.y.op != OpConst && last.yLo+last.length == r.yLo {
				last.length += r.length
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// eqLinear brings x == y into one form: what can be cancelled is, an odd
// factor is divided out, the constant is on the right.
func (b *Builder) eqLinear(x, y Term, steps int) Term {
	l := b.linearOf(x).plus(b.linearOf(y).times(^uint64(0)))
	w := l.width
	switch len(l.terms) {
	case 0:
		return b.Bool(l.c == 0)
	case 1:
		base, k, possible := b.eqMultiple(l.terms[0], -l.c&mask(w))
		if !possible {
			return b.False()
		}
		return b.eqAgain(base, k, x, y, steps)
	}
	half := uint64(1) << (w - 1) // is its own negative
	for _, t := range l.terms {  // one of the two signs
		if t.coef != half {
			if t.coef > half {
				l = l.times(^uint64(0))
			}
			break
		}
	}
	left, right := linear{width: w}, linear{width: w, c: -l.c & mask(w)}
	for _, t := range l.terms {
		if t.coef <= half {
			left.terms = append(left.terms, t)
		} else {
			right.terms = append(right.terms, monomial{-t.coef & mask(w), t.base})
		}
	}
	return b.eqAgain(b.fromLinear(left), b.fromLinear(right), x, y, steps)
}

// eqAgain compares p and q, which came of comparing x and y.
func (b *Builder) eqAgain(p, q, x, y Term, steps int) Term {
	if p == x && q == y || p == y && q == x || steps > 3 {
		return b.eqNode(p, q)
	}
	return b.eq(p, q, steps+1)
}

// eqMultiple solves coef*base == k: the factors of two drop bits, and must
// divide k; the odd rest has an inverse.
func (b *Builder) eqMultiple(m monomial, k uint64) (Term, Term, bool) {
	w := m.base.width
	zeros := log2(m.coef)
	if k&(1<<zeros-1) != 0 {
		return nil, nil, false
	}
	rest := w - zeros
	k = k >> zeros * inverse(m.coef>>zeros)
	return b.Extract(rest-1, 0, m.base), b.Const(rest, k), true
}

// inverse of an odd number modulo 2^64. Each step doubles the right bits.
func inverse(odd uint64) uint64 {
	x := odd
	for range 6 {
		x *= 2 - odd*x
	}
	return x
}

// eqNode is the comparison as it stands.
func (b *Builder) eqNode(x, y Term) Term {
	if x == y {
		return b.True()
	}
	if x.op == OpConst || y.op != OpConst && compare(x, y) > 0 {
		x, y = y, x
	}
	if x.op == OpConst {
		return b.Bool(x.val == y.val)
	}
	if x.facts.meet(y.facts).impossible() {
		return b.False()
	}
	return b.node(OpEq, 1, 0, x, y)
}

// Ne is whether x and y differ.
func (b *Builder) Ne(x, y Term) Term { return b.Not(b.Eq(x, y)) }
