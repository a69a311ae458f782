package program

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func TestParse(t *testing.T) {
	raw := compiled(t, "conventions.bpf.c")
	o := parsed(t, raw)
	raw[0] = 'x' // the object keeps its own copy
	if got := o.ELF(); got[0] != 0x7f {
		t.Error("the object changes with its input")
	}
	var names []string
	for _, p := range o.Programs() {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "on_connect on_sample" {
		t.Errorf("programs %q", got)
	}
	if o.License() != "GPL" {
		t.Errorf("license %q", o.License())
	}
	if o.Types() == nil {
		t.Error("no BTF")
	}
}

func TestParseRefuses(t *testing.T) {
	good := compiled(t, "conventions.bpf.c")
	tests := []struct {
		name string
		elf  func(t *testing.T) []byte
		want string
	}{
		{"nothing", func(*testing.T) []byte { return nil }, "parsing object"},
		{"no ELF", func(*testing.T) []byte { return []byte(strings.Repeat("#!/bin/sh\n", 99)) }, "bad magic"},
		{"cut short", func(*testing.T) []byte { return good[:len(good)/2] }, "parsing object"},
		{"too large", func(*testing.T) []byte { return make([]byte, MaxELF+1) }, "more than the 4194304 allowed"},
		{"another machine's", func(*testing.T) []byte {
			b := bytes.Clone(good)
			b[18] = byte(elf.EM_X86_64)
			return b
		}, "parsing object"},
		{"no program", func(t *testing.T) []byte { return source(t, `int unused;`) }, "holds no program"},
		{"ring buffer of numbers", func(t *testing.T) []byte {
			return source(t, `struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, __u64); } ring SEC(".maps");
				SEC("raw_tp/sys_enter") int p(void *ctx) { __u64 n = 1; return bpf_ringbuf_output(&ring, &n, 8, 0); }`)
		}, "ring buffer ring: its __type(value"},
		{"much zeroed memory", func(t *testing.T) []byte {
			return source(t, `char big[1 << 30]; SEC("raw_tp/sys_enter") int p(void *ctx) { return big[3]; }`)
		}, `section ".bss" holds 1073741824 bytes`},
		{"sections upon each other", overlapping, "its sections hold more than"},
		{"one function in many programs", func(t *testing.T) []byte {
			return source(t, `#define TEN(x) x x x x x x x x x x
				static __noinline int called(int n) { TEN(TEN(TEN(TEN(asm volatile("r3 = 1\n");)))) return n; }
				#define PROGRAM(n) SEC("raw_tp/sys_enter") int p##n(void *ctx) { return called(n); }
				#define PROGRAMS(n) PROGRAM(n##0) PROGRAM(n##1) PROGRAM(n##2) PROGRAM(n##3) PROGRAM(n##4) PROGRAM(n##5) PROGRAM(n##6) PROGRAM(n##7) PROGRAM(n##8) PROGRAM(n##9)
				#define MANY(n) PROGRAMS(n##0) PROGRAMS(n##1) PROGRAMS(n##2) PROGRAMS(n##3) PROGRAMS(n##4) PROGRAMS(n##5) PROGRAMS(n##6) PROGRAMS(n##7) PROGRAMS(n##8) PROGRAMS(n##9)
				MANY(1) MANY(2) MANY(3) MANY(4) MANY(5) MANY(6) MANY(7) MANY(8) MANY(9)`)
		}, "900 programs that could call all of the"},
		{"pinned map", func(t *testing.T) []byte {
			return source(t, `struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, int); __type(value, int); __uint(pinning, 1); } kept SEC(".maps");
				SEC("raw_tp/sys_enter") int p(void *ctx) { int k = 0; return bpf_map_delete_elem(&kept, &k); }`)
		}, "map kept is pinned"},
		{"map by file descriptor", func(t *testing.T) []byte {
			return source(t, `SEC("raw_tp/sys_enter") __attribute__((naked)) int p(void *ctx) {
				asm volatile(".8byte 0x0000000700001118\n.8byte 0\nr0 = 0\nexit"); }`) // r1 = map of descriptor 7
		}, "number of a file descriptor"},
		{"map by file descriptor 0", func(t *testing.T) []byte {
			return source(t, `SEC("raw_tp/sys_enter") __attribute__((naked)) int p(void *ctx) {
				asm volatile(".8byte 0x0000000000001118\n.8byte 0\nr0 = 0\nexit"); }`)
		}, "number of a file descriptor"},
		{"value in a map by file descriptor", func(t *testing.T) []byte {
			return source(t, `SEC("raw_tp/sys_enter") __attribute__((naked)) int p(void *ctx) {
				asm volatile(".8byte 0x0000000700002118\n.8byte 0\nr0 = 0\nexit"); }`)
		}, "number of a file descriptor"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.elf(t))
			wantError(t, err, tt.want)
		})
	}
}

// overlapping returns an object with a thousand data sections that are all the
// same 64 KiB of the file. A reader makes a map, and a copy, of each.
func overlapping(t *testing.T) []byte {
	b := bytes.Clone(source(t, `char data[64 << 10] = { 1 }; SEC("raw_tp/sys_enter") int p(void *ctx) { return data[3]; }`))
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	const headerSize = 64
	order := binary.LittleEndian
	offset, count := order.Uint64(b[40:]), order.Uint16(b[60:])
	headers := bytes.Clone(b[offset:][:int(count)*headerSize])
	data := slices.IndexFunc(f.Sections, func(s *elf.Section) bool { return s.Name == ".data" })
	for range 1000 {
		headers = append(headers, headers[data*headerSize:][:headerSize]...)
	}
	order.PutUint64(b[40:], uint64(len(b)))
	order.PutUint16(b[60:], count+1000)
	return append(b, headers...)
}

func TestMaps(t *testing.T) {
	o := parsed(t, compiled(t, "conventions.bpf.c"))
	want := []struct {
		name    string
		role    Role
		kind    ebpf.MapType
		entries uint32
		types   string
	}{
		{"by_process", RoleOutput, ebpf.Hash, 1024, "key cell"},
		{"entered", RoleInternal, ebpf.Hash, 64, "__u64 __u64"},
		{"events", RoleEvents, ebpf.RingBuf, 4096, "- event"},
		{"kgent_stats", RoleInternal, ebpf.PerCPUArray, 1, "__u32 kgent_counts"},
		{"latency", RoleOutput, ebpf.PerCPUArray, 1, "__u32 k_hist_ns"},
		{"stacks", RoleStacks, ebpf.StackTrace, 128, "- -"},
	}
	got := o.Maps()
	if len(got) != len(want) {
		t.Fatalf("%d maps: %+v", len(got), got)
	}
	typeName := func(t btf.Type) string {
		if t == nil {
			return "-"
		}
		return t.TypeName()
	}
	for i, w := range want {
		g := got[i]
		if g.Name != w.name || g.Role != w.role || g.Type != w.kind || g.MaxEntries != w.entries {
			t.Errorf("map %d: %+v, want %+v", i, g, w)
		}
		if types := typeName(g.Key) + " " + typeName(g.Value); types != w.types {
			t.Errorf("map %s: types %s, want %s", g.Name, types, w.types)
		}
		event, ok := g.EventType()
		if ok != (w.role == RoleEvents) {
			t.Errorf("map %s: event type %v", g.Name, event)
		}
		if ok && len(event.Members) != 5 {
			t.Errorf("event %v has %d members", event, len(event.Members))
		}
	}
}

// Counts must be laid out as the header's struct: both sides read the same
// memory.
func TestCountsLayout(t *testing.T) {
	o := parsed(t, compiled(t, "conventions.bpf.c"))
	var s *btf.Struct
	if err := o.Types().TypeByName("kgent_counts", &s); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range s.Members {
		names = append(names, fmt.Sprint(m.Name, m.Offset.Bytes()))
	}
	if got := strings.Join(names, " "); got != "produced0 lost8 map_full16 wakeup24" || s.Size != 32 {
		t.Errorf("struct kgent_counts of %d bytes: %s", s.Size, got)
	}
}

func TestParams(t *testing.T) {
	o := parsed(t, compiled(t, "conventions.bpf.c"))
	want := map[string][]byte{
		"comm":        make([]byte, 16),
		"daddr":       make([]byte, 16),
		"dport":       {0, 0},
		"longer_than": {0x40, 0x42, 0x0f, 0, 0, 0, 0, 0},
		"pid":         {0, 0, 0, 0},
		"uid":         {0xff, 0xff, 0xff, 0xff},
	}
	names := ""
	for _, p := range o.Params() {
		names += p.Name + " "
		if w, ok := want[p.Name]; !ok || !bytes.Equal(w, p.Default) {
			t.Errorf("%s: default %x, want %x", p.Name, p.Default, w)
		}
	}
	if names != "comm daddr dport longer_than pid uid " {
		t.Errorf("parameters %q", names)
	}
}

// What is not in the object itself: kernel configuration, globals of other
// sections.
func TestOutsideData(t *testing.T) {
	o := parsed(t, source(t, `extern int LINUX_KERNEL_VERSION __kconfig;
		int counter SEC(".data.own") = 5;
		SEC("raw_tp/sys_enter") int p(void *ctx) { counter++; return LINUX_KERNEL_VERSION; }`))
	if got := o.Maps(); len(got) != 1 || got[0].Name != StatsMap {
		t.Errorf("maps %v", got)
	}
	if facts, err := o.Facts(); err != nil || len(facts[0].Writes) != 0 {
		t.Errorf("facts %+v (%v)", facts, err)
	}
}

// An object without parameters, output or types is still an object.
func TestBareObject(t *testing.T) {
	o := parsed(t, source(t, `SEC("raw_tp/sys_enter") int p(void *ctx) { return 0; }`))
	if got := o.Params(); len(got) != 0 {
		t.Errorf("parameters %v", got)
	}
	if got := o.Maps(); len(got) != 1 || got[0].Name != StatsMap {
		t.Errorf("maps %v", got)
	}
}
