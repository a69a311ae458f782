package fileopens_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{
		"every":  every,
		"open":   openOne,
		"thread": inThread,
		"many":   many,
		"blocks": blocks,
		"as":     as,
	})
}

// longName is a path, relative to the test's directory, with which any path is
// longer than an event shows.
var longName = filepath.Join(strings.Repeat("d", 150), strings.Repeat("e", 150))

// shown is how many bytes of a path an event shows.
const shown = 255

// The two calls that only the older of the machines kgent runs on have.
const (
	sysOpen  = 2
	sysCreat = 85
)

// every opens files below its argument in every way there is, and says of each
// its name, flags and descriptor.
func every(args []string) error {
	dir := args[0]
	const relative = "rt-relative"
	dirfd, err := unix.Open(dir, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	recipetest.Say(dir, "O_RDONLY|O_PATH", dirfd)
	how := unix.OpenHow{Flags: unix.O_RDWR | unix.O_CLOEXEC}
	type call struct {
		name, flags string
		open        func(path string) (int, error)
	}
	calls := []call{
		{"openat", "O_RDONLY|O_CLOEXEC", func(p string) (int, error) { return unix.Openat(unix.AT_FDCWD, p, unix.O_CLOEXEC, 0) }},
		{"created", "O_WRONLY|O_CREAT|O_EXCL|O_APPEND", func(p string) (int, error) {
			return unix.Openat(unix.AT_FDCWD, p, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_APPEND, 0o644)
		}},
		{"openat2", "O_RDWR|O_CLOEXEC", func(p string) (int, error) { return unix.Openat2(unix.AT_FDCWD, p, &how) }},
		{longName, "O_RDONLY", func(p string) (int, error) { return unix.Open(p, 0, 0) }},
	}
	if runtime.GOARCH == "amd64" {
		calls = append(calls,
			call{"open", "O_RDONLY|O_NOFOLLOW", func(p string) (int, error) { return old(sysOpen, p, unix.O_NOFOLLOW) }},
			call{"creat", "O_WRONLY|O_CREAT|O_TRUNC", func(p string) (int, error) { return old(sysCreat, p, 0o644) }})
	}
	for _, c := range calls {
		path := filepath.Join(dir, c.name)
		fd, err := c.open(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		recipetest.Say(path, c.flags, fd)
	}
	fd, err := unix.Openat(dirfd, relative, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	recipetest.Say(relative, "O_RDONLY", fd)
	if _, err := unix.Open(filepath.Join(dir, "missing"), 0, 0); err != unix.ENOENT {
		return fmt.Errorf("opening what is missing: %v", err)
	}
	recipetest.Say("done")
	return nil
}

func old(nr uintptr, path string, arg int) (int, error) {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	fd, _, errno := unix.Syscall(nr, uintptr(unsafe.Pointer(p)), uintptr(arg), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func openOne(args []string) error {
	fd, err := unix.Open(args[0], 0, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// inThread opens its second argument in a thread named like its first.
func inThread(args []string) error {
	return recipetest.Thread(args[0], func(tid int) error {
		recipetest.Say(tid)
		return openOne(args[1:])
	})
}

// files is how many files each of the threads of many opens.
const files = 60

// many opens files from two threads at once, and says their ids.
func many(args []string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	var start, done sync.WaitGroup
	start.Add(2)
	errs := make([]error, 2)
	for i, name := range []string{"x", "y"} {
		done.Go(func() {
			errs[i] = recipetest.Thread("rt-open-"+name, func(tid int) error {
				recipetest.Say(name, tid)
				start.Done()
				start.Wait()
				for n := range files {
					if err := openOne([]string{fmt.Sprintf("%s/%s%d", args[0], name, n)}); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	done.Wait()
	recipetest.Say("done")
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// blocks says which thread opens a pipe, which blocks until somebody writes.
func blocks(args []string) error {
	return recipetest.Thread("rt-open-blocks", func(tid int) error {
		recipetest.Say(tid)
		return openOne(args)
	})
}

// as opens a file under another real user id.
func as(args []string) error {
	uid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := unix.Setresuid(uid, -1, -1); err != nil {
		return err
	}
	return openOne(args[1:])
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
	for _, name := range []string{"openat", "openat2", "open", "rt-relative", longName} {
		touch(t, filepath.Join(dir, name))
	}
	decoy, threaded := touch(t, filepath.Join(dir, "decoy")), touch(t, filepath.Join(dir, "threaded"))
	named := touch(t, filepath.Join(dir, "named"))

	type want struct{ path, flags, fd string }
	var wants []want
	var pid int
	var other, thread, namedThread *recipetest.Process
	var threadTid, namedTid string
	result := recipetest.Run(t, "what files does rt-open open?", func(a *recipetest.Live) {
		a.Child("rt-open-other", "open", decoy)
		other = recipetest.Start(t, "rt-open", "every", dir)
		pid = other.Pid
		for line := other.Hear(); line != "done"; line = other.Hear() {
			f := strings.Fields(line)
			wants = append(wants, want{f[0], f[1], f[2]})
		}
		other.Wait()
		// A thread of another name, of a process of the name; and the reverse.
		thread = recipetest.Start(t, "rt-open", "thread", "rt-open-thread", threaded)
		threadTid = thread.Hear()
		thread.Wait()
		namedThread = recipetest.Start(t, "rt-open-proc", "thread", "rt-open", named)
		namedTid = namedThread.Hear()
		namedThread.Wait()
	})
	for _, w := range wants {
		result.Event("opens", recipetest.Want{"path": w.path[:min(len(w.path), shown)], "flags": w.flags, "fd": w.fd,
			"pid": pid, "tid": func(s string) bool { return s != "0" }, "comm": "rt-open", "uid": 0})
	}
	below := func(s string) bool { return strings.HasPrefix(s, dir) || s == "rt-relative" }
	if n := len(result.Events("opens", recipetest.Want{"pid": pid, "path": below})); n != len(wants) || n < 6 {
		t.Errorf("%d events below %s, want %d", n, dir, len(wants))
	}
	result.Event("opens", recipetest.Want{"path": threaded, "comm": "rt-open-thread", "pid": thread.Pid, "tid": threadTid})
	result.Event("opens", recipetest.Want{"path": named, "comm": "rt-open", "pid": namedThread.Pid, "tid": namedTid})
	result.NoEvent("opens", recipetest.Want{"path": decoy})
}

func TestPathAndThreads(t *testing.T) {
	dir := t.TempDir()
	for i := range files {
		touch(t, fmt.Sprintf("%s/in/x%d", dir, i))
		touch(t, fmt.Sprintf("%s/in/y%d", dir, i))
	}
	outside := touch(t, dir+"/inner/file")
	pipe := dir + "/in/pipe"
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader := recipetest.Start(t, "rt-open-reader", "blocks", pipe)
	recipetest.InSyscall(t, reader.Pid, reader.Hear(), unix.SYS_OPENAT)
	p := recipetest.Start(t, "rt-open-many", "many", dir+"/in")
	decoy := recipetest.Start(t, "rt-open-many", "many", dir+"/in")
	decoyDone := make(chan struct{})

	tids := map[string]string{}
	var writer int
	result := recipetest.Run(t, fmt.Sprintf("show files opened by pid %d under %s/in", p.Pid, dir), func(a *recipetest.Live) {
		go func() {
			defer close(decoyDone)
			decoy.Tell("go")
			for decoy.Hear() != "done" {
			}
			decoy.Wait()
		}()
		p.Tell("go")
		for line := p.Hear(); line != "done"; line = p.Hear() {
			name, tid, _ := strings.Cut(line, " ")
			tids[name] = tid
		}
		p.Wait()
		<-decoyDone
	})
	for name, tid := range tids {
		for i := range files {
			result.Event("opens", recipetest.Want{"path": fmt.Sprintf("%s/in/%s%d", dir, name, i), "tid": tid, "comm": "rt-open-" + name})
		}
	}
	if n := len(result.Events("opens", nil)); n != 2*files || len(tids) != 2 {
		t.Errorf("%d events of %d threads, want %d of 2", n, len(tids), 2*files)
	}

	const uid = "65533"
	result = recipetest.Run(t, fmt.Sprintf("trace file opens under %s/in", dir), func(a *recipetest.Live) {
		a.Child("rt-open-out", "open", outside)
		a.Child("rt-open-user", "as", uid, dir+"/in/x1")
		// The reader's open ends too, but began before the trace.
		fd, err := unix.Open(pipe, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			a.Error(err)
			return
		}
		unix.Close(fd)
		writer = os.Getpid()
		reader.Wait()
	})
	result.Event("opens", recipetest.Want{"path": pipe, "pid": writer, "flags": "O_WRONLY|O_CLOEXEC"})
	result.Event("opens", recipetest.Want{"path": dir + "/in/x1", "uid": uid, "comm": "rt-open-user"})
	if n := len(result.Events("opens", nil)); n != 2 {
		t.Errorf("%d events below %s/in, want 2", n, dir)
	}
}

func TestUser(t *testing.T) {
	dir := t.TempDir()
	wanted, other := touch(t, dir+"/wanted"), touch(t, dir+"/other")
	const uid = "65533"
	result := recipetest.Run(t, fmt.Sprintf("files opened in %s by user %s", dir, uid), func(a *recipetest.Live) {
		a.Child("rt-open-user", "open", other)
		a.Child("rt-open-user", "as", "65532", other)
		a.Child("rt-open-user", "as", uid, wanted)
	})
	result.Event("opens", recipetest.Want{"path": wanted, "uid": uid})
	if n := len(result.Events("opens", nil)); n != 1 {
		t.Errorf("%d events, want one", n)
	}
}
