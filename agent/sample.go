package agent

import (
	"context"
	"fmt"
	"slices"

	"kgent/agent/llm"
	"kgent/agent/verify/compare"
)

// warmth is the temperature of every sample but the first, which is the endpoint's own: samples are to differ.
const warmth = 0.8

// sampling sets how the present sample is drawn.
func (w *writing) sampling(p llm.Prompt) llm.Prompt {
	if w.sample > 0 {
		t, seed := warmth, w.sample
		p.Temperature, p.Seed = &t, &seed
	}
	return p
}

// sampled has several programs written, each from scratch, where no contract tells a right one. Those with the same
// effects are one class; the largest is taken. Between two that are as large, whoever is asked which of
// the two the request means decides.
func (w *writing) sampled(ctx context.Context) (*Candidate, error) {
	var list []*Candidate
	for try := 1; try <= w.preparation.budget.Tries && len(list) < w.Effort.Samples; try++ {
		c, err := w.try(ctx, try)
		if err != nil {
			if len(list) > 0 && w.asked.Err() == nil {
				break // those that there are have to do
			}
			return nil, err
		}
		if c == nil {
			continue
		}
		list = append(list, c)
		w.sample++
		w.spare, w.refused = nil, nil
		w.messages = []llm.Message{llm.User(w.question())}
	}
	if len(list) == 0 {
		return nil, &RejectedError{Record: w.record, Last: w.last}
	}
	return w.largest(ctx, list)
}

// class is a list of candidates that do the same.
type class []*Candidate

// largest takes the first candidate of the largest class.
func (w *writing) largest(ctx context.Context, list []*Candidate) (*Candidate, error) {
	var classes []class
	var parted *compare.Difference // of the first two classes
	for _, c := range list {
		at := -1
		for i, other := range classes {
			r, err := w.compare(ctx, other[0], c)
			if w.asked.Err() != nil {
				return nil, context.Cause(w.asked)
			}
			if err != nil {
				continue // it is a class of its own
			}
			if r.Verdict == compare.Same {
				at = i
				break
			}
			if r.Verdict == compare.Different && parted == nil && i == 0 && len(classes) == 1 {
				parted = r.Difference
			}
		}
		if at >= 0 {
			classes[at] = append(classes[at], c)
		} else {
			classes = append(classes, class{c})
		}
	}
	first := classes[0]
	slices.SortStableFunc(classes, func(a, b class) int { return len(b) - len(a) })
	best := classes[0]
	say := fmt.Sprintf("of %s written independently, %d do the same as this one", plural(len(list), "program"), len(best))
	if len(list) == 1 {
		say = "there is only one program to go by"
	}
	if len(classes) > 1 && parted != nil {
		say += "; where they differ: " + clip(parted.String(), 300)
	}
	if len(classes) > 1 && len(classes[1]) == len(best) && parted != nil && len(parted.Scenario) > 0 {
		// The difference is between the first two classes that there were.
		second := classes[slices.IndexFunc(classes, func(c class) bool { return c[0] != first[0] })]
		r := &Opinion{By: "model " + w.author.model, Result: differs, Detail: clip(parted.Subject, 200)}
		w.record.opinion(r)
		said, err := w.which(ctx, ofDifference(parted))
		switch {
		case w.asked.Err() != nil:
			return nil, context.Cause(w.asked)
		case err != nil:
			r.Decided = "which one the request means could not be asked"
		case said.Answer == "two":
			best = second
			r.Decided = "the model chose the second"
		case said.Answer == "one":
			best = first
			r.Decided = "the model chose the first"
		default:
			if err := w.ask(r, ofDifference(parted), said); err != nil {
				return nil, err
			}
		}
	}
	c := best[0]
	c.Understood = append(c.Understood, say)
	return c, nil
}
