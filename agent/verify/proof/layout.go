package proof

import (
	"strings"

	"github.com/cilium/ebpf/btf"
)

// member is a member of an event, key or cell of the program, as its BTF lays
// it out.
type member struct {
	name string
	off  int // bytes
	size int
	typ  btf.Type
	// meaning is the k_ name without k_, or one of "be16", "be32", "be64" for the
	// kernel's types; empty when the type promises nothing.
	meaning string
	text    bool // an array of char
	tags    []string
}

// maxNesting bounds chains of qualifiers and typedefs: an object's BTF may be cyclic.
const maxNesting = 32

// bare removes qualifiers and typedefs. meaning is the first name on the way that
// says something.
func bare(t btf.Type) (typ btf.Type, meaning string) {
	for range maxNesting {
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
			if k, ok := strings.CutPrefix(q.Name, "k_"); ok && meaning == "" {
				meaning = k
			}
			if be, ok := strings.CutPrefix(q.Name, "__be"); ok && meaning == "" {
				meaning = "be" + be
			}
			t = q.Type
		default:
			return t, meaning
		}
	}
	return (*btf.Void)(nil), meaning
}

func memberOf(name string, off int, t btf.Type) (member, bool) {
	size, err := btf.Sizeof(t)
	if err != nil {
		return member{}, false
	}
	typ, meaning := bare(t)
	m := member{name: name, off: off, size: size, typ: t, meaning: meaning}
	if a, ok := typ.(*btf.Array); ok && meaning == "" {
		elem, _ := bare(a.Type)
		i, isInt := elem.(*btf.Int)
		m.text = isInt && i.Size == 1 && (i.Name == "char" || i.Encoding == btf.Char)
	}
	return m, true
}

// whole are types that are one value although C calls them structs.
func whole(meaning string) bool {
	switch meaning {
	case "ip", "args", "mac":
		return true
	}
	return isHist(meaning) || isStats(meaning)
}

func isHist(meaning string) bool { return meaning == "hist" || strings.HasPrefix(meaning, "hist_") }

func isStats(meaning string) bool { return meaning == "stats" || strings.HasPrefix(meaning, "stats_") }

// layout are the members of a struct in their order; ok is false if t is a
// single value. Members named _pad are in pads. A member that cannot be laid out (a
// bit-field) has its name in odd.
func layout(t btf.Type) (members, pads []member, odd []string, ok bool) {
	typ, meaning := bare(t)
	s, isStruct := typ.(*btf.Struct)
	if meaning == "" && isStruct && (s.Name == "k_hist" || s.Name == "k_stats" || s.Name == "k_ip" || s.Name == "k_args") {
		return nil, nil, nil, false
	}
	if !isStruct || whole(meaning) {
		return nil, nil, nil, false
	}
	for _, m := range s.Members {
		mm, fine := memberOf(m.Name, int(m.Offset/8), m.Type)
		mm.tags = m.Tags
		switch {
		case !fine || m.BitfieldSize != 0 || m.Name == "":
			odd = append(odd, m.Name)
		case isPad(m.Name):
			pads = append(pads, mm)
		default:
			members = append(members, mm)
		}
	}
	return members, pads, odd, true
}

// isPad tells whether a member is filling only: _pad, _pad1, ...
func isPad(name string) bool {
	rest, ok := strings.CutPrefix(name, "_pad")
	return ok && strings.Trim(rest, "0123456789") == ""
}

// meaningOf is the meaning of a type that is one value, also if it is one by the name
// of its struct.
func meaningOf(t btf.Type) string {
	typ, meaning := bare(t)
	if s, ok := typ.(*btf.Struct); ok && meaning == "" {
		if k, cut := strings.CutPrefix(s.Name, "k_"); cut {
			return k
		}
	}
	return meaning
}
