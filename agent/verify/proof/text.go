package proof

import (
	"fmt"
	"strings"
	"time"
)

// maxLines bounds how many lines of a path are shown.
const maxLines = 12

// Text is the report for people: the verdict, what was shown and how, and for a refutation
// what happens.
func (r *Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %v: %s, %s\n", r.Verdict, r.Stats.Time.Round(time.Millisecond), plural(r.Stats.Paths, "path"), plural(r.Stats.Queries, "question"))
	for _, why := range r.Reasons {
		fmt.Fprintf(&b, "  %s\n", why)
	}
	if r.Counterexample != nil {
		b.WriteString("\n")
		r.Counterexample.text(&b)
	}
	b.WriteString("\nobligations\n")
	for _, o := range r.Obligations {
		how := o.How
		if o.Outcome != Holds {
			how = o.Why
		}
		fmt.Fprintf(&b, "  %-9s %s: %s", o.Outcome, o.ID, o.Words)
		if how != "" {
			fmt.Fprintf(&b, " (%s)", how)
		}
		b.WriteString("\n")
	}
	if len(r.Cases) > 0 {
		b.WriteString("\ncases, each with an input that reaches it\n")
		for _, c := range r.Cases {
			fmt.Fprintf(&b, "  %s, on %s: %s\n", c.ID, plural(c.Paths, "path"), inputsText(c.Witness))
		}
	}
	for _, l := range []struct {
		title string
		lines []string
	}{{"assumptions", r.Assumptions}, {"room that is assumed to be enough", r.Room}, {"where the program remembers", r.Relation}, {"worth a look", r.Warnings}} {
		if len(l.lines) > 0 {
			fmt.Fprintf(&b, "\n%s\n  %s\n", l.title, strings.Join(l.lines, "\n  "))
		}
	}
	return b.String()
}

func (c *Counterexample) text(b *strings.Builder) {
	fmt.Fprintf(b, "not so: %s\n", c.Words)
	for i, s := range c.Scenario {
		fmt.Fprintf(b, "  %d. %s with %s\n", i+1, s.Place, inputsText(s.Inputs))
	}
	fmt.Fprintf(b, "  expected %s\n  got      %s\n", c.Expected, c.Got)
	if c.Line != nil {
		fmt.Fprintf(b, "  written by %s\n", c.Line)
	}
	if len(c.Path) > 0 {
		fmt.Fprintf(b, "  path: %s\n", pathOf(c.Path))
	}
}

// String is "program.bpf.c:88 `ev->dport = dport;`".
func (l Line) String() string {
	return fmt.Sprintf("%s:%d `%s`", l.File[strings.LastIndexByte(l.File, '/')+1:], l.Number, l.Text)
}

func pathOf(lines []Line) string {
	var out []string
	if skip := len(lines) - maxLines; skip > 0 {
		out, lines = append(out, "…"), lines[skip:]
	}
	for _, l := range lines {
		out = append(out, fmt.Sprint(l.Number))
	}
	return strings.Join(out, " → ")
}

func inputsText(in []Named) string {
	if len(in) == 0 {
		return "any inputs"
	}
	var out []string
	for _, n := range in {
		out = append(out, n.Name+" = "+n.Value)
	}
	return strings.Join(out, ", ")
}

// Feedback is what whoever wrote the program has to know to mend it: one obligation, an input
// that breaks it, and the line to look at. It is empty if there is nothing to mend.
func (r *Report) Feedback() string {
	c := r.Counterexample
	if r.Verdict != Refuted || c == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s (REFUTED). It must hold that %s. It does not:\n", c.Obligation, c.Words)
	if len(c.Scenario) == 0 {
		fmt.Fprintf(&b, "expected %s, but the program has %s.\n", c.Expected, c.Got)
		return b.String()
	}
	for i, s := range c.Scenario {
		fmt.Fprintf(&b, "%d. %s fires with %s\n", i+1, s.Place, inputsText(few(s.Inputs)))
	}
	fmt.Fprintf(&b, "Expected %s, got %s.\n", c.Expected, c.Got)
	if c.Line != nil {
		fmt.Fprintf(&b, "The value comes from %s.\n", c.Line)
	}
	if len(c.Path) > 0 {
		fmt.Fprintf(&b, "Path by lines: %s. ", pathOf(c.Path))
	}
	for _, o := range r.Obligations {
		// What a step leaves behind wrong shows in a later one.
		if o.Outcome == Fails && o.ID != c.Obligation && strings.Contains(o.ID, "/memory ") {
			fmt.Fprintf(&b, "It may begin here: it does not hold either that, at %s.\n", o.Words)
			break
		}
	}
	b.WriteString("Keep everything else unchanged.\n")
	return b.String()
}

// few are the inputs that are not zero: the others need no words.
func few(in []Named) []Named {
	var out []Named
	for _, n := range in {
		switch n.Value {
		case "0", "no", `""`, "0x0":
			continue
		}
		if out = append(out, n); len(out) == 16 {
			break
		}
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
