package proof

import (
	"context"
	"slices"
	"time"

	"kgent/agent/verify/smt"
)

// Bounds of splitting a question into cases.
const (
	maxSplits   = 10  // conditions that are decided one after another
	maxSplitAsk = 400 // questions
)

// splitting is a question that was too hard as a whole: it is asked again with the
// conditions that its terms choose by taken for true and for false.
type splitting struct {
	*solving
	b     *smt.Builder
	asked int
}

// bySplitting decides whether terms can be true together. Each case is the whole question with one
// more condition, so that an answer for all cases is one for the question.
func (s *solving) bySplitting(ctx context.Context, b *smt.Builder, terms []smt.Term) smt.Answer {
	x := &splitting{solving: s, b: b}
	return x.decide(ctx, terms, 0)
}

func (x *splitting) decide(ctx context.Context, terms []smt.Term, depth int) smt.Answer {
	if x.asked++; x.asked > maxSplitAsk {
		return smt.Answer{Why: "too many cases"}
	}
	short, cancel := context.WithTimeout(ctx, x.query/8+50*time.Millisecond)
	a := x.ask(short, terms...)
	cancel()
	if a.Result != smt.Unknown || depth == maxSplits || ctx.Err() != nil {
		return a
	}
	c := chooser(terms)
	if c == nil {
		return a
	}
	for _, v := range []smt.Term{c, x.b.Not(c)} {
		by := map[smt.Term]smt.Term{c: x.b.Bool(v == c), x.b.Not(c): x.b.Bool(v != c)}
		with := []smt.Term{v}
		for _, t := range terms {
			with = append(with, x.b.Substitute(t, by))
		}
		if a := x.decide(ctx, with, depth+1); a.Result != smt.Unsat {
			return a // a model of a case is one of the question
		}
	}
	return smt.Answer{Result: smt.Unsat}
}

// chooser is the condition by which most terms choose.
func chooser(terms []smt.Term) smt.Term {
	count := map[smt.Term]int{}
	seen := map[smt.Term]bool{}
	var order []smt.Term
	var visit func(t smt.Term)
	visit = func(t smt.Term) {
		if seen[t] {
			return
		}
		seen[t] = true
		for _, a := range t.Args() {
			visit(a)
		}
		if t.Op() != smt.OpIte || slices.Contains(terms, t.Args()[0]) {
			return
		}
		if count[t.Args()[0]] == 0 {
			order = append(order, t.Args()[0])
		}
		count[t.Args()[0]]++
	}
	for _, t := range terms {
		visit(t)
	}
	var best smt.Term
	for _, c := range order {
		if best == nil || count[c] > count[best] {
			best = c
		}
	}
	return best
}
