package program

import (
	"math"
	"math/bits"

	"github.com/cilium/ebpf/asm"
)

// MaxTurns is how many turns of loops a program may take at one event to count
// as an observer. More of them hold the processor for so long that the host is
// not the same any more.
const MaxTurns = 1 << 20

// mostTurns is what the kernel allows any one loop.
const mostTurns = 1 << 23

// counted are the calls that begin a loop whose turns the verifier does not go
// through one by one, and the registers that bound them: below to, and for
// bpf_iter_num_new not below from.
var counted = map[string]struct{ from, to asm.Register }{
	"bpf_loop":         {asm.R0, asm.R1},
	"bpf_iter_num_new": {asm.R2, asm.R3},
}

// walking are those that go through something, and how much there can be of
// it: by the kernel's bounds, by those of a manifest, or on a busy host.
var walking = map[string]uint64{
	"bpf_for_each_map_elem":  MaxMapEntries,
	"bpf_user_ringbuf_drain": 128 << 10,
	"bpf_iter_task_new":      128 << 10,
	"bpf_iter_task_vma_new":  64 << 10,
	"bpf_iter_css_new":       64 << 10,
	"bpf_iter_css_task_new":  128 << 10,
	"bpf_iter_bits_new":      32 << 10,
}

// turns returns how many turns the loops of a program take at most, each as
// deep in the others as can be. It is no measure of a program's cost: loops
// that the verifier follows are not in it.
func turns(insns asm.Instructions) uint64 {
	product := uint64(1)
	start := 0
	for i := range insns {
		if insns[i].Symbol() != "" {
			start = i
		}
		ins := &insns[i]
		n := uint64(1)
		switch {
		case ins.OpCode.Class() == asm.JumpClass && ins.OpCode.JumpOp() == mayGoto:
			n = mostTurns
		case ins.OpCode.JumpOp() == asm.Call && !ins.IsFunctionCall():
			name := ins.Reference()
			if ins.IsBuiltinCall() {
				name = helperName(asm.BuiltinFunc(ins.Constant))
			}
			if loop, ok := counted[name]; ok {
				n = bound(body(insns, start), i-start, loop.from, loop.to)
			} else {
				n = walking[name]
			}
		default:
			continue
		}
		hi, lo := bits.Mul64(product, max(n, 1))
		if product = lo; hi != 0 {
			return math.MaxUint64
		}
	}
	return product
}

// mayGoto is the operation of the conditional jump that the kernel takes until
// its patience ends (Linux 6.9).
const mayGoto asm.JumpOp = 0xe0

// body returns the function that begins at an instruction.
func body(insns asm.Instructions, start int) asm.Instructions {
	for i := start + 1; i < len(insns); i++ {
		if insns[i].Symbol() != "" {
			return insns[start:i]
		}
	}
	return insns[start:]
}

// bound returns the turns of the loop that is called at an instruction.
func bound(body asm.Instructions, at int, from, to asm.Register) uint64 {
	least, most := int64(0), int64(0)
	ends := constants(body, place{at, to})
	if ends == nil {
		return mostTurns
	}
	for n := range ends {
		most = max(most, int64(uint32(n)))
	}
	if from != asm.R0 {
		begins := constants(body, place{at, from})
		if begins == nil {
			return mostTurns
		}
		// Of these the numbers are signed.
		most = math.MinInt32
		for n := range ends {
			most = max(most, int64(n))
		}
		least = math.MaxInt32
		for n := range begins {
			least = min(least, int64(n))
		}
	}
	return uint64(min(max(most-least, 0), mostTurns))
}
