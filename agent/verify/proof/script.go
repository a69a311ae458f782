package proof

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// A script has the same contract, and the same proof, as a program in C. Two things
// differ, both because bpftrace makes the outputs: what an event or a cell of a map means
// is in no BTF but in a [program.Form]; and some functions keep what they count in another
// way than kgent's own cells. So events are brought into the order of the contract as soon
// as the machine has run (see scripted.path), and tables of scripts are compared by
// functions of their own, as the form says that bpftrace reads them.

// scripted is the part of a binding that only scripts have.
type scripted struct {
	form   *program.Form
	prints map[uint64]printBinding // by their number
	tables []program.FormMap       // by the contract's tables
	suffix []int                   // by table: where the number behind the key is, -1 for none
	lines  map[string]int          // of events and tables
	consts map[string]*symbolic.Bytes
}

// printBinding says which part of a record each column of a formatted line becomes.
type printBinding struct {
	program.FormPrint
	ring *symbolic.Map
	to   []int // by column: the offset in the record
	size int   // of the record
	// bits and signed are, by column, of the number in the contract.
	bits   []int
	signed []bool
}

// linked returns the collection of an object that is judged.
func (in Input) linked(o *program.Object) (*ebpf.CollectionSpec, error) {
	if in.Form != nil {
		return o.ScriptCollection(in.Form)
	}
	return o.Collection(in.Manifest, nil)
}

// bindScript binds the outputs of a script to a contract. See bind.
func bindScript(b *smt.Builder, c *contract.Checked, f *program.Form, m *program.Manifest) (*binding, []finding, error) {
	x := &scriptBinder{binder: binder{c: c, b: &binding{internal: map[string]bool{}, outputs: map[string]int{}, rings: map[string]int{}}}, form: f}
	x.b.script = &scripted{form: f, prints: map[uint64]printBinding{}, lines: map[string]int{}, consts: map[string]*symbolic.Bytes{}}
	for _, name := range f.Scratch {
		x.b.internal[name] = true
	}
	x.events()
	x.tables()
	for _, p := range c.Params {
		if p.Default == nil && p.Type.InMemory() > 0 {
			x.b.script.consts[p.Name] = constBytes(b, p.Type.InMemory())
			continue
		}
		data := make([]byte, p.Type.InMemory())
		if p.Default.Op == contract.OpText {
			copy(data, p.Default.Text)
		} else {
			for i := range min(8, len(data)) {
				data[i] = byte(p.Default.Bits >> (8 * i))
			}
		}
		x.b.script.consts[p.Name] = symbolic.ConstBytes(b, data)
	}
	if err := x.places(m); err != nil {
		return nil, nil, err
	}
	return x.b, x.findings, nil
}

type scriptBinder struct {
	binder
	form *program.Form
}

// events pairs formatted lines with events: by how many values they have, then in their
// order.
func (x *scriptBinder) events() {
	prints := slices.Clone(x.form.Prints)
	x.b.events = make([]recordBinding, len(x.c.Events))
	for i, e := range x.c.Events {
		at := slices.IndexFunc(prints, func(p program.FormPrint) bool { return len(p.Columns) == len(e.Members) })
		if at < 0 && e.More {
			at = slices.IndexFunc(prints, func(p program.FormPrint) bool { return len(p.Columns) > len(e.Members) })
		}
		if at < 0 && len(prints) > 0 && len(x.c.Events) == 1 {
			at = 0
		}
		if at < 0 {
			x.find(e.Name, fmt.Sprintf("the script prints the event %s", e.Name), "a printf() of "+membersOf(e.Members), fmt.Sprintf("%d other printf()", len(prints)))
			continue
		}
		p := prints[at]
		prints = slices.Delete(prints, at, at+1)
		x.print(i, p)
	}
	for _, p := range prints {
		x.find(fmt.Sprintf("printf in line %d", p.Line), "the contract has an event for each printf() of the script", "no such printf()", fmt.Sprintf("printf() in line %d", p.Line))
	}
}

// print binds one formatted line to an event.
func (x *scriptBinder) print(i int, p program.FormPrint) {
	e := x.c.Events[i]
	what := fmt.Sprintf("the printf() in line %d", p.Line)
	name := fmt.Sprintf("printf %d in line %d", p.ID+1, p.Line)
	x.b.script.lines[e.Name], x.b.script.lines[name] = p.Line, p.Line
	bound := printBinding{FormPrint: p, ring: &symbolic.Map{Name: name, Type: ebpf.RingBuf}, to: make([]int, len(p.Columns)), bits: make([]int, len(p.Columns)), signed: make([]bool, len(p.Columns))}
	record := recordBinding{name: name, members: make([]member, len(e.Members))}
	for n, at := range x.columns(what, p.Columns, e.Members, e.More) {
		m := e.Members[n]
		if at < 0 {
			continue
		}
		col := p.Columns[at]
		record.members[n] = columnMember(m, bound.size, col)
		bound.bits[at], bound.signed[at] = 64, m.Type.Signed
		if m.Type.Kind == contract.Int {
			bound.bits[at] = int(m.Type.Bits)
		}
		bound.to[at] = bound.size
		bound.size += col.Size
		if called(e.Members, col.Label) && !strings.EqualFold(col.Label, m.Name) {
			x.find(what+"."+m.Name, fmt.Sprintf("%s calls %s by its name", what, m.Name), m.Name, col.Label)
		}
		x.said(fmt.Sprintf("%s.%s is %s, printed in line %d", e.Name, m.Name, col.Shown, p.Line))
	}
	for at, col := range p.Columns { // those that the contract leaves open
		if bound.bits[at] == 0 {
			bound.to[at], bound.bits[at] = bound.size, 64
			bound.size += col.Size
		}
	}
	record.size = bound.size
	x.b.events[i], x.b.rings[name] = record, i
	x.b.script.prints[p.ID] = bound
}

// called tells whether one of the members has a name.
func called(members []contract.CheckedMember, name string) bool {
	return slices.ContainsFunc(members, func(m contract.CheckedMember) bool { return strings.EqualFold(m.Name, name) })
}

func (x *scriptBinder) said(line string) { x.b.said = append(x.b.said, line) }

// columnMember is where a member of the contract is, as a column shows it.
func columnMember(m contract.CheckedMember, off int, col program.FormColumn) member {
	return member{name: m.Name, off: off, size: col.Size, meaning: m.Type.Meaning, text: col.Text}
}

// columns finds the column of each member: the one of its name or meaning, then in their
// order. -1 where there is none, which is a finding.
func (x *scriptBinder) columns(what string, cols []program.FormColumn, want []contract.CheckedMember, more bool) []int {
	out := make([]int, len(want))
	used := make([]bool, len(cols))
	take := func(fits func(col program.FormColumn, m contract.CheckedMember) bool) {
		for n, m := range want {
			if out[n] >= 0 {
				continue
			}
			for at, col := range cols {
				if !used[at] && showable(col, m.Type) && fits(col, m) {
					out[n], used[at] = at, true
					break
				}
			}
		}
	}
	for n := range out {
		out[n] = -1
	}
	take(func(col program.FormColumn, m contract.CheckedMember) bool {
		return strings.EqualFold(col.Name, m.Name)
	})
	take(func(col program.FormColumn, m contract.CheckedMember) bool {
		return col.Name != "" && (col.Name == m.Type.Meaning || col.Name == "nsecs" && m.Type.Meaning == "time")
	})
	take(func(program.FormColumn, contract.CheckedMember) bool { return true })
	for n, m := range want {
		if out[n] < 0 {
			x.find(what+"."+m.Name, fmt.Sprintf("%s shows %s", what, m.Name), fmt.Sprintf("a value for %s, %s", m.Name, m.Type), shownOf(cols))
		}
	}
	for at, col := range cols {
		if !used[at] && !more {
			x.find(what+"."+col.Shown, fmt.Sprintf("%s shows %s and nothing else", what, membersOf(want)), membersOf(want), "also "+col.Shown)
		}
	}
	return out
}

func shownOf(cols []program.FormColumn) string {
	var names []string
	for _, c := range cols {
		names = append(names, c.Shown)
	}
	return listOf(names)
}

// showable tells whether a column can show values of a type: numbers are numbers, however a
// meaning would render them, except those that nobody reads as one: bpftrace turns no bytes.
func showable(col program.FormColumn, t contract.Type) bool {
	switch t.Kind {
	case contract.TextKind:
		return col.Text
	case contract.Int, contract.Bool:
		return !col.Text && t.Order != contract.Network && t.Meaning != "ipv4" && t.Meaning != "kstack" && t.Meaning != "ustack"
	}
	return false
}

// tables pairs maps with tables: by name, then by what they hold.
func (x *scriptBinder) tables() {
	var maps []program.FormMap
	for _, m := range x.form.Maps {
		if m.Shown {
			maps = append(maps, m)
			continue
		}
		x.b.internal[m.Name] = true
	}
	x.b.tables = make([]tableBinding, len(x.c.Tables))
	x.b.script.tables, x.b.script.suffix = make([]program.FormMap, len(x.c.Tables)), make([]int, len(x.c.Tables))
	for _, byName := range []bool{true, false} {
		for i, t := range x.c.Tables {
			if x.b.tables[i].name != "" {
				continue
			}
			at := slices.IndexFunc(maps, func(m program.FormMap) bool {
				name := strings.TrimPrefix(strings.TrimPrefix(m.Name, "AT_"), "@")
				return holds(m, t) && (byName && strings.EqualFold(name, t.Name) || !byName && len(m.Key) == len(t.Key))
			})
			if at >= 0 {
				x.table(i, maps[at])
				maps = slices.Delete(maps, at, at+1)
			}
		}
	}
	for i, t := range x.c.Tables {
		if x.b.tables[i].name == "" {
			x.find(t.Name, fmt.Sprintf("the script has a map for the table %s", t.Name), fmt.Sprintf("a map filled by %s, with %d keys", fillers(t), len(t.Key)), mapsOf(maps))
		}
	}
	for _, m := range maps {
		x.find(m.Name, "the contract has a table for each map of the script that is shown", "no map "+m.Name, "map "+m.Name)
	}
}

func mapsOf(maps []program.FormMap) string {
	var names []string
	for _, m := range maps {
		names = append(names, strings.TrimSpace(m.Name+" "+m.Call))
	}
	return listOf(names)
}

// calls are the functions whose maps can hold an aggregate; "" is an assignment.
var calls = map[contract.Agg][]string{
	contract.Count: {"count", "sum", ""}, contract.Sum: {"sum", "count", ""}, contract.Last: {""},
	contract.Min: {"min"}, contract.Max: {"max"}, contract.Log2: {"hist"}, contract.Linear: {"lhist"},
}

func fillers(t contract.CheckedTable) string {
	if len(t.Table.Values) == 1 {
		if list := calls[t.Table.Values[0].Agg]; len(list) > 0 && list[0] != "" {
			return list[0] + "()"
		}
	}
	return "what the contract adds up"
}

// holds tells whether a map can be a table: its function makes of samples what the contract does.
func holds(m program.FormMap, t contract.CheckedTable) bool {
	values := t.Table.Values
	if m.Call == "avg" || m.Call == "stats" {
		return len(values) == 2 && values[0].Agg == contract.Count && values[1].Agg == contract.Sum
	}
	if len(values) != 1 || !slices.Contains(calls[values[0].Agg], m.Call) {
		return false
	}
	return m.Cell != program.CellText || t.Values[0].Type.Kind == contract.TextKind
}

// table binds one map.
func (x *scriptBinder) table(i int, m program.FormMap) {
	t := x.c.Tables[i]
	spec := x.form.Specs[m.Name]
	tb := tableBinding{name: m.Name, typ: spec.Type, perCPU: spec.Type == ebpf.PerCPUHash || spec.Type == ebpf.PerCPUArray}
	tb.key = recordBinding{name: m.Name, size: int(spec.KeySize), members: make([]member, len(t.Key))}
	for n, at := range x.columns("the key of "+m.Name, m.Key, t.Key, false) {
		if at >= 0 {
			tb.key.members[n] = columnMember(t.Key[n], m.Key[at].Off, m.Key[at])
			x.said(fmt.Sprintf("%s.%s is the key %s of %s, line %d", t.Name, t.Key[n].Name, m.Key[at].Shown, m.Name, m.Line))
		}
	}
	tb.value = recordBinding{name: m.Name, size: int(spec.ValueSize)}
	x.b.outputs[m.Name], x.b.tables[i] = i, tb
	x.b.script.tables[i], x.b.script.lines[t.Name], x.b.script.lines[m.Name] = m, m.Line, m.Line
	x.b.script.suffix[i] = -1
	switch m.Cell {
	case program.CellLog2, program.CellLinear, program.CellTwo:
		x.b.script.suffix[i] = int(spec.KeySize) - 8
	}
	if least := min(leastRows, keysOf(t.Key)); len(t.Key) > 0 && isHash(spec.Type) && uint64(spec.MaxEntries) < least {
		x.find("room in "+t.Name, roomWords("table", t.Name, least), fmt.Sprintf("%d elements or more", least), fmt.Sprint(spec.MaxEntries))
	}
}

// maxPrints is into how many paths one is split at most.
const maxPrints = 64

// maxChoices is how deep in each other choices of a number are looked at.
const maxChoices = 32

// split makes several paths of one on which it depends on inputs which printf() an event
// is of: compilers join calls that end alike.
func (s *scripted) split(b *smt.Builder, p *symbolic.Path, most int) []*symbolic.Path {
	for i, e := range p.Effects {
		if e.Op != symbolic.Emit || e.Map == nil || e.Map.Name != s.form.Buffer || e.Data.Len() < 8 {
			continue
		}
		on := choiceIn(e.Data.At(0, 8), maxChoices)
		if on == nil || most < 2 {
			continue
		}
		var out []*symbolic.Path
		for _, holds := range []bool{true, false} {
			c := on
			if !holds {
				c = b.Not(c)
			}
			by := knownBy(b, []smt.Term{c})
			if c.IsFalse() {
				continue
			}
			data := make([]smt.Term, e.Data.Len())
			for n := range data {
				data[n] = b.Substitute(e.Data.At(n, 1), by)
			}
			one, event := *p, *e
			if event.Data = symbolic.NewBytes(b, data...); e.Size != nil {
				event.Size = b.Substitute(e.Size, by)
			}
			one.Cond = append(slices.Clone(p.Cond), c)
			one.Effects = slices.Clone(p.Effects)
			one.Effects[i] = sized(&event)
			out = append(out, s.split(b, &one, most/2)...)
		}
		return out
	}
	return []*symbolic.Path{p}
}

// choiceIn is a condition that a term depends on; nil if it has none.
func choiceIn(t smt.Term, depth int) smt.Term {
	if _, known := t.Const(); known || depth == 0 {
		return nil
	}
	if t.Width() == 1 {
		return t
	}
	for _, a := range t.Args() {
		if c := choiceIn(a, depth-1); c != nil {
			return c
		}
	}
	return nil
}

// sized is an event whose size turned out to be constant.
func sized(e *symbolic.Effect) *symbolic.Effect {
	if e.Size == nil {
		return e
	}
	if n, ok := e.Size.Const(); ok && n <= uint64(e.Data.Len()) {
		e.Data, e.Size = e.Data.Slice(0, int(n)), nil
	}
	return e
}

// path is a path of a script with its events as the contract lays them out. What cannot be
// told is Unknown.
func (s *scripted) path(b *smt.Builder, p *symbolic.Path) *symbolic.Path {
	out := *p
	out.Effects = nil
	unknown := func(e *symbolic.Effect, why string) {
		out.Unknown = append(slices.Clone(out.Unknown), symbolic.Reason{What: why, Pc: e.Pc})
	}
	for _, e := range p.Effects {
		switch {
		case e.Map != nil && slices.Contains(s.form.Scratch, e.Map.Name):
			continue
		case e.Op != symbolic.Emit || e.Map == nil || e.Map.Name != s.form.Buffer:
			out.Effects = append(out.Effects, e)
			continue
		case e.Data.Len() < 8:
			unknown(e, "an event that does not say what it is")
			continue
		}
		id, known := e.Data.At(0, 8).Const()
		print, ours := s.prints[id]
		switch {
		case !known:
			unknown(e, "which of several printf() an event is of depends on inputs")
		case slices.Contains(s.form.Harmless, id):
		case !ours:
			unknown(e, fmt.Sprintf("an event with the number %d, which is none of the script's", id))
		case e.Size != nil || e.Data.Len() != print.Size:
			unknown(e, fmt.Sprintf("the event of the printf() in line %d has %d bytes, where %d were expected", print.Line, e.Data.Len(), print.Size))
		default:
			n := *e
			n.Map, n.Data = print.ring, print.record(b, e.Data)
			out.Effects = append(out.Effects, &n)
		}
	}
	return &out
}

// record lays an event out as the contract has it: numbers as they are shown.
func (p printBinding) record(b *smt.Builder, data *symbolic.Bytes) *symbolic.Bytes {
	parts := make([]smt.Term, p.size)
	for i, col := range p.Columns {
		shown := data.Slice(col.Off, col.Size)
		if !col.Text {
			shown = symbolic.NewBytes(b, numberShown(b, shown.At(0, col.Size), col, p.bits[i], p.signed[i]))
		}
		for n := range col.Size {
			parts[p.to[i]+n] = shown.At(n, 1)
		}
	}
	return symbolic.NewBytes(b, parts...)
}

// numberShown is what people read of a number of which so many bits are printed. One that has no
// more bits in the contract is that number, whatever its sign.
func numberShown(b *smt.Builder, t smt.Term, col program.FormColumn, bits int, signed bool) smt.Term {
	if col.Bits >= 64 {
		return t
	}
	low := b.Extract(uint(col.Bits)-1, 0, t)
	if bits > col.Bits {
		signed = col.Signed
	}
	if signed {
		return b.SignExt(64, low)
	}
	return b.ZeroExt(64, low)
}

// line is where a script does what a claim is about; 0 when it is not known.
func (s *scripted) line(id string) int {
	for name, line := range s.lines {
		if strings.HasSuffix(id, "/"+name) || strings.HasSuffix(id, " "+name) || strings.Contains(id, "/"+name+".") {
			return line
		}
	}
	return 0
}

// addition is what a sample adds to one cell of a map.
type addition struct {
	key    []value
	suffix smt.Term // behind the key; nil for none
	// what becomes of the cell: of CellNumber and the like, by amount.
	amount smt.Term
	text   *symbolic.Bytes
	sample smt.Term // that suffix is made of, for the solver
	counts bool     // it is to the count of a sum with its count
	typ    contract.Type
}

// scriptTable compares a map of a script with a table; see table.
func (x *comparer) scriptTable(t int) error {
	b := x.words.b
	bound := x.b.tables[t]
	name := x.c.Tables[t].Name
	cells := x.path.cells(x.maps[bound.name])
	x.deleted(name, bound.name)
	adds, err := x.additions(t)
	if err != nil {
		return err
	}
	if len(cells) == 0 && len(adds) == 0 {
		x.claim(name, fmt.Sprintf("%s, table %s gets no sample", x.when(), name), b.True())
		return nil
	}
	fair := x.fair(t, adds)
	hits := make([][]smt.Term, len(adds))
	for i, a := range adds {
		var any []smt.Term
		for _, c := range cells {
			hit, err := x.scriptKeyIs(t, a, c.key)
			if err != nil {
				return err
			}
			hits[i] = append(hits[i], b.And(hit, c.here))
			any = append(any, hits[i][len(hits[i])-1])
		}
		k := x.claim(name+".key", fmt.Sprintf("%s, a sample is added to table %s under its key", x.when(), name), b.Implies(fair, b.Or(any...)))
		k.show = x.showKeys(t, sample{key: a.key}, cells)
		if a.sample != nil {
			k.value, k.spread = a.sample, func(v smt.Term) (smt.Term, []smt.Term) {
				return x.vary(v, x.powers(fmt.Sprintf("any value in %s", k.id)))
			}
			k.over, k.ranges = k.spread(a.sample)
			k.show = x.showSlots(t, a, cells)
		}
	}
	x.elsewhere(name, cells)
	for j, c := range cells {
		mine := make([]smt.Term, len(adds))
		for i := range adds {
			if mine[i] = hits[i][j]; len(cells) == 1 { // that the key is right is a claim of its own
				mine[i] = c.here
			}
		}
		x.scriptCell(t, c, adds, mine, fair)
	}
	return nil
}

// additions are what the contract's samples add to cells of a script's map.
func (x *comparer) additions(t int) ([]addition, error) {
	b := x.words.b
	table := x.c.Tables[t]
	form := x.b.script.tables[t]
	var out []addition
	for _, s := range x.run.adds {
		if s.table != t {
			continue
		}
		for i, field := range s.fields {
			if field == nil {
				continue
			}
			a := addition{key: s.key, typ: table.Values[i].Type, counts: table.Table.Values[i].Agg == contract.Count}
			v := x.held(a.typ, *field)
			switch {
			case form.Cell == program.CellText && v.bytes != nil:
				text, err := x.textOf(v, form.Value.Size)
				if err != nil {
					return nil, err
				}
				a.text = text
			case v.term == nil:
				return nil, fmt.Errorf("a sample of table %s is no number", table.Name)
			default:
				a.amount = b.ZeroExt(64, v.term)
			}
			switch form.Cell {
			case program.CellLog2:
				a.sample, a.suffix, a.amount = a.amount, x.log2Bucket(a.amount), x.number(1)
			case program.CellLinear:
				a.suffix, a.amount = x.linearBucket(table.Table.Values[i], a.amount), x.number(1)
			case program.CellTwo:
				a.suffix = x.number(uint64(i)) // the count, then the sum
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// textOf is a text as bpftrace keeps it: cut to leave room for its NUL.
func (x *comparer) textOf(v value, size int) (*symbolic.Bytes, error) {
	if v.bytes != nil && v.bytes.Len() > size {
		return x.join(v.bytes.Slice(0, size-1), constBytes(x.words.b, 1)), nil
	}
	return x.store(v, size)
}

// log2Bucket is the number of a sample's bucket: 0 below 0, 1 for 0, 2+n from 2^n on.
func (x *comparer) log2Bucket(v smt.Term) smt.Term {
	b := x.words.b
	out := x.number(1)
	for i := uint64(0); i < 63; i++ {
		out = b.Ite(b.Ule(x.number(1<<i), v), x.number(min(i+2, x.b.script.form.Top)), out)
	}
	return b.Ite(b.Slt(v, x.number(0)), x.number(0), out)
}

// linearBucket is the number of a sample's bucket: 0 below 0, then 1+n.
func (x *comparer) linearBucket(tv contract.TableValue, v smt.Term) smt.Term {
	b := x.words.b
	return b.Ite(b.Slt(v, x.number(0)), x.number(0), b.Add(x.slotOf(tv, v), x.number(1)))
}

// scriptKeyIs says that an element's key is that of an addition.
func (x *comparer) scriptKeyIs(t int, a addition, at *symbolic.Bytes) (smt.Term, error) {
	b := x.words.b
	bound := x.b.tables[t].key
	suffix := x.b.script.suffix[t]
	var all []smt.Term
	if len(bound.members) == 0 && suffix < 0 { // one fixed key
		return zeroOf(b, at), nil
	}
	for i, m := range bound.members {
		typ := x.c.Tables[t].Key[i].Type
		want, err := x.textOf(x.held(typ, a.key[i]), m.size)
		if err != nil {
			return nil, err
		}
		have := at.Slice(m.off, m.size)
		all = append(all, x.match(typ, want, have))
		if typ.Kind == contract.TextKind {
			all = append(all, x.canonical(have))
		}
	}
	if suffix >= 0 {
		all = append(all, b.Eq(at.At(suffix, 8), a.suffix))
	}
	return b.And(all...), nil
}

func (x *comparer) showSlots(t int, a addition, cells []touched) func(smt.Model) (string, string) {
	keys := x.showKeys(t, sample{key: a.key}, cells)
	suffix := x.b.script.suffix[t]
	return func(m smt.Model) (string, string) {
		want, got := keys(m)
		want += fmt.Sprintf("bucket %d", m.Value(a.suffix))
		if len(cells) > 0 {
			got += fmt.Sprintf("bucket %d", m.Value(cells[len(cells)-1].key.At(suffix, 8)))
		}
		return want, got
	}
}

// scriptCell claims that an element is what it was with the additions that are for it.
func (x *comparer) scriptCell(t int, c touched, adds []addition, mine []smt.Term, fair smt.Term) {
	b := x.words.b
	table, form := x.c.Tables[t], x.b.script.tables[t]
	there := b.Or(c.before, b.Or(mine...))
	k := x.claim(table.Name+".row", fmt.Sprintf("%s, table %s has a row for what was added and no other", x.when(), table.Name), b.Implies(fair, b.Eq(c.after, there)))
	k.pc = c.pc
	k.show = func(m smt.Model) (string, string) { return row(m.Value(there)), row(m.Value(c.after)) }
	words := fmt.Sprintf("%s, the value of table %s is what it was with the samples added", x.when(), table.Name)
	if form.Cell == program.CellText {
		want := c.was
		for i, a := range adds {
			want = x.chooseBytes(mine[i], a.text, want)
		}
		k := x.claim(table.Name+".value", words, b.Implies(b.And(there, c.after), b.Or(want.Equal(c.is), x.textEqual(want, c.is))))
		k.pc = c.pc
		k.show = func(m smt.Model) (string, string) { return quoted(want.Eval(m)), quoted(c.is.Eval(m)) }
		return
	}
	cell := x.cellOf(form.Cell, table.Table.Values[0].Agg, table.Values[0].Type.Signed, c)
	for i, a := range adds {
		cell.add(mine[i], a)
	}
	k = x.claim(table.Name+".value", words, b.Implies(b.And(append(cell.hyp, fair, there, c.after)...), b.And(cell.holds(c.is)...)))
	k.pc = c.is.Wrote(0)
	want, got := cell.value, cell.read(c.is)
	k.show = func(m smt.Model) (string, string) {
		return number(m.Value(want), true), number(m.Value(got), true)
	}
}

// scriptCell is what a cell of a script's map should hold.
type scriptCell struct {
	words
	kind   program.Cell
	agg    contract.Agg
	signed bool     // samples are
	value  smt.Term // the number that people read, 64 bits
	count  smt.Term // of CellSumCount, 32 bits
	filled smt.Term // it holds a sample
	hyp    []smt.Term
}

// most32 is what least values are kept as the difference to.
const most32 = 1<<32 - 1

// cellOf reads what a cell held, nothing where there was none. What it can have held follows
// from what all additions leave in it, which is part of what is claimed of each.
func (x *comparer) cellOf(kind program.Cell, agg contract.Agg, signed bool, c touched) *scriptCell {
	b := x.words.b
	s := &scriptCell{words: x.words, kind: kind, agg: agg, signed: signed, filled: c.before}
	s.value = b.Ite(c.before, s.read(c.was), x.number(0))
	switch kind {
	case program.CellSumCount:
		s.count = b.Ite(c.before, c.was.At(8, 4), b.Const(32, 0))
	case program.CellLeast32, program.CellMost:
		s.hyp = append(s.hyp, b.Implies(c.before, s.inRange(c.was)))
	case program.CellLeastSet, program.CellMostSet:
		s.hyp = append(s.hyp, b.Implies(c.before, b.Ule(c.was.At(8, 8), x.number(1))))
		s.filled = b.And(c.before, b.Ne(c.was.At(8, 8), x.number(0)))
		if !signed {
			s.hyp = append(s.hyp, b.Implies(c.before, b.Not(b.Slt(c.was.At(0, 8), x.number(0)))))
		}
	}
	return s
}

// fair says of samples of min() and max() that they are below 2^63: bpftrace takes what is
// above for numbers below 0, which the form's remarks say.
func (x *comparer) fair(t int, adds []addition) smt.Term {
	b := x.words.b
	all := []smt.Term{b.True()}
	for _, a := range adds {
		switch x.b.script.tables[t].Call {
		case "min", "max":
			if !a.typ.Signed {
				all = append(all, b.Not(b.Slt(a.amount, x.number(0))))
			}
		}
	}
	return b.And(all...)
}

// read is the number that bpftrace shows of a cell.
func (s *scriptCell) read(data *symbolic.Bytes) smt.Term {
	v := data.At(0, 8)
	if s.kind == program.CellLeast32 {
		return s.b.Sub(s.number(most32), v)
	}
	return v
}

// inRange says what CellLeast32 and CellMost never leave.
func (s *scriptCell) inRange(data *symbolic.Bytes) smt.Term {
	if s.kind == program.CellLeast32 {
		return s.b.Ule(data.At(0, 8), s.number(most32))
	}
	return s.b.Not(s.b.Slt(data.At(0, 8), s.number(0)))
}

// add adds a sample where the condition holds.
func (s *scriptCell) add(mine smt.Term, a addition) {
	b := s.b
	before := func(v, w smt.Term) smt.Term {
		if a.typ.Signed {
			return b.Slt(v, w)
		}
		return b.Ult(v, w)
	}
	next := a.amount
	switch {
	case s.kind == program.CellSumCount && a.counts:
		s.count = b.Ite(mine, b.Add(s.count, b.Extract(31, 0, a.amount)), s.count)
		return
	case s.agg == contract.Min:
		next = b.Ite(b.Or(b.Not(s.filled), before(next, s.value)), next, s.value)
	case s.agg == contract.Max:
		next = b.Ite(b.Or(b.Not(s.filled), before(s.value, next)), next, s.value)
	case s.agg != contract.Last:
		next = b.Add(s.value, next)
	}
	s.value = b.Ite(mine, next, s.value)
	s.filled = b.Or(s.filled, mine)
}

// holds are the conditions that a cell holds what it should.
func (s *scriptCell) holds(is *symbolic.Bytes) []smt.Term {
	out := []smt.Term{s.b.Eq(s.read(is), s.value)}
	switch s.kind {
	case program.CellSumCount:
		out = append(out, s.b.Eq(is.At(8, 4), s.count))
	case program.CellLeast32, program.CellMost:
		out = append(out, s.inRange(is))
	case program.CellLeastSet, program.CellMostSet:
		out = append(out, s.b.Eq(is.At(8, 8), s.b.ZeroExt(64, s.filled)))
		if !s.signed {
			out = append(out, s.b.Not(s.b.Slt(is.At(0, 8), s.number(0))))
		}
	}
	return out
}

// scriptLine is the line of the script that shows what a claim is about; nil if none is
// known.
func (s *session) scriptLine(id string) *Line {
	n := s.bound.script.line(id)
	if n == 0 || s.in.Manifest.Script == nil {
		return nil
	}
	lines := strings.Split(s.in.Manifest.Script.Text, "\n")
	if n > len(lines) {
		return nil
	}
	return &Line{File: s.in.Manifest.Name + ".bt", Number: n, Text: strings.TrimSpace(lines[n-1])}
}
