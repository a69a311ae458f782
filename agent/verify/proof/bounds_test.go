package proof

import (
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"kgent/agent/verify/symbolic"
)

// Programs that are made to take more memory than there is end as Unknown, and
// have taken little. That none of them is proved goes without saying.
func TestBounds(t *testing.T) {
	ring := "struct ev { __u8 data[64]; };\nstruct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 26); __type(value, struct ev); } events SEC(\".maps\");\n"
	for _, c := range []struct {
		name, source, why string
		paths             int
	}{
		{"large record", ring + costPlace + `	char *r = bpf_ringbuf_reserve(&events, 1 << 25, 0);
	if (r)
		bpf_ringbuf_discard(r, 0);
	return 0;
}
`, "a record of events has 33554432 bytes", 0},
		{"large element", `
struct big { __u8 data[1 << 28]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct big); } store SEC(".maps");
` + costPlace + `	__u32 zero = 0;
	struct big *b = bpf_map_lookup_elem(&store, &zero);
	if (b)
		b->data[newstate & 0xffff] = 1;
	return 0;
}
`, "an element of map store has 268435456 bytes", 0},
		{"states that do not merge", ring + costPlace + doubling(24) + "	return 0;\n}\n", "more than 512 paths", 512},
		{"states of large elements", `
struct big { __u8 data[1 << 16]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __u32); __type(value, struct big); } store SEC(".maps");
` + ring + costPlace + `	__u32 zero = 0;
	struct big *b = bpf_map_lookup_elem(&store, &zero);
	if (!b)
		return 0;
	b->data[0] = newstate;
` + doubling(8) + "	return 0;\n}\n", "bytes are stored and emitted", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			debug.FreeOSMemory()
			resetPeak(t)
			r := verify(t, head+c.source, "", Limits{Time: patient.Time, Machine: symbolic.Limits{Paths: c.paths, Time: patient.Machine.Time}})
			if r.Verdict != Unknown || !strings.Contains(strings.Join(r.Reasons, "\n"), c.why) {
				t.Errorf("%s: %s", r.Verdict, strings.Join(r.Reasons, "\n"))
			}
			peak := peakMB(t)
			t.Logf("%v, %.0f MB", r.Stats.Time, peak)
			if peak > 1024 {
				t.Errorf("it took %.0f MB", peak)
			}
		})
	}
}

// doubling is n times an event or none: 2^n paths with different effects.
func doubling(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "\tif (newstate & %d) {\n\t\tstruct ev e = { .data = { %d } };\n\t\tbpf_ringbuf_output(&events, &e, sizeof(e), 0);\n\t}\n", 1<<i, i+1)
	}
	return out.String()
}
