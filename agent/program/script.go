package program

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Script is a program in the language of another tool, which runs it on the node
// instead of kgent's own loader. Its manifest carries it; the object beside it
// holds the instructions that the tool made of it, for everyone to judge.
type Script struct {
	// Language is "bpftrace".
	Language string `json:"language"`
	// Text is the script, byte for byte. Nothing else is run.
	Text string `json:"text"`
	// Requires is the oldest release of the tool that understands it: "0.17.0".
	Requires string `json:"requires"`
	// By is the release that made the object.
	By string `json:"by"`
	// Pinned says that no other release may run it: a proof is of what this one makes.
	Pinned bool `json:"pinned,omitempty"`
}

// ScriptManifestVersion is the version of manifests that carry a [Script]. Nodes
// that know only version 1 refuse them.
const ScriptManifestVersion = 2

// Hooks that only scripts have. The tool makes them itself, so no kernel has to be
// asked for them.
const (
	Interval Kind = "interval" // Target s:1: a timer on one processor
	Software Kind = "software" // Target page-faults:100: every hundredth event
	// ScriptEvent is BEGIN or END, its Target: what a script does before and
	// after the trace. The tool calls it by a probe on itself.
	ScriptEvent Kind = "script"
)

// OfScripts reports whether a hook is one that only scripts have.
func (k Kind) OfScripts() bool { return k == Interval || k == Software || k == ScriptEvent }

// scriptSection begins the section names of programs that a script became.
const scriptSection = "bpftrace/"

// sectionPrefix begins the names of the sections in bpftrace's objects.
const sectionPrefix = "s_"

// ParseScript reads the object that bpftrace made of a script (--emit-elf). Its
// programs are named after their attach points, which must be among points: recent
// releases of bpftrace write them with an underscore for everything but letters and
// digits. Maps are not listed: they are bpftrace's to make, and old releases know them
// by numbers only. It accepts any bytes, and never panics.
func ParseScript(raw []byte, points []string) (_ *Object, err error) {
	if len(raw) > MaxELF {
		return nil, fmt.Errorf("parsing a script's object: %d bytes, more than the %d allowed", len(raw), MaxELF)
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("parsing a script's object: malformed ELF: %v", r)
		}
	}()
	if err := checkSections(raw); err != nil {
		return nil, fmt.Errorf("parsing a script's object: %w", err)
	}
	o := &Object{elf: bytes.Clone(raw), script: true}
	if o.spec, err = scriptPrograms(raw); errors.Is(err, errTypedMaps) {
		o.spec, o.made, err = typedScript(raw, points)
	}
	if err != nil {
		return nil, fmt.Errorf("parsing a script's object: %w", err)
	}
	return o, nil
}

// errTypedMaps says that an object is as recent releases of bpftrace write them: maps
// are declared, and programs named otherwise.
var errTypedMaps = errors.New("it declares its maps")

// typedScript reads an object with declared maps. Those are kept apart: kgent's own
// loader never makes them.
func typedScript(raw []byte, points []string) (*ebpf.CollectionSpec, map[string]*ebpf.MapSpec, error) {
	f, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, err
	}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR != 0 && s.Size > 0 && !strings.HasPrefix(s.Name, sectionPrefix) {
			return nil, nil, fmt.Errorf("it has code in section %q, which is of no probe: functions and loops of scripts are not available", s.Name)
		}
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, err
	}
	made, programs := spec.Maps, spec.Programs
	spec.Maps, spec.Variables, spec.Programs = map[string]*ebpf.MapSpec{}, map[string]*ebpf.VariableSpec{}, map[string]*ebpf.ProgramSpec{}
	for symbol, p := range programs {
		name, err := pointOf(symbol, points)
		if err != nil {
			return nil, nil, err
		}
		if spec.Programs[name] != nil {
			return nil, nil, fmt.Errorf("it has two programs %q", name)
		}
		if err := ownMapsOnly(p.Instructions, made); err != nil {
			return nil, nil, fmt.Errorf("program %s: %w", name, err)
		}
		p.Name, p.SectionName, p.License = name, scriptSection+name, "GPL"
		h, err := HookOf(p)
		if err != nil {
			return nil, nil, err
		}
		p.Type = scriptType(h)
		p.Instructions[0] = p.Instructions[0].WithSymbol(name)
		spec.Programs[name] = p
	}
	if len(spec.Programs) == 0 {
		return nil, nil, errors.New("it holds no program")
	}
	return spec, made, nil
}

// ownMapsOnly refuses references to anything but the object's maps and data.
func ownMapsOnly(insns asm.Instructions, made map[string]*ebpf.MapSpec) error {
	for i := range insns {
		if ins := &insns[i]; ins.IsLoadFromMap() && made[ins.Reference()] == nil || ins.IsFunctionReference() {
			return fmt.Errorf("it uses %q, which is no map: functions of scripts are not available", ins.Reference())
		}
	}
	return nil
}

var (
	notPlain   = regexp.MustCompile(`[^A-Za-z0-9_]`)
	plainName  = regexp.MustCompile(`^(.*?)(_loc[0-9]+)?_[0-9]+$`)
	plainPlace = regexp.MustCompile(`_loc[0-9]+$`)
)

// pointOf finds the attach point of a program that recent releases name.
func pointOf(symbol string, points []string) (string, error) {
	m := plainName.FindStringSubmatch(symbol)
	if m == nil {
		return "", fmt.Errorf("it has the program %.120q, which is of no probe", symbol)
	}
	found := ""
	for _, p := range points {
		if p = plainPlace.ReplaceAllString(p, ""); notPlain.ReplaceAllString(p, "_") != m[1] || p+m[2] == found {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("its program %.120q may be of %s or of %s: name the functions so that bpftrace tells them apart", symbol, found, p)
		}
		found = p + m[2]
	}
	if found == "" {
		return "", fmt.Errorf("it has the program %.120q, which is of no probe", symbol)
	}
	return found, nil
}

// scriptType is the type that bpftrace loads programs of a hook as.
func scriptType(h Hook) ebpf.ProgramType {
	switch h.Kind {
	case Tracepoint:
		return ebpf.TracePoint
	case PerfEvent, Interval, Software:
		return ebpf.PerfEvent
	}
	return ebpf.Kprobe // of user probes, and BEGIN and END, too
}

func scriptPrograms(raw []byte) (*ebpf.CollectionSpec, error) {
	f, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if f.Machine != elf.EM_BPF || f.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("it is for %s, want eBPF", f.Machine)
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("reading its symbols: %w", err)
	}
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{}, Maps: map[string]*ebpf.MapSpec{}, Variables: map[string]*ebpf.VariableSpec{}, ByteOrder: f.ByteOrder}
	if f.Section(".maps") != nil {
		return nil, errTypedMaps
	}
	for i, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 || s.Size == 0 {
			continue
		}
		if !strings.HasPrefix(s.Name, sectionPrefix) {
			return nil, fmt.Errorf("it has code in section %q, which is of no probe: functions and loops of scripts are not available", s.Name)
		}
		name, err := onlyFunction(symbols, elf.SectionIndex(i), s.Size)
		if err != nil {
			return nil, fmt.Errorf("section %q: %w", s.Name, err)
		}
		if spec.Programs[name] != nil {
			return nil, fmt.Errorf("it has two programs %q", name)
		}
		p, err := scriptProgram(f, s, name)
		if err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
		if err := relocate(f, i, symbols, p.Instructions); err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
		spec.Programs[name] = p
	}
	if len(spec.Programs) == 0 {
		return nil, errors.New("it holds no program")
	}
	return spec, nil
}

// onlyFunction returns the name of the one function that fills a section.
func onlyFunction(symbols []elf.Symbol, section elf.SectionIndex, size uint64) (string, error) {
	name := ""
	for _, s := range symbols {
		if s.Section != section || elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		if name != "" || s.Value != 0 || s.Size != size || s.Name == "" {
			return "", errors.New("it is not one function")
		}
		name = s.Name
	}
	if name == "" {
		return "", errors.New("it is no function")
	}
	return name, nil
}

func scriptProgram(f *elf.File, s *elf.Section, name string) (*ebpf.ProgramSpec, error) {
	p := &ebpf.ProgramSpec{Name: name, SectionName: scriptSection + name, ByteOrder: f.ByteOrder, License: "GPL"}
	h, err := HookOf(p)
	if err != nil {
		return nil, err
	}
	p.Type = scriptType(h)
	if p.Instructions, err = asm.AppendInstructions(nil, s.Open(), f.ByteOrder, "linux"); err != nil {
		return nil, fmt.Errorf("reading its instructions: %w", err)
	}
	if len(p.Instructions) == 0 {
		return nil, errors.New("it has no instructions")
	}
	p.Instructions[0] = p.Instructions[0].WithSymbol(name)
	return p, nil
}

// relocate names the maps that instructions load, where an object does not use
// numbers. A relocation of anything else would be code from elsewhere.
func relocate(f *elf.File, section int, symbols []elf.Symbol, insns asm.Instructions) error {
	for _, s := range f.Sections {
		if s.Type == elf.SHT_RELA && int(s.Info) == section {
			return errors.New("it has relocations of an unknown kind")
		}
		if s.Type != elf.SHT_REL || int(s.Info) != section {
			continue
		}
		data, err := s.Data()
		if err != nil {
			return fmt.Errorf("reading its relocations: %w", err)
		}
		for ; len(data) >= 16; data = data[16:] {
			offset, info := f.ByteOrder.Uint64(data), f.ByteOrder.Uint64(data[8:])
			n := int(info>>32) - 1
			if n < 0 || n >= len(symbols) {
				return errors.New("a relocation names no symbol")
			}
			ins, err := instructionAt(insns, offset)
			if err != nil {
				return err
			}
			if !ins.OpCode.IsDWordLoad() || symbols[n].Name == "" {
				return fmt.Errorf("it uses %q, which is no map: functions of scripts are not available", symbols[n].Name)
			}
			ins.Src = asm.PseudoMapFD
			*ins = ins.WithReference(symbols[n].Name)
		}
		if len(data) != 0 {
			return errors.New("its relocations are cut short")
		}
	}
	return nil
}

func instructionAt(insns asm.Instructions, offset uint64) (*asm.Instruction, error) {
	iter := insns.Iterate()
	for iter.Next() {
		if uint64(iter.Offset.Bytes()) == offset {
			return iter.Ins, nil
		}
	}
	return nil, errors.New("a relocation is of no instruction")
}

// ScriptHook is the hook of an attach point as bpftrace spells it in full.
func ScriptHook(point string) (Hook, error) {
	kind, rest, _ := strings.Cut(point, ":")
	unknown := fmt.Errorf("the attach point %.120q is none that kgent knows", point)
	switch kind {
	case "BEGIN", "END":
		if rest == "" {
			return Hook{Kind: ScriptEvent, Target: kind}, nil
		}
	case "tracepoint":
		if category, name, ok := strings.Cut(rest, ":"); ok && category != "" && name != "" {
			return Hook{Kind: Tracepoint, Target: rest}, nil
		}
	case "kprobe", "kretprobe":
		if rest != "" {
			return Hook{Kind: Kind(kind), Target: rest}, nil
		}
	case "uprobe", "uretprobe":
		if binary, symbol, ok := strings.Cut(rest, ":"); ok && binary != "" && symbol != "" {
			return Hook{Kind: Kind(kind), Binary: binary, Symbol: symbol}, nil
		}
	case "usdt":
		if binary, symbol, ok := strings.Cut(rest, ":"); ok && binary != "" && symbol != "" {
			symbol, _, _ = strings.Cut(symbol, "_loc")
			return Hook{Kind: USDT, Binary: binary, Symbol: symbol}, nil
		}
	case "profile":
		return profileHook(rest, unknown)
	case "interval", "software":
		if what, n, ok := strings.Cut(rest, ":"); ok && what != "" && n != "" {
			return Hook{Kind: Kind(kind), Target: rest}, nil
		}
	}
	return Hook{}, unknown
}

// profileHook reads hz:99 and ms:10 as samples a second.
func profileHook(rest string, unknown error) (Hook, error) {
	unit, text, _ := strings.Cut(rest, ":")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return Hook{}, unknown
	}
	switch {
	case unit == "hz" && n <= 10_000:
	case unit == "ms" && n <= 1000:
		n = 1000 / n
	default:
		return Hook{}, unknown
	}
	return Hook{Kind: PerfEvent, Target: "cpu-clock", Hz: n}, nil
}

// Open reads an object and its manifest, as they are stored and travel, and holds
// them against each other.
func Open(elf, manifest []byte) (*Object, *Manifest, error) {
	m, err := DecodeManifest(manifest)
	if err != nil {
		return nil, nil, err
	}
	parse := Parse
	if m.Script != nil {
		parse = func(raw []byte) (*Object, error) {
			var points []string
			for _, p := range m.Programs {
				points = append(points, p.Name)
			}
			return ParseScript(raw, points)
		}
	}
	o, err := parse(elf)
	if err != nil {
		return nil, nil, err
	}
	if err := m.Check(o); err != nil {
		return nil, nil, err
	}
	return o, m, nil
}

// checkScript holds what a manifest says of a script against the object.
func (m *Manifest) checkScript(o *Object) error {
	switch {
	case (m.Script != nil) != (m.Version == ScriptManifestVersion):
		return fmt.Errorf("manifest: version %d is not the one for what it holds", m.Version)
	case m.Script == nil && o.script:
		return errors.New("manifest: it lacks the script that the object came of")
	case m.Script == nil:
		return nil
	case !o.script:
		return errors.New("manifest: a script, and an object that came of none")
	case m.Script.Language != "bpftrace":
		return fmt.Errorf("manifest: a script in %.40q: this kgent knows bpftrace", m.Script.Language)
	case m.View != View{} || len(m.Constants) > 0 || len(m.Means) > 0:
		return errors.New("manifest: a script has neither parameters nor a view")
	}
	return nil
}

// SameDoings says how a node's own object of a script differs in what it does from
// the one that was approved. The instructions themselves may differ: offsets are
// those of each kernel, and releases of bpftrace translate differently.
//
// Where the approved object reads memory by bpf_probe_read, which may read a
// process's, the node's may use the helpers for the kernel's or the process's
// alone: bpftrace chooses them by what it may ask the kernel.
func SameDoings(approved, own []Facts) error {
	if len(approved) != len(own) {
		return fmt.Errorf("it becomes %d programs here, %d were approved", len(own), len(approved))
	}
	for i, a := range approved {
		b := own[i]
		switch {
		case a.Program != b.Program || a.Hook != b.Hook || a.Type != b.Type:
			return fmt.Errorf("it becomes the program %s here, where %s was approved", b.Program, a.Program)
		case !slices.Equal(plainReads(a.Helpers), plainReads(b.Helpers)): // what each release needs for its own maps aside
			return fmt.Errorf("program %s calls %s here, where %s was approved", a.Program, strings.Join(b.Helpers, ", "), strings.Join(a.Helpers, ", "))
		case gravest(b.Helpers) > gravest(a.Helpers):
			return fmt.Errorf("program %s does more here than what was approved: it calls %s", a.Program, strings.Join(b.Helpers, ", "))
		case !slices.Equal(a.Kfuncs, b.Kfuncs):
			return fmt.Errorf("program %s calls other functions of the kernel here than were approved", a.Program)
		case !slices.Equal(a.Writes, b.Writes) || b.Packet && !a.Packet:
			return fmt.Errorf("program %s writes or reads elsewhere here than was approved", a.Program)
		case b.Turns > MaxTurns && b.Turns > a.Turns:
			return fmt.Errorf("program %s has longer loops here than were approved", a.Program)
		}
	}
	return nil
}

// plumbing are the helpers that reach the script's own maps and buffer only: releases of
// bpftrace differ in how they use them.
var plumbing = []string{
	"bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_map_lookup_percpu_elem",
	"bpf_perf_event_output", "bpf_ringbuf_output", "bpf_get_smp_processor_id",
}

// plainReads names the helpers that read memory alike, without the plumbing.
func plainReads(helpers []string) []string {
	var out []string
	for _, h := range helpers {
		if slices.Contains(plumbing, h) {
			continue
		}
		switch h {
		case "bpf_probe_read_kernel", "bpf_probe_read_user":
			h = "bpf_probe_read"
		case "bpf_probe_read_kernel_str", "bpf_probe_read_user_str":
			h = "bpf_probe_read_str"
		}
		out = append(out, h)
	}
	sort.Strings(out)
	return slices.Compact(out)
}

func gravest(helpers []string) Effect {
	most := Observes
	for _, h := range helpers {
		e, _, _ := EffectOf(h)
		most = max(most, e)
	}
	return most
}
