package recipetest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Process is a workload that runs beside the test and talks with it a line at
// a time: what must happen before the trace, or is only known to the workload
// (a thread's id, a port the kernel chose).
type Process struct {
	Pid    int
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *bytes.Buffer
}

// Start starts a workload of [Main] in a process whose name (comm) is comm. It
// ends with the test at the latest.
func Start(t *testing.T, comm, workload string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, name: workload + " as " + comm, cmd: Command(t, comm, workload, args...), stderr: new(bytes.Buffer)}
	p.cmd.Stderr = p.stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting workload %s: %v", p.name, err)
	}
	p.in, p.out, p.Pid = in, bufio.NewReader(out), p.cmd.Process.Pid
	return p
}

// Hear returns the next line that the workload says.
func (p *Process) Hear() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("hearing from workload %s: %v\n%s", p.name, errors.Join(err, p.cmd.Wait()), p.stderr)
	}
	return strings.TrimSuffix(line, "\n")
}

// Tell lets the workload's next [Hear] return line.
func (p *Process) Tell(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatalf("telling workload %s: %v\n%s", p.name, errors.Join(err, p.cmd.Wait()), p.stderr)
	}
}

// Wait returns when the workload has ended, and fails the test when it did not
// end well.
func (p *Process) Wait() {
	p.t.Helper()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("workload %s: %v\n%s", p.name, err, p.stderr)
	}
}

// End returns when the workload has ended, however it did, and says how in the
// words of [os.ProcessState].
func (p *Process) End() string {
	p.t.Helper()
	if _, ok := p.cmd.Wait().(*exec.ExitError); !ok && !p.cmd.ProcessState.Success() {
		p.t.Fatalf("waiting for workload %s: %v\n%s", p.name, p.cmd.ProcessState, p.stderr)
	}
	return p.cmd.ProcessState.String()
}

// Say tells the test something; for workloads.
func Say(v ...any) { fmt.Println(v...) }

// Hear returns the next line that the test tells; for workloads. It fails
// when the test is over.
func Hear() (string, error) {
	// One byte at a time: what follows the line is the next call's.
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(os.Stdin, b); err != nil {
			return "", fmt.Errorf("waiting for the test: %w", err)
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
}

// Asleep waits until a thread of this process sleeps in a system call; for
// workloads whose call must have begun before something else.
func Asleep(tid, syscall int) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", tid))
		if err != nil {
			return fmt.Errorf("looking at thread %d: %w", tid, err)
		}
		if strings.HasPrefix(string(text), fmt.Sprintf("%d ", syscall)) { // "running" while it runs
			return nil
		}
	}
	return fmt.Errorf("thread %d does not sleep in system call %d", tid, syscall)
}

// Blocks returns when a thread of the process is in a system call, by number.
func (p *Process) Blocks(nr int) {
	p.t.Helper()
	in := fmt.Sprintf("%d ", nr)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", p.Pid))
		if err != nil {
			p.t.Fatal(err)
		}
		for _, path := range threads {
			// A thread may have ended meanwhile.
			if call, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(call), in) {
				return
			}
		}
	}
	p.t.Fatalf("workload %s does not get into system call %d", p.name, nr)
}
