package proof

import (
	"fmt"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// translator makes terms of a contract's expressions: over the inputs of one
// invocation and one state of the contract's memories.
type translator struct {
	words
	in   inputs
	mem  memories
	args []contract.CheckedArg
	// seen keeps what was translated. Expressions that read memories are not kept.
	seen map[*contract.Value]value
}

// tooDeep bounds how deep expressions are nested.
const tooDeep = 512

func (t *translator) value(v *contract.Value) (value, error) { return t.at(v, 0) }

// condition is a value of width 1.
func (t *translator) condition(v *contract.Value) (smt.Term, error) {
	x, err := t.value(v)
	if err != nil {
		return nil, err
	}
	return t.truth(x)
}

func (t *translator) truth(x value) (smt.Term, error) {
	switch {
	case x.term == nil:
		return nil, fmt.Errorf("a condition is not a number")
	case x.term.Width() == 1:
		return x.term, nil
	}
	return t.b.Ne(x.term, t.number(0)), nil
}

func (t *translator) at(v *contract.Value, depth int) (value, error) {
	if v == nil {
		return value{}, fmt.Errorf("an expression is missing")
	}
	if depth > tooDeep {
		return value{}, fmt.Errorf("an expression is nested more than %d deep", tooDeep)
	}
	if got, ok := t.seen[v]; ok {
		return got, nil
	}
	if t.ofContext(v) {
		x, err := t.in.Context(v.Offset, int(v.Size))
		if err != nil {
			return value{}, err
		}
		return t.input(v.Type, x)
	}
	args := make([]value, len(v.Args))
	for i, a := range v.Args {
		x, err := t.at(a, depth+1)
		if err != nil {
			return value{}, err
		}
		args[i] = x
	}
	out, err := t.apply(v, args)
	if err != nil {
		return value{}, fmt.Errorf("%s: %w", v.At, err)
	}
	out.typ = v.Type
	if t.seen != nil && !readsMemory(v) {
		t.seen[v] = out
	}
	return out, nil
}

// ofContext tells whether a member is one of the context that network hooks have, which is no
// object of the kernel's.
func (t *translator) ofContext(v *contract.Value) bool {
	if v.Op != contract.OpLoad || len(v.Args) != 1 || v.Args[0].Op != contract.OpArg {
		return false
	}
	switch v.Args[0].Type.Struct {
	case "struct __sk_buff", "struct bpf_sock_addr", "struct bpf_sock":
		return true
	}
	return false
}

func readsMemory(v *contract.Value) bool {
	if v.Op == contract.OpKnown || v.Op == contract.OpCell {
		return true
	}
	for _, a := range v.Args {
		if readsMemory(a) {
			return true
		}
	}
	return false
}

// apply is the meaning of one operator.
func (t *translator) apply(v *contract.Value, args []value) (value, error) {
	switch v.Op {
	case contract.OpConst:
		if v.Type.Kind == contract.Bool {
			return value{term: t.b.Bool(v.Bits != 0)}, nil
		}
		return value{term: t.number(v.Bits)}, nil
	case contract.OpText:
		return value{bytes: symbolic.ConstBytes(t.b, t.text(v)), padded: !strings.Contains(v.Text, "\x00")}, nil
	case contract.OpParam:
		x, err := t.in.Param(v.Name)
		if err != nil {
			return value{}, err
		}
		p, err := t.load(v.Type, x)
		p.padded = v.Type.Kind == contract.TextKind // as session.ranges has it
		return p, err
	case contract.OpArg:
		if v.Index < 0 || v.Index >= len(t.args) {
			return value{}, fmt.Errorf("no argument %d", v.Index)
		}
		if arg := t.args[v.Index]; arg.DataLoc {
			again := func(n int) (*symbolic.Bytes, error) { return t.in.RecordText(arg, n) }
			text, err := again(comparedText)
			return value{bytes: text, again: again, padded: true}, err
		}
		x, err := t.in.Arg(t.args[v.Index])
		if err != nil {
			return value{}, err
		}
		if v.Type.Kind == contract.TextKind && x.Bytes != nil {
			t.ends(x.Bytes)
		}
		return t.input(v.Type, x)
	case contract.OpInput:
		if v.Type.Kind == contract.Block {
			length, err := t.in.PacketLen()
			return value{length: length, packet: true}, err
		}
		x, err := t.in.Named(v.Name)
		if err != nil {
			return value{}, err
		}
		in, err := t.input(v.Type, x)
		in.padded = v.Name == "current.comm"
		return in, err
	case contract.OpKnown:
		k, err := t.mem.known(v.Index, args)
		return value{term: k}, err
	case contract.OpCell:
		return t.mem.field(v.Index, v.Field, args)
	case contract.OpLoad, contract.OpMember, contract.OpElem, contract.OpElemAt, contract.OpCast, contract.OpOffset,
		contract.OpUserText, contract.OpKernelText, contract.OpUserBytes, contract.OpUserArgs, contract.OpIP4, contract.OpIP6,
		contract.OpRead, contract.OpLen:
		return t.memory(v, args)
	}
	return t.compute(v, args)
}

// comparedText is how much of a text of any length is compared with others.
const comparedText = 32

// input brings an input of the machine into the form of its type in the contract.
func (t *translator) input(typ contract.Type, x symbolic.InputValue) (value, error) {
	if x.Bytes != nil {
		v, err := t.load(typ, x.Bytes)
		return v, err
	}
	if x.Term == nil {
		return value{}, fmt.Errorf("the input has no value")
	}
	switch typ.Kind {
	case contract.Bool:
		if x.Term.Width() == 1 {
			return value{term: x.Term}, nil
		}
		return value{term: t.b.Ne(x.Term, t.b.Const(x.Term.Width(), 0))}, nil
	case contract.Int:
		term := x.Term
		if bits := uint(typ.Bits); bits > 0 && term.Width() > bits {
			term = t.b.Extract(bits-1, 0, term)
		}
		return value{term: t.extend(term, typ.Signed)}, nil
	case contract.Pointer, contract.Object, contract.Array:
		space := symbolic.KernelSpace
		if typ.User {
			space = symbolic.UserSpace
		}
		return value{term: t.b.ZeroExt(64, x.Term), space: space}, nil
	}
	return value{}, fmt.Errorf("the input is of a kind that is not modelled")
}

// text are the bytes of a constant text.
func (t *translator) text(v *contract.Value) []byte {
	out := []byte(v.Text)
	if v.Type.Kind == contract.TextKind && int(v.Type.Size) > len(out) {
		out = append(out, make([]byte, int(v.Type.Size)-len(out))...)
	}
	return out
}

// compute is the meaning of the operators on numbers, conditions and texts.
func (t *translator) compute(v *contract.Value, args []value) (value, error) {
	switch v.Op {
	case contract.OpEq:
		if len(args) != 2 {
			break
		}
		e, err := t.equal(args[0], args[1])
		return value{term: e}, err
	case contract.OpCond:
		if len(args) != 3 {
			break
		}
		c, err := t.truth(args[0])
		if err != nil {
			return value{}, err
		}
		return t.choose(c, args[1], args[2])
	case contract.OpStarts:
		if len(args) != 2 || args[0].bytes == nil || args[1].bytes == nil {
			break
		}
		return value{term: t.starts(args[0].bytes, args[1].bytes)}, nil
	case contract.OpWithin:
		if len(args) != 1 || args[0].bytes == nil {
			break
		}
		return value{term: t.within(args[0].bytes, v.Text, uint(v.Bits))}, nil
	case contract.OpUntil:
		if len(args) != 1 || args[0].bytes == nil {
			break
		}
		return value{bytes: t.until(args[0].bytes, v.Text), padded: true}, nil
	case contract.OpNot, contract.OpBoth, contract.OpEither:
		return t.logic(v, args)
	}
	return t.arithmetic(v, args)
}

func (t *translator) logic(v *contract.Value, args []value) (value, error) {
	terms := make([]smt.Term, len(args))
	for i, a := range args {
		c, err := t.truth(a)
		if err != nil {
			return value{}, err
		}
		terms[i] = c
	}
	switch {
	case v.Op == contract.OpNot && len(terms) == 1:
		return value{term: t.b.Not(terms[0])}, nil
	case v.Op == contract.OpBoth:
		return value{term: t.b.And(terms...)}, nil
	case v.Op == contract.OpEither:
		return value{term: t.b.Or(terms...)}, nil
	}
	return value{}, fmt.Errorf("an operator has the wrong number of operands")
}

func (t *translator) arithmetic(v *contract.Value, args []value) (value, error) {
	var x, y smt.Term
	for i, a := range args {
		if a.term == nil {
			return value{}, fmt.Errorf("the operator takes numbers")
		}
		n := t.b.ZeroExt(64, a.term)
		if i == 0 {
			x = n
		} else {
			y = n
		}
	}
	if len(args) == 1 {
		switch v.Op {
		case contract.OpNeg:
			return value{term: t.b.Neg(x)}, nil
		case contract.OpInv:
			return value{term: t.b.Not(x)}, nil
		case contract.OpCut:
			return value{term: t.extend(t.cut(x, int(v.Type.Bits)), v.Type.Signed)}, nil
		case contract.OpSwap:
			return value{term: t.extend(t.b.BSwap(t.cut(x, int(v.Type.Bits))), v.Type.Signed)}, nil
		}
		return value{}, fmt.Errorf("operator %d is not modelled", v.Op)
	}
	if len(args) != 2 {
		return value{}, fmt.Errorf("operator %d is not modelled", v.Op)
	}
	if f := operators[v.Op]; f != nil {
		return value{term: f(t.b, x, y)}, nil
	}
	return value{}, fmt.Errorf("operator %d is not modelled", v.Op)
}

// operators are those on two numbers of 64 bits. Division by zero gives 0, the
// remainder then is the dividend; smt has other rules for the first.
var operators = map[contract.Op]func(b *smt.Builder, x, y smt.Term) smt.Term{
	contract.OpAdd: (*smt.Builder).Add,
	contract.OpSub: (*smt.Builder).Sub,
	contract.OpMul: (*smt.Builder).Mul,
	contract.OpUDiv: func(b *smt.Builder, x, y smt.Term) smt.Term {
		return b.Ite(b.Eq(y, b.Const(64, 0)), b.Const(64, 0), b.UDiv(x, y))
	},
	contract.OpSDiv: func(b *smt.Builder, x, y smt.Term) smt.Term {
		return b.Ite(b.Eq(y, b.Const(64, 0)), b.Const(64, 0), b.SDiv(x, y))
	},
	contract.OpUMod: (*smt.Builder).URem,
	contract.OpSMod: (*smt.Builder).SRem,
	contract.OpAnd:  func(b *smt.Builder, x, y smt.Term) smt.Term { return b.And(x, y) },
	contract.OpOr:   func(b *smt.Builder, x, y smt.Term) smt.Term { return b.Or(x, y) },
	contract.OpXor:  (*smt.Builder).Xor,
	contract.OpShl:  (*smt.Builder).Shl,
	contract.OpUShr: (*smt.Builder).LShr,
	contract.OpSShr: (*smt.Builder).AShr,
	contract.OpULt:  (*smt.Builder).Ult,
	contract.OpSLt:  (*smt.Builder).Slt,
	contract.OpULe:  (*smt.Builder).Ule,
	contract.OpSLe:  (*smt.Builder).Sle,
}

// memory is the meaning of what reads the kernel's memory, a process's or a
// packet.
func (t *translator) memory(v *contract.Value, args []value) (value, error) {
	if len(args) == 0 {
		return value{}, fmt.Errorf("nothing to read from")
	}
	x := args[0]
	switch v.Op {
	case contract.OpRead:
		return t.read(v, args)
	case contract.OpLen:
		if x.length == nil {
			return value{}, fmt.Errorf("the length of this is not known")
		}
		return value{term: x.length}, nil
	}
	if x.term == nil || x.term.Width() == 1 {
		return value{}, fmt.Errorf("what is read from is no address")
	}
	addr := t.b.ZeroExt(64, x.term)
	switch v.Op {
	case contract.OpCast:
		return value{term: addr, space: x.space}, nil
	case contract.OpOffset:
		return value{term: t.b.Add(addr, args[1].term), space: x.space}, nil
	case contract.OpMember:
		return value{term: t.b.Add(addr, t.number(uint64(v.Offset))), space: x.space}, nil
	case contract.OpElem, contract.OpElemAt:
		at := t.b.Add(addr, t.b.Mul(args[1].term, t.number(uint64(v.Size))))
		if v.Op == contract.OpElemAt {
			return value{term: at, space: x.space}, nil
		}
		return t.readAt(v, x.space, at)
	case contract.OpLoad:
		return t.readAt(v, x.space, t.b.Add(addr, t.number(uint64(v.Offset))))
	case contract.OpUserText, contract.OpKernelText:
		space := symbolic.KernelSpace
		if v.Op == contract.OpUserText {
			space = symbolic.UserSpace
		}
		text, err := t.in.Text(space, addr, int(v.Type.Size), rootOf(v))
		return value{bytes: text, padded: true}, err
	case contract.OpUserBytes:
		most := t.number(maxBlock)
		length := t.b.Ite(t.b.Ult(args[1].term, most), args[1].term, most)
		return value{addr: addr, length: length}, nil
	case contract.OpUserArgs:
		return t.userArgs(addr, args[1].term)
	case contract.OpIP4:
		return value{bytes: symbolic.NewBytes(t.b, append(t.mapped(), t.cut(x.term, 32))...)}, nil
	case contract.OpIP6:
		space := x.space
		if v.Args[0].Type.User {
			space = symbolic.UserSpace
		}
		ip, err := t.in.Load(space, addr, 16, rootOf(v))
		return value{bytes: ip}, err
	}
	return value{}, fmt.Errorf("operator %d is not modelled", v.Op)
}

// rootOf is the struct that a path starts from, without the keyword.
func rootOf(v *contract.Value) string {
	root := v.Struct
	if root == "" && len(v.Args) > 0 {
		if root = v.Args[0].Type.Struct; v.Args[0].Op == contract.OpMember {
			root = v.Args[0].Struct
		}
	}
	if _, name, ok := strings.Cut(root, " "); ok {
		return name
	}
	return root
}

// mapped are the first 12 bytes of an IPv4 address written as IPv6.
func (t *translator) mapped() []smt.Term {
	return []smt.Term{t.number(0), t.b.Const(32, 0xffff0000)}
}

// readAt reads a member: a number, a text or bytes.
func (t *translator) readAt(v *contract.Value, space symbolic.Space, addr smt.Term) (value, error) {
	if v.BitSize > 0 {
		return t.bitField(v, space, addr)
	}
	size := int(v.Size)
	if s := v.Type.InMemory(); s > 0 {
		size = s
	}
	if size == 0 {
		return value{}, fmt.Errorf("the size of %s is not known", v.Path)
	}
	x, err := t.in.Load(space, addr, size, rootOf(v))
	if err != nil {
		return value{}, err
	}
	if v.Type.Kind == contract.TextKind && space == symbolic.KernelSpace {
		t.ends(x)
	}
	return t.load(v.Type, x)
}

// ends assumes ("names") that a text of the kernel's, in an object or in a record, ends in NUL.
func (t *translator) ends(text *symbolic.Bytes) {
	t.in.Assume(t.b.Eq(text.At(text.Len()-1, 1), t.b.Const(8, 0)))
}

// bitField reads the bytes around a bit-field: addr is that of the struct plus Offset.
func (t *translator) bitField(v *contract.Value, space symbolic.Space, addr smt.Term) (value, error) {
	first := v.BitOffset / 8
	shift := uint(v.BitOffset % 8)
	n := (int(shift) + int(v.BitSize) + 7) / 8
	if n > 8 {
		return value{}, fmt.Errorf("the bit-field %s crosses more than 8 bytes", v.Path)
	}
	base := t.b.Sub(addr, t.number(uint64(v.Offset)))
	x, err := t.in.Load(space, t.b.Add(base, t.number(uint64(first))), n, rootOf(v))
	if err != nil {
		return value{}, err
	}
	bits := t.b.Extract(shift+uint(v.BitSize)-1, shift, x.At(0, n))
	return value{term: t.extend(bits, v.Type.Signed)}, nil
}

// read reads a number or text from a block; bytes behind its end are 0.
func (t *translator) read(v *contract.Value, args []value) (value, error) {
	x, off := args[0], args[1].term
	if x.addr == nil && !x.packet || off == nil {
		return value{}, fmt.Errorf("what is read from is no block")
	}
	parts := make([]smt.Term, v.Type.InMemory())
	for i := range parts {
		at := t.b.Add(off, t.number(uint64(i)))
		inside := t.b.And(t.b.Ule(off, at), t.b.Ult(at, x.length)) // behind an offset that wraps is no beginning
		if len(args) > 2 {
			inside = t.b.And(inside, t.b.Ult(t.number(uint64(i)), args[2].term))
		}
		parts[i] = t.b.Ite(inside, t.blockByte(x, at), t.b.Const(8, 0))
	}
	return t.load(v.Type, symbolic.NewBytes(t.b, parts...))
}

// blockByte is the byte at an offset. Which byte of a process's memory that is must not depend on
// inputs.
func (t *translator) blockByte(x value, at smt.Term) smt.Term {
	if x.packet {
		return t.in.PacketAt(at, 1)
	}
	data, err := t.in.Load(symbolic.UserSpace, t.b.Add(x.addr, at), 1, "")
	if err != nil {
		panic(err) // becomes an unknown
	}
	return data.At(0, 1)
}

// maxBlock bounds what user_bytes reads, as package contract has it.
const maxBlock = 4096

// userArgs is struct k_args of a process's arguments: as many bytes as there are, or,
// if they are more than fit, one more than fits as their number.
func (t *translator) userArgs(start, end smt.Term) (value, error) {
	const fits = contract.ArgsSize - 4
	n := t.b.Sub(end, start)
	long := t.b.Ult(t.number(fits), n)
	length := t.b.Ite(long, t.number(fits), n)
	text, err := t.in.Block(start, length, fits)
	if err != nil {
		return value{}, err
	}
	says := t.cut(t.b.Ite(long, t.number(fits+1), n), 32)
	return value{bytes: t.join(symbolic.NewBytes(t.b, says), text)}, nil
}
