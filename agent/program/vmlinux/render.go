package vmlinux

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// Bodies of units hold marks where a name depends on the header: markUnit and
// the position of a unit in four bytes, or an enumerator between two
// markEnumerator. No C text has these bytes.
const (
	markUnit       = 0x01
	markEnumerator = 0x02
	unitMarkLen    = 5
)

func encodeUnit(u int32) string {
	return string(binary.LittleEndian.AppendUint32([]byte{markUnit}, uint32(u)))
}

func decodeUnit(mark string) int32 {
	return int32(binary.LittleEndian.Uint32([]byte(mark[1:unitMarkLen])))
}

const (
	// maxText bounds the text of all types. A kernel as distributions build it
	// needs a tenth of it; malformed BTF may ask for exponentially much.
	maxText = 32 << 20

	// maxPointers bounds the nesting of pointers and functions inside one
	// declaration. What lies deeper becomes void.
	maxPointers = 16
)

var errTooMuch = errors.New("the types take more than 32 MiB of C")

// renderer writes the body of one unit after the other.
type renderer struct {
	*index
	layouts layouts
	spent   int

	// The unit at hand.
	current int32
	unit    *unit
	needs   map[int32]bool
	seen    map[int32]bool // in mentions
	steps   map[step]bool
	pads    int // members made up so far
}

// render fills in the units.
func (ix *index) render() error {
	r := &renderer{
		index:   ix,
		layouts: layouts{make(map[btf.Type]*record)},
		needs:   make(map[int32]bool),
		seen:    make(map[int32]bool),
		steps:   make(map[step]bool),
	}
	var b []byte
	for i := range ix.units {
		r.current, r.unit = int32(i), &ix.units[i]
		clear(r.needs)
		clear(r.seen)
		clear(r.steps)
		r.pads = 0

		b = b[:0]
		switch t := ix.types[i].(type) {
		case *btf.Struct, *btf.Union:
			b = r.record(b, t, encodeUnit(r.current), scope{})
		case *btf.Enum:
			if _, ok := ix.alias[t]; ok || len(t.Values) == 0 {
				r.unit.inlined = t.Name == ""
				continue // nothing, or the typedef's
			}
			tag := ""
			if t.Name != "" {
				tag = encodeUnit(r.current)
			}
			b = r.enum(b, t, tag, scope{})
		case *btf.Typedef:
			r.unit.target = r.pointee(t.Type)
			b = r.declare(append(b, "typedef "...), t.Type, encodeUnit(r.current), scope{})
		default:
			continue // only declared
		}
		if r.spent > maxText {
			return errTooMuch
		}
		r.unit.body = string(append(b, ";\n\n"...))
	}
	return nil
}

// scope is where a declaration stands.
type scope struct {
	indent   int
	pointers int  // pointers and functions around it
	complete bool // whether its type must be complete
}

// spend accounts for n more bytes of text and reports whether they may still
// be written.
func (r *renderer) spend(n int) bool {
	r.spent += n
	return r.spent <= maxText
}

// declare appends the C declaration of something of type t, whose declarator
// is inner so far: a name, or nothing.
func (r *renderer) declare(b []byte, t btf.Type, inner string, at scope) []byte {
	var isConst, isVolatile, isRestrict bool
	for r.spend(len(inner) + 8) {
		switch v := t.(type) {
		case *btf.Const:
			isConst, t = true, v.Type
		case *btf.Volatile:
			isVolatile, t = true, v.Type
		case *btf.Restrict:
			isRestrict, t = true, v.Type
		case *btf.TypeTag:
			t = v.Type

		case *btf.Pointer:
			inner = "*" + join(qualifiers(isConst, isVolatile, isRestrict), inner)
			isConst, isVolatile, isRestrict = false, false, false
			at.complete = false
			at.pointers++
			t = r.target(v.Target, at)
			if hasSuffix(t) {
				inner = "(" + inner + ")"
			}

		case *btf.Array:
			inner += subscript(v.Nelems)
			at.complete = true
			t = v.Type

		case *btf.FuncProto:
			at.complete = false
			at.pointers++
			inner += string(r.parameters(nil, v, at))
			isConst, isVolatile = false, false
			t = r.result(v.Return, at)

		default:
			if q := qualifiers(isConst, isVolatile, false); q != "" {
				b = append(append(b, q...), ' ')
			}
			b, parts := r.base(b, t, at)
			if parts > 1 {
				inner += subscript(parts)
			}
			if inner != "" {
				b = append(append(b, ' '), inner...)
			}
			return b
		}
	}
	return b
}

func subscript(n uint32) string {
	return "[" + strconv.FormatUint(uint64(n), 10) + "]"
}

// hasSuffix reports whether the declarator of a t continues after the name.
func hasSuffix(t btf.Type) bool {
	parts := uint32(1)
	switch v := unqualified(t).(type) {
	case *btf.Array, *btf.FuncProto:
		return true
	case *btf.Int:
		_, parts = cInt(v)
	case *btf.Float:
		_, parts = cFloat(v)
	}
	return parts > 1
}

// target returns what a pointer to t is written as pointing to: t, or void if
// that cannot be written.
func (r *renderer) target(t btf.Type, at scope) btf.Type {
	if at.pointers > maxPointers {
		return (*btf.Void)(nil)
	}
	switch v := unqualified(t).(type) {
	case *btf.Void, *btf.Int, *btf.Float, *btf.Pointer, *btf.Struct, *btf.Union,
		*btf.Enum, *btf.Fwd, *btf.FuncProto, *btf.Typedef:
		return t
	case *btf.Array:
		// The elements must be complete even though only a pointer is wanted.
		if _, err := r.layouts.of(v); err == nil {
			return t
		}
	}
	return (*btf.Void)(nil)
}

// result is like target, for what a function returns.
func (r *renderer) result(t btf.Type, at scope) btf.Type {
	switch unqualified(t).(type) {
	case *btf.Array, *btf.FuncProto:
		return (*btf.Void)(nil)
	}
	return r.target(t, at)
}

func (r *renderer) parameters(b []byte, f *btf.FuncProto, at scope) []byte {
	if len(f.Params) == 0 {
		return append(b, "(void)"...)
	}
	b = append(b, '(')
	for i := range f.Params {
		if i > 0 {
			b = append(b, ", "...)
		}
		t := r.target(f.Params[i].Type, at)
		if _, ok := t.(*btf.Void); !ok {
			b = r.declare(b, t, "", at)
		} else if i > 0 && i == len(f.Params)-1 {
			b = append(b, "..."...)
		} else {
			b = append(b, "void *"...)
		}
	}
	return append(b, ')')
}

// base appends the C name of a type that is no qualifier, pointer, array or
// function, or its body if it has no name. If the number is more than one, the
// type has to be an array of so many of what was appended.
func (r *renderer) base(b []byte, t btf.Type, at scope) ([]byte, uint32) {
	switch v := t.(type) {
	case *btf.Int:
		name, parts := cInt(v)
		return append(b, name...), parts
	case *btf.Float:
		name, parts := cFloat(v)
		return append(b, name...), parts

	case *btf.Typedef:
		if at.complete {
			r.complete(v)
		}
		return r.typedef(b, r.byTyp[v]), 1

	case *btf.Fwd:
		if u, ok := r.byTyp[v]; ok {
			return r.tag(b, u, false), 1
		}

	case *btf.Enum:
		u := r.byTyp[v]
		switch td, ok := r.alias[v]; {
		case len(v.Values) == 0 && (at.complete || v.Name == ""):
			// Only declared, but its size is known.
			name, parts := cInt(&btf.Int{Size: v.Size})
			return append(b, name...), parts
		case v.Name != "":
			return r.tag(b, u, len(v.Values) > 0), 1
		case ok && td != r.current:
			return r.typedef(b, td), 1
		}
		r.units[u].inlined = true
		return r.enum(b, v, "", at), 1

	case *btf.Struct, *btf.Union:
		if u, ok := r.byTyp[v]; ok {
			return r.tag(b, u, at.complete), 1
		}
		if td, ok := r.alias[v]; ok && td != r.current {
			return r.typedef(b, td), 1
		}
		return r.record(b, v, "", at), 1
	}
	return append(b, "void"...), 1
}

func (r *renderer) typedef(b []byte, u int32) []byte {
	r.need(u)
	return append(b, encodeUnit(u)...)
}

// tag refers to a struct, union or enum by name.
func (r *renderer) tag(b []byte, u int32, complete bool) []byte {
	if complete {
		r.need(u)
	} else if !r.seen[u] {
		r.seen[u] = true
		r.unit.mentions = append(r.unit.mentions, u)
	}
	b = append(b, r.units[u].kind.String()...)
	return append(append(b, ' '), encodeUnit(u)...)
}

func (r *renderer) need(u int32) {
	if u != r.current && !r.needs[u] {
		r.needs[u] = true
		r.unit.needs = append(r.unit.needs, u)
	}
}

// complete makes the unit at hand need what t is by value, beyond typedefs.
func (r *renderer) complete(t btf.Type) {
	base, err := peel(t)
	if err != nil {
		return
	}
	if u, ok := r.byTyp[base]; ok {
		switch base.(type) {
		case *btf.Struct, *btf.Union:
			r.need(u)
		}
	}
}

// pointee returns the struct or union that t is or, through any pointers, leads
// to, or -1.
func (r *renderer) pointee(t btf.Type) int32 {
	for range maxPointers {
		base, err := peel(t)
		if err != nil {
			return -1
		}
		switch v := base.(type) {
		case *btf.Pointer:
			t = v.Target
		case *btf.Struct, *btf.Union, *btf.Fwd:
			if u, ok := r.byTyp[v]; ok {
				return u
			}
			return -1
		default:
			return -1
		}
	}
	return -1
}

// head appends a keyword and, if there is one, a tag.
func head(b []byte, keyword, tag string) []byte {
	b = append(b, keyword...)
	if tag != "" {
		b = append(append(b, ' '), tag...)
	}
	return b
}

func tabs(b []byte, n int) []byte {
	const some = "\t\t\t\t\t\t\t\t"
	for ; n > len(some); n -= len(some) {
		b = append(b, some...)
	}
	return append(b, some[:n]...)
}

// enum appends the body of an enum.
func (r *renderer) enum(b []byte, e *btf.Enum, tag string, at scope) []byte {
	b = append(head(b, "enum", tag), " {\n"...)
	for i, v := range e.Values {
		if v.Name == "" {
			continue
		}
		name, ok := r.enumerators[enumerator{e, i}]
		if !ok {
			name = v.Name
		}
		if !r.spend(len(name) + at.indent + 16) {
			return b
		}
		b = tabs(b, at.indent+1)
		b = append(append(append(b, markEnumerator), name...), markEnumerator)
		b = append(b, " = "...)
		value := int64(v.Value)
		switch {
		case e.Signed && value == math.MinInt64:
			b = append(b, "-9223372036854775807LL - 1"...)
		case e.Signed:
			b = strconv.AppendInt(b, value, 10)
			if int64(int32(value)) != value {
				b = append(b, "LL"...)
			}
		default:
			b = strconv.AppendUint(b, v.Value, 10)
			if v.Value > math.MaxUint32 {
				b = append(b, "ULL"...)
			}
		}
		b = append(b, ",\n"...)
	}
	b = append(tabs(b, at.indent), '}')

	if e.Size != enumSize(e) {
		switch e.Size {
		case 1:
			b = append(b, " __attribute__((mode(QI)))"...)
		case 2:
			b = append(b, " __attribute__((mode(HI)))"...)
		case 4:
			b = append(b, " __attribute__((mode(SI)))"...)
		case 8:
			b = append(b, " __attribute__((mode(DI)))"...)
		}
	}
	return b
}

// enumSize returns how many bytes clang takes for an enum with these values.
func enumSize(e *btf.Enum) uint32 {
	var negative, large bool
	for _, v := range e.Values {
		value := int64(v.Value)
		if e.Signed && value < 0 {
			negative = true
			large = large || value < math.MinInt32
			continue
		}
		if v.Value > math.MaxUint32 {
			return 8
		}
		large = large || v.Value > math.MaxInt32
	}
	if negative && large {
		return 8
	}
	return 4
}

// record appends the body of a struct or union.
func (r *renderer) record(b []byte, t btf.Type, tag string, at scope) []byte {
	if !r.spend(len(tag) + at.indent + 8) {
		return b
	}
	r.unit.record = true
	l := r.layouts.record(t)
	_, union := t.(*btf.Union)
	keyword := "struct"
	if union {
		keyword = "union"
	}
	b = append(head(b, keyword, tag), " {"...)
	if l.opaque != nil || len(l.items) > 0 {
		b = append(b, '\n')
		b = r.members(b, t, l, union, at)
		b = tabs(b, at.indent)
	}
	b = append(b, '}')
	switch {
	case l.packed && l.align == 1:
		b = append(b, " __attribute__((packed))"...)
	case l.packed:
		b = append(b, " __attribute__((packed, aligned("...)
		b = strconv.AppendUint(b, l.align, 10)
		b = append(b, ")))"...)
	}
	return b
}

// members appends what stands between the braces of a record.
func (r *renderer) members(b []byte, t btf.Type, l *record, union bool, at scope) []byte {
	at.indent++
	at.complete = true
	if l.opaque != nil {
		b = tabs(b, at.indent)
		b = append(b, "/* "+l.opaque.Error()+" */ unsigned char __opaque["...)
		b = strconv.AppendUint(b, l.size, 10)
		return append(b, "];\n"...)
	}
	for _, it := range l.items {
		if !r.spend(at.indent + 2) {
			return b
		}
		if it.member < 0 {
			b = r.filler(b, it.from, it.to, union, at.indent)
			continue
		}
		b = tabs(b, at.indent)
		m := &members(t)[it.member]
		if m.Name == "" {
			// A member with a tag but no name would declare nothing.
			inner, _ := peelTypedefs(m.Type)
			b = r.record(b, inner, "", at)
		} else {
			name := clean(m.Name)
			if reserved(name) {
				name += "_"
			}
			b = r.declare(b, m.Type, name, at)
			if m.BitfieldSize > 0 {
				b = append(b, ": "...)
				b = strconv.AppendUint(b, uint64(m.BitfieldSize), 10)
			}
			if u := r.pointee(m.Type); u >= 0 {
				r.leads(name, u)
			}
		}
		b = append(b, ";\n"...)
	}
	return b
}

func (r *renderer) leads(member string, u int32) {
	if st := (step{member, u}); !r.steps[st] {
		r.steps[st] = true
		r.unit.follow = append(r.unit.follow, st)
	}
}

// filler appends declarations that fill a record between two positions, in
// bits, and have no alignment. Unnamed bit-fields do, but in a union they all
// begin at its start.
func (r *renderer) filler(b []byte, from, to uint64, union bool, indent int) []byte {
	for from < to {
		b = tabs(b, indent)
		rest := to - from
		if from%8 == 0 && (rest >= 8*maxFiller || union && rest >= 8) {
			r.pads++
			b = append(b, "unsigned char __btf_pad_"...)
			b = strconv.AppendInt(b, int64(r.pads), 10)
			b = append(b, '[')
			b = strconv.AppendUint(b, rest/8, 10)
			b = append(b, "];\n"...)
			from += rest / 8 * 8
			continue
		}
		width, unit := min(8-from%8, rest), "char : "
		switch {
		case from%64 == 0 && rest >= 64:
			width, unit = 64, "long : "
		case from%32 == 0 && rest >= 32:
			width, unit = 32, "int : "
		case from%16 == 0 && rest >= 16:
			width, unit = 16, "short : "
		}
		b = append(b, unit...)
		b = strconv.AppendUint(b, width, 10)
		b = append(b, ";\n"...)
		from += width
	}
	return b
}

func qualifiers(isConst, isVolatile, isRestrict bool) string {
	var s string
	if isConst {
		s = join(s, "const")
	}
	if isVolatile {
		s = join(s, "volatile")
	}
	if isRestrict {
		s = join(s, "restrict")
	}
	return s
}

// join puts a space between two words that are not empty.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}
