package proof

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"kgent/agent/contract"
)

// That maps have room is only fair to assume of maps that have some. So it is
// an obligation that a map has room for as many elements as an ordinary system
// asks for: these many, or all keys that there can be if they are fewer.
const (
	leastRows  = 256  // of a table
	leastCells = 1024 // of a memory: things that go on at the same time

	leastStacks = 1024 // different ones
	leastFrames = 32   // of each; those further out are not kept
)

// roomWords say what a map needs room for.
func roomWords(what, name string, least uint64) string {
	return fmt.Sprintf("the map of %s %s has room for %d elements", what, name, least)
}

// isHash tells whether a map's elements come and go, so that it can be full.
func isHash(t ebpf.MapType) bool {
	switch t {
	case ebpf.Hash, ebpf.LRUHash, ebpf.PerCPUHash, ebpf.LRUCPUHash, ebpf.LPMTrie, ebpf.HashOfMaps:
		return true
	}
	return false
}

// keysOf is how many keys there can be; the greatest number for many.
func keysOf(key []contract.CheckedMember) uint64 {
	n := uint64(1)
	for _, m := range key {
		k := uint64(1) << 32
		switch t := m.Type; {
		case t.Enum != nil:
			k = uint64(len(t.Enum.Values))
		case t.Kind == contract.Bool || t.Meaning == "bool":
			k = 2
		case t.Kind == contract.Int && t.Bits <= 16:
			k = 1 << t.Bits
		}
		if n *= k; n > 1<<31 {
			return 1 << 31
		}
	}
	return n
}

// stacks checks that a map of stacks has room for those that there are: one that finds its place
// taken is not shown, and of one that is longer only the first frames.
func (x *binder) stacks(name string) {
	m := x.spec.Maps[name]
	if m.MaxEntries < leastStacks {
		x.find("room in "+name, fmt.Sprintf("map %s has room for %d stacks", name, leastStacks), fmt.Sprintf("max_entries of %d or more", leastStacks), fmt.Sprint(m.MaxEntries))
	}
	if m.ValueSize < 8*leastFrames {
		x.find("frames in "+name, fmt.Sprintf("the stacks in map %s have %d frames", name, leastFrames), fmt.Sprintf("a value_size of %d or more", 8*leastFrames), fmt.Sprint(m.ValueSize))
	}
}

// narrow are the maps that keep memories and have too little room for it.
func (s *session) narrow(rels []*relation) []finding {
	var out []finding
	for _, r := range rels {
		if r == nil || !isHash(r.in.Type) {
			continue
		}
		m := s.checked.Memories[r.memory]
		if r.flag != nil && uint64(r.in.MaxEntries) < keysOf(m.Key) && !isLRU(r.in) {
			out = append(out, finding{"form/room of " + m.Name, fmt.Sprintf("what is forgotten in %s makes room in map %s", m.Name, r.in.Name),
				"the element to be deleted", "it stays, with a 0 in it"})
		}
		if least := min(leastCells, keysOf(m.Key)); uint64(r.in.MaxEntries) < least {
			out = append(out, finding{"form/room in " + m.Name, roomWords("memory", m.Name, least),
				fmt.Sprintf("max_entries of %d or more", least), fmt.Sprintf("%d in map %s", r.in.MaxEntries, r.in.Name)})
		}
	}
	return out
}

// rooms says what room there is.
func (s *session) rooms() []string {
	var out []string
	for name, m := range s.maps() {
		switch {
		case strings.HasPrefix(name, "."):
		case m.Type == ebpf.RingBuf:
			out = append(out, fmt.Sprintf("ring buffer %s: %d bytes", name, m.MaxEntries))
		case m.Type == ebpf.PerfEventArray && s.in.Object.PerfBuffers():
			out = append(out, fmt.Sprintf("perf buffers %s: %d bytes, or 64 KiB for each processor", name, m.MaxEntries))
		case isHash(m.Type):
			out = append(out, fmt.Sprintf("map %s: %d elements", name, m.MaxEntries))
		}
	}
	slices.Sort(out)
	return out
}
