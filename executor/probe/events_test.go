package probe_test

import (
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
	const tracefs = "/sys/kernel/tracing"
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
		write := func(what string) error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString(what + "\n")
			return err
		}
		digits := fmt.Sprintf("%02x%010x", tried, os.Getpid()) // the two files share their names
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
				if err := write("-:" + event); err != nil {
					t.Errorf("removing %s: %v", event, err)
				}
			})
		}
		text, err := os.ReadFile(filepath.Join(tracefs, "events", used, "id"))
		if err != nil {
			t.Fatal(err)
		}
		id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Sample: 1, Wakeup: 1}, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
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
		if n := swept(); n != len(mine) {
			t.Errorf("%s: %d were removed, want %d", file, n, len(mine))
		}
		want := append([]string{used}, others...)
		slices.Sort(want)
		if got := left(); !slices.Equal(got, want) {
			t.Errorf("%s: left are %q, want %q", file, got, want)
		}
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
		if n := swept(); n != 1 { // whoever had it open died
			t.Errorf("%s: %d were removed, want the one that was in use", file, n)
		}
	}
	if tried == 0 {
		t.Skip("needs a kernel built with CONFIG_KPROBE_EVENTS or CONFIG_UPROBE_EVENTS")
	}
	if _, err := probe.SweepEvents(""); err != nil {
		t.Errorf("where there is no tracefs: %v", err)
	}
}
