package runqueuelatency_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"compete": compete, "naps": naps})
}

// compete has two threads fight for one CPU for half a second: while one runs
// the other waits, ready to run.
func compete([]string) error {
	done := make(chan error)
	for range 2 {
		go func() {
			done <- recipetest.Thread("rt-busy", func(int) error {
				var one unix.CPUSet
				one.Set(0)
				if err := unix.SchedSetaffinity(0, &one); err != nil {
					return err
				}
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

// naps sleeps often and runs hardly ever.
func naps([]string) error {
	for range 20 {
		time.Sleep(time.Millisecond)
	}
	return nil
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

// Sleeping is not waiting for a CPU, and other processes are not this one.
func TestRunQueueOfOther(t *testing.T) {
	run := recipetest.Run(t, "run queue latency of rt-nobody", func(l *recipetest.Live) {
		l.Child("rt-decoy", "naps")
	})
	for _, h := range run.Hists("latency", nil) {
		if h.Count != 0 {
			t.Errorf("%d waits of a process that does not exist", h.Count)
		}
	}
}
