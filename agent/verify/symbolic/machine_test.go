package symbolic

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
)

// explore runs hand-written instructions at a hook.
func explore(t *testing.T, section string, typ ebpf.ProgramType, k *Kernel, insns ...asm.Instruction) (*Outcome, *Invocation) {
	t.Helper()
	spec := fuzzMaps()
	spec.Programs = map[string]*ebpf.ProgramSpec{"test": {Name: "test", Type: typ, SectionName: section, Instructions: insns}}
	p, err := Link(spec, "test", k)
	if err != nil {
		t.Fatal(err)
	}
	b := smt.New()
	m := New(b, smt.NewBuiltin(b, smt.Limits{}), Limits{Steps: 20_000, Time: time.Minute})
	inv, err := m.Invoke(p, Start{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Run(context.Background(), p, inv, m.NewWorld(p, WorldOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	return out, inv
}

func lookupInsns(m string) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.R10, -8, 1, asm.Word),
		asm.StoreImm(asm.R10, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, 0).WithReference(m),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -8),
		asm.FnMapLookupElem.Call(),
	}
}

// What a kernel's verifier refuses ends in a crash, with what is wrong.
func TestCrashes(t *testing.T) {
	zero := asm.Mov.Imm(asm.R0, 0)
	reserve := asm.Instructions{
		asm.LoadMapPtr(asm.R1, 0).WithReference("ring"), asm.Mov.Imm(asm.R2, 8), asm.Mov.Imm(asm.R3, 0), asm.FnRingbufReserve.Call(),
	}
	for _, tt := range []struct {
		name  string
		insns asm.Instructions
		want  string
	}{
		{"uninitialised register", asm.Instructions{asm.Mov.Reg(asm.R0, asm.R3), asm.Return()}, "never written"},
		{"NULL from a map", append(lookupInsns("hash"), asm.LoadMem(asm.R0, asm.R0, 0, asm.DWord), asm.Return()), "may be NULL"},
		{"beyond an element", append(lookupInsns("hash"), asm.JEq.Imm(asm.R0, 0, "out"), asm.LoadMem(asm.R0, asm.R0, 12, asm.DWord), zero.WithSymbol("out"), asm.Return()), "offset 12"},
		{"beyond the stack", asm.Instructions{asm.StoreImm(asm.R10, -516, 1, asm.Word), zero, asm.Return()}, "the stack"},
		{"through a number", asm.Instructions{asm.Mov.Imm(asm.R1, 64), asm.StoreImm(asm.R1, 0, 1, asm.Word), zero, asm.Return()}, "through a number"},
		{"a record kept", append(slices.Clone(reserve), zero, asm.Return()), "without submitting"},
		{"a record used after submit", append(slices.Clone(reserve),
			asm.JEq.Imm(asm.R0, 0, "out"), asm.Mov.Reg(asm.R6, asm.R0), asm.Mov.Reg(asm.R1, asm.R0), asm.Mov.Imm(asm.R2, 0), asm.FnRingbufSubmit.Call(),
			asm.StoreImm(asm.R6, 0, 1, asm.Word), zero.WithSymbol("out"), asm.Return()), "after it was released"},
		{"packet without a check", asm.Instructions{asm.LoadMem(asm.R1, asm.R1, 0, asm.Word), asm.LoadMem(asm.R0, asm.R1, 20, asm.Byte), asm.Return()}, "outside of the packet"},
		{"the context written", asm.Instructions{asm.StoreImm(asm.R1, 0, 1, asm.Word), zero, asm.Return()}, "programs may not"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, _ := explore(t, "xdp", ebpf.XDP, nil, tt.insns...)
			for _, p := range out.Paths {
				if p.Crash != nil && strings.Contains(p.Crash.What, tt.want) {
					return
				}
			}
			t.Errorf("no path crashes with %q: %+v, unknown %v", tt.want, out.Paths, out.Unknown)
		})
	}
}

// The same with the checks that a kernel wants does not crash.
func TestDoesNotCrash(t *testing.T) {
	zero := asm.Mov.Imm(asm.R0, 0)
	for _, tt := range []struct {
		name  string
		insns asm.Instructions
	}{
		{"checked lookup", append(lookupInsns("hash"), asm.JEq.Imm(asm.R0, 0, "out"), asm.LoadMem(asm.R0, asm.R0, 8, asm.DWord), asm.Return().WithSymbol("out"))},
		{"checked packet", asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 4, asm.Word), asm.LoadMem(asm.R1, asm.R1, 0, asm.Word), asm.Mov.Reg(asm.R3, asm.R1), asm.Add.Imm(asm.R3, 21),
			zero, asm.JGT.Reg(asm.R3, asm.R2, "out"), asm.LoadMem(asm.R0, asm.R1, 20, asm.Byte), asm.Return().WithSymbol("out")}},
		{"bounded index", asm.Instructions{
			asm.StoreImm(asm.R10, -8, 0, asm.Word), asm.StoreImm(asm.R10, -4, 0, asm.Word),
			asm.FnGetPrandomU32.Call(), asm.And.Imm(asm.R0, 7), asm.Mov.Reg(asm.R1, asm.R10), asm.Add.Reg(asm.R1, asm.R0),
			asm.LoadMem(asm.R0, asm.R1, -8, asm.Byte), asm.Return()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, _ := explore(t, "xdp", ebpf.XDP, nil, tt.insns...)
			for _, p := range out.Paths {
				if p.Crash != nil || len(p.Unknown) > 0 {
					t.Errorf("crash %v, unknown %v", p.Crash, p.Unknown)
				}
			}
			if len(out.Paths) == 0 || len(out.Unknown) > 0 {
				t.Errorf("%d paths, unknown %v", len(out.Paths), out.Unknown)
			}
		})
	}
}

// What is not modelled is never passed over.
func TestUnknown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		insns asm.Instructions
		want  string
	}{
		{"helper", asm.Instructions{asm.BuiltinFunc(9999).Call(), asm.Return()}, "is not modelled"},
		{"endless loop", asm.Instructions{asm.Mov.Imm(asm.R0, 0).WithSymbol("again"), asm.Ja.Label("again"), asm.Return()}, "instructions"},
		{"map", asm.Instructions{asm.LoadMapPtr(asm.R1, 0).WithReference("ring"), asm.Mov.Reg(asm.R2, asm.R10), asm.FnMapLookupElem.Call(), asm.Return()}, "is not modelled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, _ := explore(t, "xdp", ebpf.XDP, nil, tt.insns...)
			reasons := slices.Clone(out.Unknown)
			for _, p := range out.Paths {
				reasons = append(reasons, p.Unknown...)
			}
			if !slices.ContainsFunc(reasons, func(r Reason) bool { return strings.Contains(r.What, tt.want) }) {
				t.Errorf("reasons %v, want one with %q", reasons, tt.want)
			}
		})
	}
}

// A kernel object's faults: what cannot be read is 0, and says so.
func TestProbeReadFaults(t *testing.T) {
	k := host(t)
	out, inv := explore(t, "tp_btf/sched_process_free", ebpf.Tracing, k,
		asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R10), asm.Add.Imm(asm.R1, -8), asm.Mov.Imm(asm.R2, 8), asm.Mov.Reg(asm.R3, asm.R6),
		asm.FnProbeReadKernel.Call(),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.LoadMem(asm.R0, asm.R10, -8, asm.DWord),
		asm.Xor.Reg(asm.R0, asm.R7),
		asm.Return(),
	)
	if len(out.Paths) != 1 {
		t.Fatalf("%d paths, unknown %v", len(out.Paths), out.Unknown)
	}
	p := out.Paths[0]
	b := inv.m.b
	task, ok := inv.Input("p")
	if !ok {
		t.Fatalf("no argument p among %v", inv.Inputs())
	}
	fault := inv.Fault(KernelSpace, task.Term)
	cond := append(slices.Clone(p.Cond), fault, b.Not(b.Eq(p.Return, b.Const(64, ^uint64(13)))))
	if a, err := inv.m.solver.Check(context.Background(), cond...); err != nil || a.Result != smt.Unsat {
		t.Errorf("with a fault the buffer is not 0 or the result not -EFAULT: %v %v", a.Result, err)
	}
	if len(p.Reads) != 1 || p.Reads[0].Space != KernelSpace || p.Reads[0].Addr != task.Term {
		t.Errorf("reads %+v", p.Reads)
	}
}

// Registers of probes are named by the function's arguments, on both machines.
func TestProbeArguments(t *testing.T) {
	k := host(t)
	for arch, regs := range map[string][3]int16{"x86_64": {112, 104, 80}, "aarch64": {0, 8, 0}} {
		kernel := &Kernel{Types: k.Types, Arch: arch}
		out, inv := explore(t, "kprobe/vfs_read", ebpf.Kprobe, kernel,
			asm.LoadMem(asm.R2, asm.R1, regs[0], asm.DWord), asm.LoadMem(asm.R0, asm.R1, regs[1], asm.DWord), asm.Add.Reg(asm.R0, asm.R2), asm.Return())
		file, _ := inv.Input("file")
		buf, _ := inv.Input("buf")
		if file.Term == nil || buf.Term == nil {
			t.Fatalf("%s: inputs %v", arch, inv.Inputs())
		}
		if got, want := out.Paths[0].Return, inv.m.b.Add(file.Term, buf.Term); got != want {
			t.Errorf("%s: %v, want %v", arch, got, want)
		}
		if buf.Space != UserSpace && hasUserTags(k) {
			t.Errorf("%s: buf is an address of space %v", arch, buf.Space)
		}
		out, inv = explore(t, "kretprobe/vfs_read", ebpf.Kprobe, kernel, asm.LoadMem(asm.R0, asm.R1, regs[2], asm.DWord), asm.Return())
		ret, _ := inv.Input("ret")
		if got := out.Paths[0].Return; got != ret.Term {
			t.Errorf("%s: the result is %v, want %v", arch, got, ret.Term)
		}
	}
}

// hasUserTags tells whether a kernel's BTF marks pointers to user memory.
func hasUserTags(k *Kernel) bool {
	for t, err := range k.Types.All() {
		if tag, ok := t.(*btf.TypeTag); err == nil && ok && tag.Value == "user" {
			return true
		}
	}
	return false
}

// Without tracefs a record's fields follow from BTF.
func TestTracepointFromTypes(t *testing.T) {
	k := host(t)
	formats, _ := typesOf(&Kernel{Types: k.Types}).tracepointFields("sched", "sched_switch")
	i := slices.IndexFunc(formats, func(f Field) bool { return f.Name == "next_pid" })
	if i < 0 {
		t.Fatalf("fields %v", formats)
	}
	out, inv := explore(t, "tracepoint/sched/sched_switch", ebpf.TracePoint, &Kernel{Types: k.Types},
		asm.LoadMem(asm.R0, asm.R1, int16(formats[i].Offset), asm.Word), asm.Return())
	pid, ok := inv.Input("next_pid")
	if want := inv.m.b.ZeroExt(64, pid.Term); !ok || out.Paths[0].Return != want {
		t.Errorf("returned %v, want %v", out.Paths[0].Return, want)
	}
	if comm, ok := inv.Input("next_comm"); !ok || comm.Bytes.Len() != 16 {
		t.Errorf("next_comm is %+v", comm)
	}
}

// Pointers spilled to the stack come back whole; part of one is part of an
// address.
func TestSpill(t *testing.T) {
	out, _ := explore(t, "xdp", ebpf.XDP, nil,
		asm.StoreImm(asm.R10, -16, 7, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -16),
		asm.StoreMem(asm.R10, -8, asm.R2, asm.DWord),
		asm.LoadMem(asm.R3, asm.R10, -8, asm.DWord),
		asm.LoadMem(asm.R0, asm.R3, 0, asm.Word),
		asm.LoadMem(asm.R4, asm.R10, -8, asm.Word),
		asm.Add.Reg(asm.R0, asm.R4),
		asm.Return())
	p := out.Paths[0]
	vars := smt.Vars(p.Return)
	if len(vars) != 1 || InputOf(vars[0]).Kind != Pointer {
		t.Errorf("returned %v", p.Return)
	}
}

// The remote port of a packet's socket is the upper half of its word: as a word it is in network order.
func TestRemotePort(t *testing.T) {
	out, inv := explore(t, "cgroup_skb/egress", ebpf.CGroupSKB, nil,
		asm.LoadMem(asm.R0, asm.R1, 132, asm.Word),
		asm.HostTo(asm.BE, asm.R0, asm.Word),
		asm.Return())
	port, _ := inv.Input("remote_port")
	if vars := smt.Vars(port.Term); len(vars) != 1 || vars[0].Width() != 16 {
		t.Fatalf("the port is %v", port.Term)
	}
	b := inv.m.b
	if want := b.ZeroExt(64, b.BSwap(smt.Vars(port.Term)[0])); out.Paths[0].Return != want {
		t.Errorf("bpf_ntohl(remote_port) is %v, not %v", out.Paths[0].Return, want)
	}
	whole, err := inv.ContextAt(132, 4)
	if err != nil || whole.Term != b.Concat(port.Term, b.Const(16, 0)) {
		t.Errorf("as a contract reads it, it is %v, %v", whole.Term, err)
	}
}

// Rewriting an address at connect(2) is an effect on the context.
func TestSockAddr(t *testing.T) {
	out, inv := explore(t, "cgroup/connect4", ebpf.CGroupSockAddr, nil,
		asm.LoadMem(asm.R0, asm.R1, 4, asm.Word),
		asm.StoreMem(asm.R1, 24, asm.R0, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, 24, asm.Word),
		asm.Sub.Reg(asm.R0, asm.R2),
		asm.Return())
	p := out.Paths[0]
	ip, _ := inv.Input("user_ip4")
	if ip.Order != BigOrder {
		t.Errorf("user_ip4 has order %v", ip.Order)
	}
	if len(p.Effects) != 1 || p.Effects[0].Op != Context || p.Effects[0].Helper != "user_port" || p.Effects[0].Data.At(0, 4) != ip.Term {
		t.Errorf("effects %+v", p.Effects)
	}
	if v, ok := p.Return.Const(); !ok || v != 0 {
		t.Errorf("what was stored reads back as something else: %v", p.Return)
	}
}

// A legacy load swaps bytes, and ends the program where there is no packet.
func TestLegacyLoad(t *testing.T) {
	out, inv := explore(t, "socket", ebpf.SocketFilter, nil,
		asm.Mov.Reg(asm.R6, asm.R1), asm.LoadAbs(12, asm.Half), asm.Or.Imm(asm.R0, 1<<16), asm.Return())
	if len(out.Paths) != 2 {
		t.Fatalf("%d paths, unknown %v", len(out.Paths), out.Unknown)
	}
	b := inv.m.b
	swapped := b.ZeroExt(64, b.BSwap(inv.Packet(b.Const(64, 12), 2)))
	for _, p := range out.Paths {
		if v, ok := p.Return.Const(); ok && v == 0 {
			continue
		}
		if want := b.Or(swapped, b.Const(64, 1<<16)); p.Return != want {
			t.Errorf("returned %v, want %v", p.Return, want)
		}
	}
}

// There are more than 45 modelled helpers, and each has a name.
func TestHelpers(t *testing.T) {
	if len(helpers) < 45 {
		t.Errorf("%d helpers", len(helpers))
	}
	for fn, h := range helpers {
		if !strings.HasPrefix(h.name, "bpf_") || h.do == nil {
			t.Errorf("%v: %q", fn, h.name)
		}
	}
}
