package render

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"kgent/executor/output"
	"kgent/retrieval/kernel/abi"
)

// printer turns values into text. It keeps what makes that cheap, so it serves
// one goroutine at a time.
type printer struct {
	env     *Env
	stacks  StackResolver // nil: stacks are shown as their ids
	scratch []byte
	// The second of the last time printed, and its text up to the seconds.
	second     int64
	secondText []byte
}

// form is what a scalar's text is in JSON.
type form uint8

const (
	formNumber form = iota // a number, true or false
	formSafe               // a string that needs no escaping
	formText               // any string
)

// json appends the JSON of the value n of the struct that base holds.
func (p *printer) json(dst []byte, n *node, base []byte) []byte {
	switch n.shape {
	case shapeInt:
		if v := n.load(base); !n.signed {
			return strconv.AppendUint(dst, v, 10)
		} else {
			return strconv.AppendInt(dst, int64(v), 10)
		}
	case shapeBool, shapeBE:
		dst, _ = p.text(dst, n, base)
		return dst
	case shapeStruct:
		base = base[n.off:]
		dst = append(dst, '{')
		for i := range n.children {
			f := &n.children[i]
			dst = append(dst, f.prefix...)
			dst = p.json(dst, f, base)
		}
		return append(dst, '}')
	case shapeArray:
		dst = append(dst, '[')
		for i := range n.count {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = p.json(dst, &n.children[0], base[n.off+i*n.stride:])
		}
		return append(dst, ']')
	case shapeString:
		return output.AppendString(dst, p.env.Redact.Bytes(cstring(base[n.off:n.off+n.size])))
	case shapeStats:
		return statsOf(base[n.off:]).json(dst, n.unit)
	case shapeHist:
		dst = append(dst, '[')
		for i := range int(n.count) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, histSlot(base[n.off:], i), 10)
		}
		return append(dst, ']')
	case shapeKStack, shapeUStack:
		if p.stacks != nil {
			return appendFrames(dst, p.frames(n, base))
		}
	}
	mark := len(dst)
	dst = append(dst, '"')
	dst, f := p.text(dst, n, base)
	switch f {
	case formNumber:
		copy(dst[mark:], dst[mark+1:])
		return dst[:len(dst)-1]
	case formText:
		p.scratch = append(p.scratch[:0], dst[mark+1:]...)
		dst = output.AppendStringPart(dst[:mark+1], p.scratch)
	}
	return append(dst, '"')
}

// field returns the value n as [output.Fields] hold it.
func (p *printer) field(n *node, base []byte) any {
	switch n.shape {
	case shapeStruct:
		return p.fields(n, base)
	case shapeStats:
		return statsOf(base[n.off:]).fields(n.unit)
	case shapeArray:
		list := make([]any, n.count)
		for i := range n.count {
			list[i] = p.field(&n.children[0], base[n.off+i*n.stride:])
		}
		return list
	case shapeHist:
		list := make([]any, n.count)
		for i := range int(n.count) {
			list[i] = json.Number(strconv.FormatUint(histSlot(base[n.off:], i), 10))
		}
		return list
	case shapeBool:
		return n.load(base) != 0
	case shapeKStack, shapeUStack:
		if p.stacks != nil {
			frames := p.frames(n, base)
			list := make([]any, len(frames))
			for i, f := range frames {
				list[i] = f
			}
			return list
		}
	}
	text, f := p.text(p.scratch[:0], n, base)
	p.scratch = text
	if f == formNumber {
		return json.Number(string(text))
	}
	return validText(string(text))
}

// validText replaces invalid bytes as [output.AppendString] does, so that a
// record is the same before and after it has travelled.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// fields returns the fields of a struct.
func (p *printer) fields(n *node, base []byte) output.Fields {
	base = base[n.off:]
	out := make(output.Fields, 0, len(n.children))
	for i := range n.children {
		f := &n.children[i]
		out = append(out, output.Field{Name: f.field, Value: p.field(f, base)})
	}
	return out
}

// text appends a scalar, or the text of a string, without quotation marks or
// escapes.
func (p *printer) text(dst []byte, n *node, base []byte) ([]byte, form) {
	switch n.shape {
	case shapeInt:
		v := n.load(base)
		if n.signed {
			return strconv.AppendInt(dst, int64(v), 10), formNumber
		}
		return strconv.AppendUint(dst, v, 10), formNumber
	case shapeBE:
		return strconv.AppendUint(dst, bigEndian(base[n.off:n.off+n.size]), 10), formNumber
	case shapeBool:
		return strconv.AppendBool(dst, n.load(base) != 0), formNumber
	case shapeName:
		return p.named(dst, n, n.load(base))
	case shapeTime, shapeBoot:
		return p.time(dst, n.load(base), n.shape == shapeBoot)
	case shapeIP:
		return ip(dst, base[n.off:])
	case shapeIPv4:
		return netip.AddrFrom4([4]byte(base[n.off:])).AppendTo(dst), formSafe
	case shapeMAC:
		for i, b := range base[n.off : n.off+6] {
			if i > 0 {
				dst = append(dst, ':')
			}
			dst = hex.AppendEncode(dst, []byte{b})
		}
		return dst, formSafe
	case shapeString:
		return append(dst, p.env.Redact.Bytes(cstring(base[n.off:n.off+n.size]))...), formText
	case shapeDNSName:
		mark := len(dst)
		dst = dnsName(dst, cstring(base[n.off:n.off+n.size]))
		return append(dst[:mark], p.env.Redact.Bytes(dst[mark:])...), formText
	case shapeChar:
		if c := byte(n.load(base)); c != 0 {
			dst = append(dst, c)
		}
		return dst, formText
	case shapeBytes:
		return hex.AppendEncode(dst, base[n.off:n.off+n.size]), formSafe
	case shapeArgs:
		mark := len(dst)
		dst = args(dst, base[n.off:n.off+n.size])
		return append(dst[:mark], p.env.Redact.Bytes(dst[mark:])...), formText
	case shapeHex:
		return n.hex(dst, base), formSafe
	case shapeRet:
		if v := int64(n.load(base)); v < 0 && v >= -maxErrno {
			return append(dst, abi.ErrnoName(v)...), formSafe
		} else if !n.signed {
			return strconv.AppendUint(dst, uint64(v), 10), formNumber
		} else {
			return strconv.AppendInt(dst, v, 10), formNumber
		}
	case shapeExit:
		return exit(dst, n.load(base)), formSafe
	case shapeDev:
		v := n.load(base)
		dst = strconv.AppendUint(dst, v>>20, 10)
		dst = append(dst, ':')
		return strconv.AppendUint(dst, v&(1<<20-1), 10), formSafe
	case shapeMode:
		dst = append(dst, '0')
		v := n.load(base)
		for bit := uint64(0o100); bit > v && bit > 1; bit >>= 3 {
			dst = append(dst, '0')
		}
		return strconv.AppendUint(dst, v, 8), formSafe
	case shapeIfindex:
		v := n.load(base)
		if p.env.Interface != nil && v <= math.MaxUint32 {
			if name, ok := p.env.Interface(uint32(v)); ok && len(name) <= maxFrame {
				return append(dst, name...), formText
			}
		}
		return strconv.AppendUint(dst, v, 10), formSafe
	case shapeCgroup:
		v := n.load(base)
		if p.env.Cgroup != nil {
			if path, ok := p.env.Cgroup(v); ok && len(path) <= maxPath {
				return append(dst, path...), formText
			}
		}
		return strconv.AppendUint(dst, v, 10), formSafe
	case shapeAddr:
		v := n.load(base)
		if name := p.kernelSymbol(n, v); name != "" && len(name) <= maxFrame {
			return append(dst, name...), formText
		}
		return n.hex(dst, base), formSafe
	case shapeFloat:
		return n.float(dst, base)
	default: // stacks without a resolver
		return strconv.AppendInt(dst, int64(n.load(base)), 10), formNumber
	}
}

// maxErrno is the kernel's MAX_ERRNO.
const maxErrno = 4095

// load reads the number of n, extended to 64 bits by its sign.
func (n *node) load(base []byte) uint64 {
	b := base[n.off:]
	if n.bits > 0 {
		return n.loadBits(b)
	}
	switch n.size {
	case 8:
		return binary.NativeEndian.Uint64(b)
	case 4:
		v := binary.NativeEndian.Uint32(b)
		if n.signed {
			return uint64(int32(v))
		}
		return uint64(v)
	case 2:
		v := binary.NativeEndian.Uint16(b)
		if n.signed {
			return uint64(int16(v))
		}
		return uint64(v)
	case 1:
		if n.signed {
			return uint64(int8(b[0]))
		}
		return uint64(b[0])
	}
	return 0 // compile lets no other size pass
}

// loadBits reads a bit-field as little-endian machines lay it out, which both
// machines kgent runs on are.
func (n *node) loadBits(b []byte) uint64 {
	var low, high uint64
	for i := range min(n.size, 8) {
		low |= uint64(b[i]) << (8 * i)
	}
	if n.size > 8 {
		high = uint64(b[8]) << 1 << (63 - n.shift)
	}
	return extend(low>>n.shift|high, n.bits, n.signed)
}

func bigEndian(b []byte) uint64 {
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

// dnsName appends a name as DNS sends it, each label behind its length, with dots. What is no such
// name is shown as it is from there on; a label that is cut short ends in "…".
func dnsName(dst, b []byte) []byte {
	if len(b) == 0 {
		return append(dst, '.')
	}
	for first := true; len(b) > 0; first = false {
		n := int(b[0])
		if n > 63 {
			return append(dst, b...)
		}
		if !first {
			dst = append(dst, '.')
		}
		label := b[1:min(1+n, len(b))]
		for _, c := range label {
			if c == '.' || c == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, c)
		}
		if len(label) < n {
			return append(dst, "…"...)
		}
		b = b[1+n:]
	}
	return dst
}

// cstring returns the bytes up to the first NUL.
func cstring(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// maxNames bounds the memory of the names of one field: programs see few
// errors, but may see any combination of flags.
const maxNames = 512

func (p *printer) named(dst []byte, n *node, v uint64) ([]byte, form) {
	if n.enum != nil {
		if name, ok := n.enum[v]; ok {
			if n.quoted {
				return append(dst, name...), formText
			}
			return append(dst, name...), formSafe
		}
		if n.signed {
			return strconv.AppendInt(dst, int64(v), 10), formNumber
		}
		return strconv.AppendUint(dst, v, 10), formNumber
	}
	name, ok := n.cache[v]
	if !ok {
		name = n.name(int64(v))
		if len(n.cache) < maxNames {
			n.cache[v] = name
		}
	}
	return append(dst, name...), formSafe
}

// kernelSymbol returns the kernel's name of an address, or nothing.
func (p *printer) kernelSymbol(n *node, addr uint64) string {
	if p.env.KernelSymbol == nil || !isKernel(addr) {
		return ""
	}
	name, ok := n.cache[addr]
	if !ok {
		name, _ = p.env.KernelSymbol(addr)
		if len(n.cache) < maxNames {
			n.cache[addr] = name
		}
	}
	return name
}

// time appends a wall-clock time as RFC 3339 in UTC; nothing for 0, which no
// event happens at, and the number itself when it is no time.
func (p *printer) time(dst []byte, ns uint64, boot bool) ([]byte, form) {
	if ns == 0 {
		return dst, formSafe
	}
	wall, ok := p.env.wall(ns, boot)
	if !ok {
		return strconv.AppendUint(dst, ns, 10), formNumber
	}
	second, rest := wall/int64(time.Second), wall%int64(time.Second)
	if second != p.second || len(p.secondText) == 0 {
		p.second = second
		p.secondText = time.Unix(second, 0).UTC().AppendFormat(p.secondText[:0], "2006-01-02T15:04:05")
	}
	dst = append(dst, p.secondText...)
	if rest > 0 {
		digits := [10]byte{0: '.'}
		n := len(digits)
		for ; rest%10 == 0; rest /= 10 {
			n--
		}
		for i := n - 1; i > 0; i-- {
			digits[i] = byte('0' + rest%10)
			rest /= 10
		}
		dst = append(dst, digits[:n]...)
	}
	return append(dst, 'Z'), formSafe
}

func ip(dst, b []byte) ([]byte, form) {
	return netip.AddrFrom16([16]byte(b)).Unmap().AppendTo(dst), formSafe
}

func (n *node) hex(dst, base []byte) []byte {
	dst = append(dst, '0', 'x')
	if n.bits == 0 && n.size == 16 {
		b := base[n.off:]
		high := binary.NativeEndian.Uint64(b[8:])
		low := binary.NativeEndian.Uint64(b)
		if high == 0 {
			return strconv.AppendUint(dst, low, 16)
		}
		dst = strconv.AppendUint(dst, high, 16)
		for shift := 60; shift > 0 && low>>shift == 0; shift -= 4 {
			dst = append(dst, '0')
		}
		return strconv.AppendUint(dst, low, 16)
	}
	// A negative number shows the bits it has.
	bits := n.bits
	if bits == 0 {
		bits = uint8(8 * n.size)
	}
	return strconv.AppendUint(dst, extend(n.load(base), bits, false), 16)
}

func (n *node) float(dst, base []byte) ([]byte, form) {
	var v float64
	if n.size == 4 {
		v = float64(math.Float32frombits(binary.NativeEndian.Uint32(base[n.off:])))
	} else {
		v = math.Float64frombits(binary.NativeEndian.Uint64(base[n.off:]))
	}
	f := formNumber
	if math.IsNaN(v) || math.IsInf(v, 0) {
		f = formSafe
	}
	return strconv.AppendFloat(dst, v, 'g', -1, int(8*n.size)), f
}

// exit appends task->exit_code in words.
func exit(dst []byte, code uint64) []byte {
	if sig := code & 0x7f; sig != 0 {
		dst = append(dst, abi.SignalName(int64(sig))...)
		if code&0x80 != 0 {
			dst = append(dst, " (core dumped)"...)
		}
		return dst
	}
	dst = append(dst, "exit "...)
	return strconv.AppendUint(dst, code>>8&0xff, 10)
}

// args appends a k_args as a shell would read it: arguments apart by blanks,
// quoted where they have to be, with "…" at the end when some is missing.
func args(dst, b []byte) []byte {
	n := uint64(binary.NativeEndian.Uint32(b))
	s := b[4:]
	short := n > uint64(len(s))
	if !short {
		s = s[:n]
	}
	if len(s) > 0 && s[len(s)-1] == 0 {
		s = s[:len(s)-1]
	}
	for more := n > 0; more; {
		arg := cstring(s)
		dst = quoteArg(dst, arg)
		if more = len(arg) < len(s); more {
			dst = append(dst, ' ')
			s = s[len(arg)+1:]
		}
	}
	if short {
		dst = append(dst, " …"...)
	}
	return dst
}

func quoteArg(dst, arg []byte) []byte {
	safe := len(arg) > 0
	for _, c := range arg {
		safe = safe && bareArg[c]
	}
	if safe {
		return append(dst, arg...)
	}
	dst = append(dst, '\'')
	for _, c := range arg {
		if c == '\'' {
			dst = append(dst, `'\''`...)
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, '\'')
}

// bareArg tells the bytes that need no quotes in a shell.
var bareArg = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
	}
	for _, c := range "@%+=:,./-_" {
		t[c] = true
	}
	return t
}()
