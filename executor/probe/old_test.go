package probe_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// The ways that only older kernels need work on this one too.

func TestOldPerfEvent(t *testing.T) {
	residue.Check(t)
	o := object(t, "perf_event.bpf.c", "")
	l := probe.NewLoader(probe.Options{}).Old()
	s := load(t, l, o, manifest(t, o, program.Options{Constants: map[string]string{"pid": fmt.Sprint(os.Getpid())}, Hz: 499}))
	attach(t, s)
	deadline := time.Now().Add(patience)
	for {
		flood(1, 1<<16, 1)
		cells, err := s.Cells("samples")
		if err != nil {
			t.Fatal(err)
		}
		if len(cells) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no sample in %v", patience)
		}
	}
	if err := s.Detach(); err != nil {
		t.Fatal(err)
	}
	// Closed, the clocks no longer run the program.
	before := samples(t, s)
	flood(1, 1<<20, 1)
	if after := samples(t, s); after != before {
		t.Errorf("%d samples after detaching, %d before", after, before)
	}
}

func samples(t *testing.T, s *probe.Set) (n uint64) {
	t.Helper()
	cells, err := s.Cells("samples")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cells {
		n += sum(c)
	}
	return n
}

func TestOldCells(t *testing.T) {
	residue.Check(t)
	o := object(t, "maps.bpf.c", "")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	attach(t, s)
	flood(mark, 2000, 2)
	text := func(cells []probe.Cell) []string {
		var out []string
		for _, c := range cells {
			out = append(out, fmt.Sprintf("%x: %x", c.Key, c.Values))
		}
		slices.Sort(out)
		return out
	}
	for _, name := range s.Outputs() {
		batches, err := s.Cells(name)
		if err != nil {
			t.Fatal(err)
		}
		single, err := s.CellsOneByOne(name)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := text(batches), text(single); len(a) < 100 || !slices.Equal(a, b) {
			t.Errorf("%s: %d cells in batches, %d one by one, and not the same ones", name, len(a), len(b))
		}
	}
}

// pidEnv makes the test binary print its pid as programs see it.
const pidEnv = "KGENT_PROBE_TEST_PID"

func printPID() error {
	pid, err := probe.SelfPID()
	if err != nil {
		return err
	}
	fmt.Println(pid)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// Programs know this process by its pid outside of all containers.
func TestSelfPID(t *testing.T) {
	residue.Check(t)
	if pid, err := probe.KernelPID(); err != nil || pid != os.Getpid() {
		t.Errorf("the kernel's pid of this process is %d (%v), want %d", pid, err, os.Getpid())
	}
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", os.Args[0])
	cmd.Env = append(os.Environ(), pidEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(out).ReadString('\n')
	children, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	if err := errors.Join(err, readErr, in.Close(), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(got) != strings.TrimSpace(string(children)) {
		t.Errorf("in a pid namespace: %q, want %q", got, children)
	}
}
