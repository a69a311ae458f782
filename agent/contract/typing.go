package contract

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// condition makes sure that v is one.
func (k *checker) condition(v *Value, what string) *Value {
	switch {
	case v.Type.Kind == Bool:
		return v
	case v.Type.Kind == Int && v.Type.Meaning == "bool":
		k.errorf(v.At, "%s is yes or no as a number: write %s != 0", what, ExprString(v.From))
		k.instead(v.From, &Binary{Op: "!=", X: v.From, Y: &Number{}})
	case v.Type.Kind == Int:
		text := ExprString(v.From)
		if _, ok := v.From.(*Binary); ok {
			text = "(" + text + ")"
		}
		k.errorf(v.At, "%s is a number, not a condition: write %s != 0", what, text)
		k.instead(v.From, &Binary{Op: "!=", X: v.From, Y: &Number{}})
	case v.Type.Kind == Pointer:
		k.errorf(v.At, "%s is a pointer, not a condition: write %s != null", what, ExprString(v.From))
	default:
		k.errorf(v.At, "%s is %s, not a condition", what, v.Type)
	}
	return nil
}

// number makes sure that v is a number that can be computed with.
func (k *checker) number(v *Value, what string) bool {
	switch {
	case v.Type.Kind == Int && v.Type.Order == Network:
		k.errorf(v.At, "%s, %s, is in network byte order: write %s", what, ExprString(v.From), swapped(v))
		k.instead(v.From, toHost(v))
	case v.Type.Kind == Int:
		return true
	default:
		k.errorf(v.At, "%s has to be a number; %s is %s", what, ExprString(v.From), v.Type)
	}
	return false
}

// swapped is the conversion that a number in network order wants.
func swapped(v *Value) string { return ExprString(toHost(v)) }

func toHost(v *Value) Expr {
	return callOf(map[uint8]string{16: "ntohs", 32: "ntohl", 64: "be64"}[v.Type.Bits], v.From)
}

// meaning decides what two numbers that meet mean; ok is false if they cannot meet.
func (k *checker) meaning(x, y *Value, at Pos) (string, bool) {
	a, b := x.Type.Meaning, y.Type.Meaning
	adapt(x, b)
	adapt(y, a)
	a, b = x.Type.Meaning, y.Type.Meaning
	switch {
	case a == b || b == "" || y.Type.Literal:
		if a == "" {
			a = b
		}
		return a, true
	case a == "" || x.Type.Literal:
		return b, true
	case kin[a] != "" && kin[a] == kin[b]:
		return a, true
	}
	k.errorf(at, "%s is %s, %s is %s: the two do not belong together", ExprString(x.From), x.Type, ExprString(y.From), y.Type)
	return "", false
}

// kin are meanings that go into each other.
var kin = map[string]string{"errno": "error", "ret": "error"}

// adapt turns a constant duration (in ns) into another unit, if that leaves nothing over.
func adapt(v *Value, unit string) {
	if v.Op != OpConst || !v.Type.Literal || v.Type.Meaning != "ns" {
		return
	}
	if f := map[string]uint64{"us": 1e3, "ms": 1e6}[unit]; f > 0 && v.Bits%f == 0 {
		v.Bits, v.Type.Meaning = v.Bits/f, unit
	}
}

// signs decides whether two numbers are compared or computed as signed.
func (k *checker) signs(x, y *Value, at Pos) (signed, ok bool) {
	a, b := x.Type, y.Type
	if a.Signed == b.Signed {
		return a.Signed, true
	}
	u, s := x, y
	if a.Signed {
		u, s = y, x
	}
	if s.Op == OpConst && s.Type.Literal && int64(s.Bits) >= 0 {
		return false, true
	}
	if u.Type.Bits < 64 || u.Op == OpConst && int64(u.Bits) >= 0 {
		return true, true
	}
	k.errorf(at, "%s has a sign and %s has none: say with u64(…) or s64(…) how they are to be taken", ExprString(s.From), ExprString(u.From))
	return false, false
}

// fits makes sure that a constant can be a value of the type it is compared with.
func (k *checker) fits(c, v *Value, at Pos) bool {
	if c.Op != OpConst || v.Op == OpConst || v.Type.Bits >= 64 && (v.Type.Signed || int64(c.Bits) >= 0 || !c.Type.Signed) {
		return true
	}
	t := v.Type
	if t.Bits >= 64 {
		k.errorf(at, "%s is never negative", ExprString(v.From))
		return false
	}
	n, lo, hi := int64(c.Bits), int64(0), int64(1)<<t.Bits-1
	if t.Signed {
		lo, hi = -(int64(1) << (t.Bits - 1)), int64(1)<<(t.Bits-1)-1
	}
	if v.Op == OpLoad && v.BitSize > 0 && v.BitSize < 32 && !t.Signed {
		hi = int64(1)<<v.BitSize - 1
	}
	if (n < 0 && c.Type.Signed || n >= 0) && n >= lo && n <= hi {
		return true
	}
	hint := ""
	if n == -1 && !t.Signed {
		hint = fmt.Sprintf("; all bits set is u%d(-1)", t.Bits)
	}
	k.errorf(at, "%s, %s, is never %d%s", ExprString(v.From), t, n, hint)
	if hint != "" {
		k.instead(c.From, callOf(fmt.Sprintf("u%d", t.Bits), c.From))
	}
	return false
}

func (k *checker) equal(x, y *Value, e *Binary) *Value {
	if x.Op == OpText && y.Op != OpText {
		x, y = y, x
	}
	a, b := x.Type, y.Type
	mk := func() *Value { return k.make(&Value{Op: OpEq, Args: []*Value{x, y}, Type: Type{Kind: Bool}}, e) }
	isZero := func(v *Value) bool { return v.Op == OpConst && v.Bits == 0 && v.Type.Kind == Int }
	switch {
	case a.Kind == IPKind && b.Kind == TextKind && y.Op == OpText && strings.Contains(y.Text, "/"):
		return k.within(x, y, e)
	case a.Kind == IPKind && b.Kind == TextKind && y.Op == OpText:
		if y = k.address(y); y == nil {
			return nil
		}
		return mk()
	case a.Kind == Pointer && (b.Kind == Pointer || isZero(y)), b.Kind == Pointer && isZero(x):
		return mk()
	case x.Op == OpText && y.Op == OpText: // a text that a definition was given
		v := &Value{Op: OpConst, Type: Type{Kind: Bool}}
		if x.Text == y.Text {
			v.Bits = 1
		}
		return k.make(v, e)
	case a.Kind == TextKind && b.Kind == TextKind:
		if a.Meaning == "dnsname" && y.Op == OpText {
			if y = k.nameOnTheWire(y); y == nil {
				return nil
			}
			b = y.Type
		}
		if a.Meaning != b.Meaning && (a.Meaning == "dnsname" || b.Meaning == "dnsname") {
			break
		}
		for _, p := range [2][2]*Value{{x, y}, {y, x}} {
			if p[1].Op == OpText && p[0].Type.Size > 0 && len(p[1].Text) >= int(p[0].Type.Size) {
				k.errorf(e.At, "%s has at most %d bytes; the text %q has %d", ExprString(p[0].From), p[0].Type.Size-1, p[1].Text, len(p[1].Text))
				return nil
			}
		}
		return mk()
	case a.Kind == Int && b.Kind == Int:
		if a.Order != b.Order {
			n, h := x, y
			if b.Order == Network {
				n, h = y, x
			}
			if isZero(h) {
				return mk()
			}
			k.errorf(e.At, "%s is in network byte order, %s in host order: write %s %s %s", ExprString(n.From), ExprString(h.From), swapped(n), e.Op, ExprString(h.From))
			k.instead(n.From, toHost(n))
			return nil
		}
		if a.Order == Network && a.Bits != b.Bits {
			k.errorf(e.At, "%s has %d bits, %s has %d", ExprString(x.From), a.Bits, ExprString(y.From), b.Bits)
			return nil
		}
		if !k.comparable(x, y, e) || k.positiveError(x, y, e) {
			return nil
		}
		return mk()
	case a.Kind == b.Kind && (a.Kind == IPKind || a.Kind == Bool || a.Kind == Bytes && a.Size == b.Size):
		return mk()
	}
	k.errorf(e.At, "%s is %s, %s is %s: they cannot be compared", ExprString(x.From), a, ExprString(y.From), b)
	return nil
}

// firstThread tells whether a task's thread id meets its own process id: they are equal for the first thread of a process, and
// how the kernel tells it from others.
func firstThread(tid, tgid Expr) bool {
	a, ok := tid.(*Select)
	b, ok2 := tgid.(*Select)
	return ok && ok2 && (a.Name == "pid" || a.Name == "tid") && b.Name == "tgid" && ExprString(a.X) == ExprString(b.X)
}

func (k *checker) comparable(x, y *Value, e *Binary) bool {
	if !firstThread(x.From, y.From) && !firstThread(y.From, x.From) {
		if _, ok := k.meaning(x, y, e.At); !ok {
			return false
		}
	}
	if _, ok := k.signs(x, y, e.At); !ok {
		return false
	}
	if x.Type.Enum != nil && y.Type.Enum != nil && x.Type.Enum != y.Type.Enum {
		k.errorf(e.At, "%s is one of %s, %s one of %s", ExprString(x.From), x.Type.Enum.Name, ExprString(y.From), y.Type.Enum.Name)
		return false
	}
	return k.fits(y, x, e.At) && k.fits(x, y, e.At)
}

func (k *checker) compare(x, y *Value, e *Binary) *Value {
	if !k.number(x, "what is compared") || !k.number(y, "what is compared") || !k.comparable(x, y, e) {
		return nil
	}
	signed, _ := k.signs(x, y, e.At)
	lt, le := OpULt, OpULe
	if signed {
		lt, le = OpSLt, OpSLe
	}
	v := &Value{Type: Type{Kind: Bool}, Args: []*Value{x, y}}
	switch e.Op {
	case "<":
		v.Op = lt
	case "<=":
		v.Op = le
	case ">":
		v.Op, v.Args = lt, []*Value{y, x}
	case ">=":
		v.Op, v.Args = le, []*Value{y, x}
	}
	return k.make(v, e)
}

func (k *checker) arithmetic(x, y *Value, e *Binary) *Value {
	if x.Type.Kind == Pointer && (e.Op == "+" || e.Op == "-") {
		return k.pointerOffset(x, y, e)
	}
	what := "what stands beside " + e.Op
	if !k.number(x, what) || !k.number(y, what) {
		return nil
	}
	if e.Op == "<<" || e.Op == ">>" {
		return k.shift(x, y, e)
	}
	signed, ok := k.signs(x, y, e.At)
	if !ok {
		return nil
	}
	meaning, ok := k.unit(x, y, e)
	if !ok {
		return nil
	}
	t := Type{Kind: Int, Bits: 64, Signed: signed, Meaning: meaning, Literal: x.Type.Literal && y.Type.Literal}
	op := map[string]Op{"+": OpAdd, "-": OpSub, "*": OpMul, "/": OpUDiv, "%": OpUMod, "&": OpAnd, "|": OpOr, "^": OpXor}[e.Op]
	if signed && op == OpUDiv {
		op = OpSDiv
	}
	if signed && op == OpUMod {
		op = OpSMod
	}
	return k.make(&Value{Op: op, Args: []*Value{x, y}, Type: t}, e)
}

func (k *checker) shift(x, y *Value, e *Binary) *Value {
	if y.Op != OpConst || y.Bits > 63 {
		k.errorf(e.At, "numbers are shifted by a constant of 0 to 63")
		return nil
	}
	t := Type{Kind: Int, Bits: 64, Signed: x.Type.Signed, Literal: x.Type.Literal}
	op := OpShl
	if e.Op == ">>" {
		if op = OpUShr; x.Type.Signed {
			op = OpSShr
		}
	}
	return k.make(&Value{Op: op, Args: []*Value{x, y}, Type: t}, e)
}

func (k *checker) pointerOffset(x, y *Value, e *Binary) *Value {
	if e.Op == "-" && y.Type.Kind == Pointer {
		return k.make(&Value{Op: OpSub, Args: []*Value{x, y}, Type: Type{Kind: Int, Bits: 64}}, e)
	}
	b := (*btf.Int)(nil)
	if x.Type.BTF != nil {
		if p, _, _ := bare(x.Type.BTF); p != nil {
			if ptr, ok := p.(*btf.Pointer); ok {
				target, _, _ := bare(ptr.Target)
				b, _ = target.(*btf.Int)
			}
		}
	}
	bytes := x.Type.Struct == "" && (x.Type.Elem == nil || b != nil && b.Size == 1)
	if !bytes || !k.number(y, "an offset") {
		k.errorf(e.At, "only pointers to bytes can be added to; %s is %s", ExprString(x.From), x.Type)
		return nil
	}
	if e.Op == "-" {
		y = k.make(&Value{Op: OpNeg, Args: []*Value{y}, Type: Type{Kind: Int, Bits: 64, Signed: true}}, e)
	}
	return k.make(&Value{Op: OpOffset, Args: []*Value{x, y}, Type: x.Type}, e)
}

// conversions are the constants that turn a unit into another.
var conversions = map[string]string{"ns/1000": "us", "ns/1000000": "ms", "us/1000": "ms", "us*1000": "ns", "ms*1000": "us", "ms*1000000": "ns", "pages*4096": "bytes"}

// unit decides what the result of arithmetic means.
func (k *checker) unit(x, y *Value, e *Binary) (string, bool) {
	a, b := x.Type.Meaning, y.Type.Meaning
	isTime := func(m string) bool { return m == "time" || m == "boottime" }
	measure := func(m string) bool {
		return m == "ns" || m == "us" || m == "ms" || m == "bytes" || m == "pages" || m == "count"
	}
	switch e.Op {
	case "+", "-":
		switch {
		case e.Op == "-" && isTime(a) && a == b:
			return "ns", true
		case isTime(a) && (b == "ns" || b == ""):
			return a, true
		case isTime(b) && (a == "ns" || a == "") && e.Op == "+":
			return b, true
		case !measure(a) && !measure(b) && !isTime(a) && !isTime(b):
			return "", true
		}
		return k.meaning(x, y, e.At)
	case "*", "/":
		if e.Op == "*" && a == "" {
			x, y, a = y, x, b
		}
		if !measure(a) || y.Op != OpConst {
			return "", true
		}
		if m := conversions[fmt.Sprintf("%s%s%d", a, e.Op, y.Bits)]; m != "" {
			return m, true
		}
		return a, true
	case "%", "&", "|", "^":
		return "", true
	}
	return "", true
}

// join gives the two branches of a choice one type.
func (k *checker) join(x, y **Value, e *Cond) (Type, bool) {
	a, b := *x, *y
	switch {
	case a.Type.Kind == IPKind && b.Op == OpText:
		*y = k.address(b)
		return a.Type, *y != nil
	case b.Type.Kind == IPKind && a.Op == OpText:
		*x = k.address(a)
		return b.Type, *x != nil
	case a.Type.Kind == Int && b.Type.Kind == Int:
		return k.joinNumbers(a, b, e)
	case a.Type.Kind == TextKind && b.Type.Kind == TextKind:
		t := a.Type
		if b.Type.Size > t.Size || b.Type.Size == 0 {
			t = b.Type
		}
		t.Literal, t.BTF = false, nil
		return t, true
	case a.Type.Kind == Pointer && b.Type.Kind == Pointer:
		if a.Type.Literal || a.Type.Struct == "" {
			return b.Type, true
		}
		if b.Type.Literal || a.Type.Struct == b.Type.Struct {
			return a.Type, true
		}
	case a.Type.Kind == b.Type.Kind && (a.Type.Kind == Bool || a.Type.Kind == IPKind || a.Type.Kind == ArgsKind || a.Type.Kind == Bytes && a.Type.Size == b.Type.Size):
		return a.Type, true
	}
	k.errorf(e.At, "one branch is %s, the other %s", a.Type, b.Type)
	return Type{}, false
}

func (k *checker) joinNumbers(a, b *Value, e *Cond) (Type, bool) {
	zero := func(v *Value) bool { return v.Op == OpConst && v.Bits == 0 }
	if a.Type.Order != b.Type.Order {
		switch {
		case zero(a):
			return b.Type, true
		case zero(b):
			return a.Type, true
		}
		k.errorf(e.At, "one branch is in network byte order, the other is not")
		return Type{}, false
	}
	meaning, ok := k.meaning(a, b, e.At)
	if !ok {
		return Type{}, false
	}
	signed, ok := k.signs(a, b, e.At)
	if !ok {
		return Type{}, false
	}
	t := Type{Kind: Int, Bits: max(a.Type.Bits, b.Type.Bits), Signed: signed, Order: a.Type.Order, Meaning: meaning, Literal: a.Type.Literal && b.Type.Literal}
	switch {
	case a.Type.Literal && !b.Type.Literal && k.constantFits(a, b.Type):
		t.Bits = b.Type.Bits
	case b.Type.Literal && !a.Type.Literal && k.constantFits(b, a.Type):
		t.Bits = a.Type.Bits
	case a.Type.Signed != b.Type.Signed:
		t.Bits = 64
	}
	if a.Type.Enum == b.Type.Enum {
		t.Enum = a.Type.Enum
	}
	return t, true
}

func (k *checker) constantFits(c *Value, t Type) bool {
	return c.Op == OpConst && cut(c.Bits, t) == c.Bits
}

// within tells whether an address is one of a network, "10.0.0.0/8".
func (k *checker) within(x, network *Value, e *Binary) *Value {
	p, err := netip.ParsePrefix(network.Text)
	if err != nil {
		k.errorf(network.At, "%q is no network, such as \"10.0.0.0/8\"", network.Text)
		return nil
	}
	if p != p.Masked() {
		k.errorf(network.At, "%s has bits behind its first %d: the network is %s", p, p.Bits(), p.Masked())
		k.instead(network.From, &Text{Value: p.Masked().String()})
		return nil
	}
	bits := uint64(p.Bits())
	if p.Addr().Is4() {
		bits += 96 // as ::ffff:a.b.c.d
	}
	b := p.Addr().As16()
	return k.make(&Value{Op: OpWithin, Args: []*Value{x}, Bits: bits, Text: string(b[:]), Type: Type{Kind: Bool}}, e)
}

// nameOnTheWire writes "www.example.com" as DNS messages have it, each label behind its length.
func (k *checker) nameOnTheWire(v *Value) *Value {
	var b []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(v.Text, "."), ".") {
		if len(label) == 0 && v.Text != "" && v.Text != "." || len(label) > 63 {
			k.errorf(v.At, "%q is no DNS name", v.Text)
			return nil
		}
		if len(label) > 0 {
			b = append(append(b, byte(len(label))), label...)
		}
	}
	out := *v
	out.Text, out.Type = string(b), Type{Kind: TextKind, Size: uint32(len(b) + 1), Meaning: "dnsname", Literal: true}
	return &out
}

// address takes a constant text for an address.
func (k *checker) address(v *Value) *Value {
	b, ok := parseIP(v.Text)
	if !ok {
		k.errorf(v.At, "%q is no IP address", v.Text)
		return nil
	}
	out := *v
	out.Text, out.Type = b, vocabulary["k_ip"]
	return &out
}

// assign fits a value to the type of what it goes into.
func (k *checker) assign(v *Value, t Type, what string) *Value {
	a := v.Type
	wrong := func(hint string) *Value {
		if hint == "" && t.Kind == TextKind && a.Kind == Pointer {
			read := "kernel_text"
			if a.User {
				read = "user_text"
			}
			hint = fmt.Sprintf(": write %s(%s, %d) for the text that it points to", read, ExprString(v.From), t.Size)
		}
		k.errorf(v.At, "%s wants %s; %s is %s%s", what, t, ExprString(v.From), a, hint)
		return nil
	}
	switch t.Kind {
	case Invalid:
		return nil
	case Int:
		return k.assignNumber(v, t, what, wrong)
	case TextKind:
		if a.Kind != TextKind {
			return wrong("")
		}
		if a.Meaning == "dnsname" && t.Meaning != "dnsname" {
			return wrong(": declare it as k_dnsname, which is shown with dots")
		}
		if v.Op == OpText && len(v.Text) >= int(t.Size) {
			k.errorf(v.At, "%s holds at most %d bytes; the text has %d", what, t.Size-1, len(v.Text))
			return nil
		}
		return v
	case IPKind:
		if v.Op == OpText && a.Kind == TextKind {
			return k.address(v)
		}
		if a.Kind == Int && a.Order == Network && a.Bits == 32 {
			wrong(": write ip4(" + ExprString(v.From) + ")")
			k.instead(v.From, callOf("ip4", v.From))
			return nil
		}
		if a.Struct == "struct in6_addr" {
			wrong(": write ip6(" + ExprString(v.From) + ")")
			k.instead(v.From, callOf("ip6", v.From))
			return nil
		}
	case Pointer:
		if a.Kind == Int && a.Order == Host && a.Bits == 64 {
			return v
		}
		if a.Kind == Pointer && a.User != t.User && !a.Literal && a.Struct == "" {
			return v // a probe's argument: nobody knows
		}
		if a.Kind == Pointer && a.User && !t.User {
			return wrong(": its type is user_pointer")
		}
	case Bytes:
		if a.Kind == Array && a.Elem != nil && a.Elem.Bits == 8 && a.Size == t.Size {
			return v
		}
	}
	if a.Kind != t.Kind || a.Kind == Bytes && a.Size != t.Size {
		return wrong("")
	}
	return v
}

func (k *checker) assignNumber(v *Value, t Type, what string, wrong func(string) *Value) *Value {
	a := v.Type
	switch {
	case a.Kind == Bool && t.Meaning == "bool":
		one, zero := &Value{Op: OpConst, Bits: 1, Type: t}, &Value{Op: OpConst, Type: t}
		return fold(k.make(&Value{Op: OpCond, Args: []*Value{v, k.make(one, v.From), k.make(zero, v.From)}, Type: t}, v.From))
	case a.Kind == Bool:
		wrong(": a condition becomes a number only as k_bool; write … ? 1 : 0")
		k.instead(v.From, &Cond{If: v.From, Then: &Number{Value: 1}, Else: &Number{}})
		return nil
	case a.Kind == Pointer && (t.Meaning == "addr" || t.Bits == 64 && t.Meaning == "" && t.Order == Host):
		return v
	case a.Kind != Int:
		return wrong("")
	case a.Order != t.Order && !(v.Op == OpConst && v.Bits == 0):
		if a.Order == Network {
			wrong(": write " + swapped(v))
			k.instead(v.From, toHost(v))
			return nil
		}
		return wrong(": write " + map[uint8]string{16: "htons", 32: "htonl"}[t.Bits] + "(" + ExprString(v.From) + ")")
	case a.Order == Network && a.Bits != t.Bits:
		return wrong("")
	}
	adapt(v, t.Meaning)
	a = v.Type
	if !a.Literal && a.Meaning != t.Meaning && a.Meaning != "" && t.Meaning != "" && t.Meaning != "hex" && (kin[a.Meaning] == "" || kin[a.Meaning] != kin[t.Meaning]) {
		return wrong(meaningHint(a.Meaning, t.Meaning))
	}
	if a.Meaning == "addr" && t.Meaning != "addr" {
		return wrong(": an address in memory is shown only as k_addr")
	}
	if a.Literal && a.Meaning != "" && a.Meaning != t.Meaning && t.Meaning != "" && t.Meaning != "count" {
		return wrong("")
	}
	if a.Enum != nil && t.Enum != nil && a.Enum != t.Enum {
		return wrong("")
	}
	if v.Op == OpConst && cut(v.Bits, t) != v.Bits {
		k.errorf(v.At, "%s, which has %d bits, cannot be %s", what, t.Bits, ExprString(v.From))
		return nil
	}
	if v.Op == OpConst && t.Enum != nil && !hasValue(t.Enum, int64(v.Bits)) {
		k.errorf(v.At, "no value of %s is %d", t.Enum.Name, int64(v.Bits))
		return nil
	}
	if v.Op == OpConst {
		out := *v
		out.Type = t
		return &out
	}
	if a.Bits == t.Bits && a.Signed == t.Signed {
		out := *v
		out.Type.Meaning = t.Meaning
		return &out
	}
	return k.make(&Value{Op: OpCut, Args: []*Value{v}, Type: t}, v.From)
}

func hasValue(e *Enum, n int64) bool {
	for _, v := range e.Values {
		if v.Value == n {
			return true
		}
	}
	return false
}

// meaningHint says how to get from one meaning to another.
func meaningHint(have, want string) string {
	switch {
	case have == "tid" && want == "pid":
		return ": the kernel's pid is the thread; the process is tgid"
	case have == "pid" && want == "tid":
		return ": the process is tgid; the thread is tid (the kernel's pid)"
	case have == "time" && want == "ns":
		return ": a duration is the difference of two times"
	case have == "ns" && want == "us", have == "us" && want == "ms":
		return ": divide by 1000"
	case have == "ns" && want == "ms":
		return ": divide by 1000000"
	}
	return ""
}

// cut keeps the low bits of a number and extends them again, as a type has it.
func cut(n uint64, t Type) uint64 {
	if t.Bits == 0 || t.Bits >= 64 {
		return n
	}
	shift := 64 - t.Bits
	if t.Signed {
		return uint64(int64(n<<shift) >> shift)
	}
	return n << shift >> shift
}

// compute is an operation on numbers; booleans are 0 and 1.
func compute(op Op, t Type, a, b uint64) (uint64, bool) {
	truth := func(x bool) (uint64, bool) {
		if x {
			return 1, true
		}
		return 0, true
	}
	switch op {
	case OpAdd:
		return a + b, true
	case OpSub:
		return a - b, true
	case OpMul:
		return a * b, true
	case OpUDiv:
		if b == 0 {
			return 0, true
		}
		return a / b, true
	case OpSDiv:
		switch int64(b) {
		case 0:
			return 0, true
		case -1:
			return -a, true
		}
		return uint64(int64(a) / int64(b)), true
	case OpUMod:
		if b == 0 {
			return a, true
		}
		return a % b, true
	case OpSMod:
		switch int64(b) {
		case 0:
			return a, true
		case -1:
			return 0, true
		}
		return uint64(int64(a) % int64(b)), true
	case OpAnd:
		return a & b, true
	case OpOr:
		return a | b, true
	case OpXor:
		return a ^ b, true
	case OpShl:
		return a << (b & 63), true
	case OpUShr:
		return a >> (b & 63), true
	case OpSShr:
		return uint64(int64(a) >> (b & 63)), true
	case OpNeg:
		return -a, true
	case OpInv:
		return ^a, true
	case OpCut:
		return cut(a, t), true
	case OpSwap:
		if !littleEndian {
			return cut(a, Type{Bits: t.Bits}), true
		}
		switch t.Bits {
		case 16:
			return uint64(bits.ReverseBytes16(uint16(a))), true
		case 32:
			return uint64(bits.ReverseBytes32(uint32(a))), true
		}
		return bits.ReverseBytes64(a), true
	case OpEq:
		return truth(a == b)
	case OpULt:
		return truth(a < b)
	case OpULe:
		return truth(a <= b)
	case OpSLt:
		return truth(int64(a) < int64(b))
	case OpSLe:
		return truth(int64(a) <= int64(b))
	case OpNot:
		return a ^ 1, true
	case OpBoth:
		return a & b, true
	case OpEither:
		return a | b, true
	}
	return 0, false
}

// fold replaces an operation on constants by its result, and choices and
// connections that a constant decides.
func fold(v *Value) *Value {
	keep := func(x *Value) *Value {
		out := *x
		out.From, out.At = v.From, v.At
		if v.Op == OpCond {
			out.Type = v.Type
		}
		return &out
	}
	constant := func(i int) (uint64, bool) {
		a := v.Args[i]
		return a.Bits, a.Op == OpConst
	}
	switch v.Op {
	case OpBoth, OpEither:
		for i := range 2 {
			if n, ok := constant(i); ok {
				if (n == 1) == (v.Op == OpBoth) {
					return keep(v.Args[1-i])
				}
				return keep(v.Args[i])
			}
		}
		return v
	case OpCond:
		if n, ok := constant(0); ok {
			if n != 0 {
				return keep(v.Args[1])
			}
			return keep(v.Args[2])
		}
		return v
	}
	if v.Type.Kind != Int && v.Type.Kind != Bool || len(v.Args) == 0 || len(v.Args) > 2 {
		return v
	}
	var n [2]uint64
	for i := range v.Args {
		x, ok := constant(i)
		if !ok {
			return v
		}
		n[i] = x
	}
	if r, ok := compute(v.Op, v.Type, n[0], n[1]); ok {
		return &Value{Op: OpConst, Bits: r, Type: v.Type, From: v.From, At: v.At}
	}
	return v
}

func sizeOf(t Type) uint32 {
	if t.BTF == nil {
		return 0
	}
	n, err := btf.Sizeof(t.BTF)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// String writes the value for messages and as a name: two values of one place with
// the same string are the same.
func (v *Value) String() string {
	args := make([]string, len(v.Args))
	for i, a := range v.Args {
		args[i] = a.String()
	}
	list := strings.Join(args, ", ")
	switch v.Op {
	case OpConst:
		if v.Type.Signed || v.Type.Literal {
			return fmt.Sprint(int64(v.Bits))
		}
		return fmt.Sprint(v.Bits)
	case OpText:
		return fmt.Sprintf("%q", v.Text)
	case OpParam, OpArg, OpInput:
		return v.Name
	case OpLoad, OpMember:
		return list + "." + v.Path
	case OpElem, OpElemAt:
		return args[0] + "[" + args[1] + "]"
	case OpCast:
		return "(" + v.Type.Struct + ")" + list
	case OpKnown:
		return "known " + v.Name + "[" + list + "]"
	case OpCell:
		return fmt.Sprintf("%s[%s].%d", v.Name, list, v.Field)
	case OpWithin, OpUntil:
		return fmt.Sprintf("%s.%d(%s, %q)", v.Op, v.Bits, list, v.Text)
	}
	sign := "u"
	if v.Type.Signed {
		sign = "s"
	}
	return fmt.Sprintf("%s.%s%d.%d(%s)", v.Op, sign, v.Type.Bits, v.Type.Size, list)
}

var opNames = [...]string{"invalid", "const", "text", "param", "arg", "input", "load", "member", "elem", "elemAt", "cast", "offset", "add", "sub", "mul",
	"udiv", "sdiv", "umod", "smod", "and", "or", "xor", "shl", "ushr", "sshr", "neg", "inv", "cut", "swap", "eq", "ult", "slt", "ule", "sle", "not",
	"both", "either", "cond", "starts", "within", "until", "ip4", "ip6", "userText", "kernelText", "userBytes", "userArgs", "read", "len", "known", "cell"}

// String is the operation's name.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("op%d", o)
}
