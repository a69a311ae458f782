package approvals_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"kgent/approvals"
	"kgent/approvals/approvalstest"
	"kgent/approvals/audit"
	"kgent/executor/job"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// team is a policy whose members and rules a test changes as it likes.
type team struct {
	ruling   approvals.Ruling
	members  []string
	judgeErr error
	askErr   error
	breakers []string
	unclear  [2]string // IDs that may be one person's
}

func (p *team) BreakGlass(_ context.Context, _ approvals.Case, who approvals.Person) (approvals.Ruling, error) {
	if !slices.Contains(p.breakers, who.ID) {
		return approvals.Ruling{}, &approvals.RefusedError{Rule: approvals.RuleGlass, Reason: "you may not break the glass"}
	}
	return p.ruling, nil
}

func (p *team) Compare(a, b approvals.Person) approvals.Likeness {
	switch {
	case a.ID == b.ID:
		return approvals.Same
	case slices.Contains(p.unclear[:], a.ID) && slices.Contains(p.unclear[:], b.ID):
		return approvals.Unclear
	}
	return approvals.Different
}

func (p *team) Judge(context.Context, approvals.Case) (approvals.Ruling, error) {
	return p.ruling, p.judgeErr
}

func (p *team) MayApprove(_ context.Context, _ approvals.Case, who approvals.Person) error {
	if p.askErr != nil {
		return p.askErr
	}
	if !slices.Contains(p.members, who.ID) {
		return &approvals.RefusedError{Rule: approvals.RuleApprover, Reason: "you are not of the team"}
	}
	return nil
}

// office is a desk with everything that a test may want to turn.
type office struct {
	*approvals.Desk
	t      *testing.T
	policy *team
	store  *failing
	log    *audit.Memory
	key    *approvals.Key
	now    time.Time
	cand   approvals.Candidate
}

// failing is a store that fails on demand.
type failing struct {
	approvals.Memory
	mu        sync.Mutex
	swapErr   error
	conflicts int    // as many swaps fail as if somebody had been faster
	before    func() // is called once, before the next swap
	after     func() // is called after each swap that was taken
}

func (f *failing) Swap(ctx context.Context, c approvals.Case) error {
	f.mu.Lock()
	before, err := f.before, f.swapErr
	f.before = nil
	if f.conflicts > 0 {
		f.conflicts--
		err = approvals.ErrConflict
	}
	f.mu.Unlock()
	if before != nil {
		before()
	}
	if err != nil {
		return err
	}
	if err := f.Memory.Swap(ctx, c); err != nil {
		return err
	}
	if f.after != nil {
		f.after()
	}
	return nil
}

// deaf is a log that takes nothing.
type deaf struct{}

func (deaf) Append(context.Context, audit.Entry) error { return errors.New("disk full") }

func person(id string) approvals.Person {
	return approvals.Person{ID: id, Surface: "chat", Message: "m-" + id, Human: true}
}

func newOffice(t *testing.T) *office {
	t.Helper()
	key, err := approvals.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, store: &failing{}, log: &audit.Memory{}, key: key, now: noon, policy: &team{
		ruling:  approvals.Ruling{Policy: "team@1", Quorum: 2, Approvers: "the team", MaxDuration: time.Hour, MaxEvents: 100, Expiry: 30 * time.Minute},
		members: []string{"ada", "bob", "eve"},
	}}
	o.Desk = &approvals.Desk{Store: o.store, Policy: o.policy, Signer: key, Audit: o.log, Now: func() time.Time { return o.now }, Random: rand.Reader}
	o.cand = approvals.Candidate{
		Proved:  true,
		Program: approvalstest.Compile(t, approvalstest.Observing), Nodes: []string{"db-4", "db-3"},
		Limits: job.Limits{Duration: time.Minute, EventsPerSecond: 10}, Tier: approvals.Observe, Requester: person("ada"),
	}
	o.digest(&o.cand)
	return o
}

func (o *office) digest(c *approvals.Candidate) {
	o.t.Helper()
	d, err := job.DigestOf(c.Program, c.Nodes, c.Limits)
	if err != nil {
		o.t.Fatal(err)
	}
	c.Digest = d
}

func (o *office) open() approvals.Case {
	o.t.Helper()
	c, err := o.Open(o.t.Context(), o.cand)
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

func (o *office) vote(id, who string, choice approvals.Choice) (approvals.Case, error) {
	return o.Decide(o.t.Context(), id, approvals.Vote{By: person(who), Choice: choice, Reason: "reason of " + who})
}

func (o *office) must(id, who string, choice approvals.Choice, want approvals.State) {
	o.t.Helper()
	c, err := o.vote(id, who, choice)
	if err != nil || c.State != want {
		o.t.Fatalf("%s of %s: %s (%v), want %s", choice, who, c.State, err, want)
	}
	o.is(id, want)
}

// is checks what is stored.
func (o *office) is(id string, want approvals.State) approvals.Case {
	o.t.Helper()
	c, err := o.Get(o.t.Context(), id)
	if err != nil || c.State != want {
		o.t.Fatalf("stored as %s (%v), want %s", c.State, err, want)
	}
	return c
}

func (o *office) last() audit.Entry {
	o.t.Helper()
	entries := o.log.Entries()
	if len(entries) == 0 {
		o.t.Fatal("nothing was recorded")
	}
	return entries[len(entries)-1]
}

func wantRefused(t *testing.T, err error, rule approvals.Rule) {
	t.Helper()
	var refused *approvals.RefusedError
	if !errors.As(err, &refused) || refused.Rule != rule || refused.Reason == "" {
		t.Errorf("error %v (%+v), want one about %s", err, refused, rule)
	}
}

func wantStale(t *testing.T, err error, state approvals.State) {
	t.Helper()
	var stale *approvals.StaleError
	if !errors.As(err, &stale) || stale.State != state || stale.At.IsZero() {
		t.Errorf("error %v (%+v), want one about %s", err, stale, state)
	}
}

func TestOpen(t *testing.T) {
	o := newOffice(t)
	o.cand.Why = []string{"it was not proved"}
	o.cand.Tier = approvals.ObserveSensitive // raised by the caller
	c := o.open()
	if len(c.ID) != 32 || c.Revision != 1 || c.State != approvals.Pending || c.Digest != o.cand.Digest.String() {
		t.Errorf("case %+v", c)
	}
	if c.Tier != approvals.ObserveSensitive || !slices.Contains(c.Why, "it was not proved") {
		t.Errorf("tier %s: %q", c.Tier, c.Why)
	}
	if !slices.Equal(c.Nodes, []string{"db-3", "db-4"}) || !slices.Equal(c.Authors, []approvals.Person{person("ada")}) {
		t.Errorf("nodes %q, authors %v", c.Nodes, c.Authors)
	}
	if !c.Opened.Equal(noon) || !c.Expires.Equal(noon.Add(30*time.Minute)) || c.Ruling.Quorum != 2 {
		t.Errorf("times %v to %v, ruling %+v", c.Opened, c.Expires, c.Ruling)
	}
	if e := o.last(); e.Kind != audit.Request || e.Case != c.ID || e.Person != "ada" || e.Digest != c.Digest || !strings.Contains(string(e.Data), c.Digest) {
		t.Errorf("recorded %+v", e)
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*office)
		rule   approvals.Rule
	}{
		{"nobody", func(o *office) { o.cand.Requester.ID = "" }, approvals.RuleHuman},
		{"a bot", func(o *office) { o.cand.Requester.Human = false }, approvals.RuleHuman},
		{"no node", func(o *office) { o.cand.Nodes = nil; o.digest(&o.cand) }, approvals.RuleNode},
		{"a node without name", func(o *office) { o.cand.Nodes = []string{"a", ""}; o.digest(&o.cand) }, approvals.RuleNode},
		{"a node twice", func(o *office) { o.cand.Nodes = []string{"a", "b", "a"}; o.digest(&o.cand) }, approvals.RuleNode},
		{"too many nodes", func(o *office) { o.cand.Nodes = strings.Split(strings.Repeat("n,", 1001), ","); o.digest(&o.cand) }, approvals.RuleNode},
		{"no duration", func(o *office) { o.cand.Limits.Duration = 0; o.digest(&o.cand) }, approvals.RuleDuration},
		{"negative duration", func(o *office) { o.cand.Limits.Duration = -1; o.digest(&o.cand) }, approvals.RuleDuration},
		{"too long", func(o *office) { o.cand.Limits.Duration = time.Hour + 1; o.digest(&o.cand) }, approvals.RuleDuration},
		{"no rate", func(o *office) { o.cand.Limits.EventsPerSecond = 0; o.digest(&o.cand) }, approvals.RuleEvents},
		{"negative rate", func(o *office) { o.cand.Limits.EventsPerSecond = -5; o.digest(&o.cand) }, approvals.RuleEvents},
		{"too high a rate", func(o *office) { o.cand.Limits.EventsPerSecond = 101; o.digest(&o.cand) }, approvals.RuleEvents},
		{"another digest", func(o *office) { o.cand.Digest[3]++ }, approvals.RuleCandidate},
		{"nodes that were not shown", func(o *office) { o.cand.Nodes = append(o.cand.Nodes, "db-5") }, approvals.RuleCandidate},
		{"limits that were not shown", func(o *office) { o.cand.Limits.Duration++ }, approvals.RuleCandidate},
		{"no program", func(o *office) { o.cand.Program.ELF = []byte("x"); o.digest(&o.cand) }, approvals.RuleCandidate},
		{"shown as harmless", func(o *office) {
			o.cand.Program = approvalstest.Compile(o.t, approvalstest.Acting)
			o.digest(&o.cand)
		}, approvals.RuleCandidate},
		{"no tier", func(o *office) { o.cand.Tier = 0 }, approvals.RuleCandidate},
		{"a tier above all", func(o *office) { o.cand.Tier = approvals.Act + 1 }, approvals.RuleCandidate},
		{"a node's endless name", func(o *office) { o.cand.Nodes = []string{strings.Repeat("n", 254)}; o.digest(&o.cand) }, approvals.RuleNode},
		{"the policy says no", func(o *office) {
			o.policy.judgeErr = &approvals.RefusedError{Rule: approvals.RuleTier, Reason: "not here"}
		}, approvals.RuleTier},
		{"a policy of nobody", func(o *office) { o.policy.ruling.Quorum = 0 }, approvals.RuleNobody},
		{"a policy of less than nobody", func(o *office) { o.policy.ruling.Quorum = -1 }, approvals.RuleNobody},
		{"a policy without time", func(o *office) { o.policy.ruling.Expiry = 0 }, approvals.RuleNobody},
		{"an empty policy", func(o *office) { o.policy.ruling = approvals.Ruling{} }, approvals.RuleNobody},
		{"a policy without duration", func(o *office) { o.policy.ruling.MaxDuration = 0 }, approvals.RuleDuration},
		{"a policy without events", func(o *office) { o.policy.ruling.MaxEvents = 0 }, approvals.RuleEvents},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			o.t = t
			tt.change(o)
			c, err := o.Open(t.Context(), o.cand)
			wantRefused(t, err, tt.rule)
			if c.ID != "" {
				t.Errorf("case %+v", c)
			}
			if e := o.last(); e.Kind != audit.Refusal || !strings.Contains(e.Detail, strings.TrimPrefix(err.Error(), "refused: ")) {
				t.Errorf("recorded %+v", e)
			}
			if list, err := o.store.Undecided(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("cases %v (%v)", list, err)
			}
		})
	}
}

// What cannot be looked up, made or recorded is an error, not a case.
func TestOpenFails(t *testing.T) {
	for name, change := range map[string]func(*office){
		"policy out of reach": func(o *office) { o.policy.judgeErr = errors.New("no answer") },
		"no randomness":       func(o *office) { o.Random = iotest.ErrReader(errors.New("empty")) },
		"no log":              func(o *office) { o.Audit = deaf{} },
		"unknown revision":    func(o *office) { o.cand.Revises = "gone" },
	} {
		o := newOffice(t)
		change(o)
		c, err := o.Open(t.Context(), o.cand)
		var refused *approvals.RefusedError
		if err == nil || errors.As(err, &refused) || c.ID != "" {
			t.Errorf("%s: case %q, error %v", name, c.ID, err)
		}
	}
}

func TestQuorum(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	if got := o.is(c.ID, approvals.Pending).Approvals(false); len(got) != 1 || got[0].By.ID != "bob" || got[0].Reason != "reason of bob" {
		t.Errorf("approvals %+v", got)
	}
	_, err := o.vote(c.ID, "bob", approvals.Approve)
	wantRefused(t, err, approvals.RuleTwice)
	_, err = o.vote(c.ID, "ada", approvals.Approve)
	wantRefused(t, err, approvals.RuleSelf)
	_, err = o.vote(c.ID, "mallory", approvals.Approve)
	wantRefused(t, err, approvals.RuleApprover)
	_, err = o.Decide(t.Context(), c.ID, approvals.Vote{By: approvals.Person{ID: "eve", Surface: "chat"}, Choice: approvals.Approve})
	wantRefused(t, err, approvals.RuleHuman)
	_, err = o.vote(c.ID, "eve", "yes")
	wantRefused(t, err, approvals.RuleChoice)
	_, err = o.vote(c.ID, "eve", "")
	wantRefused(t, err, approvals.RuleChoice)
	_, _, err = o.Grant(t.Context(), c.ID)
	if !errors.Is(err, approvals.ErrPending) {
		t.Errorf("granted too early: %v", err)
	}
	if got := o.is(c.ID, approvals.Pending); len(got.Votes) != 1 {
		t.Errorf("votes %+v", got.Votes)
	}
	o.now = o.now.Add(time.Minute)
	o.must(c.ID, "eve", approvals.Approve, approvals.Approved)
	got := o.is(c.ID, approvals.Approved)
	if got.By != "eve" || !got.Decided.Equal(o.now) {
		t.Errorf("decided by %s at %v", got.By, got.Decided)
	}
	for _, choice := range []approvals.Choice{approvals.Approve, approvals.Deny} {
		_, err = o.vote(c.ID, "bob", choice)
		wantStale(t, err, approvals.Approved)
		if want := "too late: this is already approved by eve (2026-03-04 12:01:00 UTC)"; !strings.HasPrefix(err.Error(), want) {
			t.Errorf("answer %q, want %q", err, want)
		}
	}
	if e := o.last(); e.Kind != audit.Refusal || e.Person != "bob" || e.Case != c.ID {
		t.Errorf("recorded %+v", e)
	}
}

func TestDenyAndCancel(t *testing.T) {
	o := newOffice(t)
	denied := o.open()
	_, err := o.vote(denied.ID, "mallory", approvals.Deny)
	wantRefused(t, err, approvals.RuleApprover)
	o.must(denied.ID, "bob", approvals.Approve, approvals.Pending)
	o.must(denied.ID, "eve", approvals.Deny, approvals.Denied)
	if got := o.is(denied.ID, approvals.Denied); got.Reason != "reason of eve" || got.By != "eve" {
		t.Errorf("denied by %s: %q", got.By, got.Reason)
	}
	_, err = o.vote(denied.ID, "bob", approvals.Approve)
	wantStale(t, err, approvals.Denied)
	_, _, err = o.Grant(t.Context(), denied.ID)
	wantStale(t, err, approvals.Denied)

	// Who approved can still say no while others are waited for.
	second := o.open()
	o.must(second.ID, "bob", approvals.Approve, approvals.Pending)
	o.must(second.ID, "bob", approvals.Deny, approvals.Denied)

	cancelled := o.open()
	_, err = o.vote(cancelled.ID, "bob", approvals.Cancel)
	wantRefused(t, err, approvals.RuleChoice)
	o.must(cancelled.ID, "ada", approvals.Cancel, approvals.Cancelled)
	_, err = o.vote(cancelled.ID, "ada", approvals.Cancel)
	wantStale(t, err, approvals.Cancelled)

	// Also after the approval, until the grant.
	approved := o.open()
	o.must(approved.ID, "bob", approvals.Approve, approvals.Pending)
	o.must(approved.ID, "eve", approvals.Approve, approvals.Approved)
	o.must(approved.ID, "ada", approvals.Cancel, approvals.Cancelled)
	_, _, err = o.Grant(t.Context(), approved.ID)
	wantStale(t, err, approvals.Cancelled)

	if _, err := o.vote("unknown", "bob", approvals.Approve); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("an unknown case: %v", err)
	}
}

// A requester must not be able to take a case back when it runs: that is
// stopping, and goes another way.
func TestCancelGranted(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	o.must(c.ID, "eve", approvals.Approve, approvals.Approved)
	if _, _, err := o.Grant(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	_, err := o.vote(c.ID, "ada", approvals.Cancel)
	wantStale(t, err, approvals.Approved)
}

func TestSelfApproval(t *testing.T) {
	o := newOffice(t)
	o.policy.ruling.Self, o.policy.ruling.Quorum = true, 1
	c := o.open()
	o.must(c.ID, "ada", approvals.Approve, approvals.Approved)

	// Self-approval that is forbidden between vote and count does not count.
	o.policy.ruling.Quorum = 2
	c = o.open()
	o.must(c.ID, "ada", approvals.Approve, approvals.Pending)
	o.policy.ruling.Self = false
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	o.must(c.ID, "eve", approvals.Approve, approvals.Approved)
}

func TestExpiry(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	o.now = c.Expires.Add(-1)
	if swept, err := o.Sweep(t.Context()); err != nil || len(swept) != 0 {
		t.Errorf("swept %v (%v) before its time", swept, err)
	}
	o.now = c.Expires
	_, err := o.vote(c.ID, "eve", approvals.Approve)
	wantStale(t, err, approvals.Expired)
	if got := o.is(c.ID, approvals.Expired); got.By != "" || got.Reason != "nobody decided in time" {
		t.Errorf("expired by %q: %q", got.By, got.Reason)
	}
	if swept, err := o.Sweep(t.Context()); err != nil || len(swept) != 0 {
		t.Errorf("swept again: %v (%v)", swept, err)
	}

	// The sweeper finds what nobody touches.
	c = o.open()
	o.now = c.Expires.Add(time.Hour)
	swept, err := o.Sweep(t.Context())
	if err != nil || len(swept) != 1 || swept[0].ID != c.ID || swept[0].State != approvals.Expired {
		t.Errorf("swept %+v (%v)", swept, err)
	}
	if e := o.last(); e.Kind != audit.State || e.Case != c.ID || !strings.Contains(e.Detail, "expired") {
		t.Errorf("recorded %+v", e)
	}
	_, err = o.Undeliverable(t.Context(), c.ID, "x")
	wantStale(t, err, approvals.Expired)
}

// An approval is for now: it cannot be taken up much later.
func TestApprovalExpires(t *testing.T) {
	for _, sweep := range []bool{false, true} {
		o := newOffice(t)
		o.policy.ruling.Quorum = 1
		c := o.open()
		o.must(c.ID, "bob", approvals.Approve, approvals.Approved)
		o.now = o.now.Add(10 * time.Minute)
		if sweep {
			if swept, err := o.Sweep(t.Context()); err != nil || len(swept) != 1 {
				t.Errorf("swept %v (%v)", swept, err)
			}
		}
		_, _, err := o.Grant(t.Context(), c.ID)
		wantStale(t, err, approvals.Expired)
		o.is(c.ID, approvals.Expired)
	}
}

func TestUndeliverable(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	got, err := o.Undeliverable(t.Context(), c.ID, "channel archived\n")
	if err != nil || got.State != approvals.Undeliverable || got.Reason != "channel archived " {
		t.Errorf("%+v (%v)", got, err)
	}
	_, err = o.vote(c.ID, "bob", approvals.Approve)
	wantStale(t, err, approvals.Undeliverable)
	if _, err := o.Undeliverable(t.Context(), "unknown", ""); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestRevision(t *testing.T) {
	o := newOffice(t)
	first := o.open()
	o.must(first.ID, "bob", approvals.Approve, approvals.Pending)

	// Bob changes Ada's request: now it is his, and he no longer counts; nor
	// does she.
	o.cand.Limits.Duration = 2 * time.Minute
	o.cand.Requester, o.cand.Revises = person("bob"), first.ID
	o.digest(&o.cand)
	second := o.open()
	if second.Revision != 2 || second.Revises != first.ID || len(second.Votes) != 0 || second.Digest == first.Digest {
		t.Errorf("second revision %+v", second)
	}
	o.is(first.ID, approvals.Superseded)
	_, err := o.vote(first.ID, "eve", approvals.Approve)
	wantStale(t, err, approvals.Superseded)
	for _, who := range []string{"ada", "bob"} {
		_, err = o.vote(second.ID, who, approvals.Approve)
		wantRefused(t, err, approvals.RuleSelf)
	}

	// The old one can be revised by one successor only.
	_, err = o.Open(t.Context(), o.cand)
	wantStale(t, err, approvals.Superseded)

	// A revision that is refused changes nothing: else whoever may not ask
	// could take away what others asked.
	o.cand.Revises = second.ID
	o.policy.ruling.MaxDuration = time.Second
	_, err = o.Open(t.Context(), o.cand)
	wantRefused(t, err, approvals.RuleDuration)
	o.is(second.ID, approvals.Pending)
	o.policy.ruling.MaxDuration = time.Hour

	// What has come to an end stays as it ended, and can be asked again.
	o.cand.Revises = ""
	third := o.open()
	o.must(third.ID, "eve", approvals.Deny, approvals.Denied)
	o.cand.Revises = third.ID
	if fourth := o.open(); fourth.Revision != 2 {
		t.Errorf("revision %d", fourth.Revision)
	}
	o.is(third.ID, approvals.Denied)

	// An approved case that does not run yet is superseded; one that was
	// granted is not undone.
	o.policy.ruling.Quorum = 1
	o.cand.Revises = ""
	fifth := o.open()
	o.must(fifth.ID, "eve", approvals.Approve, approvals.Approved)
	o.cand.Revises = fifth.ID
	sixth := o.open()
	o.is(fifth.ID, approvals.Superseded)
	_, _, err = o.Grant(t.Context(), fifth.ID)
	wantStale(t, err, approvals.Superseded)
	o.must(sixth.ID, "eve", approvals.Approve, approvals.Approved)
	if _, _, err := o.Grant(t.Context(), sixth.ID); err != nil {
		t.Fatal(err)
	}
	o.cand.Revises = sixth.ID
	o.open()
	o.is(sixth.ID, approvals.Approved)
}

// A revision comes in while the last vote is being stored: the vote loses.
func TestRevisionDuringVote(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	o.store.before = func() {
		o.cand.Revises = c.ID
		o.open()
	}
	_, err := o.vote(c.ID, "eve", approvals.Approve)
	wantStale(t, err, approvals.Superseded)
	o.is(c.ID, approvals.Superseded)
}

// A vote comes in while the last vote is being stored: both count.
func TestVoteDuringVote(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	o.store.before = func() { o.must(c.ID, "bob", approvals.Approve, approvals.Pending) }
	o.must(c.ID, "eve", approvals.Approve, approvals.Approved)
	if got := o.is(c.ID, approvals.Approved).Approvals(false); len(got) != 2 {
		t.Errorf("approvals %+v", got)
	}
}

// The policy is asked at every vote and before the grant.
func TestPolicyChanges(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	o.policy.members = []string{"ada", "eve", "joe"} // bob has left
	o.must(c.ID, "eve", approvals.Approve, approvals.Pending)
	o.must(c.ID, "joe", approvals.Approve, approvals.Approved)

	o.policy.ruling.MaxEvents = 9
	_, _, err := o.Grant(t.Context(), c.ID)
	wantRefused(t, err, approvals.RuleEvents)
	o.policy.ruling.MaxEvents = 10
	o.policy.ruling.Quorum = 3
	_, _, err = o.Grant(t.Context(), c.ID)
	wantRefused(t, err, approvals.RuleApprover)
	o.policy.ruling.Quorum = 2
	o.policy.askErr = errors.New("directory does not answer")
	if _, _, err = o.Grant(t.Context(), c.ID); err == nil || !strings.Contains(err.Error(), "directory does not answer") {
		t.Errorf("error %v", err)
	}
	o.policy.askErr = nil
	_, g, err := o.Grant(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	var who []string
	for _, p := range g.Approval.Approvers {
		who = append(who, p.ID)
	}
	if !slices.Equal(who, []string{"eve", "joe"}) {
		t.Errorf("approved by %q", who)
	}

	c = o.open()
	o.policy.judgeErr = &approvals.RefusedError{Rule: approvals.RuleTier, Reason: "no longer"}
	_, err = o.vote(c.ID, "eve", approvals.Approve)
	wantRefused(t, err, approvals.RuleTier)
	o.policy.judgeErr, o.policy.askErr = nil, errors.New("directory does not answer")
	if _, err = o.vote(c.ID, "eve", approvals.Approve); err == nil || !strings.Contains(err.Error(), "asking who may answer: directory") {
		t.Errorf("error %v", err)
	}
	if got := o.is(c.ID, approvals.Pending); len(got.Votes) != 0 {
		t.Errorf("votes %+v", got.Votes)
	}
	// Taking back needs nobody's leave.
	o.must(c.ID, "ada", approvals.Cancel, approvals.Cancelled)
}

func TestGrant(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	o.now = o.now.Add(time.Minute)
	o.must(c.ID, "eve", approvals.Approve, approvals.Approved)
	o.now = o.now.Add(time.Second)
	envelope, g, err := o.Grant(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	node := job.Verifier{Node: "db-4", Keys: []ed25519.PublicKey{o.key.Public()}, Replays: once{}, Now: func() time.Time { return o.now }}
	got, p, err := node.Open(envelope)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != g.ID || got.Run != g.Run || got.Digest != c.Digest || string(p.ELF) != string(o.cand.Program.ELF) {
		t.Errorf("opened %+v, granted %+v", got, g)
	}
	if !got.NotBefore.Equal(o.now) || got.Expires.Sub(got.NotBefore) > job.MaxWindow || len(got.Run) != 32 || got.Run == got.ID {
		t.Errorf("grant %+v", got)
	}
	a := got.Approval
	if a.Requester != "ada" || a.Tier != "observe" || a.Quorum != 2 || a.Policy != "team@1" || len(a.Approvers) != 2 ||
		a.Approvers[0].ID != "bob" || a.Approvers[0].Message != "m-bob" || a.Approvers[0].Surface != "chat" || !a.Approvers[0].At.Equal(noon) {
		t.Errorf("approval %+v", a)
	}
	if e := o.last(); e.Kind != audit.Grant || e.Run != g.Run || e.Case != c.ID || !strings.Contains(string(e.Data), g.ID) {
		t.Errorf("recorded %+v", e)
	}
	if _, _, err := o.Grant(t.Context(), c.ID); !errors.Is(err, approvals.ErrGranted) {
		t.Errorf("the second time: %v", err)
	}
	if _, _, err := o.Grant(t.Context(), "unknown"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("an unknown case: %v", err)
	}
	g.Nodes[0] = "x"
	if stored := o.is(c.ID, approvals.Approved); stored.Grant == nil || stored.Grant.Nodes[0] != "db-3" {
		t.Errorf("stored grant %+v", stored.Grant)
	}
}

// once is the memory of a node for one test.
type once map[string]bool

func (o once) Claim(id string, _ time.Time) (bool, error) {
	first := !o[id]
	o[id] = true
	return first, nil
}

// noSigner cannot sign.
type noSigner struct{}

func (noSigner) Sign(job.Grant, job.Program) ([]byte, error) { return nil, errors.New("no key") }

// Faults around the grant: it is lost, or made once, never twice.
// A store that is set back makes no second run: what is granted once more is
// what every node remembers that it has taken.
func TestGrantAfterRollback(t *testing.T) {
	o := newOffice(t)
	o.policy.ruling.Quorum = 1
	c := o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Approved)
	before, err := o.Get(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	verifier := &job.Verifier{Node: "db-3", Keys: []ed25519.PublicKey{o.key.Public()}, Replays: replays{}, Now: func() time.Time { return o.now }}
	for i, want := range []job.Refusal{"", job.RefusedReplay} {
		envelope, _, err := o.Grant(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		var refused *job.RefusedError
		if _, _, err := verifier.Open(envelope); errors.As(err, &refused) != (want != "") || refused != nil && refused.Refusal != want {
			t.Errorf("grant %d: %v, want %q", i+1, err, want)
		}
		other := &approvals.Memory{}
		if err := other.Create(t.Context(), before, o.cand.Program); err != nil {
			t.Fatal(err)
		}
		o.Desk.Store = other
	}
}

// replays remembers.
type replays map[string]bool

func (r replays) Claim(id string, _ time.Time) (bool, error) {
	used := r[id]
	r[id] = true
	return !used, nil
}

// Those who asked for what came to no case have a part in what came of it.
func TestAuthorsWithoutACase(t *testing.T) {
	o := newOffice(t)
	o.policy.ruling.Quorum = 1
	o.cand.Authors = []approvals.Person{person("bob")}
	c := o.open()
	_, err := o.Decide(t.Context(), c.ID, approvals.Vote{By: person("bob"), Choice: approvals.Approve})
	wantRefused(t, err, approvals.RuleSelf)
	o.must(c.ID, "eve", approvals.Approve, approvals.Approved)
}

func TestGrantFaults(t *testing.T) {
	approved := func(t *testing.T) (*office, string) {
		o := newOffice(t)
		o.policy.ruling.Quorum = 1
		c := o.open()
		o.must(c.ID, "bob", approvals.Approve, approvals.Approved)
		return o, c.ID
	}
	t.Run("what failed before it was stored can be tried again", func(t *testing.T) {
		o, id := approved(t)
		o.Signer = noSigner{}
		if _, _, err := o.Grant(t.Context(), id); err == nil || !strings.Contains(err.Error(), "no key") {
			t.Errorf("error %v", err)
		}
		o.Signer, o.Random = o.key, io.LimitReader(rand.Reader, 10)
		if _, _, err := o.Grant(t.Context(), id); err == nil || !strings.Contains(err.Error(), "random") {
			t.Errorf("error %v", err)
		}
		o.Random, o.store.swapErr = rand.Reader, errors.New("store is read-only")
		if _, _, err := o.Grant(t.Context(), id); err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("error %v", err)
		}
		o.store.swapErr, o.store.conflicts = nil, 3
		if _, _, err := o.Grant(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
	t.Run("what could not be recorded is not handed out", func(t *testing.T) {
		o, id := approved(t)
		o.Audit = deaf{}
		envelope, g, err := o.Grant(t.Context(), id)
		if envelope != nil || g != nil || err == nil || !strings.Contains(err.Error(), "recording grant: disk full") {
			t.Errorf("grant %+v, error %v", g, err)
		}
		o.Audit = o.log
		if _, _, err := o.Grant(t.Context(), id); !errors.Is(err, approvals.ErrGranted) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a caller that goes away before it is stored gets nothing", func(t *testing.T) {
		o, id := approved(t)
		ctx, cancel := context.WithCancel(t.Context())
		o.store.before = cancel
		if _, _, err := o.Grant(ctx, id); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if c := o.is(id, approvals.Approved); c.Grant != nil {
			t.Errorf("granted %+v", c.Grant)
		}
	})
	t.Run("what was stored is recorded also when the caller has gone", func(t *testing.T) {
		o, id := approved(t)
		ctx, cancel := context.WithCancel(t.Context())
		o.store.after = cancel
		if _, _, err := o.Grant(ctx, id); err != nil {
			t.Error(err)
		}
		if e := o.last(); e.Kind != audit.Grant {
			t.Errorf("recorded %+v", e)
		}
	})
}

func TestVoteFaults(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	o.store.swapErr = errors.New("store is read-only")
	if _, err := o.vote(c.ID, "bob", approvals.Approve); err == nil || !strings.Contains(err.Error(), "storing answer: store is read-only") {
		t.Errorf("error %v", err)
	}
	o.store.swapErr, o.store.conflicts = nil, 5
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	o.Audit = deaf{}
	if _, err := o.vote(c.ID, "bob", approvals.Approve); err == nil || !strings.Contains(err.Error(), "recording refusal") {
		t.Errorf("error %v", err)
	}
	if _, err := o.vote(c.ID, "eve", approvals.Deny); err == nil || !strings.Contains(err.Error(), "recording vote") {
		t.Errorf("error %v", err)
	}
	o.is(c.ID, approvals.Denied)
}

func TestReasonsAreTamed(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	long := "no\n\x1b[31m\u202e" + strings.Repeat("ä", 2000)
	got, err := o.Decide(t.Context(), c.ID, approvals.Vote{By: person("bob"), Choice: approvals.Deny, Reason: long})
	if err != nil || strings.ContainsAny(got.Reason, "\n\x1b\u202e") || len([]rune(got.Reason)) > 501 {
		t.Errorf("reason %q (%v)", got.Reason, err)
	}
}

// The audit log says in words what was asked, what answers it, and where.
func TestAuditWords(t *testing.T) {
	o := newOffice(t)
	cand := o.cand
	cand.Asked, cand.Origin = "who calls\ngetppid \x1b[31m", "model gpt"
	c, err := o.Open(t.Context(), cand)
	if err != nil {
		t.Fatal(err)
	}
	detail := o.last().Detail
	for _, want := range append([]string{"“who calls getppid ?[31m”", "(model gpt)", c.Program}, c.Nodes...) {
		if want == "" || !strings.Contains(detail, want) {
			t.Errorf("the audit log says %q, want %q in it", detail, want)
		}
	}
	cand.Nodes = nil
	if _, err = o.Open(t.Context(), cand); err == nil || strings.Contains(err.Error(), "getppid") {
		t.Errorf("error %v", err)
	}
	if e := o.last(); e.Kind != audit.Refusal || !strings.Contains(e.Detail, "asked was “who calls getppid") {
		t.Errorf("of a refusal the audit log says %q", e.Detail)
	}
}
