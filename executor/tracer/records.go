package tracer

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"kgent/agent/program/bpftrace"
	"kgent/executor/output"
)

// translator turns what bpftrace prints into records. Nothing of it is trusted: a
// line that is not understood is shown as text.
type translator struct {
	run     *Run
	sink    Sink
	partial strings.Builder // printed without an end of line
	// tables are what a map looked like when the script last printed it itself.
	tables map[string][]output.Record
	order  []string
	last   bool // bpftrace was told to end: what comes is final
}

// message is one line of bpftrace's.
type message struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// maxPartial is the longest line put together of several printf.
const maxPartial = 64 << 10

func (t *translator) line(raw []byte) {
	var m message
	if err := json.Unmarshal(raw, &m); err != nil || m.Type == "" {
		t.event(string(raw))
		return
	}
	switch m.Type {
	case "attached_probes":
	case "lost_events":
		var lost struct{ Events uint64 }
		if json.Unmarshal(m.Data, &lost) == nil {
			t.run.mu.Lock()
			t.run.seen.lost += min(lost.Events, 1<<40)
			t.run.mu.Unlock()
		}
	case "printf", "time", "value", "cat", "join", "syscall":
		t.print(m)
	case "map", "hist", "lhist", "stats":
		t.table(m)
	default:
		t.event(string(raw))
	}
}

// print takes text, of which lines are made.
func (t *translator) print(m message) {
	var text string
	if json.Unmarshal(m.Data, &text) != nil {
		text = string(m.Data) + "\n" // a number or tuple that was printed
	} else if m.Type == "value" {
		text += "\n"
	}
	for {
		line, rest, whole := strings.Cut(text, "\n")
		t.partial.WriteString(line)
		if !whole && t.partial.Len() < maxPartial {
			return
		}
		t.event(t.partial.String())
		t.partial.Reset()
		if text = rest; !whole {
			return
		}
	}
}

// event is one line printed, which counts as an event.
func (t *translator) event(line string) {
	t.run.mu.Lock()
	t.run.seen.lines++
	t.run.mu.Unlock()
	if !t.sink.Admit() {
		return
	}
	encoded, err := output.Encode(output.Text{Node: t.run.tracer.Node, Line: t.clean(line)})
	if err != nil {
		encoded, _ = output.Encode(output.Error{Node: t.run.tracer.Node, Code: "internal", Message: err.Error()})
	}
	t.sink.Line(encoded)
}

func (t *translator) clean(s string) string {
	if t.run.tracer.Redact == nil {
		return s
	}
	return t.run.tracer.Redact.String(s)
}

// end hands over what is left when bpftrace has ended.
func (t *translator) end() {
	if t.partial.Len() > 0 {
		t.event(t.partial.String())
	}
	for _, name := range t.order { // it exited without printing them again
		for _, r := range t.tables[name] {
			switch r := r.(type) {
			case output.Map:
				r.Final = true
				t.sink.Record(r)
			case output.Hist:
				r.Final = true
				t.sink.Record(r)
			case output.Stack:
				r.Final = true
				t.sink.Record(r)
			}
		}
	}
}

// table takes a map: {"@name": value}.
func (t *translator) table(m message) {
	var named output.Fields
	if json.Unmarshal(m.Data, &named) != nil || len(named) != 1 {
		t.event(string(m.Data))
		return
	}
	name, value := named[0].Name, named[0].Value
	i := slices.IndexFunc(t.run.script.Maps, func(x bpftrace.Map) bool { return x.Name == name })
	if i < 0 {
		t.event(string(m.Data))
		return
	}
	x := t.run.script.Maps[i]
	if t.run.script.State(name) { // what the script only remembers is no answer
		return
	}
	switch m.Type {
	case "hist", "lhist":
		t.hist(x, value)
	default:
		if !t.stacks(x, value) {
			t.rows(x, value)
		}
	}
}

// remember keeps what is not final, for the case that nothing comes after it.
func (t *translator) remember(name string, r ...output.Record) {
	delete(t.tables, name)
	t.order = slices.DeleteFunc(t.order, func(n string) bool { return n == name })
	if !t.last {
		t.tables[name] = r
		t.order = append(t.order, name)
	}
}

// rows makes a table of a map of numbers, texts, tuples or statistics.
func (t *translator) rows(x bpftrace.Map, value any) {
	m := output.Map{Node: t.run.tracer.Node, Name: x.Name, Entries: []output.MapEntry{}, At: output.Time(time.Now()), Final: t.last}
	list, keyed := value.(output.Fields)
	switch {
	case len(x.Keys) == 0, !keyed:
		m.Entries = append(m.Entries, output.MapEntry{Key: output.Fields{}, Value: t.cells(value)})
	default:
		for _, f := range list {
			m.Entries = append(m.Entries, output.MapEntry{Key: t.key(x, f.Name), Value: t.cells(f.Value)})
		}
	}
	slices.SortStableFunc(m.Entries, func(a, b output.MapEntry) int { return compare(first(b), first(a)) })
	m.Total = len(m.Entries)
	t.sink.Record(m)
	t.remember(x.Name, m)
}

// first is the number that a table is sorted by.
func first(e output.MapEntry) float64 {
	for _, f := range e.Value {
		if n, ok := f.Value.(json.Number); ok {
			v, _ := n.Float64()
			return v
		}
	}
	return 0
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// cells are the columns of a value: one, or those of statistics.
func (t *translator) cells(v any) output.Fields {
	if f, ok := v.(output.Fields); ok {
		return t.cleaned(f).(output.Fields)
	}
	return output.Fields{{Name: "value", Value: t.cleaned(v)}}
}

// cleaned takes secrets out of the texts in a value.
func (t *translator) cleaned(v any) any {
	switch v := v.(type) {
	case string:
		return t.clean(v)
	case []any:
		for i := range v {
			v[i] = t.cleaned(v[i])
		}
	case output.Fields:
		for i := range v {
			v[i].Value = t.cleaned(v[i].Value)
		}
	}
	return v
}

// key splits the key of a row, which bpftrace joins by commas. Where a text has
// commas of its own, that cannot be undone, and the key is shown whole.
func (t *translator) key(x bpftrace.Map, joined string) output.Fields {
	names := columns(x)
	parts := strings.Split(joined, ",")
	if len(parts) != len(names) {
		return output.Fields{{Name: "key", Value: t.clean(joined)}}
	}
	var out output.Fields
	for i, n := range names {
		out = append(out, output.Field{Name: n, Value: t.clean(parts[i])})
	}
	return out
}

// hist makes a histogram of a map, or one of each key.
func (t *translator) hist(x bpftrace.Map, value any) {
	node, at := t.run.tracer.Node, output.Time(time.Now())
	var all []output.Record
	add := func(key output.Fields, v any) {
		list, ok := v.([]any)
		if !ok {
			t.event(fmt.Sprintf("%s: a histogram that kgent cannot read", x.Name))
			return
		}
		h := output.Hist{Node: node, Name: x.Name, Key: key, Unit: "count", Buckets: []output.Bucket{}, At: at, Final: t.last}
		below := fill(&h, list)
		if last := len(h.Buckets) - 1; x.Call == "hist" && last >= 0 && h.Buckets[last].Min == t.run.release.LastBucket() {
			h.Buckets[last].Max = math.MaxUint64
		}
		if below > 0 {
			t.event(fmt.Sprintf("%s: %d values below 0 are not in its histogram", x.Name, below))
		}
		all = append(all, h)
	}
	if keyed, ok := value.(output.Fields); ok {
		for _, f := range keyed {
			add(t.key(x, f.Name), f.Value)
		}
	} else {
		add(nil, value)
	}
	for _, h := range all {
		t.sink.Record(h)
	}
	t.remember(x.Name, all...)
}

// fill adds bpftrace's buckets, and returns how many values are below all of them:
// records have no buckets below 0.
func fill(h *output.Hist, list []any) (below uint64) {
	for _, v := range list {
		f, ok := v.(output.Fields)
		if !ok {
			continue
		}
		count, _ := whole(f, "count")
		low, hasLow := whole(f, "min")
		high, hasHigh := whole(f, "max")
		if count < 0 || hasHigh && high < 0 {
			below += uint64(max(count, 0))
			continue
		}
		b := output.Bucket{Min: uint64(max(low, 0)), Max: math.MaxUint64, Count: uint64(count)}
		if !hasLow {
			b.Min = 0
		}
		if hasHigh {
			b.Max = uint64(high)
		}
		h.Buckets = append(h.Buckets, b)
		h.Count += b.Count
	}
	return below
}

func whole(f output.Fields, name string) (int64, bool) {
	v, _ := f.Get(name)
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

// stacks makes stacks of a map that is keyed by them, and reports whether it did.
func (t *translator) stacks(x bpftrace.Map, value any) bool {
	list, keyed := value.(output.Fields)
	if !keyed || !countable(x.Call) || !slices.ContainsFunc(x.Stack, func(s string) bool { return s != "" }) {
		return false
	}
	var out []output.Stack
	for _, f := range list {
		n, ok := f.Value.(json.Number)
		if !ok {
			return false
		}
		count, err := n.Int64()
		key, frames, split := t.splitStack(x, f.Name)
		if err != nil || count < 0 || !split {
			return false
		}
		out = append(out, output.Stack{Node: t.run.tracer.Node, Name: x.Name, Key: key, Frames: frames, Count: uint64(count), Final: t.last})
	}
	slices.SortStableFunc(out, func(a, b output.Stack) int { return compare(float64(b.Count), float64(a.Count)) })
	var all []output.Record
	for _, s := range out {
		if t.last { // stacks are shown once, when the run is over
			t.sink.Record(s)
		}
		all = append(all, s)
	}
	t.remember(x.Name, all...)
	return true
}

// splitStack takes a key apart in which stacks stand as lines: "\n    f+1\n    g+2\n". From
// 0.23 on their ends are escaped once more.
func (t *translator) splitStack(x bpftrace.Map, joined string) (key output.Fields, frames []string, ok bool) {
	names := columns(x)
	rest := joined
	for i, n := range names {
		if i > 0 {
			if rest, ok = strings.CutPrefix(rest, ","); !ok {
				return nil, nil, false
			}
		}
		if x.Stack[i] == "" {
			var part string
			if i == len(names)-1 {
				part, rest = rest, ""
			} else {
				at := strings.IndexByte(rest, ',')
				if at < 0 {
					return nil, nil, false
				}
				part, rest = rest[:at], rest[at:]
			}
			key = append(key, output.Field{Name: n, Value: t.clean(part)})
			continue
		}
		if rest == "" || rest[0] == ',' {
			continue // an empty stack, such as the kernel's of an idle processor
		}
		end := "\n"
		if strings.HasPrefix(rest, `\n`) {
			end = `\n`
		}
		if rest, ok = strings.CutPrefix(rest, end); !ok {
			return nil, nil, false
		}
		for strings.HasPrefix(rest, " ") {
			frame, after, _ := strings.Cut(rest, end)
			frames, rest = append(frames, strings.TrimSpace(frame)), after
		}
	}
	return key, frames, rest == ""
}

// columns names the columns of a map's key after its expressions.
func columns(x bpftrace.Map) []string {
	var out []string
	for _, k := range x.Keys {
		name := strings.Join(strings.Fields(k), " ")
		name = name[:min(len(name), 32)]
		for slices.Contains(out, name) || name == "value" {
			name += "'"
		}
		out = append(out, name)
	}
	return out
}

// countable reports whether a map's values say how often, so that its stacks can be
// shown as such.
func countable(call string) bool { return call == "" || call == "count" || call == "sum" }

// stream describes the columns of a map.
func stream(x bpftrace.Map) output.Stream {
	s := output.Stream{Name: x.Name, Columns: []output.Column{}}
	for i, n := range columns(x) {
		if x.Stack[i] == "" || !countable(x.Call) {
			s.Columns = append(s.Columns, output.Column{Name: n, Kind: "string", Width: 16})
		}
	}
	number := func(names ...string) {
		for _, n := range names {
			s.Columns = append(s.Columns, output.Column{Name: n, Kind: "int", Width: 12, Right: true})
		}
	}
	switch x.Call {
	case "stats":
		number("count", "average", "total")
	case "hist", "lhist":
		number("count")
	default:
		number("value")
	}
	return s
}
