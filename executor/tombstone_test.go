package executor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kgent/executor/output"
)

// clock is a time that a test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func openStones(t *testing.T, dir string, c *clock) (*Tombstones, []Crash) {
	t.Helper()
	s, crashes, err := OpenTombstones(dir, time.Minute, time.Hour, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return s, crashes
}

// Each death doubles the time that the program is kept out, up to the longest;
// one orderly run, and all is forgiven.
func TestTombstones(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "stones")
	c := &clock{time.Unix(1_800_000_000, 0)}
	s, crashes := openStones(t, dir, c)
	if len(crashes) != 0 {
		t.Errorf("at first: %v", crashes)
	}
	refused := func(want string) {
		t.Helper()
		err := s.Allow("abc")
		var p *PolicyError
		if want == "" && err != nil || want != "" && (!errors.As(err, &p) || p.Rule != "crashed" || !strings.Contains(err.Error(), want)) {
			t.Errorf("allowed: %v, want %q", err, want)
		}
		if (s.Begin("abc", "x") == nil) != (want == "") {
			t.Error("Begin and Allow disagree")
		}
		if want == "" {
			s.End("abc")
		}
	}
	for i, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		if err := s.Begin("abc", "opens"); err != nil {
			t.Fatal(err)
		}
		if err := s.Begin("other", "fine"); err != nil {
			t.Fatal(err)
		}
		if err := s.End("other"); err != nil {
			t.Fatal(err)
		}
		s, crashes = openStones(t, dir, c) // it died
		if len(crashes) != 1 || crashes[0] != (Crash{"abc", "opens", i + 1, c.t.Add(wait)}) {
			t.Errorf("crash %d: %+v", i+1, crashes)
		}
		if s, crashes = openStones(t, dir, c); len(crashes) != 0 {
			t.Errorf("noticed again: %v", crashes)
		}
		refused(wait.String())
		if kept := s.KeptOut(); len(kept) != 1 || kept[0].Name != "opens" || kept[0].Crashes != i+1 || !kept[0].Until.Equal(c.t.Add(wait)) {
			t.Errorf("kept out: %+v", kept)
		}
		if err := s.Allow("other"); err != nil {
			t.Errorf("another program: %v", err)
		}
		c.t = c.t.Add(wait - time.Second)
		refused("1s")
		c.t = c.t.Add(time.Second)
	}
	c.t = c.t.Add(-24 * time.Hour) // set back
	refused("for 1h0m0s")
	c.t = c.t.Add(25 * time.Hour)
	refused("")
	if kept := s.KeptOut(); len(kept) != 0 {
		t.Errorf("kept out: %+v", kept)
	}
	if s, crashes = openStones(t, dir, c); len(crashes) != 0 || len(s.stones) != 0 {
		t.Errorf("after an orderly run: %v, %v", crashes, s.stones)
	}
}

// Of each program that an executor died with it is said for how long it is kept out, if it is.
func TestTombstonesTell(t *testing.T) {
	for first, want := range map[time.Duration]string{
		time.Minute: "while fsyncs, opens were loaded; nothing of that is left in the kernel, and fsyncs is not loaded again before 2027-01-15T08:02:00Z, opens is not loaded again before 2027-01-15T08:03:00Z: ",
		0:           "while fsyncs, opens were loaded; nothing of that is left in the kernel: ",
	} {
		dir, c := t.TempDir(), &clock{time.Unix(1_800_000_000, 0)}
		after := func(programs ...string) *Tombstones { // an executor that dies with them, and the next one
			t.Helper()
			s, _, err := OpenTombstones(dir, first, time.Hour, c.now)
			for _, name := range programs {
				err = errors.Join(err, s.Begin(name, name))
			}
			if err != nil {
				t.Fatal(err)
			}
			if s, _, err = OpenTombstones(dir, first, time.Hour, c.now); err != nil {
				t.Fatal(err)
			}
			return s
		}
		if got := after().died(); got != "" {
			t.Errorf("none died: %s", got)
		}
		after("opens")
		c.t = c.t.Add(time.Minute)
		if got := after("opens", "fsyncs").died(); !strings.Contains(got, want) {
			t.Errorf("kept out for %v first: %s", first, got)
		}
	}
}

// Two runs of one program have one stone, until the second has ended.
func TestTombstoneShared(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Unix(1_800_000_000, 0)}
	s, _ := openStones(t, dir, c)
	for range 2 {
		if err := s.Begin("abc", "x"); err != nil {
			t.Fatal(err)
		}
	}
	s.End("abc")
	if _, err := os.Stat(s.path("abc")); err != nil {
		t.Error(err)
	}
	s.End("abc")
	s.End("abc") // once too often
	if _, err := os.Stat(s.path("abc")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
}

func TestTombstonesUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "abc"+stoneSuffix), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenTombstones(dir, time.Minute, time.Hour, time.Now); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("%v", err)
	}
	if _, _, err := OpenTombstones(filepath.Join(dir, "abc"+stoneSuffix), time.Minute, time.Hour, time.Now); err == nil {
		t.Error("a file is no directory")
	}
}

// An executor has the stone on the disk whenever a program can be in the
// kernel, and refuses, to runs and checks alike, what it died with.
func TestDiedWithIt(t *testing.T) {
	dir := t.TempDir()
	onBench(t, func(t *testing.T, b *bench) {
		stones := func() int {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		var seen []int
		b.kernel.make = func() *fakeProbe {
			seen = append(seen, stones())
			return &fakeProbe{close: func(*fakeProbe) error { seen = append(seen, stones()); return nil }}
		}
		s, _, err := OpenTombstones(dir, time.Minute, time.Hour, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		b.e.Tombstones = s
		b.serve()
		b.run(b.grant(time.Second)).want(t, output.ReasonDeadline, "")
		if len(seen) != 2 || seen[0] != 1 || seen[1] != 1 || stones() != 0 {
			t.Errorf("stones while loaded %v, afterwards %d", seen, stones())
		}
		b.end()

		o, m, err := b.e.admit(b.prog, "observe", false)
		if err != nil {
			t.Fatal(err)
		}
		hash, err := programHash(o, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Begin(hash, m.Name); err != nil { // and then it dies
			t.Fatal(err)
		}
		b.e = b.executor("n1")
		if b.e.Tombstones, _, err = OpenTombstones(dir, time.Minute, time.Hour, time.Now); err != nil {
			t.Fatal(err)
		}
		b.serve()
		r := b.run(b.grant(time.Second))
		r.want(t, output.ReasonRefused, "(crashed): the executor on this node died while the same program was loaded, once")
		if c := b.check("n1")[0]; c.OK || c.Rule != "crashed" {
			t.Errorf("check: %+v", c)
		}
		time.Sleep(time.Minute)
		b.run(b.grant(time.Second)).want(t, output.ReasonDeadline, "")
	})
}

// What may be left in the kernel keeps its stone.
func TestTombstoneStays(t *testing.T) {
	dir := t.TempDir()
	onBench(t, func(t *testing.T, b *bench) {
		b.kernel.make = func() *fakeProbe {
			return &fakeProbe{close: func(*fakeProbe) error { return errors.New("it sticks") }}
		}
		var err error
		if b.e.Tombstones, _, err = OpenTombstones(dir, time.Minute, time.Hour, time.Now); err != nil {
			t.Fatal(err)
		}
		b.serve()
		b.run(b.grant(time.Second)).want(t, output.ReasonFailed, "it sticks")
		if _, crashes, err := OpenTombstones(dir, time.Minute, time.Hour, time.Now); err != nil || len(crashes) != 1 {
			t.Errorf("%v, %v", crashes, err)
		}
	})
}
