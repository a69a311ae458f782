package blocklatency_test

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
	block      = 4096
	slowWrite  = 20 * time.Millisecond
	quickWrite = 3 * time.Millisecond
	slowFlush  = 9 * time.Millisecond
)

// disk reads and writes blocks of a device past its cache, one after the
// other, and says how long each took.
func disk(args []string) error {
	fd, err := unix.Open(args[0], unix.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	raw := make([]byte, 2*block) // direct transfers want an aligned address
	buf := raw[block-int(uintptr(unsafe.Pointer(&raw[0]))%block):][:block]
	var wrote, read []recipetest.Took
	for i := range 4 {
		took, err := recipetest.Timed(slowWrite, func() error {
			_, err := unix.Pwrite(fd, buf, int64(i)*block)
			return err
		})
		if err != nil {
			return err
		}
		wrote = append(wrote, took)
	}
	for i := range 7 {
		took, err := recipetest.Timed(quickWrite, func() error {
			_, err := unix.Pread(fd, buf, int64(8+i)*block)
			return err
		})
		if err != nil {
			return err
		}
		read = append(read, took)
	}
	var flushed []recipetest.Took
	for range 2 {
		took, err := recipetest.Timed(slowFlush, func() error { return unix.Fsync(fd) })
		if err != nil {
			return err
		}
		flushed = append(flushed, took)
	}
	recipetest.Say(wrote)
	recipetest.Say(read)
	recipetest.Say(flushed)
	return nil
}

// The requests to a device that nobody else uses, each as slow as the file
// behind it, and reads, writes and flushes apart.
func TestBlockLatency(t *testing.T) {
	file := recipetest.SlowFile(t, 1<<20, func(op recipetest.Op) {
		switch op {
		case recipetest.Write:
			time.Sleep(slowWrite)
		case recipetest.Read:
			time.Sleep(quickWrite)
		case recipetest.Fsync, recipetest.Fdatasync:
			time.Sleep(slowFlush)
		}
	})
	path, device := recipetest.Loop(t, file)
	var wrote, read, flushed []recipetest.Took
	run := recipetest.Run(t, "block I/O latency histogram", func(l *recipetest.Live) {
		p := recipetest.Start(l.T, "rt-disk", "disk", path)
		wrote, read, flushed = recipetest.ParseTook(l.T, p.Hear()), recipetest.ParseTook(l.T, p.Hear()), recipetest.ParseTook(l.T, p.Hear())
		p.Wait()
	})
	for op, of := range map[string][]recipetest.Took{"write": wrote, "read": read, "flush": flushed} {
		hists := run.Hists("latency", recipetest.Want{"device": device, "op": op})
		if len(hists) != 1 {
			t.Fatalf("%d histograms of %s on %s, want one", len(hists), op, device)
		}
		recipetest.Holds(t, hists[0], of)
	}
}
