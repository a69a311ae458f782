package contract

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// Datum is a concrete value. Numbers, conditions (0, 1), pointers and places in memory are in Num;
// texts (without NUL), addresses, bytes and blocks in Bytes; a list of arguments
// has its length in Num and its bytes in Bytes.
type Datum struct {
	Num   uint64
	Bytes []byte
}

// Space is memory that can be read: the kernel's or a process's.
type Space interface {
	// Read fills buf from an address; false: not all of it can be read.
	Read(addr uint64, buf []byte) bool
}

// Invocation is one firing of a hook, with all inputs.
type Invocation struct {
	// Place is an index of Checked.Places.
	Place int
	// Args has a value for each of the place's arguments; of a number, what the
	// register or record has.
	Args []Datum
	// Inputs has the other inputs, by the names of [Inputs].
	Inputs map[string]Datum
	Kernel Space
	User   Space
}

// Happening is one effect that can be seen from outside.
type Happening struct {
	Verb Verb // Emit, Add or Return
	// Index is that of the event or table.
	Index int
	Key   []Datum
	// Fields are in the order of the declaration; nil: not given (Add).
	Fields []*Datum
	Value  uint64 // Return
}

// Cell is a row of a table. Values has for each member of the table: one number;
// for stats count, sum, smallest and largest; for histograms the slots.
type Cell struct {
	Key    []Datum
	Values [][]uint64
}

// Machine runs a checked contract on concrete inputs. It is the reference for what
// contracts mean. It is not safe for concurrent use.
type Machine struct {
	c        *Checked
	params   []Datum
	memories []map[string][]Datum
	tables   []map[string]*Cell

	// while an invocation runs
	in   *Invocation
	memo map[int]Datum // of a step, by Value.ID
	err  error
}

// NewMachine makes a machine with empty memories and tables. Parameters that
// values does not name have their defaults.
func NewMachine(c *Checked, values map[string]Datum) (*Machine, error) {
	m := &Machine{c: c}
	names := map[string]bool{}
	for _, p := range c.Params {
		names[p.Name] = true
		d, ok := values[p.Name]
		if !ok {
			d = defaultOf(p)
		}
		m.params = append(m.params, shape(d, p.Type))
	}
	for n := range values {
		if !names[n] {
			return nil, fmt.Errorf("the contract has no parameter %s", n)
		}
	}
	for range c.Memories {
		m.memories = append(m.memories, map[string][]Datum{})
	}
	for range c.Tables {
		m.tables = append(m.tables, map[string]*Cell{})
	}
	return m, nil
}

func defaultOf(p CheckedParam) Datum {
	switch {
	case p.Default == nil:
		return Datum{}
	case p.Default.Op == OpText:
		return Datum{Bytes: []byte(p.Default.Text)}
	}
	return Datum{Num: p.Default.Bits}
}

// shape gives a value the form of its type: numbers cut, addresses of 16 bytes.
func shape(d Datum, t Type) Datum {
	switch t.Kind {
	case Int:
		return Datum{Num: cut(d.Num, t)}
	case Bool:
		return truth(cut(d.Num, t) != 0)
	case TextKind:
		return Datum{Bytes: upToNUL(d.Bytes, len(d.Bytes))}
	case IPKind, Bytes:
		b := make([]byte, t.Size)
		copy(b, d.Bytes)
		return Datum{Bytes: b}
	}
	return d
}

func upToNUL(b []byte, most int) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return b[:min(len(b), most)]
}

// Run performs one invocation. The error says that inputs are missing; the
// contract itself cannot fail.
func (m *Machine) Run(in Invocation) ([]Happening, error) {
	if in.Place < 0 || in.Place >= len(m.c.Places) || len(in.Args) != len(m.c.Places[in.Place].Args) {
		return nil, fmt.Errorf("running a contract: the invocation's place or arguments are not those of the contract")
	}
	m.in, m.err = &in, nil
	var out []Happening
	for _, s := range m.c.Places[in.Place].Steps {
		list := s.Otherwise
		m.memo = map[int]Datum{}
		for _, c := range s.Cases {
			if m.eval(c.When).Num != 0 {
				list = c.Effects
				break
			}
		}
		out = append(out, m.effects(list)...)
	}
	return out, m.err
}

// effects evaluates everything first and changes the state afterwards.
func (m *Machine) effects(list []CheckedEffect) (out []Happening) {
	type change struct {
		e           CheckedEffect
		key, fields []*Datum
	}
	var changes []change
	for _, e := range list {
		c := change{e: e}
		for i, v := range e.Key {
			c.key = append(c.key, m.store(v, m.keyType(e, i)))
		}
		for i, v := range e.Fields {
			c.fields = append(c.fields, m.store(v, m.fieldType(e, i)))
		}
		if e.Verb == Return {
			out = append(out, Happening{Verb: Return, Index: -1, Value: m.eval(e.Value).Num})
		}
		changes = append(changes, c)
	}
	for _, c := range changes {
		key := make([]Datum, len(c.key))
		for i, k := range c.key {
			key[i] = *k
		}
		switch c.e.Verb {
		case Emit:
			out = append(out, Happening{Verb: Emit, Index: c.e.Index, Fields: c.fields})
		case Add:
			out = append(out, Happening{Verb: Add, Index: c.e.Index, Key: key, Fields: c.fields})
			m.sample(c.e.Index, key, c.fields)
		case Remember, Change, Forget:
			m.remember(c.e, cellName(key), c.fields)
		}
	}
	return out
}

func (m *Machine) remember(e CheckedEffect, key string, fields []*Datum) {
	cells := m.memories[e.Index]
	old, known := cells[key]
	switch {
	case e.Verb == Forget:
		delete(cells, key)
		return
	case e.Verb == Change && !known:
		return
	}
	cell := make([]Datum, len(fields))
	for i, f := range fields {
		if f != nil {
			cell[i] = *f
		} else {
			cell[i] = old[i]
		}
	}
	cells[key] = cell
}

func (m *Machine) keyType(e CheckedEffect, i int) Type {
	if e.Verb == Add {
		return m.c.Tables[e.Index].Key[i].Type
	}
	return m.c.Memories[e.Index].Key[i].Type
}

func (m *Machine) fieldType(e CheckedEffect, i int) Type {
	switch e.Verb {
	case Emit:
		return m.c.Events[e.Index].Members[i].Type
	case Add:
		return m.c.Tables[e.Index].Values[i].Type
	}
	return m.c.Memories[e.Index].Fields[i].Type
}

// store evaluates what goes into a member: a text that may be longer than the
// member is cut to leave room for the NUL.
func (m *Machine) store(v *Value, t Type) *Datum {
	if v == nil {
		return nil
	}
	d := m.eval(v)
	if t.Kind == TextKind && (v.Type.Size == 0 || v.Type.Size > t.Size) && len(d.Bytes) > int(t.Size)-1 {
		d.Bytes = d.Bytes[:t.Size-1]
	}
	if t.Kind == Int {
		d.Num = cut(d.Num, t)
	}
	return &d
}

func cellName(key []Datum) string {
	var b strings.Builder
	for _, d := range key {
		fmt.Fprintf(&b, "%d,%q;", d.Num, d.Bytes)
	}
	return b.String()
}

// Slot is the slot of a log2 histogram that counts v: 0 for 0, else 1 + floor(log2(v)), at
// most 63.
func Slot(v uint64) int { return min(bits.Len64(v), 63) }

// sample adds one sample to a table's cell.
func (m *Machine) sample(table int, key []Datum, fields []*Datum) {
	t := m.c.Tables[table]
	cells, name := m.tables[table], cellName(key)
	cell := cells[name]
	if cell == nil {
		cell = &Cell{Key: key}
		for _, v := range t.Table.Values {
			n := map[Agg]int{Stats: 4, Log2: 64, Linear: int(v.Slots)}[v.Agg]
			cell.Values = append(cell.Values, make([]uint64, max(n, 1)))
			if v.Agg == Min {
				cell.Values[len(cell.Values)-1][0] = math.MaxUint64 // no sample yet
			}
		}
		cells[name] = cell
	}
	for i, f := range fields {
		if f == nil {
			continue
		}
		n, to := f.Num, cell.Values[i]
		switch v := t.Table.Values[i]; v.Agg {
		case Count, Sum:
			to[0] += n
		case Min:
			to[0] = min(to[0], n)
		case Max:
			to[0] = max(to[0], n)
		case Last:
			to[0] = n
		case Stats:
			if to[0] == 0 || n < to[2] {
				to[2] = n
			}
			to[0], to[1], to[3] = to[0]+1, to[1]+n, max(to[3], n)
		case Log2:
			to[Slot(n)]++
		case Linear:
			to[min(n/v.Step, v.Slots-1)]++
		}
	}
}

// Table returns the rows of a table, in an order that depends on their keys alone.
func (m *Machine) Table(index int) []Cell {
	var out []Cell
	for _, name := range keys(m.tables[index]) {
		out = append(out, *m.tables[index][name])
	}
	return out
}

func truth(b bool) Datum {
	if b {
		return Datum{Num: 1}
	}
	return Datum{}
}

// eval evaluates a value in the invocation at hand. Within a step nothing changes,
// so each value is computed once.
func (m *Machine) eval(v *Value) Datum {
	if v.ID == 0 {
		return m.compute(v)
	}
	d, ok := m.memo[v.ID]
	if !ok {
		d = m.compute(v)
		m.memo[v.ID] = d
	}
	return d
}

func (m *Machine) compute(v *Value) Datum {
	switch v.Op {
	case OpConst:
		return Datum{Num: v.Bits}
	case OpText:
		return Datum{Bytes: []byte(v.Text)}
	case OpParam:
		return m.params[v.Index]
	case OpArg:
		d := shape(m.in.Args[v.Index], v.Type)
		if v.Type.Kind == TextKind && v.Type.Size > 0 { // of a record: it ends in NUL
			d.Bytes = upToNUL(d.Bytes, int(v.Type.Size)-1)
		}
		return d
	case OpInput:
		d, ok := m.in.Inputs[v.Name]
		if !ok && m.err == nil {
			m.err = fmt.Errorf("running a contract: the input %s is missing", v.Name)
		}
		return shape(d, v.Type)
	case OpCond:
		if m.eval(v.Args[0]).Num != 0 {
			return m.eval(v.Args[1])
		}
		return m.eval(v.Args[2])
	case OpLoad, OpMember, OpElem, OpElemAt, OpIP6, OpUserText, OpKernelText, OpUserBytes, OpUserArgs:
		return m.memory(v)
	case OpKnown, OpCell:
		return m.cell(v)
	}
	a := make([]Datum, len(v.Args))
	for i, x := range v.Args {
		a[i] = m.eval(x)
	}
	switch v.Op {
	case OpCast:
		return a[0]
	case OpOffset:
		return Datum{Num: a[0].Num + a[1].Num}
	case OpEq:
		if k := v.Args[0].Type.Kind; k == TextKind || k == IPKind || k == Bytes {
			return truth(bytes.Equal(a[0].Bytes, a[1].Bytes))
		}
	case OpStarts:
		return truth(bytes.HasPrefix(a[0].Bytes, a[1].Bytes))
	case OpWithin:
		return truth(sameBits(a[0].Bytes, v.Text, int(v.Bits)))
	case OpUntil:
		for i, c := range a[0].Bytes {
			if strings.IndexByte(v.Text, c) >= 0 {
				return Datum{Bytes: a[0].Bytes[:i]}
			}
		}
		return a[0]
	case OpIP4:
		b := append(make([]byte, 10, 16), 0xff, 0xff)
		return Datum{Bytes: binary.NativeEndian.AppendUint32(b, uint32(a[0].Num))}
	case OpLen:
		return Datum{Num: uint64(len(a[0].Bytes))}
	case OpRead:
		block := a[0].Bytes
		if len(a) > 2 && a[1].Num < uint64(len(block)) && a[2].Num < uint64(len(block))-a[1].Num {
			block = block[:a[1].Num+a[2].Num]
		}
		return readBlock(block, a[1].Num, v.Type)
	}
	var second uint64
	if len(a) > 1 {
		second = a[1].Num
	}
	n, ok := compute(v.Op, v.Type, a[0].Num, second)
	if !ok && m.err == nil {
		m.err = fmt.Errorf("running a contract: no meaning is known for %s", v.Op)
	}
	return Datum{Num: n}
}

// sameBits tells whether the first n bits of two addresses are the same.
func sameBits(x []byte, y string, n int) bool {
	for i := range n {
		if mask := byte(0x80) >> (i % 8); (x[i/8]^y[i/8])&mask != 0 {
			return false
		}
	}
	return true
}

// readBlock reads from a block; bytes behind its end are 0.
func readBlock(block []byte, off uint64, t Type) Datum {
	n := int(t.Size)
	if t.Kind == Int {
		n = int(t.Bits) / 8
	}
	b := make([]byte, n)
	if off < uint64(len(block)) {
		copy(b, block[off:])
	}
	switch t.Kind {
	case TextKind:
		return Datum{Bytes: upToNUL(b, n)}
	case IPKind:
		return Datum{Bytes: b}
	}
	return Datum{Num: cut(nativeUint(b), t)}
}

// nativeUint is the number in 1 to 8 bytes.
func nativeUint(b []byte) (n uint64) {
	for i := range b {
		if littleEndian {
			n |= uint64(b[i]) << (8 * i)
		} else {
			n = n<<8 | uint64(b[i])
		}
	}
	return n
}

// read reads memory; what cannot be read is zero. The first page is never there.
func read(s Space, addr uint64, n int) ([]byte, bool) {
	b := make([]byte, n)
	if s == nil || addr < 4096 || addr+uint64(n) < addr || !s.Read(addr, b) {
		return make([]byte, n), false
	}
	return b, true
}

func (m *Machine) memory(v *Value) Datum {
	base := m.eval(v.Args[0]).Num
	switch v.Op {
	case OpMember:
		if base == 0 {
			return Datum{} // a member of nothing is nothing
		}
		return Datum{Num: base + uint64(v.Offset)}
	case OpLoad:
		if base == 0 {
			return zero(v.Type)
		}
		return m.load(base+uint64(v.Offset), v)
	case OpElem, OpElemAt:
		if base == 0 {
			return zero(v.Type)
		}
		addr := base + m.eval(v.Args[1]).Num*uint64(v.Size)
		if v.Op == OpElemAt {
			return Datum{Num: addr}
		}
		return m.load(addr, v)
	case OpIP6:
		space := m.in.Kernel
		if v.Args[0].Type.User {
			space = m.in.User
		}
		b, _ := read(space, base, 16)
		return Datum{Bytes: b}
	case OpUserText:
		return Datum{Bytes: m.text(m.in.User, base, int(v.Type.Size))}
	case OpKernelText:
		return Datum{Bytes: m.text(m.in.Kernel, base, int(v.Type.Size))}
	case OpUserBytes:
		n := min(m.eval(v.Args[1]).Num, maxBlock)
		b, _ := read(m.in.User, base, int(n))
		return Datum{Bytes: b}
	}
	length := m.eval(v.Args[1]).Num - base
	b, _ := read(m.in.User, base, int(min(length, 1020)))
	return Datum{Num: min(length, 1021), Bytes: b}
}

// maxBlock bounds what user_bytes reads.
const maxBlock = 4096

func zero(t Type) Datum {
	if t.Kind == IPKind || t.Kind == Bytes {
		return Datum{Bytes: make([]byte, t.Size)}
	}
	return Datum{}
}

// load reads a number or text of the kernel.
func (m *Machine) load(addr uint64, v *Value) Datum {
	if v.Type.Kind == TextKind {
		b, _ := read(m.in.Kernel, addr, int(v.Size))
		return Datum{Bytes: upToNUL(b, int(v.Size)-1)}
	}
	if v.Op == OpLoad && v.BitSize > 0 {
		return m.loadBits(addr, v)
	}
	b, _ := read(m.in.Kernel, addr, int(v.Size))
	n := nativeUint(b)
	if v.Type.Kind == Bool {
		return truth(n != 0)
	}
	return Datum{Num: cut(n, v.Type)}
}

func (m *Machine) loadBits(addr uint64, v *Value) Datum {
	first := v.BitOffset % 8
	b, _ := read(m.in.Kernel, addr, int(first+v.BitSize+7)/8)
	if len(b) > 8 && m.err == nil {
		m.err = fmt.Errorf("running a contract: the bit-field %s spans more than 8 bytes", v.Path)
	}
	n := nativeUint(b[:min(len(b), 8)])
	if littleEndian {
		n >>= first
	} else {
		n >>= uint32(len(b)*8) - first - v.BitSize
	}
	n &= 1<<v.BitSize - 1
	if v.Type.Signed && n>>(v.BitSize-1) != 0 {
		n |= ^uint64(0) << v.BitSize
	}
	return Datum{Num: n}
}

// text reads up to size-1 bytes and their NUL, byte by byte as the kernel does: the
// memory behind the NUL need not be there.
func (m *Machine) text(s Space, addr uint64, size int) []byte {
	var out []byte
	for i := range size - 1 {
		b, ok := read(s, addr+uint64(i), 1)
		if !ok {
			return nil
		}
		if b[0] == 0 {
			break
		}
		out = append(out, b[0])
	}
	return slices.Clip(out)
}

func (m *Machine) cell(v *Value) Datum {
	key := make([]Datum, len(v.Args))
	for i, a := range v.Args {
		key[i] = *m.store(a, m.c.Memories[v.Index].Key[i].Type)
	}
	cell, known := m.memories[v.Index][cellName(key)]
	if v.Op == OpKnown {
		return truth(known)
	}
	if !known {
		return zero(v.Type)
	}
	return cell[v.Field]
}
