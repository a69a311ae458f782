package smt

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"
)

// z3 is part of what the tests need (make test installs it): a test that were
// skipped without it would leave the answers unchecked.
func z3(t testing.TB, limit time.Duration) *Process {
	t.Helper()
	path, err := exec.LookPath("z3")
	if err != nil {
		t.Fatalf("these tests need z3 (apt-get install z3): %v", err)
	}
	p := NewProcess(Limits{Time: limit}, path, "-in", "-smt2", "-memory:1024")
	t.Cleanup(func() { p.Close() })
	return p
}

// formulasFor makes a few random formulas that share parts.
func formulasFor(g *generator, depth int) []*raw {
	var rs []*raw
	for range 1 + g.IntN(4) {
		rs = append(rs, g.term(1, 1+g.IntN(depth)))
	}
	return rs
}

// TestAgainstZ3 asks both solvers the same random questions. Every Sat is
// checked by its model, in the raw formulas too; every Unsat by z3.
func TestAgainstZ3(t *testing.T) {
	n := many(250)
	other := z3(t, 10*time.Second)
	count := map[Result]int{}
	for seed := range n {
		g := newGenerator(rand.New(rand.NewPCG(uint64(seed), 2)))
		b := New()
		mine := NewBuiltin(b, Limits{Time: 2 * time.Second})
		count[compareSolvers(t, b, mine, other, formulasFor(g, 5))]++
	}
	t.Logf("answers: %v", count)
	if count[Unknown] > n/50 || count[Sat] < n/10 || count[Unsat] < n/10 {
		t.Errorf("of %d questions, answers were %v", n, count)
	}
}

func compareSolvers(t *testing.T, b *Builder, mine Solver, other *Process, rs []*raw) Result {
	t.Helper()
	formulas := make([]Term, len(rs))
	for i, r := range rs {
		formulas[i] = r.build(b)
	}
	a, err := mine.Check(context.Background(), formulas...)
	if err != nil {
		t.Fatalf("%v\nbuiltin: %v", rs, err)
	}
	switch a.Result {
	case Sat:
		env := map[string]uint64{}
		for _, r := range rs {
			for name, w := range allVars(r, map[string]uint{}) {
				env[name] = a.Model.Value(b.Var(w, &Info{Name: name}))
			}
		}
		for _, r := range rs {
			if r.eval(env) != 1 {
				t.Fatalf("%v\nis not true under %v", r, env)
			}
		}
	case Unsat:
		// z3 gets the formulas as they were spelled, not as they became.
		if got := askRaw(t, other, rs); got == Sat {
			t.Fatalf("%v\nis unsat for the builtin solver, and sat for z3", rs)
		}
	case Unknown:
		if a.Why == "" {
			t.Fatalf("%v: unknown without a reason", rs)
		}
	}
	return a.Result
}

// askRaw asks z3 about terms that no simplifier has touched.
func askRaw(t *testing.T, p *Process, rs []*raw) Result {
	t.Helper()
	u := newUnsimplified(New())
	formulas := make([]Term, len(rs))
	for i, r := range rs {
		formulas[i] = u.term(r)
	}
	a, err := p.Check(context.Background(), formulas...)
	if err != nil {
		t.Fatalf("z3: %v", err)
	}
	return a.Result
}

// unsimplified makes nodes of raw formulas as they are written, without facts.
type unsimplified struct {
	b    *Builder
	seen map[*raw]Term
}

func newUnsimplified(b *Builder) *unsimplified { return &unsimplified{b, map[*raw]Term{}} }

func (u *unsimplified) node(op Op, width uint, val uint64, args ...Term) Term {
	return u.b.intern(op, width, val, args, func(n *Node) facts { return anyFacts(n.width) })
}

func (u *unsimplified) term(r *raw) Term {
	if t := u.seen[r]; t != nil {
		return t
	}
	t := u.make(r)
	u.seen[r] = t
	return t
}

func (u *unsimplified) make(r *raw) Term {
	a := make([]Term, len(r.args))
	for i, x := range r.args {
		a[i] = u.term(x)
	}
	plain := map[string]Op{
		"add": OpAdd, "mul": OpMul, "udiv": OpUDiv, "urem": OpURem, "sdiv": OpSDiv, "srem": OpSRem, "and": OpAnd,
		"or": OpOr, "xor": OpXor, "not": OpNot, "shl": OpShl, "lshr": OpLShr, "ashr": OpAShr, "eq": OpEq,
		"ult": OpUlt, "slt": OpSlt, "ite": OpIte, "concat": OpConcat, "sext": OpSignExt,
	}
	w := r.width
	if (r.op == "sext" || r.op == "zext") && a[0].width == w {
		return a[0]
	}
	if op, ok := plain[r.op]; ok {
		return u.node(op, w, 0, a...)
	}
	switch r.op {
	case "const":
		return u.b.Const(w, r.val)
	case "var":
		return u.b.Var(w, &Info{Name: r.name})
	case "sub":
		return u.node(OpAdd, w, 0, a[0], u.negative(a[1]))
	case "neg":
		return u.negative(a[0])
	case "ne":
		return u.node(OpNot, 1, 0, u.node(OpEq, 1, 0, a...))
	case "ule":
		return u.node(OpNot, 1, 0, u.node(OpUlt, 1, 0, a[1], a[0]))
	case "sle":
		return u.node(OpNot, 1, 0, u.node(OpSlt, 1, 0, a[1], a[0]))
	case "extract":
		return u.node(OpExtract, w, r.val, a[0])
	case "zext":
		return u.node(OpConcat, w, 0, u.b.Const(w-a[0].width, 0), a[0])
	case "bswap":
		if w == 8 {
			return a[0]
		}
		var parts []Term
		for lo := uint(0); lo < w; lo += 8 {
			parts = append(parts, u.node(OpExtract, 8, uint64(lo), a[0]))
		}
		return u.node(OpConcat, w, 0, parts...)
	}
	panic(r.op)
}

func (u *unsimplified) negative(x Term) Term {
	return u.node(OpMul, x.width, 0, x, u.b.Const(x.width, mask(x.width)))
}

// atom is a random small formula of the kind that paths are made of: bounds,
// equalities, sums, single bits.
func (g *generator) atom(w uint) *raw {
	v := func() *raw { return &raw{op: "var", width: w, name: string(rune('x' + g.IntN(3)))} }
	c := func() *raw { return &raw{op: "const", width: w, val: uint64(g.IntN(1 << w))} }
	two := func(op string, width uint, x, y *raw) *raw { return &raw{op: op, width: width, args: []*raw{x, y}} }
	compare := []string{"eq", "eq", "ne", "ult", "ule", "slt", "sle"}[g.IntN(7)]
	x, y := v(), c()
	switch g.IntN(5) {
	case 0:
		x = two([]string{"mul", "udiv", "urem", "and", "xor"}[g.IntN(5)], w, x, c())
	case 1:
		x, y = two("add", w, two("mul", w, x, c()), two("mul", w, v(), c())), v()
	case 2:
		n := 1 + uint(g.IntN(int(w)))
		x = &raw{op: "extract", width: n, val: uint64(g.IntN(int(w - n + 1))), args: []*raw{x}}
		y = &raw{op: "const", width: n, val: uint64(g.IntN(1 << n))}
	}
	if g.IntN(2) == 0 {
		x, y = y, x
	}
	f := two(compare, 1, x, y)
	if g.IntN(4) == 0 {
		f = two([]string{"or", "and", "xor"}[g.IntN(3)], 1, f, g.atom(w))
	}
	return f
}

// In few bits, all values can be tried: what the formulas say of each other
// must neither lose nor invent a solution.
func TestEveryValue(t *testing.T) {
	count := map[Result]int{}
	n := many(1000)
	for seed := range n {
		g := newGenerator(rand.New(rand.NewPCG(uint64(seed), 11)))
		w := 2 + uint(g.IntN(2))
		var rs []*raw
		for range 2 + g.IntN(4) {
			rs = append(rs, g.atom(w))
		}
		want := tryAll(rs, w)
		b := New()
		formulas := make([]Term, len(rs))
		for i, r := range rs {
			formulas[i] = r.build(b)
		}
		a, err := NewBuiltin(b, Limits{Time: time.Minute}).Check(context.Background(), formulas...)
		if err != nil || a.Result != want {
			t.Fatalf("%v\nis %v (%s), %v; want %v", rs, a.Result, a.Why, err, want)
		}
		count[want]++
	}
	if count[Sat] < n/10 || count[Unsat] < n/10 {
		t.Errorf("answers: %v", count)
	}
}

func tryAll(rs []*raw, w uint) Result {
	env := map[string]uint64{}
	for i := range uint64(1) << (3 * w) {
		env["x"], env["y"], env["z"] = i&mask(w), i>>w&mask(w), i>>(2*w)&mask(w)
		all := true
		for _, r := range rs {
			if r.eval(env) == 0 {
				all = false
				break
			}
		}
		if all {
			return Sat
		}
	}
	return Unsat
}

// A Builder makes as many terms as it may. A question that needs more is Unknown.
func TestExhausted(t *testing.T) {
	b := New()
	x, y := b.Var(64, &Info{Name: "x"}), b.Var(64, &Info{Name: "y"})
	s := NewBuiltin(b, Limits{})
	zero := b.Eq(x, b.Const(64, 0))
	b.most = b.made.Load() + 5
	sum := b.Ult(b.Mul(x, x), b.Mul(y, y))
	func() {
		defer func() {
			if r := recover(); r != (Exhausted{}) {
				t.Errorf("recovered %v", r)
			}
		}()
		for i := range uint64(100) {
			sum = b.And(sum, b.Ult(x, b.Add(y, b.Const(64, i))))
		}
		t.Error("there were terms without end")
	}()
	if a, err := s.Check(context.Background(), sum, zero); err != nil || a.Result != Unknown {
		t.Errorf("%v, %v", a, err)
	}
}
