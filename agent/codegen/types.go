package codegen

import (
	"fmt"
	"strings"

	"kgent/agent/contract"
)

// plainTypes are the contract's names for numbers that C calls otherwise.
var plainTypes = map[string]string{"u8": "__u8", "u16": "__u16", "u32": "__u32", "u64": "__u64", "s8": "__s8", "s16": "__s16", "s32": "__s32",
	"s64": "__s64", "be16": "__be16", "be32": "__be32", "be64": "__be64", "pointer": "__u64", "user_pointer": "__u64"}

// declare writes a member or variable of a type that the contract names.
func declare(t contract.TypeName, typ contract.Type, name string) string {
	switch {
	case t.Name == "char":
		return fmt.Sprintf("char %s[%d]", name, t.Size)
	case typ.Enum != nil:
		return fmt.Sprintf("enum %s %s", identifier(typ.Enum.Name), name)
	case plainTypes[t.Name] != "":
		return plainTypes[t.Name] + " " + name
	}
	return t.Name + " " + name
}

// alignOf is that of a member in C.
func alignOf(t contract.Type) int {
	switch t.Kind {
	case contract.Int, contract.Pointer:
		return t.InMemory()
	case contract.ArgsKind:
		return 4
	}
	return 1
}

// member is a member of a struct that is written.
type member struct {
	name string // in C
	typ  contract.Type
	decl string
}

// record is a struct that is written.
type record struct {
	tag     string
	members []member
	size    int
	text    string
}

// newRecord lays a struct out. Padding gets a name, so that it is certain to be
// zeroed with the rest; the size is a multiple of whole, if that is not 0.
func newRecord(tag string, members []member, whole int) *record {
	r := &record{tag: tag, members: members}
	var b strings.Builder
	fmt.Fprintf(&b, "struct %s {\n", tag)
	pads := 0
	pad := func(n int) {
		if n == 0 {
			return
		}
		name := "_pad"
		if pads > 0 {
			name = fmt.Sprint("_pad", pads)
		}
		pads++
		if n == 1 {
			fmt.Fprintf(&b, "\t__u8 %s;\n", name)
		} else {
			fmt.Fprintf(&b, "\t__u8 %s[%d];\n", name, n)
		}
		r.size += n
	}
	most := max(whole, 1)
	for _, m := range members {
		a := alignOf(m.typ)
		most = max(most, a)
		pad((a - r.size%a) % a)
		fmt.Fprintf(&b, "\t%s;\n", m.decl)
		r.size += m.typ.InMemory()
	}
	pad((most - r.size%most) % most)
	b.WriteString("};\n")
	r.text = b.String()
	return r
}

// numberType is the C type of a number.
func numberType(bits uint8, signed bool) string {
	s := "u"
	if signed {
		s = "s"
	}
	return fmt.Sprintf("__%s%d", s, bits)
}
