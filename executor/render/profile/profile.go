// Package profile takes together what a program counted by stack, from the stack
// records of any number of nodes, and gives it the forms in which people and
// their tools read it: folded stacks ([Profile.Folded]) for flame graph tools, the
// format of pprof ([Profile.Pprof]), and flame graphs ([Profile.Flame]).
//
// A function is one place in all of them, wherever in it a stack was taken. What has
// no name stays: "[libx.so]" for code of a file without symbols, "[unknown]" for
// code of which not even the file is known, and notes such as "[no user
// stack]", so that the shares are shares of everything.
package profile

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"kgent/executor/output"
	"kgent/executor/render/chart"
	"kgent/executor/render/text"
)

// Profile is what was counted in one output map, by stack. The zero Profile is
// not usable; see [New].
type Profile struct {
	name    string
	unit    string // as in output.Hist
	stacks  []*stack
	index   map[string]*stack
	skipped uint64 // what was counted in stacks beyond those kept
}

// stack is one chain of functions of one key.
type stack struct {
	task   string         // what stacks are grouped by, if anything
	key    []output.Field // scalars
	frames []Frame        // outermost first
	count  uint64
}

// maxStacks bounds what is kept. Nodes send fewer.
const maxStacks = 100_000

// New returns a Profile in which nothing was counted. unit is that of what is
// counted, as in [output.Hist]: ns, us, ms, bytes or count.
func New(name, unit string) *Profile {
	return &Profile{name: name, unit: unit, index: map[string]*stack{}}
}

// Name is that of the output map.
func (p *Profile) Name() string { return p.name }

// Unit is that of what was counted.
func (p *Profile) Unit() string { return p.unit }

// Add counts a record. Records of the same functions and the same key are added
// up, of whichever node they are.
func (p *Profile) Add(s output.Stack) {
	if s.Count == 0 {
		return
	}
	n := &stack{task: task(s.Key), count: s.Count}
	for _, f := range s.Key {
		switch f.Value.(type) {
		case string, json.Number:
			n.key = append(n.key, f)
		}
	}
	for i, f := range s.Frames {
		n.frames = append(n.frames, ParseFrame(f, i < s.Kernel))
	}
	slices.Reverse(n.frames)
	id := n.id()
	if have := p.index[id]; have != nil {
		have.count = plus(have.count, n.count)
		return
	}
	if len(p.stacks) == maxStacks {
		p.skipped = plus(p.skipped, n.count)
		return
	}
	p.index[id] = n
	p.stacks = append(p.stacks, n)
}

func plus(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

// Empty reports whether nothing was counted.
func (p *Profile) Empty() bool { return len(p.stacks) == 0 }

// Total is all that was counted.
func (p *Profile) Total() uint64 {
	sum := p.skipped
	for _, s := range p.stacks {
		sum = plus(sum, s.count)
	}
	return sum
}

// id is equal for stacks that are counted together.
func (s *stack) id() string {
	var b strings.Builder
	for _, f := range s.key {
		b.WriteString(strconv.Quote(f.Name))
		switch v := f.Value.(type) {
		case string:
			b.WriteString(strconv.Quote(v))
		case json.Number:
			b.WriteString(string(v))
		}
	}
	for _, f := range s.frames {
		b.WriteByte('\n')
		b.WriteString(f.Name)
		b.WriteByte(' ')
		b.WriteString(f.Module)
		if f.Kernel {
			b.WriteString(" k")
		}
	}
	return b.String()
}

// task is what a key says of whose stacks they are: the name of the process, or
// else all that is text.
func task(key output.Fields) string {
	if v, ok := key.Get("comm"); ok {
		if s, ok := v.(string); ok {
			return text.Clean(s)
		}
	}
	var parts []string
	for _, f := range key {
		if s, ok := f.Value.(string); ok && s != "" {
			parts = append(parts, text.Clean(s))
		}
	}
	return strings.Join(parts, " ")
}

// Frame is a function as a stack names it.
type Frame struct {
	Name string
	// Module is the file of a function in a process, or the module of one in the
	// kernel; empty when it is not known.
	Module string
	Kernel bool
	// Known is false when the name is none: a note in brackets.
	Known bool
}

// ParseFrame reads a frame of an [output.Stack], such as "malloc+0x1c (libc.so.6)",
// "nf_hook+0x4 [nf_tables]" or "[libx.so+0x1180]". Whatever it is given, the parts
// are printable and hold neither line breaks nor semicolons.
func ParseFrame(s string, kernel bool) Frame {
	s = strings.ReplaceAll(strings.TrimSpace(text.Clean(s)), ";", ":")
	f := Frame{Kernel: kernel, Known: true}
	if strings.HasPrefix(s, "[") || strings.HasPrefix(s, "0x") || s == "" {
		return f.unnamed(s)
	}
	open, end := " (", ")"
	if kernel {
		open, end = " [", "]"
	}
	if i := strings.LastIndex(s, open); i > 0 && strings.HasSuffix(s, end) {
		f.Module = s[i+len(open) : len(s)-len(end)]
		s = s[:i]
	}
	f.Name = withoutOffset(s)
	return f
}

// unnamed reads what stands for a function that has no name.
func (f Frame) unnamed(s string) Frame {
	f.Known = false
	note, rest, _ := strings.Cut(s, "]")
	note = strings.TrimPrefix(note, "[")
	switch {
	case strings.HasPrefix(s, "[unknown]"): // and then an address, and why
		f.Name = "[unknown]"
		if i := strings.Index(rest, "("); i >= 0 {
			f.Module = strings.TrimSuffix(rest[i+1:], ")")
		}
	case !strings.HasPrefix(s, "["): // an address alone
		f.Name = "[unknown]"
	case rest == "" && withoutOffset(note) != note:
		f.Module = withoutOffset(note)
		f.Name = "[" + f.Module + "]"
	default:
		f.Name = s
	}
	return f
}

// withoutOffset cuts off how far into a function an address is: +0x1c, or +28.
func withoutOffset(s string) string {
	i := strings.LastIndexByte(s, '+')
	if i <= 0 {
		return s
	}
	if _, err := strconv.ParseUint(s[i+1:], 0, 64); err != nil {
		return s
	}
	return s[:i]
}

// Folded writes one line for each stack, largest first: what it is of and its functions,
// outermost first and apart by semicolons, then a blank and the count. Functions
// of the kernel end in "_[k]", as flame graph tools expect it.
func (p *Profile) Folded() []byte {
	sums := map[string]uint64{}
	for _, s := range p.stacks {
		var parts []string
		if s.task != "" {
			parts = append(parts, strings.ReplaceAll(s.task, ";", ":"))
		}
		for _, f := range s.frames {
			name := f.Name
			if f.Kernel && f.Known {
				name += "_[k]"
			}
			parts = append(parts, name)
		}
		line := strings.Join(parts, ";")
		sums[line] = plus(sums[line], s.count)
	}
	if p.skipped > 0 {
		sums["[more stacks]"] = p.skipped
	}
	lines := make([]string, 0, len(sums))
	for l := range sums {
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	var out []byte
	for _, l := range lines {
		out = append(out, l...)
		out = append(out, ' ')
		out = strconv.AppendUint(out, sums[l], 10)
		out = append(out, '\n')
	}
	return out
}

// Flame returns the profile as a flame graph.
func (p *Profile) Flame(h chart.Heading) *chart.Flame {
	out := &chart.Flame{Heading: h, Unit: p.unit}
	for _, s := range p.stacks {
		var fns []chart.Function
		if s.task != "" {
			fns = append(fns, chart.Function{Name: s.task, Kind: chart.Task})
		}
		for _, f := range s.frames {
			fns = append(fns, chart.Function{Name: f.Name, Module: f.Module, Kind: f.kind()})
		}
		out.Add(fns, s.count)
	}
	if p.skipped > 0 {
		out.Add([]chart.Function{{Name: "[more stacks]", Kind: chart.Unknown}}, p.skipped)
	}
	return out
}

func (f Frame) kind() chart.Kind {
	switch {
	case !f.Known:
		return chart.Unknown
	case f.Kernel:
		return chart.Kernel
	case strings.Contains(f.Module, ".so") || f.Module == "vdso":
		return chart.Library
	}
	return chart.Program
}
