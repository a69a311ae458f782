package eval

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"kgent/executor/output"
	"kgent/retrieval/kernel/abi"
)

// Value is a value that a record must hold, in any field.
type Value struct {
	// Text is a plain value: a number, an address, a name. The other fields are
	// empty then.
	Text string
	// Min and Max bound a number. Each may be empty.
	Min, Max string
	// Time bounds a duration, whatever unit the field is in.
	Time *Span
	// OneOf holds alternatives.
	OneOf []Value
	// Prefix, Suffix and Match (a regular expression) are of text.
	Prefix, Suffix, Match string
}

// Span is a range of time. Its ends are durations (30ms), nanoseconds, or facts;
// an empty one is open.
type Span struct {
	Min string `yaml:"min"`
	Max string `yaml:"max"`
}

// UnmarshalYAML reads a scalar, or one of the forms.
func (v *Value) UnmarshalYAML(b []byte) error {
	var read any
	if err := yaml.Unmarshal(b, &read); err != nil {
		return err
	}
	switch x := read.(type) {
	case string:
		v.Text = x
		return nil
	case map[string]any:
		var form struct {
			Min    any     `yaml:"min"`
			Max    any     `yaml:"max"`
			Time   *Span   `yaml:"time"`
			OneOf  []Value `yaml:"one_of"`
			Prefix string  `yaml:"prefix"`
			Suffix string  `yaml:"suffix"`
			Match  string  `yaml:"match"`
		}
		if err := yaml.UnmarshalWithOptions(b, &form, yaml.Strict()); err != nil {
			return err
		}
		*v = Value{Time: form.Time, OneOf: form.OneOf, Prefix: form.Prefix, Suffix: form.Suffix, Match: form.Match}
		if form.Min != nil {
			v.Min = fmt.Sprint(form.Min)
		}
		if form.Max != nil {
			v.Max = fmt.Sprint(form.Max)
		}
		return nil
	case nil:
		return fmt.Errorf("a value is missing")
	case []any:
		return fmt.Errorf("a list is no value: write {one_of: […]}")
	default:
		v.Text = fmt.Sprint(x)
		return nil
	}
}

// check says what is wrong with a value.
func (v Value) check() error {
	forms := 0
	for _, has := range []bool{v.Text != "", v.Min != "" || v.Max != "", v.Time != nil, len(v.OneOf) > 0, v.Prefix != "", v.Suffix != "", v.Match != ""} {
		if has {
			forms++
		}
	}
	if forms != 1 {
		return fmt.Errorf("value %s: want one of a plain value, {min, max}, {time: {min, max}}, {one_of}, {prefix}, {suffix}, {match}", v)
	}
	if _, err := regexp.Compile(v.Match); err != nil {
		return fmt.Errorf("value %s: %w", v, err)
	}
	for _, o := range v.OneOf {
		if err := o.check(); err != nil {
			return err
		}
	}
	return nil
}

// String writes it as a case does.
func (v Value) String() string {
	switch {
	case v.Text != "":
		return v.Text
	case v.Min != "" || v.Max != "":
		return fmt.Sprintf("{%s to %s}", v.Min, v.Max)
	case v.Time != nil:
		return fmt.Sprintf("{time %s to %s}", v.Time.Min, v.Time.Max)
	case len(v.OneOf) > 0:
		return "{one of " + strings.Join(texts(v.OneOf), ", ") + "}"
	case v.Prefix != "":
		return fmt.Sprintf("{prefix %q}", v.Prefix)
	case v.Suffix != "":
		return fmt.Sprintf("{suffix %q}", v.Suffix)
	case v.Match != "":
		return fmt.Sprintf("{match %q}", v.Match)
	}
	return "{}"
}

func texts(values []Value) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.String()
	}
	return out
}

// Cell is one field of a record: a value, and what its column means.
type Cell struct {
	Name string
	// Kind is the column's: "k_ns", "string", "int"; empty when nothing is known.
	Kind string
	Text string
	// Number is the value when IsNumber.
	Number   float64
	IsNumber bool
}

// cellOf reads a field's value.
func cellOf(name, kind string, value any) Cell {
	c := Cell{Name: name, Kind: kind}
	switch v := value.(type) {
	case json.Number:
		c.Text = v.String()
	case nil:
	default:
		c.Text = strings.TrimRight(fmt.Sprint(v), "\x00")
	}
	if f, err := strconv.ParseFloat(c.Text, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
		c.Number, c.IsNumber = f, true
	} else if strings.HasPrefix(c.Text, "0x") {
		if n, err := strconv.ParseUint(c.Text[2:], 16, 64); err == nil {
			c.Number, c.IsNumber = float64(n), true
		}
	}
	return c
}

// Facts are what workloads said, by name, and what is known of them.
type Facts map[string]string

var factName = regexp.MustCompile(`\$[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?`)

// Fill puts facts in the place of their names. An unknown one is an error.
func (f Facts) Fill(text string) (string, error) {
	var missing error
	out := factName.ReplaceAllStringFunc(text, func(name string) string {
		v, ok := f[name[1:]]
		if !ok {
			missing = fmt.Errorf("no workload has said %s", name)
		}
		return v
	})
	return out, missing
}

// fill returns the value with its facts.
func (v Value) fill(f Facts) (Value, error) {
	var err error
	put := func(s string) string {
		out, e := f.Fill(s)
		if e != nil {
			err = e
		}
		return out
	}
	out := Value{Text: put(v.Text), Min: put(v.Min), Max: put(v.Max), Prefix: put(v.Prefix), Suffix: put(v.Suffix), Match: v.Match}
	if v.Time != nil {
		out.Time = &Span{put(v.Time.Min), put(v.Time.Max)}
	}
	for _, o := range v.OneOf {
		o, e := o.fill(f)
		if e != nil {
			err = e
		}
		out.OneOf = append(out.OneOf, o)
	}
	return out, err
}

// in reports whether a field shows the value. Facts are filled in.
func (v Value) in(c Cell) bool {
	switch {
	case v.Text != "":
		return same(v.Text, c)
	case v.Min != "" || v.Max != "":
		return c.IsNumber && within(c.Number, v.Min, v.Max)
	case v.Time != nil:
		return c.IsNumber && v.Time.holds(c)
	case len(v.OneOf) > 0:
		for _, o := range v.OneOf {
			if o.in(c) {
				return true
			}
		}
		return false
	case v.Prefix != "":
		return strings.HasPrefix(c.Text, v.Prefix)
	case v.Suffix != "":
		return strings.HasSuffix(c.Text, v.Suffix)
	case v.Match != "":
		ok, err := regexp.MatchString(v.Match, c.Text)
		return ok && err == nil
	}
	return false
}

// same compares a wanted plain value with a field, however the program renders
// it: 443 and "443", 0x1bb, addresses in any notation, errors, signals, states
// and system calls by name or number.
func same(want string, c Cell) bool {
	if want == c.Text {
		return true
	}
	if n, err := strconv.ParseFloat(want, 64); err == nil && c.IsNumber {
		return n == c.Number
	}
	if strings.EqualFold(want, c.Text) && strings.ContainsAny(want, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		return true // econnrefused, sigterm
	}
	if a, err := netip.ParseAddr(want); err == nil {
		return sameAddr(a, c.Text)
	}
	return named(want, c)
}

// sameAddr compares addresses; an IPv4 one may be written as IPv6, and a raw
// one may be in hexadecimal bytes.
func sameAddr(want netip.Addr, got string) bool {
	if a, err := netip.ParseAddr(got); err == nil {
		return a.Unmap() == want.Unmap()
	}
	if p, err := netip.ParseAddrPort(got); err == nil {
		return p.Addr().Unmap() == want.Unmap()
	}
	return false
}

// named compares a wanted name of Linux with a field that may show its number:
// an error (of either sign), a signal, a capability, a TCP state, a family, a
// protocol; sys:NAME is a system call, exit:N the end of a process.
func named(want string, c Cell) bool {
	if call, ok := strings.CutPrefix(want, "sys:"); ok {
		nr, known := abi.Syscall(call)
		return c.Text == call || known && c.IsNumber && c.Number == float64(nr)
	}
	if code, ok := strings.CutPrefix(want, "exit:"); ok {
		n, err := strconv.Atoi(code)
		return err == nil && (c.Text == "exit "+code || c.IsNumber && (c.Number == float64(n) || c.Number == float64(n<<8)))
	}
	for _, prefix := range []string{"TCP_", "IPPROTO_", "CAP_", "SIG"} {
		if short, ok := strings.CutPrefix(want, prefix); ok && strings.EqualFold(c.Text, short) {
			return true
		}
	}
	if !c.IsNumber {
		return false
	}
	n := c.Number
	if strings.HasPrefix(want, "E") {
		e, ok := abi.Errno(want)
		return ok && (n == float64(e) || n == float64(-e))
	}
	if strings.HasPrefix(want, "SIG") {
		s, ok := abi.Signal(want)
		return ok && n == float64(s)
	}
	if strings.HasPrefix(want, "CAP_") {
		k, ok := abi.Capability(want)
		return ok && n == float64(k)
	}
	m, ok := numberOf(want)
	return ok && n == float64(m)
}

// within reports whether a number lies in a range; an end that is no number
// holds nothing.
func within(n float64, low, high string) bool {
	if low != "" {
		l, err := strconv.ParseFloat(low, 64)
		if err != nil || n < l {
			return false
		}
	}
	if high != "" {
		h, err := strconv.ParseFloat(high, 64)
		if err != nil || n > h {
			return false
		}
	}
	return true
}

// nanos reads an end of a span.
func nanos(text string) (float64, error) {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return n, nil
	}
	d, err := time.ParseDuration(text)
	return float64(d), err
}

// units are what a column says of its unit, in nanoseconds.
func unitOf(kind string) (float64, bool) {
	switch kind {
	case "k_ns":
		return 1, true
	case "k_us":
		return 1e3, true
	case "k_ms":
		return 1e6, true
	}
	return 0, false
}

// holds reports whether a field is a duration in the span. The unit is the one
// that the column declares; without one ns, µs, ms and s are all right, by a
// name that ends in a unit that one alone.
func (s Span) holds(c Cell) bool {
	low, high := 0.0, math.Inf(1)
	var err error
	if s.Min != "" {
		if low, err = nanos(s.Min); err != nil {
			return false
		}
	}
	if s.Max != "" {
		if high, err = nanos(s.Max); err != nil {
			return false
		}
	}
	// A coarser unit is rounded down.
	fits := func(unit float64) bool {
		return c.Number*unit <= high && (c.Number+1)*unit > low && (unit > 1 || c.Number >= low)
	}
	if u, ok := unitOf(c.Kind); ok {
		return fits(u)
	}
	if strings.HasPrefix(c.Kind, "k_") {
		return false // a process, a port, a size
	}
	for suffix, u := range map[string]float64{"_ns": 1, "_us": 1e3, "_ms": 1e6, "_s": 1e9, "_sec": 1e9, "_seconds": 1e9} {
		if strings.HasSuffix(c.Name, suffix) {
			return fits(u)
		}
	}
	for _, u := range []float64{1, 1e3, 1e6} {
		if fits(u) {
			return true
		}
	}
	return false
}

// numberOf is the number of a name that package abi knows in the other
// direction only.
func numberOf(name string) (int64, bool) {
	for n := int64(1); n < 256; n++ {
		if "TCP_"+abi.TCPStateName(n) == name || abi.FamilyName(n) == name || "IPPROTO_"+abi.IPProtoName(n) == name {
			return n, true
		}
	}
	return 0, false
}

// cellsOf flattens fields; kinds are by column name.
func cellsOf(dst []Cell, prefix string, f output.Fields, kinds map[string]string) []Cell {
	for _, x := range f {
		dst = appendCells(dst, prefix+x.Name, x.Value, kinds)
	}
	return dst
}

func appendCells(dst []Cell, name string, value any, kinds map[string]string) []Cell {
	switch v := value.(type) {
	case output.Fields:
		return cellsOf(dst, name+".", v, kinds)
	case []any:
		for _, e := range v {
			dst = appendCells(dst, name, e, kinds)
		}
		return dst
	}
	return append(dst, cellOf(name, kinds[name], value))
}
