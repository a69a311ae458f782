package smt

import (
	"fmt"
	"math/bits"
	"sync/atomic"
)

// A Term is a bit-vector of 1 to 64 bits; a boolean is a term of one bit.
// Terms of one [Builder] are equal exactly if the pointers are: they are
// simplified when they are built and then kept once. A Term never changes.
type Term = *Node

// Node is what a [Term] points to. Only a [Builder] makes one.
type Node struct {
	op    Op
	id    uint32 // its number in the order in which terms were made
	ops   uint32 // bit i: there is an operator i in it
	width uint
	val   uint64 // OpConst: the value; OpExtract: the lowest bit taken
	args  []Term
	info  *Info // OpVar
	hash  uint64
	facts facts

	next *Node // another with the same hash

	neg atomic.Pointer[Node] // Not of this node, once somebody asked
}

// Info describes a variable. smt reads only the name.
type Info struct {
	// Name identifies the variable in its Builder: one name, one variable.
	Name string
	// Data is the caller's: what the variable stands for.
	Data any
}

// Op says how a term is made of its arguments. The simplifier knows fewer
// operators than the Builder has methods: a subtraction is a sum with factors
// of -1, zero extension, byte swap, masks and shifts by constants are
// concatenations and extracts, x <= y is not y < x.
type Op uint8

const (
	OpConst   Op = iota + 1
	OpVar        // a free variable
	OpAdd        // sum of two or more terms; a constant comes last
	OpMul        // product of two or more terms; a constant comes last
	OpUDiv       // unsigned quotient; by 0 it is all ones (SMT-LIB)
	OpURem       // unsigned remainder; by 0 it is the dividend
	OpSDiv       // signed quotient towards zero, as SMT-LIB's bvsdiv
	OpSRem       // signed remainder with the dividend's sign, as bvsrem
	OpAnd        // bitwise and of two or more terms
	OpOr         // bitwise or of two or more terms
	OpXor        // bitwise exclusive or of two or more terms
	OpNot        // bitwise complement
	OpShl        // shift left; by the width or more it is 0
	OpLShr       // logical shift right; by the width or more it is 0
	OpAShr       // arithmetic shift right; by the width or more all sign bits
	OpEq         // 1 if both arguments are equal
	OpUlt        // 1 if the first is less, unsigned
	OpSlt        // 1 if the first is less, two's complement
	OpIte        // the second argument if the first is 1, else the third
	OpExtract    // bits Hi..Lo of the argument
	OpConcat     // two or more terms, the most significant first
	OpSignExt    // the argument with its sign bit repeated
)

var opNames = [...]string{
	OpConst: "const", OpVar: "var", OpAdd: "bvadd", OpMul: "bvmul", OpUDiv: "bvudiv", OpURem: "bvurem",
	OpSDiv: "bvsdiv", OpSRem: "bvsrem", OpAnd: "bvand", OpOr: "bvor", OpXor: "bvxor", OpNot: "bvnot",
	OpShl: "bvshl", OpLShr: "bvlshr", OpAShr: "bvashr", OpEq: "=", OpUlt: "bvult", OpSlt: "bvslt",
	OpIte: "ite", OpExtract: "extract", OpConcat: "concat", OpSignExt: "sign_extend",
}

// String is the operator's name in SMT-LIB.
func (o Op) String() string {
	if int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// Width is the number of bits, 1 to 64.
func (t *Node) Width() uint { return t.width }

// Op is the operator at the root of the term.
func (t *Node) Op() Op { return t.op }

// Has tells whether the operator is the term's or that of a part of it.
func (t *Node) Has(op Op) bool { return t.ops>>op&1 == 1 }

// opsOf are the operators in a term, a bit each.
func opsOf(op Op, args []Term) uint32 {
	ops := uint32(1) << op
	for _, a := range args {
		ops |= a.ops
	}
	return ops
}

// Args are the arguments of the operator. They must not be changed.
func (t *Node) Args() []Term { return t.args }

// Const is the value of a constant, and whether the term is one.
func (t *Node) Const() (uint64, bool) { return t.val, t.op == OpConst }

// Info describes the variable; it is nil for every other term.
func (t *Node) Info() *Info { return t.info }

// Hi and Lo are the range of bits an extract takes of its argument, both
// included; of every other term, the range of its own bits.
func (t *Node) Hi() uint { return t.Lo() + t.width - 1 }

// Lo is the lowest bit of the range; see Hi.
func (t *Node) Lo() uint {
	if t.op == OpExtract {
		return uint(t.val)
	}
	return 0
}

// IsTrue says that the term is the boolean constant 1.
func (t *Node) IsTrue() bool { return t.op == OpConst && t.width == 1 && t.val == 1 }

// IsFalse says that the term is the boolean constant 0.
func (t *Node) IsFalse() bool { return t.op == OpConst && t.width == 1 && t.val == 0 }

// Range is the least and the greatest unsigned value that the form of the
// term alone allows (an over-approximation: not both need be possible).
func (t *Node) Range() (least, greatest uint64) { return t.facts.umin, t.facts.umax }

// KnownBits are the bits that are 0 and those that are 1 whatever the
// variables are.
func (t *Node) KnownBits() (zeros, ones uint64) { return t.facts.zeros, t.facts.ones }

func mask(width uint) uint64 {
	return ^uint64(0) >> (64 - width)
}

// signed reads the low width bits of v as two's complement.
func signed(v uint64, width uint) int64 {
	return int64(v<<(64-width)) >> (64 - width)
}

func isPow2(v uint64) bool { return v != 0 && v&(v-1) == 0 }

func log2(v uint64) uint { return uint(bits.TrailingZeros64(v)) }
