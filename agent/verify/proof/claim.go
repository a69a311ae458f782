package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// claim says that something holds for all inputs under hypotheses.
type claim struct {
	id, words string
	holds     smt.Term // width 1
	// show says for people what is compared, in a counterexample; nil if the claim is not
	// about values.
	show func(m smt.Model) (expected, got string)
	// pc of the instruction that wrote what is wrong, -1 if none did.
	pc int
	// over is a term on whose value much depends, and ranges are terms that together
	// have all its values: the claim is shown if it holds with each in its place.
	over   smt.Term
	ranges []smt.Term
	// value is what over and ranges are made of, by spread: again, where hypotheses
	// make the value simpler.
	value  smt.Term
	spread func(value smt.Term) (over smt.Term, ranges []smt.Term)
	// enough are conditions that together are more than the claim, and easier to show: equal
	// bytes are equal texts.
	enough []smt.Term
	// rule says that it is a rule for every program, not the contract's.
	rule bool
	// invariant is set for claims that an invariant is kept: if they fail it is given up.
	invariant *invariant
}

// refusal is a claim that does not hold, with an input for which it does not.
type refusal struct {
	claim *claim
	model smt.Model
	hyp   []smt.Term
}

// solving answers questions within the limits of a proof and counts them.
type solving struct {
	solver smt.Solver
	query  time.Duration
	slots  chan struct{} // questions at once

	mu      sync.Mutex
	queries int
}

func newSolving(s smt.Solver, query time.Duration) *solving {
	return &solving{solver: s, query: query, slots: make(chan struct{}, 2)}
}

// ask decides whether terms can be true together. Terms that are
// constant are no question.
func (s *solving) ask(ctx context.Context, terms ...smt.Term) smt.Answer {
	var open []smt.Term
	for _, t := range terms {
		if t.IsFalse() {
			return smt.Answer{Result: smt.Unsat}
		}
		if !t.IsTrue() && !slices.Contains(open, t) {
			open = append(open, t)
		}
	}
	if ctx.Err() != nil {
		return smt.Answer{Why: "there was no time left"}
	}
	s.mu.Lock()
	s.queries++
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.query)
	defer cancel()
	a, err := s.solver.Check(ctx, open...)
	if err != nil {
		return smt.Answer{Why: err.Error()}
	}
	return a
}

// findings collects what came of claims, one obligation for each id.
type findings struct {
	mu    sync.Mutex
	order []string
	byID  map[string]*Obligation
}

func newFindings() *findings { return &findings{byID: map[string]*Obligation{}} }

// note adds one result to the obligation of that id: the worst counts.
func (f *findings) note(id, words string, o Outcome, how, why string, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ob := f.byID[id]
	if ob == nil {
		ob = &Obligation{ID: id, Words: words, Outcome: Holds, How: how}
		f.byID[id] = ob
		f.order = append(f.order, id)
	}
	ob.Time += took
	if o == Holds {
		if ob.Outcome == Holds && how == bySolver {
			ob.How = how
		}
		return
	}
	if ob.Outcome == Holds || ob.Outcome == Undecided && o == Fails {
		ob.Outcome, ob.How, ob.Why = o, "", why
	}
}

// Ways in which an obligation is shown.
const (
	byTerms  = "same terms"
	bySolver = "solver"
	byForm   = "form of the program"
)

func (f *findings) list() []Obligation {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := slices.Clone(f.order)
	slices.Sort(ids)
	out := make([]Obligation, len(ids))
	for i, id := range ids {
		out[i] = *f.byID[id]
	}
	return out
}

// settle decides claims under hypotheses that can hold together. The
// refusals come with models; what is undecided is noted with its reason.
func (s *solving) settle(ctx context.Context, b *smt.Builder, hyp []smt.Term, claims []*claim, note func(c *claim, o Outcome, how, why string, took time.Duration)) []refusal {
	var open []*claim
	var out []refusal
	known := knownBy(b, hyp)
	for _, c := range claims {
		c.under(b, known)
		if c.holds.IsTrue() {
			note(c, Holds, byTerms, "", 0)
			continue
		}
		if began := time.Now(); c.over != nil {
			holds, model := s.inRanges(ctx, b, hyp, c)
			switch {
			case holds:
				note(c, Holds, bySolver, "", time.Since(began))
				continue
			case model != nil && c.doubtful(hyp) == "":
				note(c, Fails, "", "", time.Since(began))
				out = append(out, refusal{c, model, hyp})
				continue
			}
		}
		if began := time.Now(); s.inParts(ctx, b, hyp, c) {
			note(c, Holds, bySolver, "", time.Since(began))
			continue
		}
		open = append(open, c)
	}
	for _, c := range s.together(ctx, b, hyp, open, note) {
		began := time.Now()
		question := append(slices.Clone(hyp), b.Not(c.holds))
		a := s.askOfTexts(ctx, b, question...)
		if a.Result == smt.Unknown {
			a = s.bySplitting(ctx, b, question)
		}
		took := time.Since(began)
		switch {
		case a.Result == smt.Unsat:
			note(c, Holds, bySolver, "", took)
		case a.Result == smt.Sat && c.doubtful(hyp) == "":
			note(c, Fails, "", "", took)
			out = append(out, refusal{c, a.Model, hyp})
		case a.Result == smt.Sat:
			note(c, Undecided, "", c.doubtful(hyp), took)
		default:
			note(c, Undecided, "", "the solver found no answer: "+a.Why, took)
		}
	}
	return out
}

// askOfTexts asks, and where the answer may be owed to a text that goes on behind its NUL, or is
// another one when more of it is read, again with all that holds of texts.
func (s *solving) askOfTexts(ctx context.Context, b *smt.Builder, terms ...smt.Term) smt.Answer {
	a := s.ask(ctx, terms...)
	if a.Result != smt.Sat {
		return a
	}
	texts := symbolic.Texts(b, smt.Vars(terms...), wholeText)
	if len(texts) == 0 {
		return a
	}
	return s.ask(ctx, slices.Concat(terms, texts)...)
}

// wholeText is more than the bytes of any text.
const wholeText = 1 << 16

// jointShare is which part of the time for one question is spent on several claims at once.
const jointShare = 40

// together shows claims by one question, or, where that takes long, by one for each half of them. It
// returns those that have to be looked at one by one.
func (s *solving) together(ctx context.Context, b *smt.Builder, hyp []smt.Term, claims []*claim, note func(c *claim, o Outcome, how, why string, took time.Duration)) []*claim {
	if len(claims) < 2 {
		return claims
	}
	all := make([]smt.Term, len(claims))
	for i, c := range claims {
		all[i] = c.holds
	}
	began := time.Now()
	short, cancel := context.WithTimeout(ctx, s.query/jointShare)
	a := s.ask(short, append(slices.Clone(hyp), b.Not(b.And(all...)))...)
	cancel()
	switch a.Result {
	case smt.Sat:
		return claims
	case smt.Unsat:
		each := time.Since(began) / time.Duration(len(claims))
		for _, c := range claims {
			note(c, Holds, bySolver, "", each)
		}
		return nil
	}
	half := len(claims) / 2
	return append(s.together(ctx, b, hyp, claims[:half], note), s.together(ctx, b, hyp, claims[half:], note)...)
}

// knownBy is what terms that are true say at once about terms in others.
func knownBy(b *smt.Builder, terms []smt.Term) map[smt.Term]smt.Term {
	by := map[smt.Term]smt.Term{}
	for _, t := range conjuncts(terms) {
		by[t], by[b.Not(t)] = b.True(), b.False()
		if t.Op() == smt.OpEq && t.Args()[1].Op() == smt.OpConst {
			by[t.Args()[0]] = t.Args()[1]
		}
	}
	return by
}

// under makes a claim simpler by what is known: under the hypotheses it is the same claim.
func (c *claim) under(b *smt.Builder, known map[smt.Term]smt.Term) {
	c.holds = b.Substitute(c.holds, known)
	if c.value == nil {
		return
	}
	if v := b.Substitute(c.value, known); v != c.value {
		c.value = v
		c.over, c.ranges = c.spread(v)
	}
}

// manyParts is from how many parts on a claim is shown part by part: a text or a list of
// arguments is a hundred small questions rather than a large one.
const manyParts = 24

// inParts shows a claim that consists of many parts: each for itself, and if it can be without
// the hypotheses.
func (s *solving) inParts(ctx context.Context, b *smt.Builder, hyp []smt.Term, c *claim) bool {
	parts := c.enough
	if len(parts) == 0 {
		if c.holds.Op() != smt.OpAnd || len(c.holds.Args()) < manyParts {
			return false
		}
		parts = c.holds.Args()
	}
	parts = slices.DeleteFunc(slices.Clone(parts), (*smt.Node).IsTrue)
	for len(parts) > 0 {
		n := min(len(parts), atOnce)
		if !s.allHold(ctx, b, hyp, parts[:n]) {
			return false
		}
		parts = parts[n:]
	}
	return true
}

// atOnce is how many parts of a claim are asked about together.
const atOnce = 8

// allHold shows parts of a claim, together or one by one, without the hypotheses or with them.
func (s *solving) allHold(ctx context.Context, b *smt.Builder, hyp, parts []smt.Term) bool {
	if s.ask(ctx, b.Not(b.And(parts...))).Result == smt.Unsat {
		return true
	}
	short, cancel := context.WithTimeout(ctx, s.query/jointShare)
	a := s.ask(short, append(slices.Clone(hyp), b.Not(b.And(parts...)))...)
	cancel()
	switch {
	case a.Result == smt.Unsat:
		return true
	case a.Result == smt.Sat || len(parts) == 1 && ctx.Err() != nil:
		return false
	case len(parts) == 1:
		return s.ask(ctx, append(slices.Clone(hyp), b.Not(parts[0]))...).Result == smt.Unsat
	}
	half := len(parts) / 2
	return s.allHold(ctx, b, hyp, parts[:half]) && s.allHold(ctx, b, hyp, parts[half:])
}

// inRanges shows a claim range by range, with the term replaced in the hypotheses too. If
// the term is a variable that is replaced by all that it can be, a model of one range is one
// of the whole. What else hypotheses say of the parts of a term that is no variable is
// lost: more is shown than is asked, and a model means nothing.
func (s *solving) inRanges(ctx context.Context, b *smt.Builder, hyp []smt.Term, c *claim) (holds bool, model smt.Model) {
	for _, r := range c.ranges {
		by := map[smt.Term]smt.Term{c.over: r}
		t := b.Substitute(c.holds, by)
		if t.IsTrue() {
			continue
		}
		terms := []smt.Term{b.Not(t)}
		for _, h := range hyp {
			terms = append(terms, b.Substitute(h, by))
		}
		switch a := s.ask(ctx, terms...); {
		case a.Result == smt.Sat && c.over.Op() == smt.OpVar:
			return false, replaced{b, by, a.Model}
		case a.Result != smt.Unsat:
			return false, nil
		}
	}
	return true, nil
}

// replaced is a model of terms in which variables were replaced.
type replaced struct {
	b  *smt.Builder
	by map[smt.Term]smt.Term
	m  smt.Model
}

// Value is part of smt.Model.
func (r replaced) Value(t smt.Term) uint64 { return r.m.Value(r.b.Substitute(t, r.by)) }

// doubtful says that a claim depends on something that is not modelled.
func (c *claim) doubtful(hyp []smt.Term) string {
	for _, v := range smt.Vars(append(slices.Clone(hyp), c.holds)...) {
		if in := symbolic.InputOf(v); in != nil && in.Kind == symbolic.Unknown {
			return "it depends on what is not modelled: " + in.Name
		}
	}
	return ""
}

// number shows a number for people.
func number(v uint64, signed bool) string {
	if signed && int64(v) < 0 {
		return fmt.Sprint(int64(v))
	}
	if v < 10 {
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("%d (%#x)", v, v)
}

// quoted shows bytes as a text, if they are one.
func quoted(data []byte) string {
	text, rest, _ := strings.Cut(string(data), "\x00")
	if strings.Trim(rest, "\x00") != "" {
		return fmt.Sprintf("%q, and behind it % x", text, rest)
	}
	return fmt.Sprintf("%q", text)
}
