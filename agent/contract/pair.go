package contract

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Pair rewrites a hook at the return of a function that uses what the function was called with, fexit/f(a, ret), for
// kernels whose probes have arguments at the entry and the result at the return only: the entry remembers the arguments
// by thread, and the return uses and forgets them. c is changed in place; h is one of its hooks, p one of the places of
// that, and checked what [Check] made of it. A place of which no arguments are used needs no memory: only its kind changes.
// Where idle tasks can call the function, in interrupts, their calls are left out: those of all CPUs have one thread id.
// An error says why there is no pair for the place; c is then as it was.
func (c *Contract) Pair(h *Hook, p *Place, checked *Checked, entry, exit string, idle bool) error {
	at := slices.IndexFunc(checked.Places, func(x CheckedPlace) bool { return x.Place == p })
	if at < 0 {
		return errors.New("the kernel does not have it")
	}
	place := checked.Places[at]
	used := h.uses(p)
	var args []Arg // those of the call that are used
	var types []Type
	var result []Arg
	for i, a := range place.Place.Args {
		if place.Args[i].Index == ArgReturn {
			result = append(result, a)
			continue
		}
		if !used[a.Local()] {
			continue
		}
		args, types = append(args, a), append(types, place.Args[i].Type)
	}
	if len(args) == 0 {
		p.Kind, p.Args = exit, result
		return nil
	}
	if len(h.Places) > 1 || len(h.Steps) > 1 || len(p.With) > 0 {
		return errors.New("what was known at the call can be kept for a hook of one place and one step only")
	}

	m := &Memory{Name: c.unused(plainName(place.Target) + "_call"), Key: []Member{{Name: "thread", Type: TypeName{Name: "k_tid"}}}}
	cell := func() *Index {
		return &Index{X: &Name{Name: m.Name}, I: []Expr{&Select{X: &Name{Name: "current"}, Name: "tid"}}}
	}
	first, fresh := c.entryOf(p, entry)
	remember := &Effect{Verb: Remember, To: m.Name, Key: []Field{{Is: cell().I[0]}}}
	with := map[string]func() Expr{}
	var more []Arg // of the entry
	for i, a := range args {
		stored, ok := storedAs(types[i])
		if !ok {
			return fmt.Errorf("%s is %s, which cannot be remembered", a.Name, types[i])
		}
		field := fmt.Sprintf("arg%d", i)
		m.Fields = append(m.Fields, Member{Name: field, Type: TypeName{Name: stored}})
		local := a.Local()
		if j := slices.IndexFunc(first.Places[0].Args, func(b Arg) bool { return b.Name == a.Name }); j >= 0 {
			local = first.Places[0].Args[j].Local()
		} else if slices.ContainsFunc(first.Places[0].Args, func(b Arg) bool { return b.Local() == local }) {
			return fmt.Errorf("the entry of the function calls something else %s", local)
		} else {
			more = append(more, a)
		}
		var is Expr = &Name{Name: local}
		if types[i].Kind == Pointer && !types[i].User {
			is = callOf("u64", is)
		}
		remember.Fields = append(remember.Fields, Field{Name: field, Is: is})
		with[a.Local()] = func() Expr {
			var e Expr = &Select{X: cell(), Name: field}
			if types[i].Kind == Pointer && types[i].Struct != "" {
				e = &Call{Fun: "as", Type: types[i].Struct, Args: []Expr{e}}
			}
			return e
		}
	}
	known := func() Expr { return &Known{Cell: cell()} }
	forget := func() *Effect { return &Effect{Verb: Forget, To: m.Name, Key: []Field{{Is: cell().I[0]}}} }
	c.Memories = append(c.Memories, m)
	first.Places[0].Args = append(first.Places[0].Args, more...)
	called := &Case{Name: first.UnusedCase("called"), Effects: []*Effect{remember}}
	if idle {
		called.When = &Binary{Op: "!=", X: cell().I[0], Y: &Number{}}
	}
	first.Steps = append(first.Steps, &Step{Cases: []*Case{called}})
	if fresh {
		c.Hooks = slices.Insert(c.Hooks, slices.Index(c.Hooks, h), first)
	}
	p.Kind, p.Args = exit, result
	for _, slot := range (&Contract{Hooks: []*Hook{h}}).slots() {
		named(slot, with)
	}
	step := h.Steps[0]
	for _, x := range step.Cases {
		if x.When == nil {
			x.When = known()
		} else {
			x.When = &Binary{Op: "&&", X: known(), Y: x.When}
		}
		x.Effects = append(x.Effects, forget())
	}
	step.Cases = append(step.Cases, &Case{Name: h.UnusedCase("returned"), When: known(), Effects: append(step.Otherwise, forget())})
	step.Otherwise = nil
	if !slices.ContainsFunc(c.Assume, func(w Word) bool { return w.Name == "returns" }) {
		c.Assume = append(c.Assume, Word{Name: "returns"})
	}
	return nil
}

// uses tells which of the arguments of a place a hook's expressions use, by the names they have there.
func (h *Hook) uses(p *Place) map[string]bool {
	used := map[string]bool{}
	as := map[string]func() Expr{}
	for _, a := range p.Args {
		as[a.Local()] = func() Expr {
			used[a.Local()] = true
			return &Name{Name: a.Local(), At: a.At}
		}
	}
	for _, slot := range (&Contract{Hooks: []*Hook{h}}).slots() {
		named(slot, as)
	}
	return used
}

// entryOf is the hook at the entry of the function, or a fresh one.
func (c *Contract) entryOf(p *Place, kind string) (h *Hook, fresh bool) {
	for _, h := range c.Hooks {
		q := h.Places[0]
		if len(h.Places) == 1 && (q.Kind == "fentry" || q.Kind == "kprobe") && q.Target == p.Target && q.IfPresent == p.IfPresent && len(q.With) == 0 {
			return h, false
		}
	}
	return &Hook{Places: []*Place{{Kind: kind, Target: p.Target, IfPresent: p.IfPresent}}}, true
}

// storedAs names the type as which a memory keeps an argument.
func storedAs(t Type) (string, bool) {
	switch {
	case t.Kind == Pointer && t.User:
		return "user_pointer", true
	case t.Kind == Pointer:
		return "k_addr", true
	case t.Kind == Int && t.Order == Network:
		return fmt.Sprintf("be%d", t.Bits), true
	case t.Kind == Int && t.Signed:
		return fmt.Sprintf("s%d", t.Bits), true
	case t.Kind == Int:
		return fmt.Sprintf("u%d", t.Bits), true
	}
	return "", false
}

// named puts expressions in the place of names.
func named(at *Expr, with map[string]func() Expr) {
	list := func(xs []Expr) {
		for i := range xs {
			named(&xs[i], with)
		}
	}
	switch e := (*at).(type) {
	case *Name:
		if by := with[e.Name]; by != nil {
			*at = by()
		}
	case *Select:
		named(&e.X, with)
	case *Index:
		named(&e.X, with)
		list(e.I)
	case *Call:
		if e.Recv != nil {
			named(&e.Recv, with)
		}
		list(e.Args)
	case *Unary:
		named(&e.X, with)
	case *Binary:
		named(&e.X, with)
		named(&e.Y, with)
	case *Cond:
		named(&e.If, with)
		named(&e.Then, with)
		named(&e.Else, with)
	case *In:
		named(&e.X, with)
		list(e.Set)
	case *Known:
		list(e.Cell.I)
	}
}

// unused is a name that nothing in the contract has.
func (c *Contract) unused(name string) string {
	text := Format(c)
	for next, i := name, 2; ; next, i = fmt.Sprintf("%s_%d", name, i), i+1 {
		if !strings.Contains(text, next) {
			return next
		}
	}
}

// UnusedCase is a name that no case of the hook has: the one given, or that with a number.
func (h *Hook) UnusedCase(name string) string {
	taken := map[string]bool{}
	for _, s := range h.Steps {
		for _, x := range s.Cases {
			taken[x.Name] = true
		}
	}
	for next, i := name, 2; ; next, i = fmt.Sprintf("%s_%d", name, i), i+1 {
		if !taken[next] {
			return next
		}
	}
}

// plainName makes a word of a function's name, which may end in ".isra.0".
func plainName(function string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '+' {
			return '_'
		}
		return r
	}, function)
}
