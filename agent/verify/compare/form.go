package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/agent/verify/symbolic"
)

// column is one thing that people see of an event, a key or a cell.
type column struct {
	name      string // empty: it is the whole
	off, size int    // bytes
	shape     shape
	signed    bool // of numbers
	big       bool // of numbers: in network byte order
	// shown says how a number is shown where it is not shown as a number: "nanoseconds",
	// "an IPv4 address", "by name (TCP_ESTABLISHED, …)". Columns of different shown are different.
	shown string
	// merge is how values of several CPUs become one; only per-CPU tables ask.
	merge string
}

// shape is what the bytes of a column are.
type shape int

const (
	opaque shape = iota // compared byte by byte
	number
	text // up to the first NUL
	args // a length, and as many bytes
)

// stream is what events go through.
type stream struct {
	name    string
	columns []column
	size    int
}

// grid is an output table.
type grid struct {
	name      string
	typ       ebpf.MapType
	key, cell []column
	keySize   int
	perCPU    bool
	array     bool
	rows      uint32
	untyped   bool
}

// shape of everything that a program shows.
type form struct {
	streams []stream
	grids   []grid
}

func formOf(o *program.Object) (form, error) {
	var f form
	for _, m := range o.Maps() {
		switch m.Role {
		case program.RoleEvents:
			if m.Value == nil {
				return form{}, fmt.Errorf("the events %s have no type", m.Name)
			}
			cols, size, err := columns(m.Value)
			if err != nil {
				return form{}, fmt.Errorf("the events %s: %w", m.Name, err)
			}
			f.streams = append(f.streams, stream{m.Name, cols, size})
		case program.RoleOutput:
			g := grid{name: m.Name, typ: m.Type, perCPU: perCPU(m.Type), array: m.Type == ebpf.Array || m.Type == ebpf.PerCPUArray, rows: m.MaxEntries}
			if m.Key == nil || m.Value == nil {
				return form{}, fmt.Errorf("the table %s does not say the types of its key and value", m.Name)
			}
			var err error
			if g.key, g.keySize, err = columns(m.Key); err != nil {
				return form{}, fmt.Errorf("the key of table %s: %w", m.Name, err)
			}
			if g.cell, _, err = columns(m.Value); err != nil {
				return form{}, fmt.Errorf("the cells of table %s: %w", m.Name, err)
			}
			f.grids = append(f.grids, g)
		}
	}
	return f, nil
}

func perCPU(t ebpf.MapType) bool {
	return t == ebpf.PerCPUHash || t == ebpf.PerCPUArray || t == ebpf.LRUCPUHash
}

func lru(t ebpf.MapType) bool { return t == ebpf.LRUHash || t == ebpf.LRUCPUHash }

// columns are the members of a struct, or the one value that t is.
func columns(t btf.Type) ([]column, int, error) {
	size, err := btf.Sizeof(t)
	if err != nil {
		return nil, 0, err
	}
	typ, meaning := symbolic.Meaning(t)
	s, ok := typ.(*btf.Struct)
	if !ok || symbolic.IsOneValue(typ, meaning) {
		c, err := columnOf("", 0, t)
		return []column{c}, size, err
	}
	var out []column
	for _, m := range s.Members {
		if symbolic.IsPad(m.Name) {
			continue
		}
		if m.BitfieldSize != 0 || m.Name == "" {
			return nil, 0, fmt.Errorf("a bit-field or a member without a name is not followed")
		}
		c, err := columnOf(m.Name, int(m.Offset/8), m.Type)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, c)
	}
	return out, size, nil
}

// shownAs is how kgent shows a number of a meaning, in words. What is not in it is shown as
// a number.
var shownAs = map[string]string{
	"ns": "nanoseconds", "us": "microseconds", "ms": "milliseconds", "time": "a time of day", "boottime": "a time of day (since boot)",
	"bytes": "bytes", "pages": "pages", "ipv4": "an IPv4 address", "family": "an address family", "ipproto": "a protocol's name",
	"ethproto": "an Ethernet protocol", "tcpstate": "a TCP state", "tcpflags": "TCP flags", "errno": "an error's name", "ret": "a result, or an error's name",
	"signal": "a signal's name", "syscall": "a system call's name", "exitcode": "an exit code", "dev": "a device", "mode": "a file mode", "oflags": "flags of open",
	"mntflags": "flags of mount", "cap": "a capability", "bpfprog": "a kind of BPF program", "ifindex": "an interface's name", "cgroup": "a cgroup's path",
	"addr": "an address in memory", "hex": "a hexadecimal number", "kstack": "a kernel stack", "ustack": "a user stack", "bool": "yes or no", "permille": "a share in 1/1000",
}

func columnOf(name string, off int, t btf.Type) (column, error) {
	size, err := btf.Sizeof(t)
	if err != nil {
		return column{}, err
	}
	c := column{name: name, off: off, size: size}
	typ, meaning := symbolic.Meaning(t)
	c.shown, c.merge = shownAs[meaning], meaning
	switch x := typ.(type) {
	case *btf.Int:
		if size > 8 {
			break
		}
		c.shape, c.signed = number, x.Encoding == btf.Signed
		if x.Encoding == btf.Bool {
			c.shown = "yes or no"
		} else if size == 1 && (x.Encoding == btf.Char || x.Name == "char") && meaning == "" {
			c.shown = "a character"
		}
		if strings.HasPrefix(meaning, "be") {
			c.big = true
		}
	case *btf.Enum:
		c.shape, c.signed = number, x.Signed
		if meaning == "" {
			c.shown = enumNames(x)
		}
	case *btf.Pointer:
		c.shape, c.shown = number, shownAs["addr"]
	case *btf.Array:
		elem, inner := symbolic.Meaning(x.Type)
		i, ok := elem.(*btf.Int)
		switch {
		case ok && meaning == "" && i.Size == 1 && (i.Name == "char" || i.Encoding == btf.Char):
			c.shape = text
		case meaning == "mac":
			c.shown = "an Ethernet address"
		default:
			c.shown = fmt.Sprintf("an array of %d", x.Nelems) + suffix(inner)
		}
	case *btf.Struct:
		if meaning == "" {
			meaning = strings.TrimPrefix(x.Name, "k_")
		}
		c.shown = strings.TrimPrefix(meaning, "k_")
		if meaning == "args" {
			c.shape, c.shown = args, ""
		}
		if meaning == "ip" {
			c.shown = "an address"
		}
	default:
		return column{}, fmt.Errorf("member %s of type %s is not followed", name, typ)
	}
	return c, nil
}

func suffix(meaning string) string {
	if meaning == "" {
		return ""
	}
	return " (" + meaning + ")"
}

// enumNames tells enumerations apart by the names that they give numbers.
func enumNames(e *btf.Enum) string {
	var out []string
	for _, v := range e.Values {
		out = append(out, fmt.Sprintf("%s = %d", v.Name, int64(v.Value)))
	}
	if len(out) > 4 {
		out = append(out[:4:4], fmt.Sprintf("… %d more", len(out)-4))
	}
	return "by name (" + strings.Join(out, ", ") + ")"
}

// paired are two columns of one name.
type paired struct{ a, b column }

// pairing says which stream and which table of one program is which of the other.
type pairing struct {
	streams [2]map[string]int // by the map's name: the stream's number
	names   []string          // of streams, by number
	members [][]paired        // of streams, by number
	tables  []tablePair
}

type tablePair struct {
	name      string
	a, b      grid
	key, cell []paired
}

// pair finds what belongs to what, and what is in one of the programs only.
func pair(a, b form, names [2]string) (*pairing, *Difference) {
	p := &pairing{streams: [2]map[string]int{{}, {}}}
	d := func(subject, adoes, bdoes, ask string) *Difference {
		return &Difference{A: names[0], B: names[1], Kind: Form, Subject: subject, ADoes: adoes, BDoes: bdoes, Asks: ask}
	}
	var nameA, nameB []string
	for _, s := range a.streams {
		nameA = append(nameA, s.name)
	}
	for _, s := range b.streams {
		nameB = append(nameB, s.name)
	}
	at, missing, extra := match(nameA, nameB)
	switch {
	case missing >= 0:
		n := a.streams[missing].name
		return nil, d(n, "shows events "+quote(n), "has no such events", fmt.Sprintf("should there be events %s?", quote(n)))
	case extra >= 0:
		n := b.streams[extra].name
		return nil, d(n, "has no such events", "shows events "+quote(n), fmt.Sprintf("should there be events %s?", quote(n)))
	}
	for i, j := range at {
		sa, sb := a.streams[i], b.streams[j]
		p.streams[0][sa.name], p.streams[1][sb.name] = i, i
		p.names = append(p.names, sa.name)
		cols, diff := pairColumns(quote(sa.name), sa.name, sa.columns, sb.columns, d)
		if diff != nil {
			return nil, diff
		}
		p.members = append(p.members, cols)
	}
	nameA, nameB = nil, nil
	for _, g := range a.grids {
		nameA = append(nameA, g.name)
	}
	for _, g := range b.grids {
		nameB = append(nameB, g.name)
	}
	at, missing, extra = match(nameA, nameB)
	switch {
	case missing >= 0:
		n := a.grids[missing].name
		return nil, d(n, "shows a table "+quote(n), "has no such table", fmt.Sprintf("should there be a table %s?", quote(n)))
	case extra >= 0:
		n := b.grids[extra].name
		return nil, d(n, "has no such table", "shows a table "+quote(n), fmt.Sprintf("should there be a table %s?", quote(n)))
	}
	for i, j := range at {
		t := tablePair{name: a.grids[i].name, a: a.grids[i], b: b.grids[j]}
		var diff *Difference
		if t.key, diff = pairColumns("the keys of table "+quote(t.name), t.name, t.a.key, t.b.key, d); diff == nil {
			t.cell, diff = pairColumns("the rows of table "+quote(t.name), t.name, t.a.cell, t.b.cell, d)
		}
		if diff != nil {
			return nil, diff
		}
		p.tables = append(p.tables, t)
	}
	return p, nil
}

// match finds for each name of one list that of the other: of single ones, whatever they are called.
// missing and extra are the first of either list that have none; -1 if all have.
func match(a, b []string) (at []int, missing, extra int) {
	missing, extra = -1, -1
	if len(a) == 1 && len(b) == 1 {
		return []int{0}, -1, -1
	}
	for i, n := range a {
		j := slices.Index(b, n)
		if j < 0 && missing < 0 {
			missing = i
		}
		at = append(at, j)
	}
	for j, n := range b {
		if !slices.Contains(a, n) && extra < 0 {
			extra = j
		}
	}
	return at, missing, extra
}

func pairColumns(what, of string, a, b []column, d func(subject, adoes, bdoes, ask string) *Difference) ([]paired, *Difference) {
	if len(a) == 1 && len(b) == 1 && (a[0].name == "" || b[0].name == "") {
		a, b = slices.Clone(a), slices.Clone(b)
		a[0].name = max(a[0].name, b[0].name)
		b[0].name = a[0].name
	}
	var out []paired
	for _, c := range a {
		i := slices.IndexFunc(b, func(o column) bool { return o.name == c.name })
		if i < 0 {
			return nil, d(member(of, c), fmt.Sprintf("shows %s with %s", what, called(c)), "shows no "+called(c)+" there",
				fmt.Sprintf("should %s show %s?", what, called(c)))
		}
		o := b[i]
		if c.shape != o.shape || c.shown != o.shown || (c.shape == opaque) && c.size != o.size {
			return nil, d(member(of, c), fmt.Sprintf("shows %s of %s as %s", called(c), what, c.words()), "shows it as "+o.words(),
				fmt.Sprintf("should %s of %s be shown as %s or as %s?", called(c), what, c.words(), o.words()))
		}
		out = append(out, paired{c, o})
	}
	for _, c := range b {
		if !slices.ContainsFunc(a, func(o column) bool { return o.name == c.name }) {
			return nil, d(member(of, c), "shows no "+called(c)+" there", fmt.Sprintf("shows %s with %s", what, called(c)),
				fmt.Sprintf("should %s show %s?", what, called(c)))
		}
	}
	return out, nil
}

func called(c column) string {
	if c.name == "" {
		return "its value"
	}
	return quote(c.name)
}

func member(of string, c column) string { return strings.TrimSuffix(of+"."+c.name, ".") }

// words say what a column is shown as.
func (c column) words() string {
	switch {
	case c.shown != "":
		return c.shown
	case c.shape == number:
		return "a number"
	case c.shape == text:
		return "a text"
	case c.shape == args:
		return "arguments"
	}
	return fmt.Sprintf("%d bytes", c.size)
}

// layoutOf tells types apart by where their parts lie, however they are called.
func layoutOf(cols []column) string {
	var out []string
	for _, c := range cols {
		out = append(out, fmt.Sprintf("%s@%d+%d:%d/%v/%v/%s", c.name, c.off, c.size, c.shape, c.signed, c.big, c.shown))
	}
	return strings.Join(out, ",")
}

func quote(name string) string { return "“" + clean(name, 64) + "”" }
