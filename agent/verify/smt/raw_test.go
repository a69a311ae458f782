package smt

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// raw is a formula as a caller would spell it, before any simplification, with
// a meaning of its own that shares no code with the package: integers of any
// size, taken modulo 2^width.
type raw struct {
	op    string
	width uint
	val   uint64 // const: the value; extract: the lowest bit
	name  string // var
	args  []*raw
}

func modulo(v *big.Int, width uint) *big.Int {
	return new(big.Int).Mod(v, new(big.Int).Lsh(big.NewInt(1), width))
}

func toSigned(v *big.Int, width uint) *big.Int {
	if v.Bit(int(width)-1) == 1 {
		return new(big.Int).Sub(v, new(big.Int).Lsh(big.NewInt(1), width))
	}
	return v
}

func truth(b bool) *big.Int {
	if b {
		return big.NewInt(1)
	}
	return new(big.Int)
}

func (r *raw) eval(env map[string]uint64) uint64 { return r.evalShared(env, map[*raw]uint64{}) }

func (r *raw) evalShared(env map[string]uint64, seen map[*raw]uint64) uint64 {
	if v, ok := seen[r]; ok {
		return v
	}
	v := modulo(r.integer(env, seen), r.width).Uint64()
	seen[r] = v
	return v
}

// integer may be out of range: eval takes it modulo 2^width.
func (r *raw) integer(env map[string]uint64, seen map[*raw]uint64) *big.Int {
	v := make([]*big.Int, len(r.args))
	for i, a := range r.args {
		v[i] = new(big.Int).SetUint64(a.evalShared(env, seen))
	}
	n := new(big.Int)
	sgn := func(i int) *big.Int { return toSigned(v[i], r.args[i].width) }
	ones := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), r.width), big.NewInt(1))
	switch r.op {
	case "const":
		return n.SetUint64(r.val)
	case "var":
		return n.SetUint64(env[r.name])
	case "add":
		return n.Add(v[0], v[1])
	case "sub":
		return n.Sub(v[0], v[1])
	case "neg":
		return n.Neg(v[0])
	case "mul":
		return n.Mul(v[0], v[1])
	case "udiv":
		if v[1].Sign() == 0 {
			return ones
		}
		return n.Quo(v[0], v[1])
	case "urem":
		if v[1].Sign() == 0 {
			return v[0]
		}
		return n.Rem(v[0], v[1])
	case "sdiv":
		if v[1].Sign() == 0 {
			if sgn(0).Sign() < 0 {
				return big.NewInt(1)
			}
			return big.NewInt(-1)
		}
		return n.Quo(sgn(0), sgn(1))
	case "srem":
		if v[1].Sign() == 0 {
			return v[0]
		}
		return n.Rem(sgn(0), sgn(1))
	case "and":
		return n.And(v[0], v[1])
	case "or":
		return n.Or(v[0], v[1])
	case "xor":
		return n.Xor(v[0], v[1])
	case "not":
		return n.Xor(v[0], ones)
	case "shl":
		if v[1].Cmp(big.NewInt(64)) >= 0 {
			return n
		}
		return n.Lsh(v[0], uint(v[1].Uint64()))
	case "lshr":
		if v[1].Cmp(big.NewInt(64)) >= 0 {
			return n
		}
		return n.Rsh(v[0], uint(v[1].Uint64()))
	case "ashr":
		if v[1].Cmp(big.NewInt(64)) >= 0 {
			return n.Rsh(sgn(0), 64)
		}
		return n.Rsh(sgn(0), uint(v[1].Uint64()))
	case "eq":
		return truth(v[0].Cmp(v[1]) == 0)
	case "ne":
		return truth(v[0].Cmp(v[1]) != 0)
	case "ult":
		return truth(v[0].Cmp(v[1]) < 0)
	case "ule":
		return truth(v[0].Cmp(v[1]) <= 0)
	case "slt":
		return truth(sgn(0).Cmp(sgn(1)) < 0)
	case "sle":
		return truth(sgn(0).Cmp(sgn(1)) <= 0)
	case "ite":
		if v[0].Sign() != 0 {
			return v[1]
		}
		return v[2]
	case "extract":
		return n.Rsh(v[0], uint(r.val))
	case "concat":
		for i := range v {
			n.Add(new(big.Int).Lsh(n, r.args[i].width), v[i])
		}
		return n
	case "zext":
		return v[0]
	case "sext":
		return sgn(0)
	case "bswap":
		for lo := uint(0); lo < r.width; lo += 8 {
			b := new(big.Int).And(new(big.Int).Rsh(v[0], lo), big.NewInt(255))
			n.Add(new(big.Int).Lsh(n, 8), b)
		}
		return n
	}
	panic(r.op)
}

func (r *raw) build(b *Builder) Term { return r.buildShared(b, map[*raw]Term{}) }

func (r *raw) buildShared(b *Builder, seen map[*raw]Term) Term {
	if t := seen[r]; t != nil {
		return t
	}
	a := make([]Term, len(r.args))
	for i, x := range r.args {
		a[i] = x.buildShared(b, seen)
	}
	t := r.apply(b, a)
	seen[r] = t
	return t
}

func (r *raw) apply(b *Builder, a []Term) Term {
	two := map[string]func(x, y Term) Term{
		"add": b.Add, "sub": b.Sub, "mul": b.Mul, "udiv": b.UDiv, "urem": b.URem, "sdiv": b.SDiv, "srem": b.SRem,
		"xor": b.Xor, "shl": b.Shl, "lshr": b.LShr, "ashr": b.AShr,
		"eq": b.Eq, "ne": b.Ne, "ult": b.Ult, "ule": b.Ule, "slt": b.Slt, "sle": b.Sle,
	}
	if f := two[r.op]; f != nil {
		return f(a[0], a[1])
	}
	switch r.op {
	case "const":
		return b.Const(r.width, r.val)
	case "var":
		return b.Var(r.width, &Info{Name: r.name})
	case "neg":
		return b.Neg(a[0])
	case "not":
		return b.Not(a[0])
	case "and":
		return b.And(a...)
	case "or":
		return b.Or(a...)
	case "ite":
		return b.Ite(a[0], a[1], a[2])
	case "extract":
		return b.Extract(uint(r.val)+r.width-1, uint(r.val), a[0])
	case "concat":
		return b.Concat(a...)
	case "zext":
		return b.ZeroExt(r.width, a[0])
	case "sext":
		return b.SignExt(r.width, a[0])
	case "bswap":
		return b.BSwap(a[0])
	}
	panic(r.op)
}

func (r *raw) String() string {
	switch r.op {
	case "const":
		return fmt.Sprintf("%#x:%d", r.val, r.width)
	case "var":
		return r.name
	}
	s := make([]string, len(r.args))
	for i, a := range r.args {
		s[i] = a.String()
	}
	return fmt.Sprintf("(%s:%d/%d %s)", r.op, r.width, r.val, strings.Join(s, " "))
}

// choices are where a generator takes its decisions from: a random source, or
// the bytes of a fuzzer.
type choices interface{ IntN(n int) int }

type byteChoices struct{ data []byte }

func (c *byteChoices) IntN(n int) int {
	if len(c.data) == 0 {
		return 0
	}
	v := int(c.data[0])
	c.data = c.data[1:]
	if n > 256 && len(c.data) > 0 {
		v = v<<8 | int(c.data[0])
		c.data = c.data[1:]
	}
	return v % n
}

var rawWidths = []uint{1, 2, 3, 7, 8, 9, 16, 24, 31, 32, 33, 48, 63, 64}

// generator makes random formulas that share parts.
type generator struct {
	choices
	pool map[uint][]*raw
}

func newGenerator(c choices) *generator { return &generator{c, map[uint][]*raw{}} }

func (g *generator) constant(width uint) *raw {
	var v uint64
	switch g.IntN(6) {
	case 0:
		v = uint64(g.IntN(4))
	case 1:
		v = -uint64(g.IntN(4))
	case 2:
		v = 1 << g.IntN(int(width))
	case 3:
		v = 1<<g.IntN(int(width)) - 1
	case 4:
		v = 0xff << (8 * g.IntN(8))
	default:
		v = uint64(g.IntN(1000)) * uint64(g.IntN(1000))
	}
	return &raw{op: "const", width: width, val: v & mask(width)}
}

func (g *generator) leaf(width uint) *raw {
	if g.IntN(3) == 0 {
		return g.constant(width)
	}
	return &raw{op: "var", width: width, name: fmt.Sprintf("%c%d", 'a'+rune(g.IntN(3)), width)}
}

// term makes a formula of that width.
func (g *generator) term(width uint, depth int) *raw {
	if old := g.pool[width]; len(old) > 0 && g.IntN(4) == 0 {
		return old[g.IntN(len(old))]
	}
	t := g.fresh(width, depth)
	g.pool[width] = append(g.pool[width], t)
	return t
}

func (g *generator) fresh(width uint, depth int) *raw {
	if depth <= 0 {
		return g.leaf(width)
	}
	same := func(op string, n int) *raw {
		r := &raw{op: op, width: width}
		for range n {
			r.args = append(r.args, g.term(width, depth-1))
		}
		return r
	}
	if width == 1 && g.IntN(2) == 0 {
		w := rawWidths[g.IntN(len(rawWidths))]
		op := []string{"eq", "ne", "ult", "ule", "slt", "sle"}[g.IntN(6)]
		return &raw{op: op, width: 1, args: []*raw{g.term(w, depth-1), g.term(w, depth-1)}}
	}
	switch g.IntN(16) {
	case 0, 1, 2:
		return same([]string{"add", "sub", "mul"}[g.IntN(3)], 2)
	case 3, 4:
		return same([]string{"and", "or", "xor"}[g.IntN(3)], 2)
	case 5:
		return same([]string{"not", "neg"}[g.IntN(2)], 1)
	case 6, 7: // by a constant
		op := []string{"udiv", "urem", "sdiv", "srem", "mul", "and", "or", "xor", "add"}[g.IntN(9)]
		return &raw{op: op, width: width, args: []*raw{g.term(width, depth-1), g.constant(width)}}
	case 8:
		return same([]string{"udiv", "urem", "sdiv", "srem", "shl", "lshr", "ashr"}[g.IntN(7)], 2)
	case 9, 10:
		op := []string{"shl", "lshr", "ashr"}[g.IntN(3)]
		k := &raw{op: "const", width: width, val: uint64(g.IntN(int(width)+1)) & mask(width)}
		return &raw{op: op, width: width, args: []*raw{g.term(width, depth-1), k}}
	case 11:
		return &raw{op: "ite", width: width, args: []*raw{g.term(1, depth-1), g.term(width, depth-1), g.term(width, depth-1)}}
	case 12:
		w := rawWidths[g.IntN(len(rawWidths))]
		if w < width {
			w = 64
		}
		return &raw{op: "extract", width: width, val: uint64(g.IntN(int(w - width + 1))), args: []*raw{g.term(w, depth-1)}}
	case 13:
		if width > 1 {
			w := 1 + uint(g.IntN(int(width-1)))
			return &raw{op: "concat", width: width, args: []*raw{g.term(width-w, depth-1), g.term(w, depth-1)}}
		}
	case 14:
		w := rawWidths[g.IntN(len(rawWidths))]
		if w <= width {
			return &raw{op: []string{"zext", "sext"}[g.IntN(2)], width: width, args: []*raw{g.term(w, depth-1)}}
		}
	case 15:
		if width%8 == 0 {
			return same("bswap", 1)
		}
	}
	return g.leaf(width)
}

func (g *generator) value(width uint) uint64 {
	switch g.IntN(5) {
	case 0:
		return uint64(g.IntN(3)) & mask(width)
	case 1:
		return -uint64(g.IntN(3)) & mask(width)
	case 2:
		return (1<<(width-1) + uint64(g.IntN(3)) - 1) & mask(width)
	}
	v := uint64(0)
	for range 8 {
		v = v<<8 | uint64(g.IntN(256))
	}
	return v & mask(width)
}

// checkMeaning compares a formula and the term made of it under random values.
func checkMeaning(t *testing.T, g *generator, b *Builder, r *raw, n int) {
	t.Helper()
	term := r.build(b)
	if term.Width() != r.width {
		t.Fatalf("%v became %v of %d bits", r, term, term.Width())
	}
	checkShape(t, term)
	vars := allVars(r, map[string]uint{})
	for range n {
		env := map[string]uint64{}
		for name, w := range vars {
			env[name] = g.value(w)
		}
		value := func(v Term) uint64 { return env[v.info.Name] }
		want := r.eval(env)
		if got := Eval(term, value); got != want {
			t.Fatalf("%v\nbecame %v\nunder %v: %#x, want %#x", r, term, env, got, want)
		}
		checkFacts(t, term, value)
	}
}

func allVars(r *raw, into map[string]uint) map[string]uint {
	seen := map[*raw]bool{}
	var walk func(*raw)
	walk = func(r *raw) {
		if seen[r] {
			return
		}
		seen[r] = true
		if r.op == "var" {
			into[r.name] = r.width
		}
		for _, a := range r.args {
			walk(a)
		}
	}
	walk(r)
	return into
}

// checkFacts compares what the form of every part of the term promises with
// what the part is.
func checkFacts(t *testing.T, term Term, value func(Term) uint64) {
	t.Helper()
	e := newEvaluator(value)
	defer e.end()
	e.eval(term)
	visit([]Term{term}, func(x Term) {
		v, f := e.eval(x), x.facts
		if v&f.zeros != 0 || v&f.ones != f.ones || v < f.umin || v > f.umax ||
			signed(v, x.width) < f.smin || signed(v, x.width) > f.smax {
			t.Fatalf("%v is %#x, which its facts exclude: %+v", x, v, f)
		}
	})
}

// checkShape looks for forms that the simplifier promises not to make.
func checkShape(t *testing.T, term Term) {
	t.Helper()
	seen := map[Term]bool{}
	var walk func(Term)
	walk = func(x Term) {
		if seen[x] {
			return
		}
		seen[x] = true
		for _, a := range x.args {
			if a.op == x.op && (x.op == OpAdd || x.op == OpMul || x.op == OpAnd || x.op == OpOr || x.op == OpXor || x.op == OpConcat || x.op == OpNot || x.op == OpExtract) {
				t.Fatalf("%v is nested in itself", x.op)
			}
			walk(a)
		}
	}
	walk(term)
}

// many is n; a hundred times as much if KGENT_SOAK is set.
func many(n int) int {
	if os.Getenv("KGENT_SOAK") != "" {
		return 100 * n
	}
	return n
}

func TestMeaningOfRandomTerms(t *testing.T) {
	n := many(3000)
	for seed := range n {
		g := newGenerator(rand.New(rand.NewPCG(uint64(seed), 1)))
		r := g.term(rawWidths[g.IntN(len(rawWidths))], 1+g.IntN(5))
		checkMeaning(t, g, New(), r, 6)
	}
}
