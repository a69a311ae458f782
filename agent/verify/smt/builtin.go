package smt

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/go-air/gini/z"
)

// Limits of one question. Zero values mean the defaults.
type Limits struct {
	// Time for one question, 2 seconds by default. A context's deadline can
	// only shorten it.
	Time time.Duration
	// Gates is the size of the circuit a question may need, 500,000 by
	// default (some 200 MB). It bounds the memory, and time too.
	Gates int
	// Answers that are remembered, 4096 by default; negative: none.
	Answers int
}

func (l Limits) withDefaults() Limits {
	if l.Time == 0 {
		l.Time = 2 * time.Second
	}
	if l.Gates == 0 {
		l.Gates = 500_000
	}
	if l.Answers == 0 {
		l.Answers = 4096
	}
	return l
}

// Builtin is a Solver without any other program: it simplifies the formulas by
// each other, splits them into sets without common variables, and gives what
// is left, bit by bit, to a SAT solver. The same question gets the same answer
// and the same model, unless time runs out. It may be used concurrently.
//
// The SAT solver, gini, checks its own models, and ends the whole program if
// one is wrong. That was never seen, and could not be caught here.
type Builtin struct {
	b      *Builder
	limits Limits
	cache  *cache
}

// NewBuiltin returns a solver for terms of b.
func NewBuiltin(b *Builder, limits Limits) *Builtin {
	limits = limits.withDefaults()
	return &Builtin{b, limits, newCache(limits.Answers)}
}

// ErrUnsound is in the chain of errors that mean that a solver gave a wrong
// answer: a model that does not fit, or two solvers that contradict each
// other. It is a defect of this package or of a solver, and no answer.
var ErrUnsound = errors.New("a solver gave a wrong answer")

func unknown(format string, args ...any) Answer {
	return Answer{Why: fmt.Sprintf(format, args...)}
}

// Check decides whether all formulas can be true at once.
func (s *Builtin) Check(ctx context.Context, formulas ...Term) (answer Answer, err error) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case Exhausted{}:
			answer, err = unknown("%v", Exhausted{}), nil
		default:
			answer = unknown("the solver failed")
			err = fmt.Errorf("deciding %d formulas: panic: %v\n%s", len(formulas), r, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, s.limits.Time)
	defer cancel()
	p := newProblem(ctx, s.b, formulas)
	if p.never {
		return Answer{Result: Unsat}, nil
	}
	values := make(map[Term]uint64)
	var open *Answer
	for _, set := range slice(p.formulas) {
		a, err := s.decide(ctx, set)
		switch {
		case err != nil:
			return unknown("the solver failed"), err
		case a.Result == Unsat: // whatever the other sets are
			return a, nil
		case a.Result == Unknown && open == nil:
			open = &a
		case a.Result == Sat:
			for _, v := range Vars(set...) {
				values[v] = a.Model.Value(v)
			}
		}
	}
	if open != nil {
		return *open, nil
	}
	return checked(p.model(values), formulas)
}

// model gives the eliminated variables the values that follow from the others.
// Each is made only of variables that were eliminated after it.
func (p *problem) model(values map[Term]uint64) Model {
	m := &model{values: values}
	for i := len(p.solved) - 1; i >= 0; i-- {
		s := p.solved[i]
		values[s.v] = Eval(s.is, m.variable)
	}
	return m
}

// model is a Model made of the values of variables; the rest are 0.
type model struct {
	values map[Term]uint64
}

func (m *model) variable(v Term) uint64 { return m.values[v] }

// Value is the value of the term in the model.
func (m *model) Value(t Term) uint64 { return Eval(t, m.variable) }

// checked answers Sat if the model makes all formulas true.
func checked(m Model, formulas []Term) (Answer, error) {
	for _, f := range formulas {
		if m.Value(f) != 1 {
			return unknown("the solver's model is wrong"), fmt.Errorf("evaluating the model: %v is not true: %w", f, ErrUnsound)
		}
	}
	return Answer{Result: Sat, Model: m}, nil
}

// decide answers for formulas that are connected by their variables.
func (s *Builtin) decide(ctx context.Context, formulas []Term) (Answer, error) {
	if a, ok := s.cache.get(formulas); ok {
		return a, nil
	}
	a, err := s.search(ctx, formulas)
	if err == nil && a.Result != Unknown {
		s.cache.put(formulas, a)
	}
	return a, err
}

func (s *Builtin) search(ctx context.Context, formulas []Term) (Answer, error) {
	if m := guess(formulas); m != nil {
		return Answer{Result: Sat, Model: m}, nil
	}
	if containsHard(formulas) {
		a, err := s.solve(ctx, formulas, true)
		if err != nil || a.Result != Unknown {
			return a, err
		}
	}
	return s.solve(ctx, formulas, false)
}

// guess tries a few models that people like to read: different small numbers,
// zeros, ones.
func guess(formulas []Term) Model {
	vars := Vars(formulas...)
	for _, value := range []func(i int) uint64{
		func(i int) uint64 { return uint64(i + 1) },
		func(int) uint64 { return 0 },
		func(int) uint64 { return ^uint64(0) },
	} {
		m := &model{make(map[Term]uint64, len(vars))}
		for i, v := range vars {
			m.values[v] = value(i) & mask(v.width)
		}
		if fits(m, formulas) {
			return m
		}
	}
	return nil
}

func fits(m *model, formulas []Term) bool {
	e := newEvaluator(m.variable)
	defer e.end()
	for _, f := range formulas {
		if e.eval(f) != 1 {
			return false
		}
	}
	return true
}

func containsHard(formulas []Term) bool {
	const divisions = 1<<OpUDiv | 1<<OpURem | 1<<OpSDiv | 1<<OpSRem
	found, products := false, false
	for _, f := range formulas {
		found = found || f.ops&divisions != 0
		products = products || f.Has(OpMul)
	}
	if !found && products {
		visit(formulas, func(t Term) { found = found || hard(t) })
	}
	return found
}

// solve asks the SAT solver. With opaque products and quotients, only Unsat is
// an answer, and Sat if the model happens to fit.
func (s *Builtin) solve(ctx context.Context, formulas []Term, opaque bool) (answer Answer, err error) {
	if why := ctx.Err(); why != nil {
		return unknown("%v", stopped(ctx, s.limits)), nil
	}
	defer func() {
		switch r := recover(); r {
		case nil:
		case outOfGates:
			answer, err = unknown("the formulas need more than %d gates", s.limits.Gates), nil
		case outOfTime:
			answer, err = unknown("%v", stopped(ctx, s.limits)), nil
		default:
			panic(r)
		}
	}()
	c := newBlaster(s.b, newGates(ctx, s.limits.Gates), opaque)
	c.domains = domainsOf(formulas)
	for _, f := range formulas {
		c.require(f)
	}
	switch c.run(ctx) {
	case -1:
		return Answer{Result: Unsat}, nil
	case 0:
		return unknown("%v", stopped(ctx, s.limits)), nil
	}
	m := &model{make(map[Term]uint64)}
	for _, v := range Vars(formulas...) {
		m.values[v] = c.read(c.words[v])
	}
	c.values(m.values)
	if opaque && !fits(m, formulas) {
		return unknown("the products and quotients matter"), nil
	}
	return checked(m, formulas)
}

func stopped(ctx context.Context, l Limits) string {
	if errors.Is(ctx.Err(), context.Canceled) {
		return "it was cancelled"
	}
	return fmt.Sprintf("no answer within the time for one question (at most %v)", l.Time)
}

// read is the value of a word in the model that was found. Bits that no gate
// uses are 0.
func (s *blaster) read(w word) uint64 {
	x := uint64(0)
	for i, l := range w {
		x |= bit(s.sat.Value(l)) << i
	}
	return x
}

// short is how long a question may take before it is given to a solver that
// can be stopped.
const short = 4 * time.Millisecond

// run is 1 if the clauses can be satisfied with literals, -1 if not, 0 if the context ended.
// gini can be waited for or stopped, not both at once, so a question that
// takes long is asked again and again whether it has an answer, at distances
// of a tenth of the time taken so far. Most have one within a short time, and
// are waited for. The others begin anew, so that their models do not depend on
// when that time was over.
func (g *gates) run(ctx context.Context, with ...z.Lit) int {
	g.load()
	g.sat.Assume(with...)
	if r := g.sat.Try(short); r != 0 || ctx.Err() != nil {
		return r
	}
	g.load()
	g.sat.Assume(with...)
	began := time.Now()
	solving := g.sat.GoSolve()
	for {
		if r, done := solving.Test(); done {
			return r
		}
		time.Sleep(min(time.Since(began)/10+50*time.Microsecond, 2*time.Millisecond))
		if ctx.Err() != nil {
			return solving.Stop()
		}
	}
}
