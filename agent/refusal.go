package agent

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

// Refusal is why the last program of a request was refused, as the gates said it: what is
// kept of a [Record] to answer "why was it refused?".
type Refusal struct {
	Gate verify.Gate `json:"gate"`
	// Holds is what has to hold and does not; at gates before the proof, what is wrong.
	Holds string `json:"holds"`
	// Steps are what happens, one after the other, with the inputs.
	Steps []string `json:"steps,omitempty"`
	// Expected and Got are what the contract wants after that, and what the program does.
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
	// Line is the program's line to blame, if one is.
	Line string `json:"line,omitempty"`
	// Programs is how many were tried.
	Programs int `json:"programs,omitempty"`
}

// maxInputs is how many inputs of a step a refusal tells.
const maxInputs = 12

// RefusalOf is what can be said of a preparation that ended in err; nil when no gate
// refused a program.
func RefusalOf(err error) *Refusal {
	f, ok := errors.AsType[*verify.Failure](err)
	if !ok {
		return nil
	}
	out := &Refusal{Gate: f.Gate, Holds: clip(f.Error(), 800)}
	if r, ok := errors.AsType[*RejectedError](err); ok {
		out.Programs = len(r.Record.Attempts)
	}
	report := refutation(err)
	if report == nil {
		return out
	}
	out.Holds = clip(report.Reasons[0], 800)
	if x := report.Counterexample; x != nil {
		out.Holds, out.Expected, out.Got, out.Steps = clip(x.Words, 600), clip(x.Expected, 400), clip(x.Got, 400), stepsOf(x)
		if x.Line != nil {
			out.Line = clip(x.Line.String(), 300)
		}
	}
	return out
}

// stepsOf are the invocations of a counterexample, in words.
func stepsOf(x *proof.Counterexample) []string {
	var out []string
	for _, s := range x.Scenario {
		var in []string
		for _, n := range s.Inputs {
			if len(in) < maxInputs && telling(x, n) {
				in = append(in, n.Name+" = "+valueWords(n))
			}
		}
		said := s.Place + " fires"
		if len(in) > 0 {
			said += " with " + strings.Join(in, ", ")
		}
		out = append(out, clip(said, 500))
	}
	return out
}

// telling reports whether a value can help anybody to see what goes wrong. Zeros, the
// addresses that objects happen to have and what the clock shows do only where they are what it
// is about.
func telling(x *proof.Counterexample, n proof.Named) bool {
	switch {
	case n.Value == "0", n.Value == `""`, n.Value == "no":
		return false
	case strings.HasPrefix(n.Value, "0xffff"), n.Name == "now", strings.HasPrefix(n.Name, "now."):
		return regexp.MustCompile(`(?:^|[^\w.])` + regexp.QuoteMeta(n.Name) + `(?:$|[^\w.])`).MatchString(x.Words + "\n" + x.Expected + "\n" + x.Got)
	}
	return true
}

// valueWords are a value without its hexadecimal form, where nobody thinks in that.
func valueWords(n proof.Named) string {
	if dec, hex, both := strings.Cut(n.Value, " (0x"); both && strings.HasSuffix(hex, ")") && (strings.HasPrefix(n.Name, "current.") || strings.HasPrefix(n.Name, "now")) {
		return dec
	}
	return n.Value
}

// gateWords say what a gate looks at.
var gateWords = map[verify.Gate]string{
	verify.GateFacts:    "the kernel's facts: whether what the program uses is there",
	verify.GateCompile:  "compiling: whether it is a program that kgent can run and show",
	verify.GateSymbolic: "the proof: whether its bytecode does what the contract asks, for every input",
	verify.GateKernel:   "the kernel's own verifier",
}

// Words says it in lines.
func (r *Refusal) Words() []string {
	out := []string{"It was refused at " + gateWords[r.Gate] + "."}
	if r.Programs > 1 {
		out[0] += fmt.Sprintf(" %d programs were tried; this is about the last.", r.Programs)
	}
	if r.Expected == "" && r.Got == "" {
		return append(out, "What was wrong: "+r.Holds)
	}
	out = append(out, "It must hold that "+r.Holds+". It does not:")
	for i, s := range r.Steps {
		out = append(out, fmt.Sprintf("%d. %s", i+1, s))
	}
	out = append(out, "Expected: "+r.Expected, "Got: "+r.Got)
	if r.Line != "" {
		out = append(out, "The line to look at: "+r.Line)
	}
	return out
}

// CounterexampleWords is a counterexample in lines, for people.
func CounterexampleWords(x *proof.Counterexample) []string {
	r := Refusal{Gate: verify.GateSymbolic, Holds: clip(x.Words, 600), Expected: clip(x.Expected, 400), Got: clip(x.Got, 400), Steps: stepsOf(x)}
	if x.Line != nil {
		r.Line = clip(x.Line.String(), 300)
	}
	return r.Words()[1:]
}
