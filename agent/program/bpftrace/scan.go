package bpftrace

import (
	"fmt"
	"slices"
	"strings"
)

type tokenKind int

const (
	end tokenKind = iota
	name
	mapName  // @reads
	variable // $x
	number
	text // a string, with its quotes
	op
)

type token struct {
	kind tokenKind
	text string
	at   int // offset in the script
}

// scanner cuts a script into tokens. It is used by hand where an attach point is
// expected, which has its own alphabet.
type scanner struct {
	src string
	pos int
}

// refused is how scanner and parser give up; [Parse] recovers it.
type refused struct {
	at  int
	why string
}

func (s *scanner) refuse(at int, format string, args ...any) {
	panic(refused{at, fmt.Sprintf(format, args...)})
}

// readable refuses bytes that people would not see as what they are.
func readable(src string) (at int, why string) {
	for i := range len(src) {
		c := src[i]
		if c == '\n' || c == '\t' || c >= ' ' && c < 0x7f {
			continue
		}
		if c >= 0x80 {
			return i, "it has letters that are not ASCII, which can look like others or turn a line around; write it in plain ASCII"
		}
		return i, fmt.Sprintf("it has the control character %#02x; only line ends and tabs are allowed", c)
	}
	return -1, ""
}

// space skips white space and comments.
func (s *scanner) space() {
	for s.pos < len(s.src) {
		rest := s.src[s.pos:]
		switch {
		case strings.IndexByte(" \t\n", rest[0]) >= 0:
			s.pos++
		case strings.HasPrefix(rest, "//"):
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				s.pos += n
			} else {
				s.pos = len(s.src)
			}
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				s.refuse(s.pos, "this comment has no end")
			}
			if strings.Contains(rest[2:2+n], "/*") {
				s.refuse(s.pos, "a comment begins within this comment")
			}
			s.pos += n + 4
		default:
			return
		}
	}
}

// operators, longer ones first.
var operators = []string{
	"<<=", ">>=", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
	"{", "}", "(", ")", "[", "]", ";", ",", "?", ":", ".", "+", "-", "*", "/", "%", "<", ">", "!", "~", "&", "|", "^", "=",
}

func (s *scanner) next() token {
	s.space()
	at := s.pos
	if at == len(s.src) {
		return token{end, "", at}
	}
	take := func(kind tokenKind, n int) token {
		s.pos = at + n
		return token{kind, s.src[at:s.pos], at}
	}
	rest := s.src[at:]
	c := rest[0]
	switch {
	case isLetter(c):
		return take(name, identifier(rest))
	case c == '@':
		return take(mapName, 1+identifier(rest[1:]))
	case c == '$':
		n := identifier(rest[1:])
		if n == 0 || isDigit(rest[1]) {
			s.refuse(at, "positional parameters ($1, $#) are not available: write their values into the script")
		}
		return take(variable, 1+n)
	case isDigit(c):
		n := identifier(rest)
		if !isNumber(rest[:n]) {
			s.refuse(at, "%.20q is no number that kgent reads: write it in decimal or hexadecimal, or as 5ms", rest[:n])
		}
		return take(number, n)
	case c == '"':
		return take(text, s.str(at))
	case c == '#':
		s.refuse(at, "lines that begin with # are not available: neither #!, nor #include, #define and others; take them out")
	case c == '\'':
		s.refuse(at, "strings are written with double quotes")
	}
	for _, o := range operators {
		if strings.HasPrefix(rest, o) {
			return take(op, len(o))
		}
	}
	s.refuse(at, "%q is not understood", rest[:1])
	return token{}
}

// str returns the length of the string that begins at an offset.
func (s *scanner) str(at int) int {
	for i := at + 1; i < len(s.src); i++ {
		switch s.src[i] {
		case '"':
			return i + 1 - at
		case '\n':
			s.refuse(at, "this string does not end in its line")
		case '\\':
			i++
			if i == len(s.src) || strings.IndexByte(`nt\"`, s.src[i]) < 0 {
				s.refuse(i-1, `in a string only \n, \t, \\ and \" are available`)
			}
		}
	}
	s.refuse(at, "this string has no end")
	return 0
}

// point reads an attach point, such as uprobe:/bin/bash:readline: everything up
// to white space, a comma or a brace. It stops before a comment.
func (s *scanner) point() (string, int) {
	s.space()
	at := s.pos
	for s.pos < len(s.src) && strings.IndexByte(" \t\n,{", s.src[s.pos]) < 0 {
		s.pos++
	}
	p := s.src[at:s.pos]
	if strings.HasPrefix(p, "#") {
		s.refuse(at, "lines that begin with # are not available: neither #!, nor #include, #define and others; take them out")
	}
	for i := range len(p) {
		if !isLetter(p[i]) && !isDigit(p[i]) && strings.IndexByte(":/.-+*", p[i]) < 0 {
			s.refuse(at+i, "%q is not understood in an attach point", p[i:i+1])
		}
	}
	if strings.Contains(p, "//") || strings.Contains(p, "/*") {
		s.refuse(at, "the attach point %.80q could be read in several ways: put a space before a comment, and write paths without // and wildcards", p)
	}
	return p, at
}

func isLetter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// identifier returns how long the name or number is that s begins with.
func identifier(s string) int {
	n := 0
	for n < len(s) && (isLetter(s[n]) || isDigit(s[n])) {
		n++
	}
	return n
}

// units may stand behind a number.
var units = []string{"", "ns", "us", "ms", "s", "m", "h"}

// isNumber reads decimal and hexadecimal numbers. A number that begins with 0
// means different things to different readers, so it is none.
func isNumber(s string) bool {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return hex != "" && len(hex) <= 16 && strings.Trim(hex, "0123456789abcdefABCDEF") == ""
	}
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n > 0 && n <= 19 && (n == 1 || s[0] != '0') && slices.Contains(units, s[n:])
}
