package proof

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/corpus"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// TestCounterexamplesInKernel has the kernel run the wrong programs of the corpus with the
// inputs of their counterexamples, where BPF_PROG_TEST_RUN can give it those inputs: packets, and
// contexts of numbers. What the program does there has to be what the counterexample says it
// does, in all that depends on these inputs alone.
func TestCounterexamplesInKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	cases, err := corpus.Cases()
	if err != nil {
		t.Fatal(err)
	}
	ran, compared := 0, 0
	for _, c := range cases {
		if c.Contract == "" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			k := newKernelRun(t, c.Bad, c.Contract)
			if k == nil {
				return
			}
			why, n := k.compare()
			if why != "" {
				t.Logf("not run: %s", why)
				return
			}
			ran, compared = ran+1, compared+n
		})
	}
	t.Logf("%d counterexamples were run, with %d values compared", ran, compared)
	if ran < 10 {
		t.Errorf("only %d counterexamples were run in the kernel", ran)
	}
}

// kernelRun is a counterexample for the kernel.
type kernelRun struct {
	t     *testing.T
	s     *session
	x     *searching
	model smt.Model
	paths []*symbolic.Path
}

// newKernelRun refutes a program; nil if that was not possible, or takes no input.
func newKernelRun(t *testing.T, source, text string) *kernelRun {
	o, err := programtest.Compile(source)
	if err != nil {
		t.Fatal(err)
	}
	m, err := program.Build(o, program.Options{Name: "test", Title: "test", Interface: "lo"})
	if err != nil {
		t.Logf("not run: %v", err)
		return nil
	}
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	h := here(t)
	s, different, err := open(Input{Object: o, Manifest: m, Contract: c, Kernel: h.kernel, Types: h.types, Limits: Limits{Time: patient.Time, Query: 2 * time.Second}})
	if err != nil || len(different) > 0 {
		t.Logf("not run: it is no counterexample with inputs: %v %v", err, different)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patient.Time)
	t.Cleanup(cancel)
	s.withContract(ctx)
	if s.refuted == nil {
		t.Log("not run: nothing was refuted")
		return nil
	}
	return &kernelRun{t: t, s: s, x: &searching{session: s, ctx: ctx}, model: s.refuted.model, paths: s.refuted.paths}
}

// given tells whether a test run can give a variable its value.
func (k *kernelRun) given(v smt.Term) bool {
	in := symbolic.InputOf(v)
	switch {
	case in == nil:
		return false
	case in.Kind == symbolic.Param, strings.HasPrefix(in.Name, "packet["), in.Name == "packet.len", in.Name == "len", in.Name == "packet.linear":
		return true
	}
	for _, s := range k.s.refuted.steps {
		if slices.Contains(smt.Vars(slices.Collect(maps.Values(k.context(s.visit)))...), v) {
			return true
		}
	}
	return false
}

// context are the terms of a tracepoint's context, by their offset.
func (k *kernelRun) context(v *visit) map[uint32]smt.Term {
	out := map[uint32]smt.Term{}
	if v.prog.Type != ebpf.RawTracepoint && v.prog.Type != ebpf.TracePoint && v.prog.Type != ebpf.Tracing {
		return out
	}
	for off := uint32(0); off < contextSize; {
		n := uint32(1)
		for _, size := range []uint32{8, 4, 2, 1} {
			if x, err := v.inv.ContextAt(off, int(size)); err == nil && x.Term != nil && off%size == 0 {
				out[off], n = x.Term, size
				break
			}
		}
		off += n
	}
	return out
}

// contextSize is the most that a test run of a raw tracepoint takes.
const contextSize = 96

func (k *kernelRun) all(terms ...smt.Term) bool {
	return !slices.ContainsFunc(smt.Vars(terms...), func(v smt.Term) bool { return !k.given(v) })
}

// feasible finds an input of a size that a test run takes.
func (k *kernelRun) feasible() string {
	b := k.s.b
	f := k.s.refuted.difference
	terms := append(slices.Clone(f.hyp), b.Not(f.claim.holds))
	var lengths, linear []smt.Term
	for _, v := range smt.Vars(terms...) {
		switch in := symbolic.InputOf(v); {
		case in == nil:
		case in.Name == "packet.len", in.Name == "len":
			lengths = append(lengths, v)
		case in.Name == "packet.linear":
			linear = append(linear, v)
		}
	}
	for i, v := range lengths {
		terms = append(terms, b.Ule(v, b.Const(32, 1400)), b.Ule(b.Const(32, 14), v))
		if i < len(linear) {
			terms = append(terms, b.Eq(v, linear[i]))
		}
	}
	if len(lengths) > 0 {
		a := k.s.ask(k.x.ctx, terms...)
		if a.Result != smt.Sat {
			return "no short packet shows it"
		}
		paths, ok := k.x.replay(f, a.Model)
		if !ok {
			k.t.Errorf("the difference does not show again with a short packet")
			return "no short packet shows it"
		}
		k.model, k.paths = a.Model, paths
	}
	// What the model was to fulfil is about these inputs, or taken for granted.
	granted := slices.Concat(k.s.room(f.hyp), k.s.facts(f.hyp))
	for i, s := range f.steps {
		granted = slices.Concat(granted, s.visit.inv.Assume(), s.visit.ask.assumed, k.x.between(f.steps[:i], s))
	}
	for _, c := range f.hyp {
		if slices.Contains(granted, c) {
			continue
		}
		for _, v := range smt.Vars(c) {
			if !k.given(v) {
				return "it depends on " + v.Info().Name
			}
		}
	}
	return ""
}

// compare runs the scenario and compares. It says why it cannot, or how many values were
// compared.
func (k *kernelRun) compare() (why string, compared int) {
	if why := k.feasible(); why != "" {
		return why, 0
	}
	spec := k.s.spec.Copy()
	for name, v := range spec.Variables {
		if x, ok := k.s.refuted.steps[0].visit.from.Param(name); ok && slices.Contains(k.s.params, name) {
			if err := v.Set(x.Eval(k.model)); err != nil {
				k.t.Fatal(err)
			}
		}
	}
	for _, p := range spec.Programs {
		if p.Type == ebpf.Tracing || p.Type == ebpf.TracePoint { // they get the same context
			p.Type, p.AttachType, p.AttachTo = ebpf.RawTracepoint, ebpf.AttachNone, ""
		}
	}
	loaded, err := ebpf.NewCollection(spec)
	if err != nil {
		return "the kernel does not load it for a test run: " + err.Error(), 0
	}
	defer loaded.Close()
	for i, s := range k.s.refuted.steps {
		n, why := k.step(loaded, s, k.paths[i])
		if why != "" {
			return why, 0
		}
		compared += n
	}
	return "", compared + k.cells(loaded)
}

// step runs one invocation and compares what it returns and emits.
func (k *kernelRun) step(loaded *ebpf.Collection, s step, path *symbolic.Path) (compared int, why string) {
	opts := &ebpf.RunOptions{}
	prog := loaded.Programs[s.place.program]
	ring := symbolic.Map{}
	for _, e := range path.Effects {
		if e.Op == symbolic.Emit && e.Map != nil {
			ring = *e.Map
		}
	}
	switch prog.Type() {
	case ebpf.XDP, ebpf.SchedCLS, ebpf.CGroupSKB, ebpf.SocketFilter:
		opts.Data, opts.Repeat = k.packet(s.visit), 1
	case ebpf.RawTracepoint:
		ctx := make([]byte, contextSize)
		for off, t := range k.context(s.visit) {
			value := binary.LittleEndian.AppendUint64(nil, k.model.Value(t))
			copy(ctx[off:], value[:(t.Width()+7)/8])
		}
		opts.Context = ctx
	default:
		return 0, "the kernel has no test run for " + prog.Type().String()
	}
	got, err := prog.Run(opts)
	if err != nil {
		if errors.Is(err, ebpf.ErrNotSupported) {
			return 0, err.Error()
		}
		k.t.Fatalf("running %s: %v", s.place.program, err)
	}
	if path.Return == nil {
		return 0, "it does what the kernel forbids"
	}
	if k.all(path.Return) {
		compared++
		if want := uint32(k.model.Value(path.Return)); want != got {
			k.t.Errorf("%s returns %d in the kernel, the counterexample says %d", s.place.name, int32(got), int32(want))
		}
	}
	if ring.Name != "" {
		compared += k.events(loaded.Maps[ring.Name], path, ring.Name)
	}
	return compared, ""
}

// packet are the bytes of a step's packet.
func (k *kernelRun) packet(v *visit) []byte {
	length, _ := v.inv.Input("packet.len")
	data := make([]byte, k.model.Value(length.Term))
	var all []smt.Term
	for _, p := range k.paths {
		all = append(all, p.Cond...)
	}
	all = append(all, k.s.refuted.hyp...)
	for i := range data {
		data[i] = byte(k.model.Value(v.inv.PacketByte(k.s.b.Const(64, uint64(i)))))
	}
	for _, x := range smt.Vars(append(all, k.s.refuted.claim.holds)...) {
		if isFar(x) && symbolic.InputOf(x).Invocation == v.number() {
			if at := k.model.Value(symbolic.InputOf(x).Base); at < uint64(len(data)) {
				data[at] = byte(k.model.Value(x))
			}
		}
	}
	return data
}

// events compares the events of one step: their number, and those bytes that only depend on
// what was given.
func (k *kernelRun) events(ring *ebpf.Map, path *symbolic.Path, name string) (compared int) {
	rd, err := ringbuf.NewReader(ring)
	if err != nil {
		k.t.Fatal(err)
	}
	defer rd.Close()
	rd.SetDeadline(time.Unix(1, 0)) // what is there, at once
	for _, e := range path.Effects {
		if e.Op != symbolic.Emit || e.Map == nil || e.Map.Name != name {
			continue
		}
		rec, err := rd.Read()
		if err != nil {
			k.t.Errorf("the kernel emits no event in %s: %v", name, err)
			return compared
		}
		compared++
		if len(rec.RawSample) < e.Data.Len() {
			k.t.Errorf("the event in %s has %d bytes in the kernel, %d in the counterexample", name, len(rec.RawSample), e.Data.Len())
			continue
		}
		want := e.Data.Eval(k.model)
		for i, b := range want {
			if k.all(e.Data.At(i, 1)) {
				compared++
				if rec.RawSample[i] != b {
					k.t.Errorf("byte %d of the event in %s is %#x in the kernel, %#x in the counterexample", i, name, rec.RawSample[i], b)
				}
			}
		}
	}
	if _, err := rd.Read(); err == nil {
		k.t.Errorf("the kernel emits one event more in %s", name)
	}
	return compared
}

// cells compares the rows of output maps at the end.
func (k *kernelRun) cells(loaded *ebpf.Collection) (compared int) {
	last := k.paths[len(k.paths)-1]
	for name := range k.s.bound.outputs {
		m := k.s.maps()[name]
		for _, c := range last.World.Cells(m) {
			if !k.all(octets(c.Key)...) || !k.all(octets(c.Value)...) || !k.all(c.Present) || k.model.Value(c.Present) == 0 {
				continue
			}
			want := c.Value.Eval(k.model)
			got, err := k.row(loaded.Maps[name], c.Key.Eval(k.model), len(want))
			compared++
			if err != nil || !bytes.Equal(got, want) {
				k.t.Errorf("the row %x of %s is %x in the kernel, %x in the counterexample (%v)", c.Key.Eval(k.model), name, got, want, err)
			}
		}
	}
	return compared
}

// row is the value under a key; of a per-CPU map that of the CPU that has one.
func (k *kernelRun) row(m *ebpf.Map, key []byte, size int) ([]byte, error) {
	switch m.Type() {
	case ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash:
		var each [][]byte
		if err := m.Lookup(key, &each); err != nil {
			return nil, err
		}
		sum := make([]byte, size)
		for i := 0; i+8 <= size; i += 8 {
			n := uint64(0)
			for _, v := range each {
				n += binary.NativeEndian.Uint64(v[i:])
			}
			binary.NativeEndian.PutUint64(sum[i:], n)
		}
		return sum, nil
	}
	var v []byte
	err := m.Lookup(key, &v)
	return v[:min(size, len(v))], err
}
