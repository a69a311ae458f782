package compile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/program/programtest"
)

const twoRings = `#include "kgent.bpf.h"
` + license + `
struct small { __u32 n; };
struct large { __u64 n; char text[100]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4 << 20); __type(value, struct small); } smalls SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct large); } larges SEC(".maps");
static __always_inline void report(void *ctx)
{
	struct large *e = bpf_ringbuf_reserve(&larges, sizeof(*e), 0);
	if (!e)
		return;
	__builtin_memset(e, 0, sizeof(*e));
	if (bpf_ktime_get_ns() & 1)
		bpf_ringbuf_discard(e, 0);
	else
		bpf_ringbuf_submit(e, 0);
}
SEC("raw_tp/sys_enter") int p(void *ctx)
{
	struct small e = {1};
	bpf_ringbuf_output(&smalls, &e, sizeof(e), 0);
	report(ctx);
	return 0;
}
`

// Of one source comes a program with perf buffers, whose events are known by their types as before.
func TestCompilePerf(t *testing.T) {
	o := programtest.PerfObject(t, twoRings)
	m, err := program.Build(o, program.Options{Name: "two"})
	if err != nil {
		t.Fatal(err)
	}
	if !o.PerfBuffers() {
		t.Error("it is not of the form with perf buffers")
	}
	for _, info := range o.Maps() {
		switch info.Name {
		case "smalls", "larges":
			if e, ok := info.EventType(); info.Type != ebpf.PerfEventArray || !ok || e.Name+"s" != info.Name {
				t.Errorf("%s is a %v with events %v", info.Name, info.Type, e)
			}
		case program.RecordsMap:
			if info.MaxEntries != 2 || info.Role != program.RoleInternal {
				t.Errorf("%s has %d elements and is %s", info.Name, info.MaxEntries, info.Role)
			}
		}
	}
	m.Maps = append([]program.Map(nil), m.Maps...)
	for i := range m.Maps {
		if m.Maps[i].Name == program.RecordsMap {
			m.Maps[i].MaxEntries = 1
		}
	}
	if err := m.Check(o); err == nil || !strings.Contains(err.Error(), "one for each buffer: 2") {
		t.Errorf("with a record too few: %v", err)
	}

	plain := programtest.Object(t, twoRings)
	if plain.PerfBuffers() {
		t.Error("where there are ring buffers it has perf buffers")
	}
	// Without ring buffers the form changes nothing.
	counts := `#include "kgent.bpf.h"
` + license + `SEC("raw_tp/sys_enter") int p(void *ctx) { return 0; }`
	if string(programtest.PerfObject(t, counts).ELF()) != string(programtest.Object(t, counts).ELF()) {
		t.Error("a program without ring buffers is another one in the form without ring buffers")
	}
}

// What cannot be done with perf buffers is said, and where.
func TestCompilePerfRefuses(t *testing.T) {
	ring := func(name, tag string) string {
		return `struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, ` + tag + `); } ` + name + ` SEC(".maps");
`
	}
	head := "#include \"kgent.bpf.h\"\n" + license + "struct ev { __u64 n; };\n"
	for _, tt := range []struct{ name, source, want string }{
		{"no context", head + ring("events", "struct ev") + `static __always_inline void report(__u64 n)
{
	struct ev e = {n};
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
}
SEC("raw_tp/sys_enter") int p(void *ctx) { report(1); return 0; }`, "hand it down to this function as ctx"},
		{"another size", head + ring("events", "struct ev") + `SEC("raw_tp/sys_enter") int p(void *ctx) { __u32 n = 1; bpf_ringbuf_output(&events, &n, sizeof(n), 0); return 0; }`, "an event of another size"},
		{"reserved in another size", head + ring("events", "struct ev") + `SEC("raw_tp/sys_enter") int p(void *ctx) { struct ev *e = bpf_ringbuf_reserve(&events, 2 * sizeof(*e), 0); if (e) bpf_ringbuf_discard(e, 0); return 0; }`, "an event of another size"},
		{"two buffers of one type", head + ring("a", "struct ev") + ring("b", "struct ev") + `SEC("raw_tp/sys_enter") int p(void *ctx) { return 0; }`, "a and b must carry different structs"},
		{"no type", head + strings.Replace(ring("events", "struct ev"), "__type(value, struct ev);", "", 1) + `SEC("raw_tp/sys_enter") int p(void *ctx) { return 0; }`, "must say what its events are"},
		{"of no type that has a buffer", head + ring("a", "struct ev") + "struct other { __u32 n; };\nstruct third { __u16 n; };\n" + ring("b", "struct other") + `SEC("raw_tp/sys_enter") int p(void *ctx) { struct third *e = (void *)bpf_ringbuf_reserve(&a, sizeof(struct ev), 0); if (e) bpf_ringbuf_submit(e, 0); return 0; }`, "struct third"},
		{"too large", head + "struct big { char s[40000]; };\n" + ring("events", "struct big") + `SEC("raw_tp/sys_enter") int p(void *ctx) { return 0; }`, "1 to 32752 bytes"},
		{"a perf buffer of its own", head + ring("events", "struct ev") + `struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(value, struct ev); } own SEC(".maps");
SEC("raw_tp/sys_enter") int p(void *ctx) { struct ev e = {1}; bpf_perf_event_output(ctx, &own, 0, &e, sizeof(e)); return 0; }`, "a perf buffer of its own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := programtest.CompilePerf(tt.source)
			var at *compile.Error
			if !errors.As(err, &at) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("compiled: %v, want %q", err, tt.want)
			}
		})
	}
	// Nor does a manifest take perf buffers that are not of that form.
	own := head + `struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(value, struct ev); } own SEC(".maps");
SEC("raw_tp/sys_enter") int p(void *ctx) { struct ev e = {1}; bpf_perf_event_output(ctx, &own, 0, &e, sizeof(e)); return 0; }`
	if _, err := program.Build(programtest.Object(t, own), program.Options{Name: "own"}); err == nil || !strings.Contains(err.Error(), "perf buffers are not read by kgent") {
		t.Errorf("a perf buffer of its own: %v", err)
	}
}
