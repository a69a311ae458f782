package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kgent/agent/program"
	"kgent/retrieval/kernel"
)

// A mending puts right, in a model's source, what is right elsewhere and has one meaning here:
// a perf buffer, a ring buffer that does not name its events, a record that is called after
// its event. Each costs a try otherwise, and small models many. It guesses nothing: what has
// two meanings stays, for the gates to say so. The gates see, and people approve, the source as it is
// afterwards; lines keep their numbers.
type mending struct {
	source string
	code   string // source with its comments and texts blanked out, of the same length
	notes  []string
	// values are parameters that the source has set by its own means, by name.
	values map[string]string

	// facts of the kernel, and the type of a tracepoint's record by its name; may be nil.
	facts  *kernel.Facts
	record func(name string, fields []kernel.TracepointField) string
	// shown are maps that are to be shown, as the answer or the contract says.
	shown []string
}

// mend does all of it, in the order in which one thing makes another possible.
func (m *mending) mend() {
	m.values = map[string]string{}
	if len(m.source) > maxMended {
		return
	}
	for _, step := range []func(){m.lines, m.bcc, m.types, m.filter, m.perfBuffers, m.rings, m.maps, m.tags, m.printed, m.contexts, m.registers, m.zeroed, m.counters, m.tasks} {
		m.code = blank(m.source)
		step()
	}
	m.code = blank(m.source)
}

const (
	// maxMended is the longest source that is put right, in bytes: no program that people could approve is longer.
	maxMended = 64 << 10
	// maxFound bounds how many maps, calls and uses of one kind are looked at: mending takes milliseconds.
	maxFound = 64
)

// note says what was done.
func (m *mending) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(m.notes, s) {
		m.notes = append(m.notes, s)
	}
}

// edit is a passage of the source and what is to stand there.
type edit struct {
	from, to int
	with     string
}

// apply makes edits, which must not overlap. Lines that a passage had too many are kept.
func (m *mending) apply(edits []edit) {
	slices.SortFunc(edits, func(a, b edit) int { return b.from - a.from })
	for i, e := range edits {
		if i > 0 && e.to > edits[i-1].from {
			continue // they overlap: the later one is made
		}
		lines := strings.Count(m.source[e.from:e.to], "\n") - strings.Count(e.with, "\n")
		m.source = m.source[:e.from] + e.with + strings.Repeat("\n", max(0, lines)) + m.source[e.to:]
	}
	m.code = blank(m.source)
}

// blank replaces comments and texts by spaces, so that what is found in the rest is code.
func blank(source string) string {
	out := []byte(source)
	clear := func(from, to int) {
		for i := from; i < min(to, len(out)); i++ {
			if out[i] != '\n' {
				out[i] = ' '
			}
		}
	}
	for i := 0; i < len(source); {
		switch {
		case strings.HasPrefix(source[i:], "//"):
			end := strings.IndexByte(source[i:], '\n')
			if end < 0 {
				end = len(source) - i
			}
			clear(i, i+end)
			i += end
		case strings.HasPrefix(source[i:], "/*"):
			end := strings.Index(source[i+2:], "*/")
			if end < 0 {
				end = len(source) - i - 4
			}
			clear(i, i+end+4)
			i += max(end+4, 2)
		case source[i] == '"' || source[i] == '\'':
			end := i + 1
			for end < len(source) && source[end] != source[i] && source[end] != '\n' {
				if source[end] == '\\' {
					end++
				}
				end++
			}
			clear(i+1, min(end, len(source)))
			i = end + 1
		default:
			i++
		}
	}
	return string(out)
}

var ownMacros = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*define[ \t]+(KGENT_OUTPUT|KGENT_TASK_FILTER|SEC|__uint|__type|__array|BPF_PROG|BPF_KPROBE|BPF_KRETPROBE|BPF_CORE_READ|bpf_printk|bpf_core_read|barrier_var|__always_inline)\b(?:[^\n]*\\\n)*[^\n]*`)

// lines leaves out definitions that kgent.bpf.h has, and would only lose by being made again.
func (m *mending) lines() {
	var edits []edit
	for _, at := range ownMacros.FindAllStringSubmatchIndex(m.code, -1) {
		m.note("left out the macro %s: kgent.bpf.h has it", m.code[at[2]:at[3]])
		edits = append(edits, edit{at[0], at[1], ""})
	}
	m.apply(edits)
}

// ownTypes are typedefs, again, of what kgent.bpf.h itself is written with.
var ownTypes = regexp.MustCompile(`(?m)^[ \t]*typedef[ \t]+[a-z_0-9 \t]+?[ \t](__[us](?:8|16|32|64)|__[bl]e(?:16|32|64)|__wsum|__sum16)[ \t]*;`)

func (m *mending) types() {
	var edits []edit
	for _, at := range ownTypes.FindAllStringSubmatchIndex(m.code, -1) {
		m.note("left out the typedef of %s: kgent.bpf.h has it", m.code[at[2]:at[3]])
		edits = append(edits, edit{at[0], at[1], ""})
	}
	m.apply(edits)
}

var (
	aFilter   = regexp.MustCompile(`(?m)^[ \t]*KGENT_TASK_FILTER\b`)
	usesTask  = regexp.MustCompile(`\bk_(?:task_wanted|wants_task)\b`)
	ownFilter = regexp.MustCompile(`(?m)^[ \t]*(?:static[ \t]+)?(?:const[ \t]+volatile|volatile[ \t]+const)[ \t]+[a-zA-Z_][a-zA-Z0-9_ \t]*?[ \t](pid|comm|uid)[ \t]*(?:\[[^\]\n]*\])?[ \t]*(?:=[ \t]*([^;\n]*))?;`)
	firstItem = regexp.MustCompile(`(?m)^(?:struct|enum|union|SEC|static|const|char|typedef)\b`)
	anInt     = regexp.MustCompile(`^-?(?:0[xX][0-9a-fA-F]+|[0-9]+)$`)
)

// filter declares KGENT_TASK_FILTER where only its functions are used, and leaves out parameters
// that it declares already; what they were set to is kept as their value.
func (m *mending) filter() {
	has := aFilter.MatchString(m.code)
	if !has && usesTask.MatchString(m.code) {
		if at := firstItem.FindStringIndex(m.code); at != nil {
			m.apply([]edit{{at[0], at[0], "KGENT_TASK_FILTER "}})
			m.note("added KGENT_TASK_FILTER, whose functions are used")
			has = true
		}
	}
	if !has {
		return
	}
	var edits []edit
	for _, at := range ownFilter.FindAllStringSubmatchIndex(m.code, -1) {
		name, value := m.code[at[2]:at[3]], ""
		if at[4] >= 0 {
			value = strings.TrimSpace(m.source[at[4]:at[5]])
		}
		switch text, err := strconv.Unquote(value); {
		case value == "" || value == "0" || value == `""` || value == "{}" || value == "{0}" || value == "{ 0 }" || name == "uid" && value == "-1":
		case name == "comm" && err == nil, name != "comm" && anInt.MatchString(value):
			if err == nil {
				value = text
			}
			m.values[name] = value
		default:
			continue
		}
		m.note("left out the parameter %s: KGENT_TASK_FILTER declares it", name)
		edits = append(edits, edit{at[0], at[1], ""})
	}
	m.apply(edits)
}

// aMap is a definition of a map in the source.
type aMap struct {
	name               string
	from, open, closed int // of "struct", its braces
	end                int // after SEC(".maps")
	tagged             bool
}

var mapEnd = regexp.MustCompile(`^}[ \t\n]*([A-Za-z_][A-Za-z0-9_]*)[ \t\n]+SEC\([ \t]*"[ ]*"[ \t]*\)`)

// mapsOf finds the maps.
func (m *mending) mapsOf() []aMap {
	var out []aMap
	for at := 0; ; {
		i := strings.Index(m.code[at:], "struct")
		if i < 0 || len(out) == maxFound {
			return out
		}
		from := at + i
		at = from + len("struct")
		open := strings.IndexByte(m.code[at:], '{')
		if open < 0 || strings.TrimSpace(m.code[at:at+open]) != "" {
			continue // it has a name
		}
		open += at
		closed := closing(m.code, open)
		if closed < 0 {
			return out
		}
		end := mapEnd.FindStringSubmatchIndex(m.code[closed:min(len(m.code), closed+200)])
		if end == nil || !strings.Contains(m.source[closed+end[0]:closed+end[1]], `".maps"`) {
			continue
		}
		after, _, _ := strings.Cut(m.code[closed+end[1]:], ";")
		out = append(out, aMap{name: m.code[closed+end[2] : closed+end[3]], from: from, open: open, closed: closed, end: closed + end[1], tagged: strings.Contains(after, "KGENT_OUTPUT") || strings.Contains(after, "btf_decl_tag")})
		at = closed
	}
}

// closing finds the brace or bracket that closes the one at open; -1 if there is none.
func closing(code string, open int) int {
	depth := 0
	for i := open; i < len(code); i++ {
		switch code[i] {
		case '{', '(':
			depth++
		case '}', ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// call is a use of a function: its arguments as they are written.
type call struct {
	from, to int
	args     []string
}

// callsOf finds the calls of a function.
func (m *mending) callsOf(name string) []call {
	var out []call
	for at := 0; ; {
		i := strings.Index(m.code[at:], name)
		if i < 0 || len(out) == maxFound {
			return out
		}
		from := at + i
		at = from + len(name)
		if from > 0 && identByte(m.code[from-1]) {
			continue
		}
		rest := strings.TrimLeft(m.code[at:], " \t\n")
		if !strings.HasPrefix(rest, "(") {
			continue
		}
		open := len(m.code) - len(rest)
		end := closing(m.code, open)
		if end < 0 {
			continue
		}
		out = append(out, call{from, end + 1, m.arguments(open, end)})
		at = end
	}
}

func identByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

var (
	sizeofStruct = regexp.MustCompile(`^sizeof[ \t]*\(?[ \t]*struct[ \t]+([A-Za-z_][A-Za-z0-9_]*)[ \t]*\)?$`)
	sizeofVar    = regexp.MustCompile(`^sizeof[ \t]*\(?[ \t]*\*?[ \t]*\(?[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*\)*$`)
	address      = regexp.MustCompile(`^&?[ \t]*\(?[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*\)?$`)
)

// structOfSize is the struct whose size an expression is: sizeof(struct x), sizeof(*e), sizeof(e),
// with e declared before.
func (m *mending) structOfSize(expr string, before int) string {
	if s := sizeofStruct.FindStringSubmatch(expr); s != nil {
		return s[1]
	}
	if s := sizeofVar.FindStringSubmatch(expr); s != nil {
		return m.structOfVar(s[1], before)
	}
	return ""
}

// structOfVar is the struct that a variable is, or points to: that of its last declaration before.
func (m *mending) structOfVar(name string, before int) string {
	decl := regexp.MustCompile(`\bstruct[ \t\n]+([A-Za-z_][A-Za-z0-9_]*)[ \t\n*]+(?:[A-Za-z_][A-Za-z0-9_]*[ \t]*(?:=[^;,]*)?,[ \t*]*)*` + regexp.QuoteMeta(name) + `\b`)
	all := decl.FindAllStringSubmatch(m.code[:before], -1)
	if len(all) > 0 {
		return all[len(all)-1][1]
	}
	// By a typedef of a struct.
	decl = regexp.MustCompile(`\b([A-Za-z_][A-Za-z0-9_]*)[ \t\n*]+` + regexp.QuoteMeta(name) + `[ \t]*[=;,]`)
	if all := decl.FindAllStringSubmatch(m.code[:before], -1); len(all) > 0 {
		tag := all[len(all)-1][1]
		typedef := regexp.MustCompile(`\btypedef[ \t\n]+struct[ \t\n]+([A-Za-z_][A-Za-z0-9_]*)?[ \t\n]*\{`)
		for _, at := range typedef.FindAllStringSubmatchIndex(m.code, -1) {
			end := closing(m.code, at[1]-1)
			if end >= 0 && strings.HasPrefix(strings.TrimLeft(m.code[end+1:], " \t\n"), tag) {
				return "typedef " + tag
			}
		}
	}
	return ""
}

// typeOf is how a type is written that structOfVar has found.
func typeOf(tag string) string {
	if name, ok := strings.CutPrefix(tag, "typedef "); ok {
		return name
	}
	return "struct " + tag
}

// only is the one value of a list in which all are the same; empty if they are not.
func only(list []string) string {
	if len(list) == 0 || slices.ContainsFunc(list, func(s string) bool { return s == "" || s != list[0] }) {
		return ""
	}
	return list[0]
}

var perfArray = regexp.MustCompile(`\bBPF_MAP_TYPE_PERF_EVENT_ARRAY\b`)

// perfBuffers makes ring buffers of perf buffers whose events have one type.
func (m *mending) perfBuffers() {
	for _, name := range m.perfMaps() {
		var edits []edit
		var tags []string
		outputs := m.callsOf("bpf_perf_event_output")
		for _, c := range outputs {
			if len(c.args) != 5 || strings.TrimLeft(c.args[1], "& ") != name {
				continue
			}
			tag := m.structOfSize(c.args[4], c.from)
			if v := address.FindStringSubmatch(c.args[3]); tag == "" && v != nil {
				tag = m.structOfVar(v[1], c.from)
			}
			tags = append(tags, tag)
			edits = append(edits, edit{c.from, c.to, fmt.Sprintf("bpf_ringbuf_output(&%s, %s, %s, 0)", name, c.args[3], c.args[4])})
		}
		tag := only(tags)
		i := slices.IndexFunc(m.mapsOf(), func(x aMap) bool { return x.name == name })
		if tag == "" || i < 0 {
			continue
		}
		def := m.mapsOf()[i]
		edits = append(edits, edit{def.open + 1, def.closed, fmt.Sprintf(" __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, %s); ", typeOf(tag))})
		m.apply(edits)
		m.note("made a ring buffer of the perf buffer %s", name)
	}
}

func (m *mending) perfMaps() []string {
	var out []string
	for _, x := range m.mapsOf() {
		if perfArray.MatchString(m.code[x.open:x.closed]) {
			out = append(out, x.name)
		}
	}
	return out
}

var (
	ringType   = regexp.MustCompile(`\bBPF_MAP_TYPE_RINGBUF\b`)
	typedValue = regexp.MustCompile(`__type[ \t]*\([ \t]*value\b`)
)

// rings names the events of ring buffers that do not say what they carry.
func (m *mending) rings() {
	for _, name := range m.untypedRings() {
		var tags []string
		for _, c := range m.callsOf("bpf_ringbuf_reserve") {
			if len(c.args) == 3 && strings.TrimLeft(c.args[0], "& ") == name {
				tags = append(tags, m.structOfSize(c.args[1], c.from))
			}
		}
		for _, c := range m.callsOf("bpf_ringbuf_output") {
			if len(c.args) == 4 && strings.TrimLeft(c.args[0], "& ") == name {
				tag := m.structOfSize(c.args[2], c.from)
				if v := address.FindStringSubmatch(c.args[1]); tag == "" && v != nil {
					tag = m.structOfVar(v[1], c.from)
				}
				tags = append(tags, tag)
			}
		}
		tag := only(tags)
		i := slices.IndexFunc(m.mapsOf(), func(x aMap) bool { return x.name == name })
		if tag == "" || i < 0 {
			continue
		}
		at := m.mapsOf()[i]
		m.apply([]edit{{at.closed, at.closed, fmt.Sprintf(" __type(value, %s); ", typeOf(tag))}})
		m.declaredBefore(name, tag)
		m.note("said that events of %s are %s", name, typeOf(tag))
	}
}

// declaredBefore puts a declaration of a struct before a map that names it and stands above its definition.
func (m *mending) declaredBefore(name, tag string) {
	if strings.HasPrefix(tag, "typedef ") {
		return
	}
	i := slices.IndexFunc(m.mapsOf(), func(x aMap) bool { return x.name == name })
	def := regexp.MustCompile(`\bstruct[ \t\n]+` + regexp.QuoteMeta(tag) + `\b[^;{()]*\{`).FindStringIndex(m.code)
	if i < 0 || def == nil || def[0] < m.mapsOf()[i].from {
		return
	}
	from := m.mapsOf()[i].from
	m.apply([]edit{{from, from, "struct " + tag + "; "}})
}

func (m *mending) untypedRings() []string {
	var out []string
	for _, x := range m.mapsOf() {
		if body := m.code[x.open:x.closed]; ringType.MatchString(body) && !typedValue.MatchString(body) {
			out = append(out, x.name)
		}
	}
	return out
}

var (
	pinned     = regexp.MustCompile(`__uint[ \t]*\([ \t]*pinning[ \t]*,[^)]*\)[ \t]*;`)
	maxEntries = regexp.MustCompile(`__uint[ \t]*\([ \t]*max_entries[ \t]*,([^;]*)\)[ \t]*;`)
	product    = regexp.MustCompile(`^\(?[ \t]*(0x[0-9a-fA-F]+|[0-9]+)[ \t]*(?:(<<|\*)[ \t]*(0x[0-9a-fA-F]+|[0-9]+))?(?:[ \t]*(\*)[ \t]*([0-9]+))?[ \t]*\)?$`)
)

// maps leaves out pins and brings sizes into the bounds.
func (m *mending) maps() {
	var edits []edit
	for _, x := range m.mapsOf() {
		body := m.code[x.open:x.closed]
		for _, at := range pinned.FindAllStringIndex(body, -1) {
			m.note("left out that the map %s is pinned", x.name)
			edits = append(edits, edit{x.open + at[0], x.open + at[1], ""})
		}
		at := maxEntries.FindStringSubmatchIndex(body)
		if at == nil {
			continue
		}
		n, ok := constant(body[at[2]:at[3]])
		if !ok {
			continue
		}
		want := min(n, program.MaxMapEntries)
		if ringType.MatchString(body) {
			want = program.MinRing
			for want < n && want < program.MaxRing {
				want *= 2
			}
			if n < program.MinRing && n > 0 && n&(n-1) == 0 {
				want = n // it is enlarged when it is loaded
			}
		}
		if want != n {
			m.note("made the map %s hold %d instead of %d", x.name, want, n)
			edits = append(edits, edit{x.open + at[2], x.open + at[3], fmt.Sprintf(" %d", want)})
		}
	}
	m.apply(edits)
}

// constant is the value of 1024, 1 << 20, 256 * 1024 or 64 * 1024 * 4.
func constant(s string) (uint64, bool) {
	p := product.FindStringSubmatch(strings.TrimSpace(s))
	if p == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(p[1], 0, 32)
	if err != nil {
		return 0, false
	}
	if p[2] != "" {
		by, err := strconv.ParseUint(p[3], 0, 32)
		switch {
		case err != nil, p[2] == "<<" && by > 31:
			return 0, false
		case p[2] == "<<":
			n <<= by
		default:
			n *= by
		}
	}
	if p[4] != "" {
		by, err := strconv.ParseUint(p[5], 0, 16)
		if err != nil {
			return 0, false
		}
		n *= by
	}
	return n, true
}

// tags marks the maps that are to be shown: those that the answer or the contract says; or, where
// nothing would be shown at all, the one that can be.
func (m *mending) tags() {
	all := m.mapsOf()
	var untagged []aMap
	shows := strings.Contains(m.code, "bpf_seq_printf") || strings.Contains(m.code, "BPF_SEQ_PRINTF")
	for _, x := range all {
		body := m.code[x.open:x.closed]
		switch {
		case x.tagged || ringType.MatchString(body):
			shows = true
		case strings.Contains(body, "_HASH") || strings.Contains(body, "_ARRAY") && !perfArray.MatchString(body) && !strings.Contains(body, "PROG_ARRAY"):
			untagged = append(untagged, x)
		}
	}
	var marked []aMap
	for _, x := range untagged {
		if slices.Contains(m.shown, x.name) {
			marked = append(marked, x)
		}
	}
	if len(marked) == 0 && !shows {
		// What is deleted from is scratch.
		left := slices.DeleteFunc(slices.Clone(untagged), func(x aMap) bool {
			return slices.ContainsFunc(m.callsOf("bpf_map_delete_elem"), func(c call) bool {
				return len(c.args) == 2 && strings.TrimLeft(c.args[0], "& ") == x.name
			})
		})
		if len(left) == 1 {
			marked = left
		}
	}
	var edits []edit
	for _, x := range marked {
		edits = append(edits, edit{x.end, x.end, " KGENT_OUTPUT"})
		m.note("tagged the map %s, which is to be shown", x.name)
	}
	m.apply(edits)
}
