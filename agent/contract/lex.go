package contract

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds the text of a contract, in bytes. The longest of the recipes has
// a tenth of it.
const maxText = 64 << 10

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokWord
	tokNumber
	tokText
	tokPunct
	tokPlace   // tp_btf/sched_switch, behind hook, and, or
	tokComment // without its "#"
)

type token struct {
	kind tokenKind
	text string // of tokText: unquoted
	at   Pos
	// first says that nothing stands before it on its line.
	first bool
}

// String is the token as a message shows it.
func (t token) String() string {
	switch t.kind {
	case tokEOF:
		return "the end"
	case tokText:
		return fmt.Sprintf("the text %q", t.text)
	case tokComment:
		return "a comment"
	}
	return "“" + t.text + "”"
}

// lexer cuts a text into tokens. Errors are collected, and lexing goes on.
type lexer struct {
	src    string
	i      int
	line   int
	start  int // of the line
	tokens []token
	errs   Errors
}

func lex(src string) ([]token, Errors) {
	l := &lexer{src: src, line: 1}
	for l.next() {
	}
	l.add(tokEOF, "", l.pos())
	return l.tokens, l.errs
}

func (l *lexer) pos() Pos { return Pos{l.line, l.i - l.start + 1} }

func (l *lexer) add(kind tokenKind, text string, at Pos) {
	first := len(l.tokens) == 0 || l.tokens[len(l.tokens)-1].at.Line < at.Line
	l.tokens = append(l.tokens, token{kind, text, at, first})
}

func (l *lexer) fail(at Pos, format string, args ...any) {
	if len(l.errs) < maxErrors {
		l.errs = append(l.errs, &Error{At: at, Msg: fmt.Sprintf(format, args...)})
	}
}

// punctuation, longest first.
var puncts = []string{"...", "||", "&&", "==", "!=", "<=", ">=", "<<", ">>",
	"{", "}", "(", ")", "[", "]", ":", ",", ".", "?", "!", "~", "<", ">", "+", "-", "*", "/", "%", "&", "|", "^", "="}

func (l *lexer) next() bool {
	l.space()
	if l.i >= len(l.src) {
		return false
	}
	at, c := l.pos(), l.src[l.i]
	switch {
	case c == '#':
		end := strings.IndexByte(l.src[l.i:], '\n')
		if end < 0 {
			end = len(l.src) - l.i
		}
		text := strings.TrimSpace(l.src[l.i+1 : l.i+end])
		if !shown(text) {
			l.fail(at, "a comment has a character that cannot be shown")
			text = ""
		}
		l.add(tokComment, text, at)
		l.i += end
	case isLetter(c):
		l.word(at)
	case c >= '0' && c <= '9':
		end := l.i
		for end < len(l.src) && (isLetter(l.src[end]) || l.src[end] >= '0' && l.src[end] <= '9') {
			end++
		}
		l.add(tokNumber, l.src[l.i:end], at)
		l.i = end
	case c == '"':
		l.text(at)
	default:
		l.punct(at)
	}
	return true
}

func (l *lexer) space() {
	for l.i < len(l.src) {
		switch l.src[l.i] {
		case '\n':
			l.line++
			l.start = l.i + 1
		case ' ', '\t', '\r':
		default:
			return
		}
		l.i++
	}
}

func isLetter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }

func isWordByte(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' }

func (l *lexer) word(at Pos) {
	end := l.i
	for end < len(l.src) && isWordByte(l.src[end]) {
		end++
	}
	word := l.src[l.i:end]
	l.add(tokWord, word, at)
	l.i = end
	if word != "hook" && word != "and" && word != "or" {
		return
	}
	// What follows is a place, unless it is punctuation: a member may be named "and".
	l.space()
	if l.i >= len(l.src) || !isLetter(l.src[l.i]) {
		return
	}
	at, end = l.pos(), l.i
	for end < len(l.src) && !strings.ContainsRune(" \t\r\n({#\"", rune(l.src[end])) {
		end++
	}
	l.add(tokPlace, l.src[l.i:end], at)
	l.i = end
}

// text reads a text in quotes; \" \\ \n \t are the escapes.
func (l *lexer) text(at Pos) {
	var b strings.Builder
	for i := l.i + 1; i < len(l.src); i++ {
		switch c := l.src[i]; {
		case c == '"':
			l.i = i + 1
			s := b.String()
			if !shown(lineEnds.Replace(s)) {
				l.fail(at, "the text has a character that cannot be shown")
				s = ""
			}
			l.add(tokText, s, at)
			return
		case c == '\\' && i+1 < len(l.src) && strings.IndexByte(`"\`, l.src[i+1]) >= 0:
			i++
			b.WriteByte(l.src[i])
		case c == '\\' && i+1 < len(l.src) && strings.IndexByte("nrt", l.src[i+1]) >= 0:
			i++
			b.WriteByte(map[byte]byte{'n': '\n', 'r': '\r', 't': '\t'}[l.src[i]])
		case c == '\\':
			l.fail(at, `the text has a \ that is not followed by ", \, n, r or t`)
		case c < ' ' || c == 0x7f:
			l.fail(at, "the text has no closing quote on its line")
			l.i = i
			l.add(tokText, b.String(), at)
			if c != '\n' {
				l.i++
			}
			return
		default:
			b.WriteByte(c)
		}
	}
	l.fail(at, "the text has no closing quote")
	l.i = len(l.src)
	l.add(tokText, b.String(), at)
}

// lineEnds leaves the characters out that texts have by an escape.
var lineEnds = strings.NewReplacer("\n", "", "\r", "", "\t", "")

// shown tells whether a text is what it looks like: no control characters, nothing
// invisible, nothing that turns the direction of writing.
func shown(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
}

func (l *lexer) punct(at Pos) {
	if strings.HasPrefix(l.src[l.i:], "->") { // as C has it; a dot goes through pointers too
		l.add(tokPunct, ".", at)
		l.i += len("->")
		return
	}
	for _, p := range puncts {
		if strings.HasPrefix(l.src[l.i:], p) {
			l.add(tokPunct, p, at)
			l.i += len(p)
			return
		}
	}
	r, n := utf8.DecodeRuneInString(l.src[l.i:])
	if r == '\'' {
		l.fail(at, "texts are written in double quotes")
	} else {
		l.fail(at, "the character %q has no meaning here", r)
	}
	l.i += n
}
