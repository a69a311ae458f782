package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// hostileGo is a small Go program whose functions have names that lie within each
// other, each as long as all that follow.
func hostileGo(functions, names int) []byte {
	const head = 72
	le := binary.LittleEndian
	table := make([]byte, head)
	le.PutUint32(table, goTable120)
	table[6], table[7] = 1, 8
	le.PutUint64(table[8:], uint64(functions))
	le.PutUint64(table[8+2*8:], 0x1000)
	for word := 3; word <= 6; word++ {
		le.PutUint64(table[8+8*word:], head)
	}
	le.PutUint64(table[8+8*7:], uint64(head+names))
	table = append(table, bytes.Repeat([]byte("a"), names-1)...)
	table = append(table, 0)
	places := 4 * (2*functions + 1)
	for i := range functions {
		table = le.AppendUint32(le.AppendUint32(table, uint32(i)), uint32(places+48*i))
	}
	table = le.AppendUint32(table, uint32(functions))
	for i := range functions {
		table = le.AppendUint32(le.AppendUint32(table, uint32(i)), uint32(i))
		table = append(table, make([]byte, 40)...)
	}
	strs := []byte("\x00.text\x00.gopclntab\x00.shstrtab\x00")
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, le, v) }
	const start = 64 + 56
	put(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Shoff: uint64(start + len(table) + len(strs)),
		Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64, Shnum: 4, Shstrndx: 3,
	})
	put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X), Vaddr: 0x1000, Filesz: 1 << 30, Memsz: 1 << 30})
	b.Write(table)
	b.Write(strs)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Addr: 0x1000, Off: start, Size: 16})
	put(elf.Section64{Name: 7, Type: uint32(elf.SHT_PROGBITS), Addr: 0x9000, Off: start, Size: uint64(len(table))})
	put(elf.Section64{Name: 18, Type: uint32(elf.SHT_STRTAB), Off: uint64(start + len(table)), Size: uint64(len(strs))})
	return b.Bytes()
}

// A file that takes two megabytes on the disk does not take gigabytes here.
func TestHostileGoTable(t *testing.T) {
	e, err := elf.NewFile(bytes.NewReader(hostileGo(2000, 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var b tableBuilder
	if err := b.addGo(e); err != nil {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 16 {
		t.Errorf("reading it took %d MiB", got)
	}
	// What is short enough is there.
	b = tableBuilder{}
	if e, err = elf.NewFile(bytes.NewReader(hostileGo(20, 100))); err != nil {
		t.Fatal(err)
	}
	if err := b.addGo(e); err != nil || len(b.t.functions) != 20 {
		t.Errorf("%d functions, %v", len(b.t.functions), err)
	}
	for n, damage := range hostileGo(3, 100)[120:240] {
		file := hostileGo(3, 100)
		file[120+n] = ^damage
		if e, err := elf.NewFile(bytes.NewReader(file)); err == nil {
			var b tableBuilder
			b.addGo(e) // it may fail, and does not panic
		}
	}
}

// Symbols that share their names do not take more than there is room for.
func TestSharedNames(t *testing.T) {
	names := append(bytes.Repeat([]byte("a"), maxName), 0)
	symbols := make([]byte, (maxText/maxName+100)*elf.Sym64Size)
	for i := 0; i < len(symbols); i += elf.Sym64Size {
		symbols[i+4], symbols[i+6] = byte(elf.STT_FUNC), 1
		binary.LittleEndian.PutUint64(symbols[i+8:], uint64(i))
	}
	var b tableBuilder
	b.addSymbols(symbols, names, binary.LittleEndian)
	if len(b.t.text) != maxText {
		t.Errorf("%d bytes of names", len(b.t.text))
	}
}
