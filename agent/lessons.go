package agent

import "context"

// Lesson is something that was shown to be wrong in a program on a hook before, for whoever
// writes the next one there.
type Lesson struct {
	// Hook is the place, as in a contract: "tp_btf/inet_sock_set_state".
	Hook string `json:"hook"`
	// Words are the verifier's own, of what has to hold: no name, text or code of the
	// program, of its contract or of anybody's request is in them.
	Words string `json:"words"`
	// Times is how often it was.
	Times int `json:"times"`
}

// Lessons keep what was refuted, by hook. Implementations are safe for concurrent use,
// bounded, and forget in time.
type Lessons interface {
	// Learn notes lessons; those that are known already are counted.
	Learn(ctx context.Context, lessons ...Lesson) error
	// About returns at most n lessons of these hooks, those most often learnt first.
	About(ctx context.Context, hooks []string, n int) ([]Lesson, error)
}
