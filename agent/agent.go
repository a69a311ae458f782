// Package agent turns a request into a candidate: a program with its manifest,
// checked as far as it can be before people are asked about it.
//
//	request ─▶ recipe, or a program the model writes ─▶ gates ─▶ Candidate
//	                        ▲                             │
//	                        └────────── feedback ─────────┘
//
// A request that a built-in recipe answers needs no model. Otherwise a model,
// when one is configured, writes the program, and the first gate it fails
// becomes the feedback for its next try, within a [Budget]. The package knows
// no chat, attaches nothing and runs nothing.
package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"kgent/agent/contract"
	"kgent/agent/llm"
	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/retrieval/kernel"
)

// MaxRequest is the longest request read, in bytes: more than anybody types.
const MaxRequest = 4000

// MaxBefore is how many earlier turns of a conversation are read.
const MaxBefore = 32

// Request is what somebody asked for.
type Request struct {
	ID   string `json:"id"` // names the request in its record
	Text string `json:"text"`
	// Before holds the earlier requests of the same conversation, oldest first,
	// at most [MaxBefore]. Text may change them: "only port 443", "again for 2
	// minutes". What it was taken for is in [Candidate.Understood].
	Before []string `json:"before,omitempty"`
}

// Target is a kernel that a candidate is made for.
type Target struct {
	Facts  *kernel.Facts
	Types  compile.Types
	Loader verify.Loader
	// Hash names the facts among the nodes; empty for this machine.
	Hash string
	// Nodes are those that have this kernel; empty for this machine.
	Nodes []string
}

// String names the kernel and its nodes: "Linux 6.1.0 (db-3, db-4)".
func (t Target) String() string {
	s := "Linux " + t.Facts.Release
	switch n := len(t.Nodes); {
	case n > maxNamed:
		s += fmt.Sprintf(" (%s and %d more)", strings.Join(t.Nodes[:maxNamed], ", "), n-maxNamed)
	case n > 0:
		s += " (" + strings.Join(t.Nodes, ", ") + ")"
	}
	return s
}

// maxNamed is how many nodes of one kernel a message names.
const maxNamed = 5

// Budget bounds what the model may cost for one request.
type Budget struct {
	Tries  int // programs written
	Tokens int // prompt and completion, of all calls together
	Time   time.Duration
}

// DefaultBudget is enough for the requests people type.
var DefaultBudget = Budget{Tries: 6, Tokens: 250_000, Time: 5 * time.Minute}

// Agent prepares candidates. It is safe for concurrent use.
type Agent struct {
	// UserID looks up the id of a user by name, for requests like "by user
	// www-data"; nil knows root and numbers only.
	UserID   func(name string) (id uint32, ok bool)
	Recipes  *recipes.Library
	Model    llm.Model // nil: no model is configured
	Compiler *compile.Compiler
	Target   Target
	Budget   Budget
	Now      func() time.Time
	// Records, if set, is shared with other agents.
	Records *Records
	// Prover holds programs against their contracts. Nil makes one for this
	// agent.
	Prover Prover

	records Records
	prover  verify.Prover
}

// Candidate is what people are asked to approve, before nodes and limits are
// put to it.
type Candidate struct {
	Request  Request
	Origin   string // "recipe tcp-connect" or "model <name>"
	Source   string
	Object   *program.Object
	Manifest *program.Manifest
	Facts    []program.Facts
	// Contract says what the program is to do; nil when none could be written.
	// Finding is what came of holding the program against it.
	Contract *contract.Contract
	Finding  verify.Finding
	// Checked is what each kernel said of the program, in the order of the
	// targets. After [Candidate.WithConstants] it is empty.
	Checked []KernelResult
	// Understood is what was read from the sentence, one line each.
	Understood []string
	// Explanation is the author's own words about the program: a recipe's
	// description, or what the model says, which is not to be trusted.
	Explanation string
	// Duration is how long the request asks to run; 0 when it does not say.
	Duration time.Duration
	Record   *Record
}

// ContractText is the contract as it is stored and covered by the digest; empty
// when there is none.
func (c *Candidate) ContractText() []byte {
	if c.Contract == nil {
		return []byte{}
	}
	return []byte(contract.Format(c.Contract))
}

// ContractWords is the contract in plain words; empty when there is none.
func (c *Candidate) ContractWords() string {
	if c.Contract == nil {
		return ""
	}
	return contract.English(c.Contract)
}

// Step tells how preparation goes on.
type Step struct {
	Name    string // match, write, compile, facts, prove, load
	State   string // start, done, failed, skipped
	Detail  string
	Elapsed time.Duration
}

// ErrNoAnswer says that neither a recipe nor a model has a program for the
// request. The error wrapping it says which recipes come near and what to
// configure.
var ErrNoAnswer = errors.New("no program for this request")

// ErrRequest says that the request cannot be read.
var ErrRequest = errors.New("cannot read the request")

// ErrModel says that a model is configured but gave no answer to work with:
// its endpoint is down, slow or does not accept the key. The error wrapping it
// says what to do.
var ErrModel = errors.New("the model cannot be asked")

// RejectedError says that no program passed the gates.
type RejectedError struct {
	Record *Record
	Last   error // why the last one did not
	// Ended says why there was no further try, when that was not the number of
	// tries; else nil.
	Ended error
}

func (e *RejectedError) Error() string {
	var b strings.Builder
	if n := len(e.Record.Attempts); n > 1 {
		fmt.Fprintf(&b, "none of %d programs passed; the last one: %v", n, e.Last)
	} else {
		fmt.Fprintf(&b, "the program did not pass: %v", e.Last)
	}
	if e.Ended != nil {
		fmt.Fprintf(&b, "; there was no further try: %v", e.Ended)
	}
	return b.String()
}

func (e *RejectedError) Unwrap() error { return e.Last }

// Prepare makes a candidate. progress, if not nil, is called on the caller's
// goroutine. The error is ErrRequest, ErrNoAnswer, ErrModel, a
// *[RejectedError], the context's, or a fault of this machine (no clang).
func (a *Agent) Prepare(ctx context.Context, req Request, progress func(Step)) (*Candidate, error) {
	return a.PrepareFor(ctx, req, []Target{a.Target}, progress)
}

// PrepareFor makes a candidate for one or more distinct kernels instead of the
// agent's own. It is compiled with the types of the first. One that does not fit
// every kernel is rejected; the error then wraps a [*KernelsError]. When a kernel
// cannot be asked the error wraps [program.ErrUntried] and names it.
func (a *Agent) PrepareFor(ctx context.Context, req Request, targets []Target, progress func(Step)) (*Candidate, error) {
	if len(targets) == 0 {
		return nil, errors.New("preparing a program: no kernel was named that it is for")
	}
	p := preparation{Agent: a, req: req, targets: targets, progress: progress}
	if p.progress == nil {
		p.progress = func(Step) {}
	}
	first := targets[0].Facts
	p.record = &Record{Request: req, Started: a.Now(), PromptVersion: PromptVersion, Kernel: first.Release, BTF: first.BTFHash}
	for _, t := range targets[1:] {
		p.record.Others = append(p.record.Others, t.String())
	}
	c, err := p.run(ctx)
	p.record.Seconds = a.Now().Sub(p.record.Started).Seconds()
	if err != nil {
		p.record.Outcome = err.Error()
		return nil, err
	}
	p.record.Outcome = "candidate"
	return c, nil
}

// preparation is the making of one candidate.
type preparation struct {
	*Agent
	req      Request
	targets  []Target
	progress func(Step)
	record   *Record
}

// Readable refuses requests that are no request.
func Readable(text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return fmt.Errorf("%w: it is empty; write what you want to see, for example: kgent ask \"who is killing my process\"", ErrRequest)
	case len(text) > MaxRequest:
		return fmt.Errorf("%w: it has %d bytes, at most %d are read; say it in a sentence or two", ErrRequest, len(text), MaxRequest)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' }):
		return fmt.Errorf("%w: it is not text; write what you want to see in words", ErrRequest)
	}
	return nil
}

// readable refuses requests, and turns before them, that cannot be read.
func (r Request) readable() error {
	if len(r.Before) > MaxBefore {
		return fmt.Errorf("%w: the conversation has %d turns, at most %d are read; begin a new one, with all of it in one sentence", ErrRequest, len(r.Before), MaxBefore)
	}
	for i, said := range r.Before {
		if err := Readable(said); err != nil {
			return fmt.Errorf("turn %d of the conversation: %w", i+1, err)
		}
	}
	return Readable(r.Text)
}

func (p *preparation) run(ctx context.Context) (*Candidate, error) {
	if err := p.req.readable(); err != nil {
		return nil, err
	}
	var match *recipes.Match
	err := p.step("match", func() (string, error) {
		m, err := p.Recipes.MatchAfter(p.req.Before, p.req.Text, recipes.MatchOptions{UserID: p.UserID})
		if err != nil {
			return "", err
		}
		match = m
		return "recipe " + m.Recipe.Name, nil
	})
	var none *recipes.NoMatchError
	switch {
	case err == nil:
		return p.fromRecipe(ctx, match)
	case errors.As(err, &none) && p.Model != nil:
		return p.fromModel(ctx, none.Nearest)
	case errors.As(err, &none):
		return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return nil, err
}

// step runs one step and reports it.
func (p *preparation) step(name string, do func() (detail string, err error)) error {
	p.progress(Step{Name: name, State: "start"})
	start := p.Now()
	detail, err := do()
	s := Step{Name: name, State: "done", Detail: detail, Elapsed: p.Now().Sub(start)}
	if err != nil {
		s.State, s.Detail = "failed", firstLine(err.Error())
	}
	p.progress(s)
	return err
}

func (p *preparation) fromRecipe(ctx context.Context, m *recipes.Match) (*Candidate, error) {
	source := string(m.Recipe.Source)
	att := p.record.attempt("recipe "+m.Recipe.Name, source)
	c, err := p.gates(ctx, source, m.Options, m.Recipe.Contract, nil)
	att.end(err)
	if err != nil {
		var f *verify.Failure
		if errors.As(err, &f) {
			return nil, &RejectedError{Record: p.record, Last: err}
		}
		return nil, err
	}
	c.Origin = "recipe " + m.Recipe.Name
	c.Understood = m.Understood
	c.Explanation = m.Recipe.Description
	c.Duration = m.Duration
	return c, nil
}

// gates takes a source through compile, facts, prove and load. check, if not
// nil, sees the object before its manifest is made.
func (p *preparation) gates(ctx context.Context, source string, opt program.Options, want *contract.Contract, check func(*program.Object) error) (*Candidate, error) {
	c := &Candidate{Request: p.req, Source: source, Record: p.record, Contract: want}
	err := p.step("compile", func() (string, error) {
		if p.Compiler == nil {
			return "", compile.ErrNoClang
		}
		res, err := p.Compiler.Compile(ctx, source, p.targets[0].Types)
		var bad *compile.Error
		if errors.As(err, &bad) {
			return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
		}
		if err != nil {
			return "", err
		}
		o, err := program.Parse(res.ELF)
		if err == nil && check != nil {
			err = check(o)
		}
		if err != nil {
			return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
		}
		c.Object = o
		if c.Manifest, err = program.Build(o, opt); err != nil {
			return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
		}
		if err := showsSomething(o); err != nil {
			return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
		}
		if c.Facts, err = o.Facts(); err != nil {
			return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
		}
		n := 0
		for _, f := range c.Facts {
			n += f.Instructions
		}
		return fmt.Sprintf("%s, %s, %d bytes", plural(len(c.Facts), "program"), plural(n, "instruction"), len(res.ELF)), nil
	})
	if err != nil {
		return nil, err
	}
	err = p.step("facts", func() (string, error) {
		return plural(len(c.Manifest.Programs), "hook") + " found" + onKernels(p.targets), p.fits(c)
	})
	if err != nil {
		return nil, err
	}
	if c.Finding, err = p.prove(ctx, c); err != nil {
		return nil, err
	}
	err = p.step("load", func() (string, error) {
		var err error
		c.Checked, err = p.load(ctx, c)
		return "accepted by the kernel's verifier" + onKernels(p.targets), err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// fromModel has the model write the program. A program that fails a gate is
// given back twice with its fault; then the model starts afresh, knowing what
// was refused.
func (p *preparation) fromModel(ctx context.Context, nearest []*recipes.Recipe) (*Candidate, error) {
	if p.Compiler == nil { // what the model writes could not even be compiled
		return nil, compile.ErrNoClang
	}
	asked := ctx
	ctx, cancel := context.WithTimeoutCause(asked, p.Budget.Time, fmt.Errorf("a request may take %v, and they are over", p.Budget.Time))
	defer cancel()
	question, err := p.question(p.req, p.targets, nearest)
	if err != nil {
		return nil, err
	}
	schema, err := llm.SchemaOf[answer]("ebpf_program")
	if err != nil {
		return nil, err
	}
	budget := llm.NewBudget(llm.Bounds{Tokens: p.Budget.Tokens, Requests: requestsPerTry * p.Budget.Tries})
	messages := []llm.Message{llm.User(question)}
	var refused []string
	var last error
	for try := 1; try <= p.Budget.Tries; try++ {
		var ans llm.Answer
		var parsed answer
		err := p.step("write", func() (string, error) {
			var err error
			ans, err = p.Model.Complete(ctx, llm.Prompt{Purpose: "write the program", System: systemPrompt, Messages: messages,
				Schema: schema, Budget: budget, Record: p.record.call})
			if err != nil {
				return "", err
			}
			if parsed, err = llm.Decode[answer](ans); err != nil {
				return "", err
			}
			return fmt.Sprintf("try %d by %s, %d tokens", try, modelName(ans), ans.Usage.Total()), nil
		})
		if err != nil && !answered(err) {
			return nil, p.unanswered(asked, ctx, err, last)
		}
		source, notes := amend(parsed.Source)
		att := p.record.attempt("model "+modelName(ans), source)
		att.Notes = notes
		if err != nil {
			att.Answer = clip(ans.Text, maxKept)
		}
		var c *Candidate
		switch {
		case errors.Is(err, llm.ErrRefused), errors.Is(err, llm.ErrContentFilter):
			err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
		case err == nil && parsed.Cannot != "" && parsed.Source == "":
			err = fmt.Errorf("%w: the model says: %q", ErrNoAnswer, clip(parsed.Cannot, 500))
		case err == nil:
			parsed.Source = source
			c, err = p.fromAnswer(ctx, &parsed)
		}
		att.end(err)
		switch {
		case err == nil:
			c.Origin = "model " + modelName(ans)
			if n := len(p.req.Before); n > 0 {
				c.Understood = []string{fmt.Sprintf("the model read it together with the %s before it in this conversation", plural(n, "request"))}
			}
			c.Explanation = clip(parsed.Explanation, 1000)
			c.Duration = millis(parsed.DurationMS)
			return c, nil
		case ctx.Err() != nil:
			if last == nil {
				last = err
			}
			return nil, p.unanswered(asked, ctx, err, last)
		case !repairable(err):
			return nil, err
		}
		last = err
		refused = append(refused, clip(err.Error(), 600))
		switch {
		case try%(repairs+1) == 0:
			messages = []llm.Message{llm.User(question + "\n# Programs already refused, and why\n- " + strings.Join(refused, "\n- ") + "\nWrite a different program.")}
		case len(ans.Text) > maxEchoed:
			messages = []llm.Message{llm.User(question + "\n# Your last answer was refused\n" + feedback(err))}
		default:
			messages = append(messages[:1:1], ans.Message(), llm.User(feedback(err)))
		}
	}
	return nil, &RejectedError{Record: p.record, Last: last}
}

const (
	// repairs is how often a program is mended before a fresh one is asked for:
	// later repairs rarely succeed.
	repairs = 2
	// requestsPerTry leaves room for what an endpoint does not support and for
	// retries, over all tries together.
	requestsPerTry = 3
	// maxEchoed is the longest answer, in bytes, that is sent back to its author:
	// no program is that long, and what is too long is not mended by repeating it.
	maxEchoed = 64 << 10
	// maxKept is how much of an answer that is no program is put on record.
	maxKept = 4 << 10
)

// answered reports whether the model said something, be it useless.
func answered(err error) bool {
	for _, kind := range []error{llm.ErrNotJSON, llm.ErrTruncated, llm.ErrRefused, llm.ErrContentFilter} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// unanswered is how a preparation ends when the model says no more: the person
// gave up (asked), time or tokens are used up (ctx), or the endpoint fails.
// Programs refused before make it a rejection unless the endpoint is at fault.
func (p *preparation) unanswered(asked, ctx context.Context, err, last error) error {
	ended := err
	switch {
	case asked.Err() != nil:
		return context.Cause(asked)
	case ctx.Err() != nil:
		ended = context.Cause(ctx)
	case !errors.Is(err, llm.ErrBudget):
		return fmt.Errorf("%w: %w", ErrModel, err)
	}
	if last != nil {
		return &RejectedError{Record: p.record, Last: last, Ended: ended}
	}
	if ended != err {
		return fmt.Errorf("%w: %w: %w", ErrModel, ended, err)
	}
	return fmt.Errorf("%w: %w", ErrModel, err)
}

// modelName is the model that answered, as its endpoint calls it.
func modelName(ans llm.Answer) string {
	if ans.Model == "" {
		return "(unnamed)"
	}
	return clip(ans.Model, 80)
}

func (p *preparation) fromAnswer(ctx context.Context, ans *answer) (*Candidate, error) {
	if strings.TrimSpace(ans.Source) == "" {
		return nil, &verify.Failure{Gate: verify.GateCompile, Err: errors.New(`"source" is empty: write the whole program there, or say in "cannot" why there is none`)}
	}
	opt := program.Options{Name: identifier(ans.Name), Title: clip(strings.Join(strings.Fields(ans.Title), " "), 120), Constants: map[string]string{}, Interface: ans.Interface,
		View: program.View{Top: ans.Top, Interval: millis(ans.IntervalMS)}}
	for _, c := range ans.Parameters {
		opt.Constants[c.Name] = c.Value
	}
	return p.gates(ctx, ans.Source, opt, nil, func(o *program.Object) error {
		if d := ans.disagreements(o); len(d) > 0 {
			return fmt.Errorf("the answer and its source disagree: %s", strings.Join(d, "; "))
		}
		return nil
	})
}

// millis keeps what a model says from overflowing: more than a month is far
// over every limit all the same.
func millis(ms int64) time.Duration {
	const month = 30 * 24 * time.Hour
	return time.Duration(min(max(ms, 0), month.Milliseconds())) * time.Millisecond
}

// showsSomething refuses a program that nobody would see anything of.
func showsSomething(o *program.Object) error {
	for _, m := range o.Maps() {
		if m.Role == program.RoleEvents || m.Role == program.RoleOutput {
			return nil
		}
	}
	for _, p := range o.Programs() {
		if strings.HasPrefix(p.SectionName, "iter") { // prints for itself
			return nil
		}
	}
	return errors.New("the program shows nothing: it has neither a ring buffer of events nor a map tagged KGENT_OUTPUT")
}

// repairable reports whether another try by the model may help.
func repairable(err error) bool {
	var f *verify.Failure
	return errors.As(err, &f) || errors.Is(err, llm.ErrNotJSON) || errors.Is(err, llm.ErrTruncated)
}

// feedback is what the model is told about its program's fault.
func feedback(err error) string {
	var b strings.Builder
	var f *verify.Failure
	var bad *compile.Error
	again := "Mend exactly this, keep everything else, and answer again with the whole object."
	switch {
	case errors.As(err, &bad):
		b.WriteString("The source does not compile:\n")
		// One mistake in a macro's argument is reported once for each use.
		var told []string
		for _, d := range bad.Diagnostics {
			if line := "- " + d.String() + "\n"; !slices.Contains(told, line) && len(told) < 4 {
				told = append(told, line)
			}
		}
		b.WriteString(strings.Join(told, ""))
	case errors.As(err, &f) && f.Gate == verify.GateFacts:
		fmt.Fprintf(&b, "Hooks that cannot be used on this kernel:\n%s\n", err)
	case errors.As(err, &f) && f.Gate == verify.GateKernel:
		fmt.Fprintf(&b, "The kernel's verifier refuses the program:\n%s\n", clip(err.Error(), 3000))
	case errors.Is(err, llm.ErrTruncated):
		b.WriteString("Your answer was cut off at its length limit.\n")
		again = "Think and write less, and answer again with the whole object."
	case errors.Is(err, llm.ErrNotJSON):
		fmt.Fprintf(&b, "Your answer is not the JSON object asked for: %s\n", detail(err))
		again = "Answer again with the whole object and nothing else."
	default:
		fmt.Fprintf(&b, "%s\n", clip(err.Error(), 2000))
	}
	b.WriteString(again)
	return b.String()
}

// detail is what is wrong with an answer, without whom it was asked of.
func detail(err error) string {
	var e *llm.Error
	if errors.As(err, &e) && e.Detail != "" {
		return e.Detail
	}
	return clip(err.Error(), 2000)
}

// identifier makes a manifest name of what the model proposes.
func identifier(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	name := b.String()
	if name == "" {
		return "trace"
	}
	return name[:min(len(name), 40)]
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// clip shortens text to at most n bytes, at a rune's end.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + " …"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
