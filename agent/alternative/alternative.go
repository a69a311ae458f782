// Package alternative finds, for the kernels that a program is for, hooks that all of them have.
//
// A contract names the hook that suits best: fentry/tcp_connect. A kernel may lack it: no trampolines for programs, no
// kprobes, lockdown, types from a file. What is signed is one program for all nodes, so the choice is made when the
// program is prepared, of what the inventories of all its nodes say, and in the contract, which says what the program
// has to do: places are replaced by places that mean the same, the program is written from the contract that comes of
// it, and is proved against that. What was replaced, by what, why and for whom is said. In order of preference:
//
//	fentry/f      → kprobe/f → the tracepoint that all calls of f pass, where one is known (retrieval/notes)
//	kprobe/f      → fentry/f → the tracepoint
//	fexit/f       → kretprobe/f; where it uses arguments: kprobe/f, which remembers them by thread, and kretprobe/f → the tracepoint
//	kretprobe/f   → fexit/f → the tracepoint, where it has the result
//	tp_btf/t      → raw_tracepoint/t
//
// So it is with ring buffers, through which programs hand over events: where a kernel has none (before Linux 5.8), the same
// source is compiled for perf buffers, see [Buffers].
//
// A place for which there is nothing stays what it is, and the gates refuse it with what that kernel has.
package alternative

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/retrieval/kernel"
	"kgent/retrieval/notes"
)

// Kernel is one of the kernels that a program is for.
type Kernel struct {
	Facts *kernel.Facts
	// Name names it, and the nodes that have it, in messages; empty for this machine.
	Name string
}

// Replacement is a place of a contract that was replaced.
type Replacement struct {
	From string // "fexit/vfs_read"
	To   string // "kprobe/vfs_read and kretprobe/vfs_read"
	// Why says why the place cannot be attached to, a line for each kernel that it is true of.
	Why []string
	// Unlike says what differs; empty: nothing.
	Unlike string
}

// String says it in a line, as cards do.
func (r Replacement) String() string {
	text := fmt.Sprintf("%s was replaced by %s: %s", r.From, r.To, strings.Join(r.Why, "; "))
	if r.Unlike != "" {
		text += "; " + r.Unlike
	}
	return text
}

// nested is what differs where arguments are remembered by thread.
const nested = "of calls within calls of the same function on one thread only the innermost counts"

// waiting is what differs of every probe at a return, which takes memory for each call that has not returned
// (kernel/kprobes.c:register_kretprobe). What finds none is a run that was skipped, in the account of the end.
const waiting = "of calls that are under way at the same time ten are followed, or two for each processor if that is more; before Linux 6.2 it may be one for each"

// unthreaded is what differs besides where interrupts may call the function: the idle tasks of all CPUs have one thread id.
const unthreaded = ", and none in an interrupt of an idle processor"

// Hooks returns the contract with places that all kernels can attach to, as far as there are any, and what was replaced.
// Without need it returns the contract itself. An error is about the kernels' facts.
func Hooks(c *contract.Contract, kernels []Kernel) (*contract.Contract, []Replacement, error) {
	if c == nil {
		return nil, nil, nil
	}
	types := make([]*contract.Types, len(kernels))
	next := c
	var did []Replacement
	for h := 0; h < len(next.Hooks); h++ {
		for p := range next.Hooks[h].Places {
			place := next.Hooks[h].Places[p]
			why, err := lacking(place, kernels)
			if err != nil {
				return nil, nil, err
			}
			if len(why) == 0 {
				continue
			}
			for i, k := range kernels {
				if types[i] == nil {
					if types[i], err = contract.NewTypes(k.Facts); err != nil {
						return nil, nil, err
					}
				}
			}
			x := &chooser{kernels: kernels, types: types}
			from := place.String()
			if chosen, to, unlike := x.replaced(next, h, p); chosen != nil {
				did = append(did, Replacement{From: from, To: to, Why: why, Unlike: unlike})
				// A hook may have been put before this one.
				h += len(chosen.Hooks) - len(next.Hooks)
				next = chosen
			}
		}
	}
	if len(did) == 0 {
		return c, nil, nil
	}
	return next, did, nil
}

// Buffers says what takes the place of ring buffers, nil if all kernels have them.
func Buffers(kernels []Kernel) (*Replacement, error) {
	var why []string
	for _, k := range kernels {
		lacks, err := k.Facts.NoRingBuffers()
		switch {
		case err != nil:
			return nil, err
		case lacks == "":
		case k.Name == "":
			why = append(why, lacks)
		default:
			why = append(why, k.Name+": "+lacks)
		}
	}
	if len(why) == 0 {
		return nil, nil
	}
	return &Replacement{From: "the ring buffer of events", To: "a perf buffer on each processor, on all nodes", Why: why, Unlike: besides}, nil
}

// besides is what differs of perf buffers.
const besides = "events of several processors are put in order by their time; one that comes while another is being put together on its processor, in an interrupt, is lost, and counted"

// Depends tells whether a contract has places that a kernel may refuse although it knows them: at functions.
func Depends(c *contract.Contract) bool {
	return c != nil && slices.ContainsFunc(c.Hooks, func(h *contract.Hook) bool {
		return slices.ContainsFunc(h.Places, func(p *contract.Place) bool {
			return slices.Contains(instead[p.Kind], tracepoint)
		})
	})
}

// lacking says which kernels cannot attach to a place, and why.
func lacking(p *contract.Place, kernels []Kernel) (why []string, err error) {
	kind, target := p.Where()
	if len(instead[kind]) == 0 {
		return nil, nil
	}
	for _, k := range kernels {
		lacks, ok := errors.AsType[*kernel.UnsupportedError](k.Facts.CheckHook(kind, target))
		switch {
		case !ok: // it can be attached to, or does not exist, or is wrong: for the gates to say
		case k.Name == "":
			why = append(why, lacks.Why)
		default:
			why = append(why, k.Name+": "+lacks.Why)
		}
	}
	return why, nil
}

// instead are the kinds that take the place of a kind, the best first; tracepoint is that of a function.
var instead = map[string][]string{
	"fentry":    {"kprobe", tracepoint},
	"kprobe":    {"fentry", tracepoint},
	"fexit":     {"kretprobe", tracepoint},
	"kretprobe": {"fexit", tracepoint},
	"tp_btf":    {"raw_tracepoint"},
}

// tracepoint is the tracepoint that stands for a function.
const tracepoint = "tracepoint"

type chooser struct {
	kernels []Kernel
	types   []*contract.Types
}

// replaced is the contract with something in the place's stead, nil if there is nothing that all kernels have.
func (x *chooser) replaced(c *contract.Contract, h, p int) (next *contract.Contract, to, unlike string) {
	kind := c.Hooks[h].Places[p].Kind
	for _, other := range instead[kind] {
		next, err := contract.Parse(contract.Format(c))
		if err != nil {
			return nil, "", ""
		}
		hook := next.Hooks[h]
		place := hook.Places[p]
		switch {
		case other == tracepoint:
			to, unlike, err = x.tracepoint(place)
		case kind == "fexit":
			to, unlike, err = x.pair(next, hook, place)
		default:
			if place.Kind = other; other == "kprobe" {
				err = x.registers(place)
			}
			to = place.String()
		}
		if err != nil {
			continue
		}
		// As it is read, for what people and the proof get is the text.
		if next, err = contract.Parse(contract.Format(next)); err != nil {
			continue
		}
		if x.fits(next, to) {
			return next, to, unlike
		}
	}
	return nil, "", ""
}

// fits tells whether a contract has a meaning on all kernels, and these places can be attached to.
func (x *chooser) fits(c *contract.Contract, places string) bool {
	for i, k := range x.kernels {
		for _, place := range strings.Split(places, and) {
			kind, target, _ := strings.Cut(place, "/")
			if kind == "tracepoint" {
				target = strings.Replace(target, "/", ":", 1)
			}
			if k.Facts.CheckHook(kind, target) != nil {
				return false
			}
		}
		if _, err := contract.Check(c, x.types[i]); err != nil {
			return false
		}
	}
	return true
}

// and joins the places of a pair.
const and = " and "

// pair puts probes at the entry and the return of a function in the stead of fexit.
func (x *chooser) pair(c *contract.Contract, h *contract.Hook, p *contract.Place) (to, unlike string, err error) {
	checked, err := contract.Check(c, x.types[0])
	if err != nil {
		return "", "", err
	}
	n := notes.Of(p.Kind, p.Target)
	idle := n == nil || n.Task != notes.Own
	if n != nil && !n.Task.Means() && slices.ContainsFunc(p.Args, func(a contract.Arg) bool { return a.Name != "ret" }) {
		return "", "", errors.New("it runs in interrupts, too: what was known at the call cannot be kept by thread")
	}
	if err := x.registers(p); err != nil {
		return "", "", err
	}
	target := p.Target
	before := len(c.Memories)
	if err := c.Pair(h, p, checked, "kprobe", "kretprobe", idle); err != nil {
		return "", "", err
	}
	if len(c.Memories) == before {
		return "kretprobe/" + target, waiting, nil
	}
	if unlike = nested; idle {
		unlike += unthreaded
	}
	return "kprobe/" + target + and + "kretprobe/" + target, unlike + "; " + waiting, nil
}

// registers refuses arguments that a probe does not find in the registers that are theirs.
func (x *chooser) registers(p *contract.Place) error {
	for _, k := range x.kernels {
		f, err := k.Facts.Function(p.Target)
		if err != nil {
			return err
		}
		for _, param := range f.Params()[contract.InRegisters(f):] {
			if slices.ContainsFunc(p.Args, func(a contract.Arg) bool { return a.Name == param.Name }) {
				return fmt.Errorf("a probe does not find %s in a register", param.Name)
			}
		}
	}
	return nil
}

// tracepoint puts the tracepoint that stands for a function in a place's stead.
func (x *chooser) tracepoint(p *contract.Place) (to, unlike string, err error) {
	var same notes.Same
	for i, k := range x.kernels {
		s, ok := notes.SameAs(p.Kind, p.Target, k.Facts.Release)
		if !ok || i > 0 && s.Tracepoint != same.Tracepoint {
			return "", "", errors.New("no tracepoint is known to stand for it")
		}
		same = s
	}
	for i, a := range p.Args {
		name, ok := same.Arguments[a.Name]
		if a.Name == "ret" {
			name, ok = same.Result, same.Result != ""
		}
		if !ok {
			return "", "", fmt.Errorf("the tracepoint %s does not have %s", same.Tracepoint, a.Name)
		}
		p.Args[i].As, p.Args[i].Name = a.Local(), name
		if p.Args[i].As == name {
			p.Args[i].As = ""
		}
	}
	p.Kind, p.Target = x.kindOf(same), same.Tracepoint
	return p.String(), same.Unlike, nil
}

// Explained adds to an error of [kernel.Facts.CheckHook] the tracepoint that stands for the function, if the kernel has
// nothing nearer.
func Explained(err error, k *kernel.Facts) error {
	lacks, ok := errors.AsType[*kernel.UnsupportedError](err)
	if !ok || strings.HasPrefix(lacks.Instead, "use ") {
		return err
	}
	same, ok := notes.SameAs(lacks.Kind, lacks.Target, k.Release)
	if !ok {
		return err
	}
	place := contract.Place{Target: same.Tracepoint, Kind: (&chooser{kernels: []Kernel{{Facts: k}}}).kindOf(same)}
	kind, target := place.Where()
	if k.CheckHook(kind, target) != nil {
		return err
	}
	more := *lacks
	more.Instead = fmt.Sprintf("use %s %s, which fires for the same calls", kind, target)
	if same.Unlike != "" {
		more.Instead += " (" + same.Unlike + ")"
	}
	return &more
}

// kindOf is the kind by which all kernels can attach to a tracepoint.
func (x *chooser) kindOf(s notes.Same) string {
	switch {
	case s.Syscall():
		return kernel.KindTracepoint
	case slices.ContainsFunc(x.kernels, func(k Kernel) bool { return k.Facts.CheckHook(kernel.KindTPBTF, s.Tracepoint) != nil }):
		return kernel.KindRawTracepoint
	}
	return kernel.KindTPBTF
}
