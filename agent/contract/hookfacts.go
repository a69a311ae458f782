package contract

import (
	"fmt"
	"slices"
	"strings"

	"kgent/agent/program"
	"kgent/retrieval/kernel"
	"kgent/retrieval/notes"
)

// forbids says why an input has no meaning at a place, or "".
func (p *CheckedPlace) forbids(name string) string {
	net := strings.HasPrefix(p.Kind, "cgroup_skb") || strings.HasPrefix(p.Kind, "tcx") || p.Kind == "socket"
	switch {
	case strings.HasPrefix(name, "packet"):
		if p.Kind != "xdp" && !net {
			return fmt.Sprintf("there is no packet at %s", p.Place)
		}
		if name == "packet.cgroup" && !strings.HasPrefix(p.Kind, "cgroup_skb") && p.Kind != "tcx/egress" {
			return fmt.Sprintf("at %s a packet belongs to no cgroup", p.Place)
		}
	case name == "probe.function" && !program.Kind(p.Kind).Multi():
		return fmt.Sprintf("probe.function is for places at several functions, kprobe.multi and its kin; at %s it is known which one runs", p.Place)
	case (name == "probe.returns" || name == "probe.call") && p.Kind != "kprobe.session":
		return fmt.Sprintf("%s is for kprobe.session, where one program sees calls and returns; this is %s", name, p.Place)
	case strings.HasPrefix(name, "current") && (p.Kind == "xdp" || net):
		return fmt.Sprintf("%s: at %s no task can be named, for packets are handled while any task runs", name, p.Place)
	case strings.HasPrefix(name, "current") || name == "user_stack":
		if n := p.note(); n != nil && !n.Task.Means() && n.OwnWhen.Argument == "" {
			return fmt.Sprintf("%s means nothing at %s: %s", name, p.Place, n.Whose)
		}
	}
	return ""
}

// note is what is known about the place's hook, nil if nothing is.
func (p *CheckedPlace) note() *notes.Note { return notes.Of(p.Kind, p.Target) }

// hookFacts checks what a case makes of its inputs against what is known about the hook:
// whether the task may be asked for and members hold what their names say where the
// condition holds. nil is the condition of what follows "otherwise".
func (k *checker) hookFacts(p *CheckedPlace, when *Value, effects []CheckedEffect) {
	n := p.note()
	if n == nil {
		return
	}
	task := n.Task.Means() || n.OwnWhen.Argument == "" || p.implies(when, n.OwnWhen) // else an error by now
	lapses := slices.DeleteFunc(slices.Clone(n.Lapses), func(l notes.Lapse) bool {
		return l.Usable || l.At != notes.Whenever || !k.holds(l) || l.When.Argument != "" && !p.implies(when, l.When)
	})
	seen := map[*Value]bool{}
	var visit func(v *Value)
	visit = func(v *Value) {
		if v == nil || seen[v] {
			return
		}
		seen[v] = true
		if !task && v.Op == OpInput && (strings.HasPrefix(v.Name, "current") || v.Name == "user_stack") {
			k.errorf(v.At, "%s means nothing at %s for most changes of %s: %s; ask in the case's condition for one that a task makes: %s == %s",
				v.Name, p.Place, n.OwnWhen.Argument, n.Whose, n.OwnWhen.Argument, strings.Join(n.OwnWhen.Names(), ", "))
		}
		for _, l := range lapses {
			if p.reads(v, l.Member) {
				k.errorf(v.At, "%s", p.lapse(l))
			}
		}
		for _, a := range v.Args {
			visit(a)
		}
	}
	visit(when)
	for _, e := range effects {
		for _, v := range slices.Concat(e.Key, e.Fields, []*Value{e.Value}) {
			visit(v)
		}
	}
}

// holds tells whether a lapse is one of this kernel: if it is not of all and the
// kernel's release is not known, nothing is held against it.
func (k *checker) holds(l notes.Lapse) bool {
	facts, ok := k.types.kernel.(*kernel.Facts)
	if !ok {
		return l.Since == "" && l.Until == ""
	}
	return l.Holds(facts.Release)
}

// reads tells whether a value is a read of a member that is named as in a note:
// "sk.__sk_common.skc_num", by that way and no other, or a record's "sport".
func (p *CheckedPlace) reads(v *Value, member string) bool {
	name, path, deep := strings.Cut(member, ".")
	arg := p.argument(name)
	switch {
	case arg < 0:
		return false
	case !deep:
		return v.Op == OpArg && v.Index == arg
	}
	return (v.Op == OpLoad || v.Op == OpMember) && v.Path == path && v.Args[0].Op == OpArg && v.Args[0].Index == arg
}

// argument is the index of the argument that the kernel calls so, -1 if the contract does not ask for it.
func (p *CheckedPlace) argument(name string) int {
	return slices.IndexFunc(p.Place.Args, func(a Arg) bool { return a.Name == name })
}

// lapse says what is wrong with a member here.
func (p *CheckedPlace) lapse(l notes.Lapse) string {
	at := map[notes.Phase]string{notes.Entry: "the entry of ", notes.Return: "the return of "}[l.At] + p.Target
	if l.When.Argument != "" {
		at += ", where " + l.When.String() + ","
	}
	text := "at " + at + " " + l.Why
	if l.At == notes.Whenever {
		text = "at " + at + " " + l.Member + ": " + l.Why
	}
	if l.Use != "" {
		text += "; " + l.Use
	}
	return text
}

// manyValues is more than any argument has whose values a note lists.
const manyValues = 64

// implies tells whether a condition holds for no other values of an argument than
// those: it is false for all others, whatever else it depends on.
func (p *CheckedPlace) implies(when *Value, values notes.Values) bool {
	arg := p.argument(values.Argument)
	if arg < 0 || when == nil {
		return false
	}
	for n := range uint64(manyValues) {
		if values.Includes(n) {
			continue
		}
		if v := withArg(when, arg, n, map[*Value]*Value{}); v.Op != OpConst || v.Bits != 0 {
			return false
		}
	}
	return true
}

// withArg is a value with a number in the place of an argument.
func withArg(v *Value, arg int, n uint64, done map[*Value]*Value) *Value {
	return replaced(v, done, func(v *Value) *Value {
		if v.Op != OpArg || v.Index != arg {
			return nil
		}
		return &Value{Op: OpConst, Bits: n, Type: v.Type, From: v.From, At: v.At}
	})
}

// replaced is a value with others in the place of those for which by gives some.
func replaced(v *Value, done map[*Value]*Value, by func(*Value) *Value) *Value {
	if out := done[v]; out != nil {
		return out
	}
	out := *v
	if x := by(v); x != nil {
		out = *x
	}
	out.Args = make([]*Value, len(v.Args))
	for i, a := range v.Args {
		out.Args[i] = replaced(a, done, by)
	}
	done[v] = fold(&out)
	return done[v]
}

// tooEarly says why a member, by whatever way, means nothing at the entry or return of
// a function, or "".
func (k *checker) tooEarly(p *CheckedPlace, member string) string {
	n, phase := p.note(), notes.PhaseOf(p.Kind, p.Target)
	if n == nil || phase == notes.Whenever {
		return ""
	}
	for _, l := range n.Lapses {
		last := l.Member[strings.LastIndexByte(l.Member, '.')+1:]
		if l.At == phase && !l.Usable && k.holds(l) && last == member {
			return p.lapse(l)
		}
	}
	return ""
}
