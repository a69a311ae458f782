package probe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where in a binary's file a probe goes.
type place struct {
	offset    uint64
	semaphore uint64 // of a USDT probe: the file offset of its counter; 0 without one
}

// binaryFile is the part of an ELF file that probes need.
type binaryFile struct {
	f *elf.File
}

// pinBinary holds on to a regular file, and to no other: the name comes with the
// program, and opening a FIFO waits for its other end, opening a device can set
// it off. The caller must close it.
func pinBinary(path string) (*os.File, error) {
	at, err := os.OpenFile(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unopened(path, err)
	}
	st, err := at.Stat()
	switch {
	case err != nil:
		err = unopened(path, err)
	case !st.Mode().IsRegular():
		err = refuse(nil, "%s is no regular file", path)
	default:
		return at, nil
	}
	at.Close()
	return nil, err
}

// pinned is the path of the very file that was pinned, whatever its name leads
// to by now.
func pinned(at *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", at.Fd()) }

func unopened(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(nil, "this host has no file %s", path)
	}
	return refuse(err, "%s cannot be opened", path)
}

// withBinary reads a pinned ELF file.
func withBinary(at *os.File, use func(binaryFile) error) error {
	f, err := os.Open(pinned(at))
	if err != nil {
		return unopened(at.Name(), err)
	}
	defer f.Close()
	return parseBinary(f, at.Name(), use)
}

// parseBinary reads an ELF file for use. The library's reader is fed with
// whatever lies on the host: its panics are errors.
func parseBinary(r io.ReaderAt, path string, use func(binaryFile) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = refuse(nil, "%s is a malformed ELF file: %v", path, r)
		}
	}()
	f, err := elf.NewFile(r)
	if err != nil {
		// The reader's error quotes bytes of a file that only root may read.
		return refuse(nil, "%s cannot be read as an ELF file", path)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return refuse(nil, "%s is neither a program nor a shared library", path)
	}
	return use(binaryFile{f})
}

// function returns where a function starts; no place when the file has none of
// that name. A name can stand for several: versions of a library's function
// (name@version is one of them), or static functions of several files. A probe
// goes to each.
func (b binaryFile) function(want string) ([]place, error) {
	symtab, err := b.f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, refuse(err, "its symbols cannot be read")
	}
	dynamic, err := b.f.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, refuse(err, "its symbols cannot be read")
	}
	var places []place
	imported := false
	for _, s := range slices.Concat(symtab, dynamic) {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || !named(s, want) {
			continue
		}
		if s.Section == elf.SHN_UNDEF {
			imported = true
			continue
		}
		off, ok := b.offset(s.Value, elf.PF_X)
		if !ok {
			return nil, refuse(nil, "its symbol %s lies outside of its code", want)
		}
		if p := (place{offset: off}); !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	if len(places) == 0 && imported {
		return nil, refuse(nil, "%s is only called there; it lives in one of its libraries (%s): probe it there", want, b.libraries())
	}
	return places, nil
}

// named reports whether a symbol is called name or name@version. The symbol
// table writes versions into names, with @@ for the default one; the dynamic
// one keeps them apart.
func named(s elf.Symbol, want string) bool {
	name, version, versioned := strings.Cut(strings.Replace(want, "@@", "@", 1), "@")
	base, its, ok := strings.Cut(strings.Replace(s.Name, "@@", "@", 1), "@")
	if !ok {
		its = s.Version
	}
	return base == name && (!versioned || its == version)
}

// isGo reports whether a function was written in Go. Return probes replace
// return addresses on the stack, which Go moves and reads: the program dies.
func (b binaryFile) isGo(function string) bool {
	return b.f.Section(".gopclntab") != nil && strings.Contains(function, ".")
}

func (b binaryFile) libraries() string {
	libs, err := b.f.ImportedLibraries()
	if err != nil || len(libs) == 0 {
		return "none named"
	}
	return strings.Join(libs, ", ")
}

// offset converts an address of the loaded file to an offset in the file.
func (b binaryFile) offset(addr uint64, flags elf.ProgFlag) (uint64, bool) {
	for _, p := range b.f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&flags == flags && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}

// marker returns where a USDT probe, provider:name, stands; no place when there
// is none of that name.
func (b binaryFile) marker(want string) ([]place, error) {
	sec := b.f.Section(".note.stapsdt")
	if sec == nil {
		return nil, nil
	}
	data, err := sec.Data()
	if err != nil {
		return nil, refuse(err, "its USDT probes cannot be read")
	}
	notes, err := parseNotes(data, b.f.ByteOrder, b.f.Class)
	if err != nil {
		return nil, refuse(err, "its USDT probes cannot be read")
	}
	var base uint64
	if s := b.f.Section(".stapsdt.base"); s != nil {
		base = s.Addr
	}
	var places []place
	for _, n := range notes {
		if n.name != want {
			continue
		}
		// A note holds addresses from before the file was prelinked; the base
		// says by how much everything has moved since.
		var moved uint64
		if base != 0 {
			moved = base - n.base
		}
		p, ok := place{}, false
		if p.offset, ok = b.offset(n.location+moved, elf.PF_X); !ok {
			return nil, refuse(nil, "its probe %s lies outside of its code", want)
		}
		if n.semaphore != 0 {
			if p.semaphore, ok = b.offset(n.semaphore+moved, elf.PF_W); !ok {
				return nil, refuse(nil, "the counter of its probe %s lies outside of its data", want)
			}
		}
		if !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	return places, nil
}

// note is one entry of .note.stapsdt.
type note struct {
	location, base, semaphore uint64
	name                      string // provider:name
}

// parseNotes reads the section in which SystemTap's sdt.h describes probes.
func parseNotes(data []byte, order binary.ByteOrder, class elf.Class) ([]note, error) {
	word := 8
	if class == elf.ELFCLASS32 {
		word = 4
	}
	address := func(b []byte) uint64 {
		if word == 4 {
			return uint64(order.Uint32(b))
		}
		return order.Uint64(b)
	}
	const typeSDT = 3
	align := func(n uint32) uint64 { return (uint64(n) + 3) &^ 3 }
	var notes []note
	for len(data) > 0 {
		if len(data) < 12 {
			return nil, errors.New("a note is cut short")
		}
		nameLen, descLen, typ := order.Uint32(data), order.Uint32(data[4:]), order.Uint32(data[8:])
		data = data[12:]
		if align(nameLen)+align(descLen) > uint64(len(data)) {
			return nil, errors.New("a note is longer than its section")
		}
		owner, desc := data[:nameLen], data[align(nameLen):][:descLen]
		data = data[align(nameLen)+align(descLen):]
		if typ != typeSDT || string(owner) != "stapsdt\x00" {
			continue
		}
		if len(desc) < 3*word {
			return nil, errors.New("a probe's note is cut short")
		}
		n := note{location: address(desc), base: address(desc[word:]), semaphore: address(desc[2*word:])}
		provider, rest, ok := bytes.Cut(desc[3*word:], []byte{0})
		name, _, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 {
			return nil, errors.New("a probe's name is cut short")
		}
		n.name = string(provider) + ":" + string(name)
		notes = append(notes, n)
	}
	return notes, nil
}
