package result

import (
	"fmt"
	"slices"
	"strings"

	"kgent/executor/output"
	"kgent/executor/render/text"
)

// weightOf says how much a column tells somebody who asks what goes on, least
// first: how it ended and at which port before addresses and files, names of
// processes before numbers of anything. The near end of a connection is
// mostly this host and some port.
func weightOf(c output.Column) int {
	name := c.Name[strings.LastIndex(c.Name, ".")+1:]
	w := 3
	switch c.Kind {
	case "k_errno", "k_ret", "k_exitcode", "k_signal", "enum":
		w = 0
	case "k_port", "k_syscall", "k_ipproto", "k_cap":
		w = 1
	case "k_ip", "k_ipv4":
		w = 2
	case "string":
		if name == "comm" {
			w = 5
		}
	case "k_pid", "k_dev", "k_ifindex":
		w = 7
	case "k_uid":
		w = 8
	case "k_tid":
		w = 9
	}
	if name == "sport" || name == "saddr" {
		w = 6
	}
	return w
}

// shown is a value that all rows of a table share.
type shown struct{ name, value string }

// shared is the line above a table that says what is the same in all its rows.
func (r *Result) shared(what []shown, complete bool) string {
	if len(what) == 0 {
		return ""
	}
	lead := "all: "
	if !complete {
		lead = "all that is shown: "
	}
	var parts []string
	for _, s := range what {
		parts = append(parts, clean(s.name)+" "+text.Fit(s.value, 60))
	}
	return strings.Join(wrap(lead+strings.Join(parts, ", "), r.o.Columns), "\n") + "\n"
}

// table sets rows below each other. Columns that say the same in every row
// become a line above it. Where it is too wide all the same, the columns that
// tell least are left out, and named: a number that is cut is another number.
func (r *Result) table(s *eventStream, rows []output.Fields) string {
	columns := r.columns(s)
	var same []shown
	if len(rows) > 1 && len(columns) > 1 {
		var vary []output.Column
		for _, c := range columns {
			first := text.Value(c.Kind, value(rows[0], c.Name), r.options())
			if first != "" && !slices.ContainsFunc(rows[1:], func(f output.Fields) bool { return text.Value(c.Kind, value(f, c.Name), r.options()) != first }) {
				same = append(same, shown{c.Name, first})
				continue
			}
			vary = append(vary, c)
		}
		if len(vary) == 0 { // which is no table any more
			vary, same = columns, nil
		}
		columns = vary
	}
	lead := r.shared(same, uint64(len(rows)) == s.newest.total || !slices.ContainsFunc(same, func(x shown) bool { return !s.always(x.name) }))
	var out []string
	for {
		drawn := text.Rows(columns, rows, r.options())
		if len(columns) < 3 || r.fits(drawn) {
			if len(out) > 0 {
				lead += strings.Join(wrap(fmt.Sprintf("left out, since there is no room: %s", strings.Join(out, ", ")), r.o.Columns), "\n") + "\n"
			}
			return lead + drawn
		}
		least := -1
		for i, c := range columns {
			// The node and the time say which row it is.
			if c.Name == "node" || c.Name == "on node" || c.Kind == "k_time" {
				continue
			}
			if least < 0 || weightOf(c) >= weightOf(columns[least]) {
				least = i
			}
		}
		if least < 0 {
			least = len(columns) - 1
		}
		out = append(out, clean(columns[least].Name))
		columns = slices.Delete(slices.Clone(columns), least, least+1)
	}
}

// always reports whether all events of a stream are known to have had one
// value of a column.
func (s *eventStream) always(name string) bool {
	return slices.ContainsFunc(s.counted, func(v *values) bool { return v.column.Name == name && !v.many && len(v.counts) == 1 })
}

// fits reports whether no line is too wide.
func (r *Result) fits(drawn string) bool {
	for line := range strings.Lines(drawn) {
		if text.Width(strings.TrimRight(line, " \n")) > r.o.Columns {
			return false
		}
	}
	return true
}

// value finds the value of a column, whose name is the path to it.
func value(f output.Fields, path string) any {
	for {
		if v, ok := f.Get(path); ok {
			return v
		}
		head, rest, ok := strings.Cut(path, ".")
		if !ok {
			return nil
		}
		v, _ := f.Get(head)
		if f, ok = v.(output.Fields); !ok {
			return nil
		}
		path = rest
	}
}

// sharedKeys takes what is the same in the keys of all rows out of a table.
func sharedKeys(m *output.Map, s *output.Stream) []shown {
	if len(m.Entries) < 2 || len(s.Columns) == 0 {
		return nil
	}
	var same []shown
	for _, f := range m.Entries[0].Key {
		i := slices.IndexFunc(s.Columns, func(c output.Column) bool { return c.Name == f.Name })
		if i < 0 || len(m.Entries[0].Key)-len(same) == 1 {
			continue
		}
		first := text.Value(s.Columns[i].Kind, f.Value, text.Options{})
		if first == "" || slices.ContainsFunc(m.Entries, func(e output.MapEntry) bool {
			v, _ := e.Key.Get(f.Name)
			return text.Value(s.Columns[i].Kind, v, text.Options{}) != first
		}) {
			continue
		}
		same = append(same, shown{f.Name, first})
	}
	for _, x := range same {
		i := slices.IndexFunc(s.Columns, func(c output.Column) bool { return c.Name == x.name })
		s.Columns = slices.Delete(slices.Clone(s.Columns), i, i+1)
		m.Entries = slices.Clone(m.Entries)
		for i, e := range m.Entries {
			m.Entries[i].Key = slices.DeleteFunc(slices.Clone(e.Key), func(f output.Field) bool { return f.Name == x.name })
		}
	}
	return same
}
