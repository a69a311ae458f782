package contract

import (
	"fmt"
	"path"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel"
)

// severalOffers lists what a place at several functions hands over: the arguments that all of
// them have at the same position. One that all call alike and that is of the same type
// everywhere is offered so, any other as the register that it is in. Of a pattern it is
// not known here what it stands for, so that its arguments are registers.
func (k *checker) severalOffers(p *Place) (list []candidate, absent bool, err error) {
	var fns []*kernel.Function
	pattern := false
	for _, name := range strings.Split(p.Target, ",") {
		if strings.ContainsAny(name, "*?[") {
			if _, err := path.Match(name, ""); err != nil {
				return nil, false, fmt.Errorf("%s is no pattern of functions: want * for any text, ? for any character, [abc] for one of them", name)
			}
			pattern = true
			continue
		}
		fn, err := k.types.kernel.Function(name)
		if err != nil {
			_, absent := notFound(err)
			return nil, absent, err
		}
		if p.Kind != "kretprobe.multi" {
			if err := found(p, fn); err != nil {
				return nil, false, err
			}
		}
		fns = append(fns, fn)
	}
	if p.Kind != "kretprobe.multi" {
		list = commonParams(fns, pattern)
	}
	if p.Kind == "kprobe.multi" {
		return list, false, nil
	}
	var results []btf.Type
	for _, fn := range fns {
		results = append(results, fn.Proto.Return)
	}
	ret := CheckedArg{Index: ArgReturn, Type: commonType(results, pattern)}
	if b, _, _ := bare(firstOf(results)); !pattern {
		if _, void := b.(*btf.Void); b == nil || void && ret.Type.Kind == Invalid {
			return list, false, nil // none of them has a result
		}
	}
	return append(list, candidate{"ret", ret}), false, nil
}

// register is what an argument is of which only its register is known.
var register = Type{Kind: Int, Bits: 64}

// commonParams are the parameters that all functions have.
func commonParams(fns []*kernel.Function, pattern bool) (list []candidate) {
	most := registers
	for _, fn := range fns {
		most = min(most, InRegisters(fn))
	}
	for i := range most {
		name := fmt.Sprintf("arg%d", i)
		var types []btf.Type
		same := !pattern
		for _, fn := range fns {
			types = append(types, fn.Params()[i].Type)
			same = same && fn.Params()[i].Name == fns[0].Params()[i].Name
		}
		if same && fns[0].Params()[i].Name != "" {
			name = fns[0].Params()[i].Name
		}
		list = append(list, candidate{name, CheckedArg{Index: i, Type: commonType(types, pattern)}})
	}
	return list
}

// commonType is the type that several arguments or results have. Numbers of one size are a number of
// that size, signed if all are; what differs otherwise is a register.
func commonType(types []btf.Type, pattern bool) Type {
	if pattern || len(types) == 0 {
		return register
	}
	first := argType(types[0])
	for _, t := range types[1:] {
		switch x := argType(t); {
		case sameType(x, first):
		case x.Kind == Int && first.Kind == Int && x.Bits == first.Bits && x.Order == first.Order:
			first = Type{Kind: Int, Bits: x.Bits, Order: x.Order, Signed: x.Signed && first.Signed}
		default:
			return register
		}
	}
	return first
}

// sameType tells whether two types are the same but for where the kernel describes them.
func sameType(a, b Type) bool {
	if (a.Elem == nil) != (b.Elem == nil) || a.Elem != nil && !sameType(*a.Elem, *b.Elem) {
		return false
	}
	a.BTF, b.BTF, a.Elem, b.Elem = nil, nil, nil, nil
	return a == b
}

func firstOf(types []btf.Type) btf.Type {
	if len(types) == 0 {
		return nil
	}
	return types[0]
}

// session refuses what a session asks for at the wrong end: the result where the call may
// only have begun, arguments where it may be over and their registers hold anything.
func (k *checker) session(cp *CheckedPlace) {
	for _, returns := range []bool{false, true} {
		memo := map[*Value]*Value{}
		seen := map[*Value]bool{}
		var visit func(v *Value)
		visit = func(v *Value) {
			if v == nil || seen[v] {
				return
			}
			seen[v] = true
			if v.Op == OpArg && (cp.Args[v.Index].Index == ArgReturn) != returns {
				if returns {
					k.errorf(v.At, "at the return of a call its arguments are gone: ask for %s where “!probe.returns” holds, and remember it by probe.call", v.Name)
				} else {
					k.errorf(v.At, "before a call returns it has no result: ask for %s where “probe.returns” holds", v.Name)
				}
			}
			for i, a := range v.Args {
				// What stands behind a condition that is false here is not asked for.
				if i > 0 && (v.Op == OpBoth || v.Op == OpCond) && isFalse(withReturns(v.Args[0], returns, memo)) && !(v.Op == OpCond && i == 2) {
					continue
				}
				if v.Op == OpCond && i == 2 && isTrue(withReturns(v.Args[0], returns, memo)) || v.Op == OpEither && i == 1 && isTrue(withReturns(v.Args[0], returns, memo)) {
					continue
				}
				visit(a)
			}
		}
		for _, s := range cp.Steps {
			over := false
			for _, c := range s.Cases {
				when := withReturns(c.When, returns, memo)
				if over {
					break
				}
				visit(c.When)
				if isFalse(when) {
					continue
				}
				over = isTrue(when)
				visitEffects(c.Effects, visit)
			}
			if !over {
				visitEffects(s.Otherwise, visit)
			}
		}
	}
}

func visitEffects(list []CheckedEffect, visit func(*Value)) {
	for _, e := range list {
		for _, v := range e.Key {
			visit(v)
		}
		for _, v := range e.Fields {
			visit(v)
		}
		visit(e.Value)
	}
}

func isFalse(v *Value) bool { return v.Op == OpConst && v.Bits == 0 }

func isTrue(v *Value) bool { return v.Op == OpConst && v.Bits != 0 }

// withReturns is a value at one end of a session.
func withReturns(v *Value, returns bool, done map[*Value]*Value) *Value {
	return replaced(v, done, func(v *Value) *Value {
		if v.Op != OpInput || v.Name != "probe.returns" {
			return nil
		}
		c := &Value{Op: OpConst, Type: v.Type, From: v.From, At: v.At}
		if returns {
			c.Bits = 1
		}
		return c
	})
}
