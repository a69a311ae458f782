package discord

import (
	"strings"
	"unicode/utf8"

	"kgent/executor/render/text"
)

// size counts characters as Discord's strictest clients do, in UTF-16 units.
func size(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}

// clip returns at most limit units of s, ending in "…" when something is
// missing. It cuts between characters.
func clip(s string, limit int) string {
	if size(s) <= limit {
		return s
	}
	if limit < 1 {
		return ""
	}
	n := 1 // the "…"
	for i, r := range s {
		n++
		if r > 0xffff {
			n++
		}
		if n > limit {
			return s[:i] + "…"
		}
	}
	return s
}

// head returns no more of s than can matter for limit units, so that a huge
// string is not escaped only to be cut.
func head(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n++; n > limit+1 {
			return s[:i]
		}
	}
	return s
}

// escape makes one line of Discord's markdown that shows s as it is, in at most
// limit units: no emphasis, spoiler, heading, list, quotation, code, link,
// mention, channel, time or emoji comes of it. What has no shape or changes the
// direction of writing is shown as \u202e. The cut is never inside an escape.
//
// Discord takes a backslash before any ASCII punctuation as an escape.
func escape(s string, limit int) string {
	s = head(s, limit)
	s = text.Clean(strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(s))
	var b strings.Builder
	n, fits := 0, 0 // units written; bytes that leave room for "…"
	put := func(tok string) {
		b.WriteString(tok)
		if n += size(tok); n < limit {
			fits = b.Len()
		}
	}
	start, digits := true, false // before the first character that is no space; after digits there
	for i := 0; i < len(s); {
		r, width := utf8.DecodeRuneInString(s[i:])
		tok := s[i : i+width]
		i += width
		special := false
		switch r {
		case '\\', '`', '*', '_', '~', '|', '[', ']', '<', '@':
			special = true
		case ':':
			// A scheme makes a link by itself.
			special = strings.HasPrefix(s[i:], "/")
		case '#', '-', '+', '>':
			special = start
		case '.', ')':
			special = digits
		}
		if special {
			tok = `\` + tok
		}
		isDigit := r >= '0' && r <= '9'
		digits = isDigit && (start || digits)
		start = start && r == ' '
		put(tok)
		if n > limit+2 {
			break
		}
	}
	if n <= limit {
		return b.String()
	}
	if limit < 1 {
		return ""
	}
	return b.String()[:fits] + "…"
}

// plain makes one line of a label, title or name, where Discord knows no
// markup.
func plain(s string, limit int) string {
	return clip(strings.TrimSpace(text.Clean(strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(head(s, limit)))), limit)
}

// verbatim makes one line inside a code block, from which nothing breaks out:
// three backticks in a row would end it, and are set apart.
func verbatim(s string) string {
	s = text.Clean(strings.ReplaceAll(strings.TrimSuffix(s, "\r"), "\t", "    "))
	if !strings.Contains(s, "```") {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if r == '`' && i > 0 && s[i-1] == '`' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}
