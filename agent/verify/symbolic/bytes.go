package symbolic

import (
	"kgent/agent/verify/smt"
)

// octet is one byte of memory: bits part*8 … part*8+7 of term. A value that is
// stored whole keeps its term, and reading it back gives the same one.
type octet struct {
	term smt.Term // nil: never written
	ptr  *Value   // a spilled pointer, of which this is byte part; term is nil then
	part uint8
	pc   int32 // the instruction that wrote it, -1 for none
}

// Bytes are consecutive bytes of an output, a key or a value. They never
// change.
type Bytes struct {
	b   *smt.Builder
	oct []octet
}

// Len is the number of bytes.
func (x *Bytes) Len() int { return len(x.oct) }

// At is the little-endian value of n bytes (1 to 8) from offset off: what a
// load of that size would give. What was stored with one instruction comes
// back as the same term.
func (x *Bytes) At(off, n int) smt.Term { return joinOctets(x.b, x.oct[off:off+n]) }

// Slice is the part of n bytes from offset off.
func (x *Bytes) Slice(off, n int) *Bytes { return &Bytes{x.b, x.oct[off : off+n : off+n]} }

// Wrote is the instruction that wrote byte i, -1 if none did.
func (x *Bytes) Wrote(i int) int { return int(x.oct[i].pc) }

// Const is the concrete value, if all bytes are constants.
func (x *Bytes) Const() ([]byte, bool) {
	out := make([]byte, len(x.oct))
	for i := range out {
		v, ok := x.At(i, 1).Const()
		if !ok {
			return nil, false
		}
		out[i] = byte(v)
	}
	return out, true
}

// Equal is the formula that says that two sequences of the same length are
// equal.
func (x *Bytes) Equal(y *Bytes) smt.Term {
	if len(x.oct) != len(y.oct) {
		return x.b.False()
	}
	var all []smt.Term
	for off := 0; off < len(x.oct); {
		n := min(8, len(x.oct)-off)
		all = append(all, x.b.Eq(x.At(off, n), y.At(off, n)))
		off += n
	}
	return x.b.And(append(all, x.b.True())...)
}

// Eval is the value of the bytes in a model.
func (x *Bytes) Eval(m smt.Model) []byte {
	out := make([]byte, len(x.oct))
	for i := range out {
		out[i] = byte(m.Value(x.At(i, 1)))
	}
	return out
}

// NewBytes makes Bytes of a value of up to 64 bits (a multiple of 8), the
// least significant first, followed by others.
func NewBytes(b *smt.Builder, values ...smt.Term) *Bytes {
	x := &Bytes{b: b}
	for _, v := range values {
		x.oct = append(x.oct, splitTerm(v, -1)...)
	}
	return x
}

// ConstBytes makes Bytes of concrete ones.
func ConstBytes(b *smt.Builder, data []byte) *Bytes {
	x := &Bytes{b: b, oct: make([]octet, len(data))}
	for i, v := range data {
		x.oct[i] = octet{term: b.Const(8, uint64(v)), pc: -1}
	}
	return x
}

func splitTerm(t smt.Term, pc int) []octet {
	out := make([]octet, t.Width()/8)
	for i := range out {
		out[i] = octet{term: t, part: uint8(i), pc: int32(pc)}
	}
	return out
}

// joinOctets is the little-endian value of written scalar bytes.
func joinOctets(b *smt.Builder, oct []octet) smt.Term {
	first := oct[0]
	if first.part == 0 && int(first.term.Width()) == 8*len(oct) && sameWhole(oct) {
		return first.term
	}
	parts := make([]smt.Term, 0, len(oct))
	for i := len(oct); i > 0; {
		lo := runStart(oct[:i])
		first, n := oct[lo], i-lo
		parts = append(parts, b.Extract(uint(first.part)*8+uint(n)*8-1, uint(first.part)*8, first.term))
		i = lo
	}
	return b.Concat(parts...)
}

func sameWhole(oct []octet) bool {
	for i, o := range oct {
		if o.term != oct[0].term || int(o.part) != i {
			return false
		}
	}
	return true
}

// runStart is where the run of consecutive parts of one term begins that ends
// with the last of oct.
func runStart(oct []octet) int {
	i := len(oct) - 1
	for i > 0 && oct[i-1].term == oct[i].term && oct[i-1].part+1 == oct[i].part {
		i--
	}
	return i
}
