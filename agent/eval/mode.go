package eval

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"kgent/agent"
	"kgent/agent/llm"
	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

//go:embed prompt/alone.md
var alonePrompt string

// Mode is a way from a request to a program.
type Mode string

const (
	// ByRecipes is kgent without a model.
	ByRecipes Mode = "recipes"
	// Direct is the model alone: asked once, told how a program has to look to be
	// run here. What the kernel loads is accepted.
	Direct Mode = "direct"
	// Paper is the manner of the original Kgent: examples that are found by the
	// request, and what the compiler and the kernel say of a program goes back to
	// the model, three programs in all. What the kernel loads is accepted.
	Paper Mode = "paper"
	// Full is kgent as it is, recipes first.
	Full Mode = "full"
	// Noisy is kgent's loop without recipes before a source of mistakes: see
	// [Noise].
	Noisy Mode = "noisy"
)

// Modes are those that answer requests.
func Modes() []Mode { return []Mode{ByRecipes, Direct, Paper, Full, Noisy} }

// Answer is what a mode made of a request.
type Answer struct {
	Outcome  Outcome
	Object   *program.Object // when answered
	Manifest *program.Manifest
	// Verdict is the proof's, where there was one: "VERIFIED", "UNKNOWN".
	Verdict string
	Why     string // of any other outcome, and of the verdict
	Origin  string
	Tries   int // programs that were written
	Calls   int // to the model
	Tokens  int
	Cost    float64
	Seconds float64
}

// Answerer is a mode at work.
type Answerer interface {
	// Answer makes a program for one of a case's requests, as text. It attaches and
	// runs nothing. Faults are an outcome, too.
	Answer(ctx context.Context, c *Case, request string) Answer
}

// Agent answers as kgent does, one request at a time: it looks at the records of
// the agent, which is its own while it answers.
type Agent struct {
	Agent *agent.Agent
	Now   func() time.Time
}

// Answer implements [Answerer].
func (a Agent) Answer(ctx context.Context, _ *Case, request string) Answer {
	began := a.Now()
	var record *agent.Record
	keep := a.Agent.Keep
	defer func() { a.Agent.Keep = keep }()
	a.Agent.Keep = func(r *agent.Record) {
		record = r
		if keep != nil {
			keep(r)
		}
	}
	c, err := a.Agent.Prepare(ctx, agent.Request{ID: "eval", Text: request}, nil)
	out := Answer{Seconds: a.Now().Sub(began).Seconds()}
	var rejected *agent.RejectedError
	var question *agent.Question
	switch {
	case err == nil:
		out.Outcome, out.Object, out.Manifest, out.Origin = Answered, c.Object, c.Manifest, c.Origin
		out.Verdict, out.Why = c.Finding.Verdict.String(), c.Finding.Reason
	case errors.As(err, &rejected):
		out.Outcome, out.Why = Rejected, err.Error()
	case errors.As(err, &question):
		out.Outcome, out.Why = Asks, err.Error()
	case errors.Is(err, agent.ErrNoAnswer), errors.Is(err, agent.ErrRequest):
		out.Outcome, out.Why = Refused, err.Error()
	default:
		out.Outcome, out.Why = Faulty, err.Error()
	}
	if record != nil {
		out.Tries, out.Calls = len(record.Attempts), len(record.Calls)
		for _, call := range record.Calls {
			out.Tokens += call.Usage.Total()
			out.Cost += call.Cost
		}
	}
	return out
}

// Alone is the model without kgent's loop.
type Alone struct {
	Bench *Bench
	Model llm.Model
	// Loader asks the kernel's verifier.
	Loader verify.Loader
	// Tries is how many programs it may write; 1 is [Direct].
	Tries int
	// Examples is how many recipes it is shown; 0 is [Direct].
	Examples int
	// Tokens bounds what one request may cost.
	Tokens int
	// Time bounds how long it may take.
	Time time.Duration
	Now  func() time.Time
}

// alone is what the model fills in.
type alone struct {
	Cannot    string `json:"cannot" doc:"empty, or why the request cannot be met"`
	Source    string `json:"source" doc:"the whole C program"`
	Interface string `json:"interface" doc:"the network interface of xdp and tcx programs, else empty"`
	Top       int    `json:"top" doc:"show only the N largest rows of tables; 0 all"`
}

// Answer implements [Answerer].
func (a *Alone) Answer(ctx context.Context, _ *Case, request string) Answer {
	began := a.Now()
	ctx, cancel := context.WithTimeout(ctx, a.Time)
	defer cancel()
	out := a.answer(ctx, request)
	out.Seconds = a.Now().Sub(began).Seconds()
	return out
}

func (a *Alone) answer(ctx context.Context, request string) (out Answer) {
	schema, err := llm.SchemaOf[alone]("ebpf_program_alone")
	if err != nil {
		return Answer{Outcome: Faulty, Why: err.Error()}
	}
	messages := []llm.Message{llm.User(a.examples(request) + "The request: " + request)}
	budget := llm.NewBudget(llm.Bounds{Tokens: a.Tokens, Requests: 3 * a.Tries})
	count := func(c llm.CallRecord) {
		out.Calls++
		out.Tokens += c.Usage.Total()
		out.Cost += c.Cost
	}
	for out.Tries < a.Tries {
		out.Tries++
		ans, err := a.Model.Complete(ctx, llm.Prompt{Purpose: "write the program", Task: llm.TaskCode, System: alonePrompt, Messages: messages, Schema: schema, Budget: budget, Record: count})
		var said alone
		if err == nil {
			said, err = llm.Decode[alone](ans)
		}
		switch {
		case errors.Is(err, llm.ErrRefused), errors.Is(err, llm.ErrContentFilter):
			out.Outcome, out.Why = Refused, err.Error()
			return out
		case errors.Is(err, llm.ErrNotJSON), errors.Is(err, llm.ErrTruncated):
			out.Outcome, out.Why = Rejected, err.Error()
		case err != nil:
			out.Outcome, out.Why = Faulty, err.Error()
			return out
		case said.Source == "":
			out.Outcome, out.Why = Refused, cmp.Or(said.Cannot, "the model wrote no program")
			return out
		default:
			if err = a.accept(ctx, said, &out); err == nil || ctx.Err() != nil {
				return out
			}
			out.Outcome, out.Why = Rejected, err.Error()
		}
		messages = append(messages[:1:1], ans.Message(), llm.User("That does not work:\n"+clipTo(out.Why, 3000)+"\nAnswer again with the whole object."))
	}
	return out
}

// accept takes a program that compiles and loads.
func (a *Alone) accept(ctx context.Context, said alone, out *Answer) error {
	o, m, err := a.Bench.build(ctx, said.Source, program.Options{Name: "eval", Title: "evaluation", Interface: said.Interface, View: program.View{Top: said.Top}})
	if err == nil {
		_, err = a.Loader.DryLoad(ctx, o, m)
	}
	if ctx.Err() != nil {
		out.Outcome, out.Why = Faulty, context.Cause(ctx).Error()
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	out.Outcome, out.Object, out.Manifest, out.Why = Answered, o, m, ""
	return nil
}

// build compiles a source that somebody wrote. Only the compiler's own faults are
// told apart from the source's by their text.
func (b *Bench) build(ctx context.Context, source string, opt program.Options) (*program.Object, *program.Manifest, error) {
	res, err := b.Compiler.Compile(ctx, source, b.Types)
	if err != nil {
		return nil, nil, err
	}
	o, err := program.Parse(res.ELF)
	if err != nil {
		return nil, nil, err
	}
	m, err := program.Build(o, opt)
	return o, m, err
}

// examples are recipes near to the request, with how they are asked for.
func (a *Alone) examples(request string) string {
	if a.Examples == 0 {
		return ""
	}
	var near []*recipes.Recipe
	m, err := a.Bench.Recipes.Match(request, recipes.MatchOptions{})
	var none *recipes.NoMatchError
	switch {
	case err == nil:
		near = []*recipes.Recipe{m.Recipe}
	case errors.As(err, &none):
		near = none.Nearest
	}
	var b strings.Builder
	for _, r := range near[:min(len(near), a.Examples)] {
		fmt.Fprintf(&b, "An example. The request: %s\nThe program:\n```c\n%s```\n\n", r.Phrasings[0], r.Source)
	}
	return b.String()
}

// clipTo shortens a text.
func clipTo(s string, n int) string {
	if len(s) > n {
		return s[:n] + " …"
	}
	return s
}

// verdictVerified is how a proof's success is written.
var verdictVerified = proof.Verified.String()
