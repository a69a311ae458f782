package contract

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel/abi"
	"kgent/retrieval/notes"
)

// scope is what names stand for at some place of a contract.
type scope struct {
	names    map[string]*Value // arguments and bindings
	known    []string          // cells that have been found to be known
	defines  []string          // that are being put in place
	constant bool              // only constants are allowed
}

func (s *scope) with(known []string) *scope {
	inner := *s
	inner.known = slices.Concat(s.known, known)
	return &inner
}

// placeScope binds a place's arguments and what is bound "with" them.
func (k *checker) placeScope(cp *CheckedPlace) *scope {
	sc := &scope{names: map[string]*Value{}}
	bind := func(at Pos, name string, v *Value, rename string) {
		for _, p := range k.c.Params {
			if p.Name == name {
				k.errorf(at, "%s is a parameter as well; %s", name, rename)
			}
		}
		if k.enumerators[name] != nil || slices.Contains(builtins, name) || k.defines[name] != nil && len(k.defines[name].Args) == 0 {
			k.errorf(at, "%s means something else in this contract; %s", name, rename)
		}
		if k.isConstant(name) {
			k.errorf(at, "%s is a number of the kernel's; %s", name, rename)
		}
		if sc.names[name] != nil {
			k.errorf(at, "%s is named twice here", name)
		}
		sc.names[name] = v
	}
	for i, a := range cp.Args {
		at := cp.Place.Args[i].At
		bind(at, a.Name, &Value{Op: OpArg, Type: a.Type, Name: a.Name, Index: i, At: at},
			fmt.Sprintf("give the argument another name: %s as …", cp.Place.Args[i].Name))
	}
	for _, f := range cp.With { // each may go on with those before it
		v := k.expr(f.Is, sc)
		if v == nil {
			return nil
		}
		if old := sc.names[f.Name]; old != nil && old.Op == OpArg {
			sc.names[f.Name] = nil // "with flags = flags & 3" may stand for the argument
		}
		bind(f.At, f.Name, v, "bind another name")
	}
	return sc
}

// make counts a value against the budget.
func (k *checker) make(v *Value, from Expr) *Value {
	v.nodes = 1
	for _, a := range v.Args {
		v.nodes += a.nodes
	}
	if k.budget--; v.nodes > maxNodes {
		k.budget = 0
	}
	if k.budget == 0 {
		k.errorf(from.Position(), "the contract is too large once its definitions are put in place")
	}
	v.From, v.At = from, from.Position()
	return v
}

// expr resolves an expression. Nil says that errors have been reported.
func (k *checker) expr(e Expr, sc *scope) *Value {
	if k.budget <= 0 {
		return nil
	}
	v := k.resolve(e, sc)
	if v == nil {
		return nil
	}
	v = fold(v)
	if v.From == nil {
		k.make(v, e)
	}
	if sc.constant && v.Op != OpConst && v.Op != OpText {
		k.errorf(e.Position(), "%s is not a constant", ExprString(e))
		return nil
	}
	return v
}

func (k *checker) resolve(e Expr, sc *scope) *Value {
	switch e := e.(type) {
	case *Number:
		v := &Value{Op: OpConst, Bits: e.Value, Type: Type{Kind: Int, Bits: 64, Literal: true}}
		switch e.Unit {
		case "":
		case "B", "KiB", "MiB", "GiB":
			v.Type.Meaning = "bytes"
		default:
			v.Type.Meaning = "ns"
		}
		return k.make(v, e)
	case *Text:
		return k.make(&Value{Op: OpText, Text: e.Value, Type: Type{Kind: TextKind, Size: uint32(len(e.Value) + 1), Literal: true}}, e)
	case *Name:
		return k.name(e, sc)
	case *Select:
		return k.selection(e, sc)
	case *Index:
		return k.index(e, sc)
	case *Call:
		return k.call(e, sc)
	case *Unary:
		return k.unary(e, sc)
	case *Binary:
		return k.binary(e, sc)
	case *Cond:
		return k.cond(e, sc)
	case *In:
		return k.in(e, sc)
	case *Known:
		return k.cell(e.Cell, sc, nil, e)
	}
	k.errorf(Pos{}, "an expression is missing")
	return nil
}

func (k *checker) name(e *Name, sc *scope) *Value {
	if v := sc.names[e.Name]; v != nil {
		out := *v
		return &out
	}
	for i, p := range k.out.Params {
		if p.Name == e.Name && !sc.constant {
			k.used["param "+p.Name] = true
			return k.make(&Value{Op: OpParam, Name: p.Name, Index: i, Type: p.Type}, e)
		}
	}
	if v := k.enumerators[e.Name]; v != nil {
		out := *v
		return k.make(&out, e)
	}
	if d := k.defines[e.Name]; d != nil {
		if len(d.Args) > 0 {
			k.errorf(e.At, "%s takes %d arguments", d.Name, len(d.Args))
			return nil
		}
		return k.expand(d, nil, e, sc)
	}
	switch e.Name {
	case "true", "false":
		v := &Value{Op: OpConst, Type: Type{Kind: Bool}}
		if e.Name == "true" {
			v.Bits = 1
		}
		return k.make(v, e)
	case "null", "NULL":
		return k.make(&Value{Op: OpConst, Type: Type{Kind: Pointer, Bits: 64, Literal: true}}, e)
	}
	if t, ok := inputs[e.Name]; ok {
		return k.input(e.Name, t, e)
	}
	if e.Name == "current" || e.Name == "kgent" {
		k.errorf(e.At, "%s needs a member: %s", e.Name, strings.Join(inputMembers(e.Name), ", "))
		return nil
	}
	if n, ok := k.types.constant(e.Name); ok {
		return k.make(&Value{Op: OpConst, Bits: uint64(n), Type: Type{Kind: Int, Bits: 64, Signed: n < 0, Literal: true}}, e)
	}
	k.errs = append(k.errs, &Error{At: e.At, Msg: k.noName(e.Name), Suggest: suggest(e.Name, k.namesIn(sc, e.Name))})
	return nil
}

func (k *checker) noName(name string) string {
	where := ""
	if k.place != nil {
		where = " at " + k.place.Place.String()
	}
	if k.memoryIndex(name) >= 0 {
		return fmt.Sprintf("%s is a memory: write the key, %s[…]", name, name)
	}
	return fmt.Sprintf("nothing is called %s%s: no argument, parameter, definition or constant of the kernel%s", name, where, hint(habits, name))
}

// namesIn lists what could have been meant by a name that stands for nothing.
func (k *checker) namesIn(sc *scope, missing string) []string {
	names := slices.Concat(keys(sc.names), keys(k.enumerators), keys(k.defines), keys(constants), builtins)
	for _, p := range k.c.Params {
		names = append(names, p.Name)
	}
	switch {
	case strings.HasPrefix(missing, "SYS_"):
		for nr := range int64(600) {
			names = append(names, "SYS_"+abi.SyscallName(nr))
		}
	case missing != "" && missing[0] >= 'A' && missing[0] <= 'Z':
		names = append(names, k.types.enumerators()...)
	}
	return names
}

// inputs are the values that no argument leads to, by name. See [Inputs].
var inputs = map[string]Type{
	"now":            vocabulary["k_time"],
	"now_boot":       vocabulary["k_boottime"],
	"cpu":            {Kind: Int, Bits: 32},
	"random":         {Kind: Int, Bits: 32},
	"kernel_stack":   vocabulary["k_kstack"],
	"user_stack":     vocabulary["k_ustack"],
	"packet":         {Kind: Block},
	"packet.cgroup":  vocabulary["k_cgroup"],
	"packet.ifindex": vocabulary["k_ifindex"],
	"current.tgid":   vocabulary["k_pid"],
	"current.tid":    vocabulary["k_tid"],
	"current.uid":    vocabulary["k_uid"],
	"current.gid":    vocabulary["k_gid"],
	"current.comm":   {Kind: TextKind, Size: 16},
	"current.cgroup": vocabulary["k_cgroup"],
	"current.task":   {Kind: Pointer, Bits: 64, Struct: "struct task_struct"},
	"kgent.pid":      vocabulary["k_pid"],
	"probe.function": vocabulary["k_addr"],
	"probe.returns":  {Kind: Bool, Bits: 8},
	"probe.call":     {Kind: Int, Bits: 64},
}

func inputMembers(of string) (names []string) {
	for _, n := range keys(inputs) {
		if m, ok := strings.CutPrefix(n, of+"."); ok {
			names = append(names, m)
		}
	}
	return names
}

func (k *checker) input(name string, t Type, e Expr) *Value {
	if k.place == nil {
		k.errorf(e.Position(), "%s is not known before a hook fires", name)
		return nil
	}
	if why := k.place.forbids(name); why != "" {
		k.errorf(e.Position(), "%s", why)
		return nil
	}
	return k.make(&Value{Op: OpInput, Name: name, Type: t}, e)
}

func (k *checker) selection(e *Select, sc *scope) *Value {
	if n, ok := e.X.(*Name); ok && sc.names[n.Name] == nil {
		if t, ok := inputs[n.Name+"."+e.Name]; ok {
			return k.input(n.Name+"."+e.Name, t, e)
		}
		if n.Name == "current" || n.Name == "kgent" || n.Name == "probe" {
			k.noCurrent(e, n.Name)
			return nil
		}
	}
	if ix, ok := e.X.(*Index); ok {
		if n, ok := ix.X.(*Name); ok && sc.names[n.Name] == nil && k.memoryIndex(n.Name) >= 0 {
			return k.cell(ix, sc, e, e)
		}
	}
	x := k.expr(e.X, sc)
	if x == nil {
		return nil
	}
	if x.Type.Kind == Block {
		if e.Name == "len" {
			return k.make(&Value{Op: OpLen, Args: []*Value{x}, Type: Type{Kind: Int, Bits: 32, Meaning: "bytes"}}, e)
		}
		k.unknown(e.At, "member of a block of bytes", e.Name, []string{"len", "cgroup", "ifindex"})
		return nil
	}
	return k.member(x, e)
}

// noCurrent says what is meant by names that other languages have.
func (k *checker) noCurrent(e *Select, of string) {
	hint := map[string]string{"pid": "write current.tgid for the process id, current.tid for the thread's", "ppid": "write current.task.real_parent.tgid",
		"name": "write current.comm", "process": "write process_comm(current.task)"}[e.Name]
	if hint == "" || of != "current" {
		k.unknown(e.At, "member of "+of, e.Name, inputMembers(of))
		return
	}
	k.errorf(e.At, "no member of current is called %s; %s", e.Name, hint)
}

// member reads a member of the object that x is or points to.
func (k *checker) member(x *Value, e *Select) *Value {
	if x.Type.User && x.Type.Struct == "" {
		k.errorf(e.At, "%s points into a process's memory: %s", ExprString(e.X), userReads)
		return nil
	}
	if (x.Type.Kind != Pointer && x.Type.Kind != Object) || x.Type.Struct == "" {
		k.errorf(e.At, "%s is %s and has no member %s", ExprString(e.X), x.Type, e.Name)
		return nil
	}
	comp := compositeOf(x.Type, k.types)
	if comp == nil {
		k.errorf(e.At, "this kernel does not say what a %s holds", x.Type.Struct)
		return nil
	}
	m, ok := findMember(comp, e.Name, 0)
	if !ok {
		err := &Error{At: e.At, Msg: fmt.Sprintf("%s has no member %s", x.Type.Struct, e.Name), Suggest: findBelow(comp, e.Name)}
		if len(err.Suggest) == 0 {
			err.Suggest = suggest(e.Name, memberNames(comp, "", 0))
		}
		err.Suggest = err.Suggest[:min(3, len(err.Suggest))]
		k.errs = append(k.errs, err)
		return nil
	}
	t := typeOf(m.typ)
	if x.Type.User {
		return k.userMember(x, m, t, e)
	}
	v := &Value{Op: OpLoad, Args: []*Value{x}, Struct: x.Type.Struct, Path: e.Name, Type: t}
	bits := m.bits
	if x.Op == OpMember && x.Type.Kind == Object { // one path, not two
		v.Args, v.Struct, v.Path = x.Args, x.Struct, x.Path+"."+e.Name
		bits += x.Offset * 8
	}
	v.Offset, v.BitOffset, v.BitSize = bits/8, bits, m.bitSize
	switch t.Kind {
	case Invalid:
		k.errorf(e.At, "%s is of a type that contracts cannot use", e.Name)
		return nil
	case Object, Array:
		v.Op = OpMember
	case TextKind:
		v.Size = t.Size
	default:
		v.Size = uint32(t.Bits) / 8
	}
	if m.bitSize > 0 && t.Kind == Int {
		v.Type.Literal = false
	}
	if k.place != nil {
		if why := k.tooEarly(k.place, e.Name); why != "" {
			k.errorf(e.At, "%s", why)
			return nil
		}
	}
	v.known(notes.MemberOf(v.Struct, v.Path))
	return k.make(v, e)
}

// known gives a member the type that it really has: the kernel calls pid what everybody
// else calls a thread id, and the contexts of networking programs have numbers in network
// byte order as plain ones, ports in wider words.
func (v *Value) known(m *notes.Member) {
	if m == nil {
		return
	}
	if m.Kin != "" {
		v.Type.Meaning = m.Kin
	}
	if m.Order == notes.Network && v.Type.Kind == Int {
		v.Type.Order = Network
		if m.Bits != 0 { // the first bytes, as all machines here are little-endian
			v.Type.Bits, v.Size = m.Bits, uint32(m.Bits)/8
		}
	}
}

func compositeOf(t Type, types *Types) btf.Type {
	if t.BTF != nil {
		b, _, _ := bare(t.BTF)
		if p, ok := b.(*btf.Pointer); ok {
			b, _, _ = bare(p.Target)
		}
		if membersOf(b) != nil {
			return b
		}
	}
	return types.composite(t.Struct)
}

func (k *checker) index(e *Index, sc *scope) *Value {
	if n, ok := e.X.(*Name); ok && sc.names[n.Name] == nil && k.memoryIndex(n.Name) >= 0 {
		k.errorf(e.At, "say which field of the cell is meant: %s.…", ExprString(e))
		return nil
	}
	x := k.expr(e.X, sc)
	if x == nil {
		return nil
	}
	if len(e.I) != 1 {
		k.errorf(e.At, "an element has one index")
		return nil
	}
	i := k.expr(e.I[0], sc)
	if i == nil || !k.number(i, "an index") {
		return nil
	}
	var elem Type
	switch {
	case x.Type.User:
		k.errorf(e.At, "%s points into a process's memory: %s", ExprString(e.X), userReads)
		return nil
	case (x.Type.Kind == Array || x.Type.Kind == Pointer) && x.Type.Elem != nil:
		elem = *x.Type.Elem
	default:
		k.errorf(e.At, "%s is %s and has no elements", ExprString(e.X), x.Type)
		return nil
	}
	if x.Type.Kind == Array && i.Op == OpConst && x.Type.Size > 0 && i.Bits >= uint64(x.Type.Size) {
		k.errorf(e.At, "%s has %d elements, the last is [%d]", ExprString(e.X), x.Type.Size, x.Type.Size-1)
		return nil
	}
	v := &Value{Op: OpElem, Args: []*Value{x, i}, Type: elem}
	switch elem.Kind {
	case Int, Bool, Pointer:
		v.Size = uint32(elem.Bits) / 8
	case Object:
		v.Op = OpElemAt
		v.Size = sizeOf(elem)
	default:
		k.errorf(e.At, "elements that are %s cannot be used", elem)
		return nil
	}
	return k.make(v, e)
}

// cell reads a field of a memory's cell, or with no field asks whether it is known.
func (k *checker) cell(ix *Index, sc *scope, field *Select, e Expr) *Value {
	n, ok := ix.X.(*Name)
	if !ok || k.memoryIndex(n.Name) < 0 {
		name := ExprString(ix.X)
		k.unknown(ix.At, "memory", name, k.memoryNames())
		return nil
	}
	index := k.memoryIndex(n.Name)
	m := k.out.Memories[index]
	if k.place == nil {
		k.errorf(e.Position(), "memories are read where a hook fires")
		return nil
	}
	if len(ix.I) != len(m.Key) {
		k.errorf(ix.At, "the key of %s has %d members, not %d", m.Name, len(m.Key), len(ix.I))
		return nil
	}
	v := &Value{Op: OpKnown, Index: index, Name: m.Name, Type: Type{Kind: Bool}}
	for i, x := range ix.I {
		a := k.expr(x, sc)
		if a == nil {
			return nil
		}
		if a = k.assign(a, m.Key[i].Type, "the key of "+m.Name); a == nil {
			return nil
		}
		v.Args = append(v.Args, a)
	}
	k.used["known "+m.Name] = true
	if field == nil {
		return k.make(v, e)
	}
	v.Op, v.Field = OpCell, -1
	var names []string
	for i, f := range m.Fields {
		names = append(names, f.Name)
		if f.Name == field.Name {
			v.Field, v.Type = i, f.Type
		}
	}
	if v.Field < 0 {
		k.unknown(field.At, "field of "+m.Name, field.Name, names)
		return nil
	}
	if !slices.Contains(sc.known, k.cellKey(v)) {
		k.errorf(e.Position(), "%s may never have been remembered: test “known %s” before, so that it is said what happens then",
			ExprString(ix), ExprString(ix))
		return nil
	}
	return k.make(v, e)
}

func (k *checker) unary(e *Unary, sc *scope) *Value {
	x := k.expr(e.X, sc)
	if x == nil {
		return nil
	}
	if e.Op == "!" {
		if x = k.condition(x, "what ! turns round"); x == nil {
			return nil
		}
		return k.make(&Value{Op: OpNot, Args: []*Value{x}, Type: Type{Kind: Bool}}, e)
	}
	if !k.number(x, "what has a "+e.Op+" before it") {
		return nil
	}
	t := Type{Kind: Int, Bits: 64, Signed: x.Type.Signed, Meaning: x.Type.Meaning, Literal: x.Type.Literal}
	if e.Op == "-" {
		t.Signed = true
		return k.make(&Value{Op: OpNeg, Args: []*Value{x}, Type: t}, e)
	}
	return k.make(&Value{Op: OpInv, Args: []*Value{x}, Type: t}, e)
}

func (k *checker) binary(e *Binary, sc *scope) *Value {
	x := k.expr(e.X, sc)
	if x == nil {
		return nil
	}
	right := sc
	switch e.Op {
	case "&&":
		right = sc.with(k.facts(x, true))
	case "||":
		right = sc.with(k.facts(x, false))
	}
	y := k.expr(e.Y, right)
	if y == nil {
		return nil
	}
	switch e.Op {
	case "&&", "||":
		x, y = k.condition(x, "the left side of "+e.Op), k.condition(y, "the right side of "+e.Op)
		if x == nil || y == nil {
			return nil
		}
		op := OpBoth
		if e.Op == "||" {
			op = OpEither
		}
		return k.make(&Value{Op: op, Args: []*Value{x, y}, Type: Type{Kind: Bool}}, e)
	case "==", "!=":
		v := k.equal(x, y, e)
		if v != nil && e.Op == "!=" {
			v = k.make(&Value{Op: OpNot, Args: []*Value{v}, Type: Type{Kind: Bool}}, e)
		}
		return v
	case "<", "<=", ">", ">=":
		return k.compare(x, y, e)
	}
	return k.arithmetic(x, y, e)
}

func (k *checker) cond(e *Cond, sc *scope) *Value {
	c := k.expr(e.If, sc)
	if c == nil {
		return nil
	}
	if c = k.condition(c, "what stands before ?"); c == nil {
		return nil
	}
	x, y := k.expr(e.Then, sc.with(k.facts(c, true))), k.expr(e.Else, sc.with(k.facts(c, false)))
	if x == nil || y == nil {
		return nil
	}
	t, ok := k.join(&x, &y, e)
	if !ok {
		return nil
	}
	return k.make(&Value{Op: OpCond, Args: []*Value{c, x, y}, Type: t}, e)
}

func (k *checker) in(e *In, sc *scope) *Value {
	x := k.expr(e.X, sc)
	if x == nil {
		return nil
	}
	if len(e.Set) == 0 {
		k.errorf(e.At, "the set is empty")
		return nil
	}
	var out *Value
	for _, s := range e.Set {
		y := k.expr(s, sc)
		if y == nil {
			return nil
		}
		v := k.equal(x, y, &Binary{Op: "==", X: e.X, Y: s, At: s.Position()})
		if v == nil {
			return nil
		}
		if out == nil {
			out = v
			continue
		}
		out = fold(k.make(&Value{Op: OpEither, Args: []*Value{out, v}, Type: Type{Kind: Bool}}, e))
	}
	return out
}

// ---- definitions and functions

// expand puts a definition in place. Its body sees its arguments and what is
// declared, nothing of where it is used.
func (k *checker) expand(d *Define, args []*Value, e Expr, sc *scope) *Value {
	if slices.Contains(sc.defines, d.Name) {
		k.errorf(e.Position(), "the definition of %s leads back to itself", d.Name)
		return nil
	}
	k.used["define "+d.Name] = true
	inner := &scope{names: map[string]*Value{}, known: sc.known, defines: append(slices.Clone(sc.defines), d.Name)}
	for i, a := range d.Args {
		inner.names[a.Name] = args[i]
	}
	key := fmt.Sprint(d.Name, " ", sc.known)
	for _, a := range args {
		key += fmt.Sprint(" ", k.id(a))
	}
	if v := k.expanded[key]; v != nil {
		out := *v
		out.From, out.At = e, e.Position()
		return &out
	}
	before := len(k.errs)
	v := k.expr(d.Body, inner)
	for _, err := range k.errs[before:] {
		// Say it where the definition is used: what is wrong is mostly an argument.
		if err.At = e.Position(); !strings.HasPrefix(err.Msg, "in "+d.Name+": ") {
			err.Msg = "in " + d.Name + ": " + err.Msg
		}
	}
	if v == nil {
		return nil
	}
	k.expanded[key] = v
	out := *v
	out.From, out.At = e, e.Position()
	return &out
}

// functions are the built-in words that take arguments, with how they are used.
var functions = map[string]string{
	"as": "as(struct NAME, pointer)", "ip4": "ip4(number in network order)", "ip6": "ip6(struct in6_addr)",
	"ntohs": "ntohs(be16)", "ntohl": "ntohl(be32)", "be64": "be64(number in network order)", "htons": "htons(u16)", "htonl": "htonl(u32)",
	"u8": "u8(number)", "u16": "u16(number)", "u32": "u32(number)", "u64": "u64(number)",
	"s8": "s8(number)", "s16": "s16(number)", "s32": "s32(number)", "s64": "s64(number)",
	"user_text": "user_text(pointer, bytes)", "kernel_text": "kernel_text(pointer, bytes)", "user_bytes": "user_bytes(pointer, bytes)",
	"user_args": "user_args(start, end)", "starts": "starts(text, prefix)", "until": "until(text, \"characters that end it\")", "either": "either(path, path)", "syscall_nr": "syscall_nr(registers)",
	"inside": `inside("container:NAME")`,
}

func (k *checker) call(e *Call, sc *scope) *Value {
	if e.Recv != nil {
		return k.read(e, sc)
	}
	if e.Fun == "either" {
		return k.either(e, sc)
	}
	if e.Fun == "inside" {
		return k.inside(e)
	}
	d, builtin := k.defines[e.Fun], functions[e.Fun] != ""
	if d == nil && !builtin {
		if h := hint(habits, e.Fun); h != "" {
			k.errorf(e.At, "no definition or function is called %s%s", e.Fun, h)
		} else {
			k.unknown(e.At, "definition or function", e.Fun, slices.Concat(keys(k.defines), keys(functions)))
		}
		return nil
	}
	var args []*Value
	for _, a := range e.Args {
		v := k.expr(a, sc)
		if v == nil {
			return nil
		}
		args = append(args, v)
	}
	if !builtin {
		if len(args) != len(d.Args) {
			var names []string
			for _, a := range d.Args {
				names = append(names, a.Name)
			}
			k.errorf(e.At, "%s takes %d arguments, not %d: %s(%s)", d.Name, len(d.Args), len(args), d.Name, strings.Join(names, ", "))
			return nil
		}
		return k.expand(d, args, e, sc)
	}
	want := strings.Count(functions[e.Fun], ",") + 1
	if e.Fun == "as" {
		want = 1
	}
	if len(args) != want {
		k.errorf(e.At, "it is used as %s", functions[e.Fun])
		return nil
	}
	return k.builtin(e, args)
}

func (k *checker) builtin(e *Call, a []*Value) *Value {
	value := func(op Op, t Type) *Value { return k.make(&Value{Op: op, Args: a, Type: t}, e) }
	switch e.Fun {
	case "as":
		return k.cast(e, a[0])
	case "ntohs", "ntohl", "be64", "htons", "htonl":
		return k.swap(e, a[0])
	case "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64":
		if a[0].Type.Kind == Pointer && e.Fun == "u64" {
			return value(OpCut, vocabulary["k_addr"])
		}
		if a[0].Type.Kind == Pointer {
			k.errorf(e.At, "%s is a pointer; what it points to is read by a path", ExprString(e.Args[0]))
			return nil
		}
		if !k.number(a[0], "what "+e.Fun+" takes") {
			return nil
		}
		t := vocabulary[e.Fun]
		t.Meaning = a[0].Type.Meaning
		return value(OpCut, t)
	case "ip4":
		if t := a[0].Type; t.Kind != Int || t.Order != Network || t.Bits != 32 {
			k.errorf(e.At, "ip4 takes an IPv4 address as the kernel has it (be32), not %s", t)
			return nil
		}
		return value(OpIP4, vocabulary["k_ip"])
	case "ip6":
		if a[0].Type.Struct != "struct in6_addr" {
			k.errorf(e.At, "ip6 takes a struct in6_addr, not %s", a[0].Type)
			return nil
		}
		return value(OpIP6, vocabulary["k_ip"])
	case "starts":
		if a[0].Type.Kind != TextKind || a[1].Type.Kind != TextKind || a[0].Type.Meaning != "" || a[1].Type.Meaning != "" {
			k.errorf(e.At, "starts takes two texts")
			return nil
		}
		return value(OpStarts, Type{Kind: Bool})
	case "until":
		t := a[0].Type
		if t.Kind != TextKind || t.Size == 0 || t.Literal || t.Meaning != "" {
			k.errorf(e.At, "until takes a text of a known size, such as packet.text(offset, 64) or user_text(pointer, 64); %s is %s", ExprString(e.Args[0]), t)
			return nil
		}
		if a[1].Op != OpText || a[1].Text == "" || len(a[1].Text) > 8 || strings.Contains(a[1].Text, "\x00") {
			k.errorf(e.At, "until takes, as its second, a constant text of one to eight characters, any of which ends the first")
			return nil
		}
		return k.make(&Value{Op: OpUntil, Args: a[:1], Text: a[1].Text, Type: Type{Kind: TextKind, Size: t.Size}}, e)
	case "syscall_nr":
		return k.syscallNr(e, a[0])
	}
	return k.userRead(e, a)
}

// userRead resolves the words that read texts and blocks behind a pointer.
func (k *checker) userRead(e *Call, a []*Value) *Value {
	fromUser := e.Fun != "kernel_text"
	if t := a[0].Type; t.Kind != Pointer && (t.Kind != Int || t.Order == Network || t.Bits != 64) {
		k.errorf(e.At, "%s takes a pointer, not %s", e.Fun, t)
		return nil
	} else if t.Kind == Pointer && t.User != fromUser && (t.User || t.Struct != "") {
		where, other := "the kernel's memory", "kernel_text"
		if t.User {
			where, other = "a process's memory", "user_text"
		}
		k.errorf(e.At, "%s points into %s: read it with %s or a path", ExprString(e.Args[0]), where, other)
		return nil
	}
	v := &Value{Args: a[:1], Type: Type{Kind: TextKind}}
	switch e.Fun {
	case "user_text", "kernel_text":
		v.Op = OpUserText
		if !fromUser {
			v.Op = OpKernelText
		}
		if a[1].Op != OpConst || a[1].Bits < 2 || a[1].Bits > 4096 {
			k.errorf(e.At, "%s(pointer, bytes) takes a constant of 2 to 4096 bytes, the NUL among them", e.Fun)
			return nil
		}
		v.Type.Size = uint32(a[1].Bits)
	case "user_bytes":
		if !k.number(a[1], "the size of a block") {
			return nil
		}
		v.Op, v.Type, v.Args = OpUserBytes, Type{Kind: Block}, a
	case "user_args":
		if t := a[1].Type; t.Kind != Pointer && t.Kind != Int {
			k.errorf(e.At, "user_args takes where the arguments start and end")
			return nil
		}
		v.Op, v.Type, v.Args = OpUserArgs, vocabulary["k_args"], a
	}
	return k.make(v, e)
}

func (k *checker) cast(e *Call, x *Value) *Value {
	if x.Type.Kind != Pointer && x.Type.Kind != Object && (x.Type.Kind != Int || x.Type.Bits != 64 || x.Type.Order == Network) {
		k.errorf(e.At, "as takes a pointer or an object, not %s", x.Type)
		return nil
	}
	comp := k.types.composite(e.Type)
	if comp == nil {
		_, name, _ := strings.Cut(e.Type, " ")
		k.unknown(e.At, "type of this kernel", e.Type, nil)
		k.errs[len(k.errs)-1].Suggest = suggest(name, k.types.structNames())
		return nil
	}
	if from := k.types.composite(x.Type.Struct); from != nil && !x.Type.User && !alike(from, comp) {
		k.errorf(e.At, "a %s does not begin with a %s, nor the other way round, so that the address of one is not that of the other: go on from it by its own members", e.Type, x.Type.Struct)
		return nil
	}
	return k.make(&Value{Op: OpCast, Args: []*Value{x}, Type: Type{Kind: Pointer, Bits: 64, Struct: e.Type, User: x.Type.User}}, e)
}

// alike tells whether the address of one struct may be that of the other: where one begins with the other, or both with the same
// one, as all sockets do with a sock_common.
func alike(a, b btf.Type) bool {
	first, second := begins(a), begins(b)
	if first[b.TypeName()] || second[a.TypeName()] {
		return true
	}
	for name := range first {
		if second[name] && !links[name] {
			return true
		}
	}
	return false
}

// links are structs by which any others hang together: that two begin with one says nothing about them.
var links = map[string]bool{"list_head": true, "hlist_node": true, "hlist_nulls_node": true, "rb_node": true, "llist_node": true, "callback_head": true, "kref": true,
	"refcount_struct": true, "spinlock": true, "raw_spinlock": true, "mutex": true, "qspinlock": true, "rcuref_t": true, "wait_queue_head": true}

// begins are the names of the structs at the address of one, its own among them.
func begins(t btf.Type) map[string]bool {
	out := map[string]bool{}
	var look func(t btf.Type, depth int)
	look = func(t btf.Type, depth int) {
		t, _, _ = bare(t)
		if depth > 16 || t == nil {
			return
		}
		if n := t.TypeName(); n != "" && len(membersOf(t)) > 0 {
			out[n] = true
		}
		for _, m := range membersOf(t) {
			if m.Offset == 0 {
				look(m.Type, depth+1)
			}
		}
	}
	look(t, 0)
	return out
}

// userReads says how a process's memory is read.
const userReads = "read it with user_text(p, n), as(struct NAME, p).member or user_bytes(p, n).u32(offset)"

// userMember reads a member of a struct in a process's memory: as a block of just its bytes, which is zero if it cannot
// be read. A member that is a struct itself is its address, to go on from.
func (k *checker) userMember(x *Value, m member, t Type, e *Select) *Value {
	num := func(n uint32) *Value {
		return k.make(&Value{Op: OpConst, Bits: uint64(n), Type: Type{Kind: Int, Bits: 64, Literal: true}}, e)
	}
	at := x
	if off := m.bits / 8; off > 0 {
		at = k.make(&Value{Op: OpOffset, Args: []*Value{x, num(off)}, Type: vocabulary["user_pointer"]}, e)
	}
	read := func(t Type) *Value {
		block := k.make(&Value{Op: OpUserBytes, Args: []*Value{at, num(uint32(t.Bits) / 8)}, Type: Type{Kind: Block}}, e)
		return k.make(&Value{Op: OpRead, Args: []*Value{block, num(0)}, Type: t}, e)
	}
	switch {
	case m.bitSize > 0:
		k.errorf(e.At, "%s is a few bits of a process's memory: read the word with user_bytes", ExprString(e))
		return nil
	case t.Kind == Object:
		t.Kind, t.Bits, t.User = Pointer, 64, true
		return k.make(&Value{Op: OpCast, Args: []*Value{at}, Type: t}, e)
	case t.Kind == Pointer:
		t.User = true
		return k.make(&Value{Op: OpCast, Args: []*Value{read(Type{Kind: Int, Bits: 64})}, Type: t}, e)
	case t.Kind == TextKind && t.Size >= 2 && t.Size <= 4096:
		return k.make(&Value{Op: OpUserText, Args: []*Value{at, num(t.Size)}, Type: Type{Kind: TextKind, Size: t.Size}}, e)
	case t.Kind == Int && t.Signed:
		t.Literal = false
		return k.make(&Value{Op: OpCut, Args: []*Value{read(Type{Kind: Int, Bits: t.Bits})}, Type: t}, e)
	case t.Kind == Int:
		return read(t)
	}
	k.errorf(e.At, "%s is of a type that cannot be read from a process's memory by name: use user_bytes", ExprString(e))
	return nil
}

func (k *checker) swap(e *Call, x *Value) *Value {
	bits := map[string]uint8{"ntohs": 16, "htons": 16, "ntohl": 32, "htonl": 32, "be64": 64}[e.Fun]
	toHost := e.Fun != "htons" && e.Fun != "htonl"
	t := x.Type
	switch {
	case t.Kind != Int:
		k.errorf(e.At, "%s takes a number, not %s", e.Fun, t)
		return nil
	case toHost && t.Order == Host:
		k.errorf(e.At, "%s is in host byte order already: leave %s out", ExprString(e.Args[0]), e.Fun)
		if c, ok := e.Args[0].(*Call); ok && c.Recv != nil { // bytes to be turned round: not u16 but be16 of the packet was meant
			k.errs[len(k.errs)-1].Msg = fmt.Sprintf("%s is taken to be in host byte order: write %s(%s.be%d(…))", ExprString(c), e.Fun, ExprString(c.Recv), bits)
			k.instead(c, &Call{Recv: c.Recv, Fun: fmt.Sprintf("be%d", bits), Args: c.Args})
		}
		return nil
	case !toHost && t.Order == Network:
		k.errorf(e.At, "%s is in network byte order already: leave %s out", ExprString(e.Args[0]), e.Fun)
		return nil
	case toHost && t.Bits != bits, !toHost && t.Bits > bits && !t.Literal:
		k.errorf(e.At, "%s has %d bits; %s is for %d", ExprString(e.Args[0]), t.Bits, e.Fun, bits)
		return nil
	}
	out := Type{Kind: Int, Bits: bits}
	if !toHost {
		out.Order = Network
	}
	return k.make(&Value{Op: OpSwap, Args: []*Value{x}, Type: out}, e)
}

// syscallNr is where this machine keeps the number of the call that some registers belong to.
func (k *checker) syscallNr(e *Call, x *Value) *Value {
	if x.Type.Struct != "struct pt_regs" {
		k.errorf(e.At, "syscall_nr takes the registers of a system call, not %s", x.Type)
		return nil
	}
	for _, name := range []string{"orig_ax", "syscallno"} {
		if _, ok := findMember(compositeOf(x.Type, k.types), name, 0); ok {
			nr := k.member(x, &Select{X: e.Args[0], Name: name, At: e.At})
			if nr == nil {
				return nil
			}
			return k.make(&Value{Op: OpCut, Args: []*Value{nr}, Type: vocabulary["k_syscall"]}, e)
		}
	}
	k.errorf(e.At, "it is not known where this machine keeps the number of a system call")
	return nil
}

// either takes the first of several paths that the kernel's types have.
func (k *checker) either(e *Call, sc *scope) *Value {
	if len(e.Args) < 2 {
		k.errorf(e.At, "it is used as %s", functions["either"])
		return nil
	}
	before := k.errs
	var first Errors
	for _, a := range e.Args {
		k.errs = slices.Clone(before)
		if v := k.expr(a, sc); v != nil {
			k.errs = before
			return v
		}
		if first == nil {
			first = k.errs
		}
	}
	k.errs = first
	return nil
}

// read resolves packet.be16(12) and its kin.
func (k *checker) read(e *Call, sc *scope) *Value {
	x := k.expr(e.Recv, sc)
	if x == nil {
		return nil
	}
	if x.Type.Kind != Block {
		k.errorf(e.At, "%s is %s; only blocks of bytes (packet, user_bytes) are read by offset", ExprString(e.Recv), x.Type)
		return nil
	}
	want := 1
	if e.Fun == "text" {
		if want = 2; len(e.Args) == 3 {
			want = 3
		}
	}
	t, ok := vocabulary[e.Fun]
	switch {
	case e.Fun == "ip6":
		t = vocabulary["k_ip"]
	case e.Fun == "dnsname":
		t = vocabulary["k_dnsname"]
	case e.Fun != "text" && (!ok || t.Kind != Int || t.Meaning != "" || t.Signed):
		k.unknown(e.At, "way of reading a block", e.Fun, []string{"u8", "u16", "u32", "u64", "be16", "be32", "be64", "ip6", "text", "dnsname"})
		return nil
	}
	if len(e.Args) != want {
		k.errorf(e.At, "%s takes the offset in bytes%s", e.Fun, map[bool]string{true: ", the size, and maybe how many bytes of it count", false: ""}[want > 1])
		return nil
	}
	off := k.expr(e.Args[0], sc)
	if off == nil || !k.number(off, "an offset") {
		return nil
	}
	if e.Fun == "text" {
		n := k.expr(e.Args[1], sc)
		if n == nil {
			return nil
		}
		if n.Op != OpConst || n.Bits < 1 || n.Bits > 4096 {
			k.errorf(e.At, "the size of a text is a constant of 1 to 4096 bytes")
			return nil
		}
		t = Type{Kind: TextKind, Size: uint32(n.Bits)}
	}
	args := []*Value{x, off}
	if want == 3 {
		n := k.expr(e.Args[2], sc)
		if n == nil || !k.number(n, "the length of a text") {
			return nil
		}
		args = append(args, n)
	}
	return k.make(&Value{Op: OpRead, Args: args, Type: t}, e)
}

// parseIP reads an address as 16 bytes.
func parseIP(text string) (string, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return "", false
	}
	b := a.As16()
	return string(b[:]), true
}
