package smt

import (
	"context"
	"slices"
	"sync"
)

// cache remembers answers by the set of formulas. When it is full, the older
// half is forgotten.
type cache struct {
	mu         sync.Mutex
	limit      int
	young, old map[uint64][]cached
	count      int // in young
}

type cached struct {
	formulas []Term // sorted
	answer   Answer
}

func newCache(limit int) *cache {
	return &cache{limit: limit, young: make(map[uint64][]cached)}
}

func hashOf(formulas []Term) uint64 {
	h := uint64(len(formulas))
	for _, f := range formulas {
		h = (h ^ f.hash) * 0x9e3779b97f4a7c15
		h ^= h >> 31
	}
	return h
}

func (c *cache) get(formulas []Term) (Answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := hashOf(formulas)
	for _, half := range []map[uint64][]cached{c.young, c.old} {
		for _, e := range half[h] {
			if slices.Equal(e.formulas, formulas) {
				return e.answer, true
			}
		}
	}
	return Answer{}, false
}

func (c *cache) put(formulas []Term, a Answer) {
	if c.limit <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count >= (c.limit+1)/2 {
		c.old, c.young, c.count = c.young, make(map[uint64][]cached), 0
	}
	h := hashOf(formulas)
	c.young[h] = append(c.young[h], cached{slices.Clone(formulas), a})
	c.count++
}

// Remember is a Solver that keeps up to n answers of another, by the set of
// formulas. Unknown is not kept: the next time there may be more time.
func Remember(s Solver, n int) Solver {
	return &remembering{s, newCache(n)}
}

type remembering struct {
	Solver
	cache *cache
}

func (r *remembering) Check(ctx context.Context, formulas ...Term) (Answer, error) {
	set := slices.Compact(sorted(formulas))
	if a, ok := r.cache.get(set); ok {
		return a, nil
	}
	a, err := r.Solver.Check(ctx, set...)
	if err == nil && a.Result != Unknown {
		r.cache.put(set, a)
	}
	return a, err
}
