// Package bot holds the conversation: from a request, over the card and
// people's decision, to the output and its account. It knows no platform (a
// [Channel] is one) and no eBPF.
//
// A conversation is one straight line:
//
//	prepare ─▶ card ─▶ decide ─▶ grant ─▶ run ─▶ summary
//
// Whatever happens on the way, the last record a channel gets is a summary.
package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kgent/agent"
	"kgent/agent/verify/proof"
	"kgent/approvals"
	"kgent/bot/dryrun"
	"kgent/bot/target"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// Outcome is how a conversation ended.
type Outcome int

const (
	Ran       Outcome = iota // the program ran, or nothing more than the card was asked for
	Failed                   // a fault of kgent or its host
	NoAnswer                 // neither recipe nor model has a program for the request
	Denied                   // the people asked said no, or nobody answered
	Refused                  // the policy does not allow it
	Rejected                 // no program passed the gates
	NodeFault                // a node is unknown, unreachable, refused the job or failed
	BadInput                 // the request cannot be read
)

// codes are the stable names of outcomes in error records.
var codes = map[Outcome]string{Failed: "internal", NoAnswer: "no-match", Denied: "denied", Refused: "policy", Rejected: "rejected", NodeFault: "node", BadInput: "usage"}

// Ask is one request with what the person chose besides the words.
type Ask struct {
	ID        string
	Text      string
	Requester approvals.Person
	// Nodes selects where to run, as package target reads it. Empty is the node
	// this process runs on.
	Nodes string
	// Duration, if not 0, overrides what the text says.
	Duration time.Duration
	// EventsPerSecond bounds the output of each node; 0 is DefaultEvents.
	EventsPerSecond int
	// DryRun has nodes count what the program would change instead of changing it.
	DryRun bool
	// Program, if set, is put to people instead of one that is looked for.
	Program *agent.Brought
	// ShowOnly ends after the card.
	ShowOnly bool
	// Keep, if set, makes a recipe of what has run, after an approval of its own.
	Keep *Keeping
}

// DefaultDuration is how long a trace runs when nobody says.
const DefaultDuration = 30 * time.Second

// DefaultEvents is how many events a second are shown when nobody says: more
// than anybody reads. What is over it is dropped on the node, and counted.
const DefaultEvents = 20_000

// Preparer makes candidates; agent.Agent is one.
type Preparer interface {
	Prepare(ctx context.Context, req agent.Request, progress func(agent.Step)) (*agent.Candidate, error)
}

// Runner runs a signed grant on its nodes, hands on the lines they send and
// returns the account. When ctx ends it stops the run and still waits, within
// a bound, for the account.
type Runner interface {
	Nodes(ctx context.Context) ([]bus.NodeInfo, error)
	Run(ctx context.Context, g *job.Grant, envelope []byte, line func([]byte)) (output.Summary, error)
}

// Channel is where a conversation takes place. Its methods are called one at
// a time.
type Channel interface {
	// Stage shows progress.
	Stage(output.Stage)
	// Candidate shows the card.
	Candidate(Card)
	// Question asks the person what was meant, and returns one of the options or words of
	// their own. An error says that nobody can be asked.
	Question(ctx context.Context, q *agent.Question) (string, error)
	// Decide waits for people's votes and calls vote for each until it returns
	// false. It returns when that happened or ctx ended.
	Decide(ctx context.Context, c Card, vote func(approvals.Vote) (more bool, err error)) error
	// Line shows one record of a node, as a line of JSON.
	Line([]byte)
	// Error shows what went wrong.
	Error(output.Error)
	// Summary shows the account and ends the conversation.
	Summary(output.Summary)
}

// Card is what a channel shows for approval.
type Card struct {
	Ask       Ask
	Record    output.Candidate
	Candidate *agent.Candidate
	// Keep, if set, is what people decide about: the program has run already.
	Keep *Kept
}

// Bot holds conversations. It is safe for concurrent use.
type Bot struct {
	Agent  Preparer
	Desk   *approvals.Desk
	Runner Runner
	// Home is the node asks without a selector run on.
	Home string
	Now  func() time.Time
}

// ended carries an outcome up to Handle.
type ended struct {
	outcome Outcome
	reason  output.Reason
	node    string
	err     error
}

func (e *ended) Error() string { return e.err.Error() }
func (e *ended) Unwrap() error { return e.err }

func end(o Outcome, r output.Reason, err error) error { return &ended{outcome: o, reason: r, err: err} }

// Handle holds one conversation.
func (b *Bot) Handle(ctx context.Context, ask Ask, ch Channel) Outcome {
	summary, err := b.converse(ctx, ask, ch)
	outcome := Ran
	if err != nil {
		e := &ended{outcome: Failed, reason: output.ReasonFailed, err: err}
		errors.As(err, &e)
		if ctx.Err() != nil && e.outcome == Failed {
			e = &ended{outcome: Denied, reason: output.ReasonInterrupted, err: errors.New("interrupted before anything ran")}
		}
		outcome = e.outcome
		ch.Error(output.Error{Node: e.node, Code: codes[outcome], Message: e.err.Error()})
		if summary.Reason == "" {
			summary.Reason = e.reason
		}
	}
	if summary.Nodes == nil {
		summary.Nodes = []output.NodeSummary{}
	}
	ch.Summary(summary)
	return outcome
}

func (b *Bot) converse(ctx context.Context, ask Ask, ch Channel) (output.Summary, error) {
	nodes, err := b.resolve(ctx, &ask)
	if err != nil {
		return output.Summary{}, end(NodeFault, output.ReasonFailed, err)
	}
	card, id, err := b.candidate(ctx, ask, nodes, ch)
	if err != nil {
		return output.Summary{}, err
	}
	ch.Candidate(card)
	if ask.ShowOnly {
		return output.Summary{Reason: output.ReasonShown}, nil
	}
	if err := b.decide(ctx, id, card, ch); err != nil {
		return output.Summary{}, err
	}
	envelope, grant, err := b.Desk.Grant(ctx, id)
	if err != nil {
		return output.Summary{}, end(Denied, output.ReasonDenied, err)
	}
	summary, err := b.run(ctx, grant, envelope, ch)
	if err == nil && ask.Keep != nil {
		err = b.keep(ctx, ask, card, ch)
	}
	return summary, err
}

// resolve finds the nodes of an ask, sorted, and takes what its words say of
// them out of the words.
func (b *Bot) resolve(ctx context.Context, ask *Ask) ([]string, error) {
	nodes, err := b.Runner.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	if said, rest := dryrun.FromText(ask.Text); said != dryrun.Nothing && rest != "" {
		ask.Text = rest
		ask.DryRun = ask.DryRun || said == dryrun.Dry
	}
	named, rest, err := target.FromText(ask.Text, nodes)
	if err != nil && ask.Nodes == "" {
		return nil, err
	}
	if named != "" && rest != "" {
		ask.Text = rest
	}
	return target.Resolve(cmp.Or(ask.Nodes, named, b.Home), nodes)
}

// prepare makes a candidate, and asks the person where their words can be read in several
// ways.
func (b *Bot) prepare(ctx context.Context, ask Ask, ch Channel) (*agent.Candidate, error) {
	req := agent.Request{ID: ask.ID, Text: ask.Text, Program: ask.Program}
	for {
		c, err := b.Agent.Prepare(ctx, req, stages(ch))
		var unclear *agent.Question
		if !errors.As(err, &unclear) || len(req.Answers) == agent.MaxAnswers {
			return c, err
		}
		answer, nobody := ch.Question(ctx, unclear)
		if nobody != nil {
			return nil, err
		}
		req.Answers = append(req.Answers, agent.Reply{Question: unclear.Text, Answer: answer})
	}
}

// candidate prepares the program and opens its case.
func (b *Bot) candidate(ctx context.Context, ask Ask, nodes []string, ch Channel) (Card, string, error) {
	c, err := b.prepare(ctx, ask, ch)
	var unclear *agent.Question
	var rejected *agent.RejectedError
	switch {
	case errors.As(err, &unclear):
		return Card{}, "", end(BadInput, output.ReasonCandidate, fmt.Errorf("it is not clear what is asked; say it in the request: %w", unclear))
	case errors.Is(err, agent.ErrRequest):
		return Card{}, "", end(BadInput, output.ReasonCandidate, err)
	case errors.Is(err, agent.ErrNoAnswer):
		return Card{}, "", end(NoAnswer, output.ReasonCandidate, err)
	case errors.As(err, &rejected):
		if r := agent.RefusalOf(err); r != nil && len(r.Steps) > 0 {
			err = fmt.Errorf("%w\n%s", err, strings.Join(r.Words()[1:], "\n"))
		}
		return Card{}, "", end(Rejected, output.ReasonCandidate, err)
	case err != nil:
		return Card{}, "", err
	}
	limits := job.Limits{Duration: DefaultDuration, EventsPerSecond: DefaultEvents, DryRun: ask.DryRun}
	if ask.EventsPerSecond != 0 {
		limits.EventsPerSecond = ask.EventsPerSecond
	}
	if c.Duration != 0 {
		limits.Duration = c.Duration
	}
	if ask.Duration != 0 {
		limits.Duration = ask.Duration
	}
	manifest, err := c.Manifest.Encode()
	if err != nil {
		return Card{}, "", err
	}
	proved := c.Finding.Verdict == proof.Verified
	prog := job.Program{ELF: c.Object.ELF(), Manifest: manifest, Contract: c.ContractText()}
	digest, err := job.DigestOf(prog, nodes, limits)
	if err != nil {
		return Card{}, "", err
	}
	risk, err := approvals.AssessRun(prog, limits, proved)
	if err != nil {
		return Card{}, "", end(Rejected, output.ReasonCandidate, err)
	}
	opened, err := b.Desk.Open(ctx, approvals.Candidate{
		Program: prog, Nodes: nodes, Limits: limits, Digest: digest, Tier: risk.Tier, Proved: proved, Requester: ask.Requester,
		Asked: ask.Text, Origin: c.Origin,
	})
	var refused *approvals.RefusedError
	if errors.As(err, &refused) {
		return Card{}, "", end(Refused, output.ReasonRefused, err)
	}
	if err != nil {
		return Card{}, "", err
	}
	record := output.Candidate{
		Digest: digest.String(), Name: c.Manifest.Name, Title: c.Manifest.Title, Origin: c.Origin,
		Verdict: c.Finding.Verdict.String(), Reason: c.Finding.Reason, Contract: c.ContractWords(), Reading: c.ReadingWords(), Tier: risk.Tier.String(), Why: risk.Why,
		Does: risk.Does, Nodes: nodes, Duration: limits.Duration.String(),
		Hooks: []string{}, Params: []output.Param{},
	}
	if c.Manifest.Script != nil {
		record.Script = c.Manifest.Script.Text
	}
	for _, p := range c.Manifest.Programs {
		record.Hooks = append(record.Hooks, p.Hook.String())
	}
	for _, k := range c.Manifest.Constants {
		record.Params = append(record.Params, output.Param{Name: k.Name, Value: k.Value})
	}
	return Card{Ask: ask, Record: record, Candidate: c}, opened.ID, nil
}

// decide hands the channel's votes to the desk until the case is decided.
func (b *Bot) decide(ctx context.Context, id string, card Card, ch Channel) error {
	ch.Stage(output.Stage{Name: "approve", State: "start"})
	start := b.Now()
	state := approvals.Pending
	err := ch.Decide(ctx, card, func(v approvals.Vote) (bool, error) {
		c, err := b.Desk.Decide(ctx, id, v)
		if err != nil {
			return true, err
		}
		state = c.State
		return state == approvals.Pending, nil
	})
	took := b.Now().Sub(start).Milliseconds()
	if err == nil && state == approvals.Approved {
		ch.Stage(output.Stage{Name: "approve", State: "done", Detail: "approved", Millis: took})
		return nil
	}
	detail := string(state)
	if err != nil {
		detail = err.Error()
	}
	ch.Stage(output.Stage{Name: "approve", State: "failed", Detail: detail, Millis: took})
	switch {
	case err != nil:
		return end(Denied, output.ReasonDenied, fmt.Errorf("not approved: %w", err))
	default:
		return end(Denied, output.ReasonDenied, fmt.Errorf("not approved: %s", state))
	}
}

// run runs the grant. What the nodes report as refusals and failures becomes
// the outcome.
func (b *Bot) run(ctx context.Context, g *job.Grant, envelope []byte, ch Channel) (output.Summary, error) {
	summary, err := b.Runner.Run(ctx, g, envelope, ch.Line)
	if err != nil {
		return summary, end(NodeFault, output.ReasonFailed, err)
	}
	for _, n := range summary.Nodes {
		if n.Reason == output.ReasonRefused || n.Reason == output.ReasonFailed {
			return summary, &ended{outcome: NodeFault, reason: n.Reason, node: n.Node, err: fmt.Errorf("node %s: %s: %s", n.Node, n.Reason, n.Detail)}
		}
	}
	return summary, nil
}
