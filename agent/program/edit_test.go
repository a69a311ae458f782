package program

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// edited returns an object with a manifest, as they are stored.
func edited(t testing.TB, file string, opt Options) (elf, manifest []byte) {
	t.Helper()
	elf = compiled(t, file)
	o, err := Parse(elf)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Build(o, opt)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	return elf, manifest
}

func conventions(t testing.TB) (elf, manifest []byte) {
	return edited(t, "conventions.bpf.c", Options{Name: "x", Interface: "lo", Constants: map[string]string{"dport": "443"}, Means: map[string]string{"dport": "only this port; 0 is any"}})
}

func TestEditable(t *testing.T) {
	got, err := Editable(conventions(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Setting{
		{"daddr", "", "an IPv4 or IPv6 address", ""},
		{"dport", "443", "a port from 0 to 65535", "only this port; 0 is any"},
		{"longer_than", "1ms", "a duration such as 10ms", ""},
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%+v is not among %+v", want, got)
		}
	}
	if slices.ContainsFunc(got, func(s Setting) bool { return s.Name == "hidden" || strings.HasPrefix(s.Name, NodePrefix) }) {
		t.Errorf("%+v", got)
	}
	for _, damage := range [][2][]byte{{nil, nil}} {
		if _, err := Editable(damage[0], damage[1]); err == nil {
			t.Error("nothing can be edited")
		}
	}
}

func TestWithConstants(t *testing.T) {
	elf, manifest := conventions(t)
	next, err := WithConstants(elf, manifest, map[string]string{"dport": " 8443 ", "daddr": "2001:db8::1"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := DecodeManifest(next)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Constant{{"daddr", "2001:db8::1"}, {"dport", "8443"}}; !slices.Equal(m.Constants, want) {
		t.Errorf("constants %v, want %v", m.Constants, want)
	}
	before, err := DecodeManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing else changes, and back is where it came from.
	before.Constants, m.Constants = nil, nil
	a, errA := before.Encode()
	b, errB := m.Encode()
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("more than the constants changed:\n%s\n%s", a, b)
	}
	if back, err := WithConstants(elf, next, map[string]string{"dport": "443", "daddr": ""}); err != nil || !bytes.Equal(back, manifest) {
		t.Errorf("back: %s, %v, want %s", back, err, manifest)
	}
	if same, err := WithConstants(elf, manifest, nil); err != nil || !bytes.Equal(same, manifest) {
		t.Errorf("no change changed something: %v", err)
	}
}

func TestWithConstantsRefuses(t *testing.T) {
	elf, manifest := conventions(t)
	for name, test := range map[string]struct {
		values map[string]string
		want   []string
	}{
		"another name":        {map[string]string{"sport": "1"}, []string{`"sport" is not a parameter of this program; it has: comm, daddr, dport, `}},
		"out of range":        {map[string]string{"dport": "70000"}, []string{`dport: "70000" does not fit`, "want a port from 0 to 65535"}},
		"negative":            {map[string]string{"dport": "-1"}, []string{`dport: "-1" is negative; want a port`}},
		"not a number":        {map[string]string{"dport": "https"}, []string{"dport: ", "want a port"}},
		"no address":          {map[string]string{"daddr": "10.0.0"}, []string{`daddr: "10.0.0" is no IPv4 or IPv6 address`}},
		"no duration":         {map[string]string{"longer_than": "soon"}, []string{"longer_than: ", "want a duration such as 10ms"}},
		"everything at once":  {map[string]string{"dport": "x", "daddr": "y", "z": "1"}, []string{"dport: ", "daddr: ", `"z" is not`}},
		"two lines":           {map[string]string{"dport": "4\n43"}, []string{"not one line"}},
		"long":                {map[string]string{"dport": strings.Repeat("1", 300)}, []string{"too long"}},
		"what the node sets":  {map[string]string{"kgent_self": "1"}, []string{"is not a parameter"}},
		"not open to anybody": {map[string]string{"hidden": "5"}, []string{"is not a parameter"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := WithConstants(elf, manifest, test.values)
			if got != nil || err == nil {
				t.Fatalf("%s, %v", got, err)
			}
			for _, w := range test.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
		})
	}
	if _, err := WithConstants(elf, append(manifest, ' ', '{'), nil); err == nil {
		t.Error("a torn manifest was accepted")
	}
	if _, err := WithConstants(elf[:100], manifest, nil); err == nil {
		t.Error("a torn object was accepted")
	}
}

// What is shown of a default can be typed again and means the same.
func TestFormatValue(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	tried := 0
	for name, typ := range paramTypes(t) {
		size, err := btf.Sizeof(typ)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := kindOf(Param{Name: name, Type: typ, Default: make([]byte, size)}); !ok {
			continue
		}
		tried++
		for i := range 50 {
			b := make([]byte, size)
			switch i {
			case 0: // zero
			case 1:
				for j := range b {
					b[j] = 0xff
				}
			default:
				for j := range b {
					b[j] = byte(r.IntN(256))
				}
			}
			if _, bare := strip(typ); strings.HasPrefix(kindText(name, typ), "text") || isFlag(name, bare) {
				b = make([]byte, size) // any other bytes are not what a person wrote
				if strings.HasPrefix(kindText(name, typ), "text") {
					copy(b[:size-1], "nginx")
				}
			}
			text := formatValue(typ, b)
			back, err := EncodeValue(typ, text)
			if err != nil || !bytes.Equal(back, b) {
				t.Errorf("%s: %.80x is shown as %.80q, which reads as %.80x, %v", name, b, text, back, err)
				break
			}
		}
	}
	if tried < 30 {
		t.Errorf("only %d types were tried", tried)
	}
}

func kindText(name string, typ btf.Type) string {
	words, _ := kindOf(Param{Name: name, Type: typ})
	return words
}

// isFlag tells types of which only some values are written.
func isFlag(name string, bare btf.Type) bool {
	_, enum := bare.(*btf.Enum)
	return enum || strings.Contains(strings.ToLower(name), "bool")
}
