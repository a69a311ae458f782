package symbolic

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
)

// What a session's program leaves in its cookie at a call it finds there at the return of that call, and nobody else
// does. So the cookies of all calls that have not returned are a map by the number of the call, which holds
// something for every call whose return the program is run at: it was run at the call before, and
// returned 0. At the call the kernel does not clear it.

// CookieMap is what the map of a program's cookies is called in [Program.Maps].
func CookieMap(program string) string { return ".cookie " + program }

const (
	sessionCookie = "bpf_session_cookie"
	cookieSize    = 8
)

// linkCookies adds the cookies of the programs that use theirs.
func linkCookies(spec *ebpf.CollectionSpec, maps map[string]*Map) {
	for name, p := range spec.Programs {
		uses := slices.ContainsFunc(p.Instructions, func(ins asm.Instruction) bool { return ins.IsKfuncCall() && ins.Reference() == sessionCookie })
		if uses && hookOf(p).Kind == KprobeSession {
			number := &btf.Int{Name: "unsigned long long", Size: cookieSize}
			maps[CookieMap(name)] = &Map{Name: CookieMap(name), Type: ebpf.TaskStorage, KeySize: 8, ValueSize: cookieSize, Key: number, Value: number}
		}
	}
}

// cookies is the map of the program's cookies, nil without any.
func (p *Program) cookies() *Map { return p.Maps[CookieMap(p.Name)] }

// cookie is the element of the call.
func (x *run) cookie(s *state) *element {
	return x.element(s, s, x.p.cookies(), NewBytes(x.b, x.inv.call()), nil)
}

// cookieOf is bpf_session_cookie(): the address of the call's cookie.
func cookieOf(c *call) Value {
	if c.p.cookies() == nil {
		c.crash(c.s, "asks for a cookie where there is no session")
	}
	e := c.cookie(c.s)
	if c.decide(c.s, c.s, c.inv.returns()) {
		c.assume(c.s, e.present)
	} else if !e.present.IsTrue() {
		e = c.bake(c.s, e)
	}
	return Value{Term: c.b.Const(64, 0), Region: e.region}
}

// bake makes the cookie of a call that has just begun: whatever was in that memory.
func (x *run) bake(s *state, e *element) *element {
	x.assume(s, x.b.Not(e.present))
	old := x.world.origin.bytes(e.region, s.mem[e.region])
	fresh := make([]smt.Term, cookieSize)
	for i := range fresh {
		fresh[i], _ = x.inv.poison("the cookie", 0)(i)
	}
	data := NewBytes(x.b, fresh...)
	n := s.edit(e)
	n.present = x.b.True()
	content := s.mem[n.region]
	for i, o := range data.oct {
		content.set(s.own, i, o)
	}
	n.base = content.clone()
	s.own = new(owner)
	s.effects = append(s.effects, &Effect{Op: Update, Map: n.m, Key: n.key, Data: data, Old: old, Before: x.b.False(), After: x.b.True(), Atomic: true, Pc: s.top().pc})
	return n
}

// endSession leaves the cookie for the return of the call, or for nobody.
func (x *run) endSession(s *state, ret smt.Term) {
	m := x.p.cookies()
	if m == nil {
		return
	}
	e := x.cookie(s)
	gone := func() { x.remove(s, s, m, e.key) }
	switch {
	case x.decide(s, s, x.inv.returns()):
		x.assume(s, e.present)
		gone()
	case x.decide(s, s, x.b.Eq(x.b.Extract(31, 0, ret), x.b.Const(32, 0))):
		if !e.present.IsTrue() {
			x.bake(s, e)
		}
	case e.present.IsTrue():
		gone()
	default:
		x.assume(s, x.b.Not(e.present))
	}
}
