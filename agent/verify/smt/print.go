package smt

import (
	"fmt"
	"strings"
)

// String shows the term for people, cut short if it is very long: numbers are
// decimal if they are small, the width of a constant stands behind it where
// nothing else tells it, u and s mark unsigned and signed comparisons.
func (t *Node) String() string {
	p := printer{left: 2000}
	if v, ok := t.Const(); ok && t.width > 1 {
		p.number(v, t.width)
		fmt.Fprintf(&p, ":%d", t.width)
		return p.String()
	}
	p.term(t)
	return p.String()
}

type printer struct {
	strings.Builder
	left int // parts that may still be written
}

var signs = map[Op]string{
	OpAdd: " + ", OpMul: " * ", OpUDiv: " /u ", OpURem: " %u ", OpSDiv: " /s ", OpSRem: " %s ", OpAnd: " & ", OpOr: " | ",
	OpXor: " ^ ", OpShl: " << ", OpLShr: " >>u ", OpAShr: " >>s ", OpEq: " == ", OpUlt: " <u ", OpSlt: " <s ",
}

var oppositeSigns = map[Op]string{OpEq: " != ", OpUlt: " >=u ", OpSlt: " >=s "}

func (p *printer) term(t Term) {
	if p.left--; p.left < 0 {
		p.WriteString("…")
		return
	}
	switch t.op {
	case OpConst:
		p.number(t.val, t.width)
	case OpVar:
		p.WriteString(t.info.Name)
	case OpNot:
		p.not(t.args[0])
	case OpAdd:
		p.sum(t)
	case OpIte:
		p.list("(", "", t.args[:1], " ? ")
		p.list("", " : ", t.args[1:], ")")
	case OpExtract:
		p.term(t.args[0])
		fmt.Fprintf(p, "[%d:%d]", t.Hi(), t.Lo())
	case OpConcat:
		p.concat(t)
	case OpSignExt:
		p.list(fmt.Sprintf("sext%d(", t.width), "", t.args, ")")
	default:
		p.list("(", signs[t.op], t.args, ")")
	}
}

func (p *printer) list(before, between string, args []Term, after string) {
	p.WriteString(before)
	for i, a := range args {
		if i > 0 {
			p.WriteString(between)
		}
		p.term(a)
	}
	p.WriteString(after)
}

func (p *printer) number(v uint64, width uint) {
	switch {
	case width == 1:
		fmt.Fprint(p, v == 1)
	case signed(v, width) > -10000 && signed(v, width) < 0 && width >= 32:
		fmt.Fprint(p, signed(v, width))
	case v < 10000:
		fmt.Fprint(p, v)
	default:
		fmt.Fprintf(p, "%#x", v)
	}
}

func (p *printer) not(x Term) {
	sign, known := oppositeSigns[x.op]
	switch {
	case known:
		p.list("(", sign, x.args, ")")
	case x.width == 1:
		p.list("!", "", []Term{x}, "")
	default:
		p.list("~", "", []Term{x}, "")
	}
}

// sum writes the positive summands first, so that a - b is readable.
func (p *printer) sum(t Term) {
	p.WriteString("(")
	sign := ""
	for _, a := range t.args {
		if !negated(a) {
			p.WriteString(sign)
			p.term(a)
			sign = " + "
		}
	}
	for _, a := range t.args {
		if negated(a) {
			p.list(" - ", " * ", a.args[:len(a.args)-1], "")
		}
	}
	p.WriteString(")")
}

func negated(t Term) bool {
	return t.op == OpMul && t.args[len(t.args)-1].op == OpConst && t.args[len(t.args)-1].val == mask(t.width)
}

// concat recognises zero extension and byte swap.
func (p *printer) concat(t Term) {
	first, last := t.args[0], t.args[len(t.args)-1]
	if x := swapped(t.args); x != nil {
		p.list(fmt.Sprintf("bswap%d(", t.width), "", []Term{x}, ")")
		if x.width != t.width {
			fmt.Fprintf(p, "[%d:0]", t.width-1)
		}
		return
	}
	if first.op == OpConst && first.val == 0 {
		p.WriteString(fmt.Sprintf("zext%d(", t.width))
		if x := swapped(t.args[1:]); x != nil && x.width == t.width-first.width {
			p.list(fmt.Sprintf("bswap%d(", x.width), "", []Term{x}, ")")
		} else if len(t.args) == 2 {
			p.term(last)
		} else {
			p.list("", " ++ ", t.args[1:], "")
		}
		p.WriteString(")")
		return
	}
	p.WriteString("(")
	for i, a := range t.args {
		if i > 0 {
			p.WriteString(" ++ ")
		}
		p.term(a)
		if a.op == OpConst {
			fmt.Fprintf(p, ":%d", a.width)
		}
	}
	p.WriteString(")")
}

// swapped is the term of which the parts are all bytes, the lowest first.
func swapped(parts []Term) Term {
	if len(parts) < 2 || parts[0].op != OpExtract || parts[0].args[0].width != uint(8*len(parts)) {
		return nil
	}
	for i, a := range parts {
		if a.op != OpExtract || a.width != 8 || a.args[0] != parts[0].args[0] || a.Lo() != uint(8*i) {
			return nil
		}
	}
	return parts[0].args[0]
}
