package team

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"kgent/agent/statefile"
)

// Memory is a [Store] in memory, for one process and for tests. The zero value is empty.
type Memory struct {
	mu  sync.Mutex
	all kept
}

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, r Recipe, fits func([]Recipe) error) error {
	return m.with(ctx, func() error { return m.all.put(r, fits) })
}

// Remove implements [Store].
func (m *Memory) Remove(ctx context.Context, name string) error {
	return m.with(ctx, func() error { return m.all.remove(name) })
}

// List implements [Store].
func (m *Memory) List(ctx context.Context) (out []Recipe, err error) {
	err = m.with(ctx, func() error { out, err = m.all.list(); return err })
	return out, err
}

func (m *Memory) with(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = kept{}
	}
	return do()
}

// kept are recipes by name, as they are stored: nothing is shared.
type kept map[string]json.RawMessage

func (k kept) put(r Recipe, fits func([]Recipe) error) error {
	if fits != nil {
		all, err := k.list()
		if err == nil {
			err = fits(all)
		}
		if err != nil {
			return err
		}
	}
	if _, there := k[r.Name]; !there && len(k) >= MaxRecipes {
		return ErrFull
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keeping recipe %s: %w", r.Name, err)
	}
	k[r.Name] = raw
	return nil
}

func (k kept) remove(name string) error {
	if _, there := k[name]; !there {
		return ErrNone
	}
	delete(k, name)
	return nil
}

func (k kept) list() ([]Recipe, error) {
	var out []Recipe
	for name, raw := range k {
		var r Recipe
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("reading recipes: %w", err)
		}
		if r.Name != name {
			return nil, fmt.Errorf("reading recipes: %q has another name than it is kept under", name)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Recipe) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// File is a [Store] in a file, for one person on one host; see package statefile.
type File struct {
	// Path is the file's.
	Path string
}

// Put implements [Store].
func (f File) Put(ctx context.Context, r Recipe, fits func([]Recipe) error) error {
	all := kept{}
	return f.named(statefile.Change(ctx, f.Path, &all, func() error { return all.put(r, fits) }))
}

// Remove implements [Store].
func (f File) Remove(ctx context.Context, name string) error {
	all := kept{}
	return f.named(statefile.Change(ctx, f.Path, &all, func() error { return all.remove(name) }))
}

// List implements [Store].
func (f File) List(ctx context.Context) ([]Recipe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := kept{}
	if err := statefile.Read(f.Path, &all); err != nil {
		return nil, f.named(err)
	}
	return all.list()
}

// named says what a fault of the file is about.
func (f File) named(err error) error {
	if fault := (*statefile.Error)(nil); errors.As(err, &fault) {
		return fmt.Errorf("kept recipes: %w", err)
	}
	return err
}
