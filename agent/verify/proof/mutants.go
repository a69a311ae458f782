package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A contract that is kept proves little if wrong programs keep it as well. So the
// contract of a program that was VERIFIED can be held against mutants of that
// program. Those that mean the same as the program, which no contract tells
// apart, are among them, so that some are expected to survive.
const (
	// MaxSurvivors is the share of mutants, in percent, that may keep a contract.
	MaxSurvivors = 75
	// MinMutants is how many must be judged before that says anything.
	MinMutants = 8
	// MinOfCase is how many in the part of the program that one case alone leads
	// to must be judged before it says anything that all of them survive.
	MinOfCase = 6

	maxMutants    = 64
	leastMutation = 250 * time.Millisecond
)

// passedAt is an instruction of a program.
type passedAt struct {
	program string
	pc      int
}

// pass notes the instructions of a path that a case can take.
func (d *induction) pass(id string, v *visit, path *aPath) {
	if d.passed == nil {
		d.passed = map[string]map[passedAt]bool{}
	}
	if d.passed[id] == nil {
		d.passed[id] = map[passedAt]bool{}
	}
	for _, pc := range path.Trace {
		d.passed[id][passedAt{v.place.program, pc}] = true
	}
}

// about is the case that alone leads to an instruction; "" if none or several do.
func (d *induction) about(at passedAt) string {
	found := ""
	for id, passed := range d.passed {
		if !passed[at] {
			continue
		}
		if found != "" {
			return ""
		}
		found = id
	}
	return found
}

// mutants judges the contract by wrong variants of the program: most of them have to break
// it, and some of those of each case. They are tried for as long as the proof took.
func (s *session) mutants(ctx context.Context, r *Report, d *induction) {
	if s.in.Mutants == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, max(time.Since(s.began), leastMutation))
	defer cancel()
	var kept []string
	judged, survived := map[string]int{}, map[string]int{} // by case
	for m := range s.in.Mutants {
		keeps, breaks := s.trial(ctx, m)
		if ctx.Err() != nil {
			break
		}
		if !keeps && !breaks {
			continue
		}
		at := d.about(passedAt{m.Program, m.Index})
		r.Stats.Mutants++
		judged[at]++
		if keeps {
			kept = append(kept, m.Name)
			survived[at]++
		}
		if r.Stats.Mutants == maxMutants {
			break
		}
	}
	r.Stats.Survivors = len(kept)
	if r.Stats.Mutants >= MinMutants && len(kept)*100 > r.Stats.Mutants*MaxSurvivors {
		r.Verdict = Vacuous
		r.Reasons = append(r.Reasons, fmt.Sprintf("%d of %d wrong variants of the program keep the contract too: it says too little (%s)",
			len(kept), r.Stats.Mutants, strings.Join(kept[:min(len(kept), 3)], "; ")))
	}
	for id, n := range judged {
		if id != "" && n >= MinOfCase && survived[id] == n && !strings.HasSuffix(id, "/otherwise") {
			r.Verdict = Vacuous
			r.Reasons = append(r.Reasons, fmt.Sprintf("the case %s asks for nothing: each of %d wrong variants of what the program does there keeps the contract too", id, n))
		}
	}
	slices.Sort(r.Reasons)
}

// trial tells whether a mutant keeps the contract, or an obligation of the contract does not
// hold for it. What every program has to fulfil does not count, for it says nothing about
// the contract. Neither is so where it was not settled.
func (s *session) trial(ctx context.Context, m Mutant) (keeps, breaks bool) {
	in := s.in
	in.Object, in.Mutants = m.Object, nil
	err := guarded(func() error {
		x, different, err := open(in)
		if err != nil || len(different) > 0 {
			return err
		}
		d, err := x.induct(ctx)
		if err != nil || d == nil {
			return err
		}
		keeps = d.holds()
		breaks = slices.ContainsFunc(d.failed, func(f refusal) bool { return !f.claim.rule })
		return nil
	})
	return err == nil && keeps, err == nil && breaks
}
