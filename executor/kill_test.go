package executor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
)

// holdEnv names a directory with programs and manifests that the process is to
// load, attach, and hold until it is killed.
const holdEnv = "KGENT_TEST_HOLD"

// held are programs of each way of being attached that this test's kernels have
// in common.
var held = map[string]struct {
	source string
	opt    program.Options
}{
	"tracepoint": {prelude + `SEC("tp/syscalls/sys_enter_getppid") int p(void *ctx) { return 0; }`, program.Options{}},
	"raw":        {prelude + `SEC("raw_tp/sys_enter") int p(void *ctx) { return 0; }`, program.Options{}},
	"uprobe":     {prelude + `SEC("uprobe/libc.so.6:malloc") int p(void *ctx) { return 0; }`, program.Options{}},
	"perf":       {prelude + `SEC("perf_event") int p(void *ctx) { return 0; }`, program.Options{Hz: 10}},
	"cgroup":     {prelude + `SEC("cgroup_skb/egress") int p(void *ctx) { return 1; }`, program.Options{}},
	"tcx":        {prelude + `SEC("tcx/ingress") int p(void *ctx) { return -1; }`, program.Options{Interface: "lo"}},
}

// hold attaches everything and says what, a line each; then it waits, unless it
// is to fall over.
func hold() {
	dir := os.Getenv(holdEnv)
	fail := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	k := NewKernel("n", probe.NewLoader(probe.Options{}), render.NewEnv())
	files, err := filepath.Glob(filepath.Join(dir, "*.o"))
	fail(err)
	for _, f := range files {
		elf, err := os.ReadFile(f)
		fail(err)
		manifest, err := os.ReadFile(strings.TrimSuffix(f, ".o") + ".json")
		fail(err)
		o, m, err := program.Open(elf, manifest)
		fail(err)
		p, err := k.Load(context.Background(), o, m)
		fail(err)
		a, err := p.Attach(context.Background())
		fail(err)
		go p.Stream(context.Background(), silence{})
		fail(json.NewEncoder(os.Stdout).Encode(a))
	}
	fmt.Println("all")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch what := lines.Text(); what {
		case "panic":
			panic("told to")
		case "eat": // all there is
			for taken := [][]byte{}; ; {
				more := make([]byte, 1<<20)
				for i := range more {
					more[i] = byte(i)
				}
				taken = append(taken, more)
			}
		default: // a cgroup to be in
			fail(os.WriteFile(filepath.Join(what, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0))
		}
	}
	select {}
}

// readAttached reads what a process that holds programs says of them.
func readAttached(out io.Reader) (all []output.Attached, err error) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "all" {
			return all, nil
		}
		var a output.Attached
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			return nil, errors.New(lines.Text())
		}
		all = append(all, a)
	}
	return nil, fmt.Errorf("it ended after %d programs: %v", len(all), lines.Err())
}

// hand puts a program where a process that holds programs finds it.
func hand(t *testing.T, dir, name, source string, opt program.Options) {
	t.Helper()
	o, m := built(t, source, opt)
	manifest, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for suffix, b := range map[string][]byte{".o": o.ELF(), ".json": manifest} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// silence is a sink.
type silence struct{}

func (silence) Admit() bool          { return true }
func (silence) Line([]byte)          {}
func (silence) Lines([]byte, int)    {}
func (silence) Record(output.Record) {}

// However the process ends, nothing of its programs is left.
func TestNothingOutlivesTheProcess(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	dir := t.TempDir()
	for name, h := range held {
		hand(t, dir, name, h.source, h.opt)
	}
	for _, how := range []string{"killed", "killed by a fault", "panics", "killed for its memory"} {
		t.Run(how, func(t *testing.T) {
			var group string
			var kills func() string
			if how == "killed for its memory" {
				group, kills = little(t, 32<<20)
			}
			h := startHolding(t, dir)
			if len(h.programs) != len(held) {
				t.Errorf("%d programs were attached, want %d", len(h.programs), len(held))
			}
			switch how {
			case "killed":
				h.cmd.Process.Signal(syscall.SIGKILL)
			case "killed by a fault":
				h.cmd.Process.Signal(syscall.SIGABRT)
			case "panics":
				h.tell("panic")
			case "killed for its memory":
				h.tell(group)
				h.tell("eat")
			}
			h.cmd.Wait()
			if kills != nil && kills() != "1" {
				t.Errorf("it ended %v, and the kernel killed %s for their memory", h.cmd.ProcessState, kills())
			}
			residue.Gone(t, slices.Compact(h.programs), h.maps)
		})
	}
}
