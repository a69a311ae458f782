package compare

import (
	"fmt"
	"slices"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// row is an element of an output table that one of the programs has touched, by its key in the
// form of the left program.
type row struct {
	key *symbolic.Bytes
	cpu smt.Term // nil: of all
}

// table compares what two paths leave in an output table: of each row that either touched, whether it is
// there, and what it holds.
func (x *both) table(t tablePair) error {
	same := t.a.perCPU == t.b.perCPU
	if !same {
		if err := addable(t); err != nil {
			return err
		}
	}
	if t.a.perCPU || t.b.perCPU {
		for _, p := range t.cell {
			if p.a.merge != p.b.merge {
				return fmt.Errorf("in table %s, %s is put together from several CPUs in two ways", quote(t.name), orRow(p.a.name))
			}
		}
	}
	x.atOnce(t)
	rows, err := x.rows(t)
	if err != nil {
		return err
	}
	if !same {
		if rows, err = x.merged(t, rows); err != nil {
			return err
		}
	}
	b := x.s.b
	first := len(x.out)
	defer func() { x.keys(t, first) }()
	for _, r := range rows {
		now, err := x.look(t, r, x.a.after, x.b.after)
		if err != nil {
			return err
		}
		if !same {
			x.anywhere(t, r, &now)
		}
		words := func(m smt.Model) string { return x.rowWords(t, r, m) }
		x.claim(Table, t.name, b.Eq(now[left].shown, now[right].shown), func(m smt.Model) (string, string) {
			return rowThere(m.Value(now[left].shown), t.name, words(m)), rowThere(m.Value(now[right].shown), t.name, words(m))
		})
		if !same {
			before, err := x.look(t, r, x.a.from, x.b.from)
			if err != nil {
				return err
			}
			x.grown(t, before, now)
			continue
		}
		where := b.And(now[left].shown, now[right].shown)
		for _, p := range t.cell {
			x.column(Table, t.name, fmt.Sprintf("has a row of table %s with", quote(t.name)), "a row of "+quote(t.name), p, now[left].value, now[right].value, where)
		}
	}
	return nil
}

// atOnce claims that both add to rows that processors share in the same way: at once, or by reading
// and writing back, where one processor can lose what another has added.
func (x *both) atOnce(t tablePair) {
	var torn, written [2]bool
	for who, r := range []*ran{x.a, x.b} {
		for _, e := range r.effectsOf(symbolic.Write) {
			if e.Map != nil && e.Map.Name == mapOf(t, who) {
				written[who] = true
				torn[who] = torn[who] || !e.Atomic
			}
		}
	}
	if !written[left] || !written[right] || torn[left] == torn[right] {
		return
	}
	say := func(torn bool) string {
		if torn {
			return fmt.Sprintf("changes rows of table %s by reading them and writing them back, where processors can lose what others added", quote(t.name))
		}
		return fmt.Sprintf("changes rows of table %s in one step", quote(t.name))
	}
	c := x.claim(Table, t.name, x.s.b.False(), func(smt.Model) (string, string) { return say(torn[left]), say(torn[right]) })
	c.ask = fmt.Sprintf("must the rows of %s be exact when several processors add to them at once?", quote(t.name))
}

// keys puts a claim before those about the rows of a table, if either program changes one row: that it
// is the same one. It fails only where what the table shows differs, too.
func (x *both) keys(t tablePair, first int) {
	var key [2]*symbolic.Bytes
	for who, r := range []*ran{x.a, x.b} {
		for _, e := range r.effectsOf(symbolic.Update, symbolic.Write, symbolic.Delete) {
			if e.Map == nil || e.Map.Name != mapOf(t, who) {
				continue
			}
			if key[who] != nil && !sameBytes(key[who], e.Key) {
				return
			}
			key[who] = e.Key
		}
	}
	if key[left] == nil || key[right] == nil || first >= len(x.out) {
		return
	}
	da, db := x.a.data(key[left]), x.b.data(key[right])
	b := x.s.b
	rows := slices.Clone(x.out[first:])
	var same, shown []smt.Term
	ask := ""
	for _, p := range t.key {
		eq := x.s.same(p, da, db)
		same = append(same, eq)
		if from, to := x.s.eachSource(p, da, db); ask == "" && from != "" && !eq.IsTrue() {
			ask = fmt.Sprintf("should the rows of %s be told apart by %s or by %s?", quote(t.name), from, to)
		}
	}
	for _, c := range rows {
		shown = append(shown, c.holds)
	}
	keyWords := func(m smt.Model, d data, of func(paired) column) string {
		out := ""
		for _, p := range t.key {
			if out != "" {
				out += ", "
			}
			out += fmt.Sprintf("%s = %s", keyName(p.a.name), x.s.value(m, of(p), d))
		}
		return out
	}
	value := func(m smt.Model) (string, string) {
		return keyWords(m, da, func(p paired) column { return p.a }), keyWords(m, db, func(p paired) column { return p.b })
	}
	x.out = x.out[:first]
	c := x.claim(Table, t.name, b.Or(b.And(same...), b.And(shown...)), func(m smt.Model) (string, string) {
		ka, kb := value(m)
		return fmt.Sprintf("changes the row of table %s for %s", quote(t.name), ka), fmt.Sprintf("changes the row for %s", kb)
	})
	c.ask = ask
	c.either = func(m smt.Model) (about, a, b string) {
		a, b = value(m)
		return "this", "counted under " + a + " in " + quote(t.name), "under " + b
	}
	x.out = append(x.out, rows...)
}

// addable tells whether all that is in the cells of a table is added up, so that one for each CPU
// shows what one for all does.
func addable(t tablePair) error {
	for _, p := range t.cell {
		sum := slices.Contains([]string{"", "count", "ns", "us", "ms", "bytes", "pages"}, p.a.merge) && p.a.shape == number
		hist := p.a.shape == opaque && p.a.size == 8*64
		if !sum && !hist {
			return fmt.Errorf("table %s is kept for each CPU by one of the programs only, and %s is not simply added up", quote(t.name), orRow(p.a.name))
		}
	}
	return nil
}

// merged are the rows of a table that one program keeps for each CPU and the other for all, each once
// whatever the CPU. Only the copy of the CPU that the programs run on may have changed.
func (x *both) merged(t tablePair, rows []row) ([]row, error) {
	in, ok := x.inv().Input("cpu")
	if !ok {
		return nil, fmt.Errorf("at %s the processor is not known", x.place.name)
	}
	var out []row
	for _, r := range rows {
		if r.cpu != nil && r.cpu != in.Term {
			for who, run := range []*ran{x.a, x.b} {
				m := x.s.side[who].maps()[mapOf(t, who)]
				if !perCPU(m.Type) {
					continue
				}
				key := r.key
				if who == right {
					var err error
					if key, err = x.s.convert(t.name, key, t.key, false, t.b.keySize); err != nil {
						return nil, err
					}
				}
				p, was := run.from.Lookup(m, key, r.cpu)
				q, is := run.after.Lookup(m, key, r.cpu)
				b := x.s.b
				c := x.claim(Table, t.name, b.Or(b.Eq(r.cpu, in.Term), b.And(b.Eq(run.term(p), run.term(q)), x.s.equalBytes(run.data(was), 0, run.data(is), 0, was.Len()))), nil)
				c.doubt = fmt.Sprintf("copies of other processors in table %s may change, which is not followed", quote(t.name))
			}
		}
		if !slices.ContainsFunc(out, func(o row) bool { return sameBytes(o.key, r.key) }) {
			out = append(out, row{key: r.key})
		}
	}
	return out, nil
}

// anywhere says of a row that is kept for each CPU that it is shown if one of them has it. All begin
// with nothing.
func (x *both) anywhere(t tablePair, r row, now *[2]found) {
	b := x.s.b
	for who, run := range []*ran{x.a, x.b} {
		g := []grid{t.a, t.b}[who]
		if !g.perCPU {
			continue
		}
		m := x.s.side[who].maps()[mapOf(t, who)]
		any := []smt.Term{now[who].shown}
		for _, c := range run.after.Cells(m) {
			key := c.Key
			if who == right {
				var err error
				if key, err = x.s.convert(t.name, key, t.key, true, t.a.keySize); err != nil {
					continue
				}
			}
			there := b.And(run.term(c.Present), x.s.equalBytes(run.data(key), 0, data{r.key, nil}, 0, r.key.Len()))
			if g.array {
				there = b.And(there, b.Not(x.zero(run.data(c.Value))))
			}
			any = append(any, there)
		}
		now[who].shown = b.Or(any...)
	}
}

// zero says that all bytes are zero.
func (x *both) zero(d data) smt.Term {
	var all []smt.Term
	for off := 0; off < d.Len(); off += 8 {
		n := min(8, d.Len()-off)
		all = append(all, x.s.b.Eq(d.at(off, n), x.s.b.Const(uint(8*n), 0)))
	}
	return x.s.b.And(all...)
}

// rows are all that were touched, each once.
func (x *both) rows(t tablePair) ([]row, error) {
	var out []row
	add := func(r row) {
		for _, o := range out {
			if o.cpu == r.cpu && sameBytes(o.key, r.key) {
				return
			}
		}
		out = append(out, r)
	}
	for _, r := range []*ran{x.a, x.b} {
		m := x.s.side[r.who].maps()[mapOf(t, r.who)]
		if m == nil {
			return nil, fmt.Errorf("table %s is not known", quote(t.name))
		}
		for _, c := range r.after.Cells(m) {
			for off := 0; off < c.Key.Len(); off += 8 {
				if slices.ContainsFunc(smt.Vars(c.Key.At(off, min(8, c.Key.Len()-off))), own) {
					return nil, fmt.Errorf("the rows of table %s are found under keys that depend on more than the input", quote(t.name))
				}
			}
			key := c.Key
			if r.who == right {
				var err error
				if key, err = x.s.convert(t.name, key, t.key, true, t.a.keySize); err != nil {
					return nil, err
				}
			}
			add(row{key, c.Cpu})
		}
	}
	return out, nil
}

func mapOf(t tablePair, who int) string {
	if who == left {
		return t.a.name
	}
	return t.b.name
}

// convert lays out a key as the other program has it.
func (s *session) convert(table string, key *symbolic.Bytes, cols []paired, toLeft bool, size int) (*symbolic.Bytes, error) {
	parts := make([]smt.Term, size)
	same := key.Len() == size
	for _, p := range cols {
		from, to := p.a, p.b
		if toLeft {
			from, to = p.b, p.a
		}
		if from.size != to.size || from.big != to.big {
			return nil, fmt.Errorf("the keys of table %s are not of one size, which is not followed", quote(table))
		}
		same = same && from.off == to.off
		for i := range from.size {
			parts[to.off+i] = key.At(from.off+i, 1)
		}
	}
	if same {
		return key, nil
	}
	for i, p := range parts {
		if p == nil {
			parts[i] = s.b.Const(8, 0)
		}
	}
	return symbolic.NewBytes(s.b, parts...), nil
}

// found is a row as one program has it.
type found struct {
	shown smt.Term // whether people see it
	there smt.Term
	value data
}

// look finds a row in the worlds of both.
func (x *both) look(t tablePair, r row, a, b *symbolic.World) ([2]found, error) {
	var out [2]found
	for who, w := range []*symbolic.World{a, b} {
		g := []grid{t.a, t.b}[who]
		key, cpu := r.key, r.cpu
		if who == right {
			var err error
			if key, err = x.s.convert(t.name, key, t.key, false, t.b.keySize); err != nil {
				return out, err
			}
		}
		if !g.perCPU {
			cpu = nil
		} else if cpu == nil {
			in, ok := x.inv().Input("cpu")
			if !ok {
				return out, fmt.Errorf("at %s the processor is not known", x.place.name)
			}
			cpu = in.Term
		}
		m := x.s.side[who].maps()[mapOf(t, who)]
		there, value := w.Lookup(m, key, cpu)
		run := []*ran{x.a, x.b}[who]
		f := found{there: run.term(there), value: run.data(value)}
		f.shown = f.there
		if g.array { // rows of zeroes are not shown
			f.shown = x.s.b.And(f.there, x.s.b.Not(x.zero(f.value)))
		}
		out[who] = f
	}
	return out, nil
}

// inv is the invocation that both ran from.
func (x *both) inv() *symbolic.Invocation {
	if x.a.inv != nil {
		return x.a.inv
	}
	return x.b.inv
}

// grown compares by how much a row's numbers have grown, where one program keeps them for each
// CPU and the other for all.
func (x *both) grown(t tablePair, before, now [2]found) {
	b := x.s.b
	for _, p := range t.cell {
		step := min(p.a.size, 8)
		for off := 0; off < p.a.size; off += step {
			by := func(who int, c column) smt.Term {
				c.off, c.size = c.off+off, min(c.size, 8)
				at := func(f found) smt.Term { return b.Ite(f.there, x.s.numberOf(c, f.value), b.Const(64, 0)) }
				return b.Sub(at(now[who]), at(before[who]))
			}
			ga, gb := by(left, p.a), by(right, p.b)
			x.claim(Table, member(t.name, p.a), b.Eq(ga, gb), func(m smt.Model) (string, string) {
				say := func(g smt.Term) string {
					return fmt.Sprintf("lets %s of a row of table %s grow by %d", orRow(p.a.name), quote(t.name), int64(m.Value(g)))
				}
				return say(ga), say(gb)
			})
		}
	}
}

func rowThere(v uint64, table, words string) string {
	if v != 0 {
		return fmt.Sprintf("has a row in table %s for %s", quote(table), words)
	}
	return fmt.Sprintf("has no row in table %s for %s", quote(table), words)
}

// rowWords say which row it is.
func (x *both) rowWords(t tablePair, r row, m smt.Model) string {
	out := ""
	for _, p := range t.key {
		if out != "" {
			out += ", "
		}
		out += fmt.Sprintf("%s = %s", keyName(p.a.name), x.s.value(m, p.a, data{r.key, nil}))
	}
	return out
}

func keyName(name string) string {
	if name == "" {
		return "the key"
	}
	return clean(name, 64)
}

func sameBytes(x, y *symbolic.Bytes) bool {
	if x.Len() != y.Len() {
		return false
	}
	for off := 0; off < x.Len(); off += 8 {
		n := min(8, x.Len()-off)
		if x.At(off, n) != y.At(off, n) {
			return false
		}
	}
	return true
}
