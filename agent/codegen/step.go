package codegen

import (
	"fmt"
	"maps"
	"strings"

	"kgent/agent/contract"
)

// pending is a case of which some conditions have been tested.
type pending struct {
	*contract.CheckedCase
	left []*contract.Value
}

// conditions are what && joins.
func (f *function) conditions(v *contract.Value) []*contract.Value {
	if v.Op == contract.OpConst && v.Bits != 0 {
		return nil
	}
	if v.Op != contract.OpBoth || f.isFilter(v) {
		return []*contract.Value{v}
	}
	return append(f.conditions(v.Args[0]), f.conditions(v.Args[1])...)
}

// step writes a step: its cases in their order, the first that applies.
func (b *block) step(s *contract.CheckedStep) error {
	var cases []pending
	for i := range s.Cases {
		cases = append(cases, pending{&s.Cases[i], b.f.conditions(s.Cases[i].When)})
	}
	done, err := b.cases(cases, s.Otherwise)
	if err != nil || done {
		return err
	}
	return b.effects(s.Otherwise, "otherwise", "")
}

// cases writes some cases. What they have in common is tested once. done says that nothing
// behind them is reached; last, if not nil, is what follows if none applies, which is
// written where that is known early.
func (b *block) cases(cases []pending, otherwise []contract.CheckedEffect) (done bool, err error) {
	for len(cases) > 0 {
		first := cases[0]
		if len(first.left) == 0 {
			return true, b.apply(first.CheckedCase)
		}
		n, common := shared(cases)
		group := strip(cases[:n], common)
		rest := cases[n:]
		if len(rest) == 0 && b.outer == nil && len(otherwise) == 0 {
			// Nothing else can apply: leave where something does not hold.
			if err := b.require(first.left[:common]); err != nil {
				return false, err
			}
			cases = group
			continue
		}
		if err := b.guarded(first.left[:common], func(inner *block) error {
			_, err := inner.cases(group, nil)
			return err
		}); err != nil {
			return false, err
		}
		cases = rest
	}
	return false, nil
}

// shared is how many cases begin with the same conditions as the first, and with how many.
func shared(cases []pending) (n, common int) {
	n, common = 1, len(cases[0].left)
	for _, c := range cases[1:] {
		same := 0
		for same < min(common, len(c.left)) && c.left[same].ID != 0 && c.left[same].ID == cases[0].left[same].ID {
			same++
		}
		if same == 0 {
			break
		}
		n, common = n+1, same
	}
	return n, common
}

func strip(cases []pending, n int) []pending {
	out := make([]pending, len(cases))
	for i, c := range cases {
		out[i] = pending{c.CheckedCase, c.left[n:]}
	}
	return out
}

// require leaves the function unless all conditions hold.
func (b *block) require(conds []*contract.Value) error {
	var fails []string
	leave := func() {
		if len(fails) > 0 {
			b.line("if (%s)", strings.Join(fails, " || "))
			b.line("\treturn 0;")
		}
		fails = nil
	}
	for _, c := range conds {
		prepared, err := b.prepares(c)
		if err != nil {
			return err
		}
		if prepared {
			leave() // before anything is looked up or read
		}
		e, err := b.value(c)
		if err != nil {
			return err
		}
		fails = append(fails, mixed(e.not(), either))
		if len(strings.Join(fails, " || ")) > 90 {
			leave()
		}
	}
	leave()
	return nil
}

// guarded writes what happens if all conditions hold.
func (b *block) guarded(conds []*contract.Value, body func(*block) error) error {
	var holds []string
	i := 0
	for ; i < len(conds); i++ {
		prepared, err := b.prepares(conds[i])
		if err != nil {
			return err
		}
		if prepared && len(holds) > 0 {
			break
		}
		e, err := b.value(conds[i])
		if err != nil {
			return err
		}
		holds = append(holds, mixed(e, both))
		if e.prec == either {
			holds[len(holds)-1] = "(" + e.text + ")"
		}
	}
	inner := b.inner()
	var err error
	if i < len(conds) {
		err = inner.guarded(conds[i:], body)
	} else {
		err = body(inner)
	}
	if err != nil {
		return err
	}
	if len(holds) == 1 {
		holds[0] = strip1(holds[0])
	}
	b.line("if (%s) {", strings.Join(holds, " && "))
	b.nest(inner)
	b.line("}")
	return nil
}

// strip1 takes one pair of brackets away that encloses all.
func strip1(text string) string {
	if strings.HasPrefix(text, "(") && strings.HasSuffix(text, ")") && balanced(text[1:len(text)-1]) && !strings.HasPrefix(text, "(__") {
		return text[1 : len(text)-1]
	}
	return text
}

// apply writes the effects of a case and leaves.
func (b *block) apply(c *contract.CheckedCase) error {
	return b.effects(c.Effects, c.Name, c.Doc)
}

// effects writes effects, under the name and line of their case, and leaves.
func (b *block) effects(list []contract.CheckedEffect, name, doc string) error {
	if len(list) > 0 {
		at := list[0].At.Line
		text := name
		if at > 0 {
			text = fmt.Sprintf("%s (line %d)", name, at)
		}
		if doc != "" {
			text += ": " + doc
		}
		for _, l := range strings.Split(strings.TrimRight(remark("", text), "\n"), "\n") {
			b.line("%s", l)
		}
	}
	var verdict *contract.Value
	for i := range list {
		e := &list[i]
		var err error
		switch e.Verb {
		case contract.Emit:
			err = b.emit(e)
		case contract.Add:
			err = b.add(e)
		case contract.Return:
			verdict = e.Value
		}
		if err != nil {
			return err
		}
	}
	out := expr{text: "0"}
	if verdict != nil {
		var err error
		if out, err = b.value(verdict); err != nil {
			return err
		}
		if verdict.Op != contract.OpConst { // before anything changes
			name := b.f.names.pick("verdict")
			b.line("int %s = %s;", name, out.text)
			out.text = name
		}
	}
	if err := b.changes(list); err != nil {
		return err
	}
	b.line("return %s;", out.text)
	return nil
}

// prepares tells whether a condition needs statements before it.
func (b *block) prepares(v *contract.Value) (bool, error) {
	used, stack, long := maps.Clone(b.f.names.used), b.f.stack, b.f.scratch
	if long != nil {
		kept := *long
		long = &kept
	}
	inner := b.inner()
	_, err := inner.value(v)
	b.f.names.used, b.f.stack, b.f.scratch = used, stack, long
	return len(inner.lines) > 0, err
}
