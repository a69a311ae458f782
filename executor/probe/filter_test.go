package probe_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// filterEnv makes the test binary attach by a filter to an interface, say so,
// and wait for the end of its input.
const filterEnv = "KGENT_PROBE_TEST_FILTER"

func attachFilter(arg string) error {
	name, file, _ := strings.Cut(arg, ",")
	elf, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	o, err := program.Parse(elf)
	if err != nil {
		return err
	}
	m, err := program.Build(o, program.Options{Name: "test", Interface: name})
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := probe.NewLoader(probe.Options{}).Old().Load(ctx, o, m)
	if err != nil {
		return err
	}
	if _, err := s.Attach(ctx); err != nil {
		return err
	}
	fmt.Println("attached")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A filter outlives a process that is killed. It is removed by the next kgent,
// and only when its process is dead.
func TestSweep(t *testing.T) {
	if !alone(t) {
		return
	}
	residue.Check(t)
	a, _ := veth(t)
	file := t.TempDir() + "/object"
	if err := os.WriteFile(file, object(t, "tcx.bpf.c", "").ELF(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s,%s", filterEnv, a, file))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "attached\n" {
		_ = cmd.Wait()
		t.Fatalf("the process said %q, %v", line, err)
	}

	// It lives: its filters are left alone.
	if removed, err := probe.Sweep(); err != nil || slices.ContainsFunc(removed, func(s string) bool { return strings.HasSuffix(s, a) }) {
		t.Errorf("removed %q, %v", removed, err)
	}
	if all := filtersOn(t, a); len(all) != 2 {
		t.Errorf("filters %q, want 2", all)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if all := filtersOn(t, a); len(all) != 2 {
		t.Errorf("filters of the dead %q, want 2", all)
	}

	removed, err := probe.Sweep()
	if n := len(slices.DeleteFunc(removed, func(s string) bool { return !strings.HasSuffix(s, " on "+a) })); err != nil || n != 2 {
		t.Errorf("removed %q, %v, want two filters on %s", removed, err, a)
	}
	if all := filtersOn(t, a); len(all) != 0 {
		t.Errorf("filters %q are left", all)
	}
	if there, err := probe.HasClsact(a); err != nil || there {
		t.Errorf("the queueing discipline is left: %v, %v", there, err)
	}
}

// Somebody else's filters and queueing discipline stay.
func TestFilterBesideOthers(t *testing.T) {
	residue.Check(t)
	a, _ := veth(t)
	if err := probe.AddClsact(a); err != nil {
		t.Fatal(err)
	}
	o := object(t, "tcx.bpf.c", "")
	l := loader().Old()
	first := load(t, l, o, manifest(t, o, program.Options{Interface: a}))
	second := load(t, l, o, manifest(t, o, program.Options{Interface: a}))
	attach(t, first)
	attach(t, second)
	if all := filtersOn(t, a); len(all) != 4 {
		t.Errorf("filters %q, want 4", all)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if all := filtersOn(t, a); len(all) != 2 {
		t.Errorf("filters %q, want those of the other", all)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if there, err := probe.HasClsact(a); err != nil || !there {
		t.Errorf("the queueing discipline of somebody else is gone (%v)", err)
	}
}

// A filter that only begins as kgent's do is not removed, nor its queueing discipline.
func TestSweepLeavesOthers(t *testing.T) {
	if !alone(t) {
		return
	}
	residue.Check(t)
	a, _ := veth(t)
	if err := probe.AddClsact(a); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kgent-", "kgent-egress+", "kgent-0123456789ABCDEF", "kgent-0123456789abcdef01", "kgent-0123456789abcdef+"} {
		if err := probe.AddFilter(a, name); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := probe.Sweep()
	removed = slices.DeleteFunc(removed, func(s string) bool { return !strings.HasSuffix(s, " on "+a) })
	if err != nil || !slices.Equal(removed, []string{"filter kgent-0123456789abcdef+ on " + a}) {
		t.Errorf("removed %q, %v", removed, err)
	}
	if all := filtersOn(t, a); len(all) != 4 {
		t.Errorf("filters %q are left, want 4", all)
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 20))
	f.Add(append(make([]byte, 20), 8, 0, 1, 0, 'b', 'p', 'f', 0, 16, 0, 2, 0, 9, 0, 7, 0, 'k', 'g', 'e', 'n', 't', 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) { probe.ParseFilter(b) })
}
