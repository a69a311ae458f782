package result

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"kgent/executor/output"
	"kgent/executor/render/text"
)

// Final is the answer of a run. All text is clean; that of blocks is for fixed
// pitch.
type Final struct {
	// Headline says in one line what came out: "12,345 events from 2 nodes in
	// 60 s", or that nothing did.
	Headline string
	// Empty says that nothing did.
	Empty bool
	// Account is the whereabouts of all events, Ended how the run ended, Cost
	// what it cost the busiest node (empty when unknown), each in one line.
	Account, Ended, Cost string
	Nodes                []Node
	// Errors are what went wrong, one line each.
	Errors []string
	Blocks []Block
}

// Node is one node's part in a run.
type Node struct {
	Name  string
	State State
	// Detail says why it was refused, is missing, or failed, or how it ended
	// otherwise than planned.
	Detail string
	// Events that arrived from it.
	Events uint64
}

// State of a node at the end.
type State string

const (
	Answered State = "answered"    // it ran there, to the end
	Failed   State = "failed"      // it ran there, and something went wrong
	CutShort State = "ended early" // it ran there, until the node's guard, the bus or its executor ended it
	Refused  State = "refused"     // the node did not let it run
	Missing  State = "missing"     // nothing was ever heard of the node
	Unknown  State = "unknown"     // the run is not over
)

// Block is a table, a histogram or the like.
type Block struct {
	// Title is one line.
	Title string
	// Text has lines of at most [Options.Columns] columns.
	Text string
}

// How much of an answer is shown as text.
const (
	finalRows   = 30
	finalHists  = 3 // in full; of more there is a table
	finalStacks = 5
	finalFrames = 14
	// barColumns is the width of a histogram: bars say as much when they are
	// short, and a bar that is folded says nothing.
	barColumns = 60
)

// Final returns the result as it stands; after [Result.End] it is the whole.
func (r *Result) Final() Final {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := Final{Nodes: r.nodeStates()}
	for _, e := range r.errors {
		f.Errors = append(f.Errors, e.words())
	}
	if r.moreErrs > 0 {
		f.Errors = append(f.Errors, "and "+plural(r.moreErrs, "more error"))
	}
	if r.strange > 0 {
		f.Errors = append(f.Errors, plural(r.strange, "record")+" could not be read; the file has them")
	}
	if r.tooLarge > 0 {
		f.Errors = append(f.Errors, plural(r.tooLarge, "table")+" or other records were too many to be merged; the file has them")
	}
	if r.tooMany > 0 {
		f.Errors = append(f.Errors, plural(r.tooMany, "row")+" of tables found no room to be merged; the file has them")
	}
	if s := r.summary; s != nil {
		f.Account, f.Ended, f.Cost = Account(*s, r.counts()), Ended(*s), Cost(s.Overhead)
	}
	for _, s := range r.perEvent {
		f.Blocks = append(f.Blocks, r.eventBlocks(s)...)
	}
	f.Blocks = append(f.Blocks, r.tableBlocks(true)...)
	if r.lines.total > 0 {
		if b, ok := r.sharedLines(); ok {
			f.Blocks = append(f.Blocks, b)
		} else {
			f.Blocks = append(f.Blocks, r.lineBlock())
		}
	}
	f.Headline, f.Empty = r.headline()
	if f.Empty {
		f.Blocks = nil
	}
	return f
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// counts reports whether the program reports no events but has tables.
func (r *Result) counts() bool {
	events := false
	for _, s := range r.streams {
		events = events || s.Events
	}
	return !events && r.events == 0 && (len(r.tables) > 0 || len(r.streams) > 0)
}

func (r *Result) nodeStates() []Node {
	var out []Node
	ends := map[string]output.NodeSummary{}
	if r.summary != nil {
		for _, n := range r.summary.Nodes {
			ends[n.Node] = n
			r.node(n.Node)
		}
	}
	for _, n := range r.nodes {
		x := Node{Name: clean(n.name), State: Unknown, Events: n.events}
		end, ok := ends[n.name]
		if !ok {
			out = append(out, x)
			continue
		}
		x.Detail = clean(firstLine(end.Detail))
		switch {
		case end.Reason == output.ReasonRefused:
			x.State = Refused
		case end.Reason == output.ReasonFailed && n.records == 0:
			x.State = Missing
		case end.Reason == output.ReasonInterrupted, end.Reason == output.ReasonOutput, end.Reason == output.ReasonBudget:
			x.State = CutShort
		case end.Reason == output.ReasonFailed || !n.attached:
			x.State = Failed
		default:
			x.State = Answered
		}
		if x.Detail == "" && x.State == Failed && end.Reason != output.ReasonFailed {
			x.Detail = "it was over before anything was attached"
		}
		out = append(out, x)
	}
	return out
}

// headline says what came out.
func (r *Result) headline() (line string, empty bool) {
	in := ""
	if r.summary != nil && r.summary.Seconds > 0 {
		in = " in " + seconds(r.summary.Seconds)
	}
	var attached []string
	for _, n := range r.nodes {
		if n.attached {
			attached = append(attached, clean(n.name))
		}
	}
	var what []string
	if r.events > 0 {
		what = append(what, plural(r.events, "event"))
	}
	for _, t := range r.tables {
		m := r.merge(t)
		name := clean(t.name)
		switch {
		case m.empty():
		case len(m.stacks) > 0:
			what = append(what, plural(uint64(len(m.stacks)), "stack")+" ("+name+")")
		case len(m.hists) > 0:
			n := uint64(0)
			for _, h := range m.hists {
				n = plus(n, h.hist.Count)
			}
			what = append(what, plural(n, "value")+" ("+name+")")
		default:
			rows := plural(uint64(len(m.rows)+m.more), "row")
			if m.more > 0 && len(m.nodes) > 1 { // which may be the same ones
				rows = plural(uint64(len(m.rows)), "row") + " and more"
			}
			what = append(what, rows+" ("+name+")")
		}
	}
	if r.lines.total > 0 {
		what = append(what, plural(r.lines.total, "line"))
	}
	if len(what) > 0 {
		from := ""
		switch all := max(len(r.o.Nodes), len(r.nodes)); {
		case len(attached) < all && len(attached) > 0 && all > 1:
			from = fmt.Sprintf(" from %d of %d nodes", len(attached), all)
		case len(attached) > 1:
			from = fmt.Sprintf(" from %d nodes", len(attached))
		}
		return few(what, 3) + from + in, false
	}
	switch {
	case len(attached) == 0 && r.summary != nil:
		return "it did not run anywhere", true
	case len(attached) == 0:
		return "nothing yet: it is not attached anywhere", true
	case r.summary == nil:
		return "nothing has happened yet; attached on " + places(attached), true
	case r.counts():
		return "nothing happened" + in + ": every table is empty; attached on " + places(attached), true
	case r.summary.Produced > 0:
		return "nothing arrived" + in + " of " + plural(r.summary.Produced, "event") + "; attached on " + places(attached), true
	}
	return "nothing happened" + in + ": 0 events; attached on " + places(attached), true
}

// eventBlocks shows the first and last events of a stream, and the values that
// were frequent.
func (r *Result) eventBlocks(s *eventStream) []Block {
	title := plural(s.newest.total, "event")
	if len(r.perEvent) > 1 {
		title = clean(s.name) + ": " + title
	}
	newest := s.newest.all()
	show := newest
	var head int // rows of the beginning, with a gap behind them
	if s.newest.total > finalRows {
		head = min(len(s.first), finalRows/4)
		show = append(slices.Clone(s.first[:head]), newest[len(newest)-min(len(newest), finalRows-head):]...)
	}
	first, unread := r.rows(s, show[:head])
	last, more := r.rows(s, show[head:])
	unread += more
	all := append(slices.Clone(first), last...)
	table := r.table(s, all)
	lines := strings.Split(strings.TrimRight(table, "\n"), "\n")
	above := len(lines) - len(all) // the header, and what all rows share
	if gap := s.newest.total - uint64(len(all)+unread); gap > 0 && above > 0 {
		lines = slices.Insert(lines, above+len(first), "… "+plural(gap, "event")+" between")
	}
	if unread > 0 {
		lines = append(lines, "… "+plural(uint64(unread), "event")+" too long to show")
	}
	blocks := []Block{{title, r.harden(strings.Join(lines, "\n"))}}
	if b, ok := r.frequent(s); ok {
		blocks = append([]Block{b}, blocks...)
	}
	return blocks
}

// What makes a column's values worth telling.
const (
	frequentMin     = 20 // events
	frequentColumns = 4
	frequentValues  = 5
)

// frequent shows the most frequent values of columns that have some, those
// first that tell most. What all events share stands above their table.
func (r *Result) frequent(s *eventStream) (Block, bool) {
	if s.newest.total < frequentMin {
		return Block{}, false
	}
	total := float64(s.newest.total)
	var rows []string
	width := 0
	type found struct {
		name string
		what []string
	}
	var all []found
	counted := slices.Clone(s.counted)
	slices.SortStableFunc(counted, func(a, b *values) int { return cmp.Compare(weightOf(a.column), weightOf(b.column)) })
	for _, v := range counted {
		top := v.top()
		if len(top) == 0 || len(top) == 1 && top[0].value == total || len(all) == frequentColumns {
			continue
		}
		covered := 0.0
		var parts []string
		for i, x := range top {
			if i == frequentValues {
				parts = append(parts, "and "+strconv.Itoa(len(top)-i)+" more")
				break
			}
			covered += x.value
			parts = append(parts, text.Fit(x.label, 24)+" "+share(x.value, total))
		}
		if covered < total/2 {
			continue
		}
		what := parts
		name := clean(v.column.Name)
		width = max(width, text.Width(name))
		all = append(all, found{name, what})
	}
	for _, x := range all {
		indent := width + 2
		line := x.name + strings.Repeat(" ", indent-text.Width(x.name))
		for i, part := range x.what {
			if i < len(x.what)-1 {
				part += ", "
			}
			if w := text.Width(line); w > indent && w+text.Width(strings.TrimRight(part, " ")) > r.o.Columns {
				rows = append(rows, strings.TrimRight(line, " "))
				line = strings.Repeat(" ", indent)
			}
			line += part
		}
		rows = append(rows, line)
	}
	if len(rows) == 0 {
		return Block{}, false
	}
	return Block{"most frequent, of " + plural(s.newest.total, "event"), r.harden(strings.Join(rows, "\n"))}, true
}

// top returns the values that were counted, most frequent first; none if there
// were too many.
func (v *values) top() []labelled {
	if v.many {
		return nil
	}
	type counted struct {
		raw string
		n   uint64
	}
	all := make([]counted, 0, len(v.counts))
	for raw, n := range v.counts {
		all = append(all, counted{raw, *n})
	}
	slices.SortFunc(all, func(a, b counted) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.raw, b.raw)) })
	out := make([]labelled, len(all))
	for i, x := range all {
		out[i] = labelled{v.show(x.raw), float64(x.n)}
	}
	return out
}

// show is a raw value for people.
func (v *values) show(raw string) string {
	f := output.Fields{}
	var value any = json.Number(raw)
	if err := json.Unmarshal([]byte(`{"v":`+raw+`}`), &f); err == nil {
		value, _ = f.Get("v")
	}
	if s := text.Value(v.column.Kind, value, text.Options{}); s != "" {
		return clean(s)
	}
	return `""`
}

// tableBlocks shows all output maps, merged over the nodes.
func (r *Result) tableBlocks(final bool) []Block {
	var out []Block
	for _, t := range r.tables {
		m := r.merge(t)
		when := ""
		if !m.final && m.at != "" {
			when = " at " + text.Value("k_time", m.at, r.options())
			if final {
				when = " as last read" + when + ": the end did not arrive"
			}
		}
		switch names := text.Short(cleaned(m.left), 40); {
		case names == "":
		case !m.final:
			when += ", without " + names + ": ended"
		case final:
			when += ", without " + names + ": the end did not arrive"
		}
		out = append(out, r.histBlocks(m, when)...)
		if len(m.stacks) > 0 {
			out = append(out, r.stackBlock(m, when))
		}
		if m.isMap && (len(m.rows) > 0 || len(m.hists) == 0) {
			out = append(out, r.rowsBlock(m, when))
		}
	}
	return out
}

func (r *Result) rowsBlock(m merged, when string) Block {
	b := Block{Title: clean(m.name) + when}
	if len(m.rows) == 0 {
		b.Text = "no entries"
		return b
	}
	x, stream := m.asMap(len(m.nodes) > 1, finalRows)
	shared := r.shared(sharedKeys(&x, &stream), len(x.Entries) == x.Total)
	_, table, _ := strings.Cut(text.Map(x, stream, text.Options{Width: r.o.Columns, Location: r.o.Location}), "\n")
	if m.summed && m.cut > 0 && !math.IsNaN(m.lacks) {
		table += strings.Join(wrap(fmt.Sprintf("%s sent only the largest rows: what is shown may lack up to %s, and rows of no more than that may be missing",
			plural(uint64(m.cut), "node"), count(uint64(m.lacks))), r.o.Columns), "\n")
	}
	b.Text = r.harden(shared + table)
	return b
}

func (r *Result) histBlocks(m merged, when string) []Block {
	var out []Block
	hists := m.hists
	if len(hists) > finalHists {
		out = append(out, r.histTable(m, when))
		hists = hists[:1]
	}
	for _, h := range hists {
		title := clean(h.hist.Name)
		if len(h.hist.Key) > 0 {
			title += ", " + clean(text.Fields(h.hist.Key))
		}
		title = text.Fit(title+when, r.o.Columns)
		if h.hist.Count == 0 {
			out = append(out, Block{title, "no values"})
			continue
		}
		lines := []string{text.Bars(h.hist, text.Options{Width: min(barColumns, r.o.Columns)})}
		lines = append(lines, wrap(plural(h.hist.Count, "value")+" by buckets: "+text.Percentiles(h.hist.Unit, h.hist.Buckets), r.o.Columns)...)
		if len(h.parts) > 1 {
			parts := slices.Clone(h.parts)
			more := ""
			if len(parts) > 12 {
				slices.SortStableFunc(parts, func(a, b output.Hist) int { return cmp.Compare(b.Count, a.Count) })
				more = "; of " + strconv.Itoa(len(parts)) + " nodes, those with the most"
				parts = parts[:8]
			}
			var each []string
			for _, p := range parts {
				each = append(each, clean(p.Node)+" "+count(p.Count))
			}
			lines = append(lines, wrap("values on "+strings.Join(each, ", ")+more, r.o.Columns)...)
		}
		out = append(out, Block{title, r.harden(strings.Join(lines, "\n"))})
	}
	return out
}

// histTable is one line for each of many histograms.
func (r *Result) histTable(m merged, when string) Block {
	b := Block{Title: fmt.Sprintf("%s%s: %d histograms", clean(m.name), when, len(m.hists)+m.unseen)}
	columns := []output.Column{{Name: "of", Kind: "string"}, {Name: "values", Kind: "k_count", Right: true}, {Name: "half below", Kind: "enum", Right: true}, {Name: "99% below", Kind: "enum", Right: true}}
	several := len(m.nodes) > 1
	if several {
		columns = append(columns, output.Column{Name: "nodes", Kind: "enum"})
	}
	var rows []output.Fields
	for _, h := range m.hists[:min(len(m.hists), finalRows)] {
		limit := func(share float64) string {
			if n, ok := below(h.hist.Buckets, share); ok {
				return quantityOf(h.hist.Unit, plus(n, 1))
			}
			return "-"
		}
		f := output.Fields{{Name: "of", Value: text.Fields(h.hist.Key)}, {Name: "values", Value: json.Number(strconv.FormatUint(h.hist.Count, 10))},
			{Name: "half below", Value: limit(0.5)}, {Name: "99% below", Value: limit(0.99)}}
		if several {
			var names []string
			for _, p := range h.parts {
				names = append(names, p.Node)
			}
			f = append(f, output.Field{Name: "nodes", Value: on(names, len(m.nodes))})
		}
		rows = append(rows, f)
	}
	b.Text = r.harden(text.Rows(columns, rows, text.Options{Width: r.o.Columns}))
	if more := len(m.hists) - len(rows) + m.unseen; more > 0 {
		b.Text += fmt.Sprintf("\n… and %d more", more)
	}
	return b
}

func (r *Result) stackBlock(m merged, when string) Block {
	total := uint64(0)
	for _, s := range m.stacks {
		total = plus(total, s.stack.Count)
	}
	b := Block{Title: fmt.Sprintf("%s%s: %s", clean(m.name), when, plural(uint64(len(m.stacks)), "stack"))}
	var lines []string
	major := slices.DeleteFunc(slices.Clone(m.stacks), func(s mergedStack) bool { return s.stack.Minor })
	major = major[:min(len(major), finalStacks)]
	for _, s := range major {
		frames := s.stack.Frames
		s.stack.Frames = frames[:min(len(frames), finalFrames)]
		drawn := strings.Split(strings.TrimRight(text.Stack(s.stack, m.stream, text.Options{Width: r.o.Columns}), "\n"), "\n")
		drawn[0] += ", " + share(float64(s.stack.Count), float64(total))
		if len(m.nodes) > 1 {
			drawn[0] += ", on " + on(s.nodes, len(m.nodes))
		}
		if more := len(frames) - finalFrames; more > 0 {
			drawn = append(drawn, fmt.Sprintf("    … %s", plural(uint64(more), "more frame")))
		}
		lines = append(lines, drawn...)
	}
	if more := len(m.stacks) - len(major) + m.unseen; more > 0 {
		lines = append(lines, "… and "+plural(uint64(more), "more stack"))
	}
	if m.unseen > 0 {
		b.Title += ", and " + count(uint64(m.unseen)) + " rare ones that the shares leave out"
	}
	b.Text = r.harden(strings.Join(lines, "\n"))
	return b
}

// lineBlock shows what iterators printed: its end.
func (r *Result) lineBlock() Block {
	raw := r.lines.all()
	lines := r.textLines(raw[len(raw)-min(len(raw), 2*finalRows):])
	if before := r.lines.total - uint64(len(lines)); before > 0 {
		lines = append([]string{"… " + plural(before, "line") + " before"}, lines...)
	}
	return Block{plural(r.lines.total, "line"), strings.Join(lines, "\n")}
}

// wrap breaks a line at blanks.
func wrap(s string, width int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && text.Width(line)+1+text.Width(word) > width {
			out, line = append(out, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(out, line)
}
