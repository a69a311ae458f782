package eval

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"kgent/agent/program"
	"kgent/agent/verify"
	"kgent/agent/verify/mutate"
	"kgent/agent/verify/proof"
)

// Kind says what a program is that a [Gate] judges.
type Kind string

const (
	KindRight  Kind = "right"
	KindWrong  Kind = "wrong"
	KindMutant Kind = "mutant"
)

// Judgement is what contract and proof made of one program.
type Judgement struct {
	Case    string `json:"case"`
	Program string `json:"program"`
	Kind    Kind   `json:"kind"`
	Hard    bool   `json:"hard,omitempty"`
	// Verdict is the proof's; empty when the program did not get so far.
	Verdict string `json:"verdict,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// FalseAccept says that a program was VERIFIED which the oracle finds wrong;
	// FalseReject that the right one was REFUTED, or its contract found VACUOUS.
	FalseAccept bool `json:"false_accept,omitempty"`
	FalseReject bool `json:"false_reject,omitempty"`
	// Same says that a mutant was VERIFIED and that the workload shows no
	// difference, either: the mistake makes none that anybody could see.
	Same    bool     `json:"same,omitempty"`
	Found   []string `json:"found,omitempty"` // by the oracle, of a VERIFIED one
	Fault   string   `json:"fault,omitempty"` // nothing was measured
	Seconds float64  `json:"seconds"`
}

// Gate holds programs of cases against their contracts. No model takes part, and
// no request: what is measured is whether contract and proof tell right from
// wrong as the oracle does.
type Gate struct {
	Bench  *Bench
	Prover *verify.Prover
	// Mutants is how many wrong variants of each right program are judged, a
	// sample that is the same in every run.
	Mutants int
	Loader  verify.Loader
	Now     func() time.Time
}

// Case judges all programs of a case, one after the other. done tells what need
// not be judged again; each gets every judgement.
func (g *Gate) Case(ctx context.Context, c *Case, done func(program string) bool, each func(Judgement)) error {
	if c.Category == Refusal {
		return nil
	}
	right, err := g.Bench.Right(c)
	if err != nil {
		return fmt.Errorf("case %s: %w", c.Name, err)
	}
	judge := func(kind Kind, name string, s Source) {
		if ctx.Err() == nil && !done(name) {
			if j := g.judge(ctx, c, kind, name, s); ctx.Err() == nil {
				each(j)
			}
		}
	}
	judge(KindRight, "right", right)
	for i, w := range c.Wrong {
		s, err := g.Bench.Wrong(c, i)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
		if s.Edited { // for all values of its parameters the right one is right
			judge(KindWrong, w.Name, s)
		}
	}
	if g.Mutants > 0 && ctx.Err() == nil {
		for _, m := range sample(mutate.Mutants(right.Text), g.Mutants) {
			s := right
			s.Text, s.Edited = m.Source, true
			judge(KindMutant, m.String(), s)
		}
	}
	return context.Cause(ctx)
}

// sample picks n mutants, of different operators as far as there are.
func sample(all []mutate.Mutant, n int) []mutate.Mutant {
	hash := func(m mutate.Mutant) uint32 {
		h := fnv.New32a()
		h.Write([]byte(m.String()))
		return h.Sum32()
	}
	slices.SortFunc(all, func(a, b mutate.Mutant) int {
		if hash(a) != hash(b) {
			if hash(a) < hash(b) {
				return -1
			}
			return 1
		}
		return strings.Compare(a.String(), b.String())
	})
	var out []mutate.Mutant
	used := map[string]int{}
	for round := 0; len(out) < n && round <= len(all); round++ {
		for _, m := range all {
			if len(out) == n {
				break
			}
			if used[m.Operator] == round && !slices.Contains(out, m) {
				used[m.Operator]++
				out = append(out, m)
			}
		}
	}
	return out
}

func (g *Gate) judge(ctx context.Context, c *Case, kind Kind, name string, s Source) (j Judgement) {
	j = Judgement{Case: c.Name, Program: name, Kind: kind, Hard: c.Hard}
	began := g.Now()
	defer func() { j.Seconds = g.Now().Sub(began).Seconds() }()
	// A proof holds for all values: those that the workloads say are not needed.
	plain := s
	plain.Program.Set, plain.Program.Interface, plain.Program.Cgroup = nil, "lo", ""
	o, m, err := g.Bench.Build(ctx, plain, nil)
	if err == nil {
		_, err = g.Loader.DryLoad(ctx, o, m)
	}
	if err != nil {
		j.Reason = "does not load: " + clipTo(err.Error(), 300)
		if kind == KindRight {
			j.Fault = j.Reason
		}
		return j
	}
	r, err := g.Prover.Prove(ctx, g.Bench.Facts, o, m, s.Contract)
	if err != nil {
		j.Fault = err.Error()
		return j
	}
	j.Verdict = r.Verdict.String()
	if len(r.Reasons) > 0 {
		j.Reason = clipTo(r.Reasons[0], 300)
	}
	switch {
	case kind == KindRight:
		j.FalseReject = r.Verdict == proof.Refuted || r.Verdict == proof.Vacuous
	case r.Verdict == proof.Verified:
		g.compare(ctx, c, s, &j)
	}
	return j
}

// compare asks the oracle about a wrong program that was VERIFIED.
func (g *Gate) compare(ctx context.Context, c *Case, s Source, j *Judgement) {
	if j.Kind == KindWrong { // its oracle is proven
		j.FalseAccept = true
		return
	}
	play, err := c.Prepare(ctx)
	defer play.Close()
	var o *program.Object
	var m *program.Manifest
	if err == nil {
		o, m, err = g.Bench.Build(ctx, s, play.facts)
	}
	var seen Seen
	if err == nil {
		seen, err = g.Bench.Run(ctx, play, o, m)
	}
	if err == nil {
		j.Found, err = Judge(c.Oracle, seen)
	}
	var load *LoadError
	switch {
	case errors.As(err, &load):
		j.FalseAccept, j.Found = true, []string{err.Error()}
	case err != nil:
		j.Fault = err.Error()
	default:
		j.Same = len(j.Found) == 0
		j.FalseAccept = !j.Same
	}
}

// GateReport sums judgements up.
type GateReport struct {
	Kernel string `json:"kernel"`
	Cases  int    `json:"cases"`
	// Verdicts counts by kind and verdict; "" is a program that does not load.
	Verdicts map[Kind]map[string]int `json:"verdicts"`
	// FalseReject is how many right programs were refuted; Unproved how many are
	// UNKNOWN.
	FalseReject Share `json:"false_reject"`
	Unproved    Share `json:"unproved"`
	// FalseAccept is how many wrong programs and mutants that load were VERIFIED
	// although the oracle finds them wrong.
	FalseAccept Share        `json:"false_accept"`
	Same        int          `json:"same"`
	Faults      int          `json:"faults"`
	Judgements  []*Judgement `json:"judgements,omitempty"`
}

// SumUp makes the report of a gate.
func SumUp(kernel string, cases int, all []*Judgement) *GateReport {
	r := &GateReport{Kernel: kernel, Cases: cases, Verdicts: map[Kind]map[string]int{}, Judgements: all}
	var right, rejected, unproved, wrong, accepted int
	for _, j := range all {
		if j.Fault != "" {
			r.Faults++
			continue
		}
		if r.Verdicts[j.Kind] == nil {
			r.Verdicts[j.Kind] = map[string]int{}
		}
		r.Verdicts[j.Kind][j.Verdict]++
		switch {
		case j.Kind == KindRight:
			right++
			rejected += one(j.FalseReject)
			unproved += one(j.Verdict == proof.Unknown.String())
		case j.Verdict != "" && !j.Same:
			wrong++
			accepted += one(j.FalseAccept)
		}
		r.Same += one(j.Same)
	}
	r.FalseReject, r.Unproved, r.FalseAccept = ShareOf(rejected, right), ShareOf(unproved, right), ShareOf(accepted, wrong)
	return r
}

// Text is the report for people.
func (r *GateReport) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode gate, Linux %s, %d cases; 95 %% Wilson intervals\n\n%-10s", r.Kernel, r.Cases, "")
	verdicts := []string{proof.Verified.String(), proof.Refuted.String(), proof.Vacuous.String(), proof.Unknown.String(), ""}
	for _, v := range verdicts {
		if v == "" {
			v = "does not load"
		}
		fmt.Fprintf(&b, " %14s", v)
	}
	b.WriteByte('\n')
	for _, k := range []Kind{KindRight, KindWrong, KindMutant} {
		fmt.Fprintf(&b, "%-10s", k)
		for _, v := range verdicts {
			fmt.Fprintf(&b, " %14d", r.Verdicts[k][v])
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\nright ones refuted:   %s\nright ones unproved:  %s\nwrong ones VERIFIED:  %s\n", r.FalseReject, r.Unproved, r.FalseAccept)
	fmt.Fprintf(&b, "mutants VERIFIED that the workload cannot tell from the right program, not counted above: %d\n", r.Same)
	for _, j := range r.Judgements {
		switch {
		case j.FalseAccept:
			fmt.Fprintf(&b, "WRONG AND VERIFIED %s: %s: %s\n", j.Case, j.Program, clipTo(strings.Join(j.Found, "; "), 200))
		case j.FalseReject:
			fmt.Fprintf(&b, "RIGHT AND %s %s: %s\n", j.Verdict, j.Case, clipTo(j.Reason, 200))
		case j.Kind == KindRight && j.Verdict == proof.Unknown.String():
			fmt.Fprintf(&b, "unproved %s: %s\n", j.Case, clipTo(j.Reason, 200))
		case j.Fault != "":
			fmt.Fprintf(&b, "not measured %s %s: %s\n", j.Case, j.Program, clipTo(j.Fault, 200))
		}
	}
	return b.String()
}
