package probe_test

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// sum adds up the CPUs' values of a counting cell.
func sum(c probe.Cell) uint64 {
	var n uint64
	for _, v := range c.Values {
		n += binary.NativeEndian.Uint64(v)
	}
	return n
}

func TestCells(t *testing.T) {
	residue.Check(t)
	o := object(t, "maps.bpf.c", "")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		t.Fatal(err)
	}
	if cells, err := s.Cells("hash"); err != nil || len(cells) != 0 {
		t.Errorf("an empty map has %d cells, %v", len(cells), err)
	}
	attach(t, s)
	// Keys 0 to 2999, twice each.
	const keys = 3000
	runtime.LockOSThread()
	flood(mark, keys, 2)
	runtime.UnlockOSThread()
	for _, tt := range []struct {
		name   string
		values int
	}{{"hash", 1}, {"lru", 1}, {"percpu_hash", cpus}, {"lru_percpu_hash", cpus}, {"array", 1}, {"percpu_array", cpus}} {
		cells, err := s.Cells(tt.name)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[uint32]bool{}
		for _, c := range cells {
			key := binary.NativeEndian.Uint32(c.Key)
			if seen[key] || len(c.Key) != 4 || len(c.Values) != tt.values || sum(c) != 2 {
				t.Fatalf("%s: key %d (again: %v) has %d values, sum %d; want %d, 2", tt.name, key, seen[key], len(c.Values), sum(c), tt.values)
			}
			seen[key] = true
		}
		if len(seen) != keys {
			t.Errorf("%s: %d cells, want %d", tt.name, len(seen), keys)
		}
	}
	cells, err := s.Cells("tight")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if len(cells) != 100 || c.MapFull != 2*(keys-100) {
		t.Errorf("a map of 100 cells has %d, %d updates did not fit; want 100, %d", len(cells), c.MapFull, 2*(keys-100))
	}
	cells, err = s.Cells("odd")
	if err != nil {
		t.Fatal(err)
	}
	if len(cells) != keys {
		t.Errorf("odd: %d cells, want %d", len(cells), keys)
	}
	for _, c := range cells {
		if len(c.Key) != 5 || c.Key[0] != 'k' || c.Key[4] != '!' || len(c.Values) != cpus {
			t.Fatalf("odd: key %q with %d values", c.Key, len(c.Values))
		}
		written := 0
		for _, v := range c.Values {
			if len(v) != 13 {
				t.Fatalf("odd: a value of %d bytes", len(v))
			}
			if v[12] == 'z' && v[0] == c.Key[1] {
				written++
			}
		}
		if written == 0 {
			t.Fatalf("odd: no CPU's value of key %q is as it was written", c.Key)
		}
	}
	for _, name := range []string{"kgent_stats", ".rodata", "nosuch", ""} {
		if _, err := s.Cells(name); err == nil || !strings.Contains(err.Error(), "no such output map") {
			t.Errorf("map %q: error %v", name, err)
		}
	}
}
