package proof

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// A contract that is kept proves little if wrong programs keep it as well. So the
// contract of a program that was VERIFIED can be held against mutants of that
// program. A proof for each would take far too long; they are run on samples, concrete
// inputs of each case, and the contract says whether what they do there is wrong.
// Only mutants count that do something else there than the program, which the
// contract may allow.
const (
	// MaxSurvivors is the share of mutants, in percent, that may keep a contract.
	MaxSurvivors = 50
	// MinMutants is how many must be judged before that says anything.
	MinMutants = 8
	// MinOfCase is how many in the part of the program that one case alone leads
	// to must be judged before it says anything that all of them survive.
	MinOfCase = 6

	maxMutants    = 100
	leastMutation = 3 * time.Second
	variations    = 2 // of the input of a sample
	maxOfCase     = 3 // samples
)

// specimen is an input that leads through a case of the contract.
type specimen struct {
	id    string // of the case
	visit *visit
	run   *run
	hyp   []smt.Term
	model smt.Model
	// passed are the program's instructions there, seen what it does to the outside.
	passed map[int]bool
	seen   string
}

// mutants judges the contract by wrong variants of the program: most of them have to break
// it, and some of those of each case. They are tried for as long as the proof took, and for
// longer where that is little: on a busy host no fewer shall be tried than on an idle one.
func (s *session) mutants(ctx context.Context, r *Report, d *induction) {
	if s.in.Mutants == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, max(time.Since(s.began), leastMutation))
	defer cancel()
	x := &trial{session: s, ctx: ctx, d: d}
	x.prepare()
	var kept []string
	judged, survived := map[string]int{}, map[string]int{} // by case
	for m := range s.in.Mutants {
		keeps, breaks := false, false
		if err := guarded(func() (err error) { keeps, breaks, err = x.try(m); return err }); ctx.Err() != nil {
			break
		} else if err != nil || !keeps && !breaks {
			continue
		}
		at := x.about(m)
		r.Stats.Mutants++
		judged[at]++
		if keeps {
			kept = append(kept, m.Name)
			survived[at]++
		}
		if r.Stats.Mutants == maxMutants {
			break
		}
	}
	r.Stats.Survivors = len(kept)
	if r.Stats.Mutants >= MinMutants && len(kept)*100 > r.Stats.Mutants*MaxSurvivors {
		r.Verdict = Vacuous
		r.Reasons = append(r.Reasons, fmt.Sprintf("%d of %d wrong variants of the program keep the contract too: it says too little (%s)",
			len(kept), r.Stats.Mutants, strings.Join(kept[:min(len(kept), 3)], "; ")))
	}
	for id, n := range judged {
		if id != "" && n >= MinOfCase && survived[id] == n && !strings.HasSuffix(id, "/otherwise") {
			r.Verdict = Vacuous
			r.Reasons = append(r.Reasons, fmt.Sprintf("the case %s asks for nothing: each of %d wrong variants of what the program does there keeps the contract too", id, n))
		}
	}
	slices.Sort(r.Reasons)
}

// trial runs mutants on samples.
type trial struct {
	*session
	ctx     context.Context
	d       *induction
	samples []*specimen
}

// prepare varies the samples, and keeps those on which the program itself is right.
func (x *trial) prepare() {
	have := map[string]int{}
	for _, s := range x.d.samples {
		if have[s.id]++; have[s.id] > maxOfCase {
			continue
		}
		for n := range variations {
			if x.ctx.Err() != nil {
				return
			}
			v := *s
			v.model = vary(s, uint64(n))
			var right bool
			err := guarded(func() (err error) {
				right, v.passed, v.seen, err = x.right(x.progs[s.visit.place.program], &v)
				return err
			})
			if err == nil && right {
				x.samples = append(x.samples, &v)
			}
		}
	}
}

// try runs a mutant on the samples that pass what is wrong with it. One that the kernel would
// refuse, or that does what the program does, neither keeps nor breaks the contract.
func (x *trial) try(m Mutant) (keeps, breaks bool, err error) {
	var prog *symbolic.Program
	for _, s := range x.samples {
		if s.visit.place.program != m.Program || !s.passed[m.Index] {
			continue
		}
		if prog == nil {
			spec, err := x.in.linked(m.Object)
			if err != nil {
				return false, false, err
			}
			if prog, err = symbolic.Link(spec, m.Program, x.in.Kernel); err != nil {
				return false, false, err
			}
		}
		right, _, seen, err := x.right(prog, s)
		if err != nil || !right {
			return false, err == nil, err
		}
		keeps = keeps || seen != s.seen
	}
	return keeps, false, nil
}

// right tells whether a program does on a sample what the contract says, which instructions
// it passes, and what it does to the outside.
func (x *trial) right(prog *symbolic.Program, s *specimen) (right bool, passed map[int]bool, seen string, err error) {
	v := s.visit
	out, err := x.machine.Run(x.ctx, prog, v.inv.Follow(s.model), v.from)
	switch {
	case err != nil:
		return false, nil, "", err
	case len(out.Unknown) > 0 || len(out.Paths) != 1 || out.Paths[0].Crash != nil || len(out.Paths[0].Unknown) > 0 || len(out.Paths[0].Timers) > 0:
		return false, nil, "", fmt.Errorf("it is not modelled, or the kernel would refuse it")
	}
	path := &aPath{Path: out.Paths[0], post: worldStore{out.Paths[0].World, cpuAt(v.inv)}, cells: x.cellsOf(v.inv, v.from, out.Paths[0])}
	passed = map[int]bool{}
	for _, pc := range path.Trace {
		passed[pc] = true
	}
	c := &comparer{words: x.words, c: x.checked, b: x.bound, place: v.place, maps: prog.Maps, path: path, run: s.run}
	if err := c.effects(); err != nil {
		return false, nil, "", err
	}
	claims := c.out
	for m, rel := range x.d.rels {
		if rel == nil {
			continue
		}
		for _, e := range s.run.after.log {
			if e.memory != m {
				continue
			}
			kept, err := x.d.kept(v, path, s.run, m, e.key, &recording{store: worldStore{v.from, cpuAt(v.inv)}, seen: map[*symbolic.Map][]*symbolic.Bytes{}})
			if err != nil {
				return false, nil, "", err
			}
			claims = append(claims, kept...)
		}
	}
	wrong := slices.ContainsFunc(claims, func(k *claim) bool { return s.model.Value(k.holds) == 0 })
	return !wrong, passed, x.outside(s, path), nil
}

// outside is what a path does to the outside in a sample, and to the program's own maps, as
// a text to be compared. Of a row that is shown that is what it gains: what it had, and whether it was
// there, a mutant finds otherwise if it comes to the same key by other terms.
func (x *trial) outside(s *specimen, path *aPath) string {
	var b strings.Builder
	rows := map[string]string{}
	gained := emptied{s.model, x.bound.outputs}
	for _, e := range path.Effects {
		name := nameOfMap(e.Map)
		if name == statsMap {
			continue
		}
		if _, ok := x.bound.outputs[name]; ok && e.Key != nil {
			row := fmt.Sprintf("%s %x", name, e.Key.Eval(s.model))
			if rows[row] = "deleted"; e.Data != nil {
				rows[row] = fmt.Sprintf("%x", e.Data.Eval(gained))
			}
			continue
		}
		fmt.Fprintf(&b, "%d %s", e.Op, name)
		for _, data := range []*symbolic.Bytes{e.Key, e.Data} {
			if data != nil {
				fmt.Fprintf(&b, " %x", data.Eval(s.model))
			}
		}
		b.WriteString("\n")
	}
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(&b, "%s %s\n", row, rows[row])
	}
	if s.run.ret != nil && path.Return != nil {
		fmt.Fprintf(&b, "returns %d", s.model.Value(path.Return)&(1<<32-1))
	}
	return b.String()
}

// emptied is a model in which rows that are shown held zeroes.
type emptied struct {
	of      smt.Model
	outputs map[string]int
}

// Value is part of smt.Model.
func (m emptied) Value(t smt.Term) uint64 {
	return smt.Eval(t, func(v smt.Term) uint64 {
		if in := symbolic.InputOf(v); in != nil && in.Kind == symbolic.Stored && !isPresence(v) {
			if _, ok := m.outputs[in.Map]; ok {
				return 0
			}
		}
		return m.of.Value(v)
	})
}

// about is the case whose samples alone pass what is wrong with a mutant; "" if there is none.
func (x *trial) about(m Mutant) string {
	found := ""
	for _, s := range x.samples {
		if s.visit.place.program != m.Program || !s.passed[m.Index] || s.id == found {
			continue
		}
		if found != "" {
			return ""
		}
		found = s.id
	}
	return found
}

// varied is a model in which some variables have other values.
type varied struct {
	values map[smt.Term]uint64
	salt   uint64
}

// Value is part of smt.Model.
func (v *varied) Value(t smt.Term) uint64 {
	return smt.Eval(t, func(x smt.Term) uint64 {
		if n, ok := v.values[x]; ok {
			return n
		}
		// What only the mutant reads is something; what may happen besides does not.
		if in := symbolic.InputOf(x); in == nil || in.Kind == symbolic.Choice {
			return 0
		}
		return v.scrambled(x)
	})
}

// scrambled is some value of a variable: another one for each. Elements are there, of all maps, or are
// not: a variable stands for each term of a key, and two terms may be one key.
func (m *varied) scrambled(v smt.Term) uint64 {
	if isPresence(v) {
		return 1 - min(1, m.salt)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", m.salt, v.Info().Name)
	n := h.Sum64()
	if w := v.Width(); w < 64 {
		n &= 1<<w - 1
	}
	return n
}

// vary makes a model of what holds for a sample in which as many variables as possible have
// values of their own: one field taken for another, or for a constant, does not show where all
// are zero.
func vary(s *specimen, salt uint64) *varied {
	out := &varied{values: map[smt.Term]uint64{}, salt: salt}
	about := map[smt.Term][]smt.Term{}
	for _, h := range s.hyp {
		for _, v := range smt.Vars(h) {
			out.values[v] = s.model.Value(v)
			about[v] = append(about[v], h)
		}
	}
	out.lengthen(s.hyp)
	holds := func(v smt.Term) bool {
		return !slices.ContainsFunc(about[v], func(h smt.Term) bool { return out.Value(h) == 0 })
	}
	// With what maps may have there, and, in what follows, without it: a memory of which only the
	// presence counts shows nowhere that it was written when it was there already.
	if there := slices.DeleteFunc(smt.Vars(s.hyp...), func(v smt.Term) bool { return !isPresence(v) }); salt == 0 && !out.present(there, s.hyp) {
		for _, v := range there {
			out.present([]smt.Term{v}, s.hyp)
		}
	}
	for _, v := range smt.Vars(s.hyp...) {
		if in := symbolic.InputOf(v); in == nil || in.Kind == symbolic.Choice && in.Event == symbolic.Fault {
			continue
		}
		old := out.values[v]
		some := out.scrambled(v)
		for _, n := range []uint64{some, some % (1 << 16)} {
			out.values[v] = n
			if holds(v) {
				break
			}
			out.values[v] = old
		}
	}
	return out
}

// isPresence tells whether a variable says that a map has an element.
func isPresence(v smt.Term) bool {
	in := symbolic.InputOf(v)
	return in != nil && in.Kind == symbolic.Stored && in.Event == symbolic.Absent
}

// present makes elements be there, if that can be: with zeroes in all elements, of which what is
// known of each holds.
func (m *varied) present(elements, hyp []smt.Term) bool {
	old := maps.Clone(m.values)
	for _, v := range smt.Vars(hyp...) {
		if in := symbolic.InputOf(v); in != nil && in.Kind == symbolic.Stored && !isPresence(v) {
			m.values[v] = 0
		}
	}
	for _, v := range elements {
		m.values[v] = 1
	}
	if slices.ContainsFunc(hyp, func(h smt.Term) bool { return m.Value(h) == 0 }) {
		m.values = old
		return false
	}
	return true
}

// lengthen makes texts long, if they can be: what is done with bytes behind a NUL shows nowhere.
func (m *varied) lengthen(hyp []smt.Term) {
	vars := smt.Vars(hyp...)
	for _, length := range vars {
		if !symbolic.IsLength(length) {
			continue
		}
		old := maps.Clone(m.values)
		m.values[length] = uint64(comparedText) << 5
		for _, v := range vars {
			switch in := symbolic.InputOf(v); {
			case symbolic.InText(v, length):
				m.values[v] = m.scrambled(v) | 1
			case in != nil && in.Event == symbolic.Fault && in.Base == symbolic.InputOf(length).Base:
				m.values[v] = 0
			}
		}
		if slices.ContainsFunc(hyp, func(h smt.Term) bool { return m.Value(h) == 0 }) {
			m.values = old
		}
	}
}
