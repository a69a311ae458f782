package result

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"kgent/executor/output"
	"kgent/executor/render/text"
)

// Tail is what the thread shows while the run lasts: of events the newest, in
// a table; else the tables, histograms and stacks as they were last read; else
// the lines that the program printed. It is text for a block of code, at most
// budget characters, counted as the stricter platform counts: in UTF-16.
func (r *Result) Tail(budget int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if note := r.partial(); note != "" && budget > 3*units(note) {
		return r.tail(budget-units(note)-1) + "\n" + note
	}
	return r.tail(budget)
}

// partial says whose answer is still missing while most others have given theirs.
func (r *Result) partial() string {
	if r.summary != nil || !r.several() {
		return ""
	}
	done := map[string]int{} // tables whose end has arrived
	most := 0
	for _, t := range r.tables {
		parts, _ := t.together(false)
		for _, p := range parts {
			if p.stamp.final {
				done[p.node]++
				most = max(most, done[p.node])
			}
		}
	}
	var late []string
	for _, n := range r.nodes {
		if !n.attached || done[n.name] < most {
			late = append(late, n.name)
		}
	}
	if len(late) == 0 || len(late) == len(r.nodes) {
		return ""
	}
	return r.harden(text.Fit(fmt.Sprintf("… from %d of %d nodes so far, without %s", len(r.nodes)-len(late), len(r.nodes), text.Short(cleaned(late), 40)), r.o.Columns))
}

func (r *Result) tail(budget int) string {
	switch {
	case r.events > 0:
		return r.tailEvents(budget)
	case len(r.tables) > 0:
		return r.tailTables(budget)
	case r.lines.total > 0:
		return r.tailLines(budget)
	}
	var on []string
	for _, n := range r.nodes {
		if n.attached {
			on = append(on, clean(n.name))
		}
	}
	if len(on) == 0 {
		return Cut("not attached yet", budget)
	}
	return Cut("nothing has happened yet; attached on "+places(on), budget)
}

// units is how long text is.
func units(s string) int {
	n := 0
	for _, c := range s {
		n += max(utf16.RuneLen(c), 1)
	}
	return n
}

// Cut shortens text to a budget as [Result.Tail] counts it: whole lines from
// the beginning, and then how many are missing.
func Cut(s string, budget int) string {
	s = strings.TrimRight(s, "\n")
	if units(s) <= budget {
		return s
	}
	lines := strings.Split(s, "\n")
	for n := len(lines) - 1; n > 0; n-- {
		short := strings.Join(lines[:n], "\n") + "\n… " + plural(uint64(len(lines)-n), "more line")
		if units(short) <= budget {
			return short
		}
	}
	if budget < 1 {
		return ""
	}
	left := budget - 1 // for the dots
	for i, c := range lines[0] {
		if left -= utf16.RuneLen(c); left < 0 {
			return lines[0][:i] + "…"
		}
	}
	return lines[0]
}

func (r *Result) tailEvents(budget int) string {
	var parts []string
	each := budget / len(r.perEvent)
	for _, s := range r.perEvent {
		part := r.newestRows(s, each-2)
		if len(r.perEvent) > 1 {
			name := r.harden(clean(s.name)) + ":\n"
			part = name + r.newestRows(s, each-2-units(name))
		}
		parts = append(parts, part)
	}
	return Cut(strings.Join(parts, "\n\n"), budget)
}

// newestRows shows as many of a stream's newest events as there is room for.
func (r *Result) newestRows(s *eventStream, budget int) string {
	rows, unread := r.rows(s, s.newest.all())
	draw := func(n int) string {
		var head []string
		if before := s.newest.total - uint64(n+unread); before > 0 {
			head = append(head, "… "+plural(before, "event")+" before")
		}
		if unread > 0 {
			head = append(head, "… "+plural(uint64(unread), "event")+" too long to show")
		}
		table := r.table(s, rows[len(rows)-n:])
		return r.harden(strings.Join(append(head, table), "\n"))
	}
	// How many lines there is room for is estimated from the longest.
	n := len(rows)
	for n > 0 {
		drawn := draw(n)
		over := units(drawn) - budget
		if over <= 0 {
			return drawn
		}
		n -= max(over/(r.o.Columns+1), 1)
	}
	return Cut(draw(min(1, len(rows))), budget)
}

// rows decodes events; unread is how many could not be.
func (r *Result) rows(s *eventStream, lines [][]byte) (rows []output.Fields, unread int) {
	for _, line := range lines {
		rec, err := output.Decode(line)
		e, ok := rec.(output.Event)
		if err != nil || !ok {
			unread++
			continue
		}
		f := e.Data
		if r.several() {
			f = append(output.Fields{{Name: nodeName(r.streams[e.Stream].Columns), Value: e.Node}}, f...)
		}
		rows = append(rows, f)
	}
	if r.several() && len(rows) > 0 {
		r.inTime(s, rows)
	}
	return rows, unread
}

// inTime puts rows of several nodes, each of which sends its own in their
// order, into the order of their times.
func (r *Result) inTime(s *eventStream, rows []output.Fields) {
	i := slices.IndexFunc(r.streams[s.name].Columns, func(c output.Column) bool { return c.Kind == "k_time" })
	if i < 0 {
		return
	}
	at := make(map[*output.Field]time.Time, len(rows))
	for _, f := range rows {
		v, _ := f.Get(r.streams[s.name].Columns[i].Name)
		raw, _ := v.(string)
		when, err := time.Parse(time.RFC3339Nano, raw)
		if err != nil {
			return // some have none
		}
		at[&f[0]] = when
	}
	slices.SortStableFunc(rows, func(a, b output.Fields) int { return at[&a[0]].Compare(at[&b[0]]) })
}

// nodeName is how the column of the node is called: if need be as no field of C
// can be called.
func nodeName(columns []output.Column) string {
	if len(columns) == 0 || slices.ContainsFunc(columns, func(c output.Column) bool { return c.Name == "node" }) {
		return "on node"
	}
	return "node"
}

// columns are those of a stream, behind the node when there are several.
func (r *Result) columns(s *eventStream) []output.Column {
	known := r.streams[s.name].Columns
	if len(known) == 0 || !r.several() {
		return known
	}
	return append([]output.Column{{Name: nodeName(known), Kind: "enum"}}, known...)
}

func (r *Result) tailTables(budget int) string {
	var parts []string
	for _, b := range r.tableBlocks(false) {
		part := b.Text
		if b.Title != "" {
			part = b.Title + "\n" + part
		}
		parts = append(parts, part)
	}
	each := budget/len(parts) - 2
	for i := range parts {
		if len(parts) > 1 {
			parts[i] = Cut(parts[i], max(each, 160))
		}
	}
	return Cut(strings.Join(parts, "\n\n"), budget)
}

func (r *Result) tailLines(budget int) string {
	lines := r.textLines(r.lines.all())
	for n := range lines {
		out := strings.Join(lines[n:], "\n")
		if before := r.lines.total - uint64(len(lines)-n); before > 0 {
			out = "… " + plural(before, "line") + " before\n" + out
		}
		if units(out) <= budget {
			return out
		}
	}
	return Cut(lines[len(lines)-1], budget)
}

// textLines shows what iterators printed.
func (r *Result) textLines(raw [][]byte) []string {
	var out []string
	for _, line := range raw {
		rec, _ := output.Decode(line)
		t, ok := rec.(output.Text)
		if !ok {
			out = append(out, "(a line too long to show)")
			continue
		}
		out = append(out, r.harden(text.Line(t, r.options())))
	}
	return out
}

// few joins at most n names.
func few(names []string, n int) string {
	if len(names) > n {
		names = append(slices.Clone(names[:n]), "and "+strconv.Itoa(len(names)-n)+" more")
	}
	return strings.Join(names, ", ")
}

// quantityOf shows a number of a unit of histograms.
func quantityOf(unit string, n uint64) string {
	kind := "k_count"
	switch unit {
	case "ns", "us", "ms", "bytes":
		kind = "k_" + unit
	}
	return strings.Replace(text.Value(kind, json.Number(strconv.FormatUint(n, 10)), text.Options{}), ".0", "", 1)
}
