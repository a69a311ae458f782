package symbolic

import (
	"fmt"
	"slices"

	"kgent/agent/verify/smt"
)

// tailCall goes on in another program, or, when there is none at the index,
// behind the call. Whether a program of the object is there is open: user
// space fills the array.
func tailCall(c *call) Value {
	m := c.mapArg(2)
	index := c.b.Extract(31, 0, c.num(3))
	progs := c.p.Tails[m.Name]
	if len(progs) == 0 {
		c.doubt(c.s, fmt.Sprintf("what %s holds is not known", m.Name))
		return c.k(-2)
	}
	var keys []uint32
	for k := range progs {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if c.decide(c.s, c.s, c.b.Eq(index, c.b.Const(32, uint64(k)))) {
			absent := c.inv.variable(1, &Input{Kind: Choice, Event: Absent, Name: fmt.Sprintf("no program in %s[%d]", m.Name, k), Map: m.Name, Pc: -1})
			if c.decide(c.s, c.s, absent) {
				return c.k(-2)
			}
			if c.s.tails++; c.s.tails > 33 { // MAX_TAIL_CALL_CNT
				return c.k(-2)
			}
			if len(c.s.frames) > 1 {
				// The other program returns to the function's caller.
				c.giveUp(c.s, "a tail call from a function")
			}
			ctx := c.arg(1)
			for i := range c.s.frames {
				delete(c.s.mem, c.s.frames[i].stack)
			}
			c.s.frames = nil
			c.enter(c.s, progs[k], []Value{ctx}, nil)
			c.s.pre = nil
			c.queueState(c.s)
			return Value{}
		}
	}
	return c.k(-2)
}

// loop is bpf_loop: calls the function with 0, 1, … until it returns 1 or the
// limit is reached, and returns the number of calls.
func loop(c *call) Value {
	fn := c.arg(2)
	if fn.Func == 0 {
		c.crash(c.s, "calls bpf_loop without a function")
	}
	if c.constant(4, "flags") != 0 {
		return c.k(-22)
	}
	limit := c.b.Extract(31, 0, c.num(1))
	if c.decide(c.s, c.s, c.b.Ult(c.b.Const(32, 1<<23), limit)) {
		return c.k(-7)
	}
	back := &callback{limit: limit, fn: fn.Func - 1, ctx: c.arg(3)}
	return c.callAgain(c.s, back)
}

// callAgain calls a helper's callback for its next turn, or returns from the
// helper when there is none.
func (x *run) callAgain(s *state, back *callback) Value {
	turn := x.b.Const(64, uint64(back.turn))
	if back.limit != nil {
		more := x.b.Ult(x.b.Const(32, uint64(back.turn)), back.limit)
		if !x.decide(s, s, more) {
			return number(turn)
		}
		s.pre = nil
		x.enter(s, back.fn, []Value{number(turn), back.ctx}, back)
		x.queueState(s)
		return Value{}
	}
	for len(back.elements) > 0 {
		e := x.findElement(s, back.m, back.elements[0].key, back.elements[0].cpu)
		if e == nil || !x.decide(s, s, e.present) {
			next := *back
			next.elements = back.elements[1:]
			back = &next
			continue
		}
		key := &Region{Kind: OtherRegion, Name: "the key", Size: e.key.Len(), addr: x.inv.address("a key", KernelSpace), readonly: true}
		k := e.key
		key.fill = func(off int) (smt.Term, uint8) { return k.oct[off].term, k.oct[off].part }
		s.pre = nil
		s.mem[key] = newContent(key.Size)
		args := []Value{
			{Term: x.b.Const(64, 0), Map: back.m},
			{Term: x.b.Const(64, 0), Region: key},
			{Term: x.b.Const(64, 0), Region: e.region},
			back.ctx,
		}
		x.enter(s, back.fn, args, back)
		x.queueState(s)
		return Value{}
	}
	return number(turn)
}

// callbackReturns goes on in the helper whose callback has returned.
func (x *run) callbackReturns(s *state, ret Value) verdict {
	f := s.top()
	back := *f.back
	stop := x.decide(s, s, x.b.Not(x.b.Eq(x.num(ret), x.b.Const(64, 0))))
	back.turn++
	if !stop && back.limit != nil {
		// Decide before the frame is left: the exit may have to be repeated.
		stop = !x.decide(s, s, x.b.Ult(x.b.Const(32, uint64(back.turn)), back.limit))
	}
	if back.turn >= maxTurns {
		x.giveUp(s, fmt.Sprintf("a callback is called more than %d times", maxTurns))
	}
	delete(s.mem, f.stack)
	s.frames = s.frames[:len(s.frames)-1]
	if back.m != nil {
		back.elements = back.elements[1:]
		if stop {
			back.elements = nil
		}
		s.pre = s.fork()
	} else if stop {
		return x.returned(s, number(x.b.Const(64, uint64(back.turn))))
	}
	v := x.callAgain(s, &back)
	s.pre = nil
	if v.Term == nil {
		return gone
	}
	return x.returned(s, v)
}

const maxTurns = 1 << 16

// forEach is bpf_for_each_map_elem over a map whose elements are all known: an
// array, or a hash table that began empty.
func forEach(c *call) Value {
	m := c.mapArg(1)
	fn := c.arg(2)
	if fn.Func == 0 {
		c.crash(c.s, "calls bpf_for_each_map_elem without a function")
	}
	back := &callback{fn: fn.Func - 1, ctx: c.arg(3), m: m}
	switch {
	case isArray(m) && m.MaxEntries <= 256:
		for i := range m.MaxEntries {
			back.elements = append(back.elements, c.element(c.s, c.s, m, NewBytes(c.b, c.b.Const(32, uint64(i))), c.cpuOf(m)))
		}
	case keyed(m) && !isArray(m) && c.world.origin.content(m) == Fresh:
		back.elements = slices.Clone(c.s.elems[m])
	default:
		c.giveUp(c.s, fmt.Sprintf("going through %s, whose elements are not all known", m.Name))
	}
	return c.callAgain(c.s, back)
}

func timerInit(c *call) Value { return c.failure() }

// timerSetCallback remembers which function a timer will call.
func timerSetCallback(c *call) Value {
	v, fn := c.arg(1), c.arg(2)
	if v.Region == nil || v.Region.Kind != ElementRegion || fn.Func == 0 {
		c.crash(c.s, "sets the callback of what is no timer")
	}
	for m, list := range c.s.elems {
		for _, e := range list {
			if e.region == v.Region {
				c.s.timers = append(c.s.timers, &Timer{Map: m, Key: e.key, Func: fn.Func - 1, Pc: c.s.top().pc})
			}
		}
	}
	return c.failure()
}

// timerArgs are what a timer's callback is called with: the map, the key, and
// the value. An element whose timer fires exists.
func (x *run) timerArgs(s *state, t *Timer) []Value {
	m := x.world.origin.canonical(t.Map)
	e := x.findElement(s, m, t.Key, x.cpuOf(m))
	if e == nil {
		e = x.addElement(s, m, t.Key, x.cpuOf(m))
	}
	if !e.present.IsTrue() {
		s.cond = s.cond.add(e.present)
		s.model = x.find(s)
	}
	key := &Region{Kind: OtherRegion, Name: "the key", Size: t.Key.Len(), addr: x.inv.address("a key", KernelSpace), readonly: true}
	key.fill = func(off int) (smt.Term, uint8) { return t.Key.oct[off].term, t.Key.oct[off].part }
	s.mem[key] = newContent(key.Size)
	zero := x.b.Const(64, 0)
	return []Value{{Term: zero, Map: m}, {Term: zero, Region: key}, {Term: zero, Region: e.region}}
}

// kfunc executes a call of a kernel function.
func (x *run) kfunc(s *state, ins *Insn) verdict {
	c := &call{run: x, s: s, name: ins.Kfunc}
	copy(c.args[:], s.top().regs[1:6])
	s.pre = s.fork()
	var ret Value
	switch ins.Kfunc {
	case "bpf_iter_num_new":
		ret = iterNumNew(c)
	case "bpf_iter_num_next":
		ret = iterNumNext(c)
	case "bpf_iter_num_destroy", "bpf_rcu_read_lock", "bpf_rcu_read_unlock", "bpf_preempt_disable", "bpf_preempt_enable":
		ret = c.k(0)
	case "bpf_task_from_pid", "bpf_task_acquire", "bpf_cgroup_acquire":
		ret = c.sameKfunc()
	case "bpf_session_is_return":
		if x.p.Hook.Kind != KprobeSession {
			c.crash(s, "asks whether a call returns where there is no session")
		}
		ret = number(x.b.ZeroExt(64, x.inv.returns()))
	case sessionCookie:
		ret = cookieOf(c)
	case "bpf_task_release", "bpf_cgroup_release":
		ret = c.k(0)
	default:
		c.doubt(s, "kernel function "+ins.Kfunc+" is not modelled")
		ret = number(x.fresh(s, 64, &Input{Kind: Unknown, Name: "result of " + ins.Kfunc}))
	}
	s.pre = nil
	return x.returned(s, ret)
}

// sameKfunc is a kfunc that returns the object it is given, or NULL.
func (c *call) sameKfunc() Value {
	if c.name == "bpf_task_from_pid" {
		return pointerResult("task "+c.world.origin.termName(c.num(1)), "task_struct")(c)
	}
	no := c.fresh(c.s, 1, &Input{Kind: Choice, Event: Absent, Name: c.name + " gives NULL"})
	return number(c.b.Ite(no, c.b.Const(64, 0), c.num(1)))
}

// iterNumNew is bpf_iter_num_new(it, start, end). The iterator keeps, as in
// the kernel, the current number and the end as two 32-bit numbers.
func iterNumNew(c *call) Value {
	b := c.b
	start, end := b.Extract(31, 0, c.num(2)), b.Extract(31, 0, c.num(3))
	wide := b.Sub(b.SignExt(64, end), b.SignExt(64, start))
	bad := b.Slt(end, start)
	far := b.Slt(b.Const(64, 1<<23), wide)
	invalid := b.Or(bad, far)
	zero := b.Const(32, 0)
	cur := b.Ite(invalid, zero, b.Sub(start, b.Const(32, 1)))
	c.writeBytes(c.s, c.arg(1), NewBytes(b, cur, b.Ite(invalid, zero, end)).oct)
	return number(b.Ite(bad, b.Const(64, ^uint64(21)), b.Ite(far, b.Const(64, ^uint64(6)), b.Const(64, 0))))
}

func iterNumNext(c *call) Value {
	b := c.b
	it := c.bytes(1, 8)
	cur, end := it.At(0, 4), it.At(4, 4)
	next := b.Add(cur, b.Const(32, 1))
	if !c.decide(c.s, c.s, b.Slt(next, end)) {
		c.writeBytes(c.s, c.arg(1), zeroOctets(b, 8))
		return c.k(0)
	}
	c.writeBytes(c.s, c.arg(1), NewBytes(b, next, end).oct)
	v := c.arg(1)
	v.Valid = nil
	return v
}

// symbolAddress is the address of a kernel symbol, 0 when the kernel does not
// have it.
func (x *run) symbolAddress(s *state, name string) Value {
	if x.p.types.function(name) == nil && !x.p.types.variable(name) {
		return number(x.b.Const(64, 0))
	}
	return number(x.inv.address("symbol "+name, KernelSpace))
}
