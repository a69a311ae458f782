package text

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"kgent/executor/output"
)

// Map shows a table of an output map. s is the map's stream of the attached
// record; without columns they are made up from the entries.
func Map(m output.Map, s output.Stream, o Options) string {
	title := heading(m.Node, m.Name, nil, o) + at(m.At, m.Final, o)
	if m.Top > 0 && m.Top < len(m.Entries) {
		m.Entries = m.Entries[:m.Top]
	}
	if len(m.Entries) == 0 {
		return title + ": no entries\n"
	}
	columns := s.Columns
	if len(columns) == 0 {
		columns = columnsOf(columnsOf(nil, "", m.Entries[0].Key), "", m.Entries[0].Value)
	}
	keys := len(columnsOf(nil, "", m.Entries[0].Key))
	l, rows := mapRows(m, columns, keys, o)
	if rated, with := mapRows(m, withRate(columns, keys, m.Seconds), keys, o); rated.natural <= rated.limit {
		l, rows = rated, with
	}
	var b strings.Builder
	b.WriteString(title + "\n")
	b.WriteString(l.head(o))
	for _, r := range rows {
		b.WriteString(l.row(r))
	}
	if more := m.Total - len(m.Entries); more > 0 {
		b.WriteString(o.Style.dim(fmt.Sprintf("… and %s more", count(uint64(more)))) + "\n")
	}
	return b.String()
}

// rateName is the column that says how many there were in a second.
const rateName = "per sec"

// withRate adds a column for the rate of a table's quantity, where it is one that
// adds up and it is known over how long it was counted.
func withRate(columns []output.Column, keys int, seconds float64) []output.Column {
	if seconds < 0.5 || keys >= len(columns) {
		return columns
	}
	switch q := columns[keys]; q.Kind {
	case "k_count", "k_bytes", "k_pages", "int":
		if q.Kind == "int" && !strings.Contains(q.Name, "count") {
			return columns // it may be anything
		}
		return slices.Insert(slices.Clone(columns), keys+1, output.Column{Name: rateName, Kind: q.Kind, Right: true})
	}
	return columns
}

// mapRows are the cells of a table.
func mapRows(m output.Map, columns []output.Column, keys int, o Options) (*layout, [][]string) {
	l := newLayout(columns, o)
	rows := make([][]string, len(m.Entries))
	for i, e := range m.Entries {
		for j, c := range l.columns {
			if c.path == rateName && j == keys+1 {
				rows[i] = append(rows[i], rate(c.kind, lookup(e.Value, l.columns[keys].path), m.Seconds))
				continue
			}
			// A value may be called like a key, so each is looked up on its side.
			from, other := e.Key, e.Value
			if j >= keys {
				from, other = other, from
			}
			v := lookup(from, c.path)
			if v == nil {
				v = lookup(other, c.path)
			}
			rows[i] = append(rows[i], Value(c.kind, v, o))
		}
	}
	l.widths(rows)
	return l, rows
}

// rate is a number in each second.
func rate(kind string, v any, seconds float64) string {
	n, ok := v.(json.Number)
	if !ok {
		return "-"
	}
	f, err := n.Float64()
	if err != nil {
		return "-"
	}
	f /= seconds
	switch {
	case kind == "k_bytes":
		return size(f)
	case f > 0 && f < 0.05:
		return "<0.1"
	case f < 99.95:
		return short(f)
	}
	return thousands(strconv.FormatFloat(f, 'f', 0, 64))
}

// Rows shows fields of one form as an aligned table with a header: what is
// known to its end, where [Table] shows what comes.
func Rows(columns []output.Column, rows []output.Fields, o Options) string {
	if len(rows) == 0 {
		return ""
	}
	if len(columns) == 0 {
		columns = columnsOf(nil, "", rows[0])
	}
	l := newLayout(columns, o)
	cells := make([][]string, len(rows))
	for i, r := range rows {
		cells[i] = l.cells(nil, o, r)
	}
	l.widths(cells)
	var b strings.Builder
	b.WriteString(l.head(o))
	for _, r := range cells {
		b.WriteString(l.row(r))
	}
	return b.String()
}

// heading names what follows: "opens on db-3, comm=nginx".
func heading(node, name string, key output.Fields, o Options) string {
	s := o.Style.bold(Clean(name))
	if o.Nodes && node != "" {
		s += " on " + Clean(node)
	}
	if len(key) > 0 {
		s += ", " + Fields(key)
	}
	return s
}

// at says when an output map was read that is read more than once.
func at(when string, final bool, o Options) string {
	if when == "" || final {
		return ""
	}
	clock, _, _ := strings.Cut(clockTime(when, o), ".")
	return o.Style.dim(" at " + clock)
}

// widths sets the columns to what the rows need.
func (l *layout) widths(rows [][]string) {
	l.gap = 2
	for i := range l.columns {
		c := &l.columns[i]
		c.width = Width(c.title)
		for _, r := range rows {
			c.width = max(c.width, Width(r[i]))
		}
	}
	l.natural = l.total()
	l.shrinkText()
}

// shrinkText is shrink for known content, of which only text may be cut.
func (l *layout) shrinkText() {
	if l.total() > l.limit {
		l.gap = 1
	}
	for l.total() > l.limit {
		widest, room := -1, 0
		for i, c := range l.columns {
			if r := c.width - max(Width(c.title), 8); c.cut && r > room {
				widest, room = i, r
			}
		}
		if widest < 0 {
			return
		}
		l.columns[widest].width--
	}
}

// maxBars is how wide a histogram becomes, however wide the terminal.
const maxBars = 100

// Hist shows a histogram with a bar for each bucket.
func Hist(h output.Hist, o Options) string {
	var b strings.Builder
	b.WriteString(heading(h.Node, h.Name, h.Key, o) + at(h.At, h.Final, o))
	if len(h.Buckets) == 0 {
		b.WriteString(": no values\n")
		return b.String()
	}
	b.WriteString(": " + plural(h.Count, "value") + "\n")
	b.WriteString(Bars(h, o) + "\n")
	said := "by buckets: " + Percentiles(h.Unit, h.Buckets)
	if mean, ok := output.MeanOf(h.Buckets); ok {
		said += ", mean " + bound(h.Unit, mean.Min, 1) + " to " + bound(h.Unit, mean.Max, 1)
	}
	for _, line := range Wrap(said, o.width()) {
		b.WriteString(o.Style.dim(line) + "\n")
	}
	return b.String()
}

// maxBarRows is how many bars a histogram has; of more, neighbours are one.
const maxBarRows = 48

// Bars are the buckets of a histogram, a line for each, the last without its end.
func Bars(h output.Hist, o Options) string {
	buckets := output.Coarser(h.Buckets, maxBarRows)
	labels, counts := bucketLabels(h.Unit, buckets), make([]string, len(buckets))
	labelWidth, countWidth, most := 0, 0, uint64(1)
	for i, x := range buckets {
		counts[i] = count(x.Count)
		labelWidth, countWidth = max(labelWidth, Width(labels[i])), max(countWidth, Width(counts[i]))
		most = max(most, x.Count)
	}
	room := max(min(o.width(), maxBars)-labelWidth-countWidth-4, 10)
	lines := make([]string, len(buckets))
	for i, x := range buckets {
		line := labels[i] + spaces(labelWidth-Width(labels[i])) + "  " + spaces(countWidth-Width(counts[i])) + counts[i] + "  " + bar(x.Count, most, room)
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// Wrap breaks text at blanks into lines of at most width columns, as far as there are any.
func Wrap(s string, width int) []string {
	var lines []string
	for s != "" {
		end := len(s)
		for Width(s[:end]) > width && strings.LastIndexByte(s[:end], ' ') > 0 {
			end = strings.LastIndexByte(s[:end], ' ')
		}
		lines = append(lines, s[:end])
		s = strings.TrimPrefix(s[end:], " ")
	}
	return lines
}

// Percentiles says below which bounds of buckets 50, 90 and 99% of the values are:
// closer than that a histogram does not tell, and the reader should be told.
func Percentiles(unit string, buckets []output.Bucket) string {
	parts := make([]string, 0, 4)
	for _, share := range []float64{0.5, 0.9, 0.99} {
		name := "p" + strconv.FormatFloat(100*share, 'f', -1, 64)
		if limit, ok := output.Below(buckets, share); ok {
			parts = append(parts, name+" < "+bound(unit, float64(limit), 1))
		} else {
			parts = append(parts, name+" in the last bucket")
		}
	}
	return strings.Join(parts, ", ")
}

// bucketLabels are the ranges of buckets, with their unit: [128us, 256us). Bounds
// have the digits that narrow buckets need.
func bucketLabels(unit string, buckets []output.Bucket) []string {
	narrowest := 1.0 // width of a bucket in parts of its end
	for _, b := range buckets {
		if b.Max >= b.Min && b.Max != math.MaxUint64 {
			narrowest = min(narrowest, (float64(b.Max-b.Min)+1)/(float64(b.Max)+1))
		}
	}
	digits := 1
	for half := narrowest / 2; digits < 6 && math.Pow10(-digits) > half; digits++ {
	}
	out := make([]string, len(buckets))
	for i, b := range buckets {
		high := "…"
		if b.Max != math.MaxUint64 {
			high = bound(unit, float64(b.Max)+1, digits)
		}
		out[i] = "[" + bound(unit, float64(b.Min), digits) + ", " + high + ")"
	}
	return out
}

// bound shows the end of a bucket with so many digits behind the point, at most.
func bound(unit string, f float64, digits int) string {
	switch unit {
	case "ns":
		return durationDigits(f, digits)
	case "us":
		return durationDigits(f*1e3, digits)
	case "ms":
		return durationDigits(f*1e6, digits)
	case "bytes":
		return sizeDigits(f, digits)
	}
	return thousands(strconv.FormatFloat(f, 'f', 0, 64))
}

// bar has a length in proportion to n; what is not nothing is to be seen.
func bar(n, most uint64, room int) string {
	eighths := int(math.Round(float64(n) / float64(most) * float64(room) * 8))
	if n > 0 {
		eighths = max(eighths, 1)
	}
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return s
}

// Stack shows a stack trace: how often and whose, then its frames, innermost
// first. s is the map's stream of the attached record, which says what was
// counted.
func Stack(x output.Stack, s output.Stream, o Options) string {
	kind := "k_count"
	for _, c := range s.Columns {
		if lookup(x.Key, c.Name) == nil {
			kind = c.Kind
			break
		}
	}
	if kind == "int" {
		kind = "k_count"
	}
	var b strings.Builder
	b.WriteString(o.Style.bold(number(kind, strconv.FormatUint(x.Count, 10))))
	if o.Nodes && x.Node != "" {
		b.WriteString(" on " + Clean(x.Node))
	}
	if len(x.Key) > 0 {
		b.WriteString("  " + Fields(x.Key))
	}
	b.WriteByte('\n')
	const indent = "    "
	for _, f := range x.Frames {
		b.WriteString(indent + Fit(Clean(f), o.width()-len(indent)) + "\n")
	}
	return b.String()
}

// Line shows a line that a program printed itself.
func Line(t output.Text, o Options) string {
	s := Clean(strings.ReplaceAll(strings.TrimRight(t.Line, "\r\n"), "\t", "    "))
	if o.Nodes && t.Node != "" {
		s = Clean(t.Node) + ": " + s
	}
	return s + "\n"
}

// Summary accounts for a run: why and when it ended, how many events there
// were, and where those are that were not shown. events says whether the
// program has events at all, or only counts in the kernel.
func Summary(s output.Summary, events bool, o Options) string {
	var b strings.Builder
	switch s.Reason {
	case output.ReasonDenied, output.ReasonCandidate, output.ReasonShown, output.ReasonRefused:
		b.WriteString(sentence(ended[s.Reason], s.Detail))
	default:
		what, ok := ended[s.Reason]
		if !ok {
			what = "Ended (" + Clean(string(s.Reason)) + ")"
		}
		what += " after " + duration(s.Seconds*1e9)
		if events || s.Produced > 0 {
			what += ": " + account(s.Counters)
		}
		b.WriteString(sentence(what, s.Detail))
	}
	warn := func(text string) { b.WriteString(" " + o.Style.warn(text)) }
	if !s.Balanced() {
		sum := s.Delivered + s.KernelLost + s.Dropped + s.BusTrimmed
		if sum < s.Produced {
			warn(plural(s.Produced-sum, "event") + " cannot be accounted for.")
		} else {
			warn("The account is off: it holds " + plural(sum-s.Produced, "event") + " more than there were.")
		}
	}
	if s.MapFull > 0 {
		warn(plural(s.MapFull, "update") + " found a map full: what it shows is incomplete.")
	}
	if s.Overhead.Missed > 0 {
		warn("The kernel skipped the program " + plural(s.Overhead.Missed, "time") + ": what it did then is not in the answer.")
	}
	if s.Overhead.MissedUnknown {
		b.WriteString(" Runs that a kernel skips are counted from Linux 6.7 on only.")
	}
	if s.Overhead.Available && s.Overhead.Runs > 0 {
		fmt.Fprintf(&b, " It took %s of one core.", percent(s.Overhead.CPUShare))
	}
	b.WriteByte('\n')
	if s.Order == output.OrderNodes && s.Delivered > 0 {
		b.WriteString(o.Style.dim("Events of one node are in the order in which they happened, those of different nodes as they arrived.") + "\n")
	}
	for _, n := range s.Nodes {
		// Nodes stop because the reader went away: that is said already.
		gone := s.Reason == output.ReasonInterrupted || s.Reason == output.ReasonOutput
		if n.Reason != s.Reason && !(gone && n.Reason == output.ReasonStopped && n.Detail == "") {
			b.WriteString(Clean(n.Node) + ": " + sentence(strings.ToLower(ended[n.Reason]), n.Detail) + "\n")
		}
	}
	return b.String()
}

// ended says why a run is over.
var ended = map[output.Reason]string{
	output.ReasonDeadline: "Ended", output.ReasonStopped: "Stopped", output.ReasonInterrupted: "Interrupted",
	output.ReasonOutput: "Ended because nobody read the output,", output.ReasonFailed: "Failed", output.ReasonRefused: "Refused by the node",
	output.ReasonDenied: "Not run: it was not approved", output.ReasonCandidate: "Not run: there is no program to approve",
	output.ReasonShown:  "Not run, only shown",
	output.ReasonBudget: "Ended by the node's guard",
}

func sentence(what, detail string) string {
	if detail = strings.TrimSuffix(Clean(detail), "."); detail != "" {
		what += " (" + detail + ")"
	}
	return what + "."
}

// account says how many events were seen, and what became of the others.
func account(c output.Counters) string {
	var lost []string
	for _, l := range []struct {
		n     uint64
		where string
	}{{c.KernelLost, "lost in the kernel (buffer full)"}, {c.Dropped, "dropped over the rate limit"}, {c.BusTrimmed, "lost between node and reader"}} {
		if l.n > 0 {
			lost = append(lost, count(l.n)+" "+l.where)
		}
	}
	switch {
	case len(lost) > 0:
		return count(c.Delivered) + " of " + plural(c.Produced, "event") + ", " + strings.Join(lost, ", ")
	case c.Produced == 0 && c.Delivered == 0:
		return "no events, none lost"
	}
	return plural(c.Delivered, "event") + ", none lost"
}

// percent shows a share of a core: 0.3%, 12%.
func percent(share float64) string {
	p := share * 100
	switch {
	case p > 0 && p < 0.01:
		return "less than 0.01%"
	case p < 0.995:
		return strconv.FormatFloat(p, 'f', 2, 64) + "%"
	}
	return short(p) + "%"
}
