package codegen

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/program"
)

// generator writes one program.
type generator struct {
	c       *contract.Checked
	globals *scope // names of the file
	tags    *scope // of structs
	// enumerators are those that the program declares.
	enumerators map[string]int64
	events      []event
	tables      []*table
	memories    []*memory
	stackMap    string
	stacks      bool // the program reads stacks
	self        bool // it asks which process must not trace itself
	filter      bool // the contract has the parameters of the task filter
	filterUsed  bool
	where       bool // it asks whether a task is in the run's containers
	helpers     map[string]bool
	texts       map[string]string // comparisons with constants: their functions
	compares    []string
	bodies      []*body
	scratches   []*scratchMap
}

// event is an event with its ring buffer.
type event struct {
	mapName string
	rec     *record
}

// table is a table with its map.
type table struct {
	of          *contract.CheckedTable
	mapName     string
	one         string // a name for one cell
	key         []member
	keyRecord   *record
	values      []string
	valueRecord bool
	cellType    string
	cellText    string
	cellSize    int
	perCPU      bool
	least       bool // it keeps the least of something
}

// memory is a memory with its map.
type memory struct {
	of        *contract.CheckedMemory
	mapName   string
	one       string
	key       []member
	keyRecord *record
	fields    []member
	cell      *record
}

func newGenerator(c *contract.Checked) *generator {
	return &generator{c: c, globals: &scope{used: map[string]bool{}}, tags: &scope{used: map[string]bool{}}, enumerators: map[string]int64{},
		helpers: map[string]bool{}, texts: map[string]string{}}
}

func (g *generator) isEnumerator(name string) bool { _, ok := g.enumerators[name]; return ok }

// fixed takes a name that cannot be changed, for it is what people see.
func (g *generator) fixed(at contract.Pos, what, name string) error {
	if taken(name) || g.globals.has(name) || identifier(name) != name {
		return &Unsupported{at, fmt.Sprintf("%s called %s, which C has another use for: "+anotherName, what, name)}
	}
	g.globals.used[name] = true
	return nil
}

// shown takes the name of an event or table; if it is the only one, another will do.
func (g *generator) shown(at contract.Pos, what, name string, only bool) (string, error) {
	if only {
		return g.globals.pick(name), nil
	}
	return name, g.fixed(at, what, name)
}

func (g *generator) program() (string, error) {
	if err := g.declarations(); err != nil {
		return "", err
	}
	var sites []*site
	for i := range g.c.Places {
		s, err := g.site(&g.c.Places[i])
		if err != nil {
			return "", err
		}
		sites = append(sites, s)
	}
	return g.assemble(sites), nil
}

// declarations gives everything that the contract declares its name and layout in C.
func (g *generator) declarations() error {
	for name := range helpers {
		g.globals.used[name] = true
	}
	g.filter = g.hasFilter()
	for _, e := range g.c.Contract.Enums {
		for _, v := range e.Values {
			if keywords[v.Name] || identifier(v.Name) != v.Name || strings.HasPrefix(v.Name, "bpf_") || strings.HasPrefix(v.Name, "k_") {
				return &Unsupported{v.At, fmt.Sprintf("an enumerator called %s, which C has another use for: "+anotherName, v.Name)}
			}
			g.enumerators[v.Name] = v.Value
			g.globals.used[v.Name] = true
		}
	}
	for _, p := range g.c.Params {
		if err := g.fixed(p.At, "a parameter", p.Name); err != nil {
			return err
		}
	}
	for i := range g.c.Events {
		if err := g.event(&g.c.Events[i]); err != nil {
			return err
		}
	}
	for i := range g.c.Tables {
		if err := g.table(&g.c.Tables[i]); err != nil {
			return err
		}
	}
	for i := range g.c.Memories {
		g.memory(&g.c.Memories[i])
	}
	g.stackMap = g.globals.pick("stacks")
	g.globals.used["kgent_self"], g.globals.used[program.WhereMap] = true, true
	return nil
}

// members are those of a record whose names people see.
func members(names []contract.Member, types []contract.CheckedMember) ([]member, error) {
	var out []member
	for i, m := range types {
		if taken(m.Name) || identifier(m.Name) != m.Name {
			return nil, &Unsupported{names[i].At, fmt.Sprintf("a member called %s, which C has another use for: "+anotherName, m.Name)}
		}
		out = append(out, member{m.Name, m.Type, declare(names[i].Type, m.Type, m.Name)})
	}
	return out, nil
}

// inner are the members of what only the program sees: their names may change.
func inner(names []contract.Member, types []contract.CheckedMember) []member {
	s := &scope{used: map[string]bool{}}
	var out []member
	for i, m := range types {
		name := s.pick(m.Name)
		out = append(out, member{name, m.Type, declare(names[i].Type, m.Type, name)})
	}
	return out
}

func (g *generator) event(e *contract.CheckedEvent) error {
	name, err := g.shown(e.At, "an event", e.Name, len(g.c.Events) == 1)
	if err != nil {
		return err
	}
	list, err := members(e.Event.Members, e.Members)
	if err != nil {
		return err
	}
	g.events = append(g.events, event{name, newRecord(g.tags.pick(e.Name+"_event"), list, 8)})
	return nil
}

// added are the meanings whose numbers are added up when the cells of all CPUs are merged.
var added = map[string]bool{"": true, "count": true, "ns": true, "us": true, "ms": true, "bytes": true, "pages": true}

func (g *generator) table(t *contract.CheckedTable) error {
	name, err := g.shown(t.At, "a table", t.Name, len(g.c.Tables) == 1)
	if err != nil {
		return err
	}
	out := &table{of: t, mapName: name, one: singular(t.Name, "row"), perCPU: true}
	if out.key, err = members(t.Table.Key, t.Key); err != nil {
		return err
	}
	if len(out.key) > 0 {
		out.keyRecord = newRecord(g.tags.pick(t.Name+"_key"), out.key, 0)
	}
	own := false
	for i, v := range t.Table.Values {
		switch v.Agg {
		case contract.Sum:
			out.perCPU = out.perCPU && added[t.Values[i].Type.Meaning]
		case contract.Min, contract.Max, contract.Last:
			out.perCPU = false
			out.least = out.least || v.Agg == contract.Min
			if n := t.Values[i].Type.InMemory(); n < 4 && v.Agg != contract.Last {
				return &Unsupported{v.At, fmt.Sprintf("the %s of numbers of %d bits", v.Agg, 8*n)}
			}
		case contract.Stats:
			own = true
		}
	}
	if own && !out.perCPU {
		return &Unsupported{t.At, fmt.Sprintf("the table %s, of which some members belong to one CPU and some to all", t.Name)}
	}
	var text strings.Builder
	for i, v := range t.Table.Values {
		member := v.Name
		if member == "" {
			member = "value"
		} else if taken(member) || identifier(member) != member {
			return &Unsupported{v.At, fmt.Sprintf("a member called %s, which C has another use for: "+anotherName, member)}
		}
		out.values = append(out.values, member)
		decl, size := sampleType(v, t.Values[i].Type, member)
		pad := (8 - out.cellSize%8) % 8
		if pad > 0 && size >= 8 {
			fmt.Fprintf(&text, "\t__u8 _pad%d[%d];\n", i, pad)
			out.cellSize += pad
		}
		out.cellSize += size
		fmt.Fprintf(&text, "\t%s;\n", decl)
	}
	if len(t.Values) == 1 && t.Values[0].Name == "" {
		out.cellType = strings.TrimSuffix(text.String()[1:], " value;\n")
		if v := t.Table.Values[0]; v.Agg == contract.Linear {
			tag := g.tags.pick(t.Name + "_slots")
			out.cellText = fmt.Sprintf("struct %s {\n%s};\n", tag, text.String())
			out.cellType, out.valueRecord = "struct "+tag, true
		}
	} else {
		tag := g.tags.pick(t.Name + "_row")
		if pad := (8 - out.cellSize%8) % 8; pad > 0 {
			fmt.Fprintf(&text, "\t__u8 _pad[%d];\n", pad)
		}
		out.cellText = fmt.Sprintf("struct %s {\n%s};\n", tag, text.String())
		out.cellType, out.valueRecord = "struct "+tag, true
	}
	g.tables = append(g.tables, out)
	return nil
}

// sampleType declares a member of a cell.
func sampleType(v contract.TableValue, t contract.Type, name string) (string, int) {
	unit := map[string]string{"ns": "_ns", "us": "_us", "bytes": "_bytes", "count": "_count"}[t.Meaning]
	typed := func(what string) string {
		if unit == "" {
			return "struct " + what + " " + name
		}
		return what + unit + " " + name
	}
	switch v.Agg {
	case contract.Count:
		return "k_count " + name, 8
	case contract.Log2:
		return typed("k_hist"), 512
	case contract.Stats:
		return typed("k_stats"), 32
	case contract.Linear:
		return fmt.Sprintf("K_LINEAR(%s, %d, %d, %s)", name, v.Step, v.Slots, program.LinearUnit(t.Meaning)), int(8 * v.Slots)
	}
	return declare(v.Type, t, name), t.InMemory()
}

func (g *generator) memory(m *contract.CheckedMemory) {
	out := &memory{of: m, mapName: g.globals.pick(m.Name), key: inner(m.Memory.Key, m.Key), fields: inner(m.Memory.Fields, m.Fields)}
	out.one = singular(m.Name, "cell")
	if len(out.key) > 1 {
		out.keyRecord = newRecord(g.tags.pick(m.Name+"_key"), out.key, 0)
	}
	kept := out.fields
	if len(kept) == 0 {
		kept = []member{{"known", contract.Type{Kind: contract.Int, Bits: 8}, "__u8 known"}}
	}
	out.cell = newRecord(g.tags.pick(m.Name+"_cell"), kept, 0)
	g.memories = append(g.memories, out)
}

// singular names one of several: "calls" are made of each "call".
func singular(name, otherwise string) string {
	if one, ok := strings.CutSuffix(name, "s"); ok && len(one) > 2 && !strings.HasSuffix(one, "s") && !strings.HasSuffix(one, "u") {
		return one
	}
	return name + "_" + otherwise
}

// assemble puts the parts together.
func (g *generator) assemble(sites []*site) string {
	var b strings.Builder
	b.WriteString("// SPDX-License-Identifier: MIT OR GPL-2.0-only\n//go:build ignore\n")
	b.WriteString(remark("", g.c.Contract.Title+".\n\nWritten from a contract; the lines that are named are the contract's."))
	b.WriteString("#include \"kgent.bpf.h\"\n\nchar LICENSE[] SEC(\"license\") = \"Dual MIT/GPL\";\n\n")
	g.writeParams(&b)
	g.writeEnums(&b)
	g.writeMaps(&b)
	for _, name := range slices.Sorted(maps.Keys(g.helpers)) {
		b.WriteString(helpers[name] + "\n")
	}
	for _, text := range g.compares {
		b.WriteString(text + "\n")
	}
	for _, s := range sites {
		g.writeSite(&b, s)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (g *generator) writeParams(b *strings.Builder) {
	if g.filterUsed {
		b.WriteString("KGENT_TASK_FILTER /* the parameters pid, comm and uid */\n\n")
	} else if g.self {
		b.WriteString("const volatile k_pid kgent_self = 0; /* the process that must not trace itself */\n")
	}
	if g.where {
		b.WriteString("KGENT_WHERE /* the containers that the run is narrowed to */\n\n")
	}
	n := 0
	for _, p := range g.c.Params {
		if g.filterUsed && (p.Name == "pid" || p.Name == "comm" || p.Name == "uid") {
			continue
		}
		n++
		means := p.Means
		if means != "" {
			means = " /* " + comment(means) + " */"
		}
		fmt.Fprintf(b, "const volatile %s = %s;%s\n", declare(p.Param.Type, p.Type, p.Name), initial(p), means)
	}
	if n > 0 {
		b.WriteString("\n")
	}
}

// initial is the value of a parameter that nobody sets.
func initial(p contract.CheckedParam) string {
	switch d := p.Default; {
	case p.Type.Kind == contract.TextKind && d == nil:
		return `""`
	case p.Type.Kind == contract.TextKind:
		return quote(d.Text)
	case p.Type.Kind == contract.IPKind && (d == nil || strings.Trim(d.Text, "\x00") == ""):
		return "{}"
	case p.Type.Kind == contract.IPKind:
		var list []string
		for i := range 16 {
			list = append(list, fmt.Sprintf("%#02x", d.Text[i]))
		}
		return "{ { " + strings.Join(list, ", ") + " } }"
	case d == nil:
		return "0"
	case p.Type.Signed:
		return fmt.Sprint(int64(d.Bits))
	case p.Type.Bits < 64 && d.Bits == 1<<p.Type.Bits-1:
		return "-1"
	default:
		return fmt.Sprintf("%dULL", d.Bits)
	}
}

func (g *generator) writeEnums(b *strings.Builder) {
	for _, e := range g.c.Contract.Enums {
		b.WriteString(remark("", e.Doc))
		for _, v := range e.Values {
			if conventions().macros[v.Name] {
				fmt.Fprintf(b, "#undef %s\n", v.Name)
			}
		}
		var list []string
		for _, v := range e.Values {
			list = append(list, fmt.Sprintf("%s = %d", v.Name, v.Value))
		}
		text := strings.Join(list, ", ")
		if len(text) < 100 {
			fmt.Fprintf(b, "enum %s { %s };\n\n", identifier(e.Name), text)
		} else {
			fmt.Fprintf(b, "enum %s {\n\t%s,\n};\n\n", identifier(e.Name), strings.Join(list, ",\n\t"))
		}
	}
}

func (g *generator) writeMaps(b *strings.Builder) {
	for i, e := range g.events {
		b.WriteString(remark("", g.c.Events[i].Doc))
		bytes := "1 << 20"
		if e.rec.size > 256 {
			bytes = "4 << 20"
		}
		fmt.Fprintf(b, "%s\nstruct {\n\t__uint(type, BPF_MAP_TYPE_RINGBUF);\n\t__uint(max_entries, %s);\n\t__type(value, struct %s);\n} %s SEC(\".maps\");\n\n",
			e.rec.text, bytes, e.rec.tag, e.mapName)
	}
	for _, t := range g.tables {
		b.WriteString(remark("", t.of.Doc))
		key, kind, rows := "__u32", "ARRAY", 1
		if t.keyRecord != nil {
			b.WriteString(t.keyRecord.text + "\n")
			key, kind, rows = "struct "+t.keyRecord.tag, "HASH", roomFor(t.cellSize+t.keyRecord.size)
		}
		if t.cellText != "" {
			b.WriteString(t.cellText + "\n")
		}
		switch {
		case t.perCPU:
			kind = "PERCPU_" + kind
		case t.least: // an array would have a 0 from the start
			kind = "HASH"
		}
		fmt.Fprintf(b, "struct {\n\t__uint(type, BPF_MAP_TYPE_%s);\n\t__uint(max_entries, %d);\n\t__type(key, %s);\n\t__type(value, %s);\n} %s SEC(\".maps\") KGENT_OUTPUT;\n\n",
			kind, rows, key, t.cellType, t.mapName)
	}
	for _, m := range g.memories {
		b.WriteString(remark("", m.of.Doc))
		key, size := "", 0
		if m.keyRecord != nil {
			b.WriteString(m.keyRecord.text + "\n")
			key, size = "struct "+m.keyRecord.tag, m.keyRecord.size
		} else if k := m.key[0]; k.typ.Kind == contract.TextKind {
			key, size = fmt.Sprintf("char[%d]", k.typ.Size), k.typ.InMemory()
		} else {
			key, size = strings.TrimSuffix(k.decl, " "+k.name), k.typ.InMemory()
		}
		kind := "HASH"
		if g.drops(m) {
			kind = "LRU_HASH"
		}
		fmt.Fprintf(b, "%s\nstruct {\n\t__uint(type, BPF_MAP_TYPE_%s);\n\t__uint(max_entries, %d);\n\t__type(key, %s);\n\t__type(value, struct %s);\n} %s SEC(\".maps\");\n\n",
			m.cell.text, kind, roomFor(m.cell.size+size), key, m.cell.tag, m.mapName)
	}
	for _, m := range g.scratches {
		b.WriteString(m.text())
	}
	if g.stacks {
		fmt.Fprintf(b, "struct {\n\t__uint(type, BPF_MAP_TYPE_STACK_TRACE);\n\t__uint(max_entries, 16384);\n\t__uint(key_size, sizeof(__u32));\n\t__uint(value_size, 127 * sizeof(__u64));\n} %s SEC(\".maps\");\n\n", g.stackMap)
	}
}

// drops tells whether a memory's map drops its oldest elements: where nothing is ever forgotten, and the
// contract allows for it.
func (g *generator) drops(m *memory) bool {
	if !slices.ContainsFunc(g.c.Contract.Assume, func(w contract.Word) bool { return w.Name == "lru" }) {
		return false
	}
	for _, h := range g.c.Contract.Hooks {
		for _, s := range h.Steps {
			all := slices.Clone(s.Otherwise)
			for _, c := range s.Cases {
				all = append(all, c.Effects...)
			}
			if slices.ContainsFunc(all, func(e *contract.Effect) bool { return e.Verb == contract.Forget && e.To == m.of.Name }) {
				return false
			}
		}
	}
	return true
}

// roomFor is how many elements of a size a map has room for: some megabytes.
func roomFor(size int) int {
	switch {
	case size <= 32:
		return 65536
	case size <= 128:
		return 16384
	case size <= 512:
		return 4096
	}
	return 2048
}

func (g *generator) writeSite(b *strings.Builder, s *site) {
	if s.record != "" {
		b.WriteString(s.record + "\n")
	}
	alone := len(s.steps) == 1 && s.steps[0].calls == 1
	for _, step := range s.steps {
		if !alone && step.name != "" && !g.globals.used["wrote "+step.name] {
			g.globals.used["wrote "+step.name] = true
			params := strings.Join(step.params, ", ")
			if params == "" {
				params = "void"
			}
			fmt.Fprintf(b, "static __always_inline int %s(%s)\n{\n%s}\n\n", step.name, params, indented(step.lines))
		}
	}
	b.WriteString(remark("", s.place.Hook.Doc))
	section := s.place.Place.String()
	if rest, ok := strings.CutPrefix(section, "tracepoint/"); ok {
		section = "tp/" + rest
	}
	fmt.Fprintf(b, "SEC(%s)\n%s\n{\n%s", quote(section), s.sign, indented(s.head))
	if len(s.head) > 0 {
		b.WriteString("\n")
	}
	switch {
	case alone:
		b.WriteString(indented(s.steps[0].lines))
	case len(s.steps) == 1:
		fmt.Fprintf(b, "\treturn %s;\n", call(s.steps[0]))
	default:
		result := "0"
		for i, step := range s.steps {
			if i == s.verdict {
				fmt.Fprintf(b, "\tint verdict = %s;\n", call(step))
				result = "verdict"
				continue
			}
			fmt.Fprintf(b, "\t%s;\n", call(step))
		}
		fmt.Fprintf(b, "\treturn %s;\n", result)
	}
	b.WriteString("}\n\n")
}

func call(b *body) string { return fmt.Sprintf("%s(%s)", b.name, strings.Join(b.args, ", ")) }

func indented(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		if l == "" {
			b.WriteString("\n")
			continue
		}
		b.WriteString("\t" + l + "\n")
	}
	return b.String()
}
