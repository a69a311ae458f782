package signals_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"target": target, "sender": sender, "crossfire": crossfire})
}

const user = 23456

// target survives SIGUSR1 and SIGUSR2, and has one thread that blocks SIGUSR2.
// It belongs to a user who may signal it.
func target([]string) error {
	signal.Notify(make(chan os.Signal, 1), unix.SIGUSR1, unix.SIGUSR2)
	if err := syscall.Setuid(user); err != nil {
		return err
	}
	return recipetest.Thread("rt-tthread", func(tid int) error {
		var set unix.Sigset_t
		set.Val[0] = 1 << (unix.SIGUSR2 - 1)
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
			return err
		}
		recipetest.Say(tid)
		_, err := recipetest.Hear()
		return err
	})
}

// sender sends in every way there is: to a target, one of its threads, a
// process of root's, which a user may not signal, and one that ignores it.
func sender(args []string) error {
	pid, err1 := strconv.Atoi(args[0])
	tid, err2 := strconv.Atoi(args[1])
	root, err3 := strconv.Atoi(args[2])
	deaf, err4 := strconv.Atoi(args[3])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := errors.Join(
		unix.Kill(pid, unix.SIGUSR1),
		unix.Tgkill(pid, tid, unix.SIGUSR1),
		unix.Tgkill(pid, tid, unix.SIGUSR2),
		unix.Tgkill(pid, tid, unix.SIGUSR2),
		unix.Kill(deaf, unix.SIGWINCH),
		queue(pid, unix.SIGUSR2),
		unix.Kill(pid, 0), // only asks whether it could
	); err != nil {
		return err
	}
	fault()
	return recipetest.Thread("rt-worker", func(int) error {
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		if err := unix.Kill(root, unix.SIGURG); err != unix.EPERM {
			return fmt.Errorf("signalling root's process: %w, want EPERM", err)
		}
		return unix.Kill(pid, unix.SIGURG)
	})
}

// queue is sigqueue(3).
func queue(pid int, sig unix.Signal) error {
	info := struct { // siginfo_t of a queued signal
		signo, errno, code, _ int32
		pid                   int32
		uid                   uint32
		value                 uint64
		_                     [96]byte
	}{signo: int32(sig), code: -1 /* SI_QUEUE */, pid: int32(os.Getpid())}
	if _, _, errno := unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(sig), uintptr(unsafe.Pointer(&info))); errno != 0 {
		return errno
	}
	return nil
}

// fault touches memory that is not there, and survives.
func fault() {
	defer func() { recover() }()
	var nowhere *int
	*nowhere = 1
}

func TestWays(t *testing.T) {
	goal := recipetest.Start(t, "rt-target", "target")
	tid := goal.Hear()
	deaf := exec.CommandContext(t.Context(), "sleep", "1000") // no signal interests it that does not kill
	if err := deaf.Start(); err != nil {
		t.Fatal(err)
	}
	defer deaf.Wait()
	defer deaf.Process.Kill()
	var from, other int
	run := recipetest.Run(t, "signals sent by rt-sender", func(l *recipetest.Live) {
		args := []string{strconv.Itoa(goal.Pid), tid, strconv.Itoa(os.Getpid()), strconv.Itoa(deaf.Process.Pid)}
		from = l.Child("rt-sender", "sender", args...)
		other = l.Child("rt-other", "sender", args...)
	})
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}

	type want = recipetest.Want
	to := func(w want) want {
		all := want{
			"pid": from, "uid": 0, "comm": "rt-sender", "origin": "process",
			"target_pid": goal.Pid, "target_tid": 0, "target_comm": "rt-target", "result": "delivered",
		}
		for k, v := range w {
			all[k] = v
		}
		return all
	}
	run.Event("signals", to(want{"sig": "SIGUSR1"}))
	run.Event("signals", to(want{"sig": "SIGUSR1", "target_tid": tid}))
	run.Event("signals", to(want{"sig": "SIGUSR2", "target_tid": tid}))
	run.Event("signals", to(want{"sig": "SIGUSR2", "target_tid": tid, "result": "already_pending"}))
	run.Event("signals", to(want{"sig": "SIGWINCH", "target_pid": deaf.Process.Pid, "target_comm": "sleep", "result": "ignored"}))
	run.Event("signals", to(want{"sig": "SIGUSR2"}))
	run.Event("signals", to(want{"sig": "SIGURG", "comm": "rt-worker", "uid": user}))
	if n := len(run.Events("signals", want{"target_pid": goal.Pid})); n != 6 {
		t.Errorf("rt-sender sent 6 signals to the target, %d are shown", n)
	}

	run.Event("signals", want{
		"pid": from, "origin": "kernel", "sig": "SIGSEGV", "target_pid": from, "target_comm": "rt-sender", "result": "delivered",
		"target_tid": func(s string) bool { return s != "0" },
	})
	run.Event("signals", want{
		"pid": from, "origin": "kernel", "sig": "SIGCHLD", "target_pid": os.Getpid(), "target_tid": 0, "target_comm": string(self[:len(self)-1]),
	})
	run.NoEvent("signals", want{"pid": from, "origin": "process", "target_pid": os.Getpid()}) // EPERM
	run.NoEvent("signals", want{"pid": other})
}

// crossfire sends two signals to two targets, as root and as a user.
func crossfire(args []string) error {
	recipetest.Say("ready")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	shoot := func() error {
		for _, a := range args {
			pid, err := strconv.Atoi(a)
			if err != nil {
				return err
			}
			if err := errors.Join(unix.Kill(pid, unix.SIGUSR1), unix.Kill(pid, unix.SIGUSR2)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := shoot(); err != nil {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		return errors.Join(recipetest.SetUID(user), shoot())
	})
}

func TestFilters(t *testing.T) {
	type shot struct {
		sender, target int // 0 is the one asked for
		uid            int
		sig            string
	}
	for _, c := range []struct {
		name    string
		request func(sender, target int) string
		wanted  func(shot) bool
	}{
		{"names", func(int, int) string { return "what signals are sent from rt-sender to rt-target?" },
			func(s shot) bool { return s.sender == 0 && s.target == 0 }},
		{"pids", func(s, t int) string { return fmt.Sprintf("SIGUSR1 signals sent by pid %d to pid %d", s, t) },
			func(s shot) bool { return s.sender == 0 && s.target == 0 && s.sig == "SIGUSR1" }},
		{"user", func(_, t int) string { return fmt.Sprintf("SIGUSR2 signals sent by user %d to pid %d", user, t) },
			func(s shot) bool { return s.target == 0 && s.sig == "SIGUSR2" && s.uid == user }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			targets := []*recipetest.Process{recipetest.Start(t, "rt-target", "target"), recipetest.Start(t, "rt-target2", "target")}
			var pids []string
			for _, p := range targets {
				p.Hear()
				pids = append(pids, strconv.Itoa(p.Pid))
			}
			senders := []*recipetest.Process{recipetest.Start(t, "rt-sender", "crossfire", pids...), recipetest.Start(t, "rt-sender2", "crossfire", pids...)}
			for _, p := range senders {
				p.Hear()
			}
			run := recipetest.Run(t, c.request(senders[0].Pid, targets[0].Pid), func(*recipetest.Live) {
				for _, p := range senders {
					p.Tell("go on")
					p.Wait()
				}
			})
			mine := func(s string) bool { return slices.Contains(pids, s) }
			shown := 0
			for s, from := range senders {
				for to, at := range targets {
					for _, uid := range []int{0, user} {
						for _, sig := range []string{"SIGUSR1", "SIGUSR2"} {
							n := len(run.Events("signals", recipetest.Want{"pid": from.Pid, "uid": uid, "sig": sig, "target_pid": at.Pid}))
							want := 0
							if c.wanted(shot{s, to, uid, sig}) {
								want = 1
							}
							if n != want {
								t.Errorf("%s as %d from sender %d to target %d is shown %d times, want %d", sig, uid, s, to, n, want)
							}
							shown += n
						}
					}
				}
			}
			if n := len(run.Events("signals", recipetest.Want{"target_pid": mine})); n != shown {
				t.Errorf("%d signals to the targets are shown, they received %d of these", n, shown)
			}
			if n := len(run.Events("signals", nil)); c.name != "names" && n != shown {
				t.Errorf("%d signals are shown, %d are those asked for", n, shown)
			}
		})
	}
}
