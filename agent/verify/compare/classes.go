package compare

import (
	"context"
	"fmt"
	"slices"
)

// Classes divides programs into classes that do the same, the largest first; of equally large
// ones that with the earlier program. The differences are between the first programs of two classes. A class
// says in its doubts of which earlier ones it is not known whether they differ from it.
func Classes(ctx context.Context, programs []Program, opt Options) ([]Class, []*Difference, error) {
	var classes []Class
	var differences []*Difference
	for i, p := range programs {
		if p.Name == "" {
			p.Name = fmt.Sprintf("program %d", i+1)
		}
		at, doubts := -1, []string(nil)
		for c := range classes {
			first := programs[classes[c].Members[0]]
			if first.Name == "" {
				first.Name = fmt.Sprintf("program %d", classes[c].Members[0]+1)
			}
			r, err := Compare(ctx, first, p, opt)
			if err != nil {
				return nil, nil, err
			}
			switch r.Verdict {
			case Same:
				at = c
				classes[c].Within = shorter(classes[c].Within, r.Within)
				classes[c].OneProcessor = classes[c].OneProcessor || r.OneProcessor
			case Different:
				differences = append(differences, r.Difference)
			default:
				doubts = append(doubts, fmt.Sprintf("whether it does the same as %s is not known: %s", first.Name, firstOf(r.Reasons)))
			}
			if at >= 0 {
				break
			}
		}
		if at >= 0 {
			classes[at].Members = append(classes[at].Members, i)
			continue
		}
		classes = append(classes, Class{Members: []int{i}, Doubts: doubts})
	}
	slices.SortStableFunc(classes, func(a, b Class) int { return len(b.Members) - len(a.Members) })
	return classes, differences, nil
}

// shorter is the lesser of two lengths of which 0 is any.
func shorter(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func firstOf(reasons []string) string {
	if len(reasons) == 0 {
		return "no reason was given"
	}
	return reasons[0]
}
