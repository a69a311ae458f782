package proof

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"kgent/agent/contract"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// induction is the attempt to prove with one choice of relations.
type induction struct {
	*session
	rels   []*relation
	found  *findings
	cases  []Case
	doubts []string
	// failed are claims that did not hold: perhaps only in states that are never reached.
	failed []refusal
	// lost are invariants that are not kept.
	lost []*invariant
	// sights are what was seen at each place.
	sights []*sight
	// samples are inputs on which mutants are tried.
	samples []*specimen
	mu      sync.Mutex
}

// prove does the induction step at every place, and the base case. It reports
// whether everything holds.
func (s *session) prove(ctx context.Context, rels []*relation) *induction {
	d := &induction{session: s, rels: rels, found: newFindings()}
	d.base()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i := range s.bound.places {
		wg.Add(1)
		go func() {
			defer wg.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			p := &s.bound.places[i]
			if err := guarded(func() error { return d.step(ctx, p) }); err != nil {
				d.doubt(fmt.Sprintf("%s: %v", p.name, err))
			}
		}()
	}
	wg.Wait()
	slices.SortFunc(d.cases, func(a, b Case) int { return compareText(a.ID, b.ID) })
	slices.Sort(d.doubts)
	return d
}

// guarded turns a panic into an error: nothing that breaks is a proof.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the proof broke: %v", p)
		}
	}()
	return f()
}

func (d *induction) doubt(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.doubts, text) {
		d.doubts = append(d.doubts, text)
	}
}

// holds tells whether the induction has proved everything.
func (d *induction) holds() bool {
	if len(d.doubts) > 0 || len(d.failed) > 0 {
		return false
	}
	list := d.found.list()
	for _, o := range list {
		if o.Outcome != Holds {
			return false
		}
	}
	return len(list) > 0
}

// base shows that maps as they are loaded fulfil the relations: nothing is known.
func (d *induction) base() {
	for _, r := range d.rels {
		if r == nil {
			continue
		}
		name := d.checked.Memories[r.memory].Name
		if len(r.in.Contents) > 0 {
			d.doubt(fmt.Sprintf("map %s is loaded with elements: they are not modelled", r.in.Name))
			continue
		}
		words := fmt.Sprintf("when the program is loaded, map %s has nothing that the contract does not remember in %s", r.in.Name, name)
		w := d.world(symbolic.Fresh)
		at := worldStore{w, d.variables("any CPU", 4).At(0, 4)}
		x := &mirror{words: d.words, c: d.checked, rels: d.rels, at: at}
		key, _ := d.freshKey(r, "base", at.cpu)
		known, err := x.known(r.memory, key)
		if err != nil {
			d.doubt(err.Error())
			continue
		}
		c := &claim{id: "start/" + name, words: words, holds: d.b.Not(known)}
		for _, f := range d.settle(context.Background(), d.b, nil, []*claim{c}, d.note(d.found)) {
			d.refused(f)
		}
	}
}

// note is how claims enter the findings.
func (s *session) note(f *findings) func(*claim, Outcome, string, string, time.Duration) {
	return func(c *claim, o Outcome, how, why string, took time.Duration) {
		f.note(c.id, c.words, o, how, why, took)
	}
}

func (d *induction) refused(r refusal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = append(d.failed, r)
}

// freshKey is any key of a memory; where a map is per-CPU, of those of a CPU. Texts that are equal are
// one key: it has the one with zeroes behind its NUL, which is what holds says.
func (s *session) freshKey(r *relation, label string, cpu smt.Term) (out []value, holds []smt.Term) {
	m := r.memory
	for i, k := range s.checked.Memories[m].Key {
		if r.onCPU == i+1 {
			out = append(out, value{typ: k.Type, term: s.b.ZeroExt(64, cpu)})
			continue
		}
		name := fmt.Sprintf("any %s.%s (%s)", s.checked.Memories[m].Name, k.Name, label)
		v, err := s.load(k.Type, s.variables(name, k.Type.InMemory()))
		if err != nil {
			continue
		}
		if k.Type.Kind == contract.TextKind {
			v.padded, holds = true, append(holds, s.canonical(v.bytes))
		}
		out = append(out, v)
	}
	return out, holds
}

// variables are n bytes that may be anything; numbers are one variable.
func (w words) variables(name string, n int) *symbolic.Bytes {
	variable := func(name string, bits uint) smt.Term {
		return w.b.Var(bits, &smt.Info{Name: name, Data: &symbolic.Input{Kind: symbolic.Data, Name: name, Invocation: -1, Bits: bits, Pc: -1}})
	}
	if n > 0 && n <= 8 {
		return symbolic.NewBytes(w.b, variable(name, uint(n)*8))
	}
	all := make([]smt.Term, n)
	for i := range all {
		all[i] = variable(fmt.Sprintf("%s[%d]", name, i), 8)
	}
	return symbolic.NewBytes(w.b, all...)
}

// step shows for one place: from any maps that fulfil the relations, the program does what
// the contract does, and leaves maps that fulfil them again.
func (d *induction) step(ctx context.Context, p *placeBinding) error {
	v, err := d.any(ctx, p)
	if err != nil {
		return err
	}
	w := v.from
	for _, t := range v.doubts {
		d.doubt(t)
	}
	assume, err := d.ranges(w)
	if err != nil {
		return err
	}
	assume = append(assume, v.inv.Assume()...)
	seen := &recording{store: worldStore{w, cpuAt(v.inv)}, seen: map[*symbolic.Map][]*symbolic.Bytes{}}
	m := &mirror{words: d.words, c: d.checked, rels: d.rels, at: seen}
	start := &ledger{words: d.words, c: d.checked, base: m}
	runs, err := contractRuns(ctx, d.checked, p.place, v.ask, d.b, start, func(conds []smt.Term) (bool, error) {
		return d.ask(ctx, append(slices.Clone(assume), conds...)...).Result != smt.Unsat, nil
	})
	if err != nil {
		return err
	}
	if len(v.ask.assumed) > 0 {
		d.assumes("names")
		assume = append(assume, v.ask.assumed...)
	}
	d.mu.Lock()
	d.sights = append(d.sights, &sight{p, v.ask, runs, assume, start})
	d.mu.Unlock()
	for _, r := range runs {
		d.addCase(Case{ID: caseID(p, r)})
	}
	for _, path := range v.paths {
		for _, r := range runs {
			if ctx.Err() != nil {
				return fmt.Errorf("there was no time left")
			}
			if err := d.meet(ctx, v, path, r, assume, seen); err != nil {
				return err
			}
		}
	}
	if !d.anyReached(p, runs) {
		d.doubt(p.name + ": no input leads through both program and contract")
	}
	return d.hygiene(ctx, v, assume)
}

// anyReached tells whether inputs lead through the program and a run of the contract: if none do,
// nothing has been shown.
func (d *induction) anyReached(p *placeBinding, runs []*run) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.cases, func(c Case) bool {
		return c.Paths > 0 && slices.ContainsFunc(runs, func(r *run) bool { return caseID(p, r) == c.ID })
	})
}

func (d *induction) addCase(c Case) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cases = append(d.cases, c)
}

// meet compares one path with one run, if an input can take both.
func (d *induction) meet(ctx context.Context, v *visit, path *aPath, r *run, assume []smt.Term, seen *recording) error {
	hyp := slices.Concat(path.Cond, r.conds, assume)
	hyp = append(hyp, d.given(hyp, nil)...)
	key := make([][]value, len(d.rels))
	var memory []*claim
	keys := &recording{store: seen.store, seen: map[*symbolic.Map][]*symbolic.Bytes{}}
	for m, ks := range seen.seen {
		keys.seen[m] = slices.Clone(ks)
	}
	a := d.ask(ctx, slices.Concat(hyp, d.sameElements(v, path, keys), d.invariant(v, path, keys))...)
	if a.Result == smt.Unsat {
		return nil
	}
	d.reached(v, r, a)
	if path.Crash != nil {
		d.found.note(ruleID(v.place, "crash"), "the program does nothing that the kernel forbids", Undecided, "", "on a path that inputs can take: "+path.Crash.String(), 0)
		return nil
	}
	if len(path.Unknown) > 0 {
		for _, u := range path.Unknown {
			d.doubt(fmt.Sprintf("%s: %s", v.place.name, u))
		}
		return nil
	}
	if len(path.Timers) > 0 {
		d.doubt(v.place.name + ": what a timer does later is not modelled")
		return nil
	}
	x := &comparer{words: d.words, c: d.checked, b: d.bound, place: v.place, maps: v.prog.Maps, path: path, run: r}
	if err := x.effects(); err != nil {
		return err
	}
	for m, rel := range d.rels {
		if rel == nil {
			continue
		}
		if err := d.onOneCPU(v, path, r, rel); err != nil {
			return err
		}
		var padded []smt.Term
		key[m], padded = d.freshKey(rel, "at "+v.place.name, cpuAt(v.inv))
		hyp = append(hyp, padded...)
		c, err := d.kept(v, path, r, m, key[m], keys)
		if err != nil {
			return err
		}
		memory = append(append(memory, c...), d.alone(v, path, r, rel)...)
	}
	hyp = append(hyp, d.sameElements(v, path, keys)...)
	hyp = append(hyp, d.invariant(v, path, keys)...)
	claims := append(x.out, memory...)
	hyp = append(hyp, d.given(hyp, claims)...)
	if d.in.Mutants != nil && a.Result == smt.Sat {
		d.mu.Lock()
		d.samples = append(d.samples, &specimen{id: caseID(v.place, r), visit: v, run: r, hyp: hyp, model: a.Model})
		d.mu.Unlock()
	}
	claims = d.packets(ctx, v, hyp, claims)
	for _, f := range d.settle(ctx, d.b, hyp, claims, d.noteInvariant) {
		d.refused(f)
	}
	return nil
}

// onOneCPU checks that a path and a run use those cells of a memory in a per-CPU map only
// that are of the CPU they run on.
func (d *induction) onOneCPU(v *visit, path *aPath, r *run, rel *relation) error {
	if rel.onCPU == 0 {
		return nil
	}
	cpu := cpuAt(v.inv)
	for _, e := range r.after.log {
		if e.memory == rel.memory && !rel.here(d.words, e.key, cpu) {
			return fmt.Errorf("memory %s, which is kept in the per-CPU map %s, is changed for another CPU", d.checked.Memories[rel.memory].Name, rel.in.Name)
		}
	}
	for _, c := range path.World.Cells(rel.in) {
		if c.Cpu != cpu {
			return fmt.Errorf("the copy of another CPU in map %s is used", rel.in.Name)
		}
	}
	return nil
}

// alone claims that a path puts nothing else into the map that keeps a memory: it would take the
// room that is assumed to be there.
func (d *induction) alone(v *visit, path *aPath, r *run, rel *relation) []*claim {
	if !isHash(rel.in.Type) {
		return nil
	}
	var out []*claim
	for _, c := range path.World.Cells(rel.in) {
		before, _ := v.from.Lookup(rel.in, c.Key, c.Cpu)
		ours := d.b.False()
		for _, other := range d.rels {
			if other != nil && other.in == rel.in {
				ours = d.b.Or(ours, other.image(d.words, d.checked, c.Key))
			}
		}
		name := d.checked.Memories[rel.memory].Name
		out = append(out, &claim{id: caseID(v.place, r) + "/memory " + name + ".alone", pc: -1, holds: d.b.Or(ours, before, d.b.Not(c.Present)),
			words: fmt.Sprintf("%s: nothing gets into map %s but what the contract remembers", caseID(v.place, r), rel.in.Name)})
	}
	return out
}

// given is what holds of all variables in hypotheses and claims: that there is room, and what
// the kernel guarantees.
func (s *session) given(hyp []smt.Term, claims []*claim) []smt.Term {
	all := slices.Clone(hyp)
	for _, c := range claims {
		all = append(all, c.holds)
	}
	return append(s.room(all), s.facts(all)...)
}

// noteInvariant notes what came of a claim; an invariant that could not be shown is given
// up.
func (d *induction) noteInvariant(c *claim, o Outcome, how, why string, took time.Duration) {
	if c.invariant != nil && o != Holds {
		d.mu.Lock()
		d.lost = append(d.lost, c.invariant)
		d.mu.Unlock()
	}
	d.note(d.found)(c, o, how, why, took)
}

// kept claims that after the path and the run the relation holds again, for any
// key.
func (d *induction) kept(v *visit, path *aPath, r *run, m int, key []value, keys *recording) ([]*claim, error) {
	mem := d.checked.Memories[m]
	rel := d.rels[m]
	// The contract's side, from the maps as they were.
	base := &mirror{words: d.words, c: d.checked, rels: d.rels, at: keys}
	after := *r.after
	after.base = base
	known, err := after.known(m, key)
	if err != nil {
		return nil, err
	}
	// The program's side, from the maps as they are.
	now := &mirror{words: d.words, c: d.checked, rels: d.rels, at: path.post}
	there, err := now.known(m, key)
	if err != nil {
		return nil, err
	}
	id := caseID(v.place, r) + "/memory " + mem.Name
	c := &claim{id: id, pc: -1, holds: d.b.Eq(known, there),
		words: fmt.Sprintf("%s: afterwards the program has in map %s what the contract knows in %s, under each key", caseID(v.place, r), rel.in.Name, mem.Name)}
	c.show = func(model smt.Model) (string, string) {
		return knownWord(model.Value(known)), knownWord(model.Value(there))
	}
	out := []*claim{c}
	for i, f := range mem.Fields {
		if rel.fields[i].size == 0 {
			continue
		}
		want, err := after.field(m, i, key)
		if err != nil {
			return nil, err
		}
		have, err := now.field(m, i, key)
		if err != nil {
			return nil, err
		}
		same, err := d.equal(d.held(f.Type, want), have)
		if err != nil {
			return nil, err
		}
		out = append(out, &claim{id: id + "." + f.Name, pc: -1, holds: d.b.Implies(known, same),
			words: fmt.Sprintf("%s: afterwards %s of %s is in map %s", caseID(v.place, r), f.Name, mem.Name, rel.in.Name)})
	}
	data, present, err := now.cell(m, key)
	if err != nil {
		return nil, err
	}
	for _, inv := range rel.always {
		name := inv.name(mem)
		out = append(out, &claim{id: id + "." + name + ".form", pc: -1, holds: d.b.Implies(present, inv.of(d.words, data)), invariant: &inv,
			words: fmt.Sprintf("%s: afterwards %s in map %s has a form that its type allows", caseID(v.place, r), name, rel.in.Name)})
	}
	return out, nil
}

func knownWord(v uint64) string {
	if v != 0 {
		return "known"
	}
	return "not known"
}

// invariant says of all elements that were asked about that they fulfilled the
// invariants at the start, if they were there.
func (d *induction) invariant(v *visit, path *aPath, keys *recording) []smt.Term {
	var out []smt.Term
	for _, rel := range d.rels {
		if rel == nil || len(rel.always) == 0 {
			continue
		}
		all := slices.Clone(keys.seen[rel.in])
		for _, c := range path.World.Cells(rel.in) {
			all = append(all, c.Key)
		}
		for _, k := range all {
			present, data := v.from.Initial(rel.in, k, cpuOf(rel.in, cpuAt(v.inv)))
			present = d.b.And(present, rel.image(d.words, d.checked, k))
			for _, inv := range rel.always {
				out = append(out, d.b.Implies(present, inv.of(d.words, data)))
			}
		}
	}
	return out
}

// sameElements says of all keys that were asked about, by the contract and on the
// path, that equal ones had the same element at the start.
func (d *induction) sameElements(v *visit, path *aPath, keys *recording) []smt.Term {
	var out []smt.Term
	for m, asked := range keys.seen {
		all := slices.Clone(asked)
		for _, c := range path.World.Cells(m) {
			if !slices.ContainsFunc(all, func(k *symbolic.Bytes) bool { return sameBytes(k, c.Key) }) {
				all = append(all, c.Key)
			}
		}
		for i, k := range all {
			for _, other := range all[i+1:] {
				if t := v.from.Initially(m, k, other, cpuOf(m, cpuAt(v.inv))); !t.IsTrue() {
					out = append(out, t)
				}
			}
		}
	}
	return out
}

// reached notes that an input takes the run on a path, with the input.
func (d *induction) reached(v *visit, r *run, a smt.Answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := caseID(v.place, r)
	i := slices.IndexFunc(d.cases, func(c Case) bool { return c.ID == id })
	if i < 0 {
		return
	}
	d.cases[i].Paths++
	if !d.cases[i].reached && a.Result == smt.Sat {
		d.cases[i].Witness, d.cases[i].reached = named(a.Model, r.conds), true
	}
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// relations guesses relations for all memories; nil where none was found. The
// first is the likeliest, further ones are to be tried if it fails. A memory may be kept
// under what another one remembers, as at the return of a call what its entry was given: where
// that one is kept has to be guessed before.
func (s *session) relations(ctx context.Context) ([][]*relation, error) {
	out := make([][]*relation, len(s.checked.Memories))
	likeliest := make([]*relation, len(out))
	for better := true; better; {
		changes, err := s.changes(ctx, likeliest)
		if err != nil {
			return nil, err
		}
		better = false
		for m := range out {
			if likeliest[m].complete() {
				continue
			}
			if g := guess(s.words, s.checked, m, changes); len(g) > 0 && g[0].unkept() < likeliest[m].unkept() {
				out[m], likeliest[m], better = g, g[0], true
			}
		}
	}
	return out, nil
}

// changes collects what the program stores where the contract remembers. What the contract
// itself reads from memories is what the program has there, as far as is guessed, and anything
// else.
func (s *session) changes(ctx context.Context, rels []*relation) ([]change, error) {
	var out []change
	for i := range s.bound.places {
		p := &s.bound.places[i]
		if p.place == nil || !remembers(p.place) {
			continue
		}
		v, err := s.any(ctx, p)
		if err != nil {
			return nil, err
		}
		base := &guessed{
			mirror:   &mirror{words: s.words, c: s.checked, rels: rels, at: worldStore{v.from, cpuAt(v.inv)}},
			anything: &anything{words: s.words, c: s.checked},
		}
		start := &ledger{words: s.words, c: s.checked, base: base}
		runs, err := contractRuns(ctx, s.checked, p.place, v.ask, s.b, start, func([]smt.Term) (bool, error) { return true, nil })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		out = append(out, s.changesAt(ctx, v, runs, rels)...)
	}
	return out, nil
}

func remembers(p *contract.CheckedPlace) bool {
	for _, s := range p.Steps {
		for _, c := range s.Cases {
			if slices.ContainsFunc(c.Effects, isRemember) {
				return true
			}
		}
		if slices.ContainsFunc(s.Otherwise, isRemember) {
			return true
		}
	}
	return false
}

func isRemember(e contract.CheckedEffect) bool {
	return e.Verb == contract.Remember || e.Verb == contract.Change
}

func (s *session) changesAt(ctx context.Context, v *visit, runs []*run, rels []*relation) []change {
	var out []change
	for _, r := range runs {
		for _, e := range r.after.log {
			if e.forget {
				continue
			}
			for _, path := range v.paths {
				for _, eff := range path.Effects {
					if eff.Map == nil || eff.Key == nil || eff.Data == nil || !s.bound.internal[eff.Map.Name] {
						continue
					}
					ch := change{memory: e.memory, key: e.key, fields: e.fields, in: s.maps()[eff.Map.Name], at: s.unfilled(eff.Key, rels), cpu: cpuAt(v.inv), data: eff.Data}
					if branches(ch.key) {
						var together bool
						if ch, together = s.decided(ctx, ch, slices.Concat(path.Cond, r.conds)); !together {
							continue
						}
					}
					out = append(out, ch)
				}
			}
		}
	}
	return out
}

// branches tells whether what a key is made of depends on conditions, as bytes of a packet do on its length.
func branches(key []value) bool {
	for _, v := range key {
		if len(branchesOf(terms(v))) > 0 {
			return true
		}
	}
	return false
}

// terms are those that a value consists of.
func terms(v value) []smt.Term {
	if v.bytes != nil {
		return octets(v.bytes)
	}
	return []smt.Term{v.term}
}

// branchesOf are the conditions on which terms depend, each once.
func branchesOf(of []smt.Term) (out []smt.Term) {
	seen := map[smt.Term]bool{}
	var look func(t smt.Term)
	look = func(t smt.Term) {
		if t == nil || seen[t] || len(out) == maxBranches {
			return
		}
		seen[t] = true
		if t.Op() == smt.OpIte && !slices.Contains(out, t.Args()[0]) {
			out = append(out, t.Args()[0])
		}
		for _, a := range t.Args() {
			look(a)
		}
	}
	for _, t := range of {
		look(t)
	}
	return out
}

// Bounds of the conditions that are decided for one change, and of how often that is done for what is left of them.
const (
	maxBranches = 96
	maxRounds   = 4
)

// decided is a change with the conditions decided that hold, or do not, wherever program and contract take their ways together: the
// program has tested there what the contract only weighs, such as whether a packet is long enough, and the two are only
// recognised as the same without it. It tells whether they can be taken together at all.
func (s *session) decided(ctx context.Context, ch change, conds []smt.Term) (change, bool) {
	x := &ways{session: s, ctx: ctx, conds: append(slices.Clone(conds), s.facts(conds)...)}
	if x.never(s.b.True()) {
		return ch, false
	}
	for range maxRounds { // what one condition leaves of another is a new one
		if !x.recognise(&ch) {
			break
		}
	}
	return ch, true
}

// ways are the inputs by which program and contract take their ways together. Those that were found are kept: what one of them
// shows to be possible is not asked again, which leaves few of the questions about conditions and their pairs.
type ways struct {
	*session
	ctx    context.Context
	conds  []smt.Term
	inputs []smt.Model
}

// never tells whether no such input makes a term true.
func (x *ways) never(t smt.Term) bool {
	if t.IsFalse() {
		return true
	}
	if slices.ContainsFunc(x.inputs, func(m smt.Model) bool { return m.Value(t) == 1 }) {
		return false
	}
	a := x.solving.ask(x.ctx, append(slices.Clone(x.conds), t)...)
	if a.Result == smt.Sat {
		x.inputs = append(x.inputs, a.Model)
	}
	return a.Result == smt.Unsat
}

// recognise writes the conditions in a change in fewer words, by what holds beside it, and tells whether any changed.
func (x *ways) recognise(ch *change) (changed bool) {
	var of []smt.Term
	for _, v := range ch.key {
		of = append(of, terms(v)...)
	}
	of = append(of, octets(ch.at)...)
	data := octets(ch.data)
	for _, v := range ch.fields {
		switch {
		case v == nil:
		case v.typ.Kind == contract.TextKind && v.bytes != nil:
			// A text is found by its first byte: what each of the others depends on need not be known.
			of = append(of, v.bytes.At(0, 1))
			votes := map[slot]int{}
			textVotes(v.bytes, ch.data, votes)
			for at := range votes {
				for i := at.off + 1; i < at.off+at.size; i++ {
					data[i] = nil
				}
			}
		default:
			of = append(of, terms(*v)...)
		}
	}
	of = append(of, data...)
	by := map[smt.Term]smt.Term{}
	var open []smt.Term
	for _, c := range branchesOf(of) {
		if x.never(x.b.Not(c)) {
			by[c] = x.b.True()
			continue
		}
		if x.never(c) {
			by[c] = x.b.False()
			continue
		}
		// The same condition, or its opposite, in other words is put in the same words.
		if same := slices.IndexFunc(open, func(o smt.Term) bool { return x.never(x.b.Ne(o, c)) }); same >= 0 {
			by[c] = open[same]
			continue
		}
		if opposite := slices.IndexFunc(open, func(o smt.Term) bool { return x.never(x.b.Eq(o, c)) }); opposite >= 0 {
			by[c] = x.b.Not(open[opposite])
		} else {
			open = append(open, c)
		}
	}
	put := func(t smt.Term) smt.Term {
		if t == nil {
			return nil
		}
		u := x.b.Substitute(t, by)
		changed = changed || u != t
		return u
	}
	bytes := func(old *symbolic.Bytes) *symbolic.Bytes {
		all := octets(old)
		for i, t := range all {
			all[i] = put(t)
		}
		return x.bytesOf(all)
	}
	with := func(v value) value {
		if v.bytes != nil {
			v.bytes = bytes(v.bytes)
		} else {
			v.term = put(v.term)
		}
		return v
	}
	ch.at, ch.data = bytes(ch.at), bytes(ch.data)
	key, fields := ch.key, ch.fields
	ch.key, ch.fields = nil, nil
	for _, v := range key {
		ch.key = append(ch.key, with(v))
	}
	for _, v := range fields {
		if v != nil {
			w := with(*v)
			v = &w
		}
		ch.fields = append(ch.fields, v)
	}
	return changed
}

// unfilled is a key with zeroes for what comes from the filling of elements that keep memories.
func (s *session) unfilled(key *symbolic.Bytes, rels []*relation) *symbolic.Bytes {
	by := map[smt.Term]smt.Term{}
	for _, v := range smt.Vars(octets(key)...) {
		in := symbolic.InputOf(v)
		if in == nil || in.Kind != symbolic.Stored || in.Event == symbolic.Absent {
			continue
		}
		for _, r := range rels {
			if r != nil && r.in.Name == in.Map && r.fills(slot{int(in.Offset / 8), int(v.Width() / 8)}) {
				by[v] = s.b.Const(v.Width(), 0)
			}
		}
	}
	if len(by) == 0 {
		return key
	}
	all := octets(key)
	for i, t := range all {
		all[i] = s.b.Substitute(t, by)
	}
	return s.bytesOf(all)
}

// guessed is what a program's maps say of memories, where that is guessed, else anything.
type guessed struct {
	mirror   *mirror
	anything *anything
}

func (x *guessed) known(m int, key []value) (smt.Term, error) {
	if t, err := x.mirror.known(m, key); err == nil {
		return t, nil
	}
	return x.anything.known(m, key)
}

func (x *guessed) field(m, field int, key []value) (value, error) {
	if v, err := x.mirror.field(m, field, key); err == nil {
		return v, nil
	}
	return x.anything.field(m, field, key)
}

// anything is a memory of which nothing is known.
type anything struct {
	words
	c *contract.Checked
}

func (x *anything) known(m int, _ []value) (smt.Term, error) {
	return x.b.Ne(x.variables(fmt.Sprintf("whether %s is known", x.c.Memories[m].Name), 1).At(0, 1), x.b.Const(8, 0)), nil
}

func (x *anything) field(m, field int, _ []value) (value, error) {
	f := x.c.Memories[m].Fields[field]
	return x.load(f.Type, x.variables(fmt.Sprintf("some %s.%s", x.c.Memories[m].Name, f.Name), f.Type.InMemory()))
}
