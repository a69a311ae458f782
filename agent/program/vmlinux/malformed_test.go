package vmlinux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

var (
	tInt  = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	tLong = &btf.Int{Name: "long int", Size: 8, Encoding: btf.Signed}
	tChar = &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
)

func buildSpec(t testing.TB, types ...btf.Type) *btf.Spec {
	t.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := b.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func structOf(name string, size uint32, members ...btf.Member) *btf.Struct {
	return &btf.Struct{Name: name, Size: size, Members: members}
}

func member(name string, t btf.Type, offset btf.Bits) btf.Member {
	return btf.Member{Name: name, Type: t, Offset: 8 * offset}
}

// What BTF can say and C compiled by clang does not: several types with one
// name, names that are no C names, members without a name that have a tag.
func TestBuiltTypes(t *testing.T) {
	self := structOf("self", 8)
	self.Members = []btf.Member{member("next", &btf.Pointer{Target: &btf.TypeTag{Value: "rcu", Type: &btf.Const{Type: self}}}, 0)}
	inner := structOf("inner", 8, member("a", tInt, 0), member("b", tInt, 4))

	other := structOf("other", 8, member("c", tLong, 0))

	for _, c := range []struct {
		name  string
		types []btf.Type
		want  []string
		not   []string
	}{{
		name: "structs of one name",
		types: []btf.Type{
			structOf("s", 4, member("a", tInt, 0)),
			structOf("s", 8, member("b", tLong, 0)),
			structOf("s", 1, member("c", tChar, 0)),
			structOf("s___2", 2, member("d", tChar, 1)),
			structOf("user", 8, member("a", structOf("s", 8, member("e", tLong, 0)), 0)),
		},
		want: []string{"struct s {", "struct s___3 {", "struct s___4 {", "struct s___2 {", "struct s___5 a;"},
	}, {
		name: "tags of one name and several kinds",
		types: []btf.Type{
			structOf("s", 4, member("a", tInt, 0)),
			&btf.Union{Name: "s", Size: 4, Members: []btf.Member{member("a", tInt, 0)}},
			&btf.Enum{Name: "s", Size: 4, Values: []btf.EnumValue{{Name: "S", Value: 1}}},
			structOf("t", 16,
				member("a", &btf.Pointer{Target: &btf.Fwd{Name: "s", Kind: btf.FwdUnion}}, 0),
				member("b", &btf.Pointer{Target: &btf.Fwd{Name: "t", Kind: btf.FwdUnion}}, 8)),
		},
		want: []string{"struct s {", "union s___2 {", "enum s___3 {", "union s___2 *a;", "union t___2;", "union t___2 *b;"},
	}, {
		name: "typedefs and enumerators of one name",
		types: []btf.Type{
			&btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "name", Value: 1}, {Name: "other", Value: 2}}},
			&btf.Typedef{Name: "name", Type: tInt},
			&btf.Typedef{Name: "name", Type: tLong},
			&btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "other", Value: 3}}},
		},
		want: []string{"typedef int name;", "typedef long int name___2;", "\tname___3 = 1,", "\tother = 2,", "\tother___2 = 3,"},
	}, {
		name: "builtin and reserved names",
		types: []btf.Type{
			&btf.Typedef{Name: "__builtin_va_list", Type: &btf.Array{Type: structOf("__va_list_tag", 24, member("gp", tInt, 0)), Index: tInt, Nelems: 1}},
			&btf.Typedef{Name: "_Float128", Type: &btf.Float{Name: "_Float128", Size: 16}},
			structOf("int", 8, member("while", tInt, 0), member("class", tInt, 4)),
			&btf.Typedef{Name: "__int128_t", Type: &btf.Int{Name: "__int128", Size: 16, Encoding: btf.Signed}},
		},
		want: []string{"typedef struct __va_list_tag __builtin_va_list___2[1];", "typedef unsigned char _Float128___2[16];", "struct int___2 {", "int while_;", "int class;", "typedef __int128 __int128_t___2;"},
	}, {
		name: "names from other languages",
		types: []btf.Type{
			structOf("Option<&str>", 4, member("0", tInt, 0)),
			structOf("Option<*str>", 4, member("_0", tInt, 0)),
			&btf.Typedef{Name: "9*/ }; int main(void) { /*\n\x01\x02", Type: tInt},
			&btf.Enum{Name: "é", Size: 4, Values: []btf.EnumValue{{Name: "a b", Value: 1}}},
		},
		want: []string{"struct Option__str_ {", "struct Option__str____2 {", "int _0;", "a_b = 1,"},
		not:  []string{"main(", "\x01", "\x02", "<"},
	}, {
		name: "members with a tag but no name",
		types: []btf.Type{
			structOf("s", 24, member("x", tInt, 0), member("", inner, 4), member("", &btf.Typedef{Name: "other_t", Type: &btf.Const{Type: other}}, 12), member("y", tInt, 20)),
		},
		not: []string{"\tstruct inner;", "other_t;\n\tint y"},
	}, {
		name:  "type tags",
		types: []btf.Type{self},
		want:  []string{"const struct self *next;"},
	}, {
		name: "numbers that C does not have",
		types: []btf.Type{
			structOf("s", 72,
				member("a", &btf.Int{Name: "int24", Size: 3}, 0),
				member("b", &btf.Int{Name: "sizetype", Size: 8}, 8),
				member("c", &btf.Int{Name: "i16", Size: 2, Encoding: btf.Signed}, 16),
				member("d", &btf.Float{Name: "long double", Size: 16}, 17+15),
				member("e", &btf.Float{Name: "_Float16", Size: 2}, 49),
				member("f", &btf.Array{Type: &btf.Int{Name: "int24", Size: 3}, Index: tInt, Nelems: 2}, 51),
				member("g", &btf.Pointer{Target: &btf.Int{Name: "int24", Size: 3}}, 64)),
		},
		want: []string{"unsigned char a[3];", "unsigned long b;", "short c;", "unsigned char d[16];", "unsigned char e[2];", "unsigned char f[2][3];", "unsigned char (*g)[3];"},
	}, {
		name: "pointers to what has no pointer in C",
		types: []btf.Type{
			structOf("s", 24,
				member("a", &btf.Pointer{Target: &btf.Func{Name: "f", Type: &btf.FuncProto{Return: tInt}}}, 0),
				member("b", &btf.Pointer{Target: &btf.Array{Type: &btf.Void{}, Index: tInt, Nelems: 3}}, 8),
				member("c", &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Array{Type: tInt, Index: tInt, Nelems: 2}, Params: []btf.FuncParam{{Type: &btf.Void{}}, {Type: tInt}, {Type: &btf.Void{}}}}}, 16)),
		},
		want: []string{"void *a;", "void *b;", "void (*c)(void *, int, ...);"},
	}, {
		name: "declarations only",
		types: []btf.Type{
			structOf("s", 24,
				member("a", &btf.Pointer{Target: &btf.Fwd{Name: "f"}}, 0),
				member("b", &btf.Pointer{Target: &btf.Fwd{Name: "f"}}, 8),
				member("c", &btf.Pointer{Target: &btf.Fwd{Name: "f", Kind: btf.FwdUnion}}, 16)),
			&btf.Fwd{Name: "f"},
		},
		want: []string{"struct f *a;", "struct f *b;", "union f___2 *c;"},
		not:  []string{"f___3"},
	}, {
		name: "an enum that is only declared",
		types: []btf.Type{
			structOf("s", 16, member("a", &btf.Enum{Name: "e", Size: 4}, 0), member("b", &btf.Pointer{Target: &btf.Enum{Name: "e", Size: 4}}, 8)),
		},
		want: []string{"unsigned int a;", "enum e;", "enum e *b;"},
	}, {
		name: "an enum that is declared before it is defined",
		types: []btf.Type{
			&btf.Enum{Name: "e", Size: 4},
			structOf("s", 8, member("b", &btf.Pointer{Target: &btf.Enum{Name: "e", Size: 4}}, 0)),
			&btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "E", Value: 1}}},
		},
		want: []string{"enum e *b;", "enum e {"},
		not:  []string{"e___2"},
	}} {
		t.Run(c.name, func(t *testing.T) {
			header := full(t, buildSpec(t, c.types...))
			for _, w := range c.want {
				if !strings.Contains(string(header), w) {
					t.Errorf("no %q", w)
				}
			}
			for _, w := range c.not {
				if strings.Contains(string(header), w) {
					t.Errorf("there is %q", w)
				}
			}
			var b strings.Builder
			for tag, typ := range tagTypes(t, buildSpec(t, c.types...)) {
				size, err := btf.Sizeof(typ)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "_Static_assert(sizeof(%s) == %d, \"%s\");\n", tag, size, tag)
				for _, m := range members(typ) {
					if m.Name != "" && clean(m.Name) == m.Name && !reserved(m.Name) {
						fmt.Fprintf(&b, "_Static_assert(__builtin_offsetof(%s, %s) == %d, \"%s.%s\");\n", tag, m.Name, m.Offset.Bytes(), tag, m.Name)
					}
				}
			}
			if _, out, err := runClang(t, header, b.String()); err != nil {
				t.Errorf("clang: %s", out)
			}
			if t.Failed() {
				t.Logf("%s", header)
			}
		})
	}
}

// Layouts that no C has, which only corrupt BTF or another language gives: the
// size stays right, and so does everything around.
func TestImpossibleLayouts(t *testing.T) {
	loop := structOf("loop", 8)
	loop.Members = []btf.Member{member("self", &btf.Array{Type: loop, Index: tInt, Nelems: 1}, 0)}

	for _, c := range []struct {
		name   string
		typ    btf.Type
		reason string
	}{
		{"overlap", structOf("s", 8, member("a", tInt, 0), member("b", tInt, 2)), "member b begins before the end of the one before it"},
		{"out of order", structOf("s", 8, member("a", tInt, 4), member("b", tInt, 0)), "member b begins before the end of the one before it"},
		{"too small", structOf("s", 6, member("a", tInt, 0), member("b", tInt, 4)), "members do not fit in its size"},
		{"void", structOf("s", 8, member("a", &btf.Void{}, 0)), "member a has no size"},
		{"function", structOf("s", 8, member("a", &btf.FuncProto{Return: tInt}, 0)), "member a has no size"},
		{"incomplete", structOf("s", 8, member("a", &btf.Fwd{Name: "f"}, 0)), "member a has no size"},
		{"itself", loop, "member self embeds itself"},
		{"gigantic", structOf("s", 8, member("a", &btf.Array{Type: &btf.Array{Type: tLong, Index: tInt, Nelems: 1 << 31}, Index: tInt, Nelems: 1 << 31}, 0)), "member a is too big"},
		{"union elsewhere", &btf.Union{Name: "s", Size: 8, Members: []btf.Member{member("a", tInt, 4)}}, "member a does not begin where the union does"},
		{"bit-field of a pointer", structOf("s", 8, btf.Member{Name: "a", Type: &btf.Pointer{Target: tInt}, BitfieldSize: 3}), "member a has no type for a bit-field of 3 bits"},
		{"bit-field too wide", structOf("s", 8, btf.Member{Name: "a", Type: tInt, BitfieldSize: 33}), "member a has no type for a bit-field of 33 bits"},
		{"not on a byte", structOf("s", 8, btf.Member{Name: "b", Type: tInt, BitfieldSize: 1}, btf.Member{Name: "a", Type: tInt, Offset: 9}), "member a is not aligned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			holder := structOf("holder", 24, member("a", tChar, 0), member("s", c.typ, 3), member("b", tLong, 16))
			spec := buildSpec(t, c.typ, holder)
			header := full(t, spec)
			tag := "struct " + c.typ.TypeName()
			if _, ok := c.typ.(*btf.Union); ok {
				tag = "union " + c.typ.TypeName()
			}
			size, _ := btf.Sizeof(c.typ)
			if !bytes.Contains(header, []byte("/* "+c.reason+" */")) {
				t.Errorf("no reason %q in\n%s", c.reason, header)
			}
			compile(t, header, fmt.Sprintf(`
_Static_assert(sizeof(%s) == %d, "size");
_Static_assert(sizeof(struct holder) == 24, "holder");
_Static_assert(__builtin_offsetof(struct holder, s) == 3, "s");
_Static_assert(__builtin_offsetof(struct holder, b) == 16, "b");
`, tag, size))
		})
	}
}

func TestMalformed(t *testing.T) {
	endless := &btf.Typedef{Name: "endless"}
	endless.Type = &btf.Const{Type: endless}

	// A chain of anonymous structs, each twice in the next, without any size.
	var doubled btf.Type = structOf("", 0)
	for range 60 {
		doubled = structOf("", 0, member("a", doubled, 0), member("b", doubled, 0))
	}
	// The same through pointers, which need no size.
	var pointed btf.Type = tInt
	for range 60 {
		p := &btf.Pointer{Target: pointed}
		pointed = structOf("", 16, member("a", p, 0), member("b", p, 8))
	}
	// And through parameters of functions.
	var called btf.Type = tInt
	for range 60 {
		called = &btf.Pointer{Target: &btf.FuncProto{Return: called, Params: []btf.FuncParam{{Type: called}, {Type: called}, {Type: called}, {Type: called}}}}
	}
	var deep btf.Type = tInt
	for range 5000 {
		deep = &btf.Pointer{Target: deep}
	}

	for _, c := range []struct {
		name string
		spec *btf.Spec
		err  string // nothing if there is to be a header
		want string
	}{
		{"typedef of itself", buildSpec(t, endless), "typedef endless: refers to itself", ""},
		{"32-bit kernel", buildSpec(t, &btf.Int{Name: "long unsigned int", Size: 4}), "32-bit pointers", ""},
		{"missing type", danglingSpec(t), "not found", ""},
		{"doubling", buildSpec(t, structOf("s", 8, member("a", doubled, 0))), errTooMuch.Error(), ""},
		{"doubling pointers", buildSpec(t, structOf("s", 16, member("a", pointed, 0))), "", "void *a;"},
		{"multiplying functions", buildSpec(t, structOf("s", 8, member("a", called, 0))), errTooMuch.Error(), ""},
		{"many pointers", buildSpec(t, structOf("s", 8, member("a", deep, 0))), "", "void " + strings.Repeat("*", maxPointers+1) + "a;"},
		{"nothing", buildSpec(t), "", "#endif"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			err := Full(&b, c.spec)
			switch {
			case c.err == "" && err != nil:
				t.Fatal(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Fatalf("error %v, want %q", err, c.err)
			case err == nil && !strings.Contains(b.String(), c.want):
				t.Errorf("no %q in\n%s", c.want, b.String())
			}
		})
	}
}

// danglingSpec has a type that refers to one which does not exist.
func danglingSpec(t *testing.T) *btf.Spec {
	t.Helper()
	b, err := btf.NewBuilder([]btf.Type{&btf.Pointer{Target: tInt}, &btf.Pointer{Target: tLong}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.NativeEndian})
	if err != nil {
		t.Fatal(err)
	}
	// The header has 24 bytes, a pointer 12; its target comes last.
	binary.NativeEndian.PutUint32(raw[24+8:], 77)
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

var errBroken = errors.New("broken")

func TestFullReportsWriteErrors(t *testing.T) {
	if err := Full(brokenWriter{}, buildSpec(t, tInt)); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
}
