package probe_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// Events that a killed process left in tracefs are removed when nobody has them
// open, and only those with a name of kgent's.
func TestSweepEvents(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root writes to tracefs")
	}
	residue.Check(t)
	places := map[string]string{"uprobe_events": "/proc/self/exe:0x1000", "kprobe_events": "do_sys_openat2"}
	if exe, err := os.Executable(); err == nil {
		places["uprobe_events"] = exe + ":0x1000"
	}
	tried := 0
	for file, place := range places {
		path := filepath.Join(tracefs, file)
		if _, err := os.Stat(path); err != nil {
			continue // kprobes are not in every kernel; what there is, is tried
		}
		tried++
		// Whatever kgent starts meanwhile, of another test, sweeps as well: then it is tried
		// once more, with other names.
		const tries = 10
		for try := 1; !sweepsEvents(t, path, place, fmt.Sprintf("%02x%02x%08x", tried, try, os.Getpid())); try++ {
			if try == tries {
				t.Fatalf("%s: what was to be swept was gone, and nobody said that it was removed, %d times", file, tries)
			}
		}
	}
	if tried == 0 {
		t.Skip("needs a kernel built with CONFIG_KPROBE_EVENTS or CONFIG_UPROBE_EVENTS")
	}
	if _, err := probe.SweepEvents(""); err != nil {
		t.Errorf("where there is no tracefs: %v", err)
	}
}

const tracefs = "/sys/kernel/tracing"

// sweepsEvents makes events at a place, named by digits, and sweeps. It returns false if somebody
// else has swept meanwhile.
func sweepsEvents(t *testing.T, path, place, digits string) bool {
	t.Helper()
	write := func(what string) error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString(what + "\n")
		return err
	}
	mine := []string{"kgent_0000" + digits + "/left", "kgent_0001" + digits + "/left_too"}
	used := "kgent_0002" + digits + "/used"
	others := []string{"kgent_" + digits + "/short", "kgent_0003" + digits + "ff/long", "kgent_ABCD" + digits + "/upper", "kgentx" + digits + "/other", "bpftrace_0000" + digits + "/left"}
	for i, event := range append(append(slices.Clone(mine), used), others...) {
		kind := "p"
		if i == 1 {
			kind = "r"
		}
		if err := write(kind + ":" + event + " " + place); err != nil {
			t.Fatalf("making %s: %v", event, err)
		}
		t.Cleanup(func() {
			if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), event+" ") {
				return // removed
			}
			if err := write("-:" + event); err != nil && !errors.Is(err, unix.ENOENT) {
				t.Errorf("removing %s: %v", event, err)
			}
		})
	}
	text, err := os.ReadFile(filepath.Join(tracefs, "events", used, "id"))
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Sample: 1, Wakeup: 1}, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return false
	}
	if err != nil {
		t.Fatalf("opening %s: %v", used, err)
	}

	swept := func() (n int) {
		t.Helper()
		removed, err := probe.SweepEvents(tracefs)
		if err != nil {
			t.Error(err)
		}
		for _, what := range removed {
			if strings.Contains(what, digits) {
				n++
			}
		}
		return n
	}
	left := func() (out []string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, digits) {
				_, event, _ := strings.Cut(line, ":")
				event, _, _ = strings.Cut(event, " ")
				out = append(out, event)
			}
		}
		slices.Sort(out)
		return out
	}
	want := append([]string{used}, others...)
	slices.Sort(want)
	n := swept()
	if got := left(); !slices.Equal(got, want) {
		t.Errorf("%s: left are %q, want %q", path, got, want)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	again := swept() // whoever had it open died
	if slices.Contains(left(), used) {
		t.Errorf("%s: %s is left, which nobody has open any more", path, used)
	}
	if n > len(mine) || again > 1 {
		t.Errorf("%s: %d and %d were removed, want %d and the one that was in use", path, n, again, len(mine))
	}
	return n >= len(mine) && again >= 1
}
