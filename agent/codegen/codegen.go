// Package codegen writes the C program of a checked contract, so that a request
// for which there is a contract needs nobody to write code: neither a person nor a
// model.
//
// The program follows kgent's conventions (kgent.bpf.h) and is meant to be read by
// those who approve it: each case is one block with the contract's line above it,
// names are the contract's and the kernel's, and each value is computed where it
// is first needed, in the order in which a person would ask (a filter on the
// process before anything is looked up or read).
//
// Nothing is to be believed about it: what this package writes goes through the
// same gates as any program, and package proof judges whether the bytecode keeps
// the contract. So a mistake here is a program that is refuted, never a wrong
// program that is accepted. What a contract says that this package has no code
// for is an [Unsupported], and then somebody has to write the program.
package codegen

import (
	"fmt"
	"strings"

	"kgent/agent/contract"
)

// Unsupported says that there is no code for something a contract asks for. It says
// nothing against the contract.
type Unsupported struct {
	// At is where the contract asks for it.
	At contract.Pos
	// What is the construct, in words: "a text of 4096 bytes as a key".
	What string
}

// anotherName ends what is unsupported for nothing but its name.
const anotherName = "give it another name"

// Name reports that only a name is in the way, which the contract's author is free to choose.
func (e *Unsupported) Name() bool { return strings.HasSuffix(e.What, anotherName) }

func (e *Unsupported) Error() string {
	if e.At.Line == 0 {
		return fmt.Sprintf("writing the program of a contract: no code is known for %s; write the program by hand", e.What)
	}
	return fmt.Sprintf("writing the program of a contract: line %d: no code is known for %s; write the program by hand", e.At.Line, e.What)
}

// C writes the program of a contract. It depends on nothing but the contract as it
// was checked, and is the same each time. The error is an [*Unsupported].
func C(c *contract.Checked) (string, error) {
	return newGenerator(c).program()
}
