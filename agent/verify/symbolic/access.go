package symbolic

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"

	"kgent/agent/verify/smt"
)

// maxChoices bounds how many places an access with a symbolic offset is
// spread over.
const maxChoices = 1024

// place is where an access goes: one offset of a region, or several of which
// one is meant.
type place struct {
	region *Region
	off    int      // when at is nil
	at     smt.Term // the offset, 64 bits
	among  []int    // which values of at are possible
}

// locate finds where n bytes at v+off lie. Everything that can go wrong
// becomes a path of its own.
func (x *run) locate(s *state, v Value, off int64, n int) place {
	if v.Map != nil || v.Func > 0 {
		x.giveUp(s, "a map or function used as memory")
	}
	if v.Valid != nil {
		x.require(s, s, v.Valid, "uses a pointer that may be NULL")
	}
	r := v.Region
	t := x.b.Add(v.Term, x.b.Const(64, uint64(off)))
	if r.Kind == PacketRegion {
		return x.locatePacket(s, r, t, n)
	}
	if isRecord(r) {
		x.had(s, r, t, n)
	}
	if s.mem[r] == nil {
		x.crash(s, fmt.Sprintf("uses %s after it was released", r.Name))
	}
	if r.Kind == ElementRegion && !stored(r.Map) && slices.ContainsFunc(s.dead, func(e *element) bool { return e.region == r }) {
		// Another processor may have made another element of it by now.
		x.doubt(s, fmt.Sprintf("an element of map %s is used after it was deleted or replaced: what it has by then is not known", r.Map.Name))
	}
	if c, ok := t.Const(); ok {
		if int64(c) < 0 || int64(c)+int64(n) > int64(r.Size) {
			x.crash(s, fmt.Sprintf("accesses %d bytes at offset %d of %s, which has %d", n, int64(c), r.Name, r.Size))
		}
		return place{region: r, off: int(c)}
	}
	if n > r.Size {
		x.crash(s, fmt.Sprintf("accesses %d bytes of %s, which has %d", n, r.Name, r.Size))
	}
	x.require(s, s, x.b.Ule(t, x.b.Const(64, uint64(r.Size-n))), fmt.Sprintf("accesses memory outside of %s", r.Name))
	among := x.choices(t, 0, r.Size-n)
	if among == nil {
		x.giveUp(s, fmt.Sprintf("an access to %s with too many possible offsets", r.Name))
	}
	return place{region: r, at: t, among: among}
}

// choices are the values from lo to hi that a term can have as far as its form
// tells; nil if they are too many.
func (x *run) choices(t smt.Term, lo, hi int) []int {
	least, greatest := t.Range()
	if least > uint64(lo) && least <= uint64(hi) {
		lo = int(least)
	}
	if greatest < uint64(hi) {
		hi = int(greatest)
	}
	zeros, ones := t.KnownBits()
	var out []int
	for v := lo; v <= hi; v++ {
		if uint64(v)&zeros != 0 || uint64(v)&ones != ones {
			continue
		}
		if len(out) == maxChoices {
			return nil
		}
		out = append(out, v)
	}
	return out
}

// readAt reads n bytes (1 to 8) at a place.
func (x *run) readAt(s *state, p place, n int) Value {
	c := s.mem[p.region]
	if p.at == nil {
		return x.readOctets(s, c, p.region, p.off, n)
	}
	var r smt.Term
	for i := len(p.among) - 1; i >= 0; i-- {
		v := x.num(x.readOctets(s, c, p.region, p.among[i], n))
		if r == nil {
			r = v
		} else {
			r = x.b.Ite(x.b.Eq(p.at, x.b.Const(64, uint64(p.among[i]))), v, r)
		}
	}
	if r == nil {
		return number(x.b.Const(64, 0)) // no offset is possible: neither is the path
	}
	return number(r)
}

// readOctets reads n bytes at a constant offset, zero-extended.
func (x *run) readOctets(s *state, c *content, r *Region, off, n int) Value {
	var buf [8]octet
	oct := buf[:n]
	spilled := false
	for i := range oct {
		oct[i] = c.get(r, off+i)
		spilled = spilled || oct[i].ptr != nil
	}
	if spilled {
		if v, ok := wholePointer(oct); ok {
			return v
		}
		for i := range oct {
			oct[i] = x.pointerByte(oct[i])
		}
	}
	return number(x.b.ZeroExt(64, joinOctets(x.b, oct)))
}

func wholePointer(oct []octet) (Value, bool) {
	if len(oct) != 8 {
		return Value{}, false
	}
	for i, o := range oct {
		if o.ptr == nil || int(o.part) != i || o.ptr != oct[0].ptr && *o.ptr != *oct[0].ptr {
			return Value{}, false
		}
	}
	return *oct[0].ptr, true
}

// pointerByte turns a byte of a spilled pointer into one of its address.
func (x *run) pointerByte(o octet) octet {
	if o.ptr == nil {
		return o
	}
	return octet{term: x.num(*o.ptr), part: o.part, pc: o.pc}
}

// change replaces n bytes at a place by what f makes of them. atomic is
// whether the instruction is.
func (x *run) change(s *state, p place, n int, atomic bool, f func(old smt.Term) smt.Term) {
	if p.region.readonly {
		x.crash(s, fmt.Sprintf("stores to %s, which is read-only", p.region.Name))
	}
	c := s.mem[p.region]
	if !atomic {
		c.plain = true
	}
	if p.region.Kind == PacketRegion {
		if p.at != nil && p.among == nil {
			x.giveUp(s, "writing to the packet at an offset that is not constant")
		}
		s.packet.changed = true
	}
	pc := s.top().pc
	if p.at == nil {
		x.putTerm(s, c, p.off, f(x.oldTerm(s, c, p.region, p.off, n)), pc)
		return
	}
	for _, off := range p.among {
		old := x.oldTerm(s, c, p.region, off, n)
		x.putTerm(s, c, off, x.b.Ite(x.b.Eq(p.at, x.b.Const(64, uint64(off))), f(old), old), pc)
	}
}

func (x *run) oldTerm(s *state, c *content, r *Region, off, n int) smt.Term {
	return x.b.Extract(uint(n)*8-1, 0, x.num(x.readOctets(s, c, r, off, n)))
}

func (x *run) putTerm(s *state, c *content, off int, t smt.Term, pc int) {
	for i := range int(t.Width() / 8) {
		c.set(s.own, off+i, octet{term: t, part: uint8(i), pc: int32(pc)})
	}
}

// load executes LDX.
func (x *run) load(s *state, ins *Insn) {
	n := ins.OpCode.Size().Sizeof()
	mode := ins.OpCode.Mode()
	if n < 0 || mode != asm.MemMode && mode != asm.MemSXMode {
		x.giveUp(s, fmt.Sprintf("instruction %v is not modelled", ins.Instruction))
	}
	v := x.read(s, x.reg(s, ins.Src), int64(ins.Offset), n)
	if mode == asm.MemSXMode {
		v = number(x.b.SignExt(64, x.b.Extract(uint(n)*8-1, 0, x.num(v))))
	}
	x.setReg(s, ins.Dst, v)
}

// read loads n bytes at ptr+off.
func (x *run) read(s *state, ptr Value, off int64, n int) Value {
	if ptr.scalar() {
		return x.readKernel(s, ptr.Term, off, n)
	}
	if ptr.Region != nil && ptr.Region.Kind == ContextRegion {
		return x.loadContext(s, ptr, off, n)
	}
	if isRecord(ptr.Region) {
		if t, ok := x.look(s, ptr, off, n); ok {
			return number(t)
		}
	}
	p := x.locate(s, ptr, off, n)
	if p.at != nil && p.among == nil && p.region.Kind == PacketRegion {
		return x.readPacketFar(s, p, n)
	}
	return x.readAt(s, p, n)
}

// readKernel is a load through a pointer to a kernel object: the kernel
// catches faults and gives 0. A program type without BTF pointers has none,
// and a constant is no address that a verifier accepts.
func (x *run) readKernel(s *state, addr smt.Term, off int64, n int) Value {
	addr = x.b.Add(addr, x.b.Const(64, uint64(off)))
	if _, ok := addr.Const(); ok {
		x.crash(s, "reads at a constant address")
	}
	oct, _ := x.inv.probe(KernelSpace, addr, n, x.p.Insns[s.top().pc].Root)
	return number(x.b.ZeroExt(64, joinOctets(x.b, oct)))
}

// store executes ST and, for numbers, STX.
func (x *run) store(s *state, ins *Insn, v Value) {
	n := ins.OpCode.Size().Sizeof()
	if n < 0 || ins.OpCode.Mode() != asm.MemMode {
		x.giveUp(s, fmt.Sprintf("instruction %v is not modelled", ins.Instruction))
	}
	x.write(s, x.reg(s, ins.Dst), int64(ins.Offset), n, v)
}

// write stores the low n bytes of a value at ptr+off.
func (x *run) write(s *state, ptr Value, off int64, n int, v Value) {
	if ptr.scalar() {
		x.crash(s, "stores through a number")
	}
	if ptr.Region != nil && ptr.Region.Kind == ContextRegion {
		x.storeContext(s, ptr, off, n, v)
		return
	}
	p := x.locate(s, ptr, off, n)
	if !v.scalar() && n == 8 && p.at == nil && p.region.Kind == StackRegion {
		spill := &v
		for i := range 8 {
			s.mem[p.region].set(s.own, p.off+i, octet{ptr: spill, part: uint8(i), pc: int32(s.top().pc)})
		}
		return
	}
	t := x.b.Extract(uint(n)*8-1, 0, x.num(v))
	x.change(s, p, n, false, func(smt.Term) smt.Term { return t })
}

// storeRegister executes STX: plain stores and atomics.
func (x *run) storeRegister(s *state, ins *Insn) {
	if ins.OpCode.Mode() != asm.AtomicMode {
		x.store(s, ins, x.reg(s, ins.Src))
		return
	}
	n := ins.OpCode.Size().Sizeof()
	op := ins.OpCode.AtomicOp()
	switch op {
	case loadAcquire:
		x.setReg(s, ins.Dst, x.read(s, x.reg(s, ins.Src), int64(ins.Offset), n))
		return
	case storeRelease:
		x.write(s, x.reg(s, ins.Dst), int64(ins.Offset), n, x.reg(s, ins.Src))
		return
	}
	if n != 4 && n != 8 {
		x.giveUp(s, fmt.Sprintf("instruction %v is not modelled", ins.Instruction))
	}
	x.atomic(s, ins, op, n)
}

const (
	loadAcquire  asm.AtomicOp = 0x0001_0000
	storeRelease asm.AtomicOp = 0x0001_1000
	fetchBit     asm.AtomicOp = 0x0000_0100
)

func (x *run) atomic(s *state, ins *Insn, op asm.AtomicOp, n int) {
	ptr := x.reg(s, ins.Dst)
	if ptr.Region == nil || ptr.Region.Kind == ContextRegion {
		x.crash(s, "an atomic operation on memory that is not the program's")
	}
	if isRecord(ptr.Region) {
		x.reach(s, ins, op, n, ptr)
		return
	}
	p := x.locate(s, ptr, int64(ins.Offset), n)
	b, w := x.b, uint(n)*8
	low := func(v Value) smt.Term { return b.Extract(w-1, 0, x.num(v)) }
	src := low(x.reg(s, ins.Src))
	old := x.num(x.readAt(s, p, n))
	var f func(smt.Term) smt.Term
	switch op &^ fetchBit {
	case asm.AddAtomic:
		f = func(o smt.Term) smt.Term { return b.Add(o, src) }
	case asm.AndAtomic:
		f = func(o smt.Term) smt.Term { return b.And(o, src) }
	case asm.OrAtomic:
		f = func(o smt.Term) smt.Term { return b.Or(o, src) }
	case asm.XorAtomic:
		f = func(o smt.Term) smt.Term { return b.Xor(o, src) }
	case asm.Xchg &^ fetchBit:
		f = func(smt.Term) smt.Term { return src }
	case asm.CmpXchg &^ fetchBit:
		want := low(x.reg(s, asm.R0))
		f = func(o smt.Term) smt.Term { return b.Ite(b.Eq(o, want), src, o) }
	default:
		x.giveUp(s, fmt.Sprintf("atomic operation %v is not modelled", op))
	}
	x.change(s, p, n, true, f)
	switch {
	case op == asm.CmpXchg:
		x.setReg(s, asm.R0, number(old))
	case op&fetchBit != 0:
		x.setReg(s, ins.Src, number(old))
	}
}

// readBytes reads n bytes for a helper.
func (x *run) readBytes(s *state, ptr Value, n int) []octet {
	out := make([]octet, 0, n)
	if n == 0 {
		return out
	}
	if ptr.scalar() {
		x.crash(s, "passes a number where memory is expected")
	}
	if ptr.Region != nil && ptr.Region.Kind == ContextRegion {
		for i := range n {
			v := x.loadContext(s, ptr, int64(i), 1)
			out = append(out, octet{term: x.b.Extract(7, 0, x.num(v)), pc: -1})
		}
		return out
	}
	p := x.locate(s, ptr, 0, n)
	if p.at != nil && p.among == nil {
		x.giveUp(s, "a helper reads the packet at an offset that is not constant")
	}
	if p.at == nil {
		c := s.mem[p.region]
		for i := range n {
			out = append(out, x.pointerByte(c.get(p.region, p.off+i)))
		}
		return out
	}
	for i := range n {
		q := place{region: p.region, at: x.b.Add(p.at, x.b.Const(64, uint64(i)))}
		for _, o := range p.among {
			q.among = append(q.among, o+i)
		}
		out = append(out, octet{term: x.b.Extract(7, 0, x.num(x.readAt(s, q, 1))), pc: -1})
	}
	return out
}

// writeBytes lets a helper write memory.
func (x *run) writeBytes(s *state, ptr Value, oct []octet) {
	if len(oct) == 0 {
		return
	}
	if ptr.scalar() {
		x.crash(s, "passes a number where memory is expected")
	}
	p := x.locate(s, ptr, 0, len(oct))
	if p.region.readonly {
		x.crash(s, fmt.Sprintf("lets a helper write to %s, which is read-only", p.region.Name))
	}
	pc := int32(s.top().pc)
	if p.region.Kind == PacketRegion {
		s.packet.changed = true
		if p.at != nil && p.among == nil {
			x.giveUp(s, "a helper writes to the packet at an offset that is not constant")
		}
	}
	if p.at == nil {
		c := s.mem[p.region]
		c.plain = true
		for i, o := range oct {
			o.pc = pc
			c.set(s.own, p.off+i, o)
		}
		return
	}
	for i := range oct {
		q := place{region: p.region, at: x.b.Add(p.at, x.b.Const(64, uint64(i)))}
		for _, o := range p.among {
			q.among = append(q.among, o+i)
		}
		t := joinOctets(x.b, oct[i:i+1])
		x.change(s, q, 1, false, func(smt.Term) smt.Term { return t })
	}
}
