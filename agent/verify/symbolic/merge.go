package symbolic

import (
	"maps"
	"slices"

	"kgent/agent/verify/smt"
)

// mergeAll merges states that have arrived at the same place as far as that is
// possible, those first that parted last.
func (x *run) mergeAll(states []*state) []*state {
	if len(states) == 1 || x.noMerge {
		return states
	}
	var done []*state
	for len(states) > 1 {
		deepest := 0
		for i, s := range states {
			if s.cond.depthOf() > states[deepest].cond.depthOf() {
				deepest = i
			}
		}
		s := states[deepest]
		states = slices.Delete(states, deepest, deepest+1)
		best, at := -1, -1
		for i, t := range states {
			if d := meet(s.cond, t.cond).depthOf(); d > at {
				best, at = i, d
			}
		}
		if merged := x.merge(s, states[best]); merged != nil {
			x.out.Stats.Merges++
			states[best] = merged
			continue
		}
		if i := x.mergeAny(s, states, best); i < 0 {
			done = append(done, s)
		}
	}
	return append(done, states...)
}

// mergeAny tries to merge s with one of the states other than the one tried
// before, and returns its index, -1 if none fits.
func (x *run) mergeAny(s *state, states []*state, tried int) int {
	for i, t := range states {
		if i == tried || !slices.Equal(s.effects, t.effects) {
			continue
		}
		if merged := x.merge(s, t); merged != nil {
			x.out.Stats.Merges++
			states[i] = merged
			return i
		}
	}
	return -1
}

func (n *node) depthOf() int {
	if n == nil {
		return 0
	}
	return n.depth
}

// meet is the last condition that two paths share.
func meet(a, b *node) *node {
	for a != b {
		if a.depthOf() >= b.depthOf() {
			a = a.up
		} else {
			b = b.up
		}
	}
	return a
}

// below are the conditions after n, the first first.
func (n *node) below(from *node) []smt.Term {
	var out []smt.Term
	for ; n != from; n = n.up {
		out = append(out, n.term)
	}
	slices.Reverse(out)
	return out
}

// merge makes one state of two at the same place, nil if they differ in more
// than values. States never overlap: the conditions of two of them cannot hold
// at once. So "what a holds if a's condition is true, else what b holds" is
// exact.
func (x *run) merge(a, b *state) *state {
	base := meet(a.cond, b.cond)
	onlyA, onlyB := a.cond.below(base), b.cond.below(base)
	if len(onlyA) == 0 || len(onlyB) == 0 {
		return nil // one is part of the other: not the result of a fork
	}
	if !x.sameShape(a, b) {
		return nil
	}
	g := &merger{x: x, a: a, b: b}
	var either smt.Term
	if onlyB[0] == x.b.Not(onlyA[0]) {
		g.guard = onlyA[0]
		either = x.b.Ite(g.guard, x.b.And(onlyA[1:]...), x.b.And(onlyB[1:]...))
	} else {
		g.guard = x.b.And(onlyA...)
		either = x.b.Or(g.guard, x.b.And(onlyB...))
	}
	m := a.fork()
	m.cond = base
	if !either.IsTrue() {
		m.cond = base.add(either)
	}
	if a.model == nil {
		m.model = b.model
	}
	m.forks = max(a.forks, b.forks)
	if !g.elements(m) || !g.frames(m) || !g.memory(m) || !g.context(m) {
		return nil
	}
	m.own = new(owner)
	return m
}

// sameShape tells whether two states did the same things to the outside.
func (x *run) sameShape(a, b *state) bool {
	return slices.Equal(a.effects, b.effects) && slices.Equal(a.unknown, b.unknown) &&
		slices.Equal(a.open, b.open) && maps.Equal(a.hands, b.hands) && slices.Equal(a.losses, b.losses) && a.locks == b.locks && a.randoms == b.randoms && len(a.frames) == len(b.frames) &&
		slices.Equal(a.timers, b.timers)
}

// merger merges two states under the condition that the first is the one.
type merger struct {
	x     *run
	a, b  *state
	guard smt.Term
}

func (g *merger) term(a, b smt.Term) smt.Term {
	if a == b {
		return a
	}
	return g.x.b.Ite(g.guard, a, b)
}

// value merges two values; ok is false if they are of different kinds.
func (g *merger) value(a, b Value) (Value, bool) {
	if a == b {
		return a, true
	}
	if a.Term == nil || b.Term == nil {
		return Value{}, true // not initialised on one side: unreadable on both
	}
	if a.Map != b.Map || a.Func != b.Func {
		return Value{}, false
	}
	if a.Region == b.Region {
		v := a
		v.Term = g.term(a.Term, b.Term)
		if a.Region != nil && (a.Valid != nil || b.Valid != nil) {
			v.Valid = g.term(g.valid(a), g.valid(b))
		}
		return v, true
	}
	// A pointer and NULL are a pointer that may be NULL.
	if zero(a) && b.Region != nil {
		b.Valid = g.x.b.And(g.x.b.Not(g.guard), g.valid(b))
		return b, true
	}
	if zero(b) && a.Region != nil {
		a.Valid = g.x.b.And(g.guard, g.valid(a))
		return a, true
	}
	return Value{}, false
}

func zero(v Value) bool {
	if !v.scalar() {
		return false
	}
	c, ok := v.Term.Const()
	return ok && c == 0
}

func (g *merger) valid(v Value) smt.Term {
	if v.Valid == nil {
		return g.x.b.True()
	}
	return v.Valid
}

func (g *merger) frames(m *state) bool {
	for i := range m.frames {
		fa, fb, fm := &g.a.frames[i], &g.b.frames[i], &m.frames[i]
		if fa.stack != fb.stack || !sameCallback(fa.back, fb.back) {
			return false
		}
		live := g.x.flow.live[fa.pc]
		if i < len(m.frames)-1 {
			// A caller: what it reads after the call, which is everything it
			// reads from there but what the call overwrites.
			live = g.x.flow.live[fa.pc] | 0b1111000000
		}
		for r := range 10 {
			if live&(1<<r) == 0 {
				fm.regs[r] = Value{}
				continue
			}
			v, ok := g.value(fa.regs[r], fb.regs[r])
			if !ok {
				return false
			}
			fm.regs[r] = v
		}
	}
	return true
}

func sameCallback(a, b *callback) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.turn == b.turn && a.limit == b.limit && a.fn == b.fn && a.ctx == b.ctx && a.m == b.m && slices.Equal(a.elements, b.elements)
}

func (g *merger) memory(m *state) bool {
	for r, cb := range g.b.mem {
		if m.mem[r] == nil {
			m.mem[r] = cb.clone()
		}
	}
	for r, ca := range g.a.mem {
		cb := g.b.mem[r]
		if cb == nil {
			continue
		}
		if !g.content(m, r, ca, cb) {
			return false
		}
	}
	return true
}

func (g *merger) content(m *state, r *Region, ca, cb *content) bool {
	cm := m.mem[r]
	cm.plain = ca.plain || cb.plain
	for i := range ca.pages {
		if ca.pages[i] == cb.pages[i] {
			continue
		}
		for j := range pageBytes {
			off := i*pageBytes + j
			if off >= r.Size {
				break
			}
			if !g.octet(m, cm, r, off, ca, cb) {
				return false
			}
		}
	}
	return true
}

func (g *merger) octet(m *state, cm *content, r *Region, off int, ca, cb *content) bool {
	oa, ob := ca.raw(off), cb.raw(off)
	if oa.term == ob.term && oa.part == ob.part && oa.ptr == ob.ptr {
		return true
	}
	if oa.ptr != nil || ob.ptr != nil {
		if oa.ptr == nil || ob.ptr == nil {
			if !g.dead(r, oa, ob) {
				return false
			}
			cm.set(m.own, off, octet{pc: -1}) // reading it gives poison
			return true
		}
		v, ok := g.value(*oa.ptr, *ob.ptr)
		if !ok || oa.part != ob.part {
			return false
		}
		o := octet{ptr: &v, part: oa.part, pc: oa.pc}
		if off > 0 && oa.part > 0 {
			if prev := cm.raw(off - 1); prev.ptr != nil && prev.part+1 == oa.part && *prev.ptr == v {
				o.ptr = prev.ptr
			}
		}
		cm.set(m.own, off, o)
		return true
	}
	oa, ob = ca.get(r, off), cb.get(r, off)
	pc := oa.pc
	if pc < 0 {
		pc = ob.pc
	}
	if oa.part == ob.part && oa.term.Width() == ob.term.Width() {
		cm.set(m.own, off, octet{term: g.term(oa.term, ob.term), part: oa.part, pc: pc})
		return true
	}
	one := []octet{oa}
	two := []octet{ob}
	cm.set(m.own, off, octet{term: g.term(joinOctets(g.x.b, one), joinOctets(g.x.b, two)), pc: pc})
	return true
}

// dead tells whether a byte that is a pointer in one state and something else
// in the other can be forgotten: it is on a stack and was never written in the
// other state, so no program that the kernel accepts reads it here.
func (g *merger) dead(r *Region, oa, ob octet) bool {
	return r.Kind == StackRegion && (oa.ptr == nil && oa.term == nil || ob.ptr == nil && ob.term == nil)
}

// raw is a byte as it was written; nothing if it was not.
func (c *content) raw(off int) octet {
	if p := c.pages[off/pageBytes]; p != nil {
		return p.oct[off%pageBytes]
	}
	return octet{}
}

// elements brings both states to the same elements of every map.
func (g *merger) elements(m *state) bool {
	for mp := range g.a.elems {
		if !g.complete(g.b, mp, g.a.elems[mp]) {
			return false
		}
	}
	for mp := range g.b.elems {
		if !g.complete(g.a, mp, g.b.elems[mp]) {
			return false
		}
		list, ok := g.mergeElements(mp)
		if !ok {
			return false
		}
		m.elems[mp] = list
	}
	for r, c := range g.a.mem {
		if m.mem[r] == nil {
			m.mem[r] = c.clone()
		}
	}
	return true
}

// complete adds those elements to s that only the other state has looked at.
// They hold what they held at first.
func (g *merger) complete(s *state, mp *Map, others []*element) bool {
	for _, e := range others {
		if g.x.findElement(s, mp, e.key, e.cpu) != nil {
			continue
		}
		for _, own := range s.elems[mp] {
			same := g.x.sameElement(own, e.key, e.cpu)
			if same.IsFalse() {
				continue
			}
			if _, possible := g.x.possible(s, same); possible {
				return false
			}
		}
		g.x.addElement(s, mp, e.key, e.cpu)
	}
	return true
}

func (g *merger) mergeElements(mp *Map) ([]*element, bool) {
	var out []*element
	for _, ea := range g.a.elems[mp] {
		eb := g.x.findElement(g.b, mp, ea.key, ea.cpu)
		if eb == nil || ea.region != eb.region {
			return nil, false
		}
		if ea == eb {
			out = append(out, ea)
			continue
		}
		if ea.base != eb.base {
			return nil, false
		}
		e := *ea
		e.present = g.term(ea.present, eb.present)
		out = append(out, &e)
	}
	return out, true
}

// context merges what was stored to the context and the packet's bounds.
func (g *merger) context(m *state) bool {
	if len(g.a.ctx.fields) != len(g.b.ctx.fields) {
		return false
	}
	for name, va := range g.a.ctx.fields {
		vb, ok := g.b.ctx.fields[name]
		if !ok {
			return false
		}
		v, ok := g.value(va, vb)
		if !ok {
			return false
		}
		m.ctx.fields[name] = v
	}
	pa, pb := g.a.packet, g.b.packet
	if pa.region != pb.region || pa.changed != pb.changed {
		return false
	}
	if pa.region != nil {
		m.packet.head, m.packet.tail = g.term(pa.head, pb.head), g.term(pa.tail, pb.tail)
	}
	for _, r := range g.b.reads {
		if !slices.Contains(m.reads, r) {
			m.reads = append(m.reads, r)
		}
	}
	return true
}
