package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// session is one proof: what is judged, and the tools.
type session struct {
	words
	*solving
	in      Input
	limits  Limits
	checked *contract.Checked
	bound   *binding
	spec    *ebpf.CollectionSpec
	machine *symbolic.Machine
	progs   map[string]*symbolic.Program
	params  []string
	found   *findings
	began   time.Time
	refuted *refuted // nil if nothing was

	mu       sync.Mutex
	seen     map[*placeBinding]*visit // by any
	used     map[string]bool          // assumptions
	shared   map[string]bool          // instructions that change cells by reading and writing
	warnings []string
	steps    int
	paths    int
}

// open links the programs and binds the contract.
func open(in Input) (*session, []finding, error) {
	if in.Object == nil || in.Manifest == nil || in.Kernel == nil {
		return nil, nil, errors.New("proving: an object, its manifest and a kernel are needed")
	}
	b := smt.New()
	s := &session{words: words{b}, in: in, limits: in.Limits.Or(Defaults), progs: map[string]*symbolic.Program{}, found: newFindings(), seen: map[*placeBinding]*visit{}, used: map[string]bool{}, shared: map[string]bool{}}
	solver := smt.Solver(smt.NewBuiltin(b, smt.Limits{Time: s.limits.Query}))
	if in.Solver != nil {
		solver = in.Solver(b)
	}
	s.solving = newSolving(solver, s.limits.Query)
	s.machine = symbolic.New(b, solver, s.limits.Machine)
	var err error
	if s.spec, err = in.linked(in.Object); err != nil {
		return nil, nil, fmt.Errorf("proving: %w", err)
	}
	for _, p := range in.Object.Params() {
		s.params = append(s.params, p.Name)
	}
	if s.spec.Variables[selfParam] != nil {
		s.params = append(s.params, selfParam)
	}
	for _, p := range in.Manifest.Programs {
		linked, err := symbolic.Link(s.spec, p.Name, in.Kernel)
		if err != nil {
			return nil, nil, fmt.Errorf("proving: %w", err)
		}
		s.progs[p.Name] = linked
	}
	var unfit []finding
	if err := program.Conventions(s.spec, in.Manifest); err != nil && in.Form == nil {
		unfit = []finding{{"form/conventions", "kgent can run the program and show what it finds", "a program that follows kgent.bpf.h", err.Error()}}
	}
	if in.Contract == nil {
		s.bound, err = unbound(in)
		return s, unfit, err
	}
	if in.Types == nil {
		return nil, nil, errors.New("proving: a contract needs the types of a kernel")
	}
	if s.checked, err = contract.Check(in.Contract, in.Types); err != nil {
		return nil, nil, fmt.Errorf("checking the contract: %w", err)
	}
	var bound *binding
	var diff []finding
	if in.Form != nil {
		bound, diff, err = bindScript(b, s.checked, in.Form, in.Manifest)
	} else {
		bound, diff, err = bind(s.checked, in.Object, s.spec, in.Manifest)
	}
	if err != nil {
		return nil, nil, &unsettled{err}
	}
	for name := range s.progs {
		if m := symbolic.CookieMap(name); s.maps()[m] != nil {
			bound.internal[m] = true
		}
	}
	s.bound = bound
	return s, append(unfit, diff...), nil
}

// unsettled is an error that is no mistake in the input, but beyond what can be judged.
type unsettled struct{ error }

// maps are the machine's descriptions of the maps, by name: those of one program, for each
// program that is linked has its own.
func (s *session) maps() map[string]*symbolic.Map { return s.anyProgram().Maps }

// assumes notes that an assumption was used.
func (s *session) assumes(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[name] = true
}

func (s *session) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.warnings, text) {
		s.warnings = append(s.warnings, text)
	}
}

// visit is one exploration of a place: all paths of its program, and the inputs that they
// share with the contract.
type visit struct {
	place *placeBinding
	prog  *symbolic.Program
	inv   *symbolic.Invocation
	from  *symbolic.World
	n     int // of the invocation, from 0
	ask   *asked
	paths []*aPath
	// doubts are why the paths are not all, or not known well.
	doubts []string
}

// world begins a scenario: with any contents of maps, or with those of a freshly loaded
// program.
func (s *session) world(content symbolic.Content) *symbolic.World {
	return s.machine.NewWorld(s.anyProgram(), symbolic.WorldOptions{Default: content, Params: s.params})
}

func (s *session) anyProgram() *symbolic.Program {
	return s.progs[s.in.Manifest.Programs[0].Name]
}

// any explores a place from any maps, once for all who ask.
func (s *session) any(ctx context.Context, p *placeBinding) (*visit, error) {
	s.mu.Lock()
	v := s.seen[p]
	s.mu.Unlock()
	if v == nil {
		var err error
		if v, err = s.visit(ctx, p, s.world(symbolic.Arbitrary), symbolic.Start{}); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.seen[p] = v
		s.mu.Unlock()
	}
	again := *v
	again.ask = newAsked(s.words, v.inv, v.from, p.place, s.bound)
	return &again, nil
}

// visit explores a place from a world. Start says who runs, and when.
func (s *session) visit(ctx context.Context, p *placeBinding, w *symbolic.World, start symbolic.Start) (*visit, error) {
	prog := s.progs[p.program]
	inv, err := s.machine.Invoke(prog, start)
	if err != nil {
		return nil, err
	}
	out, err := s.machine.Run(ctx, prog, inv, w)
	if err != nil {
		return nil, err
	}
	v := &visit{place: p, prog: prog, inv: inv, from: w, n: start.N, ask: newAsked(s.words, inv, w, p.place, s.bound)}
	for _, r := range out.Unknown {
		v.doubts = append(v.doubts, fmt.Sprintf("%s: not all paths were explored: %s", p.name, r))
	}
	if len(out.Paths) == 0 {
		v.doubts = append(v.doubts, p.name+": the program has no path to an end")
	}
	for _, path := range s.asShown(out.Paths) {
		if len(path.Timers) > 0 && len(v.doubts) == 0 {
			v.doubts = append(v.doubts, fmt.Sprintf("%s: it sets a timer, and what runs later is not followed", p.name))
		}
		v.paths = append(v.paths, &aPath{Path: path, post: worldStore{path.World, cpuAt(inv)}, cells: s.cellsOf(inv, w, path)})
	}
	s.mu.Lock()
	s.steps += out.Stats.Steps
	s.paths += len(out.Paths)
	s.mu.Unlock()
	return v, nil
}

// asShown are paths with their events as people see them, which of scripts are others.
func (s *session) asShown(paths []*symbolic.Path) []*symbolic.Path {
	if s.bound.script == nil {
		return paths
	}
	var out []*symbolic.Path
	for _, p := range paths {
		for _, one := range s.bound.script.split(s.b, p, maxPrints) {
			out = append(out, s.bound.script.path(s.b, one))
		}
	}
	return out
}

// number is the invocation's place in its scenario.
func (v *visit) number() int { return v.n }

// cellsOf finds the elements of an output map that a path has effects on. Of per-CPU maps
// the copies of several CPUs are elements of their own.
func (s *session) cellsOf(inv *symbolic.Invocation, from *symbolic.World, path *symbolic.Path) func(*symbolic.Map) []touched {
	return func(m *symbolic.Map) []touched {
		if m == nil || path.World == nil {
			return nil
		}
		var out []touched
		for _, c := range path.World.Cells(m) {
			pc, changed := -1, false
			for _, e := range path.Effects {
				if e.Map != nil && e.Map.Name == m.Name && e.Key != nil && sameBytes(e.Key, c.Key) {
					pc, changed = e.Pc, true
				}
			}
			if !changed && s.bound.script == nil { // scripts keep a greatest value by not changing it
				continue
			}
			before, was := from.Lookup(m, c.Key, c.Cpu)
			t := touched{key: c.Key, here: s.b.True(), before: before, after: c.Present, was: was, is: c.Value, pc: pc}
			if here, ok := inv.Input("cpu"); c.Cpu != nil {
				if t.here = s.b.False(); ok {
					t.here = s.b.Eq(c.Cpu, here.Term)
				}
			}
			out = append(out, t)
		}
		return out
	}
}

// room says of the choices that occur in terms that buffers and maps have room.
func (s *session) room(terms []smt.Term) []smt.Term {
	var out []smt.Term
	for _, v := range smt.Vars(terms...) {
		in := symbolic.InputOf(v)
		if in == nil || in.Kind != symbolic.Choice {
			continue
		}
		switch in.Event {
		case symbolic.RingFull, symbolic.MapFull, symbolic.Lost:
			out = append(out, s.b.Not(v))
			s.assumes("room")
		case symbolic.Absent:
			if m := s.maps()[in.Map]; m != nil && isLRU(m) && s.written("lru") {
				out = append(out, s.b.Not(v))
			}
		}
	}
	return out
}

// facts are what the kernel guarantees about values that terms depend on.
func (s *session) facts(terms []smt.Term) []smt.Term { return symbolic.Facts(s.b, terms...) }

// written tells whether the contract names an assumption.
func (s *session) written(name string) bool {
	return s.checked != nil && slices.ContainsFunc(s.checked.Contract.Assume, func(w contract.Word) bool { return w.Name == name })
}

// ranges are the values that the contract gives its parameters.
func (s *session) ranges(w *symbolic.World) ([]smt.Term, error) {
	if s.checked == nil {
		return nil, nil
	}
	var out []smt.Term
	for _, p := range s.checked.Params {
		x, ok := w.Param(p.Name)
		if !ok {
			continue
		}
		if p.Type.Kind == contract.TextKind { // people set texts, which end in NUL and zeroes
			out = append(out, s.b.Eq(x.At(x.Len()-1, 1), s.b.Const(8, 0)), s.canonical(x))
			continue
		}
		if p.Min == nil && p.Max == nil {
			continue
		}
		v, err := s.load(p.Type, x)
		if err != nil {
			return nil, err
		}
		less := s.b.Ule
		if p.Type.Signed {
			less = s.b.Sle
		}
		if p.Min != nil {
			out = append(out, less(s.number(p.Min.Bits), v.term))
		}
		if p.Max != nil {
			out = append(out, less(v.term, s.number(p.Max.Bits)))
		}
	}
	return out, nil
}

// caseID is place and cases.
func caseID(p *placeBinding, r *run) string {
	return strings.TrimSuffix(p.name+"/"+strings.Join(r.cases, "+"), "/")
}
