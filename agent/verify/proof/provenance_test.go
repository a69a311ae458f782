package proof

import (
	"testing"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

func variable(b *smt.Builder, name string, bits uint, in symbolic.Input) smt.Term {
	in.Name = name
	return b.Var(bits, &smt.Info{Name: name, Data: &in})
}

func TestOrder(t *testing.T) {
	b := smt.New()
	port := variable(b, "dport", 16, symbolic.Input{Kind: symbolic.Data, Order: symbolic.BigOrder})
	num := variable(b, "num", 16, symbolic.Input{Kind: symbolic.Data, Order: symbolic.Host})
	fault := variable(b, "fault", 1, symbolic.Input{Kind: symbolic.Choice})
	zero := b.Const(16, 0)
	tests := []struct {
		name string
		term smt.Term
		want ordering
	}{
		{"as it is", port, asRead},
		{"turned round", b.BSwap(port), swapped},
		{"twice", b.BSwap(b.BSwap(port)), asRead},
		{"where it can be read", b.Ite(fault, zero, b.BSwap(port)), swapped},
		{"sometimes", b.Ite(fault, port, b.BSwap(port)), mixed},
		{"a host number", num, noNetwork},
		{"a host number or a port", b.Ite(fault, num, b.BSwap(port)), swapped},
		{"only compared", b.Ite(b.Eq(port, zero), num, zero), noNetwork},
	}
	for _, tt := range tests {
		got, _ := orderOf(symbolic.NewBytes(b, tt.term), 0, 2)
		if got != tt.want {
			t.Errorf("%s: %d, want %d (%v)", tt.name, got, tt.want, tt.term)
		}
	}
}

func TestUnit(t *testing.T) {
	b := smt.New()
	now := variable(b, "now", 64, symbolic.Input{Kind: symbolic.Data, Unit: "ns"})
	then := variable(b, "then", 64, symbolic.Input{Kind: symbolic.Data, Unit: "ns"})
	plain := variable(b, "plain", 64, symbolic.Input{Kind: symbolic.Data})
	div := func(t smt.Term, by uint64) smt.Term { return b.UDiv(t, b.Const(64, by)) }
	tests := []struct {
		name string
		term smt.Term
		want string
	}{
		{"a difference", b.Sub(now, then), "ns"},
		{"in microseconds", div(b.Sub(now, then), 1000), "us"},
		{"in milliseconds", div(b.Sub(now, then), 1_000_000), "ms"},
		{"in two steps", div(div(b.Sub(now, then), 1000), 1000), "ms"},
		{"by something else", div(now, 1024), ""},
		{"with a number", b.Add(now, b.Const(64, 5)), "ns"},
		{"with something of no unit", b.Add(now, plain), ""},
		{"no unit", plain, ""},
	}
	for _, tt := range tests {
		if got := unitOf(tt.term, 0); got != tt.want {
			t.Errorf("%s: %q, want %q (%v)", tt.name, got, tt.want, tt.term)
		}
	}
}

func TestTexts(t *testing.T) {
	b := smt.New()
	w := words{b}
	text := func(s string, n int) *symbolic.Bytes {
		data := make([]byte, n)
		copy(data, s)
		return symbolic.ConstBytes(b, data)
	}
	for _, tt := range []struct {
		name string
		got  smt.Term
		want bool
	}{
		{"equal", w.textEqual(text("cron", 16), text("cron", 16)), true},
		{"equal with rubbish behind", w.textEqual(text("cron\x00x", 16), text("cron\x00yz", 16)), true},
		{"equal of two sizes", w.textEqual(text("cron", 16), text("cron", 4)), true},
		{"longer", w.textEqual(text("crond", 16), text("cron", 16)), false},
		{"empty", w.textEqual(text("", 16), text("\x00junk", 8)), true},
		{"full", w.textEqual(text("abcd", 4), text("abce", 4)), false},
		{"begins", w.starts(text("/etc/passwd", 16), text("/etc", 8)), true},
		{"begins with nothing", w.starts(text("x", 4), text("", 8)), true},
		{"does not begin", w.starts(text("/et", 4), text("/etc", 8)), false},
		{"canonical", w.canonical(text("ab", 4)), true},
		{"not canonical", w.canonical(text("a\x00b", 4)), false},
	} {
		v, ok := tt.got.Const()
		if !ok || (v == 1) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}
