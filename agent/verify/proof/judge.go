package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kgent/agent/verify/symbolic"
)

// judge is Verify within its time.
func judge(ctx context.Context, in Input) (r *Report, err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r, err = &Report{Reasons: []string{fmt.Sprintf("the proof broke: %v", p)}}, nil
		}
		if r != nil {
			r.Stats.Time = time.Since(start)
		}
	}()
	s, different, err := open(in)
	if s != nil {
		s.began = start
	}
	if beyond := (*unsettled)(nil); errors.As(err, &beyond) {
		return &Report{Reasons: []string{beyond.Error()}}, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case len(different) > 0:
		r = s.ofForm(different)
	case s.checked == nil:
		r = s.withoutContract(ctx)
	default:
		r = s.withContract(ctx)
	}
	s.finish(ctx, r)
	return r, nil
}

// finish adds what all reports have. A proof that ran out of time is none.
func (s *session) finish(ctx context.Context, r *Report) {
	r.Stats.Queries, r.Stats.Steps, r.Stats.Paths = s.queries, s.steps, s.paths
	if s.bound != nil && s.bound.script != nil {
		r.Relation = append(r.Relation, s.bound.said...)
		r.Warnings = append(r.Warnings, s.in.Form.Remarks...)
	}
	slices.Sort(s.warnings)
	r.Warnings = append(r.Warnings, s.warnings...)
	if s.checked != nil {
		s.assumes("instant")
		s.assumes("stable")
		for _, a := range s.checked.Contract.Assume {
			s.assumes(a.Name)
		}
	}
	for name := range s.used {
		r.Assumptions = append(r.Assumptions, name)
	}
	slices.Sort(r.Assumptions)
	if s.used["room"] {
		r.Room = s.rooms()
	}
	if r.Verdict == Verified && ctx.Err() != nil {
		r.Verdict = Unknown
		r.Reasons = append(r.Reasons, "there was no time to finish")
	}
}

// ofForm is the report on a program that differs from the contract before anything runs.
func (s *session) ofForm(different []finding) *Report {
	r := &Report{Verdict: Refuted}
	for _, f := range different {
		s.found.note(f.id, f.words, Fails, "", fmt.Sprintf("expected %s, got %s", f.expected, f.got), 0)
		r.Reasons = append(r.Reasons, fmt.Sprintf("%s: expected %s, got %s", f.words, f.expected, f.got))
	}
	r.Obligations = s.found.list()
	f := different[0]
	r.Counterexample = &Counterexample{Obligation: f.id, Words: f.words, Expected: f.expected, Got: f.got}
	return r
}

// withContract proves, and, where that fails, searches for a counterexample.
func (s *session) withContract(ctx context.Context) *Report {
	d, err := s.induct(ctx)
	r := &Report{}
	if err != nil {
		r.Reasons = append(r.Reasons, err.Error())
	}
	if d != nil {
		r.Obligations, r.Cases = d.found.list(), d.cases
		for _, rel := range d.rels {
			if rel != nil {
				r.Relation = append(r.Relation, rel.describe(s.checked))
			}
		}
		if err == nil && d.holds() {
			if narrow := s.narrow(d.rels); len(narrow) > 0 {
				form := s.ofForm(narrow)
				form.Obligations = append(r.Obligations, form.Obligations...)
				return form
			}
			r.Verdict = Verified
			s.vacuity(ctx, r, d)
			return r
		}
		r.Reasons = append(r.Reasons, d.doubts...)
	}
	s.search(ctx, r, d)
	if r.Verdict == Unknown {
		r.Reasons = append(r.Reasons, openObligations(r.Obligations)...)
	}
	return r
}

// openObligations are the obligations that do not hold, a line each.
func openObligations(list []Obligation) []string {
	var out []string
	for _, o := range list {
		switch o.Outcome {
		case Undecided:
			out = append(out, fmt.Sprintf("%s: not settled: %s", o.ID, o.Why))
		case Fails:
			out = append(out, fmt.Sprintf("%s: could not be proved, and no sequence of inputs was found that breaks it", o.ID))
		}
	}
	return out
}

// maxGuesses bounds how many combinations of relations are tried.
const maxGuesses = 6

// induct proves with the likeliest relations, and, if that fails, with others. It returns
// the best attempt: the one with the fewest obligations that do not hold.
func (s *session) induct(ctx context.Context) (*induction, error) {
	guesses, err := s.relations(ctx)
	if err != nil {
		return nil, err
	}
	var best *induction
	fewest := 0
	for n := range maxGuesses {
		rels := make([]*relation, len(guesses))
		fresh := n == 0
		for m, g := range guesses {
			if len(g) > 0 {
				rels[m] = g[min(n, len(g)-1)]
				fresh = fresh || n < len(g)
			}
		}
		if !fresh {
			break
		}
		d := s.proveInvariant(ctx, rels)
		if d.holds() {
			return d, nil
		}
		if bad := len(d.failed) + len(d.doubts); best == nil || bad < fewest {
			best, fewest = d, bad
		}
	}
	return best, nil
}

// proveInvariant proves with all invariants that the types suggest, and again without those that
// turn out not to hold.
func (s *session) proveInvariant(ctx context.Context, rels []*relation) *induction {
	for {
		d := s.prove(ctx, rels)
		given := false
		for _, f := range d.lost {
			for _, r := range rels {
				if r == nil {
					continue
				}
				before := len(r.always)
				r.always = slices.DeleteFunc(r.always, func(v invariant) bool { return v == *f })
				given = given || len(r.always) < before
			}
		}
		if !given || ctx.Err() != nil {
			return d
		}
	}
}

// withoutContract checks what needs none.
func (s *session) withoutContract(ctx context.Context) *Report {
	d := &induction{session: s, found: newFindings()}
	r := &Report{}
	for i := range s.bound.places {
		p := &s.bound.places[i]
		err := guarded(func() error {
			v, err := s.visit(ctx, p, s.world(symbolic.Arbitrary), symbolic.Start{})
			if err != nil {
				return err
			}
			for _, t := range v.doubts {
				d.doubt(t)
			}
			return d.hygiene(ctx, v, v.inv.Assume())
		})
		if err != nil {
			d.doubt(fmt.Sprintf("%s: %v", p.name, err))
		}
	}
	r.Obligations = d.found.list()
	r.Reasons = append(r.Reasons, d.doubts...)
	s.search(ctx, r, d)
	if r.Verdict == Unknown {
		r.Reasons = append(r.Reasons, openObligations(r.Obligations)...)
		r.Reasons = append(r.Reasons, "there is no contract; only what needs none was checked")
	}
	return r
}
