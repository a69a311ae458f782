package symbolic

import (
	"fmt"
	"sync"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
)

// registry gives terms and invocations names that are used once.
type registry struct {
	mu     sync.Mutex
	ids    map[smt.Term]int
	serial map[int]int
}

func newRegistry() *registry {
	return &registry{ids: map[smt.Term]int{}, serial: map[int]int{}}
}

// id numbers terms in the order in which they are first asked about.
func (r *registry) id(t smt.Term) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.ids[t]; ok {
		return n
	}
	r.ids[t] = len(r.ids) + 1
	return len(r.ids)
}

// invocation returns the suffix of the names of a new invocation's variables.
func (r *registry) invocation(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial[n]++
	if k := r.serial[n]; k > 1 {
		return fmt.Sprintf("#%d.%d", n, k-1)
	}
	return fmt.Sprintf("#%d", n)
}

// variable returns the invocation's variable of that description: the value
// that Start fixes for it, if there is one.
func (inv *Invocation) variable(width uint, in *Input) smt.Term {
	if t := inv.start.Args[in.Name]; t != nil && t.Width() == width {
		return t
	}
	in.Invocation, in.Bits = inv.start.N, width
	return inv.m.variable(width, in, inv.suffix)
}

func (m *Machine) variable(width uint, in *Input, suffix string) smt.Term {
	name := in.Name + suffix
	if old := m.b.Lookup(name); old != nil && old.Width() != width {
		name = fmt.Sprintf("%s{%d bits}%s", in.Name, width, suffix)
	}
	return m.b.Var(width, &smt.Info{Name: name, Data: in})
}

// address is the address of something that has one and nothing else is known
// about.
func (inv *Invocation) address(of string, space Space) smt.Term {
	return inv.variable(64, &Input{Kind: Pointer, Name: "address of " + of, Space: space, Pc: -1})
}

// typed describes a variable of a BTF type.
func typed(name string, t btf.Type) *Input {
	in := &Input{Kind: Data, Name: name, Type: t, Order: orderOf(t), Pc: -1}
	if _, space, ok := pointee(t); ok {
		in.Kind, in.Space = Pointer, space
	}
	return in
}

// splitAddress takes an address apart into the object's and the offset in it.
func (inv *Invocation) splitAddress(addr smt.Term) (base smt.Term, off int64) {
	if args := addr.Args(); addr.Op() == smt.OpAdd {
		if c, ok := args[len(args)-1].Const(); ok {
			return inv.m.b.Sub(addr, inv.m.b.Const(64, c)), int64(c)
		}
	}
	return addr, 0
}

// maxAlternatives bounds how many objects one address may mean before it is
// taken as the address of an object of its own.
const maxAlternatives = 64

// probe reads n bytes of memory as bpf_probe_read_* and loads through kernel
// pointers do: zeroes if the object cannot be read, which is the case if fault
// is true. root is the type that the program believes the object to have; it
// is used where BTF does not say.
func (inv *Invocation) probe(space Space, addr smt.Term, n int, root string) (data []octet, fault smt.Term) {
	return inv.probeAlternatives(space, addr, n, root, maxAlternatives)
}

func (inv *Invocation) probeAlternatives(space Space, addr smt.Term, n int, root string, budget int) ([]octet, smt.Term) {
	b := inv.m.b
	if c, x, y, ok := inv.sumOfChoices(addr); ok && budget > 1 {
		dx, fx := inv.probeAlternatives(space, x, n, root, budget/2)
		dy, fy := inv.probeAlternatives(space, y, n, root, budget/2)
		return chooseOctets(b, c, dx, dy), b.Ite(c, fx, fy)
	}
	base, off := inv.splitAddress(addr)
	if base.Op() == smt.OpIte && budget > 1 {
		args := base.Args()
		delta := b.Const(64, uint64(off))
		x, fx := inv.probeAlternatives(space, b.Add(args[1], delta), n, root, budget/2)
		y, fy := inv.probeAlternatives(space, b.Add(args[2], delta), n, root, budget/2)
		return chooseOctets(b, args[0], x, y), b.Ite(args[0], fx, fy)
	}
	fault := inv.fault(space, base, off)
	if fault.IsTrue() {
		zeroes := make([]octet, n)
		for i := range zeroes {
			zeroes[i] = octet{term: b.Const(8, 0), pc: -1}
		}
		return zeroes, fault
	}
	data := inv.memory(space, base, off, n, root)
	if fault.IsFalse() {
		return data, fault
	}
	zero := func(t smt.Term) smt.Term { return b.Ite(fault, b.Const(t.Width(), 0), t) }
	for i := 0; i < len(data); {
		// Whole fields stay whole terms.
		j := i + 1
		for j < len(data) && data[j].term == data[i].term {
			j++
		}
		t := zero(data[i].term)
		for ; i < j; i++ {
			data[i].term = t
		}
	}
	return data, fault
}

// sumOfChoices takes an address apart that is a sum of choices, such as (c ? p : q) + (c ? 96 : 8): compilers
// make one read of two that way. It is x where c holds and y elsewhere.
func (inv *Invocation) sumOfChoices(addr smt.Term) (c, x, y smt.Term, ok bool) {
	args := addr.Args()
	if addr.Op() != smt.OpAdd || len(args) == 2 && args[0].Op() == smt.OpIte && args[1].Op() == smt.OpConst {
		return nil, nil, nil, false // the latter is an object and an offset in it
	}
	b := inv.m.b
	x, y = b.Const(64, 0), b.Const(64, 0)
	for _, a := range args {
		inner, extended := a, false
		if parts := a.Args(); a.Op() == smt.OpConcat && len(parts) == 2 {
			if zero, ok := parts[0].Const(); ok && zero == 0 {
				inner, extended = parts[1], true
			}
		}
		if inner.Op() != smt.OpIte || c != nil && inner.Args()[0] != c {
			x, y = b.Add(x, a), b.Add(y, a)
			continue
		}
		c = inner.Args()[0]
		then, other := inner.Args()[1], inner.Args()[2]
		if extended {
			then, other = b.ZeroExt(64, then), b.ZeroExt(64, other)
		}
		x, y = b.Add(x, then), b.Add(y, other)
	}
	return c, x, y, c != nil
}

func chooseOctets(b *smt.Builder, c smt.Term, x, y []octet) []octet {
	out := make([]octet, len(x))
	for i := range x {
		if x[i].part == y[i].part && x[i].term.Width() == y[i].term.Width() {
			out[i] = octet{term: b.Ite(c, x[i].term, y[i].term), part: x[i].part, pc: -1}
		} else {
			out[i] = octet{term: b.Ite(c, joinOctets(b, x[i:i+1]), joinOctets(b, y[i:i+1])), pc: -1}
		}
	}
	return out
}

// fault is whether the object at base cannot be read: true for NULL and what
// lies in the first pages, false for the current task, open for everything
// else. One object is readable as a whole or not at all.
func (inv *Invocation) fault(space Space, base smt.Term, off int64) smt.Term {
	b := inv.m.b
	if c, ok := base.Const(); ok && c+uint64(off) < 1<<16 {
		return b.True()
	}
	if base == inv.currentTask() && space == KernelSpace {
		return b.False()
	}
	open := inv.variable(1, &Input{Kind: Choice, Event: Fault, Name: "fault(" + inv.objectName(space, base) + ")", Base: base, Space: space, Pc: -1})
	return b.Or(b.Eq(base, b.Const(64, 0)), open)
}

// objectName names the object at an address: as its pointer is named, if it
// has a name.
func (inv *Invocation) objectName(space Space, base smt.Term) string {
	prefix := ""
	in := InputOf(base)
	if in != nil {
		if in.Space != AnySpace && in.Space != space {
			prefix = space.String() + ":"
		} else if in.Space == AnySpace && space == UserSpace {
			prefix = "user:"
		}
		name := in.Name
		if in.Invocation != inv.start.N {
			name = in.String()
		}
		return prefix + name
	}
	if space == UserSpace {
		prefix = "user:"
	}
	if c, ok := base.Const(); ok {
		return fmt.Sprintf("%s%#x", prefix, c)
	}
	return fmt.Sprintf("%sobject%d", prefix, inv.m.names.id(base))
}

// objectType is the type that BTF gives the object at an address.
func objectType(base smt.Term) btf.Type {
	in := InputOf(base)
	if in == nil || in.Type == nil {
		return nil
	}
	to, _, ok := pointee(in.Type)
	if !ok {
		return nil
	}
	if size, err := btf.Sizeof(to); err != nil || size == 0 {
		return nil
	}
	return to
}

// memory is what n bytes at base+off hold if they can be read: the fields of
// the object there, each a variable.
func (inv *Invocation) memory(space Space, base smt.Term, off int64, n int, root string) []octet {
	name := inv.objectName(space, base)
	typ := objectType(base)
	var hint btf.Type
	if root != "" {
		hint = inv.p.types.composite(root)
	}
	out := make([]octet, 0, n)
	for len(out) < n {
		at := off + int64(len(out))
		t, start := inv.piece(space, base, name, typ, hint, at)
		for part := int(at - start); part < int(t.Width()/8) && len(out) < n; part++ {
			out = append(out, octet{term: t, part: uint8(part), pc: -1})
		}
	}
	return out
}

// piece is the variable (or the variables side by side, for bit-fields) that
// contains the byte at an offset, and the offset where it starts. What the
// pointer's own type does not say is a variable for each byte, whatever type
// the program (or a contract) takes it for: two opinions are about the same
// bytes.
func (inv *Invocation) piece(space Space, base smt.Term, name string, typ, hint btf.Type, at int64) (smt.Term, int64) {
	if inner, path, ok := within(typ, at); ok {
		if v, start, ok := inv.field(base, name+path, typ, at-inner, inner); ok {
			return v, start
		}
	}
	in := &Input{Kind: Data, Name: fmt.Sprintf("%s+%#x", name, at), Base: base, Offset: uint64(at) * 8, Space: space, Pc: -1}
	if at < 0 {
		in.Name = fmt.Sprintf("%s-%#x", name, -at)
	}
	if inner, path, ok := within(hint, at); ok {
		if l, ok := inv.p.types.leafAt(hint, uint64(inner)*8); ok && l.bit%8 == 0 && l.bits%8 == 0 {
			in.Label, in.Part = name+path+l.path, int(uint64(inner)-l.bit/8)
			in.Type, in.Order, in.Unit = l.typ, orderOf(l.typ), unitOf(l.typ)
		}
	}
	return inv.variable(8, in), at
}

// within tells whether byte at belongs to a t, and which of its bytes that is: a pointer to
// numbers is one to an array of them.
func within(t btf.Type, at int64) (inner int64, path string, ok bool) {
	if t == nil || at < 0 {
		return 0, "", false
	}
	size, err := btf.Sizeof(t)
	if err != nil || size == 0 {
		return 0, "", false
	}
	switch plain(t).(type) {
	case *btf.Struct, *btf.Union, *btf.Array:
		return at, "", at < int64(size)
	}
	return at % int64(size), fmt.Sprintf("[%d]", at/int64(size)), true
}

// field is the piece of a t (which begins at byte origin of the object) that
// contains byte at of it.
func (inv *Invocation) field(base smt.Term, name string, t btf.Type, origin, at int64) (smt.Term, int64, bool) {
	l, ok := inv.p.types.leafAt(t, uint64(at)*8)
	if !ok {
		return nil, 0, false
	}
	if l.bit%8 == 0 && l.bits%8 == 0 {
		return inv.leafVariable(base, name, l, origin), origin + int64(l.bit/8), true
	}
	// Bit-fields: the byte is made of what lies in it.
	b := inv.m.b
	var parts []smt.Term // the least significant first
	for bit := uint64(at) * 8; bit < uint64(at+1)*8; {
		end := uint64(at+1) * 8
		l, ok := inv.p.types.leafAt(t, bit)
		if !ok { // padding
			in := &Input{Kind: Data, Name: fmt.Sprintf("%s+%#x.%d", name, at, bit%8), Base: base, Offset: uint64(origin)*8 + bit, Pc: -1}
			parts = append(parts, inv.variable(1, in))
			bit++
			continue
		}
		last := min(end, l.bit+l.bits)
		parts = append(parts, b.Extract(uint(last-1-l.bit), uint(bit-l.bit), inv.leafVariable(base, name, l, origin)))
		bit = last
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return b.Concat(parts...), origin + at, true
}

func (inv *Invocation) leafVariable(base smt.Term, name string, l leaf, origin int64) smt.Term {
	in := typed(name+l.path, l.typ)
	in.Base, in.Offset = base, uint64(origin)*8+l.bit
	if l.bits != 64 && in.Kind == Pointer {
		in.Kind = Data
	}
	in.Unit = unitOf(l.typ)
	return inv.variable(uint(l.bits), in)
}

// unitOf is the unit that a type's name promises.
func unitOf(t btf.Type) string {
	if d, ok := t.(*btf.Typedef); ok {
		switch d.Name {
		case "ktime_t":
			return "ns"
		}
	}
	return ""
}

// currentTask is the address of the task that runs.
func (inv *Invocation) currentTask() smt.Term {
	if t := inv.start.Thread.Task; t != nil {
		return t
	}
	inv.once.Do(func() {
		in := &Input{Kind: Pointer, Name: "current", Space: KernelSpace, Pc: -1, Warn: inv.hook.currentWarn}
		if t := inv.p.types.composite("task_struct"); t != nil {
			in.Type = &btf.Pointer{Target: t}
		}
		inv.current = inv.variable(64, in)
	})
	return inv.current
}

// currentField reads a member of the current task, or a variable of its name
// when the kernel's types are not known.
func (inv *Invocation) currentField(member string, bits uint) smt.Term {
	task := inv.p.types.composite("task_struct")
	if s, ok := task.(*btf.Struct); ok {
		for _, m := range s.Members {
			if m.Name == member {
				oct := inv.memory(KernelSpace, inv.currentTask(), int64(m.Offset/8), int(bits/8), "task_struct")
				return joinOctets(inv.m.b, oct)
			}
		}
	}
	return inv.variable(bits, &Input{Kind: Data, Name: "current." + member, Pc: -1, Warn: inv.hook.currentWarn})
}

// currentComm is the 16 bytes of the current task's name as they lie in
// memory.
func (inv *Invocation) currentComm() []octet {
	task := inv.p.types.composite("task_struct")
	if s, ok := task.(*btf.Struct); ok {
		for _, m := range s.Members {
			if m.Name == "comm" {
				return inv.memory(KernelSpace, inv.currentTask(), int64(m.Offset/8), 16, "task_struct")
			}
		}
	}
	var out []octet
	for i := range 16 {
		v := inv.variable(8, &Input{Kind: Data, Name: fmt.Sprintf("current.comm[%d]", i), Pc: -1, Warn: inv.hook.currentWarn})
		out = append(out, octet{term: v, pc: -1})
	}
	return out
}

// shortText is up to how many bytes a string is told apart from what follows
// it by its bytes: the first that is 0 ends it. Of longer ones the length is a
// variable of its own. That the bytes before it are not 0, and the one at it
// is, is then not known: the text may be anything that a string can be, and
// more.
const shortText = 32

// textOctets is a string as a read leaves it in a buffer.
type textOctets struct {
	data   []octet
	within []smt.Term // of each byte, whether the string has not ended before it
	length smt.Term   // 64 bits: bytes written, with the NUL
}

// text is what a read of a NUL-terminated string leaves in a buffer: bytes up
// to and including the NUL, of which at most len(src) (the last always NUL);
// behind it what was there before. strlen gives the variable for its length
// without NUL, 32 bits; nil says that the bytes tell.
func text(b *smt.Builder, src, old []octet, strlen func() smt.Term) textOctets {
	n := len(src)
	t := textOctets{data: make([]octet, n), within: make([]smt.Term, n)}
	if strlen == nil || n <= shortText {
		t.byBytes(b, src)
	} else {
		t.byLength(b, src, strlen())
	}
	for i := range src {
		was := joinOctets(b, old[i:i+1])
		t.data[i] = octet{term: b.Ite(t.within[i], t.data[i].term, was), pc: -1}
	}
	return t
}

func (t *textOctets) byBytes(b *smt.Builder, src []octet) {
	on, last := b.True(), len(src)-1
	ends := make([]smt.Term, len(src))
	for i := range src {
		c := joinOctets(b, src[i:i+1])
		if i == last {
			c = b.Const(8, 0)
		}
		t.data[i], t.within[i] = octet{term: c}, on
		ends[i] = b.Eq(c, b.Const(8, 0))
		on = b.And(on, b.Not(ends[i]))
	}
	t.length = b.Const(64, uint64(len(src)))
	for i := last - 1; i >= 0; i-- {
		t.length = b.Ite(ends[i], b.Const(64, uint64(i+1)), t.length)
	}
}

func (t *textOctets) byLength(b *smt.Builder, src []octet, strlen smt.Term) {
	last := len(src) - 1
	for i := range src {
		at := b.Const(32, uint64(i))
		c := b.Ite(b.Ult(at, strlen), joinOctets(b, src[i:i+1]), b.Const(8, 0))
		if i == last {
			c = b.Const(8, 0)
		}
		t.data[i], t.within[i] = octet{term: c}, b.Ule(at, strlen)
	}
	short := b.Ult(strlen, b.Const(32, uint64(last)))
	t.length = b.Ite(short, b.ZeroExt(64, b.Add(strlen, b.Const(32, 1))), b.Const(64, uint64(len(src))))
}

// strlen is the length of the string at an address, 32 bits.
func (inv *Invocation) strlen(space Space, addr smt.Term) smt.Term {
	return inv.strlenAlternatives(space, addr, maxAlternatives)
}

func (inv *Invocation) strlenAlternatives(space Space, addr smt.Term, budget int) smt.Term {
	b := inv.m.b
	if c, x, y, ok := inv.sumOfChoices(addr); ok && budget > 1 {
		return b.Ite(c, inv.strlenAlternatives(space, x, budget/2), inv.strlenAlternatives(space, y, budget/2))
	}
	base, off := inv.splitAddress(addr)
	if base.Op() == smt.OpIte && budget > 1 {
		args, delta := base.Args(), b.Const(64, uint64(off))
		return b.Ite(args[0], inv.strlenAlternatives(space, b.Add(args[1], delta), budget/2), inv.strlenAlternatives(space, b.Add(args[2], delta), budget/2))
	}
	name := inv.objectName(space, base)
	if off != 0 {
		name += fmt.Sprintf("%+d", off)
	}
	return inv.variable(32, &Input{Kind: Data, Name: lengthOf + name + ")", Base: base, Offset: uint64(off) * 8, Space: space, Order: Host, Unit: "bytes", Pc: -1})
}
