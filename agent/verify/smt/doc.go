// Package smt answers questions about bit-vectors: can these formulas be true
// together, and with which values. The proof of a program is made of such
// questions, so the package has one duty above all: an answer [Unsat] must be
// true. Whatever stands in the way of an answer is [Unknown] with its reason,
// which is also the zero value.
//
// A [Builder] makes terms. It simplifies as it builds, with the aim that the
// same value written in two ways ends as the same [Term]: bytes stored and
// read back, r<<=32; r>>=32, a byte swap written as shifts, (t2-t1)/1000 in
// two spellings. Two equal pointers are then a proof that needs no solver.
//
// The meaning of the operators is SMT-LIB's, whatever the machine that uses
// them does: division by zero gives all ones, a shift by the width or more
// gives zero. A caller whose machine differs says so in its terms.
//
// [Builtin] decides in this process, and [Process] asks z3 or another program.
// Neither is believed when it says [Sat]: its model is evaluated in the
// formulas as they were asked. [Unsat] has no such check, so a proof that
// matters is asked of both, by [CrossCheck]; [Portfolio] asks the second only
// if the first does not know.
//
// Terms are made in any number of goroutines at once. Wrong widths are
// mistakes of the caller, and panic.
package smt
