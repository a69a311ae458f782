package llm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"kgent/agent/llm/schema"
)

// assumedAnswer is the longest answer that is planned for, in tokens, when a budget must set something aside and the
// prompt does not say: a program with its explanation and a good deal of reasoning before it.
const assumedAnswer = 32768

// Client is a [Model] behind an endpoint. It is safe for concurrent use, and remembers what the endpoint does not
// support, so that only the first call pays for finding out.
type Client struct {
	cfg   Config
	names *regexp.Regexp // of schemas and tools
	own   *http.Transport

	mu      sync.Mutex
	learned features
}

var _ Model = (*Client)(nil)

// New makes a client. It sends nothing; see [Client.Models] for a first sign of life.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, names: regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)}
	if cfg.Transport == nil {
		c.own = newTransport()
		c.cfg.Transport = c.own
	}
	return c, nil
}

// Close ends idle connections. Calls under way are not disturbed.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// Config is what the client was made with, defaults filled in.
func (c *Client) Config() Config { return c.cfg }

// Models lists the models that the endpoint serves, sorted. It is the cheapest way to find out whether the address and
// the key are right. Not every endpoint can do it.
func (c *Client) Models(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	x := &exchange{transport: c.cfg.Transport, maxBytes: c.cfg.MaxBytes}
	list, err := c.openai(x).ListModels(ctx)
	if err != nil {
		return nil, c.failure(ctx, ctx, x, err)
	}
	var names []string
	for _, m := range list.Models {
		names = append(names, m.ID)
	}
	slices.Sort(names)
	return names, nil
}

func (c *Client) openai(x *exchange) *openai.Client {
	cfg := openai.DefaultConfig(c.cfg.Key.Reveal())
	cfg.BaseURL = c.cfg.BaseURL
	cfg.OrgID = c.cfg.Organization
	cfg.HTTPClient = x
	cfg.EmptyMessagesLimit = math.MaxInt32 // size and time are bounded here
	return openai.NewClientWithConfig(cfg)
}

// Complete implements [Model].
func (c *Client) Complete(ctx context.Context, p Prompt) (Answer, error) {
	call := &call{client: c, prompt: &p, start: c.cfg.Now()}
	answer, err := call.run(ctx)
	answer.Usage, answer.Cost = call.usage, call.cost
	answer.Latency = c.cfg.Now().Sub(call.start)
	answer.Degraded = call.notes
	if p.Record != nil {
		record := CallRecord{
			Purpose: p.Purpose, Time: call.start, Endpoint: c.cfg.BaseURL, Model: c.cfg.Model,
			Usage: answer.Usage, Cost: answer.Cost, Latency: answer.Latency, FinishReason: answer.FinishReason,
			Attempts: call.attempts, Degraded: answer.Degraded,
		}
		if answer.Model != "" {
			record.Model = answer.Model
		}
		if err != nil {
			record.Error = err.Error()
		}
		p.Record(record)
	}
	return answer, err
}

// call is one Complete under way.
type call struct {
	client *Client
	prompt *Prompt
	start  time.Time

	attempts []Attempt
	failures int // attempts that may be repeated
	cap      int // like that of features, for this prompt alone
	usage    Usage
	cost     float64
	notes    []string
}

func (k *call) run(ctx context.Context) (Answer, error) {
	c, p := k.client, k.prompt
	if err := p.check(c.names); err != nil {
		return Answer{}, err
	}
	shape, err := p.shape(c.names)
	if err != nil {
		return Answer{}, err
	}
	budget := p.Budget
	if budget == nil {
		budget = NewBudgetAt(Bounds{}, c.cfg.Now)
	}
	if at, ok := budget.deadline(); ok {
		left := at.Sub(c.cfg.Now())
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, left, budget.outOfTime(budget.bounds.Wall))
		defer cancel()
	}
	var last *Error // why the latest attempt has to be repeated
	for {
		if err := ctx.Err(); err != nil {
			return Answer{}, k.giveUp(last, c.contextError(ctx))
		}
		known := c.features()
		feat := known.and(features{cap: k.cap})
		h, err := budget.take(c.cfg.Model, p.promptTokens(), k.wanted(budget, feat), c.price())
		if err != nil {
			return Answer{}, k.giveUp(last, c.newError(ErrBudget, err))
		}
		k.notes = feat.notes(p, h.max > 0)
		reply, failed := k.attempt(ctx, feat, h, budget)
		if failed == nil {
			return k.finish(reply, shape, h, feat)
		}
		if failed.shorten {
			k.cap = h.max / 2
			continue
		}
		if failed.drop != nil {
			c.learn(known, failed.drop)
			continue
		}
		last = failed.err
		k.failures++
		wait, ok := k.wait(last)
		if !ok {
			last.Attempts = len(k.attempts)
			return Answer{}, last
		}
		if late := k.late(ctx, budget, wait); late != nil {
			return Answer{}, k.giveUp(last, late)
		}
		k.attempts[len(k.attempts)-1].Wait = wait
		if err := c.cfg.Sleep(ctx, wait); err != nil {
			return Answer{}, k.giveUp(last, c.contextError(ctx))
		}
	}
}

// wanted is how long the answer may be: as the prompt says; or, where a budget needs a bound, as is assumed; and no
// longer than the endpoint accepts. 0 is no bound.
func (k *call) wanted(b *Budget, f features) int {
	want := k.prompt.MaxTokens
	if want == 0 && (b.bounds.Tokens > 0 || b.bounds.Money > 0) {
		want = assumedAnswer
	}
	if want == 0 {
		return 0
	}
	return smaller(want, f.cap)
}

// wait decides how long to wait before the next attempt, or that there is none.
func (k *call) wait(e *Error) (time.Duration, bool) {
	if !e.retry || k.failures >= maxFailures || e.RetryAfter > patience {
		return 0, false
	}
	if e.RetryAfter > 0 {
		return e.RetryAfter, true
	}
	return backoff(k.failures, k.client.cfg.Jitter()), true
}

// late is the error of having no time left after the wait; nil if there is. Waiting only to give up helps nobody.
func (k *call) late(ctx context.Context, b *Budget, wait time.Duration) *Error {
	c := k.client
	if at, ok := b.deadline(); ok && !c.cfg.Now().Add(wait).Before(at) {
		err := b.outOfTime(c.cfg.Now().Sub(b.start))
		err.Used += " and a wait of " + wait.Round(time.Millisecond).String()
		return c.newError(ErrBudget, err)
	}
	if at, ok := ctx.Deadline(); ok && time.Until(at) <= wait {
		return c.newError(ErrTimeout, context.DeadlineExceeded)
	}
	return nil
}

// giveUp reports why there is no further attempt. If one failed before, that failure is what the person can mend, and
// the reason for stopping is added to it; but who cancels wants to hear of nothing else.
func (k *call) giveUp(last *Error, reason *Error) error {
	if last == nil || reason.Kind == context.Canceled {
		reason.Attempts = len(k.attempts)
		return reason
	}
	last.also = reason.also
	last.Attempts = len(k.attempts)
	return last
}

// failure is why an attempt brought no answer.
type failure struct {
	err *Error
	// drop, if set, is what to do without from now on; name says what it is.
	drop func(*features)
	name string
	// shorten says to ask for an answer of half the length after this prompt.
	shorten bool
}

// attempt sends one request, books it and records it.
func (k *call) attempt(ctx context.Context, f features, h hold, budget *Budget) (reply, *failure) {
	c, p := k.client, k.prompt
	record := Attempt{Time: c.cfg.Now()}
	x := &exchange{transport: c.cfg.Transport, maxBytes: c.cfg.MaxBytes, stream: p.Stream != nil && !f.noStream}
	if !f.noTemperature {
		x.temperature = p.Temperature
	}
	one, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	got, err := c.exchange(one, x, f.request(c.cfg.Model, p, h.max), p.Stream, len(k.attempts)+1)
	got.withoutKey(c.cfg.Key)
	if err == nil && p.Stream != nil && !x.stream {
		p.Stream(Progress{Attempt: len(k.attempts) + 1, Text: got.text, Tokens: estimateTokens(got.bytes())})
	}

	used := k.used(x, got, err)
	cost := 0.0
	if price := c.price(); price != nil {
		cost = price.of(used)
	}
	_, unsent := refusedHere(err)
	budget.settle(h, used, cost, !unsent)
	k.usage = k.usage.plus(used)
	k.cost += cost

	var failed *failure
	if err != nil {
		failed = k.judge(ctx, one, x, f, h, err)
		record.Error, record.Dropped = failed.err.short(), failed.name
	}
	record.Duration = c.cfg.Now().Sub(record.Time)
	record.Status = x.status
	record.RequestID = oneLine(x.header.Get("X-Request-Id"), 100)
	k.attempts = append(k.attempts, record)
	return got, failed
}

// used is what an attempt cost in tokens: what the endpoint says; or, where it does not say but has worked, a guess.
func (k *call) used(x *exchange, got reply, err error) Usage {
	if got.usage != nil && (got.usage.PromptTokens > 0 || got.usage.CompletionTokens > 0) {
		return Usage{PromptTokens: max(0, got.usage.PromptTokens), CompletionTokens: max(0, got.usage.CompletionTokens)}
	}
	refused := x.status >= 300
	unsent := x.status == 0 && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
	if refused || unsent {
		return Usage{}
	}
	return Usage{
		PromptTokens:     k.prompt.promptTokens(),
		CompletionTokens: estimateTokens(got.bytes()),
		Estimated:        true,
	}
}

// judge finds out whether the request can be repeated, as it is or without something.
func (k *call) judge(ctx, one context.Context, x *exchange, f features, h hold, err error) *failure {
	c, p := k.client, k.prompt
	failed := &failure{err: c.failure(ctx, one, x, err)}
	dropping := func(name string, drop func(*features)) *failure {
		failed.name, failed.drop = name, drop
		return failed
	}
	if errors.Is(err, errNotStreamed) {
		return dropping("stream", func(f *features) { f.noStream = true })
	}
	said, here := refusedHere(err)
	if x.status == http.StatusBadRequest || x.status == http.StatusUnprocessableEntity {
		said, here = parseComplaint(x.complaint), true
	}
	if !here {
		return failed
	}
	if long, shorten := answerTooLong(f, h.max, said); shorten {
		failed.name, failed.shorten = "max_completion_tokens", true
		return failed
	} else if long {
		return dropping("max_completion_tokens", func(f *features) { f.cap = h.max / 2 })
	}
	part := refused(f.parts(p, h.max > 0), said)
	// Some endpoints do either tools or structured output. The shape can be asked for in words, tools cannot.
	tools, reasoning := refusedTools(p, f, said)
	switch {
	case tools && (part == nil || part.name != "response_format") && reasoning:
		return dropping("reasoning_effort", func(f *features) { f.noReasoning = true })
	case tools && (part == nil || part.name != "response_format"):
		failed.err.Kind = ErrUnsupported
		failed.err.Detail = c.clean("tools: " + said.message)
		return failed
	case part != nil:
		return dropping(part.name, part.drop)
	}
	return failed
}

// finish turns a whole reply into the answer that was asked for, or says why it is not.
func (k *call) finish(r reply, shape *schema.Schema, h hold, f features) (Answer, error) {
	c := k.client
	answer := Answer{Text: r.text, ToolCalls: r.calls, FinishReason: r.finish, Model: r.model}
	fail := func(kind error, detail string) (Answer, error) {
		e := c.newError(kind, nil)
		e.Detail, e.Attempts = c.clean(detail), len(k.attempts)
		return answer, e
	}
	switch {
	case r.refusal != "":
		answer.Text = r.refusal
		return fail(ErrRefused, fmt.Sprintf("%q", r.refusal))
	case r.finish == "content_filter":
		return fail(ErrContentFilter, "")
	case r.finish == "length":
		e := c.newError(ErrTruncated, nil)
		e.Attempts = len(k.attempts)
		if h.max > 0 {
			e.Detail = fmt.Sprintf("it was bounded to %d tokens", h.max)
		}
		if h.tight != nil {
			e.also = h.tight
		}
		return answer, e
	case len(r.calls) > 0 && len(k.prompt.Tools) == 0 && shape != nil:
		// Of a model that will not stop: it said something, which is not what was asked for.
		answer.ToolCalls = nil
		return fail(ErrNotJSON, "it calls tools, though none were offered")
	case len(r.calls) > 0 && len(k.prompt.Tools) == 0:
		return fail(ErrProtocol, "the answer calls tools, though none were offered")
	case len(r.calls) > 0:
		return answer, nil
	case strings.TrimSpace(r.text) == "" && shape == nil:
		return fail(ErrProtocol, "the answer is empty")
	case shape == nil:
		return answer, nil
	}
	object, whole, err := extract(r.text)
	if err == nil {
		err = shape.Validate(object)
	}
	if err != nil {
		e := c.newError(ErrNotJSON, nil)
		e.Detail, e.Attempts = oneLine(strings.ReplaceAll(err.Error(), "\n", "; "), maxFeedback), len(k.attempts)
		return answer, e
	}
	if !whole && f.format < formatText {
		k.notes = append(k.notes, "response_format was accepted but not obeyed, the object was taken out of the text")
	}
	answer.JSON = object
	return answer, nil
}

func (c *Client) price() *Price {
	if p, ok := c.cfg.Prices[c.cfg.Model]; ok {
		return &p
	}
	return nil
}

func (c *Client) features() features {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.learned
}

// learn remembers what was dropped from a request that was sent when these features were known. Calls at the same time may learn
// the same; it must not count twice.
func (c *Client) learn(from features, drop func(*features)) {
	drop(&from)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.learned = c.learned.and(from)
}
