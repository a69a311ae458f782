package syscallerrors_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"fails": fails, "early": early, "filtered": filtered})
}

const user = 23456

// expect calls f n times; each must end with want.
func expect(n int, want error, f func() error) error {
	for range n {
		if err := f(); err != want {
			return fmt.Errorf("a call ended with %v, want %v", err, want)
		}
	}
	return nil
}

// fails makes calls that the runtime does not make, and has them fail a known
// number of times; some succeed.
func fails([]string) error {
	type call struct {
		n    int
		want error
		f    func() error
	}
	all := func(calls ...call) error {
		for _, c := range calls {
			if err := expect(c.n, c.want, c.f); err != nil {
				return err
			}
		}
		return nil
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := all(
		call{3, unix.ENOENT, func() error { return unix.Mkdir("/nonexistent/x", 0o700) }},
		call{2, unix.EEXIST, func() error { return unix.Mkdir("/", 0o700) }},
		call{4, unix.EBADF, func() error { return unix.Fchdir(-1) }},
		call{5, nil, func() error { return unix.Access("/", unix.F_OK) }},
		call{1, unix.EAFNOSUPPORT, func() error { return unix.Connect(socket, &unix.SockaddrInet6{Port: 443}) }},
		call{1, nil, farSeek},
	); err != nil {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		return expect(6, unix.ENOENT, func() error { return unix.Mkdir("/nonexistent/x", 0o700) })
	})
}

// farSeek succeeds with a result that is negative, and no error.
func farSeek() error {
	mem, err := unix.Open("/proc/self/mem", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	const far = ^uintptr(0xffff)
	if at, _, e := unix.Syscall(unix.SYS_LSEEK, uintptr(mem), far, unix.SEEK_SET); at != far {
		return fmt.Errorf("seeking to %#x: at %#x, %w", far, at, e)
	}
	return nil
}

// early is in a call when the trace begins; a signal ends it.
func early([]string) error {
	if err := unix.Pause(); err != unix.EINTR {
		return fmt.Errorf("pausing: %w, want EINTR", err)
	}
	return nil
}

func TestErrors(t *testing.T) {
	before := recipetest.Start(t, "rt-fails", "early")
	before.Blocks(unix.SYS_PAUSE)
	var pid, decoy int
	run := recipetest.Run(t, "syscall errors of rt-fails", func(l *recipetest.Live) {
		if err := unix.Tgkill(before.Pid, before.Pid, unix.SIGURG); err != nil {
			l.Error(err)
		}
		before.Wait()
		pid = l.Child("rt-fails", "fails")
		decoy = l.Child("rt-decoy", "fails")
	})
	type want = recipetest.Want
	for _, w := range []want{
		{"syscall": "mkdirat", "error": "ENOENT", "count": 9},
		{"syscall": "mkdirat", "error": "EEXIST", "count": 2},
		{"syscall": "fchdir", "error": "EBADF", "count": 4},
		{"syscall": "connect", "error": "EAFNOSUPPORT", "count": 1},
	} {
		w["pid"], w["comm"] = pid, "rt-fails"
		if n := len(run.Rows("errors", w)); n != 1 {
			t.Errorf("%d rows have %v, want one: %v", n, w, run.Rows("errors", nil))
		}
	}
	for _, call := range []string{"mkdirat", "fchdir", "connect", "faccessat", "lseek"} {
		want := map[string]int{"mkdirat": 2, "fchdir": 1, "connect": 1}[call]
		if n := len(run.Rows("errors", recipetest.Want{"pid": pid, "syscall": call})); n != want {
			t.Errorf("%d rows of %s, want %d", n, call, want)
		}
	}
	// As the kernel has it: the call would be made again had the signal no handler.
	if n := len(run.Rows("errors", want{"pid": before.Pid, "syscall": "pause", "error": "ERESTARTNOHAND", "count": 1})); n != 1 {
		t.Errorf("%d rows of the interrupted call, want one: %v", n, run.Rows("errors", nil))
	}
	if rows := run.Rows("errors", want{"pid": decoy}); len(rows) > 0 {
		t.Errorf("another process has rows: %v", rows)
	}
}

// filtered makes one call that is asked for, as another user, and others that
// differ from it in one thing.
func filtered([]string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	asked := func() error { return unix.Mkdir("/nonexistent/x", 0o700) }
	if err := expect(3, unix.ENOENT, asked); err != nil {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		if err := expect(1, unix.EEXIST, func() error { return unix.Mkdir("/", 0o700) }); err != nil {
			return err
		}
		if err := expect(1, unix.ENOENT, func() error { return unix.Rmdir("/nonexistent") }); err != nil {
			return err
		}
		return expect(2, unix.ENOENT, asked)
	})
}

func TestFilters(t *testing.T) {
	asked, other := recipetest.Start(t, "rt-fails", "filtered"), recipetest.Start(t, "rt-fails", "filtered")
	request := fmt.Sprintf("how often does mkdirat fail with ENOENT in pid %d for user %d?", asked.Pid, user)
	run := recipetest.Run(t, request, func(*recipetest.Live) {
		for _, p := range []*recipetest.Process{asked, other} {
			p.Tell("go on")
			p.Wait()
		}
	})
	rows := run.Rows("errors", nil)
	if len(rows) != 1 || len(run.Rows("errors", recipetest.Want{"pid": asked.Pid, "syscall": "mkdirat", "error": "ENOENT", "count": 2})) != 1 {
		t.Errorf("want two mkdirat with ENOENT of pid %d: %v", asked.Pid, rows)
	}
}
