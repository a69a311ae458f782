package kernel

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Param is one argument of a kernel function or raw tracepoint.
type Param struct {
	// Name is the argument's name; empty if the kernel's BTF does not keep it.
	Name string
	// Type is the argument's type. It must not be modified.
	Type btf.Type
}

// CType writes the type in C: "struct sock *".
func (p Param) CType() string { return declare(p.Type, "") }

// String writes the argument in C: "struct sock *sk".
func (p Param) String() string { return declare(p.Type, p.Name) }

// RawTracepoint is a tracepoint as programs of type raw_tracepoint and tp_btf see
// it: the arguments that the kernel passes to it, before they are copied into the
// record that [Tracepoint] describes.
type RawTracepoint struct {
	// Name is the tracepoint's name without category: "sched_switch".
	Name string
	// Module is the kernel module that has it, empty for the kernel itself.
	Module string
	// Params are the arguments.
	Params []Param
}

// Signature writes the raw tracepoint as a function:
// "sched_switch(bool preempt, struct task_struct *prev, …)".
func (t *RawTracepoint) Signature() string {
	parts := make([]string, len(t.Params))
	for i, p := range t.Params {
		parts[i] = p.String()
	}
	return t.Name + "(" + strings.Join(parts, ", ") + ")"
}

// Function is a kernel function that BTF describes.
type Function struct {
	// Name is the function's name.
	Name string
	// Module is the kernel module that has it, empty for the kernel itself.
	Module string
	// Proto is its prototype. It must not be modified.
	Proto *btf.FuncProto
	// Kfunc tells whether programs may call it. Kernels before 6.10 do not say.
	Kfunc bool
}

// Params are the function's arguments.
func (fn *Function) Params() []Param {
	list := make([]Param, len(fn.Proto.Params))
	for i, p := range fn.Proto.Params {
		list[i] = Param{p.Name, p.Type}
	}
	return list
}

// Signature writes the function's declaration:
// "int tcp_v4_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)".
func (fn *Function) Signature() string { return declare(fn.Proto, fn.Name) }

// lookIn finds a name in one of the name lists of the kernel's BTF or, failing that,
// of a module's. It returns nil if no list has it.
func (f *Facts) lookIn(list func(*typeIndex) []namedType, name string) (*typesOf, []namedType, error) {
	types, err := f.kernelTypes()
	if err != nil {
		return nil, nil, err
	}
	if found := find(list(types.typeIndex), name); len(found) > 0 {
		return types, found, nil
	}
	modules, err := f.moduleTypes()
	if err != nil {
		return nil, nil, err
	}
	for _, m := range modules {
		if found := find(list(m.typeIndex), name); len(found) > 0 {
			return m, found, nil
		}
	}
	return nil, nil, nil
}

// names returns all names of a list, of the kernel and then of each module.
func (f *Facts) names(list func(*typeIndex) []namedType) ([]string, error) {
	all, err := f.allTypes()
	if err != nil {
		return nil, err
	}
	total := 0
	for _, types := range all {
		total += len(list(types.typeIndex))
	}
	names := make([]string, 0, total)
	for _, types := range all {
		for _, n := range list(types.typeIndex) {
			if len(names) == 0 || names[len(names)-1] != n.name {
				names = append(names, n.name)
			}
		}
	}
	return names, nil
}

func functionList(ix *typeIndex) []namedType   { return ix.funcs }
func tracepointList(ix *typeIndex) []namedType { return ix.tracepoint }
func structList(ix *typeIndex) []namedType     { return ix.structs }

// Function looks up a kernel function in BTF. It returns a [*NotFoundError] if BTF
// does not describe one of that name; the function may exist all the same (see
// [Facts.HasSymbol]) if it is written in assembler or its prototype is not known.
func (f *Facts) Function(name string) (*Function, error) {
	types, found, err := f.lookIn(functionList, name)
	if err != nil {
		return nil, err
	}
	if found == nil {
		names, err := f.names(functionList)
		if err != nil {
			return nil, err
		}
		return nil, f.notFound("function", name, names)
	}
	return f.loadFunction(types, found[0])
}

func (f *Facts) loadFunction(types *typesOf, n namedType) (*Function, error) {
	t, err := types.load(n.id)
	if err != nil {
		return nil, fmt.Errorf("reading the prototype of %s: %w", n.name, err)
	}
	fn, ok := t.(*btf.Func)
	if !ok {
		return nil, fmt.Errorf("reading the prototype of %s: BTF type %d is a %T", n.name, n.id, t)
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return nil, fmt.Errorf("reading the prototype of %s: its type is a %T", n.name, fn.Type)
	}
	kfunc := false
	for _, tag := range fn.Tags {
		kfunc = kfunc || tag == "bpf_kfunc"
	}
	return &Function{Name: n.name, Module: types.module, Proto: proto, Kfunc: kfunc}, nil
}

// HasSymbol tells whether the kernel or a loaded module has a function of that name
// that is not inlined everywhere, whether or not BTF describes it.
func (f *Facts) HasSymbol(name string) (bool, error) {
	symbols, err := f.symbols()
	if err != nil {
		return false, err
	}
	return symbols.has(name), nil
}

// RawTracepoint looks up a tracepoint by the name that raw_tracepoint and tp_btf
// programs use, without category. System calls have none: they share sys_enter and
// sys_exit. It returns a [*NotFoundError] if there is none.
func (f *Facts) RawTracepoint(name string) (*RawTracepoint, error) {
	types, found, err := f.lookIn(tracepointList, name)
	if err != nil {
		return nil, err
	}
	if found == nil {
		names, err := f.names(tracepointList)
		if err != nil {
			return nil, err
		}
		return nil, f.notFound("raw tracepoint", name, names)
	}
	return f.loadRawTracepoint(types, found[0])
}

func (f *Facts) loadRawTracepoint(types *typesOf, n namedType) (*RawTracepoint, error) {
	t, err := types.load(n.id)
	if err != nil {
		return nil, fmt.Errorf("reading the arguments of raw tracepoint %s: %w", n.name, err)
	}
	// typedef void (*btf_trace_NAME)(void *__data, ARGUMENTS)
	typedef, ok := t.(*btf.Typedef)
	if !ok {
		return nil, fmt.Errorf("reading the arguments of raw tracepoint %s: BTF type %d is a %T", n.name, n.id, t)
	}
	pointer, ok := typedef.Type.(*btf.Pointer)
	if !ok {
		return nil, fmt.Errorf("reading the arguments of raw tracepoint %s: its typedef is a %T", n.name, typedef.Type)
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) == 0 {
		return nil, fmt.Errorf("reading the arguments of raw tracepoint %s: its typedef does not point to a function", n.name)
	}
	named, err := f.namedProto(types, n.name, len(proto.Params))
	if err != nil {
		return nil, err
	}
	tp := &RawTracepoint{Name: n.name, Module: types.module, Params: make([]Param, 0, len(proto.Params)-1)}
	for i, p := range proto.Params[1:] {
		name := p.Name
		if name == "" && named != nil {
			name = named.Params[i+1].Name
		}
		tp.Params = append(tp.Params, Param{name, p.Type})
	}
	return tp, nil
}

// namedProto finds the prototype that has the names of a raw tracepoint's arguments:
// the typedef has only their types. It is that of the function that calls the
// tracepoint's probes or, on kernels before 5.10, of the one that runs programs,
// which tracepoints of one class share. Nil if the kernel keeps neither.
func (f *Facts) namedProto(types *typesOf, tracepoint string, params int) (*btf.FuncProto, error) {
	for _, name := range []string{"__traceiter_" + tracepoint, "__bpf_trace_" + tracepoint} {
		found := find(types.funcs, name)
		if len(found) != 1 {
			continue
		}
		fn, err := f.loadFunction(types, found[0])
		if err != nil {
			return nil, err
		}
		if len(fn.Proto.Params) == params {
			return fn.Proto, nil
		}
	}
	return nil, nil
}

// RawTracepoints lists the names of all raw tracepoints, those of the kernel, sorted,
// before those of each module.
func (f *Facts) RawTracepoints() ([]string, error) { return f.names(tracepointList) }

// helperPrefix starts the enumerators of the kernel's list of helpers.
const helperPrefix = "BPF_FUNC_"

// Helper returns the number of a helper, given as "bpf_get_current_comm". It returns
// a [*NotFoundError] if the kernel has none of that name. Which program types may
// call it is not known here.
func (f *Facts) Helper(name string) (int32, error) {
	var list *btf.Enum
	if err := f.BTF.TypeByName("bpf_func_id", &list); err != nil {
		return 0, fmt.Errorf("listing the helpers of kernel %s: %w", f.Release, err)
	}
	short := strings.TrimPrefix(strings.TrimPrefix(name, helperPrefix), "bpf_")
	var names []string
	for _, v := range list.Values {
		helper, ok := strings.CutPrefix(v.Name, helperPrefix)
		if !ok || helper == "unspec" { // the last one is __BPF_FUNC_MAX_ID
			continue
		}
		if helper == short {
			return int32(v.Value), nil
		}
		names = append(names, "bpf_"+helper)
	}
	return 0, f.notFound("helper", name, names)
}
