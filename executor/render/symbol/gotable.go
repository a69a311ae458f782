package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
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
	funcs, err := readGoTable(table, e.ByteOrder, start)
	if err != nil {
		return err
	}
	code := executable(e)
	for i := range funcs.count {
		entry, end, name, ok := funcs.function(i)
		if !ok || end <= entry || !code.has(entry) {
			continue
		}
		name = bytes.ReplaceAll(name, []byte("·"), []byte(".")) // as nm shows it
		b.addFunction(entry, end-entry, name, rankName(name, false, false))
	}
	return nil
}

// goTable is the table of a Go program. It is read in place and function by
// function: what a hostile one says of its size, and names that lie within each
// other, take no memory. debug/gosym copies every name, however long.
type goTable struct {
	order     binary.ByteOrder
	places    []byte // an address and an offset into functions for each, then an address
	functions []byte
	names     []byte
	count     int
	start     uint64
	// How long addresses are in places, and at the beginning of a function.
	field int
	whole bool // they do not count from start
}

// The magic numbers of tables, by the release that brought them.
const (
	goTable12  = 0xfffffffb
	goTable116 = 0xfffffffa
	goTable118 = 0xfffffff0
	goTable120 = 0xfffffff1
)

// readGoTable reads the head of a table, of a program whose Go code begins at start.
func readGoTable(table []byte, order binary.ByteOrder, start uint64) (*goTable, error) {
	malformed := errors.New("malformed table of Go functions")
	const head = 8 // magic, two zeros, quantum, length of a pointer
	if len(table) < head+8*8 || table[7] != 8 {
		return nil, malformed
	}
	word := func(n int) uint64 { return order.Uint64(table[head+8*n:]) }
	t := &goTable{order: order, start: start, field: 8, whole: true}
	var names, functions uint64
	places := uint64(head + 8)
	switch order.Uint32(table) {
	case goTable12: // offsets from the start of the table
	case goTable116:
		names, functions = word(2), word(6)
		places = functions
	case goTable118, goTable120:
		t.field, t.whole = 4, false
		names, functions = word(3), word(7)
		places = functions
	default:
		return nil, errors.New("a table of Go functions of an unknown form")
	}
	if size := uint64(len(table)); names > size || functions > size || places > size {
		return nil, malformed
	}
	t.names, t.functions, t.places = table[names:], table[functions:], table[places:]
	count := uint64(uint32(word(0)))
	if (2*count+1)*uint64(t.field) > uint64(len(t.places)) {
		return nil, malformed
	}
	t.count = int(count)
	return t, nil
}

// word reads an address or an offset.
func (t *goTable) word(b []byte) uint64 {
	if t.field == 4 {
		return uint64(t.order.Uint32(b))
	}
	return t.order.Uint64(b)
}

// address is where a function begins.
func (t *goTable) address(i int) uint64 {
	at := t.word(t.places[2*i*t.field:])
	if t.whole {
		return at
	}
	return t.start + at
}

// function returns a function, whose name is in the table.
func (t *goTable) function(i int) (entry, end uint64, name []byte, ok bool) {
	at := t.word(t.places[(2*i+1)*t.field:]) + uint64(t.field)
	if size := uint64(len(t.functions)); size < 4 || at > size-4 {
		return 0, 0, nil, false
	}
	off := uint64(t.order.Uint32(t.functions[at:]))
	if off >= uint64(len(t.names)) {
		return 0, 0, nil, false
	}
	name = t.names[off:]
	if name = name[:min(len(name), maxName+1)]; bytes.IndexByte(name, 0) < 0 {
		return 0, 0, nil, false
	}
	return t.address(i), t.address(i + 1), name[:bytes.IndexByte(name, 0)], true
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
	if magic := e.ByteOrder.Uint32(table); magic == goTable12 || magic == goTable116 {
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
	code := executable(e)
	for _, c := range candidates {
		if c != 0 && code.has(c) {
			return c, true
		}
	}
	// A program that begins in Go has nothing else in .text.
	if funcs, err := readGoTable(table, e.ByteOrder, text.Addr); err == nil {
		for i := range funcs.count {
			if entry, _, name, ok := funcs.function(i); ok && entry == e.Entry && bytes.HasPrefix(name, []byte("_rt0_")) {
				return text.Addr, true
			}
		}
	}
	return 0, false
}

// code is where in memory a file's code is.
type code []*elf.Prog

// maxCode is how many parts of code a Go program can have: it has one or two.
const maxCode = 16

func executable(e *elf.File) (c code) {
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && len(c) < maxCode {
			c = append(c, p)
		}
	}
	return c
}

// has reports whether an address is in the code.
func (c code) has(addr uint64) bool {
	for _, p := range c {
		if addr-p.Vaddr < p.Filesz {
			return true
		}
	}
	return false
}

// relocation returns what the loader puts at an address, for a program that is
// loaded where it was linked for.
func relocation(e *elf.File, at uint64) (uint64, bool) {
	const size = 24            // of Elf64_Rela
	left := uint64(maxSection) // sections may lie within each other
	for _, s := range e.Sections {
		if s.Type != elf.SHT_RELA || s.Size > left {
			continue
		}
		left -= s.Size
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
