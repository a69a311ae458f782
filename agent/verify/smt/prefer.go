package smt

import "slices"

// Wish is a variable with values that people would like it to have, the best first.
type Wish struct {
	Var    Term
	Values []uint64
}

// Prefer makes a model of terms one with as many wishes as can be, of each the best, those that
// come first before those that come later. ask decides whether terms can be true together;
// while more is true and there are wishes left.
func (b *Builder) Prefer(model Model, terms []Term, wishes []Wish, ask func(...Term) Answer, more func() bool) Model {
	fixed := slices.Clone(terms)
	for _, w := range wishes {
		if !more() {
			break
		}
		for _, value := range w.Values {
			wish := b.Eq(w.Var, b.Const(w.Var.Width(), value))
			if model.Value(w.Var) == value {
				fixed = append(fixed, wish)
				break
			}
			if a := ask(append(slices.Clone(fixed), wish)...); a.Result == Sat {
				model, fixed = a.Model, append(fixed, wish)
				break
			}
		}
	}
	return model
}
