package kernel

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// programDirs are where a program named without a path is looked for, in order. The
// PATH of the process plays no part: the answer is to be the same for everybody.
var programDirs = [...]string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// libraryDirs are where a library is looked for that the loader's cache does not have.
func (f *Facts) libraryDirs() []string {
	dirs := []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}
	if t := multiarch(f.Arch); t != "" {
		dirs = append([]string{"/lib/" + t, "/usr/lib/" + t, "/usr/local/lib/" + t}, dirs...)
	}
	return dirs
}

// multiarch is the name of the directory that Debian and its relatives keep the
// libraries of an architecture in.
func multiarch(arch string) string {
	switch arch {
	case "x86_64", "aarch64", "riscv64", "s390x", "loongarch64":
		return arch + "-linux-gnu"
	case "ppc64le":
		return "powerpc64le-linux-gnu"
	}
	return ""
}

// machines are the ELF machines whose code runs on an architecture.
func machines(arch string) []elf.Machine {
	switch arch {
	case "x86_64":
		return []elf.Machine{elf.EM_X86_64, elf.EM_386}
	case "aarch64":
		return []elf.Machine{elf.EM_AARCH64, elf.EM_ARM}
	case "riscv64":
		return []elf.Machine{elf.EM_RISCV}
	case "s390x":
		return []elf.Machine{elf.EM_S390}
	case "ppc64le":
		return []elf.Machine{elf.EM_PPC64}
	case "loongarch64":
		return []elf.Machine{elf.EM_LOONGARCH}
	}
	return nil
}

// ResolveBinary finds the file that a uprobe is to be put into. An absolute path is
// returned as it is, if it is a file. A name that looks like a library ("libc",
// "libssl.so.3") is looked up as the loader would; any other name is a program in
// one of the usual directories.
//
// It returns a [*NotFoundError] for a name that leads nowhere, and [ErrAmbiguous]
// for a library named without version of which there are several, and [ErrOnNode]
// from the facts of a snapshot.
func (f *Facts) ResolveBinary(name string) (string, error) {
	switch {
	case name == "" || strings.ContainsRune(name, 0):
		return "", f.notFound("binary", name, nil)
	case f.Remote():
		return "", onNode("binary", name)
	case filepath.IsAbs(name):
		if err := f.src.regular(name); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return "", &NotFoundError{Kind: "file", Name: name, Suggestions: suggest(name, f.src.siblings(name))}
			}
			return "", err
		}
		return name, nil
	case strings.ContainsRune(name, '/'):
		return "", fmt.Errorf("finding %s: a path must be absolute; or give the bare name", visible(name))
	case strings.HasPrefix(name, "lib") || strings.Contains(name, ".so"):
		path, err := f.resolveLibrary(name)
		if missing := (*NotFoundError)(nil); !errors.As(err, &missing) {
			return path, err
		}
		if path, ok := f.resolveProgram(name); ok {
			return path, nil
		}
		return "", err
	}
	if path, ok := f.resolveProgram(name); ok {
		return path, nil
	}
	var programs []string
	for _, dir := range programDirs {
		programs = append(programs, f.src.list(dir)...)
	}
	slices.Sort(programs)
	return "", &NotFoundError{Kind: "program", Name: name, Suggestions: suggest(name, slices.Compact(programs))}
}

func (f *Facts) resolveProgram(name string) (string, bool) {
	for _, dir := range programDirs {
		path := filepath.Join(dir, name)
		if f.src.regular(path) == nil {
			return path, true
		}
	}
	return "", false
}

func (f *Facts) resolveLibrary(name string) (string, error) {
	var known []ldEntry
	data, err := f.src.readSmall("/etc/ld.so.cache")
	switch {
	case err == nil:
		if known, err = parseLdCache([]byte(data)); err != nil {
			return "", fmt.Errorf("finding library %s: /etc/ld.so.cache: %w", visible(name), err)
		}
	case !errors.Is(err, fs.ErrNotExist): // the C library musl has none
		return "", fmt.Errorf("finding library %s: %w", visible(name), err)
	}
	for _, dir := range f.libraryDirs() {
		for _, file := range f.src.list(dir) {
			if strings.Contains(file, ".so") {
				known = append(known, ldEntry{file, filepath.Join(dir, file)})
			}
		}
	}

	// Several names may lead to one file. Of the files that can run here there must
	// be one, or the first of the exact name, which is the one the loader takes.
	var found []ldEntry
	var files []os.FileInfo
	for _, e := range known {
		if e.soname != name && !strings.HasPrefix(e.soname, name+".so") {
			continue
		}
		info, err := os.Stat(f.src.path(e.path))
		if err != nil || !info.Mode().IsRegular() || !f.runsHere(e.path) {
			continue
		}
		if e.soname == name {
			return e.path, nil
		}
		if !slices.ContainsFunc(files, func(other os.FileInfo) bool { return os.SameFile(info, other) }) {
			files, found = append(files, info), append(found, e)
		}
	}
	switch len(found) {
	case 0:
		var names []string
		for _, e := range known {
			base, _, _ := strings.Cut(e.soname, ".so")
			names = append(names, base)
		}
		slices.Sort(names)
		return "", &NotFoundError{Kind: "library", Name: name, Suggestions: suggest(strings.TrimSuffix(name, ".so"), slices.Compact(names))}
	case 1:
		return found[0].path, nil
	}
	var choice []string
	for _, e := range found {
		choice = append(choice, visible(e.path))
	}
	return "", fmt.Errorf("finding library %s: %w: name one of %s", visible(name), ErrAmbiguous, strings.Join(choice, ", "))
}

// runsHere tells whether a file starts like 64-bit code for this architecture.
func (f *Facts) runsHere(path string) bool {
	file, err := os.Open(f.src.path(path))
	if err != nil {
		return false
	}
	defer file.Close()
	var header [20]byte
	if _, err := io.ReadFull(file, header[:]); err != nil || string(header[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return false
	}
	known := machines(f.Arch)
	if known == nil {
		return true
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(header[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	return elf.Class(header[elf.EI_CLASS]) == elf.ELFCLASS64 && elf.Machine(order.Uint16(header[18:])) == known[0]
}

// regular returns nil if the path leads to a regular file.
func (s Sources) regular(path string) error {
	info, err := os.Stat(s.path(path))
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", visible(path))
	}
	return nil
}

// list returns the names in a directory, none if it cannot be read.
func (s Sources) list(dir string) []string {
	names, err := s.readDir(dir)
	if err != nil {
		return nil
	}
	return names
}

func (s Sources) readDir(dir string) ([]string, error) {
	if s.archive != nil {
		return s.archive.list(dir), nil
	}
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// siblings lists the paths in the directory that a path lies in.
func (s Sources) siblings(path string) []string {
	dir := filepath.Dir(path)
	names := s.list(dir)
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	return names
}

// Symbol is a function in a binary, as a uprobe needs it.
type Symbol struct {
	// Binary is the path of the file.
	Binary string
	// Name is the symbol's name.
	Name string
	// Address is the symbol's virtual address as the file says it.
	Address uint64
	// Offset is where the function's code starts, in bytes from the start of the file.
	Offset uint64
	// Size of the function's code, in bytes; 0 if the file does not say.
	Size uint64
	// Go tells whether it is a function written in Go.
	Go bool
}

// Symbol looks up a function in a binary by the name in its symbol tables. The binary
// is given as [Facts.ResolveBinary] takes it. A name may carry a version,
// "pthread_cond_wait@GLIBC_2.3.2"; without one the default version is taken.
//
// It returns a [*NotFoundError] if there is none of that name; the message says if the
// binary is stripped. A function whose code is chosen when the program starts
// (IFUNC: memcpy, strlen) returns [ErrNotSupported]: a probe on it would not see calls.
func (f *Facts) Symbol(path, symbol string) (*Symbol, error) {
	path, err := f.ResolveBinary(path)
	if err != nil {
		return nil, err
	}
	var found *Symbol
	err = f.src.withELF(path, func(file *elf.File) (err error) {
		found, err = f.symbolIn(file, path, symbol)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (f *Facts) symbolIn(file *elf.File, path, symbol string) (*Symbol, error) {
	if known := machines(f.Arch); known != nil && !slices.Contains(known, file.Machine) {
		return nil, fmt.Errorf("looking up %s: %s is made for %s, this machine is %s", visible(symbol), visible(path), file.Machine, f.Arch)
	}
	static, err := file.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, fmt.Errorf("reading the symbols of %s: %w", visible(path), err)
	}
	dynamic, err := file.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, fmt.Errorf("reading the symbols of %s: %w", visible(path), err)
	}
	all := append(dynamic, static...)
	found, err := findSymbol(all, symbol)
	if err != nil {
		return nil, fmt.Errorf("function %s in %s %w", visible(symbol), visible(path), err)
	}
	if found == nil {
		missing := &NotFoundError{Kind: "function", Name: symbol, Where: "in " + path, Suggestions: suggest(symbol, functionNames(all))}
		if len(static) == 0 {
			missing.Kind = "exported function"
			missing.Where += ", which is stripped of the names of all others"
		}
		return nil, missing
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && found.Value >= p.Vaddr && found.Value-p.Vaddr < p.Filesz {
			return &Symbol{
				Binary:  path,
				Name:    found.Name,
				Go:      file.Section(".gopclntab") != nil && strings.Contains(found.Name, "."),
				Address: found.Value,
				Offset:  found.Value - p.Vaddr + p.Off,
				Size:    found.Size,
			}, nil
		}
	}
	return nil, fmt.Errorf("looking up %s: address %#x lies in no executable part of %s", visible(symbol), found.Value, visible(path))
}

// withELF opens an ELF file for use. Files come from anywhere and the reader of the
// standard library is not made for hostile ones: where it panics, the file is at fault.
func (s Sources) withELF(path string, use func(*elf.File) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s is a malformed ELF file: %v", visible(path), r)
		}
	}()
	file, err := elf.Open(s.path(path))
	if format := (*elf.FormatError)(nil); errors.As(err, &format) {
		return fmt.Errorf("%s is not an ELF binary; if it is a script, name its interpreter", visible(path))
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", visible(path), err)
	}
	defer file.Close()
	return use(file)
}

// findSymbol finds a function in symbol tables; nil if there is none.
func findSymbol(all []elf.Symbol, want string) (*elf.Symbol, error) {
	name, version, _ := strings.Cut(want, "@")
	version = strings.TrimPrefix(version, "@")
	// The default version goes before older ones, which are kept for programs linked
	// against them; a function that others can call goes before a local one.
	var found *elf.Symbol
	var rank int
	var other uint64
	for _, s := range all {
		base, itsVersion, old := symbolVersion(s)
		if !isFunction(s) || base != name || version != "" && version != itsVersion {
			continue
		}
		itsRank := 1
		if !old {
			itsRank += 2
		}
		if elf.ST_BIND(s.Info) != elf.STB_LOCAL {
			itsRank++
		}
		s.Name = base
		switch {
		case itsRank > rank:
			found, rank, other = &s, itsRank, 0
		case itsRank == rank && s.Value != found.Value:
			other = s.Value
		}
	}
	switch {
	case found == nil:
		return nil, nil
	case other != 0:
		return nil, fmt.Errorf("is an %w: it stands for functions at %#x and %#x", ErrAmbiguous, found.Value, other)
	case elf.ST_TYPE(found.Info) == elf.STT_GNU_IFUNC:
		return nil, fmt.Errorf("%w: its code is chosen when the program starts (IFUNC), so a probe would not see its calls; use one of its variants, or a function that calls it", ErrNotSupported)
	}
	return found, nil
}

func isFunction(s elf.Symbol) bool {
	kind := elf.ST_TYPE(s.Info)
	return (kind == elf.STT_FUNC || kind == elf.STT_GNU_IFUNC) && s.Section != elf.SHN_UNDEF && s.Value != 0
}

// symbolVersion splits a symbol into its name and version; old tells whether that is
// not the default one. The static table writes the version into the name, behind
// "@@" if it is the default.
func symbolVersion(s elf.Symbol) (name, version string, old bool) {
	if name, version, ok := strings.Cut(s.Name, "@"); ok {
		version, isDefault := strings.CutPrefix(version, "@")
		return name, version, !isDefault
	}
	return s.Name, s.Version, s.HasVersion && s.VersionIndex.IsHidden()
}

// functionNames lists the functions of symbol tables, sorted.
func functionNames(all []elf.Symbol) []string {
	var names []string
	for _, s := range all {
		if isFunction(s) {
			name, _, _ := symbolVersion(s)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
