package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The archive is one that cpio reads.
func TestArchive(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "from")
	if err := os.WriteFile(from, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := newArchive(&b)
	a.dir("etc")
	a.dir("etc")
	a.device("etc/null", 1, 3)
	a.file("etc/five5", from, 0o755)
	a.bytes("etc/empty", nil, 0o644)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes", b.Len())
	}
	for _, want := range []string{"etc\x00", "etc/null\x00", "etc/five5\x00", "etc/empty\x00", "TRAILER!!!\x00"} {
		if n := bytes.Count(b.Bytes(), []byte(want)); n != 1 {
			t.Errorf("%q stands there %d times", want, n)
		}
	}
	// Every header stands at a multiple of four and says how long its name and
	// content are.
	names := map[string]string{}
	for rest := b.Bytes(); len(rest) > 0; {
		if !bytes.HasPrefix(rest, []byte("070701")) || len(rest) < 110 {
			t.Fatalf("no header at %q", rest[:min(len(rest), 20)])
		}
		size, name := hex(t, rest[54:62]), hex(t, rest[94:102])
		at := (110 + name + 3) &^ 3
		names[string(rest[110:110+name-1])] = string(rest[at : at+size])
		rest = rest[(at+size+3)&^3:]
	}
	if names["etc/five5"] != "text" || names["etc/empty"] != "" || len(names) != 5 {
		t.Errorf("%q", names)
	}

	broken := newArchive(&b)
	broken.file("x", filepath.Join(dir, "missing"), 0o644)
	if err := broken.close(); !os.IsNotExist(err) {
		t.Errorf("a missing file: %v", err)
	}
}

func hex(t *testing.T, b []byte) (n int) {
	t.Helper()
	for _, c := range b {
		d := strings.IndexByte("0123456789abcdef", c)
		if d < 0 {
			t.Fatalf("%q is no number", b)
		}
		n = n<<4 | d
	}
	return n
}

func TestVerdict(t *testing.T) {
	var out bytes.Buffer
	w := &verdictWriter{out: &out}
	for _, part := range []string{"one\r\ntw", "o\r\n\r\nkgent-vm: ", "exit 3\r\n", "tail"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	w.flush()
	if !w.found || w.code != 3 || w.err != nil || out.String() != "one\ntwo\n\ntail\n" {
		t.Errorf("%+v, %q", w, out.String())
	}
}

func TestResults(t *testing.T) {
	got := Results(`=== RUN   TestA
=== RUN   TestA/one
    a_test.go:1: why it is left out
=== RUN   TestA/two
--- FAIL: TestA (0.10s)
    --- SKIP: TestA/one (0.00s)
    --- FAIL: TestA/two (0.10s)
        a_test.go:2: what is wrong
FAIL
`)
	want := []Result{
		{Test: "TestA", Status: "FAIL"},
		{Test: "TestA/one", Status: "SKIP", Said: "a_test.go:1: why it is left out"},
		{Test: "TestA/two", Status: "FAIL", Said: "a_test.go:2: what is wrong"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// What is missing is said.
func TestOpenNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "modules of 0 kernels") {
		t.Error(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "lib/modules/1.2"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "boot/vmlinuz-1.2") {
		t.Error(err)
	}
	k := Kernel{Release: "1.2", modules: filepath.Join(dir, "lib/modules/1.2")}
	if _, err := k.module("veth"); err == nil || !strings.Contains(err.Error(), "no module veth") {
		t.Error(err)
	}
	t.Setenv("PATH", dir)
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := (Machine{Kernel: k, Program: program}).Run(t.Context(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "apt-get install qemu-system-x86") {
		t.Error(err)
	}
	if _, err := exec.LookPath(Qemu); err == nil {
		t.Error("found all the same")
	}
}
