package kernel

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxDeclarator bounds how deep a type may nest; real ones stay below ten. BTF of
// a damaged file can point in circles.
const maxDeclarator = 32

// declare writes a BTF type in C, as the declaration of name, or as a bare type if
// name is empty: "struct sock *sk", "char (*)[16]".
func declare(t btf.Type, name string) string {
	return declareAt(t, name, 0)
}

func declareAt(t btf.Type, name string, depth int) string {
	if depth > maxDeclarator {
		return join("…", name)
	}
	switch t := t.(type) {
	case nil:
		return join("void", name)
	case *btf.Void:
		return join("void", name)
	case *btf.Pointer:
		target := t.Target
		var tags string
		for {
			tag, ok := target.(*btf.TypeTag)
			if !ok || depth > maxDeclarator {
				break
			}
			tags += "__" + tag.Value + " "
			target, depth = tag.Type, depth+1
		}
		inner := tags + "*" + name
		switch target.(type) {
		case *btf.Array, *btf.FuncProto:
			inner = "(" + inner + ")"
		}
		return declareAt(target, inner, depth+1)
	case *btf.Array:
		return declareAt(t.Type, fmt.Sprintf("%s[%d]", name, t.Nelems), depth+1)
	case *btf.FuncProto:
		return declareAt(t.Return, name+params(t.Params, depth+1), depth+1)
	case *btf.Const:
		return declareQualified(t.Type, "const", name, depth)
	case *btf.Volatile:
		return declareQualified(t.Type, "volatile", name, depth)
	case *btf.Restrict:
		return declareQualified(t.Type, "restrict", name, depth)
	case *btf.TypeTag:
		return declareQualified(t.Type, "__"+t.Value, name, depth)
	case *btf.Struct:
		return join(tagged("struct", t.Name), name)
	case *btf.Union:
		return join(tagged("union", t.Name), name)
	case *btf.Enum:
		return join(tagged("enum", t.Name), name)
	case *btf.Fwd:
		return join(tagged(t.Kind.String(), t.Name), name)
	}
	return join(t.TypeName(), name)
}

// declareQualified puts a qualifier where C wants it: behind the star of a pointer,
// before anything else.
func declareQualified(t btf.Type, qualifier, name string, depth int) string {
	if _, ok := t.(*btf.Pointer); ok {
		return declareAt(t, join(qualifier, name), depth+1)
	}
	return qualifier + " " + declareAt(t, name, depth+1)
}

func tagged(keyword, name string) string {
	if name == "" {
		return keyword + " {…}"
	}
	return keyword + " " + name
}

// join puts a type before a declarator. "int", "*x" gives "int *x".
func join(t, declarator string) string {
	if declarator == "" {
		return t
	}
	if strings.HasPrefix(declarator, "[") {
		return t + declarator
	}
	return t + " " + declarator
}

func params(list []btf.FuncParam, depth int) string {
	if len(list) == 0 {
		return "(void)"
	}
	parts := make([]string, len(list))
	for i, p := range list {
		if variadic(list, i) {
			parts[i] = "..."
			continue
		}
		parts[i] = declareAt(p.Type, p.Name, depth)
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// variadic tells whether parameter i is BTF's way to write "...": a last parameter
// without name and type.
func variadic(list []btf.FuncParam, i int) bool {
	_, void := list[i].Type.(*btf.Void)
	return i == len(list)-1 && list[i].Name == "" && (void || list[i].Type == nil)
}

// unqualified strips const, volatile, restrict and type tags, but not typedefs.
func unqualified(t btf.Type) btf.Type {
	for range maxDeclarator {
		switch q := t.(type) {
		case *btf.Const:
			t = q.Type
		case *btf.Volatile:
			t = q.Type
		case *btf.Restrict:
			t = q.Type
		case *btf.TypeTag:
			t = q.Type
		default:
			return t
		}
	}
	return t
}
