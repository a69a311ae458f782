package symbolic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// MaxInsns bounds the length of a linked program; the kernel accepts a million
// instructions at run time, and no object of kgent comes near this.
const MaxInsns = 1 << 17

// Link makes program name of a collection ready to be explored on a kernel.
// The collection is not changed; the constants it carries are those that a
// loader would use. The error is about the object or the kernel: a relocation
// that cannot be made, a jump out of the program.
func Link(spec *ebpf.CollectionSpec, name string, k *Kernel) (*Program, error) {
	kt := typesOf(k)
	maps := linkMaps(spec)
	p, err := linkProgram(spec, name, kt, maps)
	if err != nil {
		return nil, fmt.Errorf("linking program %s: %w", name, err)
	}
	return p, nil
}

func linkProgram(spec *ebpf.CollectionSpec, name string, kt *kernelTypes, maps map[string]*Map) (*Program, error) {
	ps := spec.Programs[name]
	if ps == nil {
		return nil, errors.New("the object has no program of that name")
	}
	if len(ps.Instructions) == 0 || len(ps.Instructions) > MaxInsns {
		return nil, fmt.Errorf("it has %d instructions; 1 to %d can be linked", len(ps.Instructions), MaxInsns)
	}
	p := &Program{Name: name, Type: ps.Type, Hook: hookOf(ps), Maps: maps, types: kt}
	insns, tails, err := linkTails(spec, p)
	if err != nil {
		return nil, err
	}
	if err := relocate(insns, kt); err != nil {
		return nil, err
	}
	if err := p.resolve(insns); err != nil {
		return nil, err
	}
	p.Tails = map[string]map[uint32]int{}
	for array, list := range tails {
		p.Tails[array] = map[uint32]int{}
		for index, prog := range list {
			p.Tails[array][index] = p.entry(insns, prog)
		}
	}
	flow, err := newFlow(p)
	if err != nil {
		return nil, err
	}
	p.flow = flow
	return p, nil
}

// relocate applies CO-RE relocations to instructions, whose backing array is
// the caller's own.
func relocate(insns asm.Instructions, kt *kernelTypes) error {
	var relos []*btf.CORERelocation
	var at []int
	for i := range insns {
		if r := btf.CORERelocationMetadata(&insns[i]); r != nil {
			relos, at = append(relos, r), append(at, i)
		}
	}
	if len(relos) == 0 {
		return nil
	}
	if len(kt.specs) == 0 {
		return errors.New("it needs the types of a kernel, and none were given")
	}
	local, err := btf.NewBuilder(nil, nil)
	if err != nil {
		return fmt.Errorf("preparing type ids: %w", err)
	}
	fixups, err := btf.CORERelocate(relos, kt.specs, binary.LittleEndian, local.Add)
	if err != nil {
		return fmt.Errorf("relocating against the kernel's types: %w", err)
	}
	for j, f := range fixups {
		if err := f.Apply(&insns[at[j]]); err != nil {
			return fmt.Errorf("applying relocation %s: %w", relos[j], err)
		}
	}
	return nil
}

// resolve fills p.Insns: targets of jumps and calls, maps, kfuncs, lines.
func (p *Program) resolve(insns asm.Instructions) error {
	symbols := map[string]int{}
	raw := map[asm.RawInstructionOffset]int{}
	at := make([]asm.RawInstructionOffset, len(insns))
	var off asm.RawInstructionOffset
	for i := range insns {
		if s := insns[i].Symbol(); s != "" {
			symbols[s] = i
		}
		raw[off], at[i] = i, off
		off += insns[i].Width()
	}
	p.Insns = make([]Insn, len(insns))
	fn, line := "", Line{}
	for i := range insns {
		ins := &p.Insns[i]
		ins.Instruction, ins.Target = insns[i], -1
		if f := btf.FuncMetadata(&insns[i]); f != nil {
			fn, line = f.Name, Line{}
		} else if s := insns[i].Symbol(); s != "" && i == 0 {
			fn = s
		}
		if l, ok := insns[i].Source().(*btf.Line); ok && l != nil {
			line = Line{l.FileName(), int(l.LineNumber()), int(l.LineColumn()), strings.TrimSpace(l.Line())}
		}
		ins.Func, ins.Line, ins.Root = fn, line, accessRoot(&insns[i])
		if err := p.resolveOne(i, symbols, raw, at); err != nil {
			return fmt.Errorf("instruction %d (%v): %w", i, insns[i], err)
		}
	}
	return nil
}

// entry is the first instruction of a program that was linked in.
func (p *Program) entry(insns asm.Instructions, name string) int {
	for i := range insns {
		if insns[i].Symbol() == name {
			return i
		}
	}
	return -1
}

func (p *Program) resolveOne(i int, symbols map[string]int, raw map[asm.RawInstructionOffset]int, at []asm.RawInstructionOffset) error {
	ins := &p.Insns[i]
	relative := func(delta int64) error {
		t, ok := raw[asm.RawInstructionOffset(int64(at[i])+int64(ins.Width())+delta)]
		if !ok {
			return fmt.Errorf("it leads out of the program or into the middle of an instruction")
		}
		ins.Target = t
		return nil
	}
	ref := ins.Reference()
	target, labelled := symbols[ref]
	labelled = labelled && ref != ""
	switch op := ins.OpCode; {
	case ins.IsKfuncCall():
		ins.Kfunc = ref
	case ins.IsFunctionReference():
		if labelled {
			ins.Target = target
			return nil
		}
		return relative(ins.Constant)
	case op.IsDWordLoad() && (ins.Src == asm.PseudoMapFD || ins.Src == asm.PseudoMapValue):
		if ins.Map = p.Maps[ref]; ins.Map == nil {
			return fmt.Errorf("it refers to map %q, which the object does not define", ref)
		}
	case op.IsDWordLoad() && ref != "":
		ins.Kfunc = ref // the address of a kernel symbol
	case op.Class().IsJump() && op.JumpOp() != asm.Call && op.JumpOp() != asm.Exit && op.JumpOp() != asm.InvalidJumpOp:
		if labelled {
			ins.Target = target
			return nil
		}
		if op.Class() == asm.Jump32Class && op.JumpOp() == asm.Ja {
			return relative(ins.Constant)
		}
		return relative(int64(ins.Offset))
	}
	return nil
}

var relocationForm = regexp.MustCompile(`^CORERelocation\(byte_off, \w+:"([^"]+)"`)

// accessRoot is the kernel type that a field access begins at, without the
// flavour that programs append to tell local variants apart.
func accessRoot(ins *asm.Instruction) string {
	r := btf.CORERelocationMetadata(ins)
	if r == nil {
		return ""
	}
	m := relocationForm.FindStringSubmatch(r.String())
	if m == nil {
		return ""
	}
	root, _, _ := strings.Cut(m[1], "___")
	return root
}

func linkMaps(spec *ebpf.CollectionSpec) map[string]*Map {
	maps := map[string]*Map{}
	for name, ms := range spec.Maps {
		maps[name] = linkMap(name, ms)
	}
	for name, v := range spec.Variables {
		m := maps[v.SectionName]
		if m == nil {
			continue
		}
		typ := btf.Type(nil)
		if v.Type != nil {
			typ = v.Type.Type
		}
		m.Vars = append(m.Vars, Var{name, v.Offset, uint32(len(v.Value)), typ})
		if len(m.Contents) == 1 {
			if data, ok := m.Contents[0].Value.([]byte); ok && int(v.Offset)+len(v.Value) <= len(data) {
				copy(data[v.Offset:], v.Value)
			}
		}
	}
	linkCookies(spec, maps)
	return maps
}

func linkMap(name string, ms *ebpf.MapSpec) *Map {
	m := &Map{
		Name: name, Type: ms.Type, KeySize: ms.KeySize, ValueSize: ms.ValueSize, MaxEntries: ms.MaxEntries,
		Flags: ms.Flags, Key: ms.Key, Value: ms.Value,
	}
	m.ReadOnly = strings.HasPrefix(name, ".rodata") || name == ".kconfig"
	for _, kv := range ms.Contents {
		if data, ok := kv.Value.([]byte); ok {
			kv.Value = append([]byte(nil), data...)
		}
		m.Contents = append(m.Contents, kv)
	}
	if isData(name) && len(m.Contents) == 0 {
		m.Contents = []ebpf.MapKV{{Key: uint32(0), Value: make([]byte, m.ValueSize)}}
	}
	if ms.InnerMap != nil && ms.InnerMap != ms {
		m.Inner = linkMap(name+"[]", ms.InnerMap)
	}
	return m
}

// isData tells whether a map is a section of global variables.
func isData(name string) bool {
	for _, s := range []string{".rodata", ".data", ".bss", ".kconfig"} {
		if name == s || strings.HasPrefix(name, s+".") {
			return true
		}
	}
	return false
}

// linkTails appends the programs that the object puts into program arrays, and
// notes where each begins. What they call in turn comes with them.
func linkTails(spec *ebpf.CollectionSpec, p *Program) (asm.Instructions, map[string]map[uint32]string, error) {
	insns := append(asm.Instructions(nil), spec.Programs[p.Name].Instructions...)
	uses := func(list asm.Instructions) (names []string) {
		for i := range list {
			if list[i].IsLoadFromMap() {
				names = append(names, list[i].Reference())
			}
		}
		return names
	}
	tails := map[string]map[uint32]string{}
	added := map[string]bool{p.Name: true}
	for pending := uses(insns); len(pending) > 0; pending = pending[1:] {
		m := p.Maps[pending[0]]
		if m == nil || m.Type != ebpf.ProgramArray || tails[m.Name] != nil {
			continue
		}
		tails[m.Name] = map[uint32]string{}
		for _, kv := range m.Contents {
			name, isName := kv.Value.(string)
			index, isIndex := kv.Key.(uint32)
			if !isName || !isIndex || spec.Programs[name] == nil {
				continue
			}
			tails[m.Name][index] = name
			if !added[name] {
				added[name] = true
				insns = append(insns, spec.Programs[name].Instructions...)
				pending = append(pending, uses(spec.Programs[name].Instructions)...)
			}
		}
	}
	return insns, tails, nil
}

// hookOf reads a program's hook from its section and type.
func hookOf(ps *ebpf.ProgramSpec) Hook {
	prefix, target, _ := strings.Cut(ps.SectionName, "/")
	prefix = strings.TrimSuffix(prefix, ".s") // sleepable
	prefix = strings.TrimSuffix(prefix, ".frags")
	switch prefix {
	case "tp", "tracepoint":
		return Hook{Tracepoint, strings.Replace(target, "/", ":", 1)}
	case "raw_tp", "raw_tracepoint":
		return Hook{RawTracepoint, target}
	case "tp_btf", "kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi", "kprobe.session", "fentry", "fexit", "fmod_ret", "lsm", "iter", "uprobe", "uretprobe", "usdt", "perf_event", "xdp", "cgroup_skb", "syscall", "socket":
		return Hook{HookKind(prefix), target}
	case "tc", "tcx", "classifier", "action":
		return Hook{TC, target}
	}
	switch ps.Type {
	case ebpf.XDP:
		return Hook{XDP, ""}
	case ebpf.SchedCLS, ebpf.SchedACT:
		return Hook{TC, ""}
	case ebpf.SocketFilter:
		return Hook{SocketFilter, ""}
	case ebpf.CGroupSKB:
		return Hook{CgroupSKB, target}
	case ebpf.CGroupSockAddr:
		return Hook{SockAddr, target}
	case ebpf.Syscall:
		return Hook{Syscall, ""}
	}
	return Hook{OtherHook, ps.SectionName}
}
