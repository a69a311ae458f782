package policy_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/approvals"
	"kgent/approvals/policy"
	"kgent/executor/job"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// groups is a directory that a test changes as it likes.
type groups struct {
	members map[string][]string // group → accounts
	err     error
}

func (g *groups) Member(_ context.Context, account, group string) (bool, error) {
	if g.err != nil {
		return false, g.err
	}
	return slices.Contains(g.members[group], account), nil
}

// nodes are the labels of nodes; "lost" cannot be looked up.
func nodes(_ context.Context, names []string) (map[string]map[string]string, error) {
	if slices.Contains(names, "lost") {
		return nil, errors.New("no answer")
	}
	return map[string]map[string]string{
		"prod-1": {"env": "prod", "role": "db"}, "prod-2": {"env": "prod", "role": "web"},
		"dev-1": {"env": "dev"}, "bare": {},
	}, nil
}

const team = `
version: 1
tenants: [slack:T1, discord:G1]
people:
  ada: [slack:T1/UADA, discord:G1/1]
  bob: [slack:T1/UBOB, discord:G1/2]
  eve: [discord:G1/3]
groups:
  sre: [slack:T1/SSRE, discord:G1/90]
rules:
  - name: acting
    tiers: [act]
    nodes: env=prod
    quorum: 2
    approvers: {groups: [sre]}
    requesters: {anyone: true}
    places: [slack:T1/CINC, discord:G1/80]
    max_duration: 2m
    max_events: 100
    expiry: 15m
    ask: [slack:T1/CASK, discord:G1/81]
    break_glass: {by: {people: [ada, bob]}, max_duration: 1m, audit: [slack:T1/CSEC]}
  - name: databases
    tiers: [observe, observe-sensitive]
    nodes: env=prod,role=db
    quorum: 2
    approvers: {groups: [sre], people: [eve]}
    requesters: {people: [ada, slack:T1/UJOE]}
    max_duration: 5m
    max_events: 500
    expiry: 10m
    ask: [slack:T1/CASK]
  - name: production
    tiers: [observe]
    nodes: env=prod
    quorum: 1
    approvers: {people: [bob, eve]}
    requesters: {groups: [sre]}
    max_duration: 10m
    max_events: 1000
    expiry: 30m
    ask: [slack:T1/CWEB]
  - name: playground
    tiers: [observe]
    nodes: env!=prod
    quorum: 1
    self: true
    approvers: {anyone: true}
    requesters: {anyone: true}
    max_duration: 1h
    max_events: 1000
    expiry: 30m
  - name: forbidden
    tiers: [act]
    nodes: env=dev
    quorum: 1
    approvers: {}
    requesters: {anyone: true}
    max_duration: 1m
    max_events: 1
    expiry: 1m
`

func parse(t *testing.T, text string, g *groups) *policy.Policy {
	t.Helper()
	p, problems := policy.Parse("dir/team.yaml", []byte(text), policy.Options{
		Groups: g, Labels: nodes, Quotas: &policy.MemoryQuotas{}, Now: func() time.Time { return noon },
	})
	if p == nil {
		t.Fatal(problems)
	}
	return p
}

// sre is the usual directory: ada and joe by Slack, eve by Discord.
func sre() *groups {
	return &groups{members: map[string][]string{
		"slack:T1/SSRE": {"slack:T1/UADA", "slack:T1/UJOE", "slack:T1/UTIM"}, "discord:G1/90": {"discord:G1/3", "discord:G1/7"},
	}}
}

// by is somebody at an account, named as a bot would.
func by(account string) approvals.Person {
	surface, _, _ := strings.Cut(account, ":")
	return approvals.Person{ID: account, Surface: surface, Account: account, Place: "slack:T1/CINC", Human: true}
}

func ask(tier approvals.Tier, account string, on ...string) approvals.Case {
	return approvals.Case{ID: "c", Tier: tier, Nodes: on, Requester: by(account), Limits: job.Limits{Duration: time.Minute, EventsPerSecond: 10}}
}

func ruleOf(err error) string {
	var refused *approvals.RefusedError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return string(refused.Rule)
	case errors.Is(err, approvals.ErrTryAgain):
		return "try again"
	}
	return err.Error()
}

func TestJudge(t *testing.T) {
	tests := []struct {
		name string
		c    approvals.Case
		rule string
		want approvals.Ruling // without Policy
	}{
		{name: "one node", c: ask(approvals.Observe, "discord:G1/3", "prod-2"),
			want: approvals.Ruling{Quorum: 1, Approvers: "bob or eve", MaxDuration: 10 * time.Minute, MaxEvents: 1000, Expiry: 30 * time.Minute}},
		{name: "the first rule that fits", c: ask(approvals.Observe, "slack:T1/UADA", "prod-1"),
			want: approvals.Ruling{Quorum: 2, Approvers: "eve or anybody in sre", MaxDuration: 5 * time.Minute, MaxEvents: 500, Expiry: 10 * time.Minute}},
		{name: "the strictest of two nodes", c: ask(approvals.Observe, "slack:T1/UADA", "prod-2", "prod-1"),
			want: approvals.Ruling{Quorum: 2, Approvers: "people who are each of: bob or eve; and of: eve or anybody in sre", MaxDuration: 5 * time.Minute, MaxEvents: 500, Expiry: 10 * time.Minute}},
		{name: "self", c: ask(approvals.Observe, "slack:T1/UANY", "dev-1"),
			want: approvals.Ruling{Quorum: 1, Self: true, Approvers: "anybody in the organisation", MaxDuration: time.Hour, MaxEvents: 1000, Expiry: 30 * time.Minute}},
		{name: "no self when one rule says no", c: ask(approvals.Observe, "slack:T1/UADA", "dev-1", "prod-2"),
			want: approvals.Ruling{Quorum: 1, Approvers: "people who are each of: anybody in the organisation; and of: bob or eve", MaxDuration: 10 * time.Minute, MaxEvents: 1000, Expiry: 30 * time.Minute}},
		{name: "a node without labels", c: ask(approvals.Observe, "slack:T1/UADA", "bare"),
			want: approvals.Ruling{Quorum: 1, Self: true, Approvers: "anybody in the organisation", MaxDuration: time.Hour, MaxEvents: 1000, Expiry: 30 * time.Minute}},
		{name: "an account in the list of requesters", c: ask(approvals.ObserveSensitive, "slack:T1/UJOE", "prod-1"),
			want: approvals.Ruling{Quorum: 2, Approvers: "eve or anybody in sre", MaxDuration: 5 * time.Minute, MaxEvents: 500, Expiry: 10 * time.Minute}},
		{name: "a person from the other platform", c: ask(approvals.ObserveSensitive, "discord:G1/1", "prod-1"),
			want: approvals.Ruling{Quorum: 2, Approvers: "eve or anybody in sre", MaxDuration: 5 * time.Minute, MaxEvents: 500, Expiry: 10 * time.Minute}},
		{name: "no rule for the tier", c: ask(approvals.ObserveSensitive, "slack:T1/UADA", "prod-2"), rule: "tier"},
		{name: "no rule for one of the nodes", c: ask(approvals.Act, "slack:T1/UADA", "prod-1", "bare"), rule: "tier"},
		{name: "no tier", c: ask(0, "slack:T1/UADA", "prod-1"), rule: "tier"},
		{name: "a rule that forbids", c: ask(approvals.Act, "slack:T1/UADA", "dev-1"), rule: "nobody"},
		{name: "no node", c: ask(approvals.Observe, "slack:T1/UADA"), rule: "node"},
		{name: "an unknown node", c: ask(approvals.Observe, "slack:T1/UADA", "dev-1", "dev-9"), rule: "node"},
		{name: "a node that cannot be looked up", c: ask(approvals.Observe, "slack:T1/UADA", "lost"), rule: "try again"},
		{name: "not a requester", c: ask(approvals.Observe, "discord:G1/3", "prod-1"), rule: "requester"},
		{name: "a requester for one node only", c: ask(approvals.Observe, "discord:G1/3", "prod-2", "prod-1"), rule: "requester"},
		{name: "another workspace", c: ask(approvals.Observe, "slack:T2/UADA", "dev-1"), rule: "human"},
		{name: "another platform", c: ask(approvals.Observe, "terminal:T1/ada", "dev-1"), rule: "human"},
		{name: "no account", c: approvals.Case{Tier: approvals.Observe, Nodes: []string{"dev-1"}, Requester: approvals.Person{ID: "ada", Surface: "slack", Human: true}}, rule: "human"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := parse(t, team, sre())
			r, err := p.Judge(t.Context(), tt.c)
			if got := ruleOf(err); got != tt.rule {
				t.Fatalf("refused about %q (%v), want %q", got, err, tt.rule)
			}
			if err == nil {
				tt.want.Policy = p.Version()
				if len(r.Labels) != len(tt.c.Nodes) {
					t.Errorf("it went by the labels %v", r.Labels)
				}
				r.Labels = nil
			}
			if !reflect.DeepEqual(r, tt.want) {
				t.Errorf("ruling\n%+v, want\n%+v", r, tt.want)
			}
		})
	}
	p := parse(t, team, sre())
	if v := p.Version(); !strings.HasPrefix(v, "team.yaml@sha256:") || v == parse(t, team+"\n", sre()).Version() {
		t.Errorf("version %q", v)
	}
	// A bot, and somebody who speaks from elsewhere than they say.
	c := ask(approvals.Observe, "slack:T1/UADA", "dev-1")
	c.Requester.Human = false
	if _, err := p.Judge(t.Context(), c); ruleOf(err) != "human" {
		t.Errorf("a bot: %v", err)
	}
	c = ask(approvals.Observe, "slack:T1/UADA", "dev-1")
	c.Requester.Surface = "discord"
	if _, err := p.Judge(t.Context(), c); ruleOf(err) != "human" {
		t.Errorf("another surface: %v", err)
	}
	// The place.
	c = ask(approvals.Act, "slack:T1/UADA", "prod-1")
	c.Requester.Place = "slack:T1/CANY"
	if _, err := p.Judge(t.Context(), c); ruleOf(err) != "place" {
		t.Errorf("another place: %v", err)
	}
	if c.Requester.Place = ""; ruleOf(func() error { _, err := p.Judge(t.Context(), c); return err }()) != "place" {
		t.Error("no place passes for any")
	}
	c.Requester.Place = "discord:G1/80"
	if _, err := p.Judge(t.Context(), c); err != nil {
		t.Error(err)
	}
	// The switch.
	p = parse(t, "paused: migration\n"+team, sre())
	if _, err := p.Judge(t.Context(), c); ruleOf(err) != "paused" || !strings.Contains(err.Error(), "migration") {
		t.Errorf("paused: %v", err)
	}
	if _, err := p.BreakGlass(t.Context(), c, by("slack:T1/UADA")); ruleOf(err) != "paused" {
		t.Errorf("broken although paused: %v", err)
	}
}

func TestMayApprove(t *testing.T) {
	tests := []struct {
		name    string
		account string
		nodes   []string
		tier    approvals.Tier
		rule    string
	}{
		{name: "in the Slack group", account: "slack:T1/UADA", nodes: []string{"prod-1"}, tier: approvals.Act},
		{name: "in the Slack group, from Discord", account: "discord:G1/1", nodes: []string{"prod-1"}, tier: approvals.Act},
		{name: "in the Discord role", account: "discord:G1/3", nodes: []string{"prod-1"}, tier: approvals.Act},
		{name: "unlinked in the group", account: "slack:T1/UJOE", nodes: []string{"prod-1"}, tier: approvals.Act},
		{name: "in neither", account: "slack:T1/UBOB", nodes: []string{"prod-1"}, tier: approvals.Act, rule: "approver"},
		{name: "listed", account: "discord:G1/2", nodes: []string{"prod-2"}, tier: approvals.Observe},
		{name: "listed for one of two nodes", account: "discord:G1/2", nodes: []string{"prod-2", "prod-1"}, tier: approvals.Observe, rule: "approver"},
		{name: "listed for both", account: "discord:G1/3", nodes: []string{"prod-2", "prod-1"}, tier: approvals.Observe},
		{name: "anyone", account: "slack:T1/UANY", nodes: []string{"dev-1"}, tier: approvals.Observe},
		{name: "anyone of another workspace", account: "slack:T2/UANY", nodes: []string{"dev-1"}, tier: approvals.Observe, rule: "human"},
		{name: "nobody", account: "slack:T1/UADA", nodes: []string{"dev-1"}, tier: approvals.Act, rule: "approver"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := parse(t, team, sre())
			if got := ruleOf(p.MayApprove(t.Context(), ask(tt.tier, "slack:T1/UANY", tt.nodes...), by(tt.account))); got != tt.rule {
				t.Errorf("refused about %q, want %q", got, tt.rule)
			}
		})
	}
	// A directory that does not answer is no answer; people who are listed by
	// name need none.
	g := sre()
	g.err = errors.New("rate limited")
	p := parse(t, team, g)
	err := p.MayApprove(t.Context(), ask(approvals.Act, "slack:T1/UANY", "prod-1"), by("slack:T1/UADA"))
	if !errors.Is(err, approvals.ErrTryAgain) || !strings.Contains(err.Error(), "rate limited") {
		t.Errorf("error %v", err)
	}
	if err := p.MayApprove(t.Context(), ask(approvals.Observe, "slack:T1/UANY", "prod-2"), by("discord:G1/2")); err != nil {
		t.Error(err)
	}
	// Nothing connected is nobody.
	bare, _ := policy.Parse("x", []byte(team), policy.Options{Labels: nodes})
	if err := bare.MayApprove(t.Context(), ask(approvals.Act, "slack:T1/UANY", "prod-1"), by("slack:T1/UADA")); !errors.Is(err, approvals.ErrTryAgain) {
		t.Errorf("error %v", err)
	}
	bare, _ = policy.Parse("x", []byte(team), policy.Options{})
	if err := bare.MayApprove(t.Context(), ask(approvals.Observe, "slack:T1/UANY", "prod-2"), by("discord:G1/2")); ruleOf(err) != "node" {
		t.Errorf("error %v", err)
	}
}

func TestCompare(t *testing.T) {
	p := parse(t, team, sre())
	const same, different, unclear = approvals.Same, approvals.Different, approvals.Unclear
	for _, tt := range []struct {
		a, b string
		want approvals.Likeness
	}{
		{"slack:T1/UADA", "slack:T1/UADA", same},
		{"slack:T1/UADA", "discord:G1/1", same},
		{"slack:T1/UADA", "discord:G1/2", different},
		{"slack:T1/UADA", "discord:G1/3", different},
		{"slack:T1/UJOE", "slack:T1/UJOE", same},
		{"slack:T1/UJOE", "slack:T1/UTIM", different},
		{"slack:T1/UJOE", "discord:G1/7", unclear},
		{"slack:T1/UJOE", "discord:G1/1", different}, // ada has another account there
		{"slack:T1/UJOE", "discord:G1/3", unclear},   // nobody knows eve in Slack
		{"discord:G1/7", "discord:G1/3", different},
		{"discord:G1/7", "discord:G2/7", same}, // one account in two servers
		{"discord:G1/1", "discord:G2/1", same}, // also when the list has it for one of them
		{"discord:G1/7", "discord:G2/8", unclear},
		{"slack:T1/UJOE", "slack:T2/UJOE", unclear},
		{"slack:T1/UJOE", "", unclear},
		{"", "", unclear},
	} {
		for _, pair := range [][2]string{{tt.a, tt.b}, {tt.b, tt.a}} {
			// The names that people had make no difference.
			a, b := approvals.Person{ID: "x", Account: pair[0]}, approvals.Person{ID: "x", Account: pair[1]}
			if got := p.Compare(a, b); got != tt.want {
				t.Errorf("%s and %s: %v, want %v", pair[0], pair[1], got, tt.want)
			}
		}
	}
	if id, linked := p.Person("discord:G1/2"); id != "bob" || !linked {
		t.Errorf("person %s, %v", id, linked)
	}
	if id, linked := p.Person("discord:G1/7"); id != "discord:G1/7" || linked {
		t.Errorf("person %s, %v", id, linked)
	}
}

func TestBreakGlass(t *testing.T) {
	p := parse(t, team, sre())
	c := ask(approvals.Act, "slack:T1/UANY", "prod-1")
	r, err := p.BreakGlass(t.Context(), c, by("discord:G1/2"))
	if err != nil || r.MaxDuration != time.Minute || r.MaxEvents != 100 || r.Policy != p.Version() {
		t.Errorf("%+v (%v)", r, err)
	}
	for name, who := range map[string]string{"an approver": "discord:G1/3", "somebody": "slack:T1/UANY"} {
		if _, err := p.BreakGlass(t.Context(), c, by(who)); ruleOf(err) != "glass" {
			t.Errorf("%s: %v", name, err)
		}
	}
	bot := by("slack:T1/UADA")
	bot.Human = false
	if _, err := p.BreakGlass(t.Context(), c, bot); ruleOf(err) != "human" {
		t.Errorf("a bot: %v", err)
	}
	if _, err := p.BreakGlass(t.Context(), ask(approvals.Observe, "slack:T1/UADA", "prod-1"), by("slack:T1/UADA")); ruleOf(err) != "glass" {
		t.Errorf("a rule without: %v", err)
	}
	loud, err := p.Loud(t.Context(), c)
	if err != nil || !slices.Equal(loud, []string{"slack:T1/CSEC"}) {
		t.Errorf("%q (%v)", loud, err)
	}
	places, err := p.Ask(t.Context(), ask(approvals.Observe, "slack:T1/UADA", "prod-1", "prod-2", "dev-1"))
	if err != nil || !slices.Equal(places, []string{"slack:T1/CASK", "slack:T1/CWEB"}) {
		t.Errorf("%q (%v)", places, err)
	}
}

func TestMayRequest(t *testing.T) {
	text := strings.Replace(team, "rules:", "quotas: {requests_per_person_and_hour: 2, requests_per_place_and_hour: 3, runs_per_person: 1}\nrules:", 1)
	text = strings.Replace(text, "{anyone: true}\n    max_duration: 1h", "{groups: [sre]}\n    max_duration: 1h", 1)
	p := parse(t, text, sre())
	request := func(account, place, id string) string {
		who := by(account)
		who.Place = place
		return ruleOf(p.MayRequest(t.Context(), who, id))
	}
	for _, step := range []struct{ account, place, id, want string }{
		{"slack:T1/UADA", "slack:T1/C1", "1", ""},
		{"slack:T1/UADA", "slack:T1/C1", "1", ""}, // delivered twice
		{"discord:G1/1", "discord:G1/80", "2", ""},
		{"slack:T1/UADA", "slack:T1/C1", "3", "quota"}, // from whichever account
		{"slack:T1/UJOE", "slack:T1/C1", "4", ""},
		{"slack:T1/UTIM", "slack:T1/C1", "5", ""},
		{"discord:G1/3", "slack:T1/C1", "6", "quota"}, // of the channel
		{"discord:G1/3", "", "7", ""},
		{"slack:T1/UANY", "slack:T1/C2", "8", "place"}, // may ask for acting, in other channels
		{"slack:T1/UANY", "slack:T1/CINC", "9", ""},
		{"slack:T2/UADA", "slack:T2/C1", "10", "human"},
	} {
		if got := request(step.account, step.place, step.id); got != step.want {
			t.Errorf("request %s: refused about %q, want %q", step.id, got, step.want)
		}
	}
	// Runs.
	first, second := ask(approvals.Observe, "slack:T1/UADA", "dev-1"), ask(approvals.Observe, "discord:G1/1", "dev-1")
	second.ID = "d"
	if err := errors.Join(p.MayRun(t.Context(), first), p.MayRun(t.Context(), first)); err != nil {
		t.Error(err)
	}
	if err := p.MayRun(t.Context(), second); ruleOf(err) != "quota" || !strings.Contains(err.Error(), "1 run at a time") {
		t.Errorf("a second run: %v", err)
	}
	if err := errors.Join(p.RunEnded(t.Context(), first), p.MayRun(t.Context(), second)); err != nil {
		t.Error(err)
	}
	// Without anything that counts, quotas cannot be kept.
	bare, _ := policy.Parse("x", []byte(text), policy.Options{Labels: nodes, Groups: sre()})
	if err := bare.MayRequest(t.Context(), by("slack:T1/UADA"), "1"); err == nil {
		t.Error("nothing counts, and nothing is refused")
	}
	g := sre()
	g.err = errors.New("rate limited")
	if err := parse(t, strings.ReplaceAll(text, "{anyone: true}", "{groups: [sre]}"), g).MayRequest(t.Context(), by("discord:G1/7"), "1"); !errors.Is(err, approvals.ErrTryAgain) {
		t.Errorf("error %v", err)
	}
	if err := parse(t, "paused: no\n"+text, g).MayRequest(t.Context(), by("discord:G1/7"), "1"); ruleOf(err) != "paused" {
		t.Errorf("paused: %v", err)
	}
	// Stopping takes nothing but being one of us.
	if err := p.MayStop(by("slack:T1/UANY")); err != nil {
		t.Error(err)
	}
	if err := p.MayStop(by("slack:T2/UANY")); ruleOf(err) != "human" {
		t.Errorf("error %v", err)
	}
}

func TestExplain(t *testing.T) {
	p := parse(t, team, sre())
	for _, tt := range []struct {
		name    string
		q       policy.Question
		refused bool
		says    []string
	}{
		{name: "the whole", q: policy.Question{Tier: approvals.Act, Labels: map[string]string{"env": "prod"}, Requester: "slack:T1/UADA", Duration: time.Minute},
			says: []string{`the rule "acting" (line 11) applies`, "ada may ask", "2 different people must approve: each of them anybody in sre (sre: slack:T1/SSRE or discord:G1/90)",
				"the one who asks does not count", "they have 15m0s", "copies of the card go to slack:T1/CASK", "in an emergency ada or bob may approve alone", "it must be asked in slack:T1/CINC"}},
		{name: "too long", q: policy.Question{Tier: approvals.Act, Labels: map[string]string{"env": "prod"}, Duration: time.Hour, Events: 1000, Place: "slack:T1/CANY"}, refused: true,
			says: []string{"REFUSED: a run of 1h0m0s", "REFUSED: 1000 events", "REFUSED: it is asked in slack:T1/CANY"}},
		{name: "why not the others", q: policy.Question{Tier: approvals.Observe, Labels: map[string]string{"env": "prod"}, Requester: "discord:G1/7"},
			says: []string{`"acting" (line 11) does not apply: it is for the tiers act`, `"databases" (line 23) does not apply: it wants role=db, and the node has no label role`, "discord:G1/7 may ask if in discord:G1/90", "1 person must approve: bob or eve",
				"discord:G1/7 is in nobody's list of people"}},
		{name: "may not", q: policy.Question{Tier: approvals.Observe, Labels: map[string]string{"env": "prod", "role": "db"}, Requester: "eve"}, refused: true, says: []string{"REFUSED: eve may not ask; ada or slack:T1/UJOE may"}},
		{name: "nobody", q: policy.Question{Tier: approvals.Observe, Labels: map[string]string{}, Requester: "mallory"}, refused: true, says: []string{`"mallory" is neither`, "the one who asks may be among them"}},
		{name: "elsewhere", q: policy.Question{Tier: approvals.Observe, Labels: map[string]string{}, Requester: "slack:T2/U1"}, refused: true, says: []string{"slack:T2 is not among the tenants"}},
		{name: "no rule", q: policy.Question{Tier: approvals.Act, Labels: map[string]string{}}, refused: true, says: []string{"no rule allows the tier act"}},
		{name: "forbidden", q: policy.Question{Tier: approvals.Act, Labels: map[string]string{"env": "dev"}}, refused: true, says: []string{"it forbids this"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := p.Explain(tt.q)
			text := strings.Join(a.Lines, "\n")
			if a.Refused != tt.refused {
				t.Errorf("refused: %v", a.Refused)
			}
			for _, s := range tt.says {
				if !strings.Contains(text, s) {
					t.Errorf("%q is not in\n%s", s, text)
				}
			}
		})
	}
	if a := parse(t, "paused: migration\n"+team, sre()).Explain(policy.Question{Tier: approvals.Act}); !a.Refused || !strings.Contains(fmt.Sprint(a.Lines), "migration") {
		t.Errorf("%+v", a)
	}
}
