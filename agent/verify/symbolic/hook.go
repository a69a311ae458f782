package symbolic

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
	"kgent/retrieval/notes"
)

// hookModel is what a program finds behind its context pointer, and what else
// holds at its hook.
type hookModel struct {
	fields []ctxField
	size   uint32 // bytes that may be loaded
	// packet is set for hooks that see a packet: how far loads may go.
	packet bool
	// linear says that only the first part of the packet can be loaded
	// directly (socket buffers).
	linear bool
	// currentWarn is why the current task may have nothing to do with the
	// event.
	currentWarn string
	// raw is a context of plain bytes.
	raw []byte
}

// ctxField is one field of a context.
type ctxField struct {
	name      string
	off, size uint32
	typ       btf.Type
	order     Order
	unit      string
	space     Space
	pointer   bool
	warn      string
	// bits is the width of the variable; above are zeroes, or, if garbage,
	// whatever the register held.
	bits    uint
	garbage bool
	// upper: the variable is the upper part and what is below are zeroes.
	upper bool
	// writable fields may be stored to.
	writable bool
	// special is "data", "data_end", "data_meta" of packets, "data_loc" of
	// tracepoints, "hidden" for what a verifier does not let programs load.
	special string
	// position is which argument of a probed function it is, from 1; 0 for what is none.
	position int
	// element is the size of an array's elements, in bytes.
	element uint32
	// dataAt is the offset of the data of a data_loc.
	dataAt uint32
}

// softirq is why the current task means little at most network hooks.
const softirq = "in softirq the current task is whoever was interrupted"

// hookFor models a program's hook.
func hookFor(p *Program) (*hookModel, error) {
	kt := p.types
	name := p.Hook.Target
	switch p.Hook.Kind {
	case TPBTF, RawTracepoint:
		params := kt.rawTracepoint(name)
		if params == nil {
			return nil, fmt.Errorf("the kernel's types do not describe a raw tracepoint %q", name)
		}
		return slots(params, nil, false, "", currentAt(name)), nil
	case Fentry, Fexit, FmodRet, LSM:
		fn := name
		if p.Hook.Kind == LSM {
			fn = "bpf_lsm_" + name
		}
		proto := kt.function(fn)
		if proto == nil {
			return nil, fmt.Errorf("the kernel's types do not describe a function %q", fn)
		}
		ret := proto.Return
		if p.Hook.Kind == Fentry {
			ret = nil
		}
		retName := "ret"
		return slots(proto.Params, ret, true, retName, ""), nil
	case Kprobe, Kretprobe:
		proto := kt.function(name)
		return registersModel(p, proto, p.Hook.Kind == Kretprobe, KernelSpace), nil
	case KprobeMulti, KretprobeMulti, KprobeSession:
		return severalModel(p), nil
	case Uprobe, Uretprobe:
		return registersModel(p, nil, p.Hook.Kind == Uretprobe, UserSpace), nil
	case USDT: // its arguments are wherever the binary says
		return registersModel(p, nil, false, AnySpace), nil
	case Tracepoint:
		return tracepointModel(p)
	case PerfEvent:
		h := registersModel(p, nil, false, AnySpace)
		at := h.size
		h.fields = append(h.fields,
			ctxField{name: "sample_period", off: at, size: 8, bits: 64},
			ctxField{name: "addr", off: at + 8, size: 8, bits: 64})
		h.size += 16
		h.currentWarn = "a sample is of whoever runs"
		return h, nil
	case Iter:
		return iterModel(kt, name)
	case XDP:
		return &hookModel{fields: xdpFields(), size: 24, packet: true, currentWarn: softirq}, nil
	case SocketFilter:
		return &hookModel{fields: copyFields(), size: 192, packet: true, linear: true, currentWarn: softirq}, nil
	case TC, CgroupSKB:
		return &hookModel{fields: skbFields(), size: 192, packet: true, linear: true, currentWarn: softirq}, nil
	case SockAddr:
		return &hookModel{fields: sockAddrFields(), size: 72}, nil
	case Syscall, OtherHook:
		return &hookModel{}, nil
	}
	return nil, fmt.Errorf("hook %s is not modelled", p.Hook.Kind)
}

// currentAt is why the current task is not the subject of a tracepoint, as far as that is known.
func currentAt(name string) string {
	if n := notes.Of(string(TPBTF), name); n != nil && !n.Task.Means() {
		return n.Whose
	}
	return ""
}

// slots models a context of one 64-bit slot for each argument, and one for
// what the function returned. The kernel fills the slots of raw tracepoints
// with zero-extended values; those of functions are registers, in which the
// bits above an argument are whatever they were.
func slots(params []btf.FuncParam, ret btf.Type, garbage bool, retName, warn string) *hookModel {
	h := &hookModel{currentWarn: warn}
	add := func(name string, t btf.Type) {
		f := ctxField{name: name, off: h.size, size: 8, typ: t, bits: 64}
		if size, err := btf.Sizeof(t); err == nil && size > 0 && size < 8 {
			f.bits, f.garbage = uint(size)*8, garbage
		} else if err == nil && size > 8 {
			// A structure by value takes several slots.
			for i := range (size + 7) / 8 {
				h.fields = append(h.fields, ctxField{name: fmt.Sprintf("%s{%d}", name, i), off: h.size, size: 8, bits: 64})
				h.size += 8
			}
			return
		}
		h.fields = append(h.fields, f)
		h.size += 8
	}
	for i, p := range params {
		name := p.Name
		if name == "" {
			name = fmt.Sprintf("arg%d", i)
		}
		add(name, p.Type)
	}
	if _, void := plain(ret).(*btf.Void); ret != nil && !void {
		add(retName, ret)
	}
	return h
}

// pt_regs of the two machines: names, offsets, and which registers carry
// arguments and results (asm/ptrace.h).
var (
	x86Regs = []string{"r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss"}
	x86Args = []string{"di", "si", "dx", "cx", "r8", "r9"}
	armArgs = []string{"regs[0]", "regs[1]", "regs[2]", "regs[3]", "regs[4]", "regs[5]", "regs[6]", "regs[7]"}
)

func armRegs() []string {
	var out []string
	for i := range 31 {
		out = append(out, fmt.Sprintf("regs[%d]", i))
	}
	return append(out, "sp", "pc", "pstate", "orig_x0", "syscallno")
}

// registersModel models a probe's context: the registers, of which some are
// the arguments (at entry) or the result (at return) of the function.
func registersModel(p *Program, proto *btf.FuncProto, ret bool, space Space) *hookModel {
	regs, args, result := x86Regs, x86Args, "ax"
	if arch := p.types.kernel.Arch; arch == "aarch64" || arch == "arm64" {
		regs, args, result = armRegs(), armArgs, "regs[0]"
	}
	h := &hookModel{}
	for i, r := range regs {
		f := ctxField{name: "regs." + r, off: uint32(i) * 8, size: 8, bits: 64}
		if !ret && space != AnySpace {
			for j, a := range args {
				if a == r {
					f.argument(j, proto, space)
				}
			}
		}
		if ret && r == result {
			f.name, f.space = "ret", space
			if proto != nil && proto.Return != nil {
				f.describe(proto.Return, space)
			}
		}
		h.fields = append(h.fields, f)
	}
	h.size = uint32(len(regs)) * 8
	return h
}

// severalModel models a probe at several functions. An argument that they do not call alike, or of
// which the types differ, is the register that it is in. A session has the context of a call and
// that of a return, and which of them is an input: so it has the arguments and the result.
func severalModel(p *Program) *hookModel {
	var protos []*btf.FuncProto
	for _, name := range strings.Split(p.Hook.Target, ",") {
		proto := p.types.function(name)
		if proto == nil {
			protos = nil // a pattern, or a function of which nothing is known
			break
		}
		protos = append(protos, proto)
	}
	h := registersModel(p, commonProto(protos), p.Hook.Kind == KretprobeMulti, KernelSpace)
	if p.Hook.Kind == KprobeSession {
		back := registersModel(p, commonProto(protos), true, KernelSpace)
		for i, f := range back.fields {
			if f.name == "ret" {
				h.fields[i] = f
			}
		}
	}
	return h
}

// commonProto is what several functions have in common, nil if nothing is known of them. Types that
// differ are left out; of numbers of different types the first stands for the size.
func commonProto(protos []*btf.FuncProto) *btf.FuncProto {
	if len(protos) == 0 {
		return nil
	}
	common := &btf.FuncProto{Return: protos[0].Return}
	most := len(protos[0].Params)
	for _, p := range protos[1:] {
		common.Return = commonType(common.Return, p.Return)
		most = min(most, len(p.Params))
	}
	for i := range most {
		param := protos[0].Params[i]
		if j := slices.IndexFunc(protos, func(p *btf.FuncProto) bool { return wide(p.Params[i]) }); j >= 0 {
			common.Params = append(common.Params, protos[j].Params[i])
			continue
		}
		for _, p := range protos[1:] {
			param.Type = commonType(param.Type, p.Params[i].Type)
			if p.Params[i].Name != param.Name {
				param.Name = ""
			}
		}
		common.Params = append(common.Params, param)
	}
	return common
}

// commonType is what can be said of a register that holds one type or the other: nil, nothing.
func commonType(a, b btf.Type) btf.Type {
	if a == nil || b == nil {
		return nil
	}
	m, errA := btf.Sizeof(a)
	n, errB := btf.Sizeof(b)
	_, _, pointerA := pointee(a)
	_, _, pointerB := pointee(b)
	switch {
	case errA != nil || errB != nil || m != n || pointerA != pointerB:
		return nil
	case pointerA && cName(plain(a)) != cName(plain(b)):
		return nil
	}
	return a
}

func (f *ctxField) argument(i int, proto *btf.FuncProto, space Space) {
	f.name, f.space, f.position = fmt.Sprintf("arg%d", i), space, i+1
	if proto != nil && slices.ContainsFunc(proto.Params[:min(i+1, len(proto.Params))], wide) {
		f.position = 0 // it is another argument's, or half of one
		if space == KernelSpace {
			f.space = AnySpace
		}
		return
	}
	if proto == nil || i >= len(proto.Params) {
		if space == KernelSpace {
			f.space = AnySpace
		}
		return
	}
	if n := proto.Params[i].Name; n != "" {
		f.name = n
	}
	if proto.Params[i].Type == nil {
		f.space = AnySpace
		return
	}
	f.describe(proto.Params[i].Type, space)
}

// wide tells whether an argument does not take one register, as a struct that takes two: those behind it are not in the
// registers of their positions then.
func wide(p btf.FuncParam) bool {
	if p.Type == nil { // of which nothing is known but its size, see commonProto
		return false
	}
	size, err := btf.Sizeof(p.Type)
	return err != nil || size < 1 || size > 8
}

// describe gives a register the type of what it carries.
func (f *ctxField) describe(t btf.Type, space Space) {
	f.typ = t
	size, err := btf.Sizeof(t)
	if err == nil && size > 0 && size < 8 {
		f.bits, f.garbage = uint(size)*8, true
	}
	if _, in, ok := pointee(t); ok {
		f.space = in
		if space == UserSpace {
			f.space = UserSpace
		}
	}
}

// tracepointModel takes the record of a tracepoint from tracefs, or from the
// structure that BTF has of it.
func tracepointModel(p *Program) (*hookModel, error) {
	category, name, _ := strings.Cut(p.Hook.Target, ":")
	var fields []Field
	ok := false
	if f := p.types.kernel.Format; f != nil {
		fields, ok = f(category, name)
	}
	if !ok {
		fields, ok = p.types.tracepointFields(category, name)
	}
	if !ok {
		return nil, fmt.Errorf("neither tracefs nor the kernel's types describe the tracepoint %q", p.Hook.Target)
	}
	h := &hookModel{currentWarn: currentAt(name)}
	for _, f := range fields {
		h.size = max(h.size, f.Offset+f.Size)
	}
	h.size = (h.size + 7) &^ 7
	data := (h.size + 63) &^ 63
	for _, f := range fields {
		c := ctxField{name: f.Name, off: f.Offset, size: f.Size, bits: uint(f.Size) * 8, element: 1}
		switch {
		case strings.HasPrefix(f.Name, "common_"):
			c.special = "hidden"
		case f.DataLoc:
			c.special, c.dataAt = "data_loc", data
			data += dataLocBytes
		case f.Array || f.Size > 8 || f.Size == 0:
			c.special = "array"
			if t := p.types.byCName(f.Type, 0); t != nil {
				if n, err := btf.Sizeof(t); err == nil && (n == 2 || n == 4 || n == 8) && f.Size%uint32(n) == 0 {
					c.element = uint32(n)
				}
			}
		case strings.Contains(f.Type, "*"):
			c.pointer, c.space = true, KernelSpace
			if category == "syscalls" {
				c.space = UserSpace
			}
		}
		c.typ = p.types.byCName(f.Type, f.Size)
		if c.special == "array" {
			c.typ = p.types.byCName(f.Type, c.element)
		}
		h.fields = append(h.fields, c)
	}
	return h, nil
}

// dataLocBytes is how much of the data behind a __data_loc is told apart.
const dataLocBytes = 4096

// eventClasses are the classes of tracepoints that share one record with
// others, and so have no structure of their own name (include/trace/events,
// arch/x86/include/asm/trace). Only those are here that have been in that
// class in every kernel since 5.10.
var eventClasses = map[string][]string{
	"exceptions:page_fault_user":   {"exceptions", "x86_exceptions"},
	"exceptions:page_fault_kernel": {"exceptions", "x86_exceptions"},
	"sched:sched_wakeup":           {"sched_wakeup_template"},
	"sched:sched_wakeup_new":       {"sched_wakeup_template"},
	"sched:sched_waking":           {"sched_wakeup_template"},
	"irq:softirq_entry":            {"softirq"},
	"irq:softirq_exit":             {"softirq"},
	"irq:softirq_raise":            {"softirq"},
}

// tracepointFields reads a record from struct trace_event_raw_<name>. System
// calls share two structures.
func (kt *kernelTypes) tracepointFields(category, name string) ([]Field, bool) {
	candidates := []string{"trace_event_raw_" + name}
	for _, class := range eventClasses[category+":"+name] {
		candidates = append(candidates, "trace_event_raw_"+class)
	}
	if category == "syscalls" || category == "raw_syscalls" {
		if strings.HasPrefix(name, "sys_enter") {
			candidates = append(candidates, "trace_event_raw_sys_enter")
		} else {
			candidates = append(candidates, "trace_event_raw_sys_exit")
		}
	}
	for _, c := range candidates {
		s, ok := kt.composite(c).(*btf.Struct)
		if !ok {
			continue
		}
		var out []Field
		for _, m := range s.Members {
			size, err := btf.Sizeof(m.Type)
			if err != nil || m.Name == "__data" {
				continue
			}
			if m.Name == "ent" {
				out = append(out, Field{Name: "common_ent", Offset: 0, Size: uint32(size)})
				continue
			}
			f := Field{Name: m.Name, Offset: m.Offset.Bytes(), Size: uint32(size), Signed: signedType(m.Type)}
			f.Name, f.DataLoc = strings.CutPrefix(m.Name, "__data_loc_")
			_, f.Array = plain(m.Type).(*btf.Array)
			f.Type = cName(m.Type)
			out = append(out, f)
		}
		return out, true
	}
	return nil, false
}

// cName writes the simple types that records are made of.
func cName(t btf.Type) string {
	switch x := t.(type) {
	case *btf.Const:
		return "const " + cName(x.Type)
	case *btf.Pointer:
		return cName(x.Target) + " *"
	case *btf.Array:
		return cName(x.Type)
	case nil:
		return "void"
	case *btf.Void:
		return "void"
	default:
		return x.TypeName()
	}
}

// byCName finds the BTF type that a record's field is declared with.
func (kt *kernelTypes) byCName(c string, size uint32) btf.Type {
	c = strings.TrimSpace(strings.ReplaceAll(c, "const ", ""))
	if target, ok := strings.CutSuffix(c, "*"); ok {
		t := kt.byCName(target, 0)
		if t == nil {
			t = (*btf.Void)(nil)
			return &btf.Pointer{Target: &btf.Void{}}
		}
		return &btf.Pointer{Target: t}
	}
	for _, s := range kt.specs {
		types, err := s.AnyTypesByName(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(c, "struct "), "union "), "enum "))
		if err != nil {
			continue
		}
		for _, t := range types {
			if n, err := btf.Sizeof(t); err == nil && (size == 0 || uint32(n) == size) {
				return t
			}
		}
	}
	return nil
}

// iterModel models the context of an iterator: struct bpf_iter__<target>.
func iterModel(kt *kernelTypes, target string) (*hookModel, error) {
	s, ok := kt.composite("bpf_iter__" + target).(*btf.Struct)
	if !ok {
		return nil, fmt.Errorf("the kernel's types do not describe an iterator %q", target)
	}
	h := &hookModel{size: s.Size, currentWarn: "an iterator runs in the process that reads it"}
	for _, m := range s.Members {
		name, typ := m.Name, m.Type
		if u, ok := plain(m.Type).(*btf.Union); ok && name == "" && len(u.Members) > 0 {
			name, typ = u.Members[0].Name, u.Members[0].Type
		}
		size, err := btf.Sizeof(typ)
		if err != nil || size == 0 || size > 8 {
			continue
		}
		h.fields = append(h.fields, ctxField{name: name, off: m.Offset.Bytes(), size: uint32(size), typ: typ, bits: uint(size) * 8})
	}
	return h, nil
}

func words(off uint32, order Order, writable bool, names ...string) []ctxField {
	var out []ctxField
	for i, n := range names {
		out = append(out, ctxField{name: n, off: off + uint32(i)*4, size: 4, bits: 32, order: order, writable: writable})
	}
	return out
}

// xdpFields is struct xdp_md of linux/bpf.h.
func xdpFields() []ctxField {
	f := words(0, Host, false, "data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex")
	f[0].special, f[1].special, f[2].special = "data", "data_end", "data_meta"
	return f
}

// skbFields is struct __sk_buff of linux/bpf.h.
func skbFields() []ctxField {
	var f []ctxField
	f = append(f, words(0, Host, false, "len", "pkt_type")...)
	f = append(f, words(8, Host, true, "mark", "queue_mapping")...)
	f = append(f, words(16, BigOrder, false, "protocol")...)
	f = append(f, words(20, Host, false, "vlan_present", "vlan_tci")...)
	f = append(f, words(28, BigOrder, false, "vlan_proto")...)
	f = append(f, words(32, Host, true, "priority")...)
	f = append(f, words(36, Host, false, "ingress_ifindex", "ifindex")...)
	f = append(f, words(44, Host, true, "tc_index", "cb[0]", "cb[1]", "cb[2]", "cb[3]", "cb[4]")...)
	f = append(f, words(68, Host, false, "hash")...)
	f = append(f, words(72, Host, true, "tc_classid")...)
	f = append(f, words(76, Host, false, "data", "data_end", "napi_id", "family")...)
	f = append(f, words(92, BigOrder, false, "remote_ip4", "local_ip4",
		"remote_ip6[0]", "remote_ip6[1]", "remote_ip6[2]", "remote_ip6[3]",
		"local_ip6[0]", "local_ip6[1]", "local_ip6[2]", "local_ip6[3]", "remote_port")...)
	f = append(f, words(136, Host, false, "local_port", "data_meta")...)
	f = append(f, ctxField{name: "flow_keys", off: 144, size: 8, bits: 64, special: "hidden"})
	f = append(f, ctxField{name: "tstamp", off: 152, size: 8, bits: 64, unit: "ns", writable: true})
	f = append(f, words(160, Host, false, "wire_len", "gso_segs")...)
	f = append(f, ctxField{name: "sk", off: 168, size: 8, bits: 64, pointer: true, space: KernelSpace})
	f = append(f, words(176, Host, false, "gso_size", "tstamp_type")...)
	f = append(f, ctxField{name: "hwtstamp", off: 184, size: 8, bits: 64, unit: "ns"})
	for i := range f {
		switch f[i].name {
		case "data", "data_end", "data_meta":
			f[i].special = f[i].name
		case "protocol", "vlan_proto", "vlan_tci":
			f[i].bits = 16
		case "tstamp_type":
			f[i].bits = 8
		case "remote_port":
			// The kernel shifts the port up on a little-endian machine, so that the whole word
			// is in network order: bpf_ntohl gives the port (net/core/filter.c).
			f[i].bits, f[i].upper = 16, true
		case "local_port", "pkt_type":
			f[i].bits = 16
		}
	}
	return f
}

// copyFields are those that a socket filter may read and write (net/core/filter.c:
// sk_filter_is_valid_access).
func copyFields() []ctxField {
	fields := skbFields()
	for i := range fields {
		f := &fields[i]
		f.writable = f.off >= 48 && f.off < 68 // cb
		switch off := f.off; {
		case off == 72, off == 76, off == 80, off == 140, off >= 88 && off < 140, off == 152, off == 160, off == 176, off == 184:
			f.special = "hidden" // tc_classid, the packet itself, the socket's addresses, times, wire_len
		}
	}
	return fields
}

// sockAddrFields is struct bpf_sock_addr of linux/bpf.h.
func sockAddrFields() []ctxField {
	f := words(0, Host, false, "user_family")
	f = append(f, words(4, BigOrder, true, "user_ip4", "user_ip6[0]", "user_ip6[1]", "user_ip6[2]", "user_ip6[3]", "user_port")...)
	f = append(f, words(28, Host, false, "family", "type", "protocol")...)
	f = append(f, words(40, BigOrder, true, "msg_src_ip4", "msg_src_ip6[0]", "msg_src_ip6[1]", "msg_src_ip6[2]", "msg_src_ip6[3]")...)
	f = append(f, ctxField{name: "sk", off: 64, size: 8, bits: 64, pointer: true, space: KernelSpace})
	for i := range f {
		if f[i].name == "user_port" {
			f[i].bits = 16
		}
	}
	return f
}

// field finds the field that contains a byte of the context.
func (h *hookModel) field(off int64) *ctxField {
	for i := range h.fields {
		if f := &h.fields[i]; off >= int64(f.off) && off < int64(f.off)+int64(f.size) {
			return f
		}
	}
	return nil
}

// packetState is where the packet begins and ends in a state.
type packetState struct {
	region     *Region
	head, tail smt.Term // 64 bits: offsets within the region
	changed    bool
}

// ctxState is what a program has stored to its context, by field.
type ctxState struct {
	region *Region
	fields map[string]Value
}

// contextTerm is the value of a field as it is loaded whole.
func (inv *Invocation) contextTerm(f *ctxField) smt.Term {
	b := inv.m.b
	if f.special == "data_loc" {
		length := inv.variable(16, &Input{Kind: Data, Name: f.name + ".len", Unit: "bytes", Pc: -1})
		return b.Concat(length, b.Const(16, uint64(f.dataAt)))
	}
	v := inv.fieldVariable(f)
	whole := uint(f.size) * 8
	if v.Width() == whole {
		return v
	}
	if f.upper {
		return b.Concat(v, b.Const(whole-v.Width(), 0))
	}
	if f.garbage {
		above := inv.variable(whole-v.Width(), &Input{Kind: Poison, Name: "bits above " + f.name, Pc: -1})
		return b.Concat(above, v)
	}
	return b.ZeroExt(whole, v)
}

func (inv *Invocation) fieldVariable(f *ctxField) smt.Term {
	in := typed(f.name, f.typ)
	if f.order != NoOrder {
		in.Order = f.order
	}
	if f.pointer {
		in.Kind = Pointer
	}
	if f.space != AnySpace {
		in.Space = f.space
	}
	if f.unit != "" {
		in.Unit = f.unit
	}
	in.Warn = f.warn
	if f.bits != 64 && in.Kind == Pointer {
		in.Kind = Data
	}
	return inv.variable(f.bits, in)
}

// contextByte is one byte of an array in the context, or of the data behind a
// __data_loc.
func (inv *Invocation) contextByte(f *ctxField, i int64) octet {
	size := int64(max(1, f.element))
	in := typed(fmt.Sprintf("%s[%d]", f.name, i/size), f.typ)
	if f.special != "array" || size == 1 {
		in = &Input{Kind: Data, Name: in.Name, Pc: -1}
	}
	return octet{term: inv.variable(uint(size)*8, in), part: uint8(i % size), pc: -1}
}

// contextOctets are n bytes of the context as memory.
func (x *run) contextOctets(s *state, off int64, n int) []octet {
	h, b := x.inv.hook, x.b
	out := make([]octet, 0, n)
	for len(out) < n {
		at := off + int64(len(out))
		if at >= 0 && at < int64(len(h.raw)) {
			out = append(out, octet{term: b.Const(8, uint64(h.raw[at])), pc: -1})
			continue
		}
		if f, i := h.dataLoc(at); f != nil {
			out = append(out, x.inv.contextByte(f, i))
			continue
		}
		f := h.field(at)
		switch {
		case f == nil && at >= 0 && at < int64(h.size):
			in := &Input{Kind: Poison, Name: fmt.Sprintf("padding of the context at %d", at), Pc: -1}
			out = append(out, octet{term: x.inv.variable(8, in), pc: -1})
		case f == nil:
			x.crash(s, fmt.Sprintf("reads the context at offset %d, where it has nothing", at))
		case f.special == "array":
			out = append(out, x.inv.contextByte(f, at-int64(f.off)))
		case f.special == "" || f.special == "data_loc" || f.special == "hidden":
			t := x.inv.contextTerm(f)
			if v, ok := s.ctx.fields[f.name]; ok {
				t = x.b.Extract(t.Width()-1, 0, x.num(v))
			}
			for part := at - int64(f.off); part < int64(f.size) && len(out) < n; part++ {
				out = append(out, octet{term: t, part: uint8(part), pc: -1})
			}
		default:
			x.crash(s, fmt.Sprintf("reads part of the context's %s", f.name))
		}
	}
	return out
}

// dataLoc finds the __data_loc field whose data lies at an offset.
func (h *hookModel) dataLoc(at int64) (*ctxField, int64) {
	for i := range h.fields {
		f := &h.fields[i]
		if f.special == "data_loc" && at >= int64(f.dataAt) && at < int64(f.dataAt)+dataLocBytes {
			return f, at - int64(f.dataAt)
		}
	}
	return nil, 0
}

// loadContext loads from the context.
func (x *run) loadContext(s *state, ptr Value, off int64, n int) Value {
	t := x.b.Add(ptr.Term, x.b.Const(64, uint64(off)))
	c, ok := t.Const()
	if !ok {
		x.giveUp(s, "the context is read at an offset that is not constant")
	}
	at := int64(c)
	if f := x.inv.hook.field(at); f != nil && x.inv.hook.raw == nil {
		switch f.special {
		case "data", "data_end", "data_meta":
			if at != int64(f.off) || n != int(f.size) {
				x.crash(s, "reads part of the context's "+f.name)
			}
			if f.special == "data_meta" {
				x.doubt(s, "metadata in front of the packet is not modelled")
			}
			p := Value{Region: s.packet.region, Term: s.packet.head}
			if f.special == "data_end" {
				p.Term = s.packet.tail
			}
			return p
		case "hidden":
			x.crash(s, fmt.Sprintf("reads %s of the context, which programs may not", f.name))
		}
	}
	return number(x.b.ZeroExt(64, joinOctets(x.b, x.contextOctets(s, at, n))))
}

// storeContext stores to a field of the context.
func (x *run) storeContext(s *state, ptr Value, off int64, n int, v Value) {
	t := x.b.Add(ptr.Term, x.b.Const(64, uint64(off)))
	c, ok := t.Const()
	if !ok {
		x.giveUp(s, "the context is written at an offset that is not constant")
	}
	f := x.inv.hook.field(int64(c))
	if f == nil || !f.writable || x.inv.hook.raw != nil {
		x.crash(s, fmt.Sprintf("stores to the context at offset %d, which programs may not", int64(c)))
	}
	if int64(c) != int64(f.off) || n != int(f.size) {
		x.giveUp(s, fmt.Sprintf("storing part of the context's %s is not modelled", f.name))
	}
	s.ctx.fields[f.name] = number(x.num(v))
	data := NewBytes(x.b, x.b.Extract(uint(n)*8-1, 0, x.num(v)))
	s.effects = append(s.effects, &Effect{Op: Context, Helper: f.name, Data: data, Offset: f.off, Pc: s.top().pc})
}
