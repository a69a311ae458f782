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
	return newEvaluator(value).eval(t)
}

// evaluator remembers the values of shared terms.
type evaluator struct {
	value func(Term) uint64
	known map[Term]uint64
}

func newEvaluator(value func(Term) uint64) *evaluator {
	return &evaluator{value, make(map[Term]uint64)}
}

func (e *evaluator) eval(t Term) uint64 {
	if t.op == OpConst {
		return t.val
	}
	if v, ok := e.known[t]; ok {
		return v
	}
	var v uint64
	if t.op == OpVar {
		v = e.value(t) & mask(t.width)
	} else {
		vals := make([]uint64, len(t.args))
		for i, a := range t.args {
			vals[i] = e.eval(a)
		}
		v = apply(t.op, t.width, t.val, t.args, vals)
	}
	e.known[t] = v
	return v
}

// visit calls f for every part of the terms, each once, arguments first.
func visit(terms []Term, f func(Term)) {
	seen := make(map[Term]bool)
	var walk func(Term)
	walk = func(t Term) {
		if seen[t] {
			return
		}
		seen[t] = true
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
	return newSubstitution(b, by).apply(t)
}

type substitution struct {
	b    *Builder
	done map[Term]Term
}

func newSubstitution(b *Builder, by map[Term]Term) *substitution {
	s := &substitution{b, make(map[Term]Term, len(by))}
	for from, to := range by {
		sameWidth("Substitute", from, to)
		s.done[from] = to
	}
	return s
}

func (s *substitution) apply(t Term) Term {
	if to, ok := s.done[t]; ok {
		return to
	}
	to := t
	if len(t.args) > 0 {
		args := make([]Term, len(t.args))
		changed := false
		for i, a := range t.args {
			args[i] = s.apply(a)
			changed = changed || args[i] != a
		}
		if changed {
			to = s.b.rebuild(t, args)
		}
	}
	s.done[t] = to
	return to
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
