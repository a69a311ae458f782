// Package program holds what kgent knows about one compiled eBPF program: the
// ELF object, the manifest that says where and with which parameters it runs,
// and the facts that follow from its instructions.
//
// An [Object] is an ELF file that follows kgent's conventions (see
// kgent.bpf.h): events travel through ring buffers, or where a kernel has none
// through the perf buffers of its processors, whose map definition names the
// event's type, maps tagged KGENT_OUTPUT are the answer, and `const volatile`
// globals are parameters. From such an object [Build] derives a [Manifest]; people approve the two together, and an executor loads nothing
// but what [Object.Collection] makes of exactly these bytes.
//
// The package reads and checks; it neither compiles nor loads anything.
package program

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// MaxELF is the largest object that is accepted, in bytes. Programs of a few
// thousand instructions with their BTF stay below 200 KiB.
const MaxELF = 4 << 20

// StatsMap is the per-CPU array of [Counts] that kgent.bpf.h declares and
// updates at every event.
const StatsMap = "kgent_stats"

// RecordsMap is the per-CPU array in which programs put events together that go
// through perf buffers, see KGENT_PERF in kgent.bpf.h: an element for each buffer. It
// begins with how many programs have their hand on it.
const RecordsMap = "kgent_records"

// MaxPerfEvent is the largest event that goes through a perf buffer, in bytes: a
// record of the kernel's has its length in 16 bits.
const MaxPerfEvent = 32<<10 - 16

// OutputTag is the BTF declaration tag of maps that belong to the answer.
const OutputTag = "kgent:output"

// NodePrefix starts the names of parameters that the node itself supplies at
// load, such as kgent_self. They are not part of a manifest.
const NodePrefix = "kgent_"

// Counts mirrors struct kgent_counts of kgent.bpf.h: what one CPU has counted.
// The counters only grow.
type Counts struct {
	Produced uint64 // events submitted to a ring buffer, or taken by a perf buffer
	Lost     uint64 // events that found their buffer full, or no place to be put together in
	MapFull  uint64 // updates that found an output map full
	Wakeup   uint64 // not a count: the flags of a submit in progress
}

// Object is a parsed ELF object. It is immutable and safe for concurrent use.
type Object struct {
	elf  []byte
	spec *ebpf.CollectionSpec
	// script is true of what [ParseScript] read.
	script bool
	dry    []DryAction // of what [Object.DryRun] made
	// made are the maps that a script's object declares, and its data; nil where
	// bpftrace gave numbers to maps.
	made map[string]*ebpf.MapSpec
}

// Parse reads an ELF object. It accepts any bytes and reports what is wrong
// with them; it never panics.
func Parse(raw []byte) (_ *Object, err error) {
	if len(raw) > MaxELF {
		return nil, fmt.Errorf("parsing object: %d bytes, more than the %d allowed", len(raw), MaxELF)
	}
	// The ELF reader is a large piece of code fed with outside input: one of
	// its panics must refuse the object, not end a node's executor.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("parsing object: malformed ELF: %v", r)
		}
	}()
	if err := checkSections(raw); err != nil {
		return nil, fmt.Errorf("parsing object: %w", err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("parsing object: %w", err)
	}
	if len(spec.Programs) == 0 {
		return nil, errors.New("parsing object: it holds no program (no function with a SEC(\"…\") of a known kind)")
	}
	for name, m := range spec.Maps {
		if carriesEvents(m.Type) && m.Value != nil && name != "" {
			if _, ok := btf.UnderlyingType(m.Value).(*btf.Struct); !ok {
				return nil, fmt.Errorf("parsing object: ring buffer %s: its __type(value, …) is %s, want a struct", name, m.Value)
			}
		}
		if m.Pinning != ebpf.PinNone || m.InnerMap != nil && m.InnerMap.Pinning != ebpf.PinNone {
			return nil, fmt.Errorf("parsing object: map %s is pinned: a program shares no map with others and leaves none behind; remove __uint(pinning, …)", name)
		}
	}
	for name, p := range spec.Programs {
		if strings.HasPrefix(p.SectionName, scriptSection) {
			return nil, fmt.Errorf("parsing object: program %s: SEC(%q) is for scripts only", name, p.SectionName)
		}
		for _, ins := range p.Instructions {
			// Variables of the kernel's configuration (__kconfig) look like a
			// map of descriptor 0, standard input, until they are loaded.
			kconfig := ins.Src == asm.PseudoMapValue && ins.Constant == 0
			if ins.IsLoadFromMap() && ins.Reference() == "" && !kconfig {
				return nil, fmt.Errorf("parsing object: program %s uses a map by the number of a file descriptor, which would be one of the loader's own; name the map", name)
			}
		}
	}
	return &Object{elf: bytes.Clone(raw), spec: spec}, nil
}

// maxFlattened bounds the instructions of all programs together. The reader
// gives each program its own copy of every function that it calls.
const maxFlattened = 8 << 20

// checkSections refuses objects that are much larger in memory than in the
// file: by zero-initialised data, compressed sections, many that lie upon each
// other, or one long function that many programs call.
func checkSections(raw []byte) error {
	f, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	total, code := uint64(0), uint64(0)
	for _, s := range f.Sections {
		if s.Size > MaxELF {
			return fmt.Errorf("section %q holds %d bytes, more than the %d allowed", s.Name, s.Size, MaxELF)
		}
		if total += s.Size; total > 2*MaxELF {
			return fmt.Errorf("its sections hold more than the %d bytes allowed", 2*MaxELF)
		}
		if s.Flags&elf.SHF_EXECINSTR != 0 {
			code += s.Size
		}
	}
	symbols, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return err
	}
	programs := uint64(0)
	for _, s := range symbols {
		if int(s.Section) >= len(f.Sections) || elf.ST_TYPE(s.Info) == elf.STT_SECTION || strings.HasPrefix(s.Name, "LBB") {
			continue // LBB: clang's names of jump targets
		}
		// Functions in .text are no programs of their own.
		if at := f.Sections[s.Section]; at.Flags&elf.SHF_EXECINSTR != 0 && at.Name != ".text" {
			programs++
		}
	}
	if n := programs * (code / asm.InstructionSize); n > maxFlattened {
		return fmt.Errorf("%d programs that could call all of the %d instructions are too many: leave some out", programs, code/asm.InstructionSize)
	}
	return nil
}

// Altered returns the object with other instructions in the named programs, for
// judging what a mistake in it would do. It has no ELF: it can be judged, but
// neither be approved nor sent anywhere.
func (o *Object) Altered(programs map[string]asm.Instructions) (*Object, error) {
	spec := o.spec.Copy()
	for name, code := range programs {
		p := spec.Programs[name]
		if p == nil {
			return nil, fmt.Errorf("altering an object: it has no program %q", name)
		}
		p.Instructions = slices.Clone(code)
	}
	return &Object{spec: spec, script: o.script, made: o.made}, nil
}

// ELF returns the object's bytes, which must not be changed; nil of an
// [Object.Altered] one.
func (o *Object) ELF() []byte { return o.elf }

// Programs returns the programs by name order.
func (o *Object) Programs() []*ebpf.ProgramSpec {
	out := make([]*ebpf.ProgramSpec, 0, len(o.spec.Programs))
	for _, p := range o.spec.Programs {
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Types returns the object's own BTF; nil when it was compiled without -g.
func (o *Object) Types() *btf.Spec { return o.spec.Types }

// License returns the object's license section.
func (o *Object) License() string {
	for _, p := range o.spec.Programs {
		return p.License
	}
	return ""
}

// Role says what a map is to the reader of the output.
type Role string

const (
	RoleEvents   Role = "events"   // a ring buffer of typed events, or the perf buffers in its place
	RoleOutput   Role = "output"   // a map shown as table, histogram or stacks
	RoleStacks   Role = "stacks"   // the stack traces other maps refer to
	RoleInternal Role = "internal" // never shown
)

// MapInfo is one map as the object declares it.
type MapInfo struct {
	Name       string
	Role       Role
	Type       ebpf.MapType
	MaxEntries uint32
	Key, Value btf.Type // of the events, Value is the event's struct; nil when untyped
}

// Maps returns the object's maps by name order, without the hidden ones that
// hold global variables.
func (o *Object) Maps() []MapInfo {
	var out []MapInfo
	for name, m := range o.spec.Maps {
		if isData(name) {
			continue
		}
		info := MapInfo{Name: name, Type: m.Type, MaxEntries: m.MaxEntries, Key: m.Key, Value: m.Value, Role: RoleInternal}
		switch {
		case carriesEvents(m.Type) && m.Value != nil:
			info.Role = RoleEvents
		case m.Type == ebpf.StackTrace:
			info.Role = RoleStacks
		case slices.Contains(m.Tags, OutputTag):
			info.Role = RoleOutput
		}
		out = append(out, info)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Param is a `const volatile` global of the object.
type Param struct {
	Name    string
	Type    btf.Type
	Default []byte // the initial value, as the kernel would see it
}

// Params returns the parameters by name order, without those that the node
// supplies.
func (o *Object) Params() []Param {
	var out []Param
	for name, v := range o.spec.Variables {
		if v.SectionName != ".rodata" || v.Type == nil || v.Type.Linkage != btf.GlobalVar || isNodeSupplied(name) {
			continue
		}
		if !isVolatileConst(v.Type.Type) {
			continue
		}
		out = append(out, Param{Name: name, Type: v.Type.Type, Default: bytes.Clone(v.Value)})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func isNodeSupplied(name string) bool {
	return len(name) > len(NodePrefix) && strings.HasPrefix(name, NodePrefix)
}

// maxNesting bounds chains of qualifiers, typedefs and nested structs: an
// object's BTF may be cyclic.
const maxNesting = 32

// isVolatileConst tells a parameter from an ordinary constant, which the
// compiler may have folded into the code.
func isVolatileConst(t btf.Type) bool {
	volatile := false
	for range maxNesting {
		switch q := t.(type) {
		case *btf.Const:
			t = q.Type
		case *btf.Volatile:
			volatile, t = true, q.Type
		case *btf.Array:
			t = q.Type
		default:
			return volatile
		}
	}
	return false
}

func isRing(t ebpf.MapType) bool { return t == ebpf.RingBuf }

// isPerf reports whether a map is the perf buffers of all processors.
func isPerf(t ebpf.MapType) bool { return t == ebpf.PerfEventArray }

func carriesEvents(t ebpf.MapType) bool { return isRing(t) || isPerf(t) }

// isData reports whether a map is one of the hidden maps of global data.
func isData(name string) bool { return len(name) > 0 && name[0] == '.' }
