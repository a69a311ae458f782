package team

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// Memory is a [Store] in memory, for one process and for tests. The zero value is empty.
type Memory struct {
	mu  sync.Mutex
	all map[string][]byte // as they would be stored: nothing is shared
}

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, r Recipe) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keeping recipe %s: %w", r.Name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.all[r.Name]; !there && len(m.all) >= MaxRecipes {
		return ErrFull
	}
	if m.all == nil {
		m.all = map[string][]byte{}
	}
	m.all[r.Name] = raw
	return nil
}

// Remove implements [Store].
func (m *Memory) Remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.all[name]; !there {
		return ErrNone
	}
	delete(m.all, name)
	return nil
}

// List implements [Store].
func (m *Memory) List(ctx context.Context) ([]Recipe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Recipe
	for _, raw := range m.all {
		var r Recipe
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("reading recipes: %w", err)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Recipe) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}
