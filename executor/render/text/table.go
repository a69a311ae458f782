// Package text shows the records of a run to people, in a terminal or in a
// block of code in a chat: aligned tables of events and maps, histograms with
// bars, indented stacks, and a sentence that accounts for every event.
//
// Nothing that a traced program has chosen reaches the reader unchecked: every
// string passes [Clean]. Colours are an explicit choice; without it there is not
// one escape sequence in the output.
package text

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"kgent/executor/output"
)

// Options are the reader's circumstances. The zero value is for a block of
// code: 80 columns, UTC, no colour.
type Options struct {
	Width    int            // of a line, in columns; 0 is 80
	Location *time.Location // of times of the day; nil is UTC
	Style    Style
	// Nodes says that records may come from several nodes, so that each says
	// from which.
	Nodes bool
}

func (o Options) width() int {
	if o.Width <= 0 {
		return 80
	}
	return o.Width
}

// Style says how things stand out. The zero Style is plain text.
type Style struct{ Color bool }

func (s Style) bold(t string) string { return s.paint("1", t) }
func (s Style) dim(t string) string  { return s.paint("2", t) }
func (s Style) warn(t string) string { return s.paint("33", t) }
func (s Style) paint(code, t string) string {
	if !s.Color || t == "" {
		return t
	}
	return "\x1b[" + code + "m" + t + "\x1b[0m"
}

// After how many rows a table's header is shown again: once on each screenful
// of a large window, earlier when the columns have moved.
const (
	headerEvery = 60
	headerMoved = 20
)

// Table shows events as they come. It is told of the streams and then of the
// events, and returns lines. Columns grow with what they hold as long as the
// line has room. Then text is cut short, but numbers, addresses and names never
// are.
type Table struct {
	o       Options
	streams map[string][]output.Column
	nodes   map[string]bool
	seen    map[string]bool // streams that had events
	layouts map[string]*layout
	lines   int // rows so far
}

// NewTable returns a Table that knows no stream yet.
func NewTable(o Options) *Table {
	return &Table{o: o, streams: map[string][]output.Column{}, nodes: map[string]bool{}, seen: map[string]bool{}, layouts: map[string]*layout{}}
}

// Attached tells of the streams of a node's run.
func (t *Table) Attached(a output.Attached) {
	for _, s := range a.Streams {
		t.streams[s.Name] = s.Columns
	}
	t.see(t.nodes, a.Node)
}

// see notes a node or stream. As soon as there are two, rows say which of them
// they are of, and all tables start anew.
func (t *Table) see(set map[string]bool, name string) {
	if !set[name] {
		set[name] = true
		if len(set) == 2 {
			clear(t.layouts)
		}
	}
}

// Event returns the lines for an event, each with its newline: the row, and
// before it the header when it is due.
func (t *Table) Event(e output.Event) string {
	t.see(t.nodes, e.Node)
	t.see(t.seen, e.Stream)
	if t.streams[e.Stream] == nil {
		t.streams[e.Stream] = columnsOf(nil, "", e.Data)
	}
	l := t.layouts[e.Stream]
	if l == nil {
		l = newLayout(t.columns(e.Stream), t.o)
		t.layouts[e.Stream] = l
	}
	var cells []string
	if t.withNode() {
		cells = append(cells, Clean(e.Node))
	}
	if len(t.seen) > 1 {
		cells = append(cells, Clean(e.Stream))
	}
	// The row comes first: it may widen columns, and the header shows them so.
	row, head := l.row(l.cells(cells, t.o, e.Data)), ""
	if age := t.lines - l.header; l.header == 0 || age >= headerEvery || l.grown && age >= headerMoved {
		head = l.head(t.o)
		l.header, l.grown = t.lines+1, false
	}
	t.lines++
	return head + row
}

func (t *Table) withNode() bool { return t.o.Nodes || len(t.nodes) > 1 }

// columns are those of a stream, behind those that say where a row is from.
func (t *Table) columns(stream string) []output.Column {
	var out []output.Column
	if t.withNode() {
		out = append(out, output.Column{Name: "node", Kind: "enum"})
	}
	if len(t.seen) > 1 {
		out = append(out, output.Column{Name: "stream", Kind: "enum"})
	}
	return append(out, t.streams[stream]...)
}

// columnsOf describes fields of an unknown stream by their values.
func columnsOf(dst []output.Column, path string, f output.Fields) []output.Column {
	for _, x := range f {
		name := x.Name
		if path != "" {
			name = path + "." + name
		}
		switch v := x.Value.(type) {
		case output.Fields:
			dst = columnsOf(dst, name, v)
		case json.Number:
			dst = append(dst, output.Column{Name: name, Kind: "int", Width: 6, Right: true})
		default:
			dst = append(dst, output.Column{Name: name, Kind: "string", Width: 12})
		}
	}
	return dst
}

// lookup finds the value of a column, whose name is the path to it.
func lookup(fields output.Fields, path string) any {
	for {
		if v, ok := fields.Get(path); ok {
			return v
		}
		head, rest, ok := strings.Cut(path, ".")
		if !ok {
			return nil
		}
		v, _ := fields.Get(head)
		if fields, ok = v.(output.Fields); !ok {
			return nil
		}
		path = rest
	}
}

// layout is how the columns of a table stand.
type layout struct {
	columns []column
	gap     int  // between columns
	limit   int  // of a line
	header  int  // 1 + the number of rows before the header was last shown
	grown   bool // since then
	tight   bool // the columns did not fit: each began as narrow as it may
	natural int  // the width of a full line of which nothing is cut, once all rows are known
}

type column struct {
	path, title, kind string
	width             int
	right             bool
	cut               bool // what does not fit may be cut short
}

func newLayout(columns []output.Column, o Options) *layout {
	l := &layout{gap: 2, limit: o.width()}
	for _, c := range columns {
		title := strings.ToUpper(Clean(c.Name))
		l.columns = append(l.columns, column{path: c.Name, title: title, kind: c.Kind, width: max(c.Width, Width(title)), right: c.Right, cut: mayCut(c.Kind)})
	}
	l.shrink()
	return l
}

// mayCut tells text from what means something else, or nothing, when its end
// is missing.
func mayCut(kind string) bool {
	switch kind {
	case "string", "bytes", "list", "k_args", "k_cgroup", "k_oflags", "k_mntflags", "k_kstack", "k_ustack":
		return true
	}
	return false
}

// total is the width of a full line.
func (l *layout) total() int {
	w := l.gap * max(len(l.columns)-1, 0)
	for _, c := range l.columns {
		w += c.width
	}
	return w
}

// lastRoom is what the last column keeps of a tight line when it is text: it
// holds the path or the arguments that the reader asked for.
const lastRoom = 24

// shrink makes the line fit: first the room between columns, then the columns
// themselves, which grow again with what they hold. Titles stay whole. Of
// process and thread only the process is left when there is no other way.
func (l *layout) shrink() {
	if l.total() > l.limit {
		l.gap = 1
	}
	if l.total() <= l.limit {
		return
	}
	l.tight = true
	last := &l.columns[len(l.columns)-1]
	wanted := last.width
	for i := range l.columns {
		l.columns[i].width = l.columns[i].floor()
	}
	if l.total() > l.limit && slices.ContainsFunc(l.columns, func(c column) bool { return c.kind == "k_pid" }) {
		l.columns = slices.DeleteFunc(l.columns, func(c column) bool { return c.kind == "k_tid" })
		last = &l.columns[len(l.columns)-1]
	}
	if free := l.limit - l.total(); last.cut && free > 0 {
		last.width = max(last.width, min(wanted, lastRoom, last.width+free))
	}
}

// floor is how narrow a column may begin.
func (c column) floor() int {
	least := 9 // addresses and names
	switch {
	case c.kind == "k_time" || c.kind == "k_boottime": // all are as wide
		least = c.width
	case c.kind == "k_ret" || c.kind == "k_errno": // mostly OK or a number
		least = 6
	case c.cut:
		least = 8
	case c.right:
		least = 4
	}
	return max(Width(c.title), min(c.width, least))
}

// maxGrown is how wide a column of text may become on a line of 160 columns or
// less; on wider ones it is a quarter of the line.
const maxGrown = 40

// grow gives column i room for w more than it has, or as much as there is.
func (l *layout) grow(i, w int) {
	c := &l.columns[i]
	if l.tight && (i == len(l.columns)-1 || c.kind == "k_oflags" || c.kind == "k_mntflags") {
		return // the last has all that is left anyway, and that is for names
	}
	if c.cut {
		w = min(w, max(maxGrown, l.limit/4, c.width))
	}
	need, free := w-c.width, l.limit-l.total()
	if need <= 0 || free <= 0 || need > free && !c.cut {
		return // one long address would take the room of all that follow
	}
	c.width += min(need, free)
	l.grown = true
}

func (l *layout) head(o Options) string {
	titles := make([]string, len(l.columns))
	for i, c := range l.columns {
		titles[i] = c.title
	}
	line := strings.TrimSuffix(l.row(titles), "\n")
	return o.Style.bold(line) + "\n"
}

// cells appends the texts of the columns behind those in cells.
func (l *layout) cells(cells []string, o Options, fields output.Fields) []string {
	for _, c := range l.columns[len(cells):] {
		cells = append(cells, Value(c.kind, lookup(fields, c.path), o))
	}
	return cells
}

// row returns a line. A cell that is too wide moves the ones behind it only as
// far as it must.
func (l *layout) row(cells []string) string {
	var b strings.Builder
	at, start := 0, 0 // where we are, and where the column begins
	for i, s := range cells {
		w := Width(s)
		if w > l.columns[i].width {
			l.grow(i, w)
		}
		c := &l.columns[i]
		if w > c.width && c.cut {
			room := c.width
			if i == len(cells)-1 {
				room = max(room, l.limit-max(at+1, start))
			}
			s = Fit(s, room)
			w = Width(s)
		}
		blank := start - at
		if c.right {
			blank = start + c.width - w - at
		}
		if i > 0 {
			blank = max(blank, 1)
		}
		if s != "" {
			b.WriteString(spaces(blank))
			b.WriteString(s)
			at += max(blank, 0) + w
		}
		start += c.width + l.gap
	}
	b.WriteByte('\n')
	return b.String()
}
