package symbol

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const goProgram = `package main

import "strings"

//go:noinline
func work(s string) string { return strings.Repeat(s, 3) }

func main() { println(work("a")) }
`

const cgoProgram = `package main

// static int twice(int x) { return 2 * x; }
import "C"

//go:noinline
func work(n int) int { return int(C.twice(C.int(n))) }

func main() { println(work(2)) }
`

// A stripped Go program is named by its own table, and every name is the one that
// its symbol table had at that address, however it was linked.
func TestStrippedGoProgram(t *testing.T) {
	for name, tt := range map[string]struct {
		source string
		mode   string
		cgo    string
	}{
		"alone":            {goProgram, "exe", "0"},
		"anywhere":         {goProgram, "pie", "0"},
		"with C":           {cgoProgram, "exe", "1"},
		"with C, anywhere": {cgoProgram, "pie", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			source, bin := filepath.Join(dir, "main.go"), filepath.Join(dir, "main")
			if err := os.WriteFile(source, []byte(tt.source), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "build", "-buildmode="+tt.mode, "-o", bin, source)
			cmd.Env = append(os.Environ(), "CGO_ENABLED="+tt.cgo)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("building: %v\n%s", err, out)
			}
			names := map[uint64]string{}
			whole, err := elf.Open(bin)
			if err != nil {
				t.Fatal(err)
			}
			defer whole.Close()
			symbols, err := whole.Symbols()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range symbols {
				names[s.Value] += " " + s.Name + " " // aliases
			}
			run(t, "strip", bin)
			e, err := elf.Open(bin)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			var b tableBuilder
			b.add(e)
			if err := b.addGo(e); err != nil {
				t.Fatal(err)
			}
			found, work := 0, false
			for _, f := range b.table().functions {
				got := string(b.t.text[f.name.start:f.name.end])
				work = work || got == "main.work"
				if have, ok := names[f.addr]; ok && strings.Contains(have, " "+got) {
					found++
				} else if ok && !strings.Contains(have, "runtime.text") {
					t.Errorf("%x is %q, want%s", f.addr, got, have)
				}
			}
			if found < 1000 || !work {
				t.Errorf("%d names are right, main.work is there: %v", found, work)
			}
		})
	}
}

func TestNoGoTable(t *testing.T) {
	e, err := elf.Open("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var b tableBuilder
	if err := b.addGo(e); err != nil || len(b.t.functions) > 0 {
		t.Errorf("%d functions, %v", len(b.t.functions), err)
	}
}
