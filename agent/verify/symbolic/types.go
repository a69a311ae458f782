package symbolic

import (
	"fmt"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
)

// kernelTypes answers questions about a kernel's BTF and remembers the
// answers. Safe for concurrent use.
type kernelTypes struct {
	kernel *Kernel
	specs  []*btf.Spec

	mu     sync.Mutex
	named  map[string]btf.Type // struct or union by name, nil for absent
	leaves map[leafKey]leaf
}

type leafKey struct {
	typ btf.Type
	bit uint64
}

// typesOf returns the one kernelTypes of a kernel: types of it are compared by
// pointer.
func typesOf(k *Kernel) *kernelTypes {
	if k == nil {
		k = noKernel
	}
	k.once.Do(func() {
		k.types = &kernelTypes{kernel: k, named: map[string]btf.Type{}, leaves: map[leafKey]leaf{}}
		if k.Types != nil {
			k.types.specs = append([]*btf.Spec{k.Types}, k.Modules...)
		}
	})
	return k.types
}

// noKernel stands for no kernel at all.
var noKernel = &Kernel{}

// composite finds a struct or union by name, nil when the kernel has none.
func (kt *kernelTypes) composite(name string) btf.Type {
	kt.mu.Lock()
	defer kt.mu.Unlock()
	if t, ok := kt.named[name]; ok {
		return t
	}
	var found btf.Type
	for _, s := range kt.specs {
		types, err := s.AnyTypesByName(name)
		if err != nil {
			continue
		}
		for _, t := range types {
			switch t.(type) {
			case *btf.Struct, *btf.Union:
				found = t
			}
			if found != nil {
				break
			}
		}
		if found != nil {
			break
		}
	}
	kt.named[name] = found
	return found
}

// function finds the prototype of a function, or of the typedef that BTF keeps of
// a raw tracepoint ("btf_trace_" + name).
func (kt *kernelTypes) function(name string) *btf.FuncProto {
	for _, s := range kt.specs {
		types, err := s.AnyTypesByName(name)
		if err != nil {
			continue
		}
		for _, t := range types {
			if f, ok := t.(*btf.Func); ok {
				if p, ok := f.Type.(*btf.FuncProto); ok {
					return p
				}
			}
		}
	}
	return nil
}

// variable tells whether the kernel's types describe a variable of that name.
func (kt *kernelTypes) variable(name string) bool {
	for _, s := range kt.specs {
		var v *btf.Var
		if s.TypeByName(name, &v) == nil {
			return true
		}
	}
	return false
}

func (kt *kernelTypes) typedef(name string) btf.Type {
	for _, s := range kt.specs {
		var t *btf.Typedef
		if err := s.TypeByName(name, &t); err == nil {
			return t.Type
		}
	}
	return nil
}

// rawTracepoint is the prototype of a raw tracepoint, without the first
// argument (the tracer's own data) that programs do not see.
func (kt *kernelTypes) rawTracepoint(name string) []btf.FuncParam {
	ptr, ok := kt.typedef("btf_trace_" + name).(*btf.Pointer)
	if !ok {
		return nil
	}
	proto, ok := ptr.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) == 0 {
		return nil
	}
	params := append([]btf.FuncParam(nil), proto.Params[1:]...)
	// The typedef often has no names; the function that a probe is called from
	// has them.
	for _, prefix := range []string{"__bpf_trace_", "__probestub_", "__traceiter_"} {
		if f := kt.function(prefix + name); f != nil && len(f.Params) == len(params)+1 {
			for i := range params {
				if params[i].Name == "" {
					params[i].Name = f.Params[i+1].Name
				}
			}
		}
	}
	return params
}

// plain removes typedefs, const, volatile and tags.
func plain(t btf.Type) btf.Type {
	for range 32 {
		switch x := t.(type) {
		case *btf.Typedef:
			t = x.Type
		case *btf.Const:
			t = x.Type
		case *btf.Volatile:
			t = x.Type
		case *btf.Restrict:
			t = x.Type
		case *btf.TypeTag:
			t = x.Type
		default:
			return t
		}
	}
	return nil
}

// pointee returns what a pointer type leads to and in which memory it lies;
// ok is false for types that are no pointers.
func pointee(t btf.Type) (to btf.Type, space Space, ok bool) {
	p, ok := plain(t).(*btf.Pointer)
	if !ok {
		return nil, AnySpace, false
	}
	space = KernelSpace
	to = p.Target
	for range 32 {
		tag, isTag := to.(*btf.TypeTag)
		if !isTag {
			switch x := to.(type) {
			case *btf.Const:
				to = x.Type
				continue
			case *btf.Volatile:
				to = x.Type
				continue
			}
			break
		}
		if tag.Value == "user" {
			space = UserSpace
		}
		to = tag.Type
	}
	return to, space, true
}

// orderOf is the byte order that a type's name promises.
func orderOf(t btf.Type) Order {
	for range 32 {
		switch x := t.(type) {
		case *btf.Typedef:
			if strings.HasPrefix(x.Name, "__be") {
				return BigOrder
			}
			t = x.Type
		case *btf.Const:
			t = x.Type
		case *btf.Volatile:
			t = x.Type
		case *btf.TypeTag:
			t = x.Type
		case *btf.Int:
			if x.Size > 1 {
				return Host
			}
			return NoOrder
		case *btf.Enum:
			return Host
		default:
			return NoOrder
		}
	}
	return NoOrder
}

func signedType(t btf.Type) bool {
	switch x := plain(t).(type) {
	case *btf.Int:
		return x.Encoding == btf.Signed
	case *btf.Enum:
		return x.Signed
	}
	return false
}

// leaf is the smallest named piece of a type that contains a bit.
type leaf struct {
	path      string   // ".__sk_common.skc_dport", "[3]"; relative to the type
	typ       btf.Type // of the piece
	bit, bits uint64   // where it lies in the type
}

// leafAt finds the piece of t that contains a bit. Where members of a union
// overlap, the smallest piece wins, so that the pieces that bits belong to do
// not cross; a piece of which another alternative splits off a part is the
// run of bits that is left.
func (kt *kernelTypes) leafAt(t btf.Type, bit uint64) (leaf, bool) {
	kt.mu.Lock()
	l, ok := kt.leaves[leafKey{t, bit}]
	kt.mu.Unlock()
	if ok {
		return l, l.bits > 0
	}
	l, ok = findLeaf(t, 0, bit, 0)
	if ok {
		l = trimLeaf(t, l, bit)
	}
	kt.mu.Lock()
	kt.leaves[leafKey{t, bit}] = l
	kt.mu.Unlock()
	return l, ok
}

// trimLeaf cuts a leaf down to the run of bytes around bit that have no
// smaller leaf of their own.
func trimLeaf(t btf.Type, l leaf, bit uint64) leaf {
	if l.bits <= 8 || l.bits%8 != 0 {
		return l
	}
	same := func(b uint64) bool {
		other, ok := findLeaf(t, 0, b, 0)
		return ok && other.bit == l.bit && other.bits == l.bits
	}
	lo, hi := bit, bit
	for lo >= l.bit+8 && same(lo-8) {
		lo -= 8
	}
	for hi+8 < l.bit+l.bits && same(hi+8) {
		hi += 8
	}
	lo -= (lo - l.bit) % 8
	hi = hi - (hi-l.bit)%8 + 8
	if lo != l.bit || hi != l.bit+l.bits {
		l.path += fmt.Sprintf("{%d:%d}", (lo-l.bit)/8, (hi-l.bit)/8)
		l.bit, l.bits = lo, hi-lo
	}
	return l
}

// findLeaf looks for the bit (counted from the outermost type) in t, which
// begins at bit start.
func findLeaf(t btf.Type, start, bit uint64, depth int) (leaf, bool) {
	if depth > 24 {
		return leaf{}, false
	}
	switch x := plain(t).(type) {
	case *btf.Struct:
		return findMember(x.Members, start, bit, depth)
	case *btf.Union:
		return findMember(x.Members, start, bit, depth)
	case *btf.Array:
		size, err := btf.Sizeof(x.Type)
		if err != nil || size == 0 {
			return leaf{}, false
		}
		each := uint64(size) * 8
		i := (bit - start) / each
		if i >= uint64(x.Nelems) {
			return leaf{}, false
		}
		l, ok := findLeaf(x.Type, start+i*each, bit, depth+1)
		l.path = fmt.Sprintf("[%d]%s", i, l.path)
		return l, ok
	case nil:
		return leaf{}, false
	default:
		size, err := btf.Sizeof(x)
		if err != nil || size == 0 || size > 8 || bit-start >= uint64(size)*8 {
			return leaf{}, false
		}
		return leaf{"", t, start, uint64(size) * 8}, true
	}
}

func findMember(members []btf.Member, start, bit uint64, depth int) (leaf, bool) {
	var best leaf
	for _, m := range members {
		at := start + uint64(m.Offset)
		if at > bit {
			continue
		}
		var l leaf
		var ok bool
		if m.BitfieldSize > 0 {
			l, ok = leaf{"", m.Type, at, uint64(m.BitfieldSize)}, bit < at+uint64(m.BitfieldSize)
		} else {
			l, ok = findLeaf(m.Type, at, bit, depth+1)
		}
		if !ok || best.bits != 0 && l.bits >= best.bits {
			continue
		}
		if m.Name != "" {
			l.path = "." + m.Name + l.path
		}
		best = l
	}
	if n := len(members); best.bits == 0 && n > 0 {
		return flexible(members[n-1], start, bit, depth)
	}
	return best, best.bits > 0
}

// flexible finds a bit in the elements of an array without length at the end
// of a structure.
func flexible(m btf.Member, start, bit uint64, depth int) (leaf, bool) {
	a, ok := plain(m.Type).(*btf.Array)
	at := start + uint64(m.Offset)
	if !ok || a.Nelems != 0 || at > bit {
		return leaf{}, false
	}
	size, err := btf.Sizeof(a.Type)
	if err != nil || size == 0 {
		return leaf{}, false
	}
	i := (bit - at) / (uint64(size) * 8)
	l, ok := findLeaf(a.Type, at+i*uint64(size)*8, bit, depth+1)
	l.path = fmt.Sprintf(".%s[%d]%s", m.Name, i, l.path)
	return l, ok
}
