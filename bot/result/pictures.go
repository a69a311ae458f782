package result

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"kgent/executor/render/chart"
	"kgent/executor/render/profile"
	"kgent/executor/render/text"
)

// maxPictures of one run: more is a wall that nobody reads.
const maxPictures = 3

// Figures are the pictures that say more than the text: histograms, counts with
// several rows, and what went up and down. There may be none.
func (r *Result) Figures() []chart.Figure {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []chart.Figure
	for _, t := range r.tables {
		m := r.merge(t)
		if f, ok := r.histFigure(m); ok {
			out = append(out, f)
		}
		if f, ok := r.momentsFigure(t, m); ok {
			out = append(out, f)
		}
		if f, ok := r.flameFigure(m); ok {
			out = append(out, f)
		}
		if f, ok := r.seriesFigure(t, m); ok {
			out = append(out, f)
		}
		if f, ok := r.barsFigure(m); ok {
			out = append(out, f)
		}
	}
	if f, ok := r.rateFigure(); ok {
		out = append(out, f)
	}
	return out[:min(len(out), maxPictures)]
}

// note is the second line of a picture.
func (r *Result) note(what string, nodes []string) string {
	if len(nodes) > 0 {
		if len(nodes) > 3 {
			what += " on " + strconv.Itoa(len(nodes)) + " nodes"
		} else {
			what += " on " + places(nodes)
		}
	}
	if r.summary == nil {
		return what + ", so far"
	}
	if r.summary.Seconds > 0 {
		what += " in " + seconds(r.summary.Seconds)
	}
	if lost := r.summary.Produced - min(r.summary.Delivered, r.summary.Produced); lost > 0 {
		what += "; " + plural(lost, "event") + " lost"
	}
	if r.summary.MapFull > 0 {
		what += "; incomplete"
	}
	return what
}

// histFigure is one histogram, or one for each key, or one for each node.
func (r *Result) histFigure(m merged) (chart.Figure, bool) {
	if m.empty() || len(m.hists) == 0 {
		return nil, false
	}
	h := chart.Heading{Title: clean(m.name)}
	first := m.hists[0]
	var parts []chart.Part
	switch {
	case len(m.hists) > 1:
		for _, x := range m.hists {
			if x.hist.Unit == first.hist.Unit {
				parts = append(parts, chart.Part{Label: label(x.hist.Key), Buckets: x.hist.Buckets})
			}
		}
		h.Note = r.note(plural(uint64(len(m.hists)), "histogram"), m.nodes)
	default:
		if len(first.hist.Key) > 0 {
			h.Title += ", " + text.Fit(clean(text.Fields(first.hist.Key)), maxLabel)
		}
		h.Note = r.note(plural(first.hist.Count, "value"), m.nodes)
		for _, p := range first.parts {
			parts = append(parts, chart.Part{Label: text.Fit(clean(p.Node), maxLabel), Buckets: p.Buckets})
		}
	}
	switch {
	case len(parts) > chart.MaxPanels:
		h.Note += "; the stronger the colour, the more of a row's values"
		if more := len(parts) - chart.MaxRows; more > 0 {
			h.Note += fmt.Sprintf("; %d rows not shown", more)
		}
		return chart.Heat{Heading: h, Unit: first.hist.Unit, Rows: parts}, true
	case len(parts) > 1:
		return chart.Panels{Heading: h, Unit: first.hist.Unit, Parts: parts}, true
	}
	return chart.Histogram{Heading: h, Unit: first.hist.Unit, Buckets: first.hist.Buckets}, true
}

// momentsFigure shows how a histogram that was read at an interval went over time.
func (r *Result) momentsFigure(t *table, m merged) (chart.Figure, bool) {
	all := t.history.hists
	if len(all) < minPoints {
		return nil, false
	}
	each := (len(all) + chart.MaxRows - 1) / chart.MaxRows // readings in a row
	h := chart.Heat{Unit: all[0].unit}
	for i := 0; i < len(all); i += each {
		row := chart.Part{Label: r.clock(all[i].at)}
		for _, x := range all[i:min(i+each, len(all))] {
			if x.unit == h.Unit {
				row.Buckets = chart.Merge(append(row.Buckets, x.buckets...))
			}
		}
		h.Rows = append(h.Rows, row)
	}
	h.Title = clean(t.name) + " over time"
	h.Note = r.note(plural(uint64(len(all)), "reading"), m.nodes) + "; the stronger the colour, the more of a row's values"
	return h, true
}

// clock is a time of the day.
func (r *Result) clock(t time.Time) string {
	if r.o.Location == nil {
		return t.UTC().Format(time.TimeOnly)
	}
	return t.In(r.o.Location).Format(time.TimeOnly)
}

// flameFigure is the flame graph of a map's stacks.
func (r *Result) flameFigure(m merged) (*chart.Flame, bool) {
	p := m.profile()
	if p.Empty() {
		return nil, false
	}
	f := p.Flame(chart.Heading{Title: clean(m.name) + " by stack"})
	what := plural(p.Total(), "sample")
	if unit := m.stackUnit(); unit != "count" {
		what = quantityOf(unit, p.Total()) + " in " + plural(uint64(len(m.stacks)), "stack")
	}
	f.Note = r.note(what, m.nodes)
	if hot := f.Hottest(1); len(hot) > 0 {
		f.Note += "; most in " + text.Fit(clean(hot[0].Name), maxLabel) + ", " + f.Share(hot[0].Self)
	}
	return f, true
}

// profile is what was counted by stack, over all nodes.
func (m merged) profile() *profile.Profile {
	p := profile.New(clean(m.name), m.stackUnit())
	for _, s := range m.stacks {
		p.Add(s.stack)
	}
	return p
}

// stackUnit is the unit of what was counted by stack: of the first column that
// is not the key's.
func (m merged) stackUnit() string {
	if len(m.stacks) > 0 && len(m.stacks[0].stack.Key) < len(m.stream.Columns) {
		return unitOf(m.stream.Columns[len(m.stacks[0].stack.Key)].Kind)
	}
	return "count"
}

// Export is a result in a form that people's tools read.
type Export struct {
	Name  string // of a file
	Title string
	Data  []byte
}

// Exports are the forms of a result other than text and pictures: for stacks a flame graph for
// a browser, folded stacks, and a profile for pprof. There may be none.
func (r *Result) Exports() ([]Export, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Export
	for _, t := range r.tables {
		m := r.merge(t)
		f, ok := r.flameFigure(m)
		if !ok {
			continue
		}
		p, name := m.profile(), cmp.Or(fileName(m.name), "stacks")
		when := profile.When{Start: r.started}
		if r.summary != nil {
			when.Took = time.Duration(r.summary.Seconds * float64(time.Second))
		}
		pprof, err := p.Pprof(when)
		if err != nil {
			return out, err
		}
		out = append(out,
			Export{name + ".svg", "The flame graph, to zoom and search in a browser", f.SVG()},
			Export{name + ".folded.txt", "The stacks, folded, for flame graph tools", p.Folded()},
			Export{name + ".pb.gz", "The profile, for go tool pprof", pprof})
		if len(out) >= maxExports {
			break
		}
	}
	return out, nil
}

// maxExports bounds how many files a result has beside its output.
const maxExports = 6

// unitOf is the unit of a column's kind.
func unitOf(kind string) string {
	switch kind {
	case "k_ns", "k_us", "k_ms", "k_bytes":
		return kind[len("k_"):]
	}
	return "count"
}

// barsFigure shows a table whose rows are quantities.
func (r *Result) barsFigure(m merged) (chart.Figure, bool) {
	if len(m.rows) < 2 || len(m.rows[0].entry.Key) == 0 || !m.final {
		return nil, false
	}
	q := m.quantity()
	switch q.Kind {
	case "k_count", "k_bytes", "k_ns", "k_us", "k_ms", "k_pages", "int":
	default:
		return nil, false // a row's number is a name
	}
	b := chart.Bars{Heading: chart.Heading{Title: clean(m.name) + ": " + clean(q.Name), Note: r.note(plural(uint64(len(m.rows)), "row"), m.nodes)}, Unit: unitOf(q.Kind), More: m.more}
	for _, row := range m.rows {
		if math.IsNaN(row.weight) || row.weight < 0 {
			return nil, false
		}
		l := label(row.entry.Key)
		if len(m.nodes) > 1 && !m.summed {
			l = text.Fit(clean(on(row.nodes, len(m.nodes)))+": "+l, maxLabel)
		}
		b.Rows = append(b.Rows, chart.Bar{Label: l, Value: row.weight})
	}
	return b, true
}

// minPoints is how many points make a line.
const minPoints = 4

// seriesFigure shows a table that was read at an interval: the largest rows of
// one node, or the sums of several nodes.
func (r *Result) seriesFigure(t *table, m merged) (chart.Figure, bool) {
	points := t.history.points
	if len(points) < minPoints {
		return nil, false
	}
	q := m.quantity()
	s := chart.Series{Unit: unitOf(q.Kind), Location: r.o.Location}
	s.Title = clean(t.name) + ": " + clean(q.Name) + " in each interval"
	s.Note = r.note(plural(uint64(len(points)), "reading"), m.nodes)
	if t.history.skipped > 0 {
		s.Note += fmt.Sprintf("; %d older ones are not shown", t.history.skipped)
	}
	if len(m.nodes) > 1 {
		for _, n := range m.nodes {
			l := chart.Line{Label: text.Fit(clean(n), maxLabel)}
			for _, p := range points {
				if p.node == n {
					l.Points = append(l.Points, chart.Point{At: p.at, Value: p.total})
				}
			}
			s.Lines = append(s.Lines, l)
		}
		return s, true
	}
	s.Lines = topLines(points)
	return s, true
}

// topRows is how many rows have a line of their own.
const topRows = 5

func topLines(points []point) []chart.Line {
	sums := map[string]float64{}
	for _, p := range points {
		for _, x := range p.top {
			sums[x.label] += x.value
		}
	}
	names := make([]string, 0, len(sums))
	for n := range sums {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	names = names[:min(len(names), topRows)]
	lines := make([]chart.Line, len(names))
	for i, n := range names {
		lines[i].Label = n
		for _, p := range points {
			v := 0.0
			for _, x := range p.top {
				if x.label == n {
					v += x.value
				}
			}
			lines[i].Points = append(lines[i].Points, chart.Point{At: p.at, Value: v})
		}
	}
	return lines
}

// rateFigure shows how many events arrived over time.
func (r *Result) rateFigure() (chart.Figure, bool) {
	n := len(r.rate.counts)
	if n < 2*minPoints || r.events < frequentMin {
		return nil, false
	}
	every := "second"
	if r.rate.step > time.Second {
		every = fmt.Sprintf("%d s", int(r.rate.step.Seconds()))
	}
	l := chart.Line{Label: "events"}
	for i, c := range r.rate.counts {
		l.Points = append(l.Points, chart.Point{At: r.rate.start.Add(time.Duration(i) * r.rate.step), Value: float64(c)})
	}
	return chart.Series{Heading: chart.Heading{Title: "events each " + every, Note: r.note(plural(r.events, "event")+" as they arrived", nil)}, Unit: "count", Lines: []chart.Line{l}, Location: r.o.Location}, true
}
