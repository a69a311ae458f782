package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel"
	"kgent/retrieval/kernel/abi"
)

// aProgram is a program on a tracepoint in the source.
type aProgram struct {
	category, name string
	tag            string // of the struct that ctx points to
	typeAt         [2]int // where "struct tag" stands
	ctx            string // what ctx is called
	open, closed   int    // the function's braces
}

var tracepointProgram = regexp.MustCompile(`SEC\([ \t]*"[ ]*"[ \t]*\)[ \t\n]*(?:static[ \t\n]+)?(?:__attribute__\(\([^)]*\)\)[ \t\n]*)?(?:int|long|u32|__u32)[ \t\n]+[A-Za-z_][A-Za-z0-9_]*[ \t\n]*\([ \t\n]*(struct[ \t\n]+([A-Za-z_][A-Za-z0-9_]*))[ \t\n]*\*[ \t\n]*(?:const[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t\n]*\)[ \t\n]*\{`)

var tracepointSection = regexp.MustCompile(`SEC\([ \t]*"(?:tp|tracepoint)/([a-z0-9_]+)[/:]([a-z0-9_]+)"`)

// programsOf finds the programs on tracepoints.
func (m *mending) programsOf() []aProgram {
	var out []aProgram
	for _, at := range tracepointProgram.FindAllStringSubmatchIndex(m.code, -1) {
		section := tracepointSection.FindStringSubmatch(m.source[at[0]:at[1]])
		end := closing(m.code, at[1]-1)
		if section == nil || end < 0 {
			continue
		}
		out = append(out, aProgram{category: section[1], name: section[2], tag: m.code[at[4]:at[5]], typeAt: [2]int{at[2], at[3]}, ctx: m.code[at[6]:at[7]], open: at[1] - 1, closed: end})
	}
	return out
}

// contexts gives the programs on tracepoints the record that the kernel has for them, where the
// source calls it otherwise, and its members their places.
func (m *mending) contexts() {
	if m.facts == nil {
		return
	}
	var edits []edit
	for _, p := range m.programsOf() {
		t, err := m.facts.Tracepoint(p.category, p.name)
		if err != nil || m.declares(p.tag) {
			continue // the facts gate says what there is instead
		}
		fields := slices.DeleteFunc(slices.Clone(t.Fields), func(f kernel.TracepointField) bool { return f.Common() })
		want := ""
		switch {
		case p.category != "syscalls":
			want = m.record(p.name, fields)
		case strings.HasPrefix(p.name, "sys_enter_"):
			want = recordPrefix + "sys_enter"
		case strings.HasPrefix(p.name, "sys_exit_"):
			want = recordPrefix + "sys_exit"
		}
		if want == "" {
			continue
		}
		if p.tag != want && (!m.known(p.tag) || p.tag == "trace_event_raw_sys_enter" || p.tag == "trace_event_raw_sys_exit") {
			edits = append(edits, edit{p.typeAt[0], p.typeAt[1], "struct " + want})
			m.note("the context of %s/%s is struct %s", p.category, p.name, want)
		} else if p.tag != want {
			continue // another record of the kernel, on purpose or not
		}
		edits = append(edits, m.members(p, fields)...)
	}
	m.apply(edits)
	m.copies()
}

// copies reads arrays in a record by the helper: the verifier takes only whole numbers from there.
func (m *mending) copies() {
	var edits []edit
	for _, p := range m.programsOf() {
		array := regexp.MustCompile(`^(?:\([a-z_ ]*\*\))?[ \t]*&?[ \t]*` + regexp.QuoteMeta(p.ctx) + `[ \t]*->[ \t]*[A-Za-z_][A-Za-z0-9_]*(?:\[0\])?$`)
		for _, name := range []string{"memcpy", "__builtin_memcpy"} {
			for _, c := range m.callsOf(name) {
				if c.from < p.open || c.from > p.closed || len(c.args) != 3 || !array.MatchString(c.args[1]) || p.category == "syscalls" {
					continue
				}
				m.note("read %s by bpf_probe_read_kernel", c.args[1])
				edits = append(edits, edit{c.from, c.to, fmt.Sprintf("bpf_probe_read_kernel(%s, %s, %s)", c.args[0], c.args[2], c.args[1])})
			}
		}
	}
	m.apply(edits)
}

// declares tells whether the source has a struct of its own of this name.
func (m *mending) declares(tag string) bool {
	return regexp.MustCompile(`\bstruct[ \t\n]+` + regexp.QuoteMeta(tag) + `\b[^;{()]*\{`).MatchString(m.code)
}

// known tells whether the kernel has the struct.
func (m *mending) known(tag string) bool {
	var s *btf.Struct
	return m.facts.BTF.TypeByName(tag, &s) == nil
}

// members finds uses of a record's members by names that the record's type does not have: the
// arguments of a system call, texts at the record's end.
func (m *mending) members(p aProgram, fields []kernel.TracepointField) []edit {
	var edits []edit
	use := regexp.MustCompile(`\b` + regexp.QuoteMeta(p.ctx) + `[ \t]*->[ \t]*([A-Za-z_][A-Za-z0-9_]*)`)
	enter := p.category == "syscalls" && strings.HasPrefix(p.name, "sys_enter_")
	for _, at := range use.FindAllStringSubmatchIndex(m.code[p.open:p.closed], -1) {
		name := m.code[p.open+at[2] : p.open+at[3]]
		i := slices.IndexFunc(fields, func(f kernel.TracepointField) bool { return f.Name == name })
		if i < 0 {
			continue
		}
		with := ""
		switch f := fields[i]; {
		case enter && (name == "__syscall_nr" || name == "nr"):
			with = p.ctx + "->id"
		case enter && i > 0:
			with = fmt.Sprintf("((%s)%s->args[%d])", f.Type, p.ctx, i-1)
		case !enter && p.category != "syscalls" && f.DataLoc:
			with = fmt.Sprintf("((char *)%s + (%s->__data_loc_%s & 0xffff))", p.ctx, p.ctx, name)
		default:
			continue
		}
		m.note("%s->%s of %s is %s", p.ctx, name, p.name, with)
		edits = append(edits, edit{p.open + at[0], p.open + at[1], with})
	}
	return edits
}

var argumentUse = regexp.MustCompile(`(\([A-Za-z_][A-Za-z0-9_ \t]*\**[ \t]*\)[ \t]*|&[ \t]*)?\b([A-Za-z_][A-Za-z0-9_]*)[ \t]*->[ \t]*args[ \t]*\[[ \t]*([0-5])[ \t]*\]`)

// argumentCasts are the casts by which a program takes as much of a register as the kernel does.
var argumentCasts = map[abi.ArgKind]string{abi.ArgS32: "int", abi.ArgU32: "unsigned int", abi.ArgU16: "unsigned short"}

// registers takes of an argument of a system call what the kernel takes of it: the ABI leaves the rest of the register undefined, so
// that ctx->args[0] > 2 without a cast is right only by luck. A cast that the source has stays.
func (m *mending) registers() {
	var edits []edit
	for _, p := range m.programsOf() {
		call, enter := strings.CutPrefix(p.name, "sys_enter_")
		kinds, ok := abi.SyscallArgs(call)
		if p.category != "syscalls" || !enter || !ok {
			continue
		}
		for _, at := range argumentUse.FindAllStringSubmatchIndex(m.code[p.open:p.closed], maxFound) {
			n := int(m.code[p.open+at[6]] - '0')
			if at[2] >= 0 || m.code[p.open+at[4]:p.open+at[5]] != p.ctx || n >= len(kinds) || argumentCasts[kinds[n]] == "" {
				continue
			}
			from, to := p.open+at[0], p.open+at[1]
			edits = append(edits, edit{from, to, fmt.Sprintf("((%s)%s)", argumentCasts[kinds[n]], m.source[from:to])})
			m.note("args[%d] of %s is taken as the kernel takes it: %s", n, call, argumentCasts[kinds[n]])
		}
	}
	m.apply(edits)
}

var taskVariable = regexp.MustCompile(`\bstruct[ \t\n]+task_struct[ \t\n]*\*[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t\n]*=[ \t\n]*(?:\([^()]*\)[ \t]*)?(?:\([ \t]*)?bpf_get_current_task[ \t]*\(`)

// tasks reads members of the current task by BPF_CORE_READ, where its pointer came as a number
// that the verifier does not let anybody follow.
func (m *mending) tasks() {
	var edits []edit
	var within []call // a field is named there, not read
	for _, name := range []string{"bpf_core_field_exists", "bpf_core_field_size", "bpf_core_field_offset", "bpf_core_read", "bpf_core_read_str", "BPF_CORE_READ", "BPF_CORE_READ_INTO", "BPF_CORE_READ_STR_INTO", "BPF_CORE_READ_BITFIELD_PROBED", "sizeof", "typeof"} {
		within = append(within, m.callsOf(name)...)
	}
	for _, at := range taskVariable.FindAllStringSubmatchIndex(m.code, -1) {
		v := m.code[at[2]:at[3]]
		use := regexp.MustCompile(`(?:^|[^A-Za-z0-9_&>.])(` + regexp.QuoteMeta(v) + `((?:->[A-Za-z_][A-Za-z0-9_.]*)+))[ \t]*([^ \t])`)
		end := m.endOfFunction(at[1])
		for _, u := range use.FindAllStringSubmatchIndex(m.code[at[1]:end], -1) {
			path, next := m.code[at[1]+u[4]:at[1]+u[5]], m.code[at[1]+u[6]]
			last := path[strings.LastIndexAny(path, ">.")+1:]
			before := strings.TrimRight(m.code[:at[1]+u[2]], " \t")
			equals := next == '=' && m.code[at[1]+u[6]+1] == '='
			if slices.ContainsFunc(within, func(c call) bool { return c.from < at[1]+u[2] && at[1]+u[3] < c.to }) || last == "comm" || last == "" || next == '[' || next == '(' || next == '=' && !equals || strings.HasSuffix(before, "&") && !strings.HasSuffix(before, "&&") {
				continue
			}
			m.note("read %s%s by BPF_CORE_READ", v, path)
			edits = append(edits, edit{at[1] + u[2], at[1] + u[3], fmt.Sprintf("BPF_CORE_READ(%s, %s)", v, strings.ReplaceAll(strings.TrimPrefix(path, "->"), "->", ", "))})
		}
	}
	m.apply(edits)
}
