package result

import (
	"cmp"
	"encoding/json"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/executor/output"
	"kgent/executor/render/chart"
	"kgent/executor/render/text"
)

// table is an output map: the newest reading of each node.
type table struct {
	name    string
	parts   []*part // by node, in the order they came
	of      map[string]*part
	history history
	// sums are the rows of all nodes' final readings.
	sums sums
}

// part is one node's reading: a table, histograms, stacks, or a table beside
// histograms.
type part struct {
	node   string
	stamp  stamp
	table  *output.Map // of a final reading without its entries, which are in the sums
	hists  []output.Hist
	stacks []output.Stack
	more   int // histograms and stacks beyond those kept
	bytes  int
	// rows were in the table, and each that was cut off counts at most least.
	rows  int
	least float64
}

// stamp tells readings apart.
type stamp struct {
	at    string
	final bool
}

// tableOf returns what is known of a map; nil when there are too many.
func (r *Result) tableOf(name string) *table {
	for _, t := range r.tables {
		if t.name == name {
			return t
		}
	}
	if len(r.tables) == keepNames {
		return nil
	}
	t := &table{name: name, of: map[string]*part{}, sums: sums{room: &r.room}}
	r.tables = append(r.tables, t)
	return t
}

// keep adds a record to its node's reading, which it begins when the one there
// is of another time. Of a run that has ended only the final reading counts.
func (r *Result) keep(name, node string, size int, s stamp, add func(*part)) {
	t := r.tableOf(name)
	if t == nil {
		r.tooLarge++
		return
	}
	p := t.of[node]
	if p == nil {
		if len(t.parts) == keepNodes {
			r.tooLarge++
			return
		}
		p = &part{node: node, stamp: s}
		t.parts = append(t.parts, p)
		t.of[node] = p
	}
	if p.stamp.final && !s.final {
		return
	}
	if p.stamp != s {
		r.bytes -= p.bytes
		*p = part{node: node, stamp: s}
	}
	if r.bytes+size > keepTables {
		r.tooLarge++
		return
	}
	r.bytes += size
	p.bytes += size
	add(p)
}

// addStack adds a stack. Stacks do not say when they were read, but each
// reading begins with the most frequent one. Of the final one there is just one.
func (p *part) addStack(s output.Stack) {
	if n := len(p.stacks); n > 0 && !s.Final && s.Count > p.stacks[n-1].Count {
		p.stacks, p.more = p.stacks[:0], 0
	}
	if len(p.stacks) == keepStacks {
		p.more++
		return
	}
	p.stacks = append(p.stacks, s)
}

func (p *part) addHist(h output.Hist) {
	if len(p.hists) == keepRows {
		p.more++
		return
	}
	p.hists = append(p.hists, h)
	p.more = max(p.more, h.Total-len(p.hists))
}

// keepMap takes in a table. A final one is added to the sums at once, since hundreds of
// nodes may have a thousand rows each.
func (r *Result) keepMap(x output.Map, size int) {
	x.Total = max(x.Total, len(x.Entries))
	most := keepRows
	if x.Final {
		most = len(x.Entries)
	}
	if len(x.Entries) > most {
		size = size / len(x.Entries) * most
		x.Entries = x.Entries[:most]
	}
	x.Entries = slices.Clone(x.Entries)
	if x.Final {
		size = 0
	}
	r.keep(x.Name, x.Node, size, stamp{x.At, x.Final}, func(p *part) {
		if p.table != nil {
			return // the same reading once more
		}
		p.rows = len(x.Entries)
		if p.rows > 0 && x.Total > p.rows {
			p.least = weight(x.Entries[p.rows-1].Value)
		}
		if t := r.tableOf(x.Name); x.Final {
			left := t.sums.addMap(r.streams[x.Name], x)
			r.tooMany += uint64(left)
			x.Entries = nil
		}
		p.table = &x
	})
}

// merged is an output map over all nodes.
type merged struct {
	name  string
	final bool     // of all nodes
	at    string   // of the newest reading, when not final
	nodes []string // whose readings these are
	// left are nodes of which something is known that is no part of this, since they counted
	// over another time.
	left   []string
	stream output.Stream
	rows   []tableRow // largest first
	more   int        // rows that the nodes did not send
	// cut nodes did not send all of their rows, for which each sum that is shown may lack
	// this much at most.
	cut    int
	lacks  float64
	unseen int // histograms and stacks that are not kept
	isMap  bool
	summed bool // rows of several nodes are added up
	// seconds is over how long each node counted; 0 when that differs.
	seconds float64
	hists   []mergedHist
	stacks  []mergedStack
}

// mergedHist is one histogram, the sum over its nodes.
type mergedHist struct {
	hist  output.Hist // Node is empty
	parts []output.Hist
}

// mergedStack is one stack, summed over its nodes.
type mergedStack struct {
	stack output.Stack
	nodes []string
}

// together returns the readings that make one: what one node counted since its reading
// before and another in all of the run is no sum. While most nodes go on it is what they are
// counting, and then what the others ended with. The nodes of the rest are left out.
func (t *table) together(over bool) (parts []*part, left []string) {
	ended := 0
	for _, p := range t.parts {
		if p.stamp.final {
			ended++
		}
	}
	if ended == 0 || ended == len(t.parts) {
		return t.parts, nil
	}
	over = over || 2*ended > len(t.parts)
	for _, p := range t.parts {
		if p.stamp.final == over {
			parts = append(parts, p)
		} else {
			left = append(left, p.node)
		}
	}
	return parts, left
}

// merge makes one of what nodes have said of a map.
func (r *Result) merge(t *table) merged {
	parts, left := t.together(r.summary != nil)
	stream := r.streams[t.name]
	m := merged{name: t.name, stream: stream, final: true, left: left}
	for _, p := range parts {
		m.final = m.final && p.stamp.final
		if !p.stamp.final {
			m.at = max(m.at, p.stamp.at)
		}
		m.nodes = append(m.nodes, p.node)
		m.unseen += p.more
		if p.table != nil {
			m.isMap = true
			if more := p.table.Total - p.rows; more > 0 {
				m.more += more
				m.cut++
				m.lacks += p.least
			}
		}
	}
	m.seconds = commonSeconds(parts)
	m.rows, m.summed = t.rows(stream, parts)
	m.hists = mergeHists(stream, parts)
	m.stacks = mergeStacks(stream, parts)
	return m
}

// commonSeconds is over how long all nodes counted, give or take a twentieth.
func commonSeconds(parts []*part) float64 {
	least, most := math.Inf(1), 0.0
	for _, p := range parts {
		if p.table != nil {
			least, most = min(least, p.table.Seconds), max(most, p.table.Seconds)
		}
	}
	if most-least > most/20 {
		return 0
	}
	return most
}

func (m merged) empty() bool {
	return len(m.rows) == 0 && len(m.stacks) == 0 && !slices.ContainsFunc(m.hists, func(h mergedHist) bool { return h.hist.Count > 0 })
}

// identity is equal for equal fields only.
func identity(f output.Fields) string { return string(appendIdentity(nil, f)) }

func appendIdentity(b []byte, f output.Fields) []byte {
	for _, x := range f {
		b = strconv.AppendQuote(b, x.Name)
		switch v := x.Value.(type) {
		case string:
			b = strconv.AppendQuote(b, v)
		case json.Number:
			b = append(append(b, ' '), v...)
		case output.Fields:
			b = append(appendIdentity(append(b, '{'), v), '}')
		default:
			j, _ := json.Marshal(v) // what was decoded can be encoded
			b = append(append(b, ' '), j...)
		}
	}
	return b
}

// weight is what rows are sorted by: the first number of the value.
func weight(value output.Fields) float64 {
	for _, f := range value {
		switch v := f.Value.(type) {
		case json.Number:
			if n, err := v.Float64(); err == nil {
				return n
			}
		case output.Fields:
			if n := weight(v); !math.IsNaN(n) {
				return n
			}
		}
	}
	return math.NaN()
}

func mergeHists(stream output.Stream, parts []*part) []mergedHist {
	var out []mergedHist
	index := map[string]int{}
	for _, p := range parts {
		for _, h := range p.hists {
			id := strconv.Quote(h.Name) + strconv.Quote(h.Unit) + identity(h.Key)
			if ofNode(stream, h.Key) {
				id += p.node
			}
			i, ok := index[id]
			if !ok {
				i = len(out)
				index[id] = i
				sum := h
				sum.Node, sum.Buckets, sum.Count, sum.Final = "", nil, 0, true
				out = append(out, mergedHist{hist: sum})
			}
			m := &out[i]
			m.parts = append(m.parts, h)
			m.hist.Count = plus(m.hist.Count, h.Count)
			m.hist.Final = m.hist.Final && h.Final
			m.hist.Buckets = append(m.hist.Buckets, h.Buckets...)
		}
	}
	for i := range out {
		out[i].hist.Buckets = chart.Merge(out[i].hist.Buckets)
	}
	// A node that had nothing to say of any key is no histogram of its own.
	if len(out) > 1 {
		out = slices.DeleteFunc(out, func(h mergedHist) bool { return h.hist.Count == 0 })
	}
	slices.SortStableFunc(out, func(a, b mergedHist) int { return cmp.Compare(b.hist.Count, a.hist.Count) })
	return out
}

// plus adds without wrapping around.
func plus(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry > 0 {
		return math.MaxUint64
	}
	return sum
}

// below returns the end of the bucket that the given share of the values is
// not above; false if that bucket has no end.
func below(buckets []output.Bucket, share float64) (limit uint64, ok bool) {
	total := uint64(0)
	for _, b := range buckets {
		total = plus(total, b.Count)
	}
	if total == 0 {
		return 0, false
	}
	need := share * float64(total)
	sum := uint64(0)
	for _, b := range buckets {
		sum = plus(sum, b.Count)
		if float64(sum) >= need {
			return b.Max, b.Max != math.MaxUint64
		}
	}
	return 0, false
}

func mergeStacks(stream output.Stream, parts []*part) []mergedStack {
	var out []mergedStack
	index := map[string]int{}
	for _, p := range parts {
		for _, s := range p.stacks {
			id := identity(s.Key) + strings.Join(s.Frames, "\n")
			if ofNode(stream, s.Key) {
				id += "\n" + p.node
			}
			if i, ok := index[id]; ok {
				out[i].stack.Count = plus(out[i].stack.Count, s.Count)
				out[i].stack.Minor = out[i].stack.Minor && s.Minor
				if nodes := out[i].nodes; nodes[len(nodes)-1] != p.node {
					out[i].nodes = append(out[i].nodes, p.node)
				}
				continue
			}
			index[id] = len(out)
			s.Node = ""
			out = append(out, mergedStack{stack: s, nodes: []string{p.node}})
		}
	}
	slices.SortStableFunc(out, func(a, b mergedStack) int { return cmp.Compare(b.stack.Count, a.stack.Count) })
	return out
}

// narrow is how wide a column of nodes may be.
const narrow = 16

// on names the nodes of a row in a narrow column: "a", "a, b", "all 3", "db-[1-4]",
// "17 of 500".
func on(nodes []string, all int) string {
	switch {
	case len(nodes) > 1 && len(nodes) == all:
		return "all " + strconv.Itoa(all)
	case len(nodes) > 3:
		if s := text.Ranges(nodes); len(s) <= narrow {
			return s
		}
		return strconv.Itoa(len(nodes)) + " of " + strconv.Itoa(all)
	}
	return strings.Join(nodes, ", ")
}

// asMap is the merged table as one of a single node, its first column the node
// when there are several, with at most limit rows.
func (m merged) asMap(several bool, limit int) (output.Map, output.Stream) {
	out := output.Map{Name: m.name, Total: len(m.rows) + m.more, Seconds: m.seconds, Final: true}
	if m.summed && m.cut > 0 {
		out.Total = len(m.rows) // of those that were not sent, nobody knows how many are the same
	}
	s := m.stream
	for _, r := range m.rows[:min(limit, len(m.rows))] {
		e := r.entry
		if several {
			e.Key = append(output.Fields{{Name: nodeName(m.stream.Columns), Value: on(r.nodes, len(m.nodes))}}, e.Key...)
		}
		out.Entries = append(out.Entries, e)
	}
	if several && len(s.Columns) > 0 {
		s.Columns = append([]output.Column{{Name: nodeName(m.stream.Columns), Kind: "enum"}}, s.Columns...)
	}
	return out, s
}

// quantity describes what rows are sorted by: the first column of the value.
func (m merged) quantity() output.Column {
	if len(m.rows) > 0 {
		e := m.rows[0].entry
		path := weightPath(e.Value)
		if i := len(e.Key); i < len(m.stream.Columns) {
			for _, c := range m.stream.Columns[i:] {
				if c.Name == path {
					return c
				}
			}
		}
		if path != "" {
			return output.Column{Name: path, Kind: "int"}
		}
	}
	return output.Column{Name: "count", Kind: "k_count"}
}

// weightPath is the path to the number that [weight] returns.
func weightPath(value output.Fields) string {
	for _, f := range value {
		switch v := f.Value.(type) {
		case json.Number:
			return f.Name
		case output.Fields:
			if p := weightPath(v); p != "" {
				return f.Name + "." + p
			}
		}
	}
	return ""
}

// history is what a table that is read at an interval held at each reading.
type history struct {
	points  []point // oldest first
	skipped int     // older ones that are not kept
	hists   []moment
}

// moment is what the histograms of all keys and nodes had counted in one interval.
type moment struct {
	at      time.Time
	unit    string
	buckets []output.Bucket
}

// addHist adds a histogram to those read at the same time, give or take what nodes are apart.
func (h *history) addHist(x output.Hist) {
	at, err := time.Parse(time.RFC3339Nano, x.At)
	if err != nil || x.Count == 0 {
		return
	}
	const apart = 500 * time.Millisecond
	for i := len(h.hists) - 1; i >= 0 && at.Sub(h.hists[i].at) < 2*time.Second; i-- {
		if m := &h.hists[i]; m.unit == x.Unit && at.Sub(m.at).Abs() < apart {
			m.buckets = chart.Merge(append(m.buckets, x.Buckets...))
			return
		}
	}
	if len(h.hists) == keepMoments {
		h.hists = append(h.hists[:0], h.hists[1:]...)
	}
	h.hists = append(h.hists, moment{at, x.Unit, slices.Clone(x.Buckets)})
}

// point is one node's reading.
type point struct {
	at    time.Time
	node  string
	total float64
	top   []labelled
}

type labelled struct {
	label string
	value float64
}

const (
	keepPoints  = 2000
	keepMoments = 600
	keepTop     = 8
)

func (h *history) addMap(m output.Map) {
	at, err := time.Parse(time.RFC3339Nano, m.At)
	if err != nil {
		return
	}
	p := point{at: at, node: m.Node}
	for _, e := range m.Entries {
		w := weight(e.Value)
		if math.IsNaN(w) {
			return
		}
		p.total += w
		if len(p.top) < keepTop {
			p.top = append(p.top, labelled{label(e.Key), w})
		}
	}
	if len(h.points) == keepPoints {
		h.points = append(h.points[:0], h.points[keepPoints/2:]...)
		h.skipped += keepPoints / 2
	}
	h.points = append(h.points, p)
}

// maxLabel is how many columns of a row's name a picture shows.
const maxLabel = 40

// label is a short name of a row.
func label(key output.Fields) string {
	var parts []string
	for _, f := range key {
		if _, nested := f.Value.(output.Fields); nested {
			continue
		}
		parts = append(parts, text.Value("", f.Value, text.Options{}))
	}
	return text.Fit(clean(strings.Join(parts, " ")), maxLabel)
}
