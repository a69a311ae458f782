package proof

import (
	"slices"
	"strings"
	"time"
)

// Report is what [Verify] found. Its JSON form is for programs, [Report.Text]
// for people, [Report.Feedback] for whoever wrote the program.
type Report struct {
	Verdict Verdict `json:"verdict"`
	// Reasons say why, in words, when the verdict is not VERIFIED; the most
	// important first.
	Reasons     []string     `json:"reasons,omitempty"`
	Obligations []Obligation `json:"obligations"`
	// Cases has every case of the contract with an input that reaches it.
	Cases []Case `json:"cases,omitempty"`
	// Assumptions are the names, of package contract's list, of what the
	// verdict takes for granted.
	Assumptions []string `json:"assumptions,omitempty"`
	// Room says how much room the assumption "room" is about: a line for each
	// ring buffer and each map that can be full.
	Room []string `json:"room,omitempty"`
	// Relation says where the program keeps what the contract remembers, a
	// line for each memory.
	Relation []string `json:"relation,omitempty"`
	// Warnings are about what is no obligation but worth a look: a field that
	// may not mean at this hook what its name promises.
	Warnings       []string        `json:"warnings,omitempty"`
	Counterexample *Counterexample `json:"counterexample,omitempty"`
	Stats          Stats           `json:"stats"`
}

// Obligation is one thing that had to be shown.
type Obligation struct {
	// ID is made of names of the contract: "tp_btf/inet_sock_set_state/v4/connects.dport".
	ID string `json:"id"`
	// Words say what has to hold, in a sentence.
	Words   string  `json:"words"`
	Outcome Outcome `json:"outcome"`
	// How it was shown: "same term", "solver", "by the program's form".
	How string `json:"how,omitempty"`
	// Why it was not.
	Why  string        `json:"why,omitempty"`
	Time time.Duration `json:"time_ns"`
}

// Case is a case of the contract at one place, with a witness.
type Case struct {
	// ID is place and case: "tp_btf/inet_sock_set_state/v4".
	ID string `json:"id"`
	// Paths of the program on which the case can apply.
	Paths int `json:"paths"`
	// Witness is an input for which it applies; nil if none was found.
	Witness []Named `json:"witness,omitempty"`
	reached bool
}

// Named is an input with its value, as people read both.
type Named struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Counterexample is a sequence of invocations after which program and contract
// differ.
type Counterexample struct {
	// Obligation and Words are of the one that does not hold.
	Obligation string `json:"obligation"`
	Words      string `json:"words"`
	// Scenario is what happens, from freshly loaded maps on. It is empty when the
	// difference does not depend on inputs, such as a member that the program
	// does not have.
	Scenario []Step `json:"scenario,omitempty"`
	// Expected is what the contract says, Got what the program does.
	Expected string `json:"expected"`
	Got      string `json:"got"`
	// Line wrote the wrong value, if one is to blame.
	Line *Line `json:"line,omitempty"`
	// Path are the lines that the last invocation passed.
	Path []Line `json:"path,omitempty"`
}

// Named is the report with the program's source under the name that people know it by: it is
// compiled under another one. Headers keep theirs.
func (r *Report) Named(file string) *Report {
	if r == nil || r.Counterexample == nil {
		return r
	}
	named := func(l Line) Line {
		if !strings.HasSuffix(l.File, ".h") {
			l.File = file
		}
		return l
	}
	out, c := *r, *r.Counterexample
	if c.Line != nil {
		l := named(*c.Line)
		c.Line = &l
	}
	c.Path = slices.Clone(c.Path)
	for i, l := range c.Path {
		c.Path[i] = named(l)
	}
	out.Counterexample = &c
	return &out
}

// Step is one invocation of a scenario.
type Step struct {
	Place  string  `json:"place"`
	Inputs []Named `json:"inputs,omitempty"`
}

// Line is a line of the program's source.
type Line struct {
	File   string `json:"file"`
	Number int    `json:"number"`
	Text   string `json:"text"`
}

// Stats say what the verdict cost.
type Stats struct {
	Time    time.Duration `json:"time_ns"`
	Paths   int           `json:"paths"`
	Queries int           `json:"queries"` // questions to the solver
	Steps   int           `json:"steps"`   // instructions executed
	// Scenarios that were searched for a counterexample.
	Scenarios int `json:"scenarios,omitempty"`
	// Mutants that were judged, and those that kept the contract.
	Mutants   int `json:"mutants,omitempty"`
	Survivors int `json:"survivors,omitempty"`
}
