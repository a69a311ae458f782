package symbolic

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"

	"kgent/agent/verify/smt"
)

// disagreements are seeds of programs about which the machine and the kernel
// once disagreed.
var disagreements = []int64{}

// pathDisagreements are seeds of programs whose paths once said something else
// than a run: arithmetic on a pointer that is NULL.
var pathDisagreements = []int64{1_000_538}

// soak is how many random programs a test takes: short, unless KGENT_SOAK says
// how many.
func soak(t testing.TB, short int) int {
	if v := os.Getenv("KGENT_SOAK"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("KGENT_SOAK=%q: %v", v, err)
		}
		return n
	}
	return short
}

// TestAgreesWithKernel runs random programs in the machine and, by
// BPF_PROG_TEST_RUN, in the kernel. Both must return the same value and leave
// the same packet and the same maps.
func TestAgreesWithKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("loading programs takes root")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Skip(err)
	}
	k := newKernelRunner(t)
	ran, refused := 0, 0
	n := soak(t, 600)
	seeds := append([]int64(nil), disagreements...)
	for i := range n {
		seeds = append(seeds, int64(i)+1)
	}
	for _, seed := range seeds {
		c := randomCase(seed)
		want, err := k.run(c)
		if errors.Is(err, errRefused) {
			if refused++; refused <= 3 {
				t.Logf("seed %d: %v", seed, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got, err := runCase(c)
		if err != nil {
			t.Fatalf("seed %d: %v\n%v", seed, err, c.insns)
		}
		if ran++; ran%10000 == 0 {
			fmt.Fprintf(os.Stderr, "%d programs agree so far\n", ran)
		}
		if diff := got.differs(want); diff != "" {
			t.Fatalf("seed %d: %s\n%v", seed, diff, c.insns)
		}
	}
	t.Logf("%d programs agree; the kernel's verifier refused %d", ran, refused)
	if refused*5 > n {
		t.Errorf("the kernel's verifier refused %d of %d programs: the generator makes too many that are not well-typed", refused, n)
	}
}

// TestPathsAgreeWithRuns explores random programs with a symbolic packet and
// evaluates the paths for concrete ones: exactly one path must fit, and it
// must say what the concrete run does.
func TestPathsAgreeWithRuns(t *testing.T) {
	compared, open := 0, 0
	seeds := slices.Clone(pathDisagreements)
	for i := range soak(t, 300) {
		seeds = append(seeds, int64(i)+1_000_000)
	}
	for _, seed := range seeds {
		c := randomCase(seed)
		want, err := runCase(c)
		if err != nil {
			t.Fatalf("seed %d: %v\n%v", seed, err, c.insns)
		}
		for _, follow := range []bool{true, false} {
			got, err := evaluateCase(c, follow)
			if errors.Is(err, errNotExplored) {
				open++
				continue
			}
			if err != nil {
				t.Fatalf("seed %d: %v\n%v", seed, err, c.insns)
			}
			if diff := got.differs(want); diff != "" {
				t.Fatalf("seed %d: following %v: %s\n%v", seed, follow, diff, c.insns)
			}
		}
		if seed%4 != 0 {
			continue
		}
		// Without merging there are more paths, and the same answers. They may
		// also be too many.
		apart, err := evaluateApart(c)
		if err == nil {
			if diff := apart.differs(want); diff != "" {
				t.Fatalf("seed %d, no merging: %s\n%v", seed, diff, c.insns)
			}
			compared++
		}
	}
	t.Logf("%d programs agree, %d of them also without merging; %d were not explored within the limits", len(seeds)-open, compared, open)
	if open*20 > len(seeds) {
		t.Errorf("%d of %d programs were not explored", open, len(seeds))
	}
	if compared == 0 {
		t.Error("no program was explored without merging")
	}
}

const (
	packetSize = 64
	arraySize  = 4
	valueSize  = 32
)

// testCase is a random program with its input.
type testCase struct {
	insns  asm.Instructions
	packet []byte
	array  [arraySize][]byte
	hash   map[uint64][]byte
}

// result is what a run leaves.
type result struct {
	ret    uint32
	packet []byte
	array  [arraySize][]byte
	hash   map[uint64][]byte
}

func (r *result) differs(want *result) string {
	if r.ret != want.ret {
		return fmt.Sprintf("returned %#x, want %#x", r.ret, want.ret)
	}
	if !bytes.Equal(r.packet, want.packet) {
		return fmt.Sprintf("packet\n% x, want\n% x", r.packet, want.packet)
	}
	for i := range r.array {
		if !bytes.Equal(r.array[i], want.array[i]) {
			return fmt.Sprintf("array[%d] is\n% x, want\n% x", i, r.array[i], want.array[i])
		}
	}
	if len(r.hash) != len(want.hash) {
		return fmt.Sprintf("hash %v, want %v", r.hash, want.hash)
	}
	for k, v := range want.hash {
		if !bytes.Equal(r.hash[k], v) {
			return fmt.Sprintf("hash[%d] is\n% x, want\n% x", k, r.hash[k], v)
		}
	}
	return ""
}

// collection is the case as an object would be.
func (c *testCase) collection() *ebpf.CollectionSpec {
	array := &ebpf.MapSpec{Name: "array", Type: ebpf.Array, KeySize: 4, ValueSize: valueSize, MaxEntries: arraySize}
	for i, v := range c.array {
		array.Contents = append(array.Contents, ebpf.MapKV{Key: uint32(i), Value: append([]byte(nil), v...)})
	}
	hash := &ebpf.MapSpec{Name: "hash", Type: ebpf.Hash, KeySize: 8, ValueSize: valueSize, MaxEntries: 64}
	for k, v := range c.hash {
		hash.Contents = append(hash.Contents, ebpf.MapKV{Key: binary.LittleEndian.AppendUint64(nil, k), Value: append([]byte(nil), v...)})
	}
	return &ebpf.CollectionSpec{
		Maps:     map[string]*ebpf.MapSpec{"array": array, "hash": hash},
		Programs: map[string]*ebpf.ProgramSpec{"test": {Name: "test", Type: ebpf.XDP, Instructions: c.insns}},
	}
}

// runCase runs a case in the machine, on constants.
func runCase(c *testCase) (*result, error) {
	p, err := Link(c.collection(), "test", nil)
	if err != nil {
		return nil, err
	}
	b := smt.New()
	m := New(b, unusedSolver{}, Limits{})
	values := &model{values: map[smt.Term]uint64{}}
	inv, err := m.Invoke(p, Start{Packet: c.packet, Follow: values})
	if err != nil {
		return nil, err
	}
	values.running(inv)
	out, err := m.Run(context.Background(), p, inv, m.NewWorld(p, WorldOptions{Default: Fresh}))
	if err != nil {
		return nil, err
	}
	return readOutcome(p, out, values)
}

// running gives the model what is always so: a current task, and clocks past 0.
func (m *model) running(inv *Invocation) {
	for _, t := range []smt.Term{inv.currentTask(), inv.clock("now", "ns"), inv.clock("now.boot", "ns")} {
		m.values[t] = 1
	}
}

// evaluateCase explores a case with a symbolic packet, and reads off what
// happens to the case's own. Following it takes the one path of that packet,
// with the same terms and without a solver.
func evaluateCase(c *testCase, follow bool) (*result, error) {
	return evaluate(c, false, follow, Limits{Paths: 2000, Time: 4 * time.Second})
}

// errNotExplored means that a limit was reached.
var errNotExplored = errors.New("not explored")

// evaluateApart does the same without merging states.
func evaluateApart(c *testCase) (*result, error) {
	return evaluate(c, true, false, Limits{Paths: 100, Time: time.Second})
}

func evaluate(c *testCase, apart, follow bool, limits Limits) (*result, error) {
	p, err := Link(c.collection(), "test", nil)
	if err != nil {
		return nil, err
	}
	b := smt.New()
	m := New(b, smt.NewBuiltin(b, smt.Limits{}), limits)
	m.noMerge = apart
	inv, err := m.Invoke(p, Start{Args: map[string]smt.Term{"packet.len": b.Const(32, packetSize)}})
	if err != nil {
		return nil, err
	}
	values := &model{values: map[smt.Term]uint64{}}
	values.running(inv)
	for i, v := range c.packet {
		values.values[inv.packetByte(i)] = uint64(v)
	}
	if follow {
		inv = inv.Follow(values)
	}
	out, err := m.Run(context.Background(), p, inv, m.NewWorld(p, WorldOptions{Default: Fresh}))
	if err != nil {
		return nil, err
	}
	return readOutcome(p, out, values)
}

// readOutcome evaluates the one path whose condition a model fulfils.
func readOutcome(p *Program, out *Outcome, values *model) (*result, error) {
	if len(out.Unknown) > 0 {
		return nil, fmt.Errorf("%w: %v", errNotExplored, out.Unknown)
	}
	var path *Path
	for _, q := range out.Paths {
		fits := true
		for _, c := range q.Cond {
			fits = fits && values.Value(c) == 1
		}
		if !fits {
			continue
		}
		if path != nil {
			return nil, errors.New("two paths for one input")
		}
		path = q
	}
	if path == nil {
		return nil, fmt.Errorf("no path of %d for the input", len(out.Paths))
	}
	if path.Crash != nil || len(path.Unknown) > 0 {
		return nil, fmt.Errorf("crash %v, unknown %v", path.Crash, path.Unknown)
	}
	r := &result{ret: uint32(values.Value(path.Return)), hash: map[uint64][]byte{}}
	r.packet = path.Packet.Slice(0, packetSize).Eval(values)
	for i, kv := range p.Maps["array"].Contents {
		r.array[i] = kv.Value.([]byte)
	}
	for _, cell := range path.World.Cells(p.Maps["array"]) {
		if i := binary.LittleEndian.Uint32(cell.Key.Eval(values)); i < arraySize {
			r.array[i] = cell.Value.Eval(values)
		}
	}
	for _, kv := range p.Maps["hash"].Contents {
		r.hash[binary.LittleEndian.Uint64(kv.Key.([]byte))] = kv.Value.([]byte)
	}
	for _, cell := range path.World.Cells(p.Maps["hash"]) {
		k := binary.LittleEndian.Uint64(cell.Key.Eval(values))
		if values.Value(cell.Present) == 1 {
			r.hash[k] = cell.Value.Eval(values)
		} else {
			delete(r.hash, k)
		}
	}
	return r, nil
}

// kernelRunner runs cases in the kernel, with maps that are used again.
type kernelRunner struct {
	array, hash *ebpf.Map
}

func newKernelRunner(t *testing.T) *kernelRunner {
	spec := randomCase(1).collection()
	k := &kernelRunner{}
	for name, m := range map[string]**ebpf.Map{"array": &k.array, "hash": &k.hash} {
		s := spec.Maps[name]
		s.Contents = nil
		created, err := ebpf.NewMap(s)
		if err != nil {
			t.Skipf("this kernel makes no maps: %v", err)
		}
		t.Cleanup(func() { created.Close() })
		*m = created
	}
	return k
}

var errRefused = errors.New("the kernel's verifier refused it")

func (k *kernelRunner) run(c *testCase) (*result, error) {
	if err := k.reset(c); err != nil {
		return nil, err
	}
	insns := make(asm.Instructions, len(c.insns))
	copy(insns, c.insns)
	for name, m := range map[string]*ebpf.Map{"array": k.array, "hash": k.hash} {
		if err := insns.AssociateMap(name, m); err != nil && !errors.Is(err, asm.ErrUnreferencedSymbol) {
			return nil, err
		}
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "test", Type: ebpf.XDP, License: "GPL", Instructions: insns})
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errRefused, err)
	}
	defer prog.Close()
	r := &result{packet: make([]byte, packetSize), hash: map[uint64][]byte{}}
	if r.ret, err = prog.Run(&ebpf.RunOptions{Data: c.packet, DataOut: r.packet}); err != nil {
		return nil, err
	}
	for i := range arraySize {
		if err := k.array.Lookup(uint32(i), &r.array[i]); err != nil {
			return nil, err
		}
	}
	var key uint64
	var value []byte
	for it := k.hash.Iterate(); it.Next(&key, &value); {
		r.hash[key] = append([]byte(nil), value...)
	}
	return r, nil
}

func (k *kernelRunner) reset(c *testCase) error {
	for i, v := range c.array {
		if err := k.array.Put(uint32(i), v); err != nil {
			return err
		}
	}
	var keys []uint64
	var key uint64
	var value []byte
	for it := k.hash.Iterate(); it.Next(&key, &value); {
		keys = append(keys, key)
	}
	for _, key := range keys {
		if err := k.hash.Delete(key); err != nil {
			return err
		}
	}
	for key, v := range c.hash {
		if err := k.hash.Put(key, v); err != nil {
			return err
		}
	}
	return nil
}

// generator makes well-typed programs. R6 is the context, R7 the packet; R0 to
// R5, R8 and R9 are numbers; the 64 bytes below the frame pointer are
// initialised.
type generator struct {
	*rand.Rand
	insns  asm.Instructions
	labels int
	// pending are labels of jumps to come, by how many steps from now.
	pending map[int][]string
	loop    bool // R9 counts
	leaf    bool // in a subprogram: no packet, no maps
}

var numbers = []asm.Register{asm.R0, asm.R1, asm.R2, asm.R3, asm.R4, asm.R5, asm.R8, asm.R9}

const stackBytes = 64

func randomCase(seed int64) *testCase {
	r := rand.New(rand.NewSource(seed))
	c := &testCase{packet: make([]byte, packetSize), hash: map[uint64][]byte{}}
	r.Read(c.packet)
	for i := range c.array {
		c.array[i] = make([]byte, valueSize)
		r.Read(c.array[i])
	}
	for range r.Intn(3) {
		v := make([]byte, valueSize)
		r.Read(v)
		c.hash[uint64(r.Intn(4))] = v
	}
	g := &generator{Rand: r}
	g.program()
	c.insns = g.insns
	return c
}

func (g *generator) emit(ins ...asm.Instruction) { g.insns = append(g.insns, ins...) }

func (g *generator) label() string {
	g.labels++
	return fmt.Sprintf("L%d", g.labels)
}

func (g *generator) number() asm.Register {
	for {
		r := numbers[g.Intn(len(numbers))]
		if g.loop && r == asm.R9 {
			continue
		}
		return r
	}
}

func (g *generator) constant() int32 {
	switch g.Intn(6) {
	case 0:
		return int32(g.Intn(4)) - 1
	case 1:
		return int32(1) << g.Intn(32)
	case 2:
		return -(int32(1) << g.Intn(31))
	case 3:
		return int32(g.Intn(256))
	default:
		return int32(g.Uint32())
	}
}

func (g *generator) program() {
	g.emit(
		asm.Mov.Reg(asm.R6, asm.R1).WithSymbol("test"),
		asm.LoadMem(asm.R7, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R2, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R7),
		asm.Add.Imm(asm.R3, packetSize),
		asm.Mov.Imm(asm.R0, 0),
		asm.JGT.Reg(asm.R3, asm.R2, "out"),
	)
	g.initialise()
	sub := ""
	if g.Intn(3) == 0 {
		sub = "sub"
	}
	g.body(5+g.Intn(25), sub)
	g.fold()
	g.emit(asm.Return().WithSymbol("out"))
	if slices.ContainsFunc(g.insns, func(ins asm.Instruction) bool { return ins.Reference() == "sub" }) {
		g.subprogram(sub)
	}
}

// initialise gives every number a value: a constant or bytes of the packet.
func (g *generator) initialise() {
	for _, r := range numbers {
		g.setNumber(r)
	}
	for off := -stackBytes; off < 0; off += 8 {
		g.emit(asm.StoreMem(asm.R10, int16(off), g.number(), asm.DWord))
	}
}

func (g *generator) setNumber(r asm.Register) {
	switch g.Intn(3) {
	case 0:
		g.emit(asm.LoadImm(r, int64(g.Uint64()), asm.DWord))
	case 1:
		g.emit(asm.Mov.Imm(r, g.constant()))
	default:
		if g.leaf {
			g.emit(asm.Mov.Imm(r, g.constant()))
			return
		}
		size := []asm.Size{asm.Byte, asm.Half, asm.Word, asm.DWord}[g.Intn(4)]
		g.emit(asm.LoadMem(r, asm.R7, int16(g.Intn(packetSize/8)*8), size))
	}
}

// body is a sequence of steps, between which jumps go forwards.
func (g *generator) body(steps int, sub string) {
	outer := g.pending
	g.pending = map[int][]string{}
	for i := range steps {
		at := len(g.insns)
		g.step(i, steps, sub)
		if len(g.insns) == at {
			g.emit(asm.Mov.Reg(asm.R0, asm.R0))
		}
		g.place(g.pending[i], at)
		delete(g.pending, i)
	}
	end := len(g.insns)
	g.emit(asm.Mov.Reg(asm.R0, asm.R0))
	for _, labels := range g.pending {
		g.place(labels, end)
	}
	g.pending = outer
}

// place gives an instruction labels. It can have one symbol, so jumps to it
// are made to use the same.
func (g *generator) place(labels []string, at int) {
	if len(labels) == 0 {
		return
	}
	name := g.insns[at].Symbol()
	if name == "" {
		name = labels[0]
		g.insns[at] = g.insns[at].WithSymbol(name)
	}
	for i := range g.insns {
		for _, l := range labels {
			if g.insns[i].Reference() == l {
				g.insns[i] = g.insns[i].WithReference(name)
			}
		}
	}
}

func (g *generator) step(i, steps int, sub string) {
	switch n := g.Intn(100); {
	case n < 40:
		g.alu()
	case n < 47:
		g.swap()
	case n < 60:
		g.jump(i + 1 + g.Intn(steps-i))
	case n < 68:
		g.stack()
	case n < 74:
		g.stackAtomic()
	case n < 80 && !g.leaf:
		g.packetAccess()
	case n < 88 && !g.leaf:
		g.mapAccess()
	case n < 91 && !g.leaf:
		g.hashAccess()
	case n < 94 && sub != "":
		g.emit(asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall, Constant: -1}.WithReference(sub))
		g.afterCall()
	case n < 96 && !g.loop && !g.leaf:
		g.counted()
	default:
		g.stackVariable()
	}
}

var aluNames = []asm.ALUOp{asm.Add, asm.Sub, asm.Mul, asm.Div, asm.Or, asm.And, asm.LSh, asm.RSh, asm.Mod, asm.Xor, asm.Mov, asm.ArSh, asm.SDiv, asm.SMod, asm.Neg, asm.MovSX8, asm.MovSX16, asm.MovSX32}

func (g *generator) alu() {
	op := aluNames[g.Intn(len(aluNames))]
	dst, src, wide := g.number(), g.number(), g.Intn(2) == 0
	class := asm.ALUClass
	if wide {
		class = asm.ALU64Class
	}
	code := asm.OpCode(class).SetALUOp(op)
	if op == asm.MovSX32 {
		code = asm.OpCode(asm.ALU64Class).SetALUOp(op)
	}
	if op == asm.Neg {
		g.emit(asm.Instruction{OpCode: code, Dst: dst})
		return
	}
	signExtends := op == asm.MovSX8 || op == asm.MovSX16 || op == asm.MovSX32
	if signExtends || g.Intn(2) == 0 {
		g.emit(asm.Instruction{OpCode: code.SetSource(asm.RegSource), Dst: dst, Src: src})
		return
	}
	v := g.constant()
	switch op {
	case asm.LSh, asm.RSh, asm.ArSh:
		v = int32(g.Intn(32))
		if wide {
			v = int32(g.Intn(64))
		}
	case asm.Div, asm.Mod, asm.SDiv, asm.SMod:
		if v == 0 {
			v = 7
		}
	}
	g.emit(asm.Instruction{OpCode: code, Dst: dst, Constant: int64(v)})
}

func (g *generator) swap() {
	size := []asm.Size{asm.Half, asm.Word, asm.DWord}[g.Intn(3)]
	switch g.Intn(3) {
	case 0:
		g.emit(asm.BSwap(g.number(), size))
	case 1:
		g.emit(asm.HostTo(asm.BE, g.number(), size))
	default:
		g.emit(asm.HostTo(asm.LE, g.number(), size))
	}
}

var jumpNames = []asm.JumpOp{asm.JEq, asm.JGT, asm.JGE, asm.JSet, asm.JNE, asm.JSGT, asm.JSGE, asm.JLT, asm.JLE, asm.JSLT, asm.JSLE}

func (g *generator) jump(to int) {
	l := g.label()
	g.pending[to] = append(g.pending[to], l)
	op := jumpNames[g.Intn(len(jumpNames))]
	dst, src := g.number(), g.number()
	switch g.Intn(4) {
	case 0:
		g.emit(op.Imm(dst, g.constant(), l))
	case 1:
		g.emit(op.Reg(dst, src, l))
	case 2:
		g.emit(op.Imm32(dst, g.constant(), l))
	default:
		g.emit(op.Reg32(dst, src, l))
	}
}

func (g *generator) size() asm.Size {
	return []asm.Size{asm.Byte, asm.Half, asm.Word, asm.DWord}[g.Intn(4)]
}

// slotOf is an aligned offset in n bytes.
func (g *generator) slotOf(n int, size asm.Size) int16 {
	s := size.Sizeof()
	return int16(g.Intn(n/s) * s)
}

// access reads or writes at a base register.
func (g *generator) access(base asm.Register, n int, origin int16) {
	size := g.size()
	off := origin + g.slotOf(n, size)
	switch g.Intn(4) {
	case 0:
		g.emit(asm.LoadMem(g.number(), base, off, size))
	case 1:
		if size == asm.DWord {
			size = asm.Word
		}
		g.emit(asm.LoadMemSX(g.number(), base, off, size))
	case 2:
		g.emit(asm.StoreMem(base, off, g.number(), size))
	default:
		g.emit(asm.Instruction{OpCode: asm.StoreImmOp(size), Dst: base, Offset: off, Constant: int64(g.constant())})
	}
}

func (g *generator) stack() { g.access(asm.R10, stackBytes, -stackBytes) }

func (g *generator) packetAccess() { g.access(asm.R7, packetSize, 0) }

var atomicNames = []asm.AtomicOp{asm.AddAtomic, asm.FetchAdd, asm.AndAtomic, asm.FetchAnd, asm.OrAtomic, asm.FetchOr, asm.XorAtomic, asm.FetchXor, asm.Xchg, asm.CmpXchg}

func (g *generator) atomicAt(base asm.Register, n int, origin int16) {
	op := atomicNames[g.Intn(len(atomicNames))]
	size := []asm.Size{asm.Word, asm.DWord}[g.Intn(2)]
	ins := op.Mem(base, g.number(), size, origin+g.slotOf(n, size))
	ins.Constant = int64(op >> 8) // where the kernel looks for the operation
	g.emit(ins)
}

func (g *generator) stackAtomic() { g.atomicAt(asm.R10, stackBytes, -stackBytes) }

// stackVariable reads or writes the stack at an offset that is a number.
func (g *generator) stackVariable() {
	size := g.size()
	index, ptr := g.number(), asm.R1
	for index == ptr {
		index = g.number()
	}
	value := g.number()
	for value == ptr {
		value = g.number()
	}
	g.emit(
		asm.And.Imm(index, int32(stackBytes-8)&^int32(size.Sizeof()-1)),
		asm.Mov.Reg(ptr, asm.R10),
		asm.Add.Reg(ptr, index),
	)
	if g.Intn(2) == 0 {
		g.emit(asm.StoreMem(ptr, -stackBytes, value, size), asm.Mov.Imm(ptr, g.constant()))
		return
	}
	g.emit(asm.LoadMem(ptr, ptr, -stackBytes, size))
}

// afterCall gives the registers that a call destroys new values.
func (g *generator) afterCall() {
	for r := asm.R1; r <= asm.R5; r++ {
		g.setNumber(r)
	}
}

// lookup calls bpf_map_lookup_elem with the key on the stack.
func (g *generator) lookup(name string) {
	g.emit(
		asm.LoadMapPtr(asm.R1, 0).WithReference(name),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -stackBytes-8),
		asm.FnMapLookupElem.Call(),
	)
}

// use works with the value behind R0, unless it is NULL.
func (g *generator) use() {
	over := g.label()
	for r := asm.R1; r <= asm.R5; r++ {
		g.emit(asm.Mov.Imm(r, g.constant()))
	}
	g.emit(asm.JEq.Imm(asm.R0, 0, over))
	// R0 is taken: the steps below work with a copy in R5.
	g.emit(asm.Mov.Reg(asm.R5, asm.R0), asm.Mov.Imm(asm.R0, g.constant()))
	at := len(g.insns)
	for range 1 + g.Intn(3) {
		if g.Intn(3) == 0 {
			g.atomicAt(asm.R5, valueSize, 0)
		} else {
			g.access(asm.R5, valueSize, 0)
		}
	}
	for i := at; i < len(g.insns); i++ {
		g.keep(&g.insns[i], asm.R5)
	}
	end := len(g.insns)
	g.emit(asm.Mov.Imm(asm.R5, g.constant()))
	g.place([]string{over}, end)
}

// keep makes sure that an instruction neither overwrites a register nor uses
// it as a number.
func (g *generator) keep(ins *asm.Instruction, r asm.Register) {
	if ins.OpCode.Class() == asm.LdXClass && ins.Dst == r {
		ins.Dst = asm.R4
	}
	if ins.OpCode.Class() == asm.StXClass && ins.Src == r {
		ins.Src = asm.R4
	}
}

func (g *generator) mapAccess() {
	key := g.number()
	g.emit(
		asm.And.Imm(key, 7), // one in two is out of range
		asm.StoreMem(asm.R10, -stackBytes-8, key, asm.Word),
	)
	g.lookup("array")
	g.use()
}

// hashAccess updates, deletes or looks up one of a few keys.
func (g *generator) hashAccess() {
	key := g.number()
	g.emit(
		asm.And.Imm(key, 3),
		asm.StoreMem(asm.R10, -stackBytes-8, key, asm.DWord),
	)
	switch g.Intn(3) {
	case 0:
		g.lookup("hash")
		g.use()
		return
	case 1:
		g.emit(
			asm.LoadMapPtr(asm.R1, 0).WithReference("hash"),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, -stackBytes-8),
			asm.FnMapDeleteElem.Call(),
		)
	default:
		g.emit(
			asm.LoadMapPtr(asm.R1, 0).WithReference("hash"),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, -stackBytes-8),
			asm.Mov.Reg(asm.R3, asm.R10),
			asm.Add.Imm(asm.R3, -stackBytes),
			asm.Mov.Imm(asm.R4, int32(g.Intn(3))),
			asm.FnMapUpdateElem.Call(),
		)
	}
	g.afterCall()
}

// counted is a loop of a few turns.
func (g *generator) counted() {
	g.loop = true
	head := g.label()
	g.emit(asm.Mov.Imm(asm.R9, 0))
	at := len(g.insns)
	g.body(1+g.Intn(4), "")
	g.place([]string{head}, at)
	g.emit(asm.Add.Imm(asm.R9, 1), asm.JLT.Imm(asm.R9, int32(1+g.Intn(4)), g.insns[at].Symbol()))
	g.loop = false
}

// fold mixes what the numbers and the stack hold into the result and the
// packet.
func (g *generator) fold() {
	for i, r := range numbers[1:] {
		g.emit(asm.Xor.Reg(asm.R0, r), asm.Mul.Imm(asm.R0, int32(2*i+3)))
	}
	for off := -stackBytes; off < 0; off += 8 {
		g.emit(asm.LoadMem(asm.R1, asm.R10, int16(off), asm.DWord), asm.Add.Reg(asm.R0, asm.R1), asm.Mul.Imm(asm.R0, 31))
	}
	g.emit(asm.StoreMem(asm.R7, 8, asm.R0, asm.DWord))
	// XDP programs of the tests return plain numbers, not REDIRECT.
	g.emit(asm.RSh.Imm(asm.R0, 7), asm.Or.Imm(asm.R0, 16))
}

// subprogram is a function of numbers.
func (g *generator) subprogram(name string) {
	g.leaf = true
	at := len(g.insns)
	for _, r := range []asm.Register{asm.R0, asm.R6, asm.R8, asm.R9} {
		g.emit(asm.Mov.Imm(r, g.constant()))
	}
	for r := asm.R1; r <= asm.R5; r++ {
		g.emit(asm.Xor.Imm(r, g.constant()))
	}
	for off := -stackBytes; off < 0; off += 8 {
		g.emit(asm.StoreMem(asm.R10, int16(off), g.number(), asm.DWord))
	}
	g.body(3+g.Intn(8), "")
	g.emit(asm.Return())
	g.insns[at] = g.insns[at].WithSymbol(name)
	g.leaf = false
}
