package contract

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel"
	"kgent/retrieval/kernel/abi"
)

// candidate is an argument that a place offers.
type candidate struct {
	name string
	arg  CheckedArg
}

// bind looks a place up on the kernel. absent says that the kernel has none such.
func (k *checker) bind(p *Place) (cp *CheckedPlace, absent bool, err *Error) {
	offers, absent, e := k.offers(p)
	if e != nil {
		err := &Error{At: p.At, Msg: e.Error()}
		if nf, ok := notFound(e); ok {
			err.Msg = fmt.Sprintf("this kernel has no %s %s", nf.Kind, nf.Name)
			err.Suggest = nf.Suggestions[:min(3, len(nf.Suggestions))]
		}
		return nil, absent, err
	}
	cp = &CheckedPlace{Place: p}
	named := slices.ContainsFunc(offers, func(c candidate) bool { return c.name != "" && c.arg.Index != ArgReturn })
	for i, a := range p.Args {
		arg, err := k.bindArg(p, a, i, offers, named)
		if err != nil {
			return nil, false, err
		}
		if strings.HasPrefix(p.Target, "syscalls/sys_enter_") && arg.Index != i {
			return nil, false, &Error{At: a.At, Msg: fmt.Sprintf("name the arguments of a system call from the first on, in order: not every kernel keeps their names, and %s is number %d", a.Name, arg.Index+1)}
		}
		cp.Args = append(cp.Args, arg)
	}
	return cp, false, nil
}

func (k *checker) bindArg(p *Place, a Arg, i int, offers []candidate, named bool) (CheckedArg, *Error) {
	at := slices.IndexFunc(offers, func(c candidate) bool { return c.name == a.Name })
	if at < 0 && !named && i < len(offers) && offers[i].name == "" {
		at = i
	}
	if at < 0 {
		var names []string
		for _, o := range offers {
			names = append(names, o.name)
		}
		if a.Name == "ret" {
			return CheckedArg{}, &Error{At: a.At, Msg: fmt.Sprintf("%s runs before there is a result; its end is %s", p, exitOf(p))}
		}
		msg := fmt.Sprintf("%s has no argument %s; it has %s", p, a.Name, strings.Join(names, ", "))
		if len(offers) == 0 {
			msg = fmt.Sprintf("%s has no arguments", p)
		}
		return CheckedArg{}, &Error{At: a.At, Msg: msg, Suggest: suggest(a.Name, names)}
	}
	arg := offers[at].arg
	arg.Name = a.Local()
	if a.Type.Name == "" {
		if arg.Type.Kind == Invalid {
			return CheckedArg{}, &Error{At: a.At, Msg: a.Name + " is of a type that contracts cannot use"}
		}
		return arg, nil
	}
	before := len(k.errs)
	t := k.typeName(a.Type)
	if len(k.errs) > before {
		err := k.errs[before]
		k.errs = k.errs[:before]
		return CheckedArg{}, err
	}
	// Only where the kernel says less than the contract does.
	known := arg.Type
	if t.Kind != Int && t.Kind != Pointer || known.Kind == Int && t.Kind == Int && t.Bits > known.Bits || known.Kind != Int && known.Kind != t.Kind {
		return CheckedArg{}, &Error{At: a.Type.At, Msg: fmt.Sprintf("%s is %s; it cannot be taken for %s", a.Name, known, t)}
	}
	arg.Type = t
	return arg, nil
}

// exitOf names the place that has the result.
func exitOf(p *Place) string {
	switch p.Kind {
	case "kprobe":
		return "kretprobe/" + p.Target
	case "kprobe.multi":
		return "kretprobe.multi/" + p.Target
	case "uprobe":
		return "uretprobe/" + p.Target
	case "fentry":
		return "fexit/" + p.Target
	}
	return strings.Replace(p.String(), "sys_enter", "sys_exit", 1)
}

// offers lists what a place hands over.
func (k *checker) offers(p *Place) (list []candidate, absent bool, err error) {
	isAbsent := func(err error) bool { _, ok := notFound(err); return ok }
	switch p.Kind {
	case "tp_btf", "raw_tracepoint":
		tp, err := k.types.kernel.RawTracepoint(p.Target)
		if err != nil {
			return nil, isAbsent(err), err
		}
		return params(tp.Params), false, nil
	case "kprobe", "fentry", "fexit", "kretprobe", "fmod_ret", "lsm":
		return k.functionOffers(p)
	case "kprobe.multi", "kretprobe.multi", "kprobe.session":
		return k.severalOffers(p)
	case "tracepoint":
		return k.tracepointOffers(p)
	case "usdt":
		if len(p.Args) > 0 {
			return nil, false, errors.New("where the arguments of a marker lie is for each binary to say; contracts cannot ask for them. Use a uprobe on a function that has them")
		}
		return nil, false, nil
	case "uprobe":
		for i := range p.Args {
			list = append(list, candidate{"", CheckedArg{Index: i, Type: Type{Kind: Int, Bits: 64}}})
		}
		return list, false, nil
	case "uretprobe":
		return []candidate{{"ret", CheckedArg{Index: ArgReturn, Type: Type{Kind: Int, Bits: 64}}}}, false, nil
	case "iter":
		return nil, false, errors.New("contracts cannot say what an iterator prints; use an event")
	case "cgroup":
		s := map[string]string{"connect4": "bpf_sock_addr", "connect6": "bpf_sock_addr", "bind4": "bpf_sock_addr", "bind6": "bpf_sock_addr",
			"sendmsg4": "bpf_sock_addr", "sendmsg6": "bpf_sock_addr", "recvmsg4": "bpf_sock_addr", "recvmsg6": "bpf_sock_addr",
			"sock_create": "bpf_sock", "sock_release": "bpf_sock", "post_bind4": "bpf_sock", "post_bind6": "bpf_sock"}[p.Target]
		if s == "" {
			return nil, false, fmt.Errorf("it is not known what cgroup/%s hands over", p.Target)
		}
		return []candidate{{"ctx", CheckedArg{Type: Type{Kind: Pointer, Bits: 64, Struct: "struct " + s}}}}, false, nil
	case "tcx/ingress", "tcx/egress", "socket", "cgroup_skb/ingress", "cgroup_skb/egress":
		return []candidate{{"skb", CheckedArg{Type: Type{Kind: Pointer, Bits: 64, Struct: "struct __sk_buff"}}}}, false, nil
	}
	return nil, false, nil
}

func params(list []kernel.Param) (out []candidate) {
	for i, p := range list {
		// Later kernels mark arguments for the verifier: "skb__nullable".
		name, _, _ := strings.Cut(p.Name, "__nullable")
		out = append(out, candidate{name, CheckedArg{Index: i, Type: argType(p.Type)}})
	}
	return out
}

// argType is the type of an argument: small structs passed by value cannot be used.
func argType(t btf.Type) Type {
	out := typeOf(t)
	if out.Kind == Object || out.Kind == Array || out.Kind == TextKind {
		return Type{}
	}
	return out
}

func (k *checker) functionOffers(p *Place) ([]candidate, bool, error) {
	name := p.Target
	if p.Kind == "lsm" {
		name = "bpf_lsm_" + name
	}
	fn, err := k.types.kernel.Function(name)
	if err != nil {
		_, absent := notFound(err)
		return nil, absent, err
	}
	var list []candidate
	switch p.Kind {
	case "kretprobe":
	case "kprobe":
		if err := found(p, fn); err != nil {
			return nil, false, err
		}
		list = params(fn.Params())[:InRegisters(fn)]
	default:
		list = params(fn.Params())
	}
	if p.Kind == "fexit" || p.Kind == "kretprobe" || p.Kind == "fmod_ret" || p.Kind == "lsm" {
		if b, _, _ := bare(fn.Proto.Return); b != nil {
			if _, void := b.(*btf.Void); !void {
				list = append(list, candidate{"ret", CheckedArg{Index: ArgReturn, Offset: uint32(8 * len(fn.Params())), Size: 8, Type: argType(fn.Proto.Return)}})
			}
		}
	}
	return list, false, nil
}

// InRegisters is how many arguments of a function, from the first on, a probe finds in the registers that arguments are in, one
// in each: a struct that takes two of them moves those behind it.
func InRegisters(fn *kernel.Function) int {
	list := fn.Params()
	list = list[:min(len(list), registers)]
	if i := slices.IndexFunc(list, func(p kernel.Param) bool {
		size, err := btf.Sizeof(p.Type)
		return err != nil || size < 1 || size > 8
	}); i >= 0 {
		return i
	}
	return len(list)
}

// registers is how many arguments are handed over in registers on every machine.
const registers = 6

// found refuses arguments that a probe does not find.
func found(p *Place, fn *kernel.Function) error {
	for _, x := range params(fn.Params())[InRegisters(fn):] {
		if slices.ContainsFunc(p.Args, func(a Arg) bool { return a.Name == x.name }) {
			return fmt.Errorf("a probe does not find the argument %s of %s, which is in no register of its own", x.name, fn.Name)
		}
	}
	return nil
}

// tracepointOffers lists the fields of a record: from tracefs or, without it, from the
// struct that the kernel's types have for it.
func (k *checker) tracepointOffers(p *Place) ([]candidate, bool, error) {
	category, name, _ := strings.Cut(p.Target, "/")
	tp, err := k.types.kernel.Tracepoint(category, name)
	switch {
	case errors.Is(err, kernel.ErrNoTracefs):
		return k.recordOffers(p, category, name)
	case err != nil:
		_, absent := notFound(err)
		return nil, absent, err
	case category == "syscalls":
		return syscallOffers(tp, name), false, nil
	}
	var list []candidate
	for _, f := range tp.Fields {
		if !f.Common() {
			list = append(list, candidate{f.Name, CheckedArg{Index: ArgRecord, Offset: f.Offset, Size: f.Size, DataLoc: f.DataLoc, Type: recordType(f)}})
		}
	}
	return list, false, nil
}

// syscallOffers lists the arguments of a system call, or its result. The record has a register of 64 bits for each.
func syscallOffers(tp *kernel.Tracepoint, name string) (list []candidate) {
	call, enters := strings.CutPrefix(name, "sys_enter_")
	if !enters {
		return []candidate{exitResult}
	}
	kinds, _ := abi.SyscallArgs(call)
	i := 0
	for _, f := range tp.Fields {
		if f.Common() || f.Name == "__syscall_nr" {
			continue
		}
		kind := abi.Arg64
		if i < len(kinds) {
			kind = kinds[i]
		} else if strings.Contains(f.Type, "*") {
			kind = abi.ArgPointer
		}
		list = append(list, candidate{f.Name, syscallArg(i, f.Offset, kind)})
		i++
	}
	return list
}

// syscallArg is an argument as the kernel takes it: of a register it looks at the low bits that the call's type has.
// What is above them is the program's own, mostly zero, and so not the sign of a number below zero.
func syscallArg(i int, off uint32, kind abi.ArgKind) CheckedArg {
	a := CheckedArg{Index: i, Offset: off, Size: 8, Type: Type{Kind: Int, Bits: 64}}
	switch kind {
	case abi.ArgPointer:
		a.Type = vocabulary["user_pointer"]
	case abi.ArgS32:
		a.Size, a.Type = 4, Type{Kind: Int, Bits: 32, Signed: true}
	case abi.ArgU32:
		a.Size, a.Type.Bits = 4, 32
	case abi.ArgU16:
		a.Size, a.Type.Bits = 2, 16
	}
	return a
}

var exitResult = candidate{"ret", CheckedArg{Index: ArgReturn, Offset: 16, Size: 8, Type: Type{Kind: Int, Bits: 64, Signed: true}}}

func (k *checker) recordOffers(p *Place, category, name string) ([]candidate, bool, error) {
	if category == "syscalls" {
		call := strings.TrimPrefix(strings.TrimPrefix(name, "sys_enter_"), "sys_exit_")
		// BTF lacks functions that the compiler changed; the table of calls lacks
		// those that the kernel calls otherwise (umount is umount2).
		_, found := abi.Syscall(call)
		for _, prefix := range []string{"__x64_sys_", "__arm64_sys_"} {
			_, err := k.types.kernel.Function(prefix + call)
			found = found || err == nil
		}
		if !found {
			return nil, true, &kernel.NotFoundError{Kind: "tracepoint", Name: "syscalls:" + name}
		}
		if strings.HasPrefix(name, "sys_exit_") {
			return []candidate{exitResult}, false, nil
		}
		kinds, _ := abi.SyscallArgs(call)
		var list []candidate
		for i := range 6 {
			kind := abi.Arg64
			if i < len(kinds) {
				kind = kinds[i]
			}
			list = append(list, candidate{"", syscallArg(i, uint32(16+8*i), kind)})
		}
		return list, false, nil
	}
	if _, err := k.types.kernel.RawTracepoint(name); err != nil {
		_, absent := notFound(err)
		return nil, absent, &kernel.NotFoundError{Kind: "tracepoint", Name: category + ":" + name}
	}
	comp := k.types.composite("struct trace_event_raw_" + name)
	if comp == nil && len(p.Args) > 0 {
		return nil, false, fmt.Errorf("the fields of %s are not in this kernel's types; they can be told only where tracefs is mounted", p)
	}
	var list []candidate
	for _, m := range membersOf(comp) {
		if m.Name == "ent" || m.Name == "__data" {
			continue
		}
		arg := CheckedArg{Index: ArgRecord, Offset: m.Offset.Bytes(), Type: typeOf(m.Type)}
		field := m.Name
		if n, ok := strings.CutPrefix(m.Name, "__data_loc_"); ok {
			field, arg.DataLoc, arg.Type = n, true, Type{Kind: TextKind}
		}
		if n, err := btf.Sizeof(m.Type); err == nil {
			arg.Size = uint32(n)
		}
		list = append(list, candidate{field, arg})
	}
	return list, false, nil
}

// recordType is the type of a field that tracefs describes in C.
func recordType(f kernel.TracepointField) Type {
	name := strings.TrimPrefix(strings.TrimPrefix(f.Type, "const "), "volatile ")
	switch {
	case f.DataLoc && strings.HasPrefix(name, "char"):
		return Type{Kind: TextKind}
	case f.DataLoc || f.RelLoc:
		return Type{}
	case f.Array && name == "char":
		return Type{Kind: TextKind, Size: f.Size}
	case f.Array && f.Count > 0 && f.Size/f.Count == 1:
		return Type{Kind: Bytes, Size: f.Size}
	case f.Array:
		return Type{}
	case strings.Contains(name, "*"):
		return Type{Kind: Pointer, Bits: 64}
	case name == "bool":
		return Type{Kind: Bool, Bits: 8}
	case f.Size == 1 || f.Size == 2 || f.Size == 4 || f.Size == 8:
		t := Type{Kind: Int, Bits: uint8(f.Size * 8), Signed: f.Signed}
		if orders[name] > 0 {
			t.Order = Network
		}
		return t
	}
	return Type{}
}
