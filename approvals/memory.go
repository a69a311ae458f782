package approvals

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"kgent/executor/job"
)

// Memory is a [Store] in memory. The zero value is empty and ready. It keeps
// every case until the process ends.
type Memory struct {
	mu    sync.Mutex
	cases map[string]stored
}

type stored struct {
	c Case
	p job.Program
}

// Create implements [Store].
func (m *Memory) Create(ctx context.Context, c Case, p job.Program) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.cases[c.ID]; ok {
		return ErrExists
	}
	if m.cases == nil {
		m.cases = map[string]stored{}
	}
	m.cases[c.ID] = stored{c.clone(), cloneProgram(p)}
	return nil
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, id string) (Case, error) {
	s, err := m.get(ctx, id)
	return s.c.clone(), err
}

// Program implements [Store].
func (m *Memory) Program(ctx context.Context, id string) (job.Program, error) {
	s, err := m.get(ctx, id)
	return cloneProgram(s.p), err
}

func (m *Memory) get(ctx context.Context, id string) (stored, error) {
	if err := ctx.Err(); err != nil {
		return stored{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.cases[id]
	if !ok {
		return stored{}, ErrNotFound
	}
	return s, nil
}

// Swap implements [Store].
func (m *Memory) Swap(ctx context.Context, c Case) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.cases[c.ID]
	switch {
	case !ok:
		return ErrNotFound
	case s.c.Version != c.Version:
		return ErrConflict
	}
	s.c = c.clone()
	s.c.Version++
	m.cases[c.ID] = s
	return nil
}

// Undecided implements [Store].
func (m *Memory) Undecided(ctx context.Context) ([]Case, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Case
	for _, s := range m.cases {
		if s.c.Undecided() {
			out = append(out, s.c.clone())
		}
	}
	slices.SortFunc(out, func(a, b Case) int {
		return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func cloneProgram(p job.Program) job.Program {
	return job.Program{ELF: slices.Clone(p.ELF), Manifest: slices.Clone(p.Manifest), Contract: slices.Clone(p.Contract)}
}
