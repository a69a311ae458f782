package program

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// What loads bytes of a packet writes where it is told to, and not at its size.
func TestLoadsOfPackets(t *testing.T) {
	load := func(to asm.Register) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R4, asm.R1, 76, asm.Word), // may be an address, for all that is known of it
			asm.Mov.Reg(asm.R6, asm.R4),
			asm.Mov.Imm(asm.R2, 0),
			asm.Mov.Reg(asm.R3, to),
			asm.FnSkbLoadBytes.Call(),
			asm.Mov.Imm(asm.R0, 1),
			asm.Return(),
		}
	}
	if _, writes := accesses(ebpf.CGroupSKB, load(asm.R10)); len(writes) > 0 {
		t.Errorf("into the stack: %q", writes)
	}
	if _, writes := accesses(ebpf.CGroupSKB, load(asm.R6)); !slices.Equal(writes, []string{WritesPacket}) {
		t.Errorf("into the packet: %q", writes)
	}
}
