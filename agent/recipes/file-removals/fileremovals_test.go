package fileremovals_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{
		"every":  every,
		"unlink": unlink,
		"rename": rename,
		"thread": inThread,
		"told":   told,
		"as":     as,
	})
}

// shown is how many bytes of a path an event shows.
const shown = 255

// The calls that only the older of the machines kgent runs on have.
const (
	sysRename = 82
	sysRmdir  = 84
	sysUnlink = 87
)

// longName gives paths longer than an event shows.
var longName = filepath.Join(strings.Repeat("d", 150), strings.Repeat("e", 150))

// every deletes and renames below its argument in every way there is, and says
// of each what it is, the result and the paths.
func every(args []string) error {
	dir := args[0]
	cwd := unix.AT_FDCWD
	type call struct {
		what          string
		path, newPath string
		want          error
		do            func(path, newPath string) error
	}
	unlinkat := func(flags int) func(string, string) error {
		return func(p, _ string) error { return unix.Unlinkat(cwd, p, flags) }
	}
	renameat2 := func(flags uint) func(string, string) error {
		return func(p, q string) error { return unix.Renameat2(cwd, p, cwd, q, flags) }
	}
	renameat := func(p, q string) error { return unix.Renameat(cwd, p, cwd, q) }
	calls := []call{
		{"deleted", "unlinkat", "", nil, unlinkat(0)},
		{"deleted", "unlinkat", "", unix.ENOENT, unlinkat(0)},
		{"deleted", longName, "", nil, unlinkat(0)},
		{"deleted", "directory", "", unix.EISDIR, unlinkat(0)},
		{"removed_directory", "full", "", unix.ENOTEMPTY, unlinkat(unix.AT_REMOVEDIR)},
		{"removed_directory", "directory", "", nil, unlinkat(unix.AT_REMOVEDIR)},
		{"renamed", "renameat", "renameat-new", nil, renameat},
		{"renamed", "renameat2", "renameat2-new", nil, renameat2(0)},
		{"renamed", "renameat-new", "renameat2-new", unix.EEXIST, renameat2(unix.RENAME_NOREPLACE)},
	}
	if runtime.GOARCH == "amd64" {
		calls = append(calls,
			call{"deleted", "unlink", "", nil, func(p, _ string) error { return old(sysUnlink, p, "") }},
			call{"removed_directory", "rmdir", "", nil, func(p, _ string) error { return old(sysRmdir, p, "") }},
			call{"renamed", "rename", "rename-new", nil, func(p, q string) error { return old(sysRename, p, q) }})
	}
	for _, c := range calls {
		path, newPath, result := filepath.Join(dir, c.path), "", "OK"
		if c.newPath != "" {
			newPath = filepath.Join(dir, c.newPath)
		}
		if err := c.do(path, newPath); err != c.want {
			return fmt.Errorf("%s: %v, want %v", path, err, c.want)
		}
		if c.want != nil {
			result = unix.ErrnoName(c.want.(unix.Errno))
		}
		recipetest.Say(c.what, result, path, newPath)
	}
	recipetest.Say("done")
	return nil
}

func old(nr uintptr, path, newPath string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	q, err := unix.BytePtrFromString(newPath)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(nr, uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(q)), 0); errno != 0 {
		return errno
	}
	return nil
}

func unlink(args []string) error { return unix.Unlinkat(unix.AT_FDCWD, args[0], 0) }

func rename(args []string) error {
	return unix.Renameat(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[1])
}

func inThread(args []string) error {
	return recipetest.Thread(args[0], func(tid int) error {
		recipetest.Say(tid)
		return unlink(args[1:])
	})
}

func told(args []string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	return unlink(args)
}

func as(args []string) error {
	uid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := unix.Setresuid(uid, -1, -1); err != nil {
		return err
	}
	return unlink(args[1:])
}

func touch(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryCall(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"unlinkat", longName, "full/file", "directory/x", "rmdir/x", "renameat", "renameat2", "unlink", "rename", "decoy", "thread"} {
		touch(t, filepath.Join(dir, name))
	}
	for _, name := range []string{"directory/x", "rmdir/x"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var wants [][]string
	var p, thread *recipetest.Process
	var tid string
	result := recipetest.Run(t, "which files does rt-rm delete or rename?", func(a *recipetest.Live) {
		a.Child("rt-rm-other", "unlink", dir+"/decoy")
		p = recipetest.Start(t, "rt-rm", "every", dir)
		for line := p.Hear(); line != "done"; line = p.Hear() {
			wants = append(wants, strings.SplitN(line, " ", 4))
		}
		p.Wait()
		thread = recipetest.Start(t, "rt-rm", "thread", "rt-rm-thread", dir+"/thread")
		tid = thread.Hear()
		thread.Wait()
	})
	for _, w := range wants {
		result.Event("removals", recipetest.Want{"what": w[0], "result": w[1], "path": w[2][:min(len(w[2]), shown)], "new_path": w[3],
			"pid": p.Pid, "comm": "rt-rm", "uid": 0})
	}
	if n := len(result.Events("removals", recipetest.Want{"pid": p.Pid})); n != len(wants) || n < 9 {
		t.Errorf("%d events, want %d", n, len(wants))
	}
	result.Event("removals", recipetest.Want{"path": dir + "/thread", "what": "deleted", "comm": "rt-rm-thread", "pid": thread.Pid, "tid": tid})
	result.NoEvent("removals", recipetest.Want{"path": dir + "/decoy"})
}

func TestPath(t *testing.T) {
	dir := t.TempDir()
	in, from, to, out := touch(t, dir+"/in/a"), touch(t, dir+"/in/b"), touch(t, dir+"/c"), touch(t, dir+"/inner/d")
	result := recipetest.Run(t, "who removes or renames files under "+dir+"/in?", func(a *recipetest.Live) {
		a.Child("rt-rm-path", "unlink", in)
		a.Child("rt-rm-path", "rename", from, dir+"/b")
		a.Child("rt-rm-path", "rename", to, dir+"/in/c")
		a.Child("rt-rm-path", "unlink", out)
		a.Child("rt-rm-path", "unlink", dir+"/b")
	})
	result.Event("removals", recipetest.Want{"path": in, "what": "deleted", "new_path": ""})
	result.Event("removals", recipetest.Want{"path": from, "new_path": dir + "/b", "what": "renamed"})
	result.Event("removals", recipetest.Want{"path": to, "new_path": dir + "/in/c", "what": "renamed"})
	if n := len(result.Events("removals", nil)); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

func TestPid(t *testing.T) {
	dir := t.TempDir()
	p := recipetest.Start(t, "rt-rm-pid", "told", touch(t, dir+"/wanted"))
	decoy := recipetest.Start(t, "rt-rm-pid", "told", touch(t, dir+"/decoy"))
	result := recipetest.Run(t, fmt.Sprintf("watch file removals of pid %d", p.Pid), func(a *recipetest.Live) {
		decoy.Tell("go")
		decoy.Wait()
		p.Tell("go")
		p.Wait()
	})
	result.Event("removals", recipetest.Want{"path": dir + "/wanted", "pid": p.Pid})
	if n := len(result.Events("removals", nil)); n != 1 {
		t.Errorf("%d events, want one", n)
	}
}

func TestUser(t *testing.T) {
	dir := t.TempDir()
	const uid = "65533"
	result := recipetest.Run(t, "file removals of user "+uid, func(a *recipetest.Live) {
		a.Child("rt-rm-user", "unlink", touch(t, dir+"/root"))
		a.Child("rt-rm-user", "as", "65532", touch(t, dir+"/other"))
		a.Child("rt-rm-user", "as", uid, touch(t, dir+"/wanted"))
	})
	result.Event("removals", recipetest.Want{"path": dir + "/wanted", "uid": uid})
	result.NoEvent("removals", recipetest.Want{"uid": func(s string) bool { return s != uid }})
}
