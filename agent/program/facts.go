package program

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Facts is what the instructions of one program say about it: the basis of
// the risk tier, of the words on the card and of a node's own policy. Nothing
// in it comes from names, comments or a model.
type Facts struct {
	Program      string           `json:"program"`
	Type         ebpf.ProgramType `json:"-"`
	TypeName     string           `json:"type"`
	Hook         Hook             `json:"hook"`
	Instructions int              `json:"instructions"`
	Helpers      []string         `json:"helpers"` // bpf_… names, sorted
	Kfuncs       []string         `json:"kfuncs"`  // sorted
	// Verdicts are the values the program can return, when all of them are
	// constants and it never continues in another program; nil means they are
	// not known. They matter where the hook makes the return value an action
	// on a packet, a call or a connection.
	Verdicts []int32 `json:"verdicts,omitempty"`
	// Packet says that the program may read the bytes of packets, or the values
	// of socket options, directly, that is, without a helper.
	Packet bool `json:"packet,omitempty"`
	// Writes is what the program's own stores may change besides its stack,
	// maps and events: [WritesContext], [WritesPacket], [WritesUnknown]. What
	// helpers and kfuncs change is not in it.
	Writes []string `json:"writes,omitempty"`
	// Turns is how many turns of loops the program takes at one event, at most:
	// the bounds of all its loops, multiplied. See [MaxTurns].
	Turns uint64 `json:"turns"`
	// Holds is the most bytes that one key or one value of the output maps it
	// uses can hold, histograms and sums not counted.
	Holds uint32 `json:"holds,omitempty"`
}

// Facts returns the facts of every program, by name order.
func (o *Object) Facts() ([]Facts, error) {
	var out []Facts
	for _, p := range o.Programs() {
		h, err := HookOf(p)
		if err != nil {
			return nil, err
		}
		f := Facts{Program: p.Name, Type: p.Type, TypeName: strings.ToLower(p.Type.String()), Hook: h, Instructions: len(p.Instructions)}
		helpers, kfuncs := map[string]bool{}, map[string]bool{}
		for _, ins := range p.Instructions {
			switch {
			case ins.IsFunctionCall():
			case ins.IsKfuncCall():
				kfuncs[ins.Reference()] = true
			case ins.OpCode.JumpOp() == asm.Call:
				helpers[helperName(asm.BuiltinFunc(ins.Constant))] = true
			case ins.IsLoadFromMap():
				if m := o.spec.Maps[ins.Reference()]; m != nil && slices.Contains(m.Tags, OutputTag) {
					f.Holds = max(f.Holds, held(m.Key, m.KeySize), held(m.Value, m.ValueSize))
				}
			}
		}
		f.Helpers, f.Kfuncs = sortedKeys(helpers), sortedKeys(kfuncs)
		if !helpers["bpf_tail_call"] {
			f.Verdicts = returned(p.Instructions)
			if f.Verdicts != nil && p.Type == ebpf.SchedCLS && slices.ContainsFunc(p.Instructions, isClassicLoad) {
				// The old packet loads, which this type alone may use, end the
				// program with 0 when they are out of bounds.
				f.Verdicts = append(f.Verdicts, 0)
				slices.Sort(f.Verdicts)
				f.Verdicts = slices.Compact(f.Verdicts)
			}
		}
		f.Turns = turns(p.Instructions)
		f.Packet, f.Writes = accesses(p.Type, p.Instructions)
		out = append(out, f)
	}
	return out, nil
}

// Calls reports whether the program calls one of the helpers.
func (f Facts) Calls(helpers ...string) bool {
	return slices.ContainsFunc(helpers, func(h string) bool { return slices.Contains(f.Helpers, h) })
}

// helperName returns the helper's name in the kernel's sources.
func helperName(fn asm.BuiltinFunc) string {
	name := strings.TrimPrefix(fn.String(), "Fn")
	var b strings.Builder
	b.WriteString("bpf")
	for i, r := range name {
		switch {
		case r >= 'A' && r <= 'Z':
			b.WriteByte('_')
			b.WriteRune(r - 'A' + 'a')
		case i == 0:
			b.WriteByte('_')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func sortedKeys(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// held returns how many bytes of a key or value of type t are neither
// histogram nor sum; t is nil when only the size is known.
func held(t btf.Type, size uint32) uint32 {
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok {
		return size
	}
	if isAggregate(s) {
		return 0
	}
	out := size
	for _, m := range s.Members {
		if s, ok := btf.UnderlyingType(m.Type).(*btf.Struct); ok && isAggregate(s) {
			out -= min(out, s.Size)
		}
	}
	return out
}

func isAggregate(s *btf.Struct) bool {
	return s.Name == "k_hist" && s.Size == 64*8 || s.Name == "k_stats" && s.Size == 4*8
}

// returned finds the constants that R0 can hold where the program ends. It
// gives up (nil) on anything but moves of constants between registers.
func returned(insns asm.Instructions) []int32 {
	// The first function of the stream is the program; the others are
	// subprograms, whose exits return to it, and callbacks.
	main := body(insns, 0)
	var exits []place
	for i, ins := range main {
		if ins.OpCode.JumpOp() == asm.Exit {
			exits = append(exits, place{i, asm.R0})
		}
	}
	values := constants(main, exits...)
	if values == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(values))
}

// A place asks: what can reg hold before instruction at?
type place struct {
	at  int
	reg asm.Register
}

// constants finds what registers can hold at places of a function, by walking
// back from each along the control flow. It gives up (nil) on anything but
// moves of constants between registers.
func constants(body asm.Instructions, places ...place) map[int32]bool {
	preds, ok := predecessors(body)
	if !ok {
		return nil
	}
	values := map[int32]bool{}
	seen := map[place]bool{}
	var work []place
	ask := func(p place) {
		if !seen[p] {
			seen[p] = true
			work = append(work, p)
		}
	}
	for _, p := range places {
		ask(p)
	}
	for len(work) > 0 {
		p := work[len(work)-1]
		work = work[:len(work)-1]
		if p.at == 0 || len(preds[p.at]) == 0 {
			return nil // from the caller
		}
		for _, from := range preds[p.at] {
			switch reg, how := written(&body[from], p.reg); how {
			case untouched, moved:
				ask(place{from, reg})
			case constant:
				values[int32(body[from].Constant)] = true
			default:
				return nil
			}
		}
	}
	if len(values) == 0 {
		return nil
	}
	return values
}

// isClassicLoad reports whether an instruction is one of classic BPF's loads
// from the packet.
func isClassicLoad(ins asm.Instruction) bool {
	return ins.OpCode.Class() == asm.LdClass && !ins.OpCode.IsDWordLoad()
}

// predecessors maps each instruction's index to the indexes that control
// comes from. It fails on jumps it cannot resolve.
func predecessors(body asm.Instructions) ([][]int, bool) {
	byOffset := map[asm.RawInstructionOffset]int{}
	iter := body.Iterate()
	for iter.Next() {
		byOffset[iter.Offset] = iter.Index
	}
	preds := make([][]int, len(body))
	iter = body.Iterate()
	for iter.Next() {
		i, ins := iter.Index, iter.Ins
		next := true
		if ins.OpCode.Class().IsJump() {
			switch op := ins.OpCode.JumpOp(); op {
			case asm.Exit:
				next = false
			case asm.Call:
			case asm.InvalidJumpOp:
				return nil, false
			default:
				distance, ok := jumpDistance(ins)
				if !ok {
					return nil, false
				}
				to, ok := byOffset[asm.RawInstructionOffset(int64(iter.Offset)+1+distance)]
				if !ok {
					return nil, false
				}
				preds[to] = append(preds[to], i)
				next = op != asm.Ja
			}
		}
		if next {
			if i+1 >= len(body) {
				return nil, false
			}
			preds[i+1] = append(preds[i+1], i)
		}
	}
	return preds, true
}

// jumpDistance returns how far a jump goes from the instruction after it, in
// raw instructions; false when that is not in the instruction.
func jumpDistance(ins *asm.Instruction) (int64, bool) {
	switch {
	case ins.Reference() != "":
		return 0, false
	case ins.OpCode.JumpOp() != asm.Ja:
		return int64(ins.Offset), true
	case ins.OpCode.Source() == asm.RegSource: // to an address in a register
		return 0, false
	case ins.OpCode.Class() == asm.Jump32Class:
		return ins.Constant, true
	}
	return int64(ins.Offset), true
}

// What an instruction does to a register.
const (
	untouched = iota
	moved     // it gets another register's value
	constant  // it gets the instruction's constant
	unknown
)

// written tells what an instruction does to reg; the register returned is the
// one whose value before it is the value of reg after it.
func written(ins *asm.Instruction, reg asm.Register) (asm.Register, int) {
	class := ins.OpCode.Class()
	switch {
	case ins.OpCode.JumpOp() == asm.Call:
		if reg <= asm.R5 {
			return 0, unknown
		}
		return reg, untouched
	case class.IsJump():
		return reg, untouched
	case ins.OpCode.Mode() == asm.AtomicMode:
		// What it fetches goes to R0, Src or (an acquiring load) Dst.
		if reg == asm.R0 || reg == ins.Src || reg == ins.Dst {
			return 0, unknown
		}
		return reg, untouched
	case class.IsStore():
		return reg, untouched
	case isClassicLoad(*ins):
		if reg <= asm.R5 {
			return 0, unknown
		}
		return reg, untouched
	case ins.Dst != reg:
		return reg, untouched
	case class.IsALU() && ins.OpCode.ALUOp() == asm.Mov && ins.Offset == 0:
		if ins.OpCode.Source() != asm.ImmSource {
			return ins.Src, moved
		}
		if btf.CORERelocationMetadata(ins) != nil {
			return 0, unknown // each kernel puts its own number there
		}
		return reg, constant
	}
	return 0, unknown
}
