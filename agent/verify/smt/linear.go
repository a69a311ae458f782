package smt

import (
	"math/bits"
	"slices"
)

// A linear is a sum of multiples: c + coef[i]*base[i], modulo 2^width. Two
// spellings of one sum have the same linear. The bases are sorted; none is a
// sum, a constant or a multiple; no coefficient is 0.
type linear struct {
	width uint
	c     uint64
	terms []monomial
}

type monomial struct {
	coef uint64
	base Term
}

func (b *Builder) linearOf(t Term) linear {
	l := linear{width: t.width}
	b.accumulate(&l, 1, t)
	slices.SortFunc(l.terms, func(x, y monomial) int { return compare(x.base, y.base) })
	terms := l.terms[:0]
	for _, m := range l.terms {
		if n := len(terms); n > 0 && terms[n-1].base == m.base {
			terms[n-1].coef += m.coef
		} else {
			terms = append(terms, m)
		}
	}
	l.terms = terms
	return l.normal()
}

// normal reduces modulo 2^width and drops what is 0.
func (l linear) normal() linear {
	m := mask(l.width)
	l.c &= m
	terms := make([]monomial, 0, len(l.terms))
	for _, t := range l.terms {
		if t.coef &= m; t.coef != 0 {
			terms = append(terms, t)
		}
	}
	l.terms = terms
	return l
}

func (l linear) times(k uint64) linear {
	l.terms = slices.Clone(l.terms)
	l.c *= k
	for i := range l.terms {
		l.terms[i].coef *= k
	}
	return l.normal()
}

func (l linear) plus(r linear) linear {
	sum := linear{width: l.width, c: l.c + r.c}
	i, j := 0, 0
	for i < len(l.terms) || j < len(r.terms) {
		switch {
		case j == len(r.terms) || i < len(l.terms) && compare(l.terms[i].base, r.terms[j].base) < 0:
			sum.terms = append(sum.terms, l.terms[i])
			i++
		case i == len(l.terms) || l.terms[i].base != r.terms[j].base:
			sum.terms = append(sum.terms, r.terms[j])
			j++
		default:
			sum.terms = append(sum.terms, monomial{l.terms[i].coef + r.terms[j].coef, l.terms[i].base})
			i, j = i+1, j+1
		}
	}
	return sum.normal()
}

// divisible says whether 2^n divides the constant and every coefficient.
func (l linear) divisible(n uint) bool {
	all := l.c
	for _, t := range l.terms {
		all |= t.coef
	}
	return n > 0 && all&mask(n) == 0
}

func (l linear) shiftRight(n uint) linear {
	l.terms = slices.Clone(l.terms)
	l.c >>= n
	for i := range l.terms {
		l.terms[i].coef >>= n
	}
	return l.normal()
}

// accumulate adds k*t to the sum.
func (b *Builder) accumulate(l *linear, k uint64, t Term) {
	switch t.op {
	case OpConst:
		l.c += k * t.val
		return
	case OpAdd:
		for _, a := range t.args {
			b.accumulate(l, k, a)
		}
		return
	case OpMul:
		if last := t.args[len(t.args)-1]; last.op == OpConst {
			b.accumulate(l, k*last.val, b.product(t.args[:len(t.args)-1]))
			return
		}
	case OpNot: // ^x is -x - 1
		l.c -= k
		b.accumulate(l, -k, t.args[0])
		return
	case OpConcat:
		if b.accumulateConcat(l, k, t) {
			return
		}
	}
	l.terms = append(l.terms, monomial{k, t})
}

// accumulateConcat takes a concatenation apart if it is a shifted term, a
// zero-extended sum that cannot wrap around, or contains constants.
func (b *Builder) accumulateConcat(l *linear, k uint64, t Term) bool {
	if last := t.args[len(t.args)-1]; last.op == OpConst {
		l.c += k * last.val
		rest := b.Concat(t.args[:len(t.args)-1]...)
		b.accumulate(l, k<<last.width, b.widen(t.width, rest))
		return true
	}
	first := t.args[0]
	if first.op == OpConst && first.val == 0 && len(t.args) == 2 {
		if sum, ok := b.sumThatFits(t.args[1]); ok {
			for _, m := range sum.terms {
				b.accumulate(l, k*m.coef, b.ZeroExt(t.width, m.base))
			}
			l.c += k * sum.c
			return true
		}
	}
	// Constants between other parts.
	parts, low, found := slices.Clone(t.args), uint(0), false
	for i := len(parts) - 1; i >= 0; i-- {
		if p := parts[i]; p.op == OpConst && p.val != 0 {
			l.c += k * (p.val << low)
			parts[i], found = b.Const(p.width, 0), true
		}
		low += parts[i].width
	}
	if found {
		b.accumulate(l, k, b.Concat(parts...))
	}
	return found
}

// widen is a term of that width whose low bits are x. The term of which x is
// an extract is taken, if there is one: the bits above do not matter.
func (b *Builder) widen(width uint, x Term) Term {
	if x.op == OpExtract && x.Lo() == 0 && x.args[0].width == width {
		return x.args[0]
	}
	return b.ZeroExt(width, x)
}

// sumThatFits takes a sum or multiple apart that never wraps around.
func (b *Builder) sumThatFits(t Term) (linear, bool) {
	if t.op != OpAdd && t.op != OpMul {
		return linear{}, false
	}
	l := b.linearOf(t)
	if len(l.terms) == 1 && l.terms[0].base == t {
		return linear{}, false
	}
	_, fits := l.greatest()
	return l, fits
}

// greatest is an upper bound of the sum, and whether it fits without ever
// wrapping around. Coefficients are read as unsigned.
func (l linear) greatest() (uint64, bool) {
	sum := l.c
	for _, t := range l.terms {
		over, p := bits.Mul64(t.coef, t.base.facts.umax)
		s, carry := bits.Add64(sum, p, 0)
		if over != 0 || carry != 0 || s > mask(l.width) {
			return 0, false
		}
		sum = s
	}
	return sum, true
}

// fromLinear makes the one term that stands for the sum.
func (b *Builder) fromLinear(l linear) Term {
	l = b.findRemainders(l)
	w := l.width
	switch {
	case len(l.terms) == 0:
		return b.Const(w, l.c)
	case len(l.terms) == 1 && l.c == 0 && l.terms[0].coef == 1:
		return l.terms[0].base
	case len(l.terms) == 1 && l.c == mask(w) && l.terms[0].coef == mask(w):
		return b.Not(l.terms[0].base)
	case len(l.terms) == 1 && l.c == 0 && isPow2(l.terms[0].coef):
		n := log2(l.terms[0].coef)
		return b.Concat(b.Extract(w-1-n, 0, l.terms[0].base), b.Const(n, 0))
	}
	if top, fits := l.greatest(); fits && bits.Len64(top) < int(w) {
		return b.ZeroExt(w, b.fromLinear(b.narrow(l, uint(bits.Len64(top)))))
	}
	if t := b.disjoint(l); t != nil {
		return t
	}
	args := make([]Term, 0, len(l.terms)+1)
	for _, m := range l.terms {
		args = append(args, b.multiple(m))
	}
	if l.c != 0 {
		args = append(args, b.Const(w, l.c))
	}
	if len(args) == 1 {
		return args[0]
	}
	return b.node(OpAdd, w, 0, args...)
}

func (b *Builder) narrow(l linear, width uint) linear {
	n := linear{width: width, c: l.c}
	for _, m := range l.terms {
		n = n.plus(b.linearOf(b.Extract(width-1, 0, m.base)).times(m.coef))
	}
	return n
}

// multiple is coef*base as a product whose last factor is the constant.
func (b *Builder) multiple(m monomial) Term {
	if m.coef == 1 {
		return m.base
	}
	k := b.Const(m.base.width, m.coef)
	if m.base.op == OpMul {
		return b.node(OpMul, m.base.width, 0, append(slices.Clone(m.base.args), k)...)
	}
	return b.node(OpMul, m.base.width, 0, m.base, k)
}

// disjoint turns a sum whose summands have no bit in common, such as a shifted
// index and a small offset, into a concatenation.
func (b *Builder) disjoint(l linear) Term {
	pieces := make([]Term, 0, len(l.terms)+1)
	for _, m := range l.terms {
		if isPow2(m.coef) {
			pieces = append(pieces, b.fromLinear(linear{l.width, 0, []monomial{m}}))
		} else {
			pieces = append(pieces, b.multiple(m))
		}
	}
	if l.c != 0 {
		pieces = append(pieces, b.Const(l.width, l.c))
	}
	if len(pieces) < 2 {
		return nil
	}
	used := uint64(0)
	for _, p := range pieces {
		if may := mask(l.width) &^ p.facts.zeros; used&may != 0 {
			return nil
		} else {
			used |= may
		}
	}
	return b.layOut(pieces, l.width)
}

// layOut takes each bit from the piece that may have it set.
func (b *Builder) layOut(pieces []Term, width uint) Term {
	owner := func(bit uint) int {
		return slices.IndexFunc(pieces, func(p Term) bool { return p.facts.zeros>>bit&1 == 0 })
	}
	var parts []Term
	for hi := int(width) - 1; hi >= 0; {
		who, lo := owner(uint(hi)), hi
		for lo > 0 && owner(uint(lo-1)) == who {
			lo--
		}
		if who < 0 {
			parts = append(parts, b.Const(uint(hi-lo+1), 0))
		} else {
			parts = append(parts, b.Extract(uint(hi), uint(lo), pieces[who]))
		}
		hi = lo - 1
	}
	return b.Concat(parts...)
}

// findRemainders turns x - (x/c)*c into x % c.
func (b *Builder) findRemainders(l linear) linear {
	for _, m := range l.terms {
		if m.base.op != OpUDiv || m.base.args[1].op != OpConst {
			continue
		}
		x, c := m.base.args[0], m.base.args[1]
		for _, sign := range []uint64{1, ^uint64(0)} {
			if (m.coef+sign*c.val)&mask(l.width) != 0 {
				continue
			}
			whole := b.linearOf(x).times(sign)
			if !l.contains(whole) {
				continue
			}
			l = l.plus(whole.times(^uint64(0))).plus(linear{l.width, 0, []monomial{{-m.coef, m.base}}})
			rem := linear{l.width, 0, []monomial{{1, b.node(OpURem, l.width, 0, x, c)}}}
			return b.findRemainders(l.plus(rem.times(sign)))
		}
	}
	return l
}

// contains says that every multiple of r is in l with the same coefficient.
func (l linear) contains(r linear) bool {
	for _, t := range r.terms {
		if !slices.Contains(l.terms, t) {
			return false
		}
	}
	return len(r.terms) > 0
}

// Add is x + y modulo 2^width.
func (b *Builder) Add(x, y Term) Term {
	sameWidth("Add", x, y)
	if x.width == 1 {
		return b.Xor(x, y)
	}
	return b.fromLinear(b.linearOf(x).plus(b.linearOf(y)))
}

// Sub is x - y modulo 2^width.
func (b *Builder) Sub(x, y Term) Term {
	sameWidth("Sub", x, y)
	if x.width == 1 {
		return b.Xor(x, y)
	}
	return b.fromLinear(b.linearOf(x).plus(b.linearOf(y).times(^uint64(0))))
}

// Neg is -x modulo 2^width.
func (b *Builder) Neg(x Term) Term { return b.Sub(b.Const(x.width, 0), x) }

// Mul is x * y modulo 2^width.
func (b *Builder) Mul(x, y Term) Term {
	sameWidth("Mul", x, y)
	if x.width == 1 {
		return b.And(x, y)
	}
	p, q := b.linearOf(x), b.linearOf(y)
	switch {
	case len(p.terms) == 0:
		return b.fromLinear(q.times(p.c))
	case len(q.terms) == 0:
		return b.fromLinear(p.times(q.c))
	}
	k, factors := uint64(1), []Term(nil)
	for _, f := range []Term{x, y} {
		l := b.linearOf(f)
		if len(l.terms) == 1 && l.c == 0 {
			k, f = k*l.terms[0].coef, l.terms[0].base
		}
		if f.op == OpMul {
			factors = append(factors, f.args...)
		} else {
			factors = append(factors, f)
		}
	}
	slices.SortFunc(factors, compare)
	return b.fromLinear(linear{x.width, 0, []monomial{{k, b.product(factors)}}}.normal())
}

// product of factors that are sorted and not constant.
func (b *Builder) product(factors []Term) Term {
	if len(factors) == 1 {
		return factors[0]
	}
	return b.node(OpMul, factors[0].width, 0, slices.Clone(factors)...)
}
