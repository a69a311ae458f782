package policy_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/approvals"
	"kgent/approvals/approvalstest"
	"kgent/approvals/audit"
	"kgent/approvals/policy"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/job"
)

// office is a desk under a policy file, as a bot has it.
type office struct {
	*approvals.Desk
	t      *testing.T
	file   *policy.File
	path   string
	groups *groups
	key    *approvals.Key
	log    *audit.Memory
	now    time.Time
	cand   approvals.Candidate
}

// The rule that attacks are made on: two of sre, for production.
const guarded = `
version: 1
tenants: [slack:T1, discord:G1]
people:
  ada: [slack:T1/UADA, discord:G1/1]
  bob: [slack:T1/UBOB, discord:G1/2]
  eve: [discord:G1/3]
rules:
  - tiers: [observe, observe-sensitive, act]
    nodes: env=prod
    quorum: 2
    approvers: {groups: [slack:T1/SSRE, discord:G1/90], people: [bob]}
    requesters: {anyone: true}
    max_duration: 2m
    max_events: 100
    expiry: 15m
    break_glass: {by: {people: [eve]}, max_duration: 1m, audit: [slack:T1/CSEC]}
`

func newOffice(t *testing.T, store approvals.Store) *office {
	t.Helper()
	f, path, _ := openFile(t, guarded)
	o := &office{t: t, file: f, path: path, log: &audit.Memory{}, now: noon}
	o.groups = sre()
	f, err := policy.Open(path, policy.Options{Groups: o.groups, Labels: nodes})
	if err != nil {
		t.Fatal(err)
	}
	o.file = f
	key, err := approvals.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o.key = key
	o.Desk = &approvals.Desk{Store: store, Policy: f, Signer: key, Audit: o.log, Now: func() time.Time { return o.now }, Random: rand.Reader}
	o.cand = approvals.Candidate{
		Proved:  true,
		Program: approvalstest.Compile(t, approvalstest.Observing), Nodes: []string{"prod-1"},
		Limits: job.Limits{Duration: time.Minute, EventsPerSecond: 10}, Tier: approvals.Observe, Requester: o.who("slack:T1/UADA"),
	}
	o.digest()
	return o
}

// who names somebody as a bot does: by the file's table.
func (o *office) who(account string) approvals.Person {
	p := by(account)
	p.ID, _ = o.file.Person(account)
	return p
}

func (o *office) digest() {
	o.t.Helper()
	d, err := job.DigestOf(o.cand.Program, o.cand.Nodes, o.cand.Limits)
	if err != nil {
		o.t.Fatal(err)
	}
	o.cand.Digest = d
}

func (o *office) open() string {
	o.t.Helper()
	c, err := o.Open(o.t.Context(), o.cand)
	if err != nil {
		o.t.Fatal(err)
	}
	return c.ID
}

func (o *office) vote(id, account string, choice approvals.Choice) error {
	_, err := o.Decide(o.t.Context(), id, approvals.Vote{By: o.who(account), Choice: choice, Reason: "because"})
	return err
}

// approves is an approval that must be refused about a rule, or taken ("").
func (o *office) approves(id, account, rule string) {
	o.t.Helper()
	err := o.vote(id, account, approvals.Approve)
	if got := ruleOf(err); got != rule {
		o.t.Errorf("%s approves: %v, want a refusal about %q", account, err, rule)
	}
	if e := o.log.Entries(); err != nil && e[len(e)-1].Kind != audit.Refusal {
		o.t.Errorf("recorded %+v", e[len(e)-1])
	}
}

func (o *office) is(id string, want approvals.State, approvalsCounted int) {
	o.t.Helper()
	c, err := o.Get(o.t.Context(), id)
	if err != nil || c.State != want || len(c.Approvals(false)) != approvalsCounted {
		o.t.Errorf("%s with %d approvals (%v), want %s with %d", c.State, len(c.Approvals(false)), err, want, approvalsCounted)
	}
}

func TestAttacks(t *testing.T) {
	for name, attack := range map[string]func(o *office){
		"self-approval": func(o *office) {
			id := o.open()
			o.approves(id, "slack:T1/UADA", "self")
			o.is(id, approvals.Pending, 0)
		},
		"self-approval through the other platform": func(o *office) {
			id := o.open()
			o.approves(id, "discord:G1/1", "self")
			o.is(id, approvals.Pending, 0)
		},
		"self-approval through an account that nobody has linked": func(o *office) {
			o.cand.Requester = o.who("slack:T1/UJOE") // may be discord:G1/7
			id := o.open()
			o.approves(id, "discord:G1/7", "identity")
			o.is(id, approvals.Pending, 0)
			// Of his own workspace they are told apart.
			o.approves(id, "slack:T1/UTIM", "")
			o.approves(id, "slack:T1/UADA", "")
			o.is(id, approvals.Approved, 2)
		},
		"two votes through accounts that nobody has linked": func(o *office) {
			id := o.open()
			o.approves(id, "slack:T1/UJOE", "")
			o.approves(id, "discord:G1/7", "identity")
			o.is(id, approvals.Pending, 1)
		},
		"two votes through linked accounts": func(o *office) {
			id := o.open()
			o.approves(id, "slack:T1/UBOB", "")
			o.approves(id, "discord:G1/2", "twice")
			o.is(id, approvals.Pending, 1)
		},
		"two votes under two names": func(o *office) {
			id := o.open()
			bob := o.who("slack:T1/UBOB")
			if _, err := o.Decide(o.t.Context(), id, approvals.Vote{By: bob, Choice: approvals.Approve}); err != nil {
				o.t.Fatal(err)
			}
			bob.ID = "robert"
			if _, err := o.Decide(o.t.Context(), id, approvals.Vote{By: bob, Choice: approvals.Approve}); ruleOf(err) != "twice" {
				o.t.Errorf("error %v", err)
			}
		},
		"a bot, a guest, another workspace": func(o *office) {
			id := o.open()
			for _, account := range []string{"slack:T2/UBOB", "discord:G2/2", "terminal:prod-1/bob", "", "bob", "slack:T1/"} {
				o.approves(id, account, "human")
			}
			bot := o.who("slack:T1/UBOB")
			bot.Human = false
			for _, choice := range []approvals.Choice{approvals.Approve, approvals.Deny, approvals.BreakGlass, approvals.Cancel} {
				if _, err := o.Decide(o.t.Context(), id, approvals.Vote{By: bot, Choice: choice, Reason: "x"}); ruleOf(err) != "human" {
					o.t.Errorf("a bot's %s: %v", choice, err)
				}
			}
			o.is(id, approvals.Pending, 0)
			o.cand.Requester = bot
			if _, err := o.Open(o.t.Context(), o.cand); ruleOf(err) != "human" {
				o.t.Errorf("a bot asks: %v", err)
			}
		},
		"the account of an approver, on a surface of the attacker's": func(o *office) {
			id := o.open()
			bob := o.who("slack:T1/UBOB")
			bob.Surface = "terminal"
			if _, err := o.Decide(o.t.Context(), id, approvals.Vote{By: bob, Choice: approvals.Approve}); ruleOf(err) != "human" {
				o.t.Errorf("error %v", err)
			}
		},
		"the name of an approver": func(o *office) {
			id := o.open()
			mallory := o.who("slack:T1/UMAL")
			mallory.ID = "bob"
			if _, err := o.Decide(o.t.Context(), id, approvals.Vote{By: mallory, Choice: approvals.Approve}); ruleOf(err) != "approver" {
				o.t.Errorf("error %v", err)
			}
			// Nor can a name take back what is another's.
			mallory.ID = "ada"
			if _, err := o.Decide(o.t.Context(), id, approvals.Vote{By: mallory, Choice: approvals.Cancel}); ruleOf(err) != "choice" {
				o.t.Errorf("error %v", err)
			}
		},
		"an old revision": func(o *office) {
			old := o.open()
			o.approves(old, "slack:T1/UBOB", "")
			o.cand.Revises, o.cand.Limits.Duration = old, 2*time.Minute
			o.digest()
			id := o.open()
			var stale *approvals.StaleError
			if err := o.vote(old, "slack:T1/UJOE", approvals.Approve); !errors.As(err, &stale) || stale.State != approvals.Superseded {
				o.t.Errorf("error %v", err)
			}
			o.is(id, approvals.Pending, 0)
		},
		"the author of an old revision": func(o *office) {
			old := o.open()
			o.cand.Requester, o.cand.Revises = o.who("slack:T1/UBOB"), old
			id := o.open()
			o.approves(id, "discord:G1/1", "self")
			o.approves(id, "discord:G1/2", "self")
		},
		"an empty group": func(o *office) {
			id := o.open()
			o.groups.members = nil
			o.approves(id, "slack:T1/UJOE", "approver")
			o.is(id, approvals.Pending, 0)
		},
		"a directory that does not answer": func(o *office) {
			id := o.open()
			o.groups.err = errors.New("rate limited")
			o.approves(id, "slack:T1/UJOE", "try again")
			o.groups.err = nil
			o.approves(id, "slack:T1/UJOE", "")
			o.groups.err = errors.New("rate limited")
			o.approves(id, "slack:T1/UBOB", "try again") // whether Joe still counts
			o.is(id, approvals.Pending, 1)
		},
		"a digest that was not shown": func(o *office) {
			o.cand.Digest[0]++
			if _, err := o.Open(o.t.Context(), o.cand); ruleOf(err) != "candidate" {
				o.t.Errorf("error %v", err)
			}
		},
		"expired between votes": func(o *office) {
			id := o.open()
			o.approves(id, "slack:T1/UBOB", "")
			o.now = o.now.Add(15 * time.Minute)
			var stale *approvals.StaleError
			if err := o.vote(id, "slack:T1/UJOE", approvals.Approve); !errors.As(err, &stale) || stale.State != approvals.Expired {
				o.t.Errorf("error %v", err)
			}
			if _, _, err := o.Grant(o.t.Context(), id); !errors.As(err, &stale) {
				o.t.Errorf("error %v", err)
			}
		},
		"accounts are linked between votes": func(o *office) {
			o.cand.Requester = o.who("slack:T1/UTIM")
			id := o.open()
			o.approves(id, "slack:T1/UJOE", "")
			write(o.t, o.path, strings.Replace(guarded, "eve: [discord:G1/3]", "eve: [discord:G1/3]\n  joe: [slack:T1/UJOE, discord:G1/7]\n  tim: [slack:T1/UTIM, discord:G1/8]", 1))
			o.groups.members["discord:G1/90"] = append(o.groups.members["discord:G1/90"], "discord:G1/8")
			o.approves(id, "discord:G1/7", "twice")
			o.approves(id, "discord:G1/8", "self")
			o.is(id, approvals.Pending, 1)
			o.approves(id, "slack:T1/UBOB", "")
			o.is(id, approvals.Approved, 2)
		},
		"accounts are linked after both have voted": func(o *office) {
			id := o.open()
			o.approves(id, "slack:T1/UJOE", "")
			o.approves(id, "slack:T1/UTIM", "")
			write(o.t, o.path, strings.Replace(guarded, "eve: [discord:G1/3]", "eve: [discord:G1/3]\n  joe: [slack:T1/UJOE, slack:T1/UTIM]", 1))
			if _, _, err := o.Grant(o.t.Context(), id); ruleOf(err) != "approver" {
				o.t.Errorf("error %v", err)
			}
		},
		"the policy is made stricter between votes": func(o *office) {
			id := o.open()
			o.approves(id, "slack:T1/UBOB", "")
			write(o.t, o.path, strings.Replace(guarded, "quorum: 2", "quorum: 3", 1))
			o.approves(id, "slack:T1/UJOE", "")
			o.is(id, approvals.Pending, 2)
			write(o.t, o.path, strings.Replace(guarded, "max_duration: 2m", "max_duration: 30s", 1))
			o.approves(id, "slack:T1/UTIM", "duration")
			write(o.t, o.path, "paused: migration\n"+guarded)
			o.approves(id, "slack:T1/UTIM", "paused")
			if err := o.vote(id, "slack:T1/UTIM", approvals.Deny); err != nil {
				o.t.Errorf("saying no while paused: %v", err)
			}
		},
		"the policy breaks between votes": func(o *office) {
			id := o.open()
			o.approves(id, "slack:T1/UBOB", "")
			write(o.t, o.path, guarded+"nonsense: 1\n")
			o.approves(id, "slack:T1/UJOE", "policy")
			o.is(id, approvals.Pending, 1)
			if err := o.vote(id, "slack:T1/UADA", approvals.Cancel); err != nil {
				o.t.Errorf("taking back: %v", err)
			}
		},
		"an approver leaves before the grant": func(o *office) {
			id := o.open()
			o.approves(id, "slack:T1/UJOE", "")
			o.approves(id, "slack:T1/UBOB", "")
			o.is(id, approvals.Approved, 2)
			o.groups.members["slack:T1/SSRE"] = nil
			if _, _, err := o.Grant(o.t.Context(), id); ruleOf(err) != "approver" {
				o.t.Errorf("error %v", err)
			}
		},
		"glass broken by an approver": func(o *office) {
			id := o.open()
			if err := o.vote(id, "slack:T1/UBOB", approvals.BreakGlass); ruleOf(err) != "glass" {
				o.t.Errorf("error %v", err)
			}
			if err := o.vote(id, "discord:G1/3", approvals.BreakGlass); err != nil {
				o.t.Errorf("eve: %v", err)
			}
			_, g, err := o.Grant(o.t.Context(), id)
			if err != nil || !strings.HasSuffix(g.Approval.Policy, " (break-glass)") || g.Approval.Approvers[0].Account != "discord:G1/3" {
				o.t.Errorf("%+v (%v)", g, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { attack(newOffice(t, &approvals.Memory{})) })
	}
}

// Whoever can write to the bus can say of a node what labels it has, and of
// each look-up something else. The node has its own, and takes only what was
// judged by them.
func TestForgedLabels(t *testing.T) {
	const rules = `
version: 1
tenants: [slack:T1]
rules:
  - tiers: [observe]
    nodes: env=prod
    quorum: 2
    approvers: {people: [slack:T1/UBOB, slack:T1/UJOE]}
    requesters: {anyone: true}
    max_duration: 2m
    max_events: 100
    expiry: 15m
  - tiers: [observe]
    quorum: 1
    approvers: {anyone: true}
    requesters: {anyone: true}
    max_duration: 2m
    max_events: 100
    expiry: 15m
`
	prod := map[string]string{"env": "prod", "role": "db"}
	for name, tt := range map[string]struct {
		said func(n int) map[string]string // at the n-th look-up
		runs bool
	}{
		"the truth":           {func(int) map[string]string { return prod }, true},
		"another environment": {func(int) map[string]string { return map[string]string{"env": "dev", "role": "db"} }, false},
		"no labels":           {func(int) map[string]string { return nil }, false},
		"a lie at every second look-up": {func(n int) map[string]string {
			if n%2 == 0 {
				return nil
			}
			return prod
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, &approvals.Memory{})
			write(t, o.path, rules)
			looked := 0
			f, err := policy.Open(o.path, policy.Options{Groups: o.groups, Labels: func(_ context.Context, nodes []string) (map[string]map[string]string, error) {
				looked++
				said := map[string]map[string]string{}
				for _, n := range nodes {
					said[n] = tt.said(looked)
				}
				return said, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			o.file, o.Policy = f, f
			id := o.open()
			for _, who := range []string{"slack:T1/UMAL", "slack:T1/UBOB", "slack:T1/UJOE"} {
				err := o.vote(id, who, approvals.Approve)
				t.Logf("%s: %v", who, err)
			}
			envelope, g, err := o.Grant(t.Context(), id)
			if err != nil {
				if tt.runs {
					t.Fatal(err)
				}
				return
			}
			counted := len(g.Approval.Approvers)
			v := &job.Verifier{Node: "prod-1", Labels: prod, Keys: []ed25519.PublicKey{o.key.Public()}, Replays: claims{}, Now: func() time.Time { return o.now }}
			if _, _, err = v.Open(envelope); (err == nil) != tt.runs || err == nil && counted < 2 {
				t.Errorf("the node: %v, %d approvers", err, counted)
			}
		})
	}
}

// claims takes every grant.
type claims struct{}

func (claims) Claim(string, time.Time) (bool, error) { return true, nil }

// Random people answer at once, also in ways they may not: nothing is granted
// but what enough people have agreed to who may, and who are certainly
// different and none of those who asked.
func TestNeverGrantedWithoutQuorum(t *testing.T) {
	client := rdbtest.Start(t, rdbtest.Unix()).Client()
	for name, open := range map[string]func() (approvals.Store, error){
		"Memory": func() (approvals.Store, error) { return &approvals.Memory{}, nil },
		"Redis":  func() (approvals.Store, error) { return approvals.NewRedis(client, make([]byte, 32)) },
	} {
		t.Run(name, func(t *testing.T) {
			store, err := open()
			if err != nil {
				t.Fatal(err)
			}
			o := newOffice(t, store)
			granted := 0
			for seed := range uint64(40) {
				if o.storm(seed) {
					granted++
				}
				if t.Failed() {
					t.Fatalf("with seed %d", seed)
				}
			}
			if granted == 0 || granted == 40 {
				t.Errorf("%d of 40 were granted: the test says nothing", granted)
			}
		})
	}
}

var (
	stormAccounts = []string{"slack:T1/UADA", "discord:G1/1", "slack:T1/UBOB", "discord:G1/2", "discord:G1/3", "slack:T1/UJOE", "slack:T1/UTIM", "discord:G1/7", "slack:T1/UANY", "slack:T2/UBOB"}
	stormChoices  = []approvals.Choice{approvals.Approve, approvals.Approve, approvals.Approve, approvals.Approve, approvals.Approve, approvals.Approve, approvals.Approve, approvals.Deny, approvals.Cancel, "yes"}
)

// storm opens a request, sometimes revises it, and lets many answer.
func (o *office) storm(seed uint64) bool {
	random := mathrand.New(mathrand.NewPCG(seed, 1))
	pick := func() string { return stormAccounts[random.IntN(len(stormAccounts)-1)] }
	o.cand.Requester, o.cand.Revises = o.who(pick()), ""
	id := o.open()
	if random.IntN(2) == 0 {
		o.cand.Requester, o.cand.Revises = o.who(pick()), id
		id = o.open()
	}
	var wg sync.WaitGroup
	start := make(chan struct{})
	const voters = 14
	ends, grants := make([]approvals.State, voters), make([]bool, voters)
	for i := range voters {
		account, choice := stormAccounts[random.IntN(len(stormAccounts))], stormChoices[random.IntN(len(stormChoices))]
		wg.Go(func() {
			<-start
			v := approvals.Vote{By: o.who(account), Choice: choice}
			v.By.ID = fmt.Sprint("name ", i) // a name proves nothing
			if c, err := o.Decide(o.t.Context(), id, v); err == nil && c.State != approvals.Pending {
				ends[i] = c.State
			}
			_, _, err := o.Grant(o.t.Context(), id)
			grants[i] = err == nil
		})
	}
	close(start)
	wg.Wait()
	c, err := o.Get(o.t.Context(), id)
	if err != nil {
		o.t.Fatal(err)
	}
	o.checkEnds(c, ends)
	granted := 0
	for _, ok := range grants {
		if ok {
			granted++
		}
	}
	if c.Grant == nil {
		if granted != 0 {
			o.t.Error("granted, and not stored")
		}
		return false
	}
	o.check(c, granted)
	return true
}

// checkEnds: one answer at most ended the case, apart from an approval that
// was taken back before the grant; and it stayed as it ended.
func (o *office) checkEnds(c approvals.Case, ends []approvals.State) {
	seen := map[approvals.State]int{}
	for _, s := range ends {
		seen[s]++
	}
	delete(seen, "")
	last := c.State
	if last == approvals.Cancelled && seen[approvals.Approved] == 1 {
		seen[approvals.Approved] = 0
	}
	for s, n := range seen {
		if n > 0 && (n != 1 || s != last) {
			o.t.Errorf("%d answers made it %s, and it is %s: %v", n, s, last, seen)
		}
	}
	if last != approvals.Pending && seen[last] != 1 {
		o.t.Errorf("it is %s, and nobody made it so: %v", last, seen)
	}
}

// people behind the accounts, told by hand. What is not here is unlinked.
var stormPeople = map[string]string{"slack:T1/UADA": "ada", "discord:G1/1": "ada", "slack:T1/UBOB": "bob", "discord:G1/2": "bob", "discord:G1/3": "eve"}

// check holds a granted case against the rules in words of its own.
func (o *office) check(c approvals.Case, grants int) {
	t := o.t
	if grants != 1 || c.State != approvals.Approved {
		t.Errorf("granted %d times, state %s", grants, c.State)
	}
	if c.Grant.Digest != o.cand.Digest.String() || c.Digest != c.Grant.Digest {
		t.Error("another digest was granted")
	}
	maySay := []string{"slack:T1/UADA", "discord:G1/1", "slack:T1/UJOE", "slack:T1/UTIM", "slack:T1/UBOB", "discord:G1/2", "discord:G1/3", "discord:G1/7"}
	var accounts []string
	for _, a := range c.Grant.Approval.Approvers {
		accounts = append(accounts, a.Account)
		if !slices.Contains(maySay, a.Account) {
			t.Errorf("%s may not approve", a.Account)
		}
	}
	if len(accounts) < 2 {
		t.Errorf("approved by %q", accounts)
	}
	for i, a := range accounts {
		for _, b := range accounts[i+1:] {
			if !apart(a, b) {
				t.Errorf("%s and %s may be one person", a, b)
			}
		}
		for _, author := range c.Authors {
			if !apart(a, author.Account) {
				t.Errorf("%s may have asked for it as %s", a, author.Account)
			}
		}
	}
}

// apart: two listed people, two accounts of one workspace that are not one
// person's, or an unlisted account beside somebody listed there.
func apart(a, b string) bool {
	p, q := stormPeople[a], stormPeople[b]
	platform := func(s string) string { return s[:strings.Index(s, "/")] }
	listedAt := func(person, where string) bool {
		for account, who := range stormPeople {
			if who == person && platform(account) == where {
				return true
			}
		}
		return false
	}
	switch {
	case p != "" && q != "":
		return p != q
	case a == b:
		return false
	case platform(a) == platform(b):
		return true
	}
	return p != "" && listedAt(p, platform(b)) || q != "" && listedAt(q, platform(a))
}
