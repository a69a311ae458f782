package proof

import (
	"fmt"

	"kgent/agent/contract"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// value is what an expression of a contract stands for.
type value struct {
	typ contract.Type
	// term is a number or an address (64 bits) or a condition (width 1).
	term smt.Term
	// bytes are a text, an address of 16 bytes, a block or k_args.
	bytes *symbolic.Bytes
	// padded says that behind the NUL of a text, wherever it is looked at, there are only zeroes,
	// so that equal texts are equal bytes.
	padded bool
	// again reads a text whose length the kernel does not bound into n bytes.
	again func(n int) (*symbolic.Bytes, error)
	// addr is where a block of a process's memory begins.
	addr smt.Term
	// length is the number of bytes that a block has (64 bits).
	length smt.Term
	// packet says that it is the packet, whose bytes are asked for one by one.
	packet bool
	// space is the memory that an address leads to.
	space symbolic.Space
}

// words makes terms of values, by the rules of package contract.
type words struct{ b *smt.Builder }

// number is the constant v of 64 bits.
func (w words) number(v uint64) smt.Term { return w.b.Const(64, v) }

// extend makes a number of a value with fewer bits.
func (w words) extend(t smt.Term, signed bool) smt.Term {
	if signed {
		return w.b.SignExt(64, t)
	}
	return w.b.ZeroExt(64, t)
}

// cut takes the low bits of a number.
func (w words) cut(t smt.Term, bits int) smt.Term {
	return w.b.Extract(uint(bits)-1, 0, t)
}

// store is a value as the bytes of a member of the given size.
func (w words) store(v value, size int) (*symbolic.Bytes, error) {
	switch {
	case v.term != nil && v.term.Width() == 1:
		return symbolic.NewBytes(w.b, w.b.ZeroExt(uint(size)*8, v.term)), nil
	case v.term != nil && size <= 8:
		return symbolic.NewBytes(w.b, w.cut(v.term, size*8)), nil
	case v.bytes != nil && v.bytes.Len() == size:
		return v.bytes, nil
	case v.bytes != nil && v.bytes.Len() < size:
		return w.join(v.bytes, symbolic.ConstBytes(w.b, make([]byte, size-v.bytes.Len()))), nil
	case v.bytes != nil:
		return v.bytes.Slice(0, size), nil
	}
	return nil, fmt.Errorf("a value of %d bits does not fit %d bytes", v.term.Width(), size)
}

// load reads a value of a type from bytes: the inverse of store.
func (w words) load(typ contract.Type, x *symbolic.Bytes) (value, error) {
	v := value{typ: typ}
	switch typ.Kind {
	case contract.Int:
		v.term = w.extend(x.At(0, x.Len()), typ.Signed)
	case contract.Bool:
		v.term = w.b.Ne(x.At(0, x.Len()), w.b.Const(uint(x.Len())*8, 0))
	case contract.Pointer:
		v.term = w.b.ZeroExt(64, x.At(0, x.Len()))
		v.space = symbolic.KernelSpace
		if typ.User {
			v.space = symbolic.UserSpace
		}
	case contract.TextKind, contract.IPKind, contract.Bytes, contract.ArgsKind:
		v.bytes = x
	default:
		return v, fmt.Errorf("a value of this kind cannot be kept in memory")
	}
	return v, nil
}

// join puts bytes behind others.
func (w words) join(x, y *symbolic.Bytes) *symbolic.Bytes {
	all := make([]smt.Term, 0, x.Len()+y.Len())
	for i := range x.Len() {
		all = append(all, x.At(i, 1))
	}
	for i := range y.Len() {
		all = append(all, y.At(i, 1))
	}
	return symbolic.NewBytes(w.b, all...)
}

// equal says that two values are: texts up to their NUL, all else in each byte. Numbers
// are compared as numbers.
func (w words) equal(x, y value) (smt.Term, error) {
	switch {
	case x.term != nil && y.term != nil:
		a, c := x.term, y.term
		if a.Width() != c.Width() { // a condition and a number
			a, c = w.b.ZeroExt(64, a), w.b.ZeroExt(64, c)
		}
		return w.b.Eq(a, c), nil
	case x.bytes != nil && y.bytes != nil && (x.typ.Kind == contract.TextKind || y.typ.Kind == contract.TextKind):
		return w.textEqual(x.bytes, y.bytes), nil
	case x.bytes != nil && y.bytes != nil && x.bytes.Len() == y.bytes.Len():
		return x.bytes.Equal(y.bytes), nil
	}
	return nil, fmt.Errorf("values of two kinds are compared")
}

// textEqual says that two texts are equal: their bytes up to the first NUL or
// the end. A text that fills its bytes has no NUL.
func (w words) textEqual(x, y *symbolic.Bytes) smt.Term {
	n := max(x.Len(), y.Len())
	rest := w.b.True()
	for i := n - 1; i >= 0; i-- {
		a, c := w.textByte(x, i), w.textByte(y, i)
		same := w.b.Eq(a, c)
		rest = w.b.And(same, w.b.Or(w.b.Eq(a, w.b.Const(8, 0)), rest))
	}
	return rest
}

func (w words) textByte(x *symbolic.Bytes, i int) smt.Term {
	if i >= x.Len() {
		return w.b.Const(8, 0)
	}
	return x.At(i, 1)
}

// starts says that a text begins with another, which ends at its NUL or at its
// last byte.
func (w words) starts(x, prefix *symbolic.Bytes) smt.Term {
	rest := w.b.True()
	for i := prefix.Len() - 1; i >= 0; i-- {
		p := prefix.At(i, 1)
		rest = w.b.Or(w.b.Eq(p, w.b.Const(8, 0)), w.b.And(w.b.Eq(p, w.textByte(x, i)), rest))
	}
	return rest
}

// within says that the first n bits of an address are those of another.
func (w words) within(x *symbolic.Bytes, network string, n uint) smt.Term {
	all := []smt.Term{w.b.True()}
	for i := uint(0); i*8 < n; i++ {
		low := 8 - min(n-i*8, 8) // bits of this byte that do not matter
		all = append(all, w.b.Eq(w.b.Extract(7, low, x.At(int(i), 1)), w.b.Const(8-low, uint64(network[i]>>low))))
	}
	return w.b.And(all...)
}

// until is a text up to its NUL or the first byte that is one of stops, and zeroes behind it.
func (w words) until(x *symbolic.Bytes, stops string) *symbolic.Bytes {
	on := w.b.True()
	all := octets(x)
	for i, c := range all {
		for j := range len(stops) {
			on = w.b.And(on, w.b.Ne(c, w.b.Const(8, uint64(stops[j]))))
		}
		on = w.b.And(on, w.b.Ne(c, w.b.Const(8, 0)))
		all[i] = w.b.Ite(on, c, w.b.Const(8, 0))
	}
	return w.bytesOf(all)
}

// choose is x where the condition holds, else y.
func (w words) choose(c smt.Term, x, y value) (value, error) {
	out := value{typ: x.typ, space: x.space}
	switch {
	case x.term != nil && y.term != nil && x.term.Width() == y.term.Width():
		out.term = w.b.Ite(c, x.term, y.term)
	case x.bytes != nil && y.bytes != nil:
		out.bytes, out.padded = w.chooseBytes(c, x.bytes, y.bytes), x.padded && y.padded
	default:
		return out, fmt.Errorf("values of two kinds are alternatives")
	}
	return out, nil
}

// chooseBytes is byte by byte; the shorter one is continued with zeroes.
func (w words) chooseBytes(c smt.Term, x, y *symbolic.Bytes) *symbolic.Bytes {
	if c.IsTrue() {
		return x
	}
	if c.IsFalse() {
		return y
	}
	n := max(x.Len(), y.Len())
	all := make([]smt.Term, n)
	for i := range all {
		all[i] = w.b.Ite(c, w.textByte(x, i), w.textByte(y, i))
	}
	return symbolic.NewBytes(w.b, all...)
}

// pad is a text with zeroes behind its NUL.
func (w words) pad(v value) value {
	if v.typ.Kind != contract.TextKind || v.bytes == nil || v.padded {
		return v
	}
	on := w.b.True()
	all := octets(v.bytes)
	for i, c := range all {
		all[i] = w.b.Ite(on, c, w.b.Const(8, 0))
		on = w.b.And(on, w.b.Ne(c, w.b.Const(8, 0)))
	}
	v.bytes, v.padded = w.bytesOf(all), true
	return v
}

func constBytes(b *smt.Builder, n int) *symbolic.Bytes {
	return symbolic.ConstBytes(b, make([]byte, n))
}
