package proof

import (
	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// What a value is made of, as its final term shows. Only variables in value
// positions count: what is merely compared decides between values and is none of
// them.

// carried calls f for each variable that a term carries the value of, or a part of
// it.
func carried(t smt.Term, f func(v smt.Term)) {
	walk(t, map[smt.Term]bool{}, f)
}

func walk(t smt.Term, seen map[smt.Term]bool, f func(smt.Term)) {
	if seen[t] {
		return
	}
	seen[t] = true
	switch t.Op() {
	case smt.OpVar:
		f(t)
	case smt.OpEq, smt.OpUlt, smt.OpSlt:
	case smt.OpIte:
		walk(t.Args()[1], seen, f)
		walk(t.Args()[2], seen, f)
	default:
		for _, a := range t.Args() {
			walk(a, seen, f)
		}
	}
}

// piece is one byte of a variable, as it lies in memory: 0 is the first.
type piece struct {
	of   smt.Term
	byte int
}

// bytePieces are the bytes of variables that byte i of a term can be, unchanged. whole
// is false if the byte can also be something else: computed, or a constant that is not 0.
func bytePieces(t smt.Term, i int, budget *int) (out []piece, whole bool) {
	if *budget--; *budget < 0 || uint(i)*8 >= t.Width() {
		return nil, false
	}
	switch t.Op() {
	case smt.OpVar:
		if t.Width()%8 != 0 {
			return nil, false
		}
		return []piece{{t, i}}, true
	case smt.OpConst:
		v, _ := t.Const()
		return nil, v>>(8*uint(i))&0xff == 0
	case smt.OpExtract:
		if t.Lo()%8 != 0 {
			return nil, false
		}
		return bytePieces(t.Args()[0], i+int(t.Lo()/8), budget)
	case smt.OpConcat:
		return concatPieces(t, i, budget)
	case smt.OpIte:
		x, a := bytePieces(t.Args()[1], i, budget)
		y, c := bytePieces(t.Args()[2], i, budget)
		return append(x, y...), a && c
	}
	return nil, false
}

func concatPieces(t smt.Term, i int, budget *int) ([]piece, bool) {
	args := t.Args()
	low := uint(0)
	for n := len(args) - 1; n >= 0; n-- {
		a := args[n]
		if at := uint(i) * 8; at >= low && at+8 <= low+a.Width() {
			if (at-low)%8 != 0 {
				return nil, false
			}
			return bytePieces(a, int(at-low)/8, budget)
		}
		low += a.Width()
	}
	return nil, false
}

// ordering is the order in which the bytes of a network value lie in a member.
type ordering int

const (
	noNetwork ordering = iota // no network value, or it is not known
	asRead                    // in network order
	swapped                   // in host order
	mixed                     // some one way, some the other
)

// orderOf is how a member of n bytes holds the network values that it is made of.
func orderOf(x *symbolic.Bytes, off, n int) (ordering, smt.Term) {
	term := x.At(off, min(n, 8))
	got := noNetwork
	var of smt.Term
	for i := range min(n, 8) {
		budget := 4096
		pieces, _ := bytePieces(term, i, &budget)
		for _, p := range pieces {
			in := symbolic.InputOf(p.of)
			if in == nil || in.Order != symbolic.BigOrder {
				continue
			}
			at, size := p.byte, int(p.of.Width()/8)
			if in.Label != "" { // a single byte of a field
				at = in.Part
				size, _ = btf.Sizeof(in.Type)
			}
			if size < 2 {
				continue
			}
			here := mixed
			switch i {
			case at:
				here = asRead
			case size - 1 - at:
				here = swapped
			}
			if got != noNetwork && got != here {
				here = mixed
			}
			got, of = here, p.of
		}
	}
	return got, of
}

// unitOf is the unit of a number that is a time or made of times: "ns", "us", "ms",
// "s"; "" if it is not known. Differences and sums of one unit keep it, dividing by
// 1000 makes the next.
func unitOf(t smt.Term, depth int) string {
	if depth > 64 {
		return ""
	}
	switch t.Op() {
	case smt.OpVar:
		if in := symbolic.InputOf(t); in != nil {
			return in.Unit
		}
	case smt.OpAdd:
		return sumUnit(t, depth)
	case smt.OpMul: // the simplifier writes -x as x * -1
		args := t.Args()
		if c, ok := args[len(args)-1].Const(); ok && len(args) == 2 && t.Width() == 64 && c == ^uint64(0) {
			return unitOf(args[0], depth+1)
		}
	case smt.OpUDiv, smt.OpSDiv:
		if c, ok := t.Args()[1].Const(); ok {
			return divided(unitOf(t.Args()[0], depth+1), c)
		}
	case smt.OpIte:
		x, y := unitOf(t.Args()[1], depth+1), unitOf(t.Args()[2], depth+1)
		_, constX := t.Args()[1].Const()
		_, constY := t.Args()[2].Const()
		switch {
		case x == y || constY:
			return x
		case constX:
			return y
		}
	case smt.OpExtract:
		if t.Lo() == 0 && t.Width() >= 32 {
			return unitOf(t.Args()[0], depth+1)
		}
	case smt.OpConcat: // zero extension
		args := t.Args()
		if c, ok := args[0].Const(); ok && c == 0 && len(args) == 2 {
			return unitOf(args[1], depth+1)
		}
	}
	return ""
}

func sumUnit(t smt.Term, depth int) string {
	unit := ""
	for _, a := range t.Args() {
		if _, ok := a.Const(); ok {
			continue
		}
		u := unitOf(a, depth+1)
		if u == "" || unit != "" && u != unit {
			return ""
		}
		unit = u
	}
	return unit
}

var units = []string{"ns", "us", "ms", "s"}

func divided(unit string, by uint64) string {
	for i, u := range units {
		if u != unit {
			continue
		}
		for ; by >= 1000 && by%1000 == 0 && i+1 < len(units); i++ {
			by /= 1000
			if by == 1 {
				return units[i+1]
			}
		}
	}
	return ""
}
