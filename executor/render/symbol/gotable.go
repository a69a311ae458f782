package symbol

import (
	"debug/elf"
	"debug/gosym"
	"errors"
	"fmt"
	"strings"
)

// A Go program keeps a table of its functions for its own tracebacks
// (.gopclntab), which strip leaves alone. Its addresses count from where
// the program's Go code begins, and where that is has to be known: in a program that
// is linked with C it is not where .text begins.

// addGo takes the functions of a Go program's own table, if it has one.
func (b *tableBuilder) addGo(e *elf.File) (err error) {
	defer func() {
		if p := recover(); p != nil { // the file is outside input
			err = fmt.Errorf("malformed table of Go functions: %v", p)
		}
	}()
	pcln := goSection(e)
	if pcln == nil {
		return nil
	}
	table, err := sectionData(pcln)
	if err != nil {
		return err
	}
	b.read += uint64(len(table))
	start, ok := goText(e, pcln, table)
	if !ok {
		return errors.New("a Go program of which it is not known where its code begins")
	}
	funcs, err := gosym.NewTable(nil, gosym.NewLineTable(table, start))
	if err != nil {
		return err
	}
	for i := range funcs.Funcs {
		f := &funcs.Funcs[i]
		if f.Sym == nil || f.End <= f.Entry || !executable(e, f.Entry) {
			continue
		}
		name := []byte(strings.ReplaceAll(f.Name, "·", ".")) // as nm shows it
		b.addFunction(f.Entry, f.End-f.Entry, name, rankName(name, false, false))
	}
	return nil
}

func goSection(e *elf.File) *elf.Section {
	for _, s := range e.Sections {
		if s.Name == ".gopclntab" || s.Name == ".data.rel.ro.gopclntab" {
			return s
		}
	}
	return nil
}

// Where words stand that say where Go code begins, in bytes from the start of
// the table, as of Go 1.18, and of the runtime's description of the program,
// as of Go 1.26, whose table no longer has it. Before Go 1.18 the table's addresses were
// whole.
const (
	headerText = 8 + 2*8
	moduleText = 22 * 8
)

// goText returns where the Go code of a program begins.
func goText(e *elf.File, pcln *elf.Section, table []byte) (uint64, bool) {
	if len(table) < headerText+8 || e.Class != elf.ELFCLASS64 {
		return 0, false
	}
	text := e.Section(".text")
	if text == nil {
		return 0, false
	}
	if magic := e.ByteOrder.Uint32(table); magic == 0xfffffffb || magic == 0xfffffffa { // Go 1.2, Go 1.16
		return text.Addr, true
	}
	candidates := []uint64{e.ByteOrder.Uint64(table[headerText:])}
	relocated := []uint64{pcln.Addr + headerText}
	if m := e.Section(".go.module"); m != nil {
		if data, err := sectionData(m); err == nil && len(data) >= moduleText+8 {
			candidates = append(candidates, e.ByteOrder.Uint64(data[moduleText:]))
			relocated = append(relocated, m.Addr+moduleText)
		}
	}
	for _, at := range relocated { // of a program that can be loaded anywhere
		if addend, ok := relocation(e, at); ok {
			candidates = append(candidates, addend)
		}
	}
	for _, c := range candidates {
		if c != 0 && executable(e, c) {
			return c, true
		}
	}
	// A program that begins in Go has nothing else in .text.
	f := gosym.NewLineTable(table, text.Addr)
	if funcs, err := gosym.NewTable(nil, f); err == nil {
		if fn := funcs.PCToFunc(e.Entry); fn != nil && fn.Entry == e.Entry && strings.HasPrefix(fn.Name, "_rt0_") {
			return text.Addr, true
		}
	}
	return 0, false
}

// executable reports whether an address is in a file's code.
func executable(e *elf.File, addr uint64) bool {
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr-p.Vaddr < p.Filesz {
			return true
		}
	}
	return false
}

// relocation returns what the loader puts at an address, for a program that is
// loaded where it was linked for.
func relocation(e *elf.File, at uint64) (uint64, bool) {
	const size = 24 // of Elf64_Rela
	for _, s := range e.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		data, err := sectionData(s)
		if err != nil {
			continue
		}
		for ; len(data) >= size; data = data[size:] {
			if e.ByteOrder.Uint64(data) == at {
				return e.ByteOrder.Uint64(data[16:]), true
			}
		}
	}
	return 0, false
}
