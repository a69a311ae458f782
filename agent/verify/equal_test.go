package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// equality shows that a mutant does what its original does: from any contents of the
// maps and for all inputs, on every pair of paths that one input can take, the same events,
// the same maps afterwards and the same result, where the kernel looks at it. No contract tells the two apart.
type equality struct {
	ctx    context.Context
	b      *smt.Builder
	solver smt.Solver
	// returns is whether the kernel looks at the result of the program.
	returns bool
}

// equal reports whether two objects are equal; if it was not shown, why. They
// have the same programs and maps.
func (s *scorer) equal(ctx context.Context, x *scored, o *program.Object, m *program.Manifest) (bool, string) {
	ctx, cancel := context.WithTimeout(ctx, 2*x.limits.Time)
	defer cancel()
	b := smt.New()
	e := &equality{ctx: ctx, b: b, solver: smt.NewBuiltin(b, smt.Limits{Time: mutantTime})}
	machine := symbolic.New(b, e.solver, symbolic.Limits{})
	before, err := x.object.Collection(x.manifest, nil)
	if err != nil {
		return false, err.Error()
	}
	after, err := o.Collection(m, nil)
	if err != nil {
		return false, err.Error()
	}
	var params []string
	for _, p := range x.object.Params() {
		params = append(params, p.Name)
	}
	if before.Variables["kgent_self"] != nil {
		params = append(params, "kgent_self")
	}
	for i, prog := range x.manifest.Programs {
		if m.Programs[i].Hook != prog.Hook {
			return false, "another hook"
		}
		p, err := symbolic.Link(before, prog.Name, s.kernel.linked)
		if err != nil {
			return false, err.Error()
		}
		q, err := symbolic.Link(after, prog.Name, s.kernel.linked)
		if err != nil {
			return false, err.Error()
		}
		world := machine.NewWorld(p, symbolic.WorldOptions{Default: symbolic.Arbitrary, Params: params})
		inv, err := machine.Invoke(p, symbolic.Start{})
		if err != nil {
			return false, err.Error()
		}
		runs := [2]*symbolic.Outcome{}
		for j, linked := range []*symbolic.Program{p, q} {
			if runs[j], err = machine.Run(ctx, linked, inv, world); err != nil {
				return false, err.Error()
			}
			if len(runs[j].Unknown) > 0 {
				return false, runs[j].Unknown[0].String()
			}
		}
		_, e.returns = prog.Hook.Kind.Harmless()
		if why := e.paths(p, world, runs[0], runs[1]); why != "" {
			return false, prog.Name + ": " + why
		}
	}
	return true, ""
}

// paths compares all pairs of paths.
func (e *equality) paths(prog *symbolic.Program, from *symbolic.World, ps, qs *symbolic.Outcome) string {
	for _, p := range ps.Paths {
		for _, q := range qs.Paths {
			if e.ctx.Err() != nil {
				return "there was no time left"
			}
			both := slices.Concat(p.Cond, q.Cond)
			if e.never(both...) {
				continue
			}
			if p.Crash != nil || q.Crash != nil || len(p.Unknown) > 0 || len(q.Unknown) > 0 {
				return "a crash, or what is not modelled"
			}
			if why := e.pair(prog, from, p, q, both); why != "" {
				return why
			}
		}
	}
	return ""
}

// never reports whether it was shown that no input makes all terms true. Nothing can
// be read at address 0.
func (e *equality) never(terms ...smt.Term) bool {
	terms = slices.Clone(terms)
	for _, v := range smt.Vars(terms...) {
		if in := symbolic.InputOf(v); in != nil && in.Event == symbolic.Fault && in.Base != nil {
			terms = append(terms, e.b.Implies(e.b.Eq(in.Base, e.b.Const(in.Base.Width(), 0)), v))
		}
	}
	a, err := e.solver.Check(e.ctx, terms...)
	return err == nil && a.Result == smt.Unsat
}

// pair compares two paths where their conditions hold.
func (e *equality) pair(prog *symbolic.Program, from *symbolic.World, p, q *symbolic.Path, both []smt.Term) string {
	var same []smt.Term
	if (p.Return == nil) != (q.Return == nil) || (p.Packet == nil) != (q.Packet == nil) {
		return "one ends in another way"
	}
	if p.Return != nil && e.returns {
		same = append(same, e.b.Eq(p.Return, q.Return))
	}
	if p.Packet != nil && (p.Packet.Len() != q.Packet.Len()) {
		return "packets of different lengths"
	} else if p.Packet != nil {
		same = append(same, e.b.Eq(p.PacketLen, q.PacketLen), p.Packet.Equal(q.Packet))
	}
	x, y := outside(p), outside(q)
	if len(x) != len(y) {
		return fmt.Sprintf("%d and %d effects", len(x), len(y))
	}
	for i, k := range x {
		l := y[i]
		if k.Op != l.Op || (k.Map == nil) != (l.Map == nil) || k.Map != nil && k.Map.Name != l.Map.Name || k.Helper != l.Helper || k.Format != l.Format ||
			k.Offset != l.Offset || k.Size != l.Size || !slices.Equal(k.Args, l.Args) || (k.Data == nil) != (l.Data == nil) || k.Data != nil && k.Data.Len() != l.Data.Len() {
			return "different effects"
		}
		if k.Data != nil {
			same = append(same, k.Data.Equal(l.Data))
		}
	}
	for _, m := range prog.Maps {
		same = append(same, e.maps(m, from, p, q)...)
	}
	all := e.b.And(same...)
	if all.IsTrue() || e.never(append(both, e.b.Not(all))...) {
		return ""
	}
	return "different values"
}

// outside are the effects that are no changes of maps, in their order.
func outside(p *symbolic.Path) []*symbolic.Effect {
	var out []*symbolic.Effect
	for _, e := range p.Effects {
		switch e.Op {
		case symbolic.Update, symbolic.Delete, symbolic.Write:
		default:
			out = append(out, e)
		}
	}
	return out
}

// maps says that two paths leave a map with the same elements. Of kgent_stats, the flags
// that a submit passes on are left out: they say when the reader is woken, not what it
// reads.
func (e *equality) maps(m *symbolic.Map, from *symbolic.World, p, q *symbolic.Path) []smt.Term {
	var out []smt.Term
	for _, c := range slices.Concat(p.World.Cells(m), q.World.Cells(m)) {
		here, x := p.World.Lookup(m, c.Key, c.Cpu)
		there, y := q.World.Lookup(m, c.Key, c.Cpu)
		if m.Name == program.StatsMap {
			x, y = x.Slice(0, 24), y.Slice(0, 24)
		}
		same := x.Equal(y)
		if strings.Contains(m.Type.String(), "Hash") {
			same = e.b.And(e.b.Eq(here, there), e.b.Implies(here, same))
		}
		out = append(out, same)
	}
	return out
}
