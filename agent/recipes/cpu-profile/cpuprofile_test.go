package cpuprofile_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kgent/agent/recipes/recipetest"
	"kgent/executor/output"
)

func TestMain(m *testing.M) { recipetest.Main(m, nil) }

// burner spends its time in a function of its own, called from another.
const burner = `
#include <time.h>
static volatile unsigned long sink;
__attribute__((noinline)) void burn_cpu(void) { for (int i = 0; i < 1000000; i++) sink += i; }
__attribute__((noinline)) void burn_for_a_second(void) {
	clock_t end = clock() + CLOCKS_PER_SEC;
	while (clock() < end) burn_cpu();
}
int main(void) { burn_for_a_second(); return 0; }
`

// compile returns the burner under a name, with frame pointers: without them
// the kernel cannot walk a stack.
func compile(t *testing.T, comm string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "burner.c")
	if err := os.WriteFile(source, []byte(burner), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, comm)
	if out, err := exec.Command("gcc", "-O0", "-o", path, source).CombinedOutput(); err != nil {
		t.Fatalf("compiling the burner: %v\n%s", err, out)
	}
	return path
}

// A process that burns CPU for a second at 99 samples a second: nearly all of
// its samples are in that one function, with its callers by name.
func TestProfile(t *testing.T) {
	busy, decoy := compile(t, "rt-burn"), compile(t, "rt-decoy")
	run := recipetest.Run(t, "CPU profile at 99 Hz of rt-burn, top 100", func(l *recipetest.Live) {
		for _, path := range []string{decoy, busy} {
			if out, err := exec.CommandContext(l.Context(), path).CombinedOutput(); err != nil {
				l.Errorf("%v\n%s", err, out)
			}
		}
	})
	var all, burning uint64
	var stack output.Stack
	for _, s := range run.Stacks("samples", nil) {
		if comm, _ := s.Key.Get("comm"); comm != "rt-burn" {
			t.Errorf("a stack of %v", comm)
		}
		all += s.Count
		for _, f := range s.Frames {
			if strings.HasPrefix(f, "burn_cpu+") {
				burning += s.Count
				stack = s
				break
			}
		}
	}
	// A second of CPU time, at 99 Hz. A busy machine makes it last longer; one whose host
	// has other things to do misses samples meanwhile.
	if all < 20 || all > 150 {
		t.Errorf("%d samples of a second of CPU time at 99 Hz", all)
	}
	if burning*10 < all*8 {
		t.Errorf("%d of %d samples are in burn_cpu, want nearly all", burning, all)
	}
	callers := strings.Join(stack.Frames, " ")
	if !strings.Contains(callers, "burn_for_a_second+") || !strings.Contains(callers, "main+") {
		t.Errorf("the callers are missing: %q", stack.Frames)
	}
}

// What the kernel does for a process is shown by the names of its functions.
func TestKernelFrames(t *testing.T) {
	run := recipetest.Run(t, "CPU profile at 199 Hz of dd, top 100", func(l *recipetest.Live) {
		if out, err := exec.CommandContext(l.Context(), "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=150").CombinedOutput(); err != nil {
			l.Errorf("%v\n%s", err, out)
		}
	})
	reading := uint64(0)
	for _, s := range run.Stacks("samples", recipetest.Want{"comm": "dd"}) {
		for _, f := range s.Frames {
			if strings.Contains(f, "vfs_read+") {
				reading += s.Count
				break
			}
		}
	}
	if reading == 0 {
		t.Errorf("no sample in vfs_read of a process that reads all the time")
	}
}
