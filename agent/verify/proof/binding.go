package proof

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/symbolic"
)

// binding says which part of the program each part of the contract is, by the
// rules in package contract's comment.
type binding struct {
	events []recordBinding // by the contract's events
	tables []tableBinding  // by the contract's tables
	places []placeBinding  // by the contract's places, then programs at other hooks
	// params are the contract's parameters by their index: the globals.
	params []program.Param
	// self says that the program has the global kgent_self.
	self bool
	// where is how many cgroups the program's map [program.WhereMap] has; 0 without one.
	where uint32
	// internal are maps that are neither output nor kgent's own counters and records.
	internal map[string]bool
	outputs  map[string]int // output map → table
	rings    map[string]int // ring buffer → event
	// script is the rest of the binding of a script; nil for programs in C.
	script *scripted
	said   []string // which part of a script each part of the contract is
}

// recordBinding is a struct of the program for a list of members of the
// contract.
type recordBinding struct {
	name    string
	size    int
	members []member // by the contract's members
	more    []member // further ones, where the contract allows them
	pads    []member
}

// tableBinding is an output map for a table.
type tableBinding struct {
	name   string
	typ    ebpf.MapType
	key    recordBinding // no members: one fixed key
	value  recordBinding
	perCPU bool
}

// placeBinding is a program at a place; place is nil for a hook that the
// contract does not name.
type placeBinding struct {
	name    string // for people: "tp_btf/sched_switch"
	place   *contract.CheckedPlace
	program string
}

// finding is a difference that needs no input to show.
type finding struct {
	id, words     string
	expected, got string
}

type binder struct {
	c        *contract.Checked
	o        *program.Object
	spec     *ebpf.CollectionSpec
	findings []finding
	b        *binding
}

// bind binds the program to the contract. Findings are differences in form; if
// there are any, the binding is not complete.
func bind(c *contract.Checked, o *program.Object, spec *ebpf.CollectionSpec, m *program.Manifest) (*binding, []finding, error) {
	x := &binder{c: c, o: o, spec: spec, b: &binding{internal: map[string]bool{}, outputs: map[string]int{}, rings: map[string]int{}}}
	x.maps()
	x.params()
	if want := contract.Where(c.Contract); x.b.where > 0 && want != m.Where {
		x.find("where", "the run is narrowed to the place that the contract names", placeWords(want), placeWords(m.Where))
	}
	if err := x.places(m); err != nil {
		return nil, nil, err
	}
	return x.b, x.findings, nil
}

func (x *binder) find(id, words, expected, got string) {
	x.findings = append(x.findings, finding{"form/" + id, words, expected, got})
}

// maps binds events to ring buffers and tables to output maps.
func (x *binder) maps() {
	var rings, outputs []program.MapInfo
	for _, info := range x.o.Maps() {
		switch {
		case info.Role == program.RoleEvents:
			rings = append(rings, info)
		case info.Role == program.RoleOutput:
			outputs = append(outputs, info)
		case info.Role == program.RoleStacks:
			x.stacks(info.Name)
			x.b.internal[info.Name] = true
		case info.Name != program.StatsMap && info.Name != program.RecordsMap:
			x.b.internal[info.Name] = true
		}
	}
	var events, tables []string
	for _, e := range x.c.Events {
		events = append(events, e.Name)
	}
	for _, t := range x.c.Tables {
		tables = append(tables, t.Name)
	}
	x.b.events = make([]recordBinding, len(events))
	for i, info := range x.pair("event", "ring buffer", events, rings) {
		if info == nil {
			continue
		}
		e := x.c.Events[i]
		x.b.rings[info.Name] = i
		x.b.events[i] = x.record("event "+e.Name, info.Value, e.Members, e.More)
		x.b.events[i].name = info.Name
	}
	x.b.tables = make([]tableBinding, len(tables))
	for i, info := range x.pair("table", "output map", tables, outputs) {
		if info != nil {
			x.b.outputs[info.Name] = i
			x.b.tables[i] = x.table(x.c.Tables[i], info)
		}
	}
}

// pair finds the map of each name; nil where there is none.
func (x *binder) pair(what, as string, names []string, maps []program.MapInfo) []*program.MapInfo {
	out := make([]*program.MapInfo, len(names))
	if len(names) == 1 && len(maps) == 1 {
		out[0] = &maps[0]
		return out
	}
	var have []string
	for i := range maps {
		have = append(have, maps[i].Name)
		at := slices.Index(names, maps[i].Name)
		if at < 0 {
			x.find(maps[i].Name, fmt.Sprintf("the contract has a %s for each %s of the program", what, as),
				fmt.Sprintf("no %s %s (the contract has %s)", as, maps[i].Name, listOf(names)), fmt.Sprintf("%s %s", as, maps[i].Name))
			continue
		}
		out[at] = &maps[i]
	}
	for i, name := range names {
		if out[i] == nil {
			x.find(name, fmt.Sprintf("the program has a %s for the %s %s", as, what, name), fmt.Sprintf("a %s named %s", as, name), listOf(have))
		}
	}
	return out
}

// record binds members by name.
func (x *binder) record(what string, t btf.Type, want []contract.CheckedMember, more bool) recordBinding {
	size, err := btf.Sizeof(t)
	if err != nil {
		x.find(what, what+" has a size", "a type with a size", err.Error())
		return recordBinding{}
	}
	r := recordBinding{size: size, members: make([]member, len(want))}
	have, pads, odd, isStruct := layout(t)
	if !isStruct {
		if len(want) != 1 {
			x.find(what, fmt.Sprintf("%s has %d members", what, len(want)), membersOf(want), "a single value")
			return r
		}
		m, _ := memberOf(want[0].Name, 0, t)
		m.meaning = meaningOf(t)
		r.members[0] = x.fits(what, want[0], m)
		return r
	}
	for _, name := range odd {
		x.find(what+"."+name, fmt.Sprintf("the members of %s are whole bytes and have names", what), "no bit-field or anonymous member", "member "+name)
	}
	r.pads = pads
	var names []string
	for _, m := range have {
		names = append(names, m.name)
		i := slices.IndexFunc(want, func(c contract.CheckedMember) bool { return c.Name == m.name })
		switch {
		case i >= 0:
			r.members[i] = x.fits(what, want[i], m)
		case more:
			r.more = append(r.more, m)
		default:
			x.find(what+"."+m.name, fmt.Sprintf("%s has the members %s and no others", what, membersOf(want)), membersOf(want), "also "+m.name)
		}
	}
	for i, c := range want {
		if r.members[i].size == 0 {
			x.find(what+"."+c.Name, fmt.Sprintf("%s has a member %s", what, c.Name), c.Name, listOf(names))
		}
	}
	return r
}

// fits checks that a member of the program can hold the contract's.
func (x *binder) fits(what string, c contract.CheckedMember, m member) member {
	want := c.Type.InMemory()
	if want > 0 && want != m.size {
		x.find(what+"."+c.Name, fmt.Sprintf("%s.%s has %d bytes", what, c.Name, want), fmt.Sprintf("%d bytes", want), fmt.Sprintf("%d bytes", m.size))
	}
	if k := c.Type.Meaning; k != "" && m.meaning != k && c.Type.Enum == nil {
		x.find(what+"."+c.Name, fmt.Sprintf("%s.%s is shown as a k_%s", what, c.Name, k), "k_"+k, nameOf(m))
	}
	switch {
	case c.Type.Enum != nil:
		x.enum(what, c, m)
	case c.Type.Meaning == "" && c.Type.Kind != contract.Invalid:
		x.plain(what, c, m)
	}
	return m
}

// plain checks that a member without a meaning in the contract is shown as what it is: the
// program's type must not say more, and show signs and texts alike.
func (x *binder) plain(what string, c contract.CheckedMember, m member) {
	typ, _ := symbolic.Meaning(m.typ)
	i, isInt := typ.(*btf.Int)
	ok := m.meaning == "" || c.Type.Order == contract.Network && strings.HasPrefix(m.meaning, "be")
	switch c.Type.Kind {
	case contract.TextKind:
		ok = ok && m.text
	case contract.Int:
		ok = ok && isInt && (i.Encoding == btf.Signed) == c.Type.Signed && i.Encoding != btf.Bool && i.Name != "char"
	case contract.IPKind:
		ok = m.meaning == "ip" || nameOf(m) == "k_ip"
	case contract.ArgsKind:
		ok = m.meaning == "args" || nameOf(m) == "k_args"
	default:
		ok = ok && !m.text
	}
	if !ok {
		x.find(what+"."+c.Name, fmt.Sprintf("%s.%s is shown as %s", what, c.Name, c.Type), c.Type.String(), nameOf(m))
	}
}

// enum checks that a member is shown by the names that the contract gives its values.
func (x *binder) enum(what string, c contract.CheckedMember, m member) {
	typ, _ := symbolic.Meaning(m.typ)
	e, _ := typ.(*btf.Enum)
	for _, v := range c.Type.Enum.Values {
		// Of two names for a number the first is shown.
		first := -1
		if e != nil {
			first = slices.IndexFunc(e.Values, func(h btf.EnumValue) bool { return int64(int32(h.Value)) == v.Value })
		}
		if first < 0 || e.Values[first].Name != v.Name {
			x.find(what+"."+c.Name, fmt.Sprintf("%s.%s is shown by the names of enum %s", what, c.Name, c.Type.Enum.Name),
				fmt.Sprintf("an enum with %s = %d", v.Name, v.Value), nameOf(m))
			return
		}
	}
}

// table binds the key and the members of a cell.
func (x *binder) table(t contract.CheckedTable, info *program.MapInfo) tableBinding {
	tb := tableBinding{name: info.Name, typ: info.Type}
	switch info.Type {
	case ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash:
		tb.perCPU = true
	}
	if info.Key == nil || info.Value == nil {
		x.find("table "+t.Name, fmt.Sprintf("the map of table %s says the types of its key and value", t.Name), "__type(key, …) and __type(value, …)", "none")
		return tb
	}
	if len(t.Key) > 0 {
		tb.key = x.record("the key of table "+t.Name, info.Key, t.Key, false)
	}
	tb.key.size, _ = btf.Sizeof(info.Key)
	if m := x.spec.Maps[info.Name]; len(t.Key) > 0 && m != nil {
		if least := min(leastRows, keysOf(t.Key)); isHash(m.Type) && uint64(m.MaxEntries) < least {
			x.find("room in "+t.Name, roomWords("table", t.Name, least), fmt.Sprintf("max_entries of %d or more", least), fmt.Sprint(m.MaxEntries))
		}
	}
	if len(t.Values) == 1 && t.Values[0].Name == "" {
		size, _ := btf.Sizeof(info.Value)
		m, ok := memberOf("", 0, info.Value)
		m.meaning = meaningOf(info.Value)
		if inner, _, _, ok := layout(info.Value); ok && len(inner) == 1 {
			m.tags = inner[0].tags
		}
		if !ok {
			x.find("table "+t.Name, fmt.Sprintf("the cells of table %s have a size", t.Name), "a type with a size", info.Value.TypeName())
			return tb
		}
		tb.value = recordBinding{size: size, members: []member{m}}
	} else {
		values := make([]contract.CheckedMember, len(t.Values))
		for i, v := range t.Values { // their types are those of samples: sizes and meanings are checked by aggregate
			values[i] = contract.CheckedMember{Name: v.Name}
		}
		tb.value = x.record("a cell of table "+t.Name, info.Value, values, t.More)
	}
	for i, v := range t.Table.Values {
		x.cell(t.Name, v, tb.value.members[i])
		if tb.perCPU {
			x.merged(t.Name, v, tb.value.members[i])
		}
	}
	return tb
}

// merged checks that what the CPUs have is shown as what the contract says of all: numbers
// are added up, times are the latest one.
func (x *binder) merged(table string, v contract.TableValue, m member) {
	sum := slices.Contains([]string{"", "count", "ns", "us", "ms", "bytes", "pages"}, m.meaning)
	ok := true
	switch v.Agg {
	case contract.Count, contract.Sum:
		ok = sum
	case contract.Max:
		ok = m.meaning == "time" || m.meaning == "boottime" || m.meaning == "permille"
	case contract.Min, contract.Last:
		ok = false
	}
	if !ok {
		x.find(fmt.Sprintf("table %s.%s", table, v.Name), fmt.Sprintf("the rows of table %s show the %s of all CPUs", table, v.Agg),
			"a map that all CPUs share", "a per-CPU map, whose values are merged in another way")
	}
}

// cell checks that a member can hold an aggregate.
func (x *binder) cell(table string, v contract.TableValue, m member) {
	if m.size == 0 {
		return // already found
	}
	id := fmt.Sprintf("table %s.%s", table, v.Name)
	switch v.Agg {
	case contract.Log2:
		if m.size != 8*64 || m.meaning != "" && !symbolic.IsHist(m.meaning) {
			x.find(id, "a histogram is a k_hist of 64 slots", "k_hist", nameOf(m))
		}
	case contract.Stats:
		if m.size != 8*4 || m.meaning != "" && !symbolic.IsStats(m.meaning) {
			x.find(id, "statistics are a k_stats", "k_stats", nameOf(m))
		}
	case contract.Linear:
		// The slots' bounds are shown from the tag: they must be the contract's.
		shown, tagged, err := program.LinearOf(m.tags)
		want := program.Linear{Step: v.Step, Unit: program.LinearUnit(strings.TrimPrefix(v.Type.Name, "k_"))}
		if err != nil || tagged && shown != want {
			x.find(id, "a linear histogram is shown in the contract's steps and unit", fmt.Sprintf("%d %s", want.Step, want.Unit), fmt.Sprintf("%d %s", shown.Step, shown.Unit))
		}
		if m.size != int(8*v.Slots) {
			x.find(id, fmt.Sprintf("a linear histogram has %d slots of 64 bits", v.Slots), fmt.Sprintf("%d bytes", 8*v.Slots), fmt.Sprintf("%d bytes", m.size))
		}
	case contract.Count:
		if m.size != 8 {
			x.find(id, "counts have 64 bits", "8 bytes", fmt.Sprintf("%d bytes", m.size))
		}
	case contract.Sum, contract.Min, contract.Max, contract.Last:
		if m.size > 8 || v.Agg == contract.Sum && m.size != 8 {
			x.find(id, fmt.Sprintf("a %s fits into its member", v.Agg), "8 bytes", fmt.Sprintf("%d bytes", m.size))
		}
	}
	want := strings.TrimPrefix(v.Type.Name, "k_")
	if want == v.Type.Name || v.Agg == contract.Linear {
		return
	}
	have := m.meaning
	for _, p := range []string{"hist_", "stats_"} {
		have = strings.TrimPrefix(have, p)
	}
	if have != want && m.meaning != "hist" && m.meaning != "stats" {
		x.find(id, fmt.Sprintf("%s of table %s is shown as a k_%s", orCell(v.Name), table, want), "k_"+want, nameOf(m))
	}
}

func orCell(name string) string {
	if name == "" {
		return "a cell"
	}
	return name
}

// params binds parameters to globals.
func (x *binder) params() {
	have := x.o.Params()
	var names []string
	for _, p := range have {
		names = append(names, p.Name)
	}
	x.b.params = make([]program.Param, len(x.c.Params))
	for i, p := range x.c.Params {
		at := slices.Index(names, p.Name)
		if at < 0 {
			x.find("parameter "+p.Name, fmt.Sprintf("the program has the parameter %s", p.Name), "const volatile "+p.Name, listOf(names))
			continue
		}
		x.b.params[i] = have[at]
		if m, ok := memberOf(p.Name, 0, have[at].Type); ok {
			x.fits("parameter", contract.CheckedMember{Name: p.Name, Type: p.Type}, m)
		}
		x.initial(p, have[at])
		x.inRange(p)
	}
	for _, name := range names {
		if !slices.ContainsFunc(x.c.Params, func(p contract.CheckedParam) bool { return p.Name == name }) {
			x.find("parameter "+name, "the program has the parameters of the contract and no others", paramsOf(x.c), "also "+name)
		}
	}
	x.b.self = x.spec.Variables[selfParam] != nil
	if m := x.spec.Maps[program.WhereMap]; m != nil {
		x.b.where = m.MaxEntries
	}
}

// initial checks that a parameter which nobody sets has the value that the contract says.
func (x *binder) initial(c contract.CheckedParam, have program.Param) {
	want := make([]byte, len(have.Default))
	switch d := c.Default; {
	case d == nil:
	case d.Op == contract.OpText:
		copy(want, d.Text)
	default:
		for i := range min(8, len(want)) {
			want[i] = byte(d.Bits >> (8 * i))
		}
	}
	if !bytes.Equal(want, have.Default) {
		x.find("parameter "+c.Name, fmt.Sprintf("the parameter %s is %s when it is not given", c.Name, shown(c.Type, want)), shown(c.Type, want), shown(c.Type, have.Default))
	}
}

// inRange checks that what the manifest sets a parameter to is one of the values that the contract
// allows: nothing is proved for others.
func (x *binder) inRange(c contract.CheckedParam) {
	v := x.spec.Variables[c.Name]
	if v == nil || c.Type.Kind != contract.Int || len(v.Value) > 8 {
		return
	}
	var bits uint64
	for i, b := range v.Value {
		bits |= uint64(b) << (8 * i)
	}
	if shift := 64 - 8*len(v.Value); c.Type.Signed {
		bits = uint64(int64(bits<<shift) >> shift)
	}
	less := func(a, b uint64) bool {
		if c.Type.Signed {
			return int64(a) < int64(b)
		}
		return a < b
	}
	if c.Min != nil && less(bits, c.Min.Bits) || c.Max != nil && less(c.Max.Bits, bits) {
		x.find("parameter "+c.Name, fmt.Sprintf("the parameter %s is set to a value that the contract allows", c.Name), "a value in its range", number(bits, c.Type.Signed))
	}
}

// placeWords says what a run is narrowed to.
func placeWords(where string) string {
	if where == "" {
		return "the whole node"
	}
	return program.WhereWords(where)
}

// selfParam is the global by which the node tells a program the process that must not
// trace itself.
const selfParam = program.NodePrefix + "self"

// places binds programs by their hook.
func (x *binder) places(m *program.Manifest) error {
	taken := map[string]bool{}
	missing, several := false, error(nil)
	for i := range x.c.Places {
		p := &x.c.Places[i]
		kind, target := whereIs(p.Place)
		var at []string
		for _, mp := range m.Programs {
			if k, t := placeOf(mp.Hook); k == kind && t == target {
				at = append(at, mp.Name)
			}
		}
		switch len(at) {
		case 0:
			x.find("place "+placeName(p.Place), fmt.Sprintf("the program runs at %s", placeName(p.Place)), placeName(p.Place), hooksOf(m))
			missing = true
			continue
		case 1:
		default:
			several = fmt.Errorf("binding %s: the programs %s are all attached there; the order in which they run is not known", placeName(p.Place), listOf(at))
			continue
		}
		taken[at[0]] = true
		x.b.places = append(x.b.places, placeBinding{placeName(p.Place), p, at[0]})
	}
	if several != nil && !missing { // a place without a program is wrong, whatever runs elsewhere
		return several
	}
	for _, mp := range m.Programs {
		if !taken[mp.Name] {
			kind, target := placeOf(mp.Hook)
			x.b.places = append(x.b.places, placeBinding{strings.TrimSuffix(kind+"/"+target, "/"), nil, mp.Name})
		}
	}
	return nil
}

// placeName is a place for people: "tp_btf/sched_switch".
func placeName(p *contract.Place) string {
	return strings.TrimSuffix(p.Kind+"/"+p.Target, "/")
}

// whereIs is a contract's place in the form that a manifest's hook has. How often
// samples are taken is a setting of the run, and no part of it.
func whereIs(p *contract.Place) (kind, target string) {
	switch p.Kind {
	case string(program.Tracepoint):
		return p.Kind, strings.Replace(p.Target, "/", ":", 1)
	case string(program.PerfEvent):
		event, _, _ := strings.Cut(p.Target, "/")
		return p.Kind, event
	}
	return p.Kind, p.Target
}

// placeOf is a manifest's hook in the form that a contract's place has.
func placeOf(h program.Hook) (kind, target string) {
	kind, target = h.Place()
	switch {
	case h.Kind == program.PerfEvent:
		return kind, h.Target
	case h.Kind.NeedsInterface(), h.Kind == program.CgroupIngress, h.Kind == program.CgroupEgress:
		return kind, ""
	case h.Kind == program.CgroupSock:
		return kind, strings.TrimPrefix(h.Symbol, kind+"/")
	}
	return kind, target
}

func listOf(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func membersOf(ms []contract.CheckedMember) string {
	var names []string
	for _, m := range ms {
		names = append(names, m.Name)
	}
	return listOf(names)
}

func paramsOf(c *contract.Checked) string {
	var names []string
	for _, p := range c.Params {
		names = append(names, p.Name)
	}
	return listOf(names)
}

func hooksOf(m *program.Manifest) string {
	var names []string
	for _, p := range m.Programs {
		names = append(names, p.Hook.String())
	}
	return listOf(names)
}

// nameOf is the type of a member for people.
func nameOf(m member) string {
	if m.meaning != "" {
		return "k_" + m.meaning
	}
	if m.text {
		return fmt.Sprintf("char[%d]", m.size)
	}
	typ, _ := symbolic.Meaning(m.typ)
	if n := typ.TypeName(); n != "" {
		return n
	}
	return fmt.Sprintf("%d bytes", m.size)
}
