package mutate

import (
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

// kind is what a token is to the operators.
type kind uint8

const (
	word   kind = iota // identifier or keyword
	number             // 12, 0x1fULL
	text               // "..." or '...'
	punct              // operator or bracket, the longest that C knows
)

// token is a piece of C; comments, white space and preprocessor lines are none.
type token struct {
	kind     kind
	text     string
	from, to int // bytes of the source
	line     int // from 1
}

// puncts are the operators of more than one character, longest first.
var puncts = []string{
	"<<=", ">>=", "...",
	"->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "##",
}

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
func digit(c byte) bool { return c >= '0' && c <= '9' }

// lex splits C into tokens. It never fails: what no C token begins with is a
// token of one byte.
func lex(src string) []token {
	var out []token
	line, i := 1, 0
	fresh := true // nothing but white space on this line yet
	skip := func(n int) {
		line += strings.Count(src[i:i+n], "\n")
		i += n
	}
	for i < len(src) {
		rest := src[i:]
		switch c := src[i]; {
		case c == '\n':
			skip(1)
			fresh = true
		case c == ' ' || c == '\t' || c == '\r' || c == '\\':
			skip(1)
		case strings.HasPrefix(rest, "//"):
			skip(until(rest, "\n", 0))
		case strings.HasPrefix(rest, "/*"):
			skip(until(rest[2:], "*/", 2) + 2)
		case c == '#' && fresh:
			skip(directive(rest))
		default:
			k, n := measure(rest)
			out = append(out, token{k, rest[:n], i, i + n, line})
			skip(n)
			fresh = false
		}
	}
	return out
}

// until returns how far s goes up to mark, and past extra bytes of it; all of s
// when there is no mark.
func until(s, mark string, extra int) int {
	if n := strings.Index(s, mark); n >= 0 {
		return n + extra
	}
	return len(s)
}

// directive returns how long the preprocessor line is that s begins with, with
// the lines that continue it.
func directive(s string) int {
	for n := 0; n < len(s); n++ {
		if s[n] == '\n' && (n == 0 || s[n-1] != '\\') {
			return n
		}
		if strings.HasPrefix(s[n:], "/*") {
			n += until(s[n+2:], "*/", 2) + 1
		}
	}
	return len(s)
}

// measure returns the kind and length of the token that s begins with.
func measure(s string) (kind, int) {
	n := 1
	switch {
	case letter(s[0]):
		for n < len(s) && (letter(s[n]) || digit(s[n])) {
			n++
		}
		return word, n
	case digit(s[0]):
		for n < len(s) && (letter(s[n]) || digit(s[n]) || s[n] == '.') {
			n++
		}
		return number, n
	case s[0] == '"' || s[0] == '\'':
		for n < len(s) && s[n] != s[0] && s[n] != '\n' {
			if s[n] == '\\' && n+1 < len(s) {
				n++
			}
			n++
		}
		return text, min(n+1, len(s))
	}
	for _, p := range puncts {
		if strings.HasPrefix(s, p) {
			return punct, len(p)
		}
	}
	return punct, 1
}
