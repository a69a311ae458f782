package smt

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/go-air/gini/z"
)

// word is the bits of a term, the lowest first.
type word []z.Lit

// blaster turns terms into gates.
type blaster struct {
	*gates
	b     *Builder
	words map[Term]word
	// opaque makes products and quotients inputs: what is impossible then is
	// impossible in truth, and cheaper to find.
	opaque    bool
	divisions map[[2]Term][2]word // quotient and remainder by a constant
	domains   *domains            // of the formulas; nil is none
}

func newBlaster(b *Builder, g *gates, opaque bool) *blaster {
	return &blaster{g, b, make(map[Term]word), opaque, make(map[[2]Term][2]word), nil}
}

// require makes the formula true.
func (s *blaster) require(f Term) {
	if f.op != OpOr {
		s.clause(s.word(f)[0])
		return
	}
	ls := make([]z.Lit, len(f.args))
	for i, a := range f.args {
		ls[i] = s.word(a)[0]
	}
	s.clause(ls...)
}

func (s *blaster) word(t Term) word {
	if w, ok := s.words[t]; ok {
		return w
	}
	w := s.make(t)
	for i := range w { // what is known need not be found again
		switch {
		case t.facts.ones>>i&1 == 1:
			w[i] = s.yes
		case t.facts.zeros>>i&1 == 1:
			w[i] = s.yes.Not()
		}
	}
	s.words[t] = w
	return w
}

// hard operators are those that make a SAT solver's life long.
func hard(t Term) bool {
	switch t.op {
	case OpUDiv, OpURem, OpSDiv, OpSRem:
		return true
	case OpMul:
		return len(t.args) > 2 || t.args[1].op != OpConst
	}
	return false
}

func (s *blaster) make(t Term) word {
	if s.opaque && hard(t) {
		return s.inputs(t.width)
	}
	switch t.op {
	case OpConst:
		return s.number(t.val, t.width)
	case OpVar:
		return s.inputs(t.width)
	case OpAdd:
		return s.sum(t)
	case OpMul:
		return s.product(t)
	case OpUDiv:
		q, _ := s.divide(t.args[0], t.args[1])
		return q
	case OpURem:
		_, r := s.divide(t.args[0], t.args[1])
		return r
	case OpSDiv, OpSRem:
		return append(word(nil), s.word(s.b.signedDivision(t))...)
	case OpAnd:
		return s.zip(inOrder(t.args), s.and)
	case OpOr:
		return s.zip(inOrder(t.args), s.or)
	case OpXor:
		return s.zip(t.args, s.xor)
	case OpNot:
		return complement(s.word(t.args[0]))
	case OpShl, OpLShr, OpAShr:
		return s.shift(t.op, s.word(t.args[0]), s.word(t.args[1]))
	case OpEq:
		return word{s.comparison(t.args[0], t.args[1])}
	case OpUlt:
		return word{s.less(s.word(t.args[0]), s.word(t.args[1]))}
	case OpSlt:
		return word{s.less(flipSign(s.word(t.args[0])), flipSign(s.word(t.args[1])))}
	case OpIte:
		return s.choose(s.word(t.args[0])[0], s.word(t.args[1]), s.word(t.args[2]))
	case OpExtract:
		return append(word(nil), s.word(t.args[0])[t.Lo():t.Hi()+1]...)
	case OpConcat:
		w := make(word, 0, t.width)
		for i := len(t.args) - 1; i >= 0; i-- {
			w = append(w, s.word(t.args[i])...)
		}
		return w
	case OpSignExt:
		w := append(make(word, 0, t.width), s.word(t.args[0])...)
		for uint(len(w)) < t.width {
			w = append(w, w[len(w)-1])
		}
		return w
	}
	panic("smt: no gates for " + t.op.String())
}

func (s *blaster) inputs(width uint) word {
	w := make(word, width)
	for i := range w {
		w[i] = s.input()
	}
	return w
}

func (s *blaster) number(v uint64, width uint) word {
	w := make(word, width)
	for i := range w {
		w[i] = s.constant(v>>i&1 == 1)
	}
	return w
}

func complement(x word) word {
	w := make(word, len(x))
	for i := range x {
		w[i] = x[i].Not()
	}
	return w
}

// flipSign maps the signed order to the unsigned one.
func flipSign(x word) word {
	w := append(word(nil), x...)
	w[len(w)-1] = w[len(w)-1].Not()
	return w
}

// inOrder sorts conditions by the names of variables in them, byte 2 of a text
// before byte 10: what is said of the first n bytes of a text then is the gate that says it
// of the first n-1, and one more.
func inOrder(args []Term) []Term {
	if len(args) < 3 || args[0].width > 1 {
		return args
	}
	args = slices.Clone(args)
	slices.SortStableFunc(args, func(x, y Term) int {
		v, w := firstOf(x), firstOf(y)
		if c := cmp.Compare(len(v), len(w)); c != 0 {
			return c
		}
		return cmp.Compare(v, w)
	})
	return args
}

// firstOf is the name of a variable in a term.
func firstOf(t Term) string {
	for len(t.args) > 0 {
		t = t.args[0]
	}
	if t.op == OpConst {
		return ""
	}
	return t.info.Name
}

func (s *blaster) zip(args []Term, f func(x, y z.Lit) z.Lit) word {
	w := append(word(nil), s.word(args[0])...)
	for _, a := range args[1:] {
		for i, l := range s.word(a) {
			w[i] = f(w[i], l)
		}
	}
	return w
}

func (s *blaster) choose(c z.Lit, x, y word) word {
	w := make(word, len(x))
	for i := range x {
		w[i] = s.mux(c, x[i], y[i])
	}
	return w
}

// add is x + y + carry, and the carry out.
func (s *blaster) add(x, y word, carry z.Lit) (word, z.Lit) {
	w := make(word, len(x))
	for i := range x {
		w[i] = s.xor(s.xor(x[i], y[i]), carry)
		carry = s.majority(x[i], y[i], carry)
	}
	return w, carry
}

// addMultiple is sum + k*x. Runs of ones in k become one addition and one
// subtraction: 7x is 8x - x.
func (s *blaster) addMultiple(sum word, k uint64, x word) word {
	w := len(sum)
	k &= mask(uint(w))
	no := s.yes.Not()
	for k != 0 {
		n := bits.TrailingZeros64(k)
		shifted := append(s.number(0, uint(n)), x[:w-n]...)
		if k>>n&3 == 3 { // subtract, and add the bit above the run
			sum, _ = s.add(sum, complement(shifted), s.yes)
			k += 1 << n
		} else {
			sum, _ = s.add(sum, shifted, no)
			k -= 1 << n
		}
		k &= mask(uint(w))
	}
	return sum
}

// factor takes k*x apart for an addition; a term that is none has k = 1.
func (s *blaster) factor(t Term) (k uint64, x Term) {
	if t.op == OpMul && !hard(t) {
		return t.args[1].val, t.args[0]
	}
	if t.op == OpMul && t.args[len(t.args)-1].op == OpConst {
		return t.args[len(t.args)-1].val, s.b.product(t.args[:len(t.args)-1])
	}
	return 1, t
}

func (s *blaster) sum(t Term) word {
	var sum word
	rest := make([]Term, 0, len(t.args))
	for _, a := range t.args { // begin with a plain summand
		if k, _ := s.factor(a); k == 1 && sum == nil && a.op != OpConst {
			sum = append(word(nil), s.word(a)...)
		} else {
			rest = append(rest, a)
		}
	}
	if sum == nil {
		sum = s.number(0, t.width)
	}
	for _, a := range rest {
		if v, ok := a.Const(); ok {
			sum, _ = s.add(sum, s.number(v, t.width), s.yes.Not())
			continue
		}
		k, x := s.factor(a)
		sum = s.addMultiple(sum, k, s.word(x))
	}
	return sum
}

func (s *blaster) product(t Term) word {
	if k, x := s.factor(t); x != t {
		return s.addMultiple(s.number(0, t.width), k, s.word(x))
	}
	p := s.word(t.args[0])
	for _, a := range t.args[1:] {
		p = s.multiply(p, s.word(a))
	}
	return append(word(nil), p...)
}

func (s *blaster) multiply(x, y word) word {
	sum := s.number(0, uint(len(x)))
	for i := range y {
		row := s.number(0, uint(len(x)))
		for j := 0; i+j < len(x); j++ {
			row[i+j] = s.and(x[j], y[i])
		}
		sum, _ = s.add(sum, row, s.yes.Not())
	}
	return sum
}

func (s *blaster) equal(x, y word) z.Lit {
	all := s.yes
	for i := range x {
		all = s.and(all, s.xor(x[i], y[i]).Not())
	}
	return all
}

// less is the unsigned x < y: the highest bit that differs decides.
func (s *blaster) less(x, y word) z.Lit {
	lt := s.yes.Not()
	for i := range x {
		lt = s.mux(s.xor(x[i], y[i]), y[i], lt)
	}
	return lt
}

// divide is the quotient and the remainder, both unsigned.
func (s *blaster) divide(x, y Term) (q, r word) {
	key := [2]Term{x, y}
	if d, ok := s.divisions[key]; ok {
		return d[0], d[1]
	}
	if k, ok := y.Const(); ok && k != 0 {
		q, r = s.divideByConst(s.word(x), k, x.facts.umax)
	} else {
		q, r = s.divideByShifting(s.word(x), s.word(y))
	}
	s.divisions[key] = [2]word{q, r}
	return append(word(nil), q...), append(word(nil), r...)
}

// divideByConst asks for the one pair q, r with x = q*k + r, r < k and q*k+r
// not wrapping around. Every x has one, so this excludes nothing.
func (s *blaster) divideByConst(x word, k, umax uint64) (q, r word) {
	w := uint(len(x))
	q, r = s.number(0, w), s.number(0, w)
	for i := range bits.Len64(umax / k) {
		q[i] = s.input()
	}
	for i := range bits.Len64(k - 1) {
		r[i] = s.input()
	}
	// q <= umax/k, so that q*k does not wrap around.
	s.clause(s.less(s.number(umax/k, w), q).Not())
	s.clause(s.less(r, s.number(k, w)))
	sum, carry := s.add(s.addMultiple(s.number(0, w), k, q), r, s.yes.Not())
	s.clause(carry.Not())
	s.clause(s.equal(sum, x))
	return q, r
}

// divideByShifting is long division. A divisor of 0 fits always, which gives a
// quotient of all ones and the dividend as remainder, as it should be.
func (s *blaster) divideByShifting(x, y word) (q, r word) {
	w := len(x)
	q = make(word, w)
	r = s.number(0, uint(w)+1)
	wide := append(append(word(nil), y...), s.yes.Not())
	for i := w - 1; i >= 0; i-- {
		r = append(word{x[i]}, r[:w]...)
		diff, fits := s.add(r, complement(wide), s.yes)
		q[i] = fits
		r = s.choose(fits, diff, r)
	}
	return q, r[:w]
}

// signedDivision spells bvsdiv and bvsrem with bvudiv and bvurem.
func (b *Builder) signedDivision(t Term) Term {
	x, y := t.args[0], t.args[1]
	negative := func(x Term) Term { return b.Extract(x.width-1, x.width-1, x) }
	magnitude := func(x Term) Term { return b.Ite(negative(x), b.Neg(x), x) }
	if t.op == OpSRem {
		r := b.URem(magnitude(x), magnitude(y))
		return b.Ite(negative(x), b.Neg(r), r)
	}
	q := b.UDiv(magnitude(x), magnitude(y))
	return b.Ite(b.Xor(negative(x), negative(y)), b.Neg(q), q)
}

// shift by powers of two, and to the end for any amount of the width or more.
func (s *blaster) shift(op Op, x, y word) word {
	fill := s.yes.Not()
	if op == OpAShr {
		fill = x[len(x)-1]
	}
	stages := bits.Len(uint(len(x) - 1))
	for i := 0; i < stages; i++ {
		shifted := make(word, len(x))
		for j := range x {
			from := j + 1<<i
			if op == OpShl {
				from = j - 1<<i
			}
			shifted[j] = fill
			if from >= 0 && from < len(x) {
				shifted[j] = x[from]
			}
		}
		x = s.choose(y[i], shifted, x)
	}
	far := s.yes.Not()
	for i := stages; i < len(y); i++ {
		far = s.or(far, y[i])
	}
	w := make(word, len(x))
	for j := range x {
		w[j] = s.mux(far, fill, x[j])
	}
	return w
}
