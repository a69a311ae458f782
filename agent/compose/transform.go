package compose

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/contract"
)

// A transformation takes a contract and makes another; it changes none.

// clone is a copy of a contract.
func clone(c *contract.Contract) (*contract.Contract, error) {
	out, err := contract.Parse(contract.Format(c))
	if err != nil {
		return nil, fmt.Errorf("copying a contract: %w", err)
	}
	return out, nil
}

// expression reads an expression in the text form.
func expression(text string) (contract.Expr, error) {
	c, err := contract.Parse("contract \"x\"\nevent e { v: u64 }\nhook perf_event/cpu-clock/99()\n  case c: always\n    emit e { v: " + text + " }\n  otherwise nothing\n")
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", text, err)
	}
	return c.Hooks[0].Steps[0].Cases[0].Effects[0].Fields[0].Is, nil
}

func both(x, y contract.Expr) contract.Expr {
	switch {
	case x == nil:
		return y
	case y == nil:
		return x
	}
	return &contract.Binary{Op: "&&", X: x, Y: y}
}

func isOutput(e *contract.Effect) bool { return e.Verb == contract.Emit || e.Verb == contract.Add }

// site is an effect with where it stands.
type site struct {
	hook   *contract.Hook
	step   *contract.Step
	cas    *contract.Case // nil: what follows "otherwise"
	effect *contract.Effect
}

// sites lists the effects that go into the output.
func sites(c *contract.Contract) []site {
	var out []site
	for _, h := range c.Hooks {
		for _, s := range h.Steps {
			for _, x := range s.Cases {
				for _, e := range x.Effects {
					if isOutput(e) {
						out = append(out, site{h, s, x, e})
					}
				}
			}
			for _, e := range s.Otherwise {
				if isOutput(e) {
					out = append(out, site{h, s, nil, e})
				}
			}
		}
	}
	return out
}

// filter adds a condition to every case that puts something into the output. Where it
// does not hold the case has its other effects and no output: no later case takes over.
func filter(c *contract.Contract, when func(site) (contract.Expr, error)) (*contract.Contract, error) {
	out, err := clone(c)
	if err != nil {
		return nil, err
	}
	for _, h := range out.Hooks {
		for _, s := range h.Steps {
			if slices.ContainsFunc(s.Otherwise, isOutput) {
				s.Cases = append(s.Cases, &contract.Case{Name: h.UnusedCase("others"), Effects: s.Otherwise})
				s.Otherwise = nil
			}
			var cases []*contract.Case
			for i, x := range s.Cases {
				at := slices.IndexFunc(x.Effects, isOutput)
				if at < 0 {
					cases = append(cases, x)
					continue
				}
				cond, err := when(site{h, s, x, x.Effects[at]})
				if err != nil {
					return nil, err
				}
				switch spelled(cond) {
				case "true":
					cases = append(cases, x)
					continue
				case "false":
					x.Effects = slices.DeleteFunc(x.Effects, isOutput)
					cases = append(cases, x)
					continue
				}
				for _, e := range x.Effects[at+1:] {
					if !isOutput(e) {
						continue
					}
					other, err := when(site{h, s, x, e})
					if err != nil {
						return nil, err
					}
					if contract.ExprString(other) != contract.ExprString(cond) {
						return nil, errors.New("what is to be left out differs between the outputs of one case")
					}
				}
				rest := slices.DeleteFunc(slices.Clone(x.Effects), isOutput)
				narrow := *x
				narrow.When = both(x.When, cond)
				cases = append(cases, &narrow)
				if i+1 < len(s.Cases) && sameAs(s.Cases[i+1], x.When, rest) {
					continue // the next case does what is left of this one
				}
				if len(rest) > 0 || i+1 < len(s.Cases) || len(s.Otherwise) > 0 {
					cases = append(cases, &contract.Case{Name: h.UnusedCase(x.Name + "_left_out"), When: x.When, Effects: rest})
				}
			}
			s.Cases = cases
		}
	}
	return out, nil
}

// sameAs tells whether a case applies wherever a condition holds, and has these effects.
func sameAs(x *contract.Case, when contract.Expr, effects []*contract.Effect) bool {
	if len(x.Effects) != len(effects) {
		return false
	}
	for i, e := range effects {
		if e.Verb != contract.Forget || x.Effects[i].Verb != e.Verb || x.Effects[i].To != e.To || len(x.Effects[i].Key) != len(e.Key) {
			return false
		}
		for k, f := range e.Key {
			if spelled(x.Effects[i].Key[k].Is) != spelled(f.Is) {
				return false
			}
		}
	}
	given := conjuncts(when)
	return !slices.ContainsFunc(conjuncts(x.When), func(c contract.Expr) bool {
		return !slices.ContainsFunc(given, func(g contract.Expr) bool { return spelled(g) == spelled(c) })
	})
}

// dropMembers takes members out of the events and the keys of tables.
func dropMembers(c *contract.Contract, names map[string]bool) (*contract.Contract, error) {
	out, err := clone(c)
	if err != nil {
		return nil, err
	}
	for _, e := range out.Events {
		if kept := slices.DeleteFunc(slices.Clone(e.Members), func(m contract.Member) bool { return names[m.Name] }); len(kept) > 0 {
			e.Members = kept
		}
	}
	for _, t := range out.Tables {
		t.Key = slices.DeleteFunc(t.Key, func(m contract.Member) bool { return names[m.Name] })
	}
	for _, s := range sites(out) {
		s.effect.Key = slices.DeleteFunc(s.effect.Key, func(f contract.Field) bool { return names[f.Name] })
		if s.effect.Verb == contract.Emit {
			s.effect.Fields = slices.DeleteFunc(s.effect.Fields, func(f contract.Field) bool { return names[f.Name] })
		}
	}
	return out, nil
}

// column is a member of an output with what a site puts into it.
type column struct {
	contract.Member
	is    contract.Expr
	value bool // it is what a table adds up
}

// columns are what an output shows at a site.
func columns(c *contract.Contract, s site) []column {
	var out []column
	fields := func(members []contract.Member, list []contract.Field) {
		for _, m := range members {
			if i := slices.IndexFunc(list, func(f contract.Field) bool { return f.Name == m.Name }); i >= 0 {
				out = append(out, column{Member: m, is: list[i].Is})
			}
		}
	}
	for _, e := range c.Events {
		if s.effect.Verb == contract.Emit && e.Name == s.effect.To {
			fields(e.Members, s.effect.Fields)
		}
	}
	for _, t := range c.Tables {
		if s.effect.Verb != contract.Add || t.Name != s.effect.To {
			continue
		}
		fields(t.Key, s.effect.Key)
		for _, v := range t.Values {
			is := s.effect.Value
			if v.Name != "" {
				i := slices.IndexFunc(s.effect.Fields, func(f contract.Field) bool { return f.Name == v.Name })
				if i < 0 {
					continue
				}
				is = s.effect.Fields[i].Is
			}
			name := v.Name
			if name == "" {
				name = t.Name
			}
			if v.Agg != contract.Count {
				out = append(out, column{Member: contract.Member{Name: name, Type: v.Type}, is: is, value: true})
			}
		}
	}
	return out
}

// pick is what becomes of a site's columns: the keys of a row, and what is added up (nil: 1).
type pick func(site) (keys []column, value contract.Expr, err error)

// tabulate makes a table of what a contract lists or adds up. of is the type of what is added.
func tabulate(c *contract.Contract, name string, agg contract.Agg, of contract.TypeName, choose pick) (*contract.Contract, error) {
	out, err := clone(c)
	if err != nil {
		return nil, err
	}
	table := &contract.Table{Name: name, Values: []contract.TableValue{{Agg: agg, Type: of}}}
	for i, s := range sites(out) {
		keys, value, err := choose(s)
		if err != nil {
			return nil, err
		}
		var members []contract.Member
		var fields []contract.Field
		for _, k := range keys {
			members = append(members, k.Member)
			fields = append(fields, contract.Field{Name: k.Name, Is: k.is})
		}
		if i == 0 {
			table.Key = members
		} else if !sameMembers(table.Key, members) {
			return nil, errors.New("its outputs have different columns")
		}
		if value == nil {
			value = &contract.Number{Value: 1}
		}
		*s.effect = contract.Effect{Verb: contract.Add, To: name, Key: fields, Value: value}
	}
	out.Events, out.Tables, out.Views = nil, []*contract.Table{table}, nil
	return out, nil
}

func sameMembers(a, b []contract.Member) bool {
	return slices.EqualFunc(a, b, func(x, y contract.Member) bool { return x.Name == y.Name && x.Type.String() == y.Type.String() })
}

// enumerate makes a list of what a contract adds up.
func enumerate(c *contract.Contract, name string, choose func(site) ([]column, error)) (*contract.Contract, error) {
	out, err := clone(c)
	if err != nil {
		return nil, err
	}
	event := &contract.Event{Name: name}
	for i, s := range sites(out) {
		cols, err := choose(s)
		if err != nil {
			return nil, err
		}
		var members []contract.Member
		var fields []contract.Field
		for _, k := range cols {
			members = append(members, k.Member)
			fields = append(fields, contract.Field{Name: k.Name, Is: k.is})
		}
		if i == 0 {
			event.Members = members
		} else if !sameMembers(event.Members, members) {
			return nil, errors.New("its outputs have different columns")
		}
		*s.effect = contract.Effect{Verb: contract.Emit, To: name, Fields: fields}
	}
	out.Events, out.Tables, out.Views = []*contract.Event{event}, nil, nil
	return out, nil
}

// keepTable leaves one table of several, with what goes into it.
func keepTable(c *contract.Contract, name string) (*contract.Contract, error) {
	out, err := clone(c)
	if err != nil {
		return nil, err
	}
	drop := func(list []*contract.Effect) []*contract.Effect {
		return slices.DeleteFunc(list, func(e *contract.Effect) bool { return e.Verb == contract.Add && e.To != name })
	}
	for _, h := range out.Hooks {
		for _, s := range h.Steps {
			for _, x := range s.Cases {
				x.Effects = drop(x.Effects)
			}
			s.Otherwise = drop(s.Otherwise)
		}
	}
	out.Tables = slices.DeleteFunc(out.Tables, func(t *contract.Table) bool { return t.Name != name })
	out.Views = slices.DeleteFunc(out.Views, func(v *contract.View) bool { return v.Table != name })
	return out, nil
}

// prune drops what nothing uses any more: members of memories, definitions, enums, and
// the last arguments of places.
func prune(c *contract.Contract) (*contract.Contract, error) {
	out, err := clone(c)
	if err != nil {
		return nil, err
	}
	for {
		text := mentions(out)
		changed := false
		for _, m := range out.Memories {
			m.Fields = slices.DeleteFunc(m.Fields, func(f contract.Member) bool {
				if text.fields[m.Name+"."+f.Name] {
					return false
				}
				changed = true
				for _, e := range effects(out) {
					if e.To == m.Name {
						e.Fields = slices.DeleteFunc(e.Fields, func(x contract.Field) bool { return x.Name == f.Name })
					}
				}
				return true
			})
		}
		for _, m := range slices.Clone(out.Memories) {
			if text.names[m.Name+"[]"] {
				continue
			}
			changed = true // it is never looked at
			out.Memories = slices.DeleteFunc(out.Memories, func(x *contract.Memory) bool { return x == m })
			forgetful := func(e *contract.Effect) bool { return !isOutput(e) && e.Verb != contract.Return && e.To == m.Name }
			for _, h := range out.Hooks {
				for _, s := range h.Steps {
					for _, x := range s.Cases {
						x.Effects = slices.DeleteFunc(x.Effects, forgetful)
					}
					s.Otherwise = slices.DeleteFunc(s.Otherwise, forgetful)
				}
			}
		}
		n := len(out.Defines) + len(out.Enums)
		out.Defines = slices.DeleteFunc(out.Defines, func(d *contract.Define) bool { return !text.names[d.Name] })
		out.Enums = slices.DeleteFunc(out.Enums, func(e *contract.Enum) bool { return !text.names[e.Name] })
		changed = changed || n != len(out.Defines)+len(out.Enums)
		if !changed {
			break
		}
	}
	if len(out.Memories) == 0 {
		out.Assume = nil // what is assumed is about what is remembered
	}
	for _, h := range out.Hooks {
		h.Steps = slices.DeleteFunc(h.Steps, func(s *contract.Step) bool {
			return len(h.Steps) > 1 && !slices.ContainsFunc(s.Cases, func(x *contract.Case) bool { return len(x.Effects) > 0 }) && len(s.Otherwise) == 0
		})
		used := map[string]bool{}
		for _, s := range h.Steps {
			for _, x := range s.Cases {
				contract.Walk(x.When, mentioned{used, map[string]bool{}}.note)
			}
		}
		for _, e := range effectsOf(h) {
			for _, f := range slices.Concat(e.Key, e.Fields) {
				contract.Walk(f.Is, mentioned{used, map[string]bool{}}.note)
			}
			contract.Walk(e.Value, mentioned{used, map[string]bool{}}.note)
		}
		for _, d := range out.Defines { // whose names are those of the place that they are used at
			contract.Walk(d.Body, mentioned{used, map[string]bool{}}.note)
		}
		for _, p := range h.Places {
			p.With = slices.DeleteFunc(p.With, func(f contract.Field) bool { return !used[f.Name] })
			for _, f := range p.With {
				contract.Walk(f.Is, mentioned{used, map[string]bool{}}.note)
			}
			if p.Kind == "uprobe" || p.Kind == "uretprobe" {
				continue
			}
			for len(p.Args) > 0 && !used[p.Args[len(p.Args)-1].Local()] {
				p.Args = p.Args[:len(p.Args)-1]
			}
		}
	}
	return out, nil
}

// mentioned are the names that a contract uses.
type mentioned struct {
	names  map[string]bool
	fields map[string]bool // of memories, "calls.start"
}

func effects(c *contract.Contract) []*contract.Effect {
	var out []*contract.Effect
	for _, h := range c.Hooks {
		out = append(out, effectsOf(h)...)
	}
	return out
}

func effectsOf(h *contract.Hook) []*contract.Effect {
	var out []*contract.Effect
	for _, s := range h.Steps {
		for _, x := range s.Cases {
			out = append(out, x.Effects...)
		}
		out = append(out, s.Otherwise...)
	}
	return out
}

func mentions(c *contract.Contract) mentioned {
	m := mentioned{map[string]bool{}, map[string]bool{}}
	visit := func(e contract.Expr) { contract.Walk(e, m.note) }
	types := func(list []contract.Member) {
		for _, x := range list {
			m.names[x.Type.Name] = true
		}
	}
	for _, e := range c.Events {
		types(e.Members)
	}
	for _, t := range c.Tables {
		types(t.Key)
	}
	for _, x := range c.Memories {
		types(x.Key)
		types(x.Fields)
	}
	for _, p := range c.Params {
		m.names[p.Type.Name] = true
	}
	for _, h := range c.Hooks {
		for _, p := range h.Places {
			for _, f := range p.With {
				visit(f.Is)
			}
		}
		for _, s := range h.Steps {
			for _, x := range s.Cases {
				visit(x.When)
			}
		}
	}
	for _, e := range effects(c) {
		for _, f := range slices.Concat(e.Key, e.Fields) {
			visit(f.Is)
		}
		visit(e.Value)
	}
	for again := true; again; { // definitions that are used, and those that these use
		again = false
		for _, d := range c.Defines {
			if m.names[d.Name] && !m.names[d.Name+"()"] {
				m.names[d.Name+"()"] = true
				visit(d.Body)
				again = true
			}
		}
	}
	for _, e := range c.Enums {
		for _, v := range e.Values {
			if m.names[v.Name] {
				m.names[e.Name] = true
			}
		}
	}
	return m
}

func (m mentioned) note(e contract.Expr) {
	switch e := e.(type) {
	case *contract.Name:
		m.names[e.Name] = true
	case *contract.Call:
		m.names[e.Fun] = true
	case *contract.Index:
		if n, ok := e.X.(*contract.Name); ok {
			m.names[n.Name+"[]"] = true
		}
	case *contract.Select:
		if x, ok := e.X.(*contract.Index); ok {
			if n, ok := x.X.(*contract.Name); ok {
				m.fields[n.Name+"."+e.Name] = true
			}
		}
	}
}

// spelled is an expression as text, for comparisons of contracts.
func spelled(e contract.Expr) string {
	if e == nil {
		return ""
	}
	return strings.TrimSpace(contract.ExprString(e))
}
