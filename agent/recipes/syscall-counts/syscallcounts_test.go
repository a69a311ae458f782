package syscallcounts_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"calls": calls, "early": early, "filtered": filtered})
}

const user = 23456

// calls makes known numbers of calls that the runtime does not make: in a
// thread of another name 7 getppid, then 5 getppid, 3 fchdir that fail.
func calls([]string) error {
	if err := recipetest.Thread("rt-worker", func(int) error {
		for range 7 {
			unix.Getppid()
		}
		return nil
	}); err != nil {
		return err
	}
	for range 5 {
		unix.Getppid()
	}
	for range 3 {
		if err := unix.Fchdir(-1); err != unix.EBADF {
			return fmt.Errorf("fchdir: %w, want EBADF", err)
		}
	}
	return nil
}

// early waits in a call when the trace begins.
func early([]string) error {
	poll := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}}
	for {
		if _, err := unix.Ppoll(poll, nil, nil); err != unix.EINTR {
			return err
		}
	}
}

func TestCounts(t *testing.T) {
	before := recipetest.Start(t, "rt-calls", "early")
	before.Blocks(unix.SYS_PPOLL)
	var pid, decoy int
	run := recipetest.Run(t, "count system calls of rt-calls, top 100", func(l *recipetest.Live) {
		before.Tell("go on")
		before.Wait()
		pid = l.Child("rt-calls", "calls")
		decoy = l.Child("rt-decoy", "calls")
	})
	for call, n := range map[string]int{"getppid": 12, "fchdir": 3} {
		if len(run.Rows("by_syscall", recipetest.Want{"syscall": call, "count": n})) != 1 {
			t.Errorf("want %d of %s: %v", n, call, run.Rows("by_syscall", nil))
		}
	}
	if rows := run.Rows("by_syscall", recipetest.Want{"syscall": "ppoll"}); len(rows) > 0 {
		t.Errorf("a call from before the trace is counted: %v", rows)
	}
	rows := run.Rows("by_process", recipetest.Want{"pid": pid, "comm": "rt-calls"})
	if len(rows) != 1 {
		t.Fatalf("%d rows of the process, want one: %v", len(rows), run.Rows("by_process", nil))
	}
	// Of its other calls are those of the runtime.
	if n := recipetest.Number(t, rows[0].Value, "count"); n < 12+3 {
		t.Errorf("%d calls of the process, it made at least 15", n)
	}
	if rows := run.Rows("by_process", recipetest.Want{"pid": decoy}); len(rows) > 0 {
		t.Errorf("another process is counted: %v", rows)
	}
}

// filtered makes calls as one user and as another.
func filtered([]string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	unix.Getppid()
	return recipetest.Thread("rt-worker", func(int) error {
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		for range 4 {
			unix.Getppid()
		}
		unix.Getsid(0)
		return nil
	})
}

func TestFilters(t *testing.T) {
	asked, other := recipetest.Start(t, "rt-calls", "filtered"), recipetest.Start(t, "rt-calls", "filtered")
	request := fmt.Sprintf("number of getppid calls by process for user %d in pid %d", user, asked.Pid)
	run := recipetest.Run(t, request, func(*recipetest.Live) {
		for _, p := range []*recipetest.Process{asked, other} {
			p.Tell("go on")
			p.Wait()
		}
	})
	for table, w := range map[string]recipetest.Want{
		"by_process": {"pid": asked.Pid, "comm": "rt-calls", "count": 4},
		"by_syscall": {"syscall": "getppid", "count": 4},
	} {
		if rows := run.Rows(table, nil); len(rows) != 1 || len(run.Rows(table, w)) != 1 {
			t.Errorf("%s: %v, want only %v", table, rows, w)
		}
	}
}
