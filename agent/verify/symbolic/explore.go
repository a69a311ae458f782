package symbolic

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kgent/agent/verify/smt"
)

// run is one exploration.
type run struct {
	*Machine
	ctx   context.Context
	p     *Program
	inv   *Invocation
	world *World
	flow  *flow
	out   *Outcome
	start time.Time

	impossible bool // set by find

	queue stateHeap
	now   []*state // to be continued at once, before anything of queue
	vars  map[smt.Term][]smt.Term
}

// Run explores p from one invocation in a world. It always returns an
// outcome; what it could not do is in there. The error is about the arguments:
// an invocation of another machine, a hook without a model.
func (m *Machine) Run(ctx context.Context, p *Program, inv *Invocation, w *World) (*Outcome, error) {
	if inv.m != m {
		return nil, errors.New("running a program: the invocation is of another machine")
	}
	if inv.p.Hook != p.Hook {
		return nil, fmt.Errorf("running a program: it is for %s %s, the invocation of %s %s", p.Hook.Kind, p.Hook.Target, inv.p.Hook.Kind, inv.p.Hook.Target)
	}
	ctx, cancel := context.WithTimeout(ctx, m.limits.Time)
	defer cancel()
	x := &run{Machine: m, ctx: ctx, p: p, inv: inv, world: w, flow: p.flow, out: &Outcome{}, start: time.Now(), vars: map[smt.Term][]smt.Term{}}
	x.explore()
	x.out.Stats.Time = time.Since(x.start)
	return x.out, nil
}

// explore does the work. A panic of the engine itself makes the outcome
// Unknown, as every other thing it cannot do.
func (x *run) explore() {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case smt.Exhausted, tooLarge:
			x.lost(fmt.Sprint(r), -1)
		default:
			x.lost(fmt.Sprintf("the engine failed: %v", r), -1)
		}
	}()
	first, err := x.begin()
	if err != nil {
		x.lost(err.Error(), -1)
		return
	}
	x.now = append(x.now, first)
	for x.more() {
		s := x.take()
		if s == nil {
			return
		}
		x.execute(s)
	}
}

// more tells whether the exploration may and must go on.
func (x *run) more() bool {
	if len(x.now) == 0 && len(x.queue) == 0 {
		return false
	}
	switch {
	case x.ctx.Err() != nil:
		x.lost(fmt.Sprintf("not explored within %v", x.limits.Time), -1)
	case x.out.Stats.Steps > x.limits.Steps:
		x.lost(fmt.Sprintf("more than %d instructions", x.limits.Steps), -1)
	case len(x.out.Paths) > x.limits.Paths, len(x.now)+len(x.queue) > 2*x.limits.Paths:
		x.lost(fmt.Sprintf("more than %d paths", x.limits.Paths), -1)
	default:
		return true
	}
	return false
}

// lost says that some inputs are not covered by the paths.
func (x *run) lost(what string, pc int) {
	x.out.Unknown = append(x.out.Unknown, x.reason(what, pc))
}

func (x *run) reason(what string, pc int) Reason {
	r := Reason{What: what, Pc: pc}
	if pc >= 0 && pc < len(x.p.Insns) {
		r.Line = x.p.Insns[pc].Line
	}
	return r
}

// take returns the state to continue with: one that was just forked, or the
// first of the queue, merged with all others that have arrived at the same
// place.
func (x *run) take() *state {
	if n := len(x.now); n > 0 {
		s := x.now[n-1]
		x.now = x.now[:n-1]
		return s
	}
	if len(x.queue) == 0 {
		return nil
	}
	s := heap.Pop(&x.queue).(*state)
	same := []*state{s}
	for len(x.queue) > 0 && slices.Equal(x.queue[0].key, s.key) {
		same = append(same, heap.Pop(&x.queue).(*state))
	}
	same = x.mergeAll(same)
	for _, t := range same[1:] {
		x.now = append(x.now, t)
	}
	return same[0]
}

// park puts a state into the queue, or says that it may go on at once because
// it is the first anyway.
func (x *run) park(s *state) (parked bool) {
	key := s.order(x.flow)
	if len(x.queue) == 0 && len(x.now) == 0 {
		return false
	}
	if len(x.now) == 0 && slices.Compare(key, x.queue[0].key) < 0 {
		return false
	}
	heap.Push(&x.queue, s)
	return true
}

// execute runs one state until it ends, forks, or has to wait for others.
func (x *run) execute(s *state) {
	for {
		if x.out.Stats.Steps++; x.out.Stats.Steps%1024 == 0 && !x.stillGoing() {
			x.now = append(x.now, s) // more() says why it ends
			return
		}
		if x.inv.start.Follow != nil {
			s.trace = append(s.trace, s.top().pc)
		}
		next := x.step(s)
		if next != goOn {
			return
		}
		if x.flow.join[s.top().pc] && x.park(s) {
			return
		}
	}
}

func (x *run) stillGoing() bool {
	return x.ctx.Err() == nil && x.out.Stats.Steps <= x.limits.Steps
}

// queueState makes a state wait for its turn.
func (x *run) queueState(s *state) {
	s.order(x.flow)
	heap.Push(&x.queue, s)
}

type stateHeap []*state

func (h stateHeap) Len() int           { return len(h) }
func (h stateHeap) Less(i, j int) bool { return slices.Compare(h[i].key, h[j].key) < 0 }
func (h stateHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *stateHeap) Push(s any)        { *h = append(*h, s.(*state)) }
func (h *stateHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	*h = old[:len(old)-1]
	return s
}

// forked is thrown by decide when an instruction cannot be executed as a
// whole: the state has been replaced by two that know the answer.
type forked struct{}

// ended is thrown when the state has ended within an instruction.
type ended struct{}

// decide returns whether c holds in the state. When both are possible the
// state is forked as it was before the instruction (snapshot), and the
// instruction given up: it will be executed again by both copies.
func (x *run) decide(s, snapshot *state, c smt.Term) bool {
	v, both := x.query(s, c)
	if !both {
		return v
	}
	x.out.Stats.Forks++
	if s.pre != nil {
		snapshot = s.pre
	}
	x.branch(snapshot, c)
	panic(forked{})
}

// branch continues a state in two copies, with c and without.
func (x *run) branch(s *state, c smt.Term) {
	t := s.fork()
	not := x.b.Not(c)
	x.assume(s, c)
	x.assume(t, not)
	x.now = append(x.now, t, s)
}

// assume adds a condition. Whether the state is still possible is not asked.
func (x *run) assume(s *state, c smt.Term) {
	s.cond = s.cond.add(c)
	if s.model != nil && s.model.Value(c) != 1 {
		s.model = nil
	}
}

// find asks the solver for a model of the state's condition. It sets
// x.impossible if there is none.
func (x *run) find(s *state) *model {
	terms := s.cond.terms()
	a := x.ask(terms)
	x.impossible = a.Result == smt.Unsat
	if a.Result != smt.Sat {
		return nil
	}
	m := &model{values: map[smt.Term]uint64{}}
	return m.with(x.varsOf(terms...), a.Model)
}

// known says what c is where that follows without asking the solver.
func (x *run) known(s *state, c smt.Term) (value, known bool) {
	if v, ok := c.Const(); ok {
		return v == 1, true
	}
	if m := x.inv.start.Follow; m != nil {
		return m.Value(c) == 1, true
	}
	return s.cond.has(c, x.b.Not(c))
}

// query says whether c can only be true or only be false in a state, or both.
// Not knowing counts as both: an impossible path is then explored in vain.
func (x *run) query(s *state, c smt.Term) (value, both bool) {
	if v, known := x.known(s, c); known {
		return v, false
	}
	if s.model != nil {
		v := s.model.Value(c) == 1
		other := c
		if v {
			other = x.b.Not(c)
		}
		_, possible := x.possible(s, other)
		return v, possible
	}
	m, can := x.possible(s, c)
	if !can {
		return false, false
	}
	if m != nil {
		s.model = m
	}
	_, cannot := x.possible(s, x.b.Not(c))
	return true, cannot
}

// possible asks whether the state's condition allows c, and for a model of
// both. Only the conditions that are connected with c by variables are asked
// about: the others hold by themselves. A question that was not answered
// counts as possible.
func (x *run) possible(s *state, c smt.Term) (*model, bool) {
	terms := x.related(s.cond, c)
	a := x.ask(terms)
	switch a.Result {
	case smt.Unsat:
		return nil, false
	case smt.Sat:
		if s.model != nil {
			return s.model.with(x.varsOf(terms...), a.Model), true
		}
	}
	return nil, true
}

func (x *run) ask(terms []smt.Term) smt.Answer {
	x.out.Stats.Queries++
	began := time.Now()
	ctx, cancel := context.WithTimeout(x.ctx, x.limits.Query)
	defer cancel()
	a, err := x.solver.Check(ctx, terms...)
	x.out.Stats.Solver += time.Since(began)
	if err != nil {
		return smt.Answer{Why: err.Error()}
	}
	return a
}

// related are c and the conditions that share variables with it, directly or
// through others.
func (x *run) related(n *node, c smt.Term) []smt.Term {
	terms := []smt.Term{c}
	in := map[smt.Term]bool{}
	for _, v := range x.varsOf(c) {
		in[v] = true
	}
	rest := n.terms()
	for changed := true; changed; {
		changed = false
		keep := rest[:0:len(rest)]
		for _, t := range rest {
			vars := x.varsOf(t)
			if !slices.ContainsFunc(vars, func(v smt.Term) bool { return in[v] }) {
				keep = append(keep, t)
				continue
			}
			terms, changed = append(terms, t), true
			for _, v := range vars {
				in[v] = true
			}
		}
		rest = keep
	}
	return terms
}

func (x *run) varsOf(terms ...smt.Term) []smt.Term {
	if len(terms) == 1 {
		if v, ok := x.vars[terms[0]]; ok {
			return v
		}
		v := smt.Vars(terms[0])
		x.vars[terms[0]] = v
		return v
	}
	var all []smt.Term
	seen := map[smt.Term]bool{}
	for _, t := range terms {
		for _, v := range x.varsOf(t) {
			if !seen[v] {
				seen[v], all = true, append(all, v)
			}
		}
	}
	return all
}

// require ends the part of a state where c does not hold as a crash, and goes
// on with the rest.
func (x *run) require(s, snapshot *state, c smt.Term, what string) {
	if x.decide(s, snapshot, c) {
		return
	}
	x.crash(s, what)
}

// crash ends a state: the program does what the kernel does not allow.
func (x *run) crash(s *state, what string) {
	r := x.reason(what, s.top().pc)
	x.finish(s, nil, &r)
	panic(ended{})
}

// giveUp ends a state that cannot be followed any further.
func (x *run) giveUp(s *state, what string) {
	x.doubt(s, what)
	x.finish(s, nil, nil)
	panic(ended{})
}

// doubt notes that something about the state is not modelled.
func (x *run) doubt(s *state, what string) {
	r := x.reason(what, s.top().pc)
	if !slices.Contains(s.unknown, r) {
		s.unknown = append(s.unknown, r)
	}
}

// finish makes a path of a state, unless its condition turns out impossible.
func (x *run) finish(s *state, ret smt.Term, crash *Reason) {
	terms := s.cond.terms()
	if s.model == nil && len(terms) > 0 && x.inv.start.Follow == nil {
		if a := x.ask(terms); a.Result == smt.Unsat {
			x.out.Stats.Impossible++
			return
		}
	}
	p := &Path{Cond: terms, Return: ret, Crash: crash, Unknown: s.unknown, Reads: s.reads, Timers: s.timers, Trace: s.trace}
	if crash == nil && ret != nil {
		x.flushWrites(s)
		x.flushPacket(s, p)
	}
	p.Effects, p.Unknown = s.effects, s.unknown
	p.World = x.worldOf(s)
	x.out.Paths = append(x.out.Paths, p)
	x.out.Stats.Paths++
}
