package probe_test

import (
	"context"
	"encoding/binary"
	"testing"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// Records come out as they went in, whatever their size is, also where they lie over the
// end of a ring or of the part of it that is mapped, and what was discarded does not
// come.
func TestRecordsOfAllSizes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ring  uint32
		calls uint64
		sizes []int // of those that find room
	}{
		{"as large as what is mapped of it", 1 << 20, 40, []int{16, 24, 3000, 100_000}},
		{"larger", 4 << 20, 12, []int{16, 24, 3000, 100_000, 1_500_000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			residue.Check(t)
			o := object(t, "sizes.bpf.c", "")
			mark := newMark()
			m := manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}})
			for i := range m.Maps {
				if m.Maps[i].Role == program.RoleEvents {
					m.Maps[i].MaxEntries = tt.ring
				}
			}
			s := load(t, probe.NewLoader(probe.Options{}), o, m)
			attach(t, s)
			for n := range tt.calls {
				call(mark, n)
				ctx, cancel := context.WithCancel(t.Context())
				seen := 0
				err := s.Drain(ctx, probe.Tick, func(_ int, raw []byte) {
					first, last := binary.NativeEndian.Uint64(raw), binary.NativeEndian.Uint64(raw[len(raw)-8:])
					if len(raw) != tt.sizes[seen] || first != n || last != n {
						t.Errorf("call %d, record %d: %d bytes from %d to %d, want %d", n, seen, len(raw), first, last, tt.sizes[seen])
					}
					if seen++; seen == len(tt.sizes) {
						cancel()
					}
				})
				cancel()
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Detach(); err != nil {
				t.Fatal(err)
			}
			if err := s.Rest(t.Context(), func(_ int, raw []byte) { t.Errorf("%d bytes more", len(raw)) }); err != nil {
				t.Error(err)
			}
			if c, err := s.Counts(); err != nil || c.Produced-c.Lost != tt.calls*uint64(len(tt.sizes)) {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
}
