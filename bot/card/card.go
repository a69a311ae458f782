// Package card says what the messages of a conversation contain, apart from
// any platform: a small tree of headings, fields, lists and code that a
// terminal, Slack or Discord each draws in its own way.
package card

import (
	"fmt"
	"strings"

	"kgent/executor/output"
)

// Card is one message.
type Card struct {
	Title  string
	Blocks []Block
}

// Block is one of Fields, List, Text and Code.
type Block interface{ block() }

// Fields are short facts, each with a label.
type Fields []Field

// Field is one labelled fact. Text of several lines is a list.
type Field struct{ Label, Text string }

// List is a heading with one line an item.
type List struct {
	Heading string
	Items   []string
}

// Text is a paragraph. Quoted text is somebody's words, not kgent's.
type Text struct {
	Body   string
	Quoted bool
}

// Code is shown as it is, in a fixed pitch.
type Code struct{ Language, Body string }

func (Fields) block() {}
func (List) block()   {}
func (Text) block()   {}
func (Code) block()   {}

// Candidate is the card on which people decide. Everything on it follows from
// the request, the program's facts and the policy; the author's own words are
// quoted as such.
func Candidate(request string, c output.Candidate, understood []string, explanation string) Card {
	verdict := c.Verdict
	if c.Verdict != "VERIFIED" {
		verdict = "UNPROVED (" + c.Verdict + ")"
	}
	if c.Reason != "" {
		verdict += ": " + strings.TrimPrefix(c.Reason, "unproved: ")
	}
	card := Card{Title: c.Title}
	if !strings.HasPrefix(c.Origin, "recipe ") {
		card.Title = fmt.Sprintf("%q (the author's words)", c.Title)
	}
	card.Blocks = append(card.Blocks, Fields{
		{"request", request},
		{"program", c.Origin},
		{"runs on", strings.Join(c.Nodes, ", ")},
		{"for", c.Duration},
		{"risk", c.Tier + ": " + strings.Join(c.Why, "; ")},
		{"verdict", verdict},
		{"digest", short(c.Digest)},
	})
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
	return card
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
