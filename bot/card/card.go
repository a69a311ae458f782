// Package card says what the messages of a conversation contain, apart from
// any platform: a small tree of headings, fields, lists, code and buttons that
// a terminal, Slack or Discord each draws in its own way.
//
// Every string in it is plain text. Whoever draws a card escapes what the
// platform would take for mark-up, and cuts what does not fit with a word
// about it. What is to be read on Discord
// has to do with some 3,600 characters in all.
package card

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"kgent/executor/output"
)

// Card is one message.
type Card struct {
	Title  string  `json:"title"`
	Tone   Tone    `json:"tone,omitempty"`
	Blocks []Block `json:"blocks,omitempty"`
	// Buttons stand below, in this order. At most [MaxButtons].
	Buttons []Button `json:"buttons,omitempty"`
}

// MaxButtons is how many buttons a card has at most: Discord's five rows of
// five are one limit, what a person takes in is the lower one.
const MaxButtons = 10

// Tone is what a card's colour or mark says. It is never the only sign.
type Tone string

const (
	Plain   Tone = ""        // says something
	Working Tone = "working" // is under way
	Asking  Tone = "asking"  // waits for somebody
	Good    Tone = "good"    // went well
	Warning Tone = "warning" // needs a look
	Bad     Tone = "bad"     // went wrong, or was refused
)

// Block is one of Fields, List, Text, Code, Note, Divider and Row.
type Block interface{ block() }

// Fields are short facts, each with a label.
type Fields []Field

// Field is one labelled fact. Text of several lines is a list.
type Field struct {
	Label string `json:"label"`
	Text  string `json:"text"`
	// At, if set, is the time that Text says, for platforms that can show how
	// long that is from now. Without Text it is drawn in whatever zone they do.
	At time.Time `json:"at,omitzero"`
}

// List is a heading with one line an item.
type List struct {
	Heading string   `json:"heading"`
	Items   []string `json:"items"`
}

// Text is a paragraph. Quoted text is somebody's words, not kgent's.
type Text struct {
	Body   string `json:"body"`
	Quoted bool   `json:"quoted,omitempty"`
}

// Code is shown as it is, in a fixed pitch. What does not fit loses its
// middle.
type Code struct {
	Language string `json:"language,omitempty"`
	Body     string `json:"body"`
}

// Note is small print.
type Note struct {
	Body string `json:"body"`
	// URL, if set, is where the note leads to. Only [Note.Link] is drawn.
	URL string `json:"url,omitempty"`
}

// Link returns where a note leads to, or "" when that is nowhere that anybody
// may be led: it has neither spaces nor what ends a link in mark-up.
func (n Note) Link() string {
	if u, err := url.Parse(n.URL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsAny(n.URL, " \t\r\n<>()[]|\"`\\") || len(n.URL) > 500 {
		return ""
	}
	return n.URL
}

// Divider is a line across.
type Divider struct{}

// Row is a line of text with buttons that belong to it, as in a list of runs
// that can each be stopped.
type Row struct {
	Body    string   `json:"body"`
	Buttons []Button `json:"buttons"`
}

func (Fields) block()  {}
func (List) block()    {}
func (Text) block()    {}
func (Code) block()    {}
func (Note) block()    {}
func (Divider) block() {}
func (Row) block()     {}

// Style is how a button looks.
type Style string

const (
	Default Style = ""
	Primary Style = "primary"
	Danger  Style = "danger"
)

// Button carries nothing but a verb and an opaque id: what it does is looked
// up when it is pressed.
type Button struct {
	Verb  string `json:"verb"` // a word of lower-case letters
	ID    string `json:"id"`   // at most [MaxID] characters
	Label string `json:"label"`
	Style Style  `json:"style,omitempty"`
}

// MaxID is the longest id of a button or form: Discord's custom_id has 100
// characters, for verb, separator and id.
const MaxID = 80

// Form is what a button may open, to be filled in and sent.
type Form struct {
	Verb   string  `json:"verb"` // of the event that sending it makes
	ID     string  `json:"id"`
	Title  string  `json:"title"`  // at most 24 characters (Slack's limit for modals)
	Submit string  `json:"submit"` // the button's label
	Inputs []Input `json:"inputs"` // at most 5 (Discord's limit)
}

// Input is one line or box of a form.
type Input struct {
	Name      string `json:"name"`            // of the value in the event
	Label     string `json:"label"`           // at most 45 characters (Discord's limit)
	Value     string `json:"value,omitempty"` // what stands there at first
	Hint      string `json:"hint,omitempty"`  // shown while it is empty, at most 100 characters
	Multiline bool   `json:"multiline,omitempty"`
	Optional  bool   `json:"optional,omitempty"`
	Max       int    `json:"max,omitempty"` // characters; 0 is 1000
}

// terminalScript is how much of a script a terminal's card shows, in bytes: all of it.
const terminalScript = 16 << 10

// Script is the part of a script that a card shows: all of one that has at most
// most bytes, which is said otherwise.
func Script(text string, most int) string {
	text = strings.TrimSpace(text)
	if len(text) <= most {
		return text
	}
	shown := text[:most]
	shown = shown[:max(strings.LastIndexByte(shown, '\n'), 0)]
	return fmt.Sprintf("%s\n… THIS IS NOT ALL OF IT: %d more lines are with the source", shown, strings.Count(text[len(shown):], "\n"))
}

// Title is a program's title as cards show it: a recipe's stands as it is, any
// other author's words are quoted as such.
func Title(origin, title string) string {
	if strings.HasPrefix(origin, "recipe ") || strings.HasPrefix(origin, "composed ") {
		return title
	}
	return fmt.Sprintf("%q (the author's words)", title)
}

// Candidate is the card on which people decide. Everything on it follows from
// the request, the program's facts and the policy; the author's own words are
// quoted as such.
func Candidate(request string, c output.Candidate, understood []string, explanation string) Card {
	verdict := Verdict(c, true)
	card := Card{Title: Title(c.Origin, c.Title)}
	card.Blocks = append(card.Blocks, Fields{
		{Label: "request", Text: request},
		{Label: "program", Text: c.Origin},
		{Label: "runs on", Text: strings.Join(c.Nodes, ", ")},
		{Label: "for", Text: c.Duration},
		{Label: "risk", Text: c.Tier + ": " + strings.Join(c.Why, "; ")},
		{Label: "verdict", Text: verdict},
		{Label: "digest", Text: short(c.Digest)},
	})
	if c.Script != "" {
		card.Blocks = append(card.Blocks, Code{Body: Script(c.Script, terminalScript)})
	}
	card.Blocks = append(card.Blocks, List{"it does", c.Does}, List{"it listens at", few(c.Hooks)})
	if len(c.Params) > 0 {
		items := make([]string, len(c.Params))
		for i, p := range c.Params {
			items[i] = fmt.Sprintf("%s = %s", p.Name, p.Value)
		}
		card.Blocks = append(card.Blocks, List{"with the parameters", items})
	}
	if len(understood) > 0 {
		card.Blocks = append(card.Blocks, List{"understood from the request", understood})
	}
	if explanation != "" {
		card.Blocks = append(card.Blocks, Text{Body: explanation, Quoted: true})
	}
	if c.Contract != "" {
		card.Blocks = append(card.Blocks, Text{Body: "What it has to do, by its contract:\n" + Contract(c.Contract, terminalContract)})
	}
	if c.Reading != "" {
		card.Blocks = append(card.Blocks, Text{Body: c.Reading})
	}
	return card
}

// terminalContract is how much of a contract a terminal's card shows, in bytes.
const terminalContract = 4000

// Verdict says what is known about the meaning of a program, for people who
// are asked whether it may run. loads says that every kernel it is for takes it.
func Verdict(c output.Candidate, loads bool) string {
	if c.Verdict == "VERIFIED" {
		// The names of a contract's cases say nothing to whoever has not written it.
		parts := slices.DeleteFunc(strings.Split(c.Reason, "; "), func(p string) bool { return p == "" || strings.HasPrefix(p, "cases ") || strings.HasPrefix(p, "case ") })
		if len(parts) == 0 {
			return c.Verdict
		}
		return c.Verdict + ": " + strings.Join(parts, "; ")
	}
	var known []string
	if loads {
		known = append(known, "it loads on the kernel it is for")
	}
	if strings.HasPrefix(c.Tier, "observe") {
		known = append(known, "only reads")
		if !loads {
			known[0] = "it " + known[0]
		}
	}
	s := "UNPROVED"
	if c.Verdict != "UNKNOWN" {
		s += " (" + c.Verdict + ")"
	}
	s += ": nobody has shown that it means what was asked"
	if len(known) > 0 {
		s += "; " + strings.Join(known, " and ")
	}
	// That nothing was proved is said; why, where there is more to it.
	if why := strings.TrimPrefix(c.Reason, "unproved: "); why != "" && !strings.HasPrefix(why, "no contract was checked") {
		s += " (" + why + ")"
	}
	return s
}

// Stage is what a step of preparing a program is called while it lasts.
func Stage(name string) string {
	if s := stages[name]; s != "" {
		return s
	}
	return name
}

var stages = map[string]string{
	"keep":     "keeping it as a recipe",
	"lift":     "making parameters of constants",
	"match":    "looking for a recipe",
	"compose":  "composing from what is known",
	"plan":     "the model divides the request",
	"contract": "the model writes a contract",
	"generate": "making the program of it",
	"write":    "the model writes a program",
	"tool":     "the model looks something up",
	"read":     "reading the script",
	"compile":  "compiling",
	"facts":    "checking the hooks",
	"prove":    "proving",
	"compare":  "comparing two readings",
	"decide":   "which reading is meant",
	"load":     "asking the kernel's verifier",
	"approve":  "waiting for approval",
}

// few makes one item of many hooks, so that the question below them and what
// the program is stay on one screen.
func few(hooks []string) []string {
	if len(hooks) <= 4 {
		return hooks
	}
	return []string{strings.Join(hooks, ", ")}
}

func short(digest string) string {
	if len(digest) > 12 {
		return digest[:12]
	}
	return digest
}
