package vmlinux

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// kind is what a unit declares.
type kind uint8

const (
	kindNone kind = iota
	kindStruct
	kindUnion
	kindEnum // also an anonymous one
	kindTypedef
)

func (k kind) isTag() bool { return k == kindStruct || k == kindUnion || k == kindEnum }

func (k kind) String() string {
	return [...]string{"", "struct", "union", "enum", "typedef"}[k]
}

// unit is one declaration of the header. Units refer to each other by their
// position among all units, which follows the order of type IDs.
type unit struct {
	kind kind
	name string // unique among tags, or among typedefs and enumerators; "" for an anonymous enum
	body string // C text with marks for names; "" if BTF has only a declaration

	needs    []int32 // must be defined earlier
	mentions []int32 // tags that must be declared earlier
	follow   []step  // what members are or point to
	target   int32   // of a typedef: the struct or union that it is or leads to, or -1

	record  bool // the body contains a struct or union
	inlined bool // an anonymous enum that stands in the body of other units
}

// step leads from a unit to what one of its members is or points to.
type step struct {
	member string
	unit   int32
}

// namespace gives out C identifiers that differ from each other.
type namespace struct {
	original map[string]bool  // all names before any is changed
	last     map[string]int   // the number given out last for a name
	units    map[string]int32 // names given out
}

func newNamespace() *namespace {
	return &namespace{make(map[string]bool), make(map[string]int), make(map[string]int32)}
}

// claim returns name to the first that asks for it, and to the others the next
// of name___2, name___3, … that is no other type's own name.
func (ns *namespace) claim(name string, unit int32) string {
	unique := name
	if ns.last[name] == 0 && reserved(name) {
		ns.last[name] = 1
	}
	for {
		ns.last[name]++
		if n := ns.last[name]; n > 1 {
			unique = name + "___" + strconv.Itoa(n)
			if ns.original[unique] {
				continue
			}
		}
		ns.units[unique] = unit
		return unique
	}
}

// index holds the types of a kernel while they are turned into units.
type index struct {
	units []unit
	types []btf.Type         // of each unit
	byTyp map[btf.Type]int32 // named types, and anonymous enums
	alias map[btf.Type]int32 // anonymous types, to the first typedef of each
	tags  *namespace
	names *namespace

	// Enumerators whose name had to change.
	enumerators map[enumerator]string
}

type enumerator struct {
	enum  *btf.Enum
	index int
}

// maxChain is how many qualifiers, typedefs and array dimensions a type may
// have before the type proper. The kernel allows 32.
const maxChain = 64

// newIndex finds the types to declare and gives each its name.
func newIndex(spec *btf.Spec) (*index, error) {
	ix := &index{
		byTyp:       make(map[btf.Type]int32),
		alias:       make(map[btf.Type]int32),
		tags:        newNamespace(),
		names:       newNamespace(),
		enumerators: make(map[enumerator]string),
	}

	var forwards []btf.Type
	for id := btf.TypeID(0); ; id++ {
		typ, err := spec.TypeByID(id)
		if errors.Is(err, btf.ErrNotFound) && isEnd(err, id) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading type %d: %w", id, err)
		}

		switch t := typ.(type) {
		case *btf.Struct:
			ix.add(kindStruct, t)
		case *btf.Union:
			ix.add(kindUnion, t)
		case *btf.Enum:
			if t.Name != "" && len(t.Values) == 0 {
				forwards = append(forwards, t)
			} else {
				ix.add(kindEnum, t)
			}
		case *btf.Typedef:
			if _, err := peel(t); err != nil {
				return nil, fmt.Errorf("typedef %s: %w", clean(t.Name), err)
			}
			ix.add(kindTypedef, t)
		case *btf.Fwd:
			if t.Name != "" {
				forwards = append(forwards, t)
			}
		case *btf.Int:
			if t.Size == 4 && (t.Name == "long int" || t.Name == "long unsigned int") {
				return nil, errors.New("this is a kernel with 32-bit pointers, which the bpf target's layouts do not fit")
			}
		}
	}
	ix.resolveForwards(forwards)
	ix.nameAll()
	return ix, nil
}

// isEnd tells the ID after the last one from a type that refers to a missing
// type: both are ErrNotFound, and differ only in the ID which the text names.
func isEnd(err error, id btf.TypeID) bool {
	return strings.HasSuffix(err.Error(), fmt.Sprintf("type id %d: %v", id, btf.ErrNotFound))
}

func (ix *index) add(k kind, t btf.Type) {
	if t.TypeName() == "" && k != kindEnum {
		return
	}
	u := int32(len(ix.units))
	ix.units = append(ix.units, unit{kind: k, name: clean(t.TypeName()), target: -1})
	ix.types = append(ix.types, t)
	ix.byTyp[t] = u

	if td, ok := t.(*btf.Typedef); ok && isAnonymous(td.Type) {
		if _, ok := ix.alias[td.Type]; !ok {
			ix.alias[td.Type] = u
		}
	}
}

// resolveForwards makes each declaration stand for the first definition of its
// name and kind, or for a unit without a body if there is none.
func (ix *index) resolveForwards(forwards []btf.Type) {
	type tag struct {
		kind kind
		name string
	}
	first := make(map[tag]int32)
	for i := range ix.units {
		t := tag{ix.units[i].kind, ix.units[i].name}
		if _, ok := first[t]; !ok && t.kind.isTag() {
			first[t] = int32(i)
		}
	}
	for _, f := range forwards {
		t := tag{kindEnum, clean(f.TypeName())}
		if fwd, ok := f.(*btf.Fwd); ok {
			t.kind = kindStruct
			if fwd.Kind == btf.FwdUnion {
				t.kind = kindUnion
			}
		}
		if u, ok := first[t]; ok {
			ix.byTyp[f] = u
			continue
		}
		ix.add(t.kind, f)
		first[t] = ix.byTyp[f]
	}
}

// nameAll makes names unique. The first type of a name keeps it, and typedefs
// go before enumerators.
func (ix *index) nameAll() {
	each := func(f func(enumerator, string, int32)) {
		for i, t := range ix.types {
			e, ok := t.(*btf.Enum)
			if !ok {
				continue
			}
			// An anonymous enum is defined by its typedef, if it has one.
			u := int32(i)
			if td, ok := ix.alias[e]; ok {
				u = td
			}
			for k, v := range e.Values {
				f(enumerator{e, k}, clean(v.Name), u)
			}
		}
	}

	for i := range ix.units {
		if u := &ix.units[i]; u.kind.isTag() {
			ix.tags.original[u.name] = true
		} else {
			ix.names.original[u.name] = true
		}
	}
	each(func(_ enumerator, name string, _ int32) { ix.names.original[name] = true })

	for i := range ix.units {
		switch u := &ix.units[i]; {
		case u.name == "":
		case u.kind.isTag():
			u.name = ix.tags.claim(u.name, int32(i))
		default:
			u.name = ix.names.claim(u.name, int32(i))
		}
	}
	each(func(e enumerator, name string, u int32) {
		if unique := ix.names.claim(name, u); unique != e.enum.Values[e.index].Name {
			ix.enumerators[e] = unique
		}
	})
}

// peel removes qualifiers, typedefs and array dimensions.
func peel(t btf.Type) (btf.Type, error) {
	for range maxChain {
		switch v := t.(type) {
		case *btf.Typedef:
			t = v.Type
		case *btf.Array:
			t = v.Type
		default:
			next, ok := qualified(t)
			if !ok {
				return t, nil
			}
			t = next
		}
	}
	return nil, errors.New("refers to itself, or has too many qualifiers")
}

// qualified returns what a qualifier or type tag applies to.
func qualified(t btf.Type) (btf.Type, bool) {
	switch v := t.(type) {
	case *btf.Const:
		return v.Type, true
	case *btf.Volatile:
		return v.Type, true
	case *btf.Restrict:
		return v.Type, true
	case *btf.TypeTag:
		return v.Type, true
	}
	return nil, false
}

// unqualified removes qualifiers and type tags, but not if there are endlessly
// many.
func unqualified(t btf.Type) btf.Type {
	for range maxChain {
		next, ok := qualified(t)
		if !ok {
			break
		}
		t = next
	}
	return t
}

// isAnonymous reports whether t is a struct, union or enum without a name.
func isAnonymous(t btf.Type) bool {
	switch t.(type) {
	case *btf.Struct, *btf.Union, *btf.Enum:
		return t.TypeName() == ""
	}
	return false
}

// reserved reports whether no type or member can be called word: it is a
// keyword, or a type that clang defines itself.
func reserved(word string) bool {
	switch word {
	case "auto", "break", "case", "char", "const", "continue", "default", "do",
		"double", "else", "enum", "extern", "float", "for", "goto", "if", "inline",
		"int", "long", "register", "restrict", "return", "short", "signed",
		"sizeof", "static", "struct", "switch", "typedef", "union", "unsigned",
		"void", "volatile", "while", "_Alignas", "_Alignof", "_Atomic", "_Bool",
		"_Complex", "_Generic", "_Imaginary", "_Noreturn", "_Static_assert",
		"_Thread_local", "asm", "typeof", "_BitInt", "_Float16", "_Float128",
		"__float128", "__ibm128", "__bf16", "__fp16", "__int128", "__int128_t",
		"__uint128_t", "__builtin_va_list", "__builtin_ms_va_list",
		"__attribute__", "__attribute", "__declspec", "__asm", "__asm__",
		"__auto_type", "__typeof", "__typeof__", "__alignof", "__alignof__",
		"__const", "__const__", "__volatile", "__volatile__", "__restrict",
		"__restrict__", "__inline", "__inline__", "__signed", "__signed__",
		"__extension__", "__label__", "__thread", "__real", "__imag", "__func__",
		"__FUNCTION__", "__PRETTY_FUNCTION__", "__null", "__complex__":
		return true
	}
	return false
}

// clean returns name if it is a C identifier, or else one that resembles it:
// BTF may come from a file, or from a language with other rules.
func clean(name string) string {
	ok := true
	for i := range len(name) {
		if !identByte(name[i], i == 0) {
			ok = false
			break
		}
	}
	if ok {
		return name
	}
	b := []byte(name)
	for i, c := range b {
		if !identByte(c, false) {
			b[i] = '_'
		}
	}
	if !identByte(b[0], true) {
		return "_" + string(b)
	}
	return string(b)
}

func identByte(c byte, first bool) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		return true
	case '0' <= c && c <= '9':
		return !first
	}
	return false
}
