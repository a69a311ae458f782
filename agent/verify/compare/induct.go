package compare

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// coupling are the maps that both programs have under one name and of one form, and that begin
// alike: of them the induction assumes, and shows again, that they hold the same.
type coupling []string

// induct shows that the programs do the same in sequences of any length: freshly loaded their
// coupled maps hold the same; and at every place, beginning with any maps of which the coupled ones
// hold the same, both have the same effects and leave the coupled ones the same. nil is that
// this was shown; an error says what stands in the way, which is no difference.
func (x *searching) induct() (err error) {
	doubts := x.doubts
	defer func() { x.doubts = doubts }()
	var maps coupling
	if maps, err = x.coupled(); err != nil {
		return err
	}
	wa := x.machine.NewWorld(x.side[left].any(), symbolic.WorldOptions{Default: symbolic.Arbitrary, Params: x.params})
	wb := x.machine.NewWorld(x.side[right].any(), symbolic.WorldOptions{Default: symbolic.Arbitrary, Params: x.params, Beside: wa})
	from := [2]*symbolic.World{wa, wb}
	for _, p := range x.places {
		x.doubts = nil
		runs, err := x.runs(p, 0, from)
		if err != nil {
			return err
		}
		if err := x.counting(p, runs); err != nil {
			return err
		}
		if len(x.doubts) > 0 {
			return errors.New(x.doubts[0])
		}
		for _, a := range runs[left] {
			for _, b := range runs[right] {
				if err := x.inductive(&both{s: x.session, place: p, a: a, b: b}, maps); err != nil {
					return fmt.Errorf("at %s: %w", p.name, err)
				}
			}
		}
	}
	return nil
}

// coupled finds the maps. The error says that maps of one name are not of one form: then their
// contents are not to be compared, and must not be taken for equal.
func (x *searching) coupled() (coupling, error) {
	var out coupling
	ma, mb := x.side[left].maps(), x.side[right].maps()
	for name, a := range ma {
		b := mb[name]
		if b == nil || a.ReadOnly && b.ReadOnly || name == program.StatsMap || name == program.RecordsMap || a.Type == ebpf.RingBuf && b.Type == ebpf.RingBuf ||
			a.Type == ebpf.PerfEventArray && b.Type == ebpf.PerfEventArray {
			continue
		}
		if !alike(a, b) {
			return nil, fmt.Errorf("they remember in different forms")
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out, nil
}

// onlyCounts says in an error if one of the programs goes by the counts of lost events that it keeps
// for kgent: these are not compared, and are no memory that is followed. It is false if not all was
// explored that the programs can do with any counts.
func (x *searching) onlyCounts() (bool, error) {
	doubts := x.doubts
	defer func() { x.doubts = doubts }()
	x.doubts = nil
	wa := x.machine.NewWorld(x.side[left].any(), symbolic.WorldOptions{Default: symbolic.Arbitrary, Params: x.params})
	wb := x.machine.NewWorld(x.side[right].any(), symbolic.WorldOptions{Default: symbolic.Arbitrary, Params: x.params, Beside: wa})
	for _, p := range x.places {
		runs, err := x.runs(p, 0, [2]*symbolic.World{wa, wb})
		if err != nil {
			return false, nil // what the comparison itself can follow it says
		}
		if err := x.counting(p, runs); err != nil {
			return false, err
		}
	}
	return len(x.doubts) == 0, nil
}

// counting says so of runs that began with any counts.
func (x *searching) counting(p place, runs [2][]*ran) error {
	for who, list := range runs {
		for _, r := range list {
			if r.path == nil {
				continue
			}
			terms := slices.Clone(r.path.Cond)
			for _, e := range r.path.Effects {
				if e.Map != nil && e.Map.Name == program.StatsMap {
					continue
				}
				terms = append(append(terms, e.Args...), e.Size, e.Before, e.After)
				for _, b := range []*symbolic.Bytes{e.Key, e.Data} {
					for off := 0; b != nil && off < b.Len(); off += 8 {
						terms = append(terms, b.At(off, min(8, b.Len()-off)))
					}
				}
			}
			terms = append(terms, r.path.Return)
			terms = slices.DeleteFunc(terms, func(t smt.Term) bool { return t == nil })
			if slices.ContainsFunc(smt.Vars(terms...), func(v smt.Term) bool {
				in := symbolic.InputOf(v)
				return in != nil && in.Map == program.StatsMap && in.Kind == symbolic.Stored
			}) {
				return fmt.Errorf("at %s, %s goes by the counts of lost events, which is not followed", p.name, x.side[who].Name)
			}
		}
	}
	return nil
}

// alike tells whether two maps are of one form and begin with the same.
func alike(a, b *symbolic.Map) bool {
	if a.Type != b.Type || a.KeySize != b.KeySize || a.ValueSize != b.ValueSize || a.Flags != b.Flags || a.ReadOnly != b.ReadOnly || a.Inner != nil || b.Inner != nil {
		return false
	}
	if (a.Type == ebpf.Array || a.Type == ebpf.PerCPUArray) && a.MaxEntries != b.MaxEntries {
		return false
	}
	if shapeOf(a.Value) != shapeOf(b.Value) || len(a.Vars) != len(b.Vars) {
		return false
	}
	for i, v := range a.Vars {
		if w := b.Vars[i]; v.Name != w.Name || v.Offset != w.Offset || v.Size != w.Size {
			return false
		}
	}
	return reflect.DeepEqual(a.Contents, b.Contents)
}

// shapeOf tells apart types whose parts, at any depth, lie differently or have other names: they name
// variables.
func shapeOf(t btf.Type) string {
	if t == nil {
		return ""
	}
	size, err := btf.Sizeof(t)
	typ, _ := symbolic.Meaning(t)
	out := fmt.Sprintf("%d %T", size, typ)
	var members []btf.Member
	switch s := typ.(type) {
	case *btf.Struct:
		members = s.Members
	case *btf.Union:
		members = s.Members
	case *btf.Array:
		return fmt.Sprintf("%s %d(%s)", out, s.Nelems, shapeOf(s.Type))
	}
	if err != nil {
		return out
	}
	for _, m := range members {
		out += fmt.Sprintf(" %s@%d:%d(%s)", m.Name, m.Offset, m.BitfieldSize, shapeOf(m.Type))
	}
	return out
}

// inductive is the step of the induction for two paths.
func (x *searching) inductive(pr *both, maps coupling) error {
	b := x.b
	hyp := slices.Concat(pr.inv().Assume(), pr.a.cond(), pr.b.cond())
	// What is at equal keys was equal before.
	type at struct {
		m    [2]*symbolic.Map
		keys []symbolic.Cell
	}
	var all []at
	for _, name := range maps {
		one := at{m: [2]*symbolic.Map{x.side[left].maps()[name], x.side[right].maps()[name]}}
		for _, r := range []*ran{pr.a, pr.b} {
			for _, c := range r.after.Cells(one.m[r.who]) {
				for off := 0; off < c.Key.Len(); off += 8 {
					if slices.ContainsFunc(smt.Vars(c.Key.At(off, min(8, c.Key.Len()-off))), own) {
						return errors.New("they remember under keys that depend on more than the input")
					}
				}
				known := slices.ContainsFunc(one.keys, func(k symbolic.Cell) bool { return k.Cpu == c.Cpu && sameBytes(k.Key, c.Key) })
				if !known {
					one.keys = append(one.keys, c)
				}
			}
		}
		for i, k := range one.keys {
			for _, o := range one.keys[i+1:] {
				if k.Cpu == o.Cpu {
					hyp = append(hyp, pr.a.from.Initially(one.m[left], k.Key, o.Key, k.Cpu))
				}
			}
		}
		all = append(all, one)
	}
	hyp = append(hyp, x.room(hyp)...)
	hyp = append(hyp, symbolic.Facts(b, hyp...)...)
	if x.ask(x.ctx, hyp...).Result == smt.Unsat {
		return nil
	}
	if err := x.followed(pr); err != nil {
		return err
	}
	if err := pr.effects(); err != nil {
		return err
	}
	holds := []smt.Term{}
	for _, c := range pr.out {
		holds = append(holds, c.holds)
	}
	for _, one := range all {
		for _, k := range one.keys {
			pa, va := pr.a.after.Lookup(one.m[left], k.Key, k.Cpu)
			pb, vb := pr.b.after.Lookup(one.m[right], k.Key, k.Cpu)
			there, theirs := pr.a.term(pa), pr.b.term(pb)
			same := x.equalBytes(pr.a.data(va), 0, pr.b.data(vb), 0, va.Len())
			holds = append(holds, b.Eq(there, theirs), b.Implies(there, same))
		}
	}
	claim := b.And(holds...)
	if claim.IsTrue() {
		return nil
	}
	query := append(hyp, b.Not(claim))
	query = append(query, x.room(query)...)
	query = append(query, symbolic.Facts(b, query...)...)
	switch a := x.ask(x.ctx, query...); a.Result {
	case smt.Unsat:
		return nil
	case smt.Unknown:
		return fmt.Errorf("it was not settled whether they remember the same: %s", strings.TrimSpace(a.Why))
	}
	return errors.New("they need not remember the same afterwards")
}
