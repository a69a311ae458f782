// Package proof is the judge: it holds a program, as its relocated bytecode,
// against a contract and says VERIFIED, REFUTED, VACUOUS or UNKNOWN.
//
// A contract is a machine with memories, and so is a program with its maps. The
// program keeps the contract if both, fed with the same invocations, have the
// same effects. [Verify] shows that in two ways, one for each answer:
//
// To prove, it guesses for each memory of the contract where the program keeps
// the same thing (which map, how the key and the fields lie in its bytes) and
// then shows by induction that the guess is right: fresh maps fulfil it, and at every
// place of the contract, beginning with any maps that fulfil it, program and
// contract have the same effects and leave maps that fulfil it again. That
// covers sequences of any length, on any number of threads. A wrong guess can
// fail to prove, but it cannot prove what is not so.
//
// To refute, it searches short sequences of invocations that begin with fresh
// maps (begin and end of two threads of one process interleaved, an end
// without a beginning, two beginnings) for one with different effects. What the
// solver finds is run again with concrete numbers; only a difference that shows there is
// called a refutation. A failed proof alone never is one.
//
// What neither way settles is UNKNOWN, and so is everything that is not
// modelled, takes too long or breaks. Obligations that need no contract (bytes
// that were never written, kernel addresses, byte order, units, sizes, cells
// that CPUs share) are checked for every program.
//
// A proof says nothing if the contract cannot be broken. So the same run looks
// for cases that no input reaches, conditions that are always true, outputs
// that cannot vary, and mutants of the program that keep the contract all the
// same: VACUOUS.
//
// # What is compared
//
// Both sides range over the same variables: "sk.__sk_common.skc_dport" of an
// invocation is one variable, whether a program reads it or a contract names
// it. Events are compared in number, order and in each member; tables cell by
// cell, as what a cell was before and the samples that were added; return values at
// hooks where they mean something. Anything else that a program does to the
// outside is one effect too many.
//
// The assumptions are those of package contract; a report lists the ones that
// its verdict used.
//
// # What a proof costs
//
// "make proof-cost" measures and draws it; the families of programs are in
// cost_test.go. What only computes costs in proportion: some 10 µs for an instruction
// executed, up to half a million of them, where the terms are used up (see
// [smt.MaxTerms]) and the answer is Unknown. So do branches whose states merge again, up to the
// 8192 in a row that the kernel allows.
//
// Three things cost more than in proportion. States merge only if they did
// the same to the outside; so each event that is emitted or not, and each cell of a map that
// is made or finds no room, multiplies the paths, up to
// [symbolic.Limits] of them; and all that wait at one place are compared with one
// another. Each path is held against each combination of
// the contract's cases, most of which one question rules out: that goes towards the square
// of the paths. And a search for a counterexample tries all orders of the
// places: each further invocation multiplies it by the paths of all places together, which
// is why it ends at four.
//
// All is bounded so that no program takes more than some hundreds of
// megabytes: terms, gates of one question, states, the size of an object
// and the bytes that are described. Beyond, the verdict is Unknown.
package proof
