package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets tests start this binary again: in the jail, and inside it as what
// tries to get out.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == Arg:
		fmt.Fprintln(os.Stderr, Enter(os.Args[2]))
		os.Exit(117)
	case len(os.Args) == 3 && os.Args[1] == "inside":
		json.NewEncoder(os.Stdout).Encode(attempts(os.Args[2]))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attempts are what something that escaped bpftrace's hands would try; the result
// says what came of each.
func attempts(dir string) map[string]string {
	out := map[string]string{}
	note := func(what string, err error) {
		out[what] = "done"
		if err != nil {
			out[what] = err.Error()
		}
	}
	note("shell", exec.Command("/bin/sh", "-c", "exit 3").Run())
	note("write to /tmp", os.WriteFile("/tmp/kgent-jail-was-here", nil, 0o600))
	note("write to its place", os.WriteFile(filepath.Join(dir, "here"), []byte("x"), 0o600))
	note("remove a file", os.Remove("/etc/hostname"))
	_, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	note("socket", err)
	note("signal another process", unix.Kill(os.Getppid(), 0))
	_, err = unix.Setsid()
	note("leave the group", err)
	note("mount", unix.Mount("none", "/mnt", "tmpfs", 0, ""))
	note("another namespace", unix.Unshare(unix.CLONE_NEWUTS))
	note("trace its parent", unix.PtraceAttach(os.Getppid()))
	note("/dev/null", os.WriteFile("/dev/null", []byte("x"), 0))
	note("gain privileges", syscall.Setuid(0))
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "CapPrm:"); ok {
			out["capabilities"] = strings.TrimSpace(v)
		}
	}
	out["environment"] = strings.Join(os.Environ(), " ")
	return out
}

func inside(t *testing.T, s Spec) map[string]string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if s.Write != "" {
		s.Write = dir
	}
	s.Path, s.Args, s.Env, s.Memory, s.CPU = exe, []string{"inside", dir}, []string{"ONLY=this"}, 8<<30, 20*time.Second
	cmd, err := Command([]string{"/proc/self/exe", Arg}, s)
	if err != nil {
		t.Fatal(err)
	}
	text, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var out map[string]string
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return out
}

func TestJail(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root can see that it has lost its privileges")
	}
	for name, s := range map[string]Spec{"tracing": {Trace: true}, "translating": {Write: "x"}} {
		t.Run(name, func(t *testing.T) {
			got := inside(t, s)
			t.Logf("%v", got)
			want := map[string][]string{
				"shell":                  {"done"}, // which does nothing, whatever it is told
				"write to /tmp":          {"read-only file system"},
				"write to its place":     {"read-only file system"},
				"remove a file":          {"read-only file system", "device or resource busy"},
				"socket":                 {"operation not permitted"},
				"signal another process": {"operation not permitted"},
				"leave the group":        {"operation not permitted"},
				"mount":                  {"operation not permitted"},
				"another namespace":      {"operation not permitted"},
				"trace its parent":       {"operation not permitted"},
				"/dev/null":              {"done"},
				"gain privileges":        {"operation not permitted"},
				"environment":            {"ONLY=this"},
			}
			if s.Write != "" {
				want["write to its place"] = []string{"done"}
			}
			for what, allowed := range want {
				if !slices.ContainsFunc(allowed, func(a string) bool { return strings.HasSuffix(got[what], a) }) {
					t.Errorf("%s: %q, want one of %q", what, got[what], allowed)
				}
			}
			if s.Trace != (got["capabilities"] != "0000000000000000") {
				t.Errorf("capabilities %s", got["capabilities"])
			}
			if _, err := os.Stat("/tmp/kgent-jail-was-here"); err == nil {
				os.Remove("/tmp/kgent-jail-was-here")
				t.Error("it wrote a file")
			}
		})
	}
}

func TestEnterSaysWhy(t *testing.T) {
	cmd, err := Command([]string{"/proc/self/exe", Arg}, Spec{Path: "/nonexistent/bpftrace", Memory: 8 << 30, CPU: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	text, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 117 || !strings.Contains(string(text), "no such file") {
		t.Errorf("%v: %s", err, text)
	}
	if _, err := Command(nil, Spec{}); err == nil {
		t.Error("a jail without a way in")
	}
}

// A file that was opened is run, not what its name leads to by then.
func TestJailOfOpenFile(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := Spec{Path: "/bin/false", File: f, Args: []string{"inside", t.TempDir()}, Env: []string{"ONLY=this"}, Memory: 8 << 30, CPU: 20 * time.Second}
	cmd, err := Command([]string{"/proc/self/exe", Arg}, s)
	if err != nil {
		t.Fatal(err)
	}
	text, err := cmd.Output()
	if err != nil || !strings.Contains(string(text), "ONLY=this") {
		t.Errorf("%v: %q", err, text)
	}
}
