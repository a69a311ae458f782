// Package console is the terminal as a channel of a conversation: [Text] for
// people, [JSON] for programs. Both ask the person at the terminal for
// approval.
//
// Everything that comes from outside (a request, a model, a traced program)
// is made harmless before it reaches the terminal.
package console

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"kgent/agent"
	"kgent/approvals"
	"kgent/bot"
	"kgent/bot/card"
	"kgent/executor/output"
	"kgent/executor/render/text"
)

// Terminal describes what output goes to. The zero value is a file.
type Terminal struct {
	Width  int  // columns
	Colour bool // escape sequences for colours are understood
	Live   bool // a person looks at it: progress may be overwritten
	Dumb   bool // it understands no escape sequence at all: nothing is overwritten
}

func (t Terminal) options() text.Options {
	return text.Options{Width: t.Width, Location: time.Local, Style: text.Style{Color: t.Colour}}
}

// uncut is so wide that no path, host name or stack frame is cut short: what
// goes to a file or another program is not read again in a wider window.
const uncut = 4000

// rows are the options of tables and stacks.
func (t Terminal) rows() text.Options {
	o := t.options()
	if !t.Live {
		o.Width = uncut
	}
	return o
}

const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	red   = "\x1b[31m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
	// eraseLine clears the current line and returns to its start.
	eraseLine = "\r\x1b[K"
)

func (t Terminal) paint(colour, s string) string {
	if !t.Colour {
		return s
	}
	return colour + s + plain
}

// Text is a channel for people.
type Text struct {
	out     writer
	approve Approver
	term    Terminal
	opt     text.Options
	rows    text.Options // of tables and stacks

	progress bool // an unfinished progress line stands on the terminal
	// failed is a stage whose reason is not shown yet: mostly the error that
	// follows says the same.
	failed  *output.Stage
	table   *text.Table
	streams map[string]output.Stream // of output maps, by name
	nodes   map[string]bool
	events  bool // the program has events
	// stacks of the last reading, hottest first, and how often maps are shown.
	stacks   []string
	minor    int // stacks of the last reading that are not shown
	interval time.Duration
}

// NewText returns a channel that prints to w. lost is called once when w no
// longer takes output.
func NewText(w io.Writer, lost func(error), approve Approver, term Terminal) *Text {
	opt, rows := term.options(), term.rows()
	return &Text{out: writer{w: w, lost: lost}, approve: approve.from(), term: term, opt: opt, rows: rows, table: text.NewTable(rows), streams: map[string]output.Stream{}, nodes: map[string]bool{}}
}

// Question implements [bot.Channel].
func (t *Text) Question(ctx context.Context, q *agent.Question) (string, error) {
	t.failed = nil
	t.print("")
	return t.approve.question(ctx, q)
}

func (t *Text) print(s string) {
	if f := t.failed; f != nil {
		t.failed = nil
		t.stage(*f)
	}
	if t.progress {
		s = eraseLine + s
		t.progress = false
	}
	t.out.write([]byte(s))
}

// Stage shows progress: on a terminal in one line that is overwritten, else
// as a line when a stage ends.
func (t *Text) Stage(s output.Stage) {
	name := text.Clean(card.Stage(s.Name))
	switch s.State {
	case "start":
		if t.term.Live && !t.term.Dumb && s.Name != "approve" {
			t.print("")
			t.out.write([]byte(eraseLine + t.term.paint(dim, "… "+name)))
			t.progress = true
		}
		return
	case "skipped":
		t.print(fmt.Sprintf("%s %-30s %s\n", t.term.paint(dim, "–"), name, text.Clean(s.Detail)))
		return
	case "failed":
		t.print("")
		s.Name = name
		t.failed = &s
		return
	}
	s.Name = name
	t.stage(s)
}

// stage shows a stage that is over. How long it took is left out where there is
// no room.
func (t *Text) stage(s output.Stage) {
	mark := t.term.paint(green, "✓")
	if s.State == "failed" {
		mark = t.term.paint(red, "✗")
	}
	detail, took := text.Clean(s.Detail), fmt.Sprintf("%d ms", s.Millis)
	if detail == "" {
		t.print(mark + " " + s.Name + "\n")
		return
	}
	line := fmt.Sprintf("%s %-30s %s", mark, s.Name, detail)
	if !t.term.Live || text.Width(detail)+len(took)+34 <= t.term.Width {
		line += " " + t.term.paint(dim, took)
	}
	t.print(line + "\n")
}

// Candidate shows the card.
func (t *Text) Candidate(c bot.Card) {
	if k := c.Keep; k != nil {
		what := card.Card{Title: "Keep as a recipe: " + k.Recipe.Name, Blocks: card.Recipe(k.Recipe.Phrasings, k.Lifted, k.Left, k.Diff)}
		what.Blocks = append(what.Blocks, card.Note{Body: "Nothing runs by this: whenever it is asked for, it is proved and approved anew."})
		t.print("\n" + Card(what, t.term) + "\n")
		return
	}
	if c.Candidate.Manifest != nil {
		t.interval = c.Candidate.Manifest.View.Interval
	}
	t.print("\n" + Card(card.Candidate(c.Ask.Text, c.Record, c.Candidate.Understood, c.Candidate.Explanation), t.term) + "\n")
}

// Decide asks the person at the terminal.
func (t *Text) Decide(ctx context.Context, c bot.Card, vote func(approvals.Vote) (bool, error)) error {
	return t.approve.decide(ctx, c, vote)
}

// Line shows one record of a node.
func (t *Text) Line(line []byte) {
	rec, err := output.Decode(line)
	if err != nil {
		t.Error(output.Error{Code: "internal", Message: err.Error()})
		return
	}
	if _, more := rec.(output.Stack); !more {
		t.flushStacks()
	}
	switch r := rec.(type) {
	case output.Attached:
		t.attached(r)
	case output.Event:
		t.print(t.table.Event(r))
	case output.Map:
		t.print("\n" + text.Map(r, t.streams[r.Name], t.rows))
	case output.Hist:
		if r.Minor {
			break
		}
		t.print("\n" + text.Hist(r, t.opt))
	case output.Stack:
		if r.Minor {
			t.minor++
		} else {
			t.stacks = append(t.stacks, text.Stack(r, t.streams[r.Name], t.rows))
		}
	case output.Text:
		t.print(text.Line(r, t.opt))
	case output.Error:
		t.Error(r)
	}
}

func (t *Text) attached(a output.Attached) {
	t.nodes[a.Node] = true
	t.opt.Nodes = len(t.nodes) > 1
	t.rows.Nodes = t.opt.Nodes
	t.table.Attached(a)
	for _, s := range a.Streams {
		t.streams[s.Name] = s
		t.events = t.events || s.Events
	}
	until := a.Deadline
	if d, err := time.Parse(time.RFC3339, a.Deadline); err == nil {
		until = d.Local().Format(time.TimeOnly)
	}
	// The card has the whole list.
	hooks := strings.Join(a.Hooks, ", ")
	if len(a.Hooks) > 2 {
		hooks = fmt.Sprintf("%d hooks", len(a.Hooks))
	}
	hint := ""
	if len(a.Where) > 0 {
		hint = "; only in " + text.Clean(strings.Join(a.Where, ", "))
	}
	switch {
	case t.events || len(a.Streams) == 0:
	case t.interval > 0:
		hint += fmt.Sprintf("; it counts, and shows the counts every %v", t.interval)
	default:
		hint += "; it counts, and shows the answer at the end"
	}
	if t.term.Live {
		hint += "; Ctrl-C ends it sooner"
	}
	t.print(t.term.paint(dim, fmt.Sprintf("attached on %s at %s, until %s%s", text.Clean(a.Node), text.Clean(hooks), text.Clean(until), hint)) + "\n")
}

// Error shows what went wrong.
func (t *Text) Error(e output.Error) {
	if t.failed != nil && t.failed.Detail != "" && strings.Contains(e.Message, t.failed.Detail) {
		t.failed.Detail = "" // said once, below
	}
	// A message may have several lines; each is cleaned by itself.
	lines := strings.Split(strings.TrimRight(e.Message, "\n"), "\n")
	for i, l := range lines {
		lines[i] = t.folded(text.Clean(strings.ReplaceAll(l, "\t", "    ")))
	}
	where := ""
	if e.Node != "" && !strings.Contains(lines[0], e.Node) {
		where = " on " + text.Clean(e.Node)
	}
	t.print(t.term.paint(red, "error"+where+": ") + strings.Join(lines, "\n  ") + "\n")
}

// folded breaks a line of an error that is too long for the terminal, at spaces
// and under its own indentation.
func (t *Text) folded(line string) string {
	room := t.term.Width - len("error: ")
	if !t.term.Live || text.Width(line) <= room {
		return line
	}
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	return indent + strings.Join(wrap(line, room-len(indent)), "\n  "+indent)
}

// Summary shows the account.
func (t *Text) Summary(s output.Summary) {
	if len(s.Nodes) == 0 { // nothing ran: the error or the card has said all
		t.print("")
		return
	}
	t.flushStacks()
	t.print("\n" + text.Summary(s, t.events, t.opt))
}

// flushStacks prints stacks that came hottest first with the hottest last:
// that is where a person looks when the screen has scrolled.
func (t *Text) flushStacks() {
	if t.minor > 0 {
		t.print("\n" + t.term.paint(dim, fmt.Sprintf("… %d rarer stacks are not shown; --save writes a flame graph of all", t.minor)) + "\n")
		t.minor = 0
	}
	for _, s := range slices.Backward(t.stacks) {
		t.print("\n" + s)
	}
	t.stacks = nil
}

// Card draws a card, without its buttons.
func Card(c card.Card, term Terminal) string {
	lead := ""
	if c.Title != "" {
		lead = term.paint(bold, text.Clean(c.Title)) + "\n"
	}
	var b strings.Builder
	for _, block := range c.Blocks {
		b.WriteString(Block(block, term))
	}
	return lead + b.String()
}

// Block draws one block of a card. Of a row it draws the text.
func Block(block card.Block, term Terminal) string {
	width := min(max(term.Width, 60), 110)
	var b strings.Builder
	switch x := block.(type) {
	case card.Fields:
		room := 10
		for _, f := range x {
			room = max(room, text.Width(f.Label)+2)
		}
		for _, f := range x {
			said := f.Text
			if !f.At.IsZero() {
				said = f.At.Local().Format(time.TimeOnly)
			}
			label := fmt.Sprintf("  %-*s", room, text.Clean(f.Label))
			for _, l := range strings.Split(said, "\n") {
				wrapped(&b, term, label, text.Clean(l), width)
				label = strings.Repeat(" ", text.Width(label))
			}
		}
	case card.List:
		fmt.Fprintf(&b, "  %s\n", term.paint(bold, text.Clean(x.Heading)))
		for _, item := range x.Items {
			wrapped(&b, term, "    • ", text.Clean(item), width)
		}
	case card.Text:
		lead := "  "
		if x.Quoted {
			lead = "  | "
		}
		paragraph(&b, term, lead, x.Body, width)
	case card.Note:
		body := x.Body
		if to := x.Link(); to != "" {
			body += "\n" + to
		}
		for _, l := range broken(body, width-2) {
			fmt.Fprintf(&b, "  %s\n", term.paint(dim, l))
		}
	case card.Row:
		paragraph(&b, term, "  ", x.Body, width)
	case card.Divider:
		fmt.Fprintf(&b, "  %s\n", term.paint(dim, strings.Repeat("─", width-4)))
	case card.Code:
		for _, l := range strings.Split(x.Body, "\n") {
			fmt.Fprintf(&b, "    %s\n", text.Clean(strings.ReplaceAll(l, "\t", "    ")))
		}
	}
	return b.String()
}

// marker is what a line of an outline begins with.
var marker = regexp.MustCompile(`^ *(?:[-→] )?`)

// paragraph writes text of any number of lines behind a lead. What follows a
// line's marker stays to the right of it.
func paragraph(b *strings.Builder, term Terminal, lead, body string, width int) {
	for _, line := range strings.Split(body, "\n") {
		line = text.Clean(line)
		mark := marker.FindString(line)
		hanging := strings.Repeat(" ", text.Width(mark))
		for _, l := range wrap(line[len(mark):], width-len(lead)-len(hanging)) {
			fmt.Fprintf(b, "%s%s%s\n", term.paint(dim, lead), mark, l)
			mark = hanging
		}
	}
}

// broken makes text clean and breaks it into lines, at its own and where it is
// too long.
func broken(body string, width int) []string {
	var out []string
	for _, l := range strings.Split(body, "\n") {
		out = append(out, wrap(text.Clean(l), width)...)
	}
	return out
}

// wrapped writes a label and text, the text's further lines under its first.
func wrapped(b *strings.Builder, term Terminal, label, body string, width int) {
	indent := strings.Repeat(" ", text.Width(label))
	for i, l := range wrap(body, width-text.Width(label)) {
		if i == 0 {
			fmt.Fprintf(b, "%s%s\n", term.paint(dim, label), l)
		} else {
			fmt.Fprintf(b, "%s%s\n", indent, l)
		}
	}
}

// wrap breaks clean text into lines of at most width columns, at spaces where
// there are any.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case text.Width(line)+1+text.Width(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// clean makes source text harmless line by line.
func clean(source string) string {
	lines := strings.Split(source, "\n")
	for i, l := range lines {
		lines[i] = text.Clean(strings.ReplaceAll(l, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}
