package compose

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/retrieval/kernel"
)

// Composer composes contracts for one kernel. It is safe for concurrent use.
type Composer struct {
	recipes     *recipes.Library
	facts       *kernel.Facts
	types       func() (*contract.Types, error) // read when first needed, which takes 0.1 s
	tracepoints []string                        // "sched:sched_switch"
	userID      func(name string) (id uint32, ok bool)
	words       func(low string) (word, program bool)
}

// Options is what a Composer may ask of its surroundings.
type Options struct {
	// UserID looks up the id of a user by name; without it only root and numbers
	// are understood.
	UserID func(name string) (id uint32, ok bool)
}

// New makes a Composer of what is known about a kernel.
func New(library *recipes.Library, facts *kernel.Facts, opt Options) (*Composer, error) {
	c := &Composer{recipes: library, facts: facts, userID: opt.UserID, words: library.Word}
	c.types = sync.OnceValues(func() (*contract.Types, error) { return contract.NewTypes(facts) })
	var err error
	// Without tracefs there are no tracepoints to name; the rest still works.
	if c.tracepoints, err = facts.Tracepoints(); err != nil && !errors.Is(err, kernel.ErrNoTracefs) {
		return nil, fmt.Errorf("reading the kernel's tracepoints to compose contracts: %w", err)
	}
	return c, nil
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
	// Match is the recipe that answers the request as it is; nil when anything was composed.
	Match *recipes.Match

	asked ask
	said  []string // what a recipe was found with, oldest first
	other *ask     // what the words ask for without the recipe, where they name a hook
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

// check resolves a contract against the kernel.
func (c *Composer) check(k *contract.Contract) error {
	types, err := c.types()
	if err != nil {
		return fmt.Errorf("reading the kernel's types to compose contracts: %w", err)
	}
	_, err = contract.Check(k, types)
	return err
}
