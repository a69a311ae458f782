package result

import (
	"cmp"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"kgent/executor/output"
)

// tableRow is a row of several nodes: the sum of those with one key, or where there is
// none, one that is the same on all of them.
type tableRow struct {
	nodes  []string
	entry  output.MapEntry
	weight float64
}

// sums are rows of many nodes, made one where their columns say how.
type sums struct {
	rows  []tableRow
	index map[string]int // of rows, by what is the same in those that are one
	room  *int           // bytes that are left, for all tables
	// summed says that there are rows of several nodes that were added up.
	summed bool
}

// Bounds of the sums of all tables, in bytes. A row that is on five hundred nodes takes
// ten thousand, one that is on one some hundreds.
const (
	keepSums     = 64 << 20
	sumBytes     = 320 // of a row, beside its key and value
	sumNodeBytes = 24
)

// ofNode reports whether a key says something that means nothing on another node: what
// is process 7 on one is another there.
func ofNode(stream output.Stream, key output.Fields) bool {
	if len(key) == 0 {
		return false
	}
	return slices.ContainsFunc(stream.Columns, func(c output.Column) bool {
		switch c.Kind {
		case "k_pid", "k_tid", "k_cgroup", "k_ifindex", "k_dev", "k_inode", "k_addr":
			head, _, _ := strings.Cut(c.Name, ".")
			_, is := key.Get(head)
			return is
		}
		return false
	})
}

// mergings are how the columns of a table make one, by name.
type mergings map[string]output.Merge

func mergingsOf(stream output.Stream) mergings {
	out := mergings{}
	for _, c := range stream.Columns {
		if c.Merge != "" {
			out[c.Name] = c.Merge
		}
	}
	return out
}

// all reports whether it is known of all numbers of a value how they make one.
func (how mergings) all(path string, value output.Fields) bool {
	for _, f := range value {
		if more, ok := f.Value.(output.Fields); ok {
			if !how.all(path+f.Name+".", more) {
				return false
			}
		} else if _, number := f.Value.(json.Number); !number || how[path+f.Name] == "" {
			return false
		}
	}
	return len(value) > 0
}

// addMap adds a node's table, and returns how many of its rows found no room.
func (s *sums) addMap(stream output.Stream, m output.Map) (left int) {
	if s.index == nil {
		s.index = map[string]int{}
	}
	how := mergingsOf(stream)
	for _, e := range m.Entries {
		if !s.add(stream, how, m.Node, e) {
			left++
		}
	}
	return left
}

func (s *sums) add(stream output.Stream, how mergings, node string, e output.MapEntry) bool {
	id := identity(e.Key)
	merge := how.all("", e.Value)
	switch {
	case !merge:
		id += "=" + identity(e.Value)
	case ofNode(stream, e.Key):
		id += "@" + node
	}
	i, ok := s.index[id]
	if !ok {
		if *s.room < 2*len(id)+sumBytes {
			return false
		}
		*s.room -= 2*len(id) + sumBytes
		s.index[id] = len(s.rows)
		s.rows = append(s.rows, tableRow{nodes: []string{node}, entry: e, weight: weight(e.Value)})
		return true
	}
	r := &s.rows[i]
	if merge {
		s.summed = true
		r.entry.Value = how.add(stream, "", r.entry.Value, e.Value)
		r.weight = weight(r.entry.Value)
	}
	if r.nodes[len(r.nodes)-1] != node {
		*s.room -= sumNodeBytes // which is no reason to refuse it
		r.nodes = append(r.nodes, node)
	}
	return true
}

// add returns a and b as one.
func (how mergings) add(stream output.Stream, path string, a, b output.Fields) output.Fields {
	if how[path+"mean"] == output.MergeMean {
		if n, _ := a.Get("count"); n == json.Number("0") {
			return b
		}
		if n, _ := b.Get("count"); n == json.Number("0") {
			return a
		}
	}
	out := make(output.Fields, 0, len(a))
	for _, f := range a {
		other, ok := b.Get(f.Name)
		if !ok {
			continue // the extremes of what one of them has seen are not known
		}
		switch x := f.Value.(type) {
		case output.Fields:
			if y, ok := other.(output.Fields); ok {
				out = append(out, output.Field{Name: f.Name, Value: how.add(stream, path+f.Name+".", x, y)})
			}
		case json.Number:
			y, ok := other.(json.Number)
			if !ok {
				continue
			}
			merge := how[path+f.Name]
			if merge == output.MergeMean {
				if m, ok := mean(out, kindOf(stream, path+f.Name)); ok {
					out = append(out, output.Field{Name: f.Name, Value: m})
				}
				continue
			}
			out = append(out, output.Field{Name: f.Name, Value: combine(merge, x, y)})
		}
	}
	return out
}

func kindOf(stream output.Stream, name string) string {
	for _, c := range stream.Columns {
		if c.Name == name {
			return c.Kind
		}
	}
	return ""
}

// combine makes two numbers one, exactly.
func combine(merge output.Merge, a, b json.Number) json.Number {
	if x, err := strconv.ParseUint(string(a), 10, 63); err == nil {
		if y, err := strconv.ParseUint(string(b), 10, 63); err == nil {
			switch merge {
			case output.MergeMin:
				x = min(x, y)
			case output.MergeMax:
				x = max(x, y)
			default:
				x += y
			}
			return json.Number(strconv.FormatUint(x, 10))
		}
	}
	x, ok := new(big.Rat).SetString(string(a))
	y, ok2 := new(big.Rat).SetString(string(b))
	switch {
	case !ok || !ok2:
		return a
	case merge == output.MergeMin && x.Cmp(y) <= 0, merge == output.MergeMax && x.Cmp(y) >= 0:
		return a
	case merge == output.MergeMin, merge == output.MergeMax:
		return b
	}
	sum := x.Add(x, y)
	if sum.IsInt() {
		return json.Number(sum.Num().String())
	}
	return json.Number(sum.FloatString(6))
}

// mean is that of the count and sum before it, as nodes write it: of counts with two
// decimals, of everything else to the unit.
func mean(f output.Fields, kind string) (json.Number, bool) {
	number := func(name string) (*big.Rat, bool) {
		v, _ := f.Get(name)
		n, ok := v.(json.Number)
		if !ok {
			return nil, false
		}
		return new(big.Rat).SetString(string(n))
	}
	count, ok := number("count")
	sum, ok2 := number("sum")
	if !ok || !ok2 || count.Sign() == 0 {
		return "", false
	}
	q := sum.Quo(sum, count)
	if kind == "k_count" && !q.IsInt() {
		return json.Number(q.FloatString(2)), true
	}
	return json.Number(q.FloatString(0)), true
}

// rows are those of some nodes' readings, which are all final or none of them, largest
// first, and whether some are sums.
func (t *table) rows(stream output.Stream, parts []*part) (_ []tableRow, summed bool) {
	all := t.sums
	if len(parts) > 0 && !parts[0].stamp.final {
		room := *t.sums.room
		all = sums{room: &room}
		for _, p := range parts {
			if p.table != nil {
				all.addMap(stream, *p.table)
			}
		}
	}
	rows := slices.Clone(all.rows)
	slices.SortStableFunc(rows, func(a, b tableRow) int { return cmp.Compare(b.weight, a.weight) })
	return rows, all.summed
}
