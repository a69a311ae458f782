package contract

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxErrors bounds how many errors are reported at once.
	maxErrors = 20
	// maxNesting bounds the depth of expressions.
	maxNesting = 100
	// maxItems bounds any list of a contract: cases, members, places.
	maxItems = 500
)

// Parse reads the text form. The error is [Errors], with a position each.
func Parse(text string) (*Contract, error) {
	if len(text) > maxText {
		return nil, Errors{{Msg: fmt.Sprintf("the contract has %d bytes; at most %d are read", len(text), maxText)}}
	}
	tokens, errs := lex(text)
	p := &parser{tokens: tokens, errs: errs}
	c := p.contract()
	if len(p.errs) > 0 {
		return nil, p.errs
	}
	return c, nil
}

type parser struct {
	tokens []token
	i      int
	doc    []string // comment lines seen and not yet taken
	docAt  Pos
	errs   Errors
	depth  int
}

// bail unwinds to the declaration that could not be read.
type bail struct{}

func (p *parser) failf(at Pos, format string, args ...any) {
	p.errs = append(p.errs, &Error{At: at, Msg: fmt.Sprintf(format, args...)})
	panic(bail{})
}

// wanted fails because the token at hand is not what stands for what.
func (p *parser) wanted(what string) {
	t := p.peek()
	p.failf(t.at, "expected %s, found %s", what, t)
}

func (p *parser) try(read func()) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, is := r.(bail); !is {
				panic(r)
			}
			p.depth = 0
		}
	}()
	read()
	return true
}

// peek returns the next token that is no comment; comments are kept for the item
// that follows.
func (p *parser) peek() token {
	for p.tokens[p.i].kind == tokComment {
		if len(p.doc) == 0 {
			p.docAt = p.tokens[p.i].at
		}
		p.doc = append(p.doc, p.tokens[p.i].text)
		p.i++
	}
	return p.tokens[p.i]
}

// peek2 returns the token after the next.
func (p *parser) peek2() token {
	p.peek()
	for j := p.i + 1; j < len(p.tokens); j++ {
		if p.tokens[j].kind != tokComment {
			return p.tokens[j]
		}
	}
	return p.tokens[len(p.tokens)-1]
}

func (p *parser) next() token {
	t := p.peek()
	if t.kind != tokEOF {
		p.i++
	}
	return t
}

func (p *parser) takeDoc() string {
	doc := strings.Join(p.doc, "\n")
	p.doc = nil
	return doc
}

// noDoc fails if a comment stands where nothing can have one.
func (p *parser) noDoc() {
	if len(p.doc) > 0 {
		p.errs = append(p.errs, &Error{At: p.docAt, Msg: "a comment belongs before a declaration, a hook, a case or an effect"})
		p.doc = nil
	}
}

func (p *parser) is(text string) bool {
	t := p.peek()
	return (t.kind == tokWord || t.kind == tokPunct) && t.text == text
}

func (p *parser) got(text string) bool {
	if p.is(text) {
		p.i++
		return true
	}
	return false
}

func (p *parser) need(text, where string) token {
	if !p.is(text) {
		p.wanted("“" + text + "” " + where)
	}
	return p.next()
}

func (p *parser) name(what string) Word {
	if p.peek().kind != tokWord {
		p.wanted(what)
	}
	t := p.next()
	return Word{t.text, t.at}
}

func (p *parser) quoted(what string) string {
	if p.peek().kind != tokText {
		p.wanted(what)
	}
	t := p.next()
	if !shown(t.text) {
		p.failf(t.at, "%s has a character that cannot be shown", what)
	}
	return t.text
}

var declarations = []string{"param", "enum", "define", "event", "table", "memory", "hook", "assume", "show"}

func (p *parser) contract() *Contract {
	c := &Contract{}
	p.try(func() {
		if !p.is("contract") {
			p.wanted(`“contract "what the output shows"” at the beginning`)
		}
		p.next()
		c.Doc = p.takeDoc()
		c.Title = p.quoted("the title in quotes")
	})
	for p.peek().kind != tokEOF && len(p.errs) < maxErrors {
		if !p.try(func() { p.declaration(c) }) {
			p.sync()
		}
	}
	p.noDoc()
	return c
}

// sync goes on to the next word at the beginning of a line that starts a declaration.
func (p *parser) sync() {
	p.doc = nil
	for p.tokens[p.i].kind != tokEOF {
		t := p.tokens[p.i]
		if t.kind == tokWord && t.first && t.at.Column == 1 {
			for _, d := range declarations {
				if t.text == d {
					return
				}
			}
		}
		p.i++
	}
}

func (p *parser) declaration(c *Contract) {
	t := p.next()
	doc := p.takeDoc()
	start := p.i
	bound := func(n int) {
		if n >= maxItems {
			p.failf(t.at, "more than %d declarations of a kind", maxItems)
		}
	}
	switch {
	case t.kind != tokWord:
		p.failf(t.at, "expected a declaration (%s), found %s", strings.Join(declarations, ", "), t)
	case t.text == "param":
		bound(len(c.Params))
		c.Params = append(c.Params, p.param(t, doc))
	case t.text == "enum":
		bound(len(c.Enums))
		c.Enums = append(c.Enums, p.enum(t, doc))
	case t.text == "define":
		bound(len(c.Defines))
		c.Defines = append(c.Defines, p.define(t, doc))
	case t.text == "event":
		bound(len(c.Events))
		e := &Event{Name: p.name("the event's name").Name, Doc: doc, At: t.at}
		e.Members, e.More = p.members("event", true)
		c.Events = append(c.Events, e)
	case t.text == "table":
		bound(len(c.Tables))
		c.Tables = append(c.Tables, p.table(t, doc))
	case t.text == "memory":
		bound(len(c.Memories))
		m := &Memory{Name: p.name("the memory's name").Name, Doc: doc, At: t.at}
		m.Key, _ = p.members("memory's key", false)
		p.need(":", "between the key and what is remembered")
		m.Fields, _ = p.members("memory", false)
		c.Memories = append(c.Memories, m)
	case t.text == "hook":
		bound(len(c.Hooks))
		c.Hooks = append(c.Hooks, p.hook(t, doc))
	case t.text == "assume":
		bound(len(c.Assume))
		if doc != "" {
			p.failf(t.at, "an assumption takes no comment: its meaning is fixed")
		}
		c.Assume = append(c.Assume, p.name("the assumption's name"))
	case t.text == "show":
		bound(len(c.Views))
		if doc != "" {
			p.failf(t.at, "“show” takes no comment")
		}
		c.Views = append(c.Views, p.view(t))
	default:
		p.i = start
		p.errs = append(p.errs, &Error{At: t.at, Msg: fmt.Sprintf("expected a declaration (%s), found %s", strings.Join(declarations, ", "), t),
			Suggest: suggest(t.text, declarations)})
		panic(bail{})
	}
}

func (p *parser) param(t token, doc string) *Param {
	w := p.name("the parameter's name")
	p.need(":", "and the parameter's type")
	x := &Param{Name: w.Name, Type: p.typeName(), Doc: doc, At: w.At}
	if p.got("=") {
		x.Default = p.expr()
	}
	if p.got("from") {
		x.Min = p.expr()
		p.need("to", "and the largest value")
		x.Max = p.expr()
	}
	if p.got("means") {
		x.Means = p.quoted("what the parameter is for, in quotes")
	}
	return x
}

func (p *parser) typeName() TypeName {
	w := p.name("a type, such as k_ns, u32 or char[16]")
	t := TypeName{Name: w.Name, At: w.At}
	if p.got("[") {
		n := p.number("the size in bytes")
		if n < 1 || n > 4096 {
			p.failf(w.At, "a text has 1 to 4096 bytes, not %d", n)
		}
		t.Size = uint32(n)
		p.need("]", "after the size")
	}
	if (t.Size > 0) != (t.Name == "char") {
		p.failf(w.At, "only char has a size: char[16] is a text of up to 15 bytes and its NUL")
	}
	return t
}

func (p *parser) number(what string) uint64 {
	if p.peek().kind != tokNumber {
		p.wanted(what)
	}
	t := p.next()
	n := p.parseNumber(t)
	return n.Value
}

func (p *parser) enum(t token, doc string) *Enum {
	e := &Enum{Name: p.name("the enum's name").Name, Doc: doc, At: t.at}
	p.need("{", "before the enum's values")
	next := int64(0)
	for !p.got("}") {
		w := p.name("a name of a value")
		v := EnumValue{Name: w.Name, Value: next, At: w.At}
		if p.got("=") {
			neg := p.got("-")
			n := p.number("the number that the name stands for")
			if n > math.MaxInt32 {
				p.failf(w.At, "the value of %s does not fit 32 bits", w.Name)
			}
			v.Value = int64(n)
			if neg {
				v.Value = -v.Value
			}
		}
		next = v.Value + 1
		if e.Values = append(e.Values, v); len(e.Values) > maxItems {
			p.failf(t.at, "more than %d values", maxItems)
		}
		p.comma("}", "the enum's values")
	}
	return e
}

// comma reads the comma between two items of a list, or leaves its end alone.
func (p *parser) comma(end, list string) {
	if !p.is(end) {
		p.need(",", "or “"+end+"” in "+list)
	}
}

func (p *parser) define(t token, doc string) *Define {
	d := &Define{Name: p.name("the name of what is defined").Name, Doc: doc, At: t.at}
	if p.got("(") {
		for !p.got(")") {
			if d.Args = append(d.Args, p.name("the name of an argument")); len(d.Args) > maxItems {
				p.failf(t.at, "more than %d arguments", maxItems)
			}
			p.comma(")", "the arguments")
		}
	}
	p.need("=", "and the expression that "+d.Name+" stands for")
	d.Body = p.expr()
	if p.got("means") {
		d.Means = p.quoted("the meaning in quotes")
	}
	return d
}

// members reads { name: type, ... }; more says that "..." was there.
func (p *parser) members(what string, canMore bool) (list []Member, more bool) {
	p.need("{", "before the members of the "+what)
	for !p.got("}") {
		if canMore && p.is("...") {
			p.next()
			p.need("}", "after “...”, which comes last")
			return list, true
		}
		w := p.name("the name of a member")
		p.need(":", "and the type of "+w.Name)
		list = append(list, Member{Name: w.Name, Type: p.typeName(), At: w.At})
		if len(list) > maxItems {
			p.failf(w.At, "more than %d members", maxItems)
		}
		p.comma("}", "the members of the "+what)
	}
	return list, false
}

func (p *parser) table(t token, doc string) *Table {
	x := &Table{Name: p.name("the table's name").Name, Doc: doc, At: t.at}
	if p.is("{") {
		x.Key, _ = p.members("key", false)
	}
	p.need(":", "and what the table's cells hold")
	if !p.got("{") {
		x.Values = []TableValue{p.tableValue("")}
		return x
	}
	for !p.got("}") {
		if p.is("...") {
			p.next()
			p.need("}", "after “...”, which comes last")
			x.More = true
			return x
		}
		w := p.name("the name of a member")
		p.need(":", "and what "+w.Name+" adds up")
		if x.Values = append(x.Values, p.tableValue(w.Name)); len(x.Values) > maxItems {
			p.failf(w.At, "more than %d members", maxItems)
		}
		p.comma("}", "the table's members")
	}
	return x
}

var aggs = []string{string(Count), string(Sum), string(Min), string(Max), string(Last), string(Stats), string(Log2), string(Linear)}

func (p *parser) tableValue(name string) TableValue {
	w := p.name("how samples are added up (" + strings.Join(aggs, ", ") + ")")
	v := TableValue{Name: name, Agg: Agg(w.Name), At: w.At}
	switch v.Agg {
	case Count:
		v.Type = TypeName{Name: "k_count", At: w.At}
		return v
	case Linear:
		p.need("(", "and the width of a slot")
		v.Step = p.number("the width of a slot")
		p.need(",", "and the number of slots")
		v.Slots = p.number("the number of slots")
		p.need(")", "after the number of slots")
	case Sum, Min, Max, Last, Stats, Log2:
	default:
		p.errs = append(p.errs, &Error{At: w.At, Msg: fmt.Sprintf("no way of adding up is called %s (%s)", w.Name, strings.Join(aggs, ", ")),
			Suggest: suggest(w.Name, aggs)})
		panic(bail{})
	}
	v.Type = p.typeName()
	return v
}

func (p *parser) view(t token) *View {
	v := &View{Table: p.name("the name of a table").Name, At: t.at}
	if p.got("top") {
		n := p.number("how many rows are shown")
		if n < 1 || n > 1000 {
			p.failf(t.at, "1 to 1000 rows can be shown, not %d", n)
		}
		v.Top = int(n)
	}
	if p.got("every") {
		n := p.number("an interval such as 5s")
		if n < 1e8 || n > 24*3600*1e9 {
			p.failf(t.at, "an interval is from 100ms to 24h")
		}
		v.Every = int64(n)
	}
	return v
}

func (p *parser) hook(t token, doc string) *Hook {
	h := &Hook{Doc: doc, At: t.at}
	h.Places = append(h.Places, p.place(t))
	for p.is("and") || p.is("or") {
		w := p.next()
		place := p.place(w)
		place.Or = w.text == "or"
		if h.Places = append(h.Places, place); len(h.Places) > maxItems {
			p.failf(t.at, "more than %d places", maxItems)
		}
	}
	for {
		h.Steps = append(h.Steps, p.step())
		if !p.is("then") {
			return h
		}
		if len(h.Steps) >= maxItems {
			p.failf(t.at, "more than %d steps", maxItems)
		}
		p.next()
	}
}

func (p *parser) place(t token) *Place {
	if p.peek().kind != tokPlace {
		p.wanted("a place such as tp_btf/sched_switch after “" + t.text + "”")
	}
	at := p.next()
	kind, target, err := cutPlace(at.text)
	if err != nil {
		p.errs = append(p.errs, &Error{At: at.at, Msg: err.Error(), Suggest: suggest(kind, placeKinds)})
		panic(bail{})
	}
	x := &Place{Kind: kind, Target: target, At: at.at, Doc: p.takeDoc()}
	p.need("(", "and the arguments of the place, or “()”")
	for !p.got(")") {
		if x.Args = append(x.Args, p.arg()); len(x.Args) > maxItems {
			p.failf(t.at, "more than %d arguments", maxItems)
		}
		p.comma(")", "the arguments")
	}
	if p.got("with") {
		for {
			w := p.name("the name that is bound here")
			p.need("=", "and what "+w.Name+" stands for here")
			x.With = append(x.With, Field{Name: w.Name, Is: p.expr(), At: w.At})
			if !p.got(",") {
				break
			}
		}
	}
	if p.got("if") {
		p.need("present", "after “if”")
		x.IfPresent = true
	}
	return x
}

func (p *parser) arg() Arg {
	w := p.name("the kernel's name of an argument")
	a := Arg{Name: w.Name, At: w.At}
	if p.got("as") {
		a.As = p.name("the name that " + w.Name + " has here").Name
	}
	if p.got(":") {
		a.Type = p.typeName()
	}
	return a
}

func (p *parser) step() *Step {
	s := &Step{At: p.peek().at}
	for p.is("case") {
		if s.Cases = append(s.Cases, p.oneCase()); len(s.Cases) > maxItems {
			p.failf(s.At, "more than %d cases", maxItems)
		}
	}
	if len(s.Cases) == 0 && !p.is("otherwise") {
		p.wanted("“case name: condition”")
	}
	if p.stepEnds() {
		return s
	}
	if !p.is("otherwise") {
		p.wanted("another case, or “otherwise nothing” to end the cases")
	}
	p.next()
	p.noDoc()
	if p.got("nothing") {
		return s
	}
	s.Otherwise = p.effects()
	if len(s.Otherwise) == 0 {
		p.wanted("“nothing”, or an effect (" + strings.Join(verbs, ", ") + ")")
	}
	return s
}

// stepEnds tells whether cases end without “otherwise”, which is to do nothing then.
func (p *parser) stepEnds() bool {
	t := p.peek()
	return t.kind == tokEOF || p.is("then") || t.kind == tokWord && slices.Contains(declarations, t.text)
}

func (p *parser) oneCase() *Case {
	p.next()
	doc := p.takeDoc()
	w := p.name("the case's name")
	p.need(":", "and the case's condition")
	c := &Case{Name: w.Name, Doc: doc, At: w.At}
	if p.is("always") {
		p.next()
	} else {
		c.When = p.expr()
		if n, ok := c.When.(*Name); ok && n.Name == "true" {
			c.When = nil
		}
	}
	c.Effects = p.effects()
	if len(c.Effects) == 0 {
		if p.is("nothing") {
			p.next()
			return c
		}
		p.effectWanted()
	}
	return c
}

func (p *parser) effectWanted() {
	t := p.peek()
	e := &Error{At: t.at, Msg: fmt.Sprintf("expected an effect (%s), found %s", strings.Join(verbs, ", "), t)}
	if h := hint(habits, t.text); t.kind == tokWord && h != "" {
		e.Msg += h
	} else if t.kind == tokWord {
		e.Suggest = suggest(t.text, verbs)
	}
	p.errs = append(p.errs, e)
	panic(bail{})
}

var verbs = []string{string(Emit), string(Add), string(Remember), string(Change), string(Forget), string(Return)}

func (p *parser) effects() (list []*Effect) {
	for {
		t := p.peek()
		if t.kind != tokWord {
			return list
		}
		e := &Effect{Verb: Verb(t.text), At: t.at}
		switch e.Verb {
		case Emit, Add, Remember, Change, Forget, Return:
			if p.peek2().kind == tokPunct && p.peek2().text == ":" {
				p.wanted("an effect")
			}
			p.next()
			e.Doc = p.takeDoc()
		}
		switch e.Verb {
		case Emit:
			e.To = p.name("the name of an event").Name
			e.Fields = p.fields("the event's members")
		case Add:
			if p.is("{") {
				e.Fields = p.fields("what is added")
			} else {
				e.Value = p.expr()
			}
			p.need("to", "and the table")
			e.To = p.name("the name of a table").Name
			if p.is("[") {
				e.Key = p.key(false)
			}
		case Remember, Change:
			e.To = p.name("the name of a memory").Name
			e.Key = p.key(true)
			e.Fields = p.fields("what is remembered")
		case Forget:
			e.To = p.name("the name of a memory").Name
			e.Key = p.key(true)
		case Return:
			e.Value = p.expr()
		default:
			if len(list) > 0 && !p.continues(t) {
				p.effectWanted()
			}
			return list
		}
		if list = append(list, e); len(list) > maxItems {
			p.failf(e.At, "more than %d effects", maxItems)
		}
	}
}

// continues tells whether a word may stand after a case's effects.
func (p *parser) continues(t token) bool {
	switch t.text {
	case "case", "otherwise", "then", "nothing":
		return true
	}
	for _, d := range declarations {
		if t.text == d {
			return true
		}
	}
	return false
}

func (p *parser) fields(what string) (list []Field) {
	p.need("{", "before "+what)
	for !p.got("}") {
		w := p.name("the name of a member")
		p.need(":", "and the value of "+w.Name)
		if list = append(list, Field{Name: w.Name, Is: p.expr(), At: w.At}); len(list) > maxItems {
			p.failf(w.At, "more than %d members", maxItems)
		}
		p.comma("}", what)
	}
	return list
}

// key reads [name: value, ...], or without names.
func (p *parser) key(positional bool) (list []Field) {
	p.need("[", "and the key")
	for !p.got("]") {
		f := Field{At: p.peek().at}
		if t := p.peek2(); !positional && p.peek().kind == tokWord && t.kind == tokPunct && t.text == ":" {
			f.Name = p.next().text
			p.next()
		}
		f.Is = p.expr()
		if list = append(list, f); len(list) > maxItems {
			p.failf(f.At, "more than %d members", maxItems)
		}
		p.comma("]", "the key")
	}
	if positional && len(list) == 0 {
		p.failf(p.peek().at, "the key is empty")
	}
	return list
}

// ---- expressions

func (p *parser) expr() Expr {
	if p.depth++; p.depth > maxNesting {
		p.failf(p.peek().at, "the expression is nested more than %d deep", maxNesting)
	}
	e, _ := p.binary(0)
	if t := p.peek(); t.kind == tokPunct && t.text == "?" {
		p.next()
		then := p.expr()
		p.need(":", "and the value if the condition does not hold")
		e = &Cond{If: e, Then: then, Else: p.expr(), At: t.at}
	}
	p.depth--
	return e
}

// levels of binary operators, the loosest first.
var levels = [...][]string{{"||"}, {"&&"}, {"==", "!=", "<", "<=", ">", ">=", "in"}, {"|", "^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "%"}}

func levelOf(op string) int {
	for i, ops := range levels {
		for _, o := range ops {
			if o == op {
				return i
			}
		}
	}
	return -1
}

const (
	levelCompare = 2
	levelBits    = 3 // | and ^
	levelAnd     = 4
	levelShift   = 5
)

// binary reads operators of a level and tighter ones. parens says that the result
// is no bare operation.
func (p *parser) binary(level int) (x Expr, parens bool) {
	if level == len(levels) {
		return p.unary()
	}
	x, parens = p.binary(level + 1)
	for n := 0; ; n++ {
		t := p.peek()
		if (t.kind != tokPunct && t.kind != tokWord) || levelOf(t.text) != level {
			return x, parens
		}
		if n > 10*maxNesting {
			p.failf(t.at, "the expression is too long")
		}
		p.next()
		if t.text == "in" {
			x, parens = p.set(x, t), false
			continue
		}
		y, yParens := p.binary(level + 1)
		p.mixed(t, x, parens)
		p.mixed(t, y, yParens)
		x, parens = &Binary{Op: t.text, X: x, Y: y, At: t.at}, false
	}
}

// mixed fails where languages differ about what binds tighter, as they do about "a << 1 + b" and "a & b << 2"; and
// on comparisons of comparisons. They agree about "a & b | c << 8". Of "a & b == c" only one reading has a meaning here,
// where conditions are no numbers.
func (p *parser) mixed(op token, x Expr, parens bool) {
	b, ok := x.(*Binary)
	if !ok || parens {
		return
	}
	outer, inner := levelOf(op.text), levelOf(b.Op)
	switch {
	case outer == levelCompare && inner == levelCompare:
		p.failf(op.at, "%s %s %s: a comparison cannot be compared; join two with &&", "…", b.Op+" … "+op.text, "…")
	case outer == levelBits && (inner == levelAnd || inner == levelShift), b.Op == op.text:
	case ofBits(outer):
		p.failf(op.at, "put parentheses around the part with “%s”: beside “%s” it is not plain which comes first", b.Op, op.text)
	}
}

func (p *parser) set(x Expr, t token) Expr {
	in := &In{X: x, At: t.at}
	p.need("{", "and the values, after “in”")
	for !p.got("}") {
		if in.Set = append(in.Set, p.expr()); len(in.Set) > maxItems {
			p.failf(t.at, "more than %d values", maxItems)
		}
		p.comma("}", "the values")
	}
	return in
}

func (p *parser) unary() (Expr, bool) {
	t := p.peek()
	if t.kind == tokPunct && (t.text == "!" || t.text == "-" || t.text == "~") {
		if p.depth++; p.depth > maxNesting {
			p.failf(t.at, "the expression is nested more than %d deep", maxNesting)
		}
		p.next()
		x, _ := p.unary()
		p.depth--
		return &Unary{Op: t.text, X: x, At: t.at}, true
	}
	if t.kind == tokWord && t.text == "known" {
		p.next()
		x := p.postfix()
		cell, ok := x.(*Index)
		if !ok {
			p.failf(t.at, "expected the cell of a memory after “known”, such as known calls[current.tid]")
		}
		return &Known{Cell: cell, At: t.at}, true
	}
	return p.postfix(), true
}

// reserved words cannot begin an operand: the effect or declaration they belong to
// is more likely meant.
var reserved = map[string]bool{"case": true, "otherwise": true, "then": true, "hook": true, "emit": true, "add": true, "remember": true,
	"change": true, "forget": true, "return": true, "to": true, "in": true, "always": true, "nothing": true}

// opens are the reserved words with which something else begins, so that a value was forgotten before them.
var opens = map[string]bool{"case": true, "otherwise": true, "hook": true, "emit": true, "add": true, "remember": true, "change": true, "forget": true, "return": true}

func (p *parser) postfix() Expr {
	t := p.peek()
	var x Expr
	switch {
	case t.kind == tokNumber:
		p.next()
		x = p.parseNumber(t)
	case t.kind == tokText:
		p.next()
		x = &Text{Value: t.text, At: t.at}
	case t.kind == tokPunct && t.text == "(":
		p.next()
		x = p.expr()
		p.need(")", "after the expression in parentheses")
		if p.is("(") || p.is("[") {
			p.wanted("an operator")
		}
	case t.kind == tokWord && !reserved[t.text]:
		p.next()
		if p.is("(") {
			x = p.call(nil, t)
		} else {
			x = &Name{Name: t.text, At: t.at}
		}
	case t.kind == tokWord && !opens[t.text]:
		p.failf(t.at, "“%s” is a word of contracts and stands for no value here: an argument is called otherwise by “%s as NAME”, a parameter or a name of “with” by another name", t.text, t.text)
	default:
		p.wanted("a value")
	}
	for n := 0; ; n++ {
		if n > maxNesting {
			p.failf(t.at, "the path has more than %d parts", maxNesting)
		}
		switch {
		case p.got("."):
			w := p.peek()
			if w.kind != tokWord {
				p.wanted("the name of a member after “.”")
			}
			p.next()
			if p.is("(") {
				x = p.call(x, w)
			} else {
				x = &Select{X: x, Name: w.text, At: w.at}
			}
		case p.is("["):
			at := p.next().at
			ix := &Index{X: x, At: at}
			for !p.got("]") {
				if ix.I = append(ix.I, p.expr()); len(ix.I) > maxItems {
					p.failf(at, "more than %d values", maxItems)
				}
				p.comma("]", "the index")
			}
			if len(ix.I) == 0 {
				p.failf(at, "the brackets are empty")
			}
			x = ix
		default:
			return x
		}
	}
}

func (p *parser) call(recv Expr, t token) Expr {
	p.need("(", "")
	c := &Call{Recv: recv, Fun: t.text, At: t.at}
	if recv == nil && t.text == "as" {
		w := p.name("“struct” or “union” as the first argument of as()")
		if w.Name != "struct" && w.Name != "union" {
			p.failf(w.At, "expected as(struct NAME, value), found “%s”", w.Name)
		}
		c.Type = w.Name + " " + p.name("the name of the type").Name
		p.comma(")", "the arguments of as()")
		p.got(",")
	}
	for !p.got(")") {
		if c.Args = append(c.Args, p.expr()); len(c.Args) > maxItems {
			p.failf(t.at, "more than %d arguments", maxItems)
		}
		p.comma(")", "the arguments")
	}
	return c
}

// units of constants: durations in ns, sizes in bytes.
var units = map[string]uint64{"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9,
	"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

func (p *parser) parseNumber(t token) *Number {
	n := &Number{At: t.at}
	digits := t.text
	if strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X") {
		n.Hex = true
	} else {
		end := 0
		for end < len(digits) && digits[end] >= '0' && digits[end] <= '9' {
			end++
		}
		digits, n.Unit = digits[:end], digits[end:]
	}
	factor := uint64(1)
	if n.Unit != "" {
		var ok bool
		if factor, ok = units[n.Unit]; !ok {
			p.failf(t.at, "no unit is called %s; there are ns, us, ms, s, min, h and B, KiB, MiB, GiB", n.Unit)
		}
	}
	if len(digits) > 1 && digits[0] == '0' && !n.Hex {
		p.failf(t.at, "%s begins with 0, which some would read as octal; write it in decimal or as 0x…", t.text)
	}
	v, err := strconv.ParseUint(digits, 0, 64)
	if err != nil {
		p.failf(t.at, "%s is no number of up to 64 bits", t.text)
	}
	if v > math.MaxUint64/factor {
		p.failf(t.at, "%s is too large for 64 bits", t.text)
	}
	n.Value = v * factor
	return n
}
