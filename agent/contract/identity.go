package contract

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// identity is everything that makes two values the same.
type identity struct {
	op                               Op
	kind                             Kind
	bits                             uint8
	signed, user, literal            bool
	order                            Order
	size                             uint32
	meaning, structName              string
	btf                              btf.Type
	enum                             *Enum
	value                            uint64
	text, name, path, from           string
	index, field                     int
	offset, width, bitOffset, bitLen uint32
	args                             string
}

// id numbers a value so that equal ones have the same number. Constants are looked at anew
// each time, for they may still be adapted to a unit.
func (k *checker) id(v *Value) int {
	if n := k.ids[v]; n != 0 && v.Op != OpConst {
		return n
	}
	t := v.Type
	key := identity{v.Op, t.Kind, t.Bits, t.Signed, t.User, t.Literal, t.Order, t.Size, t.Meaning, t.Struct, t.BTF, t.Enum,
		v.Bits, v.Text, v.Name, v.Path, v.Struct, v.Index, v.Field, v.Offset, v.Size, v.BitOffset, v.BitSize, ""}
	for _, a := range v.Args {
		key.args += fmt.Sprint(k.id(a), " ")
	}
	n := k.interned[key]
	if n == 0 {
		n = len(k.interned) + 1
		k.interned[key] = n
	}
	k.ids[v] = n
	return n
}

// identify gives all values of the result their IDs.
func (k *checker) identify() {
	done := map[*Value]bool{}
	var visit func(v *Value)
	visit = func(v *Value) {
		if v == nil || done[v] {
			return
		}
		done[v] = true
		for _, a := range v.Args {
			visit(a)
		}
		v.ID = k.id(v)
	}
	for _, p := range k.out.Places {
		for _, s := range p.Steps {
			for _, c := range s.Cases {
				visit(c.When)
				visitEffects(c.Effects, visit)
			}
			visitEffects(s.Otherwise, visit)
		}
	}
}
