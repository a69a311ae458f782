package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	slackgo "github.com/slack-go/slack"

	"kgent/bot/card"
	"kgent/executor/render/text"
)

// A card becomes Slack's blocks. Nothing of a card is ever put where Slack
// reads mark-up (mrkdwn): it goes into plain_text objects and the text
// elements of rich_text, in which <!channel>, <@U1>, a link, *, ` or ``` are
// just these characters. What has no shape or turns text around is shown as
// \u202e (see text.Clean).

// limits are what a message may hold.
type limits struct {
	blocks int // blocks in all
	chars  int // characters in all
	code   int // characters in one piece of code
}

// Slack takes 50 blocks and, in practice, about 13,200 characters a message;
// 100 blocks in an App Home. small is for when Slack finds a message too long
// nonetheless.
var (
	whole = limits{blocks: 50, chars: 12000, code: 4000}
	home  = limits{blocks: 100, chars: 12000, code: 4000}
	small = limits{blocks: 20, chars: 2500, code: 1200}
)

const (
	maxHeader   = 150
	maxSection  = 2900 // Slack: 3,000
	maxNote     = 1900 // Slack: 2,000
	maxLabel    = 75   // of a button
	maxActions  = 25   // buttons in a block
	maxValue    = 2000 // of a button
	maxActionID = 255
	maxItems    = 100 // of a list or facts; there is no documented limit
	maxFallback = 1000
	// actionPrefix begins the action ids of kgent's buttons.
	actionPrefix = "kgent:"
)

// marks stand before the title and say the tone where colour would.
var marks = map[card.Tone]string{
	card.Working: "⏳", card.Asking: "🔔", card.Good: "✅", card.Warning: "⚠️", card.Bad: "❌",
}

// width is how many characters Slack may count for a rune: & < > as their
// escapes, what is beyond the basic plane as two.
func width(r rune) int {
	switch {
	case r == '&':
		return 5
	case r == '<', r == '>':
		return 4
	case r > 0xffff:
		return 2
	}
	return 1
}

func length(s string) int {
	n := 0
	for _, r := range s {
		n += width(r)
	}
	return n
}

// cut shortens s to at most limit characters, the last of which is then an
// ellipsis. It never splits a rune.
func cut(s string, limit int) string {
	n, fits := 0, 0 // fits: bytes of s that leave room for the ellipsis
	for i, r := range s {
		if n+1 <= limit {
			fits = i
		}
		n += width(r)
		if n > limit {
			if limit < 1 {
				return ""
			}
			return strings.TrimRight(s[:fits], " \n") + "…"
		}
	}
	return s
}

// cutMiddle shortens code: its beginning and, longer, its end stay.
func cutMiddle(s string, limit int) string {
	if length(s) <= limit {
		return s
	}
	const mark = 40 // characters for the line between
	lines := strings.Split(s, "\n")
	head, tail, n := 0, len(lines), 0
	for head < tail && n+length(lines[head])+1 <= (limit-mark)/3 {
		n += length(lines[head]) + 1
		head++
	}
	for tail > head && n+length(lines[tail-1])+1 <= limit-mark {
		n += length(lines[tail-1]) + 1
		tail--
	}
	if tail == len(lines) { // a last line that is longer than all there is room for
		return cut(s, limit)
	}
	between := fmt.Sprintf("… %d lines left out …", tail-head)
	return strings.Join(slices.Concat(lines[:head], []string{between}, lines[tail:]), "\n")
}

// clean makes text from outside honest, keeping its lines.
func clean(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\t", "    ")
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = text.Clean(l)
	}
	return strings.Join(lines, "\n")
}

// prose is clean text without space around it.
func prose(s string) string { return strings.TrimSpace(clean(s)) }

// indented keeps the spaces at the beginning of lines from being drawn as one or none:
// by them the conditions of a contract show which case they belong to.
func indented(body string) string {
	lines := strings.Split(body, "\n")
	for i, l := range lines {
		rest := strings.TrimLeft(l, " ")
		lines[i] = strings.Repeat("\u00a0", len(l)-len(rest)) + rest
	}
	return strings.Join(lines, "\n")
}

// line is clean text on one line.
func line(s string) string {
	return strings.Join(strings.Fields(clean(s)), " ")
}

// sheet collects the blocks of one message.
type sheet struct {
	limits
	blocks []slackgo.Block
	left   int // characters
	lost   int // blocks of the card that found no room
}

// render draws a card within the limits, whatever is in it.
func render(c card.Card, l limits) []slackgo.Block {
	buttons := actions(c.Buttons)
	s := &sheet{limits: l, left: l.chars}
	// What is put below is set aside first: the buttons, and the line about what
	// was left out.
	s.limits.blocks -= len(buttons) + 1
	s.left -= 100
	for _, b := range c.Buttons[:min(len(c.Buttons), maxActions)] {
		s.left -= min(length(b.Label), maxLabel)
	}
	if title := line(marks[c.Tone] + " " + c.Title); title != "" {
		title = s.text(title, maxHeader)
		s.blocks = append(s.blocks, slackgo.NewHeaderBlock(plainText(title)))
	}
	for _, b := range c.Blocks {
		s.block(b)
	}
	if s.lost > 0 {
		note := fmt.Sprintf("… %d more parts of this do not fit into one message", s.lost)
		s.blocks = append(s.blocks, slackgo.NewContextBlock("", plainText(note)))
	}
	if len(s.blocks)+len(buttons) == 0 {
		s.blocks = append(s.blocks, slackgo.NewSectionBlock(plainText("–"), nil, nil))
	}
	return append(s.blocks, buttons...)
}

// text cuts what is to be shown to what there is room for, and counts it.
func (s *sheet) text(t string, limit int) string {
	t = cut(t, min(limit, s.left))
	s.left -= length(t)
	return t
}

// full reports that a block of n blocks finds no room, and counts it.
func (s *sheet) full(n int) bool {
	if len(s.blocks)+n > s.limits.blocks || s.left < 20 {
		s.lost++
		return true
	}
	return false
}

func (s *sheet) block(b card.Block) {
	switch b := b.(type) {
	case card.Fields:
		s.fields(b)
	case card.List:
		s.list(b.Heading, b.Items)
	case card.Text:
		s.paragraph(b)
	case card.Code:
		body := strings.TrimRight(strings.Trim(clean(b.Body), "\n"), " ")
		if strings.TrimSpace(body) == "" || s.full(1) {
			return
		}
		body = cutMiddle(body, min(s.limits.code, s.left))
		s.left -= length(body)
		s.rich(&slackgo.RichTextPreformatted{Type: slackgo.RTEPreformatted, Elements: []slackgo.RichTextSectionElement{plain(body)}})
	case card.Note:
		if body := prose(b.Body); body != "" && !s.full(1) {
			if to := b.Link(); to != "" {
				s.rich(slackgo.NewRichTextSection(slackgo.NewRichTextSectionLinkElement(to, s.text(line(body), maxNote), nil)))
				return
			}
			s.blocks = append(s.blocks, slackgo.NewContextBlock("", plainText(s.text(body, maxNote))))
		}
	case card.Divider:
		if !s.full(1) {
			s.blocks = append(s.blocks, slackgo.NewDividerBlock())
		}
	case card.Row:
		s.row(b)
	}
}

func (s *sheet) rich(elements ...slackgo.RichTextElement) {
	s.blocks = append(s.blocks, slackgo.NewRichTextBlock("", elements...))
}

func plain(t string) slackgo.RichTextSectionElement {
	return slackgo.NewRichTextSectionTextElement(t, nil)
}

func bold(t string) slackgo.RichTextSectionElement {
	return slackgo.NewRichTextSectionTextElement(t, &slackgo.RichTextSectionTextStyle{Bold: true})
}

func plainText(t string) *slackgo.TextBlockObject {
	return slackgo.NewTextBlockObject(slackgo.PlainTextType, t, false, false)
}

// fields are lines of "label:  text", in one block so that they stand close.
// A time is drawn as its text, in the zone of all others on the card: a date of
// Slack's would be in the reader's own, beside them.
func (s *sheet) fields(fields card.Fields) {
	var elements []slackgo.RichTextElement
	shown := 0
	for i, f := range fields {
		label, body := line(f.Label), prose(f.Text)
		dated := !f.At.IsZero() && f.At.Unix() > 0 && f.At.Year() < 10000
		if label == "" && body == "" && !dated {
			continue
		}
		if shown == 0 && s.full(1) {
			return
		}
		if shown == maxItems || s.left < 20 {
			elements = append(elements, slackgo.NewRichTextSection(plain(fmt.Sprintf("… and %d more", len(fields)-i))))
			break
		}
		shown++
		var parts []slackgo.RichTextSectionElement
		if label = s.text(label, 200); label != "" {
			parts = append(parts, bold(label+":"))
		}
		switch {
		case dated && body == "":
			if len(parts) > 0 {
				parts = append(parts, plain("  "))
			}
			parts = append(parts, s.date(f.At, body))
		case strings.Contains(body, "\n"):
			if len(parts) > 0 {
				elements = append(elements, slackgo.NewRichTextSection(parts...))
			}
			elements = append(elements, s.items(strings.Split(body, "\n")))
			continue
		default:
			if body = s.text(body, maxSection); body != "" && len(parts) > 0 {
				body = "  " + body
			}
			if body != "" {
				parts = append(parts, plain(body))
			}
		}
		if len(parts) > 0 {
			elements = append(elements, slackgo.NewRichTextSection(parts...))
		}
	}
	if len(elements) > 0 {
		s.rich(elements...)
	}
}

// date is a time in the reader's own zone and language.
func (s *sheet) date(at time.Time, otherwise string) slackgo.RichTextSectionElement {
	if otherwise == "" {
		otherwise = at.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	otherwise = or(s.text(otherwise, 200), "…")
	return slackgo.NewRichTextSectionDateElement(at.Unix(), "{date_short_pretty} {time_secs}", nil, &otherwise)
}

// bullets is a list. The client library's own always has an offset, which
// Slack's published types do not know.
type bullets struct {
	Type     slackgo.RichTextElementType     `json:"type"`
	Style    slackgo.RichTextListElementType `json:"style"`
	Elements []slackgo.RichTextElement       `json:"elements"`
}

// RichTextElementType makes it an element of a rich_text block.
func (b *bullets) RichTextElementType() slackgo.RichTextElementType { return b.Type }

// items are the lines of a list, without the empty ones.
func (s *sheet) items(items []string) *bullets {
	list := &bullets{Type: slackgo.RTEList, Style: slackgo.RTEListBullet}
	for i, item := range items {
		if item = prose(item); item == "" {
			continue
		}
		if len(list.Elements) == maxItems || s.left < 20 {
			list.Elements = append(list.Elements, slackgo.NewRichTextSection(plain(fmt.Sprintf("… and %d more", len(items)-i))))
			break
		}
		list.Elements = append(list.Elements, slackgo.NewRichTextSection(plain(s.text(item, maxSection))))
	}
	return list
}

func (s *sheet) list(heading string, items []string) {
	heading = line(heading)
	some := slices.ContainsFunc(items, func(i string) bool { return prose(i) != "" })
	if heading == "" && !some || s.full(1) {
		return
	}
	var elements []slackgo.RichTextElement
	if heading != "" {
		elements = append(elements, slackgo.NewRichTextSection(bold(s.text(heading, 200))))
	}
	if some {
		elements = append(elements, s.items(items))
	}
	s.rich(elements...)
}

func (s *sheet) paragraph(t card.Text) {
	body := prose(t.Body)
	if body == "" || s.full(1) {
		return
	}
	words := []slackgo.RichTextSectionElement{plain(s.text(indented(body), maxSection))}
	if t.Quoted {
		s.rich(&slackgo.RichTextQuote{Type: slackgo.RTEQuote, Elements: words})
		return
	}
	s.rich(slackgo.NewRichTextSection(words...))
}

// row is a line with its button at its right, or with its buttons below it.
func (s *sheet) row(r card.Row) {
	below := actions(r.Buttons[:min(len(r.Buttons), card.MaxButtons)])
	beside := false
	if len(below) == 1 {
		beside = len(below[0].(*slackgo.ActionBlock).Elements.ElementSet) == 1
	}
	need := 1 + len(below)
	if beside {
		need = 1
	}
	if s.full(need) {
		return
	}
	for _, b := range r.Buttons[:min(len(r.Buttons), card.MaxButtons)] {
		s.left -= min(length(b.Label), maxLabel)
	}
	body := s.text(prose(r.Body), maxSection)
	if body == "" {
		body = "–"
	}
	section := slackgo.NewSectionBlock(plainText(body), nil, nil)
	s.blocks = append(s.blocks, section)
	if beside {
		section.Accessory = slackgo.NewAccessory(below[0].(*slackgo.ActionBlock).Elements.ElementSet[0])
		return
	}
	s.blocks = append(s.blocks, below...)
}

// actions is the block with the buttons, or none. At most 25 fit.
func actions(buttons []card.Button) []slackgo.Block {
	var elements []slackgo.BlockElement
	verbs := map[string]int{}
	for _, b := range buttons {
		// A verb or id that was cut would be another one: it gets no button.
		if !verb(b.Verb) || utf8.RuneCountInString(b.ID) > maxValue || !utf8.ValidString(b.ID) || len(elements) == maxActions {
			continue
		}
		label := cut(line(b.Label), maxLabel)
		if label == "" {
			label = cut(b.Verb, maxLabel)
		}
		// Action ids must differ within a block.
		id := actionPrefix + b.Verb
		if verbs[b.Verb]++; verbs[b.Verb] > 1 {
			id = fmt.Sprintf("%s#%d", id, verbs[b.Verb])
		}
		button := slackgo.NewButtonBlockElement(id, b.ID, plainText(label))
		switch b.Style {
		case card.Primary:
			button.Style = slackgo.StylePrimary
		case card.Danger:
			button.Style = slackgo.StyleDanger
		}
		elements = append(elements, button)
	}
	if len(elements) == 0 {
		return nil
	}
	return []slackgo.Block{slackgo.NewActionBlock("", elements...)}
}

// verb reports whether s is a button's verb: a word of lower-case letters that
// fits into an action id.
func verb(s string) bool {
	return s != "" && len(s) <= maxActionID-20 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == ""
}

// pressed returns the verb of a button's action id.
func pressed(actionID string) (string, bool) {
	s, ok := strings.CutPrefix(actionID, actionPrefix)
	s, _, _ = strings.Cut(s, "#")
	return s, ok && verb(s)
}

// fallback is the message for notifications and screen readers. Slack reads
// it as mark-up (mrkdwn), so it is escaped.
func fallback(c card.Card) string {
	var b strings.Builder
	add := func(label, text string) {
		if b.Len() > 4*maxFallback { // no more of it is shown
			return
		}
		if label, text = line(label), line(text); label != "" && text != "" {
			label += ": "
		}
		b.WriteString(label + text + "\n")
	}
	add("", marks[c.Tone]+" "+c.Title)
	for _, block := range c.Blocks {
		switch block := block.(type) {
		case card.Fields:
			for _, f := range block {
				if f.Text != "" {
					add(f.Label, f.Text)
				}
			}
		case card.List:
			add(block.Heading, strings.Join(block.Items, "; "))
		case card.Text:
			add("", block.Body)
		case card.Note:
			add("", block.Body)
		case card.Row:
			add("", block.Body)
		case card.Code:
			add("", cut(block.Body, maxFallback))
		}
	}
	s := cut(strings.TrimSpace(b.String()), maxFallback)
	if s == "" {
		return "kgent"
	}
	return escape(s)
}

// escape makes text harmless where Slack reads mrkdwn. Formatting is switched
// off by the message; mentions by name are not.
func escape(s string) string {
	return strings.NewReplacer(
		"&", "&amp;", "<", "&lt;", ">", "&gt;",
		"@here", "@\u200bhere", "@channel", "@\u200bchannel", "@everyone", "@\u200beveryone",
	).Replace(s)
}

// origin is where a form was opened. It travels in the form's private
// metadata, which only the app can write.
type origin struct {
	Verb    string `json:"v"`
	ID      string `json:"i"`
	Tenant  string `json:"t,omitempty"`
	Channel string `json:"c,omitempty"`
	Thread  string `json:"r,omitempty"`
	Home    string `json:"h,omitempty"`
	Message string `json:"m,omitempty"`
}

const (
	// formCallback is the callback id of kgent's forms.
	formCallback = "kgent_form"
	maxFormTitle = 24
	maxHint      = 150
	maxInput     = 3000
	maxOrigin    = 3000
	maxBlockID   = 255
)

// modal draws a form.
func modal(f card.Form, o origin) (slackgo.ModalViewRequest, error) {
	meta, err := json.Marshal(o)
	if err != nil {
		return slackgo.ModalViewRequest{}, fmt.Errorf("drawing form %s: %w", f.Verb, err)
	}
	if len(meta) > maxOrigin {
		return slackgo.ModalViewRequest{}, fmt.Errorf("drawing form %s: its id is too long", f.Verb)
	}
	v := slackgo.ModalViewRequest{
		Type: slackgo.VTModal, CallbackID: formCallback, PrivateMetadata: string(meta),
		Title:  plainText(or(cut(line(f.Title), maxFormTitle), "kgent")),
		Submit: plainText(or(cut(line(f.Submit), maxFormTitle), "Send")),
		Close:  plainText("Cancel"),
	}
	names := map[string]bool{}
	for _, in := range f.Inputs {
		if in.Name == "" || len(in.Name) > maxBlockID || !utf8.ValidString(in.Name) || names[in.Name] || len(names) == 50 {
			continue
		}
		names[in.Name] = true
		var hint *slackgo.TextBlockObject
		if h := cut(line(in.Hint), maxHint); h != "" {
			hint = plainText(h)
		}
		box := slackgo.NewPlainTextInputBlockElement(hint, in.Name)
		box.Multiline = in.Multiline
		// What stands there at first is what the person said, byte for byte,
		// but for what no JSON or no single line can hold.
		value := strings.ToValidUTF8(in.Value, "\uFFFD")
		if !in.Multiline {
			value = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(value)
		}
		box.InitialValue = cut(value, maxInput)
		box.MaxLength = in.Max
		if box.MaxLength <= 0 {
			box.MaxLength = 1000
		}
		box.MaxLength = min(max(box.MaxLength, length(box.InitialValue)), maxInput)
		block := slackgo.NewInputBlock(in.Name, plainText(or(cut(line(in.Label), maxHint), in.Name)), nil, box)
		block.Optional = in.Optional
		v.Blocks.BlockSet = append(v.Blocks.BlockSet, block)
	}
	if len(v.Blocks.BlockSet) == 0 {
		return slackgo.ModalViewRequest{}, errors.New("drawing form " + f.Verb + ": it has no inputs")
	}
	return v, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
