package symbolic

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"kgent/agent/program/programtest"
	"kgent/agent/verify/smt"
)

// bench is what tests of features share: compiled programs and a machine.
type bench struct {
	*testing.T
	spec *ebpf.CollectionSpec
	k    *Kernel
	m    *Machine
	b    *smt.Builder
}

func newBench(t *testing.T, source string) *bench {
	t.Helper()
	k := host(t)
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	o := programtest.Object(t, string(text))
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(o.ELF()))
	if err != nil {
		t.Fatal(err)
	}
	return (&bench{T: t, spec: spec, k: k}).fresh()
}

// fresh gives the bench a machine that has done nothing yet.
func (n *bench) fresh() *bench {
	c := *n
	c.b = smt.New()
	c.m = New(c.b, smt.NewBuiltin(c.b, smt.Limits{}), Limits{Time: time.Minute})
	return &c
}

func (n *bench) link(name string) *Program {
	n.Helper()
	p, err := Link(n.spec, name, n.k)
	if err != nil {
		n.Fatal(err)
	}
	return p
}

func (n *bench) run(p *Program, start Start, w *World) *Outcome {
	n.Helper()
	inv, err := n.m.Invoke(p, start)
	if err != nil {
		n.Fatal(err)
	}
	out, err := n.m.Run(context.Background(), p, inv, w)
	if err != nil {
		n.Fatal(err)
	}
	if len(out.Unknown) > 0 {
		n.Fatalf("%s: not explored: %v", p.Name, out.Unknown)
	}
	for _, path := range out.Paths {
		if len(path.Unknown) > 0 || path.Crash != nil {
			n.Fatalf("%s: unknown %v, crash %v", p.Name, path.Unknown, path.Crash)
		}
	}
	return out
}

// returns are the values that a program can return.
func (n *bench) returns(out *Outcome) []uint64 {
	n.Helper()
	found := map[uint64]bool{}
	for _, p := range out.Paths {
		cond := p.Cond
		for {
			a, err := n.m.solver.Check(context.Background(), cond...)
			if err != nil || a.Result == smt.Unknown {
				n.Fatal(a.Why, err)
			}
			if a.Result == smt.Unsat || len(found) > 20 {
				break
			}
			v := a.Model.Value(p.Return)
			found[v] = true
			cond = append(slices.Clone(cond), n.b.Not(n.b.Eq(p.Return, n.b.Const(64, v))))
		}
	}
	var out2 []uint64
	for v := range found {
		out2 = append(out2, v)
	}
	slices.Sort(out2)
	return out2
}

func TestFeatures(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	for name, want := range map[string][]uint64{
		"loop_constant": {10},
		"loop_stopped":  {4510},
		"loop_symbolic": {0, 1, 3},
		"iterator":      {14},
		"each":          {123},
		"tail":          {7, 9},
		"last":          {9},
	} {
		t.Run(name, func(t *testing.T) {
			n := n.fresh()
			n.T = t
			p := n.link(name)
			out := n.run(p, Start{}, n.m.NewWorld(p, WorldOptions{}))
			if got := n.returns(out); !slices.Equal(got, want) {
				t.Errorf("it can return %v, want %v", got, want)
			}
		})
	}
}

// events are the Emit effects of a path.
func emitted(p *Path) (out []*Effect) {
	for _, e := range p.Effects {
		if e.Op == Emit {
			out = append(out, e)
		}
	}
	return out
}

// kinds are the kinds of variables that terms depend on.
func kinds(terms ...smt.Term) map[Kind]bool {
	out := map[Kind]bool{}
	for _, v := range smt.Vars(terms...) {
		out[InputOf(v).Kind] = true
	}
	return out
}

func TestEachWrites(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	p := n.link("each")
	out := n.run(p, Start{}, n.m.NewWorld(p, WorldOptions{Maps: map[string]Content{"slots": Fresh}}))
	var got []string
	for _, path := range out.Paths {
		for _, e := range path.Effects {
			got = append(got, fmt.Sprint(e.Op, e.Map.Name, e.Key.At(0, 4), e.Data.At(0, 8)))
		}
	}
	want := []string{"writeslots1:32 1:64", "writeslots2:32 2:64", "writeslots3:32 3:64"}
	if !slices.Equal(got, want) {
		t.Errorf("effects %q, want %q", got, want)
	}
}

func TestGlobals(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	p := n.link("global")
	w := n.m.NewWorld(p, WorldOptions{Default: Fresh})
	for i := range 3 {
		out := n.run(p, Start{N: i}, w)
		if len(out.Paths) != 1 {
			t.Fatalf("%d paths", len(out.Paths))
		}
		w = out.Paths[0].World
	}
	cells := w.Cells(p.Maps[".bss"])
	if len(cells) != 1 || cells[0].Value.At(0, 8) != n.b.Const(64, 6) {
		t.Errorf("after three runs .bss is %v", cells)
	}
}

// A count in a slot that is not known: what changed is one slot by one.
func TestHistogram(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	p := n.link("histogram")
	out := n.run(p, Start{}, n.m.NewWorld(p, WorldOptions{}))
	if len(out.Paths) != 1 || len(out.Paths[0].Effects) != 1 {
		t.Fatalf("%d paths", len(out.Paths))
	}
	e := out.Paths[0].Effects[0]
	if e.Op != Write || !e.Atomic {
		t.Errorf("effect %v, atomic %v", e.Op, e.Atomic)
	}
	var random smt.Term
	for _, v := range smt.Vars(e.Data.At(0, 8)) {
		if InputOf(v).Name == "random" {
			random = v
		}
	}
	for slot := range uint64(16) {
		chosen := map[smt.Term]smt.Term{random: n.b.Const(32, slot|0x50)}
		for i := range 16 {
			delta := n.b.Substitute(n.b.Sub(e.Data.At(8*i, 8), e.Old.At(8*i, 8)), chosen)
			if want := n.b.ZeroExt(64, n.b.Bool(uint64(i) == slot)); delta != want {
				t.Errorf("slot %d changes by %v when %d is counted", i, delta, slot)
			}
		}
	}
}

func TestStaleRecord(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	p := n.link("stale")
	out := n.run(p, Start{}, n.m.NewWorld(p, WorldOptions{}))
	for _, path := range out.Paths {
		for _, e := range emitted(path) {
			if !kinds(e.Data.At(4, 4))[Poison] {
				t.Errorf("the byte that was not written is %v", e.Data.At(4, 4))
			}
			if len(kinds(e.Data.At(0, 4), e.Data.At(8, 8))) != 0 {
				t.Errorf("the others are %v %v", e.Data.At(0, 4), e.Data.At(8, 8))
			}
			return
		}
	}
	t.Error("no event")
}

func TestTimer(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	p := n.link("arm")
	out := n.run(p, Start{}, n.m.NewWorld(p, WorldOptions{}))
	for _, path := range out.Paths {
		if len(path.Timers) == 0 {
			continue
		}
		later := n.run(p, Start{N: 1, Callback: path.Timers[0]}, path.World)
		for _, q := range later.Paths {
			if ev := emitted(q); len(ev) == 1 {
				if ev[0].Data.At(0, 4) != n.b.Const(32, 3) {
					t.Errorf("the callback emits key %v, want 3", ev[0].Data.At(0, 4))
				}
				return
			}
		}
	}
	t.Error("no callback that emits an event")
}

// An exit in the same thread finds what its entry remembered; one in another
// thread does not.
func TestScenario(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	enter, exit := n.link("enters"), n.link("exits")
	b := n.b
	thread := func(name string) Thread {
		v := b.Var(32, &smt.Info{Name: name, Data: &Input{Kind: Data, Name: name}})
		return Thread{Tgid: b.Const(32, 7), Tid: v}
	}
	t1, t2 := thread("t1"), thread("t2")
	for _, tt := range []struct {
		name   string
		exit   Thread
		events int // with certainty, on paths where t1 != t2 and nothing fails
	}{{"same thread", t1, 1}, {"another thread", t2, 0}} {
		w := n.m.NewWorld(enter, WorldOptions{Default: Fresh})
		first := n.run(enter, Start{N: 0, Thread: t1}, w)
		if len(first.Paths) != 1 {
			t.Fatalf("%s: %d paths at entry", tt.name, len(first.Paths))
		}
		second := n.run(exit, Start{N: 1, Thread: tt.exit}, first.Paths[0].World)
		most := 0
		for _, path := range second.Paths {
			cond := append(slices.Clone(path.Cond), b.Not(b.Eq(t1.Tid, t2.Tid)))
			if a, _ := n.m.solver.Check(context.Background(), cond...); a.Result == smt.Unsat {
				continue
			}
			most = max(most, len(emitted(path)))
			for _, e := range emitted(path) {
				start, now := n.b.Lookup("now#0.1"), e.Data.At(8, 8)
				if start == nil {
					start = n.b.Lookup("now#0")
				}
				if vars := smt.Vars(now); !slices.Contains(vars, start) {
					t.Errorf("%s: the event's time is %v", tt.name, now)
				}
			}
		}
		if most != tt.events {
			t.Errorf("%s: %d events, want %d", tt.name, most, tt.events)
		}
	}
}

// What a program reads and what a contract names are the same terms.
func TestFieldsAreWhatContractsName(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	p := n.link("fields")
	inv, err := n.m.Invoke(p, Start{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := n.m.Run(context.Background(), p, inv, n.m.NewWorld(p, WorldOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	task := p.types.composite("task_struct")
	offset := func(member string) uint64 {
		for i := uint64(0); i < 1<<17; i += 32 {
			if l, ok := p.types.leafAt(task, i); ok && l.path == "."+member {
				return l.bit / 8
			}
		}
		t.Fatalf("no %s", member)
		return 0
	}
	at := func(base smt.Term, member string, size int) smt.Term {
		return inv.Memory(KernelSpace, n.b.Add(base, n.b.Const(64, offset(member))), size, "").At(0, size)
	}
	prev, _ := inv.Input("prev")
	next, _ := inv.Input("next")
	preempt, _ := inv.Input("preempt")
	seen := false
	for _, path := range out.Paths {
		for _, e := range emitted(path) {
			seen = true
			if got, want := e.Data.At(0, 4), at(prev.Term, "tgid", 4); got != want {
				t.Errorf("a is %v, want %v", got, want)
			}
			if got, want := e.Data.At(4, 4), at(at(next.Term, "group_leader", 8), "tgid", 4); got != want {
				t.Errorf("b is %v, want %v", got, want)
			}
			if got, want := e.Data.At(8, 8), n.b.ZeroExt(64, n.b.Not(n.b.Eq(preempt.Term, n.b.Const(8, 0)))); got != want {
				t.Errorf("c is %v, want %v", got, want)
			}
		}
	}
	if !seen {
		t.Error("no event")
	}
	if in := InputOf(n.b.Lookup("prev.tgid#0")); in == nil || in.Order != Host || in.Kind != Data {
		t.Errorf("prev.tgid is described as %+v", in)
	}
	if in := InputOf(prev.Term); in == nil || in.Kind != Pointer || in.Space != KernelSpace {
		t.Errorf("prev is described as %+v", in)
	}
}

// A replay of a model takes the path that the model was for.
func TestFollow(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	p := n.link("exits")
	inv, err := n.m.Invoke(p, Start{})
	if err != nil {
		t.Fatal(err)
	}
	w := n.m.NewWorld(p, WorldOptions{})
	out, err := n.m.Run(context.Background(), p, inv, w)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Paths) < 2 {
		t.Fatalf("%d paths", len(out.Paths))
	}
	for i, path := range out.Paths {
		a, err := n.m.solver.Check(context.Background(), path.Cond...)
		if err != nil || a.Result != smt.Sat {
			t.Fatalf("path %d: %v %v", i, a.Result, err)
		}
		again, err := n.m.Run(context.Background(), p, inv.Follow(a.Model), w)
		if err != nil || len(again.Paths) != 1 || len(again.Unknown) > 0 {
			t.Fatalf("path %d: the replay has %d paths, error %v, unknown %v", i, len(again.Paths), err, again.Unknown)
		}
		got := again.Paths[0]
		if len(got.Trace) == 0 || len(emitted(got)) != len(emitted(path)) {
			t.Errorf("path %d: the replay emits %d events, want %d", i, len(emitted(got)), len(emitted(path)))
		}
		for j, e := range emitted(got) {
			if x, y := e.Data.Eval(a.Model), emitted(path)[j].Data.Eval(a.Model); !bytes.Equal(x, y) {
				t.Errorf("path %d: the replay emits % x, want % x", i, x, y)
			}
		}
	}
}

// Explorations of one machine may go on at once, and agree.
func TestConcurrent(t *testing.T) {
	n := newBench(t, "testdata/features.bpf.c")
	p := n.link("exits")
	inv, err := n.m.Invoke(p, Start{})
	if err != nil {
		t.Fatal(err)
	}
	w := n.m.NewWorld(p, WorldOptions{})
	outs := make([]*Outcome, 4)
	var wg sync.WaitGroup
	for i := range outs {
		wg.Go(func() { outs[i], _ = n.m.Run(context.Background(), p, inv, w) })
	}
	wg.Wait()
	for _, out := range outs[1:] {
		if len(out.Paths) != len(outs[0].Paths) {
			t.Fatalf("%d paths, the first had %d", len(out.Paths), len(outs[0].Paths))
		}
		for i, path := range out.Paths {
			if !slices.Equal(path.Cond, outs[0].Paths[i].Cond) {
				t.Errorf("path %d has another condition", i)
			}
		}
	}
}
