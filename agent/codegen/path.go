package codegen

import (
	"fmt"
	"strings"

	"kgent/agent/contract"
)

// input writes what no argument leads to.
func (b *block) input(v *contract.Value) (expr, error) {
	u32 := func(text string) (expr, error) { return expr{text: text, bits: 32}, nil }
	u64 := func(text string) (expr, error) { return expr{text: text, bits: 64}, nil }
	switch v.Name {
	case "now":
		return u64("bpf_ktime_get_ns()")
	case "now_boot":
		return u64("bpf_ktime_get_boot_ns()")
	case "cpu":
		return u32("bpf_get_smp_processor_id()")
	case "random":
		return u32("bpf_get_prandom_u32()")
	case "current.tgid":
		return u32("k_current_pid()")
	case "current.tid":
		return u32("k_current_tid()")
	case "current.uid":
		return u32("k_current_uid()")
	case "current.gid":
		return expr{text: "(__u32)(bpf_get_current_uid_gid() >> 32)", prec: prefix, bits: 32}, nil
	case "current.cgroup":
		return u64("bpf_get_current_cgroup_id()")
	case contract.Inside:
		b.f.g.where = true
		return expr{text: "k_inside()", kind: truth}, nil
	case "current.task":
		return expr{text: "(const struct task_struct *)bpf_get_current_task()", prec: prefix, kind: pointer, object: "struct task_struct"}, nil
	case "kgent.pid":
		b.f.g.self = true
		return u32("kgent_self")
	case "kernel_stack", "user_stack":
		b.f.g.stacks, b.f.context = true, true
		flags := "0"
		if v.Name == "user_stack" {
			flags = "BPF_F_USER_STACK"
		}
		return expr{text: fmt.Sprintf("(__s32)bpf_get_stackid(ctx, &%s, %s)", b.f.g.stackMap, flags), prec: prefix, bits: 32, signed: true}, nil
	case "probe.function":
		b.f.context = true
		return u64("bpf_get_func_ip(ctx)")
	case "packet.cgroup":
		b.f.context = true
		return u64("bpf_skb_cgroup_id(ctx)")
	case "packet.ifindex":
		b.f.context = true
		if b.f.place.Kind == "xdp" {
			return u32("ctx->ingress_ifindex")
		}
		return u32("ctx->ifindex")
	}
	return expr{}, b.f.unsupported(v, v.Name)
}

// path writes a way through kernel memory.
func (b *block) path(v *contract.Value) (expr, error) {
	switch v.Op {
	case contract.OpCast:
		x, err := b.value(v.Args[0])
		if err != nil {
			return expr{}, err
		}
		return pointTo(x, v.Type.Struct), nil
	case contract.OpOffset:
		x, err := b.value(v.Args[0])
		if err != nil {
			return expr{}, err
		}
		y, err := b.value(v.Args[1])
		if err != nil {
			return expr{}, err
		}
		return expr{text: cast("const void *", x) + " + " + y.right(sum), prec: sum, kind: pointer}, nil
	case contract.OpElem, contract.OpElemAt:
		return b.element(v)
	}
	if b.f.isContext(v.Args[0]) {
		return b.f.contextMember(v), nil
	}
	base, err := b.value(v.Args[0])
	if err != nil {
		return expr{}, err
	}
	if v.Op == contract.OpMember {
		base = b.named(pointTo(base.read(), v.Struct))
		return expr{text: fmt.Sprintf("&%s->%s", base.in(primary), v.Path), prec: prefix, kind: pointer, object: objectOf(v.Type)}, nil
	}
	if v.Type.Kind == contract.TextKind || v.Type.Kind == contract.Bytes {
		return expr{}, b.f.unsupported(v, "this use of the text "+v.Path)
	}
	return b.load(v, base)
}

// read is the expression without a chain that could go on.
func (e expr) read() expr {
	e.chain = nil
	return e
}

// pointTo takes an address for that of a struct.
func pointTo(x expr, object string) expr {
	if object == "" || x.kind == pointer && x.object == object {
		return x
	}
	if strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(object, "struct"), "union")) == "" {
		return x
	}
	return expr{text: cast("const "+object+" *", x.read()), prec: prefix, kind: pointer, object: object}
}

// named puts an address that something has to be read for into a variable: clang takes no paths within
// paths.
func (b *block) named(e expr) expr {
	if e.kind != pointer || !strings.Contains(e.text, "BPF_CORE_READ") {
		return e
	}
	_, object, _ := strings.Cut(e.object, " ")
	name := b.f.names.pick(object)
	typ, out := variable(&contract.Value{Type: contract.Type{Kind: contract.Pointer}}, e)
	b.line("%s = %s;", spaced(typ, name), e.text)
	out.text = name
	return out
}

func objectOf(t contract.Type) string {
	if t.Kind == contract.Object || t.Kind == contract.Pointer {
		return t.Struct
	}
	return ""
}

// load reads a member that is a number, a condition or a pointer. A chain of members becomes
// one BPF_CORE_READ.
func (b *block) load(v *contract.Value, base expr) (expr, error) {
	if v.BitSize > 0 {
		base = b.named(pointTo(base.read(), v.Struct))
		text := fmt.Sprintf("BPF_CORE_READ_BITFIELD_PROBED(%s, %s)", base.text, v.Path)
		return expr{text: text, bits: 64, signed: v.Type.Signed}, nil
	}
	chain := []string{"", v.Path}
	if len(base.chain) > 0 && len(base.chain) < 9 && base.object == v.Struct {
		chain = append(append([]string(nil), base.chain...), v.Path)
	} else {
		base = pointTo(base.read(), v.Struct)
		if base.kind != pointer || base.object == "" {
			return expr{}, b.f.unsupported(v, "a member of "+v.Struct+", which has no name in C")
		}
		chain[0] = base.text
	}
	e := expr{text: "BPF_CORE_READ(" + strings.Join(chain, ", ") + ")"}
	switch v.Type.Kind {
	case contract.Int:
		e.bits, e.signed = v.Type.Bits, v.Type.Signed
	case contract.Bool:
		e.kind = truth
	case contract.Pointer:
		e.kind, e.object, e.chain = pointer, v.Type.Struct, chain
		if v.Type.Struct == "" {
			e.chain = nil
		}
	default:
		return expr{}, b.f.unsupported(v, "this use of "+v.Path)
	}
	return e, nil
}

// element reads p[i].
func (b *block) element(v *contract.Value) (expr, error) {
	x, err := b.value(v.Args[0])
	if err != nil {
		return expr{}, err
	}
	i, err := b.value(v.Args[1])
	if err != nil {
		return expr{}, err
	}
	at := fmt.Sprintf("%s + %s * %d", cast("const void *", x.read()), i.firmU64().in(product), v.Size)
	if v.Op == contract.OpElemAt {
		return expr{text: at, prec: sum, kind: pointer}, nil
	}
	e := expr{bits: v.Type.Bits, signed: v.Type.Signed}
	if v.Type.Kind == contract.Pointer {
		e = expr{kind: pointer, object: v.Type.Struct}
	} else if v.Type.Kind == contract.Bool {
		e = expr{bits: 8}
	}
	typ, e := variable(v, e)
	if v.Type.Kind == contract.Bool {
		typ = "__u8"
	}
	name := b.f.names.pick(nameFor(v))
	b.line("%s = 0;", spaced(typ, name))
	b.line("bpf_probe_read_kernel(&%s, sizeof(%s), %s);", name, name, at)
	e.text = name
	if v.Type.Kind == contract.Bool {
		e = expr{text: name + " != 0", prec: equality, kind: truth}
	}
	b.memo[v.ID] = e
	return e, nil
}

// isContext tells whether a value is what a hook of networking hands over, which is no object of
// the kernel's.
func (f *function) isContext(v *contract.Value) bool {
	if v.Op != contract.OpArg {
		return false
	}
	switch v.Type.Struct {
	case "struct __sk_buff", "struct bpf_sock_addr", "struct bpf_sock":
		return true
	}
	return false
}

func (f *function) contextMember(v *contract.Value) expr {
	f.context = true
	e := expr{text: "ctx->" + v.Path, bits: 32}
	if v.Type.Bits != 32 || v.Type.Kind != contract.Int {
		return e.as(v.Type.Bits, v.Type.Signed)
	}
	e.signed = v.Type.Signed
	return e
}
