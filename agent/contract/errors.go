package contract

import (
	"fmt"
	"strings"
)

// Error is one thing wrong with a contract.
type Error struct {
	At  Pos
	Msg string
	// Suggest holds names that were probably meant, the likeliest first.
	Suggest []string

	instead *rewrite // nil if there is more than one way to mend it
}

// Error reads "3:14: no parameter dprt; did you mean dport?".
func (e *Error) Error() string {
	var b strings.Builder
	if e.At.Line > 0 {
		fmt.Fprintf(&b, "%s: ", e.At)
	}
	b.WriteString(e.Msg)
	if len(e.Suggest) > 0 {
		fmt.Fprintf(&b, "; did you mean %s?", strings.Join(e.Suggest, " or "))
	}
	return b.String()
}

// Errors is everything wrong with a contract, in the order of its text.
type Errors []*Error

// Error has a line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}
