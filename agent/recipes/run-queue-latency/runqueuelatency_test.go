package runqueuelatency_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"compete": compete, "sleep": sleep})
}

// compete has two threads fight for one CPU for half a second: while one runs
// the other waits, ready to run.
func compete([]string) error {
	done := make(chan error)
	var there sync.WaitGroup
	there.Add(2)
	for range 2 {
		go func() {
			done <- recipetest.Thread("rt-busy", func(int) error {
				var one unix.CPUSet
				one.Set(0)
				err := unix.SchedSetaffinity(0, &one)
				there.Done()
				if err != nil {
					return err
				}
				there.Wait()
				for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
				}
				return nil
			})
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

const (
	naps = 50
	nap  = 10 * time.Millisecond
)

// sleep sleeps often and runs hardly ever, in a thread of its own, says so, and is there
// until the test has looked at it.
func sleep([]string) error {
	return recipetest.Thread("rt-sleeper", func(int) error {
		for range naps {
			ts := unix.NsecToTimespec(int64(nap))
			for unix.Nanosleep(&ts, &ts) == unix.EINTR {
			}
		}
		recipetest.Say("rested")
		_, err := recipetest.Hear()
		return err
	})
}

// waited is for how long the kernel thinks that a process's threads waited for a CPU.
func waited(t *testing.T, pid int) (sum uint64) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d threads of process %d, %v", len(files), pid, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var ran, waited uint64
		if _, err := fmt.Sscan(string(text), &ran, &waited); err != nil {
			t.Fatalf("reading %s: %v", file, err)
		}
		sum += waited
	}
	return sum
}

// Each of two threads that want one CPU all the time waits for about as long
// as the other runs: half of half a second in all, less what the rest of the
// machine takes, which only adds to it.
func TestRunQueue(t *testing.T) {
	run := recipetest.Run(t, "run queue latency of rt-compete", func(l *recipetest.Live) {
		l.Child("rt-decoy", "compete")
		l.Child("rt-compete", "compete")
	})
	hists := run.Hists("latency", nil)
	if len(hists) != 1 {
		t.Fatalf("%d histograms, want one", len(hists))
	}
	var waited, most uint64 // at least, at most
	for _, b := range hists[0].Buckets {
		waited += b.Count * b.Min
		most += b.Count * b.Max
	}
	if most < uint64(300*time.Millisecond) {
		t.Errorf("two threads on one CPU waited %v at most, it must have been half a second in all:\n%v", time.Duration(most), hists[0].Buckets)
	}
	if waited > uint64(20*time.Second) {
		t.Errorf("half a second of two threads cannot be %v of waiting: was time asleep counted?", time.Duration(waited))
	}
}

// Sleeping is not waiting for a CPU: what is shown is at most what the kernel's
// own account says, which is far from the time asleep.
func TestRunQueueOfSleeper(t *testing.T) {
	var p *recipetest.Process
	run := recipetest.Run(t, "run queue latency of rt-dozer", func(l *recipetest.Live) {
		p = recipetest.Start(l.T, "rt-dozer", "sleep")
		p.Hear()
	})
	account := waited(t, p.Pid) // and a little after the trace
	p.Tell("end")
	p.Wait()
	hists := run.Hists("latency", nil)
	if len(hists) != 1 {
		t.Fatalf("%d histograms, want one", len(hists))
	}
	var least uint64
	for _, b := range hists[0].Buckets {
		least += b.Count * b.Min
	}
	if hists[0].Count < naps {
		t.Errorf("%d waits, the process woke up %d times", hists[0].Count, naps)
	}
	// The two do not look at one clock.
	const slack = uint64(naps * nap / 5)
	if least > account+slack {
		t.Errorf("%v of waiting, the kernel says %v: was time asleep counted?\n%v", time.Duration(least), time.Duration(account), hists[0].Buckets)
	}
}

// Other processes are not this one.
func TestRunQueueOfOther(t *testing.T) {
	run := recipetest.Run(t, "run queue latency of rt-nobody", func(l *recipetest.Live) {
		p := recipetest.Start(l.T, "rt-decoy", "sleep")
		p.Hear()
		p.Tell("end")
		p.Wait()
	})
	for _, h := range run.Hists("latency", nil) {
		if h.Count != 0 {
			t.Errorf("%d waits of a process that does not exist", h.Count)
		}
	}
}
