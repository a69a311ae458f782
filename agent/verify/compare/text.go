package compare

import (
	"fmt"
	"strings"
	"time"
)

// Text is the result for people: the verdict and how far it goes, or what happens.
func (r *Result) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %v: %s, %s\n", r.Verdict, r.Stats.Time.Round(time.Millisecond), plural(r.Stats.Scenarios, "scenario"), plural(r.Stats.Queries, "question"))
	if r.Verdict == Same {
		fmt.Fprintf(&b, "  %s: %s\n", r.Reach(), r.How)
	}
	for _, why := range r.Reasons {
		fmt.Fprintf(&b, "  %s\n", clean(why, 400))
	}
	if d := r.Difference; d != nil {
		for i, s := range d.Scenario {
			fmt.Fprintf(&b, "  %d. %s", i+1, s.Place)
			if in := inputWords(s.Inputs); in != "" {
				b.WriteString(" with " + in)
			}
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "  %s %s\n  %s %s\n  the question is: %s\n", clean(d.A, 64), d.ADoes, clean(d.B, 64), d.BDoes, d.Question())
	}
	if len(r.Assumptions) > 0 {
		fmt.Fprintf(&b, "\nassumptions\n  %s\n", strings.Join(r.Assumptions, "\n  "))
	}
	return b.String()
}

// Reach says for which inputs Same was shown.
func (r *Result) Reach() string {
	if r.Within == 0 {
		return "for all inputs"
	}
	out := "for all sequences of up to " + map[bool]string{true: "1 event", false: fmt.Sprintf("%d events", r.Within)}[r.Within == 1]
	if r.OneProcessor {
		out += " on one processor"
	}
	return out
}

// plural counts things: 1 path, 2 paths.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
