package symbolic

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"kgent/agent/verify/smt"
)

// FuzzRun holds that no instructions make the machine panic or hang, whether
// a kernel would accept them or not. That panics become Unknown is a safety
// net; here they are failures.
func FuzzRun(f *testing.F) {
	for seed := range int64(40) {
		var buf bytes.Buffer
		insns := randomCase(seed).insns
		if err := insns.Marshal(&buf, binary.LittleEndian); err != nil {
			continue
		}
		f.Add(uint8(seed), buf.Bytes())
	}
	for fn := range helpers {
		var buf bytes.Buffer
		insns := asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadMapPtr(asm.R1, int(fn)%5), asm.LoadMapPtr(asm.R2, 1), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -32),
			asm.Mov.Imm(asm.R3, 8), asm.Mov.Reg(asm.R4, asm.R2), asm.Mov.Imm(asm.R5, 8), fn.Call(), asm.Return(),
		}
		if err := insns.Marshal(&buf, binary.LittleEndian); err == nil {
			f.Add(uint8(fn), buf.Bytes())
		}
	}
	f.Fuzz(fuzzOne)
}

// fuzzOne explores what may be a program.
func fuzzOne(t *testing.T, kind uint8, code []byte) {
	types := []ebpf.ProgramType{ebpf.XDP, ebpf.SchedCLS, ebpf.SocketFilter, ebpf.Syscall, ebpf.CGroupSockAddr}
	insns, err := asm.AppendInstructions(nil, bytes.NewReader(code), binary.LittleEndian, "linux")
	if err != nil || len(insns) == 0 || len(insns) > 200 {
		return
	}
	spec := fuzzMaps()
	names := []string{"array", "hash", "ring", "progs", "percpu"}
	for i := range insns {
		if insns[i].IsLoadFromMap() {
			insns[i] = insns[i].WithReference(names[uint32(insns[i].Constant)%5])
		}
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{"test": {Name: "test", Type: types[int(kind)%len(types)], Instructions: insns}}
	p, err := Link(spec, "test", nil)
	if err != nil {
		return
	}
	b := smt.New()
	m := New(b, smt.NewBuiltin(b, smt.Limits{}), Limits{Paths: 50, Steps: 3000, Time: 500 * time.Millisecond, Query: 10 * time.Millisecond})
	inv, err := m.Invoke(p, Start{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out, err := m.Run(context.Background(), p, inv, m.NewWorld(p, WorldOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %v", d)
	}
	for _, u := range out.Unknown {
		if strings.HasPrefix(u.What, "the engine failed") {
			t.Errorf("%v\n%v", u, insns)
		}
	}
	if len(out.Paths) == 0 && len(out.Unknown) == 0 {
		t.Errorf("neither a path nor a reason\n%v", insns)
	}
}

func fuzzMaps() *ebpf.CollectionSpec {
	return &ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{
		"array":  {Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: 4},
		"hash":   {Type: ebpf.Hash, KeySize: 8, ValueSize: 16, MaxEntries: 4},
		"percpu": {Type: ebpf.PerCPUHash, KeySize: 4, ValueSize: 8, MaxEntries: 4},
		"ring":   {Type: ebpf.RingBuf, MaxEntries: 4096},
		"progs":  {Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 2},
	}}
}

// TestMutated explores programs that were well-typed until a few of their bytes
// changed.
func TestMutated(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for i := range 400 {
		var buf bytes.Buffer
		insns := randomCase(int64(i)).insns
		if err := insns.Marshal(&buf, binary.LittleEndian); err != nil {
			continue
		}
		code := buf.Bytes()
		for range 1 + r.Intn(6) {
			code[r.Intn(len(code))] = byte(r.Intn(256))
		}
		began := time.Now()
		fuzzOne(t, uint8(r.Intn(5)), code)
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("program %d took %v", i, d)
		}
	}
}
