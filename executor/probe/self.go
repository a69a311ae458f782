package probe

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// initPIDNamespace is the name of the pid namespace the kernel starts with;
// its inode number is fixed.
const initPIDNamespace = "pid:[4026531836]"

// selfPID returns the id of this process as BPF programs see it: that of the
// first pid namespace, whichever this process lives in.
func selfPID() (int, error) {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return 0, fmt.Errorf("finding this process's pid namespace: %w", err)
	}
	if ns == initPIDNamespace {
		return os.Getpid(), nil
	}
	return kernelPID()
}

// kernelPID asks the kernel which process id bpf_get_current_pid_tgid gives
// this process, by running a program in its context. Requires Linux 5.10.
func kernelPID() (int, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "kgent_self",
		Type: ebpf.RawTracepoint,
		Instructions: asm.Instructions{
			asm.FnGetCurrentPidTgid.Call(),
			asm.RSh.Imm(asm.R0, 32),
			asm.Return(),
		},
		License: "GPL",
	})
	if err != nil {
		return 0, fmt.Errorf("finding this process's pid outside of its pid namespace: %w", err)
	}
	defer prog.Close()
	pid, err := prog.Run(&ebpf.RunOptions{Context: make([]byte, 8)})
	if err != nil {
		return 0, fmt.Errorf("finding this process's pid outside of its pid namespace: %w: run kgent in the host's pid namespace", err)
	}
	return int(pid), nil
}
