package policy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/approvals/policy"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
)

func TestQuotas(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix(), rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
	admin, client := server.Client(), server.ClientOf(bus.BotUser, "secret") // as the user that a bot is
	cluster := rdbtest.StartCluster(t, 0, rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
	member := cluster.ClientOf(bus.BotUser, "secret")
	for name, open := range map[string]func(*testing.T) policy.Quotas{
		"Memory": func(*testing.T) policy.Quotas { return &policy.MemoryQuotas{} },
		"Redis": func(t *testing.T) policy.Quotas {
			if err := admin.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			return policy.NewRedisQuotas(client)
		},
		"Cluster": func(*testing.T) policy.Quotas {
			cluster.FlushAll()
			return policy.NewRedisQuotas(member)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("TakeAndGive", func(t *testing.T) { takeAndGive(t, open(t)) })
			t.Run("AllOrNone", func(t *testing.T) { allOrNone(t, open(t)) })
			t.Run("Concurrently", func(t *testing.T) { takeConcurrently(t, open(t)) })
			t.Run("CancelledContext", func(t *testing.T) {
				q := open(t)
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if _, err := q.Take(ctx, "a", noon, noon.Add(time.Hour), policy.Quota{Key: "k", Max: 1}); !errors.Is(err, context.Canceled) {
					t.Errorf("Take: %v", err)
				}
				if err := q.Give(ctx, "a", policy.Quota{Key: "k", Max: 1}); !errors.Is(err, context.Canceled) {
					t.Errorf("Give: %v", err)
				}
			})
		})
	}
}

func takeAndGive(t *testing.T, q policy.Quotas) {
	two := policy.Quota{Key: "k", Max: 2}
	take := func(id string, at time.Duration) *policy.Full {
		t.Helper()
		full, err := q.Take(t.Context(), id, noon.Add(at), noon.Add(at+time.Hour), two)
		if err != nil {
			t.Fatal(err)
		}
		return full
	}
	for _, step := range []struct {
		id   string
		at   time.Duration
		free time.Duration // of the refusal; 0: taken
	}{
		{id: "a"}, {id: "b", at: time.Minute}, {id: "a", at: 2 * time.Minute},
		{id: "c", at: 3 * time.Minute, free: time.Hour},
		{id: "c", at: time.Hour - 1*time.Millisecond, free: time.Hour},
		{id: "c", at: time.Hour},
		{id: "d", at: time.Hour, free: time.Hour + time.Minute},
	} {
		full := take(step.id, step.at)
		if (full == nil) != (step.free == 0) || full != nil && (full.Quota != two || !full.Free.Equal(noon.Add(step.free))) {
			t.Errorf("%s at %v: %+v", step.id, step.at, full)
		}
	}
	if err := q.Give(t.Context(), "c", two); err != nil {
		t.Fatal(err)
	}
	if err := q.Give(t.Context(), "unknown", two); err != nil {
		t.Fatal(err)
	}
	if full := take("e", time.Hour); full != nil {
		t.Errorf("%+v", full)
	}
	// The limit was lowered: there is room when enough have ended.
	full, err := q.Take(t.Context(), "f", noon.Add(time.Hour), noon.Add(2*time.Hour), policy.Quota{Key: "k", Max: 1})
	if err != nil || full == nil || !full.Free.Equal(noon.Add(2*time.Hour)) {
		t.Errorf("%+v (%v)", full, err)
	}
}

func allOrNone(t *testing.T, q policy.Quotas) {
	a, b := policy.Quota{Key: "a", Max: 2}, policy.Quota{Key: "b", Max: 1}
	until := noon.Add(time.Hour)
	if full, err := q.Take(t.Context(), "1", noon, until, b); full != nil || err != nil {
		t.Fatal(full, err)
	}
	for range 3 {
		if full, err := q.Take(t.Context(), "2", noon, until, a, b); full == nil || full.Key != "b" || err != nil {
			t.Fatal(full, err)
		}
	}
	for _, id := range []string{"3", "4"} {
		if full, err := q.Take(t.Context(), id, noon, until, a); full != nil || err != nil {
			t.Errorf("what was refused was counted: %+v (%v)", full, err)
		}
	}
}

func takeConcurrently(t *testing.T, q policy.Quotas) {
	const limit = 5
	var mu sync.Mutex
	var wg sync.WaitGroup
	taken := 0
	for i := range 20 {
		wg.Go(func() {
			full, err := q.Take(t.Context(), fmt.Sprint(i), noon, noon.Add(time.Hour), policy.Quota{Key: "k", Max: limit})
			if err != nil {
				t.Error(err)
			}
			if full == nil {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if taken != limit {
		t.Errorf("%d taken, limit %d", taken, limit)
	}
}
