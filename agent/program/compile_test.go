package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// compiled returns the object that clang makes of a file of testdata.
func compiled(t testing.TB, file string) []byte {
	t.Helper()
	return clang(t, filepath.Join("testdata", file))
}

// source compiles a program given as text; the license is added.
func source(t testing.TB, text string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source.bpf.c")
	text = "#include \"kgent.bpf.h\"\n" + text + "\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return clang(t, path)
}

func clang(t testing.TB, path string) []byte {
	t.Helper()
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	out := filepath.Join(t.TempDir(), "out.o")
	cmd := exec.Command("clang-19", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-D__TARGET_ARCH_"+arch,
		"-Wall", "-Werror", "-Wno-unused-function", "-Itestdata", "-Icompile/include", "-c", path, "-o", out)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling %s (needs the package clang-19): %v\n%s", path, err, msg)
	}
	elf, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return elf
}

func parsed(t testing.TB, elf []byte) *Object {
	t.Helper()
	o, err := Parse(elf)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// wantError fails unless err says all of want; nothing means no error.
func wantError(t testing.TB, err error, want ...string) {
	t.Helper()
	if len(want) == 0 {
		if err != nil {
			t.Fatalf("error: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("no error, want one with %q", want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("error %q, want %q in it", err, w)
		}
	}
}
