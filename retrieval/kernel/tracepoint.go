package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Tracepoint is a tracepoint as tracefs describes it: what a program of type
// tracepoint sees behind its context pointer.
type Tracepoint struct {
	// Category and Name: "sched", "sched_switch".
	Category, Name string
	// ID is the number that perf_event_open(2) takes. It differs between boots.
	ID uint64
	// Fields are the fields of the record, in the order of their offsets as printed.
	// The first four, whose names start with "common_", are the same for all.
	Fields []TracepointField
}

// TracepointField is one field of a tracepoint's record.
type TracepointField struct {
	// Name is the field's name, "prev_comm".
	Name string
	// Type is the field's type in C, "pid_t"; of an array, the type of an element.
	Type string
	// Offset and Size are in bytes from the start of the record. Size is that of the
	// whole array for arrays and 4 for DataLoc and RelLoc.
	Offset, Size uint32
	// Signed tells whether a number is signed.
	Signed bool
	// Array tells whether the field is an array, or, for DataLoc and RelLoc, what it
	// leads to.
	Array bool
	// Count is the number of elements of an Array; 0 if it is not a constant.
	Count uint32
	// DataLoc: the field is a u32 that says where the data is: its low 16 bits are
	// the offset from the start of the record, its high 16 bits the length in bytes.
	DataLoc bool
	// RelLoc is DataLoc with the offset counted from the end of this field.
	RelLoc bool
}

// Common tells whether every tracepoint has the field.
func (f TracepointField) Common() bool { return strings.HasPrefix(f.Name, "common_") }

// String writes the field as tracefs does: "char prev_comm[16]", "__data_loc char[] name".
func (f TracepointField) String() string {
	place := ""
	if f.DataLoc {
		place = "__data_loc "
	} else if f.RelLoc {
		place = "__rel_loc "
	}
	switch {
	case place != "" && f.Array:
		return place + f.Type + "[] " + f.Name
	case place != "":
		return place + f.Type + " " + f.Name
	case f.Array && f.Count > 0:
		return fmt.Sprintf("%s %s[%d]", f.Type, f.Name, f.Count)
	case f.Array:
		return f.Type + " " + f.Name + "[]"
	case strings.HasSuffix(f.Type, "*"):
		return f.Type + f.Name
	}
	return f.Type + " " + f.Name
}

// String is the name that [Facts.CheckHook] takes: "sched:sched_switch".
func (t *Tracepoint) String() string { return t.Category + ":" + t.Name }

// Field returns a field by name, and whether there is one.
func (t *Tracepoint) Field(name string) (TracepointField, bool) {
	at := slices.IndexFunc(t.Fields, func(f TracepointField) bool { return f.Name == name })
	if at < 0 {
		return TracepointField{}, false
	}
	return t.Fields[at], true
}

// Signature writes the tracepoint's own fields in one line:
// "sched:sched_wakeup { char comm[16]; pid_t pid; int prio; int target_cpu; }".
func (t *Tracepoint) Signature() string {
	var b strings.Builder
	b.WriteString(t.String() + " {")
	for _, f := range t.Fields {
		if !f.Common() {
			b.WriteString(" " + f.String() + ";")
		}
	}
	b.WriteString(" }")
	return b.String()
}

// Tracepoint looks up a tracepoint. It returns a [*NotFoundError] if there is none
// and [ErrNoTracefs] if that cannot be known. The result is shared and must not be
// modified. Reading tracefs takes root or CAP_DAC_READ_SEARCH.
func (f *Facts) Tracepoint(category, name string) (*Tracepoint, error) {
	full := category + ":" + name
	if known, ok := f.formats.Load(full); ok {
		return known.(*Tracepoint), nil
	}
	if f.TracefsMount == "" {
		return nil, fmt.Errorf("looking up tracepoint %s: %w", visible(full), ErrNoTracefs)
	}
	// The names become a path: what could lead out of the directory is no name.
	if !isEventName(category) || !isEventName(name) {
		return nil, f.noTracepoint(full)
	}
	text, err := f.src.readSmall(f.eventDir(category, name) + "/format")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, f.noTracepoint(full)
	}
	if err != nil {
		return nil, fmt.Errorf("reading tracepoint %s: %w", full, f.explainTracefs(err))
	}
	t, err := parseFormat(text)
	if err != nil {
		return nil, fmt.Errorf("reading tracepoint %s: %w", full, err)
	}
	t.Category, t.Name = category, name
	f.formats.Store(full, t)
	return t, nil
}

func (f *Facts) eventDir(category, name string) string {
	return f.TracefsMount + "/events/" + category + "/" + name
}

// isEventName tells whether s can be a category or an event: one path element.
func isEventName(s string) bool {
	return fs.ValidPath(s) && s != "." && !strings.ContainsAny(s, "/\x00") && len(s) <= 255
}

func (f *Facts) noTracepoint(full string) error {
	events, err := f.events()
	if err != nil {
		return err
	}
	return f.notFound("tracepoint", full, events)
}

// explainTracefs adds what to do to an error from reading tracefs.
func (f *Facts) explainTracefs(err error) error {
	switch {
	case !errors.Is(err, fs.ErrPermission):
		return err
	case f.Lockdown == LockdownConfidentiality:
		return fmt.Errorf("the kernel is locked down (confidentiality), which forbids reading tracefs: %w", err)
	}
	return fmt.Errorf("tracefs is open to root and to processes with CAP_DAC_READ_SEARCH only: %w", err)
}

// Tracepoints lists all tracepoints as "category:name", sorted. The caller must not
// modify the list.
func (f *Facts) Tracepoints() ([]string, error) { return f.events() }

func (f *Facts) readEvents() ([]string, error) {
	if f.TracefsMount == "" {
		return nil, fmt.Errorf("listing tracepoints: %w", ErrNoTracefs)
	}
	text, err := f.src.readSmall(f.TracefsMount + availableEvents)
	if err != nil {
		return nil, fmt.Errorf("listing tracepoints: %w", f.explainTracefs(err))
	}
	var events []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			events = append(events, line)
		}
	}
	slices.Sort(events)
	return events, nil
}

// parseFormat reads the format file of a tracepoint. Names are taken from the path,
// not from the text: both are the kernel's.
func parseFormat(text string) (*Tracepoint, error) {
	t := &Tracepoint{}
	var hasID, inFormat bool
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "print fmt:"):
			if !hasID {
				return nil, errors.New("malformed format: no ID")
			}
			return t, nil
		case line == "", strings.HasPrefix(line, "name:"):
		case line == "format:":
			inFormat = true
		case strings.HasPrefix(line, "ID:"):
			id, err := strconv.ParseUint(strings.TrimSpace(line[len("ID:"):]), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("malformed format, line %d: the ID is not a number", number)
			}
			t.ID, hasID = id, true
		case inFormat && strings.HasPrefix(line, "field:"):
			field, err := parseFormatField(line)
			if err != nil {
				return nil, fmt.Errorf("malformed format, line %d: %w", number, err)
			}
			t.Fields = append(t.Fields, field)
		default:
			return nil, fmt.Errorf("malformed format, line %d: %q", number, line)
		}
	}
	return nil, errors.New("malformed format: cut off before \"print fmt\"")
}

// parseFormatField reads "field:char comm[16];\toffset:8;\tsize:16;\tsigned:0;".
func parseFormatField(line string) (TracepointField, error) {
	rest, _ := strings.CutPrefix(line, "field:")
	decl, rest, ok := strings.Cut(rest, ";")
	if !ok {
		return TracepointField{}, fmt.Errorf("field without end: %q", line)
	}
	f, err := parseFormatDecl(decl)
	if err != nil {
		return TracepointField{}, err
	}
	var seen [3]bool
	for part := range strings.SplitSeq(rest, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, ":")
		// The kernel prints plain ints; nothing real is above this.
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return TracepointField{}, fmt.Errorf("field %s: %q is no number", f.Name, part)
		}
		switch key {
		case "offset":
			f.Offset, seen[0] = uint32(n), true
		case "size":
			f.Size, seen[1] = uint32(n), true
		case "signed":
			f.Signed, seen[2] = n != 0, true
		default:
			return TracepointField{}, fmt.Errorf("field %s: unknown property %q", f.Name, part)
		}
	}
	if seen != [3]bool{true, true, true} {
		return TracepointField{}, fmt.Errorf("field %s: offset, size or signedness is missing", f.Name)
	}
	return f, nil
}

// parseFormatDecl reads the declaration of a field: "const char * filename",
// "char comm[16]", "__data_loc char[] name".
func parseFormatDecl(decl string) (TracepointField, error) {
	var f TracepointField
	words := strings.Join(strings.Fields(decl), " ")
	if rest, ok := strings.CutPrefix(words, "__data_loc "); ok {
		f.DataLoc, words = true, rest
	} else if rest, ok := strings.CutPrefix(words, "__rel_loc "); ok {
		f.RelLoc, words = true, rest
	}
	// The array's length follows the name, or, for data whose place is computed, the
	// type. It is a number or, on older kernels, an expression.
	if strings.HasSuffix(words, "]") {
		open := lastBracket(words)
		if open < 0 {
			return f, fmt.Errorf("malformed declaration %q", decl)
		}
		length := strings.TrimSpace(words[open+1 : len(words)-1])
		if n, err := strconv.ParseUint(length, 10, 31); err == nil {
			f.Count = uint32(n)
		}
		f.Array, words = true, strings.TrimSpace(words[:open])
	}
	start := len(words)
	for start > 0 && isIdentByte(words[start-1]) {
		start--
	}
	f.Name, f.Type = words[start:], strings.TrimSpace(words[:start])
	if rest, ok := strings.CutSuffix(f.Type, "[]"); ok && (f.DataLoc || f.RelLoc) {
		f.Array, f.Type = true, strings.TrimSpace(rest)
	}
	if f.Name == "" || f.Type == "" || strings.ContainsAny(f.Type, "[]") {
		return f, fmt.Errorf("malformed declaration %q", decl)
	}
	return f, nil
}

// lastBracket returns where the bracket opens that s ends with, -1 if nowhere.
func lastBracket(s string) int {
	depth := 0
	for i := len(s) - 1; i >= 0; i-- {
		switch s[i] {
		case ']':
			depth++
		case '[':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func isIdentByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
