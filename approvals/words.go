package approvals

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
)

// Words says in plain sentences what a program does: where it listens, what
// it reports, and what it could change. All of it comes from its bytes.
func Words(facts []program.Facts, maps []program.MapInfo) []string {
	var out []string
	add := func(s string) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, s := range runs(facts) {
		add(s)
	}
	reports := len(out)
	for _, m := range maps {
		if s := report(m); s != "" {
			add(s)
		}
	}
	if slices.ContainsFunc(facts, func(f program.Facts) bool { return f.Calls("bpf_seq_write", "bpf_seq_printf") }) {
		add("Prints lines of text.")
	}
	if len(out) == reports {
		add(nothing)
	}
	reasons := reasonsOf(facts)
	for _, r := range reasons {
		add("It " + r.text() + ".")
	}
	switch {
	case len(reasons) > 0 && reasons[0].tier == Act:
	case slices.ContainsFunc(facts, func(f program.Facts) bool { return orders[f.Hook.Kind] != "" }):
		add("It changes nothing and lets everything pass.")
	default:
		add("It changes nothing: it only looks.")
	}
	return out
}

const nothing = "Reports nothing."

// wordsOfScript says of a script what its object does not show: its maps are known
// there by numbers only.
func wordsOfScript(does []string) []string {
	out := slices.Clone(does)
	if i := slices.Index(out, nothing); i >= 0 {
		out[i] = "Prints lines, and shows its maps at the end, as the script itself says."
	}
	return append(out, "It is run by the node's bpftrace, as root with few rights: no shell, no network, no files to write.")
}

// narrowedTo says what a program is told of the containers that it is narrowed to. That it asks for
// them everywhere is a matter of its proof.
func narrowedTo(where string) string {
	return fmt.Sprintf("It is told which processes are in %s. Each node finds that by the name, with what is started in it later.", printable(program.WhereWords(where)))
}

// runs says where programs run, those of one kind in one sentence.
func runs(facts []program.Facts) []string {
	type place struct {
		one, many string // "at the kernel's tracepoint ", "… tracepoints "
		targets   []string
		rest      string
	}
	var places []*place
	for _, f := range facts {
		one, many, target, rest := where(f.Hook)
		i := slices.IndexFunc(places, func(p *place) bool { return p.one == one && p.rest == rest && target != "" })
		if i < 0 {
			i = len(places)
			places = append(places, &place{one: one, many: many, rest: rest})
		}
		if p := places[i]; target != "" && !slices.Contains(p.targets, target) {
			p.targets = append(p.targets, target)
		}
	}
	var out []string
	for _, p := range places {
		lead := p.one
		if len(p.targets) > 1 {
			lead = p.many
		}
		out = append(out, "Runs "+lead+list(some(p.targets))+p.rest+".")
	}
	return out
}

// where says where a program runs: the words before the target when there is
// one of them and when there are several, the target, and the words after it.
func where(h program.Hook) (one, many, target, rest string) {
	same := func(s string) (string, string, string, string) { return s, s, printable(h.Target), "" }
	in := "the whole host"
	if strings.Trim(h.Target, "/") != "" {
		in = "cgroup " + printable(h.Target)
	}
	switch h.Kind {
	case program.Tracepoint, program.RawTracepoint, program.TPBTF:
		if call, ok := systemCall(h.Target); ok {
			return "at the system call ", "at the system calls ", printable(call), ""
		}
		if h.Target == "sys_enter" || h.Target == "sys_exit" {
			return "at every system call", "", "", ""
		}
		return "at the kernel's tracepoint ", "at the kernel's tracepoints ", printable(h.Target), ""
	case program.Kprobe, program.Fentry:
		return same("whenever the kernel calls ")
	case program.Kretprobe, program.Fexit:
		return same("whenever the kernel returns from ")
	case program.KprobeMulti:
		return same("whenever the kernel calls one of ")
	case program.KretprobeMulti:
		return same("whenever the kernel returns from one of ")
	case program.KprobeSession:
		return same("whenever the kernel calls one of, and returns from, ")
	case program.FmodRet:
		return "before the kernel's function ", "before the kernel's functions ", printable(h.Target), ", which it may replace"
	case program.LSM:
		return "at the kernel's security check ", "at the kernel's security checks ", printable(h.Target), ""
	case program.Iter:
		return "once over every ", "once over every ", printable(h.Target), " of the kernel"
	case program.Uprobe:
		return "whenever a process calls ", "whenever a process calls ", printable(h.Symbol), " of " + printable(h.Binary)
	case program.Uretprobe:
		return "whenever a process returns from ", "whenever a process returns from ", printable(h.Symbol), " of " + printable(h.Binary)
	case program.USDT:
		return "whenever a process passes the marker ", "whenever a process passes the markers ", printable(h.Symbol), " of " + printable(h.Binary)
	case program.PerfEvent:
		if h.Target != "cpu-clock" {
			return fmt.Sprintf("at %s, up to %d times a second on every CPU", printable(h.Target), h.Hz), "", "", ""
		}
		return fmt.Sprintf("%d times a second on every CPU", h.Hz), "", "", ""
	case program.Interval:
		return "every so often (interval ", "every so often (intervals ", printable(h.Target), ")"
	case program.Software:
		return "at every so many events of the kernel's (", "at every so many events of the kernel's (", printable(h.Target), ")"
	case program.ScriptEvent:
		return "once, at the ", "once, at the ", map[string]string{"BEGIN": "beginning", "END": "end"}[h.Target], ""
	case program.XDP:
		return "for every packet that ", "for every packet that ", printable(h.Target), " receives, before anything else sees it"
	case program.TCXIngress:
		return "for every packet that ", "for every packet that ", printable(h.Target), " receives"
	case program.TCXEgress:
		return "for every packet that ", "for every packet that ", printable(h.Target), " sends"
	case program.SocketFilter:
		return "for a copy of every packet that ", "for a copy of every packet that ", printable(h.Target), " receives or sends"
	case program.CgroupIngress:
		return "for every packet that processes of " + in + " receive", "", "", ""
	case program.CgroupEgress:
		return "for every packet that processes of " + in + " send", "", "", ""
	case program.CgroupSock:
		return "at ", "at ", printable(h.Symbol), " for processes of " + in
	}
	return "at " + printable(h.String()), "", "", ""
}

// systemCall returns the system call of a tracepoint that is one's entry or
// exit.
func systemCall(tracepoint string) (string, bool) {
	for _, prefix := range []string{"syscalls:sys_enter_", "syscalls:sys_exit_"} {
		if call, ok := strings.CutPrefix(tracepoint, prefix); ok {
			return call, true
		}
	}
	return "", false
}

// maxListed is how many names a sentence lists.
const maxListed = 8

// some shortens a long list of names.
func some(names []string) []string {
	if len(names) <= maxListed {
		return names
	}
	return append(slices.Clone(names[:maxListed-1]), fmt.Sprintf("%d more", len(names)-maxListed+1))
}

// report says what the reader gets from a map; nothing from internal ones.
func report(m program.MapInfo) string {
	name := printable(m.Name)
	switch m.Role {
	case program.RoleEvents:
		return fmt.Sprintf("Reports events (%s) with %s.", name, list(fields(m.Value)))
	case program.RoleOutput:
	default:
		return ""
	}
	per := list(keys(m))
	if per != "" {
		per = " per " + per
	}
	switch what, unit := aggregate(m.Value); what {
	case "hist":
		return fmt.Sprintf("Shows a histogram of %s%s (%s).", unit, per, name)
	case "stats":
		return fmt.Sprintf("Shows count, mean, smallest and largest of %s%s (%s).", unit, per, name)
	}
	return fmt.Sprintf("Shows a table of %s%s (%s).", list(fields(m.Value)), per, name)
}

// aggregate recognises a value that is one histogram or one set of sums, and
// its unit from the type's name: k_hist_ns.
func aggregate(t btf.Type) (what, unit string) {
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok {
		return "", ""
	}
	if len(s.Members) == 1 {
		if l, ok, err := program.LinearOf(s.Members[0].Tags); ok && err == nil {
			return "hist", unitWords[l.Unit]
		}
	}
	what, ok = strings.CutPrefix(s.Name, "k_")
	if !ok || what != "hist" && what != "stats" {
		return "", ""
	}
	unit = "values"
	if td, ok := t.(*btf.Typedef); ok {
		if u, ok := strings.CutPrefix(td.Name, s.Name+"_"); ok {
			unit = unitWords[u]
		}
	}
	if unit == "" {
		unit = "values"
	}
	return what, unit
}

var unitWords = map[string]string{"ns": "nanoseconds", "us": "microseconds", "ms": "milliseconds", "bytes": "bytes", "count": "counts"}

// keys returns the fields of a map's key; none for the index of an array with
// one entry.
func keys(m program.MapInfo) []string {
	if m.MaxEntries == 1 {
		return nil
	}
	return fields(m.Key)
}

// fields returns the names of a struct's members, or what a plain value is
// called: the k_ type without its prefix.
func fields(t btf.Type) []string {
	if s, ok := btf.UnderlyingType(t).(*btf.Struct); ok && len(s.Members) > 0 && s.Name != "k_ip" {
		var out []string
		for _, m := range s.Members {
			if m.Name != "" && !strings.HasPrefix(m.Name, "_") {
				out = append(out, printable(strings.ReplaceAll(m.Name, "_", " ")))
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	if t == nil {
		return []string{"values"}
	}
	if name, ok := strings.CutPrefix(t.TypeName(), "k_"); ok {
		return []string{printable(name)}
	}
	return []string{"number"}
}

// list joins names: a, b and c.
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// maxName is how much of a name from an object is shown, in characters.
const maxName = 80

// printable makes a name from an object fit for a card: one line of visible
// characters, and none that change the direction of text.
func printable(s string) string { return plain(s, maxName) }

// plain returns at most limit characters of s, with what is not visible
// replaced.
func plain(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > limit {
			b.WriteRune('…')
			break
		}
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
