// Package redact takes secrets out of what a traced program did, on the node,
// before anybody else sees it: a trace of exec shows passwords on command lines,
// one of reads and writes whatever was in the buffer.
//
// It recognises what looks like a secret by itself (keys of clouds and forges,
// JSON web tokens, private keys, passwords in URLs, long random tokens), what is
// called one (password=…, "token": "…", Authorization: …), and values that the
// operator names. It is a net, not a wall: a secret without any such mark passes. So
// that a trace stays useful, what is merely long does not count: hashes,
// ids, addresses, paths, UUIDs and names of symbols stay.
package redact

import (
	"bytes"
	"fmt"
	"strings"
)

// Mark stands in place of what was taken out.
const Mark = "«redacted»"

// MinValue is how long a value named by the operator must be, in bytes: a
// shorter one would be found in the middle of everything.
const MinValue = 6

// Redactor takes secrets out of text. It is safe for concurrent use. A nil
// Redactor changes nothing.
type Redactor struct {
	exact [][]byte
}

// New returns a Redactor that knows the patterns and these values. Empty values
// are skipped; it fails for those that are too short.
func New(values ...string) (*Redactor, error) {
	r := &Redactor{}
	for i, v := range values {
		switch {
		case v == "":
		case len(v) < MinValue:
			return nil, fmt.Errorf("value %d to be redacted has %d characters: give at least %d", i+1, len(v), MinValue)
		default:
			r.exact = append(r.exact, []byte(v))
		}
	}
	return r, nil
}

// FromEnv is New for the value of an environment variable: one secret a line.
func FromEnv(value string) (*Redactor, error) {
	var values []string
	for line := range strings.Lines(value) {
		values = append(values, strings.TrimRight(line, "\r\n"))
	}
	return New(values...)
}

// span is a piece of text to be replaced.
type span struct{ from, to int }

// shortest is how long a text must be to hold a secret with its mark: "pwd=ab".
const shortest = 6

// Bytes returns text without secrets: the same slice when there are none, else
// a new one. It never changes text.
func (r *Redactor) Bytes(text []byte) []byte {
	if r == nil || len(text) < shortest {
		return text
	}
	var some [8]span
	found := r.known(some[:0], text)
	found = patterns(found, text)
	if len(found) == 0 {
		return text
	}
	return replace(text, found)
}

// String is Bytes for strings.
func (r *Redactor) String(text string) string {
	if r == nil || len(text) < shortest {
		return text
	}
	return string(r.Bytes([]byte(text)))
}

// minCut is how much of a named value must be left at the end of a text to be
// recognised: traces cut strings short.
const minCut = 8

// known finds the values that the operator named.
func (r *Redactor) known(found []span, s []byte) []span {
	for _, v := range r.exact {
		for at := 0; ; {
			i := bytes.Index(s[at:], v)
			if i < 0 {
				break
			}
			found = append(found, span{at + i, at + i + len(v)})
			at += i + len(v)
		}
		if len(v) > minCut && len(s) >= minCut {
			from := max(len(s)-len(v)+1, 0)
			if n := bytes.Index(s[from:], v[:minCut]); n >= 0 && bytes.HasPrefix(v, s[from+n:]) {
				found = append(found, span{from + n, len(s)})
			}
		}
	}
	return found
}

// replace puts the mark in place of the spans, which may overlap.
func replace(s []byte, found []span) []byte {
	// Few: an insertion sort needs nothing.
	for i := 1; i < len(found); i++ {
		for j := i; j > 0 && found[j].from < found[j-1].from; j-- {
			found[j], found[j-1] = found[j-1], found[j]
		}
	}
	out := make([]byte, 0, len(s)+len(found)*len(Mark))
	at := 0
	for i := 0; i < len(found); {
		f := found[i]
		for i++; i < len(found) && found[i].from <= f.to; i++ {
			f.to = max(f.to, found[i].to)
		}
		out = append(append(out, s[at:f.from]...), Mark...)
		at = f.to
	}
	return append(out, s[at:]...)
}
