package executor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
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
	for line := bufio.NewScanner(os.Stdin); line.Scan(); {
		panic("told to")
	}
	select {}
}

// silence is a sink.
type silence struct{}

func (silence) Admit() bool          { return true }
func (silence) Line([]byte)          {}
func (silence) Record(output.Record) {}

// However the process ends, nothing of its programs is left.
func TestNothingOutlivesTheProcess(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	dir := t.TempDir()
	for name, h := range held {
		o, m := built(t, h.source, h.opt)
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
	for _, how := range []string{"killed", "killed by a fault", "panics"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), holdEnv+"="+dir, "GOTRACEBACK=none")
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
		var programs, maps []uint32
		all := false
		for lines := bufio.NewScanner(out); !all && lines.Scan(); {
			var a output.Attached
			switch err := json.Unmarshal(lines.Bytes(), &a); {
			case lines.Text() == "all":
				all = true
			case err != nil:
				t.Error(lines.Text())
			}
			programs, maps = append(programs, a.ProgramIDs...), append(maps, a.MapIDs...)
		}
		switch how {
		case "killed":
			cmd.Process.Signal(syscall.SIGKILL)
		case "killed by a fault":
			cmd.Process.Signal(syscall.SIGABRT)
		case "panics":
			fmt.Fprintln(in, "now")
		}
		cmd.Wait()
		if !all || len(programs) != len(held) {
			t.Fatalf("%s: %d programs were attached, want %d", how, len(programs), len(held))
		}
		residue.Gone(t, slices.Compact(programs), maps)
	}
}
