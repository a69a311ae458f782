package verify

import (
	"context"
	"fmt"

	"kgent/agent/verify/compare"
	"kgent/retrieval/kernel"
)

// Compare tells whether two programs have the same effects on the kernel of these facts. See
// [Prover.CompareOn].
func (p *Prover) Compare(ctx context.Context, facts *kernel.Facts, a, b compare.Program, assume []string) (*compare.Result, error) {
	k, err := p.kernel(facts)
	if err != nil {
		return nil, err
	}
	return p.CompareOn(ctx, k, a, b, assume)
}

// CompareOn tells whether two programs have the same effects on one kernel; assume are the names of
// assumptions of contracts that may be taken for granted. The error is about the input: a program
// that cannot be linked; or it is the context's.
func (p *Prover) CompareOn(ctx context.Context, k *ProofKernel, a, b compare.Program, assume []string) (*compare.Result, error) {
	opt, done, err := p.comparing(ctx, k, assume)
	if err != nil {
		return nil, err
	}
	defer done()
	r, err := compare.Compare(ctx, a, b, opt)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("comparing: %w", context.Cause(ctx))
	}
	return r, err
}

// Classes divides programs into classes that have the same effects on the kernel of these facts, with
// an input for each two classes that tells them apart. See [compare.Classes].
func (p *Prover) Classes(ctx context.Context, facts *kernel.Facts, programs []compare.Program, assume []string) ([]compare.Class, []*compare.Difference, error) {
	k, err := p.kernel(facts)
	if err != nil {
		return nil, nil, err
	}
	opt, done, err := p.comparing(ctx, k, assume)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	classes, differences, err := compare.Classes(ctx, programs, opt)
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("comparing: %w", context.Cause(ctx))
	}
	return classes, differences, err
}

// comparing waits until no proof for the kernel is under way. What it returns first is how to
// compare, and then what ends the wait of others.
func (p *Prover) comparing(ctx context.Context, k *ProofKernel, assume []string) (compare.Options, func(), error) {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return compare.Options{}, nil, fmt.Errorf("comparing: %w", context.Cause(ctx))
	}
	return compare.Options{Kernel: k.linked, Solver: p.Solver, Assume: assume, Limits: p.Limits}, func() { <-k.turn }, nil
}
