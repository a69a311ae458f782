package compare

import (
	"slices"
	"strings"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// renamer keeps apart what belongs to the run of one program from that of the other. Both run from
// one invocation, so that the same input is the same variable; but what a program finds on its
// stack, what a helper gives at one of its instructions, or where its maps lie, has nothing to do
// with what the other finds at its instruction of the same number. In terms of the right program such
// variables get other names.
type renamer struct {
	b    *smt.Builder
	twin map[smt.Term]smt.Term // of a variable
	done map[smt.Term]smt.Term
	of   map[smt.Term]smt.Term // from a twin to the variable
}

func newRenamer(b *smt.Builder) *renamer {
	return &renamer{b: b, twin: map[smt.Term]smt.Term{}, done: map[smt.Term]smt.Term{}, of: map[smt.Term]smt.Term{}}
}

// own tells whether a variable belongs to the run of one program.
func own(v smt.Term) bool {
	in := symbolic.InputOf(v)
	if in == nil {
		return true
	}
	for _, shared := range []string{"bits above ", "padding of the context", "headroom["} { // garbage that the hook hands to both
		if strings.HasPrefix(in.Name, shared) {
			return false
		}
	}
	return in.Kind == symbolic.Poison || in.Kind == symbolic.Unknown || in.Pc >= 0 && strings.Contains(v.Info().Name, " at ") ||
		strings.HasPrefix(in.Name, "address of ") || strings.Contains(v.Info().Name, " at ")
}

// term is a term of the right program, with variables of its own.
func (r *renamer) term(t smt.Term) smt.Term {
	if t == nil {
		return nil
	}
	if n, ok := r.done[t]; ok {
		return n
	}
	by := map[smt.Term]smt.Term{}
	for _, v := range smt.Vars(t) {
		if !own(v) {
			continue
		}
		w := r.twin[v]
		if w == nil {
			info := v.Info()
			w = r.b.Var(v.Width(), &smt.Info{Name: info.Name + " of the other", Data: info.Data})
			r.twin[v], r.of[w] = w, v
		}
		by[v] = w
	}
	n := t
	if len(by) > 0 {
		n = r.b.Substitute(t, by)
	}
	r.done[t] = n
	return n
}

func (r *renamer) terms(list []smt.Term) []smt.Term {
	out := make([]smt.Term, len(list))
	for i, t := range list {
		out[i] = r.term(t)
	}
	return out
}

// aligned says that what belongs to one run only was the same in both: of helpers called for the
// same, the first in one gives what the first in the other does, and so on. It is for examples,
// never for proofs.
func (r *renamer) aligned(vars []smt.Term) []smt.Term {
	type name struct {
		of         string
		invocation int
		bits       uint
	}
	var order []name
	groups := map[name]*[2][]smt.Term{}
	for _, v := range vars {
		in := symbolic.InputOf(v)
		if in == nil || in.Kind == symbolic.Poison || !own(v) {
			continue
		}
		n := name{in.Name, in.Invocation, v.Width()}
		if groups[n] == nil {
			groups[n] = &[2][]smt.Term{}
			order = append(order, n)
		}
		who := left
		if r.of[v] != nil {
			who = right
		}
		groups[n][who] = append(groups[n][who], v)
	}
	var out []smt.Term
	for _, n := range order {
		g := groups[n]
		for _, list := range g {
			slices.SortStableFunc(list, func(a, b smt.Term) int { return symbolic.InputOf(a).Pc - symbolic.InputOf(b).Pc })
		}
		for i := range min(len(g[left]), len(g[right])) {
			out = append(out, r.b.Eq(g[left][i], g[right][i]))
		}
	}
	return out
}

// rightModel is a model for terms of the right program as the machine made them.
type rightModel struct {
	smt.Model
	r *renamer
}

// Value is part of smt.Model.
func (m rightModel) Value(t smt.Term) uint64 { return m.Model.Value(m.r.term(t)) }
