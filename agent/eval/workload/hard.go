package workload

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"

	"golang.org/x/sys/unix"
)

// hard are the workloads of hard requests: several threads, state over several
// hooks, protocols.
func hard() []Func {
	return []Func{
		{"signal-handlers", "starts a shell for each signal named, which handles it, sends it the signal when it is ready, and waits for its end; the facts are the shells' pids, $victim_0 and so on", signalHandlers},
	}
}

func signalHandlers(w *W) error {
	if err := w.Ready(); err != nil {
		return err
	}
	for i, name := range w.Args {
		sig, err := signalNumber(name)
		if err != nil {
			return err
		}
		pid, err := handled(sig)
		if err != nil {
			return fmt.Errorf("a shell that handles %s: %w", name, err)
		}
		w.Say(fmt.Sprintf("victim_%d", i), pid)
	}
	return nil
}

// handled sends a signal to a shell that waits for it and then ends.
func handled(sig unix.Signal) (pid int, err error) {
	cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("trap 'exit 0' %d; echo ready; read line", sig))
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil && err != io.EOF {
		return 0, err
	}
	if err := unix.Kill(cmd.Process.Pid, sig); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, cmd.Wait()
}
