package approvals_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"kgent/approvals"
	"kgent/approvals/audit"
)

// An agreement to keep a recipe lets nobody run anything, and the other way round; it takes
// its quorum, holds for one subject, and is recorded.
func TestPurposes(t *testing.T) {
	o := newOffice(t)
	o.cand.Purpose, o.cand.Subject = approvals.KeepRecipe, "slow-orders 0a1b"
	c := o.open()
	if e := o.last(); e.Kind != audit.Request || !strings.Contains(e.Detail, "keep recipe slow-orders 0a1b") {
		t.Errorf("recorded %+v", e)
	}
	_, err := o.vote(c.ID, "bob", approvals.BreakGlass)
	wantRefused(t, err, approvals.RuleGlass)
	_, err = o.vote(c.ID, "ada", approvals.Approve)
	wantRefused(t, err, approvals.RuleSelf)
	o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	if _, err := o.Redeem(t.Context(), c.ID, approvals.KeepRecipe, "slow-orders 0a1b"); !errors.Is(err, approvals.ErrPending) {
		t.Errorf("with one vote of two: %v", err)
	}
	o.must(c.ID, "eve", approvals.Approve, approvals.Approved)
	if _, _, err := o.Grant(t.Context(), c.ID); !errors.Is(err, approvals.ErrPurpose) {
		t.Errorf("it runs: %v", err)
	}
	if _, _, err := o.Envelope(t.Context(), c.ID); !errors.Is(err, approvals.ErrNotGranted) {
		t.Errorf("it runs: %v", err)
	}
	for _, other := range []struct {
		purpose approvals.Purpose
		subject string
	}{{approvals.Run, "slow-orders 0a1b"}, {approvals.ForgetRecipe, "slow-orders 0a1b"}, {approvals.KeepRecipe, "slow-orders 0a1c"}} {
		if _, err := o.Redeem(t.Context(), c.ID, other.purpose, other.subject); !errors.Is(err, approvals.ErrPurpose) {
			t.Errorf("%+v: %v", other, err)
		}
	}
	for range 2 { // whoever takes over from a process that died
		got, err := o.Redeem(t.Context(), c.ID, approvals.KeepRecipe, "slow-orders 0a1b")
		if err != nil || got.Done.IsZero() || got.Undecided() {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if e := o.last(); !strings.Contains(e.Detail, "carried out: keep recipe slow-orders 0a1b") {
		t.Errorf("recorded %+v", e)
	}
	o.now = o.now.Add(time.Hour) // what is done does not expire
	if swept, err := o.Sweep(t.Context()); err != nil || len(swept) != 0 {
		t.Errorf("swept %v, %v", swept, err)
	}

	// A run is no recipe.
	run := newOffice(t)
	c = run.open()
	run.must(c.ID, "bob", approvals.Approve, approvals.Pending)
	run.must(c.ID, "eve", approvals.Approve, approvals.Approved)
	if _, err := run.Redeem(t.Context(), c.ID, approvals.KeepRecipe, ""); !errors.Is(err, approvals.ErrPurpose) {
		t.Errorf("a run is kept: %v", err)
	}
	// The policy's word of now counts, and the time.
	for name, spoil := range map[string]func(o *office){
		"policy": func(o *office) { o.policy.members = nil },
		"time":   func(o *office) { o.now = o.now.Add(20 * time.Minute) },
	} {
		o := newOffice(t)
		o.cand.Purpose, o.cand.Subject = approvals.ForgetRecipe, "x"
		c := o.open()
		o.must(c.ID, "bob", approvals.Approve, approvals.Pending)
		o.must(c.ID, "eve", approvals.Approve, approvals.Approved)
		spoil(o)
		if _, err := o.Redeem(t.Context(), c.ID, approvals.ForgetRecipe, "x"); err == nil {
			t.Errorf("%s: it was carried out", name)
		}
	}
	for _, bad := range []approvals.Candidate{{Purpose: "anything", Subject: "x"}, {Purpose: approvals.KeepRecipe}, {Subject: "x"}, {Purpose: approvals.KeepRecipe, Subject: strings.Repeat("x", 301)}} {
		o := newOffice(t)
		o.cand.Purpose, o.cand.Subject = bad.Purpose, bad.Subject
		_, err := o.Open(t.Context(), o.cand)
		wantRefused(t, err, approvals.RuleCandidate)
	}
}
