package contract

import (
	"fmt"
	"strconv"
	"strings"
)

// Format writes the text form. Parsing it gives the same contract again.
func Format(c *Contract) string {
	var w writer
	w.doc(c.Doc, "")
	w.line("contract %s", quote(c.Title))
	w.params(c)
	for _, e := range c.Enums {
		w.gap()
		w.doc(e.Doc, "")
		items := make([]string, len(e.Values))
		for i, v := range e.Values {
			items[i] = fmt.Sprintf("%s = %d", v.Name, v.Value)
		}
		w.list("enum "+e.Name+" {", items, "}")
	}
	for _, d := range c.Defines {
		w.gap()
		w.define(d)
	}
	for _, e := range c.Events {
		w.gap()
		w.doc(e.Doc, "")
		w.list("event "+e.Name+" {", append(memberTexts(e.Members), more(e.More)...), "}")
	}
	for _, t := range c.Tables {
		w.gap()
		w.doc(t.Doc, "")
		w.table(t)
	}
	for _, m := range c.Memories {
		w.gap()
		w.doc(m.Doc, "")
		w.line("memory %s { %s } : { %s }", m.Name, strings.Join(memberTexts(m.Key), ", "), strings.Join(memberTexts(m.Fields), ", "))
	}
	for _, h := range c.Hooks {
		w.gap()
		w.hook(h)
	}
	if len(c.Views)+len(c.Assume) > 0 {
		w.gap()
	}
	for _, v := range c.Views {
		w.line("%s", viewText(v))
	}
	for _, a := range c.Assume {
		w.line("assume %s", a.Name)
	}
	return w.b.String()
}

type writer struct{ b strings.Builder }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(&w.b, format+"\n", args...) }

func (w *writer) gap() { w.b.WriteByte('\n') }

func (w *writer) doc(doc, indent string) {
	if doc == "" {
		return
	}
	for _, l := range strings.Split(doc, "\n") {
		w.line("%s", strings.TrimRight(indent+"# "+l, " "))
	}
}

// list writes short lists on one line, long ones an item a line.
func (w *writer) list(head string, items []string, tail string) {
	one := head + " " + strings.Join(items, ", ") + " " + tail
	if len(one) <= 110 {
		w.line("%s", one)
		return
	}
	w.line("%s", head)
	indent := head[:len(head)-len(strings.TrimLeft(head, " "))] + "  "
	for i, item := range items {
		if i < len(items)-1 || item != "..." {
			item += ","
		}
		w.line("%s%s", indent, item)
	}
	w.line("%s%s", indent[2:], tail)
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

func more(yes bool) []string {
	if yes {
		return []string{"..."}
	}
	return nil
}

func memberTexts(list []Member) []string {
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = m.Name + ": " + m.Type.String()
	}
	return out
}

func (w *writer) params(c *Contract) {
	if len(c.Params) > 0 {
		w.gap()
	}
	for _, p := range c.Params {
		w.doc(p.Doc, "")
		w.line("param %s: %s%s", p.Name, p.Type, paramRest(p))
	}
}

func paramRest(p *Param) string {
	s := ""
	if p.Default != nil {
		s += " = " + ExprString(p.Default)
	}
	if p.Min != nil {
		s += " from " + ExprString(p.Min) + " to " + ExprString(p.Max)
	}
	if p.Means != "" {
		s += " means " + quote(p.Means)
	}
	return s
}

func (w *writer) define(d *Define) {
	w.doc(d.Doc, "")
	head := "define " + d.Name
	if len(d.Args) > 0 {
		names := make([]string, len(d.Args))
		for i, a := range d.Args {
			names[i] = a.Name
		}
		head += "(" + strings.Join(names, ", ") + ")"
	}
	w.line("%s =", head)
	w.b.WriteString("  " + exprLines(d.Body, "  ", 100) + "\n")
	if d.Means != "" {
		w.line("  means %s", quote(d.Means))
	}
}

func (w *writer) table(t *Table) {
	head := "table " + t.Name
	if len(t.Key) > 0 {
		head += " { " + strings.Join(memberTexts(t.Key), ", ") + " }"
	}
	if len(t.Values) == 1 && t.Values[0].Name == "" {
		w.line("%s : %s", head, t.Values[0])
		return
	}
	items := make([]string, len(t.Values))
	for i, v := range t.Values {
		items[i] = v.Name + ": " + v.String()
	}
	w.list(head+" : {", append(items, more(t.More)...), "}")
}

// String writes how a member adds up: "log2 k_ns".
func (v TableValue) String() string {
	switch v.Agg {
	case Count:
		return string(Count)
	case Linear:
		return fmt.Sprintf("linear(%d, %d) %s", v.Step, v.Slots, v.Type)
	}
	return string(v.Agg) + " " + v.Type.String()
}

func viewText(v *View) string {
	s := "show " + v.Table
	if v.Top > 0 {
		s += " top " + strconv.Itoa(v.Top)
	}
	if v.Every > 0 {
		s += " every " + numberText(&Number{Value: uint64(v.Every), Unit: durationUnit(uint64(v.Every))})
	}
	return s
}

// durationUnit is the largest unit that a duration is a multiple of.
func durationUnit(ns uint64) string {
	for _, u := range []string{"h", "min", "s", "ms", "us"} {
		if ns%units[u] == 0 && ns > 0 {
			return u
		}
	}
	return "ns"
}

func (w *writer) hook(h *Hook) {
	w.doc(h.Doc, "")
	for i, p := range h.Places {
		head := "hook"
		if i > 0 {
			w.doc(p.Doc, " ")
			head = " and"
			if p.Or {
				head = "  or"
			}
		}
		w.line("%s %s", head, placeText(p))
	}
	for i, s := range h.Steps {
		if i > 0 {
			w.line("  then")
		}
		w.step(s)
	}
}

func placeText(p *Place) string {
	s := p.String() + "(" + strings.Join(argTexts(p.Args), ", ") + ")"
	for i, f := range p.With {
		sep := " with "
		if i > 0 {
			sep = ", "
		}
		s += sep + f.Name + " = " + ExprString(f.Is)
	}
	if p.IfPresent {
		s += " if present"
	}
	return s
}

func argTexts(args []Arg) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a.Name
		if a.As != "" {
			out[i] += " as " + a.As
		}
		if a.Type.Name != "" {
			out[i] += ": " + a.Type.String()
		}
	}
	return out
}

func (w *writer) step(s *Step) {
	for _, c := range s.Cases {
		w.doc(c.Doc, "  ")
		when := "always"
		if c.When != nil {
			when = exprLines(c.When, "    ", 100-len(c.Name))
		}
		w.line("  case %s: %s", c.Name, when)
		w.effects(c.Effects)
		if len(c.Effects) == 0 {
			w.line("    nothing")
		}
	}
	if len(s.Otherwise) == 0 {
		w.line("  otherwise nothing")
		return
	}
	w.line("  otherwise")
	w.effects(s.Otherwise)
}

func (w *writer) effects(list []*Effect) {
	for _, e := range list {
		w.doc(e.Doc, "    ")
		switch e.Verb {
		case Emit:
			w.list("    emit "+e.To+" {", fieldTexts(e.Fields), "}")
		case Add:
			what := "{ " + strings.Join(fieldTexts(e.Fields), ", ") + " }"
			if e.Value != nil {
				what = ExprString(e.Value)
			}
			w.line("    add %s to %s%s", what, e.To, keyText(e.Key))
		case Remember, Change:
			w.list("    "+string(e.Verb)+" "+e.To+keyText(e.Key)+" {", fieldTexts(e.Fields), "}")
		case Forget:
			w.line("    forget %s%s", e.To, keyText(e.Key))
		case Return:
			w.line("    return %s", ExprString(e.Value))
		}
	}
}

func keyText(key []Field) string {
	if len(key) == 0 {
		return ""
	}
	return "[" + strings.Join(fieldTexts(key), ", ") + "]"
}

func fieldTexts(list []Field) []string {
	out := make([]string, len(list))
	for i, f := range list {
		out[i] = ExprString(f.Is)
		if f.Name != "" {
			out[i] = f.Name + ": " + out[i]
		}
	}
	return out
}

// ExprString writes an expression in the text form, on one line.
func ExprString(e Expr) string {
	switch e := e.(type) {
	case *Number:
		return numberText(e)
	case *Text:
		return quote(e.Value)
	case *Name:
		return e.Name
	case *Select:
		return base(e.X) + "." + e.Name
	case *Index:
		return base(e.X) + "[" + exprList(e.I) + "]"
	case *Call:
		args := exprList(e.Args)
		if e.Type != "" {
			args = e.Type + ", " + args
		}
		if e.Recv != nil {
			return base(e.Recv) + "." + e.Fun + "(" + args + ")"
		}
		return e.Fun + "(" + args + ")"
	case *Unary:
		if inner, ok := e.X.(*Unary); ok && e.Op == "-" && inner.Op == "-" {
			return "-(" + ExprString(e.X) + ")"
		}
		return e.Op + operand(e.X)
	case *Binary:
		return side(e, e.X, true) + " " + e.Op + " " + side(e, e.Y, false)
	case *Cond:
		cond := ExprString(e.If)
		if _, ok := e.If.(*Cond); ok {
			cond = "(" + cond + ")"
		}
		return cond + " ? " + ExprString(e.Then) + " : " + ExprString(e.Else)
	case *In:
		x := ExprString(e.X)
		if !tight(e.X, levelCompare+1) {
			x = "(" + x + ")"
		}
		return x + " in {" + exprList(e.Set) + "}"
	case *Known:
		return "known " + ExprString(e.Cell)
	}
	return "?"
}

func exprList(list []Expr) string {
	texts := make([]string, len(list))
	for i, e := range list {
		texts[i] = ExprString(e)
	}
	return strings.Join(texts, ", ")
}

// base writes what a path goes on from.
func base(e Expr) string {
	switch e.(type) {
	case *Unary, *Known, *Number:
		return "(" + ExprString(e) + ")"
	}
	return operand(e)
}

// operand writes what a sign belongs to, in parentheses unless it is one
// word.
func operand(e Expr) string {
	switch e.(type) {
	case *Binary, *Cond, *In:
		return "(" + ExprString(e) + ")"
	}
	return ExprString(e)
}

// tight tells whether an expression binds at least as tightly as a level.
func tight(e Expr, level int) bool {
	switch e := e.(type) {
	case *Binary:
		return levelOf(e.Op) >= level
	case *In:
		return levelCompare >= level
	case *Cond:
		return false
	}
	return true
}

func ofBits(level int) bool { return level >= levelBits && level <= levelShift }

// side writes an operand of a binary operator, in parentheses also where people would have to remember what comes first.
func side(b *Binary, e Expr, left bool) string {
	level := levelOf(b.Op)
	need := level + 1
	if left {
		need = level
	}
	s := ExprString(e)
	inner, isBinary := e.(*Binary)
	mixes := isBinary && (ofBits(level) || ofBits(levelOf(inner.Op))) && level >= levelCompare && inner.Op != b.Op
	compares := level == levelCompare && !tight(e, levelCompare+1)
	if !tight(e, need) || mixes || compares {
		return "(" + s + ")"
	}
	return s
}

// exprLines breaks a long expression at its outermost && or ||, or at its ? and :.
func exprLines(e Expr, indent string, width int) string {
	one := ExprString(e)
	if len(one) <= width {
		return one
	}
	switch e := e.(type) {
	case *Binary:
		if e.Op == "&&" || e.Op == "||" {
			left := exprLines(e.X, indent, width)
			if s := side(e, e.X, true); s != ExprString(e.X) {
				left = s
			}
			return left + " " + e.Op + "\n" + indent + "  " + side(e, e.Y, false)
		}
	case *Cond:
		cond := ExprString(e.If)
		if _, ok := e.If.(*Cond); ok {
			cond = "(" + cond + ")"
		}
		return cond + " ? " + ExprString(e.Then) + " :\n" + indent + "  " + exprLines(e.Else, indent, width)
	}
	return one
}

func numberText(n *Number) string {
	if n.Unit != "" && units[n.Unit] > 0 && n.Value%units[n.Unit] == 0 {
		return strconv.FormatUint(n.Value/units[n.Unit], 10) + n.Unit
	}
	if n.Hex {
		return "0x" + strconv.FormatUint(n.Value, 16)
	}
	return strconv.FormatUint(n.Value, 10)
}
