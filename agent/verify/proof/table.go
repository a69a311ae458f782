package proof

import (
	"fmt"
	"slices"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

const statsMap = program.StatsMap

// table compares an output map with a table: each element that the path has
// touched is what it was, with the samples that the contract adds to its key; and each
// sample goes to such an element. Of all other elements neither side changes
// anything.
func (x *comparer) table(t int) error {
	if x.b.script != nil {
		return x.scriptTable(t)
	}
	bound := x.b.tables[t]
	name := x.c.Tables[t].Name
	cells := x.path.cells(x.maps[bound.name])
	var adds []sample
	for _, a := range x.run.adds {
		if a.table == t {
			adds = append(adds, a)
		}
	}
	x.deleted(name, bound.name)
	if len(cells) == 0 && len(adds) == 0 {
		x.claim(name, fmt.Sprintf("%s, table %s gets no sample", x.when(), name), x.words.b.True())
		return nil
	}
	hits := make([][]smt.Term, len(adds)) // by sample and element: it is for that element
	for i, a := range adds {
		var any []smt.Term
		for _, c := range cells {
			hit, err := x.keyIs(t, a.key, c.key)
			if err != nil {
				return err
			}
			// Of the copies that CPUs have, the one of the CPU that the program runs on.
			hit = x.words.b.And(hit, c.here)
			hits[i] = append(hits[i], hit)
			any = append(any, hit)
		}
		words := fmt.Sprintf("%s, a sample is added to table %s under its key", x.when(), name)
		k := x.claim(name+".key", words, x.words.b.Or(any...))
		k.show = x.showKeys(t, a, cells)
		if len(cells) > 0 {
			k.pc = cells[0].key.Wrote(0)
		}
	}
	x.elsewhere(name, cells)
	for j, c := range cells {
		var mine []smt.Term
		for i := range adds {
			if len(cells) == 1 { // that the key is right is a claim of its own
				mine = append(mine, c.here)
				continue
			}
			mine = append(mine, hits[i][j])
		}
		if err := x.cell(t, c, adds, mine); err != nil {
			return err
		}
	}
	return nil
}

// elsewhere claims that the copies of other CPUs stay as they are: those CPUs change them
// at the same time.
func (x *comparer) elsewhere(name string, cells []touched) {
	for _, c := range cells {
		if c.here.IsTrue() {
			continue
		}
		same := x.words.b.And(x.words.b.Eq(c.before, c.after), c.was.Equal(c.is))
		k := x.claim(name+".cpu", fmt.Sprintf("%s, rows of table %s are changed on the CPU that the program runs on only", x.when(), name), x.words.b.Or(c.here, same))
		k.pc = c.pc
		k.show = func(smt.Model) (string, string) {
			return "the copies of other CPUs as they were", "one of them changed"
		}
	}
}

// deleted claims that no row is taken away, not even to be made again: of a per-CPU map that
// takes what all other CPUs counted.
func (x *comparer) deleted(name, in string) {
	for _, e := range x.path.Effects {
		if e.Op != symbolic.Delete || e.Map == nil || e.Map.Name != in || e.Before == nil {
			continue
		}
		c := x.claim(name+".deleted", fmt.Sprintf("%s, no row of table %s is deleted", x.when(), name), x.words.b.Not(e.Before))
		c.pc = e.Pc
		c.show = func(smt.Model) (string, string) { return "the row stays", "it is deleted" }
	}
}

// keyIs says that an element's key is the contract's: each member, and zeroes in
// the filling and behind texts, so that equal keys are one element.
func (x *comparer) keyIs(t int, key []value, at *symbolic.Bytes) (smt.Term, error) {
	bound := x.b.tables[t].key
	b := x.words.b
	var all []smt.Term
	if len(bound.members) == 0 { // one fixed key
		return b.Eq(zeroOf(b, at), b.True()), nil
	}
	for i, m := range bound.members {
		typ := x.c.Tables[t].Key[i].Type
		want, err := x.store(x.held(typ, key[i]), m.size)
		if err != nil {
			return nil, err
		}
		have := at.Slice(m.off, m.size)
		all = append(all, x.match(typ, want, have))
		if typ.Kind == contract.TextKind {
			all = append(all, x.canonical(have))
		}
	}
	for _, p := range bound.pads {
		all = append(all, zeroOf(b, at.Slice(p.off, p.size)))
	}
	return b.And(all...), nil
}

// canonical says that behind the first NUL of a text there are only zeroes.
func (w words) canonical(text *symbolic.Bytes) smt.Term {
	b := w.b
	zero := b.Const(8, 0)
	var all []smt.Term
	for i := 1; i < text.Len(); i++ {
		all = append(all, b.Implies(b.Eq(text.At(i-1, 1), zero), b.Eq(text.At(i, 1), zero)))
	}
	return b.And(all...)
}

func zeroOf(b *smt.Builder, x *symbolic.Bytes) smt.Term {
	return x.Equal(constBytes(b, x.Len()))
}

func (x *comparer) showKeys(t int, a sample, cells []touched) func(smt.Model) (string, string) {
	bound := x.b.tables[t].key
	return func(m smt.Model) (string, string) {
		want := ""
		for i, mm := range bound.members {
			typ := x.c.Tables[t].Key[i].Type
			data, err := x.store(x.held(typ, a.key[i]), mm.size)
			if err != nil {
				continue
			}
			want += fmt.Sprintf("%s: %s ", mm.name, shown(typ, data.Eval(m)))
		}
		got := "no sample at all"
		for _, c := range cells {
			got = ""
			for i, mm := range bound.members {
				got += fmt.Sprintf("%s: %s ", mm.name, shown(x.c.Tables[t].Key[i].Type, c.key.Slice(mm.off, mm.size).Eval(m)))
			}
		}
		return "a sample under " + want, got
	}
}

// cell claims that an element is what it was with the samples that are for it.
func (x *comparer) cell(t int, c touched, adds []sample, mine []smt.Term) error {
	b := x.words.b
	table := x.c.Tables[t]
	added := b.Or(mine...)
	there := b.Or(c.before, added)
	words := fmt.Sprintf("%s, table %s has a row for what was added and no other", x.when(), table.Name)
	k := x.claim(table.Name+".row", words, b.Eq(c.after, there))
	k.pc = c.pc
	k.show = func(m smt.Model) (string, string) { return row(m.Value(there)), row(m.Value(c.after)) }
	for i, m := range x.b.tables[t].value.members {
		if err := x.aggregate(t, i, m, c, adds, mine, there); err != nil {
			return err
		}
	}
	return nil
}

func row(v uint64) string {
	if v != 0 {
		return "a row"
	}
	return "no row"
}

// aggregate claims that a member of a cell has what the samples make of it.
func (x *comparer) aggregate(t, i int, m member, c touched, adds []sample, mine []smt.Term, there smt.Term) error {
	b := x.words.b
	table := x.c.Tables[t]
	tv := table.Table.Values[i]
	now := c.is.Slice(m.off, m.size)
	if tv.Agg == contract.Log2 || tv.Agg == contract.Linear {
		x.histogram(t, i, m, c, adds, mine, there)
		return nil
	}
	cells, err := x.parts(tv.Agg, m, c)
	if err != nil {
		return err
	}
	empty := b.Not(c.before)
	var hyp []smt.Term
	if tv.Agg == contract.Stats {
		// Zeroed is empty; a counter of 64 bits does not come round.
		blank := b.Eq(cells[0], x.number(0))
		hyp = append(hyp, b.Implies(blank, b.And(b.Eq(cells[1], x.number(0)), b.Eq(cells[2], x.number(0)), b.Eq(cells[3], x.number(0)))),
			b.Ne(cells[0], x.number(^uint64(0))))
		empty = b.Or(empty, blank)
	}
	for n, a := range adds {
		v := a.fields[i]
		if v == nil {
			continue
		}
		if v.term == nil {
			return fmt.Errorf("a sample of table %s is no number", table.Name)
		}
		sample := b.ZeroExt(64, x.held(table.Values[i].Type, *v).term)
		next := x.add(tv.Agg, cells, sample, empty)
		for j := range cells {
			cells[j] = b.Ite(mine[n], next[j], cells[j])
		}
		empty = b.And(empty, b.Not(mine[n]))
	}
	want := x.whole(cells, m.size)
	words := fmt.Sprintf("%s, %s of table %s is what it was with the samples added (%s)", x.when(), orCell(tv.Name), table.Name, tv.Agg)
	holds := b.Implies(b.And(append(hyp, there, c.after)...), want.Equal(now))
	k := x.claim(table.Name+"."+orCell(tv.Name), words, holds)
	k.pc = now.Wrote(0)
	k.show = func(model smt.Model) (string, string) {
		return cellShown(tv.Agg, want.Eval(model)), cellShown(tv.Agg, now.Eval(model))
	}
	return nil
}

// parts are the numbers that a cell has, before; zeroes if it was not there. Of
// statistics they are count, sum, min, max.
func (x *comparer) parts(agg contract.Agg, m member, c touched) ([]smt.Term, error) {
	b := x.words.b
	n, size := 1, m.size
	if agg == contract.Stats {
		n, size = 4, 8
	}
	if size > 8 {
		return nil, fmt.Errorf("a %s of %d bytes is not modelled", agg, size)
	}
	out := make([]smt.Term, n)
	for i := range out {
		was := b.ZeroExt(64, c.was.Slice(m.off, m.size).At(i*size, size))
		out[i] = b.Ite(c.before, was, x.number(0))
	}
	return out, nil
}

// add is what a cell becomes by one sample.
func (x *comparer) add(agg contract.Agg, cells []smt.Term, v, empty smt.Term) []smt.Term {
	b := x.words.b
	least := func(old smt.Term) smt.Term { return b.Ite(b.Or(empty, b.Ult(v, old)), v, old) }
	most := func(old smt.Term) smt.Term { return b.Ite(b.Or(empty, b.Ult(old, v)), v, old) }
	switch agg {
	case contract.Count, contract.Sum:
		return []smt.Term{b.Add(cells[0], v)}
	case contract.Min:
		return []smt.Term{least(cells[0])}
	case contract.Max:
		return []smt.Term{most(cells[0])}
	case contract.Stats:
		return []smt.Term{b.Add(cells[0], x.number(1)), b.Add(cells[1], v), least(cells[2]), most(cells[3])}
	}
	return []smt.Term{v} // last
}

func (x *comparer) whole(cells []smt.Term, size int) *symbolic.Bytes {
	each := size / len(cells)
	parts := make([]smt.Term, len(cells))
	for i, c := range cells {
		parts[i] = x.cut(c, each*8)
	}
	return symbolic.NewBytes(x.words.b, parts...)
}

// histogram claims that each slot has grown by the samples that belong to it.
func (x *comparer) histogram(t, i int, m member, c touched, adds []sample, mine []smt.Term, there smt.Term) {
	b := x.words.b
	table := x.c.Tables[t]
	tv := table.Table.Values[i]
	slots := m.size / 8
	was := c.was.Slice(m.off, m.size)
	now := c.is.Slice(m.off, m.size)
	index := make([]smt.Term, len(adds))
	for n, a := range adds {
		if a.fields[i] != nil {
			index[n] = x.slotOf(tv, b.ZeroExt(64, x.held(table.Values[i].Type, *a.fields[i]).term))
		}
	}
	all := make([]smt.Term, slots)
	wants := make([]smt.Term, slots)
	for s := range slots {
		want := b.Ite(c.before, was.At(8*s, 8), x.number(0))
		for n := range adds {
			if index[n] != nil {
				hit := b.And(mine[n], b.Eq(index[n], x.number(uint64(s))))
				want = b.Ite(hit, b.Add(want, x.number(1)), want)
			}
		}
		wants[s] = want
		all[s] = b.Eq(want, now.At(8*s, 8))
	}
	words := fmt.Sprintf("%s, in %s of table %s the slot of each sample grows by 1 and no other changes", x.when(), orCell(tv.Name), table.Name)
	k := x.claim(table.Name+"."+orCell(tv.Name), words, b.Implies(b.And(there, c.after), b.And(all...)))
	k.pc = c.pc
	for n, a := range adds {
		if index[n] != nil && tv.Agg == contract.Log2 {
			v := b.ZeroExt(64, x.held(table.Values[i].Type, *a.fields[i]).term)
			k.value, k.spread = v, func(v smt.Term) (smt.Term, []smt.Term) {
				return x.vary(v, x.powers(fmt.Sprintf("any value in %s", k.id)))
			}
			k.over, k.ranges = k.spread(v)
		}
	}
	k.show = func(model smt.Model) (string, string) {
		return grown(model, wants, was, c), grownBytes(model, now, was, c)
	}
}

// slotOf is the slot of a histogram that a sample belongs to.
func (x *comparer) slotOf(tv contract.TableValue, v smt.Term) smt.Term {
	b := x.words.b
	if tv.Agg == contract.Linear {
		slot := b.UDiv(v, x.number(max(tv.Step, 1)))
		last := x.number(tv.Slots - 1)
		return b.Ite(b.Ult(slot, last), slot, last)
	}
	// 0 for 0, else 1 + floor(log2 v), at most 63.
	out := x.number(0)
	for i := uint64(0); i < 63; i++ {
		out = b.Ite(b.Ule(x.number(1<<i), v), x.number(min(i+1, 63)), out)
	}
	return out
}

// vary finds what has to be replaced by what for a sum to have given values: one of its
// variables by the value less the rest, else the whole.
func (x *comparer) vary(v smt.Term, values []smt.Term) (smt.Term, []smt.Term) {
	if v.Op() != smt.OpAdd {
		return v, values
	}
	for _, u := range v.Args() {
		rest := x.words.b.Sub(v, u)
		if u.Op() != smt.OpVar || slices.Contains(smt.Vars(rest), u) {
			continue
		}
		out := make([]smt.Term, len(values))
		for i, r := range values {
			out[i] = x.words.b.Sub(r, rest)
		}
		return u, out
	}
	return v, values
}

// powers are terms that together have all values of 64 bits: 0, and for each slot of a
// log2 histogram the values in it.
func (x *comparer) powers(name string) []smt.Term {
	b := x.words.b
	out := []smt.Term{x.number(0), x.number(1)}
	for bit := uint(1); bit < 64; bit++ {
		low := b.Var(bit, &smt.Info{Name: fmt.Sprintf("%s: %d low bits", name, bit), Data: &symbolic.Input{Kind: symbolic.Data, Name: name, Invocation: -1, Bits: bit, Pc: -1}})
		out = append(out, b.ZeroExt(64, b.Concat(b.Const(1, 1), low)))
	}
	return out
}

func grown(m smt.Model, wants []smt.Term, was *symbolic.Bytes, c touched) string {
	return slotsGrown(m, c, was, func(s int) uint64 { return m.Value(wants[s]) }, len(wants))
}

func grownBytes(m smt.Model, now, was *symbolic.Bytes, c touched) string {
	return slotsGrown(m, c, was, func(s int) uint64 { return m.Value(now.At(8*s, 8)) }, now.Len()/8)
}

func slotsGrown(m smt.Model, c touched, was *symbolic.Bytes, is func(int) uint64, n int) string {
	out := ""
	for s := range n {
		old := uint64(0)
		if m.Value(c.before) == 1 {
			old = m.Value(was.At(8*s, 8))
		}
		if d := is(s) - old; d != 0 {
			out += fmt.Sprintf("slot %d grows by %d ", s, int64(d))
		}
	}
	if out == "" {
		return "no slot grows"
	}
	return out
}

func cellShown(agg contract.Agg, data []byte) string {
	if agg != contract.Stats || len(data) != 32 {
		return shown(contract.Type{Kind: contract.Int}, data)
	}
	n := func(i int) string { return shown(contract.Type{Kind: contract.Int}, data[8*i:8*i+8]) }
	return fmt.Sprintf("count %s, sum %s, min %s, max %s", n(0), n(1), n(2), n(3))
}
