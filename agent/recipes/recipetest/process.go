package recipetest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
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
