package compare

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// moment is a point in a scenario: some invocations have happened since both programs were
// loaded, and their effects were the same so far.
type moment struct {
	steps []step
	world [2]*symbolic.World
	hyp   []smt.Term
}

// step is one invocation of a scenario.
type step struct {
	at         place
	inv        *symbolic.Invocation
	n          int
	begin, end bool // of a call
}

// searching goes through scenarios, the shortest first.
type searching struct {
	begin [2]*symbolic.World
	*session
	ctx context.Context
	// cpu is the processor on which all happens; nil: each invocation is on any one.
	cpu smt.Term
	// severalCPUs says that what was not followed was about several processors.
	severalCPUs bool
	// arrays are the bytes that the difference at hand is about.
	arrays []smt.Term
}

// maxMoments bounds how many moments of one length are followed.
const maxMoments = 64

// rates finds programs that sample at different rates.
func (x *searching) rates() *Difference {
	for _, p := range x.places {
		if p.kind != program.PerfEvent || p.prog[left] == "" || p.prog[right] == "" {
			continue
		}
		var hz [2]int
		for i, s := range x.side {
			for _, m := range s.Manifest.Programs {
				if m.Name == p.prog[i] {
					hz[i] = m.Hook.Hz
				}
			}
		}
		if hz[left] != hz[right] {
			n := x.names()
			return &Difference{A: n[left], B: n[right], Kind: Setting, Subject: p.name, ADoes: fmt.Sprintf("takes %d samples a second", hz[left]),
				BDoes: fmt.Sprintf("takes %d", hz[right]), Asks: fmt.Sprintf("should %d or %d samples be taken a second?", hz[left], hz[right])}
		}
	}
	return nil
}

// depths finds programs that show stacks of different depths.
func (x *searching) depths() *Difference {
	var frames [2]uint32
	for who, s := range x.side {
		for _, m := range s.Object.Maps() {
			if m.Role == program.RoleStacks && s.maps()[m.Name] != nil {
				frames[who] = max(frames[who], s.maps()[m.Name].ValueSize/8)
			}
		}
	}
	if frames[left] == frames[right] || frames[left] == 0 || frames[right] == 0 {
		return nil
	}
	n := x.names()
	return &Difference{A: n[left], B: n[right], Kind: Form, Subject: "stacks", ADoes: fmt.Sprintf("shows up to %d frames of a stack", frames[left]),
		BDoes: fmt.Sprintf("shows up to %d", frames[right]), Asks: fmt.Sprintf("should stacks be shown up to %d or up to %d frames?", frames[left], frames[right])}
}

// asSet is the name of the assumption about parameters that are not asked for all values.
const asSet = "as set"

// decide finds the verdict: first with each invocation on any processor; if elements that are kept for
// each processor stand in the way of that, with all of them on one.
func (x *searching) decide(r *Result) error {
	if err := x.attempt(r); err != nil || r.Verdict != Unknown || !x.severalCPUs {
		return err
	}
	x.doubts = nil
	x.cpu = x.b.Var(32, &smt.Info{Name: "cpu", Data: &symbolic.Input{Kind: symbolic.Data, Name: "cpu", Invocation: -1, Bits: 32, Pc: -1}})
	x.assumes(oneProcessor)
	again := &Result{}
	if err := x.attempt(again); err != nil {
		return err
	}
	*r = *again
	return nil
}

// oneProcessor is the name of the assumption that all happens on one processor.
const oneProcessor = "one processor"

func (x *searching) attempt(r *Result) error {
	wa := x.machine.NewWorld(x.side[left].any(), symbolic.WorldOptions{Default: symbolic.Fresh, Params: x.params})
	wb := x.machine.NewWorld(x.side[right].any(), symbolic.WorldOptions{Default: symbolic.Fresh, Params: x.params, Beside: wa})
	x.begin = [2]*symbolic.World{wa, wb}
	at := []*moment{{world: x.begin}}
	defer func() { r.Assumptions = x.assumptions() }()
	done := 0
	var inductive error
	for n := 1; n <= x.limits.Scenario; n++ {
		next, d := x.longer(at)
		if d != nil {
			r.Verdict, r.Difference = Different, d
			return nil
		}
		if len(x.doubts) > 0 {
			break
		}
		done = n
		if len(next) == 0 {
			r.Verdict, r.How = Same, "neither remembers anything from one invocation to the next"
			if x.cpu != nil {
				r.Within, r.OneProcessor = n, true
			}
			if n > 1 {
				r.How = fmt.Sprintf("no sequence of invocations leaves anything to remember that %d of them do not", n-1)
			}
			return nil
		}
		if n == 1 && x.cpu == nil {
			if inductive = x.induct(); inductive == nil {
				r.Verdict, r.How = Same, "whatever both have come to remember, they do the same with it and remember the same again"
				return nil
			}
		}
		if len(next) > maxMoments && n < x.limits.Scenario {
			x.doubt("there are more than %d ways in which %d invocations can go; longer sequences were not tried", maxMoments, n)
			break
		}
		at = next
	}
	r.Reasons = slices.Clone(x.doubts)
	if done < 2 { // of programs that remember something one invocation says next to nothing
		return nil
	}
	r.Verdict, r.Within, r.OneProcessor = Same, done, x.cpu != nil
	r.How = fmt.Sprintf("no sequence of up to %d invocations from fresh maps on tells them apart", done)
	if inductive != nil {
		r.Reasons = append(r.Reasons, "longer ones were not ruled out: "+inductive.Error())
	}
	return nil
}

// longer extends all moments by one invocation.
func (x *searching) longer(at []*moment) ([]*moment, *Difference) {
	var next []*moment
	for _, m := range at {
		for _, p := range x.places {
			if x.ctx.Err() != nil {
				x.doubt("there was no time left after %d scenarios", x.scenarios)
				return nil, nil
			}
			x.scenarios++
			more, d, err := x.extend(m, p)
			if err != nil {
				x.doubt("%s: %v", p.name, err)
				continue
			}
			if d != nil {
				return nil, d
			}
			next = append(next, more...)
		}
	}
	return next, nil
}

// extend adds an invocation of a place to a scenario.
func (x *searching) extend(m *moment, p place) ([]*moment, *Difference, error) {
	n := len(m.steps)
	runs, err := x.runs(p, n, m.world)
	if err != nil {
		return nil, nil, err
	}
	now := step{at: p, inv: runs[left][0].inv, n: n}
	now.begin, now.end = endsOf(p.name)
	hyp := slices.Concat(m.hyp, now.inv.Assume(), x.between(m.steps, now))
	steps := append(slices.Clone(m.steps), now)
	var next []*moment
	for _, a := range runs[left] {
		for _, b := range runs[right] {
			pr := &both{s: x.session, place: p, a: a, b: b}
			d, possible, err := x.pair(pr, &suspect{before: m, steps: steps, runs: runs}, hyp)
			if err != nil {
				x.doubt("%s: %v", p.name, err)
				continue
			}
			if d != nil {
				return nil, d, nil
			}
			if possible && (x.changes(a) || x.changes(b) || now.end && x.given("returns")) {
				all := slices.Concat(hyp, a.cond(), b.cond())
				next = append(next, &moment{steps: steps, world: [2]*symbolic.World{a.after, b.after}, hyp: append(all, x.room(all)...)})
			}
		}
	}
	return next, nil, nil
}

// runs are the paths of both programs at a place.
func (x *searching) runs(p place, n int, from [2]*symbolic.World) ([2][]*ran, error) {
	var out [2][]*ran
	var inv *symbolic.Invocation
	for who, s := range x.side {
		prog := s.progs[p.prog[who]]
		if prog == nil {
			continue
		}
		var err error
		if inv == nil {
			if inv, err = x.machine.Invoke(prog, symbolic.Start{N: n, Cpu: x.cpu}); err != nil {
				return out, err
			}
		}
		o, err := x.machine.Run(x.ctx, prog, inv, from[who])
		if err != nil {
			return out, err
		}
		for _, r := range o.Unknown {
			x.doubt("at %s, not all that %s can do was explored: %s", p.name, s.Name, r.What)
		}
		if len(o.Paths) == 0 {
			x.doubt("at %s, %s does not come to an end", p.name, s.Name)
		}
		for _, path := range o.Paths {
			after := path.World
			if after == nil {
				after = from[who]
			}
			out[who] = append(out[who], &ran{s: x.session, who: who, path: path, prog: prog, inv: inv, from: from[who], after: after})
		}
	}
	for who := range out {
		if len(out[who]) == 0 {
			out[who] = []*ran{{s: x.session, who: who, inv: inv, from: from[who], after: from[who]}}
		}
	}
	return out, nil
}

// pair compares two paths: the difference that inputs can show, and whether inputs can take both.
func (x *searching) pair(pr *both, f *suspect, hyp []smt.Term) (*Difference, bool, error) {
	all := slices.Concat(hyp, pr.a.cond(), pr.b.cond())
	known := x.room(all)
	known = append(known, symbolic.Facts(x.b, append(all, known...)...)...)
	all = append(all, known...)
	switch a := x.ask(x.ctx, all...); a.Result {
	case smt.Unsat:
		return nil, false, nil
	case smt.Unknown:
		x.doubt("at %s, whether inputs can go that way was not settled: %s", pr.place.name, a.Why)
		return nil, true, nil
	}
	if err := x.followed(pr); err != nil {
		return nil, true, err
	}
	if err := pr.effects(); err != nil {
		return nil, true, err
	}
	for _, c := range pr.out {
		if c.holds.IsTrue() {
			continue
		}
		query := append(slices.Clone(all), x.b.Not(c.holds))
		query = append(query, x.room(query)...)
		query = append(query, symbolic.Facts(x.b, query...)...)
		a := x.ask(x.ctx, query...)
		switch a.Result {
		case smt.Unsat:
		case smt.Unknown:
			x.doubt("at %s, whether %s can differ was not settled: %s", pr.place.name, c.subject, a.Why)
		default:
			if c.doubt != "" {
				x.doubt("at %s, %s", pr.place.name, c.doubt)
				continue
			}
			g := *f
			g.both, g.base, g.query, g.claim = pr, slices.Concat(hyp, known), query, c
			if d := x.confirm(&g); d != nil {
				return d, true, nil
			}
			x.doubt("at %s, %s may differ, by something that is not followed", pr.place.name, c.subject)
		}
	}
	return nil, true, nil
}

// followed tells whether all that two paths do is known.
func (x *searching) followed(pr *both) error {
	for _, r := range []*ran{pr.a, pr.b} {
		if r.path == nil {
			continue
		}
		name := x.side[r.who].Name
		switch {
		case r.path.Crash != nil:
			return fmt.Errorf("%s does what no kernel lets a program do: %s", name, r.path.Crash.What)
		case len(r.path.Unknown) > 0:
			x.severalCPUs = x.severalCPUs || strings.Contains(r.path.Unknown[0].What, "as several processors see them")
			return fmt.Errorf("what %s does is not followed: %s", name, r.path.Unknown[0].What)
		case len(r.path.Timers) > 0:
			return fmt.Errorf("%s sets a timer, and what runs later is not followed", name)
		}
	}
	return nil
}

// changes tells whether a path changes what is remembered.
func (x *searching) changes(r *ran) bool {
	if r.path == nil {
		return false
	}
	for _, e := range r.path.Effects {
		switch e.Op {
		case symbolic.Update, symbolic.Delete, symbolic.Write:
			if e.Map != nil && e.Map.Name != program.StatsMap {
				return true
			}
		}
	}
	return false
}

// room says of the choices that occur in terms that buffers and maps have room.
func (s *session) room(terms []smt.Term) []smt.Term {
	var out []smt.Term
	for _, v := range smt.Vars(terms...) {
		in := symbolic.InputOf(v)
		if in == nil || in.Kind != symbolic.Choice {
			continue
		}
		switch in.Event {
		case symbolic.RingFull, symbolic.MapFull, symbolic.Lost:
			out = append(out, s.b.Not(v))
			s.assumes("room")
		case symbolic.Absent:
			if strings.HasPrefix(in.Name, "evicted from ") {
				out = append(out, s.b.Not(v))
				s.assumes("lru")
			}
		}
	}
	return out
}

func (s *session) given(assumption string) bool { return slices.Contains(s.opt.Assume, assumption) }

// assumptionWords are what may be taken for granted, by its name in contracts.
var assumptionWords = map[string]string{
	"room":       "ring buffers and maps have room; where they have not, kgent counts what is lost and says so",
	"lru":        "a map that drops its oldest entries when full still has the ones that are asked for",
	asSet:        "parameters that only one of the programs has, or that are set differently, have the values that they are set to",
	oneProcessor: "all happens on one processor",
	"returns":    "a call that was seen to begin on a thread ends on that thread before the next one begins there",
}

func (s *session) assumptions() []string {
	out := []string{"no other processor changes what a program remembers while it uses it", "within one run of a program the clock stands still; later runs see later times"}
	for _, n := range []string{asSet, oneProcessor, "room", "lru", "returns"} {
		if s.assumed[n] {
			out = append(out, assumptionWords[n])
		}
	}
	for _, p := range s.params {
		if p != selfParam {
			return append(out, "parameters that both have are set alike")
		}
	}
	return out
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

// between is how an invocation is related to those before it: it comes later, equal thread
// ids mean one thread of one process, and, if that is assumed, a call begins on a thread only
// after the one before has ended there.
func (x *searching) between(before []step, now step) []smt.Term {
	b := x.b
	var out []smt.Term
	tid, tgid := numberAt(now.inv, "current.tid"), numberAt(now.inv, "current.tgid")
	for i, s := range before {
		then, later := numberAt(s.inv, "now"), numberAt(now.inv, "now")
		if then != nil && later != nil && i == len(before)-1 {
			out = append(out, b.Ult(then, later))
		}
		t, g := numberAt(s.inv, "current.tid"), numberAt(s.inv, "current.tgid")
		if t == nil || tid == nil {
			continue
		}
		out = append(out, b.Implies(b.Eq(t, tid), b.Eq(g, tgid)))
		if now.begin && s.begin && x.given("returns") {
			x.assumes("returns")
			ended := []smt.Term{b.Ne(t, tid)}
			for _, k := range before[i+1:] {
				if k.end {
					ended = append(ended, b.Eq(numberAt(k.inv, "current.tid"), tid))
				}
			}
			out = append(out, b.Or(ended...))
		}
	}
	return out
}

// numberAt is an input that is a number; nil if the hook has none.
func numberAt(inv *symbolic.Invocation, name string) smt.Term {
	in, ok := inv.Input(name)
	if !ok {
		return nil
	}
	return in.Term
}
