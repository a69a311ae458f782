package contract

import (
	_ "embed"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
)

//go:embed prelude.kc
var preludeText string

// prelude holds the definitions that every contract may use.
var prelude = sync.OnceValue(func() []*Define {
	c, err := Parse(preludeText)
	if err != nil {
		panic("prelude.kc: " + err.Error())
	}
	return c.Defines
})

// Prelude returns the definitions that every contract may use.
func Prelude() []*Define { return prelude() }

// maxValues bounds the size of a resolved contract: definitions multiply.
const maxValues = 200_000

// maxNodes bounds the size of one expression, counted as a tree.
const maxNodes = 2_000_000

// Check resolves a contract against the types of a kernel. The error is [Errors]:
// everything that is wrong, in the order of the text. What is only worth a second look is in
// Checked.Remarks.
func Check(c *Contract, t *Types) (*Checked, error) {
	k := &checker{c: c, types: t, out: &Checked{Contract: c}, defines: map[string]*Define{}, enumerators: map[string]*Value{},
		used: map[string]bool{}, budget: maxValues, ids: map[*Value]int{}, interned: map[identity]int{}, expanded: map[string]*Value{}}
	k.declarations()
	if len(k.errs) == 0 {
		k.hooks()
	}
	if len(k.errs) == 0 {
		k.unused()
		k.identify()
	}
	if len(k.errs) > 0 {
		sort.SliceStable(k.errs, func(i, j int) bool {
			a, b := k.errs[i].At, k.errs[j].At
			return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
		})
		errs := slices.CompactFunc(k.errs, func(a, b *Error) bool { return a.Error() == b.Error() })
		return nil, errs[:min(len(errs), maxErrors)]
	}
	return k.out, nil
}

type checker struct {
	c           *Contract
	types       *Types
	out         *Checked
	errs        Errors
	defines     map[string]*Define
	enumerators map[string]*Value
	used        map[string]bool // "param dport"
	budget      int
	ids         map[*Value]int
	interned    map[identity]int
	expanded    map[string]*Value // definitions in place, by name and arguments

	where string        // of inside(…)
	place *CheckedPlace // whose cases are being resolved
}

func (k *checker) errorf(at Pos, format string, args ...any) {
	k.errs = append(k.errs, &Error{At: at, Msg: fmt.Sprintf(format, args...)})
}

func (k *checker) unknown(at Pos, what, name string, names []string) {
	k.errs = append(k.errs, &Error{At: at, Msg: fmt.Sprintf("no %s is called %s", what, name), Suggest: suggest(name, names)})
}

func (k *checker) remark(at Pos, format string, args ...any) {
	for _, r := range k.out.Remarks {
		if r.At == at {
			return
		}
	}
	k.out.Remarks = append(k.out.Remarks, &Error{At: at, Msg: fmt.Sprintf(format, args...)})
}

// builtin names cannot be declared.
var builtins = []string{"now", "now_boot", "cpu", "random", "packet", "kernel_stack", "user_stack", "current", "kgent", "probe", "null", "true", "false"}

func (k *checker) declarations() {
	seen := map[string]string{}
	declare := func(at Pos, what, name string) {
		switch old := seen[name]; {
		case old != "":
			k.errorf(at, "%s is already the name of %s", name, old)
		case slices.Contains(builtins, name) || functions[name] != "" || reserved[name]:
			k.errorf(at, "%s means something else in contracts; choose another name", name)
		case !strings.HasPrefix(what, "a value of ") && k.isConstant(name):
			k.errorf(at, "%s is a number of the kernel's; choose another name", name)
		}
		seen[name] = what
	}
	if strings.TrimSpace(k.c.Title) == "" {
		k.errorf(Pos{1, 1}, "the title is empty")
	}
	for _, d := range prelude() {
		k.defines[d.Name] = d
	}
	for _, e := range k.c.Enums {
		declare(e.At, "an enum", e.Name)
		k.enum(e, declare)
	}
	for _, d := range k.c.Defines {
		declare(d.At, "a definition", d.Name)
		if k.defines[d.Name] != nil {
			k.errorf(d.At, "%s is defined for all contracts; choose another name", d.Name)
		}
		k.defines[d.Name] = d
	}
	for _, p := range k.c.Params {
		declare(p.At, "a parameter", p.Name)
		k.param(p)
	}
	outputs := map[string]bool{}
	for _, e := range k.c.Events {
		k.once(e.At, outputs, "an event or table", e.Name)
		if len(e.Members) == 0 {
			k.errorf(e.At, "the event %s has no members", e.Name)
		}
		k.out.Events = append(k.out.Events, CheckedEvent{e, k.members(e.Members, true)})
	}
	for _, t := range k.c.Tables {
		k.once(t.At, outputs, "an event or table", t.Name)
		k.table(t)
	}
	for _, m := range k.c.Memories {
		declare(m.At, "a memory", m.Name)
		if len(m.Key) == 0 {
			k.errorf(m.At, "the memory %s has no key: say for what it remembers, such as { thread: k_tid }", m.Name)
		}
		k.out.Memories = append(k.out.Memories, CheckedMemory{m, k.members(m.Key, false), k.members(m.Fields, false)})
	}
	for _, a := range k.c.Assume {
		var names []string
		for _, x := range assumptions {
			names = append(names, x.Name)
		}
		if !slices.Contains(names, a.Name) {
			k.unknown(a.At, "assumption", a.Name, names)
		}
	}
	for _, v := range k.c.Views {
		if !outputs[v.Table] {
			k.unknown(v.At, "event or table", v.Table, keys(outputs))
		}
	}
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// isConstant tells whether people take a name for one of the kernel's numbers.
func (k *checker) isConstant(name string) bool {
	if name == "" || name[0] < 'A' || name[0] > 'Z' {
		return false
	}
	_, ok := k.types.constant(name)
	return ok
}

func (k *checker) once(at Pos, seen map[string]bool, what, name string) {
	if seen[name] {
		k.errorf(at, "%s is already the name of %s", name, what)
	}
	seen[name] = true
}

func (k *checker) enum(e *Enum, declare func(Pos, string, string)) {
	if len(e.Values) == 0 {
		k.errorf(e.At, "the enum %s has no values", e.Name)
	}
	for _, v := range e.Values {
		declare(v.At, "a value of enum "+e.Name, v.Name)
		if n, ok := k.types.constant(v.Name); ok && n != v.Value && k.isConstant(v.Name) {
			k.errorf(v.At, "%s is %d in the kernel; choose another name for %d", v.Name, n, v.Value)
		}
		if v.Value < math.MinInt32 || v.Value > math.MaxInt32 {
			k.errorf(v.At, "the value of %s does not fit 32 bits", v.Name)
		}
		k.enumerators[v.Name] = &Value{Op: OpConst, Bits: uint64(v.Value), Type: enumType(e), At: v.At}
	}
}

func enumType(e *Enum) Type {
	t := Type{Kind: Int, Bits: 32, Enum: e}
	for _, v := range e.Values {
		t.Signed = t.Signed || v.Value < 0
	}
	return t
}

func (k *checker) typeName(t TypeName) Type {
	if t.Name == "char" {
		return Type{Kind: TextKind, Size: t.Size}
	}
	if v, ok := vocabulary[t.Name]; ok {
		return v
	}
	names := keys(vocabulary)
	for _, e := range k.c.Enums {
		if e.Name == t.Name {
			return enumType(e)
		}
		names = append(names, e.Name)
	}
	if h := hint(typeHabits, t.Name); h != "" {
		k.errorf(t.At, "no type is called %s%s", t.Name, h)
		return Type{}
	}
	near := suggest(t.Name, names)
	if _, ok := vocabulary["k_"+t.Name]; ok {
		near = []string{"k_" + t.Name}
	}
	k.errs = append(k.errs, &Error{At: t.At, Msg: "no type is called " + t.Name, Suggest: near})
	return Type{}
}

func (k *checker) members(list []Member, output bool) (out []CheckedMember) {
	seen := map[string]bool{}
	for _, m := range list {
		k.once(m.At, seen, "a member", m.Name)
		t := k.typeName(m.Type)
		if output && t.Kind == Pointer {
			k.errorf(m.At, "%s would show an address of the kernel; if that is meant, its type is k_addr", m.Name)
		}
		if !output && t.Kind == ArgsKind {
			k.errorf(m.At, "%s: a list of arguments can be shown, not remembered", m.Name)
		}
		out = append(out, CheckedMember{m.Name, t})
	}
	return out
}

func (k *checker) table(t *Table) {
	out := CheckedTable{Table: t, Key: k.members(t.Key, true)}
	seen := map[string]bool{}
	for _, v := range t.Values {
		k.once(v.At, seen, "a member", v.Name)
		typ := k.typeName(v.Type)
		switch {
		case typ.Kind == Invalid:
		case typ.Kind != Int || typ.Order == Network:
			k.errorf(v.At, "%s adds up numbers; %s is not one", v.Agg, v.Type)
		case typ.Signed && v.Agg != Last && v.Agg != Sum:
			k.errorf(v.At, "%s takes numbers without sign; %s has one", v.Agg, v.Type)
		case v.Agg == Linear && (v.Step == 0 || v.Slots == 0 || v.Slots > 1024):
			k.errorf(v.At, "a linear histogram has slots of width 1 or more, and 1 to 1024 of them")
		}
		out.Values = append(out.Values, CheckedMember{v.Name, typ})
	}
	if len(t.Values) == 0 {
		k.errorf(t.At, "the table %s adds nothing up", t.Name)
	}
	k.out.Tables = append(k.out.Tables, out)
}

func (k *checker) param(p *Param) {
	t := k.typeName(p.Type)
	out := CheckedParam{Param: p, Type: t}
	value := func(e Expr, what string) *Value {
		if e == nil || t.Kind == Invalid {
			return nil
		}
		v := k.expr(e, &scope{constant: true})
		if v == nil {
			return nil
		}
		// uid = -1 is how "any" is written: all bits set.
		if v.Op == OpConst && v.Type.Literal && int64(v.Bits) == -1 && t.Kind == Int {
			v.Bits, v.Type = cut(v.Bits, t), t
		}
		if v = k.assign(v, t, what); v != nil && v.Op != OpConst && v.Op != OpText {
			k.errorf(e.Position(), "%s is not a constant", what)
		}
		return v
	}
	out.Default = value(p.Default, "the default of "+p.Name)
	out.Min, out.Max = value(p.Min, "the smallest value of "+p.Name), value(p.Max, "the largest value of "+p.Name)
	if out.Min != nil && out.Max != nil {
		if t.Kind != Int || t.Order == Network {
			k.errorf(p.At, "only numbers have a range, and %s is %s", p.Name, t)
		} else if less(out.Max.Bits, out.Min.Bits, t.Signed) {
			k.errorf(p.At, "the range of %s is empty", p.Name)
		} else if d := out.Default; d == nil && less(0, out.Min.Bits, t.Signed) || d != nil && (less(d.Bits, out.Min.Bits, t.Signed) || less(out.Max.Bits, d.Bits, t.Signed)) {
			k.errorf(p.At, "the default of %s is outside its range", p.Name)
		}
	}
	switch t.Kind {
	case Int, TextKind, IPKind, Invalid:
		if t.Meaning == "dnsname" {
			k.errorf(p.Type.At, "no parameter is a k_dnsname: compare the name with a constant, in dots")
		}
		if d := out.Default; d != nil && t.Kind == TextKind && !shown(d.Text) {
			k.errorf(p.At, "the default of %s has a character that cannot be shown", p.Name)
		}
	default:
		k.errorf(p.Type.At, "a parameter is a number, a text or an address, not %s", t)
	}
	k.out.Params = append(k.out.Params, out)
}

func less(a, b uint64, signed bool) bool {
	if signed {
		return int64(a) < int64(b)
	}
	return a < b
}

func (k *checker) hooks() {
	if len(k.c.Hooks) == 0 {
		k.errorf(Pos{1, 1}, "the contract has no hook: nothing would ever happen")
	}
	seen := map[string]bool{}
	for _, h := range k.c.Hooks {
		for i := 0; i < len(h.Places); {
			j := i + 1
			for j < len(h.Places) && h.Places[j].Or {
				j++
			}
			k.alternatives(h, h.Places[i:j], seen)
			i = j
		}
	}
	if len(k.errs) == 0 && len(k.out.Places) == 0 {
		k.errorf(k.c.Hooks[0].At, "none of the places exists on this kernel")
	}
}

// alternatives resolves the first of some places that this kernel has.
func (k *checker) alternatives(h *Hook, places []*Place, seen map[string]bool) {
	ifPresent := false
	var missing []*Error
	for _, p := range places {
		ifPresent = ifPresent || p.IfPresent
		if seen[p.String()] && p.Kind != "xdp" {
			k.errorf(p.At, "%s has cases already; join them with “then”", p)
			return
		}
		seen[p.String()] = true
		cp, absent, err := k.bind(p)
		if err != nil && absent {
			missing = append(missing, err)
			continue
		}
		if err != nil {
			k.errs = append(k.errs, err)
			return
		}
		cp.Hook = h
		k.steps(cp)
		k.out.Places = append(k.out.Places, *cp)
		return
	}
	if !ifPresent {
		k.errs = append(k.errs, missing...)
		return
	}
	// Declared, not to be had here: nothing of it can be called unused.
	k.skipped(h)
}

func (k *checker) steps(cp *CheckedPlace) {
	k.place, k.expanded = cp, map[string]*Value{}
	defer func() { k.place = nil }()
	sc := k.placeScope(cp)
	if sc == nil {
		return
	}
	names := map[string]bool{}
	returns := 0
	for _, s := range cp.Hook.Steps {
		var out CheckedStep
		var gone []string // known because an earlier case did not apply
		all, none := true, true
		for _, c := range s.Cases {
			k.once(c.At, names, "a case", c.Name)
			k.expanded = map[string]*Value{} // errors say where
			cc := CheckedCase{Case: c, When: &Value{Op: OpConst, Bits: 1, Type: Type{Kind: Bool}, At: c.At}}
			inner := sc.with(gone)
			if c.When != nil {
				if w := k.expr(c.When, inner); w != nil {
					cc.When = k.condition(w, "the condition of "+c.Name)
				} else {
					cc.When = nil
				}
			}
			if cc.When == nil {
				continue
			}
			if cc.When.Op == OpConst && c.When != nil {
				says := "can never hold"
				if cc.When.Bits != 0 {
					says = "always holds: write “always” if that is meant"
				}
				k.errorf(c.At, "the condition of %s %s", c.Name, says)
			}
			if c.When == nil && c != s.Cases[len(s.Cases)-1] {
				k.errorf(c.At, "the cases after %s can never apply, for %s always does", c.Name, c.Name)
			}
			cc.Effects = k.effects(c.Effects, inner.with(k.facts(cc.When, true)))
			k.hookFacts(cp, cc.When, cc.Effects)
			has := hasReturn(c.Effects)
			all, none = all && has, none && !has
			gone = append(gone, k.facts(cc.When, false)...)
			out.Cases = append(out.Cases, cc)
		}
		k.expanded = map[string]*Value{}
		out.Otherwise = k.effects(s.Otherwise, sc.with(gone))
		k.hookFacts(cp, nil, out.Otherwise)
		has := hasReturn(s.Otherwise)
		last := len(s.Cases) > 0 && s.Cases[len(s.Cases)-1].When == nil
		all, none = all && (has || last), none && !has
		switch {
		case !all && !none:
			k.errorf(s.At, "some cases return a value and some do not; all of a step have to, with “otherwise”")
		case all && !none:
			returns++
		}
		cp.Steps = append(cp.Steps, out)
	}
	if cp.Kind == "kprobe.session" {
		k.session(cp)
	}
	switch verdict := cp.verdicts(); {
	case verdict && returns != 1:
		k.errorf(cp.At, "what a program returns at %s decides what happens; exactly one step has to say “return …” in all its cases, not %d", cp.Place, returns)
	case !verdict && returns > 0:
		k.errorf(cp.At, "what a program returns at %s means nothing; leave “return” out", cp.Place)
	}
}

func hasReturn(list []*Effect) bool {
	return slices.ContainsFunc(list, func(e *Effect) bool { return e.Verb == Return })
}

// facts are the cells that are known to be known when a condition is as said.
func (k *checker) facts(v *Value, holds bool) []string {
	switch v.Op {
	case OpKnown:
		if holds {
			return []string{k.cellKey(v)}
		}
	case OpNot:
		return k.facts(v.Args[0], !holds)
	case OpBoth:
		if holds {
			return append(k.facts(v.Args[0], true), k.facts(v.Args[1], true)...)
		}
	case OpEither:
		if !holds {
			return append(k.facts(v.Args[0], false), k.facts(v.Args[1], false)...)
		}
	}
	return nil
}

func (k *checker) cellKey(v *Value) string {
	key := []any{v.Index}
	for _, a := range v.Args {
		key = append(key, k.id(a))
	}
	return fmt.Sprint(key...)
}

func (k *checker) effects(list []*Effect, sc *scope) (out []CheckedEffect) {
	returns := 0
	for _, e := range list {
		ce := CheckedEffect{Effect: e, Index: -1}
		switch e.Verb {
		case Emit:
			k.emit(&ce, sc)
		case Add:
			k.add(&ce, sc)
		case Remember, Change, Forget:
			k.memory(&ce, sc)
		case Return:
			if returns++; returns > 1 {
				k.errorf(e.At, "a case returns once")
			}
			if v := k.expr(e.Value, sc); v != nil {
				ce.Value = k.assign(v, Type{Kind: Int, Bits: 32, Signed: true}, "the return value")
			}
		}
		out = append(out, ce)
	}
	return out
}

func (k *checker) emit(ce *CheckedEffect, sc *scope) {
	var names []string
	for i, ev := range k.out.Events {
		names = append(names, ev.Name)
		if ev.Name == ce.To {
			ce.Index = i
		}
	}
	if ce.Index < 0 {
		k.unknown(ce.At, "event", ce.To, names)
		return
	}
	k.used["event "+ce.To] = true
	ce.Fields = k.fill(ce.At, "the event "+ce.To, k.out.Events[ce.Index].Members, ce.Effect.Fields, sc, true)
}

// fill resolves the values of members, in the order of their declaration.
func (k *checker) fill(at Pos, what string, members []CheckedMember, given []Field, sc *scope, all bool) []*Value {
	out := make([]*Value, len(members))
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Name
	}
	seen := map[string]bool{}
	for _, f := range given {
		i := slices.Index(names, f.Name)
		if i < 0 {
			k.unknown(f.At, "member of "+what, f.Name, names)
			continue
		}
		k.once(f.At, seen, "a member that is given", f.Name)
		if v := k.expr(f.Is, sc); v != nil {
			out[i] = k.assign(v, members[i].Type, f.Name)
		}
	}
	if !all {
		return out
	}
	var missing []string
	for _, n := range names {
		if !seen[n] {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		k.errorf(at, "%s is given no %s", what, strings.Join(missing, ", "))
	}
	return out
}

func (k *checker) add(ce *CheckedEffect, sc *scope) {
	var names []string
	for i, t := range k.out.Tables {
		names = append(names, t.Name)
		if t.Name == ce.To {
			ce.Index = i
		}
	}
	if ce.Index < 0 {
		k.unknown(ce.At, "table", ce.To, names)
		return
	}
	k.used["table "+ce.To] = true
	t := k.out.Tables[ce.Index]
	ce.Key = k.key(ce, t.Key, sc)
	unnamed := len(t.Values) == 1 && t.Values[0].Name == ""
	switch {
	case unnamed && ce.Effect.Value == nil:
		k.errorf(ce.At, "the cells of %s have one member without name: write “add VALUE to %s…”", t.Name, t.Name)
		return
	case !unnamed && ce.Effect.Value != nil:
		k.errorf(ce.At, "the cells of %s have members: write “add { %s: … } to %s…”", t.Name, t.Values[0].Name, t.Name)
		return
	case unnamed:
		ce.Fields = []*Value{nil}
		if v := k.expr(ce.Effect.Value, sc); v != nil {
			ce.Fields[0] = k.assign(v, t.Values[0].Type, "what is added")
		}
	default:
		ce.Fields = k.fill(ce.At, "the table "+t.Name, t.Values, ce.Effect.Fields, sc, false)
		if len(ce.Effect.Fields) == 0 {
			k.errorf(ce.At, "nothing is added to %s", t.Name)
		}
	}
	for i, v := range ce.Fields {
		// A count that is given as 0 beside what is added is one that does not grow.
		if v != nil && len(ce.Effect.Fields) > 1 && t.Table.Values[i].Agg == Count && v.Op == OpConst && v.Bits == 0 {
			ce.Fields[i] = nil
			continue
		}
		if v != nil && t.Table.Values[i].Agg == Count && (v.Op != OpConst || v.Bits != 1) {
			k.errorf(v.At, "a count grows by 1; what adds up amounts is a sum")
		}
	}
	if !unnamed && len(ce.Effect.Fields) > 1 && !slices.ContainsFunc(ce.Fields, func(v *Value) bool { return v != nil }) {
		k.errorf(ce.At, "nothing is added to %s", t.Name)
	}
}

// key resolves a key: by names, or by position where none are given.
func (k *checker) key(ce *CheckedEffect, members []CheckedMember, sc *scope) []*Value {
	given := slices.Clone(ce.Effect.Key)
	if len(given) > 0 && given[0].Name == "" && len(given) == len(members) {
		for i := range given {
			given[i].Name = members[i].Name
		}
	}
	for _, f := range given {
		if f.Name == "" {
			k.errorf(f.At, "the key of %s has %d members: write each as name: value", ce.To, len(members))
			return nil
		}
	}
	return k.fill(ce.At, "the key of "+ce.To, members, given, sc, true)
}

func (k *checker) memory(ce *CheckedEffect, sc *scope) {
	ce.Index = k.memoryIndex(ce.To)
	if ce.Index < 0 {
		k.unknown(ce.At, "memory", ce.To, k.memoryNames())
		return
	}
	m := k.out.Memories[ce.Index]
	if len(ce.Effect.Key) != len(m.Key) {
		k.errorf(ce.At, "the key of %s has %d members, not %d", ce.To, len(m.Key), len(ce.Effect.Key))
		return
	}
	ce.Key = k.key(ce, m.Key, sc)
	switch ce.Verb {
	case Remember:
		k.used["remember "+ce.To] = true
		ce.Fields = k.fill(ce.At, "the memory "+ce.To, m.Fields, ce.Effect.Fields, sc, true)
	case Change:
		ce.Fields = k.fill(ce.At, "the memory "+ce.To, m.Fields, ce.Effect.Fields, sc, false)
		if len(ce.Effect.Fields) == 0 {
			k.errorf(ce.At, "nothing of %s is changed", ce.To)
		}
	}
}

func (k *checker) memoryIndex(name string) int {
	return slices.IndexFunc(k.out.Memories, func(m CheckedMemory) bool { return m.Name == name })
}

func (k *checker) memoryNames() (names []string) {
	for _, m := range k.c.Memories {
		names = append(names, m.Name)
	}
	return names
}

// skipped marks what only a hook uses that this kernel lacks.
func (k *checker) skipped(h *Hook) {
	for _, s := range h.Steps {
		for _, list := range append([][]*Effect{s.Otherwise}, caseEffects(s)...) {
			for _, e := range list {
				for _, what := range []string{"event ", "table ", "remember "} {
					k.used[what+e.To] = true
				}
			}
		}
	}
	for _, p := range k.c.Params {
		k.used["param "+p.Name] = true
	}
}

func caseEffects(s *Step) (out [][]*Effect) {
	for _, c := range s.Cases {
		out = append(out, c.Effects)
	}
	return out
}

// unused finds what is declared and can have no effect.
func (k *checker) unused() {
	for _, p := range k.c.Params {
		if !k.used["param "+p.Name] {
			k.errorf(p.At, "the parameter %s has no effect on anything", p.Name)
		}
	}
	for _, e := range k.c.Events {
		if !k.used["event "+e.Name] {
			k.errorf(e.At, "the event %s is never emitted", e.Name)
		}
	}
	for _, t := range k.c.Tables {
		if !k.used["table "+t.Name] {
			k.errorf(t.At, "nothing is ever added to the table %s", t.Name)
		}
	}
	for _, m := range k.c.Memories {
		switch {
		case !k.used["remember "+m.Name]:
			k.errorf(m.At, "nothing is ever remembered in %s", m.Name)
		case !k.used["known "+m.Name]:
			k.errorf(m.At, "what is remembered in %s is never looked at", m.Name)
		}
	}
	if len(k.c.Events)+len(k.c.Tables) == 0 {
		k.errorf(Pos{1, 1}, "the contract has neither an event nor a table: nothing would be shown")
	}
	for _, d := range k.c.Defines {
		if !k.used["define "+d.Name] {
			k.remark(d.At, "the definition %s is not used", d.Name)
		}
	}
}
