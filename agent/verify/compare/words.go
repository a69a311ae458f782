package compare

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
	"kgent/retrieval/kernel/abi"
)

// String says in words what happens and what each program does then.
func (d *Difference) String() string {
	var b strings.Builder
	for i, s := range d.Scenario {
		switch {
		case len(d.Scenario) == 1:
			b.WriteString("When ")
		case i == 0:
			b.WriteString("First ")
		default:
			b.WriteString("then ")
		}
		b.WriteString(s.Place + " fires")
		if in := inputWords(s.Inputs); in != "" {
			b.WriteString(" with " + in)
		}
		if i < len(d.Scenario)-1 {
			b.WriteString(", ")
		} else {
			b.WriteString(": ")
		}
	}
	fmt.Fprintf(&b, "%s %s; %s %s.", clean(d.A, 64), d.ADoes, clean(d.B, 64), d.BDoes)
	return b.String()
}

// Question asks a person which of the two is meant, in one sentence without the names of the
// programs.
func (d *Difference) Question() string { return d.ask }

// inputWords are inputs in a row.
func inputWords(in []Value) string {
	var out []string
	for _, v := range in {
		out = append(out, v.Name+" = "+v.Value)
	}
	return strings.Join(out, ", ")
}

// maxInputs is how many inputs of a step are told.
const maxInputs = 6

// tell puts the scenario and the question into a difference.
func (x *searching) tell(d *Difference, f *suspect, m smt.Model) {
	matter := x.decisives(f, m)
	for _, s := range f.steps {
		st := Step{Place: clean(s.at.name, 128)}
		for _, k := range matter {
			last := s.n == len(f.steps)-1
			if len(st.Inputs) == maxInputs || k.in.Invocation != s.n && (k.in.Invocation >= 0 || !last) {
				continue
			}
			v := Value{Name: nameOf(k.in), Value: inputValue(k.in, k.value, k.v.Width()), Decisive: true}
			if !slices.ContainsFunc(st.Inputs, func(o Value) bool { return o.Name == v.Name }) {
				st.Inputs = append(st.Inputs, v)
			}
		}
		if len(st.Inputs) == 0 {
			st.Inputs = x.plain(f, s, m)
		}
		d.Scenario = append(d.Scenario, st)
	}
	d.ask = x.question(d, f, matter)
}

// plain are the inputs of a step that the claim itself depends on, where none is decisive.
func (x *searching) plain(f *suspect, s step, m smt.Model) []Value {
	var out []Value
	vars := smt.Vars(append(slices.Clone(f.query), f.claim.holds)...)
	slices.SortStableFunc(vars, func(a, b smt.Term) int { return weight(a) - weight(b) })
	for _, v := range vars {
		in := symbolic.InputOf(v)
		if in == nil || own(v) || in.Invocation != s.n || in.Kind == symbolic.Choice || in.Kind == symbolic.Pointer || v.Width() == 8 || len(out) == 4 {
			continue
		}
		n := Value{Name: nameOf(in), Value: inputValue(in, m.Value(v), v.Width())}
		if !slices.ContainsFunc(out, func(o Value) bool { return o.Name == n.Name }) {
			out = append(out, n)
		}
	}
	return out
}

// question asks which of two ways is meant.
func (x *searching) question(d *Difference, f *suspect, matter []decisive) string {
	what := quote(d.Subject)
	if of, _, ok := strings.Cut(d.Subject, "."); ok {
		what = quote(of)
	}
	when := ""
	if len(matter) > 0 {
		when = " when " + matter[0].phrase()
	}
	switch {
	case d.Kind == Place:
		return fmt.Sprintf("should something be shown at %s?", d.Scenario[len(d.Scenario)-1].Place)
	case d.Kind == Member && f.claim.ask != "":
		return f.claim.ask
	case d.Kind == Events || d.Kind == Table && (strings.HasPrefix(d.ADoes, "has no row") || strings.HasPrefix(d.BDoes, "has no row") || strings.Contains(d.ADoes, "grow by 0") || strings.Contains(d.BDoes, "grow by 0")):
		if len(matter) > 0 {
			if q := matter[0].include(what); q != "" && silent(d) {
				return q
			}
		}
		return fmt.Sprintf("%s: %s, or %s?", strings.TrimSpace(sentence(d)+when), should(d.ADoes), should(d.BDoes))
	}
	return fmt.Sprintf("%s: %s, or %s?", strings.TrimSpace(sentence(d)+when), should(d.ADoes), should(d.BDoes))
}

// silent tells whether one of the two does nothing.
func silent(d *Difference) bool {
	return d.Kind == Table || strings.HasPrefix(d.ADoes, "shows nothing") || strings.HasPrefix(d.BDoes, "shows nothing")
}

// sentence begins a question about a scenario.
func sentence(d *Difference) string {
	if len(d.Scenario) < 2 {
		return "which is meant"
	}
	var at []string
	for _, s := range d.Scenario {
		at = append(at, s.Place)
	}
	return "which is meant after " + strings.Join(at, ", then ")
}

// should turns what a program does into what it should do.
func should(does string) string {
	for _, w := range [][2]string{{"shows ", "show "}, {"has ", "have "}, {"returns ", "return "}, {"lets ", "let "}, {"calls ", "call "}, {"changes ", "change "}, {"writes ", "write "}} {
		if rest, ok := strings.CutPrefix(does, w[0]); ok {
			return w[1] + rest
		}
	}
	return does
}

// include asks whether something is to be included in what is shown, if the input has words
// for that.
func (k decisive) include(what string) string {
	v := k.value
	signed := int64(v)
	if w := k.v.Width(); w < 64 {
		signed = int64(v<<(64-w)) >> (64 - w)
	}
	name := nameOf(k.in)
	switch {
	case isResult(k.in) && signed < 0 && signed >= -maxErrno:
		return fmt.Sprintf("does %s include calls that return %s?", what, errnoWords(signed))
	case isResult(k.in) && signed < 0:
		return fmt.Sprintf("does %s include calls whose %s is negative (%d)?", what, name, signed)
	case isResult(k.in):
		return fmt.Sprintf("does %s include calls that return %d?", what, signed)
	case isFamily(k.in.Name) && v == 10:
		return fmt.Sprintf("should %s show IPv6 (AF_INET6)?", what)
	case isFamily(k.in.Name) && v == 2:
		return fmt.Sprintf("should %s show IPv4 (AF_INET)?", what)
	case isSize(k.in):
		return fmt.Sprintf("should %s count what has %s = %s?", what, name, inputValue(k.in, v, k.v.Width()))
	case k.in.Kind == symbolic.Param:
		return fmt.Sprintf("should %s show this when the parameter %s is %s?", what, name, inputValue(k.in, v, k.v.Width()))
	}
	return fmt.Sprintf("should %s show what has %s?", what, k.phrase())
}

// phrase is an input with its value.
func (k decisive) phrase() string {
	return nameOf(k.in) + " = " + inputValue(k.in, k.value, k.v.Width())
}

const maxErrno = 4095

func errnoWords(n int64) string {
	if name := abi.ErrnoName(-n); name != "" {
		return fmt.Sprintf("%s (%d)", name, n)
	}
	return fmt.Sprint(n)
}

// isResult tells whether an input is what a call returned.
func isResult(in *symbolic.Input) bool {
	return in.Name == "ret" || in.Name == "return" || in.Name == "error" || in.Name == "err" || strings.HasSuffix(in.Name, ".ret")
}

func isFamily(name string) bool { return strings.HasSuffix(name, "family") }

func isSize(in *symbolic.Input) bool {
	if in.Unit == "bytes" || in.Unit == "pages" {
		return true
	}
	last := in.Name[strings.LastIndexByte(in.Name, '.')+1:]
	return slices.Contains([]string{"len", "count", "size", "bytes", "nr_bytes", "length"}, last)
}

// weightOfName orders inputs by what people can say about them.
func weightOfName(name string) int {
	switch {
	case isFamily(name):
		return 1
	case strings.Contains(name, "port"):
		return 2
	}
	return 3
}

// nameOf is an input as people call it.
func nameOf(in *symbolic.Input) string {
	switch in.Name {
	case "current.tgid":
		return "the process id"
	case "current.pid", "current.tid":
		return "the thread id"
	case "now", "now.boot":
		return "the time"
	}
	switch {
	case in.Event == symbolic.Fault:
		return "the memory of " + clean(strings.TrimSuffix(strings.TrimPrefix(in.Name, "fault("), ")"), 96)
	case in.Kind == symbolic.Param:
		return "the parameter " + clean(in.Name, 64)
	}
	return clean(in.Name, 96)
}

// inputValue shows a number by what its input is.
func inputValue(in *symbolic.Input, v uint64, bits uint) string {
	signed := int64(v)
	if bits < 64 {
		signed = int64(v<<(64-bits)) >> (64 - bits)
	}
	last := in.Name[strings.LastIndexByte(in.Name, '.')+1:]
	switch {
	case in.Event == symbolic.Fault:
		return map[bool]string{true: "not readable", false: "readable"}[v != 0]
	case in.Kind == symbolic.Choice || bits == 1:
		return map[bool]string{true: "yes", false: "no"}[v != 0]
	case isResult(in) && signed < 0 && signed >= -maxErrno:
		return errnoWords(signed)
	case isFamily(last) && abi.FamilyName(int64(v)) != "":
		return fmt.Sprintf("%s (%d)", abi.FamilyName(int64(v)), v)
	case strings.HasSuffix(last, "state") && v > 0 && v < 13 && abi.TCPStateName(int64(v)) != "" && bits <= 32 && !strings.HasPrefix(last, "__"):
		return fmt.Sprintf("%s (%d)", abi.TCPStateName(int64(v)), v)
	case last == "sig" && abi.SignalName(int64(v)) != "":
		return fmt.Sprintf("%s (%d)", abi.SignalName(int64(v)), v)
	case in.Kind == symbolic.Pointer:
		return fmt.Sprintf("%#x", v)
	case in.Order == symbolic.BigOrder && bits == 16:
		return fmt.Sprintf("%d", v>>8|v<<8&0xff00)
	case in.Order == symbolic.BigOrder && bits == 32:
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], uint32(v))
		return netip.AddrFrom4(b).String()
	case in.Unit == "ns" && in.Name == "now":
		return fmt.Sprintf("%d ns", v)
	case in.Type != nil && signedType(in.Type):
		return fmt.Sprint(signed)
	}
	return fmt.Sprint(v)
}

func signedType(t btf.Type) bool {
	typ, _ := bare(t)
	switch x := typ.(type) {
	case *btf.Int:
		return x.Encoding == btf.Signed
	case *btf.Enum:
		return x.Signed
	}
	return false
}

// maxShown is how many members of an event are told.
const maxShown = 6

// shows says what events a program shows.
func (x *both) shows(r *ran, list []emission, m smt.Model) string {
	if r.path == nil && len(list) == 0 {
		return "shows nothing there"
	}
	if len(list) == 0 {
		return "shows nothing"
	}
	var out []string
	for i, e := range list {
		if i == 3 {
			out = append(out, fmt.Sprintf("%d more", len(list)-i))
			break
		}
		if e.stream < 0 {
			out = append(out, "a line")
			continue
		}
		d := r.data(e.effect.Data)
		var members []string
		for _, p := range x.s.form.members[e.stream] {
			c := p.a
			if r.who == right {
				c = p.b
			}
			if len(members) == maxShown {
				members = append(members, "…")
				break
			}
			members = append(members, orRow(c.name)+" = "+x.s.value(m, c, d))
		}
		out = append(out, fmt.Sprintf("%s (%s)", quote(x.s.form.names[e.stream]), strings.Join(members, ", ")))
	}
	return "shows " + strings.Join(out, " and ")
}

// value shows what a column holds.
func (s *session) value(m smt.Model, c column, d data) string {
	switch c.shape {
	case number:
		t := s.numberOf(c, d)
		for _, v := range smt.Vars(t) {
			if in := symbolic.InputOf(v); in != nil && in.Kind == symbolic.Poison {
				return "bytes that were never written"
			}
		}
		return numberWords(c, m.Value(t))
	case text:
		raw := d.eval(m, c.off, min(c.size, 64))
		if i := slices.Index(raw, 0); i >= 0 {
			raw = raw[:i]
		}
		return fmt.Sprintf("%q", clean(string(raw), 64))
	case args:
		raw := d.eval(m, c.off+4, min(c.size-4, 32))
		return fmt.Sprintf("%q", clean(strings.TrimRight(string(raw), "\x00"), 64))
	}
	raw := d.eval(m, c.off, c.size)
	switch {
	case c.shown == "an address" && c.size == 16:
		return netip.AddrFrom16([16]byte(raw)).Unmap().String()
	case c.size == 8*64:
		return slotWords(raw)
	case c.size == 32 && strings.HasPrefix(c.shown, "stats"):
		n := func(i int) uint64 { return binary.LittleEndian.Uint64(raw[8*i:]) }
		return fmt.Sprintf("%d of them, sum %d, least %d, most %d", n(0), n(1), n(2), n(3))
	}
	if len(raw) > 16 {
		return fmt.Sprintf("% x …", raw[:16])
	}
	return fmt.Sprintf("% x", raw)
}

// slotWords say which slots of a histogram hold something.
func slotWords(raw []byte) string {
	var out []string
	for i := 0; i+8 <= len(raw) && len(out) < 4; i += 8 {
		if n := binary.LittleEndian.Uint64(raw[i:]); n != 0 {
			out = append(out, fmt.Sprintf("%d in slot %d", n, i/8))
		}
	}
	if len(out) == 0 {
		return "nothing in any slot"
	}
	return strings.Join(out, ", ")
}

// numberWords show a number as its column does.
func numberWords(c column, v uint64) string {
	signed := int64(v)
	name := func(s string) string {
		if s == "" {
			return fmt.Sprint(signed)
		}
		return fmt.Sprintf("%s (%d)", s, signed)
	}
	switch c.merge {
	case "ipv4":
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], uint32(v))
		return netip.AddrFrom4(b).String()
	case "family":
		return name(abi.FamilyName(signed))
	case "errno", "ret":
		if signed < 0 && signed >= -maxErrno {
			return errnoWords(signed)
		}
	case "signal":
		return name(abi.SignalName(signed))
	case "tcpstate":
		return name(abi.TCPStateName(signed))
	case "syscall":
		return name(abi.SyscallName(signed))
	case "addr", "hex":
		return fmt.Sprintf("%#x", v)
	}
	if c.signed {
		return fmt.Sprint(signed)
	}
	return fmt.Sprint(v)
}

// verdictWords say what a returned value means.
func verdictWords(kind program.Kind, v uint64) string {
	n := int32(uint32(v))
	names := map[int32]string{}
	switch kind {
	case program.XDP:
		names = map[int32]string{0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"}
	case program.TCXIngress, program.TCXEgress:
		names = map[int32]string{-1: "TCX_NEXT", 0: "TCX_PASS", 2: "TCX_DROP", 7: "TCX_REDIRECT"}
	case program.CgroupIngress, program.CgroupEgress, program.CgroupSock:
		names = map[int32]string{0: "refuse", 1: "let pass"}
	}
	if s := names[n]; s != "" {
		return fmt.Sprintf("%s (%d)", s, n)
	}
	if n < 0 && n >= -maxErrno {
		return errnoWords(int64(n))
	}
	return fmt.Sprint(n)
}

// sources asks which of two inputs a member is, if each program shows one.
func (x *both) sources(of string, p paired, da, db data) string {
	if p.a.shape != number {
		return ""
	}
	a, b := x.s.sourceOf(x.s.numberOf(p.a, da)), x.s.sourceOf(x.s.numberOf(p.b, db))
	if a == "" || b == "" || a == b {
		return ""
	}
	return fmt.Sprintf("should %s of %s be %s or %s?", called(p.a), quote(of), a, b)
}

// sourceOf names the input that a number is; empty if it is more than that.
func (s *session) sourceOf(t smt.Term) string {
	if n, ok := t.Const(); ok {
		return fmt.Sprintf("always %d", int64(n))
	}
	vars := smt.Vars(t)
	if len(vars) != 1 || own(vars[0]) {
		return ""
	}
	v := vars[0]
	in := symbolic.InputOf(v)
	b := s.b
	switch t {
	case v, extended(b, v, b.ZeroExt), extended(b, v, b.SignExt):
		if in.Order == symbolic.BigOrder {
			return nameOf(in) + " as it lies in memory (network byte order)"
		}
		return nameOf(in)
	}
	if v.Width()%8 == 0 && v.Width() > 8 {
		w := b.BSwap(v)
		if t == w || t == extended(b, w, b.ZeroExt) || t == extended(b, w, b.SignExt) {
			if in.Order == symbolic.BigOrder {
				return nameOf(in) + " in host byte order"
			}
			return nameOf(in) + " with its bytes swapped"
		}
	}
	return ""
}

func extended(b *smt.Builder, t smt.Term, by func(uint, smt.Term) smt.Term) smt.Term {
	if t.Width() >= 64 {
		return t
	}
	return by(64, t)
}

// clean cuts a name or text that comes from a program to one line of plain characters.
func clean(s string, n int) string {
	out := strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '.'
		}
		return r
	}, s)
	if r := []rune(out); len(r) > n {
		out = string(r[:n]) + "…"
	}
	return out
}
