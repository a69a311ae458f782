package codegen

import (
	"fmt"
	"math"
	"math/bits"
	"strings"

	"kgent/agent/contract"
)

// Precedence of C's operators, from the tightest.
const (
	primary = iota
	prefix
	product
	sum
	shift
	relation
	equality
	bitAnd
	bitXor
	bitOr
	both
	either
	choice
)

// kind is what C takes an expression for.
type kind uint8

const (
	number kind = iota
	truth
	pointer
)

// expr is an expression in C. If it is a number, its C type extended to 64 bits is what the
// contract means.
type expr struct {
	text string
	prec int
	kind kind
	// bits and signed are the C type of a number.
	bits   uint8
	signed bool
	// literal marks a constant of 0 to 2^31-1, which goes with any number.
	literal bool
	// object is the struct that a pointer leads to: "struct sock"; empty for void.
	object string
	// chain is how a path goes on from here: the start of it and its members, of what is not read yet.
	chain []string
}

// in writes the expression as an operand of an operator.
func (e expr) in(prec int) string {
	if e.prec > prec || e.prec == prec && prec > sum && prec != both && prec != either {
		return "(" + e.text + ")"
	}
	return e.text
}

// right is in for the right operand of an operator that is read from the left.
func (e expr) right(prec int) string {
	if e.prec >= prec && e.prec > prefix {
		return "(" + e.text + ")"
	}
	return e.in(prec)
}

func cast(to string, e expr) string { return "(" + to + ")" + e.in(prefix) }

// u64 is the expression as a number of 64 bits without sign.
func (e expr) u64() expr {
	if e.literal || e.kind == number && e.bits == 64 && !e.signed {
		return e
	}
	return expr{text: cast("__u64", e), prec: prefix, bits: 64}
}

// firmU64 is u64 also for constants.
func (e expr) firmU64() expr {
	if e.literal {
		n, note, _ := strings.Cut(e.text, " ")
		if n[0] < '0' || n[0] > '9' {
			return expr{text: "(__u64)" + e.text, prec: prefix, bits: 64}
		}
		return expr{text: strings.TrimSpace(n + "ULL " + note), prec: primary, bits: 64}
	}
	return e.u64()
}

// s64 is the expression as a signed number of 64 bits.
func (e expr) s64() expr {
	if e.literal || e.kind == number && e.signed {
		return e
	}
	return expr{text: cast("__s64", e), prec: prefix, bits: 64, signed: true}
}

// as is the expression cut to a type.
func (e expr) as(bits uint8, signed bool) expr {
	if e.kind == number && !e.literal && e.bits == bits && e.signed == signed {
		return e
	}
	return expr{text: cast(numberType(bits, signed), e), prec: prefix, bits: bits, signed: signed}
}

// address is the expression as an address.
func (e expr) address() string {
	if e.kind == pointer {
		return e.in(choice)
	}
	return cast("const void *", e)
}

// not turns a condition round.
func (e expr) not() expr {
	for _, p := range [][2]string{{" == ", " != "}, {" != ", " == "}, {" <= ", " > "}, {" >= ", " < "}, {" < ", " >= "}, {" > ", " <= "}} {
		if e.prec != relation && e.prec != equality || strings.Count(e.text, p[0]) != 1 {
			continue
		}
		// Only at the top: the operator stands outside of all brackets.
		if x, y, _ := strings.Cut(e.text, p[0]); balanced(x) && balanced(y) {
			return expr{text: x + p[1] + y, prec: e.prec, kind: truth}
		}
	}
	if t, ok := strings.CutPrefix(e.text, "!"); ok && e.prec == prefix {
		return expr{text: t, prec: primary, kind: truth}
	}
	return expr{text: "!" + e.in(prefix), prec: prefix, kind: truth}
}

func balanced(text string) bool {
	depth := 0
	for _, r := range text {
		switch r {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		}
		if depth < 0 {
			return false
		}
	}
	return depth == 0
}

// constant writes a number.
func (f *function) constant(v *contract.Value) expr {
	if v.Type.Kind == contract.Bool {
		return expr{text: map[bool]string{true: "true", false: "false"}[v.Bits != 0], kind: truth}
	}
	if v.Type.Kind == contract.Pointer && v.Bits == 0 {
		return expr{text: "NULL", kind: pointer}
	}
	n := int64(v.Bits)
	if to := map[uint8]string{16: "bpf_htons", 32: "bpf_htonl", 64: "bpf_cpu_to_be64"}[v.Type.Bits]; v.Type.Order == contract.Network && n != 0 && to != "" {
		return expr{text: fmt.Sprintf("%s(%#x)", to, turnedRound(v.Bits, v.Type.Bits)), bits: v.Type.Bits}
	}
	name, named := v.From.(*contract.Name)
	switch {
	case named && (f.g.enumerators[name.Name] == n && f.g.isEnumerator(name.Name) || conventions().numbers[name.Name] == n && n != 0):
		return expr{text: name.Name, bits: 32, signed: n < 0, literal: n >= 0 && n <= math.MaxInt32}
	}
	e := expr{literal: true, bits: 32}
	switch {
	case n >= 0 && n <= math.MaxInt32:
		e.text = fmt.Sprint(n)
		if hexadecimal(v) {
			e.text = fmt.Sprintf("%#x", n)
		}
	case n < 0 && n >= math.MinInt32 && v.Type.Signed:
		e = expr{text: fmt.Sprint(n), prec: prefix, bits: 32, signed: true}
	case v.Bits == math.MaxUint32:
		e = expr{text: "(__u32)-1", prec: prefix, bits: 32}
	case v.Type.Signed && n != math.MinInt64:
		e = expr{text: fmt.Sprintf("%dLL", n), prec: prefix, bits: 64, signed: true}
	default:
		e = expr{text: fmt.Sprintf("%#xULL", v.Bits), bits: 64}
		if v.Bits < 1<<63 && !hexadecimal(v) {
			e.text = fmt.Sprintf("%dULL", v.Bits)
		}
		if v.Type.Signed {
			e = expr{text: "(__s64)" + e.text, prec: prefix, bits: 64, signed: true}
		}
	}
	if named && len(name.Name) > 1 && name.Name != "true" && name.Name != "false" {
		e.text = fmt.Sprintf("%s /* %s */", e.text, comment(name.Name))
	}
	return e
}

// turnedRound is a number with its bytes the other way round, as contracts have constants of network order: the
// machine is little-endian.
func turnedRound(n uint64, of uint8) uint64 { return bits.ReverseBytes64(n) >> (64 - of) }

func hexadecimal(v *contract.Value) bool {
	n, ok := v.From.(*contract.Number)
	return ok && n.Hex
}

// value writes a number, condition or pointer. What has to be done before goes into the block.
func (b *block) value(v *contract.Value) (expr, error) {
	if e, ok := b.lookup(v.ID); ok {
		return e, nil
	}
	e, err := b.compute(v)
	if err != nil {
		return e, err
	}
	if have, ok := b.lookup(v.ID); ok {
		return have, nil // it took statements, and is kept already
	}
	if !b.f.worthKeeping(v) {
		return e, nil
	}
	return b.keep(v, e), nil
}

// keep declares a local variable for a value.
func (b *block) keep(v *contract.Value, e expr) expr {
	name := nameFor(v)
	if called := b.f.called[v.ID]; name == "n" && called != "" {
		name = called
	}
	name = b.f.names.pick(name)
	typ, out := variable(v, e)
	out.text = name
	b.line("%s = %s;", spaced(typ, name), e.text)
	b.memo[v.ID] = out
	return out
}

// spaced writes a declaration: "__u32 pid", "struct sock *sk".
func spaced(typ, name string) string {
	if strings.HasSuffix(typ, "*") {
		return typ + name
	}
	return typ + " " + name
}

// variable is the C type of a variable that holds a value.
func variable(v *contract.Value, e expr) (string, expr) {
	switch {
	case v.Type.Kind == contract.Bool:
		return "bool", expr{kind: truth}
	case e.kind == pointer && e.object != "":
		return "const " + e.object + " *", expr{kind: pointer, object: e.object}
	case e.kind == pointer:
		return "const void *", expr{kind: pointer}
	case v.Type.Kind == contract.Int && v.Type.Order == contract.Network && e.bits == v.Type.Bits:
		return fmt.Sprintf("__be%d", v.Type.Bits), expr{bits: v.Type.Bits}
	}
	return numberType(e.bits, e.signed), expr{bits: e.bits, signed: e.signed}
}

// nameFor proposes a name for a local variable.
func nameFor(v *contract.Value) string {
	if v.Op == contract.OpCast {
		_, name, _ := strings.Cut(v.Type.Struct, " ")
		return name
	}
	if c, ok := v.From.(*contract.Call); ok && c.Recv == nil {
		switch c.Fun {
		case "ntohs", "ntohl", "be64", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "as", "ip4", "ip6":
			if len(v.Args) == 1 {
				return nameFor(v.Args[0])
			}
		case "user_text", "kernel_text", "user_bytes":
			return nameFor(v.Args[0]) + "_" + strings.TrimPrefix(strings.TrimPrefix(c.Fun, "user_"), "kernel_")
		}
		return c.Fun
	}
	switch v.Op {
	case contract.OpRead:
		name := strings.ToLower(fmt.Sprintf("%s%d", map[contract.Order]string{contract.Host: "u", contract.Network: "be"}[v.Type.Order], v.Type.Bits))
		switch v.Type.Kind {
		case contract.TextKind:
			name = "text"
		case contract.IPKind:
			name = "address"
		}
		if n, ok := v.From.(*contract.Name); ok {
			return n.Name
		}
		if at := v.Args[1]; at.Op == contract.OpConst {
			return fmt.Sprintf("%s_at_%d", name, at.Bits)
		}
		return name
	case contract.OpLen:
		return "length"
	case contract.OpLoad, contract.OpMember:
		return v.Path[strings.LastIndexByte(v.Path, '.')+1:]
	case contract.OpInput, contract.OpParam, contract.OpArg:
		return v.Name[strings.LastIndexByte(v.Name, '.')+1:]
	case contract.OpElem, contract.OpElemAt:
		return nameFor(v.Args[0]) + "_element"
	case contract.OpCell:
		return fmt.Sprintf("%s_%d", v.Name, v.Field)
	case contract.OpCut, contract.OpSwap:
		return nameFor(v.Args[0])
	case contract.OpIP4, contract.OpIP6:
		return "address"
	}
	if n, ok := v.From.(*contract.Name); ok {
		return n.Name
	}
	if v.Type.Kind == contract.Bool {
		return "holds" + about(v)
	}
	return "n"
}

// about names the one parameter that a condition is about.
func about(v *contract.Value) string {
	name := ""
	for _, a := range v.Args {
		n := about(a)
		if a.Op == contract.OpParam {
			n = "_" + a.Name
		}
		if name != "" && n != "" && n != name {
			return ""
		}
		if n != "" {
			name = n
		}
	}
	return name
}

// worthKeeping tells whether a value is computed once and kept: what is used more than once and
// costs something, or has a name in the contract.
func (f *function) worthKeeping(v *contract.Value) bool {
	if f.uses[v.ID] < 2 || v.ID == 0 {
		return false
	}
	switch v.Op {
	case contract.OpLoad, contract.OpElem, contract.OpRead, contract.OpLen:
		return true
	case contract.OpInput:
		return v.Type.Kind != contract.Block
	case contract.OpCast, contract.OpElemAt, contract.OpOffset:
		return f.weight(v) > 3
	case contract.OpConst, contract.OpParam, contract.OpArg, contract.OpKnown, contract.OpCell, contract.OpMember, contract.OpCut, contract.OpSwap:
		return false
	}
	switch from := v.From.(type) {
	case *contract.Call:
		return from.Recv == nil && from.Fun != "as"
	case *contract.Name:
		return true
	}
	return f.weight(v) > 6 || v.Type.Kind != contract.Bool && f.reads(v)
}

// reads tells whether something has to be asked or read for a value.
func (f *function) reads(v *contract.Value) bool {
	switch v.Op {
	case contract.OpLoad, contract.OpElem, contract.OpRead, contract.OpInput:
		return true
	}
	for _, a := range v.Args {
		if f.reads(a) {
			return true
		}
	}
	return false
}

// weight is roughly how long an expression is.
func (f *function) weight(v *contract.Value) int {
	n := 1
	for _, a := range v.Args {
		n += f.weight(a)
		if n > 100 {
			break
		}
	}
	return n
}

// compute writes an operation.
func (b *block) compute(v *contract.Value) (expr, error) {
	switch v.Op {
	case contract.OpConst:
		return b.f.constant(v), nil
	case contract.OpParam:
		return b.f.param(v)
	case contract.OpArg:
		return b.f.args[v.Index], nil
	case contract.OpInput:
		return b.input(v)
	case contract.OpLoad, contract.OpMember, contract.OpElem, contract.OpElemAt, contract.OpCast, contract.OpOffset:
		return b.path(v)
	case contract.OpKnown, contract.OpCell:
		return b.cell(v)
	case contract.OpBoth, contract.OpEither:
		return b.connect(v)
	case contract.OpCond:
		return b.choose(v)
	case contract.OpEq:
		if k := v.Args[0].Type.Kind; k == contract.TextKind || k == contract.IPKind || k == contract.Bytes {
			return b.equalBytes(v)
		}
	case contract.OpStarts:
		return b.starts(v)
	case contract.OpWithin:
		return b.within(v)
	case contract.OpRead, contract.OpLen:
		return b.read(v)
	}
	return b.arithmetic(v)
}

// param reads a parameter.
func (f *function) param(v *contract.Value) (expr, error) {
	switch v.Type.Kind {
	case contract.Int:
		return expr{text: v.Name, bits: v.Type.Bits, signed: v.Type.Signed}, nil
	}
	return expr{}, f.unsupported(v, "this use of the parameter "+v.Name)
}

// connect writes && and ||. Where an operand needs preparation, that is made only if those before
// it have not decided.
func (b *block) connect(v *contract.Value) (expr, error) {
	if done, e := b.wanted(v); done {
		return e, nil
	}
	op, prec := " && ", both
	if v.Op == contract.OpEither {
		op, prec = " || ", either
	}
	var ready []string // operands that are not part of the flag yet
	flag := ""
	for _, x := range b.operands(v, v.Op) {
		at := b
		if flag != "" || len(ready) > 0 {
			at = b.inner()
		}
		e, err := at.value(x)
		if err != nil {
			return expr{}, err
		}
		if at != b && len(at.lines) > 0 {
			if flag == "" {
				flag = b.f.names.pick(nameFor(v))
				b.line("bool %s = %s;", flag, strings.Join(ready, op))
			} else if len(ready) > 0 {
				b.line("%s = %s%s%s;", flag, flag, op, strings.Join(ready, op))
			}
			ready = nil
			b.line("if (%s%s) {", map[contract.Op]string{contract.OpEither: "!"}[v.Op], flag)
			at.line("%s = %s;", flag, e.text)
			b.nest(at)
			b.line("}")
			continue
		}
		ready = append(ready, mixed(e, prec))
	}
	if flag == "" {
		return expr{text: strings.Join(ready, op), prec: prec, kind: truth}, nil
	}
	if len(ready) > 0 {
		b.line("%s = %s%s%s;", flag, flag, op, strings.Join(ready, op))
	}
	return expr{text: flag, kind: truth}, nil
}

// operands are what a chain of && or || joins; a part of it that is kept on its own is one.
func (b *block) operands(v *contract.Value, op contract.Op) []*contract.Value {
	var out []*contract.Value
	for _, a := range v.Args {
		_, kept := b.lookup(a.ID)
		if a.Op != op || kept || b.f.worthKeeping(a) || b.f.isFilter(a) {
			out = append(out, a)
			continue
		}
		out = append(out, b.operands(a, op)...)
	}
	return out
}

// mixed puts brackets round && beside ||, as compilers like it.
func mixed(e expr, prec int) string {
	if prec == either && e.prec == both {
		return "(" + e.text + ")"
	}
	return e.in(prec)
}

// choose writes c ? x : y.
func (b *block) choose(v *contract.Value) (expr, error) {
	c, err := b.value(v.Args[0])
	if err != nil {
		return expr{}, err
	}
	then, other := b.inner(), b.inner()
	x, err := then.value(v.Args[1])
	if err != nil {
		return expr{}, err
	}
	y, err := other.value(v.Args[2])
	if err != nil {
		return expr{}, err
	}
	x, y, out := alike(x, y)
	out.prec = choice
	if len(then.lines)+len(other.lines) == 0 {
		out.text = fmt.Sprintf("%s ? %s : %s", c.right(choice), x.right(choice), y.in(choice))
		return out, nil
	}
	name := b.f.names.pick(nameFor(v))
	typ, out := variable(v, out)
	out.text = name
	b.line("%s;", spaced(typ, name))
	then.line("%s = %s;", name, x.text)
	other.line("%s = %s;", name, y.text)
	b.line("if (%s) {", c.text)
	b.nest(then)
	b.line("} else {")
	b.nest(other)
	b.line("}")
	b.memo[v.ID] = out
	return out, nil
}

// alike gives the two branches of a choice one C type, with which nothing is lost.
func alike(x, y expr) (expr, expr, expr) {
	switch {
	case x.kind != number || y.kind != number:
		if x.kind == pointer && y.kind == pointer && x.object != y.object {
			out := x
			if x.object == "" {
				out = y
			}
			return x, y, expr{kind: pointer, object: out.object}
		}
		return x, y, expr{kind: x.kind, object: x.object}
	case x.literal && y.literal:
		return x, y, expr{bits: 32, signed: true}
	case x.literal && (y.bits >= 32 || !y.signed && y.bits == 64):
		if y.bits == 32 && !y.signed || y.bits == 64 || y.signed {
			return x, y, expr{bits: y.bits, signed: y.signed}
		}
	case y.literal && x.bits >= 32:
		return x, y, expr{bits: x.bits, signed: x.signed}
	case x.bits == y.bits && x.signed == y.signed:
		return x, y, expr{bits: x.bits, signed: x.signed}
	}
	if x.signed || y.signed {
		return x.as(64, true), y.as(64, true), expr{bits: 64, signed: true}
	}
	return x.firmU64(), y.firmU64(), expr{bits: 64}
}

// arithmetic writes the operators on numbers.
func (b *block) arithmetic(v *contract.Value) (expr, error) {
	args := make([]expr, len(v.Args))
	for i, a := range v.Args {
		e, err := b.value(a)
		if err != nil {
			return expr{}, err
		}
		args[i] = e
	}
	if len(args) == 1 {
		return b.f.unary(v, args[0])
	}
	if len(args) != 2 {
		return expr{}, b.f.unsupported(v, "this expression")
	}
	return b.binary(v, args[0], args[1])
}

func (f *function) unary(v *contract.Value, x expr) (expr, error) {
	switch v.Op {
	case contract.OpNot:
		return x.not(), nil
	case contract.OpNeg:
		if x.kind == number && x.bits < 64 && !x.literal {
			return expr{text: "-" + x.as(64, true).in(prefix), prec: prefix, bits: 64, signed: true}, nil
		}
		return expr{text: cast("__s64", expr{text: "-" + x.firmU64().in(prefix), prec: prefix}), prec: prefix, bits: 64, signed: true}, nil
	case contract.OpInv:
		return expr{text: "~" + x.firmU64().in(prefix), prec: prefix, bits: 64}, nil
	case contract.OpCut:
		if x.kind == truth {
			return x, nil
		}
		return x.as(v.Type.Bits, v.Type.Signed), nil
	case contract.OpSwap:
		name := map[uint8]string{16: "bpf_ntohs", 32: "bpf_ntohl", 64: "bpf_be64_to_cpu"}[v.Type.Bits]
		if v.Type.Order == contract.Network {
			name = map[uint8]string{16: "bpf_htons", 32: "bpf_htonl", 64: "bpf_cpu_to_be64"}[v.Type.Bits]
		}
		if name == "" {
			return expr{}, f.unsupported(v, "turning these bytes round")
		}
		return expr{text: fmt.Sprintf("%s(%s)", name, x.text), bits: v.Type.Bits}, nil
	}
	return expr{}, f.unsupported(v, "this expression")
}

func (b *block) binary(v *contract.Value, x, y expr) (expr, error) {
	op := func(prec int, sign string, x, y expr, out expr) (expr, error) {
		out.text, out.prec = x.in(prec)+" "+sign+" "+y.right(prec), prec
		return out, nil
	}
	long := expr{bits: 64}
	switch v.Op {
	case contract.OpAdd, contract.OpSub, contract.OpMul:
		prec, sign := sum, "+"
		if v.Op == contract.OpSub {
			sign = "-"
		} else if v.Op == contract.OpMul {
			prec, sign = product, "*"
		}
		if x.literal && y.literal {
			x = x.firmU64()
		}
		return op(prec, sign, x.u64(), y.u64(), long)
	case contract.OpUDiv, contract.OpUMod:
		return b.divide(v, x, y)
	case contract.OpSDiv, contract.OpSMod:
		name := b.f.g.use("signed_divide")
		if v.Op == contract.OpSMod {
			name = b.f.g.use("signed_remainder")
		}
		return expr{text: fmt.Sprintf("%s(%s, %s)", name, x.text, y.text), bits: 64, signed: true}, nil
	case contract.OpAnd, contract.OpOr, contract.OpXor:
		prec := map[contract.Op]int{contract.OpAnd: bitAnd, contract.OpOr: bitOr, contract.OpXor: bitXor}[v.Op]
		sign := map[contract.Op]string{contract.OpAnd: "&", contract.OpOr: "|", contract.OpXor: "^"}[v.Op]
		x, y, out := sameWidth(x, y)
		return op(prec, sign, x, y, out)
	case contract.OpShl:
		return op(shift, "<<", x.firmU64(), y, long)
	case contract.OpUShr:
		if y.literal && x.kind == number && !x.signed && !x.literal && v.Args[1].Bits < uint64(x.bits) {
			return op(shift, ">>", x, y, expr{bits: max(x.bits, 32), signed: x.bits < 32})
		}
		return op(shift, ">>", x.firmU64(), y, long)
	case contract.OpSShr:
		return op(shift, ">>", x.as(64, true), y, expr{bits: 64, signed: true})
	case contract.OpEq:
		return op(equality, "==", comparable(x, y), comparable(y, x), expr{kind: truth})
	case contract.OpULt, contract.OpULe:
		sign := map[contract.Op]string{contract.OpULt: "<", contract.OpULe: "<="}[v.Op]
		x, y = unsignedPair(x, y)
		if turned(v) {
			return op(relation, map[string]string{"<": ">", "<=": ">="}[sign], y, x, expr{kind: truth})
		}
		return op(relation, sign, x, y, expr{kind: truth})
	case contract.OpSLt, contract.OpSLe:
		sign := map[contract.Op]string{contract.OpSLt: "<", contract.OpSLe: "<="}[v.Op]
		x, y = x.s64(), y.s64()
		if turned(v) {
			return op(relation, map[string]string{"<": ">", "<=": ">="}[sign], y, x, expr{kind: truth})
		}
		return op(relation, sign, x, y, expr{kind: truth})
	}
	return expr{}, b.f.unsupported(v, "this expression")
}

// turned tells whether a comparison is written the other way round: "x > y" is y < x.
func turned(v *contract.Value) bool {
	if e, ok := v.From.(*contract.Binary); ok {
		return e.Op == ">" || e.Op == ">="
	}
	return v.Args[0].Op == contract.OpConst
}

// unsignedPair are two numbers that are compared without sign.
func unsignedPair(x, y expr) (expr, expr) {
	plain := func(e expr) bool { return e.kind == number && (e.literal || !e.signed) }
	if plain(x) && plain(y) {
		return x, y
	}
	return x.u64(), y.u64()
}

// comparable is x beside y at ==, where C would compare other numbers than those that are meant.
func comparable(x, y expr) expr {
	switch {
	case x.kind == pointer && y.kind == pointer:
		if x.text == "NULL" || y.text == "NULL" || x.object == y.object {
			return x
		}
		return expr{text: cast("__u64", x), prec: prefix, bits: 64}
	case x.kind == pointer:
		return expr{text: cast("__u64", x), prec: prefix, bits: 64}
	case x.kind == number && y.kind == number && x.signed != y.signed && !x.literal && !y.literal && x.bits <= 32 && y.bits <= 32 && x.signed:
		return x.as(64, true)
	}
	return x
}

// sameWidth are two numbers at an operator on bits.
func sameWidth(x, y expr) (expr, expr, expr) {
	switch {
	case x.kind != number || y.kind != number:
	case x.literal && y.literal:
		return x, y, expr{bits: 32, signed: true}
	case x.literal:
		return x, y, expr{bits: max(y.bits, 32), signed: y.signed || y.bits < 32}
	case y.literal:
		return x, y, expr{bits: max(x.bits, 32), signed: x.signed || x.bits < 32}
	case x.signed == y.signed:
		width := max(x.bits, y.bits, 32)
		return x, y, expr{bits: width, signed: x.signed || x.bits < 32 && y.bits < 32}
	}
	return x.u64(), y.u64(), expr{bits: 64}
}

// divide writes / and % so that division by zero is what the contract says.
func (b *block) divide(v *contract.Value, x, y expr) (expr, error) {
	sign := "/"
	if v.Op == contract.OpUMod {
		sign = "%"
	}
	text := x.firmU64().in(product) + " " + sign + " " + y.u64().right(product)
	if c := v.Args[1]; c.Op == contract.OpConst && c.Bits != 0 {
		return expr{text: text, prec: product, bits: 64}, nil
	}
	name := b.f.g.use("divide")
	if v.Op == contract.OpUMod {
		name = b.f.g.use("remainder")
	}
	return expr{text: fmt.Sprintf("%s(%s, %s)", name, x.u64().text, y.u64().text), bits: 64}, nil
}
