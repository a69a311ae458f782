package smt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-air/gini/z"
)

// operators of the Builder, with the number of arguments and the width of the
// result (0: that of the arguments).
var operators = []struct {
	op     string
	args   int
	result uint
}{
	{"add", 2, 0}, {"sub", 2, 0}, {"mul", 2, 0}, {"neg", 1, 0}, {"udiv", 2, 0}, {"urem", 2, 0}, {"sdiv", 2, 0},
	{"srem", 2, 0}, {"and", 2, 0}, {"or", 2, 0}, {"xor", 2, 0}, {"not", 1, 0}, {"shl", 2, 0}, {"lshr", 2, 0},
	{"ashr", 2, 0}, {"eq", 2, 1}, {"ne", 2, 1}, {"ult", 2, 1}, {"ule", 2, 1}, {"slt", 2, 1}, {"sle", 2, 1},
	{"ite", 3, 0}, {"extract", 1, 0}, {"concat", 2, 0}, {"zext", 1, 0}, {"sext", 1, 0}, {"bswap", 1, 0},
}

// Every operator of every kind of constant is a constant, and the right one.
func TestFolding(t *testing.T) {
	for _, o := range operators {
		t.Run(o.op, func(t *testing.T) {
			g := newGenerator(rand.New(rand.NewPCG(4, uint64(len(o.op)))))
			for range many(2000) {
				w := 1 + uint(g.IntN(64))
				r := &raw{op: o.op, width: w}
				switch o.op {
				case "ite":
					r.args = []*raw{g.value1(1), g.value1(w), g.value1(w)}
				case "extract":
					r.width = 1 + uint(g.IntN(int(w)))
					r.val = uint64(g.IntN(int(w - r.width + 1)))
					r.args = []*raw{g.value1(w)}
				case "concat":
					low := 1 + uint(g.IntN(32))
					high := 1 + uint(g.IntN(32))
					r.width, r.args = low+high, []*raw{g.value1(high), g.value1(low)}
				case "zext", "sext":
					r.args = []*raw{g.value1(1 + uint(g.IntN(int(w))))}
				case "bswap":
					r.width = 8 * (1 + uint(g.IntN(8)))
					r.args = []*raw{g.value1(r.width)}
				default:
					if o.result != 0 {
						r.width = o.result
					}
					for range o.args {
						r.args = append(r.args, g.value1(w))
					}
				}
				got, ok := r.build(New()).Const()
				if want := r.eval(nil); !ok || got != want {
					t.Fatalf("%v is %#x, want %#x", r, got, want)
				}
			}
		})
	}
}

// value1 is one interesting constant.
func (g *generator) value1(width uint) *raw {
	return &raw{op: "const", width: width, val: g.value(width)}
}

// shape is a term of one of the forms for which the rules look.
func (g *generator) shape(w uint) *raw {
	v := func(w uint) *raw { return &raw{op: "var", width: w, name: fmt.Sprintf("%c%d", 'a'+rune(g.IntN(2)), w)} }
	term := func(op string, args ...*raw) *raw { return &raw{op: op, width: w, args: args} }
	cut := w // the width of a part
	if w > 1 {
		cut = 1 + uint(g.IntN(int(w-1)))
	}
	f := &raw{op: "var", width: 1, name: "f"}
	switch g.IntN(14) {
	case 0:
		return term("zext", v(cut))
	case 1:
		return term("sext", v(cut))
	case 2:
		if cut < w {
			return term("concat", v(w-cut), g.value1(cut))
		}
	case 3:
		if cut < w {
			return term("concat", g.value1(w-cut), v(cut))
		}
	case 4:
		return term("ite", f, g.value1(w), v(w))
	case 5:
		return term("ite", f, g.value1(w), g.value1(w))
	case 6:
		return term([]string{"udiv", "urem", "mul", "add", "sub", "xor", "and", "or"}[g.IntN(8)], v(w), g.constant(w))
	case 7:
		return term("not", v(w))
	case 8:
		if w < 64 {
			hi := w + 1 + uint(g.IntN(int(64-w)))
			return &raw{op: "extract", width: w, val: uint64(g.IntN(int(hi - w + 1))), args: []*raw{v(hi)}}
		}
	case 9, 10:
		return g.constant(w)
	case 11:
		return g.value1(w)
	}
	return v(w)
}

// Every operator of all forms that the rules look for.
func TestOneOperator(t *testing.T) {
	for _, o := range operators {
		if o.args != 2 || o.op == "concat" {
			continue
		}
		t.Run(o.op, func(t *testing.T) {
			g := newGenerator(rand.New(rand.NewPCG(5, uint64(len(o.op)))))
			for range many(700) {
				w := 1 + uint(g.IntN(64))
				if g.IntN(2) == 0 {
					w = 1 + uint(g.IntN(9))
				}
				r := &raw{op: o.op, width: w, args: []*raw{g.shape(w), g.shape(w)}}
				if o.result != 0 {
					r.width = o.result
				}
				checkMeaning(t, g, New(), r, 12)
			}
		})
	}
}

// The solver's circuits get terms that no simplifier has touched: in few bits,
// each operator with everything; in more, random formulas.
func TestCircuits(t *testing.T) {
	for _, o := range operators {
		if o.args != 2 || o.op == "concat" {
			continue
		}
		t.Run(o.op, func(t *testing.T) {
			for _, w := range []uint{1, 2, 3, 4} {
				x := &raw{op: "var", width: w, name: "x"}
				r := &raw{op: o.op, width: w, args: []*raw{x, {op: "var", width: w, name: "y"}}}
				if o.result != 0 {
					r.width = o.result
				}
				var envs []map[string]uint64
				for y := range mask(w) + 1 {
					var some []map[string]uint64
					for x := range mask(w) + 1 {
						some = append(some, map[string]uint64{"x": x, "y": y})
					}
					constant := &raw{op: "const", width: w, val: y}
					checkCircuit(t, &raw{op: o.op, width: r.width, args: []*raw{x, constant}}, some)
					envs = append(envs, some...)
				}
				checkCircuit(t, r, envs)
			}
		})
	}
	g := newGenerator(rand.New(rand.NewPCG(6, 6)))
	for range many(150) {
		g.pool = map[uint][]*raw{}
		r := g.term(rawWidths[g.IntN(len(rawWidths))], 3)
		var envs []map[string]uint64
		for range 3 {
			env := map[string]uint64{}
			for name, w := range allVars(r, map[string]uint{}) {
				env[name] = g.value(w)
			}
			envs = append(envs, env)
		}
		checkCircuit(t, r, envs)
	}
}

// checkCircuit asks for the values of r: what the circuit gives must be them.
func checkCircuit(t *testing.T, r *raw, envs []map[string]uint64) {
	t.Helper()
	b := New()
	c := newBlaster(b, newGates(context.Background(), 1<<20), false)
	out := c.word(newUnsimplified(b).term(r))
	vars := allVars(r, map[string]uint{})
	for name := range vars {
		c.word(b.Lookup(name))
	}
	for _, env := range envs {
		var inputs []z.Lit
		for name := range vars {
			for i, l := range c.word(b.Lookup(name)) {
				if env[name]>>i&1 == 0 {
					l = l.Not()
				}
				inputs = append(inputs, l)
			}
		}
		if c.run(context.Background(), inputs...) != 1 {
			t.Fatalf("%v has no value under %v", r, env)
		}
		got := uint64(0)
		for i, l := range out {
			got |= bit(c.sat.Value(l)) << i
		}
		if want := r.eval(env); got != want {
			t.Fatalf("%v under %v: the circuit gives %#x, want %#x", r, env, got, want)
		}
	}
}

func TestVariables(t *testing.T) {
	b := New()
	info := &Info{Name: "x", Data: 5}
	x := b.Var(8, info)
	if x != b.Var(8, &Info{Name: "x"}) || x.Info() != info || b.Lookup("x") != x || b.Lookup("y") != nil {
		t.Error("one name is not one variable")
	}
	y := b.Var(8, &Info{Name: "y"})
	if v := Vars(b.Add(y, x), x); len(v) != 2 || v[0] != x || v[1] != y {
		t.Errorf("variables %v", v)
	}
	if v := Vars(b.Sub(b.Add(y, x), y)); len(v) != 1 || v[0] != x {
		t.Errorf("variables %v: what cancels is not there", v)
	}
	for name, f := range map[string]func(){
		"another width":  func() { b.Var(9, &Info{Name: "x"}) },
		"no name":        func() { b.Var(8, &Info{}) },
		"no bits":        func() { b.Const(0, 0) },
		"too many bits":  func() { b.Concat(b.Const(64, 0), x) },
		"unequal widths": func() { b.Add(x, b.Const(9, 0)) },
		"condition":      func() { b.Ite(x, x, x) },
		"bits above":     func() { b.Extract(8, 0, x) },
		"no whole bytes": func() { b.BSwap(b.Const(9, 0)) },
		"narrower":       func() { b.ZeroExt(7, x) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestSubstitute(t *testing.T) {
	b := New()
	v := newVars(b)
	t1 := b.Add(v.a, b.Mul(v.b, v.c))
	if got := b.Substitute(t1, map[Term]Term{v.b: k(b, 2), v.c: v.a}); got != b.Mul(v.a, k(b, 3)) {
		t.Errorf("%v", got)
	}
	if got := b.Substitute(t1, map[Term]Term{v.a: v.b, v.b: v.a}); got != b.Add(v.b, b.Mul(v.a, v.c)) {
		t.Errorf("exchanged: %v", got)
	}
}

func TestString(t *testing.T) {
	b := New()
	v := newVars(b)
	for _, c := range []struct {
		t    Term
		want string
	}{
		{b.Const(16, 443), "443:16"},
		{b.BSwap(v.h), "bswap16(h)"},
		{b.ZeroExt(64, v.w), "zext64(w)"},
		{b.SignExt(64, v.w), "sext64(w)"},
		{b.Extract(31, 0, v.a), "a[31:0]"},
		{b.Sub(v.a, v.b), "(a - b)"},
		{b.Ult(v.a, k(b, 5)), "(a <u 5)"},
		{b.Uge(v.a, k(b, 5)), "(a >=u 5)"},
		{b.Ne(v.h, b.Const(16, 2)), "(h != 2)"},
		{b.Not(v.f), "!f"},
		{b.Ite(v.f, v.a, k(b, 0)), "(f ? a : 0)"},
		{b.True(), "true"},
	} {
		if got := c.t.String(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	deep := v.a
	for range 64 {
		deep = b.Mul(b.Xor(deep, v.b), b.Or(deep, v.c)) // a tree of 2^64 leaves
	}
	if s := deep.String(); len(s) > 1<<20 || !strings.Contains(s, "…") {
		t.Errorf("%d bytes", len(s))
	}
}

// Goroutines that build the same things in different orders get the same
// terms, and answers.
func TestConcurrent(t *testing.T) {
	b := New()
	s := NewBuiltin(b, Limits{Time: 5 * time.Second})
	const n = 150
	terms := make([][n]Term, 4)
	var wg sync.WaitGroup
	for w := range terms {
		wg.Go(func() {
			for i := range n {
				seed := (i*7 + w*31) % n
				g := newGenerator(rand.New(rand.NewPCG(uint64(seed), 7)))
				terms[w][seed] = g.term(1, 4).build(b)
				if i%5 == 0 {
					if _, err := s.Check(context.Background(), terms[w][seed]); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for w := range terms {
		if terms[w] != terms[0] {
			t.Errorf("goroutine %d has other terms", w)
		}
	}
}

// Two runs give the same models.
func TestDeterministic(t *testing.T) {
	run := func() string {
		var out strings.Builder
		for seed := range uint64(60) {
			g := newGenerator(rand.New(rand.NewPCG(seed, 8)))
			b := New()
			var fs []Term
			for _, r := range formulasFor(g, 4) {
				fs = append(fs, r.build(b))
			}
			a, err := NewBuiltin(b, Limits{Time: time.Minute}).Check(context.Background(), fs...)
			fmt.Fprint(&out, fs, a.Result, err)
			if a.Result == Sat {
				for _, v := range Vars(fs...) {
					fmt.Fprint(&out, v, a.Model.Value(v))
				}
			}
		}
		return out.String()
	}
	if run() != run() {
		t.Error("two runs differ")
	}
}

// Choices and sums that are shared again and again must not be walked as the
// trees they stand for.
func TestSharing(t *testing.T) {
	b := New()
	v := newVars(b)
	x, y := v.a, v.b
	began := time.Now()
	for i := range 200 {
		c := b.Extract(uint(i%64), uint(i%64), v.c)
		x, y = b.Ite(c, b.Add(x, y), b.Xor(x, v.d)), b.Ite(b.Not(c), b.Or(y, x), b.Sub(x, y))
		b.Extract(7, 0, x)
		b.Not(b.Eq(x, y))
		storeLoad(b, y)
	}
	// Choices between choices: a ladder with 2^200 paths to its end.
	x, y = b.Const(32, 1), v.w
	for i := range 200 {
		c, d := b.Var(1, &Info{Name: fmt.Sprint("c", i)}), b.Var(1, &Info{Name: fmt.Sprint("d", i)})
		x, y = b.Ite(c, x, b.Ite(d, b.Const(32, uint64(i)), y)), b.Ite(d, y, b.Ite(c, x, b.Const(32, uint64(2*i))))
		b.SignExt(64, x)
		b.BSwap(x)
		b.Eq(x, b.Const(32, 7))
		b.Ult(x, b.Const(32, 7))
		b.Slt(x, y)
		b.Not(b.Ule(y, b.Const(32, uint64(i))))
	}
	NewBuiltin(b, Limits{Time: time.Second}).Check(context.Background(), b.Eq(x, b.Const(32, 5)), b.Ult(y, x))
	if d := time.Since(began); d > time.Minute {
		t.Errorf("%v", d)
	}
}

// FuzzTerms makes a random graph of a fuzzer's bytes, and compares the
// simplified term, the builtin solver and z3.
func FuzzTerms(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 9))
		data := make([]byte, 200)
		for i := range data {
			data[i] = byte(r.IntN(256))
		}
		f.Add(data)
	}
	other := z3(f, 100*time.Millisecond)
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newGenerator(&byteChoices{data})
		rs := formulasFor(g, 6)
		b := New()
		for _, r := range rs {
			checkMeaning(t, newGenerator(rand.New(rand.NewPCG(1, 1))), b, r, 4)
		}
		compareSolvers(t, b, NewBuiltin(b, Limits{Time: 100 * time.Millisecond}), other, rs)
	})
}

// branches are questions as the exploration of a program asks them: the
// conditions of a path so far, and one more.
func branches(b *Builder, n int) [][]Term {
	g := rand.New(rand.NewPCG(10, 10))
	v := newVars(b)
	var all [][]Term
	for i := range n {
		port := b.ZeroExt(64, b.BSwap(v.h))
		sum := b.Add(v.a, k(b, uint64(g.IntN(1000))))
		path := []Term{
			b.Ult(sum, b.Add(v.b, k(b, uint64(i)))),
			b.Ne(port, k(b, uint64(g.IntN(65536)))),
			b.Uge(b.And(v.a, k(b, 0xffff)), k(b, uint64(g.IntN(60000)))),
			b.Slt(b.SignExt(64, v.w), k(b, 0)),
		}
		if i%2 == 0 {
			path = append(path, b.Ult(v.b, v.a), b.Eq(v.b, b.Sub(v.a, port)), b.Ult(v.c, port))
		}
		all = append(all, path)
	}
	return all
}

func BenchmarkBranches(b *testing.B) {
	terms := New()
	questions := branches(terms, 1000)
	ask := func(b *testing.B, s func() Solver) {
		for b.Loop() {
			solver, unknowns := s(), 0
			for _, q := range questions {
				a, err := solver.Check(context.Background(), q...)
				if err != nil {
					b.Fatal(err)
				}
				if a.Result == Unknown {
					unknowns++
				}
			}
			b.ReportMetric(float64(unknowns), "unknown/1000")
		}
	}
	b.Run("builtin", func(b *testing.B) {
		ask(b, func() Solver { return NewBuiltin(terms, Limits{Answers: -1}) })
	})
	b.Run("z3", func(b *testing.B) {
		z := z3(b, 2*time.Second)
		ask(b, func() Solver { return z })
	})
}

// BenchmarkBuild is the cost of a step of the machine: an addition, a mask, a
// store as bytes and a load, a comparison.
func BenchmarkBuild(b *testing.B) {
	for _, known := range []bool{true, false} {
		b.Run(map[bool]string{true: "known", false: "new"}[known], func(b *testing.B) {
			terms := New()
			v := newVars(terms)
			i := uint64(0)
			for b.Loop() {
				if !known {
					i++
				}
				x := terms.Add(v.a, terms.Const(64, i))
				x = terms.And(x, terms.Const(64, 0xffff))
				terms.Ult(storeLoad(terms, terms.Sub(x, v.b)), v.c)
			}
		})
	}
}
