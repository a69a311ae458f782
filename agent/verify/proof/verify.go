package proof

import (
	"context"
	"iter"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// Input is what is to be judged.
type Input struct {
	// Object is the program; Manifest says where it is attached and how large
	// its maps are. Constants in the manifest do not limit the proof: it holds
	// for all values of the parameters.
	Object   *program.Object
	Manifest *program.Manifest
	// Form says what the outputs of a script are; nil for programs in C.
	Form *program.Form
	// Contract is what it is held against. Without one (nil) only the
	// obligations that need none are checked, and the verdict is REFUTED or
	// UNKNOWN.
	Contract *contract.Contract
	// Kernel is what the program is relocated for, Types the same kernel's types for the
	// contract.
	Kernel *symbolic.Kernel
	Types  *contract.Types
	// Solver makes the solver for the terms of a builder; nil is the built-in
	// one.
	Solver func(*smt.Builder) smt.Solver
	// Mutants are wrong variants of the program, for judging the contract: one
	// that hardly any of them breaks is vacuous. They are taken one after the
	// other for about as long as the proof took. Nil judges nothing.
	Mutants iter.Seq[Mutant]
	Limits  Limits
}

// Mutant is a variant of a program with a mistake in it.
type Mutant struct {
	// Name says what was changed: "swap saddr and daddr, line 42".
	Name string
	// Program and Index are the program and the instruction that is another one.
	Program string
	Index   int
	Object  *program.Object
}

// Limits bound a proof. Zero values mean those of [Defaults].
type Limits = symbolic.Effort

// Defaults are the limits of a proof that a person waits for.
var Defaults = Limits{Time: 30 * time.Second, Query: 5 * time.Second, Scenario: 4, Machine: symbolic.Defaults}

// Verify judges a program. It depends on nothing but its input, so that its
// report can be kept under a digest of that. The error is about the input: a
// contract that does not fit the kernel, an object that cannot be linked. What
// goes wrong while proving is no error but UNKNOWN with its reason.
func Verify(ctx context.Context, in Input) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, in.Limits.Or(Defaults).Time)
	defer cancel()
	return judge(ctx, in)
}
