package quota

import (
	"context"
	"maps"
	"sync"
	"time"
)

// Memory keeps counters in this process. Use [NewMemory].
type Memory struct {
	now  func() time.Time
	mu   sync.Mutex
	used map[string]*counter
}

type counter struct {
	Taken
	until time.Time
}

// NewMemory returns an empty store.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, used: map[string]*counter{}}
}

// Take implements [Store].
func (m *Memory) Take(_ context.Context, key string, want, limit Use, until time.Time) (Use, Taken, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	maps.DeleteFunc(m.used, func(_ string, c *counter) bool { return now.After(c.until.Add(kept)) })
	c := m.used[key]
	if c == nil {
		c = &counter{until: until}
		m.used[key] = c
	}
	got, ok := grant(c.All, want, limit)
	if !ok {
		return Use{}, c.Taken, false, nil
	}
	c.All, c.Held = c.All.Plus(got), c.Held.Plus(got)
	return got, c.Taken, true, nil
}

// Settle implements [Store].
func (m *Memory) Settle(_ context.Context, key string, got, used Use) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.used[key]; c != nil {
		c.All, c.Held = c.All.Minus(got).Plus(used), c.Held.Minus(got)
	}
	return nil
}

// kept is how long counters are kept after their window, for requests that end after it.
const kept = time.Hour
