package symbolic

import "time"

// Effort bounds what is spent on one question about whole programs: a proof, a comparison.
type Effort struct {
	Time  time.Duration // of all
	Query time.Duration // of one question to the solver
	// Scenario is how many invocations in a row are tried for a difference.
	Scenario int
	Machine  Limits
}

// Or is the effort with that of another where it says nothing.
func (e Effort) Or(other Effort) Effort {
	if e.Time <= 0 {
		e.Time = other.Time
	}
	if e.Query <= 0 {
		e.Query = other.Query
	}
	if e.Scenario <= 0 {
		e.Scenario = other.Scenario
	}
	return e
}
