package program

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Types are those of one kernel.
type Types struct {
	// Kernel is the kernel's own BTF, Modules are those of its modules. They
	// are not modified, and must not be in use elsewhere meanwhile.
	Kernel  *btf.Spec
	Modules []*btf.Spec
	// Helper reports whether the kernel has a helper, given as bpf_….
	Helper func(name string) bool
}

// Absent lists what a program uses and a kernel does not have: types, fields,
// enumerators, helpers, and types of maps and programs, each once. What the program reaches only where the
// kernel has it (bpf_core_field_exists and the like) does not count, as far as
// that can be told by following constants: what is kept in a map, say, is not
// followed, and so may be listed although the kernel's verifier would find it
// out of reach.
func (o *Object) Absent(k Types) ([]string, error) {
	var out []string
	for _, m := range o.spec.Maps {
		if what := fmt.Sprintf("maps of the type %v", m.Type); !enumerated(k.Kernel, "bpf_map_type", uint64(m.Type)) && !slices.Contains(out, what) {
			out = append(out, what)
		}
	}
	slices.Sort(out)
	for _, p := range o.Programs() {
		if what := fmt.Sprintf("programs of the type %v", p.Type); !enumerated(k.Kernel, "bpf_prog_type", uint64(p.Type)) && !slices.Contains(out, what) {
			out = append(out, what)
		}
		insns := slices.Clone(p.Instructions)
		names := map[int]string{}
		var relos []*btf.CORERelocation
		var at []int
		for i := range insns {
			ins := &insns[i]
			if r := btf.CORERelocationMetadata(ins); r != nil {
				relos, at = append(relos, r), append(at, i)
			} else if k.Helper != nil && ins.IsBuiltinCall() {
				if name := helperName(asm.BuiltinFunc(ins.Constant)); !k.Helper(name) {
					names[i] = "the helper " + name
				}
			}
		}
		var order binary.ByteOrder = binary.LittleEndian
		if p.ByteOrder != nil {
			order = p.ByteOrder
		}
		if len(relos) > 0 {
			// Ids of the program's own types do not matter for what is reached.
			fixups, err := btf.CORERelocate(relos, slices.Concat([]*btf.Spec{k.Kernel}, k.Modules), order, func(btf.Type) (btf.TypeID, error) { return 1, nil })
			if err != nil {
				return nil, fmt.Errorf("program %s: adjusting it to the kernel's types: %w", p.Name, err)
			}
			for i, f := range fixups {
				ins := &insns[at[i]]
				if err := f.Apply(ins); err != nil {
					return nil, fmt.Errorf("program %s: adjusting it to the kernel's types: %w", p.Name, err)
				}
				if ins.Constant != btf.COREBadRelocationSentinel {
					continue
				}
				what, ok := Relocated(relos[i], o.Types())
				if !ok {
					what = "a type, field or enumerator"
				}
				names[at[i]] = what
			}
		}
		if len(names) == 0 {
			continue
		}
		reached := reachable(insns)
		for i := range insns {
			if what := names[i]; what != "" && (reached == nil || reached[i]) && !slices.Contains(out, what) {
				out = append(out, what)
			}
		}
	}
	return out, nil
}

// enumerated tells whether an enum of the kernel has a value, or the kernel does not
// show the enum. The last enumerator, as in __MAX_BPF_MAP_TYPE, is their number.
func enumerated(kernel *btf.Spec, enum string, value uint64) bool {
	var list *btf.Enum
	if err := kernel.TypeByName(enum, &list); err != nil {
		return true // its own verifier will tell
	}
	return slices.ContainsFunc(list.Values, func(v btf.EnumValue) bool { return v.Value == value && !strings.HasPrefix(v.Name, "__") })
}

// scalar is what is known of a register or stack slot: nothing yet, one
// number, or that it can be several.
type scalar struct {
	state certainty
	n     uint64
}

type certainty uint8

const (
	unset certainty = iota
	known
	varies
)

func (c *scalar) join(d scalar) {
	switch {
	case d.state == unset || *c == d:
	case c.state == unset:
		*c = d
	default:
		*c = scalar{state: varies}
	}
}

// values are the constants before one instruction.
type values struct {
	reached bool
	regs    [11]scalar
	stack   [slots]scalar
}

// reachable tells which instructions a program can come to, following
// constants through registers and stack slots. It is nil when control cannot
// be followed.
func reachable(insns asm.Instructions) []bool {
	f := &access{insns: insns, starts: map[string]int{}, index: map[int]int{}}
	iter := insns.Iterate()
	for iter.Next() {
		f.at = append(f.at, int(iter.Offset))
		f.index[int(iter.Offset)] = iter.Index
		if s := iter.Ins.Symbol(); s != "" {
			if _, ok := f.starts[s]; !ok {
				f.starts[s] = iter.Index
			}
		}
	}
	in := make([]values, len(insns))
	var work []int
	join := func(i int, v values) bool {
		if i >= len(in) {
			return false
		}
		have := in[i]
		in[i].reached = true
		for r := range v.regs {
			in[i].regs[r].join(v.regs[r])
		}
		for s := range v.stack {
			in[i].stack[s].join(v.stack[s])
		}
		if in[i] != have {
			work = append(work, i)
		}
		return true
	}
	unknown := values{}
	for r := range unknown.regs {
		unknown.regs[r].state = varies
	}
	for s := range unknown.stack {
		unknown.stack[s].state = varies
	}
	if !join(0, unknown) {
		return nil
	}
	for steps := 0; len(work) > 0; steps++ {
		if steps > maxSteps {
			return nil
		}
		i := work[len(work)-1]
		work = work[:len(work)-1]
		v, ins := in[i], &insns[i]
		if ins.Dst > asm.R10 || ins.Src > asm.R10 {
			return nil
		}
		ok := true
		switch class := ins.OpCode.Class(); {
		case class.IsALU():
			v.regs[ins.Dst] = compute(ins, v.regs[ins.Dst], v.regs[ins.Src])
		case class == asm.LdClass:
			v.regs[ins.Dst] = scalar{state: varies}
			if ins.OpCode.IsDWordLoad() && ins.Src == 0 && ins.Reference() == "" {
				v.regs[ins.Dst] = scalar{known, uint64(ins.Constant)}
			}
			if start, callback := f.starts[ins.Reference()]; callback && ins.IsLoadOfFunctionPointer() {
				ok = join(start, unknown)
			}
		case class == asm.LdXClass:
			v.regs[ins.Dst] = scalar{state: varies}
			if slot, whole := exact(ins, ins.Src); whole && ins.OpCode.Mode() == asm.MemMode {
				v.regs[ins.Dst] = v.stack[slot]
			}
		case ins.OpCode.Mode() == asm.AtomicMode:
			v.regs[ins.Src], v.regs[asm.R0] = scalar{state: varies}, scalar{state: varies}
		case class == asm.StClass, class == asm.StXClass:
			store(&v, ins)
		case ins.OpCode.JumpOp() == asm.Exit:
			continue
		case ins.OpCode.JumpOp() == asm.Call:
			if start, is := f.starts[ins.Reference()]; is && ins.IsFunctionCall() {
				ok = join(start, unknown)
			}
			for r := asm.R0; r <= asm.R5; r++ {
				v.regs[r] = scalar{state: varies}
			}
		default:
			to, next, jumps := f.jump(i)
			if !jumps {
				return nil
			}
			taken, decided := decide(ins, v.regs[ins.Dst], v.regs[ins.Src])
			if !next || !decided || taken {
				ok = join(to, v)
			}
			if !next || decided && taken {
				if !ok {
					return nil
				}
				continue
			}
		}
		if !ok || !join(i+1, v) {
			return nil
		}
	}
	out := make([]bool, len(in))
	for i := range in {
		out[i] = in[i].reached
	}
	return out
}

// store forgets or keeps what a store puts on the stack.
func store(v *values, ins *asm.Instruction) {
	if slot, whole := exact(ins, ins.Dst); whole {
		v.stack[slot] = v.regs[ins.Src]
		if ins.OpCode.Class() == asm.StClass {
			v.stack[slot] = scalar{known, uint64(ins.Constant)}
		}
		return
	}
	if ins.Dst != asm.R10 {
		return // what a compiler keeps for itself it reaches by R10 only
	}
	if at := int(ins.Offset) + 512; at >= 0 && at < 512 {
		v.stack[at/8] = scalar{state: varies}
	}
}

// compute is the result of an arithmetic instruction.
func compute(ins *asm.Instruction, dst, src scalar) scalar {
	if ins.OpCode.Source() == asm.ImmSource {
		src = scalar{known, uint64(ins.Constant)}
	}
	lost := scalar{state: varies}
	op := ins.OpCode.ALUOp()
	if src.state != known || op != asm.Mov && dst.state != known || ins.Offset != 0 {
		return lost
	}
	wide := ins.OpCode.Class() == asm.ALU64Class
	a, b := dst.n, src.n
	bits := uint64(63)
	if !wide {
		a, b, bits = a&0xffff_ffff, b&0xffff_ffff, 31
	}
	var n uint64
	switch op {
	case asm.Mov:
		n = b
	case asm.Add:
		n = a + b
	case asm.Sub:
		n = a - b
	case asm.Mul:
		n = a * b
	case asm.And:
		n = a & b
	case asm.Or:
		n = a | b
	case asm.Xor:
		n = a ^ b
	case asm.LSh:
		n = a << (b & bits)
	case asm.RSh:
		n = a >> (b & bits)
	default:
		return lost
	}
	if !wide {
		n &= 0xffff_ffff
	}
	return scalar{known, n}
}

// decide tells whether a conditional jump is taken, if that is known.
func decide(ins *asm.Instruction, dst, src scalar) (taken, decided bool) {
	if ins.OpCode.Source() == asm.ImmSource {
		src = scalar{known, uint64(ins.Constant)}
	}
	if dst.state != known || src.state != known {
		return false, false
	}
	a, b := dst.n, src.n
	sa, sb := int64(a), int64(b)
	if ins.OpCode.Class() == asm.Jump32Class {
		a, b = a&0xffff_ffff, b&0xffff_ffff
		sa, sb = int64(int32(a)), int64(int32(b))
	}
	switch ins.OpCode.JumpOp() {
	case asm.JEq:
		return a == b, true
	case asm.JNE:
		return a != b, true
	case asm.JGT:
		return a > b, true
	case asm.JGE:
		return a >= b, true
	case asm.JLT:
		return a < b, true
	case asm.JLE:
		return a <= b, true
	case asm.JSGT:
		return sa > sb, true
	case asm.JSGE:
		return sa >= sb, true
	case asm.JSLT:
		return sa < sb, true
	case asm.JSLE:
		return sa <= sb, true
	case asm.JSet:
		return a&b != 0, true
	}
	return false, false
}

// relocation is how the library prints one: its accessor and the id of the
// local type, of which it offers no other view.
var relocation = regexp.MustCompile(`\[([\d:]+)\], local_id=(\d+)\)$`)

// Relocated names the kernel's type, field or enumerator that a relocation is
// about, in terms of the object's own types: "struct sock.sk_family".
func Relocated(r *btf.CORERelocation, types *btf.Spec) (string, bool) {
	if r == nil || types == nil {
		return "", false
	}
	m := relocation.FindStringSubmatch(r.String())
	if m == nil {
		return "", false
	}
	id, err := strconv.ParseUint(m[2], 10, 32)
	if err != nil {
		return "", false
	}
	t, err := types.TypeByID(btf.TypeID(id))
	if err != nil {
		return "", false
	}
	var steps []int
	for n := range strings.SplitSeq(m[1], ":") {
		i, err := strconv.Atoi(n)
		if err != nil {
			return "", false
		}
		steps = append(steps, i)
	}
	t = btf.UnderlyingType(t)
	name := typeName(t)
	if e, ok := t.(*btf.Enum); ok {
		if steps[0] >= len(e.Values) {
			return "", false
		}
		return fmt.Sprintf("the enumerator %s of %s", withoutFlavour(e.Values[steps[0]].Name), name), true
	}
	// The first step is the index of an array of t.
	for _, i := range steps[1:] {
		var members []btf.Member
		switch c := t.(type) {
		case *btf.Struct:
			members = c.Members
		case *btf.Union:
			members = c.Members
		case *btf.Array:
			t = btf.UnderlyingType(c.Type)
			continue
		}
		if i >= len(members) {
			return "", false
		}
		if field := members[i].Name; field != "" {
			name += "." + field
		}
		t = btf.UnderlyingType(members[i].Type)
	}
	return name, true
}

func typeName(t btf.Type) string {
	kind := "type"
	switch t.(type) {
	case *btf.Struct:
		kind = "struct"
	case *btf.Union:
		kind = "union"
	case *btf.Enum:
		kind = "enum"
	}
	return kind + " " + withoutFlavour(t.TypeName())
}

// withoutFlavour removes ___suffix, which tells a program's versions of one
// type apart.
func withoutFlavour(name string) string {
	name, _, _ = strings.Cut(name, "___")
	return name
}
