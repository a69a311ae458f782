package proof

import (
	"slices"
	"strings"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// maxWishes bounds how many inputs get a value that people like to read.
const maxWishes = 48

// smaller finds a model of a difference whose values are small and tell things
// apart: port 443, a thread id that is not the process id, two different addresses.
func (x *searching) smaller(f difference) smt.Model {
	fixed := append(slices.Clone(f.hyp), x.b.Not(f.claim.holds))
	all := smt.Vars(fixed...)
	fixed = append(fixed, symbolic.Apart(x.b, all)...)
	fixed = append(fixed, symbolic.Texts(x.b, all, wholeText)...)
	model := x.modelOf(f, fixed)
	if model == nil || f.claim.over != nil {
		return model
	}
	vars := smt.Vars(fixed...)
	slices.SortStableFunc(vars, func(a, b smt.Term) int { return weight(a) - weight(b) })
	var wished []smt.Wish
	for i, v := range vars {
		if in := symbolic.InputOf(v); in != nil && len(wished) < maxWishes {
			wished = append(wished, smt.Wish{Var: v, Values: wishes(in, v.Width(), i)})
		}
	}
	ask := func(terms ...smt.Term) smt.Answer { return x.ask(x.ctx, terms...) }
	return x.b.Prefer(model, fixed, wished, ask, func() bool { return x.ctx.Err() == nil })
}

// modelOf is a model of all formulas that a counterexample has to fulfil; nil if there is none.
func (x *searching) modelOf(f difference, fixed []smt.Term) smt.Model {
	if f.claim.over != nil && f.claim.over.Op() == smt.OpVar {
		c := *f.claim
		_, model := x.inRanges(x.ctx, x.b, fixed, &c)
		return model
	}
	a := x.ask(x.ctx, fixed...)
	if a.Result != smt.Sat {
		return nil
	}
	return a.Model
}

// weight orders inputs: what people look at first gets its wish first.
func weight(v smt.Term) int {
	in := symbolic.InputOf(v)
	switch {
	case in == nil:
		return 9
	case in.Kind == symbolic.Choice:
		return 0
	case in.Kind == symbolic.Param:
		return 1
	case in.Order == symbolic.BigOrder:
		return 2
	case in.Kind == symbolic.Pointer:
		return 5
	case v.Width() == 8:
		return 6
	}
	return 3
}

// wishes are values for an input, the best first.
func wishes(in *symbolic.Input, bits uint, i int) []uint64 {
	n := uint64(max(in.Invocation, 0))
	switch {
	case in.Kind == symbolic.Choice:
		return []uint64{0}
	case in.Kind == symbolic.Param:
		return []uint64{0, ^uint64(0) >> (64 - bits)}
	case in.Order == symbolic.BigOrder && bits == 16:
		return []uint64{0xbb01} // 443
	case in.Order == symbolic.BigOrder && bits == 32:
		return []uint64{uint64(i%200+1)<<24 | 0x00000a} // 10.0.0.i
	case strings.HasSuffix(in.Name, ".tgid"):
		return []uint64{1000}
	case strings.HasSuffix(in.Name, ".pid"):
		return []uint64{1001 + n, 1001, 1002}
	case in.Name == "now":
		return []uint64{1_000_000_000 * (n + 1)}
	case in.Kind == symbolic.Pointer:
		return []uint64{0xffff888000000000 + uint64(i+1)<<12}
	case bits == 8:
		return []uint64{0, 'a' + uint64(i%26)}
	case strings.HasSuffix(in.Name, "family"):
		return []uint64{2, 10}
	}
	return []uint64{0, uint64(i%50) + 2}
}
