package mutate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// codeOperator makes one kind of mistake wherever the instructions allow it.
type codeOperator struct {
	name, means string
	apply       func(*ebpf.ProgramSpec) []patch
}

// patch is new instructions in place of others: as many, of the same widths, so
// that no jump goes elsewhere.
type patch map[int]asm.Instruction

var codeOperators = []codeOperator{
	{"code-bswap-drop", "a value in network byte order is taken as it is", each(dropSwap)},
	{"code-compare", "equal for unequal, a bound off by one", each(otherCompare)},
	{"code-compare-sign", "a comparison of the other signedness", each(otherSign)},
	{"code-branch-never", "a branch that is never taken", each(neverBranch)},
	{"code-branch-always", "a branch that is always taken", each(alwaysBranch)},
	{"code-immediate", "a constant is off by one", each(nextImmediate)},
	{"code-arithmetic", "plus for minus, left for right, and for or", each(otherArithmetic)},
	{"code-field-next", "the neighbouring field of a kernel object", each(nextField)},
	{"code-store-swap", "two stores of the same size are exchanged", swapStores},
	{"code-store-drop", "a store is left out", each(dropStore)},
	{"code-constant", "a constant is stored", each(storeConstant)},
	{"code-truncate", "a store or load of half the size", each(halfWidth)},
	{"code-atomic-store", "a shared counter is overwritten", each(atomicStore)},
	{"code-helper", "another helper of the same shape", each(otherHelper)},
	{"code-call-drop", "a call whose only purpose is its effect is left out", each(dropCall)},
	{"code-arg-next", "the next argument of the hook", nextArgument},
	{"code-verdict", "another return value", otherVerdict},
}

// each makes one patch of every instruction that f changes.
func each(f func(asm.Instruction) []asm.Instruction) func(*ebpf.ProgramSpec) []patch {
	return func(p *ebpf.ProgramSpec) []patch {
		var out []patch
		for i, ins := range p.Instructions {
			for _, n := range f(ins) {
				out = append(out, patch{i: n})
			}
		}
		return out
	}
}

// variant applies a patch to a copy of the program.
func (c patch) variant(operator string, p *ebpf.ProgramSpec) Variant {
	v := Variant{Operator: operator, Index: -1, Program: p.Copy()}
	var at []int
	for i := range c {
		at = append(at, i)
	}
	slices.Sort(at)
	var before, after []string
	for _, i := range at {
		old, now := p.Instructions[i], c[i]
		now.Metadata = old.Metadata
		// The relocation would put back what was there.
		if btf.CORERelocationMetadata(&now) != nil {
			now = btf.WithCORERelocationMetadata(now, nil)
		}
		if !now.IsLoadFromMap() && !now.IsFunctionReference() && old.Reference() != "" {
			now = now.WithReference("")
		}
		v.Program.Instructions[i] = now
		before, after = append(before, fmt.Sprintf("%d: %v", i, old)), append(after, fmt.Sprintf("%v", now))
	}
	v.Index = at[0]
	v.Before, v.After = strings.Join(before, "; "), strings.Join(after, "; ")
	v.Line = lineOf(p.Instructions, v.Index)
	return v
}

// lineOf returns the source line that the instruction at an index was compiled
// from: that of the last one before it that has one.
func lineOf(code asm.Instructions, i int) int {
	for ; i >= 0; i-- {
		if l, ok := code[i].Source().(*btf.Line); ok {
			return int(l.LineNumber())
		}
		if code[i].Symbol() != "" {
			break
		}
	}
	return 0
}

func one(ins asm.Instruction, ok bool) []asm.Instruction {
	if !ok {
		return nil
	}
	return []asm.Instruction{ins}
}

// dropSwap makes a byte swap a mere cut to the same width.
func dropSwap(ins asm.Instruction) []asm.Instruction {
	op := ins.OpCode
	swaps := op.Class() == asm.ALUClass && op.ALUOp() == asm.Swap && op.Endianness() == asm.BE ||
		op.Class() == asm.ALU64Class && op.ALUOp() == asm.Swap
	if !swaps {
		return nil
	}
	size, ok := map[int64]asm.Size{16: asm.Half, 32: asm.Word, 64: asm.DWord}[ins.Constant]
	return one(asm.HostTo(asm.LE, ins.Dst, size), ok)
}

// unsigned comparisons, and those that are easily taken for them.
var (
	comparisons = map[asm.JumpOp]asm.JumpOp{
		asm.JEq: asm.JNE, asm.JNE: asm.JEq, asm.JGT: asm.JGE, asm.JGE: asm.JGT, asm.JLT: asm.JLE, asm.JLE: asm.JLT,
		asm.JSGT: asm.JSGE, asm.JSGE: asm.JSGT, asm.JSLT: asm.JSLE, asm.JSLE: asm.JSLT, asm.JSet: asm.JEq,
	}
	signs = map[asm.JumpOp]asm.JumpOp{
		asm.JGT: asm.JSGT, asm.JGE: asm.JSGE, asm.JLT: asm.JSLT, asm.JLE: asm.JSLE,
		asm.JSGT: asm.JGT, asm.JSGE: asm.JGE, asm.JSLT: asm.JLT, asm.JSLE: asm.JLE,
	}
)

func jumps(ins asm.Instruction) bool {
	return ins.OpCode.Class().IsJump() && comparisons[ins.OpCode.JumpOp()] != 0
}

func otherCompare(ins asm.Instruction) []asm.Instruction {
	if !jumps(ins) {
		return nil
	}
	ins.OpCode = ins.OpCode.SetJumpOp(comparisons[ins.OpCode.JumpOp()])
	return one(ins, true)
}

func otherSign(ins asm.Instruction) []asm.Instruction {
	if ins.OpCode.Class().IsJump() {
		if s, ok := signs[ins.OpCode.JumpOp()]; ok {
			ins.OpCode = ins.OpCode.SetJumpOp(s)
			return one(ins, true)
		}
		return nil
	}
	switch {
	case !ins.OpCode.Class().IsALU():
		return nil
	case ins.OpCode.ALUOp() == asm.RSh:
		ins.OpCode = ins.OpCode.SetALUOp(asm.ArSh)
	case ins.OpCode.ALUOp() == asm.ArSh:
		ins.OpCode = ins.OpCode.SetALUOp(asm.RSh)
	default:
		return nil
	}
	return one(ins, true)
}

// goTo is an unconditional jump; to the next instruction it does nothing.
func goTo(offset int16) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Ja), Offset: offset}
}

func neverBranch(ins asm.Instruction) []asm.Instruction { return one(goTo(0), jumps(ins)) }

func alwaysBranch(ins asm.Instruction) []asm.Instruction {
	now := goTo(ins.Offset)
	if ref := ins.Reference(); ref != "" {
		return nil // a jump by name, in code that no compiler made
	}
	return one(now, jumps(ins))
}

// nextImmediate adds one to a constant operand, but for addresses in the stack.
func nextImmediate(ins asm.Instruction) []asm.Instruction {
	op := ins.OpCode
	switch {
	case op.Class().IsALU() && op.Source() == asm.ImmSource && op.ALUOp() != asm.Swap:
	case jumps(ins) && op.Source() == asm.ImmSource:
	case op.Class() == asm.StClass && op.Mode() == asm.MemMode:
	default:
		return nil
	}
	ins.Constant++
	return one(ins, ins.Constant < 1<<31)
}

func otherArithmetic(ins asm.Instruction) []asm.Instruction {
	other := map[asm.ALUOp]asm.ALUOp{asm.Add: asm.Sub, asm.Sub: asm.Add, asm.LSh: asm.RSh, asm.RSh: asm.LSh, asm.And: asm.Or, asm.Or: asm.And, asm.Mul: asm.Add, asm.Div: asm.Mul, asm.Mod: asm.Div}
	if !ins.OpCode.Class().IsALU() {
		return nil
	}
	o, ok := other[ins.OpCode.ALUOp()]
	ins.OpCode = ins.OpCode.SetALUOp(o)
	return one(ins, ok)
}

// nextField moves an access of a kernel object that clang recorded to where the
// next field of the same size would be, and to the one before.
func nextField(ins asm.Instruction) []asm.Instruction {
	if btf.CORERelocationMetadata(&ins) == nil {
		return nil
	}
	back := ins
	switch {
	case ins.OpCode.Class() == asm.LdXClass:
		n := int16(ins.OpCode.Size().Sizeof())
		ins.Offset += n
		back.Offset -= n
		return []asm.Instruction{ins, back}
	case ins.OpCode.Class().IsALU() && ins.OpCode.Source() == asm.ImmSource:
		ins.Constant += 4
		back.Constant -= 4
		return []asm.Instruction{ins, back}
	}
	return nil
}

func stores(ins asm.Instruction) bool {
	return (ins.OpCode.Class() == asm.StXClass || ins.OpCode.Class() == asm.StClass) && ins.OpCode.Mode() == asm.MemMode
}

// swapStores exchanges where two stores of one size through one register go:
// two members of an event or key.
func swapStores(p *ebpf.ProgramSpec) []patch {
	var out []patch
	code := p.Instructions
	for i, a := range code {
		if !stores(a) {
			continue
		}
		for j := i + 1; j < min(i+24, len(code)); j++ {
			b := code[j]
			if b.OpCode.Class().IsJump() && b.OpCode.JumpOp() != asm.Call || b.Symbol() != "" {
				break
			}
			if stores(b) && b.Dst == a.Dst && b.Offset != a.Offset && b.OpCode.Size() == a.OpCode.Size() && (a.Src != b.Src || a.Constant != b.Constant) {
				x, y := a, b
				x.Offset, y.Offset = b.Offset, a.Offset
				out = append(out, patch{i: x, j: y})
				break
			}
		}
	}
	return out
}

func dropStore(ins asm.Instruction) []asm.Instruction { return one(goTo(0), stores(ins)) }

func storeConstant(ins asm.Instruction) []asm.Instruction {
	if ins.OpCode.Class() != asm.StXClass || !stores(ins) {
		return nil
	}
	return one(asm.StoreImm(ins.Dst, ins.Offset, 1, ins.OpCode.Size()), true)
}

func halfWidth(ins asm.Instruction) []asm.Instruction {
	half, ok := map[asm.Size]asm.Size{asm.DWord: asm.Word, asm.Word: asm.Half, asm.Half: asm.Byte}[ins.OpCode.Size()]
	if !ok || !stores(ins) && (ins.OpCode.Class() != asm.LdXClass || ins.OpCode.Mode() != asm.MemMode) {
		return nil
	}
	ins.OpCode = ins.OpCode.SetSize(half)
	return one(ins, true)
}

// atomicStore makes an atomic addition a store of what was to be added.
func atomicStore(ins asm.Instruction) []asm.Instruction {
	if ins.OpCode.Class() != asm.StXClass || ins.OpCode.Mode() != asm.AtomicMode {
		return nil
	}
	return one(asm.StoreMem(ins.Dst, ins.Offset, ins.Src, ins.OpCode.Size()), true)
}

// otherHelper calls a helper that takes the same arguments.
func otherHelper(ins asm.Instruction) []asm.Instruction {
	other := map[asm.BuiltinFunc]asm.BuiltinFunc{
		asm.FnRingbufSubmit: asm.FnRingbufDiscard, asm.FnRingbufDiscard: asm.FnRingbufSubmit,
		asm.FnKtimeGetNs: asm.FnKtimeGetBootNs, asm.FnKtimeGetBootNs: asm.FnKtimeGetNs,
		asm.FnGetCurrentPidTgid: asm.FnGetCurrentUidGid, asm.FnGetCurrentUidGid: asm.FnGetCurrentPidTgid,
		asm.FnProbeReadKernel: asm.FnProbeReadUser, asm.FnProbeReadUser: asm.FnProbeReadKernel,
		asm.FnProbeReadKernelStr: asm.FnProbeReadUserStr, asm.FnProbeReadUserStr: asm.FnProbeReadKernelStr,
		asm.FnGetCurrentCgroupId: asm.FnKtimeGetNs, asm.FnSkbCgroupId: asm.FnGetSocketCookie,
	}
	if !ins.IsBuiltinCall() {
		return nil
	}
	f, ok := other[asm.BuiltinFunc(ins.Constant)]
	ins.Constant = int64(f)
	return one(ins, ok)
}

// dropCall leaves out calls that are made for their effect, as if they had
// succeeded. What the call would have left in the registers R1 to R5 no
// compiler uses.
func dropCall(ins asm.Instruction) []asm.Instruction {
	effect := []asm.BuiltinFunc{
		asm.FnMapDeleteElem, asm.FnMapUpdateElem, asm.FnProbeReadKernel, asm.FnProbeReadUser, asm.FnProbeReadKernelStr, asm.FnProbeReadUserStr,
		asm.FnGetCurrentComm, asm.FnRingbufOutput, asm.FnPerfEventOutput,
	}
	ok := ins.IsBuiltinCall() && slices.Contains(effect, asm.BuiltinFunc(ins.Constant))
	return one(asm.Mov.Imm(asm.R0, 0), ok)
}

// nextArgument moves loads from the context, of programs whose context is an
// array of 64-bit slots, by one slot.
func nextArgument(p *ebpf.ProgramSpec) []patch {
	if p.Type != ebpf.Tracing && p.Type != ebpf.RawTracepoint && p.Type != ebpf.TracePoint {
		return nil
	}
	context := map[asm.Register]bool{asm.R1: true}
	var out []patch
	for i, ins := range p.Instructions {
		op := ins.OpCode
		if i > 0 && ins.Symbol() != "" {
			break // another function, with other arguments
		}
		switch {
		case op.Class() == asm.LdXClass && op.Mode() == asm.MemMode:
			if context[ins.Src] {
				next := ins
				next.Offset += 8
				out = append(out, patch{i: next})
			}
			delete(context, ins.Dst)
		case op.Class() == asm.ALU64Class && op.ALUOp() == asm.Mov && op.Source() == asm.RegSource && context[ins.Src]:
			context[ins.Dst] = true
		case op.Class().IsALU():
			delete(context, ins.Dst)
		case op.Class().IsJump() && op.JumpOp() == asm.Call:
			for r := asm.R0; r <= asm.R5; r++ {
				delete(context, r)
			}
		}
	}
	return out
}

// otherVerdict changes the constants that a program returns, where its return
// value is an action.
func otherVerdict(p *ebpf.ProgramSpec) []patch {
	if !verdict(p.SectionName) {
		return nil
	}
	var out []patch
	for i, ins := range p.Instructions {
		if i > 0 && ins.OpCode.Class().IsJump() && ins.OpCode.JumpOp() == asm.Exit {
			if set := p.Instructions[i-1]; set.Dst == asm.R0 && set.OpCode.Class().IsALU() && set.OpCode.ALUOp() == asm.Mov && set.OpCode.Source() == asm.ImmSource {
				set.Constant ^= 1
				out = append(out, patch{i - 1: set})
			}
		}
	}
	return out
}
