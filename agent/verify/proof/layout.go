package proof

import (
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/symbolic"
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

func memberOf(name string, off int, t btf.Type) (member, bool) {
	size, err := btf.Sizeof(t)
	if err != nil {
		return member{}, false
	}
	typ, meaning := symbolic.Meaning(t)
	m := member{name: name, off: off, size: size, typ: t, meaning: meaning}
	if a, ok := typ.(*btf.Array); ok && meaning == "" {
		elem, _ := symbolic.Meaning(a.Type)
		i, isInt := elem.(*btf.Int)
		m.text = isInt && i.Size == 1 && (i.Name == "char" || i.Encoding == btf.Char)
	}
	return m, true
}

// layout are the members of a struct in their order; ok is false if t is a
// single value. Members named _pad are in pads. A member that cannot be laid out (a
// bit-field) has its name in odd.
func layout(t btf.Type) (members, pads []member, odd []string, ok bool) {
	typ, meaning := symbolic.Meaning(t)
	s, isStruct := typ.(*btf.Struct)
	if !isStruct || symbolic.IsOneValue(typ, meaning) {
		return nil, nil, nil, false
	}
	for _, m := range s.Members {
		mm, fine := memberOf(m.Name, int(m.Offset/8), m.Type)
		mm.tags = m.Tags
		switch {
		case !fine || m.BitfieldSize != 0 || m.Name == "":
			odd = append(odd, m.Name)
		case symbolic.IsPad(m.Name):
			pads = append(pads, mm)
		default:
			members = append(members, mm)
		}
	}
	return members, pads, odd, true
}

// meaningOf is the meaning of a type that is one value, also if it is one by the name
// of its struct.
func meaningOf(t btf.Type) string {
	typ, meaning := symbolic.Meaning(t)
	if s, ok := typ.(*btf.Struct); ok && meaning == "" {
		if k, cut := strings.CutPrefix(s.Name, "k_"); cut {
			return k
		}
	}
	return meaning
}
