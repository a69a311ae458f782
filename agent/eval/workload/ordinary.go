package workload

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// ordinary are workloads of requests that no steps can play.
func ordinary() []Func {
	return []Func{
		{"bpf-load", "loads a socket filter of a NAME and a number of instructions, and lets go of it", bpfLoad},
	}
}

func bpfLoad(w *W) error {
	n, err := w.Int(1, 2)
	if err != nil {
		return err
	}
	if n < 2 {
		return fmt.Errorf("%d instructions are no program", n)
	}
	code := asm.Instructions{asm.Mov.Imm(asm.R0, 0)}
	for range n - 2 {
		code = append(code, asm.Add.Imm(asm.R0, 1))
	}
	code = append(code, asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: w.Arg(0, "ev_program"), Type: ebpf.SocketFilter, License: "GPL", Instructions: code})
	if err != nil {
		return err
	}
	return p.Close()
}
