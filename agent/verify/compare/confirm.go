package compare

import (
	"slices"
	"strings"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// suspect is a claim of the last step of a scenario that a solver says can fail.
type suspect struct {
	*both
	before *moment
	steps  []step
	runs   [2][]*ran  // all paths of the last step
	base   []smt.Term // what holds of its inputs, whatever the programs do
	query  []smt.Term // can be true together: that the claim does not hold is the last
	claim  *claim
}

// confirm finds readable numbers for a suspected difference and runs both programs with them. Nil
// is that there are none that depend on the input only, or that they do not show the difference.
func (x *searching) confirm(f *suspect) *Difference {
	m := x.example(f)
	if m == nil || !x.replay(f, m) {
		return nil
	}
	names := x.names()
	d := &Difference{A: names[left], B: names[right], Kind: f.claim.kind, Subject: clean(f.claim.subject, 128)}
	if f.a.path == nil || f.b.path == nil {
		d.Kind = Place
	}
	d.ADoes, d.BDoes = f.claim.say(m)
	x.tell(d, f, m)
	return d
}

// example is a model of a difference with small values that tell things apart. What happens in the
// run of one program only is the same in both; the difference must not depend on it.
func (x *searching) example(f *suspect) smt.Model {
	vars := smt.Vars(f.query...)
	garbage := [2]bool{}
	for _, v := range smt.Vars(f.claim.holds) {
		in := symbolic.InputOf(v)
		switch {
		case in == nil || in.Kind == symbolic.Unknown || strings.HasPrefix(in.Name, "address of "):
			return nil
		case in.Kind == symbolic.Poison && x.ren.of[v] != nil:
			garbage[right] = true
		case in.Kind == symbolic.Poison:
			garbage[left] = true
		}
	}
	if garbage[left] && garbage[right] {
		return nil
	}
	fixed := append(slices.Clone(f.query), x.ren.aligned(vars)...)
	fixed = append(fixed, symbolic.Apart(x.b, vars)...)
	fixed = append(fixed, symbolic.Texts(x.b, vars, 1<<16)...)
	a := x.ask(x.ctx, fixed...)
	if a.Result != smt.Sat {
		return nil
	}
	model := a.Model
	vars = smt.Vars(fixed...)
	if plain := append(slices.Clone(fixed), x.printable(vars)...); len(plain) > len(fixed) {
		if a := x.ask(x.ctx, plain...); a.Result == smt.Sat {
			model, fixed = a.Model, plain
		}
	}
	slices.SortStableFunc(vars, func(a, b smt.Term) int { return weight(a) - weight(b) })
	var wished []smt.Wish
	for i, v := range vars {
		if in := symbolic.InputOf(v); in != nil && len(wished) < maxWishes {
			wished = append(wished, smt.Wish{Var: v, Values: x.wishes(in, v.Width(), i)})
		}
	}
	ask := func(terms ...smt.Term) smt.Answer { return x.ask(x.ctx, terms...) }
	return x.b.Prefer(model, fixed, wished, ask, func() bool { return x.ctx.Err() == nil })
}

// printable says of bytes that are parts of texts that they are plain characters, or NUL.
func (x *searching) printable(vars []smt.Term) []smt.Term {
	b := x.b
	var out []smt.Term
	for _, v := range vars {
		in := symbolic.InputOf(v)
		if in == nil || v.Width() != 8 || in.Kind != symbolic.Data || strings.HasPrefix(in.Name, "packet[") {
			continue
		}
		out = append(out, b.Or(b.Eq(v, b.Const(8, 0)), b.And(b.Ule(b.Const(8, 'a'), v), b.Ule(v, b.Const(8, 'z')))))
	}
	return out
}

// maxWishes bounds how many inputs get a value that people like to read.
const maxWishes = 40

// weight orders inputs: what people look at first gets its wish first.
func weight(v smt.Term) int {
	in := symbolic.InputOf(v)
	switch {
	case in == nil:
		return 9
	case in.Kind == symbolic.Choice:
		return 0
	case in.Kind == symbolic.Param:
		return 1
	case strings.HasSuffix(in.Name, "family"):
		return 2
	case in.Order == symbolic.BigOrder:
		return 3
	case in.Kind == symbolic.Pointer:
		return 6
	case v.Width() == 8:
		return 7
	}
	return 4
}

// wishes are values for an input, the best first.
func (x *searching) wishes(in *symbolic.Input, bits uint, i int) []uint64 {
	n := uint64(max(in.Invocation, 0))
	mask := ^uint64(0) >> (64 - bits)
	switch {
	case in.Kind == symbolic.Choice:
		return []uint64{0}
	case in.Kind == symbolic.Param:
		if v, ok := x.set(in, bits); ok {
			return []uint64{v}
		}
		return []uint64{0}
	case in.Order == symbolic.BigOrder && bits == 16:
		return []uint64{0xbb01} // 443
	case in.Order == symbolic.BigOrder && bits == 32:
		return []uint64{uint64(i%200+1)<<24 | 0x00000a} // 10.0.0.i
	case strings.HasSuffix(in.Name, ".tgid"):
		return []uint64{1000}
	case strings.HasSuffix(in.Name, ".pid"), strings.HasSuffix(in.Name, ".tid"):
		return []uint64{1001 + n, 1001, 1002, 1000}
	case in.Name == "now":
		return []uint64{1_000_000_000 * (n + 1)}
	case in.Kind == symbolic.Pointer:
		return []uint64{0xffff888000000000 + uint64(i+1)<<12}
	case strings.HasPrefix(in.Name, "packet["):
		if _, at, ok := element(in.Name); ok {
			return append(packetWishes[at], 0)
		}
		return []uint64{0}
	case bits == 8:
		return []uint64{0, 'a' + uint64(i%26)}
	case strings.HasSuffix(in.Name, "family"):
		return []uint64{2, 10}
	case isResult(in):
		return []uint64{0, 3, ^uint64(3) & mask, ^uint64(1) & mask} // -4 (EINTR), -2 (ENOENT)
	}
	return []uint64{uint64(i%50) + 2, 1, 0, mask}
}

// packetWishes are bytes of ordinary packets by their place: Ethernet, IPv4 or IPv6, TCP.
var packetWishes = map[int][]uint64{12: {0x08, 0x86, 0x81}, 13: {0x00, 0xdd}, 14: {0x45, 0x60, 0x46}, 20: {6}, 23: {6, 17}}

// set is what a parameter is set to, by its bytes in a variable's place.
func (x *searching) set(in *symbolic.Input, bits uint) (uint64, bool) {
	v := x.side[left].spec.Variables[in.Name]
	if v == nil || v.Size() != uint32(bits/8) || v.Size() > 8 {
		return 0, false
	}
	raw := make([]byte, v.Size())
	if v.Get(raw) != nil {
		return 0, false
	}
	var n uint64
	for i := len(raw) - 1; i >= 0; i-- {
		n = n<<8 | uint64(raw[i])
	}
	return n, true
}

// replay runs both programs through a scenario again, each branch as the model has it: one path for each
// step, whose conditions hold in the model, and at the end the same claim does not hold.
func (x *searching) replay(f *suspect, m smt.Model) bool {
	for _, t := range f.query {
		if m.Value(t) != 1 {
			return false
		}
	}
	world := x.begin
	for i, s := range f.steps {
		var rans [2]*ran
		for who, side := range x.side {
			r := &ran{s: x.session, who: who, inv: s.inv, from: world[who], after: world[who]}
			rans[who] = r
			prog := side.progs[s.at.prog[who]]
			if prog == nil {
				continue
			}
			model := m
			if who == right {
				model = rightModel{m, x.ren}
			}
			out, err := x.machine.Run(x.ctx, prog, s.inv.Follow(model), world[who])
			if err != nil || len(out.Unknown) > 0 || len(out.Paths) != 1 || len(out.Paths[0].Unknown) > 0 || out.Paths[0].Crash != nil {
				return false
			}
			r.path, r.prog = out.Paths[0], prog
			if r.path.World != nil {
				r.after = r.path.World
			}
			for _, t := range r.cond() {
				if m.Value(t) != 1 {
					return false
				}
			}
			world[who] = r.after
		}
		last := &both{s: x.session, place: s.at, a: rans[left], b: rans[right]}
		if last.effects() != nil {
			return false
		}
		wrong := func(c *claim) bool { return m.Value(c.holds) == 0 }
		if i < len(f.steps)-1 {
			if slices.ContainsFunc(last.out, wrong) {
				return false
			}
			continue
		}
		return slices.ContainsFunc(last.out, func(c *claim) bool {
			return c.kind == f.claim.kind && c.subject == f.claim.subject && c.doubt == "" && wrong(c)
		})
	}
	return false
}
