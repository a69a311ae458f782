package result

import (
	"fmt"
	"slices"
	"strings"

	"kgent/executor/output"
	"kgent/executor/render/text"
)

// placesLong is how long a list of nodes may be in a sentence, in characters.
const placesLong = 240

// places lists nodes, many as ranges.
func places(nodes []string) string { return text.Short(cleaned(nodes), placesLong) }

func cleaned(nodes []string) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = clean(n)
	}
	return out
}

// Group is the nodes that a run ended on in the same way, for the same reason.
type Group struct {
	State  State
	Detail string
	Nodes  []string
	Events uint64 // that arrived from all of them
}

// String names the nodes, and says what became of the run there.
func (g Group) String() string {
	s := text.Short(g.Nodes, placesLong)
	if len(g.Nodes) > 1 {
		s = fmt.Sprintf("%d nodes (%s)", len(g.Nodes), s)
	}
	s += ": " + string(g.State)
	if g.Detail != "" {
		s += ": " + g.Detail
	}
	return s
}

// order is that in which groups are shown: what is wrong first.
var order = []State{Missing, Failed, CutShort, Refused, Unknown, Answered}

// Groups are the nodes by how they ended, those first that did not answer.
func Groups(nodes []Node) []Group {
	var out []Group
	index := map[string]int{}
	for _, n := range nodes {
		detail := nameless(n.Detail, n.Name)
		id := string(n.State) + "\n" + detail
		i, ok := index[id]
		if !ok {
			i = len(out)
			index[id] = i
			out = append(out, Group{State: n.State, Detail: n.Detail})
		} else {
			out[i].Detail = detail
		}
		out[i].Nodes = append(out[i].Nodes, n.Name)
		out[i].Events = plus(out[i].Events, n.Events)
	}
	slices.SortStableFunc(out, func(a, b Group) int { return slices.Index(order, a.State) - slices.Index(order, b.State) })
	return out
}

// nameless is what a node says without its name, which is all that tells apart what hundreds
// say. A longer name that has it in it is another's: db-1 is not in db-10, nor in db-1.eu.
func nameless(text, name string) string {
	if name == "" {
		return text
	}
	var b strings.Builder
	for rest := text; ; {
		i := strings.Index(rest, name)
		if i < 0 {
			return b.String() + rest
		}
		before, after := text[:len(text)-len(rest)+i], rest[i+len(name):]
		if isInName(before, after) {
			b.WriteString(rest[:i+1])
			rest = rest[i+1:]
			continue
		}
		b.WriteString(strings.TrimSuffix(rest[:i], "node "))
		b.WriteString("the node")
		rest = after
	}
}

// isInName reports whether what stands between two texts is a part of a longer name there.
func isInName(before, after string) bool {
	letter := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	if n := len(before); n > 0 && (letter(before[n-1]) || before[n-1] == '.') {
		return true
	}
	after = strings.TrimLeft(after, ".") // of a name, unless it ends a sentence
	return after != "" && letter(after[0])
}

// failure is an error that one or several nodes told.
type failure struct {
	output.Error          // without the node's name at the front
	nodes        []string // none: it is no node's
	named        bool     // the message names the node
}

// same is a message without its node's name, which is all that tells apart what
// hundreds of nodes say.
func same(e output.Error) output.Error {
	e.Message = strings.TrimPrefix(e.Message, e.Node+": ")
	e.Node = ""
	return e
}

func (f failure) words() string {
	msg := clean(firstLine(f.Message))
	switch {
	case len(f.nodes) == 0:
		return msg
	case len(f.nodes) == 1 && f.named:
		return msg
	case len(f.nodes) == 1:
		return clean(f.nodes[0]) + ": " + msg
	}
	return fmt.Sprintf("on %d nodes (%s): %s", len(f.nodes), places(f.nodes), msg)
}

// fail takes in an error.
func (r *Result) fail(x output.Error) {
	if len(x.Message) > keepText {
		x.Message = strings.ToValidUTF8(x.Message[:keepText], "") + "…"
	}
	e := same(x)
	for i := range r.errors {
		f := &r.errors[i]
		if f.Error != e || (x.Node == "") != (len(f.nodes) == 0) {
			continue
		}
		if x.Node == "" || slices.Contains(f.nodes, x.Node) || len(f.nodes) == keepNodes {
			r.moreErrs++
			return
		}
		f.nodes = append(f.nodes, x.Node)
		return
	}
	if len(r.errors) == keepErrors {
		r.moreErrs++
		return
	}
	f := failure{Error: e, named: x.Node != "" && strings.Contains(e.Message, x.Node)}
	if x.Node != "" {
		f.nodes = []string{x.Node}
	}
	r.errors = append(r.errors, f)
}

// Bounds of the lines that are compared over nodes.
const (
	keepShared      = 400     // different ones
	keepSharedBytes = 1 << 20 // of them, with the names of their nodes
)

// sharing compares what nodes print, line by line.
type sharing struct {
	lines []sharedLine
	index map[string]int
	bytes int
	many  bool // more than are compared
}

type sharedLine struct {
	text  output.Text
	nodes []string
}

func (s *sharing) add(t output.Text) {
	if s.many {
		return
	}
	if s.index == nil {
		s.index = map[string]int{}
	}
	i, ok := s.index[t.Line]
	if !ok {
		i = len(s.lines)
		s.index[t.Line] = i
		s.lines = append(s.lines, sharedLine{text: t})
		s.bytes += 2*len(t.Line) + sumBytes
	}
	if l := &s.lines[i]; !slices.Contains(l.nodes, t.Node) {
		l.nodes = append(l.nodes, t.Node)
		s.bytes += sumNodeBytes
	}
	if len(s.lines) > keepShared || s.bytes > keepSharedBytes {
		*s = sharing{many: true}
	}
}

// sharedLines shows what nodes printed by who printed it: lines that the same nodes
// have said stand together, what most said first. It is false when that is no
// shorter than what came.
func (r *Result) sharedLines() (Block, bool) {
	s := &r.shares
	if !r.several() || s.many || uint64(len(s.lines)) == r.lines.total {
		return Block{}, false
	}
	type group struct {
		nodes []string
		lines []string
	}
	var groups []group
	index := map[string]int{}
	o := r.options()
	o.Nodes = false
	for _, l := range s.lines {
		nodes := slices.Sorted(slices.Values(l.nodes))
		id := strings.Join(nodes, "\n")
		i, ok := index[id]
		if !ok {
			i = len(groups)
			index[id] = i
			groups = append(groups, group{nodes: nodes})
		}
		groups[i].lines = append(groups[i].lines, r.harden("  "+text.Line(l.text, o)))
	}
	slices.SortStableFunc(groups, func(a, b group) int { return len(b.nodes) - len(a.nodes) })
	var out []string
	for _, g := range groups {
		lead := "on " + places(g.nodes) + ":"
		switch {
		case len(g.nodes) == len(r.nodes):
			lead = fmt.Sprintf("on all %d nodes:", len(g.nodes))
		case len(g.nodes) > 1:
			lead = fmt.Sprintf("on %d nodes, %s:", len(g.nodes), places(g.nodes))
		}
		out = append(out, wrap(lead, r.o.Columns)...)
		out = append(out, g.lines...)
	}
	return Block{fmt.Sprintf("%s, %d different", plural(r.lines.total, "line"), len(s.lines)), strings.Join(out, "\n")}, true
}
