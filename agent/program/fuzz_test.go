package program

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Whatever the bytes, nothing panics or hangs, and what was accepted can be
// built, checked and turned into a collection or is refused with an error.
func FuzzParse(f *testing.F) {
	f.Add(compiled(f, "conventions.bpf.c"))
	f.Add(compiled(f, "facts.bpf.c"))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, raw []byte) { useAll(t, raw) })
}

// Small damage, which a fuzzer without knowledge of ELF rarely gets past the
// reader.
func TestDamagedObjects(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, file := range []string{"conventions.bpf.c", "facts.bpf.c"} {
		good := compiled(t, file)
		accepted := 0
		for range 150 {
			b := bytes.Clone(good)
			for range 1 + r.IntN(4) {
				i := r.IntN(len(b))
				switch r.IntN(3) {
				case 0:
					b[i] ^= 1 << r.IntN(8)
				case 1:
					b[i] = byte(r.IntN(256))
				default:
					b[i] = []byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
				}
			}
			if useAll(t, b) {
				accepted++
			}
		}
		if accepted < 40 {
			t.Errorf("%s: only %d of the damaged objects were looked into", file, accepted)
		}
	}
}

// useAll does with an object what kgent does before it asks the kernel, and
// reports whether it could be parsed.
func useAll(t *testing.T, raw []byte) bool {
	o, err := Parse(raw)
	if err != nil {
		return false
	}
	if !bytes.Equal(o.ELF(), raw) {
		t.Error("other bytes than were parsed")
	}
	for _, p := range o.Params() {
		if b, err := EncodeValue(p.Type, "1"); err == nil && len(b) == 0 {
			t.Errorf("parameter %s: no bytes", p.Name)
		}
	}
	if facts, err := o.Facts(); err == nil && len(facts) != len(o.Programs()) {
		t.Errorf("facts of %d of %d programs", len(facts), len(o.Programs()))
	}
	m, err := Build(o, Options{Name: "fuzz", Interface: "lo"})
	if err != nil {
		return true
	}
	if spec, err := o.Collection(m, map[string]string{"kgent_self": "1"}); err == nil && len(spec.Programs) != len(m.Programs) {
		t.Errorf("%d programs to load, %d in the manifest", len(spec.Programs), len(m.Programs))
	}
	return true
}

// What decodes encodes to something that decodes to the same.
func FuzzDecodeManifest(f *testing.F) {
	m, err := Build(parsed(f, compiled(f, "conventions.bpf.c")), Options{Name: "seed", Constants: map[string]string{"pid": "1"}})
	if err != nil {
		f.Fatal(err)
	}
	raw, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"version":1}`))
	o := parsed(f, compiled(f, "conventions.bpf.c"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := DecodeManifest(raw)
		if err != nil {
			return
		}
		_ = m.Check(o)
		once, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeManifest(once)
		if err != nil {
			t.Fatalf("%s does not decode: %v", once, err)
		}
		twice, err := again.Encode()
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%s became %s (%v)", once, twice, err)
		}
	})
}

// A value fits its type or is refused.
func FuzzEncodeValue(f *testing.F) {
	types := paramTypes(f)
	var names []string
	for name := range types {
		names = append(names, name)
	}
	slices.Sort(names)
	for i := range names {
		for _, text := range []string{"1", "-1", "10ms", "ECONNREFUSED", "::1", "4k", "0x7fffffffffffffff", "true", "a\x00"} {
			f.Add(i, text)
		}
	}
	f.Fuzz(func(t *testing.T, i int, text string) {
		typ := types[names[uint(i)%uint(len(names))]]
		b, err := EncodeValue(typ, text)
		if err != nil {
			return
		}
		if size, err := btf.Sizeof(typ); err != nil || len(b) != size {
			t.Errorf("%s %q: %d bytes for a type of %d (%v)", typ, text, len(b), size, err)
		}
	})
}
