package program

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// madeUp is a kernel of a few types: struct thing { int here; struct part part; },
// enum state { STATE_OLD }.
func madeUp(t *testing.T) *btf.Spec {
	t.Helper()
	number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	part := &btf.Struct{Name: "part", Size: 4, Members: []btf.Member{{Name: "kept", Type: number}}}
	thing := &btf.Struct{Name: "thing", Size: 8, Members: []btf.Member{{Name: "here", Type: number}, {Name: "part", Type: part, Offset: 32}}}
	state := &btf.Enum{Name: "state", Size: 4, Values: []btf.EnumValue{{Name: "STATE_OLD", Value: 3}}}
	return specOf(t, thing, state)
}

// specOf is the BTF of a kernel that has these types.
func specOf(t *testing.T, types ...btf.Type) *btf.Spec {
	t.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// ours are the program's ideas of those types, which know more.
const ours = `
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct part { int kept; int moved; };
struct thing { int here; int gone; struct part part; };
struct other { int x; };
#pragma clang attribute pop
enum state { STATE_OLD, STATE_NEW };
volatile int sink;
static struct thing *arg(void *ctx) { return *(struct thing **)ctx; }
static int get(const void *from) { int x = 0; bpf_probe_read_kernel(&x, sizeof(x), from); return x; }
SEC("raw_tp/sys_enter") int p(void *ctx) { struct thing *t = arg(ctx); (void)t; `

func TestAbsent(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want []string
	}{
		"what is there":        {`sink = get(&t->here) + get(&t->part.kept);`, nil},
		"a field":              {`sink = get(&t->gone);`, []string{"struct thing.gone"}},
		"a field of a part":    {`sink = get(&t->part.moved);`, []string{"struct thing.part.moved"}},
		"both, each once":      {`sink = get(&t->gone) + get(&t->gone); sink = get(&t->part.moved);`, []string{"struct thing.gone", "struct thing.part.moved"}},
		"a type":               {`sink = get(&((struct other *)t)->x);`, []string{"struct other.x"}},
		"an enumerator":        {`sink = bpf_core_enum_value(enum state, STATE_NEW);`, []string{"the enumerator STATE_NEW of enum state"}},
		"an enumerator, there": {`sink = bpf_core_enum_value(enum state, STATE_OLD);`, nil},
		"a helper":             {`sink = bpf_get_current_pid_tgid();`, []string{"the helper bpf_get_current_pid_tgid"}},
		"asked for first":      {`if (bpf_core_field_exists(t->gone)) sink = get(&t->gone); else sink = get(&t->here);`, nil},
		"asked the other way":  {`if (!bpf_core_field_exists(t->gone)) sink = get(&t->gone);`, []string{"struct thing.gone"}},
		"asked of another":     {`if (bpf_core_field_exists(t->here)) sink = get(&t->gone);`, []string{"struct thing.gone"}},
		"asked and kept":       {`int ok = bpf_core_field_exists(t->gone); sink = get(&t->here); sink = get(&t->part.kept); if (ok && sink > 3) sink = get(&t->gone);`, nil},
		"asked of a type":      {`if (bpf_core_type_exists(struct other)) sink = get(&((struct other *)t)->x);`, nil},
		"asked of an enum":     {`if (bpf_core_enum_value_exists(enum state, STATE_NEW)) sink = bpf_core_enum_value(enum state, STATE_NEW);`, nil},
		"a helper for a type":  {`if (bpf_core_type_exists(struct other)) sink = bpf_get_current_pid_tgid();`, nil},
		"in a loop":            {`for (int i = 0; i < 100; i++) { if (i > 50 && sink) sink = get(&t->gone); sink += get(&t->here); }`, []string{"struct thing.gone"}},
		// clang takes the field's offset out of the loop, before the question: no
		// kernel without the field loads that.
		"asked in a loop": {`for (int i = 0; i < 100; i++) { if (bpf_core_field_exists(t->gone)) sink = get(&t->gone); sink += get(&t->here); }`, []string{"struct thing.gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := Parse(source(t, ours+test.body+" return 0; }"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := o.Absent(Types{Kernel: madeUp(t), Helper: func(name string) bool { return name != "bpf_get_current_pid_tgid" }})
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
		})
	}
}

// Callbacks and subprograms are looked at as well.
func TestAbsentElsewhere(t *testing.T) {
	o, err := Parse(source(t, ours+`sink = get(&t->here); return 0; }
static __attribute__((noinline)) int sub(struct thing *t) { return get(&t->gone); }
static long each(__u32 i, void *data) { sink = get(&((struct thing *)data)->part.moved); return 0; }
SEC("raw_tp/sys_exit") int q(void *ctx) { sink = sub(arg(ctx)); bpf_loop(10, each, 0, 0); return 0; }`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Absent(Types{Kernel: madeUp(t)})
	slices.Sort(got)
	if err != nil || !slices.Equal(got, []string{"struct thing.gone", "struct thing.part.moved"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// A kernel that lists its types of maps and programs has no others; the last
// enumerator is how many there are.
func TestAbsentKinds(t *testing.T) {
	o, err := Parse(source(t, `
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, int); __type(value, int); } hash SEC(".maps");
SEC("raw_tp/sys_enter") int p(void *ctx) { int zero = 0; bpf_map_delete_elem(&hash, &zero); bpf_ringbuf_output(&ring, &zero, sizeof(zero), 0); return 0; }`))
	if err != nil {
		t.Fatal(err)
	}
	list := func(name, last string, most uint64) *btf.Enum {
		e := &btf.Enum{Name: name, Size: 4}
		for i := range most + 1 {
			e.Values = append(e.Values, btf.EnumValue{Name: fmt.Sprintf("%s_%d", name, i), Value: i})
		}
		e.Values = append(e.Values, btf.EnumValue{Name: last, Value: most + 1})
		return e
	}
	for name, test := range map[string]struct {
		maps, programs uint64 // the largest types
		want           []string
	}{
		"both are there":         {uint64(ebpf.RingBuf), uint64(ebpf.RawTracepoint), nil},
		"no ring buffers":        {uint64(ebpf.RingBuf) - 1, uint64(ebpf.RawTracepoint), []string{"maps of the type RingBuf"}},
		"no raw tracepoints":     {uint64(ebpf.RingBuf), uint64(ebpf.RawTracepoint) - 1, []string{"programs of the type RawTracepoint"}},
		"neither, and no more":   {uint64(ebpf.RingBuf) - 1, uint64(ebpf.RawTracepoint) - 1, []string{"maps of the type RingBuf", "programs of the type RawTracepoint"}},
		"a kernel of long ago":   {uint64(ebpf.Array), uint64(ebpf.RawTracepoint), []string{"maps of the type PerCPUArray", "maps of the type RingBuf"}},
		"a kernel of days ahead": {1000, 1000, nil},
	} {
		t.Run(name, func(t *testing.T) {
			kernel := specOf(t, list("bpf_map_type", "__MAX_BPF_MAP_TYPE", test.maps), list("bpf_prog_type", "__MAX_BPF_PROG_TYPE", test.programs))
			if got, err := o.Absent(Types{Kernel: kernel}); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
		})
	}
}
