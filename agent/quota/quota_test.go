package quota_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent/quota"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The same for both stores.
func stores(t *testing.T, test func(t *testing.T, s quota.Store, at *time.Time)) {
	t.Run("memory", func(t *testing.T) {
		at := noon
		test(t, quota.NewMemory(func() time.Time { return at }), &at)
	})
	t.Run("redis", func(t *testing.T) {
		server := rdbtest.Start(t, rdbtest.Unix(), rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
		at := time.Now().UTC() // expiry goes by the server's clock
		test(t, quota.NewRedis(server.ClientOf(bus.BotUser, "secret")), &at)
	})
}

func TestLedger(t *testing.T) {
	stores(t, func(t *testing.T, s quota.Store, at *time.Time) {
		ctx := t.Context()
		l := &quota.Ledger{Store: s, Limits: quota.Limits{User: quota.Use{Tokens: 1000}, Channel: quota.Use{Requests: 3, Micros: 500_000}}, Now: func() time.Time { return *at }}
		want := quota.Use{Tokens: 700}
		a, err := l.Take(ctx, "ann", "ops", want)
		if err != nil || a.Allowed.Tokens != 700 {
			t.Fatalf("%+v, %v", a, err)
		}
		b, err := l.Take(ctx, "ann", "ops", want) // at the same time: what is left
		if err != nil || b.Allowed.Tokens != 300 {
			t.Fatalf("%+v, %v", b, err)
		}
		_, err = l.Take(ctx, "ann", "ops", want)
		var up *quota.UsedUp
		if !errors.As(err, &up) || up.What != "tokens" || up.Who != "you" {
			t.Fatalf("error %v", err)
		}
		if err := a.Settle(ctx, quota.Use{Requests: 1, Tokens: 100}); err != nil {
			t.Fatal(err)
		}
		if err := b.Settle(ctx, quota.Use{}); err != nil { // a recipe answered: nothing was used
			t.Fatal(err)
		}
		if err := b.Settle(ctx, quota.Use{Tokens: 5000}); err != nil { // once is enough
			t.Fatal(err)
		}
		c, err := l.Take(ctx, "ann", "ops", want)
		if err != nil || c.Allowed.Tokens != 700 {
			t.Fatalf("%+v, %v", c, err)
		}
		if _, err = l.Take(ctx, "bob", "ops", want); err != nil {
			t.Fatal(err)
		}
		// The channel's three requests are used; nothing is charged to the user who is refused for it.
		_, err = l.Take(ctx, "cid", "ops", want)
		if !errors.As(err, &up) || up.What != "requests" || up.Who != "this channel" || !up.Held || !strings.Contains(err.Error(), "set aside for requests under way") {
			t.Fatalf("error %v", err)
		}
		if d, err := l.Take(ctx, "cid", "elsewhere", quota.Use{Tokens: 1000}); err != nil || d.Allowed.Tokens != 1000 {
			t.Fatalf("%+v, %v", d, err)
		}
		*at = at.Add(24 * time.Hour)
		if d, err := l.Take(ctx, "cid", "ops", quota.Use{Tokens: 1000, Micros: 900_000}); err != nil || d.Allowed.Micros != 500_000 {
			t.Fatalf("the day after: %+v, %v", d, err)
		}
		// Who is nobody is not charged.
		if e, err := l.Take(ctx, "", "", quota.Use{Tokens: 1 << 30}); err != nil || e.Allowed.Tokens != 1<<30 {
			t.Fatalf("%+v, %v", e, err)
		}
	})
}

// Requests at the same time do not overdraw a quota together.
func TestTogether(t *testing.T) {
	stores(t, func(t *testing.T, s quota.Store, at *time.Time) {
		l := &quota.Ledger{Store: s, Limits: quota.Limits{User: quota.Use{Tokens: 1000}}, Now: func() time.Time { return *at }}
		var mu sync.Mutex
		total := 0
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				share, err := l.Take(t.Context(), "ann", "", quota.Use{Tokens: 90})
				if err == nil {
					mu.Lock()
					total += share.Allowed.Tokens
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if total != 1000 {
			t.Errorf("%d tokens were given of 1000", total)
		}
	})
}

func TestSet(t *testing.T) {
	l, err := quota.Limits{}.Set("user-tokens=500000, channel-money=2.5 user-requests=40")
	if err != nil || l.User.Tokens != 500_000 || l.Channel.Micros != 2_500_000 || l.User.Requests != 40 {
		t.Errorf("%+v, %v", l, err)
	}
	for _, text := range []string{"tokens=5", "user-tokens=many", "user-time=5", "user-tokens"} {
		if _, err := (quota.Limits{}).Set(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
