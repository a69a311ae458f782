package smt

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Builder makes terms and keeps each once. It may be used from any number of
// goroutines. Terms of different Builders must not be mixed.
type Builder struct {
	shards [64]shard
	memo   memo
	made   atomic.Uint32 // terms so far
	most   uint32        // MaxTerms

	mu   sync.Mutex
	vars map[string]Term
}

type shard struct {
	sync.Mutex
	nodes map[uint64]Term // by hash
}

// MaxTerms is how many terms a Builder makes, some 400 MB with all that is known about
// them. What has more to say is not for this package.
const MaxTerms = 1_000_000

// Exhausted is what making one term too many panics with. Whoever builds terms for
// others to judge recovers from it, and has no answer then.
type Exhausted struct{}

func (Exhausted) Error() string { return fmt.Sprintf("it takes more than %d terms", MaxTerms) }

// number is that of a new term.
func (b *Builder) number() uint32 {
	n := b.made.Add(1)
	if n > b.most {
		panic(Exhausted{})
	}
	return n
}

// New returns an empty Builder.
func New() *Builder {
	b := &Builder{vars: make(map[string]Term), most: MaxTerms}
	for i := range b.shards {
		b.shards[i].nodes = make(map[uint64]Term)
		b.memo[i].terms = make(map[memoKey]Term)
	}
	return b
}

// Const is the constant v, of which the low width bits are taken.
func (b *Builder) Const(width uint, v uint64) Term {
	checkWidth(width)
	v &= mask(width)
	return b.intern(OpConst, width, v, nil, nil)
}

// True is the boolean constant 1.
func (b *Builder) True() Term { return b.Const(1, 1) }

// False is the boolean constant 0.
func (b *Builder) False() Term { return b.Const(1, 0) }

// Bool is the boolean constant for v.
func (b *Builder) Bool(v bool) Term {
	if v {
		return b.True()
	}
	return b.False()
}

// Var is the variable of that name. It is made at the first call and keeps
// the info of that call; later ones must ask for the same width.
func (b *Builder) Var(width uint, info *Info) Term {
	checkWidth(width)
	if info == nil || info.Name == "" {
		panic("smt: a variable needs a name")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.vars[info.Name]; v != nil {
		if v.width != width {
			panic(fmt.Sprintf("smt: variable %s has %d bits, not %d", info.Name, v.width, width))
		}
		return v
	}
	v := &Node{op: OpVar, ops: opsOf(OpVar, nil), id: b.number(), width: width, info: info, facts: anyFacts(width), hash: hashOfNode(OpVar, width, 0, nil, info)}
	b.vars[info.Name] = v
	return v
}

// Lookup is the variable of that name, or nil.
func (b *Builder) Lookup(name string) Term {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.vars[name]
}

// node is the term of that form, or its value if the form allows only one.
func (b *Builder) node(op Op, width uint, val uint64, args ...Term) Term {
	return b.intern(op, width, val, args, deriveFacts)
}

// intern returns the term of that form that was made first. What it is known to be
// is asked for a new one only; if it is a constant, that is returned.
func (b *Builder) intern(op Op, width uint, val uint64, args []Term, know func(*Node) facts) Term {
	hash := hashOfNode(op, width, val, args, nil)
	s := &b.shards[hash>>58]
	s.Lock()
	old := s.find(hash, op, width, val, args)
	s.Unlock()
	if old != nil {
		return old
	}
	n := &Node{op: op, ops: opsOf(op, args), width: width, val: val, args: args, hash: hash}
	if know == nil {
		n.facts = constFacts(val, width)
	} else if n.facts = know(n); n.facts.isConst() {
		return b.Const(width, n.facts.umin)
	}
	s.Lock()
	defer s.Unlock()
	if old := s.find(hash, op, width, val, args); old != nil { // made meanwhile
		return old
	}
	n.id = b.number()
	n.next, s.nodes[hash] = s.nodes[hash], n
	return n
}

func (s *shard) find(hash uint64, op Op, width uint, val uint64, args []Term) Term {
	for n := s.nodes[hash]; n != nil; n = n.next {
		if n.op == op && n.width == width && n.val == val && slices.Equal(n.args, args) {
			return n
		}
	}
	return nil
}

// memo remembers what became of operations that walk through choices and sums.
// These may be shared so often that walking them again and again, as the trees
// they stand for, would never end.
type memo [64]struct {
	sync.Mutex
	terms map[memoKey]Term
}

type memoKey struct {
	op     Op
	x, y   Term
	hi, lo uint
}

func (m *memo) get(k memoKey) Term {
	s := &m[k.x.hash>>58]
	s.Lock()
	defer s.Unlock()
	return s.terms[k]
}

func (m *memo) put(k memoKey, t Term) Term {
	s := &m[k.x.hash>>58]
	s.Lock()
	defer s.Unlock()
	s.terms[k] = t
	return t
}

// hashOfNode depends on the form of a term alone, not on the order in which
// terms were made: what is sorted by it is sorted alike in every run.
func hashOfNode(op Op, width uint, val uint64, args []Term, info *Info) uint64 {
	h := uint64(op)<<32 | uint64(width)<<16 | uint64(len(args))
	h = mixed(h, val)
	if info != nil {
		for i := 0; i < len(info.Name); i++ {
			h = mixed(h, uint64(info.Name[i]))
		}
	}
	for _, a := range args {
		h = mixed(h, a.hash)
	}
	return mixed(h, prime)
}

const prime = 0x9e3779b97f4a7c15

func mixed(h, v uint64) uint64 {
	h = (h ^ v) * prime
	return h ^ h>>29
}

// compare orders terms by their form: by hash, and if ever two differ with
// the same hash, in depth.
func compare(x, y Term) int {
	switch {
	case x == y:
		return 0
	case x.hash != y.hash:
		return cmpUint(x.hash, y.hash)
	case x.op != y.op:
		return cmpUint(uint64(x.op), uint64(y.op))
	case x.width != y.width:
		return cmpUint(uint64(x.width), uint64(y.width))
	case x.val != y.val:
		return cmpUint(x.val, y.val)
	case x.op == OpVar:
		return strings.Compare(x.info.Name, y.info.Name)
	}
	return slices.CompareFunc(x.args, y.args, compare)
}

func cmpUint(a, b uint64) int {
	if a < b {
		return -1
	}
	return 1
}

func checkWidth(width uint) {
	if width < 1 || width > 64 {
		panic(fmt.Sprintf("smt: width %d is not 1 to 64", width))
	}
}

func sameWidth(name string, x, y Term) {
	if x.width != y.width {
		panic(fmt.Sprintf("smt: %s of %d and %d bits: %v, %v", name, x.width, y.width, x, y))
	}
}

func isBool(name string, x Term) {
	if x.width != 1 {
		panic(fmt.Sprintf("smt: %s needs a boolean, not %d bits: %v", name, x.width, x))
	}
}
