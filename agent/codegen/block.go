package codegen

import (
	"fmt"
	"strings"

	"kgent/agent/contract"
)

// function writes one function of the program: the steps of a place.
type function struct {
	g     *generator
	place *contract.CheckedPlace
	names *scope
	args  []expr // by the place's arguments
	// uses is how often a value is an operand, by its ID.
	uses map[int]int
	// called is what an event calls a value, by its ID.
	called map[int]string
	// extent is how far blocks are read, by the block's ID.
	extent map[int]int
	// stack is how much of the stack buffers take, in bytes.
	stack int
	// scratch is where texts are that the stack has no room for; nil: there are none.
	scratch *scratch
	// frame, end and length are variables: where a frame is, and how long a packet is.
	frame, end, length string
	// verdict says that the function returns what a case says.
	verdict bool
	// context says that the function uses ctx, emits that it hands over events: in the form for
	// kernels without ring buffers kgent.bpf.h needs it for that.
	context bool
	emits   bool
}

// block is a sequence of statements between braces. What is computed in it is known
// there and in the blocks inside it.
type block struct {
	f     *function
	outer *block
	lines []string
	memo  map[int]expr
	cells map[string]*cellRef
	texts map[string]buffer
	// shown says that what is filled here is a new event, of which people see texts up to their NUL only.
	shown bool
}

func (f *function) newBlock(outer *block) *block {
	return &block{f: f, outer: outer, memo: map[int]expr{}, cells: map[string]*cellRef{}, texts: map[string]buffer{}}
}

func (b *block) inner() *block { return b.f.newBlock(b) }

func (b *block) line(format string, args ...any) {
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

// nest puts the lines of an inner block here.
func (b *block) nest(inner *block) {
	for _, l := range inner.lines {
		b.lines = append(b.lines, "\t"+l)
	}
}

func (b *block) lookup(id int) (expr, bool) {
	if id == 0 {
		return expr{}, false
	}
	for ; b != nil; b = b.outer {
		if e, ok := b.memo[id]; ok {
			return e, true
		}
	}
	return expr{}, false
}

func (f *function) unsupported(v *contract.Value, what string) error {
	return &Unsupported{v.At, what}
}

// comment writes words so that they end no comment.
func comment(text string) string {
	// A backslash could splice lines, and what takes its place must not end a comment either.
	return strings.NewReplacer("*/", "* /", "/*", "/ *", "\\", "|").Replace(text)
}

// remark writes a comment above something: one line, or several.
func remark(indent, text string) string {
	text = comment(strings.TrimSpace(text))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	if len(lines) == 1 && len(text) < 110 {
		return indent + "/* " + text + " */\n"
	}
	out := indent + "/*\n"
	for _, l := range lines {
		for _, part := range wrap(l, 100) {
			out += strings.TrimRight(indent+" * "+part, " ") + "\n"
		}
	}
	return out + indent + " */\n"
}

func wrap(text string, width int) (out []string) {
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(out, line)
}
