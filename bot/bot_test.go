package bot_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"kgent/agent"
	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/program/programtest"
	"kgent/agent/verify"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/bot"
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

// candidate is a prepared program.
func candidate(t *testing.T) *agent.Candidate {
	t.Helper()
	o := programtest.Object(t, source)
	m, err := program.Build(o, program.Options{Name: "parents", Title: "getppid calls", Constants: map[string]string{"wanted": "7"}})
	if err != nil {
		t.Fatal(err)
	}
	return &agent.Candidate{Origin: "recipe parents", Source: source, Object: o, Manifest: m, Finding: verify.Finding{Reason: "unproved: there is no contract"}, Duration: 5 * time.Second,
		Record: &agent.Record{}}
}

// preparer is an agent that knows one answer.
type preparer struct {
	c       *agent.Candidate
	err     error
	got     agent.Request
	unclear *agent.Question // asked until it is answered
}

func (p *preparer) Prepare(_ context.Context, req agent.Request, progress func(agent.Step)) (*agent.Candidate, error) {
	p.got = req
	if p.unclear != nil && len(req.Answers) == 0 {
		return nil, p.unclear
	}
	progress(agent.Step{Name: "match", State: "start"})
	progress(agent.Step{Name: "match", State: "done", Detail: "recipe parents", Elapsed: 3 * time.Millisecond})
	return p.c, p.err
}

// nodes is a runner that runs nothing.
type nodes struct {
	list    []bus.NodeInfo
	listErr error
	summary output.Summary
	err     error
	grant   *job.Grant
	runs    int
	sealed  []byte
}

func (n *nodes) Nodes(context.Context) ([]bus.NodeInfo, error) { return n.list, n.listErr }

func (n *nodes) Run(_ context.Context, g *job.Grant, envelope []byte, line func([]byte)) (output.Summary, error) {
	n.runs++
	n.grant, n.sealed = g, envelope
	line([]byte(`{"type":"attached","node":"here"}`))
	line([]byte(`{"type":"map","node":"here","name":"calls"}`))
	return n.summary, n.err
}

// channel writes down what it is shown.
type channel struct {
	log     []string
	card    bot.Card
	errs    []output.Error
	summary []output.Summary
	votes   []approvals.Vote
	answer  string // to a question
	err     error
}

func (c *channel) say(format string, args ...any) {
	c.log = append(c.log, fmt.Sprintf(format, args...))
}

func (c *channel) Stage(s output.Stage) { c.say("%s %s", s.Name, s.State) }
func (c *channel) Candidate(card bot.Card) {
	c.card = card
	c.say("candidate")
}
func (c *channel) Question(_ context.Context, q *agent.Question) (string, error) {
	c.say("question %s", q.Text)
	if c.answer == "" {
		return "", errors.New("nobody there")
	}
	return c.answer, nil
}
func (c *channel) Decide(_ context.Context, _ bot.Card, vote func(approvals.Vote) (bool, error)) error {
	for _, v := range c.votes {
		if more, err := vote(v); err != nil || !more {
			return err
		}
	}
	return c.err
}
func (c *channel) Line(l []byte) {
	c.say("line %s", strings.SplitN(strings.TrimPrefix(string(l), `{"type":"`), `"`, 2)[0])
}
func (c *channel) Error(e output.Error) {
	c.errs = append(c.errs, e)
	c.say("error %s", e.Code)
}
func (c *channel) Summary(s output.Summary) {
	c.summary = append(c.summary, s)
	c.say("summary %s", s.Reason)
}

var me = approvals.Person{ID: "ada", Surface: approvals.Terminal, Human: true}

func yes() []approvals.Vote { return []approvals.Vote{{By: me, Choice: approvals.Approve}} }

// office is a bot with a real desk and nothing else real.
type office struct {
	*bot.Bot
	agent *preparer
	nodes *nodes
}

func newOffice(t *testing.T, c *agent.Candidate) *office {
	t.Helper()
	key, err := approvals.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &preparer{c: c}
	n := &nodes{list: []bus.NodeInfo{{Name: "here", Labels: map[string]string{"env": "prod"}}, {Name: "there", Labels: map[string]string{"env": "prod"}}},
		summary: output.Summary{Reason: output.ReasonDeadline, Nodes: []output.NodeSummary{{Node: "here", Reason: output.ReasonDeadline}}}}
	return &office{agent: p, nodes: n, Bot: &bot.Bot{Agent: p, Runner: n, Home: "here", Now: time.Now,
		Desk: &approvals.Desk{Store: &approvals.Memory{}, Policy: approvals.Local{Node: "here", MaxEvents: 100_000}, Signer: key, Audit: &audit.Memory{}, Now: time.Now, Random: rand.Reader}}}
}

func TestHandle(t *testing.T) {
	good := candidate(t)
	const prepared = "match start, match done, candidate"
	const approved = prepared + ", approve start, approve done, line attached, line map"
	for _, tc := range []struct {
		name    string
		ask     bot.Ask
		change  func(*office, *channel)
		want    bot.Outcome
		records string
		message string // of the error
	}{
		{name: "ran", want: bot.Ran, records: approved + ", summary deadline"},
		{name: "shown", ask: bot.Ask{ShowOnly: true}, want: bot.Ran, records: prepared + ", summary shown"},
		{name: "request", change: func(o *office, _ *channel) { o.agent.err = fmt.Errorf("%w: empty", agent.ErrRequest) },
			want: bot.BadInput, records: "match start, match done, error usage, summary candidate", message: "empty"},
		{name: "no answer", change: func(o *office, _ *channel) { o.agent.err = fmt.Errorf("%w: none", agent.ErrNoAnswer) },
			want: bot.NoAnswer, records: "match start, match done, error no-match, summary candidate", message: "none"},
		{name: "rejected", change: func(o *office, _ *channel) {
			o.agent.err = &agent.RejectedError{Record: &agent.Record{}, Last: errors.New("line 3: no")}
		}, want: bot.Rejected, records: "match start, match done, error rejected, summary candidate", message: "line 3: no"},
		{name: "model down", change: func(o *office, _ *channel) {
			o.agent.err = fmt.Errorf("%w: refused; check OPENAI_BASE_URL", agent.ErrModel)
		},
			want: bot.Failed, records: "match start, match done, error internal, summary failed", message: "OPENAI_BASE_URL"},
		{name: "no clang", change: func(o *office, _ *channel) { o.agent.err = compile.ErrNoClang },
			want: bot.Failed, records: "match start, match done, error internal, summary failed", message: "clang"},
		{name: "unknown node", ask: bot.Ask{Nodes: "mars"}, want: bot.NodeFault, records: "error node, summary failed", message: "no node mars answers; there are: here, there"},
		{name: "no value", ask: bot.Ask{Nodes: "env="}, want: bot.NodeFault, records: "error node, summary failed", message: "the label env="},
		{name: "nodes unknown", change: func(o *office, _ *channel) { o.nodes.listErr = errors.New("no bus") }, want: bot.NodeFault, records: "error node, summary failed", message: "no bus"},
		{name: "too long", ask: bot.Ask{Duration: 20 * time.Minute}, want: bot.Refused, records: "match start, match done, error policy, summary refused", message: "longer than"},
		{name: "another host", ask: bot.Ask{Nodes: "env=prod"}, want: bot.Refused, records: "match start, match done, error policy, summary refused", message: "this host"},
		{name: "denied", change: func(_ *office, c *channel) { c.votes = []approvals.Vote{{By: me, Choice: approvals.Deny}} },
			want: bot.Denied, records: prepared + ", approve start, approve failed, error denied, summary denied", message: "not approved"},
		{name: "nobody", change: func(_ *office, c *channel) { c.votes, c.err = nil, errors.New("nobody there") },
			want: bot.Denied, records: prepared + ", approve start, approve failed, error denied, summary denied", message: "nobody there"},
		{name: "nobody, without a word", change: func(_ *office, c *channel) { c.votes = nil },
			want: bot.Denied, records: prepared + ", approve start, approve failed, error denied, summary denied", message: "not approved"},
		{name: "no person", change: func(_ *office, c *channel) {
			c.votes = []approvals.Vote{{By: approvals.Person{ID: "bot", Surface: approvals.Terminal}, Choice: approvals.Approve}}
		}, want: bot.Denied, records: prepared + ", approve start, approve failed, error denied, summary denied", message: "not approved"},
		{name: "node refuses", change: func(o *office, _ *channel) {
			o.nodes.summary.Nodes[0] = output.NodeSummary{Node: "here", Reason: output.ReasonRefused, Detail: "helper"}
		}, want: bot.NodeFault, records: approved + ", error node, summary deadline", message: "node here: refused: helper"},
		{name: "runner fails", change: func(o *office, _ *channel) {
			o.nodes.err, o.nodes.summary = errors.New("lost the bus"), output.Summary{}
		},
			want: bot.NodeFault, records: approved + ", error node, summary failed", message: "lost the bus"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newOffice(t, good)
			ch := &channel{votes: yes()}
			if tc.change != nil {
				tc.change(o, ch)
			}
			tc.ask.ID, tc.ask.Text, tc.ask.Requester = "r7", "who asks", me
			got := o.Handle(t.Context(), tc.ask, ch)
			if got != tc.want {
				t.Errorf("outcome %d, want %d", got, tc.want)
			}
			if log := strings.Join(ch.log, ", "); log != tc.records {
				t.Errorf("records\n%s, want\n%s", log, tc.records)
			}
			if len(ch.summary) != 1 || ch.summary[0].Nodes == nil {
				t.Errorf("summaries %+v", ch.summary)
			}
			if tc.message == "" {
				if len(ch.errs) > 0 {
					t.Errorf("errors %+v", ch.errs)
				}
			} else if len(ch.errs) != 1 || !strings.Contains(ch.errs[0].Message, tc.message) {
				t.Errorf("errors %+v, want %q", ch.errs, tc.message)
			}
			if ran := strings.Contains(tc.records, "line"); ran != (o.nodes.runs == 1) || o.nodes.runs > 1 {
				t.Errorf("%d runs", o.nodes.runs)
			}
		})
	}
}

// What is granted is what was on the card, and what the words do not say has
// its defaults.
// Words may name the node, and one that does not answer is named.
func TestNamedNodes(t *testing.T) {
	for _, tc := range []struct{ words, nodes, want, fault string }{
		{"who calls getppid on here", "", "who calls getppid", ""},
		{"who calls getppid on db-3", "", "", "no node db-3 answers; there are: here"},
		{"who calls getppid on db-3", "here", "who calls getppid on db-3", ""},
	} {
		o := newOffice(t, candidate(t))
		ch := &channel{}
		o.Handle(t.Context(), bot.Ask{ID: "1", Text: tc.words, Nodes: tc.nodes, Requester: me, ShowOnly: true}, ch)
		if o.agent.got.Text != tc.want {
			t.Errorf("%q: the agent was asked %q, want %q", tc.words, o.agent.got.Text, tc.want)
		}
		if tc.fault == "" && len(ch.errs) != 0 || tc.fault != "" && (len(ch.errs) != 1 || !strings.Contains(ch.errs[0].Message, tc.fault)) {
			t.Errorf("%q: %+v, want %q", tc.words, ch.errs, tc.fault)
		}
	}
}

// Words that can be read in several ways are asked about, where somebody can be asked.
func TestUnclear(t *testing.T) {
	for answer, want := range map[string]bot.Outcome{"": bot.BadInput, "real errors": bot.Ran} {
		o := newOffice(t, candidate(t))
		o.agent.unclear = &agent.Question{Text: "Does “failed” include EINTR?", Options: []string{"yes", "no"}}
		ch := &channel{answer: answer, votes: yes()}
		if got := o.Handle(t.Context(), bot.Ask{ID: "1", Text: "who fails", Requester: me}, ch); got != want {
			t.Errorf("%q: outcome %d, want %d: %+v", answer, got, want, ch.errs)
		}
		switch {
		case answer == "":
			if len(ch.errs) != 1 || !strings.Contains(ch.errs[0].Message, "Does “failed” include EINTR? (1) yes (2) no") {
				t.Errorf("%+v", ch.errs)
			}
		case !reflect.DeepEqual(o.agent.got.Answers, []agent.Reply{{Question: "Does “failed” include EINTR?", Answer: answer}}):
			t.Errorf("%+v", o.agent.got.Answers)
		}
	}
}

func TestGranted(t *testing.T) {
	good := candidate(t)
	o := newOffice(t, good)
	ch := &channel{votes: yes()}
	if got := o.Handle(t.Context(), bot.Ask{ID: "r1", Text: "who asks", Requester: me}, ch); got != bot.Ran {
		t.Fatalf("outcome %d: %+v", got, ch.errs)
	}
	if !reflect.DeepEqual(o.agent.got, agent.Request{ID: "r1", Text: "who asks"}) {
		t.Errorf("the agent was asked %+v", o.agent.got)
	}
	r := ch.card.Record
	if r.Duration != "5s" || r.Verdict != "UNKNOWN" || r.Tier != "observe-sensitive" || len(r.Hooks) != 1 || r.Hooks[0] != "tracepoint syscalls:sys_enter_getppid" ||
		len(r.Params) != 1 || r.Params[0] != (output.Param{Name: "wanted", Value: "7"}) || len(r.Does) == 0 || len(r.Nodes) != 1 || r.Nodes[0] != "here" {
		t.Errorf("card %+v", r)
	}
	g := o.nodes.grant
	if g.Digest != r.Digest || g.Limits.Duration != 5*time.Second || g.Limits.EventsPerSecond != bot.DefaultEvents || len(o.nodes.sealed) == 0 {
		t.Errorf("grant %+v", g)
	}
	// A flag is stronger than the words, and the words than the default.
	for want, change := range map[time.Duration]func(*bot.Ask, *agent.Candidate){
		2 * time.Second:     func(a *bot.Ask, _ *agent.Candidate) { a.Duration = 2 * time.Second },
		bot.DefaultDuration: func(_ *bot.Ask, c *agent.Candidate) { c.Duration = 0 },
	} {
		c := *good
		o := newOffice(t, &c)
		ask := bot.Ask{ID: "r1", Text: "who asks", Requester: me, EventsPerSecond: 10}
		change(&ask, &c)
		if got := o.Handle(t.Context(), ask, &channel{votes: yes()}); got != bot.Ran || o.nodes.grant.Limits != (job.Limits{Duration: want, EventsPerSecond: 10}) {
			t.Errorf("outcome %d, limits %+v, want %v", got, o.nodes.grant, want)
		}
	}
}

// A person who gives up before anything ran is told that, whatever was under
// way.
func TestInterrupted(t *testing.T) {
	o := newOffice(t, candidate(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.agent.err = ctx.Err()
	ch := &channel{}
	if got := o.Handle(ctx, bot.Ask{ID: "r1", Text: "who asks", Requester: me}, ch); got != bot.Denied {
		t.Errorf("outcome %d", got)
	}
	if len(ch.errs) != 1 || !strings.Contains(ch.errs[0].Message, "interrupted") || ch.summary[0].Reason != output.ReasonInterrupted {
		t.Errorf("errors %+v, summary %+v", ch.errs, ch.summary)
	}
}
