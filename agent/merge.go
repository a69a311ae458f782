package agent

import (
	"fmt"
	"slices"
	"strings"

	"kgent/agent/contract"
)

// merge makes one contract of several: what each asks for, side by side. Names that two of them use for
// different things are told apart. Two hooks at one place become one with the steps of both, which do not touch each other.
// It fails where they cannot stand beside each other: two verdicts on one packet, a place that one of them renames.
func merge(list []*contract.Contract) (*contract.Contract, error) {
	out := &contract.Contract{}
	taken := map[string]bool{}
	var titles []string
	for i, c := range list {
		if err := apart(out, c, taken, i+1); err != nil {
			return nil, err
		}
		if !slices.Contains(titles, c.Title) {
			titles = append(titles, c.Title)
		}
		for _, p := range c.Params {
			if !slices.ContainsFunc(out.Params, func(q *contract.Param) bool { return q.Name == p.Name }) {
				out.Params = append(out.Params, p)
			}
		}
		for _, e := range c.Enums {
			if !slices.ContainsFunc(out.Enums, func(q *contract.Enum) bool { return q.Name == e.Name }) {
				out.Enums = append(out.Enums, e)
			}
		}
		out.Defines = append(out.Defines, c.Defines...)
		out.Events = append(out.Events, c.Events...)
		out.Tables = append(out.Tables, c.Tables...)
		out.Memories = append(out.Memories, c.Memories...)
		out.Views = append(out.Views, c.Views...)
		for _, a := range c.Assume {
			if !slices.ContainsFunc(out.Assume, func(b contract.Word) bool { return a.Name == b.Name }) {
				out.Assume = append(out.Assume, a)
			}
		}
		for _, h := range c.Hooks {
			if err := beside(out, h); err != nil {
				return nil, err
			}
		}
	}
	out.Title = clip(strings.Join(titles, "; "), 120)
	return out, nil
}

// apart gives the names of c that mean something else in what is merged already, or that it shares with it, names of their own.
func apart(out, c *contract.Contract, taken map[string]bool, part int) error {
	names := map[string]string{}
	own := func(name string) string {
		to := name
		for n := part; taken[to]; n++ {
			to = fmt.Sprintf("%s_%d", name, n)
		}
		taken[to] = true
		if to != name {
			names[name] = to
		}
		return to
	}
	for _, p := range c.Params {
		same := slices.ContainsFunc(out.Params, func(q *contract.Param) bool { return sameParam(p, q) })
		if !same {
			p.Name = own(p.Name)
		}
	}
	for _, e := range c.Enums {
		i := slices.IndexFunc(out.Enums, func(q *contract.Enum) bool { return q.Name == e.Name })
		switch {
		case i >= 0 && !slices.EqualFunc(out.Enums[i].Values, e.Values, func(a, b contract.EnumValue) bool { return a.Name == b.Name && a.Value == b.Value }):
			return fmt.Errorf("two parts have an enum %s of different values", e.Name)
		case i < 0:
			if own(e.Name) != e.Name {
				return fmt.Errorf("two parts use the name %s for different things", e.Name)
			}
		}
	}
	for _, d := range c.Defines {
		d.Name = own(d.Name)
	}
	for _, e := range c.Events {
		e.Name = own(e.Name)
	}
	for _, t := range c.Tables {
		t.Name = own(t.Name)
	}
	for _, m := range c.Memories {
		m.Name = own(m.Name)
	}
	if len(names) > 0 {
		rename(c, names)
	}
	return nil
}

// sameParam tells whether two parameters are the same setting.
func sameParam(a, b *contract.Param) bool {
	text := func(e contract.Expr) string {
		if e == nil {
			return ""
		}
		return contract.ExprString(e)
	}
	return a.Name == b.Name && a.Type.String() == b.Type.String() && text(a.Default) == text(b.Default) && text(a.Min) == text(b.Min) && text(a.Max) == text(b.Max)
}

// rename gives parameters, definitions, outputs and memories other names wherever they are used.
func rename(c *contract.Contract, names map[string]string) {
	r := renaming(names)
	for _, d := range c.Defines {
		r.expr(d.Body)
	}
	for _, v := range c.Views {
		v.Table = r.of(v.Table)
	}
	for _, h := range c.Hooks {
		for _, p := range h.Places {
			r.fields(p.With)
		}
		for _, s := range h.Steps {
			for _, x := range s.Cases {
				r.expr(x.When)
				r.effects(x.Effects)
			}
			r.effects(s.Otherwise)
		}
	}
}

type renaming map[string]string

func (r renaming) of(name string) string {
	if to, ok := r[name]; ok {
		return to
	}
	return name
}

func (r renaming) fields(list []contract.Field) {
	for _, f := range list {
		r.expr(f.Is)
	}
}

func (r renaming) effects(list []*contract.Effect) {
	for _, e := range list {
		e.To = r.of(e.To)
		r.fields(e.Key)
		r.fields(e.Fields)
		r.expr(e.Value)
	}
}

func (r renaming) exprs(list []contract.Expr) {
	for _, e := range list {
		r.expr(e)
	}
}

func (r renaming) expr(e contract.Expr) {
	switch e := e.(type) {
	case *contract.Name:
		e.Name = r.of(e.Name)
	case *contract.Select:
		r.expr(e.X)
	case *contract.Index:
		r.expr(e.X)
		r.exprs(e.I)
	case *contract.Call:
		if e.Recv != nil {
			r.expr(e.Recv)
		} else {
			e.Fun = r.of(e.Fun) // a definition
		}
		r.exprs(e.Args)
	case *contract.Unary:
		r.expr(e.X)
	case *contract.Binary:
		r.expr(e.X)
		r.expr(e.Y)
	case *contract.Cond:
		r.expr(e.If)
		r.expr(e.Then)
		r.expr(e.Else)
	case *contract.In:
		r.expr(e.X)
		r.exprs(e.Set)
	case *contract.Known:
		r.expr(e.Cell)
	}
}

// beside puts a hook beside those that are there.
func beside(out *contract.Contract, h *contract.Hook) error {
	at := func(h *contract.Hook) string {
		var s []string
		for _, p := range h.Places {
			s = append(s, p.String())
		}
		return strings.Join(s, " and ")
	}
	for _, have := range out.Hooks {
		shares := slices.ContainsFunc(have.Places, func(p *contract.Place) bool {
			return slices.ContainsFunc(h.Places, func(q *contract.Place) bool { return p.Kind == q.Kind && p.Target == q.Target })
		})
		if !shares {
			continue
		}
		if at(have) != at(h) || renames(have) || renames(h) {
			return fmt.Errorf("two parts are at %s in ways that do not go together", at(h))
		}
		if returns(have) || returns(h) {
			return fmt.Errorf("two parts decide at %s", at(h))
		}
		for i, p := range have.Places {
			for _, a := range h.Places[i].Args {
				switch j := slices.IndexFunc(p.Args, func(b contract.Arg) bool { return b.Name == a.Name }); {
				case j < 0:
					p.Args = append(p.Args, a)
				case p.Args[j].As != "" && a.As == "": // it was only there for its position
					p.Args[j] = a
				}
			}
		}
		uniqueCases(have, h)
		have.Steps = append(have.Steps, h.Steps...)
		return nil
	}
	out.Hooks = append(out.Hooks, h)
	return nil
}

// renames tells whether a hook binds names of its own.
func renames(h *contract.Hook) bool {
	return slices.ContainsFunc(h.Places, func(p *contract.Place) bool {
		return len(p.With) > 0 || p.Or || slices.ContainsFunc(p.Args, func(a contract.Arg) bool {
			return a.As != "" && !strings.HasPrefix(a.As, "unused_") || a.Type.Name != ""
		})
	})
}

// returns tells whether a hook gives a verdict.
func returns(h *contract.Hook) bool {
	verdict := func(list []*contract.Effect) bool {
		return slices.ContainsFunc(list, func(e *contract.Effect) bool { return e.Verb == contract.Return })
	}
	return slices.ContainsFunc(h.Steps, func(s *contract.Step) bool {
		return verdict(s.Otherwise) || slices.ContainsFunc(s.Cases, func(c *contract.Case) bool { return verdict(c.Effects) })
	})
}

// uniqueCases gives cases of h that are called like one of have another name.
func uniqueCases(have, h *contract.Hook) {
	taken := map[string]bool{}
	for _, s := range have.Steps {
		for _, c := range s.Cases {
			taken[c.Name] = true
		}
	}
	for _, s := range h.Steps {
		for _, c := range s.Cases {
			name := c.Name
			for n := 2; taken[name]; n++ {
				name = fmt.Sprintf("%s_%d", c.Name, n)
			}
			taken[name], c.Name = true, name
		}
	}
}
