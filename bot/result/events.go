package result

import (
	"bytes"
	"encoding/json"
	"time"

	"kgent/executor/output"
)

// scanned is the line of an event, taken apart but not decoded: decoding every
// event of a fast run would cost more than all the rest.
type scanned struct {
	node, stream string
	line, data   []byte
}

// The form that every event line has.
var (
	eventHead       = []byte(`{"type":"event","node":`)
	eventStreamName = []byte(`,"stream":`)
	eventData       = []byte(`,"data":`)
)

// scanEvent takes an event's line apart. It is false for everything else, for
// instance a line of another form.
func scanEvent(line []byte) (e scanned, ok bool) {
	e.line = line
	rest, ok := bytes.CutPrefix(line, eventHead)
	if !ok {
		return e, false
	}
	var raw []byte
	if raw, rest, ok = cutString(rest); !ok {
		return e, false
	}
	e.node = unquote(raw)
	if rest, ok = bytes.CutPrefix(rest, eventStreamName); !ok {
		return e, false
	}
	if raw, rest, ok = cutString(rest); !ok {
		return e, false
	}
	e.stream = unquote(raw)
	if rest, ok = bytes.CutPrefix(rest, eventData); !ok {
		return e, false
	}
	e.data, ok = bytes.CutSuffix(bytes.TrimSuffix(rest, []byte{'\n'}), []byte{'}'})
	return e, ok && len(e.data) >= 2 && e.data[0] == '{' && e.data[len(e.data)-1] == '}'
}

// cutString cuts a JSON string, quotation marks included, off the front.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, b, false
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[:i+1], b[i+1:], true
		}
	}
	return nil, b, false
}

// unquote decodes a JSON string.
func unquote(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b[1 : len(b)-1])
	}
	var s string
	if json.Unmarshal(b, &s) != nil {
		return "?"
	}
	return s
}

// cutValue cuts a JSON value off the front.
func cutValue(b []byte) (v, rest []byte, ok bool) {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			s, _, ok := cutString(b[i:])
			if !ok {
				return nil, b, false
			}
			i += len(s) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return b[:i], b[i:], i > 0
			}
			depth--
		case ',':
			if depth == 0 {
				return b[:i], b[i:], i > 0
			}
		}
	}
	return nil, b, false
}

// eachField calls f with the name and the value, both as JSON, of every field
// of an object, as long as it can be read.
func eachField(object []byte, f func(name, value []byte)) {
	rest := object[1:]
	for {
		name, after, ok := cutString(rest)
		if !ok || len(after) == 0 || after[0] != ':' {
			return
		}
		value, after, ok := cutValue(after[1:])
		if !ok {
			return
		}
		f(name, value)
		if len(after) == 0 || after[0] != ',' {
			return
		}
		rest = after[1:]
	}
}

// eventStream is what is kept of the events of one ring buffer.
type eventStream struct {
	name    string
	first   [][]byte
	newest  newest
	counted []*values
}

// Values are counted in columns of kinds that name something, as long as they
// have few different ones.
const (
	maxCounted = 12  // columns
	maxValues  = 512 // different values of one
	maxValue   = 200 // bytes of one
)

// values counts the values of one column.
type values struct {
	column output.Column
	name   string // as JSON
	counts map[string]*uint64
	many   bool // more than are counted
}

// names reports whether the values of a kind are names, whose frequency says
// something. Times, durations, sizes and addresses in memory are not.
func names(kind string) bool {
	switch kind {
	case "string", "enum", "k_errno", "k_ret", "k_ip", "k_ipv4", "k_port", "k_pid", "k_uid", "k_signal", "k_syscall",
		"k_cgroup", "k_exitcode", "k_ifindex", "k_args", "k_dev", "k_ipproto", "k_cap":
		return true
	}
	return false
}

func newEventStream(name string, columns []output.Column) *eventStream {
	s := &eventStream{name: name}
	for _, c := range columns {
		if names(c.Kind) && len(s.counted) < maxCounted {
			s.counted = append(s.counted, &values{column: c, name: string(output.AppendString(nil, c.Name)), counts: map[string]*uint64{}})
		}
	}
	return s
}

func (s *eventStream) add(e scanned) {
	if len(s.first) < keepFirst && len(e.line) <= keepLine {
		s.first = append(s.first, bytes.Clone(e.line))
	}
	s.newest.add(e.line)
	next := 0 // columns and fields come in the same order
	eachField(e.data, func(name, value []byte) {
		for i := range s.counted {
			v := s.counted[(next+i)%len(s.counted)]
			if v.name == string(name) {
				v.add(value)
				next += i + 1
				return
			}
		}
	})
}

func (v *values) add(value []byte) {
	if v.many {
		return
	}
	if n := v.counts[string(value)]; n != nil {
		*n++
		return
	}
	if len(v.counts) == maxValues || len(value) > maxValue {
		v.many, v.counts = true, nil
		return
	}
	one := uint64(1)
	v.counts[string(value)] = &one
}

// rate counts events by the second they arrived in; a long run is counted in
// longer steps.
type rate struct {
	start  time.Time
	step   time.Duration
	counts []uint64
}

// maxSteps is how many points a line in a picture may have.
const maxSteps = 600

func (r *rate) add(now time.Time) {
	if r.start.IsZero() {
		r.start, r.step = now, time.Second
	}
	i := int(max(now.Sub(r.start), 0) / r.step)
	for i >= maxSteps {
		half := (len(r.counts) + 1) / 2
		for j := range half {
			n := r.counts[2*j]
			if 2*j+1 < len(r.counts) {
				n += r.counts[2*j+1]
			}
			r.counts[j] = n
		}
		r.counts = r.counts[:half]
		r.step *= 2
		i /= 2
	}
	for len(r.counts) <= i {
		r.counts = append(r.counts, 0)
	}
	r.counts[i]++
}
