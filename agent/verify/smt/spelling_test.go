package smt

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// same is one value in two spellings, which must become one term.
type same struct {
	name string
	x, y func(b *Builder, v vars) Term
}

// vars are variables of the usual widths.
type vars struct{ a, b, c, d, w, u, h, p, f, g Term }

func newVars(b *Builder) vars {
	v := func(width uint, name string) Term { return b.Var(width, &Info{Name: name}) }
	return vars{
		a: v(64, "a"), b: v(64, "b"), c: v(64, "c"), d: v(64, "d"), // four words
		w: v(32, "w"), u: v(32, "u"), h: v(16, "h"), p: v(8, "p"), // and narrower ones
		f: v(1, "f"), g: v(1, "g"), // two conditions
	}
}

func k(b *Builder, n uint64) Term { return b.Const(64, n) }

// storeLoad stores the term as bytes and loads it again.
func storeLoad(b *Builder, t Term) Term {
	var bytes []Term
	for lo := uint(0); lo < t.Width(); lo += 8 {
		bytes = append([]Term{b.Extract(lo+7, lo, t)}, bytes...)
	}
	return b.Concat(bytes...)
}

// swapped16 is a byte swap as compilers write it.
func swapped16(b *Builder, t Term) Term {
	x := b.And(b.LShr(t, k(b, 8)), k(b, 0xff))
	return b.And(b.Or(x, b.Shl(t, k(b, 8))), k(b, 0xffff))
}

var spellings = []same{
	{"bytes stored and read back",
		func(b *Builder, v vars) Term { return storeLoad(b, v.a) },
		func(b *Builder, v vars) Term { return v.a }},
	{"bytes of a sum",
		func(b *Builder, v vars) Term { return storeLoad(b, b.Add(v.a, v.b)) },
		func(b *Builder, v vars) Term { return b.Add(v.b, v.a) }},
	{"bytes of a product and a sum",
		func(b *Builder, v vars) Term {
			return storeLoad(b, b.Add(b.Mul(v.a, v.b), b.Mul(v.c, k(b, 1000))))
		},
		func(b *Builder, v vars) Term { return b.Add(b.Mul(k(b, 1000), v.c), b.Mul(v.b, v.a)) }},
	{"bytes of an or",
		func(b *Builder, v vars) Term { return storeLoad(b, b.Or(v.a, v.b)) },
		func(b *Builder, v vars) Term { return b.Or(v.b, v.a) }},
	{"bytes of a complement",
		func(b *Builder, v vars) Term { return storeLoad(b, b.Not(v.a)) },
		func(b *Builder, v vars) Term { return b.Xor(v.a, k(b, ^uint64(0))) }},
	{"bytes of a quotient",
		func(b *Builder, v vars) Term { return storeLoad(b, b.UDiv(v.a, k(b, 1000))) },
		func(b *Builder, v vars) Term { return b.UDiv(v.a, k(b, 1000)) }},
	{"bytes of a choice",
		func(b *Builder, v vars) Term { return storeLoad(b, b.Ite(v.f, k(b, 0), v.a)) },
		func(b *Builder, v vars) Term { return b.Ite(v.f, k(b, 0), v.a) }},
	{"bytes of a sign extension",
		func(b *Builder, v vars) Term { return storeLoad(b, b.SignExt(64, v.w)) },
		func(b *Builder, v vars) Term { return b.SignExt(64, v.w) }},
	{"bytes of a choice of widened values",
		func(b *Builder, v vars) Term { return storeLoad(b, b.ZeroExt(64, b.Ite(v.f, b.Const(16, 0), v.h))) },
		func(b *Builder, v vars) Term { return b.Ite(v.f, k(b, 0), b.ZeroExt(64, v.h)) }},
	{"r<<=32; r>>=32",
		func(b *Builder, v vars) Term { return b.LShr(b.Shl(b.Add(v.a, v.b), k(b, 32)), k(b, 32)) },
		func(b *Builder, v vars) Term {
			return b.ZeroExt(64, b.Add(b.Extract(31, 0, v.a), b.Extract(31, 0, v.b)))
		}},
	{"r<<=32; r s>>=32",
		func(b *Builder, v vars) Term { return b.AShr(b.Shl(v.a, k(b, 32)), k(b, 32)) },
		func(b *Builder, v vars) Term { return b.SignExt(64, b.Extract(31, 0, v.a)) }},
	{"r<<=32; r s>>=32 of a sum",
		func(b *Builder, v vars) Term { return b.AShr(b.Shl(b.Sub(v.a, v.b), k(b, 32)), k(b, 32)) },
		func(b *Builder, v vars) Term { return b.SignExt(64, b.Extract(31, 0, b.Sub(v.a, v.b))) }},
	{"byte swap as shifts",
		func(b *Builder, v vars) Term { return swapped16(b, b.ZeroExt(64, v.h)) },
		func(b *Builder, v vars) Term { return b.ZeroExt(64, b.BSwap(v.h)) }},
	{"byte swap of a wide value as shifts",
		func(b *Builder, v vars) Term { return swapped16(b, v.a) },
		func(b *Builder, v vars) Term { return b.ZeroExt(64, b.BSwap(b.Extract(15, 0, v.a))) }},
	{"byte swap as a sum of shifts",
		func(b *Builder, v vars) Term {
			h := b.ZeroExt(64, v.h)
			return b.Add(b.LShr(h, k(b, 8)), b.And(b.Mul(h, k(b, 256)), k(b, 0xff00)))
		},
		func(b *Builder, v vars) Term { return b.ZeroExt(64, b.BSwap(v.h)) }},
	{"two byte swaps",
		func(b *Builder, v vars) Term { return b.BSwap(b.BSwap(v.a)) },
		func(b *Builder, v vars) Term { return v.a }},
	{"byte swap of 32 bits at the top of 64",
		func(b *Builder, v vars) Term { return b.LShr(b.BSwap(b.ZeroExt(64, v.w)), k(b, 32)) },
		func(b *Builder, v vars) Term { return b.ZeroExt(64, b.BSwap(v.w)) }},
	{"byte swaps compared",
		func(b *Builder, v vars) Term { return b.Eq(b.BSwap(v.a), b.BSwap(v.b)) },
		func(b *Builder, v vars) Term { return b.Eq(v.b, v.a) }},
	{"a port compared before and after ntohs",
		func(b *Builder, v vars) Term { return b.Eq(b.ZeroExt(64, b.BSwap(v.h)), k(b, 443)) },
		func(b *Builder, v vars) Term { return b.Eq(v.h, b.Const(16, 0xbb01)) }},
	{"(t2-t1)/1000",
		func(b *Builder, v vars) Term { return b.UDiv(b.Sub(v.a, v.b), k(b, 1000)) },
		func(b *Builder, v vars) Term { return b.UDiv(b.Add(v.a, b.Neg(v.b)), k(b, 1000)) }},
	{"(t2-t1)/1000 by complements",
		func(b *Builder, v vars) Term { return b.UDiv(b.Add(b.Add(v.a, b.Not(v.b)), k(b, 1)), k(b, 1000)) },
		func(b *Builder, v vars) Term { return b.UDiv(b.Sub(v.a, v.b), k(b, 1000)) }},
	{"a%100 as a difference",
		func(b *Builder, v vars) Term { return b.Sub(v.a, b.Mul(b.UDiv(v.a, k(b, 100)), k(b, 100))) },
		func(b *Builder, v vars) Term { return b.URem(v.a, k(b, 100)) }},
	{"(t2-t1)%100 as a difference",
		func(b *Builder, v vars) Term {
			t := b.Sub(v.a, v.b)
			return b.Sub(v.a, b.Add(v.b, b.Mul(b.UDiv(t, k(b, 100)), k(b, 100))))
		},
		func(b *Builder, v vars) Term { return b.URem(b.Sub(v.a, v.b), k(b, 100)) }},
	{"seconds by two divisions",
		func(b *Builder, v vars) Term { return b.UDiv(b.UDiv(v.a, k(b, 1000)), k(b, 1000000)) },
		func(b *Builder, v vars) Term { return b.UDiv(v.a, k(b, 1000000000)) }},
	{"a product that cannot wrap around, divided",
		func(b *Builder, v vars) Term { return b.UDiv(b.Mul(b.ZeroExt(64, v.w), k(b, 1000)), k(b, 1000)) },
		func(b *Builder, v vars) Term { return b.ZeroExt(64, v.w) }},
	{"division in 32 and in 64 bits",
		func(b *Builder, v vars) Term { return b.UDiv(b.ZeroExt(64, v.w), k(b, 1000)) },
		func(b *Builder, v vars) Term { return b.ZeroExt(64, b.UDiv(v.w, b.Const(32, 1000))) }},
	{"a sum in 32 and in 64 bits",
		func(b *Builder, v vars) Term { return b.And(b.Add(v.a, v.b), k(b, 0xffffffff)) },
		func(b *Builder, v vars) Term {
			return b.ZeroExt(64, b.Add(b.Extract(31, 0, v.b), b.Extract(31, 0, v.a)))
		}},
	{"small sums widened before and after",
		func(b *Builder, v vars) Term { return b.Add(b.ZeroExt(64, v.h), b.ZeroExt(64, v.p)) },
		func(b *Builder, v vars) Term { return b.ZeroExt(64, b.Add(b.ZeroExt(32, v.p), b.ZeroExt(32, v.h))) }},
	{"tgid by shift and by extract",
		func(b *Builder, v vars) Term { return b.Extract(31, 0, b.LShr(v.a, k(b, 32))) },
		func(b *Builder, v vars) Term { return b.Extract(63, 32, v.a) }},
	{"pid_tgid put together again",
		func(b *Builder, v vars) Term {
			return b.Or(b.Shl(b.LShr(v.a, k(b, 32)), k(b, 32)), b.And(v.a, k(b, 0xffffffff)))
		},
		func(b *Builder, v vars) Term { return v.a }},
	{"a flag by shift and mask, and by comparison",
		func(b *Builder, v vars) Term { return b.Extract(0, 0, b.LShr(v.a, k(b, 5))) },
		func(b *Builder, v vars) Term { return b.Ne(b.And(v.a, k(b, 32)), k(b, 0)) }},
	{"bounds with and without equality",
		func(b *Builder, v vars) Term { return b.Ule(v.a, k(b, 9)) },
		func(b *Builder, v vars) Term { return b.Not(b.Ult(k(b, 9), v.a)) }},
	{"x > 4 and x >= 5",
		func(b *Builder, v vars) Term { return b.Ugt(v.a, k(b, 4)) },
		func(b *Builder, v vars) Term { return b.Uge(v.a, k(b, 5)) }},
	{"the sign of an int in 64 bits",
		func(b *Builder, v vars) Term { return b.Slt(b.SignExt(64, v.w), k(b, 0)) },
		func(b *Builder, v vars) Term { return b.Extract(31, 31, v.w) }},
	{"an error code compared in 64 and in 32 bits",
		func(b *Builder, v vars) Term { return b.Eq(b.SignExt(64, v.w), k(b, ^uint64(14)+1)) },
		func(b *Builder, v vars) Term { return b.Eq(v.w, b.Const(32, ^uint64(14)+1)) }},
	{"a helper's result that tells whether it failed",
		func(b *Builder, v vars) Term {
			return b.Slt(b.SignExt(64, b.Ite(v.f, b.Const(32, ^uint64(13)), b.Const(32, 0))), k(b, 0))
		},
		func(b *Builder, v vars) Term { return v.f }},
	{"a sum moved across an equality",
		func(b *Builder, v vars) Term { return b.Eq(b.Add(v.a, k(b, 5)), b.Sub(v.b, k(b, 2))) },
		func(b *Builder, v vars) Term { return b.Eq(b.Add(v.a, k(b, 7)), v.b) }},
	{"an odd factor divided out",
		func(b *Builder, v vars) Term { return b.Eq(b.Mul(v.a, k(b, 3)), k(b, 12)) },
		func(b *Builder, v vars) Term { return b.Eq(v.a, k(b, 4)) }},
	{"an offset added in two steps",
		func(b *Builder, v vars) Term {
			return b.Add(b.Add(b.Shl(b.ZeroExt(64, v.w), k(b, 3)), k(b, 4)), k(b, 12))
		},
		func(b *Builder, v vars) Term { return b.Add(b.Mul(k(b, 8), b.ZeroExt(64, v.w)), k(b, 16)) }},
	{"products in any order",
		func(b *Builder, v vars) Term { return b.Mul(b.Mul(v.a, v.b), v.c) },
		func(b *Builder, v vars) Term { return b.Mul(v.c, b.Mul(v.b, v.a)) }},
	{"a choice of equals",
		func(b *Builder, v vars) Term { return b.Ite(b.Eq(v.a, v.b), v.a, v.b) },
		func(b *Builder, v vars) Term { return v.b }},
	{"a boolean as an integer and back",
		func(b *Builder, v vars) Term { return b.Ne(b.ZeroExt(64, b.ZeroExt(8, v.f)), k(b, 0)) },
		func(b *Builder, v vars) Term { return v.f }},
	{"nested choices under one condition",
		func(b *Builder, v vars) Term { return b.Ite(v.f, b.Ite(v.f, v.a, v.b), b.Ite(v.f, v.c, v.d)) },
		func(b *Builder, v vars) Term { return b.Ite(b.Not(v.f), v.d, v.a) }},
	{"choices that share a branch",
		func(b *Builder, v vars) Term { return b.Ite(v.f, v.a, b.Ite(v.g, v.a, v.b)) },
		func(b *Builder, v vars) Term { return b.Ite(b.Or(v.g, v.f), v.a, v.b) }},
	{"De Morgan",
		func(b *Builder, v vars) Term { return b.Not(b.And(v.f, b.Not(v.g))) },
		func(b *Builder, v vars) Term { return b.Implies(v.f, v.g) }},
	{"absorption",
		func(b *Builder, v vars) Term { return b.And(v.f, b.Or(b.Not(v.f), v.g)) },
		func(b *Builder, v vars) Term { return b.And(v.g, v.f) }},
	{"one variable, two constants",
		func(b *Builder, v vars) Term { return b.And(b.Eq(v.h, b.Const(16, 2)), b.Eq(v.h, b.Const(16, 10))) },
		func(b *Builder, v vars) Term { return b.False() }},
	{"zero-extended values compared",
		func(b *Builder, v vars) Term { return b.Ult(b.ZeroExt(64, v.w), b.ZeroExt(64, v.u)) },
		func(b *Builder, v vars) Term { return b.Slt(b.ZeroExt(64, v.w), b.ZeroExt(64, v.u)) }},
	{"a threshold on a quotient",
		func(b *Builder, v vars) Term { return b.Uge(b.UDiv(v.a, k(b, 1000)), k(b, 10)) },
		func(b *Builder, v vars) Term { return b.Not(b.Ult(v.a, k(b, 10000))) }},
	{"a word from two halves, each masked",
		func(b *Builder, v vars) Term {
			return b.Xor(b.And(v.a, k(b, 0xffff0000ffff0000)), b.And(v.a, k(b, 0x0000ffff0000ffff)))
		},
		func(b *Builder, v vars) Term { return v.a }},
}

func TestOneValueIsOneTerm(t *testing.T) {
	for _, s := range spellings {
		t.Run(s.name, func(t *testing.T) {
			b := New()
			v := newVars(b)
			x, y := s.x(b, v), s.y(b, v)
			if x != y {
				t.Errorf("%v\nis not %v", x, y)
			}
			if d := b.Eq(x, y); !d.IsTrue() {
				t.Errorf("their equality is %v", d)
			}
			if x.width == 64 { // and so when it is used further
				if z := b.Sub(b.Add(x, v.d), b.Add(v.d, y)); !z.IsFalse() && z != k(b, 0) {
					t.Errorf("their difference is %v", z)
				}
			}
		})
	}
}

// A bswap of something asymmetric must not be taken for the thing itself.
func TestDifferentValuesAreDifferentTerms(t *testing.T) {
	b := New()
	v := newVars(b)
	for _, p := range [][2]Term{
		{b.BSwap(v.a), v.a},
		{b.UDiv(b.Sub(v.a, v.b), k(b, 1000)), b.Sub(b.UDiv(v.a, k(b, 1000)), b.UDiv(v.b, k(b, 1000)))},
		{b.AShr(v.a, k(b, 3)), b.LShr(v.a, k(b, 3))},
		{b.SignExt(64, v.w), b.ZeroExt(64, v.w)},
		{b.UDiv(b.Mul(v.a, k(b, 1000)), k(b, 1000)), v.a}, // it wraps around
		{b.Ult(b.Add(v.a, k(b, 1)), b.Add(v.b, k(b, 1))), b.Ult(v.a, v.b)},
	} {
		a, err := NewBuiltin(b, Limits{}).Check(context.Background(), b.Ne(p[0], p[1]))
		if err != nil || a.Result != Sat {
			t.Errorf("%v and %v: %v, %v", p[0], p[1], a, err)
		}
	}
}

// Terms do not depend on the order in which others were made.
func TestFormDoesNotDependOnHistory(t *testing.T) {
	text := func(seed uint64) string {
		b := New()
		g := newGenerator(rand.New(rand.NewPCG(seed, 3)))
		for range seed { // a past
			g.term(64, 4).build(b)
		}
		v := newVars(b)
		return b.Add(b.Mul(v.d, v.b), b.Or(v.c, v.a)).String() + b.And(b.Ult(v.a, v.b), v.f, v.g).String()
	}
	want := text(0)
	for seed := range uint64(5) {
		if got := text(seed); got != want {
			t.Errorf("%s\nwas %s", got, want)
		}
	}
}

// The queries of which a program's proof is typically made, each with the time
// it may take.
func TestMeasuredQueries(t *testing.T) {
	limit := time.Minute // gross: CI is slow, and the race detector slower
	for _, q := range []struct {
		name string
		ask  func(b *Builder, v vars) []Term
		want Result
	}{
		{"t2/1000 - t1/1000 is not (t2-t1)/1000", func(b *Builder, v vars) []Term {
			q := func(x Term) Term { return b.UDiv(x, k(b, 1000)) }
			return []Term{b.Ne(b.Sub(q(v.a), q(v.b)), q(b.Sub(v.a, v.b)))}
		}, Sat},
		{"(t2-t1)/1000 == 123 means delta >= 123000", func(b *Builder, v vars) []Term {
			d := b.Sub(v.a, v.b)
			return []Term{b.Eq(b.UDiv(d, k(b, 1000)), k(b, 123)), b.Ult(d, k(b, 123000))}
		}, Unsat},
		{"a%100 is a-(a/100)*100 for every spelling of a", func(b *Builder, v vars) []Term {
			x := b.Xor(v.a, v.b)
			return []Term{b.Ne(b.URem(x, k(b, 100)), b.Sub(x, b.Mul(k(b, 100), b.UDiv(x, k(b, 100)))))}
		}, Unsat},
		{"(a*1000)/1000 is a below 2^28", func(b *Builder, v vars) []Term {
			x := b.UDiv(b.Mul(v.a, k(b, 1000)), k(b, 1000))
			return []Term{b.Ult(v.a, k(b, 1<<28)), b.Ne(x, v.a)}
		}, Unsat},
		{"(a*1000)/1000 is not always a", func(b *Builder, v vars) []Term {
			return []Term{b.Ne(b.UDiv(b.Mul(v.a, k(b, 1000)), k(b, 1000)), v.a)}
		}, Sat},
		{"a*b is b*a, of 16 bits in 64", func(b *Builder, v vars) []Term {
			x, y := b.And(v.a, k(b, 0xffff)), b.And(v.b, k(b, 0xffff))
			return []Term{b.Ne(b.Mul(x, y), b.Mul(y, x))}
		}, Unsat},
		{"a read among eight writes at symbolic offsets", func(b *Builder, v vars) []Term {
			value := b.Const(8, 0)
			for i := range 8 {
				at := b.Var(64, &Info{Name: "at" + string(rune('0'+i))})
				value = b.Ite(b.Eq(at, v.a), b.Const(8, uint64(i+1)), value)
			}
			return []Term{b.Ugt(value, b.Const(8, 8))}
		}, Unsat},
		{"a histogram's slot is at most 63", func(b *Builder, v vars) []Term {
			slot := k(b, 0)
			x := v.a
			for _, s := range []uint64{32, 16, 8, 4, 2, 1} {
				big := b.Uge(x, b.Shl(k(b, 1), k(b, s)))
				slot = b.Ite(big, b.Add(slot, k(b, s)), slot)
				x = b.Ite(big, b.LShr(x, k(b, s)), x)
			}
			return []Term{b.Ugt(slot, k(b, 63))}
		}, Unsat},
		{"two paths that contradict each other deep inside", func(b *Builder, v vars) []Term {
			return []Term{b.Or(b.Ult(v.a, k(b, 5)), v.f), b.Not(v.f), b.Ugt(v.a, k(b, 7))}
		}, Unsat},
	} {
		t.Run(q.name, func(t *testing.T) {
			b := New()
			fs := q.ask(b, newVars(b))
			began := time.Now()
			a, err := NewBuiltin(b, Limits{Time: limit}).Check(context.Background(), fs...)
			t.Logf("%v in %v: %v", a.Result, time.Since(began), fs)
			if err != nil || a.Result != q.want {
				t.Errorf("%v (%s), %v; want %v", a.Result, a.Why, err, q.want)
			}
			// z3 alone does not know all of them.
			if n, err := z3(t, time.Second).Check(context.Background(), fs...); err != nil || n.Result != q.want && n.Result != Unknown {
				t.Errorf("z3 says %v (%s), %v; want %v", n.Result, n.Why, err, q.want)
			}
		})
	}
}
