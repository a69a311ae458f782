package contract

import "kgent/agent/program"

// Inside is the name of the input that inside("pod:shop/web-1") is, whose Text is the place.
const Inside = "current.inside"

// inside resolves the question whether the current task is in a container.
func (k *checker) inside(e *Call) *Value {
	var where *Text
	if len(e.Args) == 1 {
		where, _ = e.Args[0].(*Text)
	}
	if where == nil {
		k.errorf(e.At, "it is used as %s, with a name that is written out", functions[e.Fun])
		return nil
	}
	if err := program.CheckWhere(where.Value); err != nil {
		k.errorf(e.At, "%v", err)
		return nil
	}
	if k.where == "" {
		k.where = where.Value
	}
	if k.where != where.Value {
		k.errorf(e.At, "a run is narrowed to one place, and this names two: %s and %s; give them a label, or ask for one after the other", k.where, where.Value)
		return nil
	}
	v := k.input(Inside, Type{Kind: Bool, Bits: 8}, e)
	if v != nil {
		v.Text = where.Value
	}
	return v
}

// Where is the containers or pods that a contract is narrowed to, in the form of
// [program.CheckWhere]; "" when it is about the whole node.
func Where(c *Contract) string {
	where := ""
	note := func(e Expr) {
		if call, ok := e.(*Call); ok && call.Recv == nil && call.Fun == "inside" && len(call.Args) == 1 {
			if text, ok := call.Args[0].(*Text); ok {
				where = text.Value
			}
		}
	}
	for _, e := range Expressions(c) {
		Walk(e, note)
	}
	return where
}

// Expressions are those of a contract's definitions and hooks.
func Expressions(c *Contract) []Expr {
	var out []Expr
	effects := func(list []*Effect) {
		for _, e := range list {
			for _, f := range append(append([]Field(nil), e.Key...), e.Fields...) {
				out = append(out, f.Is)
			}
			out = append(out, e.Value)
		}
	}
	for _, d := range c.Defines {
		out = append(out, d.Body)
	}
	for _, h := range c.Hooks {
		for _, p := range h.Places {
			for _, f := range p.With {
				out = append(out, f.Is)
			}
		}
		for _, s := range h.Steps {
			for _, x := range s.Cases {
				out = append(out, x.When)
				effects(x.Effects)
			}
			effects(s.Otherwise)
		}
	}
	return out
}

// Walk visits an expression and what it is made of.
func Walk(e Expr, visit func(Expr)) {
	each := func(list ...Expr) {
		for _, x := range list {
			Walk(x, visit)
		}
	}
	if e == nil {
		return
	}
	visit(e)
	switch e := e.(type) {
	case *Select:
		each(e.X)
	case *Index:
		each(e.X)
		each(e.I...)
	case *Call:
		each(e.Recv)
		each(e.Args...)
	case *Unary:
		each(e.X)
	case *Binary:
		each(e.X, e.Y)
	case *Cond:
		each(e.If, e.Then, e.Else)
	case *In:
		each(e.X)
		each(e.Set...)
	case *Known:
		each(e.Cell)
	}
}

// Beyond is the name of a case that remembers, shows or decides something without having asked for the container that the
// contract is narrowed to, "" if there is none. Asked has what shows only what a case that asked has remembered.
func Beyond(c *Contract) string {
	n := &narrowed{defines: map[string]Expr{}, beyond: map[string]bool{}}
	for _, d := range c.Defines {
		n.defines[d.Name] = d.Body
	}
	for {
		before, found := len(n.beyond), ""
		for _, h := range c.Hooks {
			for _, p := range h.Places {
				n.with = p.With
				for _, s := range h.Steps {
					if name := n.step(p, s); found == "" && name != "" {
						found = name
					}
				}
			}
		}
		// What is remembered beyond can make other cases show it.
		if len(n.beyond) == before {
			return found
		}
	}
}

// narrowed finds out what holds in the container only.
type narrowed struct {
	defines map[string]Expr
	with    []Field         // of the place
	beyond  map[string]bool // memories of what happens elsewhere, too
	looked  int             // at how many expressions
}

// step is the name of a case of the step that does not ask.
func (n *narrowed) step(at *Place, s *Step) (found string) {
	asked := false // an earlier case took what is elsewhere
	look := func(name string, effects []*Effect) {
		for _, e := range effects {
			switch {
			case e.Verb == Forget, e.Verb == Return && !e.decides(at):
				continue
			case e.Verb == Emit, e.Verb == Add, e.Verb == Return:
			default:
				n.beyond[e.To] = true
			}
			if found == "" {
				found = name
			}
		}
	}
	for _, x := range s.Cases {
		if !asked && !n.says(x.When, true) {
			look(x.Name, x.Effects)
		}
		asked = asked || n.says(x.When, false)
	}
	if !asked {
		look("otherwise", s.Otherwise)
	}
	return found
}

// says tells whether it is in the container wherever the expression is so: true, or not.
func (n *narrowed) says(e Expr, so bool) bool {
	if n.looked++; n.looked > maxLooked {
		return false
	}
	switch e := e.(type) {
	case *Call:
		if body := n.defines[e.Fun]; e.Recv == nil && body != nil {
			return n.says(body, so)
		}
		return so && e.Recv == nil && e.Fun == "inside"
	case *Known:
		m, ok := e.Cell.X.(*Name)
		return ok && so && !n.beyond[m.Name]
	case *Name:
		for _, w := range n.with {
			if w.Name == e.Name {
				return n.says(w.Is, so)
			}
		}
	case *Unary:
		return e.Op == "!" && n.says(e.X, !so)
	case *Binary:
		switch e.Op {
		case "&&", "||":
			if (e.Op == "&&") == so {
				return n.says(e.X, so) || n.says(e.Y, so)
			}
			return n.says(e.X, so) && n.says(e.Y, so)
		}
	case *Cond:
		return n.says(e.Then, so) && n.says(e.Else, so)
	}
	return false
}

// maxLooked bounds how many expressions are looked at: definitions may multiply them. What is not looked at does not ask.
const maxLooked = 100_000
