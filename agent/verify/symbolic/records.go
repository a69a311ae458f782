package symbolic

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"kgent/agent/verify/smt"
)

// RecordsMap is the map in which programs put events together that go through perf
// buffers: struct kgent_record of kgent.bpf.h for each buffer, on each processor.
//
// Its elements are no memory like that of other maps, since other programs may be run in the middle of
// this one: in an interrupt, or in its place on the processor. What is modelled is the
// protocol by which they keep out of each other's way. Who adds 1 to the number at the
// beginning has its hand on the record, and looks at the number once: it is 1, and the record
// belongs to it, or it is more, and it takes its hand off again by adding -1. Only who has
// the record may read and write what follows, until it gives it back in the same way; what it
// finds is what some other event has left.
//
// That covers every interleaving: between the addition of one program and its giving back no other
// one reads 1, as their additions are all in the number. So nothing that is seen of a
// record depends on others but whether it is had, which is a choice (RingFull) anew each time.
// A program that does anything else with these elements is not followed, or
// does what is not allowed. All programs of an object are held to that.
const RecordsMap = "kgent_records"

// recordHead is the size of the number at the beginning, in bytes.
const recordHead = 8

func isRecords(m *Map) bool {
	return m != nil && m.Name == RecordsMap && m.Type == ebpf.PerCPUArray && m.KeySize == 4 && m.ValueSize > recordHead
}

func isRecord(r *Region) bool { return r != nil && r.Kind == ElementRegion && isRecords(r.Map) }

// hand is what a program has to do with a record.
type hand uint8

const (
	handOff      hand = iota
	handMine          // the record is its own, which it does not know yet
	handHas           // the record is its own
	handOther         // it is another one's, which it does not know yet
	handRefused       // it is another one's
	handTwice         // it has the record, and reaches for it once more
	handTwiceHas      // that it cannot have it twice it knows
)

func (h hand) has() bool { return h == handHas || h == handTwice || h == handTwiceHas }

// reach executes an atomic addition to the beginning of a record.
func (x *run) reach(s *state, ins *Insn, op asm.AtomicOp, n int, ptr Value) {
	if ptr.Valid != nil {
		x.require(s, s, ptr.Valid, "uses a pointer that may be NULL")
	}
	r := ptr.Region
	at, ok := x.b.Add(ptr.Term, x.b.Const(64, uint64(int64(ins.Offset)))).Const()
	if ok && at >= recordHead || !ok {
		x.giveUp(s, "an atomic operation on an event of a perf buffer")
	}
	by, ok := x.num(x.reg(s, ins.Src)).Const()
	if at != 0 || n != recordHead || op != asm.AddAtomic || !ok || by != 1 && by != ^uint64(0) {
		x.giveUp(s, "a record of "+RecordsMap+" is taken in another way than kgent.bpf.h does")
	}
	was := s.hands[r]
	if by == 1 {
		switch was {
		case handOff:
			busy := x.fresh(s, 1, &Input{Kind: Choice, Event: RingFull, Name: "another event is being put together in " + r.Name, Map: r.Map.Name})
			if x.decide(s, s, busy) {
				s.losses = append(s.losses, busy)
				s.setHand(r, handOther)
				return
			}
			c := newContent(r.Size)
			fill := x.inv.poison(fmt.Sprintf("%s taken at %s", r.Name, s.moment()), -recordHead)
			for off := recordHead; off < r.Size; off++ {
				t, part := fill(off)
				c.set(s.own, off, octet{term: t, part: part, pc: -1})
			}
			s.mem[r] = c
			s.setHand(r, handMine)
		case handHas:
			s.setHand(r, handTwice)
		default:
			x.giveUp(s, "a record of "+RecordsMap+" is taken twice without looking")
		}
		return
	}
	switch was {
	case handHas:
		s.mem[r] = newContent(r.Size)
		s.setHand(r, handOff)
	case handOther, handRefused:
		s.setHand(r, handOff)
	case handTwice, handTwiceHas:
		s.setHand(r, handHas)
	case handMine:
		x.giveUp(s, "a record of "+RecordsMap+" is given back without looking whether it was had")
	default:
		x.crash(s, "gives back a record that it does not have")
	}
}

// look is a load of n bytes at the beginning of a record; ok is false for one of the event.
func (x *run) look(s *state, v Value, off int64, n int) (number smt.Term, ok bool) {
	if v.Valid != nil {
		x.require(s, s, v.Valid, "uses a pointer that may be NULL")
	}
	at, constant := x.b.Add(v.Term, x.b.Const(64, uint64(off))).Const()
	if !constant || at >= recordHead {
		return nil, false
	}
	next := map[hand]hand{handMine: handHas, handOther: handRefused, handTwice: handTwiceHas}[s.hands[v.Region]]
	if at != 0 || n != recordHead || next == handOff {
		x.giveUp(s, "who has a record of "+RecordsMap+" is looked at in another way than kgent.bpf.h does")
	}
	if next == handHas {
		s.setHand(v.Region, next)
		return x.b.Const(64, 1), true
	}
	many := x.fresh(s, 64, &Input{Kind: Data, Name: "how many are at " + v.Region.Name, Map: v.Region.Map.Name})
	s.setHand(v.Region, next)
	x.assume(s, x.b.Ult(x.b.Const(64, 1), many))
	return many, true
}

// had checks an access to n bytes of a record at an offset: it is one of the event, by who has it.
func (x *run) had(s *state, r *Region, at smt.Term, n int) {
	if at, ok := at.Const(); ok && at < recordHead {
		x.giveUp(s, "the beginning of a record of "+RecordsMap+" is changed in another way than kgent.bpf.h does")
	}
	x.require(s, s, x.b.Ule(x.b.Const(64, recordHead), at), "accesses the beginning of "+r.Name)
	if !s.hands[r].has() {
		x.crash(s, "uses an event of a perf buffer that is not its own, or not any more")
	}
}

// allHandsOff ends states that keep a record.
func (x *run) allHandsOff(s *state) {
	if len(s.hands) > 0 {
		x.crash(s, "ends without submitting or discarding a reserved record")
	}
}

// setHand changes a map that forks share.
func (s *state) setHand(r *Region, h hand) {
	next := make(map[*Region]hand, len(s.hands)+1)
	for k, v := range s.hands {
		next[k] = v
	}
	if next[r] = h; h == handOff {
		delete(next, r)
	}
	s.hands = next
}

// perfOutput copies an event into the buffer of this processor.
func perfOutput(c *call) Value {
	m := c.mapArg(2)
	if m.Type != ebpf.PerfEventArray {
		c.crash(c.s, "calls "+c.name+" with a map that is no perf buffer")
	}
	if ctx := c.arg(1); ctx.Region == nil || ctx.Region.Kind != ContextRegion || !zeroOffset(ctx) {
		c.crash(c.s, "calls "+c.name+" with what is not the program's context")
	}
	if flags := c.constant(3, "flags"); flags != currentCPU {
		c.giveUp(c.s, fmt.Sprintf("%s with flags %#x", c.name, flags))
	}
	n, exact := c.size(5, 4)
	data := c.bytes(4, n)
	lost := c.fresh(c.s, 1, &Input{Kind: Choice, Event: Lost, Name: m.Name + " takes no event", Map: m.Name})
	if c.decide(c.s, c.s, lost) {
		if isRecords(c.p.Maps[RecordsMap]) {
			c.s.losses = append(c.s.losses, lost)
		}
		return number(c.negative())
	}
	c.emit(m, data, exact)
	return c.k(0)
}

// currentCPU is BPF_F_CURRENT_CPU.
const currentCPU = 0xffffffff

func zeroOffset(v Value) bool {
	off, ok := v.Term.Const()
	return ok && off == 0 && v.Valid == nil
}

// onlyLookedUp refuses what is not known of the elements of RecordsMap: other processors', all in turn.
func (c *call) onlyLookedUp(m *Map) {
	if isRecords(m) && c.name != "bpf_map_lookup_elem" {
		c.giveUp(c.s, fmt.Sprintf("%s on map %s is not modelled", c.name, m.Name))
	}
}
