package compare

import (
	"fmt"
	"slices"
	"strings"

	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
	"kgent/retrieval/kernel/abi"
)

// claim is something in which two paths have to agree for their effects to be the same.
type claim struct {
	kind    Kind
	subject string
	holds   smt.Term
	// say tells what either does, under a model in which the claim does not hold.
	say func(m smt.Model) (a, b string)
	// either tells of a difference in a value what it is about ("“rport” of “connects”") and which
	// value either program gives it; nil where the difference is whether there is something at all.
	either func(m smt.Model) (about, a, b string)
	// doubt is set for what has to hold for the other claims to mean what they say: if it does not,
	// that is no difference, but nothing is known.
	doubt string
	// ask is a question of either or, if the terms themselves suggest one.
	ask string
}

// data are bytes of one of the programs.
type data struct {
	*symbolic.Bytes
	r *renamer // nil: the left one's
}

// at is the little-endian value of n bytes.
func (d data) at(off, n int) smt.Term {
	t := d.At(off, n)
	if d.r != nil {
		return d.r.term(t)
	}
	return t
}

func (d data) eval(m smt.Model, off, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(m.Value(d.at(off+i, 1)))
	}
	return out
}

// ran is what one program did at a step: nothing, if it has no program there.
type ran struct {
	s    *session
	who  int
	path *symbolic.Path // nil: it is not there
	prog *symbolic.Program
	inv  *symbolic.Invocation
	from *symbolic.World
	// after is the world that it leaves.
	after *symbolic.World
}

func (x *ran) term(t smt.Term) smt.Term {
	if x.who == right {
		return x.s.ren.term(t)
	}
	return t
}

func (x *ran) data(b *symbolic.Bytes) data {
	if x.who == right {
		return data{b, x.s.ren}
	}
	return data{b, nil}
}

// cond is the condition of the path.
func (x *ran) cond() []smt.Term {
	if x.path == nil {
		return nil
	}
	if x.who == right {
		return x.s.ren.terms(x.path.Cond)
	}
	return x.path.Cond
}

// effectsOf are those of one kind, in order.
func (x *ran) effectsOf(ops ...symbolic.Op) []*symbolic.Effect {
	if x.path == nil {
		return nil
	}
	var out []*symbolic.Effect
	for _, e := range x.path.Effects {
		if slices.Contains(ops, e.Op) {
			out = append(out, e)
		}
	}
	return out
}

// both are two paths of a step.
type both struct {
	s     *session
	place place
	a, b  *ran
	out   []*claim
}

func (x *both) claim(kind Kind, subject string, holds smt.Term, say func(smt.Model) (string, string)) *claim {
	c := &claim{kind: kind, subject: subject, holds: holds, say: say}
	x.out = append(x.out, c)
	return c
}

// effects makes all claims.
func (x *both) effects() error {
	if err := x.events(); err != nil {
		return err
	}
	for _, t := range x.s.form.tables {
		if err := x.table(t); err != nil {
			return err
		}
	}
	x.returns()
	return x.others()
}

// emission is an event, by the number of its stream; -1 is a line of an iterator.
type emission struct {
	stream int
	effect *symbolic.Effect
}

func (x *both) emissions(r *ran) ([]emission, error) {
	var out []emission
	for _, e := range r.effectsOf(symbolic.Emit) {
		if e.Size != nil {
			return nil, fmt.Errorf("at %s, %s shows an event whose length depends on the input, which is not followed", x.place.name, x.s.side[r.who].Name)
		}
		if e.Map == nil {
			out = append(out, emission{-1, e})
			continue
		}
		n, ok := x.s.form.streams[r.who][e.Map.Name]
		if !ok {
			return nil, fmt.Errorf("at %s, %s shows an event of no known form", x.place.name, x.s.side[r.who].Name)
		}
		out = append(out, emission{n, e})
	}
	return out, nil
}

// size is that of a stream's events.
func (f form) size(name string) int {
	for _, s := range f.streams {
		if s.name == name {
			return s.size
		}
	}
	return 0
}

func (x *both) events() error {
	ea, err := x.emissions(x.a)
	if err != nil {
		return err
	}
	eb, err := x.emissions(x.b)
	if err != nil {
		return err
	}
	same := len(ea) == len(eb)
	for i := range ea {
		same = same && ea[i].stream == eb[i].stream && ea[i].effect.Format == eb[i].effect.Format
	}
	if !same {
		subject := "lines"
		for _, e := range append(slices.Clone(ea), eb...) {
			if e.stream >= 0 {
				subject = x.s.form.names[e.stream]
			}
		}
		x.claim(Events, subject, x.s.b.False(), func(m smt.Model) (string, string) { return x.shows(x.a, ea, m), x.shows(x.b, eb, m) })
		return nil
	}
	for i := range ea {
		if err := x.event(ea[i], eb[i]); err != nil {
			return err
		}
	}
	return nil
}

// event compares two events of one stream.
func (x *both) event(ea, eb emission) error {
	da, db := x.a.data(ea.effect.Data), x.b.data(eb.effect.Data)
	if ea.stream < 0 {
		if da.Len() != db.Len() {
			x.claim(Member, "the line", x.s.b.False(), func(smt.Model) (string, string) { return "writes a line", "writes another one" })
			return nil
		}
		holds := x.s.equalBytes(da, 0, db, 0, da.Len())
		if slices.ContainsFunc(smt.Vars(holds), own) {
			return fmt.Errorf("at %s, lines depend on addresses of the programs' own memory", x.place.name)
		}
		x.claim(Member, "the line", holds, func(smt.Model) (string, string) { return "writes a line", "writes another one" })
		return nil
	}
	name := x.s.form.names[ea.stream]
	wholeA, wholeB := x.whole(x.a, ea, da), x.whole(x.b, eb, db)
	if !wholeA && !wholeB {
		return fmt.Errorf("at %s, both show events %s that are cut short", x.place.name, quote(name))
	}
	if !wholeA || !wholeB {
		say := func(whole bool) string {
			if whole {
				return fmt.Sprintf("shows %s with all its members", quote(name))
			}
			return fmt.Sprintf("shows %s cut short", quote(name))
		}
		x.claim(Events, name, x.s.b.False(), func(smt.Model) (string, string) { return say(wholeA), say(wholeB) })
		return nil
	}
	for _, p := range x.s.form.members[ea.stream] {
		x.column(Member, name, fmt.Sprintf("shows %s with", quote(name)), quote(name), p, da, db, x.s.b.True())
	}
	return nil
}

// whole tells whether an event has all the bytes of its type.
func (x *both) whole(r *ran, e emission, d data) bool {
	return d.Len() >= x.s.side[r.who].form.size(e.effect.Map.Name)
}

// column compares one member where a condition holds.
func (x *both) column(kind Kind, of, words, within string, p paired, da, db data, where smt.Term) {
	same := x.s.same(p, da, db)
	c := x.claim(kind, member(of, p.a), x.s.b.Implies(where, same), func(m smt.Model) (string, string) {
		return fmt.Sprintf("%s %s = %s", words, orRow(p.a.name), x.s.value(m, p.a, da)), fmt.Sprintf("%s %s = %s", words, orRow(p.b.name), x.s.value(m, p.b, db))
	})
	c.either = func(m smt.Model) (about, a, b string) {
		return strings.Replace(called(p.a), "its ", "the ", 1) + " of " + within, x.s.value(m, p.a, da), x.s.value(m, p.b, db)
	}
	if kind == Member {
		c.ask = x.sources(of, p, da, db)
	}
}

func orRow(name string) string {
	if name == "" {
		return "the value"
	}
	return clean(name, 64)
}

// same says that two columns show the same.
func (s *session) same(p paired, da, db data) smt.Term {
	b := s.b
	switch p.a.shape {
	case number:
		va, vb := s.numberOf(p.a, da), s.numberOf(p.b, db)
		same := b.Eq(va, vb)
		if p.a.signed != p.b.signed { // a negative number is not a large one
			same = b.And(same, b.Eq(b.Extract(63, 63, va), b.Const(1, 0)))
		}
		return same
	case text:
		return s.equalTexts(da, p.a, db, p.b)
	case args:
		n := da.at(p.a.off, 4)
		all := []smt.Term{b.Eq(n, db.at(p.b.off, 4))}
		for i := 4; i < min(p.a.size, p.b.size); i++ {
			all = append(all, b.Implies(b.Ult(b.Const(32, uint64(i-4)), n), b.Eq(da.at(p.a.off+i, 1), db.at(p.b.off+i, 1))))
		}
		return b.And(all...)
	}
	return s.equalBytes(da, p.a.off, db, p.b.off, p.a.size)
}

// numberOf is a column's number in 64 bits.
func (s *session) numberOf(c column, d data) smt.Term {
	v := d.at(c.off, c.size)
	if c.big && c.size > 1 {
		v = s.b.BSwap(v)
	}
	switch {
	case c.size == 8:
		return v
	case c.signed:
		return s.b.SignExt(64, v)
	}
	return s.b.ZeroExt(64, v)
}

func (s *session) equalBytes(da data, oa int, db data, ob, n int) smt.Term {
	var all []smt.Term
	for i := 0; i < n; i += 8 {
		k := min(8, n-i)
		all = append(all, s.b.Eq(da.at(oa+i, k), db.at(ob+i, k)))
	}
	return s.b.And(all...)
}

// equalTexts compares up to the first NUL, or the end.
func (s *session) equalTexts(da data, ca column, db data, cb column) smt.Term {
	b := s.b
	zero := b.Const(8, 0)
	at := func(d data, c column, i int) smt.Term {
		if i >= c.size {
			return zero
		}
		return d.at(c.off+i, 1)
	}
	identical := ca.size == cb.size
	for i := 0; identical && i < ca.size; i++ {
		identical = at(da, ca, i) == at(db, cb, i)
	}
	if identical {
		return b.True()
	}
	// From the last byte on: from here on they are the same.
	out := b.True()
	for i := max(ca.size, cb.size) - 1; i >= 0; i-- {
		p, q := at(da, ca, i), at(db, cb, i)
		out = b.And(b.Eq(p, q), b.Or(b.Eq(p, zero), out))
	}
	return out
}

// returnsMatter tells whether the value that a program returns means something at a kind of
// hook, and what is returned for the kernel to go on as if no program were there.
func returnsMatter(kind program.Kind) (neutral int32, matters bool) {
	switch kind {
	case program.Tracepoint, program.RawTracepoint, program.TPBTF, program.Kprobe, program.Kretprobe, program.Fentry, program.Fexit,
		program.Uprobe, program.Uretprobe, program.USDT, program.PerfEvent:
		return 0, false
	}
	neutral, ok := kind.Harmless()
	if !ok {
		return 0, true
	}
	return neutral, true
}

func (x *both) returns() {
	neutral, matters := returnsMatter(x.place.kind)
	if !matters {
		return
	}
	b := x.s.b
	value := func(r *ran) smt.Term {
		if r.path == nil || r.path.Return == nil {
			return b.Const(32, uint64(uint32(neutral)))
		}
		return b.Extract(31, 0, r.term(r.path.Return))
	}
	va, vb := value(x.a), value(x.b)
	x.claim(Return, "the returned value", b.Eq(va, vb), func(m smt.Model) (string, string) {
		return "returns " + verdictWords(x.place.kind, m.Value(va)), "returns " + verdictWords(x.place.kind, m.Value(vb))
	})
}

// others compares what is done to the outside besides: calls, packets, contexts, the trace pipe.
func (x *both) others() error {
	ops := []symbolic.Op{symbolic.Act, symbolic.Context, symbolic.Print, symbolic.PacketWrite}
	oa, ob := x.a.effectsOf(ops...), x.b.effectsOf(ops...)
	if len(oa) == 0 && len(ob) == 0 {
		return nil
	}
	say := func(m smt.Model) (string, string) { return doing(x.a, oa, m), doing(x.b, ob, m) }
	if len(oa) != len(ob) {
		x.claim(Other, "what it does besides", x.s.b.False(), say)
		return nil
	}
	b := x.s.b
	for i, e := range oa {
		o := ob[i]
		if e.Op != o.Op || e.Helper != o.Helper || e.Offset != o.Offset || len(e.Args) != len(o.Args) || e.Format != o.Format || (e.Data == nil) != (o.Data == nil) ||
			e.Data != nil && e.Data.Len() != o.Data.Len() {
			x.claim(Other, "what it does besides", b.False(), say)
			return nil
		}
		all := []smt.Term{}
		given, known := numbersGiven[e.Helper]
		if e.Op == symbolic.Act && (!known || nameOfMap(e) != nameOfMap(o)) {
			return fmt.Errorf("at %s, what %s is given is not followed", x.place.name, e.Helper)
		}
		for _, j := range given {
			if j >= len(e.Args) || e.Args[j] == nil || o.Args[j] == nil {
				return fmt.Errorf("at %s, what %s is given is not followed", x.place.name, e.Helper)
			}
			all = append(all, b.Eq(e.Args[j], x.s.ren.term(o.Args[j])))
		}
		if e.Data != nil {
			all = append(all, x.s.equalBytes(x.a.data(e.Data), 0, x.b.data(o.Data), 0, e.Data.Len()))
		}
		x.claim(Other, "what it does besides", b.And(all...), say)
	}
	if x.a.path != nil && x.b.path != nil && x.a.path.Packet != nil && x.b.path.Packet != nil {
		pa, pb := x.a.path, x.b.path
		if pa.Packet.Len() != pb.Packet.Len() {
			return fmt.Errorf("at %s, packets of different lengths are not compared", x.place.name)
		}
		same := []smt.Term{x.s.equalBytes(x.a.data(pa.Packet), 0, x.b.data(pb.Packet), 0, pa.Packet.Len())}
		if pa.PacketLen != nil && pb.PacketLen != nil {
			same = append(same, b.Eq(pa.PacketLen, x.s.ren.term(pb.PacketLen)))
		}
		x.claim(Other, "the packet", b.And(same...), func(smt.Model) (string, string) { return "changes the packet in one way", "changes it in another" })
	}
	return nil
}

// numbersGiven are the arguments that say what a helper does to the outside, by their position; the
// others of these helpers are the context, or registers that they do not read.
var numbersGiven = map[string][]int{
	"bpf_send_signal": {0}, "bpf_send_signal_thread": {0}, "bpf_override_return": {1}, "bpf_redirect": {0, 1}, "bpf_redirect_map": {1, 2},
	"bpf_clone_redirect": {1, 2}, "bpf_set_retval": {0},
}

// givenWords show what a helper is given.
func givenWords(helper string, v uint64) string {
	if strings.HasPrefix(helper, "bpf_send_signal") && abi.SignalName(int64(v)) != "" {
		return fmt.Sprintf("(%s, %d)", abi.SignalName(int64(v)), v)
	}
	return fmt.Sprintf("(%d)", int64(v))
}

func nameOfMap(e *symbolic.Effect) string {
	if e.Map == nil {
		return ""
	}
	return e.Map.Name
}

// doing says in words what effects do to the outside.
func doing(r *ran, list []*symbolic.Effect, m smt.Model) string {
	if len(list) == 0 {
		return "changes nothing outside"
	}
	var out []string
	for _, e := range list {
		what := ""
		switch e.Op {
		case symbolic.Act:
			what = "calls " + clean(e.Helper, 64)
			if _, does, ok := program.EffectOf(e.Helper); ok && does != "" {
				what = does
			}
			for _, j := range numbersGiven[e.Helper] {
				if j < len(e.Args) && e.Args[j] != nil {
					what += " " + givenWords(e.Helper, m.Value(r.term(e.Args[j])))
				}
			}
		case symbolic.Context:
			what = "changes what the hook handed over"
		case symbolic.PacketWrite:
			what = "changes the packet"
		default:
			what = "writes to the trace pipe"
		}
		if !slices.Contains(out, what) {
			out = append(out, what)
		}
	}
	return strings.Join(out, " and ")
}
