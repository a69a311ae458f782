package symbolic

import (
	"kgent/agent/verify/smt"
)

// model is an assignment of variables; what it does not say is 0.
type model struct {
	values map[smt.Term]uint64
}

// Value is part of smt.Model.
func (m *model) Value(t smt.Term) uint64 {
	if v, ok := t.Const(); ok {
		return v
	}
	return smt.Eval(t, func(v smt.Term) uint64 { return m.values[v] })
}

// with returns a model that gives the variables what other says.
func (m *model) with(vars []smt.Term, other smt.Model) *model {
	n := &model{values: make(map[smt.Term]uint64, len(m.values)+len(vars))}
	for v, x := range m.values {
		n.values[v] = x
	}
	for _, v := range vars {
		n.values[v] = other.Value(v)
	}
	return n
}
