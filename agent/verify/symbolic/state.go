package symbolic

import (
	"fmt"
	"maps"
	"strings"

	"kgent/agent/verify/smt"
)

// node is one more condition of a path. Paths share their beginnings.
type node struct {
	up    *node
	term  smt.Term
	depth int
}

func (n *node) add(t smt.Term) *node {
	depth := 1
	if n != nil {
		depth = n.depth + 1
	}
	return &node{n, t, depth}
}

// terms are all conditions, the first first.
func (n *node) terms() []smt.Term {
	if n == nil {
		return nil
	}
	out := make([]smt.Term, n.depth)
	for ; n != nil; n = n.up {
		out[n.depth-1] = n.term
	}
	return out
}

// has looks for a condition, or its negation.
func (n *node) has(t, not smt.Term) (value, known bool) {
	for ; n != nil; n = n.up {
		switch n.term {
		case t:
			return true, true
		case not:
			return false, true
		}
	}
	return false, false
}

// frame is a function that has been called.
type frame struct {
	regs  [11]Value
	pc    int     // the instruction to execute, or, of callers, the call
	loops []int32 // how often each loop around pc has come round
	stack *Region
	// back is set for callbacks that a helper calls: what it does when the
	// callback returns.
	back *callback
}

// callback is a helper that calls a function several times.
type callback struct {
	turn  int32 // how often it has called
	limit smt.Term
	fn    int
	ctx   Value
	// elements are those that for_each_map_elem still visits.
	elements []*element
	m        *Map
}

// element is one element of a map in a state. A state's elements of one map
// have different keys (and, for per-CPU maps, processors).
type element struct {
	m       *Map
	key     *Bytes
	cpu     smt.Term // of per-CPU maps, else nil
	region  *Region  // of the present incarnation
	present smt.Term
	// base is what the element held when the last effect about it was
	// recorded; what differs from it is a Write still to be told.
	base       *content
	basePlain  bool
	incarnated int
}

// record is a reserved record of a ring buffer that is neither submitted nor
// discarded.
type record struct {
	region *Region
	valid  smt.Term
}

// state is one path as far as it has been explored.
type state struct {
	own    *owner
	frames []frame
	cond   *node
	mem    map[*Region]*content
	elems  map[*Map][]*element
	open   []record
	hands  map[*Region]hand // on records of [RecordsMap]; never changed, see setHand
	// losses are the choices by which events were lost that go through perf buffers. Only states with
	// the same ones are merged: of one that stands for both it could not be told any
	// more how many were lost.
	losses []smt.Term

	effects []*Effect
	unknown []Reason
	reads   []Read
	timers  []*Timer
	locks   int
	// dead are elements that were deleted or replaced, whose memory the map still has
	// for its next one: pointers to them see that.
	dead  []*element
	tails int // tail calls so far
	// randoms counts the random numbers that were drawn.
	randoms int
	trace   []int // of runs that follow a model

	packet packetState
	ctx    ctxState

	model *model // satisfies cond; nil when none is known
	forks int    // since the last check of feasibility
	pre   *state // as it was before the call in progress; nil otherwise
	key   []int32
}

func (s *state) top() *frame { return &s.frames[len(s.frames)-1] }

// fork copies the state. Both copies then own nothing.
func (s *state) fork() *state {
	t := *s
	s.own, t.own = new(owner), new(owner)
	t.frames = make([]frame, len(s.frames))
	copy(t.frames, s.frames)
	for i := range t.frames {
		t.frames[i].loops = append([]int32(nil), s.frames[i].loops...)
	}
	t.mem = make(map[*Region]*content, len(s.mem))
	for r, c := range s.mem {
		t.mem[r] = c.clone()
	}
	t.elems = maps.Clone(s.elems)
	for m, list := range t.elems {
		t.elems[m] = append([]*element(nil), list...)
	}
	t.open = append([]record(nil), s.open...)
	t.losses = s.losses[:len(s.losses):len(s.losses)]
	t.effects = s.effects[:len(s.effects):len(s.effects)]
	t.unknown = s.unknown[:len(s.unknown):len(s.unknown)]
	t.dead = s.dead[:len(s.dead):len(s.dead)]
	t.reads = s.reads[:len(s.reads):len(s.reads)]
	t.timers = s.timers[:len(s.timers):len(s.timers)]
	t.ctx.fields = maps.Clone(s.ctx.fields)
	t.key, t.pre = nil, nil
	return &t
}

// move sets the pc of the innermost frame and counts the turns of loops.
func (s *state) move(fl *flow, to int) {
	f := s.top()
	from := f.pc
	f.pc = to
	if from == to && !fl.head[to] {
		return
	}
	a, b := fl.place[from], fl.place[to]
	ka, kb := len(a)-1, len(b)-1
	if ka == 0 && kb == 0 {
		return
	}
	same := 0
	for same < ka && same < kb && a[same] == b[same] {
		same++
	}
	if same > len(f.loops) {
		same = len(f.loops)
	}
	f.loops = f.loops[:same]
	for len(f.loops) < kb {
		f.loops = append(f.loops, 0)
	}
	if fl.head[to] && same == kb {
		f.loops[kb-1]++
	}
}

// order computes the key by which states are explored: see flow.
func (s *state) order(fl *flow) []int32 {
	key := s.key[:0]
	for i := range s.frames {
		f := &s.frames[i]
		if f.back != nil {
			key = append(key, f.back.turn)
		}
		place := fl.place[f.pc]
		for d, p := range place {
			key = append(key, p)
			if d < len(place)-1 {
				turn := int32(0)
				if d < len(f.loops) {
					turn = f.loops[d]
				}
				key = append(key, turn)
			}
		}
	}
	s.key = key
	return key
}

// moment names the instruction that a state is about to execute, as one of all
// that a run executes: with the calls and the turns of loops it is in. Merged
// states and single runs agree about it.
func (s *state) moment() string {
	var sb strings.Builder
	if s.tails > 0 {
		fmt.Fprintf(&sb, "tail %d, ", s.tails)
	}
	for i := range s.frames {
		f := &s.frames[i]
		if i > 0 {
			sb.WriteString(" in ")
		}
		if f.back != nil {
			fmt.Fprintf(&sb, "turn %d, ", f.back.turn)
		}
		fmt.Fprintf(&sb, "%d", f.pc)
		for _, turn := range f.loops {
			fmt.Fprintf(&sb, "/%d", turn)
		}
	}
	return sb.String()
}
