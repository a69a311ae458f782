package recipes

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// refusal explains why no recipe fits.
func refusal(q *query, fits []fit) *NoMatchError {
	// The recipe that fails by least tells most about what is wrong.
	best := slices.Clone(fits)
	slices.SortStableFunc(best, func(a, b fit) int {
		return cmp.Or(-compareBool(a.about, b.about), cmp.Compare(a.faults(), b.faults()), -cmp.Compare(a.weight, b.weight), -cmp.Compare(a.score, b.score))
	})
	f := best[0]
	e := &NoMatchError{Reason: ReasonUnknown, Nearest: nearest(best)}
	for _, a := range q.args {
		if a.problem != "" && !a.soft {
			e.Reason, e.Why = ReasonParameter, a.problem
			if a.readings[0].role == rolePast {
				e.Reason = ReasonPast
			}
			return e
		}
	}
	all := q.units(make([]byte, len(q.words)))
	for _, special := range []struct {
		concept string
		reason  Reason
		why     string
	}{
		{conceptPast, ReasonPast, "kgent sees what happens from now on, not what has happened before (%q)"},
		{conceptNegation, ReasonExclusion, "recipes cannot leave things out (%q)"},
		{conceptSnapshot, ReasonPast, "kgent sees what happens from now on, not what is already there (%q)"},
	} {
		for _, u := range all {
			if slices.Contains(u.meaning.concepts, special.concept) && slices.ContainsFunc(f.strange, func(s unit) bool { return s.first <= u.first && u.first < s.last }) {
				last := min(u.last+2, len(q.words))
				e.Reason, e.Why = special.reason, fmt.Sprintf(special.why, q.said(u.first, last))
				return e
			}
		}
	}
	switch {
	case !f.about && len(f.strange) == 0:
		e.Why = "it does not say what to watch"
	case !f.about, len(f.strange) > 0:
		var said []string
		for _, u := range f.strange {
			if s := strconv.Quote(q.said(u.first, u.last)); !slices.Contains(said, s) && len(said) < 4 {
				said = append(said, s)
			}
		}
		if len(said) == 0 {
			e.Why = "it does not say what to watch"
		} else if f.about {
			e.Why = fmt.Sprintf("%s comes close but does not know about %s", f.recipe.Name, strings.Join(said, ", "))
		} else {
			e.Why = fmt.Sprintf("nothing is known about %s", strings.Join(said, ", "))
		}
	case len(f.refused) > 0:
		a := f.refused[0]
		role := a.readings[0].role
		e.Reason = ReasonParameter
		switch {
		case slices.ContainsFunc(f.bound, func(b binding) bool {
			return slices.ContainsFunc(a.readings, func(r reading) bool { return r.role == b.role })
		}):
			e.Why = fmt.Sprintf("%s takes one %s at a time, and the request names another (%q)", f.recipe.Name, nouns[role], q.said(a.first, a.last))
		case role == roleTop:
			e.Why = fmt.Sprintf("%s lists single occurrences, it has no table to take the first rows of (%q)", f.recipe.Name, q.said(a.first, a.last))
		case role == roleRate:
			e.Why = fmt.Sprintf("%s lists single occurrences and counts nothing (%q)", f.recipe.Name, q.said(a.first, a.last))
		default:
			e.Why = fmt.Sprintf("%s cannot be narrowed to a %s (%q)", f.recipe.Name, nouns[role], q.said(a.first, a.last))
		}
	default:
		e.Reason, e.Why = ReasonMissing, fmt.Sprintf("%s needs %s", f.recipe.Name, f.missing)
	}
	return e
}

// faults counts what keeps a recipe from fitting.
func (f fit) faults() int {
	n := 2*len(f.strange) + 2*len(f.refused)
	if f.missing != "" {
		n++
	}
	return n
}

// nearest returns the recipes to suggest.
func nearest(fits []fit) []*Recipe {
	var out []*Recipe
	for _, f := range fits {
		if len(out) < 3 && (f.about || f.score >= 0.25) {
			out = append(out, f.recipe)
		}
	}
	return out
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[1] >= 'A' && s[1] <= 'Z' {
		return s // TCP, DNS
	}
	return strings.ToLower(s[:1]) + s[1:]
}
