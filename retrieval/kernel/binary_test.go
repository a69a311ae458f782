package kernel

import (
	"context"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestResolveBinaryOnHost(t *testing.T) {
	f := host(t)
	libc, err := f.ResolveBinary("libc.so.6")
	if err != nil {
		t.Fatal(err)
	}
	// The loader is asked where it finds the library: it is mapped into a program.
	out, err := exec.Command("/bin/cat", "/proc/self/maps").Output()
	if err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(libc)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), " "+real+"\n") {
		t.Errorf("libc.so.6 is %s, which the loader does not use", real)
	}
	for name, want := range map[string]string{"libc": libc, libc: libc, "/bin/sh": "/bin/sh"} {
		if got, err := f.ResolveBinary(name); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", name, got, err, want)
		}
	}
	bash, err := f.ResolveBinary("bash")
	if err != nil || !strings.HasSuffix(bash, "/bin/bash") {
		t.Errorf("bash is %s, %v", bash, err)
	}
}

func TestResolveBinary(t *testing.T) {
	m := newMachine(t)
	const dir = "/usr/lib/x86_64-linux-gnu/"
	// Only the header decides whether a library fits the machine.
	header := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00\x3e\x00"
	for _, path := range []string{
		"/opt/lib/libone.so.1", "/opt/lib/libtwo.so.1", "/opt/lib/libtwo.so.2", dir + "libplain.so.5", dir + "libscript.so.1.2",
	} {
		m.write(path, header)
	}
	m.write(dir+"libscript.so", "GROUP ( libscript.so.1.2 )")
	m.write("/opt/lib/libother.so.1", header[:18]+"\xf3\x00") // made for RISC-V
	m.write("/usr/bin/tool", "#!/bin/sh\n")
	m.write("/usr/local/bin/tool", "#!/bin/sh\n")
	m.write("/bin/library-tool", "")
	m.write("/bin/libtool", "#!/bin/sh\n")
	m.write("/etc/ld.so.cache", string(ldCache(
		"libone.so.1", "/opt/lib/libone.so.1",
		"libone.so", "/opt/lib/libone.so.1",
		"libtwo.so.1", "/opt/lib/libtwo.so.1",
		"libtwo.so.2", "/opt/lib/libtwo.so.2",
		"libother.so.1", "/opt/lib/libother.so.1",
		"libgone.so.1", "/opt/lib/libgone.so.1",
	)))
	f := m.facts()
	for name, want := range map[string]string{
		"libone":                 "/opt/lib/libone.so.1",
		"libone.so":              "/opt/lib/libone.so.1",
		"libone.so.1":            "/opt/lib/libone.so.1",
		"libtwo.so.2":            "/opt/lib/libtwo.so.2",
		"libplain":               dir + "libplain.so.5",
		"libscript":              dir + "libscript.so.1.2",
		"tool":                   "/usr/local/bin/tool",
		"libtool":                "/bin/libtool",
		"/opt/lib/libtwo.so.1":   "/opt/lib/libtwo.so.1",
		"/opt/lib/libother.so.1": "/opt/lib/libother.so.1",
	} {
		if got, err := f.ResolveBinary(name); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", name, got, err, want)
		}
	}
	for name, want := range map[string]string{
		"":                     `no binary ""`,
		"a\x00b":               `no binary "a\x00b"`,
		"bin/tool":             "a path must be absolute",
		"toll":                 "no program toll; did you mean tool?",
		"libonee":              "no library libonee; did you mean libone",
		"libtwo":               "ambiguous name: name one of /opt/lib/libtwo.so.1, /opt/lib/libtwo.so.2",
		"libother":             "no library libother",
		"libgone.so.1":         "no library libgone.so.1",
		"/usr/bin/tol":         "no file /usr/bin/tol; did you mean /usr/bin/tool?",
		"/usr/bin":             "/usr/bin is not a file",
		"..":                   "no program ..",
		"/nowhere/at/all/tool": "no file /nowhere/at/all/tool",
	} {
		got, err := f.ResolveBinary(name)
		if err == nil {
			t.Errorf("%q is %s", name, got)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q\ngot  %s\nwant %s", name, err, want)
		}
	}

	m.write("/etc/ld.so.cache", "nonsense")
	if _, err := f.ResolveBinary("libone"); err == nil || !strings.Contains(err.Error(), "malformed loader cache") {
		t.Errorf("with a broken cache: %v", err)
	}
	m.remove("/etc/ld.so.cache")
	if got, err := f.ResolveBinary("libplain"); err != nil || got != dir+"libplain.so.5" {
		t.Errorf("without a cache: %s, %v", got, err)
	}
}

// compile builds a C source and returns the path of the result.
func compile(t *testing.T, source string, flags ...string) string {
	t.Helper()
	compiler, err := exec.LookPath("clang-19")
	if err != nil {
		t.Fatalf("needs the package clang-19: %v", err)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.c"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if text, err := exec.CommandContext(ctx, compiler, append([]string{"-O0", "-o", out, in}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("compiling: %v\n%s", err, text)
	}
	return out
}

const symbolSource = `
int exported(int x) { return x + 1; }
static int hidden_inside(int x) { return x + 2; }
int data = 3;
static int impl(void) { return 4; }
static void *choose(void) { return impl; }
int chosen(void) __attribute__((ifunc("choose")));
int old_one(void) { return 5; }
int new_one(void) { return 6; }
__asm__(".symver old_one,versioned@V1");
__asm__(".symver new_one,versioned@@V2");
int use(void) { return hidden_inside(1) + chosen(); }
`

func TestSymbol(t *testing.T) {
	f := host(t)
	script := filepath.Join(t.TempDir(), "versions")
	if err := os.WriteFile(script, []byte("V1 { global: *; };\nV2 { };\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	whole := compile(t, symbolSource, "-shared", "-fPIC", "-Wl,--version-script="+script)
	stripped := compile(t, symbolSource, "-shared", "-fPIC", "-Wl,--version-script="+script, "-s")

	address := map[string]uint64{}
	for _, path := range []string{whole, stripped} {
		for _, name := range []string{"exported", "hidden_inside", "versioned", "versioned@V1", "versioned@V2", "versioned@@V2", "old_one", "new_one"} {
			local := name == "hidden_inside"
			s, err := f.Symbol(path, name)
			if local && path == stripped {
				if want := "no exported function hidden_inside in " + path + ", which is stripped"; err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("got %v, want %s", err, want)
				}
				continue
			}
			if err != nil {
				t.Error(err)
				continue
			}
			if s.Binary != path || s.Size == 0 || s.Go {
				t.Errorf("%s is %+v", name, s)
			}
			if path == whole {
				address[name] = s.Address
			}
			checkCode(t, s)
		}
	}
	if address["versioned"] != address["new_one"] || address["versioned@V2"] != address["new_one"] ||
		address["versioned@@V2"] != address["new_one"] || address["versioned@V1"] != address["old_one"] || address["old_one"] == address["new_one"] {
		t.Errorf("addresses are %#x", address)
	}

	for _, test := range []struct {
		path, symbol, want string
	}{
		{whole, "data", "no function data in "},
		{whole, "exportet", "did you mean exported?"},
		{stripped, "exportet", "did you mean exported?"},
		{whole, "", `no function "" in `},
		{whole, "versioned@V3", "no function versioned@V3 in "},
		{whole, "a\x1b[2J", `no function "a\x1b[2J" in `},
		{whole, "chosen", "IFUNC"},
		{"/proc/self/status", "main", "is not an ELF binary"},
		{"/etc/passwd", "main", "is not an ELF binary; if it is a script, name its interpreter"},
		{whole + "x", "main", "no file "},
		{"/", "main", "/ is not a file"},
	} {
		s, err := f.Symbol(test.path, test.symbol)
		if err == nil {
			t.Errorf("%s in %s is %+v", test.symbol, test.path, s)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s in %s\ngot  %s\nwant %s", test.symbol, test.path, err, test.want)
		}
	}
	if _, err := f.Symbol(whole, "chosen"); !errors.Is(err, ErrNotSupported) {
		t.Errorf("got %v", err)
	}

	twice := compile(t, "extern int other(void); static int same(void) { return 1; } int main(void) { return same() + other(); }",
		second(t, "static int same(void) { return 2; } int other(void) { return same(); }"))
	if s, err := f.Symbol(twice, "same"); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("same is %+v, %v", s, err)
	}
	if err := f.CheckHook(KindUprobe, twice+":same"); err != nil {
		t.Error(err)
	}

	s, err := f.Symbol(goProgram(t), "main.main")
	if err != nil {
		t.Fatal(err)
	}
	if !s.Go {
		t.Errorf("%+v", s)
	}
	checkCode(t, s)
}

// goProgram builds a program in Go.
func goProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(in, []byte("package main\n\nfunc main() { println(1) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", out, in).CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, text)
	}
	return out
}

// second writes another C source to compile with the first.
func second(t *testing.T, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "second.c")
	if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkCode holds the offset of a symbol against the section that the address is in.
func checkCode(t *testing.T, s *Symbol) {
	t.Helper()
	file, err := elf.Open(s.Binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, section := range file.Sections {
		if section.Flags&elf.SHF_EXECINSTR != 0 && s.Address >= section.Addr && s.Address < section.Addr+section.Size {
			if want := s.Address - section.Addr + section.Offset; s.Offset != want {
				t.Errorf("%s is at offset %#x, want %#x", s.Name, s.Offset, want)
			}
			return
		}
	}
	t.Errorf("%s at %#x lies in no section with code", s.Name, s.Address)
}

func TestSymbolOfAnotherMachine(t *testing.T) {
	f := newMachine(t).facts()
	f.src.Root, f.Arch = "", "riscv64"
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Symbol(self, "main.main"); err == nil || !strings.Contains(err.Error(), "this machine is riscv64") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkSymbol(b *testing.B) {
	f := host(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Symbol("libc", "getaddrinfo"); err != nil {
			b.Fatal(err)
		}
	}
}
