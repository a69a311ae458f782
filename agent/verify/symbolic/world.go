package symbolic

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
)

// World is what the maps of an object hold at one moment. It never changes;
// running a program makes new ones.
type World struct {
	origin *origin
	elems  map[*Map][]*element
	mem    map[*Region]*content
}

// origin is how a scenario begins. All worlds of the scenario share it.
type origin struct {
	m      *Machine
	opts   WorldOptions
	suffix string
	byName map[string]*Map
	own    *kernelTypes

	mu      sync.Mutex
	regions map[string]*Region // the first incarnation of elements
	inner   map[string]*Map    // the maps in maps of maps
}

// Cell is an element that runs have looked at or changed.
type Cell struct {
	Key     *Bytes
	Cpu     smt.Term // of per-CPU maps: whose copy it is; else nil
	Present smt.Term // width 1
	Value   *Bytes   // meaningful where Present
}

// NewWorld returns the world in which a scenario of programs of one object
// begins. The programs must have been linked for the same collection.
func (m *Machine) NewWorld(p *Program, opts WorldOptions) *World {
	suffix := m.names.invocation(-1)
	suffix = strings.Replace(suffix, "#-1", "", 1)
	if opts.Beside != nil {
		suffix = opts.Beside.origin.suffix
	}
	o := &origin{m: m, opts: opts, suffix: suffix, byName: p.Maps, regions: map[string]*Region{}, own: typesOf(&Kernel{})}
	return &World{origin: o, elems: map[*Map][]*element{}, mem: map[*Region]*content{}}
}

// Cells are the elements of a map that the runs so far have looked at. Of the
// others nothing has changed.
func (w *World) Cells(m *Map) []Cell {
	var out []Cell
	for _, e := range w.elems[w.origin.canonical(m)] {
		out = append(out, Cell{Key: e.key, Cpu: e.cpu, Present: e.present, Value: w.origin.bytes(e.region, w.mem[e.region])})
	}
	return out
}

// canonical is the map of that name in the world: programs of one object that
// were linked one by one have their own descriptions of the same maps.
func (o *origin) canonical(m *Map) *Map {
	if c := o.byName[m.Name]; c != nil {
		return c
	}
	return m
}

// bytes copies a region's content.
func (o *origin) bytes(r *Region, c *content) *Bytes {
	if c == nil {
		c = newContent(r.Size)
	}
	o.m.describe(r.Size)
	out := &Bytes{b: o.m.b, oct: make([]octet, r.Size)}
	for i := range out.oct {
		out.oct[i] = c.get(r, i)
	}
	return out
}

// content is how a map begins.
func (o *origin) content(m *Map) Content {
	if m.ReadOnly || m.Type == ebpf.ProgramArray {
		return Fresh
	}
	if c, ok := o.opts.Maps[m.Name]; ok {
		return c
	}
	return o.opts.Default
}

// keyName identifies a key for names of variables and regions.
func (o *origin) keyName(key *Bytes, cpu smt.Term) string {
	var sb strings.Builder
	for off := 0; off < key.Len(); off += 8 {
		if off > 0 {
			sb.WriteByte(',')
		}
		sb.WriteString(o.termName(key.At(off, min(8, key.Len()-off))))
	}
	if cpu != nil {
		sb.WriteString(" on cpu " + o.termName(cpu))
	}
	return sb.String()
}

func (o *origin) termName(t smt.Term) string {
	if c, ok := t.Const(); ok {
		return fmt.Sprint(c)
	}
	if in := InputOf(t); in != nil {
		return t.Info().Name
	}
	return fmt.Sprintf("k%d", o.m.names.id(t))
}

// region is the memory of an element as the scenario begins.
func (o *origin) region(m *Map, key *Bytes, cpu smt.Term) *Region {
	name := fmt.Sprintf("%s[%s]", m.Name, o.keyName(key, cpu))
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.regions[name]; r != nil {
		return r
	}
	r := o.newRegion(m, name)
	r.fill = remembered(r.Size, o.filler(m, key, name))
	o.regions[name] = r
	return r
}

// remembered asks for each byte once.
func remembered(size int, fill func(off int) (smt.Term, uint8)) func(off int) (smt.Term, uint8) {
	type part struct {
		term smt.Term
		i    uint8
	}
	var mu sync.Mutex
	var known []part
	return func(off int) (smt.Term, uint8) {
		mu.Lock()
		defer mu.Unlock()
		if known == nil {
			known = make([]part, size)
		}
		if off < 0 || off >= size {
			return fill(off)
		}
		p := &known[off]
		if p.term == nil {
			p.term, p.i = fill(off)
		}
		return p.term, p.i
	}
}

func (o *origin) newRegion(m *Map, name string) *Region {
	checkObject("an element of map "+m.Name, int(m.ValueSize))
	return &Region{
		Kind: ElementRegion, Name: name, Size: int(m.ValueSize), Map: m, readonly: m.ReadOnly || m.Flags&bpfFRdonlyProg != 0,
		addr: o.m.variable(64, &Input{Kind: Pointer, Space: KernelSpace, Name: "address of " + name, Map: m.Name, Invocation: -1, Bits: 64, Pc: -1}, o.suffix),
	}
}

const bpfFRdonlyProg = 1 << 7

// filler says what an element holds at first.
func (o *origin) filler(m *Map, key *Bytes, name string) func(int) (smt.Term, uint8) {
	fresh := o.content(m) == Fresh
	entries := initial(m)
	symbolic := o.symbolicVars(m)
	b := o.m.b
	if isRecords(m) { // is not seen before it is taken, see reach
		return func(off int) (smt.Term, uint8) { return b.Const(8, 0), 0 }
	}
	return func(off int) (smt.Term, uint8) {
		for _, v := range symbolic {
			if uint32(off) >= v.Offset && uint32(off) < v.Offset+v.Size {
				return o.leaf(v.Name, v.Type, Param, "", off-int(v.Offset))
			}
		}
		if !fresh {
			return o.leaf(name, m.Value, Stored, m.Name, off)
		}
		v := b.Const(8, 0)
		for _, e := range entries {
			if off < len(e.value) {
				v = b.Ite(key.Equal(ConstBytes(b, e.key)), b.Const(8, uint64(e.value[off])), v)
			}
		}
		return v, 0
	}
}

func (o *origin) symbolicVars(m *Map) []Var {
	var out []Var
	if m.ReadOnly {
		for _, v := range m.Vars {
			if slices.Contains(o.opts.Params, v.Name) {
				out = append(out, v)
			}
		}
	}
	return out
}

// leaf is the variable for the piece of a value that contains byte off, and
// which byte of it that is. Bit-fields and what has no type are single bytes.
func (o *origin) leaf(name string, t btf.Type, kind Kind, mapName string, off int) (smt.Term, uint8) {
	in := &Input{Kind: kind, Invocation: -1, Bits: 8, Map: mapName, Pc: -1}
	part := 0
	l, ok := leaf{}, false
	if t != nil {
		l, ok = o.types().leafAt(t, uint64(off)*8)
	}
	if ok && l.bit%8 == 0 && l.bits%8 == 0 {
		in.Name, in.Type, in.Order, in.Bits = name+l.path, l.typ, orderOf(l.typ), uint(l.bits)
		in.Unit = unitOf(l.typ)
		in.Offset = l.bit
		part = off - int(l.bit/8)
	} else {
		in.Name, in.Offset = fmt.Sprintf("%s+%d", name, off), uint64(off)*8
	}
	return o.m.variable(in.Bits, in, o.suffix), uint8(part)
}

// types answers questions about the object's own types. They are not a
// kernel's, and are asked about here alone.
func (o *origin) types() *kernelTypes { return o.own }

// entry is an element that the object gives a map.
type entry struct{ key, value []byte }

// initial are the elements that the object gives a map, as bytes.
func initial(m *Map) (out []entry) {
	for _, kv := range m.Contents {
		var e entry
		switch v := kv.Key.(type) {
		case uint32:
			e.key = binary.LittleEndian.AppendUint32(nil, v)
		case []byte:
			e.key = v
		}
		if data, ok := kv.Value.([]byte); ok && len(e.key) == int(m.KeySize) {
			e.value = data
			out = append(out, e)
		}
	}
	return out
}

// present is whether an element exists at first.
func (o *origin) present(m *Map, key *Bytes, cpu smt.Term) smt.Term {
	b := o.m.b
	if isArray(m) {
		return b.Ult(key.At(0, 4), b.Const(32, uint64(m.MaxEntries)))
	}
	if o.content(m) == Fresh {
		there := b.False()
		for _, e := range initial(m) {
			there = b.Or(there, key.Equal(ConstBytes(b, e.key)))
		}
		return there
	}
	name := fmt.Sprintf("present %s[%s]", m.Name, o.keyName(key, cpu))
	return o.m.variable(1, &Input{Kind: Stored, Event: Absent, Name: name, Invocation: -1, Bits: 1, Map: m.Name, Pc: -1}, o.suffix)
}

// isArray tells whether a map has a fixed set of elements that always exist.
func isArray(m *Map) bool {
	switch m.Type {
	case ebpf.Array, ebpf.PerCPUArray:
		return m.KeySize == 4
	}
	return false
}

// worldOf is the world that a state leaves.
func (x *run) worldOf(s *state) *World {
	w := &World{origin: x.world.origin, elems: s.elems, mem: map[*Region]*content{}}
	for _, list := range s.elems {
		for _, e := range list {
			w.mem[e.region] = s.mem[e.region]
		}
	}
	return w
}

// adopt brings the elements of a world into a state.
func (x *run) adopt(s *state, w *World) {
	for m, list := range w.elems {
		own := make([]*element, len(list))
		for i, e := range list {
			c := *e
			c.base = w.mem[e.region]
			own[i] = &c
			fresh := c.base.clone()
			fresh.plain = false
			s.mem[e.region] = fresh
		}
		s.elems[m] = own
	}
}

func sameBytes(x, y *Bytes) bool {
	if x.Len() != y.Len() {
		return false
	}
	for off := 0; off < x.Len(); off += 8 {
		n := min(8, x.Len()-off)
		if x.At(off, n) != y.At(off, n) {
			return false
		}
	}
	return true
}

func (x *run) findElement(s *state, m *Map, key *Bytes, cpu smt.Term) *element {
	for _, e := range s.elems[m] {
		if e.cpu == cpu && sameBytes(e.key, key) {
			return e
		}
	}
	return nil
}

// sameElement is the formula that an element has that key.
func (x *run) sameElement(e *element, key *Bytes, cpu smt.Term) smt.Term {
	same := e.key.Equal(key)
	if cpu != nil && e.cpu != nil {
		same = x.b.And(same, x.b.Eq(e.cpu, cpu))
	}
	return same
}

// element finds the element of a key. Whether two keys are the same is
// decided: where both is possible the state is forked.
func (x *run) element(s, snapshot *state, m *Map, key *Bytes, cpu smt.Term) *element {
	m = x.world.origin.canonical(m)
	if e := x.findElement(s, m, key, cpu); e != nil {
		return e
	}
	for _, e := range s.elems[m] {
		same := x.sameElement(e, key, cpu)
		if !same.IsFalse() && x.decide(s, snapshot, same) {
			return e
		}
		if m.Type == ebpf.PerCPUHash && e.cpu != cpu && x.world.origin.content(m) == Fresh && !e.key.Equal(key).IsFalse() {
			x.doubt(s, fmt.Sprintf("elements of the per-CPU map %s as several processors see them are not modelled", m.Name))
		}
	}
	return x.addElement(s, m, key, cpu)
}

func (x *run) addElement(s *state, m *Map, key *Bytes, cpu smt.Term) *element {
	o := x.world.origin
	e := &element{m: m, key: key, cpu: cpu, region: o.region(m, key, cpu), present: o.present(m, key, cpu)}
	if s.mem[e.region] == nil {
		s.mem[e.region] = newContent(e.region.Size)
	}
	s.elems[m] = append(s.elems[m][:len(s.elems[m]):len(s.elems[m])], e)
	return e
}

// edit replaces an element in the state's list by a copy that may be changed.
func (s *state) edit(e *element) *element {
	c := *e
	list := append([]*element(nil), s.elems[e.m]...)
	list[slices.Index(list, e)] = &c
	s.elems[e.m] = list
	return &c
}

// globalPointer is the address of a byte in a map's only element.
func (x *run) globalPointer(s *state, m *Map, off uint64) Value {
	if isRecords(m) {
		x.giveUp(s, "the address of an element of "+m.Name+" is not modelled")
	}
	zero := NewBytes(x.b, x.b.Const(32, 0))
	e := x.element(s, s, m, zero, nil)
	return Value{Term: x.b.Const(64, off), Region: e.region}
}

// pointer is what a lookup of an element returns.
func (x *run) pointer(e *element) Value {
	if e.present.IsFalse() {
		return number(x.b.Const(64, 0))
	}
	v := Value{Term: x.b.Const(64, 0), Region: e.region}
	if !e.present.IsTrue() {
		v.Valid = e.present
	}
	return v
}

// flush records what stores have made of an element since the last effect
// about it.
func (x *run) flush(s *state, e *element) {
	c := s.mem[e.region]
	if isRecords(e.m) { // what is in an event is seen by what becomes of it
		return
	}
	if c == nil || e.base == c || e.present.IsFalse() || e.region.readonly {
		return
	}
	before := x.world.origin.bytes(e.region, e.base)
	after := x.world.origin.bytes(e.region, c)
	if sameBytes(before, after) {
		return
	}
	s.effects = append(s.effects, &Effect{
		Op: Write, Map: e.m, Key: e.key, Data: after, Old: before, Before: e.present, After: e.present,
		Atomic: !c.plain || perCPU(e.m.Type), Pc: s.top().pc,
	})
	n := s.edit(e)
	n.base = c.clone()
	s.own = new(owner)
}

// flushWrites records all stores at the end of a path, in the order in which
// elements were first looked at.
func (x *run) flushWrites(s *state) {
	names := make([]string, 0, len(s.elems))
	byName := map[string]*Map{}
	for m := range s.elems {
		names = append(names, m.Name)
		byName[m.Name] = m
	}
	slices.Sort(names)
	for _, name := range names {
		for _, e := range s.elems[byName[name]] {
			x.flush(s, e)
		}
	}
}

// update is bpf_map_update_elem, its result in R0.
func (x *run) update(s, snapshot *state, m *Map, key, value *Bytes, flags uint64) smt.Term {
	b := x.b
	if flags > 3 {
		x.giveUp(s, fmt.Sprintf("updating %s with flags %#x is not modelled", m.Name, flags))
	}
	e := x.element(s, snapshot, m, key, x.cpuOf(m))
	x.flush(s, e)
	e = x.findElement(s, e.m, e.key, e.cpu)
	fail := func(errno int64) smt.Term { return b.Const(64, uint64(-errno)) }
	room, refused := b.True(), fail(7)
	if !isArray(e.m) {
		// An LRU map makes room for itself, but may find no memory.
		full := x.fresh(s, 1, &Input{Kind: Choice, Event: MapFull, Name: m.Name + " is full", Map: m.Name})
		room, refused = b.Not(full), x.refusal(s, m)
	}
	var ok, ret smt.Term
	isNew := b.Not(e.present)
	switch {
	case flags > 2: // BPF_F_LOCK, BPF_F_CPU and what there is else need what is not modelled
		ok, ret = b.False(), fail(22)
	case isArray(e.m):
		ok, ret = e.present, b.Ite(e.present, b.Const(64, 0), fail(7))
		if flags == 1 {
			ok, ret = b.False(), b.Ite(e.present, fail(17), fail(7))
		}
	case flags == 1: // BPF_NOEXIST
		ok = b.And(isNew, room)
		ret = b.Ite(e.present, fail(17), b.Ite(room, b.Const(64, 0), refused))
	case flags == 2: // BPF_EXIST
		ok, ret = e.present, b.Ite(e.present, b.Const(64, 0), fail(2))
	default: // BPF_ANY
		ok = b.Or(e.present, room)
		ret = b.Ite(ok, b.Const(64, 0), refused)
	}
	x.put(s, e, value, ok, flags, ret)
	return ret
}

// refusal is the error of an update that a map has no room for or cannot take:
// -E2BIG, -ENOMEM, -EBUSY, -EDEADLK or -ETIMEDOUT, by the kind of map and the
// kernel. Here it is any error but the two that answer flags, which is more
// than any kernel gives.
func (x *run) refusal(s *state, m *Map) smt.Term {
	b := x.b
	e := x.fresh(s, 12, &Input{Kind: Data, Name: "error of updating " + m.Name})
	is := func(errno uint64) smt.Term { return b.Eq(e, b.Const(12, errno)) }
	other := b.Or(is(0), is(2), is(17))
	return b.Neg(b.ZeroExt(64, b.Ite(other, b.Const(12, 7), e)))
}

// put gives an element a new value if ok.
func (x *run) put(s *state, e *element, value *Bytes, ok smt.Term, flags uint64, ret smt.Term) {
	b := x.b
	eff := &Effect{Op: Update, Map: e.m, Key: e.key, Data: value, Before: e.present, Flags: b.Const(64, flags), Result: ret, Atomic: true, Pc: s.top().pc}
	if !e.present.IsFalse() {
		eff.Old = x.world.origin.bytes(e.region, s.mem[e.region])
	}
	there, both := x.query(s, e.present)
	for _, d := range s.dead {
		if d.m == e.m { // its memory may be what the new element gets
			delete(s.mem, d.region)
		}
	}
	n := s.edit(e)
	n.present = b.Or(e.present, ok)
	if ok.IsFalse() {
		n.present = e.present
	}
	fresh := value.oct
	if there || both {
		old := x.world.origin.bytes(e.region, s.mem[e.region]).oct
		fresh = chooseOctets(b, ok, value.oct, old)
		for i := range fresh {
			fresh[i].pc = value.oct[i].pc
		}
		if !isArray(e.m) && !perCPU(e.m.Type) {
			// The kernel puts another element in its place. Who still has a
			// pointer to the old one sees the old value.
			r := x.world.origin.newRegion(e.m, e.region.Name)
			r.fill = e.region.fill
			n.region = r
			s.mem[r] = newContent(r.Size)
			s.dead = append(s.dead, e)
		}
	}
	c := s.mem[n.region]
	for i, o := range fresh {
		c.set(s.own, i, o)
	}
	n.base = c.clone()
	s.own = new(owner)
	eff.After = n.present
	s.effects = append(s.effects, eff)
}

// remove is bpf_map_delete_elem.
func (x *run) remove(s, snapshot *state, m *Map, key *Bytes) smt.Term {
	b := x.b
	e := x.element(s, snapshot, m, key, x.cpuOf(m))
	if isArray(e.m) {
		return b.Const(64, ^uint64(21)) // -EINVAL
	}
	x.flush(s, e)
	e = x.findElement(s, e.m, e.key, e.cpu)
	ret := b.Ite(e.present, b.Const(64, 0), b.Const(64, ^uint64(1))) // -ENOENT
	eff := &Effect{Op: Delete, Map: e.m, Key: e.key, Before: e.present, After: b.False(), Result: ret, Atomic: true, Pc: s.top().pc}
	if !e.present.IsFalse() {
		eff.Old = x.world.origin.bytes(e.region, s.mem[e.region])
	}
	there, both := x.query(s, e.present)
	n := s.edit(e)
	n.present = b.False()
	if there || both {
		r := x.world.origin.newRegion(e.m, e.region.Name)
		r.fill = e.region.fill
		n.region = r
		s.mem[r] = newContent(r.Size)
		n.base = nil
		s.dead = append(s.dead, e)
	}
	s.effects = append(s.effects, eff)
	return ret
}

// cpuOf is whose copy of a per-CPU map the program sees; nil for others.
func (x *run) cpuOf(m *Map) smt.Term {
	if perCPU(m.Type) {
		return x.inv.cpu()
	}
	return nil
}
