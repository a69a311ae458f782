package contract

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kgent/agent/program"
)

// nothingElse begins the paragraph behind the last hook.
const nothingElse = "Nothing else is shown"

// Behaviour is the part of [English]'s words that says what is shown and when, without
// the title before it and what follows from it or is taken for granted behind it.
func Behaviour(words string) string {
	var parts []string
	for i, p := range strings.Split(strings.TrimSpace(words), "\n\n") {
		if strings.HasPrefix(p, nothingElse) {
			break
		}
		if i > 0 { // the first is the title
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "\n")
}

// English writes what a contract says in plain words, for whoever has to agree to
// it. Nothing is left out but comments. Lines are not wrapped. "- " begins a case or
// an item of a list, "→ " what is done in that case; two spaces are a level.
func English(c *Contract) string {
	e := &english{c: c, defines: map[string]*Define{}, used: map[string]bool{}}
	for _, d := range slices.Concat(Prelude(), c.Defines) {
		e.defines[d.Name] = d
	}
	e.line("%s.", strings.TrimSuffix(c.Title, "."))
	e.line("")
	e.shown()
	for _, h := range c.Hooks {
		e.line("")
		e.hook(h)
	}
	e.line("")
	if e.acts() {
		e.line("%s, and nothing else is changed.", nothingElse)
	} else {
		e.line("%s, and nothing on the host is changed.", nothingElse)
	}
	if e.filters {
		e.line("kgent's own process is left out.")
	}
	e.spelledOut()
	if len(c.Params) > 0 {
		e.line("")
		e.line("It can be narrowed or changed by (in its author's words):")
		for _, p := range c.Params {
			e.line("- %s: %s%s", p.Name, orElse(p.Means, "a value that people set"), e.paramRange(p))
		}
	}
	e.line("")
	e.line("Taken for granted:")
	for _, a := range assumptions {
		named := slices.ContainsFunc(c.Assume, func(w Word) bool { return w.Name == a.Name })
		if always[a.Name] || named {
			e.line("- %s", a.Means)
		}
	}
	return e.b.String()
}

type english struct {
	c       *Contract
	defines map[string]*Define
	b       strings.Builder
	// words are what names stand for at the place at hand.
	words map[string]string
	// places are those of the hook at hand.
	places []*Place
	depth  int
	// filters says that a filter of tasks was spoken of.
	filters bool
	// work is how many parts of expressions have been put into words.
	work int
	// used are the definitions of the contract whose own words were taken.
	used map[string]bool
}

// maxWork bounds the work of a text; no contract that people would read comes near.
const maxWork = 50_000

// spelledOut says what the author's own words for definitions stand for, so that
// nothing hides behind them.
func (e *english) spelledOut() {
	lines := map[string]string{}
	for again := true; again; { // definitions may use others
		again = false
		for _, d := range e.c.Defines {
			if e.used[d.Name] && lines[d.Name] == "" {
				again, lines[d.Name] = true, e.definitionWords(d)
			}
		}
	}
	if len(lines) > 0 {
		e.line("")
		e.line("Of these words,")
	}
	for _, d := range e.c.Defines {
		if lines[d.Name] != "" {
			e.line("- %s", lines[d.Name])
		}
	}
	if e.work > maxWork {
		e.line("")
		e.line("THIS CONTRACT IS TOO LONG TO BE PUT INTO WORDS. Where “…” stands, read its text.")
	}
}

func (e *english) line(format string, args ...any) { fmt.Fprintf(&e.b, format+"\n", args...) }

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (e *english) paramRange(p *Param) string {
	s := ""
	if p.Min != nil {
		s = fmt.Sprintf("; from %s to %s", e.phrase(p.Min), e.phrase(p.Max))
	}
	if p.Default != nil {
		said := strings.Contains(p.Means, e.phrase(p.Default)+" is any") || strings.Contains(p.Means, "when not given")
		if t, isText := p.Default.(*Text); (!isText || t.Value != "") && !said {
			s += fmt.Sprintf(" (%s when not given)", e.phrase(p.Default))
		}
	}
	return s
}

func (e *english) definitionWords(d *Define) string {
	e.words = map[string]string{}
	words := d.Means
	for _, a := range d.Args {
		e.words[a.Name] = argWords(Arg{Name: a.Name})
		words = strings.ReplaceAll(words, "{"+a.Name+"}", e.words[a.Name])
	}
	return fmt.Sprintf("“%s” stands for: %s", words, e.phrase(d.Body))
}

// ---- what is shown

func (e *english) shown() {
	for _, ev := range e.c.Events {
		e.line("It shows lines “%s”, each with %s.", ev.Name, listOf(e.memberWords(ev.Members, ev.More), "and"))
	}
	for _, t := range e.c.Tables {
		e.line("It shows %s.%s", e.tableWords(t), e.viewWords(t.Name))
	}
	for _, ev := range e.c.Events {
		if v := e.viewWords(ev.Name); v != "" {
			e.line("Of “%s”,%s", ev.Name, strings.ToLower(v))
		}
	}
	for _, x := range e.c.Enums {
		for _, name := range e.namedBy(x) {
			var names []string
			for _, v := range x.Values {
				names = append(names, fmt.Sprintf("%s for %d", v.Name, v.Value))
			}
			e.line("“%s” is shown as %s.", name, listOf(names, "and"))
		}
	}
}

// namedBy are the members that show numbers by the names of an enum. What the contract itself
// says by those names needs no explanation.
func (e *english) namedBy(x *Enum) []string {
	var out []string
	see := func(to string, m Member, of func(*Effect) []Field) {
		if m.Type.Name == x.Name && !slices.Contains(out, m.Name) && !e.said(x, to, m.Name, of) {
			out = append(out, m.Name)
		}
	}
	for _, ev := range e.c.Events {
		for _, m := range ev.Members {
			see(ev.Name, m, func(f *Effect) []Field { return f.Fields })
		}
	}
	for _, t := range e.c.Tables {
		for _, m := range t.Key {
			see(t.Name, m, func(f *Effect) []Field { return f.Key })
		}
	}
	return out
}

// said tells whether all that a member gets is a name of an enum.
func (e *english) said(x *Enum, to, member string, of func(*Effect) []Field) bool {
	name := func(is Expr) bool {
		n, ok := is.(*Name)
		return ok && slices.ContainsFunc(x.Values, func(v EnumValue) bool { return v.Name == n.Name })
	}
	for _, h := range e.c.Hooks {
		for _, s := range h.Steps {
			for _, list := range append(caseEffects(s), s.Otherwise) {
				for _, f := range list {
					if f.To == to && slices.ContainsFunc(of(f), func(v Field) bool { return v.Name == member && !name(v.Is) }) {
						return false
					}
				}
			}
		}
	}
	return true
}

func (e *english) viewWords(name string) string {
	s := ""
	for _, v := range e.c.Views {
		if v.Table != name {
			continue
		}
		if v.Top > 0 {
			s += fmt.Sprintf(" The largest %d are presented.", v.Top)
		}
		if v.Every > 0 {
			s += fmt.Sprintf(" It is presented every %s.", numberWords(&Number{Value: uint64(v.Every), Unit: durationUnit(uint64(v.Every))}))
		}
	}
	return s
}

func (e *english) memberWords(list []Member, more bool) (out []string) {
	for _, m := range list {
		out = append(out, m.Name)
	}
	if more {
		out = append(out, "possibly more")
	}
	return out
}

func (e *english) tableWords(t *Table) string {
	per := ""
	if len(t.Key) > 0 {
		per = " for each " + listOf(e.memberWords(t.Key, false), "and")
	}
	if len(t.Values) == 1 && (t.Values[0].Agg == Log2 || t.Values[0].Agg == Linear) {
		s := fmt.Sprintf("a histogram “%s”%s, of %s, in %s", t.Name, per, unitWords(t.Values[0].Type.Name), slotWords(t.Values[0]))
		return s
	}
	if per != "" {
		per = " with a row" + per
	}
	var holds []string
	for _, v := range t.Values {
		holds = append(holds, e.valueWords(v))
	}
	if t.More {
		holds = append(holds, "possibly more")
	}
	return fmt.Sprintf("a table “%s”%s: %s", t.Name, per, listOf(holds, "and"))
}

func slotWords(v TableValue) string {
	if v.Agg == Linear {
		return fmt.Sprintf("%d steps of %d", v.Slots, v.Step)
	}
	return "powers of two"
}

func (e *english) valueWords(v TableValue) string {
	if v.Name != "" {
		unnamed := v
		unnamed.Name = ""
		return v.Name + " (" + e.valueWords(unnamed) + ")"
	}
	unit := unitWords(v.Type.Name)
	switch v.Agg {
	case Count:
		return "how often it happened"
	case Sum:
		return "the sum of " + unit
	case Min:
		return "the smallest of " + unit
	case Max:
		return "the largest of " + unit
	case Last:
		return "the last of " + unit
	case Stats:
		return "how many, with sum, mean, smallest and largest of " + unit
	}
	return "a histogram of " + unit + " in " + slotWords(v)
}

func unitWords(typ string) string {
	switch typ {
	case "k_ns":
		return "durations"
	case "k_us":
		return "durations (microseconds)"
	case "k_ms":
		return "durations (milliseconds)"
	case "k_bytes":
		return "sizes in bytes"
	case "k_pages":
		return "numbers of pages"
	case "k_count":
		return "counts"
	}
	return "numbers"
}

// harmless are the answers that leave things as they are.
var harmless = map[string]string{"xdp": "XDP_PASS", "tcx/ingress": "TCX_NEXT", "tcx/egress": "TCX_NEXT", "cgroup": "1", "cgroup_skb/ingress": "1",
	"cgroup_skb/egress": "1", "lsm": "0", "fmod_ret": "0"}

// observing are kinds of hooks whose answer changes nothing but what the program itself sees.
var observing = []string{"kprobe.session", "socket"}

// decides tells whether the effect is an answer that could change what becomes of a packet or a call.
func (e *Effect) decides(at *Place) bool {
	return e.Verb == Return && !slices.Contains(observing, at.Kind) && ExprString(e.Value) != harmless[at.Kind]
}

// acts tells whether some answer could change what becomes of a packet or a call.
func (e *english) acts() bool {
	for _, h := range e.c.Hooks {
		for _, s := range h.Steps {
			for _, list := range append(caseEffects(s), s.Otherwise) {
				for _, x := range list {
					if slices.ContainsFunc(h.Places, x.decides) {
						return true
					}
				}
			}
		}
	}
	return false
}

// ---- hooks and cases

func (e *english) hook(h *Hook) {
	e.words, e.places = map[string]string{}, h.Places
	for _, p := range h.Places {
		for _, a := range p.Args {
			e.words[a.Local()] = argWords(a)
		}
	}
	e.line("%s:", capital(e.placesWords(h)))
	for _, w := range e.withWords(h) {
		e.line("  %s", w)
	}
	for i, s := range h.Steps {
		if i > 0 {
			e.line("- After that:")
		}
		e.step(s, i > 0)
	}
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// placesWords says when the hook fires.
func (e *english) placesWords(h *Hook) string {
	var parts []string
	var calls [2][]string // that begin, that return
	for _, p := range h.Places {
		rest := ""
		if p.IfPresent {
			rest = ", where the kernel has it"
		}
		if call, ok := strings.CutPrefix(p.Target, "syscalls/sys_enter_"); ok && !p.Or {
			calls[0] = append(calls[0], call)
			continue
		}
		if call, ok := strings.CutPrefix(p.Target, "syscalls/sys_exit_"); ok && !p.Or {
			calls[1] = append(calls[1], call)
			continue
		}
		if p.Or && len(parts) > 0 {
			parts[len(parts)-1] += " (on kernels without it: " + placeWords(p) + rest + ")"
			continue
		}
		parts = append(parts, placeWords(p)+rest)
	}
	for i, verb := range []string{"begins", "returns"} {
		if len(calls[i]) > 0 {
			parts = append(parts, fmt.Sprintf("when the system call %s %s", listOf(calls[i], "or"), verb))
		}
	}
	return strings.Join(parts, ", or ")
}

// happenings are well-known tracepoints in words.
var happenings = map[string]string{
	"inet_sock_set_state": "a socket changes its state", "sched_switch": "a CPU switches from one thread (prev) to another (next)",
	"sched_wakeup": "a thread is woken", "sched_wakeup_new": "a new thread becomes ready to run", "sched_process_exec": "a program is executed",
	"sched_process_exit": "a thread ends", "sched_process_fork": "a process or thread is created", "sched_process_free": "the kernel lets go of a thread that has ended",
	"block_rq_issue": "a request is issued to a block device", "block_rq_complete": "a request to a block device completes, or a part of it",
	"block_io_start": "a request to a block device begins", "block_io_done": "a request to a block device is done", "sys_enter": "a system call begins",
	"sys_exit": "a system call returns", "tcp_retransmit_skb": "a TCP segment is sent again", "tcp_retransmit_synack": "the SYN-ACK of a connection is sent again",
	"tcp_send_reset": "a TCP reset is sent", "tcp_receive_reset": "a TCP reset is received", "signal_generate": "a signal is sent",
	"signal_deliver": "a signal is delivered to a thread", "cap_capable": "the kernel checks a capability", "mark_victim": "the out-of-memory killer chooses a process",
	"page_fault_user": "a page fault happens in user mode", "page_fault_kernel": "a page fault happens in the kernel",
}

func placeWords(p *Place) string {
	name := p.Target[strings.LastIndexByte(p.Target, '/')+1:]
	binary, symbol, _ := strings.Cut(p.Target, ":")
	switch p.Kind {
	case "tracepoint", "tp_btf", "raw_tracepoint":
		if w := happenings[name]; w != "" {
			return "when " + w
		}
		return fmt.Sprintf("at the kernel's tracepoint %s", strings.Replace(p.Target, "/", ":", 1))
	case "kprobe", "fentry":
		return "when the kernel's function " + name + " is called"
	case "kretprobe", "fexit":
		return "when the kernel's function " + name + " returns"
	case "kprobe.multi":
		return "when one of the kernel's functions " + severalWords(p.Target) + " is called"
	case "kretprobe.multi":
		return "when one of the kernel's functions " + severalWords(p.Target) + " returns"
	case "kprobe.session":
		return "when one of the kernel's functions " + severalWords(p.Target) + " is called, and again when that call returns"
	case "fmod_ret", "lsm":
		return "when the kernel asks whether " + name + " is allowed"
	case "uprobe":
		return fmt.Sprintf("when a process calls %s of %s", symbol, binary)
	case "uretprobe":
		return fmt.Sprintf("when %s of %s returns in a process", symbol, binary)
	case "usdt":
		return fmt.Sprintf("when a process passes the probe %s of %s", symbol, binary)
	case "perf_event":
		event, hz, _ := strings.Cut(p.Target, "/")
		if event == "cpu-clock" {
			return fmt.Sprintf("at every sample of every CPU (%s a second, unless the run is set to another rate)", hz)
		}
		return fmt.Sprintf("at every sample by %s (%s a second, unless the run is set to another rate)", event, hz)
	case "xdp":
		return "when a packet arrives at the network interface"
	case "tcx/ingress":
		return "when a packet has arrived at the network interface"
	case "tcx/egress":
		return "when a packet is sent through the network interface"
	case "socket":
		return "for a copy of each packet that arrives at the network interface or is sent through it"
	case "cgroup_skb/ingress":
		return "when a packet arrives for a socket of the cgroup"
	case "cgroup_skb/egress":
		return "when a socket of the cgroup sends a packet"
	}
	return "at " + p.String()
}

// severalWords are the functions of a place at several.
func severalWords(target string) string {
	return strings.Join(strings.Split(target, ","), ", ")
}

// withWords says what names stand for that are the author's: what is bound to them, arguments that
// have been given another name.
func (e *english) withWords(h *Hook) (out []string) {
	type value struct {
		words  string
		places []string
	}
	var names []string
	values := map[string][]value{}
	for _, p := range h.Places {
		place := p.Target[strings.LastIndexByte(p.Target, '/')+1:]
		place = strings.TrimPrefix(strings.TrimPrefix(place, "sys_enter_"), "sys_exit_")
		stands := func(name, words string) {
			list := values[name]
			if list == nil {
				names = append(names, name)
			}
			i := slices.IndexFunc(list, func(v value) bool { return v.words == words })
			if i < 0 {
				i, list = len(list), append(list, value{words: words})
			}
			list[i].places = append(list[i].places, place)
			values[name] = list
		}
		for _, a := range p.Args { // a name may promise another argument
			if a.As != "" && a.As != a.Name && !strings.HasPrefix(a.As, "unused_") {
				words := argWords(Arg{Name: a.Name})
				if words == a.Name {
					words = "the argument " + words
				}
				stands(a.As, words)
			}
		}
		for _, f := range p.With {
			stands(f.Name, e.phrase(f.Is))
		}
	}
	for _, n := range names {
		list := values[n]
		name := argWords(Arg{Name: n})
		if name == n {
			name = "“" + n + "”"
		}
		e.words[n] = name
		if len(list) == 1 && len(list[0].places) == len(h.Places) {
			out = append(out, fmt.Sprintf("Here, %s is %s.", name, list[0].words))
			continue
		}
		var parts []string
		own := true
		for _, v := range list {
			own = own && len(v.places) == 1 && v.places[0] == v.words
			parts = append(parts, fmt.Sprintf("%s (%s)", v.words, listOf(v.places, "and")))
		}
		if own {
			out = append(out, fmt.Sprintf("Here, %s is the name of the call.", name))
			continue
		}
		out = append(out, fmt.Sprintf("Here, %s is %s.", name, listOf(parts, "or")))
	}
	return out
}

func (e *english) step(s *Step, nested bool) {
	indent := ""
	if nested {
		indent = "  "
	}
	for i, c := range s.Cases {
		lead := "If"
		if i > 0 {
			lead = "Else, if"
		}
		switch {
		case c.When == nil && i == 0:
			e.line("%s- Always:", indent)
		case c.When == nil:
			e.line("%s- In all other cases:", indent)
		default:
			e.when(indent, lead, e.conjuncts(c.When))
		}
		e.effects(indent, c.Effects)
	}
	last := len(s.Cases) > 0 && s.Cases[len(s.Cases)-1].When == nil
	switch {
	case last && len(s.Otherwise) == 0:
	case len(s.Cases) == 0:
		e.line("%s- Always:", indent)
		e.effects(indent, s.Otherwise)
	case len(s.Otherwise) == 0:
		e.line("%s- Otherwise nothing.", indent)
	default:
		e.line("%s- Otherwise:", indent)
		e.effects(indent, s.Otherwise)
	}
}

// when writes a condition on one line if it is short, else as a list.
func (e *english) when(indent, lead string, parts []string) {
	if one := listOf(parts, "and"); len(parts) == 1 || len(parts) == 2 && len(one) <= 100 {
		e.line("%s- %s %s:", indent, lead, one)
		return
	}
	e.line("%s- %s all of this holds:", indent, lead)
	for _, p := range parts {
		e.line("%s  - %s", indent, p)
	}
}

func (e *english) effects(indent string, list []*Effect) {
	if len(list) == 0 {
		e.line("%s  → nothing", indent)
	}
	for _, x := range list {
		e.line("%s  → %s", indent, e.effectWords(x))
	}
}

func (e *english) effectWords(x *Effect) string {
	switch x.Verb {
	case Emit:
		return fmt.Sprintf("show a line “%s” with %s", x.To, e.fieldWords(x.Fields))
	case Add:
		return e.addWords(x)
	case Remember:
		if len(x.Fields) == 0 {
			return "remember that this was " + e.keyWords(x)
		}
		return "remember " + e.keyWords(x) + ", in place of anything earlier: " + e.fieldWords(x.Fields)
	case Change:
		return "remember " + e.keyWords(x) + " from now on: " + e.fieldWords(x.Fields)
	case Forget:
		return "forget what was remembered " + e.keyWords(x)
	}
	return e.verdictWords(x.Value)
}

func (e *english) addWords(x *Effect) string {
	row := ""
	if len(x.Key) > 0 {
		row = " in the row " + e.fieldWords(x.Key)
	}
	var table *Table
	for _, t := range e.c.Tables {
		if t.Name == x.To {
			table = t
		}
	}
	if x.Value != nil {
		if table != nil && len(table.Values) == 1 && table.Values[0].Agg == Count {
			return fmt.Sprintf("count one in “%s”%s", x.To, row)
		}
		return fmt.Sprintf("add %s to “%s”%s", e.phrase(x.Value), x.To, row)
	}
	return fmt.Sprintf("add to “%s”%s: %s", x.To, row, e.fieldWords(x.Fields))
}

// keyWords says for what something is remembered: "for the thread".
func (e *english) keyWords(x *Effect) string {
	var keys []string
	for _, k := range x.Key {
		keys = append(keys, e.ownerWords(k.Is))
	}
	s := "for " + listOf(keys, "and")
	if len(e.c.Memories) > 1 {
		s = "in “" + x.To + "” " + s
	}
	return s
}

// ownerWords is a key as the thing it stands for.
func (e *english) ownerWords(k Expr) string {
	switch s := ExprString(k); s {
	case "current.tid":
		return "this thread"
	case "current.tgid":
		return "this process"
	default:
		if x, ok := k.(*Select); ok && x.Name == "pid" {
			return e.phrase(x.X)
		}
		return e.phrase(k)
	}
}

// ofTask are members whose meaning is in their names when they have these values.
var ofTask = map[string]string{"time": "now", "pid": "current.tgid", "tid": "current.tid", "uid": "current.uid", "gid": "current.gid", "comm": "current.comm"}

// fieldWords writes values of members; those that say nothing new are gathered.
func (e *english) fieldWords(list []Field) string {
	var parts, current, remembered []string
	of := ""
	for _, f := range list {
		v, text := e.phrase(f.Is), ExprString(f.Is)
		if s, ok := f.Is.(*Select); ok && s.Name == f.Name && e.memory(s.X) != nil {
			remembered = append(remembered, f.Name)
			of = e.memoryWords(s.X)
			continue
		}
		switch {
		case f.Name == "":
			parts = append(parts, v)
		case ofTask[f.Name] == text && f.Name != "time":
			current = append(current, f.Name)
		default:
			parts = append(parts, f.Name+" = "+v)
		}
	}
	if len(remembered) > 0 {
		parts = append([]string{"the remembered " + listOf(remembered, "and") + of}, parts...)
	}
	if len(current) > 0 {
		parts = append([]string{listOf(current, "and") + " of the current task"}, parts...)
	}
	return strings.Join(parts, ", ")
}

// memoryWords says which memory is meant, where there are several.
func (e *english) memoryWords(cell Expr) string {
	if m := e.memory(cell); m != nil && len(e.c.Memories) > 1 {
		return " of “" + m.Name + "”"
	}
	return ""
}

func (e *english) verdictWords(v Expr) string {
	var list, kinds []string
	for _, p := range e.places {
		words := answerWords(p.Kind, ExprString(v))
		switch {
		case p.Kind == "socket":
			words = "answer " + e.phrase(v) + " (bytes of the copy that are kept, which nobody reads)"
		case words == "":
			words = "answer " + e.phrase(v)
		}
		if !slices.Contains(list, words) {
			list, kinds = append(list, words), append(kinds, p.Kind)
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	for i, k := range kinds { // the same value means something else at each
		list[i] = "at " + k + " " + list[i]
	}
	return strings.Join(list, ", ")
}

// verdicts are values as programs name them, and answers what 0 and 1 mean to other hooks, by the first word of the kind of hook.
var (
	verdicts = map[string]map[string]string{
		"xdp": {"XDP_PASS": "the packet is passed on", "XDP_DROP": "THE PACKET IS DROPPED", "XDP_ABORTED": "THE PACKET IS DROPPED",
			"XDP_TX": "THE PACKET IS SENT BACK", "XDP_REDIRECT": "THE PACKET IS SENT ELSEWHERE"},
		"tcx": {"TCX_NEXT": "the packet is passed on", "TC_ACT_UNSPEC": "the packet is passed on",
			"TCX_PASS": "the packet is let through past other programs", "TC_ACT_OK": "the packet is let through past other programs",
			"TCX_DROP": "THE PACKET IS DROPPED", "TC_ACT_SHOT": "THE PACKET IS DROPPED"},
	}
	answers = map[string]map[string]string{
		"cgroup": {"1": "let it through", "0": "REFUSE IT"}, "cgroup_skb": {"1": "let it through", "0": "REFUSE IT"},
		"kprobe.session": {"0": "look at the return, too", "1": "do not look at the return"},
		"lsm":            {"0": "leave the decision to the kernel"}, "fmod_ret": {"0": "leave the decision to the kernel"},
	}
)

// answerWords says what a value means to a kind of hook that is asked for a verdict, or is empty.
func answerWords(kind, value string) string {
	kind, _, _ = strings.Cut(kind, "/")
	if w := verdicts[kind][value]; w != "" {
		return w
	}
	if w := answers[kind][value]; w != "" {
		return "answer " + value + " (" + w + ")"
	}
	return ""
}

// ---- expressions

// argWords are arguments as people say them.
func argWords(a Arg) string {
	if w := map[string]string{"sk": "the socket", "rq": "the request", "task": "the task", "prev": "prev", "next": "next",
		"ret": "the result", "skb": "the packet", "req": "the connection request", "newstate": "the new state", "oldstate": "the old state", "bprm": "the new program",
		"nr_bytes": "the number of bytes completed", "preempt": "prev was preempted", "signo": "the signal", "nr": "the number of the call",
		"info": "the signal's info", "group": "group", "regs": "the registers", "capability": "the capability"}[a.Local()]; w != "" {
		return w
	}
	return a.Local()
}

// fieldNames are fields of the kernel as people say them; %s is whose.
var fieldNames = map[string]string{
	"sk_protocol": "the protocol of %s", "skc_state": "the state of %s", "sk_err": "the error that %s has", "skc_family": "the address family of %s",
	"skc_dport": "the destination port of %s in network order", "skc_num": "the local port of %s", "tgid": "the process id of %s", "comm": "the name of %s",
	"group_leader": "the first thread of %s", "real_parent": "the parent of %s", "__data_len": "what is left of %s in bytes", "start_time": "the start of %s",
	"major": "the major number of %s", "first_minor": "the minor number of %s", "cmd_flags": "the flags of %s", "exit_code": "the exit code of %s",
	"bytes_sent": "the bytes that %s sent", "bytes_retrans": "the bytes that %s sent again", "bytes_received": "the bytes that %s received",
	"group_exit_code": "the exit code of all of %s", "len": "the length of %s", "filename": "the file name of %s",
}

// pathNames are paths as people say them; %s is whose.
var pathNames = map[string]string{
	"signal.live.counter": "the number of threads of %s that still run", "signal.group_exit_code": "the exit status of all threads of %s",
	"signal.flags": "the signal flags of %s", "cred.fsuid.val": "the user id of %s for files", "cred.fsgid.val": "the group id of %s for files",
	"cred.uid.val": "the user id of %s", "real_cred.uid.val": "the user id of %s", "mm.arg_start": "where the arguments of %s start",
	"mm.arg_end": "where the arguments of %s end", "aux.id": "the id of %s",
}

// pathWords says a well-known path, or "".
func (e *english) pathWords(x *Select) string {
	path := x.Name
	for at := Expr(x.X); ; {
		if w := pathNames[path]; w != "" {
			return fmt.Sprintf(w, e.phrase(at))
		}
		s, ok := at.(*Select)
		if !ok {
			return ""
		}
		path, at = s.Name+"."+path, s.X
	}
}

// constantNames are constants as people say them.
var constantNames = map[string]string{"AF_INET": "IPv4", "AF_INET6": "IPv6", "AF_UNIX": "UNIX", "IPPROTO_TCP": "TCP", "IPPROTO_UDP": "UDP", "IPPROTO_MPTCP": "MPTCP",
	"IPPROTO_ICMP": "ICMP", "IPPROTO_NONE": "none", "ETH_P_IP": "IPv4", "ETH_P_IPV6": "IPv6", "null": "null", "true": "yes", "false": "no"}

// inputNames are inputs as people say them.
var inputNames = map[string]string{"now": "the time", "now_boot": "the time since boot", "cpu": "the CPU", "random": "a random number",
	"kernel_stack": "the kernel stack", "user_stack": "the user stack", "packet": "the packet", "packet.cgroup": "the cgroup of the socket",
	"packet.ifindex": "the interface", "packet.len": "the length of the packet", "current.tgid": "the process id", "current.tid": "the thread id",
	"current.uid": "the user id", "current.gid": "the group id", "current.comm": "the thread's name", "current.cgroup": "the cgroup of the task",
	"current.task": "the current task", "kgent.pid": "kgent", "probe.function": "the function", "probe.returns": "the call returns", "probe.call": "the call"}

func (e *english) phrase(x Expr) string {
	e.work++
	if e.depth++; e.depth > maxNesting || e.work > maxWork {
		e.work = maxWork + 1
		e.depth--
		return "…"
	}
	defer func() { e.depth-- }()
	if w := inputNames[ExprString(x)]; w != "" && e.words[ExprString(x)] == "" {
		return w
	}
	switch x := x.(type) {
	case *Number:
		return numberWords(x)
	case *Text:
		return "“" + plainQuotes.Replace(x.Value) + "”"
	case *Name:
		return e.nameWords(x.Name)
	case *Select:
		return e.selectWords(x)
	case *Index:
		return e.operandWords(x.X) + "[" + e.phrases(x.I) + "]"
	case *Call:
		return e.callWords(x)
	case *Unary:
		return e.unaryWords(x)
	case *Binary:
		return e.binaryWords(x)
	case *Cond:
		otherwise := e.operandWords(x.Else)
		if _, ok := x.Else.(*Cond); ok {
			otherwise = e.phrase(x.Else)
		}
		return fmt.Sprintf("%s if %s, else %s", e.operandWords(x.Then), e.phrase(x.If), otherwise)
	case *In:
		return e.inWords(x, false)
	case *Known:
		return e.knownWords(x, "something")
	}
	return ExprString(x)
}

// plainQuotes keeps a text from looking as if it ended before it does.
var plainQuotes = strings.NewReplacer("“", `"`, "”", `"`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

func (e *english) nameWords(name string) string {
	if w := e.words[name]; w != "" {
		return w
	}
	if d := e.defines[name]; d != nil && len(d.Args) == 0 {
		return e.expandWords(d, nil)
	}
	if w := constantNames[name]; w != "" {
		return w
	}
	if s, ok := strings.CutPrefix(name, "TCP_"); ok {
		return s
	}
	if s, ok := strings.CutPrefix(name, "SYS_"); ok {
		return s
	}
	return name
}

func (e *english) phrases(list []Expr) string {
	var out []string
	for _, x := range list {
		out = append(out, e.phrase(x))
	}
	return strings.Join(out, ", ")
}

func (e *english) memory(x Expr) *Memory {
	ix, ok := x.(*Index)
	if !ok {
		return nil
	}
	if n, ok := ix.X.(*Name); ok && e.words[n.Name] == "" {
		for _, m := range e.c.Memories {
			if m.Name == n.Name {
				return m
			}
		}
	}
	return nil
}

func (e *english) selectWords(x *Select) string {
	if e.memory(x.X) != nil {
		return "the remembered " + x.Name + e.memoryWords(x.X)
	}
	if w := e.pathWords(x); w != "" {
		return w
	}
	if x.Name == "pid" {
		return "the thread id of " + e.phrase(x.X)
	}
	if w := fieldNames[x.Name]; w != "" {
		of := x.X
		for { // __sk_common says nothing
			s, ok := of.(*Select)
			if !ok || !strings.HasPrefix(s.Name, "__") {
				break
			}
			of = s.X
		}
		return fmt.Sprintf(w, e.phrase(of))
	}
	if _, isSelect := x.X.(*Select); isSelect {
		if s := ExprString(x); !strings.ContainsAny(s, "([") {
			return s
		}
	}
	return x.Name + " of " + e.phrase(x.X)
}

// insideWords name the place that inside(…) asks about.
func insideWords(x *Call) string {
	if len(x.Args) == 1 {
		if t, ok := x.Args[0].(*Text); ok {
			return program.WhereWords(t.Value)
		}
	}
	return "…"
}

func (e *english) callWords(x *Call) string {
	if d := e.defines[x.Fun]; d != nil && x.Recv == nil && len(d.Args) == len(x.Args) {
		return e.expandWords(d, x.Args)
	}
	arg := func(i int) string {
		if i < len(x.Args) {
			return e.phrase(x.Args[i])
		}
		return "…"
	}
	if x.Recv != nil {
		what := map[string]string{"u8": "the byte", "u16": "2 bytes", "u32": "4 bytes", "u64": "8 bytes", "be16": "2 bytes", "be32": "4 bytes", "be64": "8 bytes", "ip6": "the IPv6 address", "text": "the text", "dnsname": "the DNS name"}[x.Fun]
		words := fmt.Sprintf("%s at offset %s of %s", orElse(what, x.Fun), arg(0), e.phrase(x.Recv))
		if len(x.Args) == 3 {
			words += fmt.Sprintf(" (%s bytes)", e.operandWords(x.Args[2]))
		}
		return words
	}
	switch x.Fun {
	case "u8", "u16", "s8", "s16": // what is above may be all the difference
		if len(x.Args) == 1 {
			return fmt.Sprintf("the low %s bits of %s", x.Fun[1:], e.operandWords(x.Args[0]))
		}
	case "as", "ip4", "ip6", "ntohs", "ntohl", "be64", "u32", "u64", "s32", "s64":
		if len(x.Args) == 1 {
			if u, ok := x.Args[0].(*Unary); ok && u.Op == "-" && strings.HasPrefix(x.Fun, "u") {
				return "-" + e.phrase(u.X)
			}
			return e.phrase(x.Args[0])
		}
	case "htons", "htonl":
		return arg(0) + " in network order"
	case "user_text":
		return fmt.Sprintf("the text at %s in the process (at most %s bytes)", arg(0), lessOne(x.Args))
	case "kernel_text":
		return fmt.Sprintf("the text at %s (at most %s bytes)", arg(0), lessOne(x.Args))
	case "user_bytes":
		return fmt.Sprintf("the bytes at %s in the process", arg(0))
	case "user_args":
		return "the arguments, as far as they fit"
	case "starts":
		return fmt.Sprintf("%s begins with %s", arg(0), arg(1))
	case "until":
		return fmt.Sprintf("%s, up to any of %s", arg(0), arg(1))
	case "inside":
		return "the task is in " + insideWords(x)
	case "either":
		return arg(0)
	case "syscall_nr":
		return "the system call"
	}
	return x.Fun + "(" + e.phrases(x.Args) + ")"
}

// lessOne is how many bytes of text a buffer holds.
func lessOne(args []Expr) string {
	if len(args) == 2 {
		if n, ok := args[1].(*Number); ok && n.Value > 0 {
			return strconv.FormatUint(n.Value-1, 10)
		}
	}
	return "…"
}

// expandWords puts the English of arguments into that of a definition.
func (e *english) expandWords(d *Define, args []Expr) string {
	e.filters = e.filters || d.Name == "task_wanted" || d.Name == "wants_task" || d.Name == "task_passes"
	words := map[string]string{}
	for i, a := range d.Args {
		words[a.Name] = e.operandWords(args[i])
	}
	if d.Means != "" {
		e.used[d.Name] = true
		var pairs []string
		for name, w := range words {
			pairs = append(pairs, "{"+name+"}", w)
		}
		return strings.NewReplacer(pairs...).Replace(d.Means)
	}
	outer := e.words
	for n, w := range outer { // a path may go on from what the arguments are
		if words[n] == "" {
			words[n] = w
		}
	}
	e.words = words
	defer func() { e.words = outer }()
	return e.phrase(d.Body)
}

// operandWords sets a connection of several parts off by parentheses.
func (e *english) operandWords(x Expr) string {
	switch b := x.(type) {
	case *Cond:
		return "(" + e.phrase(x) + ")"
	case *Binary:
		if levelOf(b.Op) < levelCompare {
			return "(" + e.phrase(x) + ")"
		}
	}
	return e.phrase(x)
}

func (e *english) unaryWords(x *Unary) string {
	if x.Op != "!" {
		return x.Op + e.operandWords(x.X)
	}
	switch in := x.X.(type) {
	case *In:
		return e.inWords(in, true)
	case *Known:
		return e.knownWords(in, "nothing")
	case *Name:
		return "not: " + e.phrase(in)
	case *Select:
		if ExprString(in) == "probe.returns" {
			return "the call begins"
		}
	}
	return "it is not so that " + e.operandWords(x.X)
}

// network is the network that an address is compared with, "" if it is not.
func network(x, y Expr) string {
	call, ok := x.(*Call)
	if !ok || !slices.Contains([]string{"remote_ip", "local_ip", "ip4", "ip6"}, call.Fun) {
		return ""
	}
	t, ok := y.(*Text)
	if !ok {
		return ""
	}
	if _, err := netip.ParsePrefix(t.Value); err != nil {
		return ""
	}
	return "an address of " + t.Value
}

func (e *english) inWords(x *In, not bool) string {
	var set []string
	for _, s := range x.Set {
		set = append(set, orElse(network(x.X, s), e.phrase(s)))
	}
	if not {
		return e.operandWords(x.X) + " is none of " + listOf(set, "and")
	}
	return e.operandWords(x.X) + " is " + listOf(set, "or")
}

func (e *english) knownWords(x *Known, what string) string {
	var keys []string
	for _, k := range x.Cell.I {
		keys = append(keys, e.ownerWords(k))
	}
	s := what + " is remembered for " + listOf(keys, "and")
	if m := e.memory(x.Cell); m != nil && len(e.c.Memories) > 1 {
		s = what + " is remembered in “" + m.Name + "” for " + listOf(keys, "and")
	}
	return s
}

var comparisons = map[string]string{"==": "is", "!=": "is not", "<": "is less than", "<=": "is at most", ">": "is more than", ">=": "is at least"}

func (e *english) binaryWords(x *Binary) string {
	switch x.Op {
	case "&&":
		return strings.Join(e.conjuncts(x), " and ")
	case "||":
		if p, rest := e.ifGiven(x); p != "" {
			return fmt.Sprintf("%s (where %s is given)", e.operandWords(rest), p)
		}
		return "either " + strings.Join(e.parts(x, "||"), ", or ")
	case "|", "+":
		if b, ok := x.X.(*Binary); ok && b.Op == x.Op {
			return e.phrase(b) + " " + x.Op + " " + e.calc(x.Y)
		}
	case "-":
		if n, ok := x.X.(*Name); ok && (n.Name == "now" || n.Name == "now_boot") && e.words[n.Name] == "" {
			return "the time since " + e.operandWords(x.Y)
		}
	}
	verb := comparisons[x.Op]
	if verb == "" {
		return e.calc(x.X) + " " + x.Op + " " + e.calc(x.Y)
	}
	if b, ok := x.X.(*Binary); ok && b.Op == "&" && (x.Op == "!=" || x.Op == "==") && ExprString(x.Y) == "0" {
		has := " has "
		if x.Op == "==" {
			has = " has not "
		}
		return e.operandWords(b.X) + has + e.phrase(b.Y) + " set"
	}
	if thing, ok := strings.CutPrefix(e.operandWords(x.X), "the "); ok && ExprString(x.Y) == "null" {
		return map[bool]string{true: "there is no ", false: "there is a "}[x.Op == "=="] + thing
	}
	if t, ok := x.Y.(*Text); ok && t.Value == "" {
		return e.operandWords(x.X) + " " + verb + " empty"
	}
	return e.operandWords(x.X) + " " + verb + " " + orElse(network(x.X, x.Y), e.operandWords(x.Y))
}

// calc sets an operation inside another one off.
func (e *english) calc(x Expr) string {
	if _, ok := x.(*Binary); ok {
		return "(" + e.phrase(x) + ")"
	}
	return e.operandWords(x)
}

func (e *english) parts(x Expr, op string) []string {
	if b, ok := x.(*Binary); ok && b.Op == op {
		if op != "||" {
			return append(e.parts(b.X, op), e.parts(b.Y, op)...)
		}
		if p, _ := e.ifGiven(b); p == "" {
			return append(e.parts(b.X, op), e.parts(b.Y, op)...)
		}
	}
	return []string{e.operandWords(x)}
}

// conjuncts are the parts of a condition that all have to hold.
func (e *english) conjuncts(x Expr) []string {
	b, ok := x.(*Binary)
	if ok && b.Op == "&&" {
		return append(e.conjuncts(b.X), e.conjuncts(b.Y)...)
	}
	if ok && b.Op == "||" {
		return []string{e.phrase(x)}
	}
	return []string{e.operandWords(x)}
}

// ifGiven recognises "p == any || X" for a parameter p: what follows counts only
// where the parameter is given.
func (e *english) ifGiven(x *Binary) (param string, rest Expr) {
	left, ok := x.X.(*Binary)
	if !ok || left.Op != "==" {
		return "", nil
	}
	n, ok := left.X.(*Name)
	if w := e.words; ok && w[n.Name] != "" && w[n.Name] != n.Name {
		return "", nil // an argument of a definition that has a parameter's name
	}
	if !ok || !slices.ContainsFunc(e.c.Params, func(p *Param) bool { return p.Name == n.Name }) {
		return "", nil
	}
	switch ExprString(left.Y) {
	case "0", "-1", "u32(-1)", `""`, `"::"`:
		return n.Name, x.Y
	}
	return "", nil
}

// numberWords writes a constant as people do: "10 ms".
func numberWords(n *Number) string {
	if f := units[n.Unit]; f > 0 && n.Value%f == 0 {
		return strconv.FormatUint(n.Value/f, 10) + " " + n.Unit
	}
	return numberText(n)
}

// listOf joins words: "a, b and c".
func listOf(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}
