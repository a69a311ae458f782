package proof

import "fmt"

// Verdict is what is known about a program and its contract.
type Verdict int

const (
	// Unknown: neither could be shown. It is the zero value, so that nothing
	// is proved by being left out.
	Unknown Verdict = iota
	// Verified: for every sequence of invocations and for all inputs and
	// parameters, the program has the effects of the contract and no others.
	Verified
	// Refuted: there is a sequence of inputs for which it has not.
	Refuted
	// Vacuous: the contract, or a part of it, cannot be broken, so that
	// keeping it means nothing.
	Vacuous
)

var verdictNames = [...]string{"UNKNOWN", "VERIFIED", "REFUTED", "VACUOUS"}

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
	return nameIndex(verdictNames[:], string(text), (*int)(v))
}

// Outcome is what came of one obligation.
type Outcome int

const (
	Undecided Outcome = iota // could not be settled: Why says why
	Holds                    // shown for all inputs
	Fails                    // there is an input for which it does not hold
)

var outcomeNames = [...]string{"undecided", "holds", "fails"}

func (o Outcome) String() string {
	if o >= 0 && int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("Outcome(%d)", int(o))
}

// MarshalText writes the name.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads a name. Anything else is an error.
func (o *Outcome) UnmarshalText(text []byte) error {
	return nameIndex(outcomeNames[:], string(text), (*int)(o))
}

func nameIndex(names []string, name string, to *int) error {
	for i, n := range names {
		if n == name {
			*to = i
			return nil
		}
	}
	return fmt.Errorf("reading a verdict: %q is none of %q", name, names)
}
