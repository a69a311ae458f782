package program

import (
	"slices"
	"sort"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
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
	// Verdicts are the values the program can return, when its type makes the
	// return value an action on a packet, a call or a connection, and all of
	// them are constants; nil means they are not known.
	Verdicts []int32 `json:"verdicts,omitempty"`
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
			case ins.IsBuiltinCall():
				helpers[helperName(asm.BuiltinFunc(ins.Constant))] = true
			case ins.IsKfuncCall():
				kfuncs[ins.Reference()] = true
			}
		}
		f.Helpers, f.Kfuncs = sortedKeys(helpers), sortedKeys(kfuncs)
		f.Verdicts = returned(p.Instructions)
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

// returned finds the constants that R0 can hold where the program ends, by
// walking back from each exit along the control flow. It gives up (nil) on
// anything but moves of constants between registers.
func returned(insns asm.Instructions) []int32 {
	// The first function of the stream is the program; others are subprograms
	// whose exits return to it.
	end := len(insns)
	for i := 1; i < len(insns); i++ {
		if s := insns[i].Symbol(); s != "" && isFunctionStart(insns, s) {
			end = i
			break
		}
	}
	body := insns[:end]
	preds, ok := predecessors(body)
	if !ok {
		return nil
	}
	w := backwalk{body: body, preds: preds, seen: map[place]bool{}, values: map[int32]bool{}}
	exits := 0
	for i, ins := range body {
		if ins.OpCode.JumpOp() != asm.Exit || !isJump(ins) {
			continue
		}
		exits++
		if !w.before(i, asm.R0) {
			return nil
		}
	}
	if exits == 0 {
		return nil
	}
	out := make([]int32, 0, len(w.values))
	for v := range w.values {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

func isFunctionStart(insns asm.Instructions, symbol string) bool {
	for _, ins := range insns {
		if ins.IsFunctionCall() && ins.Reference() == symbol {
			return true
		}
	}
	return false
}

func isJump(ins asm.Instruction) bool {
	c := ins.OpCode.Class()
	return c == asm.JumpClass || c == asm.Jump32Class
}

// predecessors maps each instruction's index to the indexes that control
// comes from. It fails on jumps it cannot resolve.
func predecessors(body asm.Instructions) ([][]int, bool) {
	bySymbol := map[string]int{}
	byOffset := map[asm.RawInstructionOffset]int{}
	iter := body.Iterate()
	for iter.Next() {
		byOffset[iter.Offset] = iter.Index
		if s := iter.Ins.Symbol(); s != "" {
			bySymbol[s] = iter.Index
		}
	}
	preds := make([][]int, len(body))
	iter = body.Iterate()
	for iter.Next() {
		i, ins := iter.Index, iter.Ins
		next := true
		if isJump(*ins) {
			switch op := ins.OpCode.JumpOp(); {
			case op == asm.Exit:
				next = false
			case op == asm.Call:
			default:
				var to int
				var ok bool
				if ref := ins.Reference(); ref != "" {
					to, ok = bySymbol[ref]
				} else {
					dist := int64(ins.Offset)
					if op == asm.Ja && ins.OpCode.Class() == asm.Jump32Class {
						dist = ins.Constant
					}
					to, ok = byOffset[asm.RawInstructionOffset(int64(iter.Offset)+1+dist)]
				}
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

type place struct {
	at  int
	reg asm.Register
}

type backwalk struct {
	body   asm.Instructions
	preds  [][]int
	seen   map[place]bool
	values map[int32]bool
}

// before collects what reg can hold before instruction i.
func (w *backwalk) before(i int, reg asm.Register) bool {
	p := place{i, reg}
	if w.seen[p] {
		return true
	}
	w.seen[p] = true
	if i == 0 || len(w.preds[i]) == 0 {
		return false // from the caller: unknown
	}
	for _, from := range w.preds[i] {
		if !w.after(from, reg) {
			return false
		}
	}
	return true
}

// after collects what reg can hold after instruction i.
func (w *backwalk) after(i int, reg asm.Register) bool {
	ins := w.body[i]
	class := ins.OpCode.Class()
	switch {
	case isJump(ins):
		if ins.OpCode.JumpOp() == asm.Call && reg <= asm.R5 {
			return false
		}
		return w.before(i, reg)
	case class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode:
		if ins.Src == reg || reg == asm.R0 {
			return false // a fetching atomic may write it
		}
		return w.before(i, reg)
	case class == asm.StClass || class == asm.StXClass:
		return w.before(i, reg)
	case ins.Dst != reg:
		return w.before(i, reg)
	case class.IsALU() && ins.OpCode.ALUOp() == asm.Mov && ins.Offset == 0:
		if ins.OpCode.Source() == asm.ImmSource {
			w.values[int32(ins.Constant)] = true
			return true
		}
		return w.before(i, ins.Src)
	}
	return false
}
