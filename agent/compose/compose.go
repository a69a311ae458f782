package compose

import (
	"context"
	"fmt"
	"strings"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/retrieval/kernel"
)

// Composer composes contracts for one kernel. It is safe for concurrent use.
type Composer struct {
	recipes *recipes.Library
	facts   *kernel.Facts
	types   *contract.Types
	userID  func(name string) (id uint32, ok bool)
}

// Options is what a Composer may ask of its surroundings.
type Options struct {
	// UserID looks up the id of a user by name; without it only root and numbers
	// are understood.
	UserID func(name string) (id uint32, ok bool)
}

// New makes a Composer of what is known about a kernel.
func New(library *recipes.Library, facts *kernel.Facts, opt Options) (*Composer, error) {
	types, err := contract.NewTypes(facts)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's types to compose contracts: %w", err)
	}
	return &Composer{recipes: library, facts: facts, types: types, userID: opt.UserID}, nil
}

// Composition is a contract that was put together, with how to run its program.
type Composition struct {
	// Contract is checked against the kernel's types.
	Contract *contract.Contract
	// Options are for [program.Build]: name, title, the parameters' values, the view.
	Options program.Options
	// Duration is how long the request wants to watch; 0 when it does not say.
	Duration time.Duration
	// Origin says what it was made from: "composed from recipe tcp-connect",
	// "composed for the system call openat2".
	Origin string
	// Understood says how the request was read, one fact a line.
	Understood []string
}

// NoError is the honest "no": the request was not composed.
type NoError struct {
	// Why is one sentence without its full stop.
	Why string
	// Understood is what was read from the request all the same, one fact a line.
	Understood []string
	// Words are those that were not understood, as written.
	Words []string
}

func (e *NoError) Error() string {
	var b strings.Builder
	b.WriteString("nothing could be composed for this: " + e.Why)
	if len(e.Understood) > 0 {
		b.WriteString("; understood was: " + strings.Join(e.Understood, "; "))
	}
	return b.String()
}

// Compose composes a contract for a request. The error is a [*NoError], or the
// context's.
func (c *Composer) Compose(ctx context.Context, text string) (*Composition, error) {
	return nil, &NoError{Why: "it speaks of nothing that is known here"}
}

// Refine composes what a request makes of the composition before it: "only port
// 443", "as a histogram". last may be made of any contract, see [Of]. The error is
// a [*NoError], or the context's.
func (c *Composer) Refine(ctx context.Context, last *Composition, text string) (*Composition, error) {
	return nil, &NoError{Why: "it changes nothing that is known here"}
}

// Of makes a composition of a contract from elsewhere (a recipe's, or one that a
// model wrote) with the options its program was built with, so that it can be refined.
func Of(c *contract.Contract, opt program.Options, origin string) *Composition {
	return &Composition{Contract: c, Options: opt, Origin: origin}
}
