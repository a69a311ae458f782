package thread

import (
	"context"
	"slices"
	"time"

	"kgent/agent"
	"kgent/approvals"
	"kgent/bot/card"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// State is where a request stands.
type State string

const (
	Preparing State = "preparing" // a program is being found, made or changed
	Asking    State = "asking"    // who asked is asked what was meant
	Pending   State = "pending"   // people are asked
	Approved  State = "approved"  // enough agreed; it is about to start
	Running   State = "running"
	Ended     State = "ended" // see Outcome
)

// Outcome is how an ended request ended.
type Outcome string

const (
	Completed     Outcome = "completed"     // every node ran it to its end
	Partial       Outcome = "partial"       // some nodes refused, failed or did not answer
	FailedAll     Outcome = "failed"        // no node ran it to its end
	Lost          Outcome = "lost"          // nobody can say what became of it
	Rejected      Outcome = "rejected"      // there is no program to put to anybody
	Denied        Outcome = "denied"        // somebody who may approve said no
	Expired       Outcome = "expired"       // nobody decided in time
	Cancelled     Outcome = "cancelled"     // who asked took it back
	Undeliverable Outcome = "undeliverable" // the question reached nobody
	Explained     Outcome = "explained"     // a program was explained; nothing was to run
)

// Request is one question in a thread and all that became of it. It is a
// value: changing it changes nothing until a [Store] has taken it.
type Request struct {
	ID string `json:"id"` // 128 random bits, hexadecimal
	// Version counts changes; 0 is a request that was never stored.
	Version uint64 `json:"version"`

	Place Place `json:"place"` // with its thread, unless Root is set
	// Root is the key of the message that the thread hangs from when kgent
	// posted that itself.
	Root string `json:"root,omitempty"`
	// Link leads to the thread, for people who are asked elsewhere; may be empty.
	Link   string  `json:"link,omitempty"`
	By     Account `json:"by"`
	Person string  `json:"person"` // the policy's name for By
	// Author made the present revision: By, or who edited or refined it.
	Author       Account `json:"author"`
	AuthorPerson string  `json:"author_person"`
	// Authors made the revisions before, also those that no program was found
	// for in time. None of them counts as an approver.
	Authors []approvals.Person `json:"authors,omitempty"`
	// Names are what people are called, by account, for display.
	Names map[string]string `json:"names,omitempty"`
	// Handled are the newest events that changed this request, so that one
	// which is delivered again does not change it twice.
	Handled []string `json:"handled,omitempty"`
	// Quiet says that nobody addressed kgent: it was a plain reply. When it
	// comes to nothing only its author is told.
	Quiet bool   `json:"quiet,omitempty"`
	Reply string `json:"reply,omitempty"` // of the event it came with

	Text   string   `json:"text"`             // as typed
	Before []string `json:"before,omitempty"` // what was said before it, oldest first
	// Follows is the request that this one goes on from; what came of it may be refined.
	Follows string `json:"follows,omitempty"`
	Nodes   string `json:"nodes,omitempty"` // selector
	// Choice is the selector that left a choice, any 2 of role=db, when Nodes are what was
	// chosen by it. Others may be chosen for another revision, or when it is run again.
	Choice string `json:"choice,omitempty"`
	// Program, if set, was brought with the words: it is put to people, or explained.
	Program *agent.Brought `json:"program,omitempty"`
	// Explain says that the program is to be explained, and nothing is to run.
	Explain bool `json:"explain,omitempty"`
	// Said is the explanation.
	Said *card.Card `json:"said,omitempty"`
	// Keep, if set, is a recipe to be kept or removed; nothing is to run then.
	Keep *Keep `json:"keep,omitempty"`
	// Posed are the questions to who asked, oldest first; the last one is open while the
	// request is Asking.
	Posed []Posed `json:"posed,omitempty"`
	// Refusal is what the gates said of the last program, when they refused it.
	Refusal *agent.Refusal `json:"refusal,omitempty"`
	// Change says what the coming revision changes of the program of Case, or
	// that it is used as it is. Nil: a program is to be found for Text.
	Change *Change `json:"change,omitempty"`

	State   State   `json:"state"`
	Outcome Outcome `json:"outcome,omitempty"`
	Detail  string  `json:"detail,omitempty"` // of the outcome, in words
	// Heading is the title over Detail when there is no program.
	Heading  string `json:"heading,omitempty"`
	Revision int    `json:"revision"` // from 1; grows when what is asked changes
	// Steps are the way of the present revision.
	Steps []output.Stage `json:"steps,omitempty"`

	// Case is the approvals' case of the present revision, or of the one
	// before while a new one is being prepared.
	Case        string           `json:"case,omitempty"`
	Card        output.Candidate `json:"card,omitzero"`
	Source      string           `json:"source,omitempty"`
	Understood  []string         `json:"understood,omitempty"`
	Explanation string           `json:"explanation,omitempty"`
	Kernels     []Kernel         `json:"kernels,omitempty"`
	Limits      job.Limits       `json:"limits,omitzero"`
	// MayDry says that the program does more than observe, and that a dry run can be
	// made of it.
	MayDry    bool             `json:"may_dry,omitempty"`
	Quorum    int              `json:"quorum,omitempty"`
	Approvers string           `json:"approvers,omitempty"` // who is asked, in words
	Loud      []Place          `json:"loud,omitempty"`      // hear of it when somebody breaks the glass; none when nobody may
	Votes     []approvals.Vote `json:"votes,omitempty"`
	Expires   time.Time        `json:"expires,omitzero"`
	// Edits are what people changed of the program by hand since it was made of
	// words, one for each revision.
	Edits []Edit `json:"edits,omitempty"`
	// Copies are the places besides Place where the card is shown.
	Copies []Place `json:"copies,omitempty"`
	// Unreached are channels that should have been asked or told and were not.
	Unreached []string `json:"unreached,omitempty"`
	// Parked is the question that a plain reply is about to take the place of.
	// When nothing comes of the reply, the question stands as it stood.
	Parked *Request `json:"parked,omitempty"`
	// Old are the revisions whose cards are still in the thread.
	Old []Old `json:"old,omitempty"`

	Grant *job.Grant `json:"grant,omitempty"`
	// Dispatched says that the grant was sent to every node.
	Dispatched bool     `json:"dispatched,omitempty"`
	StopBy     *Account `json:"stop_by,omitempty"`
	// Unseen is why the output can no longer be shown, for which the run was
	// stopped.
	Unseen  string          `json:"unseen,omitempty"`
	Summary *output.Summary `json:"summary,omitempty"`

	Opened  time.Time `json:"opened"`
	Decided time.Time `json:"decided,omitzero"`
	Started time.Time `json:"started,omitzero"`
	EndedAt time.Time `json:"ended_at,omitzero"`
}

// Change is what a revision changes of the program that was put to people.
type Change struct {
	// From is the case whose program is used.
	From     string            `json:"from"`
	Duration time.Duration     `json:"duration,omitempty"` // 0: as before
	Params   map[string]string `json:"params,omitempty"`   // those that change
	// Dry says whether what it changes is only counted; nil: as before.
	Dry *bool `json:"dry,omitempty"`
}

// Edit is what a revision changes, in words.
type Edit struct {
	By   Account `json:"by"`
	What string  `json:"what"`
}

// Old is a revision that another took the place of.
type Old struct {
	Revision int     `json:"revision"`
	Digest   string  `json:"digest"`
	Copies   []Place `json:"copies,omitempty"`
}

// Kernel says how one of the target kernels took the program.
type Kernel struct {
	Release string   `json:"release"`
	BTF     string   `json:"btf,omitempty"` // as in bus.NodeInfo
	Nodes   []string `json:"nodes"`
	OK      bool     `json:"ok"`
	Detail  string   `json:"detail,omitempty"`
}

// driven reports whether somebody must be at work on the request.
func (r Request) driven() bool {
	return r.State == Preparing || r.State == Approved || r.State == Running
}

// words are all that was said, oldest first.
func (r Request) words() []string { return append(slices.Clone(r.Before), r.Text) }

// Maker makes programs for nodes.
type Maker interface {
	// Make finds or writes a program that every one of the nodes takes.
	Make(ctx context.Context, req agent.Request, nodes []bus.NodeInfo, progress func(agent.Step)) (Made, error)
	// Remake gives a program other parameters and asks the nodes' kernels
	// again, for a dry run whether they take what it would load. Without params the
	// program stays the same, to the byte.
	Remake(ctx context.Context, p job.Program, params map[string]string, dry bool, nodes []bus.NodeInfo, progress func(agent.Step)) (Made, error)
	// Silent asks nodes whether their kernels take a program, and returns those that do not
	// answer.
	Silent(ctx context.Context, p job.Program, dry bool, nodes []string, progress func(agent.Step)) ([]string, error)
	// Explain says what the request's program does, on one of these kernels. Nothing is loaded.
	Explain(ctx context.Context, req agent.Request, nodes []bus.NodeInfo, progress func(agent.Step)) (card.Card, error)
	// Recipe makes a recipe of a proved program and its source: constants become parameters
	// where that is proved.
	Recipe(ctx context.Context, source string, p job.Program, nodes []bus.NodeInfo, progress func(agent.Step)) (Kept, error)
	// Params returns the parameters of a program that may be changed.
	Params(p job.Program) ([]Param, error)
	// Valid returns nil when a program takes these values of its parameters, or
	// says in words for people why not.
	Valid(p job.Program, params map[string]string) error
}

// Param is a parameter that people may set.
type Param struct {
	Name, Value string
	Means       string // what it does, on one line; may be empty
}

// Made is a program as a Maker made it.
type Made struct {
	Program job.Program
	// Card has what the program says of itself: name, title, origin, verdict,
	// hooks, parameters.
	Card        output.Candidate
	Source      string
	Understood  []string
	Explanation string
	Duration    time.Duration // as the words ask; 0 when they do not say
	// DryRun: what it would change is only to be counted.
	DryRun  bool
	Kernels []Kernel
}

// Runner runs grants. Before it stops a run for a reason of its own it asks mine,
// which returns nil if this process has the run still, [bus.ErrHandOver] if
// another has, and other errors if that cannot be told: then it does not stop it.
type Runner interface {
	Nodes(ctx context.Context) ([]bus.NodeInfo, error)
	// Dispatch sends a sealed grant to its nodes. Doing it twice runs it once.
	Dispatch(ctx context.Context, g *job.Grant, envelope []byte, mine func(context.Context) error) error
	// Follow keeps a run alive and hands on its records until it has ended
	// everywhere. When ctx ends with [bus.ErrHandOver] as its cause it returns at
	// once and leaves the run to whoever follows it next; otherwise the run is
	// stopped. It returns the same error when mine did.
	Follow(ctx context.Context, g *job.Grant, line func([]byte), mine func(context.Context) error) (output.Summary, error)
	// Stop stops a run, whoever has it.
	Stop(ctx context.Context, run string) error
}

// Policy is what the conversation asks of the policy apart from what the desk
// asks of it. A refusal is a [*approvals.RefusedError], with words for the
// person.
type Policy interface {
	// Person names the person whose account this is.
	Person(account string) (id string, linked bool)
	// MayRequest returns nil when somebody may make a request, and counts it
	// under the request's name, once.
	MayRequest(ctx context.Context, by approvals.Person, request string) error
	// MayRun returns nil when the requester of a case may have one more run, and
	// counts it until RunEnded.
	MayRun(ctx context.Context, c approvals.Case) error
	RunEnded(ctx context.Context, c approvals.Case) error
	// MayStop returns nil when somebody may stop a run. It looks nothing up.
	MayStop(by approvals.Person) error
	// MayApprove is the desk's.
	MayApprove(ctx context.Context, c approvals.Case, p approvals.Person) error
	// Ask returns the channels besides the thread where a case is shown to those
	// who may approve it.
	Ask(ctx context.Context, c approvals.Case) ([]string, error)
	// Loud returns the channels that hear of it when somebody breaks the glass;
	// none when nobody may.
	Loud(ctx context.Context, c approvals.Case) ([]string, error)
}
