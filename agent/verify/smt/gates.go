package smt

import (
	"context"

	"github.com/go-air/gini"
	"github.com/go-air/gini/z"
)

// gates is a circuit as clauses for a SAT solver. Equal gates are made once, and
// gates with constant inputs not at all.
type gates struct {
	clauses []z.Lit // each ends with z.LitNull
	count   int     // of clauses
	vars    z.Var   // the last that was made
	sat     *gini.Gini
	yes     z.Lit // always true
	made    map[gate]z.Lit
	budget  int // gates that may still be made
	ctx     context.Context
}

type gate struct {
	kind    byte // 'a'nd, 'x'or, 'm'ux, ma'j'ority
	x, y, c z.Lit
}

// tooMuch is thrown when a formula needs too many gates or too much time.
type tooMuch int

const (
	outOfGates tooMuch = iota + 1
	outOfTime
)

func newGates(ctx context.Context, budget int) *gates {
	g := &gates{made: make(map[gate]z.Lit), budget: budget, ctx: ctx}
	g.yes = g.input()
	g.clause(g.yes)
	return g
}

func (g *gates) clause(ls ...z.Lit) {
	g.clauses = append(append(g.clauses, ls...), z.LitNull)
	g.count++
}

// load makes a SAT solver that knows nothing but the clauses.
func (g *gates) load() {
	g.sat = gini.NewVc(int(g.vars)+2, g.count+1)
	for _, l := range g.clauses {
		g.sat.Add(l)
	}
}

// input is a bit that is free.
func (g *gates) input() z.Lit {
	g.vars++
	return g.vars.Pos()
}

func (g *gates) constant(bit bool) z.Lit {
	if bit {
		return g.yes
	}
	return g.yes.Not()
}

// output is the output of a gate, and whether the gate is new.
func (g *gates) output(k gate) (z.Lit, bool) {
	if l, ok := g.made[k]; ok {
		return l, false
	}
	if g.budget--; g.budget < 0 {
		panic(outOfGates)
	}
	if g.budget%4096 == 0 && g.ctx.Err() != nil {
		panic(outOfTime)
	}
	l := g.input()
	g.made[k] = l
	return l, true
}

func (g *gates) and(x, y z.Lit) z.Lit {
	no := g.yes.Not()
	switch {
	case x == no || y == no || x == y.Not():
		return no
	case x == g.yes || x == y:
		return y
	case y == g.yes:
		return x
	case x > y:
		x, y = y, x
	}
	l, fresh := g.output(gate{'a', x, y, 0})
	if fresh {
		g.clause(l.Not(), x)
		g.clause(l.Not(), y)
		g.clause(l, x.Not(), y.Not())
	}
	return l
}

func (g *gates) or(x, y z.Lit) z.Lit { return g.and(x.Not(), y.Not()).Not() }

func (g *gates) xor(x, y z.Lit) z.Lit {
	no := g.yes.Not()
	switch {
	case x == no:
		return y
	case y == no:
		return x
	case x == g.yes:
		return y.Not()
	case y == g.yes:
		return x.Not()
	case x == y:
		return no
	case x == y.Not():
		return g.yes
	}
	flip := x.IsPos() != y.IsPos() // the gate itself has positive inputs
	if !x.IsPos() {
		x = x.Not()
	}
	if !y.IsPos() {
		y = y.Not()
	}
	if x > y {
		x, y = y, x
	}
	l, fresh := g.output(gate{'x', x, y, 0})
	if fresh {
		g.clause(l.Not(), x, y)
		g.clause(l.Not(), x.Not(), y.Not())
		g.clause(l, x, y.Not())
		g.clause(l, x.Not(), y)
	}
	if flip {
		return l.Not()
	}
	return l
}

// mux is c ? x : y.
func (g *gates) mux(c, x, y z.Lit) z.Lit {
	no := g.yes.Not()
	switch {
	case c == g.yes || x == y:
		return x
	case c == no:
		return y
	case x == y.Not():
		return g.xor(c, y)
	case x == g.yes || x == c:
		return g.or(c, y)
	case x == no || x == c.Not():
		return g.and(c.Not(), y)
	case y == g.yes || y == c.Not():
		return g.or(c.Not(), x)
	case y == no || y == c:
		return g.and(c, x)
	case !c.IsPos():
		c, x, y = c.Not(), y, x
	}
	l, fresh := g.output(gate{'m', x, y, c})
	if fresh {
		g.clause(c.Not(), x.Not(), l)
		g.clause(c.Not(), x, l.Not())
		g.clause(c, y.Not(), l)
		g.clause(c, y, l.Not())
		g.clause(x.Not(), y.Not(), l) // implied, and makes it propagate
		g.clause(x, y, l.Not())
	}
	return l
}

// majority is the carry of a full adder.
func (g *gates) majority(x, y, c z.Lit) z.Lit {
	no := g.yes.Not()
	for range 3 { // each input comes to c once
		switch {
		case c == no:
			return g.and(x, y)
		case c == g.yes:
			return g.or(x, y)
		case x == y:
			return x
		case x == y.Not():
			return c
		}
		x, y, c = y, c, x
	}
	if x > y {
		x, y = y, x
	}
	if y > c {
		y, c = c, y
	}
	if x > y {
		x, y = y, x
	}
	l, fresh := g.output(gate{'j', x, y, c})
	if fresh {
		for _, p := range [][2]z.Lit{{x, y}, {x, c}, {y, c}} {
			g.clause(p[0].Not(), p[1].Not(), l)
			g.clause(p[0], p[1], l.Not())
		}
	}
	return l
}
