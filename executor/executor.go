// Package executor runs approved programs on nodes and follows their output.
//
// On every node an [Executor] takes jobs from a bus, believes only what is
// signed, holds the program's instructions against its own policy, and then
// loads exactly the approved bytes, attaches them, streams their output for
// the approved time and takes everything out of the kernel again. The deadline
// is the node's own. A run also ends when it is stopped, when nobody follows it
// any more, when the bus is out of reach, and when the executor ends; no path
// leaves a probe attached.
//
// A job can also be a check: the program passes the same verification, is held
// against the policy and loaded, which nobody has to approve because it is never
// attached. Checks have few places of their own and do not take those of runs.
// Or it is an order to the node itself, to take no more runs or to take them again.
//
// On the other side [Dispatch] sends an approved job to its nodes, [Follow]
// merges what they send into one stream of records and one account, and [Stop]
// ends a run. [Check] asks nodes whether they would take a program, [Command] drains them.
//
// The account is exact: every event that a program produced was delivered, or
// lost in the kernel because its buffer was full, or dropped by the node over
// its rate limit or because the bus was slow, or trimmed between the node and
// the follower.
package executor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"kgent/agent/program"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/executor/probe"
)

// Kernel loads programs.
type Kernel interface {
	// Load brings a program and its maps into the kernel and attaches nothing.
	// The manifest fits the object. On error nothing is left behind.
	Load(ctx context.Context, o *program.Object, m *program.Manifest) (Probe, error)
}

// Probe is one loaded program. Its methods are called in this order, each at
// most once, except Counts; Close is always called.
type Probe interface {
	// Attach attaches every program, or none and returns an error. Of the
	// record it fills in what it knows: hooks, ids and streams.
	Attach(ctx context.Context) (output.Attached, error)

	// Stream hands events and, as the manifest's view asks, maps to sink until
	// ctx ends. Then it detaches, hands over what is left and the final maps,
	// and returns nil. It returns nil before ctx ends when the program has
	// nothing more to say.
	Stream(ctx context.Context, sink Sink) error

	// Counts returns how many events the programs produced, those included
	// that were lost because the ring buffer was full; how many were lost; and
	// how many updates found an output map full. The numbers only grow, and
	// are final after Stream has returned. It may be called while Stream runs,
	// not after Close.
	Counts() (produced, lost, mapFull uint64, err error)

	// Sample measures for the length of window what each program costs. It may be
	// called beside Stream and Close, after which it fails.
	Sample(ctx context.Context, window time.Duration) (probe.Sample, error)

	// Overhead returns what all samples together measured. It is called after
	// Stream.
	Overhead() output.Overhead

	// Verified returns what the verifier said of each program. It is called
	// after Load.
	Verified() ([]program.Verified, error)

	// Close takes everything out of the kernel. When Stream does not return
	// in time it is called beside it. An error means that something may be
	// left.
	Close() error
}

// Sink takes what a probe has to say. It never makes the probe wait, and is
// safe for concurrent use.
type Sink interface {
	// Admit is asked about every event before it is rendered; false means
	// that it is over the run's rate: the sink has counted it as dropped.
	Admit() bool
	// Line takes the JSON line of an admitted event, which it copies.
	Line(line []byte)
	// Lines takes those of several, each with its newline, which it copies, too. They
	// find room or do not as one: there should not be more than a few thousand bytes.
	Lines(lines []byte, events int)
	// Record takes a map, hist, stack or text.
	Record(r output.Record)
}

// How a node works with its bus.
const (
	leasePoll     = 500 * time.Millisecond
	announceEvery = 5 * time.Second
	announceTTL   = 15 * time.Second
	busAgain      = time.Second // before trying a bus again that failed
	ackLimit      = 2 * time.Second
	startLimit    = time.Minute      // for loading and attaching
	drainLimit    = 20 * time.Second // from the end of a run to its last event
)

// Executor is the executor of one node. Its fields are set before
// [Executor.Serve] and not changed afterwards.
type Executor struct {
	// Node is the node's name, and what it tells of itself.
	Node bus.NodeInfo
	// Verifier is for the same node.
	Verifier *job.Verifier
	Kernel   Kernel
	Bus      bus.Node
	Policy   NodePolicy
	// Tombstones, if set, keep programs out for a while that were loaded when
	// the executor died.
	Tombstones *Tombstones
	// Maintenance, if set, is the node's switch.
	Maintenance *Maintenance
	// Facts, if set, is what the control side should know of the node's kernel,
	// at most [bus.MaxFacts] bytes. It is published, and its hash announced.
	Facts []byte
	// Hooks, if set, is asked in a check whether a program's hooks exist here.
	Hooks Hooks
	// Audit, if set, is told everything that concerns a job, one entry at a
	// time. Nothing is loaded before it has taken the entry that says so;
	// a run that is attached ends in time even if it hangs.
	Audit func(Entry)
	// Started, if set, is called when jobs are about to be taken. From then on
	// Status, Drain and Undrain may be called.
	Started func()
	// Log, if set, gets what an operator should know beside that.
	Log *slog.Logger

	cpus     int
	kernel   Kernel        // that programs are loaded into
	auditing chan struct{} // holds a token while the audit log is told
	changed  chan struct{} // holds a token when there is something new to announce
	mu       sync.Mutex
	runs     map[string]*run // in progress, by name
	costs    costs
	tally    tally
	checks   checks
}

// Entry is what the audit log is told.
type Entry struct {
	At   time.Time `json:"at"`
	Node string    `json:"node"`
	// What happened: refused, accepted, attached, ended; of a program that is
	// only loaded: checking, checked; of the node: drained, undrained, crashed.
	What string `json:"what"`
	// Job is the bus's name for the job.
	Job string `json:"job"`
	// Run, Grant, Digest and Approval are the grant's. Of a job that failed
	// verification only Run is set, and nobody vouches for it.
	Run      string        `json:"run,omitempty"`
	Grant    string        `json:"grant,omitempty"`
	Digest   string        `json:"digest,omitempty"`
	Approval *job.Approval `json:"approval,omitempty"`
	// Rule is what a refused job broke: a [job.Refusal], the rule of a
	// [PolicyError], or program, run or lease; of a check also hook, kernel or time.
	Rule string `json:"rule,omitempty"`
	// ProgramIDs are those of an attached run.
	ProgramIDs []uint32 `json:"program_ids,omitempty"`
	// Summary is that of an ended run.
	Summary *output.NodeSummary `json:"summary,omitempty"`
	Detail  string              `json:"detail,omitempty"`
}

// Serve takes the node's jobs until ctx ends, then ends its runs and returns
// nil when nothing of them is left. Other errors mean that the executor is not
// set up right.
func (e *Executor) Serve(ctx context.Context) error {
	if err := e.prepare(); err != nil {
		return err
	}
	if e.Started != nil {
		e.Started()
	}
	var wg sync.WaitGroup
	wg.Go(func() { e.announce(ctx) })
	wg.Go(func() { e.listen(ctx) })
	wg.Go(func() { e.watchCosts(ctx) })
	consumer := rand.Text()
	for {
		err := e.Bus.Consume(ctx, e.Node.Name, consumer, func(j bus.Job) { e.take(ctx, j, &wg) })
		if ctx.Err() != nil {
			break
		}
		e.tally.busFailed()
		e.Log.Warn("taking jobs", "err", err)
		if !pause(ctx, busAgain) {
			break
		}
	}
	wg.Wait()
	return nil
}

func (e *Executor) prepare() error {
	if err := bus.CheckName(e.Node.Name); err != nil {
		return fmt.Errorf("starting executor: node: %w", err)
	}
	if e.Verifier == nil || e.Kernel == nil || e.Bus == nil {
		return errors.New("starting executor: verifier, kernel and bus must be set")
	}
	if e.Verifier.Node != e.Node.Name {
		return fmt.Errorf("starting executor: the verifier is for node %q, this is %q", e.Verifier.Node, e.Node.Name)
	}
	if !maps.Equal(e.Verifier.Labels, e.Node.Labels) {
		return fmt.Errorf("starting executor: the verifier is for a node with labels %q, this has %q", e.Verifier.Labels, e.Node.Labels)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("starting executor: counting processors: %w", err)
	}
	if len(e.Facts) > 0 {
		e.Node.Facts = bus.FactsHash(e.Facts)
	}
	e.cpus, e.runs, e.auditing, e.changed = cpus, map[string]*run{}, make(chan struct{}, 1), make(chan struct{}, 1)
	e.checks.jobs = map[string]bool{}
	e.kernel = e.Kernel
	if e.Tombstones != nil {
		e.kernel = buried{e.Kernel, e.Tombstones}
	}
	e.costs = newCosts()
	e.tally.started, e.tally.live, e.tally.totals.Jobs = time.Now(), map[*run]*outlet{}, map[string]uint64{}
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// announce keeps the node on the bus's list, and its facts on the bus.
func (e *Executor) announce(ctx context.Context) {
	for ctx.Err() == nil {
		var err error
		if e.Node.Facts != "" {
			err = e.Bus.PublishFacts(ctx, e.Node.Facts, e.Facts)
		}
		// Facts are good to have; a node without them can still be aimed at.
		self := e.Node
		self.At = time.Now()
		if d := e.Maintenance.Drained(); d != nil {
			self.Drained = legible(strings.ReplaceAll(d.String(), "\n", " "), maxWhy)
		}
		announced := e.Bus.Announce(ctx, self, announceTTL)
		e.tally.announced(announced)
		err = errors.Join(err, announced)
		if err != nil && ctx.Err() == nil {
			e.tally.busFailed()
			e.Log.Warn("announcing node", "err", err)
		}
		t := time.NewTimer(announceEvery)
		select {
		case <-t.C:
		case <-e.changed:
		case <-ctx.Done():
		}
		t.Stop()
	}
	off, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackLimit)
	defer cancel()
	if err := e.Bus.Announce(off, e.Node, 0); err != nil {
		e.Log.Warn("taking node off the list", "err", err)
	}
}

// listen hears of stops at once; the lease is what counts.
func (e *Executor) listen(ctx context.Context) {
	for {
		stops, err := e.Bus.Stops(ctx)
		if err == nil {
			for name := range stops {
				e.mu.Lock()
				r := e.runs[name]
				e.mu.Unlock()
				if r != nil {
					go r.post(event{kind: stopped}) // it may be busy ending
				}
			}
		}
		if ctx.Err() != nil {
			return
		}
		e.Log.Warn("listening for stops", "err", err)
		if !pause(ctx, busAgain) {
			return
		}
	}
}

// take decides about one delivery of a job. It runs only what passes every
// check, in a goroutine of wg.
func (e *Executor) take(ctx context.Context, j bus.Job, wg *sync.WaitGroup) {
	if ctx.Err() != nil {
		return // for the next executor
	}
	if e.isRunning(j.ID) || e.checks.has(j.ID) {
		return // it is acknowledged when it is over
	}
	taken := time.Now()
	var g *job.Grant
	var p job.Program
	err := e.guard("opening a job", func() (err error) {
		g, p, err = e.Verifier.Open(j.Envelope)
		return err
	})
	if err != nil {
		e.disbelieve(ctx, j, err)
		return
	}
	a := answer{job: j, run: g.Run, grant: g}
	if err := bus.CheckName(g.Run); err != nil {
		a.run = "" // there is nowhere to answer
		e.refuse(ctx, a, "run", err)
		return
	}
	switch g.Purpose {
	case job.PurposeRun:
	case job.PurposeCheck:
		e.check(ctx, j, g, p, wg)
		return
	case job.PurposeDrain, job.PurposeUndrain:
		e.obey(ctx, j, g, wg)
		return
	default:
		e.refuse(ctx, a, string(job.RefusedPurpose), fmt.Errorf("a grant for %q: this node runs, checks, and is drained and undrained", g.Purpose))
		return
	}
	r := newRun(e, g, p, j, taken)
	if rule, err := e.enter(r); err != nil {
		if rule == "run" {
			a.run = "" // the output with this name belongs to another run
		}
		e.refuse(ctx, a, rule, err)
		return
	}
	wg.Go(func() {
		defer e.leave(r)
		r.run(ctx)
	})
}

func (e *Executor) isRunning(jobID string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.runs {
		if r.job.ID == jobID {
			return true
		}
	}
	return false
}

func (e *Executor) isRun(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.runs[name] != nil
}

// enter takes one of the node's places for a run.
func (e *Executor) enter(r *run) (rule string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// Here, so that [Executor.Drain] ends what gets in just before it.
	if err := e.Maintenance.refuses(); err != nil {
		return "drained", err
	}
	if e.runs[r.grant.Run] != nil {
		return "run", fmt.Errorf("run %s: a run of this name is in progress on this node", r.grant.Run)
	}
	if len(e.runs) >= e.Policy.MaxRuns {
		return "runs", &PolicyError{"runs", fmt.Sprintf("%d runs are in progress, at most %d: wait for one to end, or stop one", len(e.runs), e.Policy.MaxRuns)}
	}
	e.runs[r.grant.Run] = r
	return "", nil
}

func (e *Executor) leave(r *run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.runs, r.grant.Run)
}

// disbelieve answers a job that failed verification. The run that it names is
// used as an address only, and not when this node has such a run in progress:
// nobody must be able to end a run by sending rubbish.
func (e *Executor) disbelieve(ctx context.Context, j bus.Job, err error) {
	rule := "internal"
	var refused *job.RefusedError
	if errors.As(err, &refused) {
		rule = string(refused.Refusal)
	}
	a := answer{job: j, run: claimedRun(j.Envelope)}
	if e.isRun(a.run) {
		a.run = ""
	}
	if j.Again && rule == string(job.RefusedReplay) {
		a.reason = output.ReasonFailed
		why := "its executor was restarted, or cut off from the bus"
		if died := e.Tombstones.died(); died != "" && time.Since(e.tally.started) < startLimit { // later it was this one that took it
			why = died
		}
		err = fmt.Errorf("this node took the job before and cannot tell how it ended: %s", why)
	}
	e.refuse(ctx, a, rule, err)
}

// answer is what a node says to a job that it does not run.
type answer struct {
	job    bus.Job
	run    string // where the answer goes; "" for nowhere
	grant  *job.Grant
	reason output.Reason // refused, if not set
}

// refuse tells the audit log and whoever follows, and acknowledges the job.
// When the answer finds no way out the job is left to be delivered again.
func (e *Executor) refuse(ctx context.Context, a answer, rule string, cause error) {
	if a.reason == "" {
		a.reason = output.ReasonRefused
	}
	entry := Entry{What: "refused", Job: a.job.ID, Run: a.run, Rule: rule, Detail: cause.Error()}
	if a.grant == nil {
		entry.Run = claimedRun(a.job.Envelope)
	}
	e.tell(entry.of(a.grant))
	if a.run != "" {
		if err := e.say(ctx, a, rule, cause); err != nil {
			e.Log.Warn("answering a job", "run", a.run, "err", err)
			return
		}
	}
	e.ack(ctx, a.job)
}

func (entry Entry) of(g *job.Grant) Entry {
	if g != nil {
		entry.Run, entry.Grant, entry.Digest, entry.Approval = g.Run, g.ID, g.Digest, &g.Approval
	}
	return entry
}

// say publishes a final chunk outside the sequence.
func (e *Executor) say(ctx context.Context, a answer, rule string, cause error) error {
	code := "node"
	var policy *PolicyError
	if errors.As(cause, &policy) {
		code = "policy"
	}
	var why output.Record = output.Error{Node: e.Node.Name, Code: code, Message: cause.Error()}
	if a.grant != nil && a.grant.Purpose == job.PurposeCheck {
		// Who asked makes something of the rule.
		why = output.Check{Node: e.Node.Name, Kernel: e.Node.Kernel, Rule: rule, Detail: bounded(cause.Error(), maxCheckDetail)}
	}
	return e.publishLast(ctx, bus.Chunk{Run: a.run, Node: e.Node.Name, Final: true}, why,
		output.NodeSummary{Node: e.Node.Name, Reason: a.reason, Detail: cause.Error()})
}

// publishLast publishes a chunk with records, and tries again for a while.
func (e *Executor) publishLast(ctx context.Context, c bus.Chunk, records ...output.Record) error {
	for _, r := range records {
		line, err := output.Encode(r)
		if err != nil {
			return err
		}
		c.Lines = append(c.Lines, line...)
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for {
		err := e.Bus.Publish(ctx, c)
		if err == nil || !pause(ctx, publishAgain) {
			return err
		}
	}
}

// ack acknowledges a job, also when the executor is ending.
func (e *Executor) ack(ctx context.Context, j bus.Job) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackLimit)
	defer cancel()
	if err := e.Bus.Ack(ctx, e.Node.Name, j.ID); err != nil {
		// It will be delivered again, and refused as replayed.
		e.Log.Warn("acknowledging a job", "job", j.ID, "err", err)
	}
}

// tell hands an entry to the audit log, which must not take the node down.
func (e *Executor) tell(entry Entry) {
	e.tally.over(entry)
	if e.Audit == nil {
		return
	}
	entry.At, entry.Node = time.Now(), e.Node.Name
	e.auditing <- struct{}{}
	defer func() { <-e.auditing }()
	if err := e.guard("writing the audit log", func() error { e.Audit(entry); return nil }); err != nil {
		e.Log.Error("writing the audit log", "err", err)
	}
}

// claimedRun returns the run that an envelope names, or "" if it names none
// that is a name. Nobody vouches for it.
func claimedRun(envelope []byte) string {
	if len(envelope) > job.MaxEnvelope {
		return ""
	}
	var env struct {
		Grant []byte `json:"grant"`
	}
	var g struct {
		Run string `json:"run"`
	}
	if json.Unmarshal(envelope, &env) != nil || json.Unmarshal(env.Grant, &g) != nil || bus.CheckName(g.Run) != nil {
		return ""
	}
	return g.Run
}

// guard turns a panic of f into an error, and logs where it was.
func (e *Executor) guard(doing string, f func() error) error {
	err := caught(doing, f)
	var p *panicked
	if errors.As(err, &p) {
		e.Log.Error("panic while "+p.doing, "panic", p.value, "stack", string(p.stack))
	}
	return err
}

// panicked is a panic that was caught.
type panicked struct {
	doing string
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("%s: panic: %v", p.doing, p.value) }

// caught turns a panic of f into an error, a [*panicked]. What runs in a goroutine of its
// own goes through it: a fault in one run is none of the others'.
func caught(doing string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{doing, p, debug.Stack()}
		}
	}()
	return f()
}

// pause waits, and reports false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
