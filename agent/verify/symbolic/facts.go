package symbolic

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
)

// Facts are what the kernel guarantees about values that terms depend on, and what makes
// variables of one thing agree: the ids of tasks are less than 2^22 (PID_MAX_LIMIT), nothing can be
// read at address 0, a byte of a packet is one byte however its offset was computed, and a text
// ends at its length.
func Facts(b *smt.Builder, terms ...smt.Term) []smt.Term {
	vars := smt.Vars(terms...)
	out := append(SamePacket(b, vars), Texts(b, vars, 4)...)
	for _, v := range vars {
		in := InputOf(v)
		if in != nil && in.Event == Fault && in.Base != nil {
			out = append(out, b.Implies(b.Eq(in.Base, b.Const(in.Base.Width(), 0)), v))
			continue
		}
		if in == nil || v.Width() != 32 || !strings.HasSuffix(in.Name, ".pid") && !strings.HasSuffix(in.Name, ".tgid") {
			continue
		}
		of := InputOf(in.Base)
		if of == nil || of.Type == nil {
			continue
		}
		p, ok := btf.UnderlyingType(of.Type).(*btf.Pointer)
		if !ok {
			continue
		}
		if t, ok := btf.UnderlyingType(p.Target).(*btf.Struct); ok && t.Name == "task_struct" {
			out = append(out, b.Ult(v, b.Const(32, 1<<22)))
		}
	}
	return out
}

// SamePacket says of bytes of a packet that were read at offsets that depend on inputs: at equal
// offsets they are the same byte.
func SamePacket(b *smt.Builder, vars []smt.Term) []smt.Term {
	var far, near []smt.Term
	at := map[smt.Term]uint64{}
	for _, v := range vars {
		in := InputOf(v)
		if in == nil || v.Width() != 8 || !strings.HasPrefix(in.Name, "packet[") {
			continue
		}
		if in.Base != nil {
			far = append(far, v)
			continue
		}
		var i uint64
		if _, err := fmt.Sscanf(in.Name, "packet[%d]", &i); err == nil {
			near, at[v] = append(near, v), i
		}
	}
	var out []smt.Term
	for i, v := range far {
		in := InputOf(v)
		for _, w := range far[i+1:] {
			if other := InputOf(w); other.Invocation == in.Invocation {
				out = append(out, b.Implies(b.Eq(in.Base, other.Base), b.Eq(v, w)))
			}
		}
		for _, w := range near {
			if InputOf(w).Invocation == in.Invocation {
				out = append(out, b.Implies(b.Eq(in.Base, b.Const(in.Base.Width(), at[w])), b.Eq(v, w)))
			}
		}
	}
	return out
}

// Texts says of the length of a text that the bytes before it are not NUL, and the one there is: of the
// first n bytes, as far as they are among the variables.
func Texts(b *smt.Builder, vars []smt.Term, n uint64) []smt.Term {
	var out []smt.Term
	for _, length := range vars {
		if !IsLength(length) {
			continue
		}
		for _, v := range vars {
			if !InText(v, length) {
				continue
			}
			i := (InputOf(v).Offset - InputOf(length).Offset) / 8
			if i >= n {
				continue
			}
			at, nul := b.Const(32, i), b.Eq(v, b.Const(8, 0))
			out = append(out, b.Implies(b.Ult(at, length), b.Not(nul)), b.Implies(b.Eq(at, length), nul))
		}
	}
	return out
}

// IsLength tells whether a variable is the length of a text.
func IsLength(v smt.Term) bool {
	in := InputOf(v)
	return in != nil && in.Base != nil && v.Width() == 32 && strings.HasPrefix(in.Name, lengthOf)
}

// InText tells whether a variable is a byte of the text of a length, or one behind its end.
func InText(v, length smt.Term) bool {
	in, l := InputOf(v), InputOf(length)
	return in != nil && in.Base == l.Base && in.Kind == Data && in.Invocation == l.Invocation && v.Width() == 8 && in.Offset >= l.Offset &&
		otherSpace(in.Name) == otherSpace(strings.TrimPrefix(l.Name, lengthOf))
}

// lengthOf begins the names of lengths of texts.
const lengthOf = "strlen("

// otherSpace is how the name of a field tells that it was read from another space than its address
// says: see objectName.
func otherSpace(name string) string {
	if space, _, ok := strings.Cut(name, ":"); ok && (space == UserSpace.String() || space == KernelSpace.String()) {
		return space
	}
	return ""
}

// Apart says that objects that are read through different addresses are different
// ones, far from each other, unless neither can be read. The machine takes them for
// different whatever their addresses are; an example must not depend on that.
func Apart(b *smt.Builder, vars []smt.Term) []smt.Term {
	type object struct {
		base       smt.Term
		invocation int // the kernel's memory is another one in each
	}
	var bases []object
	fault := map[object]smt.Term{}
	seen := map[object]bool{}
	for _, v := range vars {
		in := InputOf(v)
		if in == nil || in.Base == nil || in.Base.Width() != 64 || strings.HasPrefix(in.Name, "packet[") {
			continue
		}
		o := object{in.Base, in.Invocation}
		if !seen[o] {
			seen[o] = true
			bases = append(bases, o)
		}
		if in.Event == Fault {
			fault[o] = v
		}
	}
	var out []smt.Term
	for i, p := range bases {
		for _, q := range bases[i+1:] {
			if p.invocation != q.invocation {
				continue
			}
			differ := b.Ne(b.Extract(63, 16, p.base), b.Extract(63, 16, q.base))
			if f, g := fault[p], fault[q]; f != nil && g != nil {
				differ = b.Or(differ, b.And(f, g))
			}
			out = append(out, differ)
		}
	}
	return out
}
