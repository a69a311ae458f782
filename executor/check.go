package executor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"kgent/agent/program"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// What checks may take of a node. They come without anybody's approval, so
// they get little: their places are not those of runs, and there are only so
// many of them a minute, whoever asks.
const (
	checksAtOnce    = 2
	checksPerMinute = 30
	checkLimit      = 30 * time.Second // for loading
	maxCheckDetail  = 4 << 10          // bytes of what the kernel said
	maxVerified     = 256              // programs
)

// Hooks is asked whether a hook exists on this node; kernel.Facts is one.
type Hooks interface {
	CheckHook(kind, target string) error
}

// checks are the checks in progress and those of the last minute.
type checks struct {
	mu     sync.Mutex
	jobs   map[string]bool // by the bus's name for the job
	loads  int             // in the kernel, also those that nobody waits for
	recent []time.Time
}

// enter takes one of the places.
func (c *checks) enter(jobID string, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.recent) > 0 && now.Sub(c.recent[0]) >= time.Minute {
		c.recent = c.recent[1:]
	}
	switch {
	case c.loads >= checksAtOnce:
		return &PolicyError{ruleChecks, fmt.Sprintf("%d checks are in progress, at most %d: try again in a moment", c.loads, checksAtOnce)}
	case len(c.recent) >= checksPerMinute:
		return &PolicyError{ruleChecks, fmt.Sprintf("%d checks in the last minute, at most %d: try again in a minute", len(c.recent), checksPerMinute)}
	}
	c.recent = append(c.recent, now)
	c.loads++
	c.jobs[jobID] = true
	return nil
}

func (c *checks) unloaded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loads--
}

func (c *checks) answered(jobID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.jobs, jobID)
}

func (c *checks) has(jobID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jobs[jobID]
}

// check does what a grant for a check allows: the program is loaded and
// unloaded. There is no way from here to an attached program.
func (e *Executor) check(ctx context.Context, j bus.Job, g *job.Grant, p job.Program, wg *sync.WaitGroup) {
	a := answer{job: j, run: g.Run, grant: g}
	if e.isRun(g.Run) {
		a.run = "" // the output with this name belongs to another
		e.refuse(ctx, a, "run", fmt.Errorf("check %s: a run of this name is in progress on this node", g.Run))
		return
	}
	if err := e.Maintenance.refuses(); err != nil {
		e.refuse(ctx, a, "drained", err)
		return
	}
	if err := e.checks.enter(j.ID, time.Now()); err != nil {
		e.refuse(ctx, a, ruleChecks, err)
		return
	}
	wg.Go(func() {
		defer e.checks.answered(j.ID)
		start := time.Now()
		// A sign of life: the kernel may take its time.
		if err := e.Bus.Publish(ctx, bus.Chunk{Run: g.Run, Node: e.Node.Name, Seq: 1}); err != nil {
			e.Log.Warn("answering a check", "check", g.Run, "err", err)
		}
		e.tell(Entry{What: "checking", Job: j.ID}.of(g))
		programs, rule, err := e.dryLoad(ctx, p, g.Limits.DryRun)
		c := output.Check{Node: e.Node.Name, Kernel: e.Node.Kernel, OK: err == nil, Rule: rule, Millis: time.Since(start).Milliseconds()}
		for _, v := range programs {
			c.Programs = append(c.Programs, output.Verified(v))
		}
		summary := output.NodeSummary{Node: e.Node.Name, Reason: output.ReasonChecked}
		if err != nil {
			c.Detail = bounded(err.Error(), maxCheckDetail)
			summary.Reason, summary.Detail = output.ReasonRefused, c.Detail
		}
		e.tell(Entry{What: "checked", Job: j.ID, Rule: rule, Detail: c.Detail}.of(g))
		base := context.WithoutCancel(ctx)
		if err := e.publishLast(base, bus.Chunk{Run: g.Run, Node: e.Node.Name, Seq: 2, Final: true}, c, summary); err != nil {
			e.Log.Warn("answering a check", "check", g.Run, "err", err)
		}
		e.ack(base, j)
	})
}

// dryLoad holds a program, or what a dry run would make of it, against the node's
// policy and hooks, and has the kernel verify it. The rule says who refused: a
// rule of the policy, program, hook, kernel or time.
func (e *Executor) dryLoad(ctx context.Context, p job.Program, dry bool) (programs []program.Verified, rule string, err error) {
	var o *program.Object
	var m *program.Manifest
	err = e.guard("checking the program", func() (err error) {
		rule = "program"
		// As if it were approved for all that a program can do: what people
		// will be asked is not known yet, what this node never does is.
		if o, m, err = e.admit(p, TierAct, dry); err != nil {
			return err
		}
		rule = "hook"
		return e.checkHooks(m)
	})
	var policy *PolicyError
	if errors.As(err, &policy) {
		rule = policy.Rule
	}
	if err != nil {
		e.checks.unloaded()
		return nil, rule, err
	}
	limit, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	type result struct {
		programs []program.Verified
		err      error
	}
	done := make(chan result, 1)
	go func() {
		// The place is taken until the kernel is done, however long that is.
		defer e.checks.unloaded()
		var r result
		r.err = e.guard("loading the program", func() (err error) {
			r.programs, err = DryLoad(limit, e.kernel, o, m)
			return err
		})
		done <- r
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, "kernel", r.err
		}
		return r.programs, "", nil
	case <-limit.Done():
		if ctx.Err() != nil {
			return nil, "time", errors.New("the executor on this node was stopped before the check was over")
		}
		return nil, "time", fmt.Errorf("the kernel did not finish verifying the program within %v", checkLimit)
	}
}

// checkHooks asks whether the program's hooks exist here.
func (e *Executor) checkHooks(m *program.Manifest) error {
	if e.Hooks == nil {
		return nil
	}
	var errs []error
	for _, p := range m.Programs {
		if p.Hook.Kind.OfScripts() {
			continue
		}
		kind, place := p.Hook.Place()
		if err := e.Hooks.CheckHook(kind, place); err != nil {
			errs = append(errs, fmt.Errorf("program %s: %w", p.Name, err))
		}
	}
	return errors.Join(errs...)
}

// DryLoad has a kernel verify a program, which is not attached and is gone
// afterwards.
func DryLoad(ctx context.Context, k Kernel, o *program.Object, m *program.Manifest) ([]program.Verified, error) {
	p, err := k.Load(ctx, o, m)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, errors.New("loading the program: the kernel gave nothing")
	}
	programs, err := p.Verified()
	if err := errors.Join(err, p.Close()); err != nil {
		return nil, err
	}
	return programs, nil
}

// bounded shortens text to at most n bytes, at a rune's end.
func bounded(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + " …"
}

// NodeCheck is what is known about a program on one node.
type NodeCheck struct {
	Node string
	// Answered is false when the node said nothing in time; Detail then says so.
	Answered bool
	// OK: the node's kernel takes the program.
	OK bool
	// Kernel is the node's, as it says.
	Kernel string
	// Programs are what the verifier said of those it took.
	Programs []program.Verified
	// Rule says who refused: a rule of the node's policy or of package job, or
	// program, hook, kernel or time.
	Rule string
	// Detail is why, in the node's words: printable, at most 4 KiB.
	Detail string
}

// CheckSigner makes grants for checks; approvals.Desk is one.
type CheckSigner interface {
	// Check makes one for these nodes; dry, of what a dry run would load.
	Check(ctx context.Context, p job.Program, nodes []string, dry bool) (*job.Grant, []byte, error)
}

// How long a check is waited for.
const (
	checkAnswer = answerLimit               // for a node's first word
	checkWait   = checkLimit + silenceLimit // for its last
	// A node that is busy with others' checks is asked again, ever more rarely:
	// within a minute it has room, unless others take it.
	checkPatience  = time.Minute
	checkAgain     = 500 * time.Millisecond
	checkAgainMost = 4 * time.Second
)

// ruleChecks is the rule of a node that has no room for one more check now.
const ruleChecks = "checks"

// busy reports whether the node had no room for a check.
func (n *NodeCheck) busy() bool { return n.Answered && n.Rule == ruleChecks }

// patience is how long somebody waits for busy nodes.
type patience struct {
	begun time.Time
	wait  time.Duration
}

func newPatience() *patience { return &patience{time.Now(), checkAgain} }

// again waits for the moment to ask again. It reports false when there is none,
// or ctx ends.
func (p *patience) again(ctx context.Context) bool {
	// Those who were refused together do not come back together.
	wait := p.wait/2 + rand.N(p.wait/2)
	p.wait = min(2*p.wait, checkAgainMost)
	return time.Since(p.begun)+wait < checkPatience && pause(ctx, wait)
}

// Check asks nodes whether their kernels would take a program; dry, what a dry
// run would make of it. The answers are
// in the order of the nodes; one that does not answer in time is among them.
// Nodes that are busy with other checks are asked again for up to a minute. An
// error means that nothing could be asked.
//
// What comes back over the bus is not signed. It tells people what to expect;
// a node that runs the program verifies it again.
func Check(ctx context.Context, b bus.Control, s CheckSigner, p job.Program, nodes []string, dry bool) ([]NodeCheck, error) {
	fail := func(err error) ([]NodeCheck, error) { return nil, fmt.Errorf("checking the program on nodes: %w", err) }
	if len(nodes) == 0 {
		return fail(errors.New("none was named"))
	}
	out := make([]NodeCheck, len(nodes))
	var waiting []*NodeCheck
	for i, node := range nodes {
		if slices.Contains(nodes[:i], node) {
			return fail(fmt.Errorf("node %s was named twice", node))
		}
		out[i].Node = node
		waiting = append(waiting, &out[i])
	}
	for wait := newPatience(); ; {
		if err := checkOnce(ctx, b, s, p, waiting, dry); err != nil {
			return fail(err)
		}
		waiting = slices.DeleteFunc(waiting, func(n *NodeCheck) bool { return !n.busy() })
		if len(waiting) == 0 {
			return out, nil
		}
		if !wait.again(ctx) {
			if ctx.Err() != nil {
				return fail(context.Cause(ctx))
			}
			return out, nil
		}
	}
}

// checkOnce asks nodes once, whatever they said before.
func checkOnce(ctx context.Context, b bus.Control, s CheckSigner, p job.Program, nodes []*NodeCheck, dry bool) error {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Node
	}
	g, envelope, err := s.Check(ctx, p, names, dry)
	if err != nil {
		return err
	}
	unsent := bus.Unsent{}
	if err := b.Submit(ctx, envelope, names...); ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil && !errors.As(err, &unsent) {
		return err
	}
	var asked []string
	for _, n := range nodes {
		*n = NodeCheck{Node: n.Node, Detail: fmt.Sprintf("it did not answer within %v", checkAnswer)}
		if why := unsent[n.Node]; why != nil {
			n.Detail = fmt.Sprintf("it could not be asked: %v", why)
			continue
		}
		asked = append(asked, n.Node)
	}
	if len(asked) == 0 {
		return errors.New(nodes[0].Detail)
	}
	return collect(ctx, b, g.Run, asked, func(c bus.Chunk) {
		if i := slices.Index(names, c.Node); i >= 0 && c.Run == g.Run {
			nodes[i].take(c)
		}
	})
}

// collect follows until every node has said its last word, or none can be
// expected to say more.
func collect(ctx context.Context, b bus.Control, run string, nodes []string, each func(bus.Chunk)) error {
	follow, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	var mu sync.Mutex
	alive, ended := map[string]bool{}, map[string]bool{}
	silent := time.AfterFunc(checkAnswer, func() {
		mu.Lock()
		defer mu.Unlock()
		if len(alive) == len(ended) { // the others are not there
			cancel()
		}
	})
	defer silent.Stop()
	late := time.Now().Add(checkAnswer)
	for {
		err := b.Follow(follow, run, nodes, func(c bus.Chunk) error {
			mu.Lock()
			defer mu.Unlock()
			if ended[c.Node] {
				return nil
			}
			each(c)
			alive[c.Node] = true
			if c.Final || c.Foreign() != "" {
				ended[c.Node] = true
			}
			if len(ended) == len(nodes) || len(alive) == len(ended) && time.Now().After(late) {
				cancel()
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case follow.Err() != nil:
			return nil
		case !pause(follow, publishAgain):
			if ctx.Err() == nil && len(alive) == 0 && err != nil {
				return err
			}
		}
	}
}

// take takes what a node says. None of it is trusted to be well formed.
func (n *NodeCheck) take(c bus.Chunk) {
	if why := c.Foreign(); why != "" {
		n.Answered, n.Detail = true, why
		return
	}
	if !c.Final {
		n.Detail = fmt.Sprintf("it began, and had not finished after %v", checkWait)
		return
	}
	n.Answered, n.Detail = true, "its answer is not one to a check"
	for line := range strings.Lines(string(c.Lines)) {
		r, err := output.Decode([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			continue
		}
		switch r := r.(type) {
		case output.Check:
			n.OK, n.Kernel, n.Rule, n.Detail = r.OK, legible(r.Kernel, 64), legible(r.Rule, 64), legible(r.Detail, maxCheckDetail)
			n.Programs = nil
			for _, v := range r.Programs[:min(len(r.Programs), maxVerified)] {
				n.Programs = append(n.Programs, program.Verified{Program: legible(v.Program, 128), Processed: v.Processed})
			}
			if n.OK {
				n.Detail = ""
			}
			return
		case output.Error: // refused before it became a check
			n.Rule, n.Detail = legible(r.Code, 64), legible(r.Message, maxCheckDetail)
		}
	}
}

// legible makes a node's text fit to be shown: no character but printable ones
// and ends of lines.
func legible(text string, most int) string {
	return bounded(strings.Map(func(r rune) rune {
		if r == '\n' || strconv.IsPrint(r) {
			return r
		}
		return ' '
	}, text), most)
}

// Preflight is the verifier of a kernel that runs elsewhere: a check on a node
// that has it.
type Preflight struct {
	Bus    bus.Control
	Signer CheckSigner
	// Nodes have that kernel. They are asked one after the other until one
	// answers, and no more than three. While one is busy with other checks they
	// are asked again, for up to a minute.
	Nodes []string
	// DryRun asks for what a dry run would load, of programs that do more than
	// observe.
	DryRun bool
}

// maxPreflights is how many nodes are tried that do not answer.
const maxPreflights = 3

// DryLoad implements the agent's loader. Its error is what the node said of
// the program, or wraps [program.ErrUntried] when none could be asked.
func (f *Preflight) DryLoad(ctx context.Context, o *program.Object, m *program.Manifest) ([]program.Verified, error) {
	manifest, err := m.Encode()
	if err != nil {
		return nil, err
	}
	dry := f.DryRun
	if dry {
		_, err := o.DryRun()
		if dry = !errors.Is(err, program.ErrObserves); dry && err != nil {
			return nil, err
		}
	}
	nodes := f.Nodes[:min(len(f.Nodes), maxPreflights)]
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%w: no node of this kernel was named", program.ErrUntried)
	}
	said := map[string]string{} // by those who did not say anything of the program
	var silent []string         // or anything at all
	for wait := newPatience(); ; {
		var busy []string
		for _, node := range nodes {
			c := NodeCheck{Node: node}
			if err := checkOnce(ctx, f.Bus, f.Signer, job.Program{ELF: o.ELF(), Manifest: manifest}, []*NodeCheck{&c}, dry); err != nil {
				return nil, fmt.Errorf("%w: checking the program on %s: %w", program.ErrUntried, node, err)
			}
			switch {
			case c.OK:
				return c.Programs, nil
			case c.Answered && c.tells():
				return nil, errors.New(c.Detail)
			case c.busy():
				busy = append(busy, node)
			case !c.Answered:
				silent = append(silent, node)
			}
			said[node] = fmt.Sprintf("%s: %s", node, c.Detail)
		}
		if nodes = busy; len(nodes) == 0 || !wait.again(ctx) {
			break
		}
	}
	why := strings.Join(slices.Sorted(maps.Values(said)), "; ")
	if len(silent) > 0 {
		return nil, &program.SilentError{Nodes: silent, Why: why}
	}
	return nil, fmt.Errorf("%w: %s", program.ErrUntried, why)
}

// tells reports whether a refusal says something about the program, rather
// than about the node at this moment.
func (n *NodeCheck) tells() bool {
	switch n.Rule {
	case "program", "hook", "kernel", "kind", "helper", "act", "programs", "map-memory", "denied-hook", "type", "maps":
		return true
	}
	return false
}
