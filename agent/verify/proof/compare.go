package proof

import (
	"fmt"
	"net/netip"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// touched is an element of an output map that a path has looked at or changed.
type touched struct {
	key           *symbolic.Bytes
	here          smt.Term // it is shared, or the copy of the CPU that the program runs on
	before, after smt.Term // whether it is there
	was, is       *symbolic.Bytes
	pc            int // of the last effect on it
}

// aPath is one path of the program together with what it leaves.
type aPath struct {
	*symbolic.Path
	post store
	// cells are the touched elements of an output map.
	cells func(m *symbolic.Map) []touched
}

// comparer makes the claims that one path of a program at a place does what one run of
// the contract does.
type comparer struct {
	words
	c     *contract.Checked
	b     *binding
	place *placeBinding
	maps  map[string]*symbolic.Map
	path  *aPath
	run   *run
	out   []*claim
}

// id is that of a claim about the cases of the run: "place/case/rest".
func (x *comparer) id(rest string) string {
	name := x.place.name
	if cases := strings.Join(x.run.cases, "+"); cases != "" {
		name += "/" + cases
	}
	return name + "/" + rest
}

// when is the run's cases in words.
func (x *comparer) when() string {
	if len(x.run.cases) == 0 {
		return "at " + x.place.name + ", which the contract does not name"
	}
	return fmt.Sprintf("at %s, in case %s", x.place.name, strings.Join(x.run.cases, " and "))
}

func (x *comparer) claim(rest, words string, holds smt.Term) *claim {
	c := &claim{id: x.id(rest), words: words, holds: holds, pc: -1}
	x.out = append(x.out, c)
	return c
}

// never claims that what was found does not happen: it fails wherever the path and the run
// meet.
func (x *comparer) never(rest, words, expected, got string, pc int) {
	c := x.claim(rest, words, x.words.b.False())
	c.pc = pc
	c.show = func(smt.Model) (string, string) { return expected, got }
}

// effects makes all claims about effects.
func (x *comparer) effects() error {
	if err := x.events(); err != nil {
		return err
	}
	for i := range x.b.tables {
		if err := x.table(i); err != nil {
			return err
		}
	}
	x.returns()
	x.others()
	return nil
}

// events compares events in number, order and members.
func (x *comparer) events() error {
	var got []*symbolic.Effect
	for _, e := range x.path.Effects {
		if e.Op == symbolic.Emit {
			got = append(got, e)
		}
	}
	want := x.run.events
	number := fmt.Sprintf("%s, the program emits %s", x.when(), eventsOf(x.c, want))
	if len(got) != len(want) || !x.sameKinds(got, want) {
		pc := -1
		if len(got) > 0 {
			pc = got[len(got)-1].Pc
		}
		x.never("events", number, eventsOf(x.c, want), emitted(got), pc)
		return nil
	}
	x.claim("events", number, x.words.b.True())
	for i, e := range got {
		if err := x.event(e, want[i]); err != nil {
			return err
		}
	}
	return nil
}

func (x *comparer) sameKinds(got []*symbolic.Effect, want []emission) bool {
	for i, e := range got {
		if e.Map == nil {
			return false
		}
		if at, ok := x.b.rings[e.Map.Name]; !ok || at != want[i].event {
			return false
		}
	}
	return true
}

func eventsOf(c *contract.Checked, want []emission) string {
	if len(want) == 0 {
		return "no event"
	}
	var names []string
	for _, e := range want {
		names = append(names, c.Events[e.event].Name)
	}
	if len(names) == 1 {
		return "one event " + names[0]
	}
	return "the events " + strings.Join(names, ", ") + " in this order"
}

func emitted(got []*symbolic.Effect) string {
	if len(got) == 0 {
		return "no event"
	}
	var names []string
	for _, e := range got {
		if e.Map != nil {
			names = append(names, e.Map.Name)
		} else {
			names = append(names, "a sequence file")
		}
	}
	return fmt.Sprintf("%d: %s", len(names), strings.Join(names, ", "))
}

// event compares the members of one event.
func (x *comparer) event(e *symbolic.Effect, want emission) error {
	ev := x.c.Events[want.event]
	bound := x.b.events[want.event]
	size := fmt.Sprintf("%s, the event %s has the size of its type, %d bytes", x.when(), ev.Name, bound.size)
	if e.Data.Len() != bound.size || e.Size != nil {
		x.never(ev.Name+".size", size, fmt.Sprintf("%d bytes", bound.size), fmt.Sprintf("%d bytes", e.Data.Len()), e.Pc)
		return nil
	}
	x.claim(ev.Name+".size", size, x.words.b.True())
	for j, m := range bound.members {
		words := fmt.Sprintf("%s, %s.%s is %s", x.when(), ev.Name, m.name, sourceOf(want.by, j))
		if err := x.same(ev.Name+"."+m.name, words, ev.Members[j].Type, want.fields[j], e.Data, m); err != nil {
			return err
		}
	}
	return nil
}

// sourceOf is the contract's expression for a member.
func sourceOf(e *contract.CheckedEffect, j int) string {
	if e != nil && j < len(e.Fields) && e.Fields[j] != nil && e.Fields[j].From != nil {
		return contract.ExprString(e.Fields[j].From)
	}
	return "as the contract says"
}

// same claims that a member holds a value.
func (x *comparer) same(rest, words string, typ contract.Type, want value, data *symbolic.Bytes, m member) error {
	have := data.Slice(m.off, m.size)
	expected, err := x.stored(x.held(typ, want), m.size)
	if err != nil {
		return fmt.Errorf("%s: %w", rest, err)
	}
	c := x.claim(rest, words, x.match(typ, expected, have))
	if typ.Kind == contract.TextKind && expected.Len() == have.Len() && !c.holds.IsTrue() {
		for i := range expected.Len() {
			c.enough = append(c.enough, x.words.b.Eq(expected.At(i, 1), have.At(i, 1)))
		}
	}
	c.pc = data.Wrote(m.off)
	c.show = func(model smt.Model) (string, string) {
		return shown(typ, expected.Eval(model)), shown(typ, have.Eval(model))
	}
	return nil
}

// stored is a value as the program keeps it: scripts cut texts.
func (x *comparer) stored(v value, size int) (*symbolic.Bytes, error) {
	if x.b.script != nil {
		return x.textOf(v, size)
	}
	return x.store(v, size)
}

// match says that bytes hold what is expected: texts up to their NUL, arguments as many as
// there are.
func (x *comparer) match(typ contract.Type, expected, have *symbolic.Bytes) smt.Term {
	switch {
	case sameBytes(expected, have):
		return x.words.b.True()
	case typ.Kind == contract.TextKind:
		return x.textEqual(expected, have)
	case typ.Kind == contract.ArgsKind:
		return x.argsEqual(expected, have)
	}
	return expected.Equal(have)
}

// argsEqual compares the length and as many bytes as it says.
func (x *comparer) argsEqual(p, q *symbolic.Bytes) smt.Term {
	b := x.words.b
	n := p.At(0, 4)
	all := []smt.Term{b.Eq(n, q.At(0, 4))}
	for i := 4; i < p.Len(); i++ {
		all = append(all, b.Implies(b.Ult(b.Const(32, uint64(i-4)), n), b.Eq(p.At(i, 1), q.At(i, 1))))
	}
	return b.And(all...)
}

// returns compares the returned value where it means something.
func (x *comparer) returns() {
	b := x.words.b
	if x.place.place == nil {
		x.lets()
		return
	}
	if x.run.ret == nil {
		return
	}
	words := fmt.Sprintf("%s, the program returns what the contract says", x.when())
	if x.path.Return == nil {
		x.never("return", words, "a value", "it does not return", -1)
		return
	}
	want, got := b.Extract(31, 0, x.run.ret.term), b.Extract(31, 0, x.path.Return)
	same := b.Eq(want, got)
	if x.run.unread != nil {
		same = b.Or(same, x.run.unread)
	}
	c := x.claim("return", words, same)
	c.show = func(m smt.Model) (string, string) {
		return fmt.Sprint(int32(m.Value(want))), fmt.Sprint(int32(m.Value(got)))
	}
}

// lets claims that a program at a hook that the contract does not name lets everything go
// on as if it were not there.
func (x *comparer) lets() {
	words := fmt.Sprintf("%s, the program returns what changes nothing", x.when())
	kind, _, _ := strings.Cut(x.place.name, "/")
	var neutral int32
	switch kind {
	case "tracepoint", "raw_tracepoint", "tp_btf", "kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi", "kprobe.session", "socket", "fentry", "fexit", "uprobe", "uretprobe", "usdt", "perf_event", "interval", "software", "script":
		return // nobody asks for it
	case "xdp":
		neutral = 2 // XDP_PASS
	case "tcx":
		neutral = -1 // TCX_NEXT
	case "cgroup_skb", "cgroup":
		neutral = 1
	case "lsm", "fmod_ret":
		neutral = 0
	default:
		x.never("return", words, "a hook whose return value means nothing", "a program at "+x.place.name, -1)
		return
	}
	if x.path.Return == nil {
		x.never("return", words, fmt.Sprint(neutral), "it does not return", -1)
		return
	}
	got := x.words.b.Extract(31, 0, x.path.Return)
	c := x.claim("return", words, x.words.b.Eq(got, x.words.b.Const(32, uint64(uint32(neutral)))))
	c.show = func(m smt.Model) (string, string) { return fmt.Sprint(neutral), fmt.Sprint(int32(m.Value(got))) }
}

// others claims that there are no effects of other kinds.
func (x *comparer) others() {
	words := fmt.Sprintf("%s, the program has no other effects", x.when())
	found := false
	for _, e := range x.path.Effects {
		what := ""
		switch e.Op {
		case symbolic.Act:
			what = "it calls " + e.Helper
		case symbolic.PacketWrite:
			what = "it changes the packet"
		case symbolic.Context:
			what = "it changes what the hook handed over"
		case symbolic.Print:
			what = "it writes to the trace pipe"
		case symbolic.Update, symbolic.Delete, symbolic.Write:
			if e.Map != nil && !x.ours(e.Map.Name) {
				what = "it changes map " + e.Map.Name
			}
		}
		if what != "" {
			found = true
			x.never("frame", words, "nothing else", what, e.Pc)
		}
	}
	if !found {
		x.claim("frame", words, x.words.b.True())
	}
}

// ours tells whether changes of a map are compared or are the program's own affair.
func (x *comparer) ours(name string) bool {
	_, output := x.b.outputs[name]
	return output || x.b.internal[name] || name == statsMap || strings.HasPrefix(name, ".")
}

// shown is a member's value for people.
func shown(typ contract.Type, data []byte) string {
	switch {
	case typ.Kind == contract.IPKind && len(data) == 16:
		return netip.AddrFrom16([16]byte(data)).Unmap().String()
	case typ.Meaning == "ipv4" && len(data) == 4:
		return netip.AddrFrom4([4]byte(data)).String()
	}
	switch typ.Kind {
	case contract.TextKind:
		return quoted(data)
	case contract.Int, contract.Bool, contract.Pointer:
		var v uint64
		for i := len(data) - 1; i >= 0; i-- {
			v = v<<8 | uint64(data[i])
		}
		if typ.Signed && len(data) < 8 {
			v = uint64(int64(v<<(64-8*len(data))) >> (64 - 8*len(data)))
		}
		return number(v, typ.Signed)
	}
	return fmt.Sprintf("% x", data)
}
