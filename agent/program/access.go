package program

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// What a store may change besides the program's own stack, maps and events.
const (
	// WritesContext is the hook's context: a packet's mark, the address of a
	// connect(2), the registers of a probed process.
	WritesContext = "context"
	// WritesPacket is the bytes of a packet.
	WritesPacket = "packet"
	// WritesUnknown says that it could not be told where a store goes.
	WritesUnknown = "unknown memory"
)

// origin says what a register's value may have been made from. The zero value
// is everything harmless to write through: numbers, which the kernel does not
// let a program use as addresses, and the program's own maps and events.
type origin uint8

const (
	fromContext origin = 1 << iota
	fromPacket
	fromStack
	fromUnknown
)

// slots is how many pointers a stack frame can hold.
const slots = 512 / 8

// frame is what is known of registers and stack before one instruction.
type frame struct {
	reached bool
	regs    [11]origin
	stack   [slots]origin
}

// maxSteps bounds the analysis; the largest programs of real tools need a few
// thousand steps.
const maxSteps = 1 << 18

// access follows pointers from the context through registers and stack, in
// program and subprograms, and collects what is read and written through
// them. It errs on the side of reporting: where the origin of an address is
// lost, the access counts as unknown.
//
// It exists because changing a packet or a connection needs no helper and no
// verdict: one store through a pointer loaded from the context does it. Kfuncs
// are judged by their names, and may fill any memory that they are given; what
// they return is not followed.
type access struct {
	insns  asm.Instructions
	packet map[int16]bool // offsets of the context's packet pointers
	starts map[string]int // functions
	at     []int          // offset in raw instructions of each instruction
	index  map[int]int    // the reverse

	in       []frame
	work     []int
	queued   []bool
	spilled  origin // stored to the stack through a computed address
	returned origin // by any subprogram
	grown    bool   // one of the two above was extended

	reads  bool
	writes origin
}

// accesses reports whether a program reads packet bytes directly, and what
// its stores may change.
func accesses(t ebpf.ProgramType, insns asm.Instructions) (reads bool, writes []string) {
	a := &access{insns: insns, packet: packetPointers[t], starts: map[string]int{}, index: map[int]int{},
		in: make([]frame, len(insns)), queued: make([]bool, len(insns))}
	if !a.run() {
		a.writes |= fromUnknown
		a.reads = a.reads || a.packet != nil
	}
	if t == ebpf.CGroupSockopt && a.writes&fromPacket != 0 {
		a.writes = a.writes&^fromPacket | fromContext // an option's value is no packet
	}
	for _, w := range []struct {
		origin
		name string
	}{{fromContext, WritesContext}, {fromPacket, WritesPacket}, {fromUnknown, WritesUnknown}} {
		if a.writes&w.origin != 0 {
			writes = append(writes, w.name)
		}
	}
	return a.reads, writes
}

// packetPointers are the offsets of data, data_end and data_meta in the
// contexts that have them, and of optval and optval_end, which point to the
// value of a socket option just so; uapi, so they never move.
var packetPointers = map[ebpf.ProgramType]map[int16]bool{
	ebpf.XDP:           {0: true, 4: true, 8: true},
	ebpf.SchedCLS:      {76: true, 80: true, 140: true},
	ebpf.CGroupSKB:     {76: true, 80: true, 140: true},
	ebpf.CGroupSockopt: {8: true, 16: true},
}

func (a *access) run() bool {
	iter := a.insns.Iterate()
	for iter.Next() {
		a.at = append(a.at, int(iter.Offset))
		a.index[int(iter.Offset)] = iter.Index
		if s := iter.Ins.Symbol(); s != "" {
			if _, ok := a.starts[s]; !ok {
				a.starts[s] = iter.Index
			}
		}
	}
	if len(a.insns) == 0 {
		return false
	}
	entry := frame{}
	entry.regs[asm.R1] = fromContext
	entry.regs[asm.R10] = fromStack
	a.join(0, entry)
	for steps := 0; ; {
		for len(a.work) > 0 {
			if steps++; steps > maxSteps {
				return false
			}
			i := a.work[len(a.work)-1]
			a.work = a.work[:len(a.work)-1]
			a.queued[i] = false
			if !a.step(i) {
				return false
			}
		}
		if !a.grown {
			return true
		}
		// What any subprogram returns or leaves on a stack is known to all
		// instructions at once: look at them again.
		a.grown = false
		for i := range a.in {
			if a.in[i].reached {
				a.enqueue(i)
			}
		}
	}
}

func (a *access) enqueue(i int) {
	if !a.queued[i] {
		a.queued[i] = true
		a.work = append(a.work, i)
	}
}

// join adds what is known on one way to instruction i.
func (a *access) join(i int, f frame) {
	have := &a.in[i]
	before := *have
	have.reached = true
	for r := range f.regs {
		have.regs[r] |= f.regs[r]
	}
	for s := range f.stack {
		have.stack[s] |= f.stack[s]
	}
	if *have != before {
		a.enqueue(i)
	}
}

func (a *access) grow(to *origin, by origin) {
	if *to|by != *to {
		*to |= by
		a.grown = true
	}
}

// step applies one instruction; false when control cannot be followed.
func (a *access) step(i int) bool {
	ins := &a.insns[i]
	f := a.in[i]
	if ins.Dst > asm.R10 || ins.Src > asm.R10 {
		return false
	}
	switch class := ins.OpCode.Class(); {
	case class.IsALU():
		a.arithmetic(&f, ins)
	case class == asm.LdClass:
		a.loadConstant(&f, ins)
	case class == asm.LdXClass:
		f.regs[ins.Dst] = a.load(&f, ins, ins.Src)
	case class == asm.StClass:
		a.store(&f, ins, 0)
	case ins.OpCode.Mode() == asm.AtomicMode:
		a.atomic(&f, ins)
	case class == asm.StXClass:
		a.store(&f, ins, f.regs[ins.Src])
	case ins.OpCode.JumpOp() == asm.Exit:
		// The verdict of the program itself is no address; a subprogram's may be.
		a.grow(&a.returned, f.regs[asm.R0])
		return true
	case ins.OpCode.JumpOp() == asm.Call:
		if !a.call(&f, ins) {
			return false
		}
	default:
		to, next, ok := a.jump(i)
		if !ok {
			return false
		}
		a.join(to, f)
		if !next {
			return true
		}
	}
	if i+1 >= len(a.insns) {
		return false
	}
	a.join(i+1, f)
	return true
}

func (a *access) arithmetic(f *frame, ins *asm.Instruction) {
	var src origin
	if ins.OpCode.Source() == asm.RegSource {
		src = f.regs[ins.Src]
	}
	if ins.OpCode.ALUOp() == asm.Mov && ins.Offset == 0 {
		f.regs[ins.Dst] = src
		return
	}
	dst := &f.regs[ins.Dst]
	*dst |= src
	if *dst&fromContext != 0 {
		// Which field it now points to is lost.
		*dst |= fromUnknown
	}
}

func (a *access) loadConstant(f *frame, ins *asm.Instruction) {
	if isClassicLoad(*ins) {
		a.reads = true
		clear(f.regs[asm.R0 : asm.R5+1])
		return
	}
	f.regs[ins.Dst] = 0
	if !ins.IsLoadOfFunctionPointer() {
		return
	}
	// A callback gets map cells, numbers and what the program hands over,
	// which the kernel lets point to the stack only.
	if start, ok := a.starts[ins.Reference()]; ok {
		cb := frame{}
		for r := asm.R1; r <= asm.R5; r++ {
			cb.regs[r] = fromStack
		}
		cb.regs[asm.R10] = fromStack
		a.join(start, cb)
	}
}

// exact reports whether an access through R10 is to one whole stack slot.
func exact(ins *asm.Instruction, base asm.Register) (slot int, ok bool) {
	if base != asm.R10 || btf.CORERelocationMetadata(ins) != nil || ins.OpCode.Size() != asm.DWord || ins.Offset >= 0 || ins.Offset < -512 || ins.Offset%8 != 0 {
		return 0, false
	}
	return int(ins.Offset+512) / 8, true
}

// load returns the origin of what is read through base.
func (a *access) load(f *frame, ins *asm.Instruction, base asm.Register) origin {
	from := f.regs[base]
	relocated := btf.CORERelocationMetadata(ins) != nil
	var out origin
	if from&fromPacket != 0 {
		a.reads = true
	}
	if from&fromUnknown != 0 {
		out |= fromUnknown
		a.reads = a.reads || a.packet != nil
	}
	if from&fromContext != 0 && a.packet != nil && (relocated || a.packet[ins.Offset]) {
		out |= fromPacket // the offset of a relocated load is not known yet
	}
	if from&fromStack == 0 {
		return out
	}
	if slot, ok := exact(ins, base); ok {
		return out | f.stack[slot] | a.spilled
	}
	if ins.OpCode.Size() == asm.DWord || relocated {
		out |= a.spilled
		for _, s := range f.stack {
			out |= s
		}
	}
	return out
}

// store accounts for a write through Dst of a value of the given origin.
func (a *access) store(f *frame, ins *asm.Instruction, value origin) {
	to := f.regs[ins.Dst]
	a.writes |= to & (fromContext | fromPacket | fromUnknown)
	if to&fromStack == 0 {
		return
	}
	if slot, ok := exact(ins, ins.Dst); ok {
		f.stack[slot] = value
		return
	}
	a.grow(&a.spilled, value)
}

// The atomics that do not combine: plain loads and stores with an order.
const (
	loadAcquire  asm.AtomicOp = 0x0001_0000
	storeRelease asm.AtomicOp = 0x0001_1000
)

func (a *access) atomic(f *frame, ins *asm.Instruction) {
	switch ins.OpCode.AtomicOp() {
	case loadAcquire:
		f.regs[ins.Dst] = a.load(f, ins, ins.Src)
	case storeRelease:
		a.store(f, ins, f.regs[ins.Src])
	default:
		a.store(f, ins, f.regs[ins.Src])
		fetched := a.load(f, ins, ins.Dst)
		f.regs[ins.Src] |= fetched
		f.regs[asm.R0] |= fetched
	}
}

// readers are the helpers that take packet bytes as input and change nothing
// at the addresses they are given.
var readers = []string{
	"bpf_map_lookup_elem", "bpf_map_lookup_percpu_elem", "bpf_map_update_elem", "bpf_map_delete_elem", "bpf_map_push_elem",
	"bpf_csum_diff", "bpf_strncmp", "bpf_perf_event_output", "bpf_ringbuf_output", "bpf_skb_output", "bpf_xdp_output",
	"bpf_sk_lookup_tcp", "bpf_sk_lookup_udp", "bpf_skc_lookup_tcp", "bpf_tcp_check_syncookie",
}

// loaders are the helpers that write at their third argument and nowhere else: offset and size, which may come from a member of
// the context whose place is not known yet, are numbers to them.
var loaders = []string{"bpf_skb_load_bytes", "bpf_xdp_load_bytes"}

// contextual are the kfuncs that want the context itself. To any other it is
// memory, to be filled perhaps: the registers of a probed process, say.
var contextual = []string{
	"bpf_dynptr_from_skb", "bpf_dynptr_from_xdp", "bpf_cast_to_kern_ctx", "bpf_session_is_return", "bpf_session_cookie",
	"bpf_xdp_metadata_rx_timestamp", "bpf_xdp_metadata_rx_hash", "bpf_xdp_metadata_rx_vlan_tag",
}

// callers are the helpers that call back into the program.
var callers = []string{"bpf_for_each_map_elem", "bpf_find_vma", "bpf_loop", "bpf_user_ringbuf_drain"}

func (a *access) call(f *frame, ins *asm.Instruction) bool {
	var args, result origin
	for r := asm.R1; r <= asm.R5; r++ {
		args |= f.regs[r]
	}
	if a.packet != nil && args&(fromPacket|fromUnknown) != 0 && !ins.IsFunctionCall() {
		a.reads = true
	}
	helper := ""
	if ins.IsBuiltinCall() {
		helper = helperName(asm.BuiltinFunc(ins.Constant))
	}
	if args&fromStack != 0 && (ins.IsFunctionCall() || slices.Contains(callers, helper)) {
		// Who is called reaches what this frame holds through the pointer.
		for _, s := range f.stack {
			a.grow(&a.spilled, s)
		}
	}
	switch {
	case ins.IsFunctionCall():
		start, ok := a.starts[ins.Reference()]
		if !ok {
			return false
		}
		callee := frame{}
		copy(callee.regs[asm.R1:asm.R5+1], f.regs[asm.R1:asm.R5+1])
		callee.regs[asm.R10] = fromStack
		a.join(start, callee)
		result = a.returned
	case ins.IsKfuncCall():
		a.writes |= args & (fromPacket | fromUnknown)
		if !slices.Contains(contextual, ins.Reference()) {
			a.writes |= args & fromContext
		}
	case slices.Contains(loaders, helper):
		a.writes |= f.regs[asm.R3] & (fromPacket | fromUnknown)
	case helper != "" && a.packet != nil && !slices.Contains(readers, helper):
		a.writes |= args & (fromPacket | fromUnknown)
	}
	f.regs[asm.R0] = result
	clear(f.regs[asm.R1 : asm.R5+1])
	return true
}

// jump returns where a jump goes, and whether it may also go on.
func (a *access) jump(i int) (to int, next, ok bool) {
	ins := &a.insns[i]
	if ins.OpCode.JumpOp() == asm.InvalidJumpOp {
		return 0, false, false
	}
	distance, ok := jumpDistance(ins)
	if !ok {
		return 0, false, false
	}
	to, ok = a.index[a.at[i]+1+int(distance)]
	return to, ins.OpCode.JumpOp() != asm.Ja, ok
}
