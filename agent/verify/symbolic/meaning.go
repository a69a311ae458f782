package symbolic

import (
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxQualifiers bounds chains of qualifiers and typedefs: an object's BTF may be cyclic.
const maxQualifiers = 32

// Meaning removes qualifiers and typedefs of a type of the program's. meaning is the first name on
// the way that says how people are shown it: a k_ name of kgent.bpf.h without its k_, or "be16",
// "be32", "be64" for the kernel's types in network byte order; empty when there is none.
func Meaning(t btf.Type) (bare btf.Type, meaning string) {
	for range maxQualifiers {
		switch q := t.(type) {
		case *btf.Const:
			t = q.Type
		case *btf.Volatile:
			t = q.Type
		case *btf.Restrict:
			t = q.Type
		case *btf.TypeTag:
			t = q.Type
		case *btf.Typedef:
			k, ok := strings.CutPrefix(q.Name, "k_")
			if !ok {
				k, ok = strings.CutPrefix(q.Name, "__be")
				k = "be" + k
			}
			if ok && meaning == "" {
				meaning = k
			}
			t = q.Type
		default:
			return t, meaning
		}
	}
	return (*btf.Void)(nil), meaning
}

// IsHist and IsStats tell meanings of cells that are shown as a histogram or as statistics.
func IsHist(meaning string) bool { return meaning == "hist" || strings.HasPrefix(meaning, "hist_") }

func IsStats(meaning string) bool { return meaning == "stats" || strings.HasPrefix(meaning, "stats_") }

// IsOneValue tells of a type without qualifiers, and its meaning, whether it is one value
// although C calls it a struct: an address, statistics.
func IsOneValue(bare btf.Type, meaning string) bool {
	s, ok := bare.(*btf.Struct)
	if !ok {
		return true
	}
	if meaning == "" {
		meaning, _ = strings.CutPrefix(s.Name, "k_")
		if meaning == s.Name {
			return false
		}
	}
	switch meaning {
	case "ip", "args", "mac":
		return true
	}
	return IsHist(meaning) || IsStats(meaning)
}

// IsPad tells whether a member is filling only: _pad, _pad1, ...
func IsPad(name string) bool {
	rest, ok := strings.CutPrefix(name, "_pad")
	return ok && strings.Trim(rest, "0123456789") == ""
}
