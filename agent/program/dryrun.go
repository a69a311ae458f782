package program

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// DryMap is the name of the hidden map in which a dry run counts: one value with
// a counter (u64) for each [DryAction].
const DryMap = ".kgent_dry"

// ErrObserves says that programs only observe, so that there is nothing that a dry
// run could leave out.
var ErrObserves = errors.New("the programs only observe, so there is nothing to leave out")

// DryAction is something that a program would have done.
type DryAction struct {
	Program string
	// Does says what, in words: "returns XDP_DROP", "sends signals to processes
	// (bpf_send_signal)".
	Does string
}

// namedVerdicts are verdicts that have names, by kind of hook.
func namedVerdicts(k Kind) map[int32]string {
	switch k {
	case XDP:
		return map[int32]string{0: "XDP_ABORTED", 1: "XDP_DROP", 3: "XDP_TX", 4: "XDP_REDIRECT"}
	case TCXIngress, TCXEgress:
		return map[int32]string{0: "TCX_PASS", 2: "TCX_DROP", 7: "TCX_REDIRECT"}
	case CgroupIngress, CgroupEgress, CgroupSock:
		return map[int32]string{0: "a denial"}
	}
	return nil
}

// redirected are the helpers whose result is a verdict, by what they return
// when they succeed.
func redirected(helper string, k Kind) (verdict int32, ok bool) {
	switch helper {
	case "bpf_redirect", "bpf_redirect_map", "bpf_redirect_neigh", "bpf_redirect_peer":
		if k == XDP {
			return 4, true
		}
		return 7, true
	}
	return 0, false
}

// DryRun returns the object with programs that look and count instead of act:
// each call that changes something is left out, as if it had returned 0, and
// each return of a verdict that changes something becomes the one that does not.
// What would have happened is counted: see [Object.DryActions]. The object has no
// ELF.
//
// It fails when a program changes something by plain stores (into a packet, or
// its context), continues in another program, or only observes ([ErrObserves]).
func (o *Object) DryRun() (*Object, error) {
	if o.script {
		return nil, errors.New("making a dry run: a script runs as it is, or not at all")
	}
	d := &dry{o: o}
	altered := map[string]asm.Instructions{}
	facts, err := o.Facts()
	if err != nil {
		return nil, fmt.Errorf("making a dry run: %w", err)
	}
	for i, p := range o.Programs() {
		f := facts[i]
		if slices.Contains(f.Helpers, "bpf_tail_call") {
			return nil, fmt.Errorf("making a dry run: program %s continues in another, whose doings are not its own", p.Name)
		}
		if altered[p.Name], err = d.program(p, f.Hook.Kind); err != nil {
			return nil, fmt.Errorf("making a dry run: program %s: %w", p.Name, err)
		}
	}
	out, err := o.Altered(altered)
	if err != nil {
		return nil, err
	}
	if out.spec.Maps[DryMap] != nil {
		return nil, fmt.Errorf("making a dry run: the object has a map %s of its own", DryMap)
	}
	if len(d.actions) == 0 {
		return nil, fmt.Errorf("making a dry run: %w", ErrObserves)
	}
	// Calls that are left out write nothing; what still does are plain stores.
	if facts, err = out.Facts(); err != nil {
		return nil, fmt.Errorf("making a dry run: %w", err)
	}
	for _, f := range facts {
		if len(f.Writes) > 0 {
			return nil, fmt.Errorf("making a dry run: program %s writes into its %s, which cannot be left out", f.Program, strings.Join(f.Writes, " and "))
		}
	}
	out.dry = d.actions
	out.spec.Maps[DryMap] = &ebpf.MapSpec{Name: DryMap, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(8 * len(d.actions)), MaxEntries: 1}
	return out, nil
}

// DryActions returns what a dry run counts, in the order of the counters in
// [DryMap]; nil of an object that is none.
func (o *Object) DryActions() []DryAction { return slices.Clone(o.dry) }

// dry rewrites programs.
type dry struct {
	o       *Object
	actions []DryAction
}

// slot returns the offset of an action's counter.
func (d *dry) slot(a DryAction) uint32 {
	i := slices.Index(d.actions, a)
	if i < 0 {
		i = len(d.actions)
		d.actions = append(d.actions, a)
	}
	return uint32(8 * i)
}

// count counts an action. It uses r1 and r2, which a call destroys anyway and
// nobody needs at an end.
func (d *dry) count(a DryAction) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapValue(asm.R1, 0, d.slot(a)).WithReference(DryMap),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
	}
}

// program rewrites one program. Instructions are replaced one by one by jumps to
// what is appended at the end of their function, so that no other jump changes.
func (d *dry) program(p *ebpf.ProgramSpec, kind Kind) (asm.Instructions, error) {
	var out asm.Instructions
	for start := 0; start < len(p.Instructions); {
		f := body(p.Instructions, start)
		rewritten, err := d.function(p, kind, slices.Clone(f), start == 0)
		if err != nil {
			return nil, err
		}
		out = append(out, rewritten...)
		start += len(f)
	}
	return out, nil
}

func (d *dry) function(p *ebpf.ProgramSpec, kind Kind, f asm.Instructions, main bool) (asm.Instructions, error) {
	harmless, judged := kind.Harmless()
	offsets := make([]int64, len(f))
	end := int64(0)
	for iter := f.Iterate(); iter.Next(); {
		offsets[iter.Index] = int64(iter.Offset)
		end = int64(iter.Offset) + int64(iter.Ins.Size()/asm.InstructionSize)
	}
	var tail asm.Instructions
	size := func() int64 { return int64(tail.Size()) / asm.InstructionSize }
	jump := func(from, to int64) (asm.Instruction, error) {
		distance := to - from - 1
		if distance < math.MinInt16 || distance > math.MaxInt16 {
			return asm.Instruction{}, errors.New("it is too long")
		}
		return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Ja), Offset: int16(distance)}, nil
	}
	leave := int64(-1) // where the end of the program is
	for i := range f {
		ins := &f[i]
		switch {
		case main && judged && ins.OpCode.JumpOp() == asm.Exit && ins.OpCode.Class().IsJump():
			if leave < 0 {
				leave = end + size()
				tail = append(tail, d.epilogue(p.Name, kind, harmless)...)
			}
			j, err := jump(offsets[i], leave)
			if err != nil {
				return nil, err
			}
			*ins = inPlaceOf(ins, j)
		case ins.OpCode.JumpOp() == asm.Call && ins.OpCode.Class().IsJump() && !ins.IsFunctionCall():
			call := helperName(asm.BuiltinFunc(ins.Constant))
			if ins.IsKfuncCall() {
				call = ins.Reference()
			}
			effect, does, known := EffectOf(call)
			if effect < Acts {
				continue
			}
			if !known {
				does = "does what nobody here knows"
			}
			there := end + size()
			if verdict, ok := redirected(call, kind); ok {
				// The verdict that it returns is judged where the program ends.
				tail = append(tail, asm.Mov.Imm(asm.R0, verdict))
			} else {
				tail = append(tail, d.count(DryAction{p.Name, does + " (" + call + ")"})...)
				tail = append(tail, asm.Mov.Imm(asm.R0, 0))
			}
			back, err := jump(end+size(), offsets[i]+1)
			if err != nil {
				return nil, err
			}
			tail = append(tail, back)
			j, err := jump(offsets[i], there)
			if err != nil {
				return nil, err
			}
			*ins = inPlaceOf(ins, j)
		}
	}
	return append(f, tail...), nil
}

// inPlaceOf returns an instruction with what the old one's place carries: the
// function that begins there, and its line.
func inPlaceOf(old *asm.Instruction, ins asm.Instruction) asm.Instruction {
	if s := old.Symbol(); s != "" {
		ins = ins.WithSymbol(s)
	}
	if f := btf.FuncMetadata(old); f != nil {
		ins = btf.WithFuncMetadata(ins, f)
	}
	if old.Source() != nil {
		ins = ins.WithSource(old.Source())
	}
	return ins
}

// epilogue counts a verdict that changes something and returns the one that
// does not.
func (d *dry) epilogue(prog string, kind Kind, harmless int32) asm.Instructions {
	names := namedVerdicts(kind)
	var verdicts []int32
	for v := range names {
		verdicts = append(verdicts, v)
	}
	slices.Sort(verdicts)
	other := d.count(DryAction{prog, "returns another verdict than " + harmlessName(kind, harmless)})
	leave := asm.Instructions{asm.Mov.Imm(asm.R0, harmless), asm.Return()}
	// From the end, so that each test knows how far it is to the next.
	rest := other
	for _, v := range slices.Backward(verdicts) {
		count := d.count(DryAction{prog, "returns " + names[v]})
		words := func(i asm.Instructions) int16 { return int16(i.Size() / asm.InstructionSize) }
		test := asm.Instruction{OpCode: asm.OpCode(asm.Jump32Class).SetJumpOp(asm.JNE).SetSource(asm.ImmSource), Dst: asm.R0, Constant: int64(v), Offset: words(count) + 1}
		done := asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Ja), Offset: words(rest)}
		rest = slices.Concat(asm.Instructions{test}, count, asm.Instructions{done}, rest)
	}
	pass := asm.Instruction{OpCode: asm.OpCode(asm.Jump32Class).SetJumpOp(asm.JEq).SetSource(asm.ImmSource), Dst: asm.R0, Constant: int64(harmless), Offset: int16(rest.Size() / asm.InstructionSize)}
	return slices.Concat(asm.Instructions{pass}, rest, leave)
}

// harmlessName is a harmless verdict as people know it.
func harmlessName(k Kind, verdict int32) string {
	switch k {
	case XDP:
		return "XDP_PASS"
	case TCXIngress, TCXEgress:
		return "TCX_NEXT"
	}
	return fmt.Sprint(verdict)
}
