package proof

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// What a proof takes for granted about loss (the assumption "room") is only
// fair as long as loss does not go unsaid. So it is an obligation of every program
// that counts, on all paths, that it counts right.

// counter is a member of struct kgent_counts.
type counter struct {
	name, words string
	off         int // bytes
}

// counters of struct kgent_counts in kgent.bpf.h. Its last member, the flags of the
// submit in progress, is no count: it says when the reader is woken.
var counters = [...]counter{
	{"produced", "every event that is emitted is counted, once", 0},
	{"lost", "every event that finds its buffer full is counted, once", 8},
	{"map_full", "every update that its map refuses is counted, once, as k_put and k_cell do", 16},
}

// counterSize is the size of a counter in bytes.
const counterSize = 8

// counts checks a program's own counters on a path, also where buffers and maps
// are full.
func (h *hygienist) counts() {
	stats := h.v.prog.Maps[statsMap]
	if stats == nil || h.path.World == nil || h.path.Crash != nil || len(h.path.Unknown) > 0 || int(stats.ValueSize) < counters[2].off+counterSize {
		return
	}
	for _, k := range counters {
		have := h.b.Const(64, 0)
		pc := -1
		for _, c := range h.path.World.Cells(stats) {
			_, was := h.v.from.Lookup(stats, c.Key, c.Cpu)
			have = h.b.Add(have, h.b.Sub(c.Value.At(k.off, counterSize), was.At(k.off, counterSize)))
			if c.Value.At(k.off, counterSize) != was.At(k.off, counterSize) {
				pc = c.Value.Wrote(k.off)
			}
		}
		want := map[string]func(smt.Term) smt.Term{"produced": h.emissions, "lost": h.failed, "map_full": h.refusals}[k.name]
		h.equals("counts/"+k.name, k.words, want(have), have, pc)
	}
}

// equals is the obligation that a number is what it has to be.
func (h *hygienist) equals(id, words string, want, have smt.Term, pc int) {
	id = h.v.place.name + "/" + id
	if want == have {
		h.found.note(id, words, Holds, "same term", "", 0)
		return
	}
	began := time.Now()
	holds := h.b.Eq(want, have)
	a := h.askOfTexts(h.ctx, h.b, append(slices.Clone(h.hyp), h.b.Not(holds))...)
	switch a.Result {
	case smt.Unsat:
		h.found.note(id, words, Holds, "solver", "", time.Since(began))
	case smt.Sat:
		show := func(m smt.Model) (string, string) {
			return fmt.Sprintf("%d more", m.Value(want)), fmt.Sprintf("%d more", int64(m.Value(have)))
		}
		_, got := show(a.Model)
		h.found.note(id, words, Fails, "", got, time.Since(began))
		h.refused(refusal{&claim{id: id, words: words, holds: holds, pc: pc, show: show, rule: true}, a.Model, h.hyp})
	default:
		h.found.note(id, words, Undecided, "", a.Why, time.Since(began))
	}
}

// emissions is how many events the path emits through buffers.
func (h *hygienist) emissions(smt.Term) smt.Term {
	n := uint64(0)
	for _, e := range h.path.Effects {
		if e.Op == symbolic.Emit && e.Map != nil {
			n++
		}
	}
	return h.b.Const(64, n)
}

// failed is how often a buffer had no room on the path, where that made a difference: on
// a path that stands for several it may be that nobody asked, or that the record would have been
// discarded. counted is by how much the counter grows.
func (h *hygienist) failed(counted smt.Term) smt.Term {
	n := h.b.Const(64, 0)
	for _, v := range smt.Vars(append(slices.Clone(h.path.Cond), counted)...) {
		in := symbolic.InputOf(v)
		if in == nil || in.Kind != symbolic.Choice || in.Event != symbolic.RingFull && in.Event != symbolic.Lost || in.Invocation != h.v.number() {
			continue
		}
		room := map[smt.Term]smt.Term{v: h.b.False()}
		other := h.b.Not(h.b.Substitute(h.b.And(h.path.Cond...), room))
		differs := h.b.Or(other, h.b.Ne(counted, h.b.Substitute(counted, room)))
		n = h.b.Add(n, h.one(h.b.And(v, differs)))
	}
	return n
}

// refusals is how many updates failed, as bpf_map_update_elem of kgent.bpf.h
// counts them: that a key is there already or is not there is no loss but what
// the flags asked.
func (h *hygienist) refusals(smt.Term) smt.Term {
	n := h.b.Const(64, 0)
	for _, e := range h.path.Effects {
		if e.Op != symbolic.Update || e.Result == nil {
			continue
		}
		lost := h.b.True()
		for _, answer := range [...]int64{0, -int64(unix.EEXIST), -int64(unix.ENOENT)} {
			lost = h.b.And(lost, h.b.Ne(e.Result, h.b.Const(64, uint64(answer))))
		}
		n = h.b.Add(n, h.one(lost))
	}
	return n
}

// one is 1 where a condition holds, else 0.
func (h *hygienist) one(t smt.Term) smt.Term {
	switch {
	case slices.Contains(h.path.Cond, t):
		return h.b.Const(64, 1)
	case slices.Contains(h.path.Cond, h.b.Not(t)):
		return h.b.Const(64, 0)
	}
	return h.b.ZeroExt(64, t)
}
