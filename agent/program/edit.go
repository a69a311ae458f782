package program

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
)

// maxMeans and maxValue bound the words about a parameter and the text of its
// value, in bytes.
const (
	maxMeans = 300
	maxValue = 256
)

// Setting is a parameter as people see and change it.
type Setting struct {
	Name string
	// Value is what holds now, in a form that [EncodeValue] reads; empty for
	// text and addresses that are not set.
	Value string
	// Kind says in words what a value may be: "a port from 0 to 65535".
	Kind string
	// Means is what the parameter does, in the words of the program's author;
	// may be empty.
	Means string
}

// Editable lists the parameters of a program with what its manifest sets them
// to. Both are as they are stored.
func Editable(elf, manifest []byte) ([]Setting, error) {
	o, m, err := Open(elf, manifest)
	if err != nil {
		return nil, err
	}
	var out []Setting
	for _, p := range o.Params() {
		kind, ok := kindOf(p)
		if !ok {
			continue
		}
		s := Setting{Name: p.Name, Kind: kind, Means: m.Means[p.Name]}
		if i := slices.IndexFunc(m.Constants, func(c Constant) bool { return c.Name == p.Name }); i >= 0 {
			s.Value = m.Constants[i].Value
		} else {
			s.Value = formatValue(p.Type, p.Default)
		}
		out = append(out, s)
	}
	return out, nil
}

// WithConstants returns the manifest with some parameters set to other values,
// each as a person writes it. An empty value is the program's own default. All
// that is wrong with the values is in the error, a line each, in words for who
// wrote them.
//
// The object stays as it is. What a kernel's verifier said of it does not hold
// for other values: it has to be asked again.
func WithConstants(elf, manifest []byte, values map[string]string) ([]byte, error) {
	o, m, err := Open(elf, manifest)
	if err != nil {
		return nil, err
	}
	if err := m.set(o, values); err != nil {
		return nil, err
	}
	return m.Encode()
}

// With returns a copy of the manifest with other values, see [WithConstants].
func (m *Manifest) With(o *Object, values map[string]string) (*Manifest, error) {
	next := *m
	next.Constants = slices.Clone(m.Constants)
	if err := next.set(o, values); err != nil {
		return nil, err
	}
	return &next, nil
}

func (m *Manifest) set(o *Object, values map[string]string) error {
	params := o.Params()
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := strings.TrimSpace(values[name])
		i := slices.IndexFunc(params, func(p Param) bool { return p.Name == name })
		if i < 0 {
			names := make([]string, len(params))
			for i, p := range params {
				names[i] = p.Name
			}
			wrong = append(wrong, fmt.Errorf("%.64q is not a parameter of this program; it has: %s", name, orNone(names)))
			continue
		}
		if err := checkValue(params[i], value); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
			continue
		}
		m.Constants = slices.DeleteFunc(m.Constants, func(c Constant) bool { return c.Name == name })
		if value != "" {
			m.Constants = append(m.Constants, Constant{Name: name, Value: value})
		}
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	slices.SortFunc(m.Constants, func(a, b Constant) int { return strings.Compare(a.Name, b.Name) })
	return m.Check(o)
}

// checkValue says what is wrong with a person's value for a parameter.
func checkValue(p Param, value string) error {
	kind, ok := kindOf(p)
	switch {
	case !ok:
		return fmt.Errorf("it cannot be set: its type %s has no form that people write", p.Type)
	case value == "":
		return nil
	case len(value) > maxValue:
		return fmt.Errorf("%d bytes are too long; want %s", len(value), kind)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Errorf("%q is not one line of text; want %s", value, kind)
	}
	b, err := EncodeValue(p.Type, value)
	if err != nil {
		return fmt.Errorf("%w; want %s", err, kind)
	}
	// -1 stands for "any" where the program says so, and is otherwise the
	// largest number, which nobody means.
	if _, bare := strip(p.Type); strings.HasPrefix(value, "-") && isUnsigned(bare) && !bytes.Equal(b, p.Default) {
		return fmt.Errorf("%q is negative; want %s", value, kind)
	}
	return nil
}

// Number is the number that a parameter is set to by a person's value, extended to 64 bits
// as its sign asks for; not ok if it is none.
func Number(p Param, value string) (bits uint64, signed, ok bool) {
	_, bare := strip(p.Type)
	if signed, ok = isSigned(bare); !ok {
		return 0, false, false
	}
	b, err := EncodeValue(p.Type, value)
	if err != nil || len(b) == 0 || len(b) > 8 {
		return 0, false, false
	}
	for i, c := range b {
		bits |= uint64(c) << (8 * i)
	}
	if shift := 64 - 8*len(b); signed {
		bits = uint64(int64(bits<<shift) >> shift)
	}
	return bits, signed, true
}

func isUnsigned(t btf.Type) bool {
	signed, ok := isSigned(t)
	return ok && !signed
}

// kinds are the values of the header's types, in words.
var kinds = map[string]string{
	"k_pid": "a process id", "k_tid": "a thread id", "k_uid": "a user id, -1 for any", "k_gid": "a group id, -1 for any",
	"k_port": "a port from 0 to 65535", "k_ip": "an IPv4 or IPv6 address", "k_ipv4": "an IPv4 address",
	"k_errno": "an error such as ECONNREFUSED", "k_signal": "a signal such as SIGTERM", "k_syscall": "a system call such as openat",
	"k_cap": "a capability such as CAP_NET_ADMIN", "k_ns": "a duration such as 10ms", "k_us": "a duration such as 10ms", "k_ms": "a duration such as 10ms",
	"k_bytes": "a size such as 4096, 4k or 1M", "k_bool": "yes or no", "bool": "yes or no", "_Bool": "yes or no", "k_mode": "a file mode such as 0644",
}

// kindOf says in words what values a parameter takes; false when it takes none.
func kindOf(p Param) (string, bool) {
	if len(p.Default) > maxParam {
		return "", false
	}
	name, bare := strip(p.Type)
	if words, ok := kinds[name]; ok {
		return words, true
	}
	switch t := bare.(type) {
	case *btf.Array:
		if _, elem := strip(t.Type); isChar(elem) && t.Nelems > 1 && name != "k_dnsname" { // see EncodeValue
			return fmt.Sprintf("text of at most %d bytes", t.Nelems-1), true
		}
	case *btf.Enum:
		names := make([]string, 0, len(t.Values))
		for _, v := range t.Values {
			names = append(names, v.Name)
		}
		if len(names) > 8 {
			names = append(names[:8], "…")
		}
		return "one of " + strings.Join(names, ", "), true
	case *btf.Int:
		switch {
		case t.Size != 1 && t.Size != 2 && t.Size != 4 && t.Size != 8:
			return "", false
		case t.Encoding == btf.Signed:
			most := int64(1)<<(8*t.Size-1) - 1
			return fmt.Sprintf("a number from %d to %d", -most-1, most), true
		}
		return fmt.Sprintf("a number from 0 to %d", ^uint64(0)>>(64-8*t.Size)), true
	}
	return "", false
}

// formatValue writes the bytes of a parameter so that [EncodeValue] reads the
// same from it.
func formatValue(t btf.Type, b []byte) string {
	name, bare := strip(t)
	if a, ok := bare.(*btf.Array); ok {
		if _, elem := strip(a.Type); isChar(elem) {
			text, _, _ := bytes.Cut(b, []byte{0})
			return string(text)
		}
	}
	if name == "k_ip" || name == "k_ipv4" {
		a, ok := netip.AddrFromSlice(b)
		if !ok || a.IsUnspecified() {
			return ""
		}
		return a.Unmap().String()
	}
	signed, _ := isSigned(bare)
	var n uint64
	switch len(b) {
	case 1:
		n = uint64(b[0])
	case 2:
		n = uint64(binary.NativeEndian.Uint16(b))
		if name == "k_be16" {
			n = uint64(binary.BigEndian.Uint16(b))
		}
	case 4:
		n = uint64(binary.NativeEndian.Uint32(b))
	case 8:
		n = binary.NativeEndian.Uint64(b)
	default:
		return ""
	}
	shift := 64 - 8*len(b)
	if signed || n != 0 && n == ^uint64(0)>>shift && len(b) > 1 && name != "k_be16" {
		// All ones is how programs write "any" of an unsigned id: -1.
		return strconv.FormatInt(int64(n<<shift)>>shift, 10)
	}
	switch name {
	case "k_ns", "k_us", "k_ms":
		unit := map[string]time.Duration{"k_ns": time.Nanosecond, "k_us": time.Microsecond, "k_ms": time.Millisecond}[name]
		if n <= uint64(math.MaxInt64/unit) {
			return (time.Duration(n) * unit).String()
		}
	case "k_mode":
		return "0" + strconv.FormatUint(n, 8)
	}
	return strconv.FormatUint(n, 10)
}

// checkMeans holds the words about parameters against the object.
func (m *Manifest) checkMeans(o *Object) error {
	params := o.Params()
	for _, name := range slices.Sorted(maps.Keys(m.Means)) {
		if !slices.ContainsFunc(params, func(p Param) bool { return p.Name == name }) {
			return fmt.Errorf("manifest: it explains %.64q, which is not a parameter", name)
		}
		if words := m.Means[name]; len(words) > maxMeans || !utf8.ValidString(words) || strings.ContainsFunc(words, unicode.IsControl) {
			return fmt.Errorf("manifest: what parameter %s means is not one line of at most %d bytes", name, maxMeans)
		}
	}
	return nil
}
