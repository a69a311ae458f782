package discord

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bwmarrin/discordgo"

	"kgent/bot/card"
)

// What one message with components takes (Discord's documentation of
// components, version 2).
const (
	maxComponents = 40
	maxText       = 4000 // in all components together
	maxLabel      = 80
	maxCustomID   = 100
	maxRow        = 5 // buttons side by side
	maxGallery    = 10
	maxAlt        = 1024
)

// component is one component of a message or form, as it travels. discordgo's
// types lack the ids that [mark] needs.
type component struct {
	Type        discordgo.ComponentType `json:"type"`
	ID          int                     `json:"id,omitempty"`
	Components  []component             `json:"components,omitempty"`
	Accessory   *component              `json:"accessory,omitempty"`
	Content     string                  `json:"content,omitempty"`
	AccentColor *int                    `json:"accent_color,omitempty"`
	Divider     *bool                   `json:"divider,omitempty"`
	Style       int                     `json:"style,omitempty"`
	Label       string                  `json:"label,omitempty"`
	CustomID    string                  `json:"custom_id,omitempty"`
	Items       []galleryItem           `json:"items,omitempty"`
	File        *media                  `json:"file,omitempty"`
	Placeholder string                  `json:"placeholder,omitempty"`
	Value       string                  `json:"value,omitempty"`
	Required    *bool                   `json:"required,omitempty"`
	MinLength   *int                    `json:"min_length,omitempty"`
	MaxLength   int                     `json:"max_length,omitempty"`
}

type media struct {
	URL string `json:"url"`
}

type galleryItem struct {
	Media       media  `json:"media"`
	Description string `json:"description,omitempty"`
}

// fileRef is a file that goes, or went, with a message.
type fileRef struct {
	Name    string // as Discord keeps it
	Alt     string
	Picture bool
}

// mark is how a message is found again by its key: the ids of its frame and of
// the first thing in the frame, which nobody sees and every edit keeps. Zero
// marks nothing.
type mark struct{ frame, first int }

// markOf follows from the key alone. The ids are far above those that Discord
// itself gives out.
func markOf(key string) mark {
	sum := sha256.Sum256([]byte(key))
	id := func(b []byte) int { return 1<<20 + int(binary.BigEndian.Uint32(b)%(1<<30)) }
	m := mark{id(sum[0:]), id(sum[4:])}
	if m.first == m.frame {
		m.first++
	}
	return m
}

// nonceOf is the key as Discord's own key of a message, at most 25 characters.
func nonceOf(key string) string {
	sum := sha256.Sum256([]byte("nonce " + key))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// tones are a mark and a colour each; the mark's name is what a screen reader
// says.
func toneOf(t card.Tone) (sign string, colour int) {
	switch t {
	case card.Working:
		return "⏳", 0x5865F2
	case card.Asking:
		return "🔔", 0xF0B232
	case card.Good:
		return "✅", 0x23A55A
	case card.Warning:
		return "⚠️", 0xE67E22
	case card.Bad:
		return "❌", 0xDA373C
	}
	return "", 0
}

// part is one thing in the frame of a card.
type part struct {
	draw    func(limit int) string // its text; nil for none
	code    bool                   // gives way first when there is too much
	buttons []component            // of this line
	divider bool
	text    string
}

// cost is how many components it takes.
func (p part) cost() int {
	switch {
	case p.divider:
		return 1
	case len(p.buttons) == 1 && p.draw != nil:
		return 3 // a section with its text and its button
	case len(p.buttons) > 0:
		n := len(p.buttons) + rows(len(p.buttons))
		if p.draw != nil {
			n++
		}
		return n
	}
	return 1
}

func rows(buttons int) int { return (buttons + maxRow - 1) / maxRow }

// render draws a card and what goes with it. Whatever the card holds, the
// result is one that Discord takes.
func render(c card.Card, files []fileRef, m mark) []component {
	var r renderer
	r.used = map[string]bool{}
	sign, colour := toneOf(c.Tone)

	// The buttons that decide are never the ones that do not fit.
	bottom := r.buttons(c.Buttons, c.Tone, card.MaxButtons)
	pictures, others := split(files)
	left := maxComponents - 1 - len(bottom) - rows(len(bottom)) - len(others)
	if len(pictures) > 0 {
		left--
	}

	var parts []part
	if title := strings.TrimSpace(c.Title); title != "" {
		lead := "### "
		if sign != "" {
			lead += sign + " "
		}
		parts = append(parts, part{draw: func(limit int) string {
			return lead + escape(title, min(limit, 256)-size(lead))
		}})
	}
	for _, b := range c.Blocks {
		parts = append(parts, r.part(b, c.Tone))
	}
	parts = slices.DeleteFunc(parts, func(p part) bool {
		return !p.divider && len(p.buttons) == 0 && p.draw(maxText) == ""
	})
	parts = squeeze(parts, left)
	fill(parts, maxText-r.labels)

	frame := component{Type: discordgo.ContainerComponent, ID: m.frame}
	if sign != "" {
		frame.AccentColor = &colour
	}
	for _, p := range parts {
		frame.Components = append(frame.Components, p.components()...)
	}
	if len(pictures) > 0 {
		frame.Components = append(frame.Components, gallery(pictures))
	}
	for _, f := range others {
		frame.Components = append(frame.Components, component{Type: discordgo.FileComponentType, File: &media{"attachment://" + f.Name}})
	}
	frame.Components = append(frame.Components, inRows(bottom)...)
	if len(frame.Components) == 0 {
		frame.Components = []component{{Type: discordgo.TextDisplayComponent, Content: "—"}}
	}
	frame.Components[0].ID = m.first
	return []component{frame}
}

// split tells pictures, which are shown, from other files. Files beyond what a
// message takes are for the caller not to send.
func split(files []fileRef) (pictures, others []fileRef) {
	for _, f := range files {
		if f.Picture {
			pictures = append(pictures, f)
		} else {
			others = append(others, f)
		}
	}
	return pictures, others
}

func gallery(pictures []fileRef) component {
	g := component{Type: discordgo.MediaGalleryComponent}
	for _, f := range pictures[:min(len(pictures), maxGallery)] {
		g.Items = append(g.Items, galleryItem{media{"attachment://" + f.Name}, plain(f.Alt, maxAlt)})
	}
	return g
}

type renderer struct {
	used   map[string]bool // custom ids: no two in a message may be the same
	labels int             // units that buttons take
}

// buttons turns at most limit buttons into components. One that does the same
// as an earlier one is left out.
func (r *renderer) buttons(bs []card.Button, tone card.Tone, limit int) []component {
	var out []component
	for _, b := range bs {
		id := b.Verb + ":" + b.ID
		if r.used[id] || size(id) > maxCustomID || b.Verb == "" || len(out) == limit {
			continue
		}
		r.used[id] = true
		label := plain(b.Label, maxLabel)
		if label == "" {
			label = plain(b.Verb, maxLabel)
		}
		style := discordgo.SecondaryButton
		switch {
		case b.Style == card.Danger:
			style = discordgo.DangerButton
		case b.Style == card.Primary && tone == card.Asking:
			style = discordgo.SuccessButton
		case b.Style == card.Primary:
			style = discordgo.PrimaryButton
		}
		r.labels += size(label)
		out = append(out, component{Type: discordgo.ButtonComponent, Style: int(style), Label: label, CustomID: id})
	}
	return out
}

func inRows(buttons []component) []component {
	var out []component
	for row := range slices.Chunk(buttons, maxRow) {
		out = append(out, component{Type: discordgo.ActionsRowComponent, Components: row})
	}
	return out
}

func (r *renderer) part(b card.Block, tone card.Tone) part {
	switch b := b.(type) {
	case card.Fields:
		return part{draw: func(limit int) string { return drawLines(fieldLines(b), limit) }}
	case card.List:
		return part{draw: func(limit int) string { return drawLines(listLines(b), limit) }}
	case card.Text:
		lead := ""
		if b.Quoted {
			lead = "> "
		}
		return part{draw: func(limit int) string { return drawLines(textLines(b.Body, lead), limit) }}
	case card.Note:
		if to := b.Link(); to != "" {
			return part{draw: func(limit int) string {
				body := escape(b.Body, max(limit-size(to)-7, 1))
				if l := "-# [" + body + "](" + to + ")"; size(l) <= limit {
					return l
				}
				return drawLines(textLines(b.Body, "-# "), limit)
			}}
		}
		return part{draw: func(limit int) string { return drawLines(textLines(b.Body, "-# "), limit) }}
	case card.Code:
		return part{draw: func(limit int) string { return drawCode(b, limit) }, code: true}
	case card.Row:
		p := part{draw: func(limit int) string { return drawLines(textLines(b.Body, ""), limit) }, buttons: r.buttons(b.Buttons, tone, maxRow)}
		if p.draw(maxText) == "" && len(p.buttons) > 0 {
			p.draw = nil
		}
		return p
	case card.Divider:
		return part{divider: true}
	}
	return part{draw: func(limit int) string { return escape("(a part that cannot be shown here)", limit) }}
}

func (p part) components() []component {
	line := component{Type: discordgo.TextDisplayComponent, Content: p.text}
	switch {
	case p.divider:
		yes := true
		return []component{{Type: discordgo.SeparatorComponent, Divider: &yes}}
	case len(p.buttons) == 0:
		if p.text == "" {
			return nil
		}
		return []component{line}
	case p.text == "":
		return inRows(p.buttons)
	case len(p.buttons) == 1:
		return []component{{Type: discordgo.SectionComponent, Components: []component{line}, Accessory: &p.buttons[0]}}
	}
	return append([]component{line}, inRows(p.buttons)...)
}

// squeeze makes the parts take at most limit components: first by putting
// neighbouring texts into one, then by leaving out the last, with a word about
// it.
func squeeze(parts []part, limit int) []part {
	cost := func(ps []part) int {
		n := 0
		for _, p := range ps {
			n += p.cost()
		}
		return n
	}
	if cost(parts) <= limit {
		return parts
	}
	var merged []part
	for i := 0; i < len(parts); {
		j := i
		for j < len(parts) && parts[j].draw != nil && len(parts[j].buttons) == 0 {
			j++
		}
		if j-i > 1 {
			merged, i = append(merged, join(parts[i:j])), j
			continue
		}
		merged, i = append(merged, parts[i]), i+1
	}
	if cost(merged) <= limit {
		return merged
	}
	kept := 0
	for room := limit - 1; kept < len(merged) && merged[kept].cost() <= room; kept++ {
		room -= merged[kept].cost()
	}
	missing := len(merged) - kept
	return append(merged[:kept:kept], part{draw: func(limit int) string {
		return "-# " + escape(fmt.Sprintf("… and %d more that do not fit here", missing), limit-3)
	}})
}

// join makes one text of several.
func join(parts []part) part {
	return part{draw: func(limit int) string {
		parts := slices.Clone(parts[:min(len(parts), max(limit/2, 1))]) // more cannot fit in any case
		fill(parts, limit-len(parts)+1)
		var out []string
		for _, p := range parts {
			if p.text != "" {
				out = append(out, p.text)
			}
		}
		return strings.Join(out, "\n")
	}}
}

// fill draws the texts so that they take at most limit units in all. Code gives
// way before anything else does; what is short stays whole.
func fill(parts []part, limit int) {
	want := make([]int, len(parts))
	var total, code int
	for i, p := range parts {
		if p.draw == nil {
			continue
		}
		want[i] = size(p.draw(maxText))
		total += want[i]
		if p.code {
			code += want[i]
		}
	}
	got := want
	if total > limit {
		least := min(code, 800)
		if rest := limit - (total - code); rest >= least {
			got = shareSome(want, rest, func(i int) bool { return parts[i].code })
		} else {
			got = share(want, limit)
		}
	}
	for i := range parts {
		if parts[i].draw != nil {
			parts[i].text = parts[i].draw(got[i])
		}
	}
}

// share divides limit among those who want: nobody gets more than they want,
// and nobody is cut while somebody else has more.
func share(want []int, limit int) []int {
	return shareSome(want, limit, func(int) bool { return true })
}

func shareSome(want []int, limit int, among func(int) bool) []int {
	got := slices.Clone(want)
	var who []int
	for i := range want {
		if among(i) {
			who = append(who, i)
		}
	}
	slices.SortFunc(who, func(a, b int) int { return want[a] - want[b] })
	limit = max(limit, 0)
	for k, i := range who {
		got[i] = min(want[i], limit/(len(who)-k))
		limit -= got[i]
	}
	return got
}

// line is one line of markdown: a lead that is ours and a text that is not.
type line struct {
	lead string
	text string
	raw  bool // text is markdown of ours
}

func (l line) draw(limit int) string {
	if l.raw {
		if size(l.lead)+size(l.text) > limit {
			return ""
		}
		return l.lead + l.text
	}
	if l.text == "" {
		return l.lead
	}
	return l.lead + escape(l.text, max(limit-size(l.lead), 1))
}

// drawLines draws lines in at most limit units. When they do not fit, each is
// cut to a fair share, and when there are too many for that, the last are
// counted.
func drawLines(ls []line, limit int) string {
	if len(ls) == 0 {
		return ""
	}
	const least, more = 60, 24 // units of a line; of the one that counts
	all := len(ls)
	var want []int
	total, need := all-1, 0 // what all take; what those take at least
	for _, l := range ls {
		w := size(l.draw(maxText))
		total += w
		need += min(w, least) + 1
		want = append(want, w)
		if need > limit+least {
			break // no more can stay
		}
	}
	if keep := len(want); total > limit || keep < all {
		for keep > 1 {
			room := limit + 1
			if keep < all {
				room -= more + 1
			}
			if need <= room {
				break
			}
			keep--
			need -= min(want[keep], least) + 1
		}
		room := limit - keep + 1
		counted := keep < all && limit > more+least
		if counted {
			room -= more + 1
		}
		shares := share(want[:keep], room)
		var out []string
		for i, l := range ls[:keep] {
			if s := l.draw(shares[i]); s != "" && size(s) <= shares[i] {
				out = append(out, s)
			}
		}
		if counted {
			out = append(out, fmt.Sprintf("-# … and %d more", all-keep))
		}
		return strings.Join(out, "\n")
	}
	out := make([]string, 0, len(ls))
	for _, l := range ls {
		out = append(out, l.draw(maxText))
	}
	return strings.Join(out, "\n")
}

func fieldLines(fs card.Fields) []line {
	var out []line
	for _, f := range fs {
		lead := ""
		if f.Label != "" {
			lead = "**" + escape(f.Label, 80) + "** "
		}
		if !f.At.IsZero() { // how long from now, and the time in the zone of the others
			when := fmt.Sprintf("<t:%d:R>", f.At.Unix())
			if at := escape(f.Text, 80); at != "" {
				when = at + " (" + when + ")"
			}
			out = append(out, line{lead: lead, text: when, raw: true})
			continue
		}
		texts := nonEmpty(f.Text)
		switch len(texts) {
		case 0:
			out = append(out, line{lead: lead, text: "–"})
		case 1:
			out = append(out, line{lead: lead, text: texts[0]})
		default:
			if lead != "" {
				out = append(out, line{lead: strings.TrimSpace(lead)})
			}
			for _, t := range texts {
				out = append(out, line{lead: "- ", text: t})
			}
		}
	}
	return out
}

func listLines(l card.List) []line {
	var out []line
	if h := strings.TrimSpace(l.Heading); h != "" {
		out = append(out, line{lead: "**" + escape(h, 200) + "**"})
	}
	for _, item := range l.Items {
		out = append(out, line{lead: "- ", text: item})
	}
	return out
}

func textLines(body, lead string) []line {
	var out []line
	for _, t := range nonEmpty(body) {
		out = append(out, line{lead: lead, text: t})
	}
	return out
}

func nonEmpty(s string) []string {
	// No text of a card is longer than what a message takes many times over.
	lines := strings.Split(head(s, 8*maxText), "\n")
	return slices.DeleteFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "" })
}

var language = regexp.MustCompile(`^[a-z0-9+#-]{1,16}$`)

// drawCode draws a code block of at most limit units. What does not fit loses
// its middle.
func drawCode(c card.Code, limit int) string {
	lang := ""
	if language.MatchString(c.Language) {
		lang = c.Language
	}
	body := strings.Trim(c.Body, "\n")
	if strings.TrimSpace(body) == "" {
		return ""
	}
	room := limit - size("```"+lang+"\n\n```")
	if room < 1 {
		return ""
	}
	lines := strings.Split(body, "\n")
	drawn := func(l string) string { return verbatim(head(l, maxText)) }
	// The front and the back are drawn until they meet or are full.
	const gap = 40 // units of the line between them
	var front, back []string
	nf, nb := 0, 0
	i, j := 0, len(lines)
	total := 0
	for _, l := range lines {
		if total += size(drawn(l)) + 1; total > room+1 {
			break
		}
	}
	if total <= room+1 {
		for k, l := range lines {
			lines[k] = drawn(l)
		}
		return "```" + lang + "\n" + strings.Join(lines, "\n") + "\n```"
	}
	half := max((room-gap)/2, 1)
	for i < j {
		l := clip(drawn(lines[i]), half-1)
		if nf+size(l)+1 > half {
			break
		}
		front, nf, i = append(front, l), nf+size(l)+1, i+1
	}
	for j > i {
		l := clip(drawn(lines[j-1]), half-1)
		if nb+size(l)+1 > half {
			break
		}
		back, nb, j = append(back, l), nb+size(l)+1, j-1
	}
	slices.Reverse(back)
	all := front
	if j > i {
		all = append(all, fmt.Sprintf("… %d lines left out …", j-i))
	}
	all = append(all, back...)
	out := strings.Join(all, "\n")
	if size(out) > room || len(front)+len(back) == 0 {
		out = clip(drawn(lines[0]), room)
	}
	return "```" + lang + "\n" + out + "\n```"
}

// What a form takes.
const (
	maxModalTitle = 45
	maxInputs     = 5
	maxInputLabel = 45
	maxHint       = 100
	maxInput      = 4000
)

// modal is the answer that opens a form.
type modal struct {
	Title      string      `json:"title"`
	CustomID   string      `json:"custom_id"`
	Components []component `json:"components"`
}

// renderForm draws a form. Discord names the button that sends it.
func renderForm(f card.Form) modal {
	m := modal{Title: plain(f.Title, maxModalTitle), CustomID: clip(f.Verb+":"+f.ID, maxCustomID)}
	if m.Title == "" {
		m.Title = "…"
	}
	for _, in := range f.Inputs[:min(len(f.Inputs), maxInputs)] {
		limit := in.Max
		if limit <= 0 {
			limit = 1000
		}
		limit = min(limit, maxInput)
		style := discordgo.TextInputShort
		value := in.Value
		if in.Multiline {
			style = discordgo.TextInputParagraph
		} else {
			value = strings.ReplaceAll(value, "\n", " ")
		}
		label := plain(in.Label, maxInputLabel)
		if label == "" {
			label = plain(in.Name, maxInputLabel)
		}
		required := !in.Optional
		m.Components = append(m.Components, component{Type: discordgo.ActionsRowComponent, Components: []component{{
			Type: discordgo.TextInputComponent, CustomID: clip(in.Name, maxCustomID), Style: int(style), Label: label,
			Value: clip(value, limit), Placeholder: plain(in.Hint, maxHint), Required: &required, MaxLength: limit,
		}}})
	}
	return m
}
