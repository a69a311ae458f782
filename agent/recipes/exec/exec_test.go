package exec_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{
		"run":    run,
		"as":     as,
		"become": become,
		"told":   told,
		"fail":   fail,
	})
}

// argMax is how many bytes of arguments an event has room for.
const argMax = 1020

// run executes its first argument with the others.
func run(args []string) error { return exec.Command(args[0], args[1:]...).Run() }

// told does one of the others when the test says so.
func told(args []string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	if args[0] == "become" {
		return become(args[1:])
	}
	return run(args[1:])
}

// as is run under the real user id in its first argument.
func as(args []string) error {
	uid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	// The effective id stays, so that the test's directories can be read.
	if err := unix.Setresuid(uid, -1, -1); err != nil {
		return err
	}
	return run(args[1:])
}

// become executes its arguments in its own process, from a second thread.
func become(args []string) error {
	return recipetest.Thread("rt-exec-thread", func(int) error {
		return syscall.Exec(args[0], args, os.Environ())
	})
}

// fail tries to execute what cannot be.
func fail(args []string) error {
	for path, want := range map[string]error{args[0]: syscall.EACCES, args[0] + "-missing": syscall.ENOENT} {
		if err := syscall.Exec(path, []string{path}, nil); !errors.Is(err, want) {
			return fmt.Errorf("executing %s: %v, want %v", path, err, want)
		}
	}
	return nil
}

// program makes a program of that name that does nothing.
func program(t *testing.T, path ...string) string {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/true", file); err != nil {
		t.Fatal(err)
	}
	return file
}

func write(t *testing.T, file, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func TestArguments(t *testing.T) {
	dir := t.TempDir()
	plain := program(t, dir, "rt-exec-plain")
	full := program(t, dir, "rt-exec-full")
	over := program(t, dir, "rt-exec-over")
	long := program(t, dir, strings.Repeat("d", 200), strings.Repeat("e", 200), "rt-exec-name-over-fifteen")
	script := filepath.Join(dir, "rt-exec-script")
	write(t, script, "#!/bin/sh -e\nexit 0\n", 0o755)
	text := filepath.Join(dir, "rt-exec-text")
	write(t, text, "no program", 0o644)
	decoy := program(t, dir, "rt-exec-decoy")
	// With the program's own path and two NULs exactly as long as there is room.
	fill := strings.Repeat("x", argMax-len(full)-2)

	pids := map[string]int{}
	result := recipetest.Run(t, "what is rt-exec-run running?", func(a *recipetest.Live) {
		start := func(args ...string) { pids[args[0]] = a.Child("rt-exec-run", "run", args...) }
		start(plain, "one two", "", "it's", "grün", "-x=1", "a\x1b[31m")
		start(full, fill)
		start(over, fill+"y")
		start(long, "a")
		start(script, "b")
		a.Child("rt-exec-run", "fail", text)
		a.Child("rt-exec-other", "run", decoy)
	})
	for _, tc := range []struct {
		path, comm, file, args string
	}{
		{plain, "rt-exec-plain", plain, plain + ` 'one two' '' 'it'\''s' grün -x=1 'a` + "\x1b[31m'"},
		{full, "rt-exec-full", full, full + " " + fill},
		{over, "rt-exec-over", over, over + " " + fill + "y …"},
		{long, "rt-exec-name-ov", long[:255], long + " a"},
		{script, "rt-exec-script", script, "/bin/sh -e " + script + " b"},
	} {
		ev := result.Event("execs", recipetest.Want{"file": tc.file, "parent": pids[tc.path]})
		for name, want := range map[string]string{"comm": tc.comm, "args": tc.args, "uid": "0"} {
			if got, _ := ev.Get(name); fmt.Sprint(got) != want {
				t.Errorf("%s of %s is\n%q, want\n%q", name, tc.path, fmt.Sprint(got), want)
			}
		}
		if pid := recipetest.Number(t, ev, "pid"); pid == int64(pids[tc.path]) || pid == 0 {
			t.Errorf("%s has pid %d, its parent is %d", tc.path, pid, pids[tc.path])
		}
	}
	if n := len(result.Events("execs", recipetest.Want{"comm": "rt-exec-run"})); n != 6 {
		t.Errorf("%d events of the six processes rt-exec-run themselves", n)
	}
	under := func(s string) bool { return strings.HasPrefix(s, dir) }
	if n := len(result.Events("execs", recipetest.Want{"file": under})); n != 5 {
		t.Errorf("%d programs below %s, want 5", n, dir)
	}
	result.NoEvent("execs", recipetest.Want{"file": decoy})
	result.NoEvent("execs", recipetest.Want{"comm": "rt-exec-other"})
}

func TestName(t *testing.T) {
	dir := t.TempDir()
	wanted, other := program(t, dir, "rt-exec-wanted"), program(t, dir, "rt-exec-wante")
	var parent int
	result := recipetest.Run(t, "show every exec of rt-exec-wanted", func(a *recipetest.Live) {
		a.Child("rt-exec-parent", "run", other)
		parent = a.Child("rt-exec-parent", "run", wanted, "1")
	})
	result.Event("execs", recipetest.Want{"file": wanted, "parent": parent, "args": wanted + " 1"})
	result.NoEvent("execs", recipetest.Want{"file": other})
	result.NoEvent("execs", recipetest.Want{"comm": "rt-exec-parent"})
}

func TestPid(t *testing.T) {
	dir := t.TempDir()
	child, self, other := program(t, dir, "rt-exec-child"), program(t, dir, "rt-exec-self"), program(t, dir, "rt-exec-other")
	decoy := recipetest.Start(t, "rt-exec-pid", "told", "run", other)
	for _, tc := range []struct {
		name, workload, path string
		pid, parent          func(held int) any
	}{
		{"starts another", "run", child, func(int) any { return func(string) bool { return true } }, func(held int) any { return held }},
		// A second thread that executes something becomes its process.
		{"becomes another", "become", self, func(held int) any { return held }, func(int) any { return os.Getpid() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			held := recipetest.Start(t, "rt-exec-pid", "told", tc.workload, tc.path, "1")
			result := recipetest.Run(t, fmt.Sprintf("which programs are started by pid %d?", held.Pid), func(*recipetest.Live) {
				if tc.path == self {
					decoy.Tell("go")
					decoy.Wait()
				}
				held.Tell("go")
				held.Wait()
			})
			result.Event("execs", recipetest.Want{"file": tc.path, "pid": tc.pid(held.Pid), "parent": tc.parent(held.Pid)})
			if n := len(result.Events("execs", nil)); n != 1 {
				t.Errorf("%d events, want one", n)
			}
		})
	}
}

func TestUser(t *testing.T) {
	dir := t.TempDir()
	wanted, other := program(t, dir, "rt-exec-user"), program(t, dir, "rt-exec-root")
	const uid = "65533"
	result := recipetest.Run(t, "log executed commands of user "+uid, func(a *recipetest.Live) {
		a.Child("rt-exec-as", "as", "65532", other)
		a.Child("rt-exec-as", "run", other)
		a.Child("rt-exec-as", "as", uid, wanted)
	})
	result.Event("execs", recipetest.Want{"file": wanted, "uid": uid})
	result.NoEvent("execs", recipetest.Want{"file": other})
	result.NoEvent("execs", recipetest.Want{"uid": func(s string) bool { return s != uid }})
}
