package smt

import (
	"math/bits"

	"github.com/go-air/gini/z"
)

// Many variables are only ever compared for equality, with each other and with a few
// constants: the bytes of a name, a family, an address. Which of them are
// equal is then all that matters, not what they are. A set of k variables and
// m constants that are compared with one another needs no more than k+m
// different values: every assignment can be renamed into one with those, each
// value for itself, and all comparisons stay as they were. So three bytes that
// are compared with each other and with NUL are two bits each for the SAT
// solver, not eight, and what it has to search is far smaller.

// domain is a set of atoms and constants that are compared with one another
// and used in no other way. Atoms are variables, or parts of variables of
// which no other parts overlap.
type domain struct {
	width  uint // of the terms
	atoms  []Term
	consts map[uint64]int // constant → its number in the domain
	order  []uint64       // constants by number
	impure bool           // there are other uses
	up     *domain        // the domain that this one has become a part of
	words  map[Term]word  // of atoms and choices, in numbers of the domain
}

// bits is how many bits a number of the domain has; 0 says that it is not
// worth it.
func (d *domain) bits() uint {
	n := uint(bits.Len(uint(max(len(d.atoms)+len(d.order), 2) - 1)))
	if d.impure || n >= d.width {
		return 0
	}
	return n
}

func (d *domain) root() *domain {
	for d.up != nil {
		if d.up.up != nil {
			d.up = d.up.up
		}
		d = d.up
	}
	return d
}

// domains finds the domains of the terms in formulas, by the terms in them.
type domains struct {
	of map[Term]*domain
	// pieces are the parts that are taken of variables, by the variable.
	pieces map[Term][]Term
}

func domainsOf(formulas []Term) *domains {
	s := &domains{of: make(map[Term]*domain), pieces: make(map[Term][]Term)}
	visit(formulas, s.use)
	for v, parts := range s.pieces {
		if s.of[v] == nil && apart(parts) {
			continue
		}
		s.impure(v)
		for _, p := range parts {
			s.impure(p)
		}
	}
	return s
}

// use notes what a term says about the domains of its arguments.
func (s *domains) use(t Term) {
	switch {
	case t.op == OpEq:
		s.unite(t.args[0], t.args[1])
		return
	case t.op == OpIte && t.width > 1:
		s.unite(t, t.args[1])
		s.unite(t, t.args[2])
		return
	case t.op == OpExtract && t.args[0].op == OpVar:
		s.pieces[t.args[0]] = append(s.pieces[t.args[0]], t)
		return
	}
	if t.op != OpVar {
		s.impure(t)
	}
	for _, a := range t.args {
		s.impure(a)
	}
}

// apart says that parts of one variable do not overlap.
func apart(parts []Term) bool {
	taken := uint64(0)
	for _, p := range parts {
		m := mask(p.width) << p.Lo()
		if taken&m != 0 {
			return false
		}
		taken |= m
	}
	return true
}

func (s *domains) get(t Term) *domain {
	if d := s.of[t]; d != nil {
		return d.root()
	}
	d := &domain{width: t.width, consts: make(map[uint64]int)}
	switch {
	case t.op == OpVar, t.op == OpExtract && t.args[0].op == OpVar:
		d.atoms = []Term{t}
	case t.op != OpIte:
		d.impure = true
	}
	s.of[t] = d
	return d
}

func (s *domains) impure(t Term) {
	if t.op != OpConst && t.width > 1 {
		s.get(t).impure = true
	}
}

func (s *domains) unite(x, y Term) {
	switch {
	case x.width == 1 || x.op == OpConst && y.op == OpConst:
		return
	case x.op == OpConst:
		s.get(y).add(x.val)
		return
	case y.op == OpConst:
		s.get(x).add(y.val)
		return
	}
	d, e := s.get(x), s.get(y)
	if d == e {
		return
	}
	d.atoms = append(d.atoms, e.atoms...)
	for _, c := range e.order {
		d.add(c)
	}
	d.impure = d.impure || e.impure
	e.up = d
}

func (d *domain) add(c uint64) {
	if _, ok := d.consts[c]; !ok {
		d.consts[c] = len(d.order)
		d.order = append(d.order, c)
	}
}

// small is the domain of a term if its numbers are shorter than the term;
// else nil.
func (s *domains) small(t Term) *domain {
	if s == nil {
		return nil
	}
	d := s.of[t]
	if d == nil {
		return nil
	}
	if d = d.root(); d.bits() == 0 {
		return nil
	}
	return d
}

// comparison is the gate of x == y, in the numbers of their domain if they have one.
func (s *blaster) comparison(x, y Term) z.Lit {
	d := s.domains.small(x)
	if d == nil {
		d = s.domains.small(y)
	}
	if d == nil {
		return s.equal(s.word(x), s.word(y))
	}
	return s.equal(s.numberIn(d, x), s.numberIn(d, y))
}

// numberIn are the bits of a term's number in its domain.
func (s *blaster) numberIn(d *domain, t Term) word {
	if t.op == OpConst {
		n, ok := d.consts[t.val]
		if !ok {
			panic("smt: a constant that is in no domain is compared")
		}
		return s.number(uint64(n), d.bits())
	}
	if w, ok := d.words[t]; ok {
		return w
	}
	if d.words == nil {
		d.words = make(map[Term]word)
	}
	var w word
	if t.op == OpIte {
		w = s.choose(s.word(t.args[0])[0], s.numberIn(d, t.args[1]), s.numberIn(d, t.args[2]))
	} else {
		w = s.inputs(d.bits())
	}
	d.words[t] = w
	return w
}

// values gives atoms of domains the values that their numbers stand for, put
// together to those of their variables. Numbers that are no constant's stand
// for different values that no constant has.
func (s *blaster) values(into map[Term]uint64) {
	if s.domains == nil {
		return
	}
	done := make(map[*domain]bool)
	for _, d := range s.domains.of {
		if d = d.root(); done[d] || d.bits() == 0 {
			continue
		}
		done[d] = true
		names := make(map[uint64]uint64)
		next := uint64(0)
		for _, t := range sorted(d.atoms) {
			w, ok := d.words[t]
			if !ok {
				continue
			}
			n := s.read(w)
			v, known := names[n]
			switch {
			case n < uint64(len(d.order)):
				v = d.order[n]
			case !known:
				for next++; has(d.consts, next); next++ {
				}
				v, names[n] = next, next
			}
			if t.op == OpVar {
				into[t] = v
			} else {
				into[t.args[0]] |= v << t.Lo()
			}
		}
	}
}

func has(m map[uint64]int, v uint64) bool {
	_, ok := m[v]
	return ok
}
