package contract

import (
	"errors"
	"fmt"
)

// rewrite is the one way in which a part of a contract has a meaning.
type rewrite struct{ of, by Expr }

// instead says how what the last error is about would have to be written. It belongs to errors of which the types leave
// one meaning: what is in network byte order beside what is in host order, a number where a condition has to be.
func (k *checker) instead(of, by Expr) {
	if of != nil && len(k.errs) > 0 {
		k.errs[len(k.errs)-1].instead = &rewrite{of, by}
	}
}

func callOf(fun string, x Expr) Expr { return &Call{Fun: fun, Args: []Expr{x}} }

// Rewrite writes what [Check] has refused in the only way that has a meaning, where there is just one, and returns what
// it wrote. The contract is changed in place; it has to be checked anew.
func Rewrite(c *Contract, err error) (did []string) {
	var list Errors
	if !errors.As(err, &list) {
		return nil
	}
	done := map[Expr]bool{}
	for _, e := range list {
		// What "with" names is one expression, refused wherever the name is used: it is put right once.
		if e.instead == nil || done[e.instead.of] {
			continue
		}
		done[e.instead.of] = true
		r, n := *e.instead, 0
		was := ExprString(r.of)
		for _, slot := range c.slots() {
			n += r.in(slot)
		}
		if n > 0 {
			did = append(did, fmt.Sprintf("wrote %s for %s", ExprString(r.by), was))
		}
	}
	return did
}

// slots are the places of a contract that hold an expression.
func (c *Contract) slots() (out []*Expr) {
	fields := func(list []Field) {
		for i := range list {
			out = append(out, &list[i].Is)
		}
	}
	effects := func(list []*Effect) {
		for _, e := range list {
			fields(e.Key)
			fields(e.Fields)
			out = append(out, &e.Value)
		}
	}
	for _, d := range c.Defines {
		out = append(out, &d.Body)
	}
	for _, h := range c.Hooks {
		for _, p := range h.Places {
			fields(p.With)
		}
		for _, s := range h.Steps {
			for _, cs := range s.Cases {
				out = append(out, &cs.When)
				effects(cs.Effects)
			}
			effects(s.Otherwise)
		}
	}
	return out
}

// in replaces an expression in another, and returns how often.
func (r rewrite) in(at *Expr) (n int) {
	if *at == r.of {
		*at = r.by
		return 1
	}
	list := func(xs []Expr) {
		for i := range xs {
			n += r.in(&xs[i])
		}
	}
	switch e := (*at).(type) {
	case *Select:
		n += r.in(&e.X)
	case *Index:
		n += r.in(&e.X)
		list(e.I)
	case *Call:
		n += r.in(&e.Recv)
		list(e.Args)
	case *Unary:
		n += r.in(&e.X)
	case *Binary:
		n += r.in(&e.X) + r.in(&e.Y)
	case *Cond:
		n += r.in(&e.If) + r.in(&e.Then) + r.in(&e.Else)
	case *In:
		n += r.in(&e.X)
		list(e.Set)
	case *Known:
		list(e.Cell.I)
	}
	return n
}
