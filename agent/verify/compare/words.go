package compare

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
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
func (d *Difference) Question() string { return d.Asks }

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
		last := s.n == len(f.steps)-1
		for _, k := range matter {
			if noise(k) || k.in.Invocation != s.n && (k.in.Invocation >= 0 || !last) {
				continue
			}
			st.add(x.valueOf(k, m), true)
		}
		if len(st.Inputs) == 0 && d.Kind != Place && last {
			x.plain(&st, f, s, m)
		}
		d.Scenario = append(d.Scenario, st)
	}
	x.threads(d, f, m)
	matter = slices.DeleteFunc(matter, noise)
	d.Asks = x.question(d, f, matter, m)
}

// threads says at all steps on which thread, or in which process, they are if it is said at one.
func (x *searching) threads(d *Difference, f *suspect, m smt.Model) {
	vars := smt.Vars(f.query...)
	for _, name := range []string{"the thread id", "the process id"} {
		if len(d.Scenario) < 2 || !slices.ContainsFunc(d.Scenario, func(s Step) bool { return threadOf(s, name) != "" }) {
			continue
		}
		for i := range d.Scenario {
			for _, v := range vars {
				if in := symbolic.InputOf(v); in != nil && in.Invocation == i && nameOf(in) == name {
					d.Scenario[i].add(x.valueOf(decisive{v: v, in: in, value: m.Value(v)}, m), false)
				}
			}
		}
	}
}

// add adds an input to a step, once.
func (s *Step) add(v Value, decisive bool) {
	v.Decisive = decisive
	if len(s.Inputs) < maxInputs && !slices.ContainsFunc(s.Inputs, func(o Value) bool { return o.Name == v.Name }) {
		s.Inputs = append(s.Inputs, v)
	}
}

// noise are inputs that are decisive but say nothing: that memory can be read, where it lies.
func noise(k decisive) bool {
	return k.in.Kind == symbolic.Pointer && k.value != 0 || k.in.Event == symbolic.Fault && k.value == 0
}

// valueOf is an input with its value; of an array, with the other elements that terms are about.
func (x *searching) valueOf(k decisive, m smt.Model) Value {
	name, i, ok := element(k.in.Name)
	if !ok || k.v.Width() != 8 {
		return Value{Name: nameOf(k.in), Value: inputValue(k.in, k.value, k.v.Width())}
	}
	if name == "packet" {
		return packetValue(i, x.elements(k.in, m))
	}
	raw := x.elements(k.in, m)
	n := 0
	for at := range raw {
		n = max(n, at+1)
	}
	all := make([]byte, min(n, 64))
	for at, b := range raw {
		if at < len(all) {
			all[at] = b
		}
	}
	if end := slices.Index(all, 0); end >= 0 {
		all = all[:end]
	}
	return Value{Name: clean(name, 96), Value: textWords(all)}
}

// elements are the bytes of an array of an invocation that the machine has variables for.
func (x *searching) elements(of *symbolic.Input, m smt.Model) map[int]byte {
	base, _, _ := element(of.Name)
	out := map[int]byte{}
	for _, v := range x.arrays {
		in := symbolic.InputOf(v)
		if name, i, ok := element(in.Name); ok && name == base && in.Invocation == of.Invocation {
			out[i] = byte(m.Value(v))
		}
	}
	return out
}

// element splits "comm[3]".
func element(name string) (base string, i int, ok bool) {
	open := strings.LastIndexByte(name, '[')
	if open < 0 || !strings.HasSuffix(name, "]") {
		return "", 0, false
	}
	i, err := strconv.Atoi(name[open+1 : len(name)-1])
	return name[:open], i, err == nil && i >= 0
}

// packetValue names a byte of a packet by what is there in a frame of Ethernet and IP.
func packetValue(i int, raw map[int]byte) Value {
	kind := int64(raw[12])<<8 | int64(raw[13])
	switch {
	case i == 12 || i == 13:
		name := abi.EtherTypeName(kind)
		if name == "" {
			return Value{Name: "the packet's Ethernet type", Value: fmt.Sprintf("%#04x", kind)}
		}
		return Value{Name: "the packet's Ethernet type", Value: fmt.Sprintf("%s (%#04x)", name, kind)}
	case i == 14 && kind == 0x0800:
		return Value{Name: "the length of the IP header", Value: fmt.Sprintf("%d bytes", int(raw[14]&15)*4)}
	case (i == 20 || i == 21) && kind == 0x0800:
		return Value{Name: "the packet's fragment offset and flags", Value: fmt.Sprintf("%#02x%02x", raw[20], raw[21])}
	case i == 23 && kind == 0x0800, i == 20 && kind == 0x86dd:
		return Value{Name: "the packet's IP protocol", Value: protocolWords(raw[i])}
	}
	return Value{Name: fmt.Sprintf("byte %d of the packet", i), Value: fmt.Sprint(raw[i])}
}

func protocolWords(n byte) string {
	if name := abi.IPProtoName(int64(n)); name != "" {
		return fmt.Sprintf("%s (%d)", name, n)
	}
	return fmt.Sprint(n)
}

// plain are the inputs of a step that the claim itself depends on, where none is decisive.
func (x *searching) plain(st *Step, f *suspect, s step, m smt.Model) {
	vars := smt.Vars(f.claim.holds)
	slices.SortStableFunc(vars, func(a, b smt.Term) int { return weight(a) - weight(b) })
	for _, v := range vars {
		in := symbolic.InputOf(v)
		if in == nil || own(v) || in.Invocation != s.n || in.Kind == symbolic.Choice || in.Kind == symbolic.Pointer || len(st.Inputs) == 4 {
			continue
		}
		st.add(x.valueOf(decisive{v: v, in: in, value: m.Value(v)}, m), false)
	}
}

// question asks which of two ways is meant.
func (x *searching) question(d *Difference, f *suspect, matter []decisive, m smt.Model) string {
	of, _, _ := strings.Cut(d.Subject, ".")
	what, when := quote(of), ""
	if len(matter) > 0 {
		when = " when " + x.phrase(matter[0], m)
	}
	switch {
	case d.Kind == Place:
		return x.placeQuestion(d)
	case f.claim.ask != "":
		return f.claim.ask
	case f.claim.either != nil:
		about, a, b := f.claim.either(m)
		return fmt.Sprintf("should %s be %s or %s%s?", about, a, b, when)
	case d.Kind == Return:
		return fmt.Sprintf("should it %s or %s%s?", should(d.ADoes), should(d.BDoes), when)
	case len(matter) > 0 && silent(d):
		return x.include(what, d, matter, m)
	}
	return fmt.Sprintf("%s%s: %s, or %s?", sentence(d), when, should(d.ADoes), should(d.BDoes))
}

// placeQuestion asks where to look, if one program looks where the other does not.
func (x *searching) placeQuestion(d *Difference) string {
	var only [2][]string
	for _, p := range x.places {
		for who := range p.prog {
			if p.prog[who] != "" && p.prog[1-who] == "" {
				only[who] = append(only[who], clean(p.name, 128))
			}
		}
	}
	if len(only[left]) == 1 && len(only[right]) == 1 {
		return fmt.Sprintf("should this be seen at %s or at %s?", only[left][0], only[right][0])
	}
	return fmt.Sprintf("should something be shown at %s?", d.Scenario[len(d.Scenario)-1].Place)
}

// silent tells whether one of the two does nothing.
func silent(d *Difference) bool {
	return d.Kind == Table && strings.Contains(d.ADoes+d.BDoes, "has no row") || strings.HasSuffix(d.ADoes, " grow by 0") || strings.HasSuffix(d.BDoes, " grow by 0") || strings.HasPrefix(d.ADoes, "shows nothing") || strings.HasPrefix(d.BDoes, "shows nothing")
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
	for _, w := range [][2]string{{"shows ", "show "}, {"has ", "have "}, {"returns ", "return "}, {"lets ", "let "}, {"calls ", "call "}, {"changes ", "change "}, {"writes ", "write "}, {"sends ", "send "}} {
		if rest, ok := strings.CutPrefix(does, w[0]); ok {
			return w[1] + rest
		}
	}
	return does
}

// include asks whether something is to be included in what is shown.
func (x *searching) include(what string, d *Difference, matter []decisive, m smt.Model) string {
	k := matter[0]
	signed := int64(k.value)
	if w := k.v.Width(); w < 64 {
		signed = int64(k.value<<(64-w)) >> (64 - w)
	}
	name := nameOf(k.in)
	isThread := name == "the thread id" || name == "the process id"
	given := ""
	for _, o := range matter[1:] {
		if o.in.Kind == symbolic.Param {
			given = " when " + x.phrase(o, m)
			break
		}
	}
	switch {
	case isThread && len(d.Scenario) > 1:
		first, second := threadOf(d.Scenario[0], name), threadOf(d.Scenario[1], name)
		if len(d.Scenario) == 2 && d.Scenario[0].Place != d.Scenario[1].Place && first != "" && second != "" && first != second {
			return fmt.Sprintf("does %s with %s = %s belong to %s with %s = %s?", d.Scenario[1].Place, name, second, d.Scenario[0].Place, name, first)
		}
		return fmt.Sprintf("%s: %s, or %s?", sentence(d), should(d.ADoes), should(d.BDoes))
	case isResult(k.in) && signed < 0 && signed >= -maxErrno:
		return fmt.Sprintf("does %s include calls that return %s%s?", what, errnoWords(signed), given)
	case isResult(k.in) && k.v.Width() <= 64 && signed >= 0:
		return fmt.Sprintf("does %s include calls that return %d%s?", what, signed, given)
	case isFamily(k.in.Name) && k.value == 10:
		return fmt.Sprintf("should %s show IPv6 (AF_INET6)%s?", what, given)
	case isFamily(k.in.Name) && k.value == 2:
		return fmt.Sprintf("should %s show IPv4 (AF_INET)%s?", what, given)
	case isSize(k.in):
		return fmt.Sprintf("should %s count what has %s%s?", what, x.phrase(k, m), given)
	case k.in.Kind == symbolic.Param:
		for _, o := range matter[1:] {
			if o.in.Kind != symbolic.Param {
				return fmt.Sprintf("should %s show what has %s when %s?", what, x.phrase(o, m), x.phrase(k, m))
			}
		}
	}
	return fmt.Sprintf("should %s show what has %s%s?", what, x.phrase(k, m), given)
}

// threadOf is the value of an input of a step.
func threadOf(s Step, name string) string {
	for _, v := range s.Inputs {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// phrase is an input with its value.
func (x *searching) phrase(k decisive, m smt.Model) string {
	v := x.valueOf(k, m)
	return v.Name + " = " + v.Value
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
	case in.Name == selfParam:
		return "kgent's own process id"
	case in.Kind == symbolic.Param:
		return "the parameter " + clean(in.Name, 64)
	case ofTask(in) && strings.HasSuffix(in.Name, ".pid"):
		return clean(in.Name, 96) + " (a thread id)"
	case ofTask(in) && strings.HasSuffix(in.Name, ".tgid"):
		return clean(in.Name, 96) + " (a process id)"
	}
	return clean(in.Name, 96)
}

// ofTask tells whether an input is a field of a task, where names mislead.
func ofTask(in *symbolic.Input) bool {
	of := symbolic.InputOf(in.Base)
	if in.Base == nil || of == nil || of.Type == nil {
		return false
	}
	p, ok := btf.UnderlyingType(of.Type).(*btf.Pointer)
	if !ok {
		return false
	}
	s, ok := btf.UnderlyingType(p.Target).(*btf.Struct)
	return ok && s.Name == "task_struct"
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
	typ, _ := symbolic.Meaning(t)
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
		return textWords(raw)
	case args:
		raw := d.eval(m, c.off+4, min(c.size-4, 32))
		return textWords([]byte(strings.TrimRight(string(raw), "\x00")))
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

// textWords quote a text in plain characters.
func textWords(raw []byte) string { return strconv.QuoteToASCII(string(raw[:min(len(raw), 64)])) }

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
	a, b := x.s.eachSource(p, da, db)
	if a == "" {
		return ""
	}
	return fmt.Sprintf("should %s of %s be %s or %s?", called(p.a), quote(of), a, b)
}

// eachSource names the two inputs that a column is in either program; empty if they are no two.
func (s *session) eachSource(p paired, da, db data) (string, string) {
	if p.a.shape != number {
		return "", ""
	}
	a, b := s.sourceOf(s.numberOf(p.a, da)), s.sourceOf(s.numberOf(p.b, db))
	if a == "" || b == "" || a == b {
		return "", ""
	}
	return a, b
}

// sourceOf names the input that a number is; empty if it is more than that.
func (s *session) sourceOf(t smt.Term) string {
	if n, ok := t.Const(); ok {
		return fmt.Sprintf("always %d", int64(n))
	}
	vars := smt.Vars(t)
	readable := map[smt.Term]smt.Term{} // where nothing is in the way of reading it
	for _, v := range vars {
		if in := symbolic.InputOf(v); in != nil && in.Event == symbolic.Fault {
			readable[v] = s.b.False()
			if null := s.b.Eq(in.Base, s.b.Const(in.Base.Width(), 0)); null.Op() != smt.OpConst {
				readable[null] = s.b.False()
			}
		}
	}
	if len(readable) > 0 {
		t = s.b.Substitute(t, readable)
		vars = smt.Vars(t)
	}
	if len(vars) != 1 || own(vars[0]) {
		return ""
	}
	v := vars[0]
	in := symbolic.InputOf(v)
	b := s.b
	plain := []smt.Term{v, extended(b, v, b.ZeroExt), extended(b, v, b.SignExt)}
	for _, w := range []uint{8, 16, 32} {
		if low := v; w < v.Width() {
			low = b.Extract(w-1, 0, v)
			plain = append(plain, b.ZeroExt(64, low), b.SignExt(64, low))
		}
	}
	if slices.Contains(plain, t) {
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
