package iosizes_test

import (
	"fmt"
	"maps"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"sizes": sizes, "filtered": filtered})
}

const user = 23456

// wanted is a size and how many reads, and how many writes, have it.
type wanted struct{ size, reads, writes int }

var edges = []wanted{{0, 1, 6}, {1, 2, 5}, {2, 4, 1}, {4095, 3, 4}, {4096, 4, 3}, {4097, 5, 2}}

// sizes moves bytes in a thread of the name given; what the runtime reads and
// writes is of other threads.
func sizes(args []string) error {
	return recipetest.Thread(args[0], func(int) error {
		zero, err := unix.Open("/dev/zero", unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		buf := make([]byte, 4097)
		for _, e := range edges {
			for range e.reads {
				if _, err := unix.Read(zero, buf[:e.size]); err != nil {
					return err
				}
			}
			for range e.writes {
				if _, err := unix.Write(zero, buf[:e.size]); err != nil {
					return err
				}
			}
		}
		if err := variants(zero, buf); err != nil {
			return err
		}

		// What is not a read or write that moved something.
		for range 7 {
			if _, err := unix.Read(-1, buf); err != unix.EBADF {
				return fmt.Errorf("reading nothing: %w, want EBADF", err)
			}
			if _, err := unix.Write(-1, buf); err != unix.EBADF {
				return fmt.Errorf("writing nothing: %w, want EBADF", err)
			}
		}
		_, err = unix.Seek(zero, 100, unix.SEEK_SET)
		return err
	})
}

// variants makes one call of every other kind, each of its own power of two:
// reads of 8 bytes and on, writes of 9 and on.
func variants(zero int, buf []byte) error {
	file, err := unix.Open("/tmp", unix.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Ftruncate(file, 1<<16); err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	for _, call := range []func() (int, error){
		func() (int, error) { return unix.Pread(file, buf[:8], 0) },
		func() (int, error) { return unix.Pwrite(file, buf[:9], 0) },
		func() (int, error) { return unix.Readv(zero, [][]byte{buf[:10], buf[:6]}) },
		func() (int, error) { return unix.Writev(zero, [][]byte{buf[:10], buf[:7]}) },
		func() (int, error) { return unix.Preadv(file, [][]byte{buf[:30], buf[:2]}, 0) },
		func() (int, error) { return unix.Pwritev(file, [][]byte{buf[:30], buf[:3]}, 0) },
		func() (int, error) { return unix.Preadv2(file, [][]byte{buf[:60], buf[:4]}, 0, 0) },
		func() (int, error) { return unix.Pwritev2(file, [][]byte{buf[:60], buf[:5]}, 0, 0) },
		func() (int, error) { return 0, unix.Sendto(pair[0], buf[:129], 0, nil) },
		func() (int, error) { n, _, err := unix.Recvfrom(pair[1], buf[:128], 0); return n, err },
		func() (int, error) { return unix.SendmsgN(pair[0], buf[:257], nil, nil, 0) },
		func() (int, error) { n, _, _, _, err := unix.Recvmsg(pair[1], buf[:256], nil, 0); return n, err },
	} {
		if _, err := call(); err != nil {
			return err
		}
	}
	return nil
}

func TestSizes(t *testing.T) {
	run := recipetest.Run(t, "histogram of read and write sizes of rt-io", func(l *recipetest.Live) {
		l.Child("rt-host", "sizes", "rt-io")
		l.Child("rt-host", "sizes", "rt-decoy")
	})
	want := map[string]map[string]uint64{
		"reads":  {"0-0": 1, "1-1": 2, "2-3": 4, "2048-4095": 3, "4096-8191": 9, "8-15": 1, "16-31": 1, "32-63": 1, "64-127": 1, "128-255": 1, "256-511": 1},
		"writes": {"0-0": 6, "1-1": 5, "2-3": 1, "2048-4095": 4, "4096-8191": 5, "8-15": 1, "16-31": 1, "32-63": 1, "64-127": 1, "128-255": 1, "256-511": 1},
	}
	if n := len(run.Hists("sizes", nil)); n != len(want) {
		t.Errorf("%d histograms, want %d", n, len(want))
	}
	for of, counts := range want {
		hists := run.Hists("sizes", recipetest.Want{"of": of})
		if len(hists) != 1 {
			t.Fatalf("%d histograms of %s, want one", len(hists), of)
		}
		if h := hists[0]; h.Unit != "bytes" || !maps.Equal(recipetest.Counts(h), counts) {
			t.Errorf("%s in %s: %v\nwant %v", of, h.Unit, recipetest.Counts(h), counts)
		}
	}
}

// filtered writes once as another user.
func filtered([]string) error {
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	null, err := unix.Open("/dev/null", unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		_, err := unix.Write(null, make([]byte, 300))
		return err
	})
}

func TestFilters(t *testing.T) {
	asked, other := recipetest.Start(t, "rt-io", "filtered"), recipetest.Start(t, "rt-io", "filtered")
	request := fmt.Sprintf("I/O size histogram of pid %d for user %d", asked.Pid, user)
	run := recipetest.Run(t, request, func(*recipetest.Live) {
		for _, p := range []*recipetest.Process{asked, other} {
			p.Tell("go on")
			p.Wait()
		}
	})
	hists := run.Hists("sizes", recipetest.Want{"of": "writes"})
	if len(hists) != 1 || !maps.Equal(recipetest.Counts(hists[0]), map[string]uint64{"256-511": 1}) {
		t.Errorf("want one write of the process and user asked for: %v", run.Hists("sizes", nil))
	}
}
