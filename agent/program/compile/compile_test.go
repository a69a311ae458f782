package compile_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/agent/program/compile"
)

// types is a vmlinux.h that has what kgent.bpf.h itself needs and no more.
type types string

func (t types) Header(...string) ([]byte, error) { return []byte(t), nil }

const basic = types(`
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef signed char __s8; typedef short __s16; typedef int __s32; typedef long long __s64;
typedef __u16 __be16; typedef __u32 __be32; typedef __u32 __wsum; typedef _Bool bool;
enum { false = 0, true = 1 };
enum { BPF_MAP_TYPE_RINGBUF = 27, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_HASH = 1 };
struct in6_addr { __u8 b[16]; };
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task_struct { struct task_struct *group_leader; char comm[16]; };
struct pt_regs { unsigned long di, si, dx, cx, r8, r9, ax, sp, bp, ip, r10; };
#pragma clang attribute pop
`)

const license = `char LICENSE[] SEC("license") = "Dual MIT/GPL";` + "\n"

func find(t *testing.T) *compile.Compiler {
	t.Helper()
	c, err := compile.Find(t.Context(), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompile(t *testing.T) {
	c := find(t)
	source := `#include "kgent.bpf.h"
` + license + `
struct req_event { k_time time; k_pid pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct req_event); } events SEC(".maps");
KGENT_TASK_FILTER
SEC("tp/sched/sched_process_exec")
int exec(void *ctx)
{
	if (!k_task_wanted())
		return 0;
	struct req_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = k_current_pid();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
`
	first, err := c.Compile(t.Context(), source, basic)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Warnings) > 0 {
		t.Errorf("warnings: %v", first.Warnings)
	}
	second, err := c.Compile(t.Context(), source, basic)
	if err != nil {
		t.Fatal(err)
	}
	if string(first.ELF) != string(second.ELF) {
		t.Error("two compilations of one source differ: a digest would not be reproducible")
	}
	o, err := program.Parse(first.ELF)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range o.Params() {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "comm pid uid" {
		t.Errorf("parameters %q, want those of KGENT_TASK_FILTER without the node's own", got)
	}
}

// The numbers of the helpers in kgent.bpf.h are the running kernel's.
func TestHelperNumbers(t *testing.T) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var ids *btf.Enum
	if err := spec.TypeByName("bpf_func_id", &ids); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, v := range ids.Values {
		want[strings.TrimPrefix(v.Name, "BPF_FUNC_")] = itoa(v.Value)
	}
	seen := 0
	for _, line := range strings.Split(compile.Header, "\n") {
		head, number, ok := strings.Cut(line, ") K_HELPER(")
		if !ok || !strings.HasPrefix(line, "static ") {
			continue
		}
		_, name, _ := strings.Cut(head, "(*const ")
		name, _, _ = strings.Cut(name, ")")
		name = strings.TrimPrefix(strings.TrimPrefix(name, "bpf_"), "kgent_")
		number, _, _ = strings.Cut(number, ")")
		if want[name] != number {
			t.Errorf("helper %s has number %s, the kernel says %q", name, number, want[name])
		}
		seen++
	}
	if seen < 90 {
		t.Errorf("found %d helpers in the header, expected at least 90: has its form changed?", seen)
	}
}

func itoa(n uint64) string {
	b := []byte{}
	if n == 0 {
		return "0"
	}
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

func TestErrors(t *testing.T) {
	c := find(t)
	for name, tc := range map[string]struct {
		source string
		line   int
		want   string
	}{
		"undeclared function": {"#include \"kgent.bpf.h\"\n" + license + "SEC(\"xdp\") int f(void *ctx)\n{ return foo(ctx); }", 4, "undeclared function 'foo'"},
		"unknown member":      {"#include \"kgent.bpf.h\"\nint f(struct task_struct *t)\n{\n\treturn t->nosuch;\n}", 4, "no member named 'nosuch'"},
		"system header":       {"#include <linux/bpf.h>\n", 1, "only #include \"kgent.bpf.h\""},
		"file of the host":    {"int x;\n#include \"/etc/passwd\"\n", 2, "only #include"},
		"spliced include":     {"#inc\\\nlude \"/etc/passwd\"\n", 0, "only #include"},
		"digraph include":     {"%:include \"/etc/passwd\"\n", 1, "only #include"},
		"commented include":   {"# /* x */ include \"/etc/passwd\"\n", 0, "only #include"},
		"embed":               {"char x[] = {\n#embed \"/etc/passwd\"\n};", 2, "only #include"},
		"macro include":       {"#define H \"/etc/passwd\"\n#include H\n", 2, "only #include"},
		"incbin":              {"__asm__(\".incbin \\\"/etc/passwd\\\"\");", 0, "assembler directives"},
		"split incbin":        {"__asm__(\".inc\" \"bin \\\"/etc/passwd\\\"\");", 0, "assembler directives"},
		"escaped incbin":      {`__asm__("\056incbin \"/etc/passwd\"");`, 0, "assembler directives"},
		"stringified incbin":  {"#define S(x) #x\n#define T(x) S(x)\nasm(T(.inc) T(bin) \" \\\"/etc/passwd\\\"\");", 0, "assembler directives"},
		"assembled incbin":    {`asm(".irp x, bin\n.inc\\x \"/etc/passwd\"\n.endr");`, 0, "assembler directives"},
		"pasted asm":          {"#define P(a, b) a##b\nP(__as, m__)(\"\\056incbin \\\"/etc/passwd\\\"\");", 0, "assembler directives"},
		"loosely spliced":     {"#inc\\ \nlude \"/etc/passwd\"\n", 0, "file not found"},
		"carriage return":     {"int x;\r#include \"/etc/passwd\"\n", 0, "file not found"},
		"NUL":                 {"int x;\n\x00#include \"/etc/passwd\"\n", 0, "file not found"},
		"embed after a NUL":   {"char x[] = {\n\x00#embed \"/etc/passwd\"\n};", 0, "file not found"},
		"raw string":          {"const char *s = R\"(\" /* )\";\n#include \"/etc/passwd\"\n/* */", 0, "file not found"},
		"looking for a file":  {"#if !__has_include(\"/etc/passwd\")\n#error nothing is there\n#endif\n", 0, "nothing is there"},
		"macros without end":  {doubling(40), 0, "takes "},
		"asm at odd seconds":  {"int f(void) { if (__TIME__[7] & 1) asm(\"\\056incbin \\\"/etc/passwd\\\"\"); return 0; }\n_Static_assert(sizeof(__TIME__) > 1, \"no time\");", 0, "no time"},
		"too long":            {strings.Repeat(" ", compile.MaxSource+1), 0, "at most"},
		"prose":               {"Sure! Here is the program you asked for.", 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Compile(t.Context(), tc.source, basic)
			var bad *compile.Error
			if !errors.As(err, &bad) {
				t.Fatalf("error %v, want a *compile.Error", err)
			}
			d := bad.Diagnostics[0]
			if !d.Error || !strings.Contains(d.Message, tc.want) || tc.line != 0 && d.Line != tc.line {
				t.Errorf("diagnostic %+v, want %q at line %d", d, tc.want, tc.line)
			}
			if strings.Contains(err.Error(), "root:") {
				t.Errorf("the message shows a file of the host: %v", err)
			}
		})
	}
}

// doubling returns macros that expand to 2ⁿ numbers.
func doubling(n int) string {
	s := "#define A0 1,\n"
	for i := range n {
		s += "#define A" + itoa(uint64(i+1)) + " A" + itoa(uint64(i)) + " A" + itoa(uint64(i)) + "\n"
	}
	return s + "int x[] = { A" + itoa(uint64(n)) + " };"
}

// What the lexical check lets through, clang must not be able to read: it
// runs as a user to whom no private file belongs.
func TestPrivateFilesAreOutOfReach(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only then does clang run as somebody else")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	// An octal escape hides the directive from any text search.
	source := `__asm__("\056incbin \"` + secret + `\"");`
	res, err := find(t).Compile(t.Context(), source, basic)
	if err == nil && strings.Contains(string(res.ELF), "hunter2") {
		t.Fatal("the object holds the secret")
	}
	if err == nil {
		t.Fatal("clang read a file that only root may read")
	}
}

// An object without measure is the source's fault, and is not kept.
func TestHugeObject(t *testing.T) {
	_, err := find(t).Compile(t.Context(), "char big[64 << 20] = {1};", basic)
	var bad *compile.Error
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("error %v, want a *compile.Error", err)
	}
}

// A fault of the host is not the source's.
func TestNoTypes(t *testing.T) {
	broken := errors.New("no BTF")
	_, err := find(t).Compile(t.Context(), "int x;", failing{broken})
	var bad *compile.Error
	if !errors.Is(err, broken) || errors.As(err, &bad) {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) Header(...string) ([]byte, error) { return nil, f.err }

func TestFind(t *testing.T) {
	env := func(path string) func(string) string { return func(string) string { return path } }
	if _, err := compile.Find(t.Context(), env("/nonexistent/clang")); !errors.Is(err, compile.ErrNoClang) {
		t.Errorf("error %v, want ErrNoClang", err)
	}
	if _, err := compile.Find(t.Context(), env("/bin/true")); !errors.Is(err, compile.ErrNoClang) {
		t.Errorf("/bin/true passes for clang: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := compile.Find(t.Context(), env("")); !errors.Is(err, compile.ErrNoClang) {
		t.Errorf("error %v with an empty PATH, want ErrNoClang", err)
	}
}

func TestCancel(t *testing.T) {
	c := find(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	start := time.Now()
	if _, err := c.Compile(ctx, "int x;", basic); !errors.Is(err, stop) {
		t.Errorf("error %v, want the cause", err)
	}
	if time.Since(start) > 5*time.Second {
		t.Error("a cancelled compilation kept its caller waiting")
	}
}

func FuzzForbidden(f *testing.F) {
	c, err := compile.Find(context.Background(), func(string) string { return "" })
	if err != nil {
		f.Fatal(err)
	}
	f.Add("#include \"x\"")
	f.Add("/* # */ int main;\n\"\\")
	f.Fuzz(func(t *testing.T, source string) {
		res, err := c.Compile(t.Context(), source, basic)
		if err == nil && len(res.ELF) == 0 {
			t.Error("neither object nor error")
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	c, err := compile.Find(b.Context(), func(string) string { return "" })
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Compile(b.Context(), "#include \"kgent.bpf.h\"\n"+license+"SEC(\"xdp\") int f(void *ctx) { return 2; }", basic); err != nil {
			b.Fatal(err)
		}
	}
}
