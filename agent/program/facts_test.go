package program

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

func TestFacts(t *testing.T) {
	tests := []struct {
		program  string
		calls    []string // among others
		kfuncs   []string // exactly
		verdicts []int32
		packet   bool
		writes   []string
		holds    uint32
		turns    uint64 // 0: none
	}{
		{program: "x_pass", verdicts: []int32{2}, calls: []string{"bpf_map_lookup_elem"}, holds: 8},
		{program: "x_several", verdicts: []int32{0, 1, 2, 3}, calls: []string{"bpf_map_lookup_elem"}, holds: 8},
		{program: "x_parameter"},
		{program: "x_computed", calls: []string{"bpf_get_prandom_u32"}},
		{program: "x_redirect", calls: []string{"bpf_redirect"}},
		{program: "x_tail", calls: []string{"bpf_tail_call"}},
		{program: "x_enumerator"},
		{program: "x_kept", verdicts: []int32{2}},
		{program: "x_called", verdicts: []int32{2}, calls: []string{"bpf_loop", "bpf_get_prandom_u32", "bpf_map_lookup_elem"}, holds: 8, turns: 1 << 23},
		{program: "x_acquire"},
		{program: "x_gotox", writes: []string{WritesUnknown}, packet: true},
		{program: "t_several", verdicts: []int32{-1, 0}},
		{program: "t_classic", verdicts: []int32{-1, 0}, packet: true},
		{program: "c_pass", verdicts: []int32{1}, holds: 8},
		{program: "l_deny", calls: []string{"bpf_get_current_pid_tgid"}},
		{program: "m_zero", verdicts: []int32{0}},

		{program: "p_header", verdicts: []int32{2}, packet: true, holds: 8},
		{program: "p_flow", verdicts: []int32{2}, packet: true, holds: 38},
		{program: "p_payload", verdicts: []int32{2}, packet: true, holds: 256},
		{program: "p_event", verdicts: []int32{-1}, packet: true, calls: []string{"bpf_ringbuf_output"}},
		{program: "p_callback", verdicts: []int32{2}, packet: true, holds: 8},

		{program: "w_packet", verdicts: []int32{2}, writes: []string{WritesPacket}},
		{program: "w_subprogram", verdicts: []int32{2}, writes: []string{WritesPacket}},
		{program: "w_callback", verdicts: []int32{2}, writes: []string{WritesPacket}},
		{program: "w_returned", verdicts: []int32{2}, writes: []string{WritesPacket}},
		{program: "w_helper", verdicts: []int32{2}, packet: true, writes: []string{WritesPacket}, calls: []string{"bpf_map_pop_elem"}, holds: 8},
		{program: "w_mark", verdicts: []int32{-1}, writes: []string{WritesContext}},
		{program: "w_address", verdicts: []int32{1}, writes: []string{WritesContext}},
		{program: "w_registers", verdicts: []int32{0}, writes: []string{WritesContext}},
		{program: "w_option", verdicts: []int32{1}, writes: []string{WritesContext}},
		{program: "w_kfunc", verdicts: []int32{-1}, packet: true, kfuncs: []string{"bpf_dynptr_from_skb", "bpf_dynptr_slice"}, writes: []string{WritesPacket}},
		{program: "w_filled", verdicts: []int32{0}, kfuncs: []string{"bpf_copy_from_user_str"}, writes: []string{WritesContext}},
		{program: "w_spilled", verdicts: []int32{0}, writes: []string{WritesContext}},
		{program: "w_aliased", verdicts: []int32{0}, writes: []string{WritesContext}},
		{program: "w_own", verdicts: []int32{0}, calls: []string{"bpf_ringbuf_reserve", "bpf_ringbuf_submit"}, holds: 8},

		{program: "h_kfuncs", verdicts: []int32{0}, kfuncs: []string{"bpf_iter_num_destroy", "bpf_iter_num_new", "bpf_iter_num_next"}, holds: 8, turns: 10},
		{program: "h_user", verdicts: []int32{0}, calls: []string{"bpf_probe_read_kernel_str", "bpf_probe_read_user_str", "bpf_send_signal"}, holds: 8},
		{program: "n_nested", verdicts: []int32{0}, calls: []string{"bpf_loop"}, turns: 300 * 200, holds: 8},
		{program: "n_unknown", verdicts: []int32{0}, calls: []string{"bpf_loop"}, turns: 1 << 23, holds: 8},
		{program: "h_unknown", verdicts: []int32{0}, calls: []string{"bpf_builtin_func(9999)"}},
	}
	facts, err := parsed(t, compiled(t, "facts.bpf.c")).Facts()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(facts, func(a, b Facts) int { return strings.Compare(a.Program, b.Program) }) {
		t.Error("not by name order")
	}
	byName := map[string]Facts{}
	for _, f := range facts {
		byName[f.Program] = f
	}
	for _, tt := range tests {
		t.Run(tt.program, func(t *testing.T) {
			f, ok := byName[tt.program]
			if !ok {
				t.Fatal("no facts")
			}
			delete(byName, tt.program)
			for _, h := range tt.calls {
				if !f.Calls(h) {
					t.Errorf("helpers %q, want %s", f.Helpers, h)
				}
			}
			if !slices.IsSorted(f.Helpers) || slices.Contains(f.Helpers, "") {
				t.Errorf("helpers %q", f.Helpers)
			}
			if !slices.Equal(f.Kfuncs, tt.kfuncs) {
				t.Errorf("kfuncs %q, want %q", f.Kfuncs, tt.kfuncs)
			}
			if !slices.Equal(f.Verdicts, tt.verdicts) {
				t.Errorf("verdicts %v, want %v", f.Verdicts, tt.verdicts)
			}
			if f.Packet != tt.packet {
				t.Errorf("reads packets: %v, want %v", f.Packet, tt.packet)
			}
			if !slices.Equal(f.Writes, tt.writes) {
				t.Errorf("writes %q, want %q", f.Writes, tt.writes)
			}
			if f.Turns != max(tt.turns, 1) {
				t.Errorf("%d turns of loops, want %d", f.Turns, max(tt.turns, 1))
			}
			if f.Holds != tt.holds {
				t.Errorf("holds %d bytes, want %d", f.Holds, tt.holds)
			}
			if f.Instructions < 2 || f.TypeName == "" || f.Hook.Kind == "" {
				t.Errorf("incomplete: %+v", f)
			}
		})
	}
	for name := range byName {
		t.Errorf("program %s is not in the table", name)
	}
}

// kernelHelpers returns the running kernel's types and, of them, the enum of
// its helpers.
func kernelHelpers(t *testing.T) (*btf.Spec, *btf.Enum) {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var ids *btf.Enum
	if err := spec.TypeByName("bpf_func_id", &ids); err != nil {
		t.Fatal(err)
	}
	return spec, ids
}

// The names that policies and cards rely on are the kernel's own.
func TestHelperNames(t *testing.T) {
	_, ids := kernelHelpers(t)
	known := 0
	for _, v := range ids.Values {
		if strings.HasPrefix(v.Name, "__") {
			continue
		}
		want := "bpf_" + strings.TrimPrefix(v.Name, "BPF_FUNC_")
		if got := helperName(asm.BuiltinFunc(v.Value)); got != want {
			t.Errorf("helper %d is %s, want %s", v.Value, got, want)
		}
		known++
	}
	if known < 200 {
		t.Errorf("only %d helpers in the kernel's enum", known)
	}
}

// A program made to take for ever must not stop whoever looks at it, and is
// not thereby trusted.
func TestAccessesGivesUp(t *testing.T) {
	store := func(slot int) asm.Instruction {
		return asm.StoreMem(asm.R10, int16(-8*(slot+1)), asm.R1, asm.DWord)
	}
	jump := func(op asm.JumpOp, offset int) asm.Instruction {
		ins := op.Imm(asm.R0, 0, "")
		ins.Offset = int16(offset)
		return ins
	}
	const body = 30_000
	insns := asm.Instructions{asm.Mov.Imm(asm.R0, 0)}
	for range body {
		insns = append(insns, asm.Mov.Imm(asm.R2, 1))
	}
	// Each way back to the start brings one more pointer on the stack, so all
	// has to be looked at again.
	for slot := range slots {
		insns = append(insns, store(slot), jump(asm.JEq, 1), jump(asm.Ja, -(len(insns)+2)))
	}
	insns = append(insns, asm.Return())
	if _, writes := accesses(ebpf.XDP, insns); !slices.Equal(writes, []string{WritesUnknown}) {
		t.Errorf("writes %q, want %q", writes, WritesUnknown)
	}
	if got := returned(insns); !slices.Equal(got, []int32{0}) {
		t.Errorf("verdicts %v, want 0", got)
	}
}
