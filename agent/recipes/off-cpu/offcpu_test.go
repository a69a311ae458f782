package offcpu_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"sleep": sleep})
}

const (
	naps = 6
	nap  = 30 * time.Millisecond
)

// sleep sleeps in a thread with a name of its own, and says how many threads
// the process has.
func sleep([]string) error {
	return recipetest.Thread("rt-sleeper", func(int) error {
		defer func() {
			threads, err := os.ReadDir("/proc/self/task")
			recipetest.Say(len(threads), err)
		}()
		for range naps {
			ts := unix.NsecToTimespec(int64(nap))
			for unix.Nanosleep(&ts, &ts) == unix.EINTR {
			}
		}
		return nil
	})
}

// The time a process sleeps is there, under the process's own name; the time
// of another process is not.
func TestOffCPU(t *testing.T) {
	var pid, threads int
	var alive time.Duration
	run := recipetest.Run(t, "off-CPU time by process of rt-sleep", func(l *recipetest.Live) {
		l.Child("rt-decoy", "sleep")
		start := time.Now()
		p := recipetest.Start(l.T, "rt-sleep", "sleep")
		if n, err := fmt.Sscan(p.Hear(), &threads); n != 1 || threads < 2 {
			l.Fatalf("the process has %d threads, %v", threads, err)
		}
		p.Wait()
		pid, alive = p.Pid, time.Since(start)
	})
	rows := run.Rows("off_cpu", recipetest.Want{"pid": pid, "comm": "rt-sleep"})
	if len(rows) != 1 {
		t.Fatalf("%d rows of the process, want one", len(rows))
	}
	v := rows[0].Value
	if sum := recipetest.Number(t, v, "sum"); sum < int64(naps*nap) {
		t.Errorf("off the CPU for %v, it slept %v", time.Duration(sum), naps*nap)
	} else if most := int64(threads+1) * int64(alive); sum > most { // one may have begun since
		t.Errorf("off the CPU for %v, %d threads lived for %v", time.Duration(sum), threads, alive)
	}
	if n := recipetest.Number(t, v, "count"); n < naps {
		t.Errorf("off the CPU %d times, it slept %d times", n, naps)
	}
	if most := recipetest.Number(t, v, "max"); most < int64(nap) || most > int64(alive) {
		t.Errorf("the longest time off the CPU is %v, a nap is %v, and the process lived for %v", time.Duration(most), nap, alive)
	}
	if all := run.Rows("off_cpu", nil); len(all) != 1 {
		t.Errorf("rows of other processes: %v", all)
	}
}
