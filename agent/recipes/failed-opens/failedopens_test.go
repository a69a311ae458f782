package failedopens_test

import (
	"fmt"
	"os"
	"os/signal"
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
		"miss":   miss,
		"thread": inThread,
		"told":   told,
		"as":     as,
		"blocks": blocks,
	})
}

// shown is how many bytes of a path an event shows.
const shown = 255

// The two calls that only the older of the machines kgent runs on have.
const (
	sysOpen  = 2
	sysCreat = 85
)

// every lets opens fail below its argument in many ways, and says of each
// error, flags and path.
func every(args []string) error {
	dir := args[0]
	how := unix.OpenHow{Flags: unix.O_RDWR, Resolve: unix.RESOLVE_NO_SYMLINKS}
	type call struct {
		name, flags string
		want        unix.Errno
		open        func(path string) error
	}
	openat := func(flags int) func(string) error {
		return func(p string) error { _, err := unix.Openat(unix.AT_FDCWD, p, flags, 0o600); return err }
	}
	calls := []call{
		{"missing", "O_RDONLY|O_CLOEXEC", unix.ENOENT, openat(unix.O_CLOEXEC)},
		{"file/below", "O_WRONLY", unix.ENOTDIR, openat(unix.O_WRONLY)},
		{"file", "O_RDWR|O_CREAT|O_EXCL", unix.EEXIST, openat(unix.O_RDWR | unix.O_CREAT | unix.O_EXCL)},
		{"link", "O_RDONLY|O_NOFOLLOW", unix.ELOOP, openat(unix.O_NOFOLLOW)},
		{"link", "O_RDWR", unix.ELOOP, func(p string) error { _, err := unix.Openat2(unix.AT_FDCWD, p, &how); return err }},
		{strings.Repeat("n", 300), "O_RDONLY", unix.ENAMETOOLONG, openat(0)},
	}
	if runtime.GOARCH == "amd64" {
		calls = append(calls,
			call{"open", "O_RDONLY", unix.ENOENT, func(p string) error { return old(sysOpen, p) }},
			call{"directory", "O_WRONLY|O_CREAT|O_TRUNC", unix.EISDIR, func(p string) error { return old(sysCreat, p) }})
	}
	for _, c := range calls {
		path := filepath.Join(dir, c.name)
		if err := c.open(path); err != c.want {
			return fmt.Errorf("%s: %v, want %v", path, err, c.want)
		}
		recipetest.Say(unix.ErrnoName(c.want), c.flags, path)
	}
	// What succeeds is no failure.
	fd, err := unix.Open(filepath.Join(dir, "file"), 0, 0)
	if err != nil {
		return err
	}
	recipetest.Say("done")
	return unix.Close(fd)
}

func old(nr uintptr, path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(nr, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// miss opens what is not there, and then what is not a directory.
func miss(args []string) error {
	if _, err := unix.Open(args[0], 0, 0); err != unix.ENOENT {
		return fmt.Errorf("opening %s: %v", args[0], err)
	}
	if _, err := unix.Open("/dev/null/x"+filepath.Base(args[0]), 0, 0); err != unix.ENOTDIR {
		return fmt.Errorf("opening below /dev/null: %v", err)
	}
	return nil
}

func inThread(args []string) error {
	return recipetest.Thread(args[0], func(tid int) error {
		recipetest.Say(tid)
		return miss(args[1:])
	})
}

func told(args []string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	return miss(args)
}

func as(args []string) error {
	uid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := unix.Setresuid(uid, -1, -1); err != nil {
		return err
	}
	return miss(args[1:])
}

// blocks opens a pipe that nobody writes to, until SIGUSR2 interrupts it. It
// says its thread, and when SIGUSR1, which must not, has come.
func blocks(args []string) error {
	restarts := make(chan os.Signal, 1)
	signal.Notify(restarts, unix.SIGUSR1)
	signal.Notify(make(chan os.Signal, 1), unix.SIGUSR2)
	// Go's handlers restart calls: not this one.
	var action struct {
		handler, flags, restorer, mask uint64
	}
	at := uintptr(unsafe.Pointer(&action))
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGUSR2), 0, at, 8, 0, 0); errno != 0 {
		return errno
	}
	action.flags &^= 0x10000000 // SA_RESTART
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGUSR2), at, 0, 8, 0, 0); errno != 0 {
		return errno
	}
	go func() {
		<-restarts
		recipetest.Say("restarts")
	}()
	return recipetest.Thread("rt-fail-blocks", func(tid int) error {
		recipetest.Say(tid)
		if _, err := unix.Open(args[0], 0, 0); err != unix.EINTR {
			return fmt.Errorf("opening a pipe: %v, want %v", err, unix.EINTR)
		}
		return nil
	})
}

// A signal may or may not make an open fail.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	pipe := dir + "/pipe"
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	var p *recipetest.Process
	var tid string
	result := recipetest.Run(t, "failed opens under "+dir, func(a *recipetest.Live) {
		p = recipetest.Start(t, "rt-fail-pipe", "blocks", pipe)
		tid = p.Hear()
		send := func(sig unix.Signal) {
			recipetest.InSyscall(t, p.Pid, tid, unix.SYS_OPENAT)
			n, err := strconv.Atoi(tid)
			if err == nil {
				err = unix.Tgkill(p.Pid, n, sig)
			}
			if err != nil {
				t.Error(err)
			}
		}
		send(unix.SIGUSR1)
		p.Hear()
		send(unix.SIGUSR2)
		p.Wait()
	})
	result.Event("opens", recipetest.Want{"path": pipe, "error": "EINTR", "pid": p.Pid, "tid": tid, "comm": "rt-fail-blocks"})
	if n := len(result.Events("opens", nil)); n != 1 {
		t.Errorf("%d events, want one", n)
	}
}

func TestEveryError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/directory", 0o755); err != nil {
		t.Fatal(err)
	}
	var wants [][]string
	var p, thread *recipetest.Process
	var tid string
	result := recipetest.Run(t, "which file opens of rt-fail fail?", func(a *recipetest.Live) {
		a.Child("rt-fail-other", "miss", dir+"/decoy")
		p = recipetest.Start(t, "rt-fail", "every", dir)
		for line := p.Hear(); line != "done"; line = p.Hear() {
			wants = append(wants, strings.SplitN(line, " ", 3))
		}
		p.Wait()
		thread = recipetest.Start(t, "rt-fail", "thread", "rt-fail-thread", dir+"/threaded")
		tid = thread.Hear()
		thread.Wait()
	})
	for _, w := range wants {
		result.Event("opens", recipetest.Want{"error": w[0], "flags": w[1], "path": w[2][:min(len(w[2]), shown)],
			"pid": p.Pid, "comm": "rt-fail", "uid": 0})
	}
	below := func(s string) bool { return strings.HasPrefix(s, dir) }
	if n := len(result.Events("opens", recipetest.Want{"pid": p.Pid, "path": below})); n != len(wants) || n < 6 {
		t.Errorf("%d events below %s, want %d", n, dir, len(wants))
	}
	result.Event("opens", recipetest.Want{"path": dir + "/threaded", "comm": "rt-fail-thread", "pid": thread.Pid, "tid": tid, "error": "ENOENT"})
	result.NoEvent("opens", recipetest.Want{"path": dir + "/decoy"})
	result.NoEvent("opens", recipetest.Want{"error": "OK"})
}

func TestFilters(t *testing.T) {
	dir := t.TempDir()
	const uid = "65533"
	for _, tc := range []struct {
		name, request string
		only          string // the one event's path
	}{
		{"error", "open errors ENOTDIR of rt-fail-err", "/dev/null/xwanted"},
		{"path", "failed opens under " + dir, dir + "/wanted"},
		{"user", "failed opens under " + dir + " by user " + uid, dir + "/user"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result := recipetest.Run(t, tc.request, func(a *recipetest.Live) {
				switch tc.name {
				case "error":
					a.Child("rt-fail-err", "miss", dir+"/wanted")
					a.Child("rt-fail-other", "miss", dir+"/decoy")
				case "path":
					a.Child("rt-fail-path", "miss", dir+"/wanted")
					a.Child("rt-fail-path", "miss", dir+"-not/decoy")
				case "user":
					a.Child("rt-fail-user", "as", "65532", dir+"/decoy")
					a.Child("rt-fail-user", "miss", dir+"/decoy")
					a.Child("rt-fail-user", "as", uid, dir+"/user")
				}
			})
			result.Event("opens", recipetest.Want{"path": tc.only})
			if n := len(result.Events("opens", nil)); n != 1 {
				t.Errorf("%d events, want one: %v", n, result.Events("opens", nil))
			}
		})
	}
	t.Run("pid", func(t *testing.T) {
		p, decoy := recipetest.Start(t, "rt-fail-pid", "told", dir+"/p"), recipetest.Start(t, "rt-fail-pid", "told", dir+"/d")
		result := recipetest.Run(t, fmt.Sprintf("show failing open calls of pid %d", p.Pid), func(a *recipetest.Live) {
			decoy.Tell("go")
			decoy.Wait()
			p.Tell("go")
			p.Wait()
		})
		result.Event("opens", recipetest.Want{"path": dir + "/p", "pid": p.Pid, "error": "ENOENT"})
		result.Event("opens", recipetest.Want{"path": "/dev/null/xp", "pid": p.Pid, "error": "ENOTDIR"})
		result.NoEvent("opens", recipetest.Want{"pid": func(s string) bool { return s != strconv.Itoa(p.Pid) }})
	})
}
