// Package agent turns a request into a candidate: a program with its manifest,
// checked as far as it can be before people are asked about it.
//
//	request ─▶ recipe, or a composed contract, or a contract and a program that a model writes ─▶ gates ─▶ Candidate
//	                           ▲                        ▲                        │
//	                           └────────────────────────┴──────── feedback ──────┘
//
// A request that a built-in recipe answers needs no model, nor does one for which a
// contract can be composed of what is known: the program is then generated. Otherwise a model,
// when one is configured, writes first a contract, from the request and the
// kernel's facts alone, and then the program. The first gate that a program fails
// becomes the feedback for the next try, within a [Budget]; what a contract says
// wrong becomes the feedback for a better one. The author of a contract never sees
// a program. The package knows no chat, attaches nothing and runs nothing.
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

	"kgent/agent/compose"
	"kgent/agent/contract"
	"kgent/agent/llm"
	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/compile"
	"kgent/agent/quota"
	"kgent/agent/recipes"
	"kgent/agent/team"
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
	// By and In are who asks and where, for the quotas of [Agent.Quota]; empty is nobody's.
	By string `json:"by,omitempty"`
	In string `json:"in,omitempty"`
	// Before holds the earlier requests of the same conversation, oldest first,
	// at most [MaxBefore]. Text may change them: "only port 443", "again for 2
	// minutes". What it was taken for is in [Candidate.Understood].
	Before []string `json:"before,omitempty"`
	// Program, if set, is the program to be put to people, instead of one that is looked
	// for or written.
	Program *Brought `json:"program,omitempty"`
	// Previous, if set, is what the request before came to. Text may refine it.
	Previous *Previous `json:"previous,omitempty"`
	// Answers are what the person replied to each [Question] about this request, oldest
	// first, at most [MaxAnswers].
	Answers []Reply `json:"answers,omitempty"`
	// DryRun says that what the program would change will only be counted. That is the
	// business of the targets' loaders; the program is the same.
	DryRun bool `json:"dry_run,omitempty"`
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
	Tries int // programs written
	// Contracts is how many contracts are written at most, mended ones included; 0 is
	// as many as programs.
	Contracts int
	Tokens    int // prompt and completion, of all calls together
	// Money is in the currency of the models' prices; 0 is no bound. With it set, a model
	// without a price is not asked.
	Money float64
	Time  time.Duration
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
	// Bpftrace translates scripts; nil where there is none, and then scripts are refused.
	Bpftrace *bpftrace.Tool
	// Language is what a model writes where the request does not say: empty is C, the other
	// is [LanguageBpftrace].
	Language string
	Target   Target
	Budget   Budget
	Effort   Effort
	Now      func() time.Time
	// Lessons, if set, keep what programs were refuted for, and are told to later authors.
	Lessons Lessons
	// Warn, if set, hears of what went wrong beside the request.
	Warn func(what string, err error)
	// Records, if set, is shared with other agents.
	Records *Records
	// Quota, if set, bounds what all requests of a user and of a channel may take of the model in a day.
	Quota *quota.Ledger
	// Keep, if set, is given the record of every preparation when it has ended.
	Keep func(*Record)
	// Generate, if set, writes the program of a contract, so that no model has to.
	Generate Generator
	// Comparer tells whether two programs do the same. Nil makes one for this agent.
	Comparer Comparer
	// Team, if set, lists the recipes that the team keeps: they answer what no built-in one
	// does.
	Team func(ctx context.Context) ([]team.Recipe, error)
	// Finder finds hooks for requests. Nil: by their names only.
	Finder HookFinder
	// Foreign says that who asks sees processes by other numbers than programs do: kgent runs
	// on the node, in a PID namespace of its own.
	Foreign bool
	// Trial, if set, finds out what [kernel.Facts.Refused] of Target has: for kernels whose facts come without,
	// since trials take half a second, and few requests need to know.
	Trial func(context.Context) map[string]string
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
	Origin   string // "recipe tcp-connect", "composed from recipe tcp-connect" or "model <name>"
	Source   string
	Object   *program.Object
	Manifest *program.Manifest
	Facts    []program.Facts
	// Contract says what the program is to do; nil when none could be written.
	// Finding is what came of holding the program against it.
	Contract *contract.Contract
	// ContractBy is who wrote the contract: "model <name>", or "file <name>" that came with
	// the program; empty for a recipe's.
	ContractBy string
	Finding    verify.Finding
	// Checked is what each kernel said of the program, in the order of the
	// targets. After [Candidate.WithConstants] it is empty.
	Checked []KernelResult
	// Understood is what was read from the sentence, one line each.
	Understood []string
	// Explanation is the author's own words about the program: a recipe's
	// description, or what the model says, which is not to be trusted.
	Explanation string
	// Reading is what a second reading of the program found; nil if nobody read it again. See
	// [Agent.Comprehend].
	Reading *Reading
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
	words := contract.English(c.Contract)
	if c.ContractBy == "" {
		return words
	}
	// The first line is the title, which is its author's.
	title, rest, _ := strings.Cut(words, "\n")
	if strings.HasPrefix(c.ContractBy, teamOrigin) {
		return fmt.Sprintf("%q (kept by your team: %s)\n%s", title, c.ContractBy, rest)
	}
	if strings.HasPrefix(c.ContractBy, "file ") {
		return fmt.Sprintf("%q (the contract came with the program, in its author's words: %s)\n%s", title, c.ContractBy, rest)
	}
	return fmt.Sprintf("%q (written from the request alone by %s, in its words)\n%s", title, c.ContractBy, rest)
}

// ReadingWords is what a second reading found, in words; empty when nobody read the program again.
func (c *Candidate) ReadingWords() string {
	if c.Reading == nil {
		return ""
	}
	return c.Reading.String()
}

// Step tells how preparation goes on.
type Step struct {
	Name    string // match, compose, contract, write, compile, facts, prove, load
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
// *[RejectedError], a *[Question], the context's, or a fault of this machine (no clang).
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
	p.record = &Record{Request: req, Started: a.Now(), PromptVersion: PromptVersion, ContractVersion: ContractPromptVersion, SmallVersion: SmallPromptsVersion, Kernel: first.Release, BTF: first.BTFHash}
	p.record.Budget, p.record.Effort = a.Budget, a.Effort
	p.model, p.budget = a.Model, a.Budget
	if a.Model != nil {
		p.model = &recording{a.Model, p.record}
	}
	if a.Keep != nil {
		defer func() { a.Keep(p.record) }()
	}
	for _, t := range targets[1:] {
		p.record.Others = append(p.record.Others, t.String())
	}
	defer p.settle(ctx) // before the record is kept
	c, err := p.run(ctx)
	p.record.Seconds = a.Now().Sub(p.record.Started).Seconds()
	if err != nil {
		p.record.Outcome = err.Error()
		return nil, err
	}
	if err := a.foreign(c); err != nil {
		p.record.Outcome = err.Error()
		return nil, err
	}
	if err := p.reread(ctx, c); err != nil {
		p.record.Outcome = err.Error()
		return nil, err
	}
	p.record.Seconds = a.Now().Sub(p.record.Started).Seconds()
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
	model    llm.Model // the agent's, on record
	budget   Budget    // the agent's, or what is left of a quota
	share    *quota.Share
	// composing composes contracts; nil until it is needed.
	composing *compose.Composer
	trying    bool // what does not pass is no mistake of anybody's: nothing is learnt of it
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
	if len(r.Answers) > MaxAnswers {
		return fmt.Errorf("%w: %d questions were answered, at most %d answers are read; ask anew, with all of it in one sentence", ErrRequest, len(r.Answers), MaxAnswers)
	}
	for i, a := range r.Answers {
		for _, said := range []string{a.Question, a.Answer} {
			if err := Readable(said); err != nil {
				return fmt.Errorf("answer %d to a question: %w", i+1, err)
			}
		}
	}
	if r.Program != nil {
		if err := r.Program.readable(); err != nil {
			return err
		}
	}
	return Readable(r.Text)
}

func (p *preparation) run(ctx context.Context) (*Candidate, error) {
	if err := p.req.readable(); err != nil {
		return nil, err
	}
	if p.req.Program != nil {
		return p.fromBrought(ctx)
	}
	if p.req.Previous != nil && p.req.Previous.Script != "" {
		return p.refineScript(ctx)
	}
	if p.Model != nil && p.req.wantsScript() {
		return p.scriptFromModel(ctx)
	}
	var match *recipes.Match
	var own *team.Match
	err := p.step("match", func() (string, error) {
		m, err := p.Recipes.MatchAfter(p.req.Before, p.req.Text, recipes.MatchOptions{UserID: p.UserID})
		if none := (*recipes.NoMatchError)(nil); errors.As(err, &none) && p.Team != nil {
			found, fault := p.Team(ctx)
			if fault != nil {
				return "", fault
			}
			if own = team.Find(found, p.req.Text); own != nil {
				return "team recipe " + own.Recipe.Name, nil
			}
		}
		if err != nil {
			return "", err
		}
		match = m
		return "recipe " + m.Recipe.Name, nil
	})
	var none *recipes.NoMatchError
	switch {
	case err == nil && own != nil:
		return p.fromTeam(ctx, own)
	case err == nil:
		return p.recipe(ctx, match)
	case errors.As(err, &none) && p.Model != nil && p.Language == LanguageBpftrace:
		return p.scriptFromModel(ctx)
	case errors.As(err, &none):
		return p.beyond(ctx, none)
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
	c, err := p.ready(ctx, source, m.Options, m.Recipe.Contract)
	att.end(err)
	if err != nil {
		var f *verify.Failure
		if errors.As(err, &f) {
			return nil, &RejectedError{Record: p.record, Last: err}
		}
		return nil, err
	}
	c.Origin = "recipe " + m.Recipe.Name
	c.Understood = append(slices.Clone(m.Understood), c.Understood...)
	c.Explanation = m.Recipe.Description
	c.Duration = m.Duration
	return c, nil
}

// teamOrigin begins the origin of a team recipe's program.
const teamOrigin = "team recipe "

// fromTeam prepares the program of a team recipe. It goes through all gates, as when it was
// new: what is stored is believed no more than a model.
func (p *preparation) fromTeam(ctx context.Context, m *team.Match) (*Candidate, error) {
	r := m.Recipe
	att := p.record.attempt(teamOrigin+r.Name, r.Source)
	c, err := p.teamCandidate(ctx, m)
	att.end(err)
	if err != nil {
		if f := (*verify.Failure)(nil); errors.As(err, &f) {
			return nil, &RejectedError{Record: p.record, Last: err}
		}
		return nil, err
	}
	c.Origin, c.ContractBy = teamOrigin+r.Name, teamOrigin+r.Name
	c.Understood = append(append(slices.Clone(m.Understood), c.Understood...), "it was made by "+clip(r.By, 80)+" on "+r.At.UTC().Format("2006-01-02")+", and approved as a recipe")
	c.Duration = m.Duration
	return c, nil
}

func (p *preparation) teamCandidate(ctx context.Context, m *team.Match) (*Candidate, error) {
	r := m.Recipe
	k, err := contract.Parse(r.Contract)
	if err != nil {
		return nil, &verify.Failure{Gate: verify.GateSymbolic, Err: fmt.Errorf("the contract of the team recipe %s cannot be read: %w", r.Name, err)}
	}
	opt := program.Options{Name: r.Name, Title: clip(k.Title, 120), Constants: m.Values, Interface: r.Interface, Cgroup: r.Cgroup, Hz: r.Hz, View: r.View}
	return p.ready(ctx, r.Source, opt, k)
}

// gates takes a source through compile, facts, prove and load. check, if not
// nil, sees the object before its manifest is made.
func (p *preparation) gates(ctx context.Context, source string, opt program.Options, want *contract.Contract, check func(*program.Object) error) (*Candidate, error) {
	c := &Candidate{Request: p.req, Source: source, Record: p.record, Contract: want}
	err := p.step("compile", func() (string, error) {
		o, err := p.compiled(ctx, source)
		if err == nil && check != nil {
			if err = check(o); err != nil {
				err = &verify.Failure{Gate: verify.GateCompile, Err: err}
			}
		}
		if err != nil {
			return "", err
		}
		return c.build(o, opt)
	})
	if err != nil {
		return nil, err
	}
	return p.judged(ctx, c)
}

// compiled is a source's object. What is wrong with the source is a *[verify.Failure].
func (p *preparation) compiled(ctx context.Context, source string) (*program.Object, error) {
	if p.Compiler == nil {
		return nil, compile.ErrNoClang
	}
	res, err := p.compile(ctx, source)
	var bad *compile.Error
	if errors.As(err, &bad) {
		return nil, &verify.Failure{Gate: verify.GateCompile, Err: err}
	}
	if err != nil {
		return nil, err
	}
	o, err := program.Parse(res.ELF)
	if err != nil {
		return nil, &verify.Failure{Gate: verify.GateCompile, Err: err}
	}
	return o, nil
}

// build takes an object over, with the manifest of these options. The error is a
// *[verify.Failure].
func (c *Candidate) build(o *program.Object, opt program.Options) (detail string, err error) {
	c.Object = o
	if c.Contract != nil {
		opt.Where = contract.Where(c.Contract)
	}
	if c.Manifest, err = program.Build(o, opt); err == nil {
		err = showsSomething(o)
	}
	if err == nil {
		c.Facts, err = o.Facts()
	}
	if err != nil {
		return "", &verify.Failure{Gate: verify.GateCompile, Err: err}
	}
	n := 0
	for _, f := range c.Facts {
		n += f.Instructions
	}
	return fmt.Sprintf("%s, %s, %d bytes", plural(len(c.Facts), "program"), plural(n, "instruction"), len(o.ELF())), nil
}

// judged takes a candidate that was built through the gates after compiling.
func (p *preparation) judged(ctx context.Context, c *Candidate) (*Candidate, error) {
	err := p.step("facts", func() (string, error) {
		return plural(len(c.Manifest.Programs), "hook") + " found" + onKernels(p.targets), p.fits(c)
	})
	if err != nil {
		return nil, err
	}
	if err := p.buffered(c); err != nil {
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

const (
	// repairs is how often a program is mended before a fresh one is asked for:
	// later repairs rarely succeed.
	repairs = 2
	// requestsPerTry leaves room for what an endpoint does not support and for
	// retries, over all tries together.
	requestsPerTry = 3
	// extraRequests are for a plan, a decision between readings, and tools.
	extraRequests = 24
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

// detail is what is wrong with an answer, without whom it was asked of.
func detail(err error) string {
	if said := llm.DetailOf(err); said != "" {
		return said
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
