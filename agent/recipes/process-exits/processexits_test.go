package processexits_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

// The main goroutine stays on the process's first thread; headless needs it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{
		"exits": exits, "threads": threads, "headless": headless, "waits": waits,
	})
}

const user = 23456

// exits ends with a status.
func exits(args []string) error {
	status, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	os.Exit(status)
	return nil
}

// threads ends as a user, by a thread that has a name of its own, after
// another thread has ended.
func threads([]string) error {
	if err := syscall.Setuid(user); err != nil {
		return err
	}
	if err := recipetest.Thread("rt-brief", func(int) error { return nil }); err != nil {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		os.Exit(5)
		return nil
	})
}

// headless goes on after its first thread has ended, with other threads that
// all have another name than the process.
func headless([]string) error {
	go func() {
		for {
			stat, err := os.ReadFile("/proc/self/stat")
			if err == nil && strings.Contains(string(stat), ") Z ") {
				tids, _ := filepath.Glob("/proc/self/task/*/comm")
				for _, tid := range tids {
					if tid != fmt.Sprintf("/proc/self/task/%d/comm", os.Getpid()) {
						os.WriteFile(tid, []byte("rt-part"), 0)
					}
				}
				recipetest.Say("headless")
				recipetest.Hear()
				os.Exit(7)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, _, err := unix.Syscall(unix.SYS_EXIT, 6, 0, 0)
	return err // it never returns
}

// waits is there to be killed.
func waits(args []string) error {
	if args[0] != "0" {
		uid, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		if err := syscall.Setuid(uid); err != nil {
			return err
		}
	}
	recipetest.Say("waiting")
	_, err := recipetest.Hear()
	return err
}

// end is how the program that waited for a process saw it end.
func end(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	err := cmd.Wait()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		s := unix.SignalName(ws.Signal())
		if ws.CoreDump() {
			s += " (core dumped)"
		}
		return s
	}
	return fmt.Sprintf("exit %d", ws.ExitStatus())
}

func TestEnds(t *testing.T) {
	type want = recipetest.Want
	var wants []want
	killed := recipetest.Start(t, "rt-exit", "waits", "0")
	killed.Hear()
	started := time.Now()
	var least, most time.Duration
	var decoy int
	run := recipetest.Run(t, "exit codes of rt-exit", func(l *recipetest.Live) {
		decoy = l.Child("rt-decoy", "exits", "0")
		one := func(status string, uid int, workload string, args ...string) {
			cmd := recipetest.Command(l.T, "rt-exit", workload, args...)
			if err := cmd.Start(); err != nil {
				l.Fatal(err)
			}
			if got := end(l.T, cmd); got != status {
				l.Fatalf("%s %v ended with %s, want %s", workload, args, got, status)
			}
			wants = append(wants, want{"pid": cmd.Process.Pid, "status": status, "uid": uid})
		}
		one("exit 0", 0, "exits", "0")
		one("exit 3", 0, "exits", "3")
		one("exit 255", 0, "exits", "255")
		one("exit 5", user, "threads")
		// sleep has no handlers, so these end it as they end most programs.
		for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGSEGV, unix.SIGUSR1} {
			cmd := recipetest.Command(l.T, "rt-exit", "")
			sleep, err := exec.LookPath("sleep")
			if err != nil {
				l.Fatal(err)
			}
			if err := os.Remove(cmd.Path); err != nil {
				l.Fatal(err)
			}
			if err := os.Symlink(sleep, cmd.Path); err != nil {
				l.Fatal(err)
			}
			cmd.Args = append(cmd.Args, "1000")
			cmd.Dir = l.TempDir() // where a core may go
			if err := cmd.Start(); err != nil {
				l.Fatal(err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				l.Fatal(err)
			}
			wants = append(wants, want{"pid": cmd.Process.Pid, "status": end(l.T, cmd), "uid": 0})
		}

		head := recipetest.Start(l.T, "rt-exit", "headless")
		head.Hear()
		head.Tell("end")
		if got := head.End(); got != "exit status 7" {
			l.Fatalf("headless ended with %s", got)
		}
		wants = append(wants, want{"pid": head.Pid, "status": "exit 7", "uid": 0})

		least = time.Since(started)
		if err := unix.Kill(killed.Pid, unix.SIGKILL); err != nil {
			l.Fatal(err)
		}
		if got := killed.End(); got != "signal: killed" {
			l.Fatalf("waits ended with %s", got)
		}
		most = time.Since(started) + time.Second // it began before it said so
		wants = append(wants, want{"pid": killed.Pid, "status": "SIGKILL", "uid": 0})
	})
	for _, w := range wants {
		w["comm"], w["parent"] = "rt-exit", os.Getpid()
		f := run.Event("exits", w)
		if n := len(run.Events("exits", want{"pid": w["pid"]})); n != 1 {
			t.Errorf("the end of process %v is shown %d times", w["pid"], n)
		}
		ns := time.Duration(recipetest.Number(t, f, "lived"))
		if ns <= 0 || ns > most {
			t.Errorf("the process lived %v, want more than 0 and at most %v", ns, most)
		}
		if w["pid"] == killed.Pid && ns < least {
			t.Errorf("the process that began before the trace lived %v, want at least %v", ns, least)
		}
	}
	run.NoEvent("exits", want{"pid": decoy})
}

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		name    string
		request func(pid int) string
		wanted  []int
	}{
		// Of rt-exit: killed as root 0, killed as a user 1, terminated as a user 2, exit 9 3; of rt-other: killed as a user 4.
		{"signal", func(int) string { return "which rt-exit processes end with SIGKILL?" }, []int{0, 1}},
		{"user", func(int) string { return fmt.Sprintf("which processes of user %d end with SIGKILL?", user) }, []int{1, 4}},
		{"pid", func(pid int) string { return fmt.Sprintf("when does pid %d of user %d exit?", pid, user) }, []int{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			uid := strconv.Itoa(user)
			all := []*recipetest.Process{
				recipetest.Start(t, "rt-exit", "waits", "0"), recipetest.Start(t, "rt-exit", "waits", uid),
				recipetest.Start(t, "rt-exit", "waits", uid), nil, recipetest.Start(t, "rt-other", "waits", uid),
			}
			pids := make([]int, len(all))
			for i, p := range all {
				if p != nil {
					p.Hear()
					pids[i] = p.Pid
				}
			}
			run := recipetest.Run(t, c.request(pids[1]), func(l *recipetest.Live) {
				for i, p := range all {
					switch i {
					case 3:
						p = recipetest.Start(l.T, "rt-exit", "exits", "9") // the number of SIGKILL, as a status
						pids[i] = p.Pid
					case 2:
						if err := unix.Kill(p.Pid, unix.SIGTERM); err != nil {
							l.Fatal(err)
						}
					default:
						if err := unix.Kill(p.Pid, unix.SIGKILL); err != nil {
							l.Fatal(err)
						}
					}
					p.End()
				}
			})
			wanted := map[int]bool{}
			for _, i := range c.wanted {
				wanted[i] = true
			}
			for i, pid := range pids {
				n := len(run.Events("exits", recipetest.Want{"pid": pid}))
				if wanted[i] && n != 1 || !wanted[i] && n != 0 {
					t.Errorf("the end of process %d is shown %d times; wanted: %v", i, n, wanted[i])
				}
			}
		})
	}
}
