// Package dryrun finds out from the words of a request whether a program that
// acts (drops, denies, signals) shall do so, or only count what it would do.
//
// Whatever is read here only chooses what is put to people: that a run is dry is
// on the card, part of what they approve and of the digest, and each node makes
// and checks the harmless program itself.
package dryrun

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// Said is what words say.
type Said int

const (
	Nothing Said = iota
	Dry          // count what would be done, and do nothing
	Real         // do it, after an earlier request for a dry run
)

// clause finds "dry run: …", "… as a dry run", "[dry-run]", "not for real", and their contrary:
// "not a dry run", "without dry run", "for real". An option of somebody's program,
// --dry-run, is none, nor is what is quoted.
var clause = regexp.MustCompile(`(?i)(^|[\s(\[{*_~,;:.–—])` +
	`(?:(?P<unreal>(?:(?:but|and)\s+)?(?:not?|never|nothing|without|before|until|instead\s+of|rather\s+than|do\s+not|don['’]?t)(?:\s+(?:yet|do|doing|done|run|running|really|anything|it|this|that|them))*\s+for\s+real(?:\s+yet)?` +
	`|(?:why\s+not|not\s+without|never\s+without)\s+(?:(?:as|in|do)\s+)?(?:a\s+|the\s+)?dry[- ]?run(?:\s+of)?)` +
	`|(?P<not>(?:(?:but|and)\s+)?(?:not?|without|no\s+longer|instead\s+of)\s+(?:(?:as|in)\s+)?(?:a\s+|the\s+)?dry[- ]?run)` +
	`|(?P<real>(?:but\s+|now\s+)?for\s+real)` +
	`|(?:(?:do|make|be|with|as|in|it\s+is|but|and|just|only|first)\s+)*(?:an?\s+)?dry[- ]?run(?:\s+(?:only|first|mode|of|for\s+now))?)` +
	`(?:[\s)\]}*_~,;:.!?–—]+|$)`)

// negated ends with what makes its contrary of the words behind it: "do not kill nginx …".
var negated = regexp.MustCompile(`(?i)\b(?:not|never|nothing|nobody|without|before|until|cannot|don['’]?t|[a-z]+n['’]t)\b[^,;:.!?\n]*$`)

// FromText returns what words say, and the words without that. Of several the
// last one counts; but "for real" beside a dry run, as in "a dry run first, then for real", and in
// words that are not clear, undoes none: what is dry can still be made real, and not the contrary.
func FromText(text string) (said Said, rest string) {
	not, real := clause.SubexpIndex("not"), clause.SubexpIndex("real")
	var b strings.Builder
	at, from := 0, 0 // what ends one may begin the next
	for {
		m := clause.FindStringSubmatchIndex(text[from:])
		if m == nil {
			break
		}
		begin, end := max(at, from+m[0]), from+m[1]
		switch {
		case m[2*not] >= 0:
			said = Real
		case m[2*real] < 0:
			said = Dry
		case said == Nothing && !negated.MatchString(text[at:begin]):
			said = Real
		case said == Nothing:
			said = Dry
		}
		b.WriteString(strings.TrimRight(text[at:begin], " \t,;:([{*_~–—") + " ")
		_, last := utf8.DecodeLastRuneInString(text[:end])
		at, from = end, end-last
		if end == len(text) {
			break
		}
	}
	if said == Nothing {
		return Nothing, text
	}
	b.WriteString(text[at:])
	return said, strings.TrimSpace(b.String())
}
