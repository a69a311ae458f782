package symbolic

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"kgent/agent/verify/smt"
)

// headroom is the room before a packet, as XDP programs have it; its content
// is garbage.
const headroom = 256

// packetRegion makes the packet of an invocation.
func (inv *Invocation) packetRegion() (*Region, packetState) {
	b := inv.m.b
	limit := inv.m.limits.Packet
	data := inv.start.Packet
	if data != nil {
		limit = max(limit, len(data)+256)
	}
	r := &Region{Kind: PacketRegion, Name: "the packet", Size: headroom + limit, addr: inv.address("packet", KernelSpace)}
	r.fill = func(off int) (smt.Term, uint8) {
		switch i := off - headroom; {
		case i < 0:
			return inv.variable(8, &Input{Kind: Poison, Name: fmt.Sprintf("headroom[%d]", off), Pc: -1}), 0
		case data != nil && i < len(data):
			return b.Const(8, uint64(data[i])), 0
		case data != nil:
			return b.Const(8, 0), 0
		default:
			return inv.packetByte(i), 0
		}
	}
	return r, packetState{region: r, head: b.Const(64, headroom), tail: b.Add(b.Const(64, headroom), b.ZeroExt(64, inv.linear()))}
}

func (inv *Invocation) packetByte(i int) smt.Term {
	return inv.variable(8, &Input{Kind: Data, Name: fmt.Sprintf("packet[%d]", i), Pc: -1})
}

// packetLen is the length of the packet, 32 bits.
func (inv *Invocation) packetLen() smt.Term {
	if inv.start.Packet != nil {
		return inv.m.b.Const(32, uint64(len(inv.start.Packet)))
	}
	if inv.hook.linear {
		return inv.variable(32, &Input{Kind: Data, Name: "len", Unit: "bytes", Order: Host, Pc: -1})
	}
	return inv.variable(32, &Input{Kind: Data, Name: "packet.len", Unit: "bytes", Order: Host, Pc: -1})
}

// linear is how much of the packet lies between data and data_end, 32 bits.
func (inv *Invocation) linear() smt.Term {
	if inv.start.Packet != nil || !inv.hook.linear {
		return inv.packetLen()
	}
	return inv.variable(32, &Input{Kind: Data, Name: "packet.linear", Unit: "bytes", Order: Host, Pc: -1})
}

// assumePacket is what holds of every packet: it has an Ethernet header, less
// than 64 KiB (buffers: what the network stack makes of them), and its linear
// part is not longer than the whole.
func (inv *Invocation) assumePacket() []smt.Term {
	b := inv.m.b
	if inv.start.Packet != nil {
		return nil
	}
	length := inv.packetLen()
	least := uint64(14)
	if inv.hook.linear {
		least = 0
	}
	out := []smt.Term{b.Ule(b.Const(32, least), length), b.Ule(length, b.Const(32, 1<<20))}
	if inv.hook.linear {
		out = append(out, b.Ule(inv.linear(), length), b.Ule(inv.linear(), b.Const(32, 65535)))
	}
	return out
}

// locatePacket finds n bytes of the packet at offset t of its region. Bytes
// outside of the packet are a crash: the kernel's verifier wants a comparison
// with data_end first.
func (x *run) locatePacket(s *state, r *Region, t smt.Term, n int) place {
	if s.packet.region != r {
		x.crash(s, "uses a pointer to the packet from before it was changed")
	}
	b := x.b
	end := b.Add(t, b.Const(64, uint64(n)))
	inside := b.And(b.Ule(s.packet.head, t), b.Ule(end, s.packet.tail), b.Ult(t, end))
	x.require(s, s, inside, "accesses memory outside of the packet")
	if c, ok := t.Const(); ok {
		if int(c)+n > r.Size {
			x.giveUp(s, fmt.Sprintf("bytes of the packet beyond %d are not told apart", r.Size-headroom))
		}
		return place{region: r, off: int(c)}
	}
	return place{region: r, at: t, among: x.packetChoices(s, t, n)}
}

// maxPacketChoices is up to how many places in the packet a load is spread
// over; with more the bytes are variables of their own.
const maxPacketChoices = 64

func (x *run) packetChoices(s *state, t smt.Term, n int) []int {
	least, greatest := t.Range()
	if greatest > 1<<16 || greatest-least > 4096 {
		return nil
	}
	among := x.choices(t, int(least), int(greatest))
	if len(among) == 0 || len(among) > maxPacketChoices || among[len(among)-1]+n > s.packet.region.Size {
		return nil
	}
	return among
}

// readPacketFar reads at an offset that may be too many: variables for each
// offset term. That the same byte may be read under two offsets is not seen,
// so both may hold anything: more than is possible, never less.
func (x *run) readPacketFar(s *state, p place, n int) Value {
	if s.packet.changed {
		x.giveUp(s, "reading a packet that was changed, at an offset that is not constant")
	}
	off := x.b.Sub(p.at, x.b.Const(64, headroom))
	return number(x.b.ZeroExt(64, x.inv.packetFar(off, n)))
}

// packetFar are n bytes of the packet at an offset, the byte at the lowest address
// in the lowest bits.
func (inv *Invocation) packetFar(off smt.Term, n int) smt.Term {
	b := inv.m.b
	parts := make([]smt.Term, n)
	for i := range parts {
		parts[n-1-i] = inv.PacketByte(b.Add(off, b.Const(64, uint64(i))))
	}
	return b.Concat(parts...)
}

// PacketByte is the variable for the byte at an offset of 64 bits: for each
// constant, and for each term, one of its own.
func (inv *Invocation) PacketByte(off smt.Term) smt.Term {
	if c, ok := off.Const(); ok && c < 1<<20 {
		return inv.packetByte(int(c))
	}
	return inv.variable(8, &Input{Kind: Data, Name: fmt.Sprintf("packet[offset %d]", inv.m.names.id(off)), Base: off, Pc: -1})
}

// loadPacketLegacy executes LD_ABS and LD_IND: a load from the packet in
// network order, which ends the program with 0 when there is nothing there.
func (x *run) loadPacketLegacy(s *state, ins *Insn) {
	if !x.inv.hook.linear {
		x.giveUp(s, "a legacy packet load outside of socket buffers")
	}
	b := x.b
	n := ins.OpCode.Size().Sizeof()
	if n != 1 && n != 2 && n != 4 {
		x.giveUp(s, fmt.Sprintf("instruction %v is not modelled", ins.Instruction))
	}
	if v := x.reg(s, asm.R6); v.Region == nil || v.Region.Kind != ContextRegion {
		x.crash(s, "a legacy packet load without the context in R6")
	}
	off := b.Const(32, uint64(ins.Constant))
	if ins.OpCode.Mode() == asm.IndMode {
		off = b.Add(off, b.Extract(31, 0, x.num(x.reg(s, ins.Src))))
	}
	if !x.decide(s, s, b.Sle(b.Const(32, 0), off)) {
		x.giveUp(s, "a legacy packet load at a negative offset")
	}
	at := b.ZeroExt(64, off)
	length := b.ZeroExt(64, x.inv.packetLen())
	if !x.decide(s, s, b.Ule(b.Add(at, b.Const(64, uint64(n))), length)) {
		x.end(s, b.Const(64, 0))
		panic(ended{})
	}
	v := x.packetAt(s, at, n)
	t := b.Extract(uint(n)*8-1, 0, v)
	if n > 1 {
		t = b.BSwap(t)
	}
	for r := asm.R1; r <= asm.R5; r++ {
		s.top().regs[r] = Value{}
	}
	x.setReg(s, asm.R0, number(b.ZeroExt(64, t)))
}

// packetAt is n bytes of the packet at an offset from its beginning, which are
// known to be there.
func (x *run) packetAt(s *state, off smt.Term, n int) smt.Term {
	r := s.packet.region
	at := x.b.Add(off, s.packet.head)
	if c, ok := at.Const(); ok {
		if int64(c) < 0 || int64(c)+int64(n) > int64(r.Size) {
			x.giveUp(s, fmt.Sprintf("bytes of the packet beyond %d are not told apart", r.Size-headroom))
		}
		return x.num(x.readOctets(s, s.mem[r], r, int(c), n))
	}
	p := place{region: r, at: at, among: x.packetChoices(s, at, n)}
	if p.among == nil {
		return x.num(x.readPacketFar(s, p, n))
	}
	return x.num(x.readAt(s, p, n))
}

// flushPacket records what became of the packet.
func (x *run) flushPacket(s *state, p *Path) {
	if s.packet.region == nil {
		return
	}
	if c, ok := s.packet.head.Const(); ok {
		size := s.packet.region.Size - int(c)
		if t, ok := s.packet.tail.Const(); ok {
			size = int(t) - int(c)
		}
		if size >= 0 && int(c)+size <= s.packet.region.Size {
			whole := x.world.origin.bytes(s.packet.region, s.mem[s.packet.region])
			p.Packet = whole.Slice(int(c), size)
		}
	}
	p.PacketLen = x.b.Sub(s.packet.tail, s.packet.head)
	if s.packet.changed {
		s.effects = append(s.effects, &Effect{Op: PacketWrite, Data: p.Packet, Size: p.PacketLen, Pc: s.top().pc})
	}
}
