package smt

import "slices"

// And is the bitwise and; of booleans, whether all are true. Of nothing it is
// true.
func (b *Builder) And(xs ...Term) Term { return b.bitwise(OpAnd, xs, 1) }

// Or is the bitwise or; of booleans, whether one is true. Of nothing it is
// false.
func (b *Builder) Or(xs ...Term) Term { return b.bitwise(OpOr, xs, 0) }

// Xor is the bitwise exclusive or.
func (b *Builder) Xor(x, y Term) Term { return b.bitwise(OpXor, []Term{x, y}, 0) }

// Implies is whether y is true or x false.
func (b *Builder) Implies(x, y Term) Term { return b.Or(b.Not(x), y) }

// bitwise makes an n-ary and, or, exclusive or. Concatenations, and the masks
// of an and or or, cut it into pieces: x & 0xff00 is a byte between zeros.
func (b *Builder) bitwise(op Op, xs []Term, unit uint64) Term {
	if len(xs) == 0 {
		return b.Const(1, unit)
	}
	w := xs[0].width
	var args []Term
	cuts := uint64(0) // bit i: a piece begins at bit i
	constant := unitOf(op, w)
	for _, x := range xs {
		sameWidth(op.String(), xs[0], x)
		for _, a := range flat(op, x) {
			if a.op == OpConst {
				constant = apply(op, w, 0, nil, []uint64{constant, a.val})
				continue
			}
			args = append(args, a)
			cuts |= cutsOf(a)
		}
	}
	if op != OpXor {
		cuts |= (constant ^ constant<<1) &^ 1 & mask(w)
	}
	if cuts == 0 {
		return b.bitwiseWhole(op, args, constant, w)
	}
	if constant != unitOf(op, w) {
		args = append(args, b.Const(w, constant))
	}
	var parts []Term
	for hi := int(w) - 1; hi >= 0; {
		lo := hi
		for lo > 0 && cuts>>lo&1 == 0 {
			lo--
		}
		piece := make([]Term, len(args))
		for i, a := range args {
			piece[i] = b.Extract(uint(hi), uint(lo), a)
		}
		parts = append(parts, b.bitwise(op, piece, unit))
		hi = lo - 1
	}
	return b.Concat(parts...)
}

func flat(op Op, x Term) []Term {
	if x.op == op {
		return x.args
	}
	return []Term{x}
}

// unitOf is the constant that changes nothing.
func unitOf(op Op, width uint) uint64 {
	if op == OpAnd {
		return mask(width)
	}
	return 0
}

// cutsOf are the bits at which the parts of a concatenation begin.
func cutsOf(x Term) uint64 {
	if x.op != OpConcat {
		return 0
	}
	cuts, low := uint64(0), uint(0)
	for i := len(x.args) - 1; i > 0; i-- {
		low += x.args[i].width
		cuts |= 1 << low
	}
	return cuts
}

// bitwiseWhole is for arguments that are no concatenations, and a constant
// that is all zeros or all ones unless the operator is OpXor.
func (b *Builder) bitwiseWhole(op Op, args []Term, constant uint64, w uint) Term {
	if op == OpXor {
		return b.xorWhole(args, constant, w)
	}
	if constant != unitOf(op, w) {
		return b.Const(w, constant)
	}
	args = sorted(args)
	args = slices.Compact(args)
	dominant := b.Const(w, ^unitOf(op, w))
	for _, x := range args {
		if slices.Contains(args, b.Not(x)) {
			return dominant
		}
	}
	args = b.absorb(op, args)
	if w == 1 {
		var never bool
		if args, never = b.comparisonsWithConstants(op, args); never {
			return dominant
		}
	}
	switch len(args) {
	case 0:
		return b.Const(w, unitOf(op, w))
	case 1:
		return args[0]
	}
	return b.node(op, w, 0, args...)
}

func sorted(args []Term) []Term {
	args = slices.Clone(args)
	slices.SortFunc(args, compare)
	return args
}

// absorb drops x|y beside x from an and, and y from ^x|y; the same with and
// and or exchanged.
func (b *Builder) absorb(op Op, args []Term) []Term {
	dual := OpAnd + OpOr - op
	if !slices.ContainsFunc(args, func(x Term) bool { return x.op == dual }) {
		return args
	}
	for i, x := range args {
		if x.op != dual {
			continue
		}
		rest := make([]Term, 0, len(x.args))
		absorbed := false
		for _, y := range x.args {
			absorbed = absorbed || slices.Contains(args, y)
			if !slices.Contains(args, b.Not(y)) {
				rest = append(rest, y)
			}
		}
		switch {
		case absorbed:
			return b.absorb(op, slices.Delete(slices.Clone(args), i, i+1))
		case len(rest) < len(x.args) && len(rest) > 0:
			args = slices.Delete(slices.Clone(args), i, i+1)
			for _, y := range flat(op, b.bitwise(dual, rest, 0)) {
				args = append(args, y)
			}
			return b.absorb(op, slices.Compact(sorted(args)))
		}
	}
	return args
}

// comparisonsWithConstants looks at x == k1, x == k2 and x != k3 in one and
// (negated: in one or). If x == k1 holds, the others are decided.
func (b *Builder) comparisonsWithConstants(op Op, args []Term) (rest []Term, never bool) {
	fixed := make(map[Term]Term)
	for _, a := range args {
		if op == OpOr {
			a = b.Not(a)
		}
		if x, k, ok := equalsConst(a); ok {
			if old := fixed[x]; old != nil && old != k {
				return nil, true
			}
			fixed[x] = k
		}
	}
	if len(fixed) == 0 {
		return args, false
	}
	for _, a := range args {
		f := a
		if op == OpOr {
			f = b.Not(a)
		}
		if f.op == OpNot {
			if x, k, ok := equalsConst(f.args[0]); ok && fixed[x] != nil {
				if fixed[x] == k {
					return nil, true
				}
				continue // another constant: true anyway
			}
		}
		rest = append(rest, a)
	}
	return rest, false
}

// equalsConst takes x == k apart.
func equalsConst(t Term) (x, k Term, ok bool) {
	if t.op == OpEq && t.args[1].op == OpConst {
		return t.args[0], t.args[1], true
	}
	return nil, nil, false
}

// xorWhole cancels pairs. Complements go into the constant.
func (b *Builder) xorWhole(args []Term, constant uint64, w uint) Term {
	var plain []Term
	for _, x := range args {
		if x.op == OpNot {
			constant ^= mask(w)
			x = x.args[0]
		}
		for _, y := range flat(OpXor, x) {
			if y.op == OpConst {
				constant ^= y.val
			} else {
				plain = append(plain, y)
			}
		}
	}
	plain = sorted(plain)
	var odd []Term
	for _, x := range plain {
		if n := len(odd); n > 0 && odd[n-1] == x {
			odd = odd[:n-1]
		} else {
			odd = append(odd, x)
		}
	}
	if len(odd) == 0 {
		return b.Const(w, constant)
	}
	if constant == mask(w) {
		return b.Not(b.xorWhole(odd, 0, w))
	}
	if constant != 0 {
		odd = append(odd, b.Const(w, constant))
	}
	if len(odd) == 1 {
		return odd[0]
	}
	return b.node(OpXor, w, 0, odd...)
}

// Not is the bitwise complement; of a boolean, its negation. It moves towards
// the leaves.
func (b *Builder) Not(x Term) Term {
	if n := x.neg.Load(); n != nil {
		return n
	}
	n := b.negate(x)
	x.neg.Store(n)
	return n
}

func (b *Builder) negate(x Term) Term {
	each := func() []Term {
		args := make([]Term, len(x.args))
		for i, a := range x.args {
			args[i] = b.Not(a)
		}
		return args
	}
	switch x.op {
	case OpConst:
		return b.Const(x.width, ^x.val)
	case OpNot:
		return x.args[0]
	case OpAnd:
		return b.Or(each()...)
	case OpOr:
		return b.And(each()...)
	case OpConcat:
		return b.Concat(each()...)
	case OpSignExt:
		return b.SignExt(x.width, b.Not(x.args[0]))
	case OpIte:
		return b.Ite(x.args[0], b.Not(x.args[1]), b.Not(x.args[2]))
	case OpAdd:
		return b.Sub(b.Const(x.width, ^uint64(0)), x)
	case OpMul:
		if x.args[len(x.args)-1].op == OpConst {
			return b.Sub(b.Const(x.width, ^uint64(0)), x)
		}
	case OpXor:
		last := len(x.args) - 1
		if k := x.args[last]; k.op == OpConst {
			return b.xorWhole(x.args[:last], ^k.val&mask(x.width), x.width)
		}
	}
	return b.node(OpNot, x.width, 0, x)
}
