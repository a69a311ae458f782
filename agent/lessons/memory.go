// Package lessons keeps what programs were refuted for, by hook: in memory, and in Redis for
// all bots together. What is kept is a code and a count; the words for a code are the
// verifier's own and are in kgent, so that nothing that is stored can become part of a prompt.
package lessons

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"kgent/agent"
)

const (
	// Kept is how long a lesson is kept after it was last learnt.
	Kept = 90 * 24 * time.Hour
	// MaxHooks is how many hooks there are lessons of; those that were learnt about longest
	// ago are forgotten first.
	MaxHooks = 500
	// maxCodes bounds the lessons of one hook: more than there are kinds.
	maxCodes = 32
)

// Memory is an [agent.Lessons] in memory.
type Memory struct {
	now   func() time.Time
	mu    sync.Mutex
	hooks map[string]*hook
}

type hook struct {
	Times map[string]int `json:"times"` // by code
	Last  time.Time      `json:"last"`
}

// NewMemory returns an empty one; now is its clock.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, hooks: map[string]*hook{}}
}

var _ agent.Lessons = (*Memory)(nil)

// Learn implements [agent.Lessons].
func (m *Memory) Learn(ctx context.Context, list ...agent.Lesson) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range list {
		h := m.hooks[l.Hook]
		if h == nil || m.now().Sub(h.Last) >= Kept {
			h = &hook{Times: map[string]int{}}
			m.hooks[l.Hook] = h
		}
		if _, known := h.Times[l.Code]; known || len(h.Times) < maxCodes {
			h.Times[l.Code] += max(1, l.Times)
		}
		h.Last = m.now()
	}
	for len(m.hooks) > MaxHooks {
		oldest := ""
		for name, h := range m.hooks {
			if oldest == "" || h.Last.Before(m.hooks[oldest].Last) {
				oldest = name
			}
		}
		delete(m.hooks, oldest)
	}
	return nil
}

// About implements [agent.Lessons].
func (m *Memory) About(ctx context.Context, hooks []string) ([]agent.Lesson, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []agent.Lesson
	for _, name := range hooks {
		h := m.hooks[name]
		if h == nil || m.now().Sub(h.Last) >= Kept {
			continue
		}
		for code, n := range h.Times {
			out = append(out, agent.Lesson{Hook: name, Code: code, Times: n})
		}
	}
	sortLessons(out)
	return out, nil
}

// sortLessons puts those that were learnt most often first.
func sortLessons(list []agent.Lesson) {
	slices.SortFunc(list, func(a, b agent.Lesson) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.Hook, b.Hook), cmp.Compare(a.Code, b.Code))
	})
}
