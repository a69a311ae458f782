// Package result turns the records of one run into what a thread shows of it:
// while it runs the newest lines or the current tables ([Result.Tail]), at the
// end the answer merged over all nodes ([Result.Final]), and the whole output
// as a file ([Result.File]).
//
// A run may last minutes, come from many nodes and print thousands of lines a
// second. Whatever comes, memory is bounded: of events the first and the newest
// are kept, all are counted and written to the file, which has a limit of its
// own; where something had to be left out, the text says how much.
//
// What is traced is chosen by strangers. All text is made printable, on lines of
// at most [Options.Columns] columns, without anything invisible, and without the three
// backticks that would end a block of code. Mark-up that means something
// to one platform is escaped by its adapter.
package result

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"kgent/executor/output"
	"kgent/executor/render/text"
)

// Columns is the width of all text where [Options] name none: what most chats
// show in fixed pitch without folding it.
const Columns = 80

// What is kept of a run in memory.
const (
	keepFirst  = 8         // events from the beginning
	keepNewest = 160       // events, and lines of iterators: more than any message shows
	keepLine   = 16 << 10  // bytes of an event that is shown
	keepTables = 32 << 20  // bytes of all tables, histograms and stacks, as JSON
	keepRows   = 1000      // rows or histograms of one map on one node: the largest
	keepStacks = 2048      // stacks of one map on one node: all that a node sends
	keepNodes  = 2000      // nodes
	keepNames  = 256       // maps
	keepEvents = 8         // streams of events
	keepErrors = 16        // different errors
	keepText   = 512       // characters of an error
	keepLarge  = 512 << 10 // bytes of an attached record
)

// Options describe a run beforehand. The zero value will do.
type Options struct {
	// Recipe and Run name the file.
	Recipe, Run string
	// Nodes are those that were asked; others may appear.
	Nodes []string
	// Columns is how wide text may be where it is shown; 0 is [Columns]. What
	// is narrower than 40 is taken for 40.
	Columns int
	// Location is of times of the day; nil is UTC.
	Location *time.Location
	// Dir is where output waits that is too much for memory; "" is the
	// system's directory for temporary files. Nothing is left in it, however the
	// process ends.
	Dir string
	// MaxFile is how many bytes the file may have; 0 is [DefaultMaxFile].
	MaxFile int64
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Result accumulates a run. It is safe for concurrent use.
type Result struct {
	o Options

	mu       sync.Mutex
	spool    *spool
	nodes    []*node
	byName   map[string]*node
	streams  map[string]output.Stream
	events   uint64
	perEvent []*eventStream // by first appearance
	tables   []*table
	lines    newest  // of iterators
	shares   sharing // of them
	errors   []failure
	moreErrs uint64
	bytes    int    // of tables
	tooLarge uint64 // records that found no room
	room     int    // bytes that are left for sums of tables
	tooMany  uint64 // rows of tables that did
	strange  uint64 // lines that could not be read
	rate     rate
	started  time.Time // when the first node was attached
	summary  *output.Summary
}

// node is what is known of one node.
type node struct {
	name     string
	attached bool
	events   uint64
	records  uint64
}

// New returns a Result that has seen nothing. [Result.Close] gives back its
// file.
func New(o Options) *Result {
	if o.MaxFile <= 0 {
		o.MaxFile = DefaultMaxFile
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Columns <= 0 {
		o.Columns = Columns
	}
	o.Columns = max(o.Columns, 40)
	r := &Result{o: o, byName: map[string]*node{}, room: keepSums, streams: map[string]output.Stream{}, spool: newSpool(o.Dir, o.MaxFile)}
	for _, name := range o.Nodes {
		r.node(name)
	}
	return r
}

// Line takes one record as executor.Follow hands it on; it does not keep line.
// What cannot be read is counted and goes to the file all the same.
func (r *Result) Line(line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spool.write(line)
	if e, ok := scanEvent(line); ok {
		r.event(e)
		return
	}
	rec, err := output.Decode(line)
	if err != nil {
		r.strange++
		return
	}
	if e, ok := rec.(output.Event); ok { // written by somebody else's encoder
		again, err := output.Encode(e)
		if scanned, ok := scanEvent(again); ok && err == nil {
			r.event(scanned)
		} else {
			r.strange++
		}
		return
	}
	r.record(rec, len(line))
}

// End takes the account of the run, which is also the last line of the file.
func (r *Result) End(s output.Summary) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if line, err := output.Encode(s); err == nil {
		r.spool.write(line)
	}
	r.summary = &s
}

// Close gives back what the file occupies. Files that [Result.File] has
// returned can no longer be read.
func (r *Result) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spool.close()
}

func (r *Result) event(e scanned) {
	r.events++
	r.rate.add(r.o.Now())
	if n := r.node(e.node); n != nil {
		n.events++
		n.records++
	}
	for _, s := range r.perEvent {
		if s.name == e.stream {
			s.add(e)
			return
		}
	}
	if len(r.perEvent) < keepEvents {
		s := newEventStream(e.stream, r.streams[e.stream].Columns)
		r.perEvent = append(r.perEvent, s)
		s.add(e)
	}
}

func (r *Result) record(rec output.Record, size int) {
	switch x := rec.(type) {
	case output.Attached:
		if n := r.seen(x.Node); n != nil {
			n.attached = true
		}
		if r.started.IsZero() {
			r.started = r.o.Now()
		}
		for _, s := range x.Streams {
			if _, known := r.streams[s.Name]; known || len(r.streams) < keepNames && size <= keepLarge {
				r.streams[s.Name] = s
			}
		}
	case output.Map:
		r.seen(x.Node)
		if t := r.tableOf(x.Name); t != nil && !x.Final {
			t.history.addMap(x)
		}
		r.keepMap(x, size)
	case output.Hist:
		r.seen(x.Node)
		if t := r.tableOf(x.Name); t != nil && !x.Final {
			t.history.addHist(x)
		}
		r.keep(x.Name, x.Node, size, stamp{x.At, x.Final}, func(p *part) { p.addHist(x) })
	case output.Stack:
		r.seen(x.Node)
		r.keep(x.Name, x.Node, size, stamp{"", x.Final}, func(p *part) { p.addStack(x) })
	case output.Text:
		r.seen(x.Node)
		line, _ := output.Encode(x)
		r.lines.add(line)
		r.shares.add(x)
	case output.Error:
		r.seen(x.Node)
		r.fail(x)
	}
}

// node returns what is known of a node; nil when there are too many.
func (r *Result) node(name string) *node {
	if n := r.byName[name]; n != nil || len(r.nodes) == keepNodes || name == "" {
		return n
	}
	n := &node{name: name}
	r.byName[name] = n
	r.nodes = append(r.nodes, n)
	return n
}

// seen notes that a node has said something.
func (r *Result) seen(name string) *node {
	n := r.node(name)
	if n != nil {
		n.records++
	}
	return n
}

// several reports whether rows must say which node they are of.
func (r *Result) several() bool { return len(r.nodes) > 1 }

func (r *Result) options() text.Options {
	return text.Options{Width: r.o.Columns, Location: r.o.Location, Nodes: r.several()}
}

// newest keeps the newest lines.
type newest struct {
	ring  [][]byte
	next  int
	total uint64
}

func (n *newest) add(line []byte) {
	n.total++
	if len(line) > keepLine {
		line = nil // shown as a line that is too long
	}
	if len(n.ring) < keepNewest {
		n.ring = append(n.ring, bytes.Clone(line))
		return
	}
	n.ring[n.next] = append(n.ring[n.next][:0], line...)
	n.next = (n.next + 1) % keepNewest
}

// all returns the lines, oldest first.
func (n *newest) all() [][]byte {
	out := make([][]byte, 0, len(n.ring))
	out = append(out, n.ring[n.next:]...)
	return append(out, n.ring[:n.next]...)
}

// harden makes text that is clean line by line fit for a block of code in a
// chat: no line is too long, what is printable but has no shape of its own is
// escaped, and nothing ends the block.
func (r *Result) harden(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = text.Fit(unfence(visible(l)), r.o.Columns)
	}
	return strings.Join(lines, "\n")
}

// clean makes one line of a string from outside.
func clean(s string) string { return unfence(visible(text.Clean(s))) }

// unfence replaces the backticks of a run of three or more by letters that look
// like them.
func unfence(s string) string {
	if !strings.Contains(s, "```") {
		return s
	}
	var b strings.Builder
	for s != "" {
		i := strings.Index(s, "```")
		if i < 0 {
			break
		}
		rest := strings.TrimLeft(s[i:], "`")
		b.WriteString(s[:i] + strings.Repeat("ˋ", len(s)-i-len(rest)))
		s = rest
	}
	return b.String() + s
}

// visible shows characters that Unicode calls letters, marks or symbols but
// that leave no trace on the screen as what they are.
func visible(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if !hidden(c) {
			b.WriteRune(c)
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, c)
	}
	return b.String()
}

// hidden tells those characters: fillers, variation selectors, and marks, of
// which a heap on one letter covers the lines around it.
func hidden(c rune) bool {
	switch c {
	case 0x034f, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x2800, 0x3164, 0xffa0:
		return true
	}
	return c >= 0x300 && unicode.In(c, unicode.Mn, unicode.Me)
}
