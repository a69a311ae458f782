package compare

import (
	"slices"

	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// override is a model in which some variables have other values.
type override struct {
	smt.Model
	other map[smt.Term]uint64
}

// Value is part of smt.Model.
func (o override) Value(t smt.Term) uint64 {
	return smt.Eval(t, func(v smt.Term) uint64 {
		if n, ok := o.other[v]; ok {
			return n
		}
		return o.Model.Value(v)
	})
}

// decisive is an input without whose value there would be no difference.
type decisive struct {
	v     smt.Term
	in    *symbolic.Input
	value uint64
	// alike is another value, with which both programs do the same; shows says that they
	// show something then.
	alike uint64
	shows bool
}

// Bounds of looking for what decides.
const (
	maxDecisive   = 48 // inputs
	maxCandidates = 16 // values of each
	maxNodes      = 20_000
)

// decisives finds the decisive inputs of a difference by trying other values, those first with which
// both show something. It is for words only: what it does not find is not said to be decisive.
func (x *searching) decisives(f *suspect, m smt.Model) []decisive {
	var conds []smt.Term
	for _, list := range f.runs {
		for _, r := range list {
			conds = append(conds, r.cond()...)
		}
	}
	vars := smt.Vars(append(slices.Clone(f.query), conds...)...)
	x.arrays = slices.DeleteFunc(slices.Clone(vars), func(v smt.Term) bool { return v.Width() != 8 || symbolic.InputOf(v) == nil })
	constants := constantsIn(append(conds, f.claim.holds))
	seen := map[[2]*ran]*outcome{}
	var out []decisive
	tried := 0
	for _, v := range vars {
		in := symbolic.InputOf(v)
		if in == nil || own(v) || in.Kind == symbolic.Stored || x.ctx.Err() != nil {
			continue
		}
		if tried++; tried > maxDecisive {
			break
		}
		is := m.Value(v)
		best := decisive{v: v, in: in, value: is}
		found := false
		for _, n := range candidates(v, is, constants, vars, m) {
			agree, shows := x.at(f, override{m, map[smt.Term]uint64{v: n}}, seen)
			if agree && (!found || shows && !best.shows) {
				found, best.alike, best.shows = true, n, shows
			}
			if found && best.shows {
				break
			}
		}
		if found {
			out = append(out, best)
		}
	}
	slices.SortStableFunc(out, func(a, b decisive) int {
		switch {
		case a.shows != b.shows && a.shows:
			return -1
		case a.shows != b.shows:
			return 1
		}
		return rank(a.in) - rank(b.in)
	})
	return out
}

// rank orders decisive inputs: what says most comes first.
func rank(in *symbolic.Input) int {
	switch {
	case isResult(in):
		return 0
	case in.Kind == symbolic.Choice:
		return 5
	case in.Kind == symbolic.Param:
		return 4
	case in.Kind == symbolic.Pointer:
		return 6
	case in.Name == "now" || in.Name == "now.boot" || in.Name == "packet.len":
		return 5
	}
	return weightOfName(in.Name)
}

// outcome is what two paths make of a step.
type outcome struct {
	claims []*claim
	shows  bool
	fails  bool
}

// at tells what the last step is under another model: whether inputs can be so, and both do the same.
func (x *searching) at(f *suspect, m smt.Model, seen map[[2]*ran]*outcome) (agree, shows bool) {
	holds := func(t smt.Term) bool { return m.Value(t) == 1 }
	all := func(list []smt.Term) bool {
		for _, t := range list {
			if !holds(t) {
				return false
			}
		}
		return true
	}
	if !all(f.base) {
		return false, false
	}
	var taken [2]*ran
	for who, list := range f.runs {
		for _, r := range list {
			if all(r.cond()) {
				taken[who] = r
				break
			}
		}
		if taken[who] == nil {
			return false, false
		}
	}
	o := seen[taken]
	if o == nil {
		pr := &both{s: x.session, place: f.place, a: taken[left], b: taken[right]}
		o = &outcome{fails: x.followed(pr) != nil || pr.effects() != nil, claims: pr.out}
		o.shows = x.shown(taken[left]) || x.shown(taken[right])
		seen[taken] = o
	}
	if o.fails {
		return false, false
	}
	for _, c := range o.claims {
		if !holds(c.holds) {
			return false, false
		}
	}
	return true, o.shows
}

// shown tells whether people see something of a path.
func (x *searching) shown(r *ran) bool {
	if r.path == nil {
		return false
	}
	for _, e := range r.path.Effects {
		switch e.Op {
		case symbolic.Update, symbolic.Write, symbolic.Delete:
			if e.Map != nil && !x.side[r.who].kept[e.Map.Name] && e.Map.Name != program.StatsMap && e.Map.Name[0] != '.' {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// constantsIn are the numbers that terms mention, each once, in the order in which they are met.
func constantsIn(terms []smt.Term) []uint64 {
	var out []uint64
	seen := map[smt.Term]bool{}
	var walk func(t smt.Term)
	walk = func(t smt.Term) {
		if seen[t] || len(seen) > maxNodes {
			return
		}
		seen[t] = true
		if n, ok := t.Const(); ok && !slices.Contains(out, n) && len(out) < 64 {
			out = append(out, n)
		}
		for _, a := range t.Args() {
			walk(a)
		}
	}
	for _, t := range terms {
		walk(t)
	}
	return out
}

// candidates are other values of a variable that may make a difference go away.
func candidates(v smt.Term, is uint64, constants []uint64, vars []smt.Term, m smt.Model) []uint64 {
	mask := ^uint64(0) >> (64 - v.Width())
	var out []uint64
	add := func(n uint64) {
		if n &= mask; n != is && !slices.Contains(out, n) && len(out) < maxCandidates {
			out = append(out, n)
		}
	}
	if v.Width() == 1 {
		return []uint64{1 - is}
	}
	for _, n := range []uint64{0, 1, 2, 10} {
		add(n)
	}
	for _, w := range vars {
		if w != v && w.Width() == v.Width() && len(out) < 8 {
			add(m.Value(w))
		}
	}
	for _, n := range constants {
		if n <= mask || ^n <= mask {
			add(n)
		}
	}
	for _, n := range []uint64{is + 1, is - 1, mask} {
		add(n)
	}
	return out
}
