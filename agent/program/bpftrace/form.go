package bpftrace

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"kgent/agent/program"
)

// UnmappedError says what of a script cannot be held against a contract, and where.
type UnmappedError struct {
	Line int // 0 when it is about the whole
	Why  string
}

func (e *UnmappedError) Error() string {
	if e.Line == 0 {
		return e.Why
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Why)
}

// Field is a field of a tracepoint's record.
type Field struct {
	Name     string
	Size     int  // bytes
	Text     bool // an array of char
	DataLoc  bool
	Elements bool // any other array
}

// encodings are the releases whose instructions were read, construct by construct; all
// others may encode maps and events in other ways. Of each it is known: which map has
// which number or name, how keys and printf's arguments are laid out, what a cell of each
// function holds, and what number an event of each kind begins with.
//
//	0.17.0  maps are numbered in the order of their names, the perf buffer follows;
//	        min keeps 2^32-1-v; avg and stats keep two cells; hist's last bucket has
//	        all from 2^31 on
//	0.23.2  maps are declared as AT_name; a ring buffer; min, max, avg and stats
//	        keep structs; a failing helper is reported through the buffer
//
// In both, numbers in keys and arguments have 8 bytes, printf's events are numbered from 0
// in the order of the script, and %d, %u and %x show 32 bits.
var encodings = map[Version]*encoding{
	{0, 17, 0}: {numbered: true, top: 33},
	{0, 23, 2}: {top: 65},
}

type encoding struct {
	numbered bool
	// top is the last bucket of hist().
	top uint64
}

// LastBucket is where the last bucket of hist() begins, which has all that is greater, too.
func (v Version) LastBucket() uint64 {
	if e := encodings[v]; e != nil {
		return 1 << (e.top - 2)
	}
	return 1 << 63
}

// The numbers with which events of other kinds begin, in all releases of [encodings].
const (
	eventExit  = 30000
	eventPrint = 30001
	eventClear = 30002
	eventTime  = 30004
	eventError = 30006 // of a helper; from 0.20 on
)

// Sizes of texts: comm, and what [Env] sets for str().
const (
	commSize = 16
	textSize = 64
)

// mapEntries is what [Env] sets.
const mapEntries = 4096

// Form says what the outputs of a script are, in an object that the release by made of
// it. fields describes the records of tracepoints. The error is an *[UnmappedError] for
// what is not known.
func (s *Script) Form(o *program.Object, by Version, fields func(category, name string) ([]Field, bool)) (*program.Form, error) {
	e := encodings[by]
	if e == nil {
		return nil, &UnmappedError{Why: fmt.Sprintf("it was translated by bpftrace %s, whose encoding kgent has not learned; it knows those of 0.17.0 and 0.23.2", by)}
	}
	f := &former{script: s, fields: fields, variables: map[string]column{}, values: map[string]column{}, out: &program.Form{Specs: map[string]*ebpf.MapSpec{}}}
	if err := f.statements(); err != nil {
		return nil, err
	}
	if err := f.maps(e); err != nil {
		return nil, err
	}
	if err := f.clock(o); err != nil {
		return nil, err
	}
	f.out.Top = e.top
	for _, m := range f.out.Maps {
		if slices.Contains([]string{"hist", "lhist", "min", "max"}, m.Call) {
			f.remark("%s() takes numbers of 2^63 and more for numbers below 0", m.Call)
		}
		if m.Call == "hist" && e.top < 65 {
			f.remark("the last bucket of hist() has all values from 2^%d on", e.top-2)
		}
		if m.Shown {
			f.remark("%s has room for %d rows; what finds none is not counted", m.Name, mapEntries)
		}
	}
	if e.numbered {
		f.number()
		return f.out, nil
	}
	return f.out, f.declared(o)
}

func (f *former) remark(format string, a ...any) {
	if line := fmt.Sprintf(format, a...); !slices.Contains(f.out.Remarks, line) {
		f.out.Remarks = append(f.out.Remarks, line)
	}
}

// clock checks that the script reads one clock only: which one a contract leaves open.
func (f *former) clock(o *program.Object) error {
	var used []asm.BuiltinFunc
	for _, p := range o.Programs() {
		for _, ins := range p.Instructions {
			switch c := asm.BuiltinFunc(ins.Constant); {
			case !ins.IsBuiltinCall() || slices.Contains(used, c):
			case c == asm.FnKtimeGetNs, c == asm.FnKtimeGetBootNs, c == asm.FnKtimeGetCoarseNs, c == asm.FnKtimeGetTaiNs:
				used = append(used, c)
			}
		}
	}
	if len(used) > 1 {
		return unmapped(0, "it reads several clocks, which is not mapped")
	}
	if slices.Contains(used, asm.FnKtimeGetBootNs) {
		f.remark("nsecs goes on while the machine sleeps, and is shown as a number of nanoseconds since boot")
	}
	return nil
}

// former makes a form.
type former struct {
	script *Script
	fields func(category, name string) ([]Field, bool)
	// variables and values are what variables and maps hold.
	variables, values map[string]column
	out               *program.Form
}

// column is the type of a value.
type column struct {
	size   int
	text   bool
	signed bool
	name   string
}

func unmapped(line int, format string, a ...any) error {
	return &UnmappedError{line, fmt.Sprintf(format, a...)}
}

// quietKinds are the probes that say nothing of what is traced.
func (f *former) quiet(s Statement) bool {
	for _, i := range s.Probes {
		switch f.script.Probes[i].Kind {
		case "BEGIN", "END", "interval":
		default:
			return false
		}
	}
	return true
}

// within tells whether a statement stands in a block of a kind of probe.
func (f *former) within(s Statement, kind string) bool {
	return slices.ContainsFunc(s.Probes, func(i int) bool { return f.script.Probes[i].Kind == kind })
}

// statements looks at what the script does: twice, for what a map holds may be said
// after it is read.
func (f *former) statements() error {
	for _, s := range f.script.Statements {
		if s.Target == nil || s.Value == nil || s.Op != "=" || isAggregate(s.Value) {
			continue
		}
		c, err := f.typeOf(s.Value, s)
		if err != nil {
			continue // it may be nothing that is shown
		}
		into := f.values
		if s.Target.Kind == VariableExpr {
			into = f.variables
		}
		if was, known := into[s.Target.Text]; known && (was.size != c.size || was.text != c.text) {
			return unmapped(s.Line, "%s holds values of several kinds", s.Target.Text)
		}
		into[s.Target.Text] = c
	}
	id := uint64(0)
	for _, s := range f.script.Statements {
		if s.Target != nil || s.Value == nil || s.Value.Kind != CallExpr {
			continue
		}
		if err := f.call(s, &id); err != nil {
			return err
		}
	}
	return nil
}

func isAggregate(x *Expr) bool {
	return x != nil && x.Kind == CallExpr && slices.Contains(aggregates, x.Text)
}

// call is a statement that is one.
func (f *former) call(s Statement, id *uint64) error {
	x := s.Value
	switch x.Text {
	case "printf":
		n := *id
		*id++
		return f.printf(s, n)
	case "delete":
		return nil // the instructions say what it does
	case "print":
		if len(x.Args) != 1 || x.Args[0].Kind != MapExpr || len(x.Args[0].Args) > 0 {
			return unmapped(s.Line, "print() of anything but a whole map is not mapped: use printf")
		}
		f.harmless(eventPrint)
		return nil
	case "exit":
		switch {
		case !f.quiet(s):
			return unmapped(s.Line, "exit() where something is traced is not mapped: the trace would end on what it sees; the run has a deadline of its own")
		case f.within(s, "BEGIN"):
			return unmapped(s.Line, "exit() in BEGIN is not mapped: the trace would end before it begins")
		case !f.within(s, "END"):
			f.remark("exit() in line %d can end the trace before its time is over", s.Line)
		}
		f.harmless(eventExit)
		return nil
	case "time":
		if !f.quiet(s) {
			return unmapped(s.Line, "time() is not mapped: print nsecs")
		}
		f.harmless(eventTime)
		return nil
	case "clear":
		at := s.Probes
		if len(at) == 1 && f.script.Probes[at[0]].Kind == "END" && f.script.State(x.Args[0].Text) {
			f.harmless(eventClear)
			return nil
		}
	}
	return unmapped(s.Line, "%s() is not mapped: bpftrace does it some time later, and what is counted meanwhile is lost", x.Text)
}

func (f *former) harmless(id uint64) {
	if !slices.Contains(f.out.Harmless, id) {
		f.out.Harmless = append(f.out.Harmless, id)
	}
}

var (
	conversion = regexp.MustCompile(`%([-+ #0]*)[0-9]*(\.[0-9]+)?(hh|h|ll|l|j|z|t)?([a-zA-Z%])`)
	labelled   = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*)\s*[=:]?\s*$`)
)

// printf maps a formatted line.
func (f *former) printf(s Statement, id uint64) error {
	args := s.Value.Args
	if s.Unrolled {
		return unmapped(s.Line, "printf() in unroll is not mapped")
	}
	format := escapes.Replace(strings.TrimSuffix(strings.TrimPrefix(args[0].Text, `"`), `"`))
	args = args[1:]
	p := program.FormPrint{ID: id, Line: s.Line, Size: 8}
	at := 0
	for _, m := range conversion.FindAllStringSubmatchIndex(format, -1) {
		kind := format[m[8]:m[9]]
		if kind == "%" {
			continue
		}
		if m[4] >= 0 {
			return unmapped(s.Line, "%s is not mapped: it cuts texts off", format[m[0]:m[1]])
		}
		if kind != "s" && misread(format, at, m) {
			return unmapped(s.Line, "%s beside other digits is not mapped: people would read another number", format[m[0]:m[1]])
		}
		if len(p.Columns) == len(args) {
			return unmapped(s.Line, "printf() has more conversions than values")
		}
		label := ""
		if l := labelled.FindStringSubmatch(format[at:m[0]]); l != nil {
			label = l[1]
		}
		at = m[1]
		length := ""
		if m[6] >= 0 {
			length = format[m[6]:m[7]]
		}
		x := args[len(p.Columns)]
		c, err := f.argument(x, s, kind, length)
		if err != nil {
			return err
		}
		if c.Label = label; c.Name == "" {
			c.Name = label
		}
		if own := strings.ToLower(label); x.Kind == BuiltinExpr && own != x.Text && (own == "comm" || slices.Contains(numberBuiltins, own)) {
			return unmapped(s.Line, "%s is shown as %q, which is something else", c.Shown, label)
		}
		c.Off = p.Size
		p.Size += c.Size
		p.Columns = append(p.Columns, c)
	}
	if len(p.Columns) != len(args) {
		return unmapped(s.Line, "printf() has more values than conversions")
	}
	if len(args) == 0 && f.quiet(s) { // a heading
		f.harmless(id)
		return nil
	}
	if !strings.HasSuffix(format, "\n") || strings.Count(format, "\n") > 1 {
		return unmapped(s.Line, "printf() of anything but one whole line is not mapped: end it with \\n")
	}
	f.out.Prints = append(f.out.Prints, p)
	return nil
}

// escapes are all that a text can have.
var escapes = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`, `\"`, `"`)

// misread tells whether people would read another number than the one that a conversion shows: it
// stands beside another digit or conversion, after a sign or 0x, or it is hexadecimal and does not say so.
// The conversion before it ends at last.
func misread(format string, last int, m []int) bool {
	before, after := format[last:m[0]], format[m[1]:]
	upTo, digits := len(before), "0123456789"
	hex := strings.HasSuffix(before, "0x") || strings.HasSuffix(before, "0X")
	begins := func(text, any string) bool { return text != "" && strings.ContainsAny(text[:1], any) }
	ends := func(at int, any string) bool { return at > 0 && strings.ContainsAny(before[at-1:at], any) }
	if strings.ContainsAny(format[m[8]:m[9]], "xX") {
		digits = "0123456789abcdefABCDEF"
		if !hex && !strings.Contains(format[m[2]:m[3]], "#") {
			return true
		}
	} else if hex {
		return true
	}
	switch {
	case begins(after, digits), begins(after, "%") && !strings.HasPrefix(after, "%%"), begins(after, ".") && begins(after[1:], digits):
		return true
	case upTo == 0 && last > 0, ends(upTo, "0123456789"):
		return true
	case ends(upTo, "-"):
		return upTo == 1 && last == 0 || ends(upTo-1, " \t=:([")
	case ends(upTo, "."):
		return upTo == 1 || ends(upTo-1, "0123456789")
	}
	return false
}

// argument is one value of a formatted line.
func (f *former) argument(x *Expr, s Statement, kind, length string) (program.FormColumn, error) {
	c, err := f.typeOf(x, s)
	if err != nil {
		return program.FormColumn{}, err
	}
	out := program.FormColumn{Name: c.name, Shown: words(x), Size: c.size, Text: c.text, Bits: 32, Signed: kind == "d" || kind == "i"}
	switch {
	case c.text && kind != "s", !c.text && !strings.Contains("diuxX", kind):
		return out, unmapped(s.Line, "%s shown by %%%s%s is not mapped", out.Shown, length, kind)
	case length == "l" || length == "ll":
		out.Bits = 64
	case length != "":
		return out, unmapped(s.Line, "%%%s%s is not mapped", length, kind)
	}
	return out, nil
}

// words shows an expression, roughly.
func words(x *Expr) string {
	switch x.Kind {
	case CallExpr:
		return x.Text + "(…)"
	case MemberExpr:
		return words(x.Args[0]) + "." + x.Text
	case NumberExpr:
		if len(x.Args) > 0 {
			return "an expression"
		}
	case ChoiceExpr, OtherExpr:
		return "an expression"
	}
	return x.Text
}

// numberBuiltins are those that are numbers.
var numberBuiltins = []string{"pid", "tid", "uid", "gid", "nsecs", "cpu", "rand", "cgroup", "retval"}

var comparing = []string{"==", "!=", "<", ">", "<=", ">=", "&&", "||", "!"}

// typeOf is what a value is when it is kept or shown.
func (f *former) typeOf(x *Expr, s Statement) (column, error) {
	number := column{size: 8}
	switch x.Kind {
	case NumberExpr:
		if slices.Contains(comparing, x.Text) {
			return number, unmapped(x.Line, "the result of %s as a value is not mapped", x.Text)
		}
		return number, nil
	case VariableExpr:
		if c, ok := f.variables[x.Text]; ok {
			c.name = strings.TrimPrefix(x.Text, "$")
			return c, nil
		}
	case MapExpr:
		if c, ok := f.values[x.Text]; ok {
			c.name = ""
			return c, nil
		}
	case BuiltinExpr:
		if number.name = x.Text; slices.Contains(numberBuiltins, x.Text) || isNumbered(x.Text, "arg", 9) {
			return number, nil
		}
		if x.Text == "comm" {
			return column{size: commSize, text: true, name: "comm"}, nil
		}
		return number, unmapped(x.Line, "%s is not mapped", x.Text)
	case CallExpr:
		switch {
		case x.Text == "str" && len(x.Args) == 1:
			c := column{size: textSize, text: true}
			f.remark("str() shows at most %d characters", textSize-1)
			if x.Args[0].Kind == MemberExpr {
				c.name = x.Args[0].Text
			}
			return c, nil
		case x.Text == "kptr" || x.Text == "uptr":
			return number, nil
		}
		return number, unmapped(x.Line, "the value of %s() is not mapped", x.Text)
	case MemberExpr:
		if x.Args[0].Kind == BuiltinExpr && x.Args[0].Text == "args" {
			return f.field(x, s)
		}
		return number, unmapped(x.Line, "the member %s of a struct as a value is not mapped", x.Text)
	case ChoiceExpr:
		for _, a := range x.Args[1:] {
			if c, err := f.typeOf(a, s); err != nil || c.text {
				return number, unmapped(x.Line, "a choice between such values is not mapped")
			}
		}
		return number, nil
	case TextExpr:
		return number, unmapped(x.Line, "a text in quotes as a value is not mapped")
	}
	return number, unmapped(x.Line, "%s as a value is not mapped", words(x))
}

// field is a field of a tracepoint's record, the same at all attach points of the block.
func (f *former) field(x *Expr, s Statement) (column, error) {
	var out column
	for n, i := range s.Probes {
		p := f.script.Probes[i]
		if p.Kind != "tracepoint" {
			return out, unmapped(x.Line, "args at %s is not mapped", p.Name)
		}
		all, _ := f.fields(p.Args[0], p.Args[1])
		at := slices.IndexFunc(all, func(a Field) bool { return a.Name == x.Text })
		if at < 0 {
			return out, unmapped(x.Line, "the field %s of %s is not known", x.Text, p.Name)
		}
		c := column{size: 8, name: x.Text}
		switch a := all[at]; {
		case a.DataLoc || a.Elements:
			return out, unmapped(x.Line, "args.%s, an array or a text of any length, as a value is not mapped: use str()", x.Text)
		case a.Text:
			c.size, c.text = a.Size, true
			if c.size%8 != 0 {
				return out, unmapped(x.Line, "args.%s, a text of %d bytes, is not mapped", x.Text, c.size)
			}
		}
		if n > 0 && c != out {
			return out, unmapped(x.Line, "args.%s is of several kinds", x.Text)
		}
		out = c
	}
	return out, nil
}

// maps maps what the script names, in the order of the names.
func (f *former) maps(e *encoding) error {
	all := slices.Clone(f.script.Maps)
	slices.SortFunc(all, func(a, b Map) int { return strings.Compare(a.Name, b.Name) })
	for _, m := range all {
		x := program.FormMap{Name: m.Name, Call: m.Call, Shown: true}
		if err := f.fill(&x, m); err != nil {
			return err
		}
		x.Shown = !f.script.State(m.Name)
		if err := f.cell(&x, e); err != nil {
			return err
		}
		f.out.Maps = append(f.out.Maps, x)
	}
	return nil
}

// fill finds the key and value of a map where it is assigned.
func (f *former) fill(x *program.FormMap, m Map) error {
	for _, s := range f.script.Statements {
		if s.Target == nil || s.Target.Kind != MapExpr || s.Target.Text != m.Name {
			continue
		}
		var key []program.FormColumn
		at := 0
		for _, k := range s.Target.Args {
			c, err := f.typeOf(k, s)
			if err != nil {
				return err
			}
			key = append(key, program.FormColumn{Name: c.name, Shown: words(k), Off: at, Size: c.size, Text: c.text, Bits: 64, Signed: true})
			at += c.size
		}
		if x.Line == 0 {
			x.Line, x.Key = s.Line, key
		}
		for i, k := range key {
			if i >= len(x.Key) || k.Size != x.Key[i].Size || k.Text != x.Key[i].Text {
				return unmapped(s.Line, "the key of %s is of several kinds", m.Name)
			}
		}
		if m.Call == "" && s.Value != nil {
			if s.Op != "=" {
				f.values[m.Name] = column{size: 8}
			}
			c, err := f.typeOf(s.Value, s)
			if err != nil {
				return err
			}
			x.Value = program.FormColumn{Shown: words(s.Value), Size: c.size, Text: c.text, Bits: 64, Signed: true}
		}
		if isAggregate(s.Value) {
			if err := f.sampled(s); err != nil {
				return err
			}
		}
	}
	if x.Line == 0 {
		return unmapped(0, "%s is never assigned", m.Name)
	}
	if x.Value.Size == 0 {
		x.Value = program.FormColumn{Size: 8, Bits: 64, Signed: true}
	}
	return nil
}

// sampled refuses forms of calls that are not known.
func (f *former) sampled(s Statement) error {
	if s.Value.Text == "hist" && len(s.Value.Args) != 1 {
		return unmapped(s.Line, "hist() with buckets finer than powers of two is not mapped")
	}
	if s.Value.Text == "lhist" && (s.Value.Args[1].Text != "0" || s.Value.Args[1].Kind != NumberExpr) {
		return unmapped(s.Line, "lhist() that does not begin at 0 is not mapped")
	}
	return nil
}

// cell says how a map keeps its values, and how it is declared.
func (f *former) cell(x *program.FormMap, e *encoding) error {
	size := 8
	if n := len(x.Key); n > 0 {
		size = x.Key[n-1].Off + x.Key[n-1].Size
	}
	value, typ, entries := 8, ebpf.PerCPUHash, uint32(mapEntries)
	more := func() { // the key is followed by a number; alone it is the key
		if len(x.Key) > 0 {
			size += 8
		}
	}
	switch x.Call {
	case "count":
		x.Cell = program.CellNumber
		if len(x.Key) == 0 {
			typ, size, entries = ebpf.PerCPUArray, 4, 1
		}
	case "sum":
		x.Cell = program.CellNumber
	case "hist":
		x.Cell = program.CellLog2
		more()
	case "lhist":
		x.Cell = program.CellLinear
		more()
	case "avg", "stats":
		if x.Cell = program.CellSumCount; e.numbered {
			x.Cell = program.CellTwo
			more()
		} else {
			value = 16
		}
	case "min", "max":
		switch {
		case e.numbered && x.Call == "min":
			x.Cell = program.CellLeast32
		case e.numbered:
			x.Cell = program.CellMost
		case x.Call == "min":
			x.Cell, value = program.CellLeastSet, 16
		default:
			x.Cell, value = program.CellMostSet, 16
		}
	case "":
		typ, value, x.Cell = ebpf.Hash, x.Value.Size, program.CellNumber
		if x.Value.Text {
			x.Cell = program.CellText
		}
	default:
		return unmapped(x.Line, "%s() is not mapped", x.Call)
	}
	if !e.numbered && len(x.Key) == 0 && typ != ebpf.PerCPUArray && x.Cell != program.CellLog2 && x.Cell != program.CellLinear {
		entries = 1
	}
	f.out.Specs[x.Name] = &ebpf.MapSpec{Name: x.Name, Type: typ, KeySize: uint32(size), ValueSize: uint32(value), MaxEntries: entries}
	return nil
}

// number gives maps their numbers: those of the script by their names, then the buffer.
func (f *former) number() {
	f.out.Numbers, f.out.Buffer = map[int64]string{}, "printf"
	for i, m := range f.out.Maps {
		f.out.Numbers[int64(i)] = m.Name
	}
	f.out.Numbers[int64(len(f.out.Maps))] = f.out.Buffer
	f.out.Specs[f.out.Buffer] = &ebpf.MapSpec{Name: f.out.Buffer, Type: ebpf.PerfEventArray, KeySize: 4, ValueSize: 4}
}

// declared holds what is known of the maps against what the object declares.
func (f *former) declared(o *program.Object) error {
	f.out.Buffer = "ringbuf"
	f.harmless(eventError)
	named := map[string]*ebpf.MapSpec{}
	for name, have := range o.Declared() {
		mine := "@" + strings.TrimPrefix(name, "AT_")
		want := f.out.Specs[mine]
		switch {
		case strings.HasPrefix(name, "AT_") && want != nil:
			if have.Type != want.Type || have.KeySize != want.KeySize || have.ValueSize != want.ValueSize || have.MaxEntries != want.MaxEntries {
				return unmapped(0, "bpftrace declares %s otherwise than kgent knows: %s with %d and %d bytes for %d elements", mine, have.Type, have.KeySize, have.ValueSize, have.MaxEntries)
			}
		case name == f.out.Buffer && have.Type == ebpf.RingBuf:
		case name == ".data":
		case name == "event_loss_counter", strings.HasPrefix(name, ".data."):
			f.out.Scratch = append(f.out.Scratch, name)
		case name == ".rodata": // how many processors there are; one is as good as many, for each has its own scratch
		default:
			return unmapped(0, "bpftrace uses a map %s, which kgent does not know", name)
		}
		spec := have.Copy()
		spec.Key, spec.Value = nil, nil
		named[name] = spec
	}
	for i := range f.out.Maps {
		m := &f.out.Maps[i]
		at := "AT_" + strings.TrimPrefix(m.Name, "@")
		if named[at] == nil {
			return unmapped(m.Line, "bpftrace declares no map for %s", m.Name)
		}
		m.Name = at
	}
	f.out.Specs = named
	return nil
}
