package smt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
)

// Random formulas about equality, of terms of four bits: what the solver says
// must be what trying all values says, whether their domains are small or
// spoiled by other uses.
func TestDomains(t *testing.T) {
	const rounds = 400
	r := rand.New(rand.NewPCG(7, 7))
	small, sat := 0, 0
	for range rounds {
		b := New()
		wide := b.Var(8, &Info{Name: "w"})
		atoms := []Term{b.Extract(3, 0, wide), b.Extract(7, 4, wide), b.Var(4, &Info{Name: "x"})}
		flag := b.Var(1, &Info{Name: "f"})
		var value func(depth int) Term
		var truth func(depth int) Term
		value = func(depth int) Term {
			switch n := r.IntN(8); {
			case n == 0:
				return b.Const(4, uint64(r.IntN(3)))
			case n == 1 && depth > 0:
				return b.Ite(truth(depth-1), value(depth-1), value(depth-1))
			}
			return atoms[r.IntN(len(atoms))]
		}
		truth = func(depth int) Term {
			switch n := r.IntN(16); {
			case n < 4 && depth > 0:
				return b.And(truth(depth-1), truth(depth-1))
			case n < 8 && depth > 0:
				return b.Or(truth(depth-1), truth(depth-1))
			case n == 8:
				return flag
			case n == 9 && r.IntN(8) == 0: // not about equality
				return b.Ult(value(0), value(0))
			case n < 13:
				return b.Ne(value(1), value(1))
			}
			return b.Eq(value(1), value(1))
		}
		var formulas []Term
		for range 4 + r.IntN(8) {
			formulas = append(formulas, truth(3))
		}
		for _, d := range domainsOf(formulas).of {
			if d.root().bits() > 0 {
				small++
				break
			}
		}
		want := Unsat
		for v := range uint64(1 << 13) {
			m := &model{values: map[Term]uint64{wide: v & 0xff, atoms[2]: v >> 8 & 15, flag: v >> 12}}
			if fits(m, formulas) {
				want, sat = Sat, sat+1
				break
			}
		}
		s := NewBuiltin(b, Limits{})
		for _, a := range []func() (Answer, error){
			func() (Answer, error) { return s.Check(context.Background(), formulas...) },
			func() (Answer, error) { return s.solve(context.Background(), formulas, false) }, // as they are
		} {
			if got, err := a(); err != nil || got.Result != want {
				t.Fatalf("%v, %v; want %v of %s", got.Result, err, want, fmt.Sprint(formulas))
			}
		}
	}
	if small < rounds/2 || sat < rounds/8 || sat > rounds*7/8 {
		t.Errorf("of %d sets of formulas %d have small domains, and %d can be true", rounds, small, sat)
	}
}
