package fsynclatency_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"sync": syncs, "early": early, "filtered": filtered})
}

const (
	quick = 5 * time.Millisecond
	slow  = 20 * time.Millisecond
	user  = 23456
)

// paced lets each operation take a time of its own.
func paced(op recipetest.Op) {
	switch op {
	case recipetest.Fsync:
		time.Sleep(slow)
	case recipetest.Fdatasync:
		time.Sleep(quick)
	}
}

// syncs takes the paths of a paced file and of two files of which the first
// answers when the second was synced twice. It says how long fsync and
// fdatasync took.
func syncs(paths []string) error {
	var files []int
	for _, p := range paths {
		fd, err := unix.Open(p, unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		files = append(files, fd)
	}
	var mu sync.Mutex
	var full, data []recipetest.Took
	fsync := func(fd int, low time.Duration, want error) error {
		took, err := recipetest.Timed(low, func() error { return unix.Fsync(fd) })
		mu.Lock()
		defer mu.Unlock()
		full = append(full, took)
		if err != want {
			return fmt.Errorf("fsync: %w, want %v", err, want)
		}
		return nil
	}
	fdatasync := func(fd int, low time.Duration) error {
		took, err := recipetest.Timed(low, func() error { return unix.Fdatasync(fd) })
		data = append(data, took)
		return err
	}
	for range 3 {
		if err := fsync(files[0], slow, nil); err != nil {
			return err
		}
	}
	for range 2 {
		if err := fdatasync(files[0], quick); err != nil {
			return err
		}
	}
	if err := fsync(-1, 0, unix.EBADF); err != nil {
		return err
	}

	other := make(chan error)
	go func() {
		other <- recipetest.Thread("rt-worker", func(int) error {
			for range 2 {
				if err := fsync(files[2], quick, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	if err := fsync(files[1], 2*quick, nil); err != nil {
		return err
	}
	if err := <-other; err != nil {
		return err
	}
	recipetest.Say(full)
	recipetest.Say(data)
	return nil
}

// early is in an fsync when the trace begins.
func early(paths []string) error {
	fd, err := unix.Open(paths[0], unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	return unix.Fsync(fd)
}

// nested returns what holds two files: the first one's fsync begins before the
// second's two and ends after them.
func nested() (outer, inner func(recipetest.Op)) {
	began, ended := make(chan struct{}), make(chan struct{}, 2)
	outer = func(op recipetest.Op) {
		if op == recipetest.Fsync {
			close(began)
			<-ended
			<-ended
		}
	}
	inner = func(op recipetest.Op) {
		if op == recipetest.Fsync {
			<-began
			time.Sleep(quick)
			ended <- struct{}{}
		}
	}
	return outer, inner
}

func TestLatency(t *testing.T) {
	const size = 1 << 16
	outer, inner := nested()
	paths := []string{recipetest.SlowFile(t, size, paced), recipetest.SlowFile(t, size, outer), recipetest.SlowFile(t, size, inner)}
	goOn := make(chan struct{})
	before := recipetest.Start(t, "rt-sync", "early", recipetest.SlowFile(t, size, func(op recipetest.Op) {
		if op == recipetest.Fsync {
			<-goOn
		}
	}))
	before.Blocks(unix.SYS_FSYNC)

	var full, data []recipetest.Took
	run := recipetest.Run(t, "histogram of fsync latency of rt-sync", func(l *recipetest.Live) {
		close(goOn)
		before.Wait()
		p := recipetest.Start(l.T, "rt-sync", "sync", paths...)
		full, data = recipetest.ParseTook(l.T, p.Hear()), recipetest.ParseTook(l.T, p.Hear())
		p.Wait()
		decoyOuter, decoyInner := nested()
		l.Child("rt-decoy", "sync", paths[0], recipetest.SlowFile(t, size, decoyOuter), recipetest.SlowFile(t, size, decoyInner))
	})
	for call, of := range map[string][]recipetest.Took{"fsync": full, "fdatasync": data} {
		hists := run.Hists("latency", recipetest.Want{"call": call})
		if len(hists) != 1 {
			t.Fatalf("%d histograms of %s, want one", len(hists), call)
		}
		recipetest.Holds(t, hists[0], of)
	}
}

// filtered syncs once as another user.
func filtered([]string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	if err := unix.Fsync(-1); err != unix.EBADF {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		if err := unix.Fsync(-1); err != unix.EBADF {
			return err
		}
		return nil
	})
}

func TestFilters(t *testing.T) {
	asked, other := recipetest.Start(t, "rt-sync", "filtered"), recipetest.Start(t, "rt-sync", "filtered")
	request := fmt.Sprintf("histogram of fsync latency of pid %d for user %d", asked.Pid, user)
	run := recipetest.Run(t, request, func(*recipetest.Live) {
		for _, p := range []*recipetest.Process{asked, other} {
			p.Tell("go on")
			p.Wait()
		}
	})
	hists := run.Hists("latency", nil)
	if len(hists) != 1 || hists[0].Count != 1 {
		t.Errorf("want one fsync of the process and user asked for: %v", hists)
	}
}
