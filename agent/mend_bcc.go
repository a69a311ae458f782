package agent

import (
	"fmt"
	"regexp"
	"strings"
)

// Tutorials have taught models BCC, whose maps and probes are macros and methods. Those that mean
// one thing in plain eBPF are written out.

var (
	bccMap    = regexp.MustCompile(`(?m)^[ \t]*(BPF_HASH|BPF_LRU_HASH|BPF_ARRAY|BPF_PERCPU_ARRAY|BPF_PERCPU_HASH|BPF_PERF_OUTPUT|BPF_RINGBUF_OUTPUT)[ \t]*\(([^()\n]*)\)[ \t]*;`)
	bccProbe  = regexp.MustCompile(`\bTRACEPOINT_PROBE[ \t]*\([ \t]*([a-z0-9_]+)[ \t]*,[ \t]*([a-z0-9_]+)[ \t]*\)`)
	bccRaw    = regexp.MustCompile(`\bRAW_TRACEPOINT_PROBE[ \t]*\([ \t]*([a-z0-9_]+)[ \t]*\)`)
	bccMethod = regexp.MustCompile(`\b([A-Za-z_][A-Za-z0-9_]*)[ \t]*\.[ \t]*(lookup|update|insert|delete|increment|atomic_increment|lookup_or_try_init|lookup_or_init|perf_submit|ringbuf_reserve|ringbuf_submit|ringbuf_discard|ringbuf_output)[ \t]*\(`)
)

// bcc writes out the maps, methods and probes of BCC.
func (m *mending) bcc() {
	values := map[string]string{} // of maps, by name
	var edits []edit
	for _, at := range bccMap.FindAllStringSubmatchIndex(m.code, -1) {
		macro := m.code[at[2]:at[3]]
		var args []string
		for _, a := range strings.Split(m.source[at[4]:at[5]], ",") {
			args = append(args, strings.TrimSpace(a))
		}
		if args[0] == "" {
			continue
		}
		def, value := bccMapDefinition(macro, args)
		values[args[0]] = value
		m.note("wrote out %s(%s)", macro, args[0])
		edits = append(edits, edit{at[0], at[1], def})
	}
	for _, at := range bccProbe.FindAllStringSubmatchIndex(m.code, -1) {
		category, name := m.code[at[2]:at[3]], m.code[at[4]:at[5]]
		m.note("wrote out TRACEPOINT_PROBE(%s, %s)", category, name)
		edits = append(edits, edit{at[0], at[1], fmt.Sprintf("SEC(\"tp/%s/%s\") int on_%s(struct %s%s *args)", category, name, name, recordPrefix, name)})
	}
	for _, at := range bccRaw.FindAllStringSubmatchIndex(m.code, -1) {
		name := m.code[at[2]:at[3]]
		m.note("wrote out RAW_TRACEPOINT_PROBE(%s)", name)
		edits = append(edits, edit{at[0], at[1], fmt.Sprintf("SEC(\"raw_tp/%s\") int on_%s(struct bpf_raw_tracepoint_args *ctx)", name, name)})
	}
	m.apply(edits)
	m.bccMethods(values)
}

// bccMapDefinition is a map in kgent's form, and the type of its values.
func bccMapDefinition(macro string, args []string) (def, value string) {
	arg := func(i int, or string) string {
		if i < len(args) && args[i] != "" {
			return args[i]
		}
		return or
	}
	form := func(kind, size, key, value string) string {
		return fmt.Sprintf("struct { __uint(type, BPF_MAP_TYPE_%s); __uint(max_entries, %s); __type(key, %s); __type(value, %s); } %s SEC(\".maps\");", kind, size, key, value, args[0])
	}
	switch macro {
	case "BPF_PERF_OUTPUT", "BPF_RINGBUF_OUTPUT":
		return fmt.Sprintf("struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } %s SEC(\".maps\");", args[0]), ""
	case "BPF_ARRAY", "BPF_PERCPU_ARRAY":
		value = arg(1, "u64")
		return form(strings.TrimPrefix(macro, "BPF_"), arg(2, "10240"), "u32", value), value
	}
	value = arg(2, "u64")
	return form(strings.TrimPrefix(macro, "BPF_"), arg(3, "10240"), arg(1, "u64"), value), value
}

// bccMethods writes out the calls on maps; values has the maps that came from BCC's macros.
func (m *mending) bccMethods(values map[string]string) {
	for from := 0; ; {
		at := bccMethod.FindStringSubmatchIndex(m.code[from:])
		if at == nil {
			return
		}
		start, open := from+at[0], from+at[1]-1
		name, method := m.code[from+at[2]:from+at[3]], m.code[from+at[4]:from+at[5]]
		from = open
		value, ok := values[name]
		end := closing(m.code, open)
		if !ok || end < 0 {
			continue
		}
		args := m.arguments(open, end)
		with := bccCall(name, value, method, args)
		if with == "" {
			continue
		}
		m.note("wrote out %s.%s()", name, method)
		m.apply([]edit{{start, end + 1, with}})
		from = start
	}
}

// arguments are those between two parentheses.
func (m *mending) arguments(open, end int) []string {
	var args []string
	depth, start := 0, open+1
	for j := open + 1; j <= end; j++ {
		switch ch := m.code[j]; {
		case j == end || ch == ',' && depth == 0:
			args = append(args, strings.TrimSpace(m.source[start:j]))
			start = j + 1
		case strings.IndexByte("({[", ch) >= 0:
			depth++
		case strings.IndexByte(")}]", ch) >= 0:
			depth--
		}
	}
	return args
}

// bccCall is a method in plain eBPF; empty if its arguments are not those that it takes.
func bccCall(name, value, method string, args []string) string {
	is := func(m string, n int) bool { return method == m && len(args) >= n && args[0] != "" }
	switch {
	case is("lookup", 1):
		return fmt.Sprintf("bpf_map_lookup_elem(&%s, %s)", name, args[0])
	case is("update", 2):
		return fmt.Sprintf("bpf_map_update_elem(&%s, %s, %s, 0)", name, args[0], args[1])
	case is("insert", 2):
		return fmt.Sprintf("bpf_map_update_elem(&%s, %s, %s, 1)", name, args[0], args[1])
	case is("delete", 1):
		return fmt.Sprintf("bpf_map_delete_elem(&%s, %s)", name, args[0])
	case is("lookup_or_try_init", 2), is("lookup_or_init", 2):
		return fmt.Sprintf("({ bpf_map_update_elem(&%s, %s, %s, 1); (%s *)bpf_map_lookup_elem(&%s, %s); })", name, args[0], args[1], value, name, args[0])
	case is("increment", 1), is("atomic_increment", 1):
		by := "1"
		if len(args) > 1 {
			by = args[1]
		}
		return fmt.Sprintf("({ typeof(%s) _key = %s; %s *_n = k_cell(&%s, &_key, %s); if (_n) __sync_fetch_and_add(_n, %s); })", args[0], args[0], value, name, value, by)
	case is("perf_submit", 3):
		return fmt.Sprintf("bpf_ringbuf_output(&%s, %s, %s, 0)", name, args[1], args[2])
	case is("ringbuf_output", 2):
		return fmt.Sprintf("bpf_ringbuf_output(&%s, %s, %s, 0)", name, args[0], args[1])
	case is("ringbuf_reserve", 1):
		return fmt.Sprintf("bpf_ringbuf_reserve(&%s, %s, 0)", name, args[0])
	case is("ringbuf_submit", 1):
		return fmt.Sprintf("bpf_ringbuf_submit(%s, 0)", args[0])
	case is("ringbuf_discard", 1):
		return fmt.Sprintf("bpf_ringbuf_discard(%s, 0)", args[0])
	}
	return ""
}
