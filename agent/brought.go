package agent

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"kgent/agent/program"
	"kgent/agent/verify/proof"
)

// MaxSource is the longest source of a program, in bytes, that somebody may bring.
const MaxSource = 64 << 10

// Brought is a program that somebody already has and asks kgent to run or to explain. It
// goes the way of all others: the same contract, gates, card and approval. Nothing that it
// says of itself counts.
type Brought struct {
	// Name is its file's, for display.
	Name string `json:"name"`
	// Source is C; ELF is an object. One of them is set.
	Source string `json:"source,omitempty"`
	ELF    []byte `json:"elf,omitempty"`
	// Contract is the contract that it is to be held against, in the text form, when its
	// owner has one. Empty: one is looked for.
	Contract string `json:"contract,omitempty"`
	// Generated says that only the contract was brought, in the file Name, and Source was
	// generated from it. It changes what cards say, and nothing that is checked.
	Generated bool `json:"generated,omitempty"`
}

// Previous is what the request before in the same conversation came to: what a further
// request refines.
type Previous struct {
	// Contract is its contract, in the text form; empty when it had none.
	Contract string `json:"contract"`
	// Script is its text when it was a script of bpftrace.
	Script string `json:"script,omitempty"`
	// Origin of its program: "recipe tcp-connect", "model …", "file …".
	Origin string `json:"origin,omitempty"`
	// Values are the parameters that it was to run with, by name.
	Values map[string]string `json:"values,omitempty"`
}

// readable refuses what is no program.
func (b *Brought) readable() error {
	switch {
	case (b.Source == "") == (len(b.ELF) == 0):
		return fmt.Errorf("%w: want the program's source or its object", ErrRequest)
	case len(b.Source) > MaxSource:
		return fmt.Errorf("%w: %s has %d bytes, at most %d are read", ErrRequest, b.Called(), len(b.Source), MaxSource)
	case len(b.ELF) > program.MaxELF:
		return fmt.Errorf("%w: %s has %d bytes, at most %d are read", ErrRequest, b.Called(), len(b.ELF), program.MaxELF)
	case !utf8.ValidString(b.Source) || strings.ContainsFunc(b.Source, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\n\t\r\f", r) }):
		return fmt.Errorf("%w: %s is not text", ErrRequest, b.Called())
	case len(b.Contract) > MaxSource:
		return fmt.Errorf("%w: the contract has %d bytes, at most %d are read", ErrRequest, len(b.Contract), MaxSource)
	}
	return nil
}

// Called is its name in messages: short, on one line, with nothing in it that could pass
// for something else.
func (b *Brought) Called() string {
	name := strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_.", r)) {
			return r
		}
		return '_'
	}, path.Base(b.Name))
	if name == "" || name == "." {
		return "program.bpf.c"
	}
	return name[:min(len(name), 60)]
}

// named is a report on the program, if it came with the request, with its lines under its own name.
func (b *Brought) named(r *proof.Report) *proof.Report {
	if b == nil || b.Source == "" || b.Generated {
		return r
	}
	return r.Named(b.Called())
}
