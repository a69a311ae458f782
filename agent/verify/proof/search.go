package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// moment is a point in a scenario: some invocations have happened since the program was
// loaded, and program and contract have had the same effects so far.
type moment struct {
	steps  []step
	world  *symbolic.World
	ledger *ledger
	hyp    []smt.Term
}

// step is one invocation of a scenario.
type step struct {
	place *placeBinding
	visit *visit
	ret   bool // it is the end of a call
	begin bool // it is the beginning of one
}

// difference is an effect of the last step of a scenario in which program and contract
// differ.
type difference struct {
	steps []step
	from  *moment // before the last step
	refusal
}

// searching is a search for a counterexample.
type searching struct {
	*session
	ctx   context.Context
	tried int
	// places in the order in which they are tried: those first where the proof failed.
	places []*placeBinding
}

// maxMoments bounds how many moments of one length are followed.
const maxMoments = 64

// search looks for a counterexample among short scenarios, the shortest first. It sets
// the verdict only if what it finds happens again with concrete numbers.
func (s *session) search(ctx context.Context, r *Report, d *induction) {
	x := &searching{session: s, ctx: ctx}
	suspects := map[string]bool{}
	if d != nil {
		for _, f := range d.failed {
			for i := range s.bound.places {
				if p := &s.bound.places[i]; strings.HasPrefix(f.claim.id, p.name+"/") {
					suspects[p.name] = true
				}
			}
		}
	}
	for i := range s.bound.places {
		x.places = append(x.places, &s.bound.places[i])
	}
	slices.SortStableFunc(x.places, func(a, b *placeBinding) int {
		switch {
		case suspects[a.name] == suspects[b.name]:
			return 0
		case suspects[a.name]:
			return -1
		}
		return 1
	})
	err := guarded(func() error { return x.run(r) })
	if err != nil {
		r.Reasons = append(r.Reasons, "searching for a counterexample: "+err.Error())
	}
	r.Stats.Scenarios = x.tried
}

func (x *searching) run(r *Report) error {
	// The counters hold what was counted before: one who overwrites them would have to be
	// watched twice.
	w := x.machine.NewWorld(x.anyProgram(), symbolic.WorldOptions{Default: symbolic.Fresh, Maps: map[string]symbolic.Content{statsMap: symbolic.Arbitrary}, Params: x.params})
	first := &moment{world: w}
	if x.checked != nil {
		ranges, err := x.ranges(w)
		if err != nil {
			return err
		}
		first.hyp = ranges
		first.ledger = &ledger{words: x.words, c: x.checked, base: nothing{x.words, x.checked}}
	}
	at := []*moment{first}
	var seen []string
	for n := range x.limits.Scenario {
		var next []*moment
		for _, m := range at {
			for _, p := range x.places {
				if x.ctx.Err() != nil {
					return fmt.Errorf("there was no time left after %d scenarios", x.tried)
				}
				found, more, err := x.extend(m, p)
				if err != nil {
					if text := fmt.Sprintf("%s: %v", p.name, err); !slices.Contains(seen, text) {
						seen = append(seen, text)
					}
					continue
				}
				for _, f := range found {
					if x.confirm(r, f) {
						return nil
					}
				}
				next = append(next, more...)
			}
		}
		if len(next) > maxMoments {
			next = next[:maxMoments]
		}
		if at = next; len(at) == 0 || n == 0 && !x.remembers() {
			break
		}
	}
	if len(seen) > 0 {
		return fmt.Errorf("%s", strings.Join(seen, "; "))
	}
	return nil
}

// remembers tells whether a second invocation can be different from the first.
func (x *searching) remembers() bool {
	for _, m := range x.maps() {
		if strings.HasPrefix(m.Name, ".") && !m.ReadOnly { // global variables
			return true
		}
	}
	return len(x.bound.internal) > 0 || len(x.bound.outputs) > 0 || x.checked != nil && len(x.checked.Memories) > 0
}

// extend adds an invocation of a place to a scenario: the differences there, and the
// moments after it that are not like the one before.
func (x *searching) extend(m *moment, p *placeBinding) (found []difference, next []*moment, err error) {
	x.tried++
	n := len(m.steps)
	v, err := x.visit(x.ctx, p, m.world, symbolic.Start{N: n})
	if err != nil {
		return nil, nil, err
	}
	now := step{place: p, visit: v}
	now.begin, now.ret = endsOf(p.name)
	hyp := slices.Concat(m.hyp, v.inv.Assume(), x.between(m.steps, now))
	runs := []*run{{after: m.ledger}}
	if x.checked != nil {
		runs, err = contractRuns(x.ctx, x.checked, p.place, v.ask, x.b, m.ledger, func(conds []smt.Term) (bool, error) {
			return x.ask(x.ctx, slices.Concat(hyp, conds)...).Result != smt.Unsat, nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	hyp = append(hyp, v.ask.assumed...)
	for _, path := range v.paths {
		if wrong := x.miscounted(m, now, v, path, hyp); len(wrong) > 0 {
			found = append(found, wrong...)
			continue
		}
		for _, r := range runs {
			f, after, err := x.pair(m, now, v, path, r, hyp)
			if err != nil {
				return nil, nil, err
			}
			found = append(found, f...)
			if after != nil {
				next = append(next, after)
			}
		}
	}
	return found, next, nil
}

// pair compares one path with one run.
func (x *searching) pair(m *moment, now step, v *visit, path *aPath, r *run, hyp []smt.Term) ([]difference, *moment, error) {
	all := slices.Concat(hyp, path.Cond, r.conds)
	all = append(all, x.room(all)...)
	all = append(all, x.facts(all)...)
	if x.ask(x.ctx, all...).Result != smt.Sat || len(path.Unknown) > 0 {
		return nil, nil, nil
	}
	steps := append(slices.Clone(m.steps), now)
	var found []difference
	add := func(f refusal) { found = append(found, difference{steps, m, f}) }
	h := &hygienist{session: x.session, ctx: x.ctx, v: v, path: path, hyp: all, found: newFindings(), refused: add}
	if err := h.check(); err != nil {
		return nil, nil, err
	}
	if path.Crash != nil {
		return found, nil, nil
	}
	if x.checked != nil {
		c := &comparer{words: x.words, c: x.checked, b: x.bound, place: now.place, maps: v.prog.Maps, path: path, run: r}
		if err := c.effects(); err != nil {
			return nil, nil, err
		}
		all = append(all, x.given(all, c.out)...)
		for _, f := range x.settle(x.ctx, x.b, all, c.out, func(*claim, Outcome, string, string, time.Duration) {}) {
			add(f)
		}
	}
	if !x.changed(m, path, r) {
		return found, nil, nil
	}
	return found, &moment{steps: steps, world: path.World, ledger: r.after, hyp: all}, nil
}

// miscounted are the counters that are wrong on a path. They alone are looked at where
// buffers and maps are full, too.
func (x *searching) miscounted(m *moment, now step, v *visit, path *aPath, hyp []smt.Term) []difference {
	var found []difference
	hyp = slices.Concat(hyp, path.Cond)
	hyp = append(hyp, x.facts(hyp)...)
	h := &hygienist{session: x.session, ctx: x.ctx, v: v, path: path, hyp: hyp, found: newFindings(), refused: func(f refusal) {
		found = append(found, difference{append(slices.Clone(m.steps), now), m, f})
	}}
	h.counts()
	return found
}

// changed tells whether something is remembered now that was not before.
func (x *searching) changed(m *moment, path *aPath, r *run) bool {
	if m.ledger != nil && len(r.after.log) > len(m.ledger.log) {
		return true
	}
	for _, e := range path.Effects {
		if e.Map != nil && (x.bound.internal[e.Map.Name] || strings.HasPrefix(e.Map.Name, ".")) {
			return true
		}
		if _, ok := x.bound.outputs[nameOfMap(e.Map)]; ok && len(m.steps) < 1 {
			return true
		}
	}
	return false
}

func nameOfMap(m *symbolic.Map) string {
	if m == nil {
		return ""
	}
	return m.Name
}

// endsOf tells whether a place is where calls begin, or where they end.
func endsOf(name string) (begin, end bool) {
	kind, target, _ := strings.Cut(name, "/")
	switch kind {
	case "kprobe", "fentry", "uprobe":
		return true, false
	case "kretprobe", "fexit", "uretprobe":
		return false, true
	}
	return strings.Contains(target, "sys_enter"), strings.Contains(target, "sys_exit")
}

// between is how an invocation is related to those before it: it comes later, equal
// thread ids mean one thread of one process, and, if the contract assumes that calls return,
// a call begins on a thread only after the one before has ended there.
func (x *searching) between(before []step, now step) []smt.Term {
	b := x.b
	var out []smt.Term
	tid, tgid := x.number32(now.visit, "current.tid"), x.number32(now.visit, "current.tgid")
	for i, s := range before {
		then, later := x.number32(s.visit, "now"), x.number32(now.visit, "now")
		if then != nil && later != nil && i == len(before)-1 {
			out = append(out, b.Ult(then, later))
		}
		t, g := x.number32(s.visit, "current.tid"), x.number32(s.visit, "current.tgid")
		if t == nil || tid == nil {
			continue
		}
		out = append(out, b.Implies(b.Eq(t, tid), b.Eq(g, tgid)))
		if now.begin && s.begin && x.written("returns") {
			ended := []smt.Term{b.Ne(t, tid)}
			for _, k := range before[i+1:] {
				if k.ret {
					ended = append(ended, b.Eq(x.number32(k.visit, "current.tid"), tid))
				}
			}
			out = append(out, b.Or(ended...))
		}
	}
	return out
}

// number32 is an input that is a number; nil if the hook has none.
func (x *searching) number32(v *visit, name string) smt.Term {
	in, ok := v.inv.Input(name)
	if !ok {
		return nil
	}
	return in.Term
}

// refuted is a difference that was confirmed, with what the program does.
type refuted struct {
	difference
	model smt.Model
	paths []*symbolic.Path // of the steps
}

// confirm replays a difference with concrete numbers. If it shows there it is reported.
func (x *searching) confirm(r *Report, f difference) bool {
	model := x.smaller(f)
	if model == nil {
		return false
	}
	paths, ok := x.replay(f, model)
	if !ok {
		return false
	}
	last := f.steps[len(f.steps)-1]
	expected, got := "", ""
	if f.claim.show != nil {
		expected, got = f.claim.show(model)
	}
	c := &Counterexample{Obligation: f.claim.id, Words: f.claim.words, Expected: expected, Got: got}
	for _, s := range f.steps {
		c.Scenario = append(c.Scenario, Step{s.place.name, x.inputsOf(s, f, model)})
	}
	if f.claim.pc >= 0 && f.claim.pc < len(last.visit.prog.Insns) {
		if l := lineOf(last.visit.prog.Insns[f.claim.pc].Line); l.Number > 0 {
			c.Line = &l
		}
	}
	if x.bound.script != nil {
		c.Line = x.scriptLine(f.claim.id)
	}
	c.Path = linesOf(last.visit.prog, paths[len(paths)-1].Trace)
	if c.Line != nil && strings.HasSuffix(c.Line.File, "kgent.bpf.h") { // not where the mistake is
		c.Line = nil
	}
	r.Verdict, r.Counterexample = Refuted, c
	x.refuted = &refuted{f, model, paths}
	r.Reasons = append([]string{fmt.Sprintf("%s: expected %s, got %s", f.claim.words, expected, got)}, r.Reasons...)
	x.failedIn(r, f)
	return true
}

// failedIn marks the obligation that the counterexample breaks.
func (x *searching) failedIn(r *Report, f difference) {
	i := slices.IndexFunc(r.Obligations, func(o Obligation) bool { return o.ID == f.claim.id })
	if i < 0 {
		r.Obligations = append(r.Obligations, Obligation{ID: f.claim.id, Words: f.claim.words})
		i = len(r.Obligations) - 1
	}
	r.Obligations[i].Outcome, r.Obligations[i].How = Fails, ""
	r.Obligations[i].Why = "there is a counterexample"
}

// replay runs a scenario again, each branch as the model has it: one path for each step,
// whose conditions hold in the model, and whose effects differ from the contract's there.
func (x *searching) replay(f difference, m smt.Model) ([]*symbolic.Path, bool) {
	for _, t := range f.hyp {
		if m.Value(t) != 1 {
			return nil, false
		}
	}
	w := f.steps[0].visit.from
	var paths []*symbolic.Path
	var led *ledger
	if x.checked != nil {
		led = &ledger{words: x.words, c: x.checked, base: nothing{x.words, x.checked}}
	}
	for i, s := range f.steps {
		inv := s.visit.inv.Follow(m)
		out, err := x.machine.Run(x.ctx, s.visit.prog, inv, w)
		if err != nil || len(out.Unknown) > 0 || len(out.Paths) != 1 || len(out.Paths[0].Unknown) > 0 {
			return nil, false
		}
		shown := x.asShown(out.Paths)
		if len(shown) != 1 || len(shown[0].Unknown) > 0 {
			return nil, false
		}
		path := shown[0]
		for _, t := range path.Cond {
			if m.Value(t) != 1 {
				return nil, false
			}
		}
		paths = append(paths, path)
		r := &run{after: led}
		if x.checked != nil {
			if r = x.concreteRun(s, led, m); r == nil {
				return nil, false
			}
			led = r.after
		}
		if i == len(f.steps)-1 {
			return paths, x.differs(f, s, w, path, r, m)
		}
		w = path.World
	}
	return nil, false
}

// concreteRun is what the contract does in a step: the run whose conditions hold in the
// model.
func (x *searching) concreteRun(s step, led *ledger, m smt.Model) *run {
	runs, err := contractRuns(x.ctx, x.checked, s.place.place, s.visit.ask, x.b, led, func(conds []smt.Term) (bool, error) {
		for _, c := range conds {
			if m.Value(c) != 1 {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil || len(runs) != 1 {
		return nil
	}
	return runs[0]
}

// differs compares the effects of the last step under the model: the same obligation must
// fail.
func (x *searching) differs(f difference, s step, w *symbolic.World, path *symbolic.Path, r *run, m smt.Model) bool {
	a := &aPath{Path: path, post: worldStore{path.World, cpuAt(s.visit.inv)}, cells: x.cellsOf(s.visit.inv, w, path)}
	if path.Crash != nil || f.claim.rule || x.checked == nil {
		return x.unclean(f, s, a, m)
	}
	c := &comparer{words: x.words, c: x.checked, b: x.bound, place: s.place, maps: s.visit.prog.Maps, path: a, run: r}
	if c.effects() != nil {
		return false
	}
	return slices.ContainsFunc(c.out, func(k *claim) bool { return k.id == f.claim.id && m.Value(k.holds) == 0 })
}

// unclean tells whether an obligation that every program has fails on the concrete
// path too.
func (x *searching) unclean(f difference, s step, a *aPath, m smt.Model) bool {
	again := false
	v := *s.visit
	h := &hygienist{session: x.session, ctx: x.ctx, v: &v, path: a, hyp: f.hyp, found: newFindings(),
		refused: func(r refusal) { again = again || r.claim.id == f.claim.id }}
	if h.check() != nil {
		return false
	}
	return again
}

// inputsOf are the inputs of a step that matter for a difference.
func (x *searching) inputsOf(s step, f difference, m smt.Model) []Named {
	var vars []smt.Term
	for _, v := range smt.Vars(append(slices.Clone(f.hyp), f.claim.holds)...) {
		if in := symbolic.InputOf(v); in != nil && (in.Invocation == s.visit.number() || in.Invocation < 0 && s.visit.number() == 0) {
			vars = append(vars, v)
		}
	}
	return namedVars(m, vars)
}

func lineOf(l symbolic.Line) Line { return Line{l.File, l.Number, l.Text} }

// linesOf are the lines of the program that a run passed, each once in a row. Those of
// kgent's header are nobody's to change.
func linesOf(p *symbolic.Program, trace []int) []Line {
	var out []Line
	for _, pc := range trace {
		if pc < 0 || pc >= len(p.Insns) {
			continue
		}
		l := lineOf(p.Insns[pc].Line)
		if l.Number == 0 || strings.HasSuffix(l.File, "kgent.bpf.h") || len(out) > 0 && out[len(out)-1] == l {
			continue
		}
		out = append(out, l)
	}
	return out
}
