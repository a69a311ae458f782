package smt

import (
	"context"
)

// Result of a question.
type Result int

const (
	Unknown Result = iota // not decided: Answer.Why says why
	Sat                   // the formulas can be true together: Answer.Model says how
	Unsat                 // they cannot
)

func (r Result) String() string {
	switch r {
	case Sat:
		return "sat"
	case Unsat:
		return "unsat"
	default:
		return "unknown"
	}
}

// Model gives every variable a value, and so every term of the same Builder.
// It is complete: a variable that no formula mentions is 0.
type Model interface {
	Value(t Term) uint64
}

// Answer to a question.
type Answer struct {
	Result Result
	// Model makes all formulas true; it has been evaluated, not only found.
	// Set exactly if Result is Sat.
	Model Model
	// Why no answer was found, for people. Set exactly if Result is Unknown.
	Why string
}

// A Solver decides whether all formulas (terms of width 1) can be true at
// once. An error means that the solver itself is not to be trusted (it
// crashed, spoke nonsense, gave a model that does not fit); the answer beside
// it is Unknown. A cancelled context is not an error but Unknown.
type Solver interface {
	Check(ctx context.Context, formulas ...Term) (Answer, error)
}
