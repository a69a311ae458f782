package symbolic

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
)

// Invocation is one run of a hook: its inputs, and the memory it can read. All
// paths through the program share it, and so does a contract about it: the
// same field is the same variable. Safe for concurrent use.
type Invocation struct {
	m      *Machine
	p      *Program
	start  Start
	suffix string
	hook   *hookModel

	once    sync.Once
	current smt.Term

	mu     sync.Mutex
	stacks map[string]*Region
}

// InputValue is an input by its name.
type InputValue struct {
	// Term is the value, nil for arrays. Of a pointer it is the address.
	Term smt.Term
	// Bytes is the value of an array, such as current.comm.
	Bytes *Bytes
	// Type is its BTF type, nil when unknown.
	Type btf.Type
	// Space is the memory a pointer leads to.
	Space Space
	// Unit and Order are as in Input.
	Unit  string
	Order Order
	// Warn is as in Input.
	Warn string
}

// Invoke begins an invocation of a program's hook. The error says that the
// hook, or what it is attached to, is not modelled or not known to the kernel.
// Programs of the same hook may be run from one invocation.
func (m *Machine) Invoke(p *Program, start Start) (*Invocation, error) {
	h, err := hookFor(p)
	if err != nil {
		return nil, fmt.Errorf("modelling the hook of %s: %w", p.Name, err)
	}
	h.distinct()
	if start.Ctx != nil {
		h.raw, h.fields, h.size = start.Ctx, nil, uint32(len(start.Ctx))
	}
	return &Invocation{m: m, p: p, start: start, suffix: m.names.invocation(start.N), hook: h, stacks: map[string]*Region{}}, nil
}

// Assume returns what the model takes for granted about the inputs (terms of
// width 1). It is part of every path's condition.
func (inv *Invocation) Assume() []smt.Term {
	var out []smt.Term
	if inv.hook.packet {
		out = append(out, inv.assumePacket()...)
	}
	b := inv.m.b
	for _, t := range []smt.Term{inv.tgid(), inv.tid()} {
		// A pid fits in 22 bits (PID_MAX_LIMIT).
		if c := b.Ult(t, b.Const(32, 1<<22)); !c.IsTrue() {
			out = append(out, c)
		}
	}
	// The idle tasks, and nobody else, have neither: no thread 0 is in a process, and none is in process 0.
	if c := b.Eq(b.Eq(inv.tid(), b.Const(32, 0)), b.Eq(inv.tgid(), b.Const(32, 0))); !c.IsTrue() {
		out = append(out, c)
	}
	// There is always a current task, and the clock has run since boot.
	for _, t := range []smt.Term{inv.currentTask(), inv.clock("now", "ns"), inv.clock("now.boot", "ns")} {
		if c := b.Ne(t, b.Const(64, 0)); !c.IsTrue() {
			out = append(out, c)
		}
	}
	return out
}

func (inv *Invocation) tgid() smt.Term {
	if t := inv.start.Thread.Tgid; t != nil {
		return t
	}
	return inv.currentField("tgid", 32)
}

func (inv *Invocation) tid() smt.Term {
	if t := inv.start.Thread.Tid; t != nil {
		return t
	}
	return inv.currentField("pid", 32)
}

func (inv *Invocation) cpu() smt.Term {
	if inv.start.Cpu != nil {
		return inv.start.Cpu
	}
	return inv.variable(32, &Input{Kind: Data, Name: "cpu", Order: Host, Pc: -1})
}

// random is the first random number of a run.
func (inv *Invocation) random() smt.Term {
	return inv.variable(32, &Input{Kind: Data, Name: "random", Pc: -1})
}

// returns is whether a session's call returns, 1 bit.
func (inv *Invocation) returns() smt.Term {
	return inv.variable(1, &Input{Kind: Data, Name: "probe.returns", Pc: -1})
}

// call is a number of a session's call.
func (inv *Invocation) call() smt.Term {
	return inv.variable(64, &Input{Kind: Data, Name: "probe.call", Order: Host, Pc: -1})
}

// clock is one of the kernel's clocks. Within one run of a program every one
// stands still.
func (inv *Invocation) clock(name, unit string) smt.Term {
	if name == "now" && inv.start.Now != nil {
		return inv.start.Now
	}
	return inv.variable(64, &Input{Kind: Data, Name: name, Unit: unit, Order: Host, Pc: -1})
}

// helperInput is a value that some helper gives, the same one during an
// invocation.
func (inv *Invocation) helperInput(name string, bits uint, unit string) smt.Term {
	return inv.variable(bits, &Input{Kind: Data, Name: name, Unit: unit, Order: Host, Pc: -1, Warn: inv.hook.currentWarn})
}

// stack is the memory of a function that is called at a moment; "" is the
// program itself.
func (inv *Invocation) stack(at, fn string) *Region {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if r := inv.stacks[at]; r != nil {
		return r
	}
	name := "the stack"
	if at != "" {
		name = fmt.Sprintf("the stack of %s called at %s", fn, at)
	}
	r := &Region{Kind: StackRegion, Name: name, Size: stackSize, addr: inv.address(name, KernelSpace)}
	r.fill = inv.poison(name, -stackSize)
	inv.stacks[at] = r
	return r
}

// poison fills a region with garbage: a variable for each byte.
func (inv *Invocation) poison(name string, origin int) func(int) (smt.Term, uint8) {
	return func(off int) (smt.Term, uint8) {
		return inv.variable(8, &Input{Kind: Poison, Name: fmt.Sprintf("uninitialised byte %+d of %s", off+origin, name), Pc: -1}), 0
	}
}

// fresh is a variable that belongs to one execution of one instruction: no
// other instruction, and no other turn of a loop, has it.
func (x *run) fresh(s *state, bits uint, in *Input) smt.Term {
	in.Pc = s.top().pc
	in.Invocation, in.Bits = x.inv.start.N, bits
	return x.variable(bits, in, " at "+s.moment()+x.inv.suffix)
}

// begin makes the first state of a run.
func (x *run) begin() (*state, error) {
	inv := x.inv
	s := &state{own: new(owner), mem: map[*Region]*content{}, elems: map[*Map][]*element{}}
	s.ctx.fields = map[string]Value{}
	x.adopt(s, x.world)
	for _, t := range inv.Assume() {
		if !t.IsTrue() {
			s.cond = s.cond.add(t)
		}
	}
	if inv.start.Follow == nil {
		s.model = x.find(s)
	}
	s.ctx.region = &Region{Kind: ContextRegion, Name: "the context", Size: int(inv.hook.size), addr: inv.address("context", KernelSpace)}
	if inv.hook.packet {
		r, p := inv.packetRegion()
		s.packet = p
		s.mem[r] = newContent(r.Size)
	}
	args := []Value{{Term: x.b.Const(64, 0), Region: s.ctx.region}}
	if inv.start.buffer != nil {
		args = []Value{x.buffer(s, inv.start.buffer), number(x.b.Const(64, uint64(len(inv.start.buffer))))}
	}
	pc := 0
	if t := inv.start.Callback; t != nil {
		args, pc = x.timerArgs(s, t), t.Func
	}
	if pc < 0 || pc >= len(x.p.Insns) {
		return nil, fmt.Errorf("there is no instruction %d to begin with", pc)
	}
	x.enter(s, pc, args, nil)
	return s, nil
}

// Follow is the same invocation for the replay of what a solver found: a run
// from it takes at every branch the way of that model and has one path, with
// the trace of its instructions. The terms stay what they are; their values
// are for the model to tell.
func (inv *Invocation) Follow(m smt.Model) *Invocation {
	f := &Invocation{m: inv.m, p: inv.p, start: inv.start, suffix: inv.suffix, hook: inv.hook, stacks: map[string]*Region{}}
	f.start.Follow = m
	return f
}

// Input finds an input by its name: an argument of the hook or a field of its
// context, "ret", or one of current.tgid, current.tid, current.uid,
// current.gid, current.comm, current, now, now.boot, cpu, cgroup (of the
// current task), packet.len, stack.kernel and stack.user (numbers of stacks),
// skb.cgroup and what other helpers give for the whole invocation. ok is false
// for names that the hook does not have.
func (inv *Invocation) Input(name string) (v InputValue, ok bool) {
	b := inv.m.b
	describe := inv.described
	switch name {
	case "current":
		return describe(inv.currentTask()), true
	case "current.tgid":
		return describe(inv.tgid()), true
	case "current.tid", "current.pid":
		return describe(inv.tid()), true
	case "current.uid", "current.gid":
		return describe(inv.helperInput(name, 32, "")), true
	case "current.comm":
		return InputValue{Bytes: &Bytes{b, inv.commOctets(16)}, Warn: inv.hook.currentWarn}, true
	case "now":
		return describe(inv.clock("now", "ns")), true
	case "now.boot", "now.coarse", "now.tai":
		return describe(inv.clock(name, "ns")), true
	case "cpu":
		return describe(inv.cpu()), true
	case "random":
		return describe(inv.random()), true
	case "cgroup":
		return describe(inv.helperInput("current.cgroup", 64, "")), true
	case "stack.kernel", "stack.user":
		return describe(inv.variable(32, &Input{Kind: Data, Name: name, Order: Host, Pc: -1, Warn: inv.hook.currentWarn})), true
	case "probe.returns", "probe.call":
		if inv.p.Hook.Kind != KprobeSession {
			return v, false
		}
		if name == "probe.call" {
			return describe(inv.call()), true
		}
		return describe(inv.returns()), true
	case "skb.cgroup", "socket.cookie", "netns.cookie", "func.ip", "attach.cookie":
		return describe(inv.helperInput(name, 64, "")), true
	case "socket.uid", "skb.hash.recalc", "skb.classid", "numa.node":
		return describe(inv.helperInput(name, 32, "")), true
	case "packet.len":
		if !inv.hook.packet {
			return v, false
		}
		return describe(inv.packetLen()), true
	}
	return inv.Argument(name)
}

// Argument finds an argument of the hook or a field of its context by the name that the
// kernel gives it, also where Input has another meaning for that name ("now", "cpu").
func (inv *Invocation) Argument(name string) (v InputValue, ok bool) {
	b := inv.m.b
	describe := inv.described
	for i := range inv.hook.fields {
		f := &inv.hook.fields[i]
		if f.name != name && f.name != name+argument {
			continue
		}
		switch f.special {
		case "":
			v = describe(inv.fieldVariable(f))
			v.Type = f.typ
			return v, true
		case "array":
			var oct []octet
			for i := range int64(f.size) {
				oct = append(oct, inv.contextByte(f, i))
			}
			return InputValue{Bytes: &Bytes{b, oct}, Type: f.typ}, true
		case "data_loc":
			return InputValue{Bytes: inv.dataLocText(f, dataLocBytes), Type: f.typ}, true
		}
		return v, false
	}
	return v, false
}

// ArgumentAt is the argument of a probed function at a position, from 0.
func (inv *Invocation) ArgumentAt(i int) (InputValue, bool) {
	for _, f := range inv.hook.fields {
		if f.position == i+1 {
			return inv.Argument(f.name)
		}
	}
	return InputValue{}, false
}

// Spread tells whether an argument takes several slots of the context, so that those behind it are
// not at their position.
func (inv *Invocation) Spread() bool {
	return slices.ContainsFunc(inv.hook.fields, func(f ctxField) bool { return strings.HasSuffix(f.name, "}") })
}

// described is a term with what its variable says of it.
func (inv *Invocation) described(t smt.Term) InputValue {
	v := InputValue{Term: t}
	if in := InputOf(t); in != nil {
		v.Type, v.Space, v.Unit, v.Order, v.Warn = in.Type, in.Space, in.Unit, in.Order, in.Warn
	}
	return v
}

// argument follows the names of arguments that are also those of other inputs.
const argument = " (argument)"

// distinct gives each field a name of its own: the names of inputs are those of variables, and
// the kernel calls arguments "now", "cpu" or "ret", too. Of equal names the last stays
// as it is: that is what the function returns.
func (h *hookModel) distinct() {
	taken := map[string]bool{"now": true, "cpu": true, "current": true}
	for i := len(h.fields) - 1; i >= 0; i-- {
		f := &h.fields[i]
		for taken[f.name] {
			f.name += argument
		}
		taken[f.name] = true
	}
}

// Inputs lists the names of the hook's own inputs.
func (inv *Invocation) Inputs() []string {
	var out []string
	for _, f := range inv.hook.fields {
		if f.special == "" || f.special == "array" || f.special == "data_loc" {
			out = append(out, f.name)
		}
	}
	return out
}

// dataLocText is the string behind a __data_loc as a read into a zeroed
// buffer of n bytes gives it. It ends where its bytes say: what the field says is the
// size of what the kernel put there, which may go on behind a NUL.
func (inv *Invocation) dataLocText(f *ctxField, n int) *Bytes {
	var src []octet
	for i := range n {
		src = append(src, inv.contextByte(f, int64(i)))
	}
	t := text(inv.m.b, src, zeroOctets(inv.m.b, n), nil)
	return &Bytes{inv.m.b, t.data}
}

func zeroOctets(b *smt.Builder, n int) []octet {
	out := make([]octet, n)
	for i := range out {
		out[i] = octet{term: b.Const(8, 0), pc: -1}
	}
	return out
}

// commOctets is what bpf_get_current_comm leaves in a buffer of n bytes: the
// name, NUL, and zeroes to the end.
func (inv *Invocation) commOctets(n int) []octet {
	b := inv.m.b
	src := inv.currentComm()
	if n < len(src) {
		src = src[:n]
	}
	t := text(b, src, zeroOctets(b, len(src)), nil)
	return append(t.data, zeroOctets(b, n-len(t.data))...)
}

// Memory is what n bytes at an address hold for a helper that reads that
// space, or a load through a kernel pointer: zeroes if the object cannot be
// read. root names the kernel type that a cast gives the object ("inet_sock"),
// for what lies beyond the pointer's own type; it may be empty.
func (inv *Invocation) Memory(space Space, addr smt.Term, n int, root string) *Bytes {
	oct, _ := inv.probe(space, addr, n, root)
	return &Bytes{inv.m.b, oct}
}

// Fault is whether memory at an address cannot be read.
func (inv *Invocation) Fault(space Space, addr smt.Term) smt.Term {
	_, fault := inv.probe(space, addr, 1, "")
	return fault
}

// Text is what reading a string of at most n bytes (the NUL included) into a
// zeroed buffer of n bytes gives, zeroes if it cannot be read, and how many
// bytes were written (64 bits; meaningful where there is no fault). Texts of
// different n from one address must be compared with care: see shortText.
func (inv *Invocation) Text(space Space, addr smt.Term, n int, root string) (*Bytes, smt.Term) {
	oct, fault := inv.probe(space, addr, n, root)
	t := text(inv.m.b, oct, zeroOctets(inv.m.b, n), func() smt.Term { return inv.strlen(space, addr) })
	for i := range t.data {
		t.data[i].term = inv.m.b.Ite(fault, inv.m.b.Const(8, 0), t.data[i].term)
	}
	return &Bytes{inv.m.b, t.data}, t.length
}

// DataLoc is the string of a __data_loc field as a read into a zeroed buffer
// of n bytes gives it.
func (inv *Invocation) DataLoc(name string, n int) (*Bytes, bool) {
	for i := range inv.hook.fields {
		if f := &inv.hook.fields[i]; f.name == name && f.special == "data_loc" && n <= dataLocBytes {
			return inv.dataLocText(f, n), true
		}
	}
	return nil, false
}

// Packet is n bytes (1 to 8) of the packet at an offset (64 bits) from its
// beginning, as a little-endian load gives them. Whether they are there is for
// the caller to ask: see the input packet.len.
func (inv *Invocation) Packet(off smt.Term, n int) smt.Term {
	b := inv.m.b
	x := &run{Machine: inv.m, inv: inv, p: inv.p, flow: inv.p.flow, vars: map[smt.Term][]smt.Term{}, out: &Outcome{}}
	r, p := inv.packetRegion()
	s := &state{own: new(owner), mem: map[*Region]*content{r: newContent(r.Size)}, packet: p, frames: []frame{{}}}
	if c, ok := off.Const(); ok && int64(c)+int64(n)+headroom > int64(r.Size) {
		return inv.packetFar(off, n)
	}
	return b.Extract(uint(n)*8-1, 0, x.packetAt(s, off, n))
}

// buffer is memory of the program's own.
func (x *run) buffer(s *state, data []byte) Value {
	r := &Region{Kind: OtherRegion, Name: "the buffer", Size: len(data), addr: x.inv.address("buffer", KernelSpace)}
	r.fill = func(off int) (smt.Term, uint8) { return x.b.Const(8, uint64(data[off])), 0 }
	s.mem[r] = newContent(r.Size)
	return Value{Term: x.b.Const(64, 0), Region: r}
}
