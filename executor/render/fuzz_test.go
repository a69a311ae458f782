package render

import (
	"bytes"
	"slices"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/executor/output"
)

// typeMaker builds types, sound and broken ones, out of arbitrary bytes.
type typeMaker struct{ data []byte }

func (m *typeMaker) byte() byte {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return b
}

// kinds are the typedefs in a fixed order.
var kinds = func() []string {
	var names []string
	for name := range meanings {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

func (m *typeMaker) make(depth int) btf.Type {
	sizes := [...]uint32{1, 2, 4, 8, 16, 3, 0}
	size := func() uint32 { return sizes[int(m.byte())%len(sizes)] }
	choice := m.byte() % 14
	if depth > 12 {
		choice %= 5
	}
	switch choice {
	case 0:
		return &btf.Int{Name: "int", Size: size(), Encoding: btf.IntEncoding(m.byte() % 8)}
	case 1:
		return &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	case 2:
		return &btf.Pointer{Target: &btf.Void{}}
	case 3:
		return &btf.Float{Size: size()}
	case 4:
		e := &btf.Enum{Size: size(), Signed: m.byte()%2 == 0}
		for range m.byte() % 4 {
			e.Values = append(e.Values, btf.EnumValue{Name: string([]byte{m.byte(), m.byte()}), Value: uint64(int8(m.byte()))})
		}
		return e
	case 5:
		return &btf.Array{Type: m.make(depth + 1), Nelems: uint32(m.byte() % 20)}
	case 6:
		return &btf.Array{Type: &btf.Int{Name: "unsigned char", Size: 1}, Nelems: uint32(m.byte())}
	case 7, 8:
		name := kinds[int(m.byte())%len(kinds)]
		return &btf.Typedef{Name: name, Type: m.under(name, depth)}
	case 9:
		return &btf.Typedef{Name: []string{"__be16", "__be32", "anything", "\xff"}[m.byte()%4], Type: m.make(depth + 1)}
	case 10:
		return &btf.Const{Type: m.make(depth + 1)}
	case 11:
		u := &btf.Union{Name: "u", Size: uint32(m.byte() % 64)}
		for range m.byte() % 3 {
			u.Members = append(u.Members, m.member(depth))
		}
		return u
	default:
		return m.structure(depth)
	}
}

// under returns what the typedef is of in kgent.bpf.h, most of the time.
func (m *typeMaker) under(name string, depth int) btf.Type {
	if m.byte()%8 == 0 {
		return m.make(depth + 1)
	}
	byteType := &btf.Int{Name: "unsigned char", Size: 1}
	switch meaning := meanings[name]; {
	case name == "k_args":
		n := 1 + uint32(m.byte())
		return &btf.Struct{Name: name, Size: 4 + n, Members: []btf.Member{{Name: "len", Type: &btf.Int{Size: 4}},
			{Name: "s", Type: &btf.Array{Type: byteType, Nelems: n}, Offset: 32}}}
	case meaning.size > 8 || name == "k_mac":
		return &btf.Struct{Name: name, Size: meaning.size}
	case meaning.size > 0:
		return &btf.Int{Size: meaning.size}
	default:
		return &btf.Int{Size: 1 << (m.byte() % 4), Encoding: btf.IntEncoding(m.byte() % 2)}
	}
}

func (m *typeMaker) member(depth int) btf.Member {
	names := [...]string{"a", "pid", "", "ß", "\x00\x1b", "stack", `"`}
	b := btf.Member{Name: names[int(m.byte())%len(names)], Type: m.make(depth + 1)}
	b.Offset = btf.Bits(m.byte()) * 8
	if m.byte()%4 == 0 {
		b.Offset, b.BitfieldSize = btf.Bits(m.byte()), btf.Bits(m.byte()%70)
	}
	return b
}

func (m *typeMaker) structure(depth int) *btf.Struct {
	s := &btf.Struct{Name: "s", Size: uint32(m.byte()) * 4}
	if m.byte()%16 == 0 {
		s.Size *= 64
	}
	for range m.byte() % 6 {
		s.Members = append(s.Members, m.member(depth))
	}
	return s
}

// fill repeats data until it has the size.
func fill(data []byte, size int) []byte {
	out := make([]byte, size)
	for i := range out {
		if len(data) > 0 {
			out[i] = data[i%len(data)]
		}
	}
	return out
}

func checkLine(t *testing.T, line []byte) {
	t.Helper()
	if !utf8.Valid(line) {
		t.Fatalf("not UTF-8: %q", line)
	}
	for _, r := range string(line[:len(line)-1]) {
		if !unicode.IsPrint(r) {
			t.Fatalf("%q in %q", r, line)
		}
	}
}

// Whatever type a program declares and whatever bytes it writes: an error, or
// a line that every reader of records understands; and the same values in maps
// as in events.
func FuzzAppend(f *testing.F) {
	for _, name := range []string{"connect", "strings", "bits", "nested", "args"} {
		_, raw := sample(f, name)
		f.Add([]byte{12, 200, 1, 5, 0, 7, 1, 2, 3, 4, 5, 6}, raw)
	}
	for i := range 64 {
		f.Add(bytes.Repeat([]byte{byte(i), byte(i * 7), 12, byte(i * 3), 7, byte(i)}, 8), []byte{1, 2, 0xff, 0x80, '"', 0x1b, 0})
	}
	f.Fuzz(func(t *testing.T, shape, data []byte) {
		typ := (&typeMaker{shape}).structure(0)
		e, err := NewEvents("node\xff", "stream\x1b", typ, testEnv())
		if err != nil {
			return
		}
		if len(data)%2 == 0 {
			e.ResolveStacks(fakeStacks{})
		}
		if _, err := e.Append(nil, data); err == nil && len(data) < int(typ.Size) {
			t.Fatalf("%d bytes taken for %d", len(data), typ.Size)
		}
		raw := fill(data, int(typ.Size))
		line, err := e.Append(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		checkLine(t, line)
		if uint64(len(line)) > e.root.length()+uint64(len(e.head))+2 {
			t.Fatalf("%d bytes, thought to be at most %d", len(line), e.root.length())
		}
		data1 := decode(t, line)
		data2 := e.printer.fields(e.root, raw)
		if got, want := toJSON(t, data2), toJSON(t, data1); got != want {
			t.Fatalf("as a map's value\n%s\nas an event\n%s", got, want)
		}
		e.Stream()
	})
}

// The same of maps: no panic, no record that cannot travel.
func FuzzRecords(f *testing.F) {
	for i := range 64 {
		f.Add(bytes.Repeat([]byte{byte(i), byte(i * 5), 8, byte(i * 3), 12, byte(i)}, 8), []byte{1, 2, 0xff, 0x80, 0, 0})
	}
	f.Fuzz(func(t *testing.T, shape, data []byte) {
		maker := &typeMaker{shape}
		info := program.MapInfo{Name: "m", Type: []ebpf.MapType{ebpf.Hash, ebpf.PerCPUHash, ebpf.Array, ebpf.PerCPUArray}[maker.byte()%4],
			MaxEntries: uint32(maker.byte() % 4), Key: maker.make(0), Value: maker.make(0)}
		m, err := NewMap(info, testEnv())
		if err != nil {
			return
		}
		var before, now []Cell
		for i := range 3 {
			c := Cell{Key: fill(data[min(i, len(data)):], m.keySize)}
			for range 1 + i {
				c.Values = append(c.Values, fill(data[min(2*i, len(data)):], m.valueSize))
			}
			now = append(now, c)
			if i > 0 {
				before = append(before, c)
			}
		}
		since, err := m.Since(before, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, cells := range [][]Cell{nil, now, since} {
			records, err := m.Records("n", cells, fakeStacks{}, program.View{Top: 2}, Reading{At: time.Unix(1, 0)})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				line, err := output.Encode(r)
				if err != nil {
					t.Fatal(err)
				}
				checkLine(t, line)
				if _, err := output.Decode(line); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
			}
		}
		m.Stream()
		m.PID(now[0].Key)
	})
}
