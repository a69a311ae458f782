package verify

import (
	"context"
	"fmt"

	"kgent/agent/verify/compare"
	"kgent/retrieval/kernel"
)

// Compare tells whether two programs have the same effects on the kernel of these facts, taking for
// granted the assumptions with these names.
func (p *Prover) Compare(ctx context.Context, facts *kernel.Facts, a, b compare.Program, assume []string) (*compare.Result, error) {
	k, err := p.kernel(facts)
	if err != nil {
		return nil, err
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("comparing: %w", context.Cause(ctx))
	}
	return compare.Compare(ctx, a, b, compare.Options{Kernel: k.linked, Solver: p.Solver, Assume: assume})
}
