package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"golang.org/x/sys/unix"
)

// file is an ELF file that a process has mapped. It stays open, so that its
// inode number stays its own.
type file struct {
	f        *os.File
	loaded   bool
	segments []segment
	table    table
}

// segment is an executable part of a file: from offset on, it was linked for
// address addr.
type segment struct{ offset, size, addr uint64 }

func (f *file) close() { f.f.Close() }

// linked returns the address that the byte at offset was linked for.
func (f *file) linked(offset uint64) (uint64, bool) {
	for _, s := range f.segments {
		if offset-s.offset < s.size {
			return offset - s.offset + s.addr, true
		}
	}
	return 0, false
}

// load reads segments and symbols: the file's own, or if it was stripped,
// those in its separate debugging file, and those that a Go program keeps for
// itself; without names only the segments. What cannot be read is as if it had no
// symbols. It returns how many bytes the tables have.
func (f *file) load(d debugFiles, names bool) (read uint64) {
	f.loaded = true
	e, err := openELF(f.f)
	if err != nil {
		return 0
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			f.segments = append(f.segments, segment{p.Off, p.Filesz, p.Vaddr})
		}
	}
	if !names {
		return 0
	}
	var b tableBuilder
	b.add(e)
	if e.SectionByType(elf.SHT_SYMTAB) == nil {
		if o, err := d.open(e); err == nil {
			if de, err := openELF(o); err == nil {
				b.add(de)
			}
			o.Close()
		}
		_ = b.addGo(e) // an error leaves what there is
	}
	f.table = b.table()
	return b.read
}

// openELF reads the headers of a 64-bit ELF file. Files are outside input, and
// debug/elf makes no promises about malicious ones.
func openELF(r io.ReaderAt) (e *elf.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, err = nil, fmt.Errorf("malformed ELF: %v", p)
		}
	}()
	e, err = elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	if e.Class != elf.ELFCLASS64 {
		return nil, errors.New("not a 64-bit ELF file")
	}
	return e, nil
}

// debugFiles is where separate debugging files are looked for: in the root of the
// process, which may be a container's, and then on the host.
type debugFiles struct {
	path string // of the file, as the process sees it
	dir  string // /usr/lib/debug
	root int    // a descriptor of the process's root; -1 without one
}

// open opens the separate debugging file of e: by its build id, else by name and
// checksum.
func (d debugFiles) open(e *elf.File) (*os.File, error) {
	id := buildID(e)
	if len(id) > 2 {
		x := hex.EncodeToString(id)
		name := filepath.Join(d.dir, ".build-id", x[:2], x[2:]+".debug")
		if f, err := d.first(func(f *os.File) error { return sameBuild(f, id) }, name); err == nil {
			return f, nil
		}
	}
	name, sum, err := debugLink(e)
	if err != nil {
		return nil, err
	}
	beside := filepath.Dir(filepath.Clean("/" + d.path))
	return d.first(func(f *os.File) error { return sameSum(f, sum) }, filepath.Join(beside, name), filepath.Join(beside, ".debug", name), filepath.Join(d.dir, beside, name))
}

// first opens the first of some paths at which there is what check approves of.
func (d debugFiles) first(check func(*os.File) error, paths ...string) (*os.File, error) {
	err := os.ErrNotExist
	try := func(f *os.File, opened error) bool {
		if opened != nil {
			return false
		}
		if err = check(f); err != nil {
			f.Close()
		}
		return err == nil
	}
	for _, path := range paths {
		if d.root >= 0 {
			if f, opened := openWithin(d.root, path); try(f, opened) {
				return f, nil
			}
		}
		if f, opened := openRegular(path); try(f, opened) {
			return f, nil
		}
	}
	return nil, err
}

// openWithin opens a regular file below a root that no link leads out of.
func openWithin(root int, path string) (*os.File, error) {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	f, err := reopen(fd, 0)
	if err != nil {
		return nil, err
	}
	return f.f, nil
}

// debugLink returns name and checksum of the debugging file that e names.
func debugLink(e *elf.File) (name string, sum uint32, err error) {
	s := e.Section(".gnu_debuglink")
	if s == nil || s.Size > 4096 {
		return "", 0, os.ErrNotExist
	}
	link, err := sectionData(s)
	if err != nil {
		return "", 0, err
	}
	end := bytes.IndexByte(link, 0)
	if end < 1 || len(link) < 4 {
		return "", 0, os.ErrNotExist
	}
	name = string(link[:end])
	if name != filepath.Base(name) || name == ".." {
		return "", 0, errors.New("a debug link with a path")
	}
	return name, e.ByteOrder.Uint32(link[len(link)-4:]), nil
}

var errOtherBuild = errors.New("the debugging file is of another build")

func sameBuild(f *os.File, id []byte) error {
	e, err := openELF(f)
	if err != nil {
		return err
	}
	if !bytes.Equal(buildID(e), id) {
		return errOtherBuild
	}
	return nil
}

func sameSum(f *os.File, want uint32) error {
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, io.LimitReader(f, maxDebug)); err != nil {
		return err
	}
	if sum.Sum32() != want {
		return errOtherBuild
	}
	return nil
}

// maxDebug bounds what is read to check a debugging file, in bytes.
const maxDebug = 1 << 30

func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, errors.New("not a regular file")
	}
	return f, nil
}

// buildID returns the content of the GNU build id note.
func buildID(e *elf.File) []byte {
	s := e.Section(".note.gnu.build-id")
	if s == nil || s.Size > 4096 {
		return nil
	}
	note, err := sectionData(s)
	if err != nil || len(note) < 16 {
		return nil
	}
	name, size := e.ByteOrder.Uint32(note), e.ByteOrder.Uint32(note[4:])
	if name != 4 || string(note[12:16]) != "GNU\x00" || uint64(size) > uint64(len(note)-16) {
		return nil
	}
	return note[16 : 16+size]
}

// maxSection bounds a symbol or string table, in bytes.
const maxSection = 256 << 20

func sectionData(s *elf.Section) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, fmt.Errorf("malformed ELF: %v", p)
		}
	}()
	if s.Size > maxSection {
		return nil, fmt.Errorf("a section of %d bytes", s.Size)
	}
	return s.Data()
}

// table is the functions of one file by address.
type table struct {
	functions []function
	text      []byte
}

type function struct {
	addr, size uint64
	name       span
	rank       uint8 // of several names for an address, the lowest is shown
}

func (t *table) len() int { return len(t.functions) }

// find returns the function that addr lies in.
func (t *table) find(addr uint64) (name []byte, start uint64, ok bool) {
	i := sort.Search(len(t.functions), func(i int) bool { return t.functions[i].addr > addr }) - 1
	// One function may lie within another; look a little further back.
	for back := 0; i >= 0 && back < 16; i, back = i-1, back+1 {
		f := t.functions[i]
		// Functions written in assembly may have no size: they end where the
		// next one begins.
		if addr-f.addr < f.size || f.size == 0 && back == 0 && addr-f.addr < maxUnsized {
			return t.text[f.name.start:f.name.end], f.addr, true
		}
	}
	return nil, 0, false
}

// maxUnsized is how far a function without a size may reach, in bytes.
const maxUnsized = 4096

type tableBuilder struct {
	t    table
	read uint64 // bytes of the tables it was made of
}

// add takes the functions of a file's symbol tables.
func (b *tableBuilder) add(e *elf.File) {
	for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		s := e.SectionByType(kind)
		if s == nil || s.Link == 0 || int(s.Link) >= len(e.Sections) {
			continue
		}
		symbols, err := sectionData(s)
		if err != nil {
			continue
		}
		names, err := sectionData(e.Sections[s.Link])
		if err != nil {
			continue
		}
		b.read += uint64(len(symbols) + len(names))
		b.addSymbols(symbols, names, e.ByteOrder)
	}
}

func (b *tableBuilder) addSymbols(symbols, names []byte, order binary.ByteOrder) {
	for ; len(symbols) >= elf.Sym64Size; symbols = symbols[elf.Sym64Size:] {
		kind := elf.ST_TYPE(symbols[4])
		if kind != elf.STT_FUNC && kind != elf.STT_GNU_IFUNC || elf.SectionIndex(order.Uint16(symbols[6:])) == elf.SHN_UNDEF {
			continue
		}
		at := order.Uint32(symbols)
		if uint64(at) >= uint64(len(names)) {
			continue
		}
		name := names[at:]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		size := order.Uint64(symbols[16:])
		b.addFunction(order.Uint64(symbols[8:]), size, name, rankName(name, elf.ST_BIND(symbols[4]) == elf.STB_LOCAL, size == 0))
	}
}

// Bounds of names, in bytes: of one, and of all that Users remembers. Symbols may
// share their names, so a small file can have far more of them than bytes.
const (
	maxName = 4096
	maxText = 128 << 20
)

// addFunction takes one function.
func (b *tableBuilder) addFunction(addr, size uint64, name []byte, rank uint8) {
	if len(name) == 0 || len(name) > maxName || len(b.t.functions) >= maxSymbols || len(b.t.text)+len(name) > maxText {
		return
	}
	start := uint32(len(b.t.text))
	b.t.text = append(b.t.text, name...)
	b.t.functions = append(b.t.functions, function{addr: addr, size: size, name: span{start, uint32(len(b.t.text))}, rank: rank})
}

// rankName prefers the name that people call a function by: read, not
// __libc_read or __GI___read.
func rankName(name []byte, local, unsized bool) uint8 {
	rank := uint8(min(len(name)-len(bytes.TrimLeft(name, "_")), 3))
	if local {
		rank += 4
	}
	if unsized {
		rank += 8
	}
	return rank
}

// table returns what was added by address, one name for each.
func (b *tableBuilder) table() table {
	f := b.t.functions
	slices.SortStableFunc(f, func(x, y function) int {
		switch {
		case x.addr < y.addr:
			return -1
		case x.addr > y.addr:
			return 1
		}
		return int(x.rank) - int(y.rank)
	})
	b.t.functions = slices.CompactFunc(f, func(x, y function) bool { return x.addr == y.addr })
	return b.t
}
