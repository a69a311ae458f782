package render

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/executor/output"
)

// fakeStacks names frames after what was asked for.
type fakeStacks struct{}

func (fakeStacks) KernelStack(id int32) []string {
	return []string{fmt.Sprintf("k%d", id), "\x1bentry"}
}
func (fakeStacks) UserStack(pid uint32, id int32) []string {
	return []string{fmt.Sprintf("pid %d id %d", pid, id)}
}

var readAt = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// pack lays values out as C does on this machine, without padding.
func pack(values ...any) []byte {
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case string: // char[16]
			var c [16]byte
			copy(c[:], v)
			b = append(b, c[:]...)
		case []byte:
			b = append(b, v...)
		default:
			var err error
			if b, err = binary.Append(b, binary.NativeEndian, v); err != nil {
				panic(err)
			}
		}
	}
	return b
}

// hist makes a struct k_hist with the given slots.
func hist(slots map[int]uint64) []byte {
	b := make([]byte, 8*histSlots)
	for i, n := range slots {
		binary.NativeEndian.PutUint64(b[8*i:], n)
	}
	return b
}

func cell(key []byte, values ...[]byte) Cell { return Cell{Key: key, Values: values} }

// records renders and returns the lines without what is the same in all.
func records(t *testing.T, name string, cells []Cell, view program.View) string {
	t.Helper()
	m, err := NewMap(outputMap(t, name), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	return recordsOf(t, m, cells, view)
}

func recordsOf(t *testing.T, m *Map, cells []Cell, view program.View) string {
	t.Helper()
	rs, err := m.Records("n", cells, fakeStacks{}, view, Reading{At: readAt, Final: true})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range rs {
		line, err := output.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := output.Decode(line)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := output.Encode(back); err != nil || string(again) != string(line) {
			t.Errorf("after a round trip:\n%s%s%v", again, line, err)
		}
		s := strings.NewReplacer(`"node":"n",`, "", `,"at":"2026-03-04T12:00:00Z"`, "", `,"final":true`, "", "\n", "").Replace(string(line))
		lines = append(lines, s)
	}
	return strings.Join(lines, "\n")
}

func TestTables(t *testing.T) {
	pid := func(p uint32) []byte { return pack(p) }
	n := func(v uint64) []byte { return pack(v) }
	for _, tt := range []struct {
		name, table string
		cells       []Cell
		view        program.View
		want        string
	}{
		{"largest first, ties by key", "by_pid", []Cell{cell(pid(3), n(5)), cell(pid(2), n(5)), cell(pid(1), n(9)), cell(pid(4), n(0))}, program.View{},
			`{"type":"map","name":"by_pid","entries":[{"key":{"pid":1},"value":{"count":9}},{"key":{"pid":2},"value":{"count":5}},` +
				`{"key":{"pid":3},"value":{"count":5}},{"key":{"pid":4},"value":{"count":0}}],"total":4}`},
		{"top", "by_pid", []Cell{cell(pid(1), n(1)), cell(pid(2), n(2)), cell(pid(3), n(3))}, program.View{Top: 2},
			`{"type":"map","name":"by_pid","entries":[{"key":{"pid":3},"value":{"count":3}},{"key":{"pid":2},"value":{"count":2}}],"total":3}`},
		{"top, of several nodes", "by_pid", []Cell{cell(pid(1), n(1)), cell(pid(2), n(2))}, program.View{Top: 1, Whole: true},
			`{"type":"map","name":"by_pid","entries":[{"key":{"pid":2},"value":{"count":2}},{"key":{"pid":1},"value":{"count":1}}],"total":2,"top":1}`},
		{"empty", "by_pid", nil, program.View{}, `{"type":"map","name":"by_pid","entries":[],"total":0}`},
		{"signed", "by_color", []Cell{cell(pid(5), pack(int64(-2))), cell(pid(0), pack(int64(3))), cell(pid(0xfffffffd), pack(int64(-1))), cell(pid(1), n(0))}, program.View{},
			`{"type":"map","name":"by_color","entries":[{"key":{"key":"RED"},"value":{"value":3}},{"key":{"key":"BLUE"},"value":{"value":-1}},` +
				`{"key":{"key":"GREEN"},"value":{"value":-2}}],"total":3}`},
		{"slots", "slots", []Cell{cell(pid(0), n(0)), cell(pid(1), n(7)), cell(pid(2), n(0)), cell(pid(3), n(8))}, program.View{},
			`{"type":"map","name":"slots","entries":[{"key":{"key":3},"value":{"count":8}},{"key":{"key":1},"value":{"count":7}}],"total":2}`},
		{"statistics", "by_errno", []Cell{cell(pid(0), pack(uint64(1), uint64(5), uint64(5), uint64(5))), cell(pid(111), pack(uint64(2), uint64(9), uint64(1), uint64(8)))}, program.View{},
			`{"type":"map","name":"by_errno","entries":[{"key":{"errno":"ECONNREFUSED"},"value":{"count":2,"sum":9,"min":1,"max":8,"mean":5}},` +
				`{"key":{"errno":"OK"},"value":{"count":1,"sum":5,"min":5,"max":5,"mean":5}}],"total":2}`},
		{"text, by key", "texts", []Cell{cell(pack(uint64(0), uint64(2)), []byte("b\x1b\xff\x00xxxx")), cell(pack(uint64(0), uint64(1)), []byte("a\x00xxxxxx"))}, program.View{},
			`{"type":"map","name":"texts","entries":[{"key":{"addr":"::100:0:0:0"},"value":{"value":"a"}},` +
				`{"key":{"addr":"::200:0:0:0"},"value":{"value":"b\u001b�"}}],"total":2}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := records(t, tt.table, tt.cells, tt.view); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestMergeCPUs(t *testing.T) {
	m, err := NewMap(outputMap(t, "by_comm"), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	// Build values through the type's own layout, so that padding is clang's.
	value := func(set map[string]uint64, comm string, each ...uint64) []byte {
		b := make([]byte, (m.valueSize+7)&^7)
		for i := range m.value.children {
			f := &m.value.children[i]
			switch {
			case f.field == "comm":
				copy(b[f.off:f.off+f.size], comm)
			case f.field == "each":
				for i, v := range each {
					binary.NativeEndian.PutUint64(b[int(f.off)+8*i:], v)
				}
			default:
				f.store(b, set[f.field])
			}
		}
		return b
	}
	minus := func(n int64) uint64 { return uint64(n) }
	key := pack("nginx", uint32(7))
	c := cell(key,
		value(map[string]uint64{"calls": 1, "total": 10, "last": 5e9, "balance": minus(-7), "low": 15, "high": 4000, "flags": 2}, "", 1, 2),
		value(nil, ""),
		value(map[string]uint64{"calls": 2, "total": 20, "last": 3e9, "color": 5, "pid": 9, "balance": 3, "low": 2, "high": 4, "flags": 16, "seen": 1}, "first", 10, 20),
		value(map[string]uint64{"calls": 3, "total": 30, "last": 4e9, "color": minus(-3), "pid": 8}, "second"))
	before := fmt.Sprint(c)
	want := `{"type":"map","name":"by_comm","entries":[{"key":{"comm":"nginx","pid":7},"value":{"calls":6,"total":60,` +
		`"last":"2026-03-04T13:00:05Z","comm":"first","color":"GREEN","pid":9,"flags":"SYN|ACK","balance":-4,"low":1,"high":4004,` +
		`"seen":true,"each":[11,22]}}],"total":1}`
	if got := recordsOf(t, m, []Cell{c}, program.View{}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if fmt.Sprint(c) != before {
		t.Error("rendering has changed the cell")
	}
}

// How the numbers of nodes make one is said where it is how those of CPUs do.
func TestMergings(t *testing.T) {
	merges := func(info program.MapInfo) string {
		m, err := NewMap(info, testEnv())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, c := range m.Stream().Columns {
			out = append(out, c.Name+" "+string(c.Merge))
		}
		return strings.Join(out, ", ")
	}
	info := outputMap(t, "by_pid")
	for kind, want := range map[ebpf.MapType]string{ebpf.PerCPUHash: "pid , count sum", ebpf.Hash: "pid , count "} {
		if info.Type = kind; merges(info) != want {
			t.Errorf("%v: %q, want %q", kind, merges(info), want)
		}
	}
	for _, kind := range []ebpf.MapType{ebpf.PerCPUHash, ebpf.Hash} {
		info := outputMap(t, "by_errno")
		if info.Type = kind; merges(info) != "errno , count sum, sum sum, min min, max max, mean mean" {
			t.Errorf("%v: %q", kind, merges(info))
		}
	}
}

func TestSingleSlot(t *testing.T) {
	m, err := NewMap(outputMap(t, "total"), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	v := make([]byte, m.valueSize)
	v[0] = 3
	got := recordsOf(t, m, []Cell{cell(pack(uint32(0)), v, v)}, program.View{})
	if want := `{"type":"map","name":"total","entries":[{"key":{},"value":{"calls":6,`; !strings.HasPrefix(got, want) {
		t.Errorf("got %s", got)
	}
	if c := m.Stream().Columns[0].Name; c != "calls" {
		t.Errorf("the first column is %s", c)
	}
}

func TestHistograms(t *testing.T) {
	got := records(t, "hist", []Cell{
		cell(pack("few"), hist(map[int]uint64{3: 1})),
		cell(pack("none"), hist(nil)),
		cell(pack("many"), hist(map[int]uint64{0: 2, 1: 1, 4: 5, 63: 1})),
	}, program.View{})
	lines := strings.Split(got, "\n")
	if len(lines) != 2 {
		t.Fatalf("got\n%s", got)
	}
	if want := `{"type":"hist","name":"hist","key":{"comm":"few"},"unit":"ns","buckets":[{"min":4,"max":7,"count":1}],"count":1}`; lines[1] != want {
		t.Errorf("got\n%s\nwant\n%s", lines[1], want)
	}
	for _, want := range []string{`{"type":"hist","name":"hist","key":{"comm":"many"},"unit":"ns","buckets":[{"min":0,"max":0,"count":2},{"min":1,"max":1,"count":1},` +
		`{"min":2,"max":3,"count":0},{"min":4,"max":7,"count":0},{"min":8,"max":15,"count":5},`,
		`{"min":4611686018427387904,"max":18446744073709551615,"count":1}],"count":9}`} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("got\n%s\nwant\n%s", lines[0], want)
		}
	}

	// Over the CPUs and over slots of an array.
	got = records(t, "global_hist", []Cell{
		cell(pack(uint32(0)), hist(map[int]uint64{1: 1}), hist(map[int]uint64{1: 2, 2: 1})),
		cell(pack(uint32(1)), hist(nil), hist(nil)),
	}, program.View{})
	if want := `{"type":"hist","name":"global_hist","key":{"key":0},"unit":"bytes","buckets":[{"min":1,"max":1,"count":3},{"min":2,"max":3,"count":1}],"count":4}`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// Beside other members, and only the top.
	mixed := func(n uint64, h map[int]uint64, size uint64) []byte { return pack(n, hist(h), size) }
	got = records(t, "mixed", []Cell{
		cell(pack(int32(0)), mixed(7, map[int]uint64{1: 1}, 100)),
		cell(pack(int32(1)), mixed(9, map[int]uint64{1: 5}, 200)),
	}, program.View{Top: 1})
	want := `{"type":"hist","name":"mixed.latency","key":{"syscall":"write"},"unit":"us","buckets":[{"min":1,"max":1,"count":5}],"count":5}
{"type":"map","name":"mixed","entries":[{"key":{"syscall":"write"},"value":{"n":9,"size":200}}],"total":2}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// On several nodes those beyond the top are sent, and marked.
	got = records(t, "hist", []Cell{
		cell(append([]byte("few"), make([]byte, 13)...), hist(map[int]uint64{1: 1})),
		cell(append([]byte("many"), make([]byte, 12)...), hist(map[int]uint64{1: 2})),
	}, program.View{Top: 1, Whole: true})
	want = `{"type":"hist","name":"hist","key":{"comm":"many"},"unit":"ns","buckets":[{"min":1,"max":1,"count":2}],"count":2}
{"type":"hist","name":"hist","key":{"comm":"few"},"unit":"ns","buckets":[{"min":1,"max":1,"count":1}],"count":1,"minor":true}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// Nothing at all is said, too.
	if got, want := records(t, "hist", nil, program.View{}), `{"type":"hist","name":"hist","unit":"ns","buckets":[],"count":0}`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Every value lands in the bucket that k_log2_slot of kgent.bpf.h puts it in.
func TestBuckets(t *testing.T) {
	slot := func(v uint64) int {
		n := 0
		for ; v > 0; v >>= 1 {
			n++
		}
		return min(n, 63)
	}
	log2 := &node{shape: shapeHist, count: histSlots}
	for _, v := range []uint64{0, 1, 2, 3, 4, 7, 8, 1 << 20, 1<<62 - 1, 1 << 62, 1 << 63, math.MaxUint64} {
		b := log2.bucket(slot(v), 1)
		if v < b.Min || v > b.Max {
			t.Errorf("%d is not within %d to %d", v, b.Min, b.Max)
		}
	}
	for i := range histSlots - 1 {
		if a, b := log2.bucket(i, 0), log2.bucket(i+1, 0); a.Max+1 != b.Min {
			t.Errorf("slots %d and %d: %+v %+v", i, i+1, a, b)
		}
	}
}

// A linear histogram has the slots of K_LINEAR, the last one without an end, and is
// added up, and taken apart again, like any other.
func TestLinear(t *testing.T) {
	slots := func(n ...uint64) []byte { return pack([4]uint64{n[0], n[1], n[2], n[3]}) }
	got := records(t, "linear", []Cell{cell(pack(uint32(7)), slots(0, 2, 0, 1), slots(0, 1, 0, 4)), cell(pack(uint32(8)), slots(1, 0, 0, 0), slots(0, 0, 0, 0))}, program.View{})
	want := `{"type":"hist","name":"linear","key":{"pid":7},"unit":"bytes","buckets":[{"min":4096,"max":8191,"count":3},{"min":8192,"max":12287,"count":0},{"min":12288,"max":18446744073709551615,"count":5}],"count":8}
{"type":"hist","name":"linear","key":{"pid":8},"unit":"bytes","buckets":[{"min":0,"max":4095,"count":1}],"count":1}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	m, err := NewMap(outputMap(t, "linear"), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	since, err := m.Since([]Cell{cell(pack(uint32(7)), slots(0, 2, 0, 1))}, []Cell{cell(pack(uint32(7)), slots(0, 2, 0, 5))})
	if err != nil || len(since) != 1 || !bytes.Equal(since[0].Values[0], slots(0, 0, 0, 4)) {
		t.Errorf("since: %v, %v", since, err)
	}
	wide := &node{shape: shapeHist, count: 3, step: 1 << 63}
	if b := wide.bucket(1, 1); b.Min != 1<<63 || b.Max != math.MaxUint64 {
		t.Errorf("a step beyond all values: %+v", b)
	}
}

func TestStackRecords(t *testing.T) {
	key := func(pid uint32, kernel, user int32, comm string) []byte { return pack(pid, kernel, user, comm) }
	got := records(t, "stack_counts", []Cell{
		cell(key(7, 1, 2, "java"), pack(uint64(5))),
		cell(key(8, 3, -14, "kworker"), pack(uint64(9))),
		cell(key(9, -14, -14, "idle"), pack(uint64(1))),
		cell(key(10, -17, 4, "perl"), pack(uint64(0))),
	}, program.View{Top: 3})
	want := `{"type":"stack","name":"stack_counts","key":{"pid":8,"comm":"kworker"},"frames":["k3","\u001bentry"],"kernel":2,"count":9}
{"type":"stack","name":"stack_counts","key":{"pid":7,"comm":"java"},"frames":["k1","\u001bentry","pid 7 id 2"],"kernel":2,"count":5}
{"type":"stack","name":"stack_counts","key":{"pid":9,"comm":"idle"},"frames":["[no stack]"],"count":1}
{"type":"stack","name":"stack_counts","key":{"pid":10,"comm":"perl"},"frames":["k-17","\u001bentry","pid 10 id 4"],"kernel":2,"count":0,"minor":true}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := records(t, "stack_ns", []Cell{cell(pack(int32(4)), pack(uint64(5)))}, program.View{}),
		`{"type":"stack","name":"stack_ns","frames":["k4","\u001bentry"],"kernel":2,"count":5}`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := records(t, "stack_counts", nil, program.View{}), `{"type":"map","name":"stack_counts","entries":[],"total":0}`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// However many stacks there are, all that was counted is in the records.
	many := make([]Cell, maxStacks+500)
	var sum uint64
	for i := range many {
		many[i] = cell(key(uint32(i), 1, -14, "many"), pack(uint64(i+1)))
		sum += uint64(i + 1)
	}
	m, err := NewMap(outputMap(t, "stack_counts"), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	for _, final := range []bool{true, false} {
		rs, err := m.Records("n", many, fakeStacks{}, program.View{Top: 3}, Reading{At: readAt, Final: final})
		if err != nil {
			t.Fatal(err)
		}
		var counted uint64
		major := 0
		for _, r := range rs {
			s := r.(output.Stack)
			counted += s.Count
			if !s.Minor {
				major++
			}
		}
		if major != 3 || final && (len(rs) != maxStacks+1 || counted != sum) || !final && len(rs) != 3 {
			t.Errorf("final %v: %d stacks, %d major, %d of %d counted", final, len(rs), major, counted, sum)
		}
	}
	if pid, ok := m.PID(key(7, 1, 2, "java")); pid != 7 || !ok {
		t.Errorf("PID: %d, %v", pid, ok)
	}
	if _, ok := m.PID(nil); ok {
		t.Error("a process without a key")
	}
	if _, err := m.Records("n", nil, nil, program.View{}, Reading{At: readAt, Final: true}); err == nil {
		t.Error("stacks without a resolver are no error")
	}
	var names []string
	for _, c := range m.Stream().Columns {
		names = append(names, c.Name)
	}
	if want := []string{"pid", "comm", "count"}; !reflect.DeepEqual(names, want) {
		t.Errorf("columns %v, want %v", names, want)
	}
}

func TestSince(t *testing.T) {
	since := func(name string, before, now []Cell) string {
		t.Helper()
		m, err := NewMap(outputMap(t, name), testEnv())
		if err != nil {
			t.Fatal(err)
		}
		cells, err := m.Since(before, now)
		if err != nil {
			t.Fatal(err)
		}
		return recordsOf(t, m, cells, program.View{})
	}
	pid := func(p uint32) []byte { return pack(p) }
	n := func(v uint64) []byte { return pack(v) }
	got := since("by_pid", []Cell{cell(pid(1), n(5)), cell(pid(2), n(5)), cell(pid(3), n(5)), cell(pid(4), n(5))},
		[]Cell{cell(pid(1), n(7)), cell(pid(2), n(5)), cell(pid(3), n(1)), cell(pid(5), n(9))})
	want := `{"type":"map","name":"by_pid","entries":[{"key":{"pid":5},"value":{"count":9}},{"key":{"pid":1},"value":{"count":2}},` +
		`{"key":{"pid":3},"value":{"count":1}}],"total":3}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got = since("hist", []Cell{cell(pack("a"), hist(map[int]uint64{1: 5, 2: 1}))}, []Cell{cell(pack("a"), hist(map[int]uint64{1: 6, 2: 1}))})
	if want := `{"type":"hist","name":"hist","key":{"comm":"a"},"unit":"ns","buckets":[{"min":1,"max":1,"count":1}],"count":1}`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// One slot below is a new histogram, all of it.
	got = since("hist", []Cell{cell(pack("a"), hist(map[int]uint64{1: 5, 2: 1}))}, []Cell{cell(pack("a"), hist(map[int]uint64{1: 6}))})
	if want := `"buckets":[{"min":1,"max":1,"count":6}],"count":6}`; !strings.HasSuffix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	stat := func(v ...uint64) []byte { return pack(v) }
	got = since("by_errno", []Cell{cell(pid(1), stat(2, 10, 1, 9)), cell(pid(2), stat(0, 0, 0, 0))},
		[]Cell{cell(pid(1), stat(4, 16, 1, 9)), cell(pid(2), stat(1, 3, 3, 3))})
	want = `{"type":"map","name":"by_errno","entries":[{"key":{"errno":"EPERM"},"value":{"count":2,"sum":6,"mean":3}},` +
		`{"key":{"errno":"ENOENT"},"value":{"count":1,"sum":3,"min":3,"max":3,"mean":3}}],"total":2}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// The CPUs are merged before anything is subtracted.
	m, err := NewMap(outputMap(t, "global_hist"), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	cells, err := m.Since([]Cell{cell(pack(uint32(0)), hist(map[int]uint64{1: 1}), hist(map[int]uint64{1: 1}))},
		[]Cell{cell(pack(uint32(0)), hist(map[int]uint64{1: 2}), hist(map[int]uint64{1: 5}))})
	if err != nil || len(cells) != 1 || len(cells[0].Values) != 1 || histSlot(cells[0].Values[0], 1) != 5 {
		t.Errorf("got %v, %v", cells, err)
	}
}

func TestBadCells(t *testing.T) {
	m, err := NewMap(outputMap(t, "by_pid"), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	good := cell(pack(uint32(1)), pack(uint64(1)))
	for _, bad := range []Cell{{}, cell(nil, pack(uint64(1))), cell(pack(uint32(1))), cell(pack(uint32(1)), pack(uint32(1))),
		cell(pack(uint32(1)), pack(uint64(1)), nil), cell(pack(uint64(1)), pack(uint64(1)))} {
		if _, err := m.Records("n", []Cell{good, bad}, nil, program.View{}, Reading{At: readAt}); err == nil {
			t.Errorf("%v is no error", bad)
		}
		if _, err := m.Since([]Cell{bad}, nil); err == nil {
			t.Errorf("%v before is no error", bad)
		}
		if _, err := m.Since(nil, []Cell{bad}); err == nil {
			t.Errorf("%v now is no error", bad)
		}
	}
}

func TestMapTypesRefused(t *testing.T) {
	for name, want := range map[string]string{"stack_hist": "histogram for each stack", "lost_stack": "k_pid"} {
		if _, err := NewMap(outputMap(t, name), testEnv()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to mention %q", name, err, want)
		}
	}
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	for _, info := range []program.MapInfo{{Name: "m"}, {Name: "m", Key: u32}, {Name: "m", Value: u32},
		{Name: "m", Key: &btf.Void{}, Value: u32}, {Name: "m", Key: u32, Value: &btf.Void{}}} {
		if _, err := NewMap(info, testEnv()); err == nil || !strings.Contains(err.Error(), "preparing map m") {
			t.Errorf("%+v: %v", info, err)
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	m, err := NewMap(outputMap(b, "by_comm"), testEnv())
	if err != nil {
		b.Fatal(err)
	}
	cells := make([]Cell, 10_000)
	for i := range cells {
		v := make([]byte, m.valueSize)
		binary.NativeEndian.PutUint64(v, uint64(i*7919%10_000))
		cells[i] = cell(pack("worker", uint32(i)), v, v)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Records("n", cells, nil, program.View{}, Reading{At: readAt, Final: true}); err != nil {
			b.Fatal(err)
		}
	}
}
