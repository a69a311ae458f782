package agent_test

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent"
	"kgent/agent/llm"
	"kgent/agent/llm/llmd"
	"kgent/agent/quota"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
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
	wants(t, "while it is set aside", err.Error(), "you have nothing left", "60000 tokens", "set aside for requests under way")
	if err := share.Settle(t.Context(), quota.Use{Requests: 1, Tokens: 60_000}); err != nil {
		t.Fatal(err)
	}
	err = ask("bob", beyond)
	var up *quota.UsedUp
	if !errors.As(err, &up) || !errors.Is(err, agent.ErrModel) {
		t.Fatalf("error %v", err)
	}
	wants(t, "the refusal", err.Error(), "you have used up the 60000 tokens", "begins anew at 00:00 UTC, in 12h0m.")
	// Recipes cost nothing.
	if err := ask("bob", "who is killing my process"); err != nil {
		t.Error(err)
	}
}

// Two bots at one Redis spend no more together than a quota has: what a request can cost at most is set aside
// by its tokens and the highest price, and what it did not cost comes back.
func TestQuotaOfTwoBots(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix(), rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour) // Redis forgets by its own clock
	limits := quota.Limits{User: quota.Use{Micros: 600_000}}
	usage := &llmd.Usage{PromptTokens: 5000, CompletionTokens: 200}
	b := newAuthors(t, host(t), yes{},
		[]any{llmd.Rule{JSON: draft().with("cannot", "no contract in this test", "hooks", []any{}), Times: 1000, Usage: usage}},
		llmd.Rule{JSON: answer("").with("cannot", "no program in this test"), Times: 1000, Usage: usage})
	b.Budget.Tokens = 30_000 // at 10 for a million at most 0.30
	var bots []*quota.Ledger
	for range 2 {
		bots = append(bots, &quota.Ledger{Store: quota.NewRedis(server.ClientOf(bus.BotUser, "secret")), Limits: limits, Now: func() time.Time { return noon }})
	}
	var mu sync.Mutex
	var cost float64
	ask := func(spent *quota.Ledger) error {
		a := &agent.Agent{Recipes: b.Recipes, Model: b.Model, Compiler: b.Compiler, Budget: b.Budget, Now: b.Now, Records: b.Records, Prover: b.Prover, Target: b.Target, Quota: spent}
		a.Keep = func(r *agent.Record) {
			mu.Lock()
			defer mu.Unlock()
			for _, c := range r.Calls {
				cost += c.Cost
			}
		}
		_, err := a.Prepare(t.Context(), agent.Request{ID: "r", Text: beyond, By: "ann"}, nil)
		return err
	}
	// Both parts are set aside by one bot: the other has nothing to give, until one comes back.
	var shares []*quota.Share
	for range 2 {
		s, err := bots[0].Take(t.Context(), "ann", "", quota.Use{Micros: 300_000})
		if err != nil || s.Allowed.Micros != 300_000 {
			t.Fatalf("%+v, %v", s, err)
		}
		shares = append(shares, s)
	}
	var up *quota.UsedUp
	if err := ask(bots[1]); !errors.As(err, &up) || !up.Held {
		t.Fatalf("all is set aside: %v", err)
	}
	if err := errors.Join(shares[0].Settle(t.Context(), quota.Use{}), shares[1].Settle(t.Context(), quota.Use{Requests: 1, Micros: 100_000})); err != nil {
		t.Fatal(err)
	}
	cost = 0.1
	refused := 0
	for i := 0; i < 40 && refused < 4; i++ {
		var wg sync.WaitGroup
		for _, spent := range bots {
			wg.Go(func() {
				err := ask(spent)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.As(err, new(*quota.UsedUp)), errors.Is(err, agent.ErrModel):
					refused++
				case !errors.Is(err, agent.ErrNoAnswer) && !errors.As(err, new(*agent.RejectedError)):
					t.Errorf("an answer: %v", err)
				}
			})
		}
		wg.Wait()
	}
	if refused < 4 || cost > 0.6 || cost < 0.3 {
		t.Errorf("%d were refused, and %.3f was spent of 0.6", refused, cost)
	}
	kept, err := server.Client().HGetAll(t.Context(), "kgent:spent:user:ann:"+noon.Format(time.DateOnly)).Result()
	if err != nil || kept["held-micros"] != "0" || kept["held-requests"] != "0" || kept["micros"] != strconv.Itoa(int(math.Round(cost*1e6))) {
		t.Errorf("the counters say %v, %v; %.6f was spent", kept, err, cost)
	}
}
