package probe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

// Programs are detached with the process's capabilities, whoever says so: a thread that
// reads output has given up its own.
func TestDetachHasCapabilities(t *testing.T) {
	capabilities := func() (c [2]unix.CapUserData, err error) {
		err = unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &c[0])
		return c, err
	}
	all, err := capabilities()
	if err != nil {
		t.Fatal(err)
	}
	if all[0].Effective == 0 {
		t.Skip("needs a capability to give up")
	}
	for programs := 1; programs <= 2; programs++ {
		s := &Set{}
		seen := make([][2]unix.CapUserData, programs)
		for i := range programs {
			p := &loaded{name: "p"}
			p.add(closer(func() (err error) { seen[i], err = capabilities(); return err }))
			s.programs = append(s.programs, p)
		}
		detached := make(chan error)
		go func() {
			runtime.LockOSThread() // for good: it ends with this goroutine
			var none [2]unix.CapUserData
			err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
			if err == nil {
				err = s.Detach()
			}
			detached <- err
		}()
		if err := <-detached; err != nil {
			t.Fatal(err)
		}
		for _, got := range seen {
			if got[0].Effective != all[0].Effective {
				t.Errorf("one of %d is detached with %x, want %x", programs, got[0].Effective, all[0].Effective)
			}
		}
	}
}

func TestMeaningful(t *testing.T) {
	for _, tt := range []struct {
		name string
		log  string
		want []string
	}{
		{"empty", "", nil},
		{"statistics alone", "processed 2 insns (limit 1000000) max_states_per_insn 0\nstack depth 8\nverification time 3 usec", nil},
		{"instruction, states and message", `0: R1=ctx() R10=fp0
; e->value = id; @ program.bpf.c:50
28: (05) goto pc+9
29: (7b) *(u64 *)(r6 +0) = r8        ; R6=0 R8=scalar()
R6 invalid mem access 'scalar'
processed 19 insns (limit 1000000)`, []string{"29: (7b) *(u64 *)(r6 +0) = r8", "R6 invalid mem access 'scalar'"}},
		{"older kernel", "1: (85) call unknown#7\n1: R0_w=inv(id=0) R10=fp0\ninvalid func unknown#7", []string{"1: (85) call unknown#7", "invalid func unknown#7"}},
		{"message before any instruction", "func#0 @0\nattach_btf_id is not a function", []string{"attach_btf_id is not a function"}},
		{"many lines", "3: (95) exit\none\ntwo\nthree\nfour\nfive", []string{"3: (95) exit", "three", "four", "five"}},
		{"control characters", "3: (95) exit\n\x1b[2Jbad", []string{"3: (95) exit", `\x1b[2Jbad`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := meaningful(strings.Split(tt.log, "\n")); !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	for _, tt := range []struct {
		name, version, want string
		is                  bool
	}{
		{"work", "", "work", true},
		{"work", "", "wor", false},
		{"work", "V1", "work", true},
		{"work", "V1", "work@V1", true},
		{"work", "V1", "work@@V1", true},
		{"work", "V1", "work@V2", false},
		{"work@V1", "", "work", true},
		{"work@@V2", "", "work@V2", true},
		{"work@@V2", "", "work@V1", false},
	} {
		if got := named(elf.Symbol{Name: tt.name, Version: tt.version}, tt.want); got != tt.is {
			t.Errorf("%s, version %q, as %s: %v", tt.name, tt.version, tt.want, got)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for list, want := range map[string][]int{"0": {0}, "0-3": {0, 1, 2, 3}, "0-1,4,6-7": {0, 1, 4, 6, 7}} {
		if got, err := parseCPUs(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", list, got, err, want)
		}
	}
	for _, list := range []string{"", "x", "3-1", "0-", "-1", "0,,1", "0-99999999"} {
		if got, err := parseCPUs(list); err == nil {
			t.Errorf("%q: %v, want an error", list, got)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		`plain "quoted" \ text`: `plain "quoted" \ text`,
		"tab\tnew\nline":        `tab\tnew\nline`,
		"\x1b]0;title\a":        `\x1b]0;title\a`,
		"\u202eright to left":   `\u202eright to left`,
		"\xff":                  `\xff`,
		"żółw":                  "żółw",
	} {
		got := printable(in)
		if got != want || printable(got) != got {
			t.Errorf("%q: %q, then %q; want %q", in, got, printable(got), want)
		}
	}
}

func TestFileOffset(t *testing.T) {
	const maps = `00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/dbus-daemon
7ffe0000-7fff0000 rw-p 00000000 00:00 0  [stack]
not a mapping
`
	if got, ok := fileOffset(maps, 0x400010); !ok || got != 0x1010 {
		t.Errorf("%#x, %v", got, ok)
	}
	for _, addr := range []uint64{0x452000, 0x7ffe0001, 0} {
		if got, ok := fileOffset(maps, addr); ok {
			t.Errorf("%#x lies at %#x of no file", addr, got)
		}
	}
}

// stapNote encodes a note of .note.stapsdt as an assembler would.
func stapNote(owner string, typ uint32, desc []byte) []byte {
	pad := func(b []byte) []byte {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		return b
	}
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, uint32(len(owner)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
	b = binary.LittleEndian.AppendUint32(b, typ)
	b = append(b, pad([]byte(owner))...)
	return append(b, pad(slices.Clone(desc))...)
}

func stapDesc(location, base, semaphore uint64, names string) []byte {
	var b []byte
	for _, v := range []uint64{location, base, semaphore} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return append(b, names...)
}

func TestParseNotes(t *testing.T) {
	good := stapNote("stapsdt\x00", 3, stapDesc(0x1130, 0x2010, 0x4038, "libc\x00setjmp\x008@%rdi\x00"))
	other := stapNote("GNU\x00", 3, []byte("x"))
	got, err := parseNotes(slices.Concat(other, good), binary.LittleEndian, elf.ELFCLASS64)
	if want := []note{{0x1130, 0x2010, 0x4038, "libc:setjmp"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for name, b := range map[string][]byte{
		"header cut short": good[:8],
		"body cut short":   good[:40],
		"no addresses":     stapNote("stapsdt\x00", 3, []byte("short")),
		"no names":         stapNote("stapsdt\x00", 3, stapDesc(1, 2, 3, "unterminated")),
		"huge":             {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0},
	} {
		if got, err := parseNotes(b, binary.LittleEndian, elf.ELFCLASS64); err == nil {
			t.Errorf("%s: %+v, want an error", name, got)
		}
	}
}

func FuzzParseNotes(f *testing.F) {
	f.Add(stapNote("stapsdt\x00", 3, stapDesc(0x1130, 0x2010, 0x4038, "libc\x00setjmp\x008@%rdi\x00")), true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0}, false)
	f.Fuzz(func(t *testing.T, b []byte, wide bool) {
		class := elf.ELFCLASS32
		if wide {
			class = elf.ELFCLASS64
		}
		notes, err := parseNotes(b, binary.LittleEndian, class)
		if err == nil && len(notes)*12 > len(b) {
			t.Errorf("%d notes in %d bytes", len(notes), len(b))
		}
		for _, n := range notes {
			if !strings.Contains(n.name, ":") || strings.Contains(n.name, "\x00") {
				t.Errorf("name %q", n.name)
			}
		}
	})
}

// tinyELF is a shared library of one segment, with one symbol and one USDT
// probe.
func tinyELF() []byte {
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) } // to memory
	names := "\x00.strtab\x00.symtab\x00.note.stapsdt\x00work\x00"
	notes := stapNote("stapsdt\x00", 3, stapDesc(0x1010, 0, 0, "kgent\x00plain\x00\x00"))
	const header, segment, section, symbol = 64, 56, 64, 24
	strings, symbols := uint64(header+segment), uint64(header+segment+len(names))
	note := symbols + 2*symbol
	put(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: 0x1000,
		Phoff: header, Phentsize: segment, Phnum: 1, Ehsize: header,
		Shoff: note + uint64(len(notes)), Shentsize: section, Shnum: 4, Shstrndx: 1,
	})
	put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: 0x1000, Filesz: 0x100, Memsz: 0x100})
	b.WriteString(names)
	put(elf.Sym64{})
	put(elf.Sym64{Name: 31, Info: byte(elf.STT_FUNC), Shndx: 3, Value: 0x1020, Size: 8})
	b.Write(notes)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_STRTAB), Off: strings, Size: uint64(len(names))})
	put(elf.Section64{Name: 9, Type: uint32(elf.SHT_SYMTAB), Off: symbols, Size: 2 * symbol, Link: 1, Entsize: symbol})
	put(elf.Section64{Name: 17, Type: uint32(elf.SHT_NOTE), Off: note, Size: uint64(len(notes))})
	return b.Bytes()
}

func TestBinary(t *testing.T) {
	for _, tt := range []struct {
		name string
		find func(binaryFile, string) ([]place, error)
		want []place
	}{
		{name: "work", find: binaryFile.function, want: []place{{offset: 0x20}}},
		{name: "kgent:plain", find: binaryFile.marker, want: []place{{offset: 0x10}}},
		{name: "wrok", find: binaryFile.function},
		{name: "work@V1", find: binaryFile.function},
		{name: "kgent:nosuch", find: binaryFile.marker},
	} {
		var got []place
		err := parseBinary(bytes.NewReader(tinyELF()), "tiny", func(b binaryFile) (err error) {
			got, err = tt.find(b, tt.name)
			return err
		})
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v; want %v", tt.name, got, err, tt.want)
		}
	}
}

// Whatever file a hook names, looking into it ends, with places or an error.
func FuzzBinary(f *testing.F) {
	exe := tinyELF()
	f.Add(exe, "work")
	f.Add([]byte("\x7fELF"), "")
	f.Fuzz(func(t *testing.T, file []byte, name string) {
		for _, find := range []func(binaryFile, string) ([]place, error){binaryFile.function, binaryFile.marker} {
			var places []place
			err := parseBinary(bytes.NewReader(file), "binary", func(b binaryFile) (err error) {
				places, err = find(b, name)
				return err
			})
			if err != nil && len(places) > 0 {
				t.Errorf("%d places in spite of %v", len(places), err)
			}
		}
	})
}

// The name of a binary comes with the program, and kgent is root: no file may
// make it wait, be set off by being opened, or be quoted in the error.
func TestWithBinaryOfOtherFiles(t *testing.T) {
	dir := t.TempDir()
	fifo, secret := filepath.Join(dir, "fifo"), filepath.Join(dir, "secret")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte(strings.Repeat("kgent", 99)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:        fifo + " is no regular file",
		"/dev/null": "/dev/null is no regular file",
		dir:         dir + " is no regular file",
		secret:      secret + " cannot be read as an ELF file",
	} {
		at, err := pinBinary(path)
		if err == nil {
			err = withBinary(at, func(binaryFile) error { return nil })
			at.Close()
		}
		var r *refusal
		if !errors.As(err, &r) || r.reason != want || r.err != nil {
			t.Errorf("%s: %#v, want only %q", path, err, want)
		}
	}
}

// A kernel without ring buffers is said to be one, and what to do.
func TestWithoutRingBuffers(t *testing.T) {
	spec := &ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{
		"events": {Type: ebpf.RingBuf, MaxEntries: 4096},
		"counts": {Type: ebpf.PerCPUHash, MaxEntries: 4096},
	}}
	for name, want := range map[string]string{
		"events": "creating map events: the program hands over events in ring buffers, which need Linux 5.8, and this kernel (" + release() + ") has none: have it prepared anew for this node",
		"counts": "does not know maps of type PerCPUHash in this form",
	} {
		err := newHost(Options{}).explainLoad(t.Context(), fmt.Errorf("map %s: creating map: %w", name, unix.EINVAL), spec, &program.Manifest{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
