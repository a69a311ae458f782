package slowsyscalls_test

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"slow": slow, "early": early, "filtered": filtered})
}

const (
	threshold = 20 * time.Millisecond
	user      = 23456
)

// doze sleeps with a call that the runtime does not make.
func doze(d time.Duration) error {
	ts := unix.NsecToTimespec(int64(d))
	return unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
}

// slow makes slow calls in two threads at once: the second waits for a byte of
// the first all the time. It says the second's id, and how long the wait, the
// three sleeps of the first during it, and a call that fails took.
func slow([]string) error {
	pipe := make([]int, 2)
	if err := unix.Pipe(pipe); err != nil {
		return err
	}
	reads := make(chan int, 1)
	var waited recipetest.Took
	worker := make(chan error)
	go func() {
		worker <- recipetest.Thread("rt-worker", func(tid int) error {
			reads <- tid
			var err error
			waited, err = recipetest.Timed(0, func() error {
				_, err := unix.Read(pipe[0], make([]byte, 10))
				return err
			})
			return err
		})
	}()
	tid := <-reads
	var sleeps []recipetest.Took
	for _, d := range []time.Duration{30 * time.Millisecond, 40 * time.Millisecond, 5 * time.Millisecond, 60 * time.Millisecond} {
		took, err := recipetest.Timed(d, func() error { return doze(d) })
		if err != nil {
			return err
		}
		sleeps = append(sleeps, took)
	}
	if _, err := unix.Write(pipe[1], make([]byte, 7)); err != nil {
		return err
	}
	if err := <-worker; err != nil {
		return err
	}
	var set unix.Sigset_t
	limit := unix.NsecToTimespec(int64(25 * time.Millisecond))
	fails, err := recipetest.Timed(25*time.Millisecond, func() error {
		for {
			// Waits for no signal at all; those that it is not for may interrupt it.
			if _, err := sigtimedwait(&set, &limit); err != unix.EINTR {
				return err
			}
		}
	})
	if err != unix.EAGAIN {
		return fmt.Errorf("waiting for a signal: %w, want EAGAIN", err)
	}
	recipetest.Say(tid)
	recipetest.Say(sleeps)
	recipetest.Say([]recipetest.Took{waited, fails})
	return nil
}

func sigtimedwait(set *unix.Sigset_t, limit *unix.Timespec) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(set)), 0, uintptr(unsafe.Pointer(limit)), 8, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// early waits in a call when the trace begins.
func early([]string) error {
	_, err := recipetest.Hear()
	return err
}

func TestThreads(t *testing.T) {
	before := recipetest.Start(t, "rt-slow", "early")
	before.Blocks(unix.SYS_READ)
	var tid int
	var sleeps, others []recipetest.Took
	var p *recipetest.Process
	run := recipetest.Run(t, "system calls of rt-slow slower than 20 ms", func(l *recipetest.Live) {
		p = recipetest.Start(l.T, "rt-slow", "slow")
		if _, err := fmt.Sscan(p.Hear(), &tid); err != nil {
			l.Error(err)
		}
		sleeps, others = recipetest.ParseTook(l.T, p.Hear()), recipetest.ParseTook(l.T, p.Hear())
		p.Wait()
		before.Tell("go on")
		before.Wait()
		l.Child("rt-decoy", "slow")
	})
	type want = recipetest.Want
	within := func(k recipetest.Took) func(string) bool {
		return func(s string) bool {
			var ns time.Duration
			_, err := fmt.Sscan(s, &ns)
			return err == nil && k.Low <= ns && ns <= k.High
		}
	}
	n := 0
	for _, k := range sleeps {
		if k.High >= threshold { // the short one too, when the machine is busy
			n++
		}
		if k.Low >= threshold {
			run.Event("slow", want{"pid": p.Pid, "tid": p.Pid, "comm": "rt-slow", "syscall": "clock_nanosleep", "result": 0, "duration": within(k)})
		}
	}
	got := run.Events("slow", want{"pid": p.Pid, "syscall": "clock_nanosleep"})
	if len(got) != n && len(got) != 3 {
		t.Errorf("%d slow sleeps, want 3: %v", len(got), got)
	}
	// The sleeps are within the wait.
	wait, fails := others[0], others[1]
	wait.Low = sleeps[1].Low + sleeps[2].Low + sleeps[3].Low
	run.Event("slow", want{"pid": p.Pid, "tid": tid, "comm": "rt-worker", "syscall": "read", "result": 7, "duration": within(wait)})
	run.Event("slow", want{"pid": p.Pid, "tid": p.Pid, "comm": "rt-slow", "syscall": "rt_sigtimedwait", "result": "EAGAIN", "duration": within(fails)})
	if tid == p.Pid {
		t.Error("the second thread is the first")
	}
	run.NoEvent("slow", want{"pid": before.Pid, "syscall": "read"})
	run.NoEvent("slow", want{"comm": "rt-decoy"})
	for _, e := range run.Events("slow", nil) {
		if ns := recipetest.Number(t, e, "duration"); ns < int64(threshold) {
			t.Errorf("a call of %d ns is shown: %v", ns, e)
		}
	}
}

// filtered makes one call that is asked for, as another user, and others that
// differ from it in one thing.
func filtered([]string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	if err := doze(30 * time.Millisecond); err != nil {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		if _, err := unix.Poll(nil, 30); err != nil {
			return err
		}
		return doze(30 * time.Millisecond)
	})
}

func TestFilters(t *testing.T) {
	asked, other := recipetest.Start(t, "rt-slow", "filtered"), recipetest.Start(t, "rt-slow", "filtered")
	request := fmt.Sprintf("show clock_nanosleep calls over 20ms of pid %d for user %d", asked.Pid, user)
	run := recipetest.Run(t, request, func(*recipetest.Live) {
		for _, p := range []*recipetest.Process{asked, other} {
			p.Tell("go on")
			p.Wait()
		}
	})
	run.Event("slow", recipetest.Want{"pid": asked.Pid, "comm": "rt-worker", "syscall": "clock_nanosleep"})
	if n := len(run.Events("slow", nil)); n != 1 {
		t.Errorf("%d calls are shown, want only the one asked for: %v", n, run.Events("slow", nil))
	}
}
