package symbolic

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// flow is the order in which the instructions of a program are to be explored:
// a weak topological order (Bourdoncle) of each function. Instructions outside
// of loops come in an order that control respects; a loop is one element of
// its surroundings, with an order of its own inside. Exploring the smallest
// state first, all states that will meet at an instruction have arrived there
// when it is their turn, and can be merged.
type flow struct {
	// place of each instruction: positions from the outermost loop inwards.
	// The last is the position within the innermost one; a loop's head is 0.
	place [][]int32
	// heads[i] is the number of loops that instruction i is the head of: 0 or 1.
	head []bool
	// join marks instructions that control reaches from several places.
	join []bool
	// live[i] are the registers that are read after arriving at i, bit r for r.
	live []uint16
}

func newFlow(p *Program) (*flow, error) {
	n := len(p.Insns)
	f := &flow{place: make([][]int32, n), head: make([]bool, n), join: make([]bool, n), live: make([]uint16, n)}
	succ := make([][]int, n)
	preds := make([]int, n)
	entries := []int{0}
	for i := range p.Insns {
		s, err := successors(p, i)
		if err != nil {
			return nil, err
		}
		succ[i] = s
		for _, t := range s {
			preds[t]++
		}
		if p.Insns[i].IsFunctionReference() {
			entries = append(entries, p.Insns[i].Target)
		}
	}
	for _, list := range p.Tails {
		for _, e := range list {
			entries = append(entries, e)
		}
	}
	w := &wto{flow: f, succ: succ, num: make([]int, n), start: make([]int, n)}
	for _, e := range entries {
		if w.num[e] == 0 {
			w.order(e)
		}
	}
	if w.tooDeep {
		return nil, fmt.Errorf("its loops are nested more than %d deep", maxNesting)
	}
	for i := range f.join {
		f.join[i] = preds[i] > 1
	}
	f.liveness(p, succ)
	return f, nil
}

var errFallsOff = errors.New("control runs past the last instruction")

// successors are the instructions that control may reach next within the same
// function.
func successors(p *Program, i int) ([]int, error) {
	ins := &p.Insns[i]
	op := ins.OpCode
	next := func() ([]int, error) {
		if i+1 >= len(p.Insns) {
			return nil, errFallsOff
		}
		return []int{i + 1}, nil
	}
	if !op.Class().IsJump() {
		return next()
	}
	switch op.JumpOp() {
	case asm.Exit:
		return nil, nil
	case asm.Call, asm.InvalidJumpOp:
		if i+1 >= len(p.Insns) {
			return nil, nil // a call that does not return, or nothing the kernel knows
		}
		return []int{i + 1}, nil
	case asm.Ja:
		return []int{ins.Target}, nil
	}
	s, err := next()
	if err == nil && ins.Target != s[0] {
		s = append(s, ins.Target)
	}
	return s, err
}

// wto computes the order, iteratively: programs may be long chains.
type wto struct {
	flow  *flow
	succ  [][]int
	num   []int // of Tarjan's algorithm, over all runs
	start []int // 1 + the run that an instruction was last part of
	runs  int
	next  int
	// tooDeep is set when there are more loops in loops than are followed.
	tooDeep bool
}

// maxNesting bounds how deep loops are nested: every instruction's place is a list of
// that many positions at most.
const maxNesting = 64

// order places everything that is reachable from entry.
func (w *wto) order(entry int) {
	w.components([]int{entry}, nil, -1, nil)
}

// components orders the strongly connected components that are reachable from
// the roots, within the set (nil: everything not yet placed) and without
// passing through head; prefix is the place of what surrounds them.
func (w *wto) components(roots []int, within map[int]bool, head int, prefix []int32) {
	comps := w.tarjan(roots, within, head)
	pos := int32(1) // 0 is the head's
	for i := len(comps) - 1; i >= 0; i-- {
		c := comps[i]
		place := append(append([]int32(nil), prefix...), pos)
		pos++
		h := c[len(c)-1] // the one that was found first
		if len(c) == 1 && !w.loops(h) {
			w.flow.place[h] = place
			continue
		}
		w.flow.place[h] = append(append([]int32(nil), place...), 0)
		w.flow.head[h] = true
		in := map[int]bool{}
		for _, n := range c {
			in[n] = n != h
		}
		if len(place) > maxNesting {
			w.tooDeep = true
			return
		}
		w.components(w.succ[h], in, h, place)
	}
}

func (w *wto) loops(n int) bool {
	for _, s := range w.succ[n] {
		if s == n {
			return true
		}
	}
	return false
}

// tarjan returns strongly connected components in reverse topological order.
// In each the first node that the search met is last.
func (w *wto) tarjan(roots []int, within map[int]bool, head int) [][]int {
	var comps [][]int
	index, low := map[int]int{}, map[int]int{}
	onStack := map[int]bool{}
	var stack []int
	type visit struct{ node, edge int }
	allowed := func(n int) bool {
		if within == nil {
			return w.num[n] == 0 || index[n] > 0
		}
		return n != head && within[n]
	}
	for _, root := range roots {
		if !allowed(root) || index[root] > 0 {
			continue
		}
		work := []visit{{root, 0}}
		for len(work) > 0 {
			v := &work[len(work)-1]
			n := v.node
			if v.edge == 0 {
				index[n] = len(index) + 1
				low[n] = index[n]
				stack = append(stack, n)
				onStack[n] = true
			}
			descended := false
			for v.edge < len(w.succ[n]) {
				s := w.succ[n][v.edge]
				v.edge++
				if !allowed(s) {
					continue
				}
				if index[s] == 0 {
					work = append(work, visit{s, 0})
					descended = true
					break
				}
				if onStack[s] {
					low[n] = min(low[n], index[s])
				}
			}
			if descended {
				continue
			}
			if v.edge == 0 {
				v.edge = 1 // no successors: do not enter again
			}
			work = work[:len(work)-1]
			if len(work) > 0 {
				up := work[len(work)-1].node
				low[up] = min(low[up], low[n])
			}
			if low[n] == index[n] {
				var comp []int
				for {
					s := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					onStack[s] = false
					comp = append(comp, s)
					if s == n {
						break
					}
				}
				comps = append(comps, comp)
			}
		}
	}
	if within == nil {
		for n := range index {
			w.num[n] = 1
		}
	}
	return comps
}

// liveness computes which registers may still be read, so that states are not
// kept apart by what nobody looks at.
func (f *flow) liveness(p *Program, succ [][]int) {
	for changed := true; changed; {
		changed = false
		for i := len(p.Insns) - 1; i >= 0; i-- {
			var out uint16
			for _, s := range succ[i] {
				out |= f.live[s]
			}
			reads, writes := registers(&p.Insns[i])
			if in := out&^writes | reads; in != f.live[i] {
				f.live[i], changed = in, true
			}
		}
	}
}

// registers says which registers an instruction reads and which it overwrites.
func registers(ins *Insn) (reads, writes uint16) {
	op, dst, src := ins.OpCode, uint16(1)<<(ins.Dst&15), uint16(1)<<(ins.Src&15)
	switch cls := op.Class(); {
	case cls.IsALU():
		if op.ALUOp() != asm.Swap && op.Source() == asm.RegSource && op.ALUOp() != asm.Neg {
			reads |= src
		}
		switch op.ALUOp() {
		case asm.Mov, asm.MovSX8, asm.MovSX16, asm.MovSX32:
		default:
			reads |= dst
		}
		return reads, dst
	case cls.IsJump():
		switch op.JumpOp() {
		case asm.Exit:
			return 1, 0
		case asm.Call:
			return 0b111110, 0b111111
		case asm.Ja:
			return 0, 0
		}
		reads = dst
		if op.Source() == asm.RegSource {
			reads |= src
		}
		return reads, 0
	case cls == asm.LdClass:
		if op.IsDWordLoad() {
			return 0, dst
		}
		return src | 1<<6, 0b111111
	case cls == asm.LdXClass:
		return src, dst
	case cls == asm.StClass:
		return dst, 0
	default: // stores of registers, atomics
		if op.Mode() == asm.AtomicMode {
			return dst | src | 1, 0
		}
		return dst | src, 0
	}
}
