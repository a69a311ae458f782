package blocklatencybyprocess_test

import (
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"disk": disk})
}

const (
	block = 4096
	slow  = 10 * time.Millisecond
)

// disk writes blocks to a device past its cache from a thread with a name of
// its own, and says how long each took.
func disk(args []string) error {
	return recipetest.Thread("rt-worker", func(int) error {
		fd, err := unix.Open(args[0], unix.O_RDWR|unix.O_DIRECT, 0)
		if err != nil {
			return err
		}
		raw := make([]byte, 2*block) // direct transfers want an aligned address
		buf := raw[block-int(uintptr(unsafe.Pointer(&raw[0]))%block):][:block]
		var all []recipetest.Took
		for i := range 5 {
			took, err := recipetest.Timed(slow, func() error {
				_, err := unix.Pwrite(fd, buf, int64(i)*block)
				return err
			})
			if err != nil {
				return err
			}
			all = append(all, took)
		}
		recipetest.Say(all)
		return nil
	})
}

// A loop device's requests are completed by a kernel thread: they belong to the
// process that made them all the same, under its own name and not its
// thread's; and one process's are not another's.
func TestByProcess(t *testing.T) {
	device := func() string {
		path, _ := recipetest.Loop(t, recipetest.SlowFile(t, 1<<20, func(op recipetest.Op) {
			if op == recipetest.Write {
				time.Sleep(slow)
			}
		}))
		return path
	}
	first, second := device(), device()
	took := map[string][]recipetest.Took{}
	pids := map[string]int{}
	run := recipetest.Run(t, "block I/O latency by process, top 1000", func(l *recipetest.Live) {
		a := recipetest.Start(l.T, "rt-disk-a", "disk", first)
		b := recipetest.Start(l.T, "rt-disk-b", "disk", second)
		took["rt-disk-a"], took["rt-disk-b"] = recipetest.ParseTook(l.T, a.Hear()), recipetest.ParseTook(l.T, b.Hear())
		pids["rt-disk-a"], pids["rt-disk-b"] = a.Pid, b.Pid
		a.Wait()
		b.Wait()
	})
	for comm, of := range took {
		rows := run.Rows("requests", recipetest.Want{"comm": comm, "pid": pids[comm]})
		if len(rows) != 1 {
			t.Fatalf("%d rows of %s, want one", len(rows), comm)
		}
		v := rows[0].Value
		if n := recipetest.Number(t, v, "count"); n != int64(len(of)) {
			t.Errorf("%s: %d requests, it made %d", comm, n, len(of))
		}
		if least := recipetest.Number(t, v, "min"); least < int64(slow) {
			t.Errorf("%s: the shortest took %d ns, none can have been under %v", comm, least, slow)
		}
		hists := run.Hists("latency", recipetest.Want{"comm": comm})
		if len(hists) != 1 {
			t.Fatalf("%d histograms of %s, want one", len(hists), comm)
		}
		recipetest.Holds(t, hists[0], of)
	}
	if rows := run.Rows("requests", recipetest.Want{"comm": "rt-worker"}); len(rows) > 0 {
		t.Errorf("a thread's name stands for its process: %v", rows)
	}
}
