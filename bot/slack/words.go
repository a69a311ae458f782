package slack

import (
	"strings"
)

// words is what a person typed, made from the text that Slack delivers:
// mentions of the bot are taken out, other mentions, channels, links and dates
// become what the person saw, and & < > are themselves again.
//
// It goes over the text once, so that what was decoded is never taken for
// mark-up.
func words(text, bot string) string {
	var b strings.Builder
	for text != "" {
		i := strings.IndexAny(text, "<&")
		if i < 0 {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:i])
		text = text[i:]
		if text[0] == '&' {
			text = entity(&b, text)
			continue
		}
		// Slack writes a literal < as &lt;, so a < begins mark-up.
		end := strings.IndexByte(text, '>')
		if end < 0 {
			b.WriteByte('<')
			text = text[1:]
			continue
		}
		token := text[1:end]
		text = text[end+1:]
		if id, _, _ := strings.Cut(token, "|"); bot != "" && id == "@"+bot {
			// "@kgent which" and "hey @kgent, which" leave one space.
			if s := b.String(); s == "" || strings.HasSuffix(s, " ") {
				text = strings.TrimLeft(text, " ")
			}
			continue
		}
		b.WriteString(unescape(seen(token)))
	}
	return strings.TrimSpace(b.String())
}

// mentions reports whether a text mentions a user.
func mentions(text, user string) bool {
	return strings.Contains(text, "<@"+user+">") || strings.Contains(text, "<@"+user+"|")
}

// seen is what a person sees of the mark-up between < and >.
func seen(token string) string {
	id, label, labelled := strings.Cut(token, "|")
	switch {
	case strings.HasPrefix(id, "@"), strings.HasPrefix(id, "#"):
		if label == "" {
			return id
		}
		return id[:1] + strings.TrimLeft(label, "@#")
	case strings.HasPrefix(id, "!date^"):
		if labelled {
			return label
		}
		return ""
	case strings.HasPrefix(id, "!subteam^"):
		if label == "" {
			label = strings.TrimPrefix(id, "!subteam^")
		}
		return "@" + strings.TrimLeft(label, "@")
	case strings.HasPrefix(id, "!"):
		if label == "" {
			label = id[1:]
		}
		return "@" + strings.TrimLeft(label, "@")
	case label != "":
		return label
	}
	return strings.TrimPrefix(strings.TrimPrefix(id, "mailto:"), "tel:")
}

// entities are the three characters that Slack escapes.
var entities = []struct{ name, char string }{{"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}}

// entity writes what the & at the start of text stands for, and returns the
// rest.
func entity(b *strings.Builder, text string) string {
	for _, e := range entities {
		if rest, ok := strings.CutPrefix(text, e.name); ok {
			b.WriteString(e.char)
			return rest
		}
	}
	b.WriteByte('&')
	return text[1:]
}

func unescape(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = entity(&b, s[i:])
	}
}
