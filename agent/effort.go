package agent

import "time"

// Effort says how much a model is asked beyond one contract and one program. More of it costs
// tokens and finds more misreadings; none of it weakens a gate. The zero value asks for the
// least.
type Effort struct {
	// Independent has a program written from the request as well when one was generated from
	// the contract, and holds it against the contract: two readings that agree are strong
	// evidence, and where they differ it is found out which one was asked for.
	Independent bool
	// Samples is how many programs are written from scratch, each with its own temperature
	// and seed, where there is no contract to tell a right one: those with the same effects
	// are one class, and the largest class is taken. 0 and 1 take the first that passes.
	Samples int
	// Ask lets a real ambiguity be put to the person as a [Question]. Without it the
	// contract's reading is kept, and the card says what the other one was.
	Ask bool
	// Split has a large request divided into parts, each with a contract of its own, which
	// become one program.
	Split bool
	// Comprehend has a program that a model wrote read again, without the request, and the two
	// readings compared: see [Agent.Comprehend]. What differs is on the card.
	Comprehend bool
	// Tools bounds what the model may look up on its own.
	Tools ToolBounds
}

// ToolBounds bounds the tools of a model over one request. Without calls there are none.
type ToolBounds struct {
	Calls int           // calls
	Bytes int           // of all results together
	Time  time.Duration // in tools, all calls together
}

// DefaultEffort is enough for the requests people type, and cheap.
var DefaultEffort = Effort{Independent: true, Samples: 1, Ask: true, Split: true, Comprehend: true, Tools: ToolBounds{Calls: 12, Bytes: 24 << 10, Time: 30 * time.Second}}
