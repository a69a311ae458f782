// Package missed answers "why did it miss X?": it reads what somebody says was missed ("port
// 80", "nginx", "10.0.0.5", "pid 4711", "EINTR", "IPv6"), and looks in the conditions of the
// contract for those that leave it out.
//
// A condition is evaluated with what X says and with the values that the parameters were set
// to; everything else is not known. Only what comes out false whatever the rest may be is
// said to leave X out. What X says of nothing that the contract speaks of is not guessed at:
// then the answer is that it cannot be told.
package missed

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/contract"
)

// Answer is what the contract says about something.
type Answer struct {
	// Excludes says, a line each, which conditions leave it out, by case.
	Excludes []string
	// All is true when every case that begins to show something leaves it out.
	All bool
	// Read says what was read from the words; empty: nothing was.
	Read []string
	// Spoken is what of that the contract's conditions speak of at all.
	Spoken []string
}

// fact is one thing that X says.
type fact struct {
	kind  string // pid, port, address, comm, errno, signal, user, family, path
	value value
	said  string // as it stands there
}

// value is a constant: a number, or a text or name.
type value struct {
	text string
	num  int64
	is   bool // it is a number
}

func number(n int64) value { return value{num: n, is: true, text: strconv.FormatInt(n, 10)} }

// named is the value of a name of the kernel's: a signal, an error, a family. The text of
// any other stands for itself.
func named(name string) value {
	n := 0
	switch {
	case name == "AF_INET":
		n = unix.AF_INET
	case name == "AF_INET6":
		n = unix.AF_INET6
	case strings.HasPrefix(name, "SIG"):
		n = int(unix.SignalNum(name))
	case strings.HasPrefix(name, "E"):
		for i := 1; i < 134 && n == 0; i++ {
			if unix.ErrnoName(unix.Errno(i)) == name {
				n = i
			}
		}
	}
	if n == 0 {
		return value{text: name}
	}
	return value{num: int64(n), is: true, text: name}
}

// Why holds what somebody says was missed against a contract with its parameters' values.
func Why(c *contract.Contract, values map[string]string, thing string) Answer {
	e := &evaluation{c: c, values: values, facts: read(thing), spoken: map[string]bool{}, defines: map[string]*contract.Define{}}
	for _, d := range append(contract.Prelude(), c.Defines...) {
		e.defines[d.Name] = d
	}
	var a Answer
	for _, f := range e.facts {
		a.Read = append(a.Read, f.said)
	}
	remembers := false
	gates := func(x *contract.Case) bool {
		return slices.ContainsFunc(x.Effects, func(f *contract.Effect) bool {
			return f.Verb == contract.Remember || !remembers && (f.Verb == contract.Emit || f.Verb == contract.Add)
		})
	}
	each := func(do func(*contract.Hook, *contract.Case)) {
		for _, h := range c.Hooks {
			for _, s := range h.Steps {
				for _, x := range s.Cases {
					do(h, x)
				}
			}
		}
	}
	each(func(_ *contract.Hook, x *contract.Case) {
		remembers = remembers || slices.ContainsFunc(x.Effects, func(f *contract.Effect) bool { return f.Verb == contract.Remember })
	})
	begin, shut := 0, 0
	each(func(h *contract.Hook, x *contract.Case) {
		shows := slices.ContainsFunc(x.Effects, func(f *contract.Effect) bool {
			return f.Verb == contract.Emit || f.Verb == contract.Add || f.Verb == contract.Remember
		})
		if !shows {
			return
		}
		if gates(x) {
			begin++
		}
		if x.When == nil {
			return
		}
		holds, why := e.holds(x.When, nil, 0)
		if holds != no {
			return
		}
		if gates(x) {
			shut++
		}
		for _, w := range slices.Compact(why) {
			a.Excludes = append(a.Excludes, fmt.Sprintf("the case %s wants %s", x.Name, w))
		}
	})
	a.All = begin > 0 && shut == begin
	for _, f := range e.facts {
		if e.spoken[f.said] {
			a.Spoken = append(a.Spoken, f.said)
		}
	}
	return a
}

var (
	keyed   = regexp.MustCompile(`(?i)\b(pid|process id|port|dport|sport|uid|user|process|comm|signal|errno|error)[ :=#]+([A-Za-z0-9_.@/:-]+)`)
	errnos  = regexp.MustCompile(`\bE[A-Z0-9]{2,}\b`)
	signals = regexp.MustCompile(`\bSIG[A-Z0-9]{2,}\b`)
	family  = regexp.MustCompile(`(?i)\b(?:ip)?v([46])\b`)
	paths   = regexp.MustCompile(`(?:^|\s)(/[^\s?,;]+)`)
	word    = regexp.MustCompile(`[A-Za-z0-9_./:@-]+`)
)

// empties are words that say nothing about what was missed.
var empties = strings.Fields("the a an of by from to on in at for with my our its it this that was were is are did do does not and or which who them they these those events event calls call packets packet connections connection traffic process processes requests request one ones all any some threads thread signal signals files file opens open user users")

// read finds what somebody's words say that can be held against conditions.
func read(thing string) []fact {
	var out []fact
	add := func(kind string, v value, said string) {
		said = strings.TrimSpace(said)
		if !slices.ContainsFunc(out, func(f fact) bool { return f.kind == kind && f.value == v }) && len(out) < 8 {
			out = append(out, fact{kind, v, said})
		}
	}
	rest := thing
	take := func(s string) { rest = strings.Replace(rest, s, " ", 1) }
	for _, m := range keyed.FindAllStringSubmatch(thing, -1) {
		n, err := strconv.ParseInt(m[2], 0, 64)
		switch strings.ToLower(m[1]) {
		case "pid", "process id":
			if err == nil {
				add("pid", number(n), m[0])
				take(m[0])
			}
		case "port", "dport", "sport":
			if err == nil {
				add("port", number(n), m[0])
				take(m[0])
			}
		case "uid", "user":
			if m[2] == "root" {
				n, err = 0, nil
			}
			if err == nil {
				add("user", number(n), m[0])
				take(m[0])
			}
		case "process", "comm":
			add("comm", value{text: strings.Trim(m[2], ".,")}, m[0])
			take(m[0])
		case "signal":
			if err == nil {
				add("signal", number(n), m[0])
				take(m[0])
			}
		}
	}
	for _, m := range errnos.FindAllString(rest, -1) {
		add("errno", named(m), m)
		take(m)
	}
	for _, m := range signals.FindAllString(rest, -1) {
		add("signal", named(m), m)
		take(m)
	}
	for _, m := range family.FindAllStringSubmatch(rest, -1) {
		name := "AF_INET"
		if m[1] == "6" {
			name = "AF_INET6"
		}
		add("family", named(name), m[0])
		take(m[0])
	}
	for _, m := range paths.FindAllStringSubmatch(rest, -1) {
		add("path", value{text: m[1]}, m[1])
		take(m[1])
	}
	for _, w := range word.FindAllString(rest, -1) {
		w = strings.Trim(w, ".,:?!")
		if a, err := netip.ParseAddr(w); err == nil {
			add("address", value{text: a.Unmap().String()}, w)
			f := "AF_INET"
			if !a.Unmap().Is4() {
				f = "AF_INET6"
			}
			add("family", named(f), w)
			continue
		}
		if at, err := netip.ParseAddrPort(w); err == nil {
			add("address", value{text: at.Addr().Unmap().String()}, w)
			add("port", number(int64(at.Port())), w)
			continue
		}
		if len(w) < 2 || slices.Contains(empties, strings.ToLower(w)) {
			continue
		}
		if _, err := strconv.Atoi(w); err == nil { // a number of nobody knows what
			continue
		}
		add("comm", value{text: w}, w)
	}
	return out
}

// truth is yes, no, or not known.
type truth int

const (
	unknown truth = iota
	yes
	no
)

type evaluation struct {
	c       *contract.Contract
	values  map[string]string
	facts   []fact
	spoken  map[string]bool
	defines map[string]*contract.Define
}

// scope has the arguments of the definition that is looked into.
type scope struct {
	args  map[string]contract.Expr
	outer *scope
}

// deepest bounds how far definitions are looked into.
const deepest = 12

// holds evaluates a condition; why says what makes it false.
func (e *evaluation) holds(x contract.Expr, s *scope, depth int) (t truth, why []string) {
	if depth > deepest {
		return unknown, nil
	}
	switch x := x.(type) {
	case *contract.Unary:
		if x.Op != "!" {
			return unknown, nil
		}
		t, _ := e.holds(x.X, s, depth)
		switch t {
		case yes:
			return no, []string{"that not " + contract.ExprString(x.X)}
		case no:
			return yes, nil
		}
	case *contract.Binary:
		switch x.Op {
		case "&&", "||":
			return e.both(x, s, depth)
		}
		return e.compare(x, s, depth)
	case *contract.Call:
		if d := e.defines[x.Fun]; d != nil && x.Recv == nil && len(d.Args) == len(x.Args) {
			in := &scope{args: map[string]contract.Expr{}, outer: s}
			for i, a := range d.Args {
				in.args[a.Name] = x.Args[i]
			}
			return e.holds(d.Body, in, depth+1)
		}
	case *contract.In:
		return e.among(x, s, depth)
	}
	return unknown, nil
}

func (e *evaluation) both(x *contract.Binary, s *scope, depth int) (truth, []string) {
	a, whyA := e.holds(x.X, s, depth)
	b, whyB := e.holds(x.Y, s, depth)
	if x.Op == "&&" {
		switch {
		case a == no || b == no:
			return no, append(whyA, whyB...)
		case a == yes && b == yes:
			return yes, nil
		}
		return unknown, nil
	}
	switch {
	case a == yes || b == yes:
		return yes, nil
	case a == no && b == no:
		return no, append(whyA, whyB...)
	}
	return unknown, nil
}

// term is a side of a comparison.
type term struct {
	value
	known bool
	fact  *fact  // it is what X says
	words string // for people
	param string // the parameter's name, if it is one
}

func (e *evaluation) term(x contract.Expr, s *scope, depth int) term {
	t := term{words: contract.ExprString(x)}
	if depth > deepest {
		return t
	}
	switch x := x.(type) {
	case *contract.Number:
		return term{value: number(int64(x.Value)), known: true, words: t.words}
	case *contract.Text:
		return term{value: value{text: x.Value}, known: true, words: t.words}
	case *contract.Unary:
		if in := e.term(x.X, s, depth+1); x.Op == "-" && in.known && in.is {
			in.value = number(-in.num)
			in.words = t.words
			return in
		}
		return t
	case *contract.Name:
		if s != nil {
			if arg, ok := s.args[x.Name]; ok {
				return e.term(arg, s.outer, depth+1)
			}
		}
		for _, p := range e.c.Params {
			if p.Name == x.Name {
				return e.param(p)
			}
		}
		if x.Name == strings.ToUpper(x.Name) {
			return term{value: named(x.Name), known: true, words: x.Name}
		}
	case *contract.Call:
		if (x.Fun == "u32" || x.Fun == "u64" || x.Fun == "s32") && len(x.Args) == 1 {
			return e.term(x.Args[0], s, depth+1)
		}
	}
	for i := range e.facts {
		if f := &e.facts[i]; f.kind == subject(e.full(x, s, 0)) {
			e.spoken[f.said] = true
			return term{value: f.value, known: true, fact: f, words: e.full(x, s, 0)}
		}
	}
	t.words = e.full(x, s, 0)
	return t
}

// full is an expression with a definition's arguments in place, where it is one of them.
func (e *evaluation) full(x contract.Expr, s *scope, depth int) string {
	if n, ok := x.(*contract.Name); ok && s != nil && depth < deepest {
		if arg, ok := s.args[n.Name]; ok {
			return e.full(arg, s.outer, depth+1)
		}
	}
	return contract.ExprString(x)
}

// param is the value that a parameter was set to.
func (e *evaluation) param(p *contract.Param) term {
	t := term{known: true, param: p.Name, words: p.Name}
	said, set := e.values[p.Name]
	if !set {
		switch d := p.Default.(type) {
		case nil:
			if p.Type.Size == 0 && p.Type.Name != "k_ip" {
				t.value = number(0)
			} else if p.Type.Name == "k_ip" {
				t.value = value{text: "::"}
			}
			return t
		case *contract.Number:
			t.value = number(int64(d.Value))
			return t
		case *contract.Text:
			t.value = value{text: d.Value}
			return t
		default:
			in := e.term(d, nil, 0)
			t.value, t.known = in.value, in.known
			return t
		}
	}
	if n, err := strconv.ParseInt(said, 0, 64); err == nil && p.Type.Size == 0 {
		t.value = number(n)
		return t
	}
	if d, err := time.ParseDuration(said); err == nil && p.Type.Size == 0 {
		t.value = number(d.Nanoseconds())
		return t
	}
	t.value = named(strings.Trim(said, `"`))
	return t
}

// subject is the kind of thing that an expression of the kernel is about, by its name;
// empty when that cannot be said.
func subject(expr string) string {
	low := strings.ToLower(expr)
	last := low[strings.LastIndexAny(low, ".(")+1:]
	name := strings.TrimRight(last, ")")
	fun, _, call := strings.Cut(low, "(")
	if !call {
		fun = ""
	}
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(name, p) || strings.Contains(fun, p) })
	}
	switch {
	case strings.HasPrefix(low, "kgent."):
		return ""
	case has("comm"):
		return "comm"
	case has("tgid") || name == "pid":
		return "pid"
	case has("port", "skc_num"):
		return "port"
	case has("family"):
		return "family"
	case has("_ip", "saddr", "daddr", "_addr"):
		return "address"
	case has("uid"):
		return "user"
	case has("errno", "err", "result") || name == "ret":
		return "errno"
	case has("sig"):
		return "signal"
	case has("path", "filename"):
		return "path"
	}
	return ""
}

func (e *evaluation) compare(x *contract.Binary, s *scope, depth int) (truth, []string) {
	a, b := e.term(x.X, s, depth+1), e.term(x.Y, s, depth+1)
	if !a.known || !b.known {
		return unknown, nil
	}
	if a.fact != nil && b.fact != nil {
		return unknown, nil // what X says is compared with itself
	}
	t, ok := relate(a.value, x.Op, b.value)
	switch {
	case !ok:
		return unknown, nil
	case t:
		return yes, nil
	}
	subject, other := a, b
	if b.fact != nil {
		subject, other = b, a
	}
	if subject.fact == nil {
		return no, nil // "dport == 0 ||": the parameter is set
	}
	wants := shown(other.value)
	if other.param != "" {
		wants += " (the parameter " + other.param + ")"
	}
	return no, []string{fmt.Sprintf("%s %s %s, and you ask about %s", subject.words, x.Op, wants, subject.fact.said)}
}

func shown(v value) string {
	if v.is {
		return v.text
	}
	return strconv.Quote(v.text)
}

func (e *evaluation) among(x *contract.In, s *scope, depth int) (truth, []string) {
	a := e.term(x.X, s, depth+1)
	if !a.known {
		return unknown, nil
	}
	for _, m := range x.Set {
		b := e.term(m, s, depth+1)
		t, ok := relate(a.value, "==", b.value)
		switch {
		case !b.known || !ok:
			return unknown, nil
		case t:
			return yes, nil
		}
	}
	if a.fact == nil {
		return no, nil
	}
	return no, []string{fmt.Sprintf("%s, and you ask about %s", contract.ExprString(x), a.fact.said)}
}

// relate compares two constants. ok is false when they cannot be compared: a name and a
// number may be the same.
func relate(a value, op string, b value) (holds, ok bool) {
	if a.is != b.is {
		return false, false
	}
	cmp := 0
	if a.is {
		switch {
		case a.num < b.num:
			cmp = -1
		case a.num > b.num:
			cmp = 1
		}
	} else if a.text != b.text {
		cmp = 1
		if op != "==" && op != "!=" {
			return false, false
		}
	}
	switch op {
	case "==":
		return cmp == 0, true
	case "!=":
		return cmp != 0, true
	case "<":
		return cmp < 0, true
	case "<=":
		return cmp <= 0, true
	case ">":
		return cmp > 0, true
	case ">=":
		return cmp >= 0, true
	}
	return false, false
}
