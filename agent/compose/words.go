package compose

import (
	"strings"
	"unicode"
)

// token is one word of a request.
type token struct {
	text   string // as written, without the punctuation around it
	low    string // lower case
	quoted bool   // it was put in quotes: a name, never a word
	ends   bool   // a clause ends behind it
	called bool   // it was written as a call: "openat2()"
}

// tokens cuts a request into words: at spaces, and at comparison signs. Names, paths,
// addresses, "sched:sched_switch" and "0x4b" stay in one piece.
func tokens(text string) []token {
	var out []token
	text = strings.Map(plain, text)
	for len(text) > 0 {
		r := rune(text[0])
		if unicode.IsSpace(r) {
			text = text[1:]
			continue
		}
		if q := text[0]; q == '"' || q == '\'' || q == '`' {
			if end := strings.IndexByte(text[1:], q); end > 0 && !strings.ContainsRune(text[1:1+end], '\n') {
				inner := strings.TrimSpace(text[1 : 1+end])
				out = append(out, token{text: inner, low: strings.ToLower(inner), quoted: true})
				text = text[2+end:]
				continue
			}
		}
		end := strings.IndexFunc(text, unicode.IsSpace)
		if end < 0 {
			end = len(text)
		}
		out = chunk(out, text[:end])
		text = text[end:]
	}
	return out
}

// plain maps typographic signs to the plain ones.
func plain(r rune) rune {
	switch r {
	case '“', '”', '„', '«', '»':
		return '"'
	case '‘', '’', 'ʼ':
		return '\''
	case '–', '—', '‐', '‑', '−':
		return '-'
	case 'μ':
		return 'µ'
	}
	return r
}

// chunk appends the words of text, which has no spaces.
func chunk(out []token, text string) []token {
	if i := strings.IndexAny(text, "<>=≥≤!"); i >= 0 {
		signs := []string{"<=", ">=", "==", "!=", "≥", "≤", "<", ">", "="}
		for _, s := range signs {
			if !strings.HasPrefix(text[i:], s) {
				continue
			}
			if i > 0 {
				out = chunk(out, text[:i])
			}
			out = append(out, token{text: s, low: s})
			if rest := text[i+len(s):]; rest != "" {
				out = chunk(out, rest)
			}
			return out
		}
	}
	trimmed := strings.TrimLeft(text, "([{\"'`")
	word := strings.TrimRight(trimmed, ".,;:!?)]}\"'`…")
	if word == "" || strings.Trim(word, "-&+|") == "" {
		if len(out) > 0 {
			out[len(out)-1].ends = true
		}
		if word == "&" || word == "+" {
			out = append(out, token{text: "and", low: "and"})
		}
		return out
	}
	tail, called := trimmed[len(word):], false
	if i := strings.IndexByte(word, '('); i > 0 && (i == len(word)-1 && strings.HasPrefix(tail, ")") || len(word) == i+2 && unicode.IsDigit(rune(word[i+1]))) { // "openat2()", "openat2(2)"
		word, called = word[:i], true
	}
	if i := strings.IndexByte(word, '('); i > 0 && strings.HasPrefix(tail, ")") && identifier.MatchString(word[:i]) && upper.MatchString(word[i+1:]) { // "madvise(MADV_FREE)"
		constant := word[i+1:]
		out = append(out, token{text: word[:i], low: strings.ToLower(word[:i]), called: true})
		return append(out, token{text: constant, low: strings.ToLower(constant), ends: strings.ContainsAny(tail, ".,;:!?…")})
	}
	for _, joined := range []string{"'s", "'re", "'d", "'ve", "'ll"} {
		word = strings.TrimSuffix(word, joined)
	}
	low := strings.ToLower(word)
	if is, ok := contracted[low]; ok {
		out = append(out, token{text: is, low: is})
		word, low = "not", "not"
	} else if long, ok := shorthand[low]; ok {
		low = long
	}
	return append(out, token{text: word, low: low, called: called, ends: strings.ContainsAny(tail, ".,;:!?…")})
}

// shorthand is what people write in haste, with the words that it stands for.
var shorthand = map[string]string{
	"w/": "with", "w/o": "without", "proc": "process", "procs": "processes", "conn": "connection", "conns": "connections", "ctx": "context", "addr": "address", "addrs": "addresses",
	"dst": "destination", "dest": "destination", "src": "source", "pkt": "packet", "pkts": "packets", "whos": "who", "whats": "what", "hist": "histogram", "secs": "seconds",
	"msecs": "ms", "cmds": "commands", "dirs": "directories", "cgrp": "cgroup",
}

// contracted are words that have swallowed a "not", with what is before it.
var contracted = map[string]string{"arent": "are", "aren't": "are", "isnt": "is", "isn't": "is", "doesnt": "does", "doesn't": "does", "didnt": "did", "didn't": "did"}

// said is tokens [i, j) as written.
func said(toks []token, i, j int) string {
	var b strings.Builder
	for k := i; k < j; k++ {
		if k > i {
			b.WriteByte(' ')
		}
		if toks[k].quoted {
			b.WriteString(`"` + toks[k].text + `"`)
		} else {
			b.WriteString(toks[k].text)
		}
	}
	return b.String()
}
