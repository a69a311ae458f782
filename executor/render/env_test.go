package render

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWallClock(t *testing.T) {
	c := Clocks{Monotonic: 100e9, Boot: 200e9, Real: 1_000_000e9}
	reads := 0
	e := &Env{Clocks: func() Clocks { reads++; return c }, now: func() time.Duration { return time.Duration(c.Monotonic) }}
	wall := func(ns uint64, boot bool, want int64) {
		t.Helper()
		got, ok := e.wall(ns, boot)
		if !ok || got != want {
			t.Errorf("%d: got %d, %v, want %d", ns, got, ok, want)
		}
	}
	wall(100e9, false, 1_000_000e9)
	wall(99e9, false, 999_999e9)
	wall(200e9, true, 1_000_000e9)
	wall(100e9+uint64(clockTrust)-1, false, 1_000_000e9+clockTrust-1)
	if reads != 1 {
		t.Errorf("the clocks were read %d times for times that are near", reads)
	}
	// The clock is a little off: times within a run keep their distances.
	c = Clocks{Monotonic: 102e9, Boot: 202e9, Real: 1_000_002e9 + clockNoise}
	wall(102e9, false, 1_000_002e9)
	// Somebody sets the clock, and the machine sleeps.
	c = Clocks{Monotonic: 104e9, Boot: 304e9, Real: 2_000_000e9}
	wall(104e9, false, 2_000_000e9)
	wall(304e9, true, 2_000_000e9)
	if reads != 3 {
		t.Errorf("the clocks were read %d times, want 3", reads)
	}
	// Times that have not come yet are shown, and the clocks not read for each of them.
	reads = 0
	for i := range uint64(1000) {
		wall(500e9+i, i%2 == 0, 2_000_000e9+396e9+int64(i)-200e9*int64(1-i%2))
	}
	if reads > 1 {
		t.Errorf("the clocks were read %d times for times that have not come yet", reads)
	}
	// What comes in time is as exact as ever.
	c = Clocks{Monotonic: 106e9, Boot: 306e9, Real: 3_000_000e9}
	wall(106e9, false, 3_000_000e9)
	wall(500e9, false, 3_000_394e9)
	for _, ns := range []uint64{math.MaxUint64, 1 << 63, math.MaxInt64} {
		if w, ok := e.wall(ns, false); ok {
			t.Errorf("%d is the time %d", ns, w)
		}
	}
}

func TestRealClocks(t *testing.T) {
	before := time.Now()
	e := NewEnv()
	w, ok := e.wall(uint64(clock(unix.CLOCK_MONOTONIC)), false)
	b, okBoot := e.wall(uint64(clock(unix.CLOCK_BOOTTIME)), true)
	after := time.Now()
	slack := time.Duration(clockNoise) + time.Millisecond
	for _, ns := range []int64{w, b} {
		at := time.Unix(0, ns)
		if !ok || !okBoot || at.Before(before.Add(-slack)) || at.After(after.Add(slack)) {
			t.Errorf("%v is not from %v to %v", at, before, after)
		}
	}
}

func TestInterfaces(t *testing.T) {
	now := time.Unix(1000, 0)
	names, err := map[uint32]string{1: "lo"}, error(nil)
	lists := 0
	i := newInterfaces(func() (map[uint32]string, error) { lists++; return names, err }, func() time.Time { return now })
	is := func(index uint32, want string, wantLists int) {
		t.Helper()
		got, ok := i.name(index)
		if got != want || ok != (want != "") || lists != wantLists {
			t.Errorf("%d is %q after %d listings, want %q after %d", index, got, lists, want, wantLists)
		}
	}
	is(1, "lo", 1)
	is(2, "", 1) // just listed
	names = map[uint32]string{1: "lo", 2: "eth0"}
	now = now.Add(interfacesUnknown)
	is(1, "lo", 1)
	is(2, "eth0", 2)
	names = map[uint32]string{1: "lo", 2: "renamed"}
	is(2, "eth0", 2)
	now = now.Add(interfacesFresh)
	is(2, "renamed", 3)
	now, err = now.Add(interfacesFresh), errors.New("no sockets left")
	is(2, "renamed", 4)

	if name, ok := NewEnv().Interface(1); !ok || name == "" {
		t.Errorf("the first interface of this machine is %q, %v", name, ok)
	}
}

func TestCgroups(t *testing.T) {
	mount := findCgroup2()
	if mount == "" {
		t.Skip("needs a mounted cgroup2 file system")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_DAC_READ_SEARCH, and the right to make cgroups")
	}
	now := time.Unix(1000, 0)
	c := newCgroups(mount, func() time.Time { return now })
	mkdir := func(name string) (path string, id uint64) {
		dir, err := os.MkdirTemp(mount, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(dir) })
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		return "/" + filepath.Base(dir), st.Ino
	}
	is := func(id uint64, want string) {
		t.Helper()
		if got, ok := c.path(id); got != want || ok != (want != "") {
			t.Errorf("%d is %q, %v, want %q", id, got, ok, want)
		}
	}
	root, err := os.Stat(mount)
	if err != nil {
		t.Fatal(err)
	}
	early, earlyID := mkdir("kgent-early-")
	is(root.Sys().(*syscall.Stat_t).Ino, "/")
	is(earlyID, early)
	late, lateID := mkdir("kgent-late-") // after the walk
	is(lateID, late)
	// What was seen once stays known.
	if err := os.Remove(filepath.Join(mount, early)); err != nil {
		t.Fatal(err)
	}
	is(earlyID, early)
	gone, goneID := mkdir("kgent-gone-")
	if err := os.Remove(filepath.Join(mount, gone)); err != nil {
		t.Fatal(err)
	}
	is(goneID, "")
	is(goneID, "")
	is(0, "")
	is(math.MaxUint64, "")
	if _, ok := newCgroups("", time.Now).path(1); ok {
		t.Error("a path without a cgroup2 file system")
	}
}
