package smt

import (
	"cmp"
	"slices"
)

// apply is the meaning of an operator: the value of the term (op, width, val)
// whose arguments have the given values. Everything in this package is
// measured against it.
func apply(op Op, width uint, val uint64, args []Term, v []uint64) uint64 {
	m := mask(width)
	switch op {
	case OpConst:
		return val
	case OpAdd:
		return reduce(v, func(x, y uint64) uint64 { return x + y }) & m
	case OpMul:
		return reduce(v, func(x, y uint64) uint64 { return x * y }) & m
	case OpAnd:
		return reduce(v, func(x, y uint64) uint64 { return x & y })
	case OpOr:
		return reduce(v, func(x, y uint64) uint64 { return x | y })
	case OpXor:
		return reduce(v, func(x, y uint64) uint64 { return x ^ y })
	case OpNot:
		return ^v[0] & m
	case OpUDiv:
		if v[1] == 0 {
			return m
		}
		return v[0] / v[1]
	case OpURem:
		if v[1] == 0 {
			return v[0]
		}
		return v[0] % v[1]
	case OpSDiv:
		return signedDivide(v[0], v[1], width, apply(OpUDiv, width, 0, nil, magnitudes(v, width)))
	case OpSRem:
		r := apply(OpURem, width, 0, nil, magnitudes(v, width))
		if signed(v[0], width) < 0 {
			r = -r
		}
		return r & m
	case OpShl:
		if v[1] >= uint64(width) {
			return 0
		}
		return v[0] << v[1] & m
	case OpLShr:
		if v[1] >= uint64(width) {
			return 0
		}
		return v[0] >> v[1]
	case OpAShr:
		return uint64(signed(v[0], width)>>min(v[1], 63)) & m
	case OpEq:
		return bit(v[0] == v[1])
	case OpUlt:
		return bit(v[0] < v[1])
	case OpSlt:
		return bit(signed(v[0], args[0].width) < signed(v[1], args[1].width))
	case OpIte:
		if v[0] != 0 {
			return v[1]
		}
		return v[2]
	case OpExtract:
		return v[0] >> val & m
	case OpConcat:
		r := uint64(0)
		for i, x := range v {
			r = r<<args[i].width | x
		}
		return r
	case OpSignExt:
		return uint64(signed(v[0], args[0].width)) & m
	}
	panic("smt: no value for " + op.String())
}

func reduce(v []uint64, f func(x, y uint64) uint64) uint64 {
	r := v[0]
	for _, x := range v[1:] {
		r = f(r, x)
	}
	return r
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// magnitudes are the absolute values.
func magnitudes(v []uint64, width uint) []uint64 {
	abs := make([]uint64, len(v))
	for i, x := range v {
		abs[i] = x
		if signed(x, width) < 0 {
			abs[i] = -x & mask(width)
		}
	}
	return abs
}

// signedDivide gives the quotient q of the magnitudes of x and y its sign.
func signedDivide(x, y uint64, width uint, q uint64) uint64 {
	if (signed(x, width) < 0) != (signed(y, width) < 0) {
		q = -q
	}
	return q & mask(width)
}

// Eval is the value of the term if value says what the variables are.
func Eval(t Term, value func(variable Term) uint64) uint64 {
	e := newEvaluator(value)
	defer e.end()
	return e.eval(t)
}

// evaluator remembers the values of shared terms.
type evaluator struct {
	value func(Term) uint64
	known *table[uint64]
	vals  []uint64 // of arguments, of all terms that are being evaluated
}

func newEvaluator(value func(Term) uint64) *evaluator {
	return &evaluator{value: value, known: numbers.take()}
}

// end gives the table back: the evaluator must not be used again.
func (e *evaluator) end() { numbers.give(e.known) }

func (e *evaluator) eval(t Term) uint64 {
	if t.op == OpConst {
		return t.val
	}
	if v, ok := e.known.get(t); ok {
		return v
	}
	var v uint64
	if t.op == OpVar {
		v = e.value(t) & mask(t.width)
	} else {
		first := len(e.vals)
		for _, a := range t.args {
			v := e.eval(a)
			e.vals = append(e.vals, v)
		}
		v = apply(t.op, t.width, t.val, t.args, e.vals[first:])
		e.vals = e.vals[:first]
	}
	e.known.put(t, v)
	return v
}

// visit calls f for every part of the terms, each once, arguments first.
func visit(terms []Term, f func(Term)) {
	seen := marks.take()
	defer marks.give(seen)
	var walk func(Term)
	walk = func(t Term) {
		if seen.has(t) {
			return
		}
		seen.put(t, struct{}{})
		for _, a := range t.args {
			walk(a)
		}
		f(t)
	}
	for _, t := range terms {
		walk(t)
	}
}

// Vars are the variables of the terms, each once, in the order of their names.
func Vars(terms ...Term) []Term {
	var vars []Term
	visit(terms, func(t Term) {
		if t.op == OpVar {
			vars = append(vars, t)
		}
	})
	slices.SortFunc(vars, func(x, y Term) int { return cmp.Compare(x.info.Name, y.info.Name) })
	return vars
}

// Substitute replaces terms wherever they occur in t, the greatest first, and
// simplifies what comes out. What is put in is not searched again.
func (b *Builder) Substitute(t Term, by map[Term]Term) Term {
	s := newSubstitution(b, by)
	defer s.end()
	return s.apply(t)
}

type substitution struct {
	b    *Builder
	done *table[Term]
}

func newSubstitution(b *Builder, by map[Term]Term) *substitution {
	s := &substitution{b, others.take()}
	for from, to := range by {
		sameWidth("Substitute", from, to)
		s.done.put(from, to)
	}
	return s
}

// end gives the table back: the substitution must not be used again.
func (s *substitution) end() { others.give(s.done) }

func (s *substitution) apply(t Term) Term {
	if to, ok := s.done.get(t); ok {
		return to
	}
	to := t
	if len(t.args) > 0 {
		if args := s.all(t.args); args != nil {
			to = s.b.rebuild(t, args)
		}
	}
	s.done.put(t, to)
	return to
}

// all replaces in arguments; nil if nothing changes.
func (s *substitution) all(args []Term) []Term {
	var out []Term
	for i, a := range args {
		to := s.apply(a)
		if to != a && out == nil {
			out = append(make([]Term, 0, len(args)), args[:i]...)
		}
		if out != nil {
			out = append(out, to)
		}
	}
	return out
}

// rebuild makes a term like t with other arguments.
func (b *Builder) rebuild(t Term, args []Term) Term {
	switch t.op {
	case OpAdd, OpMul, OpAnd, OpOr, OpXor:
		return b.rebuildAs(t.op, args)
	case OpNot:
		return b.Not(args[0])
	case OpUDiv:
		return b.UDiv(args[0], args[1])
	case OpURem:
		return b.URem(args[0], args[1])
	case OpSDiv:
		return b.SDiv(args[0], args[1])
	case OpSRem:
		return b.SRem(args[0], args[1])
	case OpShl:
		return b.Shl(args[0], args[1])
	case OpLShr:
		return b.LShr(args[0], args[1])
	case OpAShr:
		return b.AShr(args[0], args[1])
	case OpEq:
		return b.Eq(args[0], args[1])
	case OpUlt:
		return b.Ult(args[0], args[1])
	case OpSlt:
		return b.Slt(args[0], args[1])
	case OpIte:
		return b.Ite(args[0], args[1], args[2])
	case OpExtract:
		return b.Extract(t.Hi(), t.Lo(), args[0])
	case OpConcat:
		return b.Concat(args...)
	case OpSignExt:
		return b.SignExt(t.width, args[0])
	}
	panic("smt: rebuilding " + t.op.String())
}

// rebuildAs applies an operator that takes any number of arguments.
func (b *Builder) rebuildAs(op Op, args []Term) Term {
	switch {
	case op == OpAdd && args[0].width > 1:
		l := linear{width: args[0].width}
		for _, a := range args {
			l = l.plus(b.linearOf(a))
		}
		return b.fromLinear(l)
	case op == OpMul:
		t := args[0]
		for _, a := range args[1:] {
			t = b.Mul(t, a)
		}
		return t
	case op == OpAnd:
		return b.And(args...)
	case op == OpOr:
		return b.Or(args...)
	}
	return b.bitwise(OpXor, args, 0) // a sum of single bits too
}
