package symbolic

import (
	"fmt"

	"kgent/agent/verify/smt"
)

// What a judge asks about worlds and invocations beyond what programs do.

// Lookup is the element of a map at a key, whether runs have looked at it or
// not: whether it is there (width 1) and its bytes. Of per-CPU maps it is one
// processor's copy. Whether the key is that of an element that is known to
// the world is part of the terms.
func (w *World) Lookup(m *Map, key *Bytes, cpu smt.Term) (present smt.Term, value *Bytes) {
	o := w.origin
	m = o.canonical(m)
	present, value = o.present(m, key, cpu), o.bytes(o.region(m, key, cpu), nil)
	for _, e := range w.elems[m] {
		same := e.key.Equal(key)
		if cpu != nil && e.cpu != nil {
			same = o.m.b.And(same, o.m.b.Eq(cpu, e.cpu))
		}
		present = o.m.b.Ite(same, e.present, present)
		value = &Bytes{o.m.b, chooseOctets(o.m.b, same, o.bytes(e.region, w.mem[e.region]).oct, value.oct)}
	}
	return present, value
}

// Initial is the element of a map at a key when the scenario began. The terms of
// two keys are different variables even where the keys can be equal; that
// equal keys have one element is for the caller to state, see [Initially].
func (w *World) Initial(m *Map, key *Bytes, cpu smt.Term) (present smt.Term, value *Bytes) {
	o := w.origin
	m = o.canonical(m)
	return o.present(m, key, cpu), o.bytes(o.region(m, key, cpu), nil)
}

// Initially says that if two keys are equal, the elements at them were the same when the
// scenario began: which is always so.
func (w *World) Initially(m *Map, key, other *Bytes, cpu smt.Term) smt.Term {
	b := w.origin.m.b
	p, x := w.Initial(m, key, cpu)
	q, y := w.Initial(m, other, cpu)
	return b.Implies(key.Equal(other), b.And(b.Eq(p, q), x.Equal(y)))
}

// Param is the value of a symbolic variable of the program's read-only data.
func (w *World) Param(name string) (*Bytes, bool) {
	o := w.origin
	for _, m := range o.byName {
		for _, v := range m.Vars {
			if v.Name == name && m.ReadOnly {
				zero := NewBytes(o.m.b, o.m.b.Const(32, 0))
				_, value := w.Initial(m, zero, nil)
				return value.Slice(int(v.Offset), int(v.Size)), true
			}
		}
	}
	return nil, false
}

// ContextAt is the field of a hook's context at an offset in bytes, of n bytes.
func (inv *Invocation) ContextAt(off uint32, n int) (InputValue, error) {
	f := inv.hook.field(int64(off))
	if f == nil {
		return InputValue{}, fmt.Errorf("the context has no field at offset %d", off)
	}
	if f.off == off && f.special == "" {
		v, _ := inv.Argument(f.name)
		if f.upper && n == int(f.size) {
			v.Term = inv.contextTerm(f)
		}
		return v, nil
	}
	if f.special != "array" && f.special != "hidden" || int(off-f.off)+n > int(f.size) {
		return InputValue{}, fmt.Errorf("the context has no field of %d bytes at offset %d", n, off)
	}
	var oct []octet
	for i := range n {
		oct = append(oct, inv.contextByte(f, int64(off-f.off)+int64(i)))
	}
	x := &Bytes{inv.m.b, oct}
	if n <= 8 {
		return InputValue{Term: x.At(0, n)}, nil
	}
	return InputValue{Bytes: x}, nil
}

// HelperValue is what a helper that has no arguments of interest gives during the
// invocation, by the name of its variable: "skb.cgroup", "stack.kernel".
func (inv *Invocation) HelperValue(name string, bits uint) InputValue {
	return InputValue{Term: inv.variable(bits, &Input{Kind: Data, Name: name, Order: Host, Pc: -1, Warn: inv.hook.currentWarn})}
}
