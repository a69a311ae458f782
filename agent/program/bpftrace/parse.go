package bpftrace

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Parse reads a script. What it refuses is a *[RefusedError] that says where and
// why. It accepts any bytes, and never runs anything.
//
// What is understood is less than what bpftrace understands: attach points named
// one by one; filters; maps, variables, tuples; arithmetic, casts, members; if,
// unroll; and the functions and builtins listed in this package, none of which
// does more than read, count and print.
func Parse(script []byte) (s *Script, err error) {
	src := string(script)
	refuse := func(at int, why string) error {
		line, column := position(src, at)
		return &RefusedError{line, column, why}
	}
	switch {
	case len(src) > MaxScript:
		return nil, &RefusedError{Why: fmt.Sprintf("it has %d bytes, at most %d are read", len(src), MaxScript)}
	case strings.TrimSpace(src) == "":
		return nil, &RefusedError{Why: "it is empty"}
	}
	if at, why := readable(src); at >= 0 {
		return nil, refuse(at, why)
	}
	p := parser{scanner: scanner{src: src}, script: &Script{Text: src, Requires: Oldest()}}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case refused:
			s, err = nil, refuse(r.at, r.why)
		default: // a fault of this parser, which must not let anything pass
			s, err = nil, &RefusedError{Why: "kgent cannot read it; write it more simply"}
		}
	}()
	p.program()
	return p.script, nil
}

func position(src string, at int) (line, column int) {
	before := src[:min(at, len(src))]
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')
}

// parser reads a script by descent. Which probe it is in decides what is allowed.
type parser struct {
	scanner
	tok    token
	script *Script
	quiet  bool // in BEGIN or END, which run as the tracer itself
	depth  int
	turns  int   // of the unrolls around
	points []int // the attach points of the block
}

func (p *parser) advance() token {
	t := p.tok
	p.tok = p.next()
	return t
}

func (p *parser) is(s string) bool { return p.tok.kind == op && p.tok.text == s }

func (p *parser) accept(s string) bool {
	if !p.is(s) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) expect(s, after string) {
	if !p.accept(s) {
		p.refuse(p.tok.at, "%s is expected after %s, not %s", s, after, p.tok.shown())
	}
}

func (t token) shown() string {
	if t.kind == end {
		return "the end"
	}
	return fmt.Sprintf("%.40q", t.text)
}

// deeper bounds nesting; the result undoes it.
func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxNesting {
		p.refuse(p.tok.at, "it is nested more than %d deep", maxNesting)
	}
	return func() { p.depth-- }
}

func (p *parser) program() {
	for {
		p.space()
		if p.pos == len(p.src) {
			break
		}
		p.probe()
	}
	shows := false
	for _, x := range p.script.Probes {
		shows = shows || x.Kind != "BEGIN" && x.Kind != "END"
	}
	if !shows {
		p.refuse(0, "it traces nothing: it has no probe but BEGIN and END")
	}
}

// probe reads attach points, a filter, and what is done.
func (p *parser) probe() {
	first := len(p.script.Probes)
	for {
		word, at := p.point()
		x := p.attachPoint(word, at)
		x.Line, _ = position(p.src, at)
		if slices.ContainsFunc(p.script.Probes, func(y Probe) bool { return y.Name == x.Name }) {
			p.refuse(at, "%s is probed twice: do both in one block", x.Name)
		}
		p.script.Probes = append(p.script.Probes, x)
		if len(p.script.Probes) > MaxProbes {
			p.refuse(at, "it has more than %d attach points", MaxProbes)
		}
		p.space()
		if p.pos == len(p.src) || p.src[p.pos] != ',' {
			break
		}
		p.pos++
	}
	p.quiet = slices.ContainsFunc(p.script.Probes[first:], func(x Probe) bool { return x.Kind == "BEGIN" || x.Kind == "END" })
	if p.quiet && len(p.script.Probes) > first+1 {
		p.refuse(p.pos, "BEGIN and END have a block of their own")
	}
	p.points = nil
	for i := first; i < len(p.script.Probes); i++ {
		p.points = append(p.points, i)
	}
	p.tok = p.next()
	if p.accept("/") {
		if p.quiet {
			p.refuse(p.tok.at, "BEGIN and END have no filter")
		}
		p.filter()
	}
	if !p.is("{") {
		p.refuse(p.tok.at, "{ is expected after an attach point, not %s", p.tok.shown())
	}
	p.block(true)
}

// filter reads /…/. Within it / does not divide: bpftrace itself takes the
// next one that comes before a brace for the end.
func (p *parser) filter() {
	p.script.Filters = append(p.script.Filters, p.expression(noDivision))
	p.expect("/", "a filter")
}

// full names of the kinds of probes, by all their names.
var kinds = map[string]string{
	"tracepoint": "tracepoint", "t": "tracepoint",
	"kprobe": "kprobe", "k": "kprobe", "kretprobe": "kretprobe", "kr": "kretprobe",
	"uprobe": "uprobe", "u": "uprobe", "uretprobe": "uretprobe", "ur": "uretprobe",
	"usdt": "usdt", "U": "usdt",
	"profile": "profile", "p": "profile", "interval": "interval", "i": "interval",
	"software": "software", "s": "software",
	"BEGIN": "BEGIN", "END": "END",
}

// softwareEvents are the events of the kernel's own that may be sampled, with the
// fewest that may pass between two samples.
var softwareEvents = map[string]int{
	"page-faults": 1, "faults": 1, "minor-faults": 1, "major-faults": 1, "context-switches": 1, "cs": 1, "cpu-migrations": 1,
	"alignment-faults": 1, "emulation-faults": 1,
}

func (p *parser) attachPoint(word string, at int) Probe {
	parts := strings.Split(word, ":")
	kind, known := kinds[parts[0]]
	args := parts[1:]
	bad := func(format string, a ...any) { p.refuse(at, "%.80q: %s", word, fmt.Sprintf(format, a...)) }
	if !known {
		switch parts[0] {
		case "":
			p.refuse(at, "an attach point is expected, such as tracepoint:syscalls:sys_enter_openat")
		case "config":
			bad("a script sets none of bpftrace's options: kgent sets them")
		case "watchpoint", "w", "asyncwatchpoint", "aw":
			bad("watchpoints are not available: they stop the processes that they watch")
		case "hardware", "h":
			bad("hardware events are not available; use profile:hz:99")
		case "struct", "enum", "union":
			bad("a script defines no types: the kernel's are known by name")
		case "kfunc", "kretfunc", "fentry", "fexit", "f", "fr":
			bad("probes of this kind are not available in scripts; use kprobe, kretprobe or a tracepoint")
		default:
			bad("it is no kind of probe that kgent runs: use tracepoint, kprobe, kretprobe, uprobe, uretprobe, usdt, profile, interval or software")
		}
	}
	if strings.Contains(word, "*") {
		bad("name each hook; with a wildcard nobody sees what is approved")
	}
	want := func(n int, form string) {
		if len(args) != n || slices.Contains(args, "") {
			bad("it is written %s", form)
		}
	}
	switch kind {
	case "BEGIN", "END":
		want(0, kind)
	case "tracepoint":
		want(2, "tracepoint:<category>:<name>")
		if !isSymbol(args[0]) || !isSymbol(args[1]) {
			bad("this is no name of a tracepoint")
		}
	case "kprobe", "kretprobe":
		want(1, kind+":<function>")
		if !isFunction(args[0]) {
			bad("this is no name of a function; offsets and addresses are not available")
		}
	case "uprobe", "uretprobe":
		want(2, kind+":<absolute path>:<function>")
		p.binary(args[0], bad)
		if !isFunction(args[1]) {
			bad("this is no name of a function; offsets and addresses are not available")
		}
	case "usdt":
		want(3, "usdt:<absolute path>:<provider>:<probe>")
		p.binary(args[0], bad)
		if !isSymbol(args[1]) || !isSymbol(args[2]) {
			bad("this is no name of a static probe")
		}
	case "profile", "interval":
		p.rate(kind, args, want, bad)
	case "software":
		want(2, "software:<event>:<count>")
		if n, err := strconv.Atoi(args[1]); softwareEvents[args[0]] == 0 || err != nil || n < 1 || args[1][0] == '0' {
			bad("the event is one of page-faults, minor-faults, major-faults, context-switches, cpu-migrations, and the count a number from 1")
		}
	}
	return Probe{Name: strings.Join(append([]string{kind}, args...), ":"), Kind: kind, Args: args}
}

// binary refuses what is no file by its full name: others would be looked up in
// places that the script's author chose.
func (p *parser) binary(file string, bad func(string, ...any)) {
	if !path.IsAbs(file) || path.Clean(file) != file {
		bad("name the program or library by its absolute path")
	}
	for _, dir := range []string{"/proc/", "/dev/", "/sys/"} {
		if strings.HasPrefix(file, dir) {
			bad("files under %s are not available", dir)
		}
	}
}

// rate reads hz:99, s:1, ms:100.
func (p *parser) rate(kind string, args []string, want func(int, string), bad func(string, ...any)) {
	form := kind + ":hz:<number>"
	if kind == "interval" {
		form = "interval:s:<seconds>, interval:ms:<milliseconds> or interval:hz:<number>"
	}
	want(2, form)
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 || args[1][0] == '0' || args[1][0] == '+' {
		bad("it is written %s", form)
	}
	switch args[0] {
	case "hz":
		if n > MaxHz {
			bad("it fires more than %d times a second", MaxHz)
		}
	case "ms":
		if n > 3600*1000 {
			bad("that is longer than an hour")
		}
	case "s":
		if n > 3600 {
			bad("that is longer than an hour")
		}
	default:
		bad("it is written %s", form)
	}
	if kind == "profile" && args[0] == "s" {
		bad("it is written %s", form)
	}
}

// isSymbol: letters, digits and _; a tracepoint or probe may also have - and + in it.
func isSymbol(s string) bool {
	return len(s) <= 128 && s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}

// isFunction: a C identifier, which the compiler may have given a suffix.
func isFunction(s string) bool {
	base, _, _ := strings.Cut(s, ".")
	return isSymbol(strings.ReplaceAll(s, ".", "_")) && !strings.Contains(s, "-") && base != "" && !isDigit(s[0])
}

// block reads { … }. What follows the last block's brace is not looked at.
func (p *parser) block(last bool) {
	defer p.deeper()()
	p.advance() // the brace
	for !p.is("}") {
		if p.tok.kind == end {
			p.refuse(p.tok.at, "a } is missing")
		}
		p.statement()
	}
	if last {
		return // the scanner stands behind the brace: an attach point may follow
	}
	p.advance()
}

func (p *parser) statement() {
	defer p.deeper()()
	if p.accept(";") {
		return
	}
	at := p.tok.at
	done := func(s Statement) {
		s.Line, _ = position(p.src, at)
		s.Probes, s.Unrolled = p.points, p.turns > 0
		p.script.Statements = append(p.script.Statements, s)
		p.ended()
	}
	if p.tok.kind == name {
		switch p.tok.text {
		case "if":
			p.branch()
			return
		case "unroll":
			p.unroll()
			return
		case "while", "for", "break", "continue":
			p.refuse(at, "loops are not available, except unroll(<number>) { … }")
		case "return":
			p.advance()
			p.ended()
			return
		case "let", "struct", "config", "macro", "fn", "import", "subprog":
			p.refuse(at, "%s is not available", p.tok.text)
		case "delete", "clear", "zero", "print", "printf", "exit", "time":
			done(Statement{Value: p.expression(0)})
			return
		}
	}
	switch {
	case p.tok.kind == mapName, p.tok.kind == variable:
		done(p.assignment())
	case p.is("++") || p.is("--"):
		how := p.advance().text
		if p.tok.kind != mapName && p.tok.kind != variable {
			p.refuse(p.tok.at, "a map or variable is expected, not %s", p.tok.shown())
		}
		_, target := p.place()
		done(Statement{Target: target, Op: how})
	default:
		p.refuse(at, "a statement is expected, not %s: an assignment, or a call of %s", p.tok.shown(), "printf, print, clear, zero, delete, time or exit")
	}
}

// ended reads the semicolon after a statement, which the last one may lack.
func (p *parser) ended() {
	if !p.is("}") {
		p.expect(";", "a statement")
	}
}

func (p *parser) branch() {
	p.advance()
	p.expect("(", "if")
	p.script.Filters = append(p.script.Filters, p.expression(0))
	p.expect(")", "the condition")
	p.braces("if")
	if p.tok.kind == name && p.tok.text == "else" {
		p.advance()
		if p.tok.kind == name && p.tok.text == "if" {
			defer p.deeper()()
			p.branch()
			return
		}
		p.braces("else")
	}
}

func (p *parser) braces(after string) {
	if !p.is("{") {
		p.refuse(p.tok.at, "{ is expected after %s, not %s", after, p.tok.shown())
	}
	p.block(false)
}

func (p *parser) unroll() {
	p.advance()
	p.expect("(", "unroll")
	n, err := strconv.Atoi(p.tok.text)
	before := max(p.turns, 1)
	if p.tok.kind != number || err != nil || n < 1 || before*n > MaxUnroll {
		p.refuse(p.tok.at, "unroll takes a number from 1, nested ones together at most %d turns", MaxUnroll)
	}
	p.advance()
	p.expect(")", "the number")
	p.turns = before * n
	p.braces("unroll")
	p.turns = before
}

// assignments other than =.
var compound = []string{"+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "&=", "|=", "^="}

func (p *parser) assignment() Statement {
	m, target := p.place()
	s := Statement{Target: target, Op: p.tok.text}
	switch {
	case p.accept("++"), p.accept("--"):
	case p.tok.kind == op && slices.Contains(compound, p.tok.text):
		p.advance()
		s.Value = p.expression(0)
	case p.accept("="):
		if p.tok.kind == name && slices.Contains(aggregates, p.tok.text) {
			if m == nil {
				p.refuse(p.tok.at, "the result of %s goes into a map, @name = %s(…)", p.tok.text, p.tok.text)
			}
			call := p.tok.text
			if m.Call != "" && m.Call != call {
				p.refuse(p.tok.at, "%s is filled by %s already", m.Name, m.Call)
			}
			m.Call = call
		}
		s.Value = p.expression(aggregate)
	default:
		p.refuse(p.tok.at, "= is expected, not %s", p.tok.shown())
	}
	return s
}

// place reads @m[…] or $x, and returns the map.
func (p *parser) place() (*Map, *Expr) {
	defer p.deeper()()
	t := p.advance()
	x := p.expr(t, VariableExpr, t.text)
	if t.kind == variable {
		return nil, x
	}
	x.Kind = MapExpr
	var keys, stacks []string
	if p.is("[") {
		p.advance()
		for {
			from := p.tok.at
			x.Args = append(x.Args, p.expression(0))
			key := strings.TrimSpace(p.src[from:p.tok.at])
			keys = append(keys, key)
			stack := ""
			for _, k := range []string{"kstack", "ustack"} {
				if key == k || strings.HasPrefix(key, k+"(") {
					stack = k
				}
			}
			stacks = append(stacks, stack)
			if !p.accept(",") {
				break
			}
		}
		p.expect("]", "the key")
	}
	i := slices.IndexFunc(p.script.Maps, func(m Map) bool { return m.Name == t.text })
	if i < 0 {
		if i = len(p.script.Maps); i == MaxMaps {
			p.refuse(t.at, "it has more than %d maps", MaxMaps)
		}
		p.script.Maps = append(p.script.Maps, Map{Name: t.text, Keys: keys, Stack: stacks})
	}
	m := &p.script.Maps[i]
	if len(keys) > 0 && len(m.Keys) == 0 { // it was only named before: print(@m)
		m.Keys, m.Stack = keys, stacks
	}
	if len(keys) > 0 && len(keys) != len(m.Keys) {
		p.refuse(t.at, "%s has %d keys elsewhere", t.text, len(m.Keys))
	}
	return m, x
}

// mode is what an expression may be besides an ordinary one.
type mode int

const (
	noDivision mode = 1 << iota // / ends it
	aggregate                   // count() and others may be called
)

// binary operators by how tightly they bind.
var binding = map[string]int{
	"||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, ">": 7, "<=": 7, ">=": 7, "<<": 8, ">>": 8,
	"+": 9, "-": 9, "*": 10, "/": 10, "%": 10,
}

func (p *parser) expression(m mode) *Expr {
	defer p.deeper()()
	t := p.tok
	x := p.operation(m, 1)
	if p.accept("?") {
		yes := p.expression(m &^ aggregate)
		p.expect(":", "the first of two values")
		no := p.expression(m &^ aggregate)
		x = p.expr(t, ChoiceExpr, "?", x, yes, no)
	}
	return x
}

func (p *parser) expr(t token, kind ExprKind, text string, args ...*Expr) *Expr {
	line, _ := position(p.src, t.at)
	return &Expr{Kind: kind, Text: text, Args: args, Line: line}
}

func (p *parser) operation(m mode, tightest int) *Expr {
	x := p.unary(m)
	for p.tok.kind == op {
		b := binding[p.tok.text]
		if b < tightest || b == 0 || m&noDivision != 0 && p.tok.text == "/" {
			return x
		}
		t := p.advance()
		x = p.expr(t, NumberExpr, t.text, x, p.operation(m&^aggregate, b+1))
	}
	return x
}

func (p *parser) unary(m mode) (x *Expr) {
	defer p.deeper()()
	t := p.tok
	switch {
	case p.is("!"), p.is("~"), p.is("-"), p.is("*"):
		p.advance()
		if x = p.expr(t, NumberExpr, t.text, p.unary(m&^aggregate)); t.text == "*" {
			x.Kind = OtherExpr
		}
		return x
	case p.is("&"):
		p.refuse(p.tok.at, "addresses of things are not available")
	case p.is("("):
		cast := false
		if x, cast = p.parenthesis(m); cast {
			return x
		}
	case p.tok.kind == number:
		x = p.expr(t, NumberExpr, p.advance().text)
	case p.tok.kind == text:
		x = p.expr(t, TextExpr, p.advance().text)
	case p.tok.kind == mapName, p.tok.kind == variable:
		_, x = p.place()
		if p.is("++") || p.is("--") {
			x = p.expr(t, NumberExpr, p.advance().text, x)
		}
	case p.tok.kind == name:
		x = p.named(m)
	default:
		p.refuse(p.tok.at, "a value is expected, not %s", p.tok.shown())
	}
	return p.members(x)
}

// members reads what follows a value: .x, ->x, [i].
func (p *parser) members(x *Expr) *Expr {
	for {
		switch t := p.tok; {
		case p.accept("->"), p.accept("."):
			if p.tok.kind != name && p.tok.kind != number {
				p.refuse(p.tok.at, "the name of a member is expected, not %s", p.tok.shown())
			}
			x = p.expr(t, MemberExpr, p.advance().text, x)
		case p.accept("["):
			x = p.expr(t, OtherExpr, "[]", x, p.expression(0))
			p.expect("]", "the index")
		default:
			return x
		}
	}
}

// parenthesis reads (a cast) value, and reports true, or (a value), or (a tuple).
func (p *parser) parenthesis(m mode) (x *Expr, cast bool) {
	defer p.deeper()()
	t := p.advance()
	if p.tok.kind == name && p.isType() {
		pointer := p.typeName()
		p.expect(")", "a type")
		if x = p.expr(t, NumberExpr, "()", p.unary(m&^aggregate)); pointer {
			x.Kind = OtherExpr
		}
		return x, true
	}
	x = p.expression(0)
	for p.accept(",") {
		x = p.expr(t, OtherExpr, "(,)", x, p.expression(0))
	}
	p.expect(")", "a value")
	return x, false
}

// numbers are the types that a value can be cast to.
var numbers = []string{"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "int8_t", "int16_t", "int32_t", "int64_t",
	"uint8_t", "uint16_t", "uint32_t", "uint64_t", "char", "short", "int", "long", "unsigned", "size_t", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64"}

func (p *parser) isType() bool {
	return slices.Contains(numbers, p.tok.text) || slices.Contains([]string{"struct", "union", "enum"}, p.tok.text)
}

// typeName reads a type and reports whether it is not a number's.
func (p *parser) typeName() (other bool) {
	if t := p.advance(); t.text == "struct" || t.text == "union" || t.text == "enum" {
		if p.tok.kind != name {
			p.refuse(p.tok.at, "the name of a type is expected, not %s", p.tok.shown())
		}
		p.advance()
		other = true
	} else {
		for p.tok.kind == name && slices.Contains(numbers, p.tok.text) {
			p.advance()
		}
	}
	for p.accept("*") {
		other = true
	}
	return other
}

// named reads a builtin, a constant of the kernel's, or a call.
func (p *parser) named(m mode) *Expr {
	t := p.advance()
	if p.is("(") {
		return p.call(t, m)
	}
	switch {
	case t.text == "args":
		p.use(&p.script.Builtins, t.text)
		p.loud(t)
	case slices.Contains(builtins, t.text), isNumbered(t.text, "arg", 9), isNumbered(t.text, "sarg", 9):
		p.use(&p.script.Builtins, t.text)
		if !slices.Contains(harmless, t.text) {
			p.loud(t)
		}
	case constant(t.text):
		return p.expr(t, NumberExpr, t.text)
	default:
		p.refuse(t.at, "%.40q is nothing that kgent knows", t.text)
	}
	return p.expr(t, BuiltinExpr, t.text)
}

// loud refuses what has no place in BEGIN and END.
func (p *parser) loud(t token) {
	if p.quiet {
		p.refuse(t.at, "%s has no place in BEGIN and END, which only print and set maps", t.text)
	}
}

func (p *parser) use(list *[]string, what string) {
	if !slices.Contains(*list, what) {
		*list = append(*list, what)
	}
}

// constant reports whether a name is one that only enumerations of the kernel have.
func constant(s string) bool {
	return len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && strings.ToUpper(s) == s
}

func isNumbered(s, prefix string, most int) bool {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.Atoi(digits)
	return ok && err == nil && n >= 0 && n <= most && len(digits) == 1
}

// call reads the arguments of a call.
func (p *parser) call(t token, m mode) *Expr {
	f, known := functions[t.text]
	if !known {
		why := "%s() is not available: kgent allows only functions that read, count and print"
		if w := never[t.text]; w != "" {
			why = "%s() is never allowed: " + w
		}
		p.refuse(t.at, why, t.text)
	}
	if f.in != 0 && m&f.in == 0 {
		p.refuse(t.at, "the result of %s() goes into a map: @name = %s(…)", t.text, t.text)
	}
	if f.loud {
		p.loud(t)
	}
	p.use(&p.script.Functions, t.text)
	p.advance()
	x := p.expr(t, CallExpr, t.text)
	n := 0
	for !p.is(")") {
		at := p.tok
		if n == 0 && f.literal && at.kind != text {
			p.refuse(at.at, "%s() takes its text in quotes", t.text)
		}
		if t.text == "kstack" || t.text == "ustack" {
			p.stackArgument()
		} else if t.text == "sizeof" && at.kind == name && p.isType() {
			p.typeName()
		} else {
			x.Args = append(x.Args, p.expression(0))
		}
		n++
		if !p.accept(",") {
			break
		}
	}
	p.expect(")", "the arguments of "+t.text)
	if n < f.min || n > f.max {
		p.refuse(t.at, "%s() takes %s, not %d", t.text, f.count(), n)
	}
	return x
}

// stackArgument reads the mode or number of frames of a stack.
func (p *parser) stackArgument() {
	t := p.advance()
	n, err := strconv.Atoi(t.text)
	switch {
	case t.kind == name && (t.text == "perf" || t.text == "bpftrace"):
	case t.kind == number && err == nil && n >= 1 && n <= 127:
	default:
		p.refuse(t.at, "a stack takes perf or bpftrace, and 1 to 127 frames")
	}
}
