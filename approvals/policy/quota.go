package policy

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Quota is how many things may be counted under a key at the same time.
type Quota struct {
	Key string
	Max int
}

// Full says which quota leaves no room, and when it does again at the latest.
type Full struct {
	Quota
	Free time.Time
}

// Quotas counts what people do, over all processes.
type Quotas interface {
	// Take counts id under every key until a time, or under none and says which
	// of them is full. What is counted already is not counted again and
	// is never too much.
	Take(ctx context.Context, id string, now, until time.Time, of ...Quota) (*Full, error)
	// Give ends the counting of id early.
	Give(ctx context.Context, id string, of ...Quota) error
}

// MemoryQuotas counts in memory. The zero value is ready.
type MemoryQuotas struct {
	mu    sync.Mutex
	taken map[string]map[string]time.Time // key → id → until
}

// Take implements [Quotas].
func (m *MemoryQuotas) Take(ctx context.Context, id string, now, until time.Time, of ...Quota) (*Full, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range of {
		held := m.taken[q.Key]
		for old, end := range held {
			if !end.After(now) {
				delete(held, old)
			}
		}
		if _, ok := held[id]; ok || len(held) < q.Max {
			continue
		}
		ends := make([]time.Time, 0, len(held))
		for _, end := range held {
			ends = append(ends, end)
		}
		slices.SortFunc(ends, time.Time.Compare)
		return &Full{q, ends[len(ends)-q.Max]}, nil
	}
	if m.taken == nil {
		m.taken = map[string]map[string]time.Time{}
	}
	for _, q := range of {
		if m.taken[q.Key] == nil {
			m.taken[q.Key] = map[string]time.Time{}
		}
		if _, ok := m.taken[q.Key][id]; !ok {
			m.taken[q.Key][id] = until
		}
	}
	return nil, nil
}

// Give implements [Quotas].
func (m *MemoryQuotas) Give(ctx context.Context, id string, of ...Quota) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range of {
		if delete(m.taken[q.Key], id); len(m.taken[q.Key]) == 0 {
			delete(m.taken, q.Key)
		}
	}
	return nil
}
