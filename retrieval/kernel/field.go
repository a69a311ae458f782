package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// ByteOrder is the byte order of a number in memory.
type ByteOrder string

const (
	// OrderNative: the order of the machine. Also for everything that is no number.
	OrderNative ByteOrder = "native"
	// OrderBig: most significant byte first, as on the network.
	OrderBig ByteOrder = "big"
	// OrderLittle: least significant byte first, whatever the machine.
	OrderLittle ByteOrder = "little"
)

// orderOf are the typedefs with which the kernel marks byte orders.
func orderOf(typedef string) ByteOrder {
	switch typedef {
	case "__be16", "__be32", "__be64", "__sum16":
		return OrderBig
	case "__le16", "__le32", "__le64":
		return OrderLittle
	}
	return OrderNative
}

// ErrPointer: a field path leads through a pointer. What lies behind it is a field of
// another object, which must be read first.
var ErrPointer = errors.New("the path leads through a pointer")

// Field is where a field lies within a type, and what it is.
type Field struct {
	// Path is the path as it was asked for.
	Path string
	// Offset is in bytes from the start of the type. For a bit-field it is that of
	// the byte in which it starts.
	Offset uint32
	// Size is in bytes; for a bit-field that of its declared type.
	Size uint32
	// BitOffset is in bits from the start of the type.
	BitOffset uint32
	// BitSize is the width of a bit-field, 0 for all other fields.
	BitSize uint32
	// Type is the field's type, TypeName the same in C: "__be16", "struct sock *".
	Type     btf.Type
	TypeName string
	// Order is the byte order of the field, or of the elements of an array.
	Order ByteOrder
	// Module is the kernel module that has the type, empty for the kernel itself.
	Module string
}

// Field looks up a field of a kernel type by its path: "struct sock.__sk_common.skc_dport",
// "union bpf_attr.batch.count", "struct in6_addr.in6_u.u6_addr32[3]". Without struct
// or union the name may also be a typedef's. Members of anonymous structs and unions
// are found without naming those.
//
// It returns a [*NotFoundError] for a type or member that does not exist,
// [ErrPointer] for a path through a pointer, and [ErrAmbiguous] if the kernel has
// several types of that name which disagree about the field.
func (f *Facts) Field(path string) (*Field, error) {
	keyword, name, steps, err := parseFieldPath(path)
	if err != nil {
		return nil, err
	}
	types, module, err := f.composites(keyword, name)
	if err != nil {
		return nil, err
	}
	var found *Field
	var firstErr error
	for _, t := range types {
		field, err := f.walk(path, t, steps)
		switch {
		case err != nil:
			if firstErr == nil {
				firstErr = err
			}
		case found == nil:
			found = field
		case !sameField(found, field):
			return nil, fmt.Errorf("looking up %s: kernel %s has several types of this name, with the field at %d and at %d: %w",
				visible(path), f.Release, found.Offset, field.Offset, ErrAmbiguous)
		}
	}
	if found == nil {
		return nil, firstErr
	}
	found.Module = module
	return found, nil
}

func sameField(a, b *Field) bool {
	return a.BitOffset == b.BitOffset && a.Size == b.Size && a.BitSize == b.BitSize && a.TypeName == b.TypeName
}

// step is one step of a path: into a member, or into an element of an array.
type step struct {
	member string // empty: an element
	index  uint32
}

func parseFieldPath(path string) (keyword, name string, steps []step, err error) {
	bad := func(why string) (string, string, []step, error) {
		return "", "", nil, fmt.Errorf("malformed field path %s: %s; it looks like \"struct sock.__sk_common.skc_dport\"", visible(path), why)
	}
	rest := strings.TrimSpace(path)
	for _, k := range []string{"struct", "union"} {
		if after, ok := strings.CutPrefix(rest, k+" "); ok {
			keyword, rest = k, strings.TrimSpace(after)
			break
		}
	}
	parts := strings.Split(rest, ".")
	if name = parts[0]; !isIdent(name) {
		return bad("it does not start with the name of a type")
	}
	if len(parts) == 1 {
		return bad("it names no field")
	}
	for _, part := range parts[1:] {
		member, indexes, _ := strings.Cut(part, "[")
		if !isIdent(member) {
			return bad(fmt.Sprintf("%q is not the name of a field", member))
		}
		steps = append(steps, step{member: member})
		if member == part {
			continue
		}
		indexes, ok := strings.CutSuffix(indexes, "]")
		if !ok {
			return bad("a [ is not closed")
		}
		for index := range strings.SplitSeq(indexes, "][") {
			n, err := strconv.ParseUint(index, 10, 32)
			if err != nil {
				return bad(fmt.Sprintf("%q is not an index", index))
			}
			steps = append(steps, step{index: uint32(n)})
		}
	}
	return keyword, name, steps, nil
}

func isIdent(s string) bool {
	for i := range len(s) {
		if !isIdentByte(s[i]) {
			return false
		}
	}
	return s != "" && (s[0] < '0' || s[0] > '9')
}

// composites returns the types that a path can start at: at least one.
func (f *Facts) composites(keyword, name string) (types []btf.Type, module string, err error) {
	all, err := namesIn(f.BTF)(name)
	if err != nil {
		return nil, "", fmt.Errorf("looking up type %s: %w", name, err)
	}
	if types = compositesOf(all, keyword, name); len(types) > 0 {
		return types, "", nil
	}
	modules, err := f.moduleTypes()
	if err != nil {
		return nil, "", err
	}
	for _, m := range modules {
		all, err := m.byName(name)
		if err != nil {
			return nil, "", fmt.Errorf("looking up type %s in module %s: %w", name, m.module, err)
		}
		if types = compositesOf(all, keyword, name); len(types) > 0 {
			return types, m.module, nil
		}
	}

	missing := &NotFoundError{Kind: cmp.Or(keyword, "type"), Name: name, Where: "on kernel " + f.Release}
	// It may be a union where a struct was asked for.
	for _, t := range compositesOf(all, "", name) {
		missing.Suggestions = append(missing.Suggestions, declare(t, ""))
	}
	if missing.Suggestions == nil {
		names, err := f.names(structList)
		if err != nil {
			return nil, "", err
		}
		missing.Suggestions = suggest(name, names)
	}
	missing.Suggestions = missing.Suggestions[:min(len(missing.Suggestions), maxSuggestions)]
	return nil, "", missing
}

// compositesOf keeps the types that have members and the given name. If keyword is not
// empty, they are of that kind.
func compositesOf(all []btf.Type, keyword, name string) []btf.Type {
	var types []btf.Type
	for _, t := range all {
		var kind string
		switch t.(type) {
		case *btf.Struct:
			kind = "struct"
		case *btf.Union:
			kind = "union"
		case *btf.Typedef:
			if _, ok := membersOf(resolve(t)); !ok {
				continue
			}
		default:
			continue
		}
		if t.TypeName() == name && (keyword == "" || kind == keyword) {
			types = append(types, t)
		}
	}
	return types
}

// walk follows a path from a type on.
func (f *Facts) walk(path string, from btf.Type, steps []step) (*Field, error) {
	at, t := btf.Bits(0), from
	var bitSize btf.Bits
	for _, s := range steps {
		if bitSize != 0 {
			return nil, fmt.Errorf("looking up %s: %s follows a bit-field", visible(path), s.member)
		}
		inner := resolve(t)
		if s.member == "" {
			array, ok := inner.(*btf.Array)
			if !ok {
				return nil, fmt.Errorf("looking up %s: %s is not an array", visible(path), declare(t, ""))
			}
			// A flexible array, [0] or [], has as many elements as memory was given to it.
			if array.Nelems != 0 && s.index >= array.Nelems {
				return nil, fmt.Errorf("looking up %s: element %d of an array of %d", visible(path), s.index, array.Nelems)
			}
			size, err := btf.Sizeof(array.Type)
			if err != nil {
				return nil, fmt.Errorf("looking up %s: %w", visible(path), err)
			}
			offset := uint64(at) + uint64(s.index)*uint64(size)*8
			if offset > maxFieldBits {
				return nil, fmt.Errorf("looking up %s: element %d lies too far away", visible(path), s.index)
			}
			at, t = btf.Bits(offset), array.Type
			continue
		}
		members, ok := membersOf(inner)
		if !ok {
			if pointer, ok := inner.(*btf.Pointer); ok {
				return nil, fmt.Errorf("looking up %s: %w: read the %s before .%s, then look up %s.%s",
					visible(path), ErrPointer, declare(t, ""), s.member, declare(unqualified(pointer.Target), ""), s.member)
			}
			return nil, fmt.Errorf("looking up %s: %s has no members", visible(path), declare(t, ""))
		}
		m, offset, ok := findMember(members, s.member, 0)
		if !ok {
			return nil, &NotFoundError{
				Kind:        "field",
				Name:        s.member,
				Where:       "in " + declare(t, "") + " on kernel " + f.Release,
				Suggestions: suggest(s.member, memberPaths(nil, "", members, 0)),
			}
		}
		at, t, bitSize = at+offset, m.Type, m.BitfieldSize
	}
	size, err := btf.Sizeof(t)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", visible(path), err)
	}
	return &Field{
		Path:      path,
		Offset:    uint32(at / 8),
		Size:      uint32(size),
		BitOffset: uint32(at),
		BitSize:   uint32(bitSize),
		Type:      t,
		TypeName:  declare(t, ""),
		Order:     byteOrder(t),
	}, nil
}

// maxFieldBits keeps offsets within 32 bits.
const maxFieldBits = 1<<32 - 1

// resolve strips qualifiers and typedefs.
func resolve(t btf.Type) btf.Type {
	for range maxDeclarator {
		t = unqualified(t)
		typedef, ok := t.(*btf.Typedef)
		if !ok {
			return t
		}
		t = typedef.Type
	}
	return t
}

func membersOf(t btf.Type) ([]btf.Member, bool) {
	switch t := t.(type) {
	case *btf.Struct:
		return t.Members, true
	case *btf.Union:
		return t.Members, true
	}
	return nil, false
}

// findMember finds a member by name, also within anonymous members. The offset is in
// bits from the start of what members belong to.
func findMember(members []btf.Member, name string, depth int) (btf.Member, btf.Bits, bool) {
	for _, m := range members {
		if m.Name == name {
			return m, m.Offset, true
		}
		if m.Name != "" || depth > maxDeclarator {
			continue
		}
		if inner, ok := membersOf(resolve(m.Type)); ok {
			if found, offset, ok := findMember(inner, name, depth+1); ok {
				return found, m.Offset + offset, true
			}
		}
	}
	return btf.Member{}, 0, false
}

const (
	maxMemberDepth = 4
	maxMemberPaths = 20_000
)

// memberPaths lists the paths to all members, those of embedded structs included:
// who writes sock.sk_family means sock.__sk_common.skc_family.
func memberPaths(paths []string, prefix string, members []btf.Member, depth int) []string {
	for _, m := range members {
		if len(paths) >= maxMemberPaths {
			break
		}
		within := prefix
		if m.Name != "" {
			paths = append(paths, prefix+m.Name)
			within += m.Name + "."
		}
		if inner, ok := membersOf(resolve(m.Type)); ok && depth < maxMemberDepth {
			paths = memberPaths(paths, within, inner, depth+1)
		}
	}
	return paths
}

// byteOrder reads the byte order out of the typedefs of a number or of the elements
// of an array.
func byteOrder(t btf.Type) ByteOrder {
	for range 2 * maxDeclarator {
		switch q := unqualified(t).(type) {
		case *btf.Typedef:
			if order := orderOf(q.Name); order != OrderNative {
				return order
			}
			t = q.Type
		case *btf.Array:
			t = q.Type
		default:
			return OrderNative
		}
	}
	return OrderNative
}
