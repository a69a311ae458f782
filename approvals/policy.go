package approvals

import (
	"context"
	"fmt"
	"time"
)

// Policy says who must agree to what. An error that is a [*RefusedError] is an
// answer; any other error means that there is none, and the desk refuses.
type Policy interface {
	// Judge rules on a case: also on whether its requester may ask for it. It is
	// asked when the case is opened, at each approval, and before the grant, so
	// that what was forbidden meanwhile stays forbidden.
	Judge(ctx context.Context, c Case) (Ruling, error)
	// MayApprove returns nil when p is one of those whose agreement counts for
	// the case; it need not look at whether p asked for it. Group membership is
	// looked up now, not remembered.
	MayApprove(ctx context.Context, c Case, p Person) error
	// BreakGlass returns the ruling under which p may approve the case alone, in
	// an emergency: its numbers take the place of Judge's. Its Quorum and Self
	// are not looked at.
	BreakGlass(ctx context.Context, c Case, p Person) (Ruling, error)
	// Compare says whether the accounts of two people are one person's.
	Compare(a, b Person) Likeness
}

// Changing is a policy that can change at any time, such as a file. A desk
// takes each decision by one version of it.
type Changing interface {
	Policy
	// Current returns the policy as it is now. It does not change any more. An
	// error says why there is none: then nothing is opened, approved or granted.
	Current(ctx context.Context) (Policy, error)
}

// Likeness says whether two accounts are one person's.
type Likeness int

const (
	// Unclear is not known. Such accounts count as one person.
	Unclear Likeness = iota
	Same
	Different
)

// Ruling is what a policy asks for. Zero values allow nothing.
type Ruling struct {
	// Policy is the policy's name and version, kept in the grant and the log.
	Policy string `json:"policy"`
	// Quorum is how many different people must approve.
	Quorum int `json:"quorum"`
	// Self lets the requester be one of them.
	Self bool `json:"self"`
	// Approvers says in words who is asked.
	Approvers string `json:"approvers"`
	// MaxDuration is the longest run.
	MaxDuration time.Duration `json:"max_duration_ns"`
	// MaxEvents is the highest limit of events per second and node.
	MaxEvents int `json:"max_events"`
	// Expiry is how long the case waits for an answer.
	Expiry time.Duration `json:"expiry_ns"`
	// Labels are those that the ruling went by, for the grant; see [job.Grant].
	Labels map[string]map[string]string `json:"labels,omitempty"`
}

// allows holds a case against the ruling's numbers.
func (r Ruling) allows(c Case) error {
	switch {
	case r.Quorum < 1:
		return refuse(RuleNobody, "the policy %s names nobody who could approve this", r.Policy)
	case r.Expiry <= 0:
		return refuse(RuleNobody, "the policy %s leaves no time to approve this", r.Policy)
	case c.Limits.Duration > r.MaxDuration:
		return refuse(RuleDuration, "a run of %v is longer than the %v that the policy %s allows; ask for less", c.Limits.Duration, r.MaxDuration, r.Policy)
	case c.Limits.EventsPerSecond < 1:
		return refuse(RuleEvents, "the run has no limit of events per second; set one of at most %d", r.MaxEvents)
	case c.Limits.EventsPerSecond > r.MaxEvents:
		return refuse(RuleEvents, "%d events per second are more than the %d that the policy %s allows; ask for less", c.Limits.EventsPerSecond, r.MaxEvents, r.Policy)
	}
	return nil
}

// Terminal is the surface of people at a terminal.
const Terminal = "terminal"

// What [Local] allows where nothing else is set.
const (
	LocalDuration = 10 * time.Minute
	LocalEvents   = 20_000 // per second
	LocalExpiry   = 10 * time.Minute
)

// Local is the policy of the terminal, in force when nothing is configured:
// the person at the terminal agrees for themselves, for this host, to programs
// that only observe.
type Local struct {
	// Node is this host.
	Node string
	// MaxDuration, MaxEvents and Expiry replace the values above when not 0.
	MaxDuration time.Duration
	MaxEvents   int
	Expiry      time.Duration
}

// localPolicy names the policy in grants and logs.
const localPolicy = "local"

// Judge implements [Policy].
func (l Local) Judge(_ context.Context, c Case) (Ruling, error) {
	if c.Requester.Surface != Terminal {
		return Ruling{}, refuse(RuleRequester, "without a policy only the person at the terminal of %s may ask", l.Node)
	}
	if len(c.Nodes) != 1 || c.Nodes[0] != l.Node {
		return Ruling{}, refuse(RuleNode, "from the terminal kgent runs programs on this host, %s, only; %s", l.Node, noPolicyFile("other nodes"))
	}
	// Who is root here may look at anything here, proved or not: what counts is
	// what the program can do.
	switch c.Base {
	case Observe, ObserveSensitive:
	case Act:
		return Ruling{}, refuse(RuleTier, "this program could change something (tier act), which nobody may agree to for themselves; %s", noPolicyFile("the tier act"))
	default:
		return Ruling{}, refuse(RuleTier, "this program has %s", c.Base)
	}
	return Ruling{
		Policy: localPolicy, Quorum: 1, Self: true, Approvers: "the person at the terminal",
		MaxDuration: orDefault(l.MaxDuration, LocalDuration),
		MaxEvents:   orDefault(l.MaxEvents, LocalEvents),
		Expiry:      orDefault(l.Expiry, LocalExpiry),
	}, nil
}

// noPolicyFile says what would allow something.
func noPolicyFile(what string) string {
	return fmt.Sprintf("a policy file that names approvers for %s allows it, with kgent bot", what)
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// MayApprove implements [Policy].
func (l Local) MayApprove(_ context.Context, c Case, p Person) error {
	if p.Surface != Terminal || p.ID != c.Requester.ID {
		return refuse(RuleApprover, "only %s, who asked at the terminal, may answer", plain(c.Requester.ID, maxName))
	}
	return nil
}

// BreakGlass implements [Policy]: there is none at the terminal, where nobody
// else is asked anyway.
func (l Local) BreakGlass(context.Context, Case, Person) (Ruling, error) {
	return Ruling{}, refuse(RuleGlass, "without a policy file nobody may break the glass")
}

// Compare implements [Policy]: at the terminal, a name is a person.
func (l Local) Compare(a, b Person) Likeness {
	if a.ID == b.ID {
		return Same
	}
	return Different
}
