package thread_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kgent/agent"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	ownrecipes "kgent/agent/team"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/approvals/policy"
	"kgent/bot/card"
	"kgent/bot/thread"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

const source = `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
struct req_key { k_pid pid; };
const volatile k_pid wanted = 0;
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1024); __type(key, struct req_key); __type(value, k_count); } calls SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_getppid")
int asked(struct trace_event_raw_sys_enter *ctx)
{
	struct req_key key = { .pid = k_current_pid() };
	k_count *n = k_cell(&calls, &key, k_count);
	if (n && (!wanted || key.pid == wanted))
		(*n)++;
	return 0;
}
`

func object() (*program.Object, error) { return programtest.Compile(source) }

func made(wanted string) (thread.Made, error) { return madeOf(source, wanted) }

func madeOf(source, wanted string) (thread.Made, error) {
	o, err := programtest.Compile(source)
	if err != nil {
		return thread.Made{}, err
	}
	m, err := program.Build(o, program.Options{Name: "parents", Title: "getppid calls", Constants: map[string]string{"wanted": wanted}})
	if err != nil {
		return thread.Made{}, err
	}
	manifest, err := m.Encode()
	if err != nil {
		return thread.Made{}, err
	}
	return thread.Made{
		Program: job.Program{ELF: o.ELF(), Manifest: manifest, Contract: []byte{}}, Source: source, Duration: 20 * time.Second,
		Card: output.Candidate{Name: "parents", Title: "getppid calls", Origin: "recipe parents", Verdict: "UNKNOWN", Reason: "unproved: no contract",
			Hooks: []string{"tracepoint syscalls:sys_enter_getppid"}, Params: []output.Param{{Name: "wanted", Value: wanted}}},
		Kernels: []thread.Kernel{{Release: "6.18.1", Nodes: []string{"db-1", "db-2"}, OK: true}},
	}, nil
}

// maker knows one answer.
type maker struct {
	mu    sync.Mutex
	asked []agent.Request
	nodes [][]string
	err   error
	wait  chan struct{} // if set, it answers when this is closed

	explained []agent.Brought
	notKept   error

	value, source, name, verdict, origin, contract string   // of what it makes, if set
	kc                                             string   // the contract in its text form
	acts                                           bool     // what it makes sends signals
	remade                                         []bool   // whether for dry runs
	silent                                         []string // nodes that do not answer
}

func (m *maker) made(wanted string) (thread.Made, error) {
	if m.acts {
		return madeOf(strings.Replace(source, "(*n)++", "(*n) += bpf_send_signal(9)", 1), wanted)
	}
	return made(wanted)
}

func (m *maker) set(wait chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wait = wait
}

func (m *maker) Make(ctx context.Context, req agent.Request, nodes []bus.NodeInfo, progress func(agent.Step)) (thread.Made, error) {
	progress(agent.Step{Name: "match", State: "start"})
	m.mu.Lock()
	m.asked = append(m.asked, req)
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	m.nodes = append(m.nodes, slices.Clone(names))
	wait, err := m.wait, m.err
	m.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return thread.Made{}, ctx.Err()
		}
	}
	progress(agent.Step{Name: "match", State: "done", Detail: "recipe parents", Elapsed: 3 * time.Millisecond})
	if err != nil {
		return thread.Made{}, err
	}
	// As where a kernel has no other node.
	if quiet := slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(m.silent, n) }); len(quiet) > 0 && len(quiet) == len(nodes) {
		return thread.Made{}, fmt.Errorf("making it: %w", &program.SilentError{Nodes: quiet, Why: strings.Join(quiet, ", ") + ": it did not answer"})
	}
	out, err := m.made(cmp.Or(m.value, "7"))
	out.Source, out.Card.Name = cmp.Or(m.source, out.Source), cmp.Or(m.name, out.Card.Name)
	out.Card.Verdict, out.Card.Origin = cmp.Or(m.verdict, out.Card.Verdict), cmp.Or(m.origin, out.Card.Origin)
	out.Program.Contract = []byte(m.kc)
	return out, err
}

func (m *maker) Remake(_ context.Context, p job.Program, params map[string]string, dry bool, _ []bus.NodeInfo, progress func(agent.Step)) (thread.Made, error) {
	progress(agent.Step{Name: "load", State: "done"})
	value := "7"
	if v, ok := params["wanted"]; ok {
		value = v
	}
	m.remade = append(m.remade, dry)
	out, err := m.made(value)
	out.Card.Contract = m.contract
	return out, err
}

// Silent implements thread.Maker.
func (m *maker) Silent(_ context.Context, _ job.Program, _ bool, nodes []string, progress func(agent.Step)) ([]string, error) {
	progress(agent.Step{Name: "load", State: "done"})
	return slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return !slices.Contains(m.silent, n) }), nil
}

func (m *maker) Recipe(_ context.Context, source string, p job.Program, nodes []bus.NodeInfo, progress func(agent.Step)) (thread.Kept, error) {
	progress(agent.Step{Name: "prove", State: "done"})
	m.mu.Lock()
	defer m.mu.Unlock()
	out, err := made("7")
	if m.notKept != nil {
		err = m.notKept
	}
	out.Card.Verdict, out.Card.Origin, out.Program.Contract = "VERIFIED", "a recipe to be kept", []byte(portContract)
	return thread.Kept{Made: out, Lifted: map[string]string{"the_port": "443"}, Left: []string{"the_x stays 5: it is so"}, Recipe: ownrecipes.Recipe{
		Source: "const volatile k_port the_port = 443;\n" + source, Contract: string(p.Contract) + "# lifted\n", Values: map[string]string{"the_port": "443", "wanted": "7"}}}, err
}

func (m *maker) Explain(_ context.Context, req agent.Request, nodes []bus.NodeInfo, progress func(agent.Step)) (card.Card, error) {
	b := *req.Program
	progress(agent.Step{Name: "compile", State: "done"})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.explained = append(m.explained, b)
	return card.Card{Title: "What " + b.Called() + " does", Blocks: []card.Block{card.Text{Body: "It counts, on " + nodes[0].Name + "."}}}, nil
}

func (m *maker) Params(job.Program) ([]thread.Param, error) {
	return []thread.Param{{Name: "wanted", Value: "7", Means: "only this process; 0 is any"}, {Name: "other", Value: ""}}, nil
}

func (m *maker) Valid(_ job.Program, params map[string]string) error {
	if params["wanted"] == "red" {
		return errors.New(`wanted: "red" is no process`)
	}
	return nil
}

// fleet runs nothing, but keeps account of what it was told.
type fleet struct {
	mu        sync.Mutex
	list      []bus.NodeInfo
	sent      []string    // runs, in order
	grants    []job.Grant // of those
	envelopes map[string][]byte
	stopped   map[string]bool
	ended     map[string]chan struct{}
	following map[string]int
	sendErr   error
	sending   func() error                                 // if set, asked when a run is sent
	watching  func(mine func(context.Context) error) error // and when it is followed: an error ends that
	summary   func(g *job.Grant, reason output.Reason) output.Summary
}

func (f *fleet) Nodes(context.Context) ([]bus.NodeInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list, nil
}

// announce makes these the nodes that answer.
func (f *fleet) announce(nodes []bus.NodeInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = nodes
}

func (f *fleet) Dispatch(_ context.Context, g *job.Grant, envelope []byte, _ func(context.Context) error) error {
	if f.sending != nil {
		if err := f.sending(); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sendErr != nil {
		return f.sendErr
	}
	f.sent = append(f.sent, g.Run)
	f.grants = append(f.grants, *g)
	if f.ended[g.Run] == nil {
		f.ended[g.Run] = make(chan struct{})
	}
	f.envelopes[g.Run] = envelope
	return nil
}

func (f *fleet) Follow(ctx context.Context, g *job.Grant, line func([]byte), mine func(context.Context) error) (output.Summary, error) {
	f.mu.Lock()
	f.following[g.Run]++
	ended := f.ended[g.Run]
	f.mu.Unlock()
	if f.watching != nil {
		if err := f.watching(mine); err != nil {
			return output.Summary{Reason: output.ReasonFailed, Detail: err.Error()}, err
		}
	}
	for _, n := range g.Nodes {
		line(fmt.Appendf(nil, `{"type":"attached","node":%q,"run":%q,"hooks":[],"program_ids":[1],"map_ids":[],"streams":[],"deadline":""}`+"\n", n, g.Run))
	}
	line([]byte(`{"type":"event","node":"db-1","stream":"calls","data":{"pid":7}}` + "\n"))
	reason := output.ReasonDeadline
	select {
	case <-time.After(g.Limits.Duration):
	case <-ended:
		reason = output.ReasonStopped
	case <-ctx.Done():
		return output.Summary{}, context.Cause(ctx)
	}
	if f.summary != nil {
		return f.summary(g, reason), nil
	}
	s := output.Summary{Reason: reason, Counters: output.Counters{Produced: 1, Delivered: 1}, Seconds: g.Limits.Duration.Seconds()}
	for _, n := range g.Nodes {
		s.Nodes = append(s.Nodes, output.NodeSummary{Node: n, Reason: reason})
	}
	return s, nil
}

func (f *fleet) Stop(_ context.Context, run string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.stopped[run] {
		f.stopped[run] = true
		close(f.ended[run])
	}
	return nil
}

// chat is a platform of its own: it keeps messages as people see them.
type chat struct {
	surface string

	mu       sync.Mutex
	next     int
	byID     map[string]*posted
	order    []string
	whispers []thread.Message
	posts    map[string]int // how often each key was posted
	fail     func(m thread.Message, posting bool) error
	bots     map[string]string
	files    map[string]string // what is attached, by id
	reads    int
}

func (c *chat) Read(_ context.Context, _ thread.Place, f thread.Attached, most int) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	data, ok := c.files[f.ID]
	if !ok {
		return nil, &thread.GoneError{Why: "it is gone"}
	}
	return []byte(data), nil
}

type posted struct {
	thread.Message
	edits int
}

func newChat(surface string) *chat {
	return &chat{surface: surface, byID: map[string]*posted{}, posts: map[string]int{}, bots: map[string]string{}}
}

func (c *chat) Surface() string { return c.surface }

func (c *chat) Post(_ context.Context, m thread.Message) (thread.Handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		if err := c.fail(m, true); err != nil {
			return thread.Handle{}, err
		}
	}
	if m.Only != "" {
		c.whispers = append(c.whispers, m)
		return thread.Handle{}, nil
	}
	if m.Tried {
		for id, p := range c.byID {
			if p.Key == m.Key {
				return thread.Handle{Channel: m.Place.Channel, ID: id}, nil
			}
		}
	}
	c.next++
	id := fmt.Sprintf("m%d", c.next)
	c.byID[id] = &posted{Message: m}
	c.order = append(c.order, id)
	c.posts[m.Key]++
	return thread.Handle{Channel: m.Place.Channel, ID: id}, nil
}

func (c *chat) Edit(_ context.Context, h thread.Handle, m thread.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		if err := c.fail(m, false); err != nil {
			return err
		}
	}
	p := c.byID[h.ID]
	if p == nil {
		return &thread.GoneError{Why: "no such message"}
	}
	p.Message = m
	p.edits++
	return nil
}

func (c *chat) Human(_ context.Context, a thread.Account) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch why := c.bots[a.User]; why {
	case "":
		return nil
	case "unknown":
		return errors.New("lookup failed")
	case "busy":
		delete(c.bots, a.User)
		return fmt.Errorf("asking: %w", &thread.RateLimitedError{After: 3 * time.Second})
	default:
		return &thread.NotHumanError{Why: why}
	}
}

func (c *chat) Member(context.Context, thread.Account, string) (bool, error) { return true, nil }

func (c *chat) Link(_ context.Context, p thread.Place, h thread.Handle) string {
	return "https://chat.example/" + h.ID
}

// text is what a card says.
func text(k card.Card) string {
	var b strings.Builder
	fmt.Fprintln(&b, k.Title)
	for _, block := range k.Blocks {
		fmt.Fprintf(&b, "%v\n", block)
	}
	for _, x := range k.Buttons {
		fmt.Fprintf(&b, "[%s]", x.Label)
	}
	return b.String()
}

// shown returns what a message of a key now says, or "".
func (c *chat) shown(prefix string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range slices.Backward(c.order) {
		if strings.HasPrefix(c.byID[id].Key, prefix) {
			return text(c.byID[id].Card)
		}
	}
	return ""
}

// button returns the id of a button that is on a message now.
func (c *chat) button(t *testing.T, prefix, verb string) string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range slices.Backward(c.order) {
		p := c.byID[id]
		if !strings.HasPrefix(p.Key, prefix) {
			continue
		}
		for _, b := range p.Card.Buttons {
			if b.Verb == verb {
				return b.ID
			}
		}
		t.Fatalf("%s has no button %s:\n%s", p.Key, verb, text(p.Card))
	}
	t.Fatalf("no message %s", prefix)
	return ""
}

func (c *chat) whispered() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.whispers) == 0 {
		return ""
	}
	w := c.whispers[len(c.whispers)-1]
	return w.Only + ": " + text(w.Card)
}

// rules are a small policy: two of everybody but the author.
type rules struct {
	quorum int
	expiry time.Duration
	ask    []string
	closed map[string]bool // accounts that may not ask
	mayRun func() error
	judge  error
}

func (r *rules) Judge(context.Context, approvals.Case) (approvals.Ruling, error) {
	if r.judge != nil {
		return approvals.Ruling{}, r.judge
	}
	return approvals.Ruling{Policy: "test", Quorum: r.quorum, Approvers: "anybody else", MaxDuration: time.Hour, MaxEvents: 100_000, Expiry: r.expiry}, nil
}
func (r *rules) MayApprove(context.Context, approvals.Case, approvals.Person) error { return nil }
func (r *rules) BreakGlass(ctx context.Context, c approvals.Case, p approvals.Person) (approvals.Ruling, error) {
	if p.ID != "boss" {
		return approvals.Ruling{}, &approvals.RefusedError{Rule: approvals.RuleGlass, Reason: "you may not break the glass"}
	}
	return r.Judge(ctx, c)
}
func (r *rules) Compare(a, b approvals.Person) approvals.Likeness {
	if a.ID == b.ID {
		return approvals.Same
	}
	return approvals.Different
}
func (r *rules) Person(account string) (string, bool) {
	return account[strings.LastIndex(account, "/")+1:], true
}
func (r *rules) MayRun(context.Context, approvals.Case) error {
	if r.mayRun != nil {
		return r.mayRun()
	}
	return nil
}
func (r *rules) RunEnded(context.Context, approvals.Case) error { return nil }
func (r *rules) MayStop(approvals.Person) error                 { return nil }
func (r *rules) MayRequest(_ context.Context, p approvals.Person, _ string) error {
	if r.closed[p.ID] {
		return &approvals.RefusedError{Rule: approvals.RuleRequester, Reason: "you may not ask here"}
	}
	return nil
}
func (r *rules) Ask(context.Context, approvals.Case) ([]string, error) { return r.ask, nil }
func (r *rules) Loud(context.Context, approvals.Case) ([]string, error) {
	return []string{"slack:T/loud"}, nil
}

// team is a bot with two platforms over one store. Everything runs in a
// bubble, where time passes only when everybody waits.
type team struct {
	*testing.T
	store   *thread.Memory
	cases   *approvals.Memory
	log     *audit.Memory
	maker   *maker
	fleet   *fleet
	rules   *rules
	file    *policy.File // in place of rules, if set
	lists   forgery
	swaps   swap
	slack   *chat
	discord *chat
	// terminal is there for what is said differently in one.
	terminal *chat
	kept     ownrecipes.Memory
	key      approvals.Key
	warned   bytes.Buffer
	events   int
	// wrap, if set, puts something between the conversation and its store.
	wrap func(*thread.Memory) thread.Store
}

func newTeam(t *testing.T) *team {
	if _, err := object(); err != nil {
		t.Fatal(err)
	}
	key, err := approvals.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nodes := []bus.NodeInfo{{Name: "db-1", Labels: map[string]string{"role": "db"}, Kernel: "6.18.1"}, {Name: "db-2", Labels: map[string]string{"role": "db"}, Kernel: "6.18.1"}}
	return &team{
		T: t, store: thread.NewMemory(time.Now), cases: &approvals.Memory{}, log: &audit.Memory{}, maker: &maker{},
		fleet: &fleet{list: nodes, envelopes: map[string][]byte{}, stopped: map[string]bool{}, ended: map[string]chan struct{}{}, following: map[string]int{}},
		rules: &rules{quorum: 2, expiry: 10 * time.Minute, closed: map[string]bool{}}, slack: newChat("slack"), discord: newChat("discord"), terminal: newChat("terminal"), key: *key,
	}
}

// start starts a process; stop ends it.
func (tm *team) start(name string) (*thread.Conversation, func()) {
	tm.Helper()
	var p interface {
		thread.Policy
		approvals.Policy
	} = tm.rules
	if tm.file != nil {
		p = tm.file
	}
	var store thread.Store = lists{tm.store, &tm.lists}
	if tm.wrap != nil {
		store = tm.wrap(tm.store)
	}
	c := &thread.Conversation{
		Name: name, Store: store, Maker: tm.maker, Policy: p, Runner: tm.fleet, Platforms: []thread.Platform{tm.slack, tm.discord, tm.terminal},
		Desk: &approvals.Desk{Store: swapped{tm.cases, &tm.swaps}, Policy: p, Signer: &tm.key, Audit: tm.log, Now: time.Now, Random: rand.Reader},
		Team: &tm.kept, Builtin: builtin(tm.T),
		Results: func(r thread.Request) thread.Output { return thread.Gather(r, tm.TempDir(), time.Now) }, Now: time.Now,
		Recipes: []thread.Recipe{{Name: "parents", Title: "getppid calls", Example: "who calls getppid"}},
		Log:     slog.New(slog.NewTextHandler(&tm.warned, nil)),
	}
	if err := c.Prepare(); err != nil {
		tm.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	return c, func() {
		cancel()
		<-done
	}
}

// builtin are kgent's own recipes, read once.
func builtin(t *testing.T) *recipes.Library {
	t.Helper()
	l, err := library()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var library = sync.OnceValues(recipes.Default)

func (tm *team) account(who string) thread.Account {
	surface, user, ok := strings.Cut(who, ":")
	if !ok {
		surface, user = "slack", who
	}
	return thread.Account{Surface: surface, Tenant: "T", User: user, Name: strings.ToUpper(user[:1]) + user[1:]}
}

// send hands an event to a process and waits until nothing moves any more but
// clocks.
func (tm *team) send(c *thread.Conversation, e thread.Event) {
	tm.Helper()
	tm.events++
	if e.Key == "" {
		e.Key = fmt.Sprintf("e%d", tm.events)
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if e.Place == (thread.Place{}) {
		e.Place = thread.Place{Surface: e.By.Surface, Tenant: "T", Channel: "C", Thread: "root"}
	}
	if err := c.Receive(context.Background(), e); err != nil {
		tm.Fatal(err)
	}
	tm.settle()
}

// settle lets a few seconds pass.
func (tm *team) settle() { tm.pass(3 * time.Second) }

// pass lets time pass, and waits until nothing moves any more at its end: what others were to do
// then is done, and can be looked at.
func (tm *team) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (tm *team) ask(c *thread.Conversation, who, words string) {
	tm.Helper()
	tm.send(c, thread.Event{Kind: thread.Ask, By: tm.account(who), Text: words})
}

func (tm *team) click(c *thread.Conversation, who, verb, id string) {
	tm.Helper()
	tm.send(c, thread.Event{Kind: thread.Click, By: tm.account(who), Verb: verb, ID: id})
}

func (tm *team) submit(c *thread.Conversation, who, verb, id string, fields map[string]string) {
	tm.Helper()
	tm.send(c, thread.Event{Kind: thread.Submit, By: tm.account(who), Verb: verb, ID: id, Fields: fields})
}

func (tm *team) holds(what, text string, wants ...string) {
	tm.Helper()
	for _, w := range wants {
		if not, ok := strings.CutPrefix(w, "!"); ok {
			if strings.Contains(text, not) {
				tm.Errorf("%s says %q:\n%s", what, not, text)
			}
		} else if !strings.Contains(text, w) {
			tm.Errorf("%s does not say %q:\n%s", what, w, text)
		}
	}
}

// inBubble runs a test with a bot of one process.
func inBubble(t *testing.T, test func(tm *team, c *thread.Conversation)) {
	t.Helper()
	if _, err := object(); err != nil { // compiled outside: it takes a process
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		tm := newTeam(t)
		c, stop := tm.start("one")
		defer func() {
			stop()
			if t.Failed() {
				t.Log(tm.warned.String())
			}
		}()
		test(tm, c)
	})
}

// The main line: asked, agreed by two others, run, answered.
func TestMainLine(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		thinking := make(chan struct{})
		tm.maker.set(thinking)
		tm.ask(c, "ada", "who calls getppid on db-1 and db-2")
		tm.holds("the progress", tm.slack.shown("progress:"), "Looking for a program", "looking for a recipe")
		close(thinking)
		tm.settle()
		if got := tm.maker.asked; len(got) != 1 || got[0].Text != "who calls getppid" {
			tm.Fatalf("the maker was asked %+v", got)
		}
		tm.holds("the progress", tm.slack.shown("progress:"), "Prepared", "recipe parents")
		tm.holds("the card", tm.slack.shown("card:"), "getppid calls", "Ada asks: who calls getppid on db-1 and db-2", "2 nodes: db-1, db-2", "20s", "observe",
			"UNPROVED: nobody has shown", "at most 2,000 events a second from each node", "wanted = 7", "0 of 2", "[Approve][Deny][Edit][Refine][Source]", "accepted by Linux 6.18.1")
		id := tm.slack.button(tm.T, "card:", "approve")
		tm.click(c, "ada", "approve", id)
		tm.holds("the whisper", tm.slack.whispered(), "ada: Your approval does not count", "you asked for this")
		tm.click(c, "bob", "approve", id)
		tm.holds("the card", tm.slack.shown("card:"), "1 of 2", "Bob approved")
		tm.click(c, "bob", "approve", id)
		tm.holds("the whisper", tm.slack.whispered(), "bob: Your approval does not count", "approved this already")
		if len(tm.fleet.sent) != 0 {
			tm.Fatal("it ran with one vote")
		}
		tm.click(c, "discord:cyd", "approve", id)
		tm.holds("the card", tm.slack.shown("card:"), "Approved. It runs until ", "Cyd approved", "on discord", "![Approve]")
		tm.holds("the live output", tm.slack.shown("run:"), "Running: getppid calls", "calls", "pid", "[Stop]")
		if len(tm.fleet.sent) != 1 {
			tm.Fatalf("sent %v", tm.fleet.sent)
		}
		tm.pass(30 * time.Second)
		tm.holds("the live output", tm.slack.shown("run:"), "Over", "![Stop]")
		tm.holds("the result", tm.slack.shown("result:"), "Result: getppid calls", "db-1: answered", "1 event", "[Run again][Refine][Save]")
		if tm.slack.shown("file:") == "" {
			tm.Error("no file")
		}
		for key, n := range tm.slack.posts {
			if n != 1 {
				tm.Errorf("%s was posted %d times", key, n)
			}
		}
		tm.click(c, "bob", "approve", id)
		tm.holds("the whisper", tm.slack.whispered(), "this is over: completed")

		// Once more: the same program, and votes anew.
		tm.click(c, "bob", "again", tm.slack.button(tm.T, "result:", "again"))
		tm.holds("the second card", tm.slack.shown("card:"), "Bob asks", "0 of 2", "db-1, db-2")
		tm.click(c, "bob", "save", tm.slack.button(tm.T, "result:", "save"))
		if tm.slack.shown("save:") == "" {
			tm.Error("nothing was saved")
		}
	})
}

func TestDenied(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.ask(c, "ada", "who calls getppid on all nodes")
		id := tm.slack.button(tm.T, "card:", "deny")
		form, no := c.Form(context.Background(), thread.Event{Kind: thread.Click, By: tm.account("bob"), Verb: "deny", ID: id})
		if form == nil || no != nil || form.Inputs[0].Name != "reason" {
			tm.Fatalf("form %+v, %+v", form, no)
		}
		tm.submit(c, "bob", "deny", id, map[string]string{"reason": "not during the backup"})
		tm.holds("the card", tm.slack.shown("card:"), "Denied: getppid calls", "{Denied by Bob: not during the backup false}", "Denied. Nothing ran.", "![Approve]")
		tm.click(c, "cyd", "approve", id)
		tm.holds("the whisper", tm.slack.whispered(), "cyd: Your approval does not count", "denied by Bob", "not during the backup")
		if form, no := c.Form(context.Background(), thread.Event{Kind: thread.Click, By: tm.account("cyd"), Verb: "deny", ID: id}); form != nil || no == nil {
			tm.Errorf("a form for what is over: %+v", form)
		}
		tm.pass(time.Minute)
		if len(tm.fleet.sent) != 0 {
			tm.Error("it ran")
		}
	})
}

// A change makes a new revision, whose votes begin anew; the old card says so.
func TestEdit(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.ask(c, "ada", "who calls getppid on all nodes")
		first := tm.slack.button(tm.T, "card:", "approve")
		tm.slack.bots["gast"] = "guests do not count"
		for who, open := range map[string]bool{"bob": true, "gast": false} {
			form, no := c.Form(context.Background(), thread.Event{Kind: thread.Click, By: tm.account(who), Verb: "edit", ID: first})
			if open != (form != nil) || open == (no != nil) {
				tm.Errorf("%s opens %+v, %+v", who, form, no)
			}
			if form != nil && form.Inputs[2].Value != "wanted = 7  # only this process; 0 is any\nother = " {
				tm.Errorf("the parameters are %q", form.Inputs[2].Value)
			}
		}
		e := thread.Event{Kind: thread.Submit, By: tm.account("gast"), Verb: "edit", ID: first, Fields: map[string]string{"nodes": "x"}}
		if got := c.Wrong(context.Background(), e); got != nil {
			tm.Errorf("a guest learns %v", got)
		}
		tm.click(c, "bob", "approve", first)
		for _, bad := range []struct{ field, value, want string }{
			{"duration", "soon", "no duration"}, {"nodes", "mars", "no node mars answers"}, {"params", "colour = red", "none of the parameters: wanted, other"},
			{"params", "wanted = red", "no process"},
		} {
			fields := map[string]string{bad.field: bad.value}
			// Where the service can show it, it stands in the form; where it cannot, what
			// was written is not lost.
			e := thread.Event{Kind: thread.Submit, By: tm.account("cyd"), Verb: "edit", ID: first, Fields: fields}
			if got := c.Wrong(context.Background(), e); len(got) != 1 || !strings.Contains(got[bad.field], bad.want) {
				tm.Errorf("wrong with %v: %v", fields, got)
			}
			tm.submit(c, "cyd", "edit", first, fields)
			tm.holds("the whisper", tm.slack.whispered(), bad.want, "You wrote:", bad.field+": "+bad.value)
		}
		tm.submit(c, "cyd", "edit", first, map[string]string{"duration": "45s", "nodes": "db-2", "params": "wanted = 9  # only this process; 0 is any"})
		tm.holds("the new card", tm.slack.shown("card:"), "wanted = 9", "45s", "{Runs on db-2 ", "0 of 2", "edited by Cyd: nodes db-1, db-2 -> db-2; 20s -> 45s; wanted 7 -> 9")
		tm.ask(c, "ada", "list")
		tm.holds("the list", tm.slack.whispered(), "who calls getppid on all nodes (Ada,", "observe-sensitive on db-2 for 45s, edited by Cyd", "!db-1")
		var old string
		for _, id := range tm.slack.order {
			if p := tm.slack.byID[id]; strings.HasSuffix(p.Key, ":1") {
				old = text(p.Card)
			}
		}
		tm.holds("the old card", old, "out of date", "![Approve]")
		tm.click(c, "bob", "approve", first)
		tm.holds("the whisper", tm.slack.whispered(), "revision 2 is the newest")
		second := tm.slack.button(tm.T, "card:", "approve")
		// Who edited it does not count either, nor does who asked at first.
		for _, who := range []string{"cyd", "ada"} {
			tm.click(c, who, "approve", second)
			tm.holds("the whisper", tm.slack.whispered(), who+": Your approval does not count", "you asked for this")
		}
		tm.click(c, "bob", "approve", second)
		tm.click(c, "dan", "approve", second)
		if len(tm.fleet.sent) != 1 {
			tm.Fatalf("sent %v", tm.fleet.sent)
		}
		tm.holds("the live output", tm.slack.shown("run:"), "db-2")
	})
}

// Words in the thread refine what was asked; others may talk there.
func TestRefine(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.click(c, "bob", "approve", tm.slack.button(tm.T, "card:", "approve"))
		tm.send(c, thread.Event{Kind: thread.Reply, By: tm.account("eve"), Text: "shall I restart it?"})
		if n := len(tm.maker.asked); n != 1 {
			tm.Fatalf("asked %d times", n)
		}
		tm.send(c, thread.Event{Kind: thread.Reply, By: tm.account("ada"), Text: "only pid 7"})
		last := tm.maker.asked[len(tm.maker.asked)-1]
		if last.Text != "only pid 7" || !slices.Equal(last.Before, []string{"who calls getppid"}) {
			tm.Errorf("the maker was asked %+v", last)
		}
		tm.holds("the card", tm.slack.shown("card:"), "0 of 2", "Revision 2", "who calls getppid on db-1 · only pid 7", "{Runs on db-1 " /* the node stays */)
		tm.ask(c, "ada", "list")
		tm.holds("the list", tm.slack.whispered(), "who calls getppid on db-1 · only pid 7 (Ada,")
		for i, id := range tm.slack.order { // nothing is posted below the newest card that is older news
			if key := tm.slack.byID[id].Key; strings.HasPrefix(key, "progress:") && i > 0 && strings.HasPrefix(tm.slack.byID[tm.slack.order[i-1]].Key, "card:"+strings.TrimPrefix(key, "progress:")) {
				tm.Errorf("%s stands below its card", key)
			}
		}
		// A reply that comes to nothing is between kgent and its author.
		tm.maker.err = fmt.Errorf("%w: nothing comes near", agent.ErrNoAnswer)
		posts := len(tm.slack.order)
		tm.send(c, thread.Event{Kind: thread.Reply, By: tm.account("ada"), Text: "thanks, that will do"})
		tm.holds("the whisper", tm.slack.whispered(), "ada: No program", "Only you see this")
		if len(tm.slack.order) != posts {
			tm.Errorf("something was posted: %s", tm.slack.shown(""))
		}
	})
}

func TestNoProgram(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.maker.err = fmt.Errorf("%w: nothing comes near", agent.ErrNoAnswer)
		tm.ask(c, "ada", "sing on db-1")
		tm.holds("the progress", tm.slack.shown("progress:"), "No program", "nothing comes near", "[Refine]")
		tm.maker.err = nil
		tm.submit(c, "ada", "refine", tm.slack.button(tm.T, "progress:", "refine"), map[string]string{"text": "who calls getppid"})
		tm.holds("the card", tm.slack.shown("card:"), "getppid calls", "db-1")
		tm.ask(c, "ada", "who calls getppid")
		tm.ask(c, "ada", "who calls getppid on node mars")
		tm.holds("the progress", tm.slack.shown("progress:"), "No node mars answers\n", "No node mars answers; there are: db-1, db-2")
		tm.send(c, thread.Event{Kind: thread.Ask, By: tm.account("eve"), Text: "who calls getppid", Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: "other"}})
		tm.holds("the progress", tm.slack.shown("progress:"), "Which nodes?\n", "there are: db-1, db-2")
		for reason, heading := range map[string]string{
			`a node would not take it: Linux 6.1 (db-1): key "k" is not one this node trusts`: "A node does not trust this bot's key\n",
			"it is too long": "No program\n",
		} {
			tm.maker.err = fmt.Errorf("%w: %s", agent.ErrNoAnswer, reason)
			tm.send(c, thread.Event{Kind: thread.Ask, By: tm.account("eve"), Text: "who calls getppid on db-1", Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: heading}})
			tm.holds("the progress", tm.slack.shown("progress:"), heading, reason)
		}
		tm.maker.err = nil
		tm.rules.judge = &approvals.RefusedError{Rule: approvals.RuleDuration, Reason: "an hour is too long"}
		tm.send(c, thread.Event{Kind: thread.Ask, By: tm.account("eve"), Text: "who calls getppid on db-1", Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: "policy"}})
		tm.holds("the progress", tm.slack.shown("progress:"), "Refused by policy\n", "An hour is too long")
	})
}

// A node that is dead or never was is named, and so are those that answer.
func TestNodes(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		all := tm.fleet.list
		tm.pass(10 * time.Second) // the roll is called
		tm.fleet.announce(all[:1])
		gone := time.Now().UTC().Format("15:04 UTC")
		tm.pass(2 * time.Minute)
		tm.ask(c, "ada", "who calls getppid on db-2")
		tm.holds("the answer", tm.slack.shown("progress:"), "No node db-2 answers (last seen "+gone+"); there are: db-1")
		// What else is said does not send it to some other node.
		tm.send(c, thread.Event{Kind: thread.Reply, By: tm.account("ada"), Text: "only pid 7"})
		tm.holds("the whisper", tm.slack.whispered(), "No node db-2 answers")
		if len(tm.maker.asked) != 0 {
			tm.Fatalf("the maker was asked %+v", tm.maker.asked)
		}
		tm.send(c, thread.Event{Kind: thread.Reply, By: tm.account("ada"), Text: "on db-1"})
		tm.holds("the card", tm.slack.shown("card:"), "{Runs on db-1 ")
		tm.ask(c, "ada", "nodes")
		tm.holds("the nodes", tm.slack.shown("a:"), "db-1  Linux 6.18.1", "{Do not answer any more [db-2: last seen "+gone+"]}")
		tm.fleet.announce(all)
		tm.ask(c, "ada", "nodes")
		tm.holds("the nodes", tm.slack.shown("a:"), "db-2  Linux", "!last seen")
	})
}

// In a terminal there is nothing to mention, press or reply in.
func TestTerminalWords(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		here := thread.Place{Surface: "terminal", Tenant: "T", Channel: "~ada", Thread: "t"}
		for _, words := range []string{"help", "list", "stop", "who calls getppid"} {
			tm.send(c, thread.Event{Kind: thread.Ask, By: tm.account("terminal:ada"), Place: here, Text: words, Rootless: words == "help", Reply: "r"})
			got := tm.terminal.whispered()
			if words == "who calls getppid" {
				got = tm.terminal.shown("progress:")
			}
			tm.holds("the answer to "+words, got, "!ention", "!in this thread", "!press")
			if got == "" {
				tm.Errorf("no answer to %s", words)
			}
		}
	})
}

func TestStop(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.rules.quorum = 1
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.click(c, "bob", "approve", tm.slack.button(tm.T, "card:", "approve"))
		// Nobody can be looked up, and the maker hangs: it stops all the same.
		tm.slack.bots["eve"] = "unknown"
		tm.click(c, "eve", "stop", tm.slack.button(tm.T, "run:", "stop"))
		tm.holds("the live output", tm.slack.shown("run:"), "Over", "Stopped by Eve")
		tm.holds("the result", tm.slack.shown("result:"), "stopped")
		var log []string
		for _, e := range tm.log.Entries() {
			log = append(log, string(e.Kind)+" "+e.Detail)
		}
		tm.holds("the audit log", strings.Join(log, "\n"), "request “who calls getppid on db-1”: ", "vote approve", "grant recipe ", "job stopped by slack:T/eve", "job completed: db-1 stopped", "!once more")
		// Who types it is called as who presses the button, also where the service
		// does not say the name with every message.
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.click(c, "bob", "approve", tm.slack.button(tm.T, "card:", "approve"))
		nameless := tm.account("bob")
		nameless.Name = nameless.User
		tm.send(c, thread.Event{Kind: thread.Reply, By: nameless, Text: "stop"})
		tm.holds("the live output", tm.slack.shown("run:"), "Over", "Stopped by Bob")
		tm.ask(c, "ada", "stop")
		tm.holds("the whisper", tm.slack.whispered(), "nothing runs in this thread")
	})
}

func TestWhoMay(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.rules.closed["mal"] = true
		tm.slack.bots["robo"], tm.slack.bots["lost"] = "bots do not count", "unknown"
		for who, want := range map[string]string{"mal": "you may not ask here", "robo": "bots do not count", "lost": "cannot look you up"} {
			tm.ask(c, who, "who calls getppid on db-1")
			tm.holds("the whisper", tm.slack.whispered(), who+": Not taken", want)
		}
		if len(tm.maker.asked) != 0 {
			tm.Fatalf("the maker was asked %+v", tm.maker.asked)
		}
		// The service wants a moment between questions; nobody is sent away.
		tm.slack.bots["ada"] = "busy"
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.pass(4 * time.Second)
		id := tm.slack.button(tm.T, "card:", "approve")
		for _, who := range []string{"robo", "lost"} {
			tm.click(c, who, "approve", id)
			tm.holds("the whisper", tm.slack.whispered(), who+": Your approval does not count")
		}
		tm.submit(c, "mal", "edit", id, map[string]string{"duration": "1h"})
		tm.holds("the whisper", tm.slack.whispered(), "you may not ask here")
		tm.submit(c, "bob", "glass", id, map[string]string{"reason": "fire"})
		tm.holds("the whisper", tm.slack.whispered(), "may not break the glass")
		if cs, _ := tm.cases.Undecided(context.Background()); len(cs) != 1 || len(cs[0].Votes) != 0 {
			tm.Errorf("cases %+v", cs)
		}
		tm.submit(c, "boss", "glass", id, map[string]string{"reason": "the shop is down"})
		tm.holds("the card", tm.slack.shown("card:"), "BROKE THE GLASS", "the shop is down")
		tm.holds("the loud message", tm.slack.shown("loud:"), "Boss broke the glass", "the shop is down", "[Stop]")
		if len(tm.fleet.sent) != 1 {
			tm.Errorf("sent %v", tm.fleet.sent)
		}
	})
}

func TestExpired(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.ask(c, "ada", "who calls getppid on db-1")
		id := tm.slack.button(tm.T, "card:", "approve")
		tm.pass(11 * time.Minute)
		tm.holds("the card", tm.slack.shown("card:"), "Expired: nobody decided in time", "![Approve]")
		tm.click(c, "bob", "approve", id)
		tm.holds("the whisper", tm.slack.whispered(), "expired")
	})
}

// A question that cannot be posted is over, and says so.
func TestUndeliverable(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.slack.fail = func(m thread.Message, posting bool) error {
			if strings.HasPrefix(m.Key, "card:") {
				return &thread.GoneError{Why: "the channel is archived"}
			}
			return nil
		}
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.settle()
		ids, _ := tm.store.Recent(context.Background(), 1)
		r, err := tm.store.Load(context.Background(), ids[0])
		if err != nil || r.Outcome != thread.Undeliverable || !strings.Contains(r.Detail, "archived") {
			tm.Errorf("request %+v, %v", r.Outcome, err)
		}
		if cs, err := tm.cases.Get(context.Background(), r.Case); err != nil || cs.State != approvals.Undeliverable {
			tm.Errorf("case %v, %v", cs.State, err)
		}
	})
}

// A run whose output can no longer be shown is stopped: nobody sees it, and
// nobody could stop it. Who asked is told.
func TestUnseen(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.rules.quorum = 1
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.slack.fail = func(m thread.Message, posting bool) error {
			if strings.HasPrefix(m.Key, "run:") {
				return &thread.GoneError{Why: "the channel is archived"}
			}
			return nil
		}
		tm.click(c, "bob", "approve", tm.slack.button(tm.T, "card:", "approve"))
		tm.pass(5 * time.Second)
		ids, _ := tm.store.Recent(context.Background(), 1)
		r, err := tm.store.Load(context.Background(), ids[0])
		if err != nil || !strings.Contains(r.Unseen, "archived") {
			tm.Errorf("request %+v, %v", r, err)
		}
		tm.holds("the whisper", tm.slack.whispered(), "Stopped: its output could not be shown", "archived")
	})
}

// Events that are delivered again, and answers that were lost on the way,
// double nothing.
func TestDelivery(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.rules.quorum = 1
		lost := map[string]bool{}
		tm.slack.fail = func(m thread.Message, posting bool) error {
			if posting && m.Only == "" && !m.Tried {
				lost[m.Key] = true
				tm.slack.next++
				id := fmt.Sprintf("m%d", tm.slack.next)
				tm.slack.byID[id] = &posted{Message: m}
				tm.slack.order = append(tm.slack.order, id)
				tm.slack.posts[m.Key]++
				return &thread.UnknownError{Err: errors.New("502 after it was done")}
			}
			return nil
		}
		for range 4 {
			tm.send(c, thread.Event{Key: "same", Kind: thread.Ask, By: tm.account("ada"), Text: "who calls getppid on db-1"})
		}
		tm.settle()
		id := tm.slack.button(tm.T, "card:", "approve")
		for range 4 {
			tm.send(c, thread.Event{Key: "click", Kind: thread.Click, By: tm.account("bob"), Verb: "approve", ID: id})
		}
		tm.pass(time.Minute)
		if len(tm.maker.asked) != 1 || len(tm.fleet.sent) != 1 {
			tm.Errorf("asked %d times, ran %d times", len(tm.maker.asked), len(tm.fleet.sent))
		}
		for key, n := range tm.slack.posts {
			if n != 1 {
				tm.Errorf("%s was posted %d times", key, n)
			}
		}
		tm.holds("the result", tm.slack.shown("result:"), "1 event")
	})
}

// The card is also where the policy wants people to be asked, and looks the
// same everywhere.
func TestCopies(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.rules.ask = []string{"discord:G/approvals", "slack:T/C", "irc:x/y", "rubbish"}
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.holds("the copy", tm.discord.shown("card:"), "{Asked by Ada on slack; the output goes there. https://chat.example/root}", "[Approve]")
		id := tm.discord.button(tm.T, "card:", "approve")
		tm.click(c, "discord:cyd", "approve", id)
		tm.holds("the card", tm.slack.shown("card:"), "1 of 2")
		tm.holds("the copy", tm.discord.shown("card:"), "1 of 2")
		tm.click(c, "bob", "approve", id)
		tm.holds("the copy", tm.discord.shown("card:"), "Approved", "![Approve]")
		if tm.discord.shown("run:") != "" {
			tm.Error("the output is in the other place, too")
		}
	})
}

// The source is put where it was asked for: who approves elsewhere sees what
// they approve.
func TestSourceElsewhere(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.rules.ask = []string{"discord:G/approvals"}
		tm.ask(c, "ada", "who calls getppid on db-1")
		id := tm.discord.button(tm.T, "card:", "approve")
		tm.send(c, thread.Event{Kind: thread.Click, By: tm.account("discord:cyd"), Verb: "source", ID: id, Place: thread.Place{Surface: "discord", Tenant: "G", Channel: "approvals", Thread: "m1"}})
		posted := func(on *chat) (places []string) {
			for _, id := range on.order {
				if p := on.byID[id]; strings.HasPrefix(p.Key, "source:") {
					places = append(places, p.Place.String())
				}
			}
			return places
		}
		if got := posted(tm.discord); !slices.Equal(got, []string{"discord:G/approvals/m1"}) {
			tm.Errorf("on Discord the source is in %v", got)
		}
		if got := posted(tm.slack); len(got) != 0 {
			tm.Errorf("on Slack the source is in %v", got)
		}
		tm.click(c, "bob", "source", id)
		if got := posted(tm.slack); !slices.Equal(got, []string{"slack:T/C/root"}) {
			tm.Errorf("on Slack the source is in %v", got)
		}
	})
}

// A slash command has no message: the thread hangs from one of kgent's own.
func TestRootless(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		place := thread.Place{Surface: "slack", Tenant: "T", Channel: "C"}
		tm.send(c, thread.Event{Kind: thread.Ask, By: tm.account("ada"), Text: "who calls getppid on db-1", Rootless: true, Place: place})
		tm.holds("the root", tm.slack.shown("root:"), "Ada asks", "who calls getppid")
		root := tm.slack.order[0]
		for _, id := range tm.slack.order[1:] {
			if p := tm.slack.byID[id]; p.Place.Thread != root {
				tm.Errorf("%s is in %v, not under %s", p.Key, p.Place, root)
			}
		}
		place.Thread = root
		tm.send(c, thread.Event{Kind: thread.Reply, By: tm.account("ada"), Text: "only pid 7", Place: place})
		tm.holds("the card", tm.slack.shown("card:"), "Revision 2")
	})
}

// A process that dies is replaced by another, between vote and start and in
// mid-run; nothing runs twice, nothing is lost.
func TestTakeover(t *testing.T) {
	if _, err := object(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		tm := newTeam(t)
		tm.rules.quorum = 1
		one, stopOne := tm.start("one")
		_, stopTwo := tm.start("two")
		defer stopTwo()
		tm.ask(one, "ada", "who calls getppid on db-1")
		// The vote is counted, and the process dies before anything starts.
		id := tm.slack.button(t, "card:", "approve")
		if err := one.Receive(context.Background(), thread.Event{Key: "v", Kind: thread.Click, By: tm.account("bob"), Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: "root"}, Verb: "approve", ID: id, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		stopOne()
		tm.pass(thread.Visibility + 8*time.Second)
		tm.holds("the live output", tm.slack.shown("run:"), "Running")
		three, stopThree := tm.start("three")
		defer stopThree()
		stopTwo()
		tm.pass(8 * time.Second)
		tm.click(three, "bob", "stop", tm.slack.button(t, "run:", "stop"))
		tm.holds("the result", tm.slack.shown("result:"), "stopped", "1 event")
		if len(tm.fleet.sent) != 1 {
			t.Errorf("sent %v", tm.fleet.sent)
		}
		for key, n := range tm.slack.posts {
			if n != 1 {
				t.Errorf("%s was posted %d times", key, n)
			}
		}
	})
}

// cutOff is a store that one process cannot reach for a while.
type cutOff struct {
	*thread.Memory
	off *atomic.Bool
}

var errCutOff = errors.New("no route to the store")

func (c cutOff) Lock(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	if c.off.Load() {
		return false, errCutOff
	}
	return c.Memory.Lock(ctx, name, owner, ttl)
}

func (c cutOff) Load(ctx context.Context, id string) (thread.Request, error) {
	if c.off.Load() {
		return thread.Request{}, errCutOff
	}
	return c.Memory.Load(ctx, id)
}

func (c cutOff) Open(ctx context.Context) ([]string, error) {
	if c.off.Load() {
		return nil, errCutOff
	}
	return c.Memory.Open(ctx)
}

// A process that was cut off from the store while another took its request over
// neither stops the run nor says how it ended, whatever it made of the silence.
func TestCutOffProcess(t *testing.T) {
	if _, err := object(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"while it sends", "while it follows"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tm := newTeam(t)
				tm.rules.quorum = 1
				var off atomic.Bool
				tm.wrap = func(m *thread.Memory) thread.Store { return cutOff{m, &off} }
				one, stopOne := tm.start("one")
				defer stopOne()
				tm.wrap = nil

				// The first who does it is cut off there, and gives up when the
				// line is back.
				var begun atomic.Bool
				back, answer := make(chan struct{}), make(chan error, 1)
				giveUp := func(mine func(context.Context) error) error {
					if !begun.CompareAndSwap(false, true) {
						return nil
					}
					off.Store(true)
					<-back
					off.Store(false)
					err := mine(context.Background())
					answer <- err
					return err
				}
				if name == "while it sends" {
					tm.fleet.sending = func() error {
						return giveUp(func(context.Context) error { return errors.New("db-2 could not be reached") })
					}
				} else {
					tm.fleet.watching = giveUp
				}
				tm.ask(one, "ada", "who calls getppid on db-1")
				tm.click(one, "bob", "approve", tm.slack.button(t, "card:", "approve"))
				_, stopTwo := tm.start("two")
				defer stopTwo()
				tm.pass(8 * time.Second) // the lock is two's
				close(back)
				tm.settle()
				if err := <-answer; name == "while it follows" && !errors.Is(err, bus.ErrHandOver) {
					t.Errorf("asked whether it has the run: %v, want %v", err, bus.ErrHandOver)
				}
				if len(tm.fleet.stopped) != 0 || len(tm.fleet.sent) != 1 {
					t.Errorf("stopped %v, sent %v", tm.fleet.stopped, tm.fleet.sent)
				}
				tm.holds("the live output", tm.slack.shown("run:"), "Running")
				if said := tm.slack.shown("result:"); said != "" {
					t.Errorf("there is a result already: %s", said)
				}
				tm.pass(30 * time.Second)
				tm.holds("the result", tm.slack.shown("result:"), "ended as planned", "1 event")
				ended := 0
				for _, e := range tm.log.Entries() {
					if e.Kind == audit.Job && strings.Contains(e.Detail, "db-1 deadline") {
						ended++
					}
				}
				if ended != 1 {
					t.Errorf("the audit log says %d times how it ended", ended)
				}
			})
		})
	}
}

func TestCommands(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.ask(c, "ada", "help")
		tm.holds("the whisper", tm.slack.whispered(), "Mention kgent", "who calls getppid")
		tm.ask(c, "ada", "nodes")
		tm.holds("the answer", tm.slack.shown("a:"), "db-1", "6.18.1", "role=db")
		tm.ask(c, "ada", "Recipes!")
		tm.holds("the answer", tm.slack.shown("a:"), "parents", "getppid calls")
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.send(c, thread.Event{Kind: thread.Home, By: tm.account("bob"), Place: thread.Place{Surface: "slack", Tenant: "T", Home: "bob"}})
		tm.holds("bob's page", tm.slack.shown("home:"), "Waiting for you", "who calls getppid on db-1 (Ada", "approve")
		tm.ask(c, "ada", "list")
		tm.holds("ada's list", tm.slack.whispered(), "Your requests", "waits for approval", "cancel")
		tm.click(c, "ada", "cancel", tm.slack.button(tm.T, "card:", "cancel"))
		tm.holds("the card", tm.slack.shown("card:"), "Taken back")
		if got := c.Complete(context.Background(), tm.account("ada"), "node", "DB"); !slices.Equal(got, []string{"db-1", "db-2", "role=db"}) {
			tm.Errorf("completions %v", got)
		}
	})
}
