package symbolic

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"kgent/agent/verify/smt"
)

// TestConformance runs the programs of bpf_conformance (see
// testdata/conformance) and compares what they return.
func TestConformance(t *testing.T) {
	files, err := filepath.Glob("testdata/conformance/tests/*.data")
	if err != nil || len(files) < 312 {
		t.Fatalf("%d files, error %v; there should be 312", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".data"), func(t *testing.T) {
			c, err := readConformance(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := runConcrete(c.insns, c.mem)
			if err != nil {
				t.Fatal(err)
			}
			if got != c.result {
				t.Errorf("returned %#x, want %#x", got, c.result)
			}
		})
	}
}

// The last case of the suite, whose file has no licence.
func TestDivideBy32LowBitsOfZero(t *testing.T) {
	insns, err := assemble("mov32 %r0, 7\nlddw %r1, 0x900000000\ndiv32 %r0, %r1\nexit")
	if err != nil {
		t.Fatal(err)
	}
	got, err := runConcrete(insns, nil)
	if err != nil || got != 0 {
		t.Errorf("returned %#x, error %v; want 0", got, err)
	}
}

// runConcrete runs a program on a buffer and returns what it returns.
func runConcrete(insns asm.Instructions, mem []byte) (uint64, error) {
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"test": {Name: "test", Instructions: insns}}}
	p, err := Link(spec, "test", nil)
	if err != nil {
		return 0, err
	}
	b := smt.New()
	m := New(b, unusedSolver{}, Limits{})
	// The helper that the suite's callx and unwind tests call returns its
	// argument.
	m.helpers = map[asm.BuiltinFunc]helperModel{5: {"unwind", func(c *call) Value { return c.arg(1) }}}
	if mem == nil {
		mem = []byte{}
	}
	inv, err := m.Invoke(p, Start{buffer: mem, Follow: &model{}})
	if err != nil {
		return 0, err
	}
	out, err := m.Run(context.Background(), p, inv, m.NewWorld(p, WorldOptions{}))
	if err != nil {
		return 0, err
	}
	if len(out.Unknown) > 0 || len(out.Paths) != 1 {
		return 0, fmt.Errorf("%d paths, unknown: %v", len(out.Paths), out.Unknown)
	}
	path := out.Paths[0]
	if path.Crash != nil || len(path.Unknown) > 0 {
		return 0, fmt.Errorf("crash %v, unknown: %v", path.Crash, path.Unknown)
	}
	v, ok := path.Return.Const()
	if !ok {
		return 0, fmt.Errorf("returned %v", path.Return)
	}
	return v, nil
}

// unusedSolver is for runs in which nothing is left to decide.
type unusedSolver struct{}

func (unusedSolver) Check(context.Context, ...smt.Term) (smt.Answer, error) {
	return smt.Answer{Why: "no solver is needed here"}, nil
}

type conformance struct {
	insns  asm.Instructions
	mem    []byte
	result uint64
}

func readConformance(file string) (*conformance, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	parts := map[string][]string{}
	part := ""
	for _, line := range strings.Split(string(data), "\n") {
		if name, ok := strings.CutPrefix(line, "-- "); ok {
			part = strings.TrimSpace(name)
			continue
		}
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			parts[part] = append(parts[part], line)
		}
	}
	c := &conformance{}
	if c.mem, err = hex.DecodeString(strings.ReplaceAll(strings.Join(parts["mem"], ""), " ", "")); err != nil {
		return nil, err
	}
	if c.result, err = strconv.ParseUint(strings.Join(parts["result"], ""), 0, 64); err != nil {
		return nil, err
	}
	if raw := parts["raw"]; raw != nil {
		var buf bytes.Buffer
		for _, word := range raw {
			v, err := strconv.ParseUint(word, 0, 64)
			if err != nil {
				return nil, err
			}
			binary.Write(&buf, binary.LittleEndian, v)
		}
		c.insns, err = asm.AppendInstructions(nil, &buf, binary.LittleEndian, "linux")
		return c, err
	}
	c.insns, err = assemble(strings.Join(parts["asm"], "\n"))
	return c, err
}

// assemble reads the suite's assembly language.
func assemble(text string) (asm.Instructions, error) {
	a := &assembler{labels: map[string]int{}}
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if name, ok := strings.CutSuffix(line, ":"); ok {
			a.labels[name] = a.raw
			continue
		}
		if err := a.line(line); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
	}
	for i := range a.insns {
		if err := a.resolve(i); err != nil {
			return nil, err
		}
	}
	return a.insns, nil
}

type assembler struct {
	insns  asm.Instructions
	at     []int    // raw offset of each instruction
	want   []string // where each jumps
	raw    int
	labels map[string]int
}

func (a *assembler) emit(ins asm.Instruction, label string) {
	a.insns, a.at, a.want = append(a.insns, ins), append(a.at, a.raw), append(a.want, label)
	a.raw += int(ins.Width())
}

func (a *assembler) resolve(i int) error {
	label := a.want[i]
	if label == "" {
		return nil
	}
	var delta int
	if rel, ok := strings.CutPrefix(label, "+"); ok {
		n, err := strconv.ParseInt(rel, 0, 32)
		if err != nil {
			return err
		}
		delta = int(n)
	} else if to, ok := a.labels[label]; ok {
		delta = to - a.at[i] - 1
	} else if label == "exit" {
		for j := range a.insns {
			if a.insns[j].OpCode.JumpOp() == asm.Exit {
				delta = a.at[j] - a.at[i] - 1
			}
		}
	} else {
		return fmt.Errorf("no label %q", label)
	}
	ins := &a.insns[i]
	if ins.IsFunctionCall() || ins.OpCode.Class() == asm.Jump32Class && ins.OpCode.JumpOp() == asm.Ja {
		ins.Constant = int64(delta)
	} else {
		ins.Offset = int16(delta)
	}
	return nil
}

var aluOps = map[string]asm.ALUOp{
	"add": asm.Add, "sub": asm.Sub, "mul": asm.Mul, "div": asm.Div, "sdiv": asm.SDiv, "or": asm.Or, "and": asm.And,
	"lsh": asm.LSh, "rsh": asm.RSh, "neg": asm.Neg, "mod": asm.Mod, "smod": asm.SMod, "xor": asm.Xor, "mov": asm.Mov,
	"arsh": asm.ArSh,
}

var jumpOps = map[string]asm.JumpOp{
	"jeq": asm.JEq, "jgt": asm.JGT, "jge": asm.JGE, "jset": asm.JSet, "jne": asm.JNE, "jsgt": asm.JSGT, "jsge": asm.JSGE,
	"jlt": asm.JLT, "jle": asm.JLE, "jslt": asm.JSLT, "jsle": asm.JSLE,
}

var sizes = map[string]asm.Size{"b": asm.Byte, "h": asm.Half, "w": asm.Word, "dw": asm.DWord}

func (a *assembler) line(line string) error {
	name, rest, _ := strings.Cut(line, " ")
	var args []string
	for _, s := range strings.Split(rest, ",") {
		if s = strings.TrimSpace(s); s != "" {
			args = append(args, s)
		}
	}
	name = strings.ToLower(name)
	switch name {
	case "exit":
		a.emit(asm.Return(), "")
		return nil
	case "ja":
		a.emit(asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Ja)}, args[0])
		return nil
	case "ja32":
		a.emit(asm.Instruction{OpCode: asm.OpCode(asm.Jump32Class).SetJumpOp(asm.Ja)}, args[0])
		return nil
	case "call":
		return a.call(args[0])
	case "lock":
		return a.lock(rest)
	case "lddw":
		dst, err := register(args[0])
		if err != nil {
			return err
		}
		v, err := immediate(args[1])
		a.emit(asm.LoadImm(dst, v, asm.DWord), "")
		return err
	}
	for _, op := range []struct {
		prefix string
		f      func(size string, args []string) error
	}{{"be", a.end(asm.BE)}, {"le", a.end(asm.LE)}, {"swap", a.swap}, {"bswap", a.swap}, {"ldxs", a.load(true)}, {"ldx", a.load(false)}, {"stx", a.storeReg}, {"st", a.storeImm}, {"movsx", a.movsx}} {
		if size, ok := strings.CutPrefix(name, op.prefix); ok {
			if err := op.f(size, args); err != errOther {
				return err
			}
		}
	}
	wide := !strings.HasSuffix(name, "32")
	base := strings.TrimSuffix(strings.TrimSuffix(name, "32"), "64")
	if op, ok := jumpOps[base]; ok {
		return a.jump(op, wide, args)
	}
	if op, ok := aluOps[base]; ok {
		return a.alu(op, wide, args)
	}
	return fmt.Errorf("no such instruction")
}

var errOther = fmt.Errorf("another instruction")

func register(s string) (asm.Register, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "%r"))
	if err != nil || n > 10 || !strings.HasPrefix(s, "%r") {
		return 0, fmt.Errorf("%q is no register", s)
	}
	return asm.Register(n), nil
}

func immediate(s string) (int64, error) {
	if v, err := strconv.ParseInt(s, 0, 64); err == nil {
		return v, nil
	}
	v, err := strconv.ParseUint(s, 0, 64)
	return int64(v), err
}

// address reads "[%r1+2]".
func address(s string) (asm.Register, int16, error) {
	s = strings.Trim(s, "[]")
	i := strings.IndexAny(s, "+-")
	if i < 0 {
		r, err := register(s)
		return r, 0, err
	}
	r, err := register(s[:i])
	if err != nil {
		return 0, 0, err
	}
	off, err := strconv.ParseInt(s[i:], 0, 16)
	return r, int16(off), err
}

func (a *assembler) alu(op asm.ALUOp, wide bool, args []string) error {
	dst, err := register(args[0])
	if err != nil {
		return err
	}
	class := asm.ALUClass
	if wide {
		class = asm.ALU64Class
	}
	ins := asm.Instruction{OpCode: asm.OpCode(class).SetALUOp(op), Dst: dst}
	if len(args) > 1 {
		if src, err := register(args[1]); err == nil {
			ins.OpCode, ins.Src = ins.OpCode.SetSource(asm.RegSource), src
		} else if ins.Constant, err = immediate(args[1]); err != nil {
			return err
		}
	}
	ins.Constant = int64(int32(ins.Constant))
	a.emit(ins, "")
	return nil
}

func (a *assembler) jump(op asm.JumpOp, wide bool, args []string) error {
	dst, err := register(args[0])
	if err != nil {
		return err
	}
	class := asm.Jump32Class
	if wide {
		class = asm.JumpClass
	}
	ins := asm.Instruction{OpCode: asm.OpCode(class).SetJumpOp(op), Dst: dst}
	if src, err := register(args[1]); err == nil {
		ins.OpCode, ins.Src = ins.OpCode.SetSource(asm.RegSource), src
	} else if ins.Constant, err = immediate(args[1]); err != nil {
		return err
	}
	ins.Constant = int64(int32(ins.Constant))
	a.emit(ins, args[2])
	return nil
}

func (a *assembler) call(arg string) error {
	if name, ok := strings.CutPrefix(arg, "local "); ok {
		a.emit(asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall}, name)
		return nil
	}
	if r, err := register(arg); err == nil {
		a.emit(asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call).SetSource(asm.RegSource), Dst: r}, "")
		return nil
	}
	v, err := immediate(arg)
	a.emit(asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Constant: v}, "")
	return err
}

func (a *assembler) lock(rest string) error {
	fields := strings.Fields(strings.ReplaceAll(strings.ToLower(rest), ",", " "))
	fetch := fields[0] == "fetch"
	if fetch {
		fields = fields[1:]
	}
	size := asm.DWord
	name, narrow := strings.CutSuffix(fields[0], "32")
	if narrow {
		size = asm.Word
	}
	plain := map[string]asm.AtomicOp{"add": asm.AddAtomic, "or": asm.OrAtomic, "and": asm.AndAtomic, "xor": asm.XorAtomic, "xchg": asm.Xchg, "cmpxchg": asm.CmpXchg}
	fetching := map[string]asm.AtomicOp{"add": asm.FetchAdd, "or": asm.FetchOr, "and": asm.FetchAnd, "xor": asm.FetchXor}
	op, ok := plain[name]
	if fetch {
		op, ok = fetching[name]
	}
	if !ok {
		return fmt.Errorf("no such atomic operation")
	}
	dst, off, err := address(fields[1])
	if err != nil {
		return err
	}
	src, err := register(fields[2])
	a.emit(op.Mem(dst, src, size, off), "")
	return err
}

func (a *assembler) end(order asm.Endianness) func(string, []string) error {
	return func(bits string, args []string) error {
		size, ok := map[string]asm.Size{"16": asm.Half, "32": asm.Word, "64": asm.DWord}[bits]
		if !ok {
			return errOther
		}
		dst, err := register(args[0])
		a.emit(asm.HostTo(order, dst, size), "")
		return err
	}
}

func (a *assembler) swap(bits string, args []string) error {
	size, ok := map[string]asm.Size{"16": asm.Half, "32": asm.Word, "64": asm.DWord}[bits]
	if !ok {
		return errOther
	}
	dst, err := register(args[0])
	a.emit(asm.BSwap(dst, size), "")
	return err
}

func (a *assembler) movsx(form string, args []string) error {
	// movsx<from><to>: movsx832, movsx1664, …
	from, to := form, ""
	for _, f := range []string{"8", "16", "32"} {
		if rest, ok := strings.CutPrefix(form, f); ok {
			from, to = f, rest
		}
	}
	op, ok := map[string]asm.ALUOp{"8": asm.MovSX8, "16": asm.MovSX16, "32": asm.MovSX32}[from]
	if !ok || to != "32" && to != "64" {
		return errOther
	}
	return a.alu(op, to == "64", args)
}

func (a *assembler) load(signed bool) func(string, []string) error {
	return func(size string, args []string) error {
		s, ok := sizes[size]
		if !ok {
			return errOther
		}
		dst, err := register(args[0])
		if err != nil {
			return err
		}
		src, off, err := address(args[1])
		ins := asm.LoadMem(dst, src, off, s)
		if signed {
			ins = asm.LoadMemSX(dst, src, off, s)
		}
		a.emit(ins, "")
		return err
	}
}

func (a *assembler) storeReg(size string, args []string) error {
	s, ok := sizes[size]
	if !ok {
		return errOther
	}
	dst, off, err := address(args[0])
	if err != nil {
		return err
	}
	src, err := register(args[1])
	a.emit(asm.StoreMem(dst, off, src, s), "")
	return err
}

func (a *assembler) storeImm(size string, args []string) error {
	s, ok := sizes[size]
	if !ok {
		return errOther
	}
	dst, off, err := address(args[0])
	if err != nil {
		return err
	}
	v, err := immediate(args[1])
	a.emit(asm.Instruction{OpCode: asm.StoreImmOp(s), Dst: dst, Offset: off, Constant: int64(int32(v))}, "")
	return err
}
