// Package mutate makes wrong programs out of right ones, on purpose.
//
// A proof that accepts everything is worth nothing, and neither is a contract
// that every program keeps. Both are held against mutants: copies of a program
// with one small mistake each, of the kinds that people and models make. A
// mutant that still passes says that the contract is too weak, or the prover
// wrong, or that the mistake makes no difference.
//
// Mutants are made in two places. [Mutants] changes the C source, at the level
// of tokens, knowing the conventions of kgent.bpf.h: it makes the mistakes that
// have a name in C. [Mutate] changes the instructions of a compiled program: it
// reaches what a source takes from the header, and needs no compiler. Both are
// deterministic: the same program gives the same mutants, in the same order.
//
// A mutant need not be a program that runs, nor one that differs: a [Judge]
// compiles them, has a kernel's verifier look at them, and keeps those that are
// left to be proved or refuted.
package mutate

import (
	"strings"

	"github.com/cilium/ebpf"
)

// Level says what an operator changes.
type Level string

const (
	// Source operators change C.
	Source Level = "source"
	// Bytecode operators change instructions.
	Bytecode Level = "bytecode"
)

// Operator is one kind of mistake.
type Operator struct {
	// Name is short, in lower case with dashes; those of bytecode operators
	// begin with "code-".
	Name string
	// Means says in a few words what the mistake is.
	Means string
	Level Level
}

// Operators returns all operators, those of the source first, each level in the
// order in which its mutants are made.
func Operators() []Operator {
	var out []Operator
	for _, o := range sourceOperators {
		out = append(out, Operator{o.name, o.means, Source})
	}
	for _, o := range codeOperators {
		out = append(out, Operator{o.name, o.means, Bytecode})
	}
	return out
}

// Mutant is a C source with one mistake.
type Mutant struct {
	Operator string
	// Line is where the mistake is, from 1. All other lines keep their number.
	Line int
	// Before and After are the text that was changed, and what it is now, with
	// as much around it as makes it readable: mostly the line.
	Before, After string
	// Source is the whole program.
	Source string
}

// String names a mutant: the same in every run, distinct for every mutant of
// one source.
func (m Mutant) String() string { return name(m.Operator, m.Line, m.Before, m.After) }

// Mutants returns every mutant of a C source that includes kgent.bpf.h: all
// that each operator makes of it, without those whose text is equal to an
// earlier one's. It accepts any text; what is no C yields few mutants or none.
func Mutants(source string) []Mutant {
	f := scan(source)
	seen := map[string]bool{source: true}
	var out []Mutant
	for _, o := range sourceOperators {
		for _, e := range o.apply(f) {
			m := f.mutant(o.name, e)
			if !seen[m.Source] {
				seen[m.Source] = true
				out = append(out, m)
			}
		}
	}
	return out
}

// Variant is a compiled program with one mistake.
type Variant struct {
	Operator string
	// Index is the first instruction changed, of the original's. Line is the
	// source line it was compiled from, 0 when that is not known.
	Index, Line int
	// Before and After are the instructions changed, and what they are now.
	Before, After string
	// Program is a copy of the original but for these. Its CO-RE relocations
	// are the original's, without those of the changed instructions.
	Program *ebpf.ProgramSpec
}

// String names a variant as [Mutant.String] does.
func (v Variant) String() string { return name(v.Operator, v.Line, v.Before, v.After) }

// Mutate returns every variant of a program that the bytecode operators make.
// The program is not changed.
func Mutate(p *ebpf.ProgramSpec) []Variant {
	var out []Variant
	for _, o := range codeOperators {
		for _, c := range o.apply(p) {
			out = append(out, c.variant(o.name, p))
		}
	}
	return out
}

func name(operator string, line int, before, after string) string {
	one := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	return operator + ":" + itoa(line) + ": " + one(before) + " => " + one(after)
}
