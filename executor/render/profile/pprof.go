package profile

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// When says of which time a profile is. The zero When says nothing.
type When struct {
	Start time.Time
	Took  time.Duration
}

// Pprof returns the profile in the format that `go tool pprof` reads, a gzipped
// protocol buffer (profile.proto of github.com/google/pprof). Functions have no
// addresses and no lines; the fields of the key are labels.
func (p *Profile) Pprof(w When) ([]byte, error) {
	e := encoder{strings: map[string]uint64{"": 0}, table: []string{""}, functions: map[Frame]uint64{}, mappings: map[string]uint64{}}
	var m message
	kind, unit := sampleType(p.unit)
	m.message(1, e.valueType(kind, unit))
	for _, s := range p.stacks {
		m.message(2, e.sample(s))
	}
	if p.skipped > 0 {
		m.message(2, e.sample(&stack{frames: []Frame{{Name: "[more stacks]"}}, count: p.skipped}))
	}
	m = append(m, e.out...)
	m.uint(14, e.string(kind)) // default_sample_type
	if !w.Start.IsZero() {
		m.uint(9, uint64(w.Start.UnixNano()))
	}
	m.uint(10, uint64(max(w.Took, 0)))
	for _, s := range e.table { // last: by now all of it is known
		m.bytes(6, []byte(s))
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(m); err != nil {
		return nil, fmt.Errorf("packing the profile: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("packing the profile: %w", err)
	}
	return b.Bytes(), nil
}

// sampleType is what pprof calls what was counted.
func sampleType(unit string) (kind, of string) {
	switch unit {
	case "ns":
		return "time", "nanoseconds"
	case "us":
		return "time", "microseconds"
	case "ms":
		return "time", "milliseconds"
	case "bytes":
		return "space", "bytes"
	}
	return "samples", "count"
}

// encoder collects what samples refer to by number.
type encoder struct {
	strings   map[string]uint64
	table     []string
	functions map[Frame]uint64 // and locations, of the same number
	mappings  map[string]uint64
	out       message // mappings, locations and functions
}

func (e *encoder) string(s string) uint64 {
	n, ok := e.strings[s]
	if !ok {
		n = uint64(len(e.table))
		e.strings[s] = n
		e.table = append(e.table, s)
	}
	return n
}

func (e *encoder) valueType(kind, unit string) message {
	var m message
	m.uint(1, e.string(kind))
	m.uint(2, e.string(unit))
	return m
}

func (e *encoder) sample(s *stack) message {
	var locations, value, m message
	for i := range s.frames { // innermost first
		locations = binary.AppendUvarint(locations, e.location(s.frames[len(s.frames)-1-i]))
	}
	m.bytes(1, locations)
	value = binary.AppendUvarint(value, min(s.count, math.MaxInt64))
	m.bytes(2, value)
	for _, f := range s.key {
		var label message
		label.uint(1, e.string(f.Name))
		switch v := f.Value.(type) {
		case string:
			label.uint(2, e.string(v))
		case json.Number:
			if n, err := v.Int64(); err == nil {
				label.uint(3, uint64(n))
			} else {
				label.uint(2, e.string(string(v)))
			}
		}
		m.message(3, label)
	}
	return m
}

// location is the number of a function's place.
func (e *encoder) location(f Frame) uint64 {
	if n, ok := e.functions[f]; ok {
		return n
	}
	n := uint64(len(e.functions) + 1)
	e.functions[f] = n
	module := f.Module
	if f.Kernel {
		module = "[kernel]"
	}
	var location, line, function message
	line.uint(1, n)
	location.uint(1, n)
	location.uint(2, e.mapping(module))
	location.message(4, line)
	e.out.message(4, location)
	function.uint(1, n)
	function.uint(2, e.string(f.Name))
	function.uint(3, e.string(f.Name))
	function.uint(4, e.string(f.Module))
	e.out.message(5, function)
	return n
}

// mapping is the number of a file.
func (e *encoder) mapping(file string) uint64 {
	if file == "" {
		return 0
	}
	n, ok := e.mappings[file]
	if !ok {
		n = uint64(len(e.mappings) + 1)
		e.mappings[file] = n
		var m message
		m.uint(1, n)
		m.uint(5, e.string(file))
		m.uint(7, 1) // it has its functions: nothing is to be looked for in the file
		e.out.message(3, m)
	}
	return n
}

// message is an encoded protocol buffer.
type message []byte

// uint appends a number; 0 is what a field has that is not there.
func (m *message) uint(field int, v uint64) {
	if v != 0 {
		*m = binary.AppendUvarint(binary.AppendUvarint(*m, uint64(field)<<3), v)
	}
}

func (m *message) message(field int, v message) { m.bytes(field, v) }

func (m *message) bytes(field int, v []byte) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|2)
	*m = append(binary.AppendUvarint(*m, uint64(len(v))), v...)
}
