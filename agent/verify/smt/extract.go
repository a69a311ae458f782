package smt

// Extract is the bits hi..lo of x, both included; bit 0 is the lowest.
func (b *Builder) Extract(hi, lo uint, x Term) Term {
	if hi < lo || hi >= x.width {
		panic("smt: Extract of bits that are not there")
	}
	w := hi - lo + 1
	if w == x.width {
		return x
	}
	if known := (x.facts.zeros | x.facts.ones) >> lo & mask(w); known == mask(w) {
		return b.Const(w, x.facts.ones>>lo)
	}
	switch x.op {
	case OpExtract:
		return b.Extract(hi+x.Lo(), lo+x.Lo(), x.args[0])
	case OpConcat:
		return b.extractConcat(hi, lo, x)
	case OpSignExt:
		return b.extractSignExt(hi, lo, x)
	case OpNot:
		return b.Not(b.Extract(hi, lo, x.args[0]))
	case OpAdd, OpMul, OpAnd, OpOr, OpXor, OpIte:
		key := memoKey{op: OpExtract, x: x, hi: hi, lo: lo}
		if t := b.memo.get(key); t != nil {
			return t
		}
		return b.memo.put(key, b.extractInto(hi, lo, x))
	}
	return b.node(OpExtract, w, uint64(lo), x)
}

// extractInto moves an extract towards the leaves: of a choice, into both
// branches; of an operator whose low bits depend on low bits alone, everything
// above hi is dropped first.
func (b *Builder) extractInto(hi, lo uint, x Term) Term {
	switch {
	case x.op == OpIte:
		return b.Ite(x.args[0], b.Extract(hi, lo, x.args[1]), b.Extract(hi, lo, x.args[2]))
	case hi < x.width-1:
		args := make([]Term, len(x.args))
		for i, a := range x.args {
			args[i] = b.Extract(hi, 0, a)
		}
		return b.Extract(hi, lo, b.rebuildAs(x.op, args))
	}
	if x.op == OpAdd || x.op == OpMul {
		// The bits hi..lo of 2^lo * y are the bits hi-lo..0 of y.
		if l := b.linearOf(x); l.divisible(lo) {
			return b.Extract(hi-lo, 0, b.fromLinear(l.shiftRight(lo)))
		}
	}
	return b.node(OpExtract, hi-lo+1, uint64(lo), x)
}

func (b *Builder) extractConcat(hi, lo uint, x Term) Term {
	var parts []Term
	top := x.width // the lowest bit of the part before
	for _, p := range x.args {
		low := top - p.width
		if low <= hi && lo < top {
			parts = append(parts, b.Extract(min(hi, top-1)-low, max(lo, low)-low, p))
		}
		top = low
	}
	return b.Concat(parts...)
}

func (b *Builder) extractSignExt(hi, lo uint, x Term) Term {
	y := x.args[0]
	if hi < y.width {
		return b.Extract(hi, lo, y)
	}
	return b.SignExt(hi-lo+1, b.Extract(y.width-1, min(lo, y.width-1), y))
}

// Concat puts the terms side by side, the most significant first.
func (b *Builder) Concat(xs ...Term) Term {
	width := uint(0)
	var parts []Term
	for _, x := range xs {
		width += x.width
		parts = b.appendPart(parts, x)
	}
	checkWidth(width)
	if len(parts) == 1 {
		return parts[0]
	}
	return b.node(OpConcat, width, 0, parts...)
}

// appendPart puts x below the parts, and joins what belongs together.
func (b *Builder) appendPart(parts []Term, x Term) []Term {
	if x.op == OpConcat {
		for _, p := range x.args {
			parts = b.appendPart(parts, p)
		}
		return parts
	}
	if len(parts) == 0 {
		return append(parts, x)
	}
	last := len(parts) - 1
	if joined := b.join(parts[last], x); joined != nil {
		return b.appendPart(parts[:last], joined)
	}
	if above, joined := b.joinZeros(parts[last], x); joined != nil {
		return b.appendPart(append(parts[:last], above), joined)
	}
	return append(parts, x)
}

// join is p above q as one term that is no concatenation, or nil.
func (b *Builder) join(p, q Term) Term {
	if j := b.joinAny(p, q); j != nil && j.op != OpConcat {
		return j
	}
	return nil
}

func (b *Builder) joinAny(p, q Term) Term {
	width := p.width + q.width
	switch {
	case p.op == OpConst && q.op == OpConst:
		return b.Const(width, p.val<<q.width|q.val)
	case p.op == OpSignExt:
		return b.SignExt(width, b.Concat(p.args[0], q))
	case p.op == OpNot && q.op == OpNot:
		if j := b.join(p.args[0], q.args[0]); j != nil {
			return b.Not(j)
		}
	case p.op == OpIte && q.op == OpIte && p.args[0] == q.args[0]:
		key := memoKey{op: OpConcat, x: p, y: q}
		if t := b.memo.get(key); t != nil {
			return t
		}
		return b.memo.put(key, b.Ite(p.args[0], b.Concat(p.args[1], q.args[1]), b.Concat(p.args[2], q.args[2])))
	}
	if p.op == OpExtract && p.Lo() >= q.width && b.Extract(p.Lo()-1, p.Lo()-q.width, p.args[0]) == q {
		return b.Extract(p.Hi(), p.Lo()-q.width, p.args[0])
	}
	if q.op == OpExtract && q.Hi()+p.width < q.args[0].width && b.Extract(q.Hi()+p.width, q.Hi()+1, q.args[0]) == p {
		return b.Extract(q.Hi()+p.width, q.Lo(), q.args[0])
	}
	if p.op != OpConst && p.width == 1 && q.width > 1 && b.Extract(q.width-1, q.width-1, q) == p {
		return b.SignExt(width, q)
	}
	return nil
}

// joinZeros is for a constant p above bits of a term whose own bits above are
// known to be the low bits of p: what is left of p, and the longer extract.
func (b *Builder) joinZeros(p, q Term) (above, joined Term) {
	if p.op != OpConst || q.op != OpExtract {
		return nil, nil
	}
	x := q.args[0]
	room := x.width - 1 - q.Hi()
	if room == 0 || room >= p.width || b.Extract(x.width-1, q.Hi()+1, x) != b.Const(room, p.val) {
		return nil, nil
	}
	if joined = b.Extract(x.width-1, q.Lo(), x); joined.op == OpConcat {
		return nil, nil
	}
	return b.Const(p.width-room, p.val>>room), joined
}

// ZeroExt is x with zeros above, width bits in all.
func (b *Builder) ZeroExt(width uint, x Term) Term {
	switch {
	case width < x.width:
		panic("smt: ZeroExt to fewer bits")
	case width == x.width:
		return x
	}
	return b.Concat(b.Const(width-x.width, 0), x)
}

// SignExt is x with its sign bit repeated, width bits in all.
func (b *Builder) SignExt(width uint, x Term) Term {
	checkWidth(width)
	sign := uint64(1) << (x.width - 1)
	switch {
	case width < x.width:
		panic("smt: SignExt to fewer bits")
	case width == x.width:
		return x
	case x.facts.zeros&sign != 0:
		return b.ZeroExt(width, x)
	case x.facts.ones&sign != 0:
		return b.Concat(b.Const(width-x.width, ^uint64(0)), x)
	case x.op == OpSignExt:
		return b.SignExt(width, x.args[0])
	case x.op == OpIte:
		key := memoKey{op: OpSignExt, x: x, hi: width}
		if t := b.memo.get(key); t != nil {
			return t
		}
		return b.memo.put(key, b.Ite(x.args[0], b.SignExt(width, x.args[1]), b.SignExt(width, x.args[2])))
	}
	return b.node(OpSignExt, width, 0, x)
}

// BSwap is x with its bytes in the opposite order; its width is a multiple
// of 8.
func (b *Builder) BSwap(x Term) Term {
	if x.width%8 != 0 {
		panic("smt: BSwap of a width that is not whole bytes")
	}
	parts := make([]Term, 0, 8)
	for lo := uint(0); lo < x.width; lo += 8 {
		parts = append(parts, b.Extract(lo+7, lo, x))
	}
	return b.Concat(parts...)
}

// Shl is x << y; 0 if y is the width or more.
func (b *Builder) Shl(x, y Term) Term {
	sameWidth("Shl", x, y)
	switch {
	case y.facts.umin >= uint64(x.width):
		return b.Const(x.width, 0)
	case y.op == OpConst:
		return b.fromLinear(b.linearOf(x).times(1 << y.val))
	}
	return b.node(OpShl, x.width, 0, x, y)
}

// LShr is the logical x >> y; 0 if y is the width or more.
func (b *Builder) LShr(x, y Term) Term {
	sameWidth("LShr", x, y)
	switch {
	case y.facts.umin >= uint64(x.width):
		return b.Const(x.width, 0)
	case y.op == OpConst:
		return b.ZeroExt(x.width, b.Extract(x.width-1, uint(y.val), x))
	}
	return b.node(OpLShr, x.width, 0, x, y)
}

// AShr is the arithmetic x >> y; all sign bits if y is the width or more.
func (b *Builder) AShr(x, y Term) Term {
	sameWidth("AShr", x, y)
	if lo := min(y.facts.umin, uint64(x.width-1)); y.op == OpConst || lo == uint64(x.width-1) {
		return b.SignExt(x.width, b.Extract(x.width-1, uint(lo), x))
	}
	if x.facts.smin >= 0 {
		return b.LShr(x, y)
	}
	return b.node(OpAShr, x.width, 0, x, y)
}
