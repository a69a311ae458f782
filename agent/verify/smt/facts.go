package smt

import "math/bits"

// facts are what the form of a term says about its value: bits that never
// change, and bounds of it read as unsigned and as two's complement. Each is
// an over-approximation, so whatever they exclude is impossible.
type facts struct {
	zeros, ones uint64 // bits known to be 0, to be 1
	umin, umax  uint64
	smin, smax  int64
}

func constFacts(v uint64, width uint) facts {
	return facts{^v & mask(width), v, v, v, signed(v, width), signed(v, width)}
}

func anyFacts(width uint) facts {
	m := mask(width)
	return facts{0, 0, 0, m, -int64(m>>1) - 1, int64(m >> 1)}
}

// rangeFacts are those of a value from umin to umax.
func rangeFacts(umin, umax uint64, width uint) facts {
	f := anyFacts(width)
	f.umin, f.umax = umin, umax
	return f.tighten(width)
}

// signedFacts are those of a value from smin to smax.
func signedFacts(smin, smax int64, width uint) facts {
	f := anyFacts(width)
	f.smin, f.smax = smin, smax
	return f.tighten(width)
}

// bitFacts are those of a value with these known bits.
func bitFacts(zeros, ones uint64, width uint) facts {
	f := anyFacts(width)
	f.zeros, f.ones = zeros, ones
	return f.tighten(width)
}

func (f facts) isConst() bool { return f.umin == f.umax }

// tighten lets each fact learn from the others, twice because the last may
// still teach the first.
func (f facts) tighten(width uint) facts {
	for range 2 {
		f = f.tightenOnce(width)
	}
	return f
}

func (f facts) tightenOnce(width uint) facts {
	m, sign := mask(width), uint64(1)<<(width-1)
	f.umin = max(f.umin, f.ones)
	f.umax = min(f.umax, m&^f.zeros)
	if f.umax < sign || f.umin >= sign { // one sign only: the orders agree
		f.smin = max(f.smin, signed(f.umin, width))
		f.smax = min(f.smax, signed(f.umax, width))
	}
	if f.smin >= 0 || f.smax < 0 {
		f.umin = max(f.umin, uint64(f.smin)&m)
		f.umax = min(f.umax, uint64(f.smax)&m)
	}
	// The bits above the first in which the bounds differ are the same in all
	// values between.
	same := ^(^uint64(0) >> bits.LeadingZeros64(f.umin^f.umax)) & m
	f.ones |= f.umin & same
	f.zeros |= ^f.umin & same
	return f
}

// join is what holds for a value that has one of the two.
func (f facts) join(g facts) facts {
	return facts{
		f.zeros & g.zeros, f.ones & g.ones,
		min(f.umin, g.umin), max(f.umax, g.umax),
		min(f.smin, g.smin), max(f.smax, g.smax),
	}
}

// impossible says that no value fits: the facts of two terms were met.
func (f facts) impossible() bool {
	return f.zeros&f.ones != 0 || f.umin > f.umax || f.smin > f.smax
}

// meet is what holds for a value that has both.
func (f facts) meet(g facts) facts {
	return facts{
		f.zeros | g.zeros, f.ones | g.ones,
		max(f.umin, g.umin), min(f.umax, g.umax),
		max(f.smin, g.smin), min(f.smax, g.smax),
	}
}

// deriveFacts is what the arguments' facts say of the term's value.
func deriveFacts(n *Node) facts {
	w := n.width
	switch n.op {
	case OpConst:
		return constFacts(n.val, w)
	case OpAdd:
		return sumFacts(n.args, w)
	case OpMul:
		return productFacts(n.args, w)
	case OpUDiv:
		return quotientFacts(n.args[0].facts, n.args[1].facts, w)
	case OpURem:
		return remainderFacts(n.args[0].facts, n.args[1].facts, w)
	case OpSDiv:
		return signedQuotientFacts(n.args[0].facts, n.args[1].facts, w)
	case OpSRem:
		return signedRemainderFacts(n.args[0].facts, n.args[1].facts, w)
	case OpAnd, OpOr, OpXor:
		return bitwiseFacts(n.op, n.args, w)
	case OpNot:
		f := n.args[0].facts
		m := mask(w)
		return facts{f.ones, f.zeros, m &^ f.umax, m &^ f.umin, ^f.smax, ^f.smin}
	case OpLShr:
		x, y := n.args[0].facts, n.args[1].facts
		return rangeFacts(0, x.umax>>min(y.umin, 64), w)
	case OpAShr:
		return signShiftFacts(n.args[0].facts, w)
	case OpIte:
		return n.args[1].facts.join(n.args[2].facts)
	case OpExtract:
		return extractFacts(n)
	case OpConcat:
		return concatFacts(n)
	case OpSignExt:
		x := n.args[0]
		f := signedFacts(x.facts.smin, x.facts.smax, w)
		low := mask(x.width)
		f.zeros |= x.facts.zeros & low
		f.ones |= x.facts.ones & low
		return f.tighten(w)
	}
	return anyFacts(w)
}

// signShiftFacts: an arithmetic shift moves a value towards 0 or -1.
func signShiftFacts(x facts, w uint) facts {
	lo, hi := x.smin, x.smax
	if lo > 0 {
		lo = 0
	}
	if hi < -1 {
		hi = -1
	}
	return signedFacts(lo, hi, w)
}

func sumFacts(args []Term, w uint) facts {
	f := anyFacts(w)
	if lo, hi, ok := unsignedSum(args, w); ok {
		f.umin, f.umax = lo, hi
	}
	if lo, hi, ok := signedSum(args, w); ok {
		f.smin, f.smax = lo, hi
	}
	// The low bits that all summands know are known of the sum.
	known, low := uint(64), uint64(0)
	for _, a := range args {
		known = min(known, uint(bits.TrailingZeros64(^(a.facts.zeros | a.facts.ones))))
		low += a.facts.ones
	}
	if known > 0 {
		m := mask(min(known, w))
		f.ones |= low & m
		f.zeros |= ^low & m
	}
	return f.tighten(w)
}

// unsignedSum bounds a sum. All sums between the bounds must wrap around
// equally often.
func unsignedSum(args []Term, w uint) (lo, hi uint64, ok bool) {
	m := mask(w)
	wraps := 0
	add := func(sum *uint64, v uint64, sign int) {
		s, carry := bits.Add64(*sum, v, 0)
		if carry != 0 || s > m {
			wraps += sign
		}
		*sum = s & m
	}
	for _, a := range args {
		add(&lo, a.facts.umin, 1)
		add(&hi, a.facts.umax, -1)
	}
	return lo, hi, wraps == 0 && lo <= hi
}

// signedSum bounds a sum of which no partial sum overflows.
func signedSum(args []Term, w uint) (lo, hi int64, ok bool) {
	least, greatest := anyFacts(w).smin, anyFacts(w).smax
	for _, a := range args {
		l, h := lo+a.facts.smin, hi+a.facts.smax
		if addOverflows(lo, a.facts.smin, l) || addOverflows(hi, a.facts.smax, h) || l < least || h > greatest {
			return 0, 0, false
		}
		lo, hi = l, h
	}
	return lo, hi, true
}

func addOverflows(x, y, sum int64) bool {
	return (x < 0) == (y < 0) && (sum < 0) != (x < 0)
}

func productFacts(args []Term, w uint) facts {
	f := anyFacts(w)
	lo, hi, fits := uint64(1), uint64(1), true
	zeros := uint(0)
	for _, a := range args {
		over, p := bits.Mul64(hi, a.facts.umax)
		fits = fits && over == 0 && p <= mask(w)
		lo, hi = lo*a.facts.umin, p
		zeros += uint(bits.TrailingZeros64(^a.facts.zeros))
	}
	if fits {
		f.umin, f.umax = lo, hi
	}
	if zeros = min(zeros, w); zeros > 0 {
		f.zeros |= mask(zeros)
	}
	if len(args) == 2 {
		if k, ok := args[1].Const(); ok {
			f = f.meet(multipleFacts(args[0].facts, signed(k, w), w))
		}
	}
	return f.tighten(w)
}

// multipleFacts bounds x*k, both signed.
func multipleFacts(x facts, k int64, w uint) facts {
	lo, ok1 := mulSigned(x.smin, k, w)
	hi, ok2 := mulSigned(x.smax, k, w)
	if !ok1 || !ok2 {
		return anyFacts(w)
	}
	return signedFacts(min(lo, hi), max(lo, hi), w)
}

// mulSigned is x*y, and whether it fits into w bits.
func mulSigned(x, y int64, w uint) (int64, bool) {
	if x == 0 || y == 0 {
		return 0, true
	}
	over, low := bits.Mul64(uint64(abs(x)), uint64(abs(y)))
	if over != 0 || low > uint64(1)<<(w-1)-1 {
		return 0, false
	}
	if (x < 0) != (y < 0) {
		return -int64(low), true
	}
	return int64(low), true
}

// abs of the least int64 is itself, which read as unsigned is right.
func abs(x int64) int64 {
	if x < 0 {
		return -x
	}
	return x
}

func quotientFacts(x, y facts, w uint) facts {
	if y.umin == 0 { // the quotient by 0 is all ones
		return anyFacts(w)
	}
	return rangeFacts(x.umin/y.umax, x.umax/y.umin, w)
}

func remainderFacts(x, y facts, w uint) facts {
	switch {
	case y.umin == 0:
		return rangeFacts(0, x.umax, w)
	case x.umax < y.umin:
		return x
	}
	return rangeFacts(0, min(x.umax, y.umax-1), w)
}

func signedQuotientFacts(x, y facts, w uint) facts {
	if y.smin <= 0 { // by 0 and by -1 are exceptions
		return anyFacts(w)
	}
	lo, hi := x.smin/y.smin, x.smax/y.smin
	if x.smin >= 0 {
		lo = x.smin / y.smax
	}
	if x.smax < 0 {
		hi = x.smax / y.smax
	}
	return signedFacts(lo, hi, w)
}

func signedRemainderFacts(x, y facts, w uint) facts {
	lo, hi := min(x.smin, 0), max(x.smax, 0)
	if y.smin > 0 {
		lo, hi = max(lo, 1-y.smax), min(hi, y.smax-1)
	}
	return signedFacts(lo, hi, w)
}

func bitwiseFacts(op Op, args []Term, w uint) facts {
	f := args[0].facts
	zeros, ones, umin, umax := f.zeros, f.ones, f.umin, f.umax
	for _, a := range args[1:] {
		g := a.facts
		switch op {
		case OpAnd:
			zeros, ones, umin, umax = zeros|g.zeros, ones&g.ones, 0, min(umax, g.umax)
		case OpOr:
			zeros, ones, umin, umax = zeros&g.zeros, ones|g.ones, max(umin, g.umin), mask(w)
		case OpXor:
			zeros, ones = zeros&g.zeros|ones&g.ones, zeros&g.ones|ones&g.zeros
			umin, umax = 0, mask(w)
		}
	}
	f = bitFacts(zeros, ones, w)
	f.umin, f.umax = max(f.umin, umin), min(f.umax, umax)
	return f.tighten(w)
}

func extractFacts(n *Node) facts {
	x, w, lo := n.args[0], n.width, n.Lo()
	m := mask(w)
	f := bitFacts(x.facts.zeros>>lo&m, x.facts.ones>>lo&m, w)
	if x.facts.umax>>lo <= m { // nothing is cut off above
		f.umin = max(f.umin, x.facts.umin>>lo)
		f.umax = min(f.umax, x.facts.umax>>lo)
	}
	if n.Hi() == x.width-1 {
		f.smin = max(f.smin, x.facts.smin>>lo)
		f.smax = min(f.smax, x.facts.smax>>lo)
	}
	return f.tighten(w)
}

func concatFacts(n *Node) facts {
	f := facts{smin: n.args[0].facts.smin, smax: n.args[0].facts.smax}
	for i, a := range n.args {
		g, s := a.facts, a.width
		f.zeros, f.ones = f.zeros<<s|g.zeros, f.ones<<s|g.ones
		f.umin, f.umax = f.umin<<s|g.umin, f.umax<<s|g.umax
		if i > 0 {
			f.smin, f.smax = f.smin<<s|int64(g.umin), f.smax<<s|int64(g.umax)
		}
	}
	return f.tighten(n.width)
}
