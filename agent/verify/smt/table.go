package smt

import "sync"

// table is a map from terms to values for one walk through them. It looks terms up by
// their number, and is cleared by counting its users: a walk costs what it
// visits.
type table[V any] struct {
	round uint32
	at    []cell[V]
}

type cell[V any] struct {
	round uint32
	v     V
}

func (t *table[V]) get(x Term) (v V, ok bool) {
	if int(x.id) < len(t.at) {
		if c := &t.at[x.id]; c.round == t.round {
			return c.v, true
		}
	}
	return v, false
}

func (t *table[V]) has(x Term) bool {
	return int(x.id) < len(t.at) && t.at[x.id].round == t.round
}

func (t *table[V]) put(x Term, v V) {
	if int(x.id) >= len(t.at) {
		more := make([]cell[V], int(x.id)+int(x.id)/2+256)
		copy(more, t.at)
		t.at = more
	}
	t.at[x.id] = cell[V]{t.round, v}
}

// begin empties the table.
func (t *table[V]) begin() {
	if t.round++; t.round == 0 { // all numbers were used: forget for real
		clear(t.at)
		t.round = 1
	}
}

// tables keeps tables for the next walk. The numbers of terms are those of
// their Builder, so a table is as large as the largest Builder it was used for.
type tables[V any] struct{ pool sync.Pool }

func (p *tables[V]) take() *table[V] {
	t, ok := p.pool.Get().(*table[V])
	if !ok {
		t = &table[V]{}
	}
	t.begin()
	return t
}

func (p *tables[V]) give(t *table[V]) { p.pool.Put(t) }

var (
	marks   tables[struct{}] // of visit
	numbers tables[uint64]   // of evaluators
	others  tables[Term]     // of substitutions
)
