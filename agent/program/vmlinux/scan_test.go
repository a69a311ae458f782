package vmlinux

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func scanOf(src string) *scan {
	s := newScan(func(name string) bool { return name == "__u32" || name == "u32" || name == "pid_t" })
	s.add(src)
	return s
}

func TestIdentifiers(t *testing.T) {
	for _, c := range []struct {
		name, source, want string
	}{
		{"plain", "struct sock *sk = x->y.z[0];", "sk sock x y z"},
		{"comments", "a /* b\n // c */ d // e \\\n f\n g", "a d g"},
		{"comment not closed", "a /* b", "a"},
		{"not a comment", `a / b * c`, "a b c"},
		{"strings", `a "b \" c" 'd' '\'' e "f\
g" h L"i"`, "L a e h"},
		{"string not closed", "a \"b\nc", "a c"},
		{"string at the end", `a "b\`, "a"},
		{"numbers", "a 0xdeadbeef 1e+x 10ULL .5f 0b1 2.x3 y-1", "a y"},
		{"macros", "#define GET(p) ((struct task *)p)->member \\\n ->more\n#if 0\nx\n#endif", "GET define endif member more p task x"},
		{"includes", "#include <linux/types.h>\n # include \"vmlinux.h\"\na", "a"},
		{"no include", "a #include b\n", "a b include"},
		{"other bytes", "caf\xc3\xa9 \x00 a$b \x80", "a b caf"},
		{"nothing", "", ""},
		{"backslashes", "a\\\nb \\ c\\", "a b c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(slices.Sorted(maps.Keys(scanOf(c.source).idents)), " ")
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// No source takes time out of all proportion to its size, as it would if brackets
// were looked for again and again: that takes minutes. What counts is the
// processor's time, so that a busy machine fails nothing.
func TestScanTime(t *testing.T) {
	trimmer := kernelTrimmer(t)
	for _, part := range []string{"struct __a(", "enum{", "enum a{(", "(*", "struct ", "a,", "{", "int a=(", "/*", "\"", "#", "\\\n", "typeof(", "union a:"} {
		source := strings.Repeat(part, 512<<10/len(part))
		start := processorTime(t)
		trimmer.Header(source)
		if d := processorTime(t) - start; d > 30*time.Second {
			t.Errorf("%q, repeated: %v", part, d)
		}
	}
}

// processorTime returns how long this process has run on all processors.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func TestOwnNames(t *testing.T) {
	for _, c := range []struct {
		name, source string
		tags, names  string
	}{
		{"structs", "struct a { int x; }; struct b; struct c *f(struct d *d); union e { int y; } g; enum h { i };", "a e h", "f g i"},
		{"attributes", "struct __attribute__((packed)) a { int x; } __attribute__((aligned(8))) v; struct __packed b {};", "a b", "v"},
		{"nested", "struct a { struct b { int x; } y; enum c { D } z; };", "a b c", "D"},
		{"in functions", "int f(void) { struct a { int x; } y = {}; enum { B = 1 }; int z; return sizeof(struct c) + x; }", "a", "B f"},
		{"in macros", "#define DEF struct a { int x; };\n#define VAR int b;\nint c;", "a", "c"},
		{"no definition", "int f(struct a *p) { return ((struct b){}).x; } struct c x = { 1 };", "", "f x"},
		{"enumerators", "enum { A, B = F(x, y), C = (1, 2),\n#ifdef X\nD\n#endif\n} e; enum t : unsigned char { E = sizeof(struct u) } __attribute__((packed));", "t", "A B C D E e"},
		{"enums in enums", "enum { A = sizeof(enum { B, C }), D }; enum e { E = (F, G), H = x[I, J] };", "e", "A B C D E H"},
		{"uses of enums", "enum a f(enum b x, enum c); enum d *p; enum e g = 1;", "", "f g p"},
		{"typedefs", "typedef unsigned int u32; typedef struct { int x; } a, *b; typedef int (*c)(pid_t, u32); typedef struct s d; typedef u32 e[4]; typedef __u32 __own;", "", "a b c d e u32"},
		{"typedef with a body", "typedef struct a { u32 x; } b; typedef enum { C } d;", "a", "C b d"},
		{"variables", "u32 a; static const volatile __u32 b = 1, *c, d[2]; extern struct s e; const struct s f = { .g = sizeof(u32) }; u32 h[3] = { 1, 2 }; pid_t i = (pid_t)1;", "", "a b c d e f h i"},
		{"functions", "static __always_inline u32 a(pid_t p) { return p; } int b(void); struct s *c(u32 x) { } static inline __attribute__((noinline)) u32 d(void) {} __u32 e() {} u32 g;", "", "a b c d e g"},
		{"sections", `struct { __uint(type, X); __type(key, u32); } a SEC(".maps"); char b[] SEC("license") = "GPL"; SEC("xdp") int c(struct xdp_md *ctx) { } u32 d SEC(".data"); extern u32 e __kconfig;`, "", "a b c d e"},
		{"macros for functions", `SEC("x") int BPF_PROG(handler, u32 x) { return x; } DECLARE_THING(a); u32 b;`, "", "BPF_PROG b"},
		{"function pointers", "int (*a)(u32) = 0; u32 (*b[3])(pid_t); void (*c(int x))(u32); int d(pid_t), (*const e)(u32); pid_t (f)(u32);", "", "a b c d e"},
		{"typeof", "typeof(u32) a; __typeof__(*(pid_t *)0) b = 1;", "", "a b"},
		{"types only", "u32; struct s; pid_t *; int;", "", ""},
		{"bit-fields", "struct s { u32 a : 3; enum e b : 2; };", "s", ""},
		{"brackets not closed", "int a(u32 { struct b {", "b", "a"},
		{"brackets not opened", "} ) ] u32 a; } int b(void) { ", "", "a b"},
		{"assertions", `_Static_assert(sizeof(u32) == 4, "x"); u32 a;`, "", "a"},
		{"labels and ternaries", "int f(void) { l: return a ? b : c; }", "", "f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := scanOf(c.source).own
			if got := strings.Join(slices.Sorted(maps.Keys(own.tags)), " "); got != c.tags {
				t.Errorf("tags %q, want %q", got, c.tags)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(own.names)), " "); got != c.names {
				t.Errorf("names %q, want %q", got, c.names)
			}
		})
	}
}
