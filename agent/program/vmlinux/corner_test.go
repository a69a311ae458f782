package vmlinux

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// corners are types that are hard to write such that clang lays them out as
// they were. Each is C for the bpf target, whose BTF is then taken for a
// kernel's.
var corners = []struct {
	name, source string
	want         []string // in the header
}{{
	name:   "bit-fields",
	source: `struct s { int a:3; unsigned b:7; int c; unsigned char d:1, e:7; long f:40; long g:24; } v;`,
}, {
	name:   "bit-fields of several types in one unit",
	source: `struct s { char a; int b:5; short c:9; _Bool d:1; long long e:33; char f; int g:2; } v;`,
}, {
	name:   "bit-fields with gaps",
	source: `struct s { int a:3; int :4; int b:5; int :0; int c:1; long :40; int d:9; char :0; char e; } v;`,
}, {
	name:   "bit-fields with gaps that C does not leave",
	source: `struct s { unsigned a:4; unsigned :0; unsigned b:1; unsigned :28; unsigned c:3; short :9; char d:7; } v;`,
}, {
	name:   "bit-fields that cross units",
	source: `struct s { int a:20; int b:20; long c:60; int d:7; short e; } __attribute__((packed)) v;`,
	want:   []string{"packed"},
}, {
	name:   "bit-fields of a packed byte",
	source: `struct s { char a; unsigned long b:3, c:60, d:1; char e; } __attribute__((packed)); struct { char c; struct s s; } v;`,
	want:   []string{"packed"},
}, {
	name:   "bit-fields of enums",
	source: `enum e { A, B, C } ; enum n { N = -1, P = 1 }; struct s { enum e a:2; enum n b:3; int c:2; enum e d; } v;`,
}, {
	name:   "bit-fields in unions",
	source: `union u { unsigned a:3; unsigned long b:35; char c:1; } v; struct s { union u a; union { int x:1; }; } w;`,
}, {
	name:   "a struct of nothing but padding",
	source: `struct s { long :64; long :64; char :3; } v; struct t { char a; struct s s; int b; } w;`,
	want:   []string{"long : 64;"},
}, {
	name:   "packed",
	source: `struct s { char a; long b; int c; short d; } __attribute__((packed)) v; struct t { char a; struct s s; struct s t[3]; long b; } w;`,
	want:   []string{"__attribute__((packed))"},
}, {
	name:   "packed, yet as if it were not",
	source: `struct s { long a; int b; int c; } __attribute__((packed)); struct t { char a; struct s s; long b; } v; struct u { struct t t; int a; } w;`,
}, {
	name:   "packed with an alignment",
	source: `struct s { char a; long b; char c[7]; } __attribute__((packed, aligned(4))) v; struct t { char a; struct s s; char b; } w; struct u { short a; int b; } __attribute__((packed, aligned(2))) x;`,
	want:   []string{"packed, aligned(8)", "packed, aligned(2)"},
}, {
	name:   "packed members",
	source: `struct s { char a; long b __attribute__((packed)); int c; struct { char d; int e; } f __attribute__((packed)); } v;`,
}, {
	name:   "aligned to a cache line",
	source: `struct s { char a; int b; } __attribute__((aligned(64))); struct t { char a; struct s s; struct s t[2]; char b; } v; struct u { char a; int b __attribute__((aligned(64))); char c __attribute__((aligned(16))); } w;`,
	want:   []string{"long : 64;"},
}, {
	name:   "aligned to a page",
	source: `struct s { int a; char b __attribute__((aligned(4096))); } v; union u { int a; union { char b; } __attribute__((aligned(256))); } __attribute__((aligned(4096))) w;`,
	want:   []string{"unsigned char __btf_pad_1[4092];", "unsigned char __btf_pad_2[4095];"},
}, {
	name:   "aligned where the position is a coincidence",
	source: `struct s { char a; int b __attribute__((aligned(8))); long c; int d __attribute__((aligned(16))); } v;`,
}, {
	name:   "nested without names",
	source: `struct s { int a; union { struct { int b; union { char c; short d; }; }; long e; struct { char f[3]; } g; }; struct { struct { struct { char h; }; }; }; int i; } v;`,
}, {
	name:   "unions with padding",
	source: `union u { char a[5]; short b; } v; union w { char a[3]; int b; } __attribute__((packed)) w; union x { char a; } __attribute__((aligned(8))) x; struct s { char a; union w b; union x c; } y;`,
}, {
	name: "lists, trees, and types that need each other",
	source: `struct node { struct node *next, **prev; struct tree *tree; }; struct tree { struct node root; struct tree *left; const struct tree *const *right; union leaf *leaf; };
union leaf { struct tree *tree; struct node node; union leaf *other; }; struct tree v; union leaf w;`,
}, {
	name: "functions",
	source: `struct x; typedef int (*handler)(struct x *, int); typedef void fn(void); typedef handler (*chooser)(const char *, ...);
struct ops { int (*open)(struct ops *, const void *restrict); handler handlers[4]; fn *plain; chooser choose; void (*(*lookup)(int))(struct ops *, char);
  int (*table[2][3])(void); int (*(*arrays)[5])(long, unsigned char); void (*callback)(int (*)(void), struct ops **); char *(*name)(void); } v;`,
}, {
	name:   "arrays",
	source: `typedef int row[4]; typedef row grid[3]; struct s { char a[2][3][4]; grid b; const row c; int *d[5]; int (*e)[5]; row *f; volatile char g[1]; const char *const h[2]; } v;`,
}, {
	name:   "arrays without elements",
	source: `struct s { int a; long b[0]; char c; short d[0]; int e[0][4]; } v; struct t { short n; long items[]; } w; struct u { char c; struct t t; } x; struct f { union { struct { } none; char any[0]; }; char more[]; } y;`,
}, {
	name:   "nothing inside",
	source: `struct none {}; union nil {}; struct s { struct none a; int b; struct none c[3]; union nil d; char e; } v;`,
}, {
	name:   "enums",
	source: `enum a { A0, A1 = 5, A2 } a; enum b { B0 = -5, B1 = 2147483647, B2 = -2147483647 - 1 } b; enum c { C0 = 0xffffffff } c; struct s { enum a x; enum b y; enum c z; enum { D0 = -1, D1 } w; } v;`,
	want:   []string{"B2 = -2147483648,", "C0 = 4294967295,"},
}, {
	name:   "enums of 64 bits",
	source: `enum a { A0 = 0x100000000 } a; enum b { B0 = -1, B1 = 0xffffffff } b; enum c { C0 = 0xffffffffffffffff } c; enum d { D0 = -9223372036854775807LL - 1, D1 = 9223372036854775807LL } d; struct s { char a; enum d b; } v;`,
	want:   []string{"A0 = 4294967296ULL,", "C0 = 18446744073709551615ULL,", "D0 = -9223372036854775807LL - 1,"},
}, {
	name:   "enums of other sizes",
	source: `enum a { A0, A1 = 200 } __attribute__((packed)) a; enum b { B0 = -3, B1 = 300 } __attribute__((packed)) b; enum c { C0 } __attribute__((mode(DI))) c; enum d { D0 = -1 } __attribute__((mode(QI))) d; struct s { enum a a; enum b b; enum d d; enum c c; enum a e:3; } v;`,
	want:   []string{"mode(QI)", "mode(HI)", "mode(DI)"},
}, {
	name:   "one enum for several members",
	source: `struct s { enum { ONE, TWO } a, b; enum { THREE } *c; } v; int x = ONE + THREE;`,
	want:   []string{"ONE = 0,", "ONE___2 = 0,"},
}, {
	name:   "types with only a typedef",
	source: `typedef struct { int a; } plain, *pointer, array[3]; typedef enum { ON, OFF } onoff; typedef union { plain p; struct { onoff o; } s; } both; typedef const struct { int b; } fixed; typedef volatile fixed *moving; struct s { plain a; pointer b; array c; onoff d; both e; } v;`,
	want:   []string{"typedef plain *pointer;", "typedef plain array[3];"},
}, {
	name:   "typedefs of incomplete types",
	source: `typedef struct s s_t; typedef s_t *s_p; struct t { s_p a; s_t *b; struct never *c; union never_either *d; }; struct s { struct t t; s_t *self; } v; typedef s_t many[2]; struct u { many m; } w;`,
}, {
	name:   "wide and narrow numbers",
	source: `struct s { char a; __int128 b; unsigned __int128 c; float d; double e; _Bool f; signed char g; unsigned long long h; char i; } v; struct t { char a; __int128 b; } __attribute__((packed)) w;`,
}, {
	name:   "qualifiers",
	source: `struct s { const int a; volatile const char *b; char *const volatile c; const struct s *const *volatile d; int *restrict e; const volatile void *f; } v;`,
}, {
	name:   "pointers to types without a name",
	source: `struct s { struct { int a; struct s *b; } *p, *q; union { int c; } *(*r)[2]; } v;`,
}, {
	name:   "names that are also other names",
	source: `typedef int size; struct size { size size; enum kind { kind, size_other } kind; struct kind_of *struct_; }; struct size v; union sizes { struct size size; } w;`,
}, {
	name:   "variable arguments",
	source: `struct s { __builtin_va_list ap; int a; } v;`,
}}

// A header made of clang's BTF for a type must give clang the same BTF again.
func TestCorners(t *testing.T) {
	for _, c := range corners {
		t.Run(c.name, func(t *testing.T) {
			object := compile(t, nil, c.source, "-w")
			header := roundTrip(t, objectSpec(t, object))

			// Bit-fields are counted from the other end there.
			other := compile(t, nil, c.source, "-w", "-target", "bpfeb")
			roundTrip(t, objectSpec(t, other), "-target", "bpfeb")
			for _, w := range c.want {
				if !strings.Contains(header, w) {
					t.Errorf("no %q in\n%s", w, header)
				}
			}
			if strings.Contains(header, "__opaque") {
				t.Errorf("layout was not found:\n%s", header)
			}
		})
	}
	if len(corners) < 20 {
		t.Errorf("only %d cases", len(corners))
	}
}

// roundTrip writes the header for spec and compares what clang makes of it.
func roundTrip(t *testing.T, spec *btf.Spec, flags ...string) string {
	t.Helper()
	header := full(t, spec)
	types := tagTypes(t, spec)
	var b strings.Builder
	for i, tag := range slices.Sorted(maps.Keys(types)) {
		fmt.Fprintf(&b, "%s v%d;\n", tag, i)
		size, _ := btf.Sizeof(types[tag])
		fmt.Fprintf(&b, "_Static_assert(sizeof(%s) == %d, \"%s\");\n", tag, size, tag)
	}
	object, out, err := runClang(t, header, b.String(), flags...)
	if err != nil {
		t.Fatalf("clang: %v\n%s\n%s", err, out, header)
	}
	compared := checkObject(t, object, types)
	if len(compared) != len(types) {
		t.Errorf("compared only %v", compared)
	}
	if t.Failed() {
		t.Logf("%s", header)
	}
	return string(header)
}
