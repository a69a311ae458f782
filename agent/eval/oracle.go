package eval

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"kgent/executor/output"
)

// Check is one thing that an oracle looks for: exactly one of See, Never,
// Total, Hist, Order and Any is set.
type Check struct {
	// What it is about, in words for who reads a failure. Optional.
	What string `yaml:"what"`

	// See wants a record that holds all of these values, each in a field of its
	// own. Times is how often; without it at least once. Min and Max bound it.
	See   []Value `yaml:"see"`
	Times *int    `yaml:"times"`
	Min   *int    `yaml:"min"`
	Max   *int    `yaml:"max"`

	// Never wants no record that holds all of these values.
	Never []Value `yaml:"never"`

	// Total wants a column of one stream whose sum, over the records that hold
	// all values of Of, is this: a number, a range, or a time. Listed also takes
	// one event for each: their number is then the sum.
	Total  *Value `yaml:"total"`
	Listed bool   `yaml:"listed"`

	// Hist wants a histogram whose key holds all values of Of, and in which Count
	// values (a number or a range) may lie in this range: a time, or {min, max}
	// of numbers. A bucket that reaches over an end may be on either side of it.
	Hist  *Value `yaml:"hist"`
	Count *Value `yaml:"count"`

	// Of narrows Total and Hist.
	Of []Value `yaml:"of"`

	// Order wants a table in which a record that holds the first values comes
	// before any that holds the second, and so on; each must be there.
	Order [][]Value `yaml:"order"`

	// Any wants one of several lists of checks to hold, all of the list.
	Any [][]Check `yaml:"any"`
}

// check says what is wrong with a check.
func (c *Check) check() error {
	kinds := 0
	for _, has := range []bool{c.See != nil, c.Never != nil, c.Total != nil, c.Hist != nil, c.Order != nil, c.Any != nil} {
		if has {
			kinds++
		}
	}
	if kinds != 1 {
		return fmt.Errorf("check %q has %d of see, never, total, hist, order, any; want one", c.What, kinds)
	}
	if c.Hist != nil && c.Count == nil {
		return fmt.Errorf("check %q: hist needs count", c.What)
	}
	if c.See == nil && (c.Times != nil || c.Min != nil || c.Max != nil) {
		return fmt.Errorf("check %q: times, min and max are of see", c.What)
	}
	lists := append([][]Value{c.See, c.Never, c.Of}, c.Order...)
	for _, v := range []*Value{c.Total, c.Hist, c.Count} {
		if v != nil {
			lists = append(lists, []Value{*v})
		}
	}
	for _, l := range lists {
		for _, v := range l {
			if err := v.check(); err != nil {
				return fmt.Errorf("check %q: %w", c.What, err)
			}
		}
	}
	if c.See != nil && len(c.See) == 0 || c.Never != nil && len(c.Never) == 0 {
		return fmt.Errorf("check %q names no value", c.What)
	}
	for _, l := range c.Any {
		for i := range l {
			if err := l[i].check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Row is one record without its format.
type Row struct {
	// Stream is the ring buffer or map that it is of.
	Stream string
	Cells  []Cell
	// Event says that it is one occurrence, not a row of a table.
	Event bool
	// Buckets are of a histogram, whose key the cells are.
	Buckets []output.Bucket
	Unit    string
}

// String shows a row to people.
func (r Row) String() string {
	var b strings.Builder
	b.WriteString(r.Stream + ":")
	for _, c := range r.Cells {
		fmt.Fprintf(&b, " %s=%s", c.Name, c.Text)
	}
	for _, k := range r.Buckets {
		if k.Count > 0 {
			fmt.Fprintf(&b, " [%d-%d %s]=%d", k.Min, k.Max, r.Unit, k.Count)
		}
	}
	return b.String()
}

// Rows makes rows of what a run said: its events, the final content of its
// maps, and the lines of iterators.
func Rows(records []output.Record) []Row {
	kinds := map[string]map[string]string{}
	var rows []Row
	for _, rec := range records {
		switch r := rec.(type) {
		case output.Attached:
			for _, s := range r.Streams {
				kinds[s.Name] = map[string]string{}
				for _, c := range s.Columns {
					kinds[s.Name][c.Name] = c.Kind
				}
			}
		case output.Event:
			rows = append(rows, Row{Stream: r.Stream, Event: true, Cells: cellsOf(nil, "", r.Data, kinds[r.Stream])})
		case output.Map:
			if !r.Final {
				continue
			}
			for _, e := range r.Entries {
				cells := cellsOf(nil, "", e.Key, kinds[r.Name])
				rows = append(rows, Row{Stream: r.Name, Cells: cellsOf(cells, "", e.Value, kinds[r.Name])})
			}
		case output.Hist:
			if r.Final {
				rows = append(rows, Row{Stream: r.Name, Cells: cellsOf(nil, "", r.Key, kinds[r.Name]), Buckets: r.Buckets, Unit: r.Unit})
			}
		case output.Stack:
			if !r.Final {
				continue
			}
			cells := cellsOf(nil, "", r.Key, kinds[r.Name])
			cells = append(cells, Cell{Name: "count", Kind: "k_count", Text: fmt.Sprint(r.Count), Number: float64(r.Count), IsNumber: true})
			for _, f := range r.Frames {
				cells = append(cells, cellOf("frame", "", f))
			}
			rows = append(rows, Row{Stream: r.Name, Cells: cells})
		case output.Text:
			rows = append(rows, Row{Stream: "text", Event: true, Cells: words(r.Line)})
		}
	}
	return rows
}

// words are the fields of a printed line: what stands between blanks, without
// punctuation around it, and the part after = or : where there is one.
func words(line string) []Cell {
	var out []Cell
	for _, w := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t,;|()[]{}\"'", r) }) {
		out = append(out, cellOf("", "", w))
		if i := strings.LastIndexAny(w, "=:"); i >= 0 && i < len(w)-1 {
			out = append(out, cellOf(strings.Trim(w[:i], ":="), "", w[i+1:]))
			out = append(out, cellOf("", "", w[:i]))
		}
	}
	return out
}

// holds reports whether each of the values is in a field of its own.
func (r *Row) holds(values []Value) bool {
	taken := make([]bool, len(r.Cells))
	var put func(i int) bool
	put = func(i int) bool {
		if i == len(values) {
			return true
		}
		for k, c := range r.Cells {
			if !taken[k] && values[i].in(c) {
				taken[k] = true
				if put(i + 1) {
					return true
				}
				taken[k] = false
			}
		}
		return false
	}
	return put(0)
}

// Seen is what a run showed, to be judged.
type Seen struct {
	Rows    []Row
	Facts   Facts
	Dropped int // records over what is kept
	// Full is how many updates found an output map full.
	Full uint64
}

// Judge holds what was seen against an oracle. It returns what does not hold, a
// sentence each; nothing when all does. The error says that the oracle cannot be
// read, which is no judgement.
func Judge(oracle []Check, seen Seen) (wrong []string, err error) {
	if seen.Dropped > 0 {
		wrong = append(wrong, fmt.Sprintf("%d records too many to be looked at", seen.Dropped))
	}
	if seen.Full > 0 {
		wrong = append(wrong, fmt.Sprintf("%d updates found an output map full", seen.Full))
	}
	for i := range oracle {
		c := &oracle[i]
		why, err := c.judge(seen)
		if err != nil {
			return nil, fmt.Errorf("check %d (%s): %w", i+1, c.What, err)
		}
		if why != "" {
			if c.What != "" {
				why = c.What + ": " + why
			}
			wrong = append(wrong, why)
		}
	}
	return wrong, nil
}

func fillAll(values []Value, f Facts) ([]Value, error) {
	out := make([]Value, len(values))
	for i, v := range values {
		var err error
		if out[i], err = v.fill(f); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *Check) judge(seen Seen) (why string, err error) {
	switch {
	case c.See != nil:
		return c.judgeSee(seen)
	case c.Never != nil:
		values, err := fillAll(c.Never, seen.Facts)
		if err != nil {
			return "", err
		}
		for i := range seen.Rows {
			if seen.Rows[i].holds(values) {
				return fmt.Sprintf("%s together in %s", join(values), clip(seen.Rows[i].String())), nil
			}
		}
	case c.Total != nil:
		return c.judgeTotal(seen)
	case c.Hist != nil:
		return c.judgeHist(seen)
	case c.Order != nil:
		return c.judgeOrder(seen)
	case c.Any != nil:
		var each []string
		for _, l := range c.Any {
			wrong, err := Judge(l, Seen{Rows: seen.Rows, Facts: seen.Facts})
			if err != nil {
				return "", err
			}
			if len(wrong) == 0 {
				return "", nil
			}
			each = append(each, strings.Join(wrong, "; "))
		}
		return "none of the alternatives: " + strings.Join(each, " / "), nil
	}
	return "", nil
}

func join(values []Value) string { return strings.Join(texts(values), ", ") }

func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

func (c *Check) judgeSee(seen Seen) (string, error) {
	values, err := fillAll(c.See, seen.Facts)
	if err != nil {
		return "", err
	}
	n := 0
	for i := range seen.Rows {
		if seen.Rows[i].holds(values) {
			n++
		}
	}
	low, high := 1, math.MaxInt
	if c.Min != nil {
		low = *c.Min
	}
	if c.Max != nil {
		high = *c.Max
	}
	if c.Times != nil {
		low, high = *c.Times, *c.Times
	}
	if n >= low && n <= high {
		return "", nil
	}
	want := fmt.Sprintf("at least %d", low)
	if high != math.MaxInt {
		want = fmt.Sprintf("%d to %d", low, high)
	}
	return fmt.Sprintf("%d records hold %s, want %s", n, join(values), want), nil
}

// summable reports whether a column may be an amount: not what names something,
// a process or a port, whose sum could be anything.
func summable(c Cell, of []Value) bool {
	switch c.Kind {
	case "k_count", "k_bytes", "k_pages", "k_ns", "k_us", "k_ms":
		return true
	}
	if strings.HasPrefix(c.Kind, "k_") {
		return false
	}
	name := strings.ToLower(c.Name)
	for _, id := range []string{"pid", "tid", "tgid", "uid", "gid", "port", "cpu"} {
		if strings.HasSuffix(name, id) {
			return false
		}
	}
	for _, v := range of {
		if v.in(c) {
			return false
		}
	}
	return true
}

// judgeTotal looks for a column whose sum fits.
func (c *Check) judgeTotal(seen Seen) (string, error) {
	of, err := fillAll(c.Of, seen.Facts)
	if err != nil {
		return "", err
	}
	want, err := c.Total.fill(seen.Facts)
	if err != nil {
		return "", err
	}
	type column struct{ stream, name string }
	sums := map[column]*Cell{}
	events := map[string]float64{}
	found := 0
	add := func(stream, name, kind string, n float64) {
		k := column{stream, name}
		if sums[k] == nil {
			sums[k] = &Cell{Name: name, Kind: kind, IsNumber: true}
		}
		sums[k].Number += n
	}
	for i := range seen.Rows {
		r := &seen.Rows[i]
		if !r.holds(of) {
			continue
		}
		found++
		if r.Event {
			events[r.Stream]++
		}
		for j, cell := range r.Cells {
			if !summable(cell, of) {
				continue
			}
			if cell.IsNumber && (cell.Name != "" || r.Stream != "text") {
				add(r.Stream, cell.Name, cell.Kind, cell.Number)
			} else if cell.IsNumber {
				add(r.Stream, fmt.Sprintf("#%d", j), "", cell.Number)
			}
		}
		if r.Buckets != nil {
			n := 0.0
			for _, b := range r.Buckets {
				n += float64(b.Count)
			}
			add(r.Stream, "(values)", "k_count", n)
		}
	}
	var got []string
	for k, cell := range sums {
		cell.Text = fmt.Sprint(cell.Number)
		if want.in(*cell) {
			return "", nil
		}
		got = append(got, fmt.Sprintf("%s.%s=%v", k.stream, k.name, cell.Number))
	}
	if c.Listed {
		for stream, n := range events {
			if want.in(Cell{Number: n, IsNumber: true, Text: fmt.Sprint(n)}) {
				return "", nil
			}
			got = append(got, fmt.Sprintf("%s: %v events", stream, n))
		}
	}
	slices.Sort(got)
	return fmt.Sprintf("no column sums up to %s over the %d records with %s; there are %s", want, found, join(of), clip(strings.Join(got, ", "))), nil
}

// scale of a histogram's unit in nanoseconds.
func scale(unit string) (float64, bool) {
	switch unit {
	case "ns":
		return 1, true
	case "us":
		return 1e3, true
	case "ms":
		return 1e6, true
	}
	return 1, unit == "" || unit == "count"
}

func (c *Check) judgeHist(seen Seen) (string, error) {
	of, err := fillAll(c.Of, seen.Facts)
	if err != nil {
		return "", err
	}
	want, err := c.Hist.fill(seen.Facts)
	if err != nil {
		return "", err
	}
	count, err := c.Count.fill(seen.Facts)
	if err != nil {
		return "", err
	}
	low, high, isTime, err := want.ends()
	if err != nil {
		return "", err
	}
	var got []string
	byStream := map[string][2]float64{}
	for i := range seen.Rows {
		r := &seen.Rows[i]
		if r.Buckets == nil || !r.holds(of) {
			continue
		}
		by := 1.0
		if isTime {
			var ok bool
			if by, ok = scale(r.Unit); !ok {
				continue // bytes are no time
			}
		}
		m := byStream[r.Stream]
		for _, b := range r.Buckets {
			bl, bh := float64(b.Min)*by, (float64(b.Max)+1)*by-1
			if bl <= high && bh >= low {
				m[1] += float64(b.Count)
			}
			if bl >= low && bh <= high {
				m[0] += float64(b.Count)
			}
		}
		byStream[r.Stream] = m
		got = append(got, clip(r.String()))
	}
	for _, m := range byStream {
		// Any number between what must and what may lie there is possible.
		if count.between(m[0], m[1]) {
			return "", nil
		}
	}
	return fmt.Sprintf("no histogram of %s has %s values in %s; there are %s", join(of), count, want, strings.Join(got, " | ")), nil
}

// ends are those of a range of numbers or of time.
func (v Value) ends() (low, high float64, isTime bool, err error) {
	min, max := v.Min, v.Max
	if v.Time != nil {
		min, max, isTime = v.Time.Min, v.Time.Max, true
	}
	low, high = 0, math.Inf(1)
	if min != "" {
		if low, err = nanos(min); err != nil {
			return 0, 0, false, err
		}
	}
	if max != "" {
		high, err = nanos(max)
	}
	return low, high, isTime, err
}

// between reports whether some number from low to high is the wanted one.
func (v Value) between(low, high float64) bool {
	if v.Text != "" {
		n, err := nanos(v.Text)
		return err == nil && n >= low && n <= high
	}
	l, h, _, err := v.ends()
	return err == nil && l <= high && h >= low
}

func (c *Check) judgeOrder(seen Seen) (string, error) {
	var lists [][]Value
	for _, l := range c.Order {
		values, err := fillAll(l, seen.Facts)
		if err != nil {
			return "", err
		}
		lists = append(lists, values)
	}
	streams := map[string][]Row{}
	for _, r := range seen.Rows {
		streams[r.Stream] = append(streams[r.Stream], r)
	}
	var got []string
	for name, rows := range streams {
		at := make([]int, len(lists))
		for i, l := range lists {
			at[i] = slices.IndexFunc(rows, func(r Row) bool { return r.holds(l) })
		}
		if at[0] >= 0 && slices.IsSorted(at) && len(slices.Compact(slices.Clone(at))) == len(at) {
			return "", nil
		}
		got = append(got, fmt.Sprintf("%s: %v", name, at))
	}
	var want []string
	for _, l := range lists {
		want = append(want, "("+join(l)+")")
	}
	slices.Sort(got)
	return fmt.Sprintf("no table has %s in this order; their places are %s", strings.Join(want, ", "), strings.Join(got, ", ")), nil
}
