package smt

import (
	"context"
	"errors"
	"fmt"
)

// Portfolio asks one solver after the other until one knows. An error of one
// counts as not knowing: it is told in the Why, unless it says that a solver
// is unsound, which ends the question.
func Portfolio(solvers ...Solver) Solver { return portfolio(solvers) }

type portfolio []Solver

func (p portfolio) Check(ctx context.Context, formulas ...Term) (Answer, error) {
	why := ""
	for _, s := range p {
		a, err := s.Check(ctx, formulas...)
		switch {
		case errors.Is(err, ErrUnsound):
			return unknown("a solver is unsound"), err
		case err != nil:
			why += err.Error() + "; "
		case a.Result != Unknown:
			return a, nil
		default:
			why += a.Why + "; "
		}
		if ctx.Err() != nil {
			break
		}
	}
	return unknown("%sno solver knows", why), nil
}

// Disagreement is the error of [CrossCheck] when one solver says sat and
// another unsat. No answer comes with it.
type Disagreement struct {
	Results  []Result
	Question string // in SMT-LIB 2
}

func (d *Disagreement) Error() string {
	return fmt.Sprintf("asking several solvers: they contradict each other: %v", d.Results)
}

// Is makes a Disagreement an [ErrUnsound].
func (d *Disagreement) Is(target error) bool { return target == ErrUnsound }

// CrossCheck asks all solvers, and answers only what none contradicts and all
// know: if one does not, the answer is Unknown.
func CrossCheck(solvers ...Solver) Solver { return crossCheck(solvers) }

type crossCheck []Solver

func (c crossCheck) Check(ctx context.Context, formulas ...Term) (Answer, error) {
	answers := make([]Answer, len(c))
	results := make([]Result, len(c))
	var errs error
	for i, s := range c {
		a, err := s.Check(ctx, formulas...)
		if err != nil {
			errs, a = errors.Join(errs, err), unknown("a solver failed: %v", err)
		}
		answers[i], results[i] = a, a.Result
	}
	first := unknown("no solver was asked")
	for i, a := range answers {
		switch {
		case errs == nil && a.Result == Unknown:
			return a, contradiction(results, formulas)
		case i == 0:
			first = a
		}
	}
	if err := errors.Join(errs, contradiction(results, formulas)); err != nil {
		return unknown("the solvers do not confirm each other"), err
	}
	return first, nil
}

// contradiction is nil if no two results exclude each other.
func contradiction(results []Result, formulas []Term) error {
	seen := map[Result]bool{}
	for _, r := range results {
		seen[r] = true
	}
	if seen[Sat] && seen[Unsat] {
		return &Disagreement{results, Script(formulas...)}
	}
	return nil
}

// Minimise looks for a model that people read easily: it asks again with each
// wish (a formula such as port == 443, or saddr != daddr) added, and keeps
// those that are possible together with the ones kept before. The first
// answer must be Sat; what cannot be decided is left out.
func Minimise(ctx context.Context, s Solver, first Answer, formulas, wishes []Term) Answer {
	best := first
	if first.Result != Sat {
		return first
	}
	kept := append([]Term(nil), formulas...)
	for _, w := range wishes {
		if best.Model.Value(w) == 1 {
			kept = append(kept, w)
			continue
		}
		a, err := s.Check(ctx, append(kept[:len(kept):len(kept)], w)...)
		if err == nil && a.Result == Sat {
			best, kept = a, append(kept, w)
		}
	}
	return best
}
