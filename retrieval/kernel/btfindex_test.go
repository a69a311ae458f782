package kernel

import (
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestIndexBTF compares the index with what the BTF library says when it decodes
// everything.
func TestIndexBTF(t *testing.T) {
	f := host(t)
	ix := indexHost(t)
	want := map[string]map[string]int{"func": {}, "tracepoint": {}, "struct": {}}
	for typ, err := range f.BTF.All() {
		if err != nil {
			t.Fatal(err)
		}
		name := typ.TypeName()
		switch typ.(type) {
		case *btf.Func:
			want["func"][name]++
		case *btf.Typedef:
			if tp, ok := strings.CutPrefix(name, "btf_trace_"); ok {
				want["tracepoint"][tp]++
			}
		case *btf.Struct, *btf.Union:
			if name != "" {
				want["struct"][name]++
			}
		}
	}
	for list, entries := range map[string][]namedType{"func": ix.funcs, "tracepoint": ix.tracepoint, "struct": ix.structs} {
		got := map[string]int{}
		for _, n := range entries {
			got[n.name]++
		}
		if !maps.Equal(got, want[list]) {
			t.Errorf("%s: %d names, want %d", list, len(got), len(want[list]))
		}
		if len(got) == 0 {
			t.Errorf("no %s at all", list)
		}
		if !slices.IsSortedFunc(entries, func(a, b namedType) int { return strings.Compare(a.name, b.name) }) {
			t.Errorf("the list of %s is not sorted", list)
		}
	}
	// The IDs are the library's.
	for _, n := range []namedType{ix.funcs[0], ix.funcs[len(ix.funcs)-1], ix.structs[0], find(ix.structs, "task_struct")[0]} {
		typ, err := f.BTF.TypeByID(n.id)
		if err != nil || typ.TypeName() != n.name {
			t.Errorf("type %d is %v (%v), want %s", n.id, typ, err, n.name)
		}
	}
}

func indexHost(t testing.TB) *typeIndex {
	t.Helper()
	raw, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	ix, err := indexBTF(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func TestIndexBTFOfBothByteOrders(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		b, err := btf.NewBuilder(testTypes(), nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: order})
		if err != nil {
			t.Fatal(err)
		}
		ix, err := indexBTF(raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(find(ix.funcs, "do_work")) != 1 || len(find(ix.structs, "twofold")) != 2 || len(find(ix.tracepoint, "sched_switch")) != 1 {
			t.Errorf("%s: names are missing", order)
		}
		if found := find(ix.funcs, "do_wor"); len(found) != 0 {
			t.Errorf("%s: found %v", order, found)
		}
	}
}

func TestIndexBTFMalformed(t *testing.T) {
	good := testBTF(t)
	change := func(at int, value uint32) []byte {
		raw := slices.Clone(good)
		binary.NativeEndian.PutUint32(raw[at:], value)
		return raw
	}
	for name, raw := range map[string][]byte{
		"empty":                 nil,
		"no magic":              append([]byte{1, 2}, good[2:]...),
		"header only":           good[:btfHeaderLen],
		"header too long":       change(4, 1<<31),
		"types outside":         change(12, 1<<31),
		"strings outside":       change(20, 1<<31),
		"strings far away":      change(16, 1<<32-1),
		"types cut":             change(12, binary.NativeEndian.Uint32(good[12:])-4),
		"no strings":            change(20, 0),
		"kind that is not":      change(btfHeaderLen+4, 31<<24),
		"more members than are": change(btfHeaderLen+4, btfKindStruct<<24|0xffff),
	} {
		if ix, err := indexBTF(raw, nil); err == nil {
			t.Errorf("%s: got an index of %d types", name, ix.numTypes)
		}
	}
}

func FuzzIndexBTF(f *testing.F) {
	good := testBTF(f)
	f.Add(good, false)
	f.Add(moduleBTFOn(f, good), true)
	f.Add([]byte{}, false)
	base, err := indexBTF(good, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, module bool) {
		var on *typeIndex
		if module {
			on = base
		}
		ix, err := indexBTF(raw, on)
		if err != nil {
			return
		}
		for _, list := range [][]namedType{ix.funcs, ix.tracepoint, ix.structs} {
			for _, n := range list {
				if n.name == "" || strings.ContainsRune(n.name, 0) || uint32(n.id) >= ix.numTypes {
					t.Fatalf("got %q with ID %d of %d", n.name, n.id, ix.numTypes)
				}
				if len(find(list, n.name)) == 0 {
					t.Fatalf("%q is not found", n.name)
				}
			}
		}
	})
}

func BenchmarkIndexBTF(b *testing.B) {
	raw, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := indexBTF(raw, nil); err != nil {
			b.Fatal(err)
		}
	}
}
