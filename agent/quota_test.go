package agent_test

import (
	"errors"
	"testing"
	"time"

	"kgent/agent"
	"kgent/agent/llm"
	"kgent/agent/quota"
)

// What a user has left of a day bounds a request; when there is nothing left it is said, with the time when it begins anew.
func TestQuota(t *testing.T) {
	b := newBench(t, host(t), yes{}, answer(counting))
	b.Prover = believes{}
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b.Quota = &quota.Ledger{Store: quota.NewMemory(func() time.Time { return noon }), Limits: quota.Limits{User: quota.Use{Tokens: 60_000}}, Now: func() time.Time { return noon }}
	ask := func(by, text string) error {
		_, err := b.Prepare(t.Context(), agent.Request{ID: "r", Text: text, By: by, In: "ops"}, nil)
		return err
	}
	if err := ask("ann", beyond); err != nil {
		t.Fatal(err)
	}
	// Some 6000 tokens were used: what is left is not enough for many more.
	var err error
	for range 20 {
		if err = ask("ann", beyond+" still"); errors.Is(err, agent.ErrModel) && !errors.Is(err, llm.ErrNoModel) {
			break
		}
	}
	if err == nil {
		t.Fatal("the quota has no end")
	}
	share, err := b.Quota.Take(t.Context(), "bob", "ops", quota.Use{Tokens: 60_000})
	if err != nil || share.Allowed.Tokens != 60_000 {
		t.Fatalf("another user: %+v, %v", share, err)
	}
	err = ask("bob", beyond)
	var up *quota.UsedUp
	if !errors.As(err, &up) || !errors.Is(err, agent.ErrModel) {
		t.Fatalf("error %v", err)
	}
	wants(t, "the refusal", err.Error(), "you have used up", "60000 of tokens", "begins anew at 00:00 UTC, in 12h0m0s")
	// Recipes cost nothing.
	if err := ask("bob", "who is killing my process"); err != nil {
		t.Error(err)
	}
}
