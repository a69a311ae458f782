package render

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/retrieval/kernel/abi"
)

// shape says how the bytes of a value become text.
type shape uint8

const (
	shapeInt     shape = iota // a number
	shapeBE                   // a number in network byte order
	shapeHex                  // an integer or pointer, hexadecimal
	shapeBool                 // true or false
	shapeChar                 // one character
	shapeFloat                //
	shapeName                 // a number with a name, see node.name
	shapeTime                 // CLOCK_MONOTONIC
	shapeBoot                 // CLOCK_BOOTTIME
	shapeRet                  // a number, or the name of an error
	shapeExit                 // task->exit_code
	shapeDev                  // dev_t
	shapeMode                 // octal
	shapeIP                   // 16 bytes
	shapeIPv4                 // 4 bytes
	shapeMAC                  // 6 bytes
	shapeIfindex              // by Env.Interface
	shapeCgroup               // by Env.Cgroup
	shapeAddr                 // by Env.KernelSymbol
	shapeKStack               // by a StackResolver
	shapeUStack               // by a StackResolver
	// Here begin the shapes of more than one scalar.
	shapeString  // char[]
	shapeDNSName // k_dnsname
	shapeBytes   // __u8[]
	shapeArgs    // k_args
	shapeHist    // struct k_hist, or K_LINEAR
	shapeStats   // struct k_stats
	shapeStruct  // named fields
	shapeArray
)

// merging says how two values of the same thing, seen by two CPUs, are one.
type merging uint8

const (
	mergeFirst merging = iota // the first that is not zero
	mergeSum
	mergeMax
	mergeOr
)

// node is one value in a record: a field, an element of an array, or the
// whole. Nodes are compiled from BTF once and then only read, apart from the
// memory of names.
type node struct {
	field  string // its name; empty for elements and the whole
	prefix []byte // what comes before the value in JSON: `,"name":`
	off    uint32 // of the first byte, from the enclosing struct or element
	size   uint32 // in bytes
	shape  shape
	merge  merging
	kind   string // for people: a k_ typedef, or string, enum, int, bool, bytes, list

	signed   bool               // of numbers
	shift    uint8              // bit-fields: distance of the lowest bit from off*8
	bits     uint8              // bit-fields: how many; 0 for everything else
	unit     string             // shapeHist, shapeStats: ns, us, bytes or count
	name     func(int64) string // shapeName: of a number
	cache    map[uint64]string  // what name, or the kernel's symbols, said
	enum     map[uint64]string  // shapeName: instead of name; others stay numbers
	quoted   bool               // shapeName: names may hold anything
	pid      uint32             // shapeUStack: where the k_pid is, from the start of the enclosing struct
	children []node             // shapeStruct: the fields; shapeArray: the element
	count    uint32             // shapeArray: how many elements; shapeHist: slots
	step     uint64             // shapeHist: the width of a slot of a linear one, else 0
	stride   uint32             // shapeArray: from one to the next, in bytes
}

// Bounds of what is rendered. A program's events are far below.
const (
	maxSize    = 64 << 10 // of a C type, in bytes
	maxNodes   = 4096     // in one type
	maxNesting = 8
	// maxLine is the longest JSON that a value may become, well below
	// [output.MaxLine].
	maxLine = 1 << 20

	maxPath   = 4096 // of a cgroup, in bytes
	maxFrame  = 256  // of a symbol, in bytes
	maxFrames = 127  // of a stack; the kernel's default bound
)

// compiler turns one BTF type into nodes.
type compiler struct {
	nodes int
}

// compile describes a value of type t.
func compile(t btf.Type) (*node, error) {
	c := compiler{}
	n, err := c.node("", t, 0)
	if err != nil {
		return nil, err
	}
	if err := n.checkStacks(); err != nil {
		return nil, err
	}
	if l := n.length(); l > maxLine {
		return nil, fmt.Errorf("%s may take %d bytes as JSON, more than the %d allowed", t, l, maxLine)
	}
	return n, nil
}

// bare removes typedefs and qualifiers. kind is the outermost typedef that
// kgent knows; big says that a typedef on the way means network byte order.
func bare(t btf.Type) (kind string, big bool, _ btf.Type, _ error) {
	for range 32 {
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
			switch {
			case kind == "" && known(q.Name):
				kind = q.Name
			case q.Name == "__be16" || q.Name == "__be32" || q.Name == "__be64":
				big = true
			}
			t = q.Type
		case *btf.Struct:
			// The struct's own tag means what its typedef would.
			switch {
			case kind == "" && known(q.Name):
				kind = q.Name
			case kind == "" && q.Name == "in6_addr":
				kind = "k_ip"
			}
			return kind, big, t, nil
		default:
			return kind, big, t, nil
		}
	}
	return "", false, nil, fmt.Errorf("type %T has too many typedefs", t)
}

// node compiles a value without its place.
func (c *compiler) node(field string, t btf.Type, depth int) (*node, error) {
	if c.nodes++; c.nodes > maxNodes {
		return nil, fmt.Errorf("more than %d fields", maxNodes)
	}
	if depth > maxNesting {
		return nil, fmt.Errorf("nested more than %d deep", maxNesting)
	}
	kind, big, t, err := bare(t)
	if err != nil {
		return nil, err
	}
	size, err := btf.Sizeof(t)
	if err != nil {
		return nil, fmt.Errorf("its size is not known: %w", err)
	}
	if size < 0 || size > maxSize {
		return nil, fmt.Errorf("%d bytes, at most %d", size, maxSize)
	}
	n := &node{field: field, size: uint32(size), kind: kind}
	if m, ok := meanings[kind]; ok {
		if err := m.check(n, t); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		m.apply(n)
		if n.shape != shapeInt {
			return n, nil
		}
	}
	switch t := t.(type) {
	case *btf.Int:
		return n, n.integer(t, big)
	case *btf.Enum:
		return n, n.enumeration(t)
	case *btf.Pointer:
		n.shape, n.kind = shapeHex, "k_hex"
	case *btf.Float:
		if size != 4 && size != 8 {
			return nil, fmt.Errorf("a float of %d bytes", size)
		}
		n.shape, n.kind, n.merge = shapeFloat, "float", mergeFirst
	case *btf.Array:
		return n, c.array(n, t, depth)
	case *btf.Struct:
		n.shape, n.kind = shapeStruct, "struct"
		n.children, err = c.members(t.Members, n.size, depth)
		if err != nil {
			return nil, err
		}
	case *btf.Union:
		if len(t.Members) == 0 {
			n.shape, n.kind = shapeStruct, "struct"
			return n, nil
		}
		first, err := c.node(field, t.Members[0].Type, depth+1)
		if err != nil {
			return nil, err
		}
		if err := first.place(t.Members[0], n.size); err != nil {
			return nil, err
		}
		return first, nil
	default:
		return nil, fmt.Errorf("values of type %v cannot be shown", t)
	}
	return n, nil
}

// integer finishes the node of a plain or typedef'd integer.
func (n *node) integer(t *btf.Int, big bool) error {
	switch t.Size {
	case 1, 2, 4, 8:
	case 16:
		n.shape, n.kind, n.merge = shapeHex, "k_hex", mergeFirst
		return nil
	default:
		return fmt.Errorf("an integer of %d bytes", t.Size)
	}
	n.signed = t.Encoding == btf.Signed
	switch {
	case n.kind != "": // a meaning that is a plain number
	case t.Encoding == btf.Bool || t.Name == "_Bool":
		n.shape, n.kind, n.merge = shapeBool, "bool", mergeOr
	case big:
		n.shape, n.kind, n.merge = shapeBE, "int", mergeFirst
		if t.Size == 2 {
			n.kind = "k_be16"
		}
	case isChar(t):
		n.shape, n.kind, n.merge = shapeChar, "string", mergeFirst
	default:
		n.shape, n.kind, n.merge = shapeInt, "int", mergeSum
	}
	return nil
}

// isChar tells text from small numbers: `char`, not `signed char` or
// `unsigned char`.
func isChar(t btf.Type) bool {
	i, ok := t.(*btf.Int)
	return ok && i.Size == 1 && (i.Name == "char" || i.Encoding == btf.Char)
}

func isByte(t btf.Type) bool {
	i, ok := t.(*btf.Int)
	return ok && i.Size == 1 && !isChar(t) && i.Encoding == btf.Unsigned
}

func (n *node) enumeration(t *btf.Enum) error {
	switch t.Size {
	case 1, 2, 4, 8:
	default:
		return fmt.Errorf("an enum of %d bytes", t.Size)
	}
	if n.kind != "" {
		n.signed = t.Signed
		return nil
	}
	n.shape, n.kind, n.merge, n.signed = shapeName, "enum", mergeFirst, t.Signed
	n.enum = make(map[uint64]string, len(t.Values))
	for _, v := range t.Values {
		key := extend(v.Value, uint8(t.Size*8), t.Signed)
		if _, ok := n.enum[key]; !ok { // of two names for a number, the first
			n.enum[key] = v.Name
			n.quoted = n.quoted || !plain(v.Name)
		}
	}
	return nil
}

// plain reports whether a string needs no escaping in JSON.
func plain(s string) bool { return len(output.AppendString(nil, s)) == len(s)+2 }

func (c *compiler) array(n *node, t *btf.Array, depth int) error {
	_, _, elem, err := bare(t.Type)
	if err != nil {
		return err
	}
	kind, _, _, _ := bare(t.Type)
	switch {
	case kind == "" && isChar(elem):
		n.shape, n.kind = shapeString, "string"
		return nil
	case kind == "" && isByte(elem):
		n.shape, n.kind = shapeBytes, "bytes"
		return nil
	}
	e, err := c.node("", t.Type, depth+1)
	if err != nil {
		return err
	}
	n.shape, n.kind, n.children = shapeArray, "list", []node{*e}
	if t.Nelems > 0 {
		n.stride = n.size / t.Nelems
	}
	if n.stride > 0 { // else any number of nothings
		n.count = t.Nelems
	}
	return nil
}

// members compiles the fields of a struct of the given size. The fields of an
// unnamed member are the struct's own.
func (c *compiler) members(members []btf.Member, size uint32, depth int) ([]node, error) {
	var out []node
	for _, m := range members {
		if isPadding(m) || isEmptyArray(m.Type) {
			continue
		}
		n, err := c.node(m.Name, m.Type, depth+1)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", m.Name, err)
		}
		if err := n.linear(m.Tags); err != nil {
			return nil, fmt.Errorf("field %s: %w", m.Name, err)
		}
		if err := n.place(m, size); err != nil {
			return nil, fmt.Errorf("field %s: %w", m.Name, err)
		}
		if m.Name == "" && n.field == "" {
			inner, err := c.unnamed(m.Type, n)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
			continue
		}
		out = append(out, *n)
	}
	findPID(out)
	for i := range out {
		out[i].prefix = output.AppendString([]byte{','}, out[i].field)
		out[i].prefix = append(out[i].prefix, ':')
	}
	if len(out) > 0 {
		out[0].prefix = out[0].prefix[1:]
	}
	return out, nil
}

// linear makes a histogram of an array of counters that is tagged as one.
func (n *node) linear(tags []string) error {
	l, ok, err := program.LinearOf(tags)
	if err != nil || !ok {
		return err
	}
	if n.shape != shapeArray || n.count == 0 || n.children[0].shape != shapeInt || n.stride != 8 {
		return errors.New("a linear histogram is an array of __u64")
	}
	n.shape, n.kind, n.merge, n.unit, n.step, n.children = shapeHist, "k_hist", mergeFirst, l.Unit, l.Step, nil
	return nil
}

// unnamed returns the fields that an unnamed struct or union gives to the
// struct around it.
func (c *compiler) unnamed(t btf.Type, n *node) ([]node, error) {
	_, _, t, err := bare(t)
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case *btf.Union:
		if len(t.Members) == 0 {
			return nil, nil
		}
		if t.Members[0].Name != "" {
			n.field = t.Members[0].Name
			return []node{*n}, nil
		}
		return c.unnamed(t.Members[0].Type, n)
	case *btf.Struct:
		inner := n.children
		for i := range inner {
			inner[i].off += n.off
		}
		return inner, nil
	}
	return nil, fmt.Errorf("an unnamed field of type %v", t)
}

// isPadding reports whether a member only fills a hole: keys must have no
// bytes that nobody has set, so programs spell their padding out.
func isPadding(m btf.Member) bool {
	return m.Name == "" && m.BitfieldSize > 0 || strings.HasPrefix(m.Name, "_pad") || strings.HasPrefix(m.Name, "__pad")
}

// isEmptyArray reports whether t is an array without elements, or without a
// length.
func isEmptyArray(t btf.Type) bool {
	_, _, t, err := bare(t)
	a, ok := t.(*btf.Array)
	return err == nil && ok && a.Nelems == 0
}

// place puts a node where a member is, and makes sure that it lies within.
func (n *node) place(m btf.Member, within uint32) error {
	bit, bits := uint64(m.Offset), uint64(m.BitfieldSize)
	if bits == 0 {
		if bit%8 != 0 {
			return fmt.Errorf("at bit %d without being a bit-field", bit)
		}
		if bit/8+uint64(n.off)+uint64(n.size) > uint64(within) {
			return fmt.Errorf("%d bytes at %d lie outside of the %d", n.size, bit/8, within)
		}
		n.off += uint32(bit / 8)
		return nil
	}
	if bits > 64 || bits > uint64(n.size)*8 || bit+bits > uint64(within)*8 {
		return fmt.Errorf("a bit-field of %d bits at bit %d", bits, bit)
	}
	if n.shape >= shapeString || n.shape == shapeBE || n.shape == shapeIP || n.shape == shapeIPv4 || n.shape == shapeMAC || n.shape == shapeFloat || n.size > 8 {
		return fmt.Errorf("a %s cannot be a bit-field", n.kind)
	}
	n.off, n.shift, n.bits = uint32(bit/8), uint8(bit%8), uint8(bits)
	n.size = (uint32(n.shift) + uint32(bits) + 7) / 8
	return nil
}

// findPID tells the user stacks among some fields whose they are.
func findPID(fields []node) {
	for i := range fields {
		if fields[i].shape != shapeUStack {
			continue
		}
		fields[i].pid = noPID
		for _, f := range fields {
			if f.kind == "k_pid" && f.bits == 0 && f.size == 4 {
				fields[i].pid = f.off
				break
			}
		}
	}
}

const noPID = ^uint32(0)

func (n *node) checkStacks() error {
	if n.shape == shapeUStack && n.pid == noPID {
		return fmt.Errorf("field %s: a k_ustack needs a k_pid beside it, or nobody knows whose stack it is", n.field)
	}
	for i := range n.children {
		if err := n.children[i].checkStacks(); err != nil {
			return err
		}
	}
	return nil
}

// flexible reports whether a struct ends in an array without a length, so that
// its records may be longer than it.
func flexible(t btf.Type) bool {
	_, _, t, err := bare(t)
	s, ok := t.(*btf.Struct)
	return err == nil && ok && len(s.Members) > 0 && isEmptyArray(s.Members[len(s.Members)-1].Type)
}

// length is an upper bound of the value's JSON, in bytes.
func (n *node) length() uint64 {
	switch n.shape {
	case shapeString, shapeDNSName:
		return 6*uint64(n.size) + 2
	case shapeArgs:
		return 6*uint64(n.size) + 32
	case shapeBytes:
		return 2*uint64(n.size) + 2
	case shapeHist:
		return 2 + uint64(n.count)*24
	case shapeStats:
		return 64 * 24
	case shapeStruct:
		l := uint64(2)
		for i := range n.children {
			l += uint64(len(n.children[i].prefix)) + n.children[i].length()
		}
		return l
	case shapeArray:
		return 2 + uint64(n.count)*(n.children[0].length()+1)
	case shapeName:
		l := 512 // of the longest set of flags
		for _, s := range n.enum {
			l = max(l, 6*len(s)+2)
		}
		return uint64(l)
	case shapeCgroup:
		return 6*maxPath + 2
	case shapeAddr:
		return 6*maxFrame + 2
	case shapeKStack, shapeUStack:
		return maxFrames*(6*maxFrame+3) + 2
	}
	return 64 // numbers, addresses, times
}

// columns appends the columns that a table of such values has: fields in
// fields are "outer.inner".
func (n *node) columns(dst []output.Column, path string) []output.Column {
	switch n.shape {
	case shapeStruct:
		for i := range n.children {
			f := &n.children[i]
			dst = f.columns(dst, join(path, f.field))
		}
		return dst
	case shapeStats:
		unit := unitKind(n.unit)
		for _, f := range [...]struct {
			name, kind string
			merge      output.Merge
		}{
			{"count", "k_count", output.MergeSum},
			{"sum", unit, output.MergeSum},
			{"min", unit, output.MergeMin},
			{"max", unit, output.MergeMax},
			{"mean", unit, output.MergeMean},
		} {
			dst = append(dst, output.Column{Name: join(path, f.name), Kind: f.kind, Width: meanings[f.kind].width, Right: true, Merge: f.merge})
		}
		return dst
	}
	col := output.Column{Name: path, Kind: n.kind}
	switch {
	case known(n.kind):
		col.Width, col.Right = meanings[n.kind].width, meanings[n.kind].right
	case n.shape == shapeString:
		col.Width = min(max(int(n.size), 4), 40)
	case n.shape == shapeChar:
		col.Width = 1
	case n.shape == shapeBytes:
		col.Width = min(int(n.size)*2, 32)
	case n.shape == shapeName:
		for _, s := range n.enum {
			col.Width = max(col.Width, min(len(s), 20))
		}
	case n.shape == shapeBool:
		col.Width = 5
	case n.shape == shapeArray:
		col.Width = 16
	default: // numbers
		col.Width, col.Right = 8, true
	}
	col.Width = max(col.Width, 4)
	return append(dst, col)
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// unitKind is the typedef of a plain number of a unit.
func unitKind(unit string) string { return "k_" + unit }

// meaning is what a typedef of kgent.bpf.h says about a value.
type meaning struct {
	shape shape
	merge merging
	size  uint32 // in bytes, for what is no integer of any size
	width int    // of a column
	right bool
	field string // what a key or value that is no struct is called
	unit  string // of histograms and statistics
	name  func(int64) string
}

func (m meaning) apply(n *node) {
	n.shape, n.merge, n.unit, n.name = m.shape, m.merge, m.unit, m.name
	if n.shape == shapeHist {
		n.count = histSlots
	}
	if n.name != nil || n.shape == shapeAddr {
		n.cache = map[uint64]string{}
	}
	n.pid = noPID
}

// check holds a type against what the typedef promises: a program may have
// been compiled without kgent's header.
func (m meaning) check(n *node, t btf.Type) error {
	if m.size != 0 {
		if n.size != m.size {
			return fmt.Errorf("has %d bytes, want %d", n.size, m.size)
		}
		return nil
	}
	if m.shape == shapeArgs {
		s, ok := t.(*btf.Struct)
		if !ok || len(s.Members) != 2 || n.size < 5 || s.Members[0].Offset != 0 || s.Members[1].Offset != 32 {
			return errors.New("want struct { __u32 len; char s[N]; }")
		}
		return nil
	}
	switch t := t.(type) {
	case *btf.Int:
		if t.Size > 8 || t.Size&(t.Size-1) != 0 || t.Size == 0 {
			return fmt.Errorf("is an integer of %d bytes", t.Size)
		}
		n.signed = t.Encoding == btf.Signed
		return nil
	case *btf.Enum:
		if t.Size > 8 || t.Size&(t.Size-1) != 0 || t.Size == 0 {
			return fmt.Errorf("is an enum of %d bytes", t.Size)
		}
		n.signed = t.Signed
		return nil
	}
	return fmt.Errorf("is %v, want an integer", t)
}

// meanings are the typedefs of kgent.bpf.h.
var meanings = map[string]meaning{
	"k_ns":       {shape: shapeInt, merge: mergeSum, width: 7, right: true, field: "ns"},
	"k_us":       {shape: shapeInt, merge: mergeSum, width: 7, right: true, field: "us"},
	"k_ms":       {shape: shapeInt, merge: mergeSum, width: 7, right: true, field: "ms"},
	"k_time":     {shape: shapeTime, merge: mergeMax, width: 12, field: "time"},
	"k_boottime": {shape: shapeBoot, merge: mergeMax, width: 12, field: "time"},
	"k_bytes":    {shape: shapeInt, merge: mergeSum, width: 6, right: true, field: "bytes"},
	"k_pages":    {shape: shapeInt, merge: mergeSum, width: 6, right: true, field: "pages"},
	"k_count":    {shape: shapeInt, merge: mergeSum, width: 7, right: true, field: "count"},
	"k_permille": {shape: shapeInt, merge: mergeMax, width: 6, right: true, field: "permille"},
	"k_pid":      {shape: shapeInt, width: 7, right: true, field: "pid"},
	"k_tid":      {shape: shapeInt, width: 7, right: true, field: "tid"},
	"k_uid":      {shape: shapeInt, width: 5, right: true, field: "uid"},
	"k_gid":      {shape: shapeInt, width: 5, right: true, field: "gid"},
	"k_port":     {shape: shapeInt, width: 5, right: true, field: "port"},
	"k_be16":     {shape: shapeBE, size: 2, width: 5, right: true, field: "port"},
	"k_ipv4":     {shape: shapeIPv4, size: 4, width: 15, field: "addr"},
	"k_ip":       {shape: shapeIP, size: 16, width: 15, field: "addr"},
	"k_mac":      {shape: shapeMAC, size: 6, width: 17, field: "mac"},
	"k_dnsname":  {shape: shapeDNSName, size: 128, width: 40, field: "name"},
	"k_family":   {shape: shapeName, name: abi.FamilyName, width: 8, field: "family"},
	"k_ipproto":  {shape: shapeName, name: abi.IPProtoName, width: 6, field: "proto"},
	"k_ethproto": {shape: shapeName, name: abi.EtherTypeName, width: 6, field: "proto"},
	"k_tcpstate": {shape: shapeName, name: abi.TCPStateName, width: 11, field: "state"},
	"k_tcpflags": {shape: shapeName, merge: mergeOr, name: abi.TCPFlagNames, width: 9, field: "flags"},
	"k_errno":    {shape: shapeName, name: errnoName, width: 12, field: "errno"},
	"k_ret":      {shape: shapeRet, width: 7, right: true, field: "ret"},
	"k_signal":   {shape: shapeName, name: abi.SignalName, width: 8, field: "signal"},
	"k_syscall":  {shape: shapeName, name: abi.SyscallName, width: 14, field: "syscall"},
	"k_exitcode": {shape: shapeExit, width: 8, field: "exit"},
	"k_dev":      {shape: shapeDev, width: 6, field: "dev"},
	"k_mode":     {shape: shapeMode, width: 7, field: "mode"},
	"k_oflags":   {shape: shapeName, name: abi.OpenFlagNames, width: 16, field: "flags"},
	"k_mntflags": {shape: shapeName, name: abi.MountFlagNames, width: 16, field: "flags"},
	"k_cap":      {shape: shapeName, name: abi.CapabilityName, width: 16, field: "cap"},
	"k_bpfprog":  {shape: shapeName, name: abi.BPFProgTypeName, width: 14, field: "type"},
	"k_ifindex":  {shape: shapeIfindex, width: 8, field: "interface"},
	"k_cgroup":   {shape: shapeCgroup, width: 20, field: "cgroup"},
	"k_inode":    {shape: shapeInt, width: 9, right: true, field: "inode"},
	"k_addr":     {shape: shapeAddr, width: 18, field: "addr"},
	"k_hex":      {shape: shapeHex, width: 10, right: true, field: "hex"},
	"k_kstack":   {shape: shapeKStack, width: 20, field: "stack"},
	"k_ustack":   {shape: shapeUStack, width: 20, field: "stack"},
	"k_bool":     {shape: shapeBool, merge: mergeOr, width: 5, field: "yes"},
	"k_args":     {shape: shapeArgs, width: 32, field: "args"},

	"k_hist":        {shape: shapeHist, size: 512, unit: "count", field: "hist"},
	"k_hist_ns":     {shape: shapeHist, size: 512, unit: "ns", field: "hist"},
	"k_hist_us":     {shape: shapeHist, size: 512, unit: "us", field: "hist"},
	"k_hist_bytes":  {shape: shapeHist, size: 512, unit: "bytes", field: "hist"},
	"k_hist_count":  {shape: shapeHist, size: 512, unit: "count", field: "hist"},
	"k_stats":       {shape: shapeStats, size: 32, unit: "count", field: "stats"},
	"k_stats_ns":    {shape: shapeStats, size: 32, unit: "ns", field: "stats"},
	"k_stats_us":    {shape: shapeStats, size: 32, unit: "us", field: "stats"},
	"k_stats_bytes": {shape: shapeStats, size: 32, unit: "bytes", field: "stats"},
	"k_stats_count": {shape: shapeStats, size: 32, unit: "count", field: "stats"},
}

func known(typedef string) bool {
	_, ok := meanings[typedef]
	return ok
}

// errnoName is [abi.ErrnoName] with a word for no error.
func errnoName(n int64) string {
	if n == 0 {
		return "OK"
	}
	return abi.ErrnoName(n)
}

// extend reads the low bits of v as a number of that many bits.
func extend(v uint64, bits uint8, signed bool) uint64 {
	if bits == 0 || bits >= 64 {
		return v
	}
	v <<= 64 - bits
	if signed {
		return uint64(int64(v) >> (64 - bits))
	}
	return v >> (64 - bits)
}

// scalarName is what a key or value that is no struct is called.
func (n *node) scalarName(otherwise string) string {
	if m, ok := meanings[n.kind]; ok {
		return m.field
	}
	if n.shape == shapeString && n.size == taskCommLen {
		return "comm"
	}
	return otherwise
}

// taskCommLen is TASK_COMM_LEN: char[16] is the name of a task.
const taskCommLen = 16
