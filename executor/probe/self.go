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

// OwnPIDNamespace reports whether this process is in a pid namespace of its own, so that it sees
// processes by other ids than programs do.
func OwnPIDNamespace() (bool, error) {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return false, fmt.Errorf("finding this process's pid namespace: %w", err)
	}
	return ns != initPIDNamespace, nil
}

// selfPID returns the id of this process as BPF programs see it: that of the
// first pid namespace, whichever this process lives in.
func selfPID() (int, error) {
	own, err := OwnPIDNamespace()
	if err != nil {
		return 0, err
	}
	if !own {
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
