package codegen

import (
	"fmt"
	"slices"
	"strings"

	"kgent/agent/contract"
)

// attached is how a kind of hook looks in C.
type attached struct {
	context string // the type of ctx
	// macro wraps functions whose arguments it hands over: BPF_PROG.
	macro string
}

var kinds = map[string]attached{
	"tp_btf": {macro: "BPF_PROG"}, "raw_tracepoint": {macro: "BPF_PROG"}, "fentry": {macro: "BPF_PROG"}, "fexit": {macro: "BPF_PROG"},
	"fmod_ret": {macro: "BPF_PROG"}, "lsm": {macro: "BPF_PROG"},
	"kprobe": {macro: "BPF_KPROBE"}, "kretprobe": {macro: "BPF_KRETPROBE"}, "uprobe": {macro: "BPF_UPROBE"}, "uretprobe": {macro: "BPF_URETPROBE"},
	"kprobe.multi": {macro: "BPF_KPROBE"}, "kretprobe.multi": {macro: "BPF_KRETPROBE"},
	"usdt":       {context: "struct pt_regs"},
	"perf_event": {context: "struct bpf_perf_event_data"}, "xdp": {context: "struct xdp_md"},
	"tcx/ingress": {context: "struct __sk_buff"}, "tcx/egress": {context: "struct __sk_buff"},
	"socket":             {context: "struct __sk_buff"},
	"cgroup_skb/ingress": {context: "struct __sk_buff"}, "cgroup_skb/egress": {context: "struct __sk_buff"},
	"tracepoint": {},
	"cgroup":     {},
}

// ofMacro are the types that the macros give ctx.
var ofMacro = map[string]string{"BPF_PROG": "unsigned long long", "BPF_KPROBE": "struct pt_regs", "BPF_KRETPROBE": "struct pt_regs",
	"BPF_UPROBE": "struct pt_regs", "BPF_URETPROBE": "struct pt_regs"}

// body is the C of one step, which several places may share.
type body struct {
	lines  []string
	params []string // declarations
	args   []string // what a caller hands over
	name   string   // of the function; empty if it stands in its only caller
	doc    string
	calls  int
}

// text is what makes two bodies the same.
func (b *body) text() string {
	return strings.Join(b.params, ", ") + "\n" + strings.Join(b.lines, "\n")
}

// site is a program at a place.
type site struct {
	place  *contract.CheckedPlace
	name   string
	ctx    string
	head   []string // declarations at the beginning
	record string   // a struct that it needs
	sign   string   // what stands between SEC and the body
	steps  []*body
	// verdict is the step that says what is returned; -1: none.
	verdict int
}

// site writes the steps of a place.
func (g *generator) site(p *contract.CheckedPlace) (*site, error) {
	k, ok := kinds[p.Kind]
	switch {
	case p.Kind == "kprobe.session":
		return nil, &Unsupported{p.At, "a session, kprobe.session, where kprobe.multi and kretprobe.multi with a memory by current.tid can ask the same"}
	case !ok:
		return nil, &Unsupported{p.At, "hooks of kind " + p.Kind}
	}
	s := &site{place: p, verdict: -1, ctx: k.context}
	if k.macro != "" {
		s.ctx = ofMacro[k.macro]
	}
	s.name = g.globals.pick(siteName(p))
	names := &scope{outer: g.globals, used: map[string]bool{}}
	args, err := g.signature(s, k, names)
	if err != nil {
		return nil, err
	}
	for i := range p.Steps {
		step := &p.Steps[i]
		f := &function{g: g, place: p, args: args, names: &scope{outer: names, used: map[string]bool{}}, uses: map[int]int{}, extent: map[int]int{}, called: map[int]string{}}
		for _, a := range args {
			f.names.used[a.text] = true
		}
		f.count(step)
		if returns(step) {
			s.verdict, f.verdict = i, true
		}
		b := f.newBlock(nil)
		if err := b.first(step); err != nil {
			return nil, err
		}
		if err := b.step(step); err != nil {
			return nil, err
		}
		g.scratch(f, b.lines)
		s.steps = append(s.steps, g.share(f, s, step, b.lines))
	}
	return s, nil
}

// siteName is a name for the program at a place: "sys_enter_openat", "cgroup_skb_egress".
func siteName(p *contract.CheckedPlace) string {
	name := p.Target
	switch {
	case p.Kind == "tracepoint":
		name = name[strings.IndexByte(name, '/')+1:]
	case p.Kind == "uprobe" || p.Kind == "uretprobe":
		name = name[strings.LastIndexByte(name, ':')+1:] + map[string]string{"uprobe": "_enter", "uretprobe": "_return"}[p.Kind]
	case p.Kind == "usdt":
		name = name[strings.LastIndexByte(name, ':')+1:] + "_marker"
	case p.Kind == "kretprobe" || p.Kind == "fexit":
		name += "_return"
	case p.Kind == "kprobe.multi":
		name = "functions"
	case p.Kind == "kretprobe.multi":
		name = "functions_return"
	case p.Kind == "perf_event":
		name = "sample"
	case name == "":
		name = p.Kind
	case p.Kind == "cgroup":
		name = "cgroup_" + name
	}
	return "on_" + identifier(name)
}

func returns(s *contract.CheckedStep) bool {
	all := slices.Clone(s.Otherwise)
	for _, c := range s.Cases {
		all = append(all, c.Effects...)
	}
	return slices.ContainsFunc(all, func(e contract.CheckedEffect) bool { return e.Verb == contract.Return })
}

// first computes what has to be the same wherever it is used, and reads what is asked of the context: what is
// read of it in branches, clang may make one read of whose place depends on inputs, which the kernel forbids.
func (b *block) first(s *contract.CheckedStep) error {
	var err error
	read := func(v *contract.Value) {
		if _, done := b.lookup(v.ID); done || err != nil {
			return
		}
		var e expr
		if e, err = b.compute(v); err == nil {
			b.keep(v, e)
		}
	}
	var random *contract.Value
	packet := false
	b.f.walk(s, func(v *contract.Value) {
		switch {
		case v.Op == contract.OpInput && v.Name == "random":
			random = v
		case v.Op == contract.OpInput && v.Name == "packet.ifindex", v.Op == contract.OpLoad && b.f.isContext(v.Args[0]):
			read(v)
		case v.Op == contract.OpRead || v.Op == contract.OpLen:
			packet = packet || v.Args[0].Op == contract.OpInput
		}
	})
	if packet {
		b.packet()
	}
	if random != nil && b.f.uses[random.ID] > 1 {
		read(random)
	}
	return err
}

// walk visits all values of a step, each as often as it is an operand of another.
func (f *function) walk(s *contract.CheckedStep, visit func(*contract.Value)) {
	seen := map[int]bool{}
	var value func(*contract.Value)
	value = func(v *contract.Value) {
		if v == nil {
			return
		}
		visit(v)
		if v.ID != 0 && seen[v.ID] {
			return
		}
		seen[v.ID] = true
		if task, ok := f.filtered(v); ok {
			value(task)
			return
		}
		for _, a := range v.Args {
			value(a)
		}
	}
	effects := func(list []contract.CheckedEffect) {
		for _, e := range list {
			for _, v := range slices.Concat(e.Key, e.Fields, []*contract.Value{e.Value}) {
				value(v)
			}
		}
	}
	for _, c := range s.Cases {
		value(c.When)
		effects(c.Effects)
	}
	effects(s.Otherwise)
}

// count counts how often each value is used, and how far blocks are read.
func (f *function) count(s *contract.CheckedStep) {
	for _, c := range s.Cases {
		for _, e := range c.Effects {
			for i, v := range e.Fields {
				if e.Verb == contract.Emit && v != nil && v.ID != 0 && f.called[v.ID] == "" {
					f.called[v.ID] = f.g.c.Events[e.Index].Members[i].Name
				}
			}
		}
	}
	f.walk(s, func(v *contract.Value) {
		f.uses[v.ID]++
		if v.Op == contract.OpRead && v.Args[1].Op == contract.OpConst {
			n := v.Args[1].Bits + uint64(max(v.Type.InMemory(), 1))
			if of := v.Args[0]; n < 1<<16 {
				f.extent[of.ID] = max(f.extent[of.ID], int(n))
			}
		}
	})
}

// share makes a body of a step's lines, or finds the one that another place has.
func (g *generator) share(f *function, s *site, step *contract.CheckedStep, lines []string) *body {
	b := &body{lines: lines, calls: 1}
	if n := len(b.lines); n == 0 || !strings.HasPrefix(b.lines[n-1], "return ") {
		b.lines = append(b.lines, "return 0;")
	}
	if f.context || f.emits {
		typ := s.ctx
		if !f.context {
			typ = "void"
		}
		b.params, b.args = append(b.params, typ+" *ctx"), append(b.args, "ctx")
	}
	used := map[int]bool{}
	f.walk(step, func(v *contract.Value) {
		if v.Op == contract.OpArg && !f.isContext(v) {
			used[v.Index] = true
		}
	})
	for i, a := range f.args {
		if used[i] {
			typ, _ := f.declared(i)
			b.params, b.args = append(b.params, spaced(typ, a.text)), append(b.args, a.text)
		}
	}
	for _, other := range g.bodies {
		if other.text() == b.text() {
			other.calls++
			return other
		}
	}
	b.name = s.name
	for _, c := range step.Cases {
		b.name += "_" + identifier(c.Name)
		break
	}
	g.bodies = append(g.bodies, b)
	return b
}

// declared is the C type of an argument.
func (f *function) declared(i int) (string, expr) { return argument(f.place.Args[i]) }

// argument is the C type of an argument, and what a use of it is.
func argument(a contract.CheckedArg) (string, expr) {
	switch a.Type.Kind {
	case contract.Bool:
		return "bool", expr{kind: truth}
	case contract.Int:
		if a.Type.Order == contract.Network {
			return fmt.Sprintf("__be%d", a.Type.Bits), expr{bits: a.Type.Bits}
		}
		return numberType(a.Type.Bits, a.Type.Signed), expr{bits: a.Type.Bits, signed: a.Type.Signed}
	case contract.Pointer:
		object := a.Type.Struct
		if strings.HasSuffix(object, " ") || a.Type.User {
			object = ""
		}
		typ, e := variable(&contract.Value{Type: contract.Type{Kind: contract.Pointer}}, expr{kind: pointer, object: object})
		return typ, e
	}
	return "const void *", expr{kind: pointer}
}

// signature writes how a program gets its arguments.
func (g *generator) signature(s *site, k attached, names *scope) ([]expr, error) {
	p := s.place
	out := make([]expr, len(p.Args))
	decls := make([]string, len(p.Args))
	for i, a := range p.Args {
		typ, e := argument(a)
		e.text = names.pick(a.Name)
		out[i], decls[i] = e, spaced(typ, e.text)
	}
	switch {
	case k.macro != "":
		list, err := g.macroArgs(s, k.macro, decls)
		if err != nil {
			return nil, err
		}
		s.sign = fmt.Sprintf("int %s(%s)", k.macro, strings.Join(append([]string{s.name}, list...), ", "))
		return out, nil
	case p.Kind == "tracepoint" && strings.HasPrefix(p.Target, "syscalls/"):
		s.ctx = "struct trace_event_raw_sys_enter"
		if strings.HasPrefix(p.Target, "syscalls/sys_exit_") {
			s.ctx = "struct trace_event_raw_sys_exit"
		}
		for i, a := range p.Args {
			from := "ctx->ret"
			if a.Index >= 0 {
				from = fmt.Sprintf("ctx->args[%d]", a.Index)
			}
			if out[i].kind == pointer {
				from = "(const void *)" + from
			}
			s.head = append(s.head, fmt.Sprintf("%s = %s;", decls[i], from))
		}
	case p.Kind == "tracepoint":
		if err := g.recordArgs(s, out, decls); err != nil {
			return nil, err
		}
	case p.Kind == "cgroup":
		if len(p.Args) == 0 || !strings.HasPrefix(p.Args[0].Type.Struct, "struct ") {
			s.ctx = "void"
		} else {
			s.ctx = p.Args[0].Type.Struct
		}
	}
	s.sign = fmt.Sprintf("int %s(%s *ctx)", s.name, s.ctx)
	return out, nil
}

// macroArgs lists the arguments as the macros take them: from the first on, with those that the
// contract does not ask for.
func (g *generator) macroArgs(s *site, macro string, decls []string) ([]string, error) {
	var list []string
	most := 12
	if macro == "BPF_KPROBE" || macro == "BPF_UPROBE" {
		most = 6
	}
	for i, a := range s.place.Args {
		at := a.Index
		if at == contract.ArgReturn && macro == "BPF_PROG" {
			at = int(a.Offset) / 8 // behind the arguments
		} else if at == contract.ArgReturn {
			at = 0
		}
		if at < 0 || at >= most {
			return nil, &Unsupported{s.place.At, fmt.Sprintf("argument %d of %s", at+1, s.place.Place)}
		}
		for len(list) <= at {
			list = append(list, fmt.Sprintf("__u64 unused%d", len(list)))
		}
		list[at] = decls[i]
	}
	return list, nil
}

// recordArgs writes the struct of a tracepoint's record, as far as the contract asks for it.
func (g *generator) recordArgs(s *site, out []expr, decls []string) error {
	p := s.place
	order := make([]int, len(p.Args))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(p.Args[a].Offset) - int(p.Args[b].Offset) })
	_, event, _ := strings.Cut(p.Target, "/")
	tag := g.tags.pick(identifier(event) + "_record")
	var b strings.Builder
	fmt.Fprintf(&b, "/* The record of the tracepoint %s, as this kernel writes it: what is asked for. */\nstruct %s {\n", comment(p.Target), tag)
	at := uint32(0)
	for _, i := range order {
		a := p.Args[i]
		if a.Offset < at {
			return &Unsupported{p.At, "fields of a record that lie over each other"}
		}
		if a.Offset > at {
			fmt.Fprintf(&b, "\t__u8 _to_%d[%d];\n", a.Offset, a.Offset-at)
		}
		field := "f_" + identifier(p.Place.Args[i].Name)
		from := "ctx->" + field
		switch {
		case a.DataLoc:
			fmt.Fprintf(&b, "\t__u32 %s; /* where the text is: its length and offset */\n", field)
			from = "(const void *)ctx + (" + from + " & 0xffff)"
		case isBytes(a.Type):
			fmt.Fprintf(&b, "\tchar %s[%d];\n", field, a.Size)
		case out[i].kind == pointer:
			fmt.Fprintf(&b, "\t__u64 %s;\n", field)
			from = "(const void *)" + from
		case out[i].kind == truth:
			fmt.Fprintf(&b, "\t__u8 %s;\n", field)
			from += " != 0"
		default:
			signed := out[i].signed
			fmt.Fprintf(&b, "\t%s %s;\n", numberType(uint8(a.Size*8), signed), field)
		}
		at = a.Offset + a.Size
		s.head = append(s.head, fmt.Sprintf("%s = %s;", decls[i], from))
	}
	if len(order) == 0 {
		b.WriteString("\t__u64 common;\n")
	}
	b.WriteString("} __attribute__((packed));\n")
	s.record, s.ctx = b.String(), "struct "+tag
	return nil
}
