package proof

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// asked are the inputs of one invocation, as the machine has them.
type asked struct {
	words
	inv   *symbolic.Invocation
	world *symbolic.World // of the scenario, for parameters
	kind  string          // of the place
	// kernel are the kernel's names of the place's arguments, by their name in the contract.
	kernel map[string]string
	self   bool
	where  uint32    // how many cgroups the map of them has
	script *scripted // nil for programs in C
	// kept are expressions of the place that were translated and do not read memories. Like all
	// that translates, it is for one goroutine at a time.
	kept map[*contract.Value]value

	mu      sync.Mutex
	assumed []smt.Term
}

// keptOf are the expressions that were translated for inputs before; empty for inputs that
// keep none.
func keptOf(in inputs) map[*contract.Value]value {
	if a, ok := in.(*asked); ok {
		return a.kept
	}
	return map[*contract.Value]value{}
}

// Assume is part of inputs.
func (a *asked) Assume(t smt.Term) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !t.IsTrue() && !slices.Contains(a.assumed, t) {
		a.assumed = append(a.assumed, t)
	}
}

// newAsked names the arguments of a place.
func newAsked(w words, inv *symbolic.Invocation, world *symbolic.World, p *contract.CheckedPlace, bound *binding) *asked {
	a := &asked{words: w, inv: inv, world: world, kernel: map[string]string{}, self: bound.self, where: bound.where, script: bound.script, kept: map[*contract.Value]value{}}
	if p != nil {
		a.kind = p.Kind
		for _, arg := range p.Place.Args {
			a.kernel[arg.Local()] = arg.Name
		}
	}
	return a
}

// Arg is part of inputs.
func (a *asked) Arg(arg contract.CheckedArg) (symbolic.InputValue, error) {
	var names []string
	switch {
	case a.kind == "tracepoint":
		return a.inv.ContextAt(arg.Offset, int(arg.Size))
	case arg.Index == contract.ArgReturn:
		names = []string{"ret"}
	case a.kind == "tp_btf" || a.kind == "raw_tracepoint" || a.kind == "fentry" || a.kind == "fexit" || a.kind == "fmod_ret" || a.kind == "lsm":
		if a.inv.Spread() {
			return symbolic.InputValue{}, fmt.Errorf("a hook with a struct as argument is not modelled")
		}
		return a.inv.ContextAt(uint32(arg.Index)*8, 8)
	case a.kind == "kprobe" || a.kind == "kprobe.multi" || a.kind == "kprobe.session" || a.kind == "uprobe": // names there are the contract's own, if the kernel has none
		if v, ok := a.inv.ArgumentAt(arg.Index); ok {
			return v, nil
		}
	default:
		names = []string{a.kernel[arg.Name], fmt.Sprintf("arg%d", arg.Index)}
	}
	for _, n := range names {
		if v, ok := a.inv.Argument(n); ok {
			return v, nil
		}
	}
	return symbolic.InputValue{}, fmt.Errorf("the argument %s of the hook is not modelled", arg.Name)
}

// RecordText is part of inputs.
func (a *asked) RecordText(arg contract.CheckedArg, n int) (*symbolic.Bytes, error) {
	if text, ok := a.inv.DataLoc(a.kernel[arg.Name], n); ok {
		return text, nil
	}
	return nil, fmt.Errorf("the text %s of the record is not modelled", arg.Name)
}

// Context is part of inputs.
func (a *asked) Context(off uint32, n int) (symbolic.InputValue, error) {
	return a.inv.ContextAt(off, n)
}

// inputNames are the machine's names of contract inputs that have others.
var inputNames = map[string]string{
	"now_boot": "now.boot", "current.task": "current", "current.cgroup": "cgroup",
	"packet.ifindex": "ingress_ifindex", "probe.function": "func.ip",
}

// Named is part of inputs.
func (a *asked) Named(name string) (symbolic.InputValue, error) {
	if name == "kgent.pid" {
		return a.selfPid()
	}
	switch name {
	case contract.Inside:
		return a.inside(), nil
	case "packet.cgroup":
		return a.inv.HelperValue("skb.cgroup", 64), nil
	case "kernel_stack":
		return a.inv.HelperValue("stack.kernel", 32), nil
	case "user_stack":
		return a.inv.HelperValue("stack.user", 32), nil
	}
	machine := name
	if name == "packet.ifindex" && a.kind != "xdp" {
		machine = "ifindex" // of a buffer, the device that it is at; where it came in is another field
	} else if n := inputNames[name]; n != "" {
		machine = n
	}
	if v, ok := a.inv.Input(machine); ok {
		return v, nil
	}
	return symbolic.InputValue{}, fmt.Errorf("the input %s is not modelled at this hook", name)
}

// inside is whether the current task is in one of the containers that the node has put into
// the program's map; if the program has no such map, something that it cannot know.
func (a *asked) inside() symbolic.InputValue {
	return a.inv.InCgroups(program.WhereMap, max(a.where, 1))
}

// selfPid is the process that must not trace itself: the program's global, or, if it
// has none, a number that it does not know.
func (a *asked) selfPid() (symbolic.InputValue, error) {
	if a.script != nil { // it leaves nobody out: nobody is number 2^32-1
		return symbolic.InputValue{Term: a.b.Const(32, 1<<32-1)}, nil
	}
	if a.self {
		x, err := a.Param(selfParam)
		if err != nil {
			return symbolic.InputValue{}, err
		}
		return symbolic.InputValue{Term: x.At(0, x.Len())}, nil
	}
	v := a.b.Var(32, &smt.Info{Name: "kgent.pid", Data: &symbolic.Input{Kind: symbolic.Param, Name: "kgent.pid", Invocation: -1, Bits: 32}})
	return symbolic.InputValue{Term: v}, nil
}

// Param is part of inputs.
func (a *asked) Param(name string) (*symbolic.Bytes, error) {
	if x, ok := a.world.Param(name); ok {
		return x, nil
	}
	if a.script != nil && a.script.consts[name] != nil {
		return a.script.consts[name], nil
	}
	return nil, fmt.Errorf("the program has no parameter %s", name)
}

// Load is part of inputs.
func (a *asked) Load(space symbolic.Space, addr smt.Term, n int, root string) (*symbolic.Bytes, error) {
	return a.inv.Memory(space, addr, n, root), nil
}

// Text is part of inputs.
func (a *asked) Text(space symbolic.Space, addr smt.Term, n int, root string) (*symbolic.Bytes, error) {
	text, _ := a.inv.Text(space, addr, n, root)
	return text, nil
}

// Block is part of inputs.
func (a *asked) Block(addr, length smt.Term, n int) (*symbolic.Bytes, error) {
	all := a.inv.Memory(symbolic.UserSpace, addr, n, "")
	parts := make([]smt.Term, n)
	for i := range parts {
		parts[i] = a.b.Ite(a.b.Ult(a.number(uint64(i)), length), all.At(i, 1), a.b.Const(8, 0))
	}
	return symbolic.NewBytes(a.b, parts...), nil
}

// PacketLen is part of inputs.
func (a *asked) PacketLen() (smt.Term, error) {
	v, ok := a.inv.Input("packet.len")
	if !ok || v.Term == nil {
		return nil, fmt.Errorf("there is no packet at this hook")
	}
	return a.b.ZeroExt(64, v.Term), nil
}

// PacketAt is part of inputs.
func (a *asked) PacketAt(off smt.Term, n int) smt.Term { return a.inv.Packet(off, n) }

// worldStore reads a world's maps as a program on one CPU does.
type worldStore struct {
	at  *symbolic.World
	cpu smt.Term // 32 bits
}

// Lookup is part of store.
func (s worldStore) Lookup(m *symbolic.Map, key *symbolic.Bytes) (smt.Term, *symbolic.Bytes, error) {
	p, v := s.at.Lookup(m, key, cpuOf(m, s.cpu))
	return p, v, nil
}

// CPU is part of store.
func (s worldStore) CPU() smt.Term { return s.cpu }

// cpuOf is whose copy of an element of a map a program on a CPU works on; nil if there is but
// one.
func cpuOf(m *symbolic.Map, cpu smt.Term) smt.Term {
	if isPerCPU(m) {
		return cpu
	}
	return nil
}

// cpuAt is the CPU that an invocation runs on.
func cpuAt(inv *symbolic.Invocation) smt.Term {
	in, _ := inv.Input("cpu")
	return in.Term
}

// recording is a store that notes which keys were asked about: equal keys have one
// element, which the terms of the first world do not know by themselves.
type recording struct {
	store
	seen map[*symbolic.Map][]*symbolic.Bytes
}

// Lookup is part of store.
func (r *recording) Lookup(m *symbolic.Map, key *symbolic.Bytes) (smt.Term, *symbolic.Bytes, error) {
	known := false
	for _, k := range r.seen[m] {
		known = known || sameBytes(k, key)
	}
	if !known {
		r.seen[m] = append(r.seen[m], key)
	}
	return r.store.Lookup(m, key)
}

func isPerCPU(m *symbolic.Map) bool {
	s := m.Type.String()
	return strings.HasPrefix(s, "PerCPU") || strings.HasPrefix(s, "LRUCPU")
}

func isLRU(m *symbolic.Map) bool { return strings.HasPrefix(m.Type.String(), "LRU") }
