package slack

import (
	"errors"
	"sync"
	"testing"
	"time"

	"kgent/bot/thread"
)

// A clock that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func at(t time.Time) *clock { return &clock{t: t} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func limitedFor(t *testing.T, err error) time.Duration {
	t.Helper()
	l, ok := errors.AsType[*thread.RateLimitedError](err)
	if !ok {
		t.Fatalf("got %v, want a RateLimitedError", err)
	}
	return l.After
}

func TestBudgetKeepsAReserveForWhatIsUrgent(t *testing.T) {
	c := at(time.Unix(1e9, 0))
	b := newBudget(c.now)
	r := rate{every: time.Second, burst: 5, reserve: 2}
	for i := range 3 {
		if err := b.take("x", r, thread.Tail); err != nil {
			t.Fatalf("take %d: %v", i, err)
		}
	}
	after := limitedFor(t, b.take("x", r, thread.Result))
	for i := range 2 {
		if err := b.take("x", r, thread.Urgent); err != nil {
			t.Fatalf("urgent take %d: %v", i, err)
		}
	}
	limitedFor(t, b.take("x", r, thread.Urgent))
	if err := b.take("y", r, thread.Tail); err != nil {
		t.Errorf("another bucket: %v", err)
	}
	// Two urgent calls later the wait is longer by two, and then exactly long
	// enough.
	if after > time.Second+time.Millisecond {
		t.Errorf("waiting %v, want about a second", after)
	}
	wait := limitedFor(t, b.take("x", r, thread.Tail))
	c.pass(wait - 2*time.Millisecond)
	limitedFor(t, b.take("x", r, thread.Tail))
	c.pass(2 * time.Millisecond)
	if err := b.take("x", r, thread.Tail); err != nil {
		t.Errorf("after the wait it was told: %v", err)
	}
}

func TestBudgetClosed(t *testing.T) {
	c := at(time.Unix(1e9, 0))
	b := newBudget(c.now)
	b.close("x", 7*time.Second)
	if after := limitedFor(t, b.take("x", postRate, thread.Urgent)); after != 7*time.Second {
		t.Errorf("waiting %v, want 7s: Slack's word counts for what is urgent too", after)
	}
	c.pass(7 * time.Second)
	if err := b.take("x", postRate, thread.Urgent); err != nil {
		t.Error(err)
	}
}

// Over any minute no more calls go out than Slack's tier allows.
func TestUpdatesStayWithinSlacksTier(t *testing.T) {
	c := at(time.Unix(1e9, 0))
	b := newBudget(c.now)
	var taken []time.Time
	for range 4 * 60 * 10 {
		if b.take("update", updateRate, thread.Urgent) == nil {
			taken = append(taken, c.t)
		}
		c.pass(100 * time.Millisecond)
	}
	if len(taken) < 170 {
		t.Errorf("%d updates in four minutes: the budget is not used", len(taken))
	}
	for i := range taken {
		if j := i + 50; j < len(taken) && taken[j].Sub(taken[i]) < time.Minute {
			t.Fatalf("51 updates within %v", taken[j].Sub(taken[i]))
		}
	}
}

func TestCacheForgets(t *testing.T) {
	c := at(time.Unix(1e9, 0))
	m := newCache[int](c.now, time.Minute)
	m.since("a", 1, c.t.Add(-30*time.Second))
	if v, ok := m.get("a"); !ok || v != 1 {
		t.Errorf("get = %d, %v", v, ok)
	}
	c.pass(30 * time.Second)
	if _, ok := m.get("a"); ok {
		t.Error("remembered for longer than its life, counted from the question")
	}
	for i := range 2 * maxRemembered {
		m.put(string(rune(i)), i)
	}
	if n := len(m.m); n > maxRemembered {
		t.Errorf("%d entries", n)
	}
}
