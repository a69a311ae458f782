package approvals_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/executor/job"
)

func (o *office) breakGlass(id, who, reason string) (approvals.Case, error) {
	return o.Decide(o.t.Context(), id, approvals.Vote{By: person(who), Choice: approvals.BreakGlass, Reason: reason})
}

func TestBreakGlass(t *testing.T) {
	o := newOffice(t)
	o.policy.breakers = []string{"ada", "joe"}
	c := o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	_, err := o.breakGlass(c.ID, "eve", "fire")
	wantRefused(t, err, approvals.RuleGlass)
	for _, reason := range []string{"", " \n\t"} {
		_, err = o.breakGlass(c.ID, "joe", reason)
		wantRefused(t, err, approvals.RuleReason)
	}
	_, err = o.Decide(t.Context(), c.ID, approvals.Vote{By: approvals.Person{ID: "joe", Surface: "chat"}, Choice: approvals.BreakGlass, Reason: "fire"})
	wantRefused(t, err, approvals.RuleHuman)
	o.is(c.ID, approvals.Pending)

	got, err := o.breakGlass(c.ID, "joe", "the shop is down")
	if err != nil || got.State != approvals.Approved || !got.Glass || got.By != "joe" || got.Reason != "the shop is down" {
		t.Fatalf("%+v (%v)", got, err)
	}
	if e := o.last(); e.Kind != audit.Glass || e.Person != "joe" || !strings.Contains(e.Detail, "GLASS BROKEN") || !strings.Contains(e.Detail, "1 of 2 had approved: the shop is down") {
		t.Errorf("recorded %+v", e)
	}
	_, err = o.breakGlass(c.ID, "ada", "me too")
	wantStale(t, err, approvals.Approved)
	_, g, err := o.Grant(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if a := g.Approval; a.Policy != "team@1 (break-glass)" || len(a.Approvers) != 1 || a.Approvers[0].ID != "joe" || a.Quorum != 1 {
		t.Errorf("approval %+v", a)
	}
	if e := o.last(); e.Kind != audit.Grant || !strings.Contains(e.Detail, "GLASS BROKEN by joe: the shop is down") {
		t.Errorf("recorded %+v", e)
	}

	// The requester may be alone at night; what the policy trusts them with
	// is theirs.
	c = o.open()
	if got, err := o.breakGlass(c.ID, "ada", "nobody else is awake"); err != nil || got.State != approvals.Approved {
		t.Errorf("%s (%v)", got.State, err)
	}
	// Until it is taken away.
	o.policy.breakers = nil
	_, _, err = o.Grant(t.Context(), c.ID)
	wantRefused(t, err, approvals.RuleGlass)
	o.must(c.ID, "ada", approvals.Cancel, approvals.Cancelled)
	if e := o.last(); e.Kind != audit.Vote {
		t.Errorf("taking it back is recorded as %+v", e)
	}

	// The ceilings of the policy hold.
	o.policy.breakers = []string{"joe"}
	c = o.open()
	o.policy.ruling.MaxDuration = time.Second
	_, err = o.breakGlass(c.ID, "joe", "fire")
	wantRefused(t, err, approvals.RuleDuration)
}

// One person breaks the glass while another denies: one of both happens.
func TestBreakGlassDuringDeny(t *testing.T) {
	o := newOffice(t)
	o.policy.breakers = []string{"joe"}
	c := o.open()
	o.store.before = func() { o.must(c.ID, "bob", approvals.Deny, approvals.Denied) }
	_, err := o.breakGlass(c.ID, "joe", "fire")
	wantStale(t, err, approvals.Denied)
	if got := o.is(c.ID, approvals.Denied); got.Glass || len(got.Votes) != 1 {
		t.Errorf("%+v", got)
	}
}

// A store that says that glass was broken, without anybody who did.
func TestBreakGlassNobody(t *testing.T) {
	o := newOffice(t)
	c := o.open()
	c.State, c.Glass, c.Decided = approvals.Approved, true, o.now
	if err := o.store.Swap(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	_, _, err := o.Grant(t.Context(), c.ID)
	wantRefused(t, err, approvals.RuleGlass)
}

// Who may be one person counts as one.
func TestUnclear(t *testing.T) {
	o := newOffice(t)
	o.policy.unclear = [2]string{"bob", "eve"}
	c := o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	_, err := o.vote(c.ID, "eve", approvals.Approve)
	wantRefused(t, err, approvals.RuleIdentity)
	if !strings.Contains(err.Error(), "people of the policy file") {
		t.Errorf("%q does not say what to do", err)
	}
	// Also as an author.
	o.policy.unclear = [2]string{"ada", "eve"}
	_, err = o.vote(c.ID, "eve", approvals.Approve)
	wantRefused(t, err, approvals.RuleIdentity)
	// Saying no takes no certainty.
	o.must(c.ID, "eve", approvals.Deny, approvals.Denied)

	// Found out after both have voted: one of them no longer counts.
	o.policy.unclear = [2]string{}
	c = o.open()
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	o.must(c.ID, "eve", approvals.Approve, approvals.Approved)
	o.policy.unclear = [2]string{"bob", "eve"}
	_, _, err = o.Grant(t.Context(), c.ID)
	wantRefused(t, err, approvals.RuleApprover)
	o.policy.unclear = [2]string{"ada", "bob"}
	_, _, err = o.Grant(t.Context(), c.ID)
	wantRefused(t, err, approvals.RuleApprover)
}

func TestEnvelope(t *testing.T) {
	o := newOffice(t)
	o.policy.ruling.Quorum = 1
	c := o.open()
	if _, _, err := o.Envelope(t.Context(), c.ID); !errors.Is(err, approvals.ErrNotGranted) {
		t.Errorf("pending: %v", err)
	}
	o.must(c.ID, "bob", approvals.Approve, approvals.Approved)
	if _, _, err := o.Envelope(t.Context(), c.ID); !errors.Is(err, approvals.ErrNotGranted) {
		t.Errorf("approved: %v", err)
	}
	want, g, err := o.Grant(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	o.now = o.now.Add(time.Minute)
	got, again, err := o.Envelope(t.Context(), c.ID)
	if err != nil || !bytes.Equal(got, want) || again.ID != g.ID || !again.Expires.Equal(g.Expires) {
		t.Errorf("another envelope: %+v (%v)", again, err)
	}
	if e := o.last(); e.Kind != audit.Grant || e.Run != g.Run || !strings.Contains(e.Detail, "once more") {
		t.Errorf("recorded %+v", e)
	}
	// A node that had the first refuses the second.
	node := job.Verifier{Node: "db-4", Keys: []ed25519.PublicKey{o.key.Public()}, Replays: once{}, Now: func() time.Time { return o.now }}
	if _, _, err := node.Open(want); err != nil {
		t.Fatal(err)
	}
	var refused *job.RefusedError
	if _, _, err := node.Open(got); !errors.As(err, &refused) || refused.Refusal != job.RefusedReplay {
		t.Errorf("the second time: %v", err)
	}

	// What cannot be recorded is not handed out.
	o.Audit = deaf{}
	if b, _, err := o.Envelope(t.Context(), c.ID); err == nil || b != nil {
		t.Error("handed out without a record")
	}
	o.Audit = o.log
	// What the policy forbids meanwhile neither.
	o.policy.ruling.MaxEvents = 1
	_, _, err = o.Envelope(t.Context(), c.ID)
	wantRefused(t, err, approvals.RuleEvents)
	o.policy.ruling.MaxEvents = 100
	o.now = g.Expires
	if _, _, err := o.Envelope(t.Context(), c.ID); !errors.Is(err, approvals.ErrLapsed) {
		t.Errorf("after its time: %v", err)
	}
	if _, _, err := o.Envelope(t.Context(), "unknown"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestOpenWithKey(t *testing.T) {
	o := newOffice(t)
	o.cand.Key = "request-1/1"
	first := o.open()
	o.must(first.ID, "bob", approvals.Approve, approvals.Pending)
	o.policy.judgeErr = errors.New("it is not asked again")
	again := o.open()
	if again.ID != first.ID || len(again.Votes) != 1 || len(first.ID) != 32 {
		t.Errorf("%+v after %+v", again, first)
	}
	o.policy.judgeErr = nil
	other := o.cand
	other.Limits.Duration++
	o.digest(&other)
	if _, err := o.Open(t.Context(), other); !errors.Is(err, approvals.ErrKeyReused) {
		t.Errorf("another digest: %v", err)
	}
	other = o.cand
	other.Requester = person("eve")
	if _, err := o.Open(t.Context(), other); !errors.Is(err, approvals.ErrKeyReused) {
		t.Errorf("another requester: %v", err)
	}
	// A bot must not be able to find a case by its key either.
	other = o.cand
	other.Requester.Human = false
	_, err := o.Open(t.Context(), other)
	wantRefused(t, err, approvals.RuleHuman)

	// The next revision, opened by two at once.
	next := o.cand
	next.Key, next.Revises = "request-1/2", first.ID
	o.store.before = func() {
		if _, err := o.Open(t.Context(), next); err != nil {
			t.Error(err)
		}
	}
	second, err := o.Open(t.Context(), next)
	if err != nil || second.Revision != 2 {
		t.Fatalf("%+v (%v)", second, err)
	}
	if old := o.is(first.ID, approvals.Superseded); old.Next != second.ID {
		t.Errorf("next %q, want %q", old.Next, second.ID)
	}
	if list, err := o.store.Undecided(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("undecided: %+v (%v)", list, err)
	}
}

// A bot dies between superseding the old revision and storing the new one.
func TestOpenWithKeyAfterCrash(t *testing.T) {
	o := newOffice(t)
	first := o.open()
	next := o.cand
	next.Key, next.Revises = "k", first.ID
	ctx, die := context.WithCancel(t.Context())
	o.store.after = die
	if _, err := o.Open(ctx, next); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	o.is(first.ID, approvals.Superseded)
	o.store.after = nil
	second, err := o.Open(t.Context(), next)
	if err != nil || second.Revision != 2 {
		t.Errorf("%+v (%v)", second, err)
	}
	// The log failed after the case was stored.
	o.Audit = deaf{}
	third := o.cand
	third.Key = "l"
	if _, err := o.Open(t.Context(), third); err == nil {
		t.Error("opened without a record")
	}
	o.Audit = o.log
	c, err := o.Open(t.Context(), third)
	if e := o.last(); err != nil || e.Kind != audit.Request || e.Case != c.ID {
		t.Errorf("recorded %+v (%v)", e, err)
	}
}

// file is a policy that changes as a file does.
type file struct {
	*team
	current approvals.Policy
	err     error
}

func (f *file) Current(context.Context) (approvals.Policy, error) { return f.current, f.err }

func TestChangingPolicy(t *testing.T) {
	o := newOffice(t)
	o.policy.ruling.Quorum = 1
	f := &file{team: &team{}, current: o.policy} // itself it allows nobody anything
	o.Desk.Policy = f
	c := o.open()
	f.err = &approvals.RefusedError{Rule: approvals.RulePolicy, Reason: "line 3 is broken"}
	for _, choice := range []approvals.Choice{approvals.Approve, approvals.Deny, approvals.BreakGlass} {
		_, err := o.vote(c.ID, "bob", choice)
		wantRefused(t, err, approvals.RulePolicy)
	}
	_, err := o.Open(t.Context(), o.cand)
	wantRefused(t, err, approvals.RulePolicy)
	f.err = nil
	o.must(c.ID, "bob", approvals.Approve, approvals.Approved)
	f.err = &approvals.RefusedError{Rule: approvals.RulePolicy, Reason: "line 3 is broken"}
	_, _, err = o.Grant(t.Context(), c.ID)
	wantRefused(t, err, approvals.RulePolicy)
	// Taking back takes no policy.
	o.must(c.ID, "ada", approvals.Cancel, approvals.Cancelled)
}

// An account goes into the log and into the grant.
func TestAccounts(t *testing.T) {
	o := newOffice(t)
	o.policy.ruling.Quorum = 1
	o.cand.Requester.Account = "slack:T1/UADA"
	c := o.open()
	if e := o.last(); e.Account != "slack:T1/UADA" {
		t.Errorf("recorded %+v", e)
	}
	bob := person("bob")
	bob.Account = "discord:G1/7"
	if _, err := o.Decide(t.Context(), c.ID, approvals.Vote{By: bob, Choice: approvals.Approve}); err != nil {
		t.Fatal(err)
	}
	if e := o.last(); e.Account != "discord:G1/7" {
		t.Errorf("recorded %+v", e)
	}
	_, g, err := o.Grant(t.Context(), c.ID)
	if err != nil || g.Approval.Account != "slack:T1/UADA" || g.Approval.Approvers[0].Account != "discord:G1/7" {
		t.Errorf("approval %+v (%v)", g, err)
	}
	// The same name from another account is not certainly who asked; here
	// names are people, so it is.
	c = o.open()
	ada := person("ada")
	if _, err := o.Decide(t.Context(), c.ID, approvals.Vote{By: ada, Choice: approvals.Cancel}); err != nil {
		t.Error(err)
	}
}
