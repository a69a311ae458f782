package compare

import (
	"context"
	"fmt"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// Verdict is what is known about two programs.
type Verdict int

const (
	// Unknown: neither could be shown. It is the zero value.
	Unknown Verdict = iota
	// Same: they have the same effects, as far as [Result.Within] says.
	Same
	// Different: there is a difference, and [Result.Difference] has it.
	Different
)

var verdictNames = [...]string{"UNKNOWN", "SAME", "DIFFERENT"}

// String is the name in capitals, as people see it.
func (v Verdict) String() string {
	if v >= 0 && int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", int(v))
}

// MarshalText writes the name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a name. Anything else is an error.
func (v *Verdict) UnmarshalText(text []byte) error {
	for i, n := range verdictNames {
		if n == string(text) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("reading a verdict: %q is none of %q", text, verdictNames)
}

// Program is one of those that are compared.
type Program struct {
	// Name is what people call it: "candidate 2". Empty is "A" or "B", and the
	// number in a list.
	Name     string
	Object   *program.Object
	Manifest *program.Manifest
	// Kept is a contract that the program was VERIFIED against on this very kernel; nil if
	// there is none. It is believed.
	Kept *contract.Contract
}

// Options say for what programs are compared, and how long that may take.
type Options struct {
	// Kernel is what both are relocated for.
	Kernel *symbolic.Kernel
	// Solver makes the solver for the terms of a builder; nil is the built-in one.
	Solver func(*smt.Builder) smt.Solver
	// Assume are assumptions by their names in contracts that may be taken for granted, such as
	// "returns". Room in buffers and maps always is.
	Assume []string
	Limits Limits
}

// Limits bound one comparison. Zero values mean those of [Defaults].
type Limits = symbolic.Effort

// Defaults are the limits of a comparison that a person waits for.
var Defaults = Limits{Time: 20 * time.Second, Query: 2 * time.Second, Scenario: 4, Machine: symbolic.Defaults}

// Result is what [Compare] found.
type Result struct {
	Verdict Verdict `json:"verdict"`
	// Within is, of Same, how long the sequences of invocations are that it was shown
	// for; 0 is any length.
	Within int `json:"within,omitempty"`
	// OneProcessor says that Same was shown for sequences that all happen on one processor only.
	OneProcessor bool `json:"one_processor,omitempty"`
	// How says in words what Same rests on.
	How string `json:"how,omitempty"`
	// Reasons say why the verdict is Unknown, the most important first.
	Reasons []string `json:"reasons,omitempty"`
	// Assumptions are in words what the verdict takes for granted.
	Assumptions []string    `json:"assumptions,omitempty"`
	Difference  *Difference `json:"difference,omitempty"`
	Stats       Stats       `json:"stats"`
}

// Stats say what a comparison cost.
type Stats struct {
	Time      time.Duration `json:"time_ns"`
	Queries   int           `json:"queries"`
	Scenarios int           `json:"scenarios"`
}

// Difference is an input for which two programs do not do the same.
type Difference struct {
	// A and B are the names of the programs.
	A string `json:"a"`
	B string `json:"b"`
	// Kind is what differs.
	Kind Kind `json:"kind"`
	// Subject is what the difference is about: an event ("connects"), a member
	// ("connects.dport"), a table, "the returned value".
	Subject string `json:"subject"`
	// Scenario is what happens, from freshly loaded programs on; the difference shows at its last
	// step. It is empty when no input is needed to see the difference.
	Scenario []Step `json:"scenario,omitempty"`
	// ADoes and BDoes say what each does at the last step.
	ADoes string `json:"a_does"`
	BDoes string `json:"b_does"`
	// Asks is [Difference.Question].
	Asks string `json:"asks,omitempty"`
}

// Kind is what two programs differ in.
type Kind string

// Kinds of differences. The first three need no input.
const (
	Form    Kind = "form"    // one shows a stream, table or member that the other does not have, or shows it as something else
	Place   Kind = "place"   // they look at different places
	Setting Kind = "setting" // a parameter is set differently
	Events  Kind = "events"  // how many events, and of which streams
	Member  Kind = "member"  // what a member of an event is
	Table   Kind = "table"   // what a table shows
	Return  Kind = "return"  // the returned value
	Other   Kind = "other"   // what is done to the outside besides
)

// Step is one invocation of a scenario.
type Step struct {
	Place string `json:"place"`
	// Inputs are those that matter, the decisive ones first.
	Inputs []Value `json:"inputs,omitempty"`
}

// Value is an input with its value, as people read both.
type Value struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Decisive says that the programs would do the same if this one value were another.
	Decisive bool `json:"decisive,omitempty"`
}

// Class is a set of programs that do the same.
type Class struct {
	// Members are indices of the programs that were compared, in ascending order.
	Members []int `json:"members"`
	// Within is the least [Result.Within] among the comparisons that made the class; 0 is any length.
	Within int `json:"within,omitempty"`
	// OneProcessor says that it is so for one of the comparisons, see [Result.OneProcessor].
	OneProcessor bool `json:"one_processor,omitempty"`
	// Doubts say of which other classes it is not known whether they are this one, and why.
	Doubts []string `json:"doubts,omitempty"`
}

// Compare compares two programs. It depends on nothing but its input. The error is about the
// input: an object that cannot be linked for the kernel. What goes wrong while
// comparing is no error but Unknown with its reason.
func Compare(ctx context.Context, a, b Program, opt Options) (*Result, error) {
	return compare(ctx, a, b, opt)
}
