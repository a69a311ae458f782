package render

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/executor/output"
)

// Cell is one entry of a map as the kernel returns it.
type Cell struct {
	Key []byte
	// Values has one element for each CPU, or one alone for maps that all CPUs
	// share.
	Values [][]byte
}

// Map turns the cells of one output map into records. What comes out follows
// from the types:
//
//   - values that are or hold a k_hist or K_LINEAR become histograms, one for each key;
//     what stands beside it becomes a table
//   - keys that are or hold a k_kstack or k_ustack become stacks, each with the
//     first number of its value as count, the kernel's frames first
//   - everything else becomes a table, sorted by the first number of the
//     values, largest first
//
// What the CPUs saw is merged: numbers, histograms and statistics are added,
// times are the latest, flags are joined, and of what identifies something
// (ids, addresses, text, enums) the first that is not zero stays.
//
// Keys and values that are no structs get a name from their type: pid, comm,
// syscall; count, bytes, ns; else "key" and "value". The key of an array map is
// the number of its slot; slots that were never touched are left out, and an
// array of one slot has no key.
//
// A Map is not safe for concurrent use.
type Map struct {
	name               string
	key, value         *node
	keySize, valueSize int
	array              bool // slots exist whether they were used or not
	perCPU             bool // each CPU has values of its own
	single             bool // one slot, with no meaning of its number
	stacks             []place
	hists              []place
	rest               []place // of the value, what is no histogram
	quantity           place   // what rows are sorted by; no node: by key
	printer            printer
}

// place is a node and where the struct around it begins.
type place struct {
	*node
	base int
}

// walk calls f for n and everything within it, except for the elements of
// arrays, which have no place of their own.
func (n *node) walk(base int, f func(place)) {
	f(place{n, base})
	if n.shape == shapeStruct {
		for i := range n.children {
			n.children[i].walk(base+int(n.off), f)
		}
	}
}

// NewMap prepares the rendering of an output map. It fails for types without a
// representation, and for user stacks without the process they belong to.
func NewMap(info program.MapInfo, env *Env) (*Map, error) {
	m := &Map{name: info.Name, printer: printer{env: env}}
	if err := m.compile(info); err != nil {
		return nil, fmt.Errorf("preparing map %s: %w", info.Name, err)
	}
	return m, nil
}

func (m *Map) compile(info program.MapInfo) (err error) {
	if info.Key == nil || info.Value == nil {
		return errors.New("it needs __type(key, …) and __type(value, …)")
	}
	if m.key, m.keySize, err = compileSized(info.Key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if m.value, m.valueSize, err = compileSized(info.Value); err != nil {
		return fmt.Errorf("value: %w", err)
	}
	if info.Type == ebpf.Array || info.Type == ebpf.PerCPUArray {
		m.array = true
		m.single = info.MaxEntries == 1 && m.key.kind == "int"
	}
	m.perCPU = info.Type == ebpf.PerCPUHash || info.Type == ebpf.PerCPUArray || info.Type == ebpf.LRUCPUHash
	m.key.walk(0, func(p place) {
		if p.shape == shapeKStack || p.shape == shapeUStack {
			m.stacks = append(m.stacks, p)
		}
	})
	switch {
	case m.value.shape == shapeHist:
		m.hists = []place{{m.value, 0}}
	case m.value.shape == shapeStruct:
		for i := range m.value.children {
			f := place{&m.value.children[i], int(m.value.off)}
			if f.shape == shapeHist {
				m.hists = append(m.hists, f)
			} else {
				m.rest = append(m.rest, f)
			}
		}
	default:
		m.rest = []place{{m.value, 0}}
	}
	if len(m.stacks) > 0 && len(m.hists) > 0 {
		return errors.New("a histogram for each stack cannot be shown: count stacks, or take them out of the key")
	}
	m.value.walk(0, func(p place) {
		if m.quantity.node == nil && (p.shape == shapeStats || p.shape == shapeInt && p.merge == mergeSum) {
			m.quantity = p
		}
	})
	return nil
}

func compileSized(t btf.Type) (*node, int, error) {
	n, err := compile(t)
	if err != nil {
		return nil, 0, err
	}
	size, err := btf.Sizeof(t)
	return n, size, err
}

// Name returns the map's name.
func (m *Map) Name() string { return m.name }

// Stream describes the fields of the records: of the key, without stacks, then
// of the value, without histograms. What each CPU has counted for itself is said to make
// one over nodes as it does over CPUs; of numbers that all CPUs share nobody here knows
// whether they are sums.
func (m *Map) Stream() output.Stream {
	s := output.Stream{Name: m.name, Columns: []output.Column{}}
	for _, c := range m.key.columns(nil, m.keyName()) {
		if !m.single && c.Kind != "k_kstack" && c.Kind != "k_ustack" {
			s.Columns = append(s.Columns, c)
		}
	}
	for _, p := range m.rest {
		path := p.field
		if p.node == m.value {
			path = m.valueName()
		}
		known := len(s.Columns)
		s.Columns = p.columns(s.Columns, path)
		if m.perCPU {
			m.mergings(p.node, s.Columns[known:])
		}
	}
	return s
}

// mergings says of the columns of n, of which each CPU has its own, how they make one.
// Those of statistics say so themselves.
func (m *Map) mergings(n *node, columns []output.Column) {
	switch n.shape {
	case shapeStruct:
		for i := range n.children {
			of := len(n.children[i].columns(nil, ""))
			m.mergings(&n.children[i], columns[:of])
			columns = columns[of:]
		}
	case shapeInt:
		switch n.merge {
		case mergeSum:
			columns[0].Merge = output.MergeSum
		case mergeMax:
			columns[0].Merge = output.MergeMax
		}
	}
}

// keyName is what a key that is no struct is called; a struct has its fields.
func (m *Map) keyName() string {
	if m.key.shape == shapeStruct {
		return ""
	}
	return m.key.scalarName("key")
}

// valueName is the same of the value. Statistics have fields, too.
func (m *Map) valueName() string {
	if m.value.shape == shapeStruct || m.value.shape == shapeStats {
		return ""
	}
	return m.value.scalarName("value")
}

// PID returns the process whose user stack a key names, so that it can be
// looked at while it lives.
func (m *Map) PID(key []byte) (pid uint32, ok bool) {
	if len(key) != m.keySize {
		return 0, false
	}
	for _, s := range m.stacks {
		if s.shape == shapeUStack {
			return s.process(key[s.base:]), true
		}
	}
	return 0, false
}

// row is a cell with its values merged.
type row struct {
	key, value []byte
	weight     uint64 // what rows are sorted by
}

// Reading is when a map was read.
type Reading struct {
	At time.Time
	// Over is how long was counted: since the reading before, or since the programs
	// were attached. 0 says nothing of it.
	Over  time.Duration
	Final bool // the run is over
}

// seconds are those of a record, to the millisecond.
func (r Reading) seconds() float64 { return r.Over.Round(time.Millisecond).Seconds() }

// Records returns what the cells say. stacks resolves the stacks of keys; it
// may be nil for maps that have none. View.Top bounds the entries and histograms, and
// says which stacks are minor ones; when is when the cells were read. Of a map without entries there
// is a record, too, so that readers know it was looked at.
func (m *Map) Records(node string, cells []Cell, stacks StackResolver, view program.View, when Reading) ([]output.Record, error) {
	rows := make([]row, 0, len(cells))
	for _, c := range cells {
		r, err := m.merged(c)
		if err != nil {
			return nil, err
		}
		if !m.array || !allZero(r.value) {
			rows = append(rows, r)
		}
	}
	if m.quantity.node != nil {
		for i := range rows {
			rows[i].weight = m.quantity.weight(rows[i].value)
		}
	}
	if len(m.stacks) > 0 {
		if stacks == nil {
			return nil, fmt.Errorf("rendering map %s: its stacks cannot be named without a stack map", m.name)
		}
		if len(rows) > 0 {
			return m.stackRecords(node, rows, stacks, view, when.Final), nil
		}
	}
	var out []output.Record
	for _, h := range m.hists {
		out = m.histRecords(out, h, node, rows, view, when)
	}
	if len(m.rest) > 0 {
		out = append(out, m.table(node, rows, view, when))
	}
	return out, nil
}

// merged checks the sizes of a cell and makes its values one.
func (m *Map) merged(c Cell) (row, error) {
	if len(c.Key) != m.keySize {
		return row{}, fmt.Errorf("reading map %s: a key of %d bytes, want %d", m.name, len(c.Key), m.keySize)
	}
	if len(c.Values) == 0 {
		return row{}, fmt.Errorf("reading map %s: a key without a value", m.name)
	}
	for _, v := range c.Values {
		// The kernel rounds the values of CPUs up to 8 bytes.
		if len(v) != m.valueSize && len(v) != (m.valueSize+7)&^7 {
			return row{}, fmt.Errorf("reading map %s: a value of %d bytes, want %d", m.name, len(v), m.valueSize)
		}
	}
	r := row{key: c.Key, value: c.Values[0][:m.valueSize]}
	if len(c.Values) > 1 {
		r.value = bytes.Clone(r.value)
		for _, v := range c.Values[1:] {
			m.value.combine(r.value, v)
		}
	}
	return r, nil
}

// Since returns what the map counted between two readings of it, each cell
// with one value. Entries that did not change are left out. An entry whose
// counters went down was deleted and made anew: all of it is new. What is not
// counted keeps its latest value; the extremes of statistics are not known of
// what came between two readings, and are left out.
func (m *Map) Since(before, now []Cell) ([]Cell, error) {
	old := make(map[string][]byte, len(before))
	for _, c := range before {
		r, err := m.merged(c)
		if err != nil {
			return nil, err
		}
		old[string(r.key)] = r.value
	}
	out := make([]Cell, 0, len(now))
	for _, c := range now {
		r, err := m.merged(c)
		if err != nil {
			return nil, err
		}
		value := bytes.Clone(r.value)
		if b, ok := old[string(r.key)]; ok {
			if bytes.Equal(b, value) {
				continue
			}
			if !m.value.restarted(value, b) {
				m.value.subtract(value, b)
			}
		}
		out = append(out, Cell{Key: r.key, Values: [][]byte{value}})
	}
	return out, nil
}

// weight makes the numbers of a place comparable, signed ones too.
func (p place) weight(value []byte) uint64 {
	b := value[p.base:]
	if p.shape == shapeStats {
		return statsOf(b[p.off:]).count
	}
	v := p.load(b)
	if p.signed {
		v ^= 1 << 63
	}
	return v
}

// sent is how many rows or histograms leave the node, and how many of them are to be
// read; 0 is all.
func sent(view program.View, when Reading) (most, read int) {
	if view.Whole && when.Final && view.Top > 0 {
		return program.MaxTop, view.Top
	}
	return view.Top, view.Top
}

// top sorts rows by weight, largest first, and returns those to be shown.
func top(rows []row, most int) []row {
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), bytes.Compare(a.key, b.key))
	})
	if most > 0 && len(rows) > most {
		rows = rows[:most]
	}
	return rows
}

func (m *Map) table(node string, rows []row, view program.View, when Reading) output.Map {
	out := output.Map{Node: node, Name: m.name, Total: len(rows), At: output.Time(when.At), Seconds: when.seconds(), Final: when.Final}
	most, read := sent(view, when)
	shown := top(rows, most)
	if read > 0 && len(shown) > read {
		out.Top = read
	}
	out.Entries = make([]output.MapEntry, len(shown))
	for i, r := range shown {
		out.Entries[i] = output.MapEntry{Key: m.keyFields(r.key), Value: m.valueFields(r.value)}
	}
	return out
}

// histRecords appends the histograms h of all keys, those with the most values
// first.
func (m *Map) histRecords(dst []output.Record, h place, node string, rows []row, view program.View, when Reading) []output.Record {
	name := m.name
	if h.node != m.value && h.field != "value" {
		name += "." + h.field
	}
	shown := make([]row, 0, len(rows))
	for _, r := range rows {
		_, r.weight = h.histogram(h.bytes(r.value))
		if r.weight > 0 {
			shown = append(shown, r)
		}
	}
	most, read := sent(view, when)
	total := len(shown)
	if shown = top(shown, most); len(shown) == total || !view.Whole {
		total = 0
	}
	for i, r := range shown {
		buckets, count := h.histogram(h.bytes(r.value))
		dst = append(dst, output.Hist{Node: node, Name: name, Key: m.keyFields(r.key), Unit: h.unit, Buckets: buckets,
			Count: count, At: output.Time(when.At), Seconds: when.seconds(), Final: when.Final, Minor: read > 0 && i >= read, Total: total})
	}
	if len(shown) == 0 {
		dst = append(dst, output.Hist{Node: node, Name: name, Unit: h.unit, Buckets: []output.Bucket{}, At: output.Time(when.At), Seconds: when.seconds(), Final: when.Final})
	}
	return dst
}

func (p place) bytes(b []byte) []byte { return b[p.base+int(p.off):] }

// maxStacks bounds how many stacks of a map are named.
const maxStacks = 2000

// stackRecords returns the stacks of all rows, most frequent first. At the end of
// a run the ones beyond the view's top follow as minor ones, and what is beyond
// maxStacks as one without names, so that a profile has all that was counted.
func (m *Map) stackRecords(node string, rows []row, stacks StackResolver, view program.View, final bool) []output.Record {
	m.printer.stacks = stacks
	defer func() { m.printer.stacks = nil }()
	rows = top(rows, 0)
	major := min(len(rows), maxStacks)
	if view.Top > 0 {
		major = min(major, view.Top)
	}
	named := major
	if final {
		named = min(len(rows), maxStacks)
	}
	out := make([]output.Record, named, named+1)
	for i, r := range rows[:named] {
		s := output.Stack{Node: node, Name: m.name, Key: m.keyFields(r.key), Frames: []string{}, Minor: i >= major, Final: final, Count: m.counted(r)}
		for _, kind := range [...]shape{shapeKStack, shapeUStack} { // the kernel's are the inner ones
			for _, p := range m.stacks {
				// No stack of one kind is normal: kernel threads have no user stack,
				// and programs run outside of the kernel no kernel stack.
				if base := r.key[p.base:]; p.shape == kind && int32(p.load(base)) != noStack {
					s.Frames = append(s.Frames, m.printer.frames(p.node, base)...)
				}
			}
			if kind == shapeKStack {
				s.Kernel = len(s.Frames)
			}
		}
		if len(s.Frames) == 0 {
			s.Frames = append(s.Frames, "[no stack]")
		}
		out[i] = s
	}
	if rest := rows[named:]; final && len(rest) > 0 {
		s := output.Stack{Node: node, Name: m.name, Frames: []string{fmt.Sprintf("[%d rarer stacks]", len(rest))}, Minor: true, Final: true}
		for _, r := range rest {
			s.Count += m.counted(r)
		}
		out = append(out, s)
	}
	return out
}

// counted is what a row of stacks is sorted by, as the program counted it.
func (m *Map) counted(r row) uint64 {
	switch q := m.quantity; {
	case q.node == nil:
		return 0
	case q.signed: // back from what weight did
		return uint64(max(int64(r.weight^1<<63), 0))
	}
	return r.weight
}

// noStack is -EFAULT, what bpf_get_stackid returns when there is no such stack.
const noStack = -14

// keyFields returns the key's fields, without stacks.
func (m *Map) keyFields(key []byte) output.Fields {
	switch {
	case m.single:
		return output.Fields{}
	case m.key.shape != shapeStruct:
		if len(m.stacks) > 0 {
			return output.Fields{}
		}
		return output.Fields{{Name: m.keyName(), Value: m.printer.field(m.key, key)}}
	}
	out := make(output.Fields, 0, len(m.key.children))
	for i := range m.key.children {
		if f := &m.key.children[i]; f.shape != shapeKStack && f.shape != shapeUStack {
			out = append(out, output.Field{Name: f.field, Value: m.printer.field(f, key[m.key.off:])})
		}
	}
	return out
}

// valueFields returns the value's fields, without histograms.
func (m *Map) valueFields(value []byte) output.Fields {
	if m.value.shape == shapeStats {
		return statsOf(value).fields(m.value.unit)
	}
	out := make(output.Fields, 0, len(m.rest))
	for _, p := range m.rest {
		name := p.field
		if p.node == m.value {
			name = m.valueName()
		}
		out = append(out, output.Field{Name: name, Value: m.printer.field(p.node, value[p.base:])})
	}
	return out
}
