package symbolic

import (
	"kgent/agent/verify/smt"
)

// Value is what a register holds: a number (which addresses of the kernel and
// of processes are too), or a pointer to memory that the machine itself keeps.
type Value struct {
	// Term is the number, or the offset of a pointer within its region: 64
	// bits. It is nil in a register that was never written.
	Term smt.Term
	// Region is set for pointers.
	Region *Region
	// Valid says when the pointer is not NULL: width 1; nil is always.
	Valid smt.Term
	// Map is set for the address of a map.
	Map *Map
	// Func is the first instruction of a function plus one; 0 is none.
	Func int
}

func number(t smt.Term) Value { return Value{Term: t} }

// scalar tells whether the value is a number.
func (v Value) scalar() bool { return v.Region == nil && v.Map == nil && v.Func == 0 }

// Region is a piece of memory that the machine keeps byte by byte.
type Region struct {
	Kind RegionKind
	Name string
	// Size in bytes; of packets, the most that is kept.
	Size int
	Map  *Map // of elements, globals and records

	// fill gives a byte that was never written: a term and which byte of it.
	// It depends on the region and the offset alone.
	fill func(off int) (smt.Term, uint8)
	// addr is the region's address as a number.
	addr smt.Term
	// readonly regions cannot be stored to.
	readonly bool
	// released is the state of records; see state.open.
	cell *element
}

// RegionKind says what a region is.
type RegionKind int

const (
	_ RegionKind = iota
	StackRegion
	ContextRegion
	ElementRegion // an element of a map, also data sections
	RecordRegion  // a reserved record of a ring buffer
	PacketRegion
	OtherRegion
)

var regionNames = [...]string{"?", "stack", "context", "element", "record", "packet", "memory"}

func (k RegionKind) String() string { return regionNames[k] }

const pageBytes = 32

// content is what a region holds in one state. Pages are shared between
// states until one of them writes.
type content struct {
	pages []*page
	plain bool // some store was not atomic
}

type page struct {
	owner *owner
	oct   [pageBytes]octet
}

// owner identifies the state that may write to a page in place. Not empty, so
// that every one has an address of its own.
type owner struct{ _ byte }

func newContent(size int) *content {
	return &content{pages: make([]*page, (size+pageBytes-1)/pageBytes)}
}

func (c *content) clone() *content {
	d := *c
	d.pages = append([]*page(nil), c.pages...)
	return &d
}

// get is the byte at an offset, which must lie within the region.
func (c *content) get(r *Region, off int) octet {
	if p := c.pages[off/pageBytes]; p != nil {
		if o := p.oct[off%pageBytes]; o.term != nil || o.ptr != nil {
			return o
		}
	}
	t, part := r.fill(off)
	return octet{term: t, part: part, pc: -1}
}

// set changes one byte in place; the caller owns the content.
func (c *content) set(own *owner, off int, o octet) {
	p := c.pages[off/pageBytes]
	if p == nil {
		p = &page{owner: own}
		c.pages[off/pageBytes] = p
	} else if p.owner != own {
		q := *p
		q.owner = own
		p = &q
		c.pages[off/pageBytes] = p
	}
	p.oct[off%pageBytes] = o
}
