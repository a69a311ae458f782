package compare

import (
	"fmt"
	"strings"
)

// String says in words what happens and what each program does then.
func (d *Difference) String() string {
	var b strings.Builder
	for i, s := range d.Scenario {
		switch {
		case len(d.Scenario) == 1:
			b.WriteString("When ")
		case i == 0:
			b.WriteString("First ")
		default:
			b.WriteString("then ")
		}
		b.WriteString(s.Place + " fires")
		if in := inputWords(s.Inputs); in != "" {
			b.WriteString(" with " + in)
		}
		if i < len(d.Scenario)-1 {
			b.WriteString(", ")
		} else {
			b.WriteString(": ")
		}
	}
	fmt.Fprintf(&b, "%s %s; %s %s.", d.A, d.ADoes, d.B, d.BDoes)
	return b.String()
}

// Question asks a person which of the two is meant, in one sentence.
func (d *Difference) Question() string {
	if d.ask != "" {
		return d.ask
	}
	return d.String() + " Which is meant?"
}

// maxInputs is how many inputs of a step are told.
const maxInputs = 6

func inputWords(in []Value) string {
	var out []string
	for i, v := range in {
		if i == maxInputs {
			out = append(out, "…")
			break
		}
		out = append(out, v.Name+" = "+v.Value)
	}
	return strings.Join(out, ", ")
}
