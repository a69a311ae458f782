package proof

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/contract"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// store is what a program's maps hold at one moment.
type store interface {
	// Lookup is the element of a map at a key: whether there is one, and its bytes.
	Lookup(m *symbolic.Map, key *symbolic.Bytes) (present smt.Term, value *symbolic.Bytes, err error)
	// CPU is the one whose copy of a per-CPU element that is, 32 bits.
	CPU() smt.Term
}

// relation says where the program keeps a memory of the contract: cell k is
// known exactly if map in has an element at the key that is laid out as key says (and,
// if there is a flag, the flag is not 0), and its fields lie in that element.
// It is a guess until it is proved.
type relation struct {
	memory int
	in     *symbolic.Map
	key    []keyPart
	// fields is where each field lies; a size of 0 means that the program does not keep it.
	fields []slot
	flag   *slot
	// onCPU says that the map is per-CPU, and which member of the contract's key is the
	// CPU: its index, from 1 on. Program and contract then only ever use the cells of the
	// CPU that they run on, so that it is enough to follow those of one.
	onCPU int
	// always are things that hold of every element, as far as has not been shown otherwise.
	always []invariant
}

// fills tells whether a piece of an element is filling between the fields, all 0.
func (r *relation) fills(s slot) bool {
	n := 0
	for _, v := range r.always {
		if v.kind == blank && v.off >= s.off && v.off < s.off+s.size {
			n++
		}
	}
	return n == s.size && n > 0
}

// complete tells whether a relation says where every field is kept.
func (r *relation) complete() bool { return r.unkept() == 0 }

// unkept is of how many fields a relation does not say where they are kept; of none at all it
// is more than of any.
func (r *relation) unkept() int {
	if r == nil {
		return math.MaxInt
	}
	n := 0
	for _, f := range r.fields {
		if f.size == 0 {
			n++
		}
	}
	return n
}

// invariant is something that holds of every element of the map that keeps a memory.
type invariant struct {
	field int // -1: of the filling between fields
	slot
	kind form
	// bits and signed are of the number that a wider slot holds.
	bits   int
	signed bool
}

// form is what an invariant says of a slot.
type form int

const (
	yesNo form = iota // 0 or 1
	text              // ends in NUL, with zeroes behind
	wide              // a number of fewer bits, extended
	blank             // 0
	some              // not 0: programs ask that of a time instead of whether there is one
)

// invariants are those that the types of the fields suggest.
func invariants(m contract.CheckedMemory, fields []slot) []invariant {
	var out []invariant
	for i, f := range m.Fields {
		if s := fields[i]; s.size == 8 && f.Type.Meaning == "time" {
			out = append(out, invariant{field: i, slot: s, kind: some})
		}
		switch s := fields[i]; {
		case s.size == 0:
		case f.Type.Kind == contract.TextKind:
			out = append(out, invariant{field: i, slot: s, kind: text})
		case f.Type.Meaning == "bool" || f.Type.Kind == contract.Bool:
			out = append(out, invariant{field: i, slot: s, kind: yesNo})
		case f.Type.Kind == contract.Int && s.size*8 > int(f.Type.Bits):
			out = append(out, invariant{i, s, wide, int(f.Type.Bits), f.Type.Signed})
		}
	}
	return out
}

// fillings are invariants that all is 0 between the fields, where it is that in everything that
// is stored: a key may be made of more than the fields.
func fillings(fields []slot, changes []change) []invariant {
	var out []invariant
	for off := range changes[0].data.Len() {
		taken := func(s slot) bool { return off >= s.off && off < s.off+s.size }
		other := func(ch change) bool {
			c, ok := ch.data.At(off, 1).Const()
			return !ok || c != 0
		}
		if !slices.ContainsFunc(fields, taken) && !slices.ContainsFunc(changes, other) {
			out = append(out, invariant{field: -1, slot: slot{off, 1}, kind: blank})
		}
	}
	return out
}

// of says that an element fulfils the invariant.
func (v invariant) of(w words, data *symbolic.Bytes) smt.Term {
	x := data.Slice(v.off, v.size)
	switch v.kind {
	case text:
		return w.b.And(w.canonical(x), w.b.Eq(x.At(x.Len()-1, 1), w.b.Const(8, 0)))
	case blank:
		return zeroOf(w.b, x)
	case some:
		return w.b.Ne(x.At(0, x.Len()), w.b.Const(uint(x.Len())*8, 0))
	case wide:
		all := x.At(0, x.Len())
		low, width := w.b.Extract(uint(v.bits)-1, 0, all), uint(x.Len())*8
		if v.signed {
			return w.b.Eq(all, w.b.SignExt(width, low))
		}
		return w.b.Eq(all, w.b.ZeroExt(width, low))
	}
	return w.b.Ule(x.At(0, x.Len()), w.b.Const(uint(x.Len())*8, 1))
}

// name is that of the field.
func (v invariant) name(m contract.CheckedMemory) string {
	if v.field < 0 {
		return fmt.Sprintf("byte %d", v.off)
	}
	return m.Fields[v.field].Name
}

// slot is a piece of an element, in bytes.
type slot struct{ off, size int }

// keyPart is a piece of a key: a member of the contract's key, or constant bytes.
type keyPart struct {
	slot
	member int // -1: constant
	data   []byte
}

// keyBytes are the program's key for one of the contract's.
func (r *relation) keyBytes(w words, key []value) (*symbolic.Bytes, error) {
	var all []smt.Term
	for _, p := range r.key {
		if p.member < 0 {
			all = append(all, octets(symbolic.ConstBytes(w.b, p.data))...)
			continue
		}
		x, err := w.store(w.pad(key[p.member]), p.size)
		if err != nil {
			return nil, err
		}
		all = append(all, octets(x)...)
	}
	return w.bytesOf(all), nil
}

// here tells whether a key is of a cell of a CPU.
func (r *relation) here(w words, key []value, cpu smt.Term) bool {
	return cpu != nil && key[r.onCPU-1].term == w.b.ZeroExt(64, cpu)
}

// image says that a key of the program is one of a cell of the contract's: of other
// elements of the map nothing is known.
func (r *relation) image(w words, c *contract.Checked, key *symbolic.Bytes) smt.Term {
	var all []smt.Term
	for _, p := range r.key {
		have := key.Slice(p.off, p.size)
		if p.member < 0 {
			all = append(all, have.Equal(symbolic.ConstBytes(w.b, p.data)))
			continue
		}
		typ := c.Memories[r.memory].Key[p.member].Type
		if typ.Kind == contract.TextKind {
			all = append(all, w.canonical(have))
		}
		if typ.Kind == contract.Bool {
			all = append(all, w.b.Ule(have.At(0, p.size), w.b.Const(uint(p.size)*8, 1)))
		}
		if typ.Kind != contract.Int || p.size*8 <= int(typ.Bits) {
			continue
		}
		low := w.b.Extract(uint(typ.Bits)-1, 0, have.At(0, p.size))
		all = append(all, w.b.Eq(have.At(0, p.size), w.b.Extract(uint(p.size)*8-1, 0, w.extend(low, typ.Signed))))
	}
	return w.b.And(all...)
}

// describe is "started is kept in map started; start at offset 0". Of[tid] is map started: start at 0".
func (r *relation) describe(c *contract.Checked) string {
	m := c.Memories[r.memory]
	var b strings.Builder
	fmt.Fprintf(&b, "%s is kept in map %s", m.Name, r.in.Name)
	if r.flag != nil {
		fmt.Fprintf(&b, ", known where bytes %d to %d are not 0", r.flag.off, r.flag.off+r.flag.size-1)
	}
	for i, f := range r.fields {
		switch {
		case f.size == 0:
			fmt.Fprintf(&b, "; %s is not kept", m.Fields[i].Name)
		default:
			fmt.Fprintf(&b, "; %s at offset %d", m.Fields[i].Name, f.off)
		}
	}
	return b.String()
}

// mirror reads a contract's memories out of a program's maps.
type mirror struct {
	words
	c    *contract.Checked
	rels []*relation // by memory
	at   store
}

func (x *mirror) known(m int, key []value) (smt.Term, error) {
	_, known, err := x.cell(m, key)
	return known, err
}

func (x *mirror) field(m, field int, key []value) (value, error) {
	data, _, err := x.cell(m, key)
	if err != nil {
		return value{}, err
	}
	r := x.rels[m]
	typ := x.c.Memories[m].Fields[field].Type
	s := r.fields[field]
	if s.size == 0 {
		return value{}, fmt.Errorf("the program does not keep %s of memory %s", x.c.Memories[m].Fields[field].Name, x.c.Memories[m].Name)
	}
	v, err := x.load(typ, data.Slice(s.off, s.size))
	v.padded = slices.ContainsFunc(r.always, func(i invariant) bool { return i.field == field && i.kind == text })
	return x.held(typ, v), err
}

func (x *mirror) cell(m int, key []value) (*symbolic.Bytes, smt.Term, error) {
	r := x.rels[m]
	if r == nil {
		return nil, nil, fmt.Errorf("where the program keeps memory %s was not found", x.c.Memories[m].Name)
	}
	if r.onCPU > 0 && !r.here(x.words, key, x.at.CPU()) {
		return nil, nil, fmt.Errorf("%s is asked for what another CPU remembers, which is not modelled", x.c.Memories[m].Name)
	}
	k, err := r.keyBytes(x.words, key)
	if err != nil {
		return nil, nil, err
	}
	present, data, err := x.at.Lookup(r.in, k)
	if err != nil {
		return nil, nil, err
	}
	if r.flag != nil {
		flag := data.At(r.flag.off, r.flag.size)
		present = x.b.And(present, x.b.Ne(flag, x.b.Const(flag.Width(), 0)))
	}
	return data, present, nil
}

// octets are the bytes one by one.
func octets(x *symbolic.Bytes) []smt.Term {
	out := make([]smt.Term, x.Len())
	for i := range out {
		out[i] = x.At(i, 1)
	}
	return out
}

func (w words) bytesOf(all []smt.Term) *symbolic.Bytes { return symbolic.NewBytes(w.b, all...) }

// change is a place where the program stores while the contract remembers.
type change struct {
	memory int
	key    []value
	fields []*value
	in     *symbolic.Map
	at     *symbolic.Bytes // key
	cpu    smt.Term        // of the invocation
	data   *symbolic.Bytes
}

// guess proposes relations for a memory from what the program stores where
// the contract remembers: the likeliest first.
func guess(w words, c *contract.Checked, m int, changes []change) []*relation {
	byMap := map[*symbolic.Map][]change{}
	var order []*symbolic.Map
	for _, ch := range changes {
		if ch.memory != m {
			continue
		}
		if byMap[ch.in] == nil {
			order = append(order, ch.in)
		}
		byMap[ch.in] = append(byMap[ch.in], ch)
	}
	slices.SortFunc(order, func(a, b *symbolic.Map) int { return strings.Compare(a.Name, b.Name) })
	type scored struct {
		*relation
		score int
	}
	var found []scored
	for _, in := range order {
		for _, key := range keyLayouts(w, c.Memories[m], byMap[in]) {
			r := &relation{memory: m, in: in, key: key.key, onCPU: key.onCPU, fields: make([]slot, len(c.Memories[m].Fields))}
			score := 1
			for i := range r.fields {
				s, votes := fieldSlot(w, c.Memories[m].Fields[i], i, byMap[in], in)
				r.fields[i] = s
				score += votes
			}
			r.always = append(invariants(c.Memories[m], r.fields), fillings(r.fields, byMap[in])...)
			found = append(found, scored{r, score})
			found = append(found, scored{r.zeroed(c), score - 1})
			if isArray(in.Type) { // nothing can be deleted there
				found[len(found)-1].score = score + 1
			}
		}
	}
	slices.SortStableFunc(found, func(a, b scored) int { return b.score - a.score })
	var out []*relation
	for _, f := range found {
		out = append(out, f.relation)
	}
	return out
}

// zeroed is a relation in which a cell is forgotten by writing 0 over one of its fields:
// the first that is a number.
func (r *relation) zeroed(c *contract.Checked) *relation {
	out := *r
	out.always = invariants(c.Memories[r.memory], r.fields)
	for _, s := range r.fields {
		if s.size > 0 && s.size <= 8 {
			out.flag = &s
			break
		}
	}
	return &out
}

func isArray(t ebpf.MapType) bool { return t == ebpf.Array || t == ebpf.PerCPUArray }

// keyLayouts are the ways in which the contract's key can lie in the program's, each
// once.
func keyLayouts(w words, m contract.CheckedMemory, changes []change) []*relation {
	var out []*relation
	for _, ch := range changes {
		parts, onCPU, ok := keyLayout(w, m, ch)
		if ok && !slices.ContainsFunc(out, func(r *relation) bool { return fmt.Sprint(r.key, r.onCPU) == fmt.Sprint(parts, onCPU) }) {
			out = append(out, &relation{key: parts, onCPU: onCPU})
		}
	}
	return out
}

// keyLayout finds each member of the contract's key in the program's key. Of a per-CPU array one
// of them is the CPU. An element of a per-CPU hash is there for all CPUs or for none, so what is
// known on one CPU would be on all.
func keyLayout(w words, m contract.CheckedMemory, ch change) (parts []keyPart, onCPU int, ok bool) {
	used := make([]bool, len(ch.key))
	if isPerCPU(ch.in) {
		i := slices.IndexFunc(ch.key, func(v value) bool { return v.term == w.b.ZeroExt(64, ch.cpu) })
		if i < 0 || !isArray(ch.in.Type) {
			return nil, 0, false
		}
		used[i], onCPU = true, i+1
	}
	for off := 0; off < ch.at.Len(); {
		p, ok := keyPartAt(w, ch, used, off)
		if !ok {
			return nil, 0, false
		}
		if p.member >= 0 {
			used[p.member] = true
		}
		parts = append(parts, p)
		off += p.size
	}
	return parts, onCPU, !slices.Contains(used, false)
}

func keyPartAt(w words, ch change, used []bool, off int) (keyPart, bool) {
	for i, v := range ch.key {
		if used[i] {
			continue
		}
		for _, size := range sizesOf(v, ch.at.Len()-off) {
			x, err := w.store(v, size)
			if err == nil && (sameBytes(ch.at.Slice(off, size), x) || w.sameText(v, ch.at.Slice(off, size))) {
				return keyPart{slot{off, size}, i, nil}, true
			}
		}
	}
	if c, ok := ch.at.At(off, 1).Const(); ok {
		return keyPart{slot{off, 1}, -1, []byte{byte(c)}}, true
	}
	return keyPart{}, false
}

// sameText tells whether bytes are a text as a read of it leaves them in zeroed memory: of the last byte,
// which is NUL in texts of the kernel's, either side may know more.
func (w words) sameText(v value, have *symbolic.Bytes) bool {
	if v.typ.Kind != contract.TextKind || v.bytes == nil || v.padded || v.bytes.Len() != have.Len() {
		return false
	}
	n := have.Len() - 1
	return sameBytes(w.pad(v).bytes.Slice(0, n), have.Slice(0, n))
}

// sizesOf are the sizes in which a program may keep a value, the likeliest first: that of
// its type, then wider ones, then narrower ones.
func sizesOf(v value, room int) []int {
	var out []int
	add := func(n int) {
		if n > 0 && n <= room && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if v.bytes != nil {
		add(v.bytes.Len())
		return out
	}
	add(8)
	add(v.typ.InMemory())
	for _, n := range []int{4, 2, 1} {
		add(n)
	}
	return out
}

// sameBytes says that two sequences are made of the same terms.
func sameBytes(x, y *symbolic.Bytes) bool {
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

// fieldSlot is where most of what the program stores agrees with what the contract
// remembers. Constants say little, zeroes nothing: they are everywhere. A slot
// that differs at one store is none.
func fieldSlot(w words, f contract.CheckedMember, i int, changes []change, in *symbolic.Map) (slot, int) {
	votes := map[slot]int{}
	for _, ch := range changes {
		if ch.fields[i] == nil {
			continue
		}
		v := *ch.fields[i]
		if v.typ.Kind == contract.TextKind && v.bytes != nil {
			textVotes(v.bytes, ch.data, votes)
			continue
		}
		for _, size := range sizesOf(v, ch.data.Len()) {
			x, err := w.store(v, size)
			if err != nil {
				continue
			}
			for off := 0; off+size <= ch.data.Len(); off++ {
				votes[slot{off, size}] += agreement(ch.data.Slice(off, size), x)
			}
		}
	}
	best, most := slot{}, 0
	var all []slot
	for s := range votes {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b slot) int { // the widest first: that what it has more is an extension is an invariant
		if a.size != b.size {
			return b.size - a.size
		}
		return a.off - b.off
	})
	for _, s := range all {
		if votes[s] > most {
			best, most = s, votes[s]
		}
	}
	// Of a value that came about in another way only some bytes may be the same terms: they are a part of the
	// member of that name.
	part := func(of slot) bool { return best.off >= of.off && best.off+best.size <= of.off+of.size }
	if named, ok := namedSlot(f, in); ok && (most < strong || votes[named] == most || part(named)) {
		return named, max(most, 1)
	}
	return best, most
}

// textVotes finds a text: where the first byte comes from the same place. The bytes behind
// need not be the same terms, for copying a text ends at its NUL.
func textVotes(of, data *symbolic.Bytes, votes map[slot]int) {
	first := valuesOf(of.At(0, 1))
	if len(first) == 0 {
		return
	}
	for off := 0; off+of.Len() <= data.Len(); off++ {
		if have := valuesOf(data.At(off, 1)); slices.Equal(have, first) {
			votes[slot{off, of.Len()}] += strong
		}
	}
}

// valuesOf are the variables that a term carries the value of.
func valuesOf(t smt.Term) []smt.Term {
	var out []smt.Term
	carried(t, func(v smt.Term) { out = append(out, v) })
	slices.SortFunc(out, func(a, b smt.Term) int { return strings.Compare(a.Info().Name, b.Info().Name) })
	return out
}

// strong is what the agreement of a term that is no constant counts.
const strong = 16

func agreement(have, want *symbolic.Bytes) int {
	same := sameBytes(have, want) || have.Len() <= 8 && alternative(have.At(0, have.Len()), want.At(0, want.Len()), 4)
	data, isConst := want.Const()
	_, haveConst := have.Const()
	switch {
	case same && !isConst:
		return strong
	case same && !zeroes(data):
		return 2
	case same:
		return 0
	case isConst && haveConst:
		return -strong
	}
	return 0
}

// flat are the members of a struct and of the structs in it.
func flat(t btf.Type, off, depth int) ([]member, bool) {
	list, _, _, ok := layout(t)
	if !ok || depth > 4 {
		return nil, false
	}
	var out []member
	for _, m := range list {
		m.off += off
		out = append(out, m)
		inner, _ := flat(m.typ, m.off, depth+1)
		out = append(out, inner...)
	}
	return out, true
}

// alternative tells whether a term is one that another chooses between: a store that
// happened on some of the runs that a path stands for.
func alternative(have, want smt.Term, depth int) bool {
	if have == want {
		return true
	}
	if have.Op() != smt.OpIte || depth == 0 {
		return false
	}
	return alternative(have.Args()[1], want, depth-1) || alternative(have.Args()[2], want, depth-1)
}

func zeroes(data []byte) bool {
	return !slices.ContainsFunc(data, func(b byte) bool { return b != 0 })
}

// namedSlot is the member of the map's value that has the field's name, if its size is
// the field's.
func namedSlot(f contract.CheckedMember, in *symbolic.Map) (slot, bool) {
	if in.Value == nil {
		return slot{}, false
	}
	members, ok := flat(in.Value, 0, 0)
	if !ok {
		if size := int(in.ValueSize); size > 0 && size == f.Type.InMemory() {
			return slot{0, size}, true
		}
		return slot{}, false
	}
	for _, m := range members {
		if strings.EqualFold(m.name, f.Name) && (m.size == f.Type.InMemory() || f.Type.Kind == contract.Int && m.size <= 8) {
			return slot{m.off, m.size}, true
		}
	}
	return slot{}, false
}
