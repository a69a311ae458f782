package program

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel/abi"
)

// maxParam is the size of the largest parameter that can be set, in bytes.
const maxParam = 4096

// EncodeValue turns what a person writes into the bytes of a parameter of BTF
// type t, in the machine's byte order unless the type says otherwise.
//
//	char[N]                 text, at most N-1 bytes
//	k_ip, k_ipv4            an address; "" or "any" is no address
//	k_errno                 ECONNREFUSED, or its number
//	k_signal                SIGKILL, KILL or its number
//	k_syscall               openat, or its number
//	k_ns, k_us, k_ms        a duration such as 10ms, or a plain number of the unit
//	k_bytes                 4096, 4k, 1M
//	k_bool, bool            true, false, yes, no, 1, 0
//	any enum                an enumerator, or its number
//	k_mode                  0644 is octal
//	any integer             a number, decimal or 0x…
//
// Values that do not fit the type are errors.
func EncodeValue(t btf.Type, text string) ([]byte, error) {
	name, bare := strip(t)
	size, err := btf.Sizeof(t)
	if err != nil {
		return nil, fmt.Errorf("reading the size of %s: %w", t, err)
	}
	if size > maxParam {
		return nil, fmt.Errorf("%d bytes is too large for a parameter", size)
	}
	if a, ok := bare.(*btf.Array); ok && name != "k_dnsname" {
		if _, elem := strip(a.Type); isChar(elem) {
			if len(text) >= int(a.Nelems) {
				return nil, fmt.Errorf("%q has %d bytes, at most %d fit", text, len(text), a.Nelems-1)
			}
			if strings.IndexByte(text, 0) >= 0 {
				return nil, fmt.Errorf("%q contains a NUL byte", text)
			}
			b := make([]byte, size)
			copy(b, text)
			return b, nil
		}
	}
	// The names promise a layout; an object may break the promise.
	if want := map[string]int{"k_ip": 16, "k_ipv4": 4, "k_be16": 2}[name]; want != 0 && want != size {
		return nil, fmt.Errorf("a %s has %d bytes, not %d", name, want, size)
	}
	switch name {
	case "k_ip", "k_ipv4":
		return encodeAddr(name, text)
	case "k_be16":
		n, ok := plain(name, text)
		if !ok || n.neg || n.abs > math.MaxUint16 {
			return nil, fmt.Errorf("%q is no 16-bit number", text)
		}
		return binary.BigEndian.AppendUint16(nil, uint16(n.abs)), nil
	}
	n, err := number(name, bare, text)
	if err != nil {
		return nil, err
	}
	signed, ok := isSigned(bare)
	if !ok {
		return nil, fmt.Errorf("parameters of type %s cannot be set; use an integer, an enum, char[N] or a k_ type", t)
	}
	return pack(n, int(size), signed, text)
}

// strip removes qualifiers and typedefs; name is the outermost typedef's, or
// the plain type's own.
func strip(t btf.Type) (name string, bare btf.Type) {
	for range maxNesting {
		switch q := t.(type) {
		case *btf.Const:
			t = q.Type
		case *btf.Volatile:
			t = q.Type
		case *btf.Restrict:
			t = q.Type
		case *btf.TypeTag:
			t = q.Type
		case *btf.Typedef:
			if name == "" || !strings.HasPrefix(name, "k_") {
				name = q.Name
			}
			t = q.Type
		default:
			if name == "" {
				name = t.TypeName()
			}
			return name, t
		}
	}
	return name, (*btf.Void)(nil)
}

func isChar(t btf.Type) bool {
	i, ok := t.(*btf.Int)
	return ok && i.Size == 1 && (i.Name == "char" || i.Encoding == btf.Char)
}

func isSigned(t btf.Type) (signed, ok bool) {
	switch t := t.(type) {
	case *btf.Int:
		return t.Encoding == btf.Signed, t.Size <= 8
	case *btf.Enum:
		return t.Signed, true
	}
	return false, false
}

func encodeAddr(name, text string) ([]byte, error) {
	if name == "k_ipv4" {
		if text == "" || text == "any" {
			return make([]byte, 4), nil
		}
		a, err := netip.ParseAddr(text)
		if err != nil || !a.Unmap().Is4() || a.Zone() != "" {
			return nil, fmt.Errorf("%q is no IPv4 address", text)
		}
		b := a.Unmap().As4()
		return b[:], nil
	}
	if text == "" || text == "any" {
		return make([]byte, 16), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return nil, fmt.Errorf("%q is no IPv4 or IPv6 address", text)
	}
	b := a.As16()
	return b[:], nil
}

// integer is a sign and a magnitude: wide enough for every 64-bit type.
type integer struct {
	neg bool
	abs uint64
}

func number(name string, bare btf.Type, text string) (integer, error) {
	isBool := name == "k_bool" || name == "bool" || name == "_Bool"
	if n, ok := plain(name, text); ok && (!isBool || !n.neg && n.abs <= 1) {
		return n, nil
	}
	if isBool {
		switch strings.ToLower(text) {
		case "true", "yes":
			return integer{abs: 1}, nil
		case "false", "no":
			return integer{}, nil
		}
		return integer{}, fmt.Errorf("%q is neither true nor false", text)
	}
	named := func(n int, ok bool, what string) (integer, error) {
		if !ok {
			return integer{}, fmt.Errorf("%q is no %s", text, what)
		}
		return integer{abs: uint64(n)}, nil
	}
	switch name {
	case "k_errno", "k_ret":
		n, ok := abi.Errno(text)
		return named(n, ok, "error number: write a name such as ECONNREFUSED")
	case "k_signal":
		n, ok := abi.Signal(text)
		return named(n, ok, "signal: write a name such as SIGTERM")
	case "k_syscall":
		n, ok := abi.Syscall(text)
		return named(n, ok, "system call of this machine")
	case "k_cap":
		n, ok := abi.Capability(text)
		return named(n, ok, "capability: write a name such as CAP_NET_ADMIN")
	case "k_ns":
		return duration(text, time.Nanosecond)
	case "k_us":
		return duration(text, time.Microsecond)
	case "k_ms":
		return duration(text, time.Millisecond)
	case "k_bytes":
		return size(text)
	}
	if e, ok := bare.(*btf.Enum); ok {
		for _, v := range e.Values {
			if v.Name == text {
				if e.Signed && int64(v.Value) < 0 {
					return integer{neg: true, abs: -v.Value}, nil
				}
				return integer{abs: v.Value}, nil
			}
		}
		return integer{}, fmt.Errorf("%q is no value of enum %s", text, e.Name)
	}
	return integer{}, fmt.Errorf("%q is no number", text)
}

// plain reads a number. A leading zero means octal for modes only: a port
// written 0443 is 443.
func plain(name, text string) (integer, bool) {
	digits, neg := strings.CutPrefix(text, "-")
	base := 10
	switch {
	case strings.HasPrefix(digits, "0x"), strings.HasPrefix(digits, "0X"):
		digits, base = digits[2:], 16
	case name == "k_mode" && strings.HasPrefix(digits, "0"):
		base = 8
	}
	n, err := strconv.ParseUint(digits, base, 64)
	return integer{neg: neg, abs: n}, err == nil
}

func duration(text string, unit time.Duration) (integer, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return integer{}, fmt.Errorf("%q is no duration: write 10ms, 250us or 1.5s", text)
	}
	if d%unit != 0 {
		return integer{}, fmt.Errorf("%q is finer than the unit of the parameter, %v", text, unit)
	}
	return integer{abs: uint64(d / unit)}, nil
}

// size reads a number of bytes with a binary suffix.
func size(text string) (integer, error) {
	err := fmt.Errorf("%q is no size: write 4096, 4k or 1M", text)
	s := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(text), "ib"), "b")
	shift := 0
	for suffix, by := range map[string]int{"k": 10, "m": 20, "g": 30, "t": 40} {
		if strings.HasSuffix(s, suffix) {
			s, shift = strings.TrimSuffix(s, suffix), by
			break
		}
	}
	n, perr := strconv.ParseUint(s, 10, 64)
	if perr != nil || bits.LeadingZeros64(n) < shift {
		return integer{}, err
	}
	return integer{abs: n << shift}, nil
}

func pack(n integer, size int, signed bool, text string) ([]byte, error) {
	limit := uint64(math.MaxUint64)
	if size < 8 {
		limit = 1<<(8*size) - 1
	}
	if signed {
		limit >>= 1
	}
	switch {
	case n.neg && n.abs != 0 && !signed:
		// -1 is the usual "any" of unsigned ids; nothing else below zero is meant.
		if n.abs != 1 {
			return nil, fmt.Errorf("%q is negative, the parameter is not", text)
		}
	case n.neg && n.abs > limit+1, !n.neg && n.abs > limit:
		return nil, fmt.Errorf("%q does not fit %d bytes", text, size)
	}
	v := n.abs
	if n.neg {
		v = -v
	}
	var b [8]byte
	switch size {
	case 1:
		b[0] = byte(v)
	case 2:
		binary.NativeEndian.PutUint16(b[:], uint16(v))
	case 4:
		binary.NativeEndian.PutUint32(b[:], uint32(v))
	case 8:
		binary.NativeEndian.PutUint64(b[:], v)
	default:
		return nil, errors.New("parameters have 1, 2, 4 or 8 bytes")
	}
	return b[:size], nil
}
