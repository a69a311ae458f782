package compare

import (
	"context"
	"errors"

	"kgent/agent/contract"
)

func compare(_ context.Context, a, b Program, opt Options) (*Result, error) {
	if a.Object == nil || a.Manifest == nil || b.Object == nil || b.Manifest == nil || opt.Kernel == nil {
		return nil, errors.New("comparing: two objects, their manifests and a kernel are needed")
	}
	if oneContract(a.Kept, b.Kept) {
		return &Result{Verdict: Same, How: "both were proved against one contract, which leaves nothing open"}, nil
	}
	return &Result{Reasons: []string{"they were not proved against one contract"}}, nil
}

// oneContract tells whether two programs keep one contract that says everything.
func oneContract(a, b *contract.Contract) bool {
	return a != nil && b != nil && Total(a) && contract.Format(a) == contract.Format(b)
}

// Total tells whether a contract says everything about the effects of a program: whether no event
// or table of it may have further members.
func Total(c *contract.Contract) bool {
	for _, e := range c.Events {
		if e.More {
			return false
		}
	}
	for _, t := range c.Tables {
		if t.More {
			return false
		}
	}
	return true
}
