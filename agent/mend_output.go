package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	reserveInto = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*)[ \t\n]*=[ \t\n]*(?:\([^()]*\)[ \t]*)?$`)
	memberName  = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*)[ \t\n]*(?:\[[^\]]*\][ \t\n]*)*(?::[ \t]*[0-9]+[ \t]*)?(?:__attribute__.*)?$`)
)

// zeroed clears records of a ring buffer that are filled in member by member: what lies between the
// members is not zero otherwise. A record with a member that nothing is written to stays, for the
// proof to say so.
func (m *mending) zeroed() {
	var edits []edit
	for _, c := range m.callsOf("bpf_ringbuf_reserve") {
		if len(c.args) != 3 {
			continue
		}
		into := reserveInto.FindStringSubmatch(m.code[:c.from])
		tag := m.structOfSize(c.args[1], c.from)
		if into == nil || tag == "" {
			continue
		}
		rest := m.code[c.to:m.endOfFunction(c.to)]
		v := regexp.QuoteMeta(into[1])
		if regexp.MustCompile(`(?:memset|memcpy|k_zero|__builtin_memcpy|__builtin_memset)[ \t]*\([ \t]*`+v+`\b[ \t]*,`).MatchString(rest) || regexp.MustCompile(`\*[ \t]*`+v+`[ \t]*=[^=]`).MatchString(rest) {
			continue
		}
		members := m.membersOf(tag)
		if len(members) == 0 || slices.ContainsFunc(members, func(name string) bool {
			return !strings.HasPrefix(name, "_pad") && !regexp.MustCompile(`\b`+v+`[ \t\n]*->[ \t\n]*`+name+`\b`).MatchString(rest)
		}) {
			continue
		}
		edits = append(edits, edit{c.from, c.to, fmt.Sprintf("({ void *_r = bpf_ringbuf_reserve(%s, %s, 0); if (_r) __builtin_memset(_r, 0, %s); _r; })", c.args[0], c.args[1], c.args[1])})
		m.note("cleared %s before it is filled in", into[1])
	}
	m.apply(edits)
}

// endOfFunction is where the function around a place ends.
func (m *mending) endOfFunction(at int) int {
	if end := strings.Index(m.code[at:], "\n}"); end >= 0 {
		return at + end
	}
	return len(m.code)
}

// membersOf are the members of a struct of the source; none if they are not plain to see.
func (m *mending) membersOf(tag string) []string {
	def := regexp.MustCompile(`\bstruct[ \t\n]+` + regexp.QuoteMeta(tag) + `\b[^;{()]*\{`).FindStringIndex(m.code)
	if def == nil {
		return nil
	}
	end := closing(m.code, def[1]-1)
	if end < 0 || strings.ContainsRune(m.code[def[1]:end], '{') {
		return nil
	}
	var names []string
	for _, decl := range strings.Split(m.code[def[1]:end], ";") {
		if strings.TrimSpace(decl) == "" {
			continue
		}
		for _, d := range strings.Split(decl, ",") {
			name := memberName.FindStringSubmatch(strings.TrimSpace(d))
			if name == nil {
				return nil
			}
			names = append(names, name[1])
		}
	}
	return names
}

var looksUp = regexp.MustCompile(`\b([A-Za-z_][A-Za-z0-9_]*)[ \t\n]*=[ \t\n]*(?:\([^()]*\)[ \t]*)?(?:\(\{[^{}]*)?(?:bpf_map_lookup_elem|k_cell)[ \t]*\([ \t]*&[ \t]*([A-Za-z_][A-Za-z0-9_]*)`)

// counters adds to cells that all CPUs share by atomic instructions.
func (m *mending) counters() {
	shared := map[string]bool{}
	for _, x := range m.mapsOf() {
		body := m.code[x.open:x.closed]
		if !strings.Contains(body, "PERCPU") && !ringType.MatchString(body) {
			shared[x.name] = true
		}
	}
	cells := map[string]bool{}
	for _, at := range looksUp.FindAllStringSubmatch(m.code, -1) {
		if was, ok := cells[at[1]]; ok && was != shared[at[2]] {
			cells[at[1]] = false // a name for cells of both kinds
			continue
		}
		cells[at[1]] = shared[at[2]]
	}
	var edits []edit
	for name, is := range cells {
		if !is {
			continue
		}
		v := regexp.QuoteMeta(name)
		cell := `(\(\*` + v + `\)|\*` + v + `|` + v + `->[A-Za-z_][A-Za-z0-9_]*(?:\[[^\]\n;]*\])?)`
		for _, form := range []struct{ expr, by string }{
			{`[;{}):][ \t\n]*` + cell + `[ \t]*\+\+[ \t]*;`, "1"},
			{`[;{}):][ \t\n]*\+\+[ \t]*` + cell + `[ \t]*;`, "1"},
			{`[;{}):][ \t\n]*` + cell + `[ \t]*\+=[ \t]*([^;=]+);`, ""},
		} {
			for _, at := range regexp.MustCompile(form.expr).FindAllStringSubmatchIndex(m.code, -1) {
				what, by := m.code[at[2]:at[3]], form.by
				if form.by == "1" && what == "*"+name && !strings.HasPrefix(strings.TrimLeft(m.code[at[0]+1:], " \t\n"), "++") {
					continue // *n++ moves the pointer
				}
				if by == "" {
					by = strings.TrimSpace(m.source[at[4]:at[5]])
				}
				to := "&" + what
				if strings.Trim(what, "(*)") == name {
					to = name
				}
				from := at[0] + 1
				from += len(m.code[from:at[1]]) - len(strings.TrimLeft(m.code[from:at[1]], " \t\n"))
				edits = append(edits, edit{from, at[1], fmt.Sprintf("__sync_fetch_and_add(%s, %s);", to, by)})
				m.note("%s is added to by an atomic instruction, as all CPUs share it", what)
			}
		}
	}
	m.apply(edits)
}

var (
	conversionSpec = regexp.MustCompile(`%%|%[-+ #0]*[0-9]*(?:\.[0-9]+)?(hh|h|ll|l|z)?([diuxXcsp])(?:[a-zA-Z0-9]*)`)
	lastWord       = regexp.MustCompile(`([A-Za-z][A-Za-z0-9_]*)[^A-Za-z0-9_]*$`)
	plainName      = regexp.MustCompile(`(?:^|->|\.|,[ \t]*)([A-Za-z_][A-Za-z0-9_]*)\)*$`)
	charArray      = `\bchar[ \t]+(?:[^;\n]*,[ \t]*)?%s[ \t]*\[([^\]\n]+)\]`
)

// printed makes events of what a program prints, if it shows nothing else.
func (m *mending) printed() {
	if slices.ContainsFunc(m.mapsOf(), func(x aMap) bool { return x.tagged || ringType.MatchString(m.code[x.open:x.closed]) }) ||
		strings.Contains(m.code, "bpf_seq_printf") || strings.Contains(m.code, "BPF_SEQ_PRINTF") {
		return
	}
	at := firstItem.FindStringIndex(m.code)
	if at == nil {
		return
	}
	var edits []edit
	var defs strings.Builder
	for _, name := range []string{"bpf_printk", "bpf_trace_printk"} {
		for _, c := range m.callsOf(name) {
			args := c.args
			if name == "bpf_trace_printk" && len(args) > 1 && strings.HasPrefix(args[1], "sizeof") {
				args = append([]string{args[0]}, args[2:]...)
			}
			n := len(edits) + 1
			members, fill, ok := m.columns(args, c.from)
			if !ok {
				return
			}
			fmt.Fprintf(&defs, "struct printed_%d { %s }; struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct printed_%d); } lines_%d SEC(\".maps\"); ", n, members, n, n)
			edits = append(edits, edit{c.from, c.to, fmt.Sprintf("({ struct printed_%d *_e = bpf_ringbuf_reserve(&lines_%d, sizeof(*_e), 0); if (_e) { __builtin_memset(_e, 0, sizeof(*_e)); %sbpf_ringbuf_submit(_e, 0); } 0; })", n, n, fill)})
		}
	}
	if len(edits) == 0 {
		return
	}
	m.note("made events of what is printed")
	m.apply(append(edits, edit{at[0], at[0], defs.String()}))
}

// columns are the members of an event for what one call prints, and how they are filled.
func (m *mending) columns(args []string, before int) (members, fill string, ok bool) {
	if len(args) < 2 || !strings.HasPrefix(args[0], `"`) {
		return "", "", false
	}
	format := args[0]
	taken := map[string]bool{}
	next, from := 1, 0
	for _, at := range conversionSpec.FindAllStringSubmatchIndex(format, -1) {
		text := format[from:at[0]]
		from = at[1]
		if format[at[0]:at[1]] == "%%" {
			continue
		}
		if next >= len(args) {
			return "", "", false
		}
		arg := args[next]
		next++
		name := ""
		if p := plainName.FindStringSubmatch(arg); p != nil {
			name = p[1]
		} else if w := lastWord.FindStringSubmatch(text); w != nil {
			name = strings.ToLower(w[1])
		}
		if name == "" || taken[name] {
			name = fmt.Sprintf("value_%d", next-1)
		}
		taken[name] = true
		length := ""
		if at[2] >= 0 {
			length = format[at[2]:at[3]]
		}
		switch kind := format[at[4]:at[5]]; {
		case kind == "s":
			size := "64"
			if v := address.FindStringSubmatch(arg); v != nil {
				if a := regexp.MustCompile(fmt.Sprintf(charArray, regexp.QuoteMeta(v[1]))).FindAllStringSubmatch(m.code[:before], -1); len(a) > 0 {
					size = strings.TrimSpace(a[len(a)-1][1])
					members += fmt.Sprintf("char %s[%s]; ", name, size)
					fill += fmt.Sprintf("__builtin_memcpy(_e->%s, %s, sizeof(_e->%s)); ", name, arg, name)
					continue
				}
			}
			members += fmt.Sprintf("char %s[%s]; ", name, size)
			fill += fmt.Sprintf("bpf_probe_read_kernel_str(_e->%s, sizeof(_e->%s), %s); ", name, name, arg)
			continue
		case kind == "p":
			members += "k_addr " + name + "; "
			fill += fmt.Sprintf("_e->%s = (__u64)(%s); ", name, arg)
			continue
		case strings.Contains("xX", kind):
			members += "k_hex " + name + "; "
		case kind == "u" && (length == "" || length[0] == 'h'), kind == "c":
			members += "__u32 " + name + "; "
		case kind == "u":
			members += "__u64 " + name + "; "
		case length == "" || length[0] == 'h':
			members += "__s32 " + name + "; "
		default:
			members += "__s64 " + name + "; "
		}
		fill += fmt.Sprintf("_e->%s = (%s); ", name, arg)
	}
	return members, fill, next == len(args) && next > 1
}
