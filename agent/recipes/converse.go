package recipes

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// MatchAfter finds the recipe that a conversation asks for: what was requested
// before, oldest first, and what is said now. That can be a request of its own, or
// change the one before: other values ("only port 443", "top 5", "for 2 minutes"),
// another breakdown ("per process"), or nothing ("again"). Values said later take
// the place of earlier ones; the rest stays.
//
// The match's Understood says which of these it was. What can be neither is a
// [*NoMatchError], never ignored. Earlier requests that no recipe answers, because a
// model did, are passed over; what changes one of them is a NoMatchError too.
func (l *Library) MatchAfter(before []string, text string, opt MatchOptions) (*Match, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	if len(before) == 0 {
		return l.Match(text, opt)
	}
	var c *thread
	for _, said := range before {
		if err := checkText(said); err != nil {
			return nil, err
		}
		next, err := l.follow(c, said, opt)
		switch none := (*NoMatchError)(nil); {
		case err == nil:
			c = next
		case !errors.As(err, &none):
			return nil, err
		case !leans(said):
			c = nil // a request that no recipe answers
		}
	}
	if c == nil {
		return l.withoutThread(before, text, opt)
	}
	next, err := l.follow(c, text, opt)
	if err != nil {
		return nil, err
	}
	return next.match, nil
}

// withoutThread is for words after a request that no recipe answers.
func (l *Library) withoutThread(before []string, text string, opt MatchOptions) (*Match, error) {
	if leans(text) || adds.MatchString(text) {
		return nil, &NoMatchError{Reason: ReasonUnknown, Why: fmt.Sprintf("%s seems to change the request before it, %s, which no recipe answers; write the whole request in one sentence",
			excerpt(text), excerpt(before[len(before)-1]))}
	}
	m, err := l.Match(text, opt)
	if err != nil {
		return nil, err
	}
	m.heading = ownRequest
	return m.assemble()
}

// thread is a conversation as far as it has come.
type thread struct {
	base    string   // the request that the others change
	changes []string // that were understood as such, in their order
	match   *Match
}

const ownRequest = "a request of its own; nothing of what was said before is kept"

// follow takes one more turn. c is nil at the first.
func (l *Library) follow(c *thread, text string, opt MatchOptions) (*thread, error) {
	alone, aloneErr := l.Match(text, opt)
	if c == nil {
		if aloneErr != nil {
			return nil, aloneErr
		}
		return &thread{base: text, match: alone}, nil
	}
	own := func() (*thread, error) {
		alone.heading = ownRequest
		m, err := alone.assemble()
		return &thread{base: text, match: m}, err
	}
	changed, changeErr := l.change(c, text, opt)
	// "SIGKILL only" after "signals sent by nginx" is about nginx, "who sends
	// signals?" is not.
	anew := aloneErr == nil && !leans(text) && (changeErr != nil || alone.Recipe != c.match.Recipe || asksAnew(text))
	switch {
	case anew:
		return own()
	case changeErr == nil:
		return changed, nil
	case aloneErr == nil && asksAnew(text): // "also show file opens"
		return own()
	}
	var none *NoMatchError
	if !errors.As(changeErr, &none) {
		return nil, changeErr
	}
	why := *none
	why.Why = fmt.Sprintf("taken as a change of %s: %s", excerpt(c.base), none.Why)
	if len(why.Nearest) == 0 {
		why.Nearest = []*Recipe{c.match.Recipe}
	}
	return nil, &why
}

// change understands text as a change of what the thread asks for.
func (l *Library) change(c *thread, text string, opt MatchOptions) (*thread, error) {
	m, err := l.refine(c.match, text, opt)
	if err == nil {
		m.heading = fmt.Sprintf("changes %s", excerpt(c.base))
		if m, err = m.assemble(); err != nil {
			return nil, err
		}
		return &thread{base: c.base, changes: append(slices.Clip(c.changes), text), match: m}, nil
	}
	// Perhaps another recipe answers the two together: "per process".
	base := c.base + ", " + text
	if len(base) > MaxRequest {
		return nil, err
	}
	joined, joinErr := l.Match(base, opt)
	if joinErr != nil || joined.Recipe == c.match.Recipe {
		return nil, err // of the same recipe it has been tried with more care
	}
	for _, earlier := range c.changes {
		if joined, joinErr = l.refine(joined, earlier, opt); joinErr != nil {
			return nil, err
		}
	}
	joined.heading = fmt.Sprintf("read together with %s", excerpt(c.base))
	if joined, joinErr = joined.assemble(); joinErr != nil {
		return nil, joinErr
	}
	return &thread{base: base, changes: c.changes, match: joined}, nil
}

// refine applies the words of a change to a match.
func (l *Library) refine(m *Match, text string, opt MatchOptions) (*Match, error) {
	rest := repeats.ReplaceAllString(text, "$1")
	again := rest != text
	rest = leadIn.ReplaceAllString(rest, "")
	if family.MatchString(rest) && m.Recipe.vocabulary["ipboth"] {
		rest = family.ReplaceAllString(rest, "IPv4 and IPv6")
	}
	next := *m
	next.bound = slices.Clone(m.bound)
	if strings.Trim(rest, " \t\r\n.,;!?") == "" {
		return &next, nil // the same once more
	}
	q := l.read(rest, opt)
	if verb, ok := q.action(); ok {
		return nil, &NoMatchError{Reason: ReasonAction, Why: fmt.Sprintf("it asks to change something (%q), and recipes only watch", verb)}
	}
	f := l.fit(q, m.Recipe)
	f.about = true // the request before said it
	f.missing = ""
	if !f.ok() {
		return nil, refusal(q, []fit{f})
	}
	// Words that say nothing to the recipe must not pass for a change.
	speaks := slices.ContainsFunc(q.units(make([]byte, len(q.words))), func(u unit) bool {
		return slices.ContainsFunc(u.meaning.concepts, func(c string) bool { return m.Recipe.vocabulary[c] })
	})
	if len(f.bound) == 0 && !speaks && !again {
		return nil, &NoMatchError{Reason: ReasonUnknown, Why: fmt.Sprintf("%s changes nothing about it; say what to change, such as \"only pid 1234\" or \"for 2 minutes\"", excerpt(text))}
	}
	for _, b := range f.bound {
		value := said{binding: b, text: q.said(b.arg.first, b.arg.last)}
		if i := slices.IndexFunc(next.bound, func(o said) bool { return o.place() == value.place() && o.value != b.value }); i >= 0 && b.name != "" && adds.MatchString(text) {
			return nil, &NoMatchError{Reason: ReasonParameter, Nearest: []*Recipe{m.Recipe},
				Why: fmt.Sprintf("%s takes one %s at a time, and %q is asked for already; say \"only %s\" to have that instead", m.Recipe.Name, nouns[b.role], next.bound[i].text, value.text)}
		}
		next.bound = slices.DeleteFunc(next.bound, func(o said) bool { return o.place() == value.place() })
		next.bound = append(next.bound, value)
	}
	next.Only = slices.Clone(m.Only)
	for _, n := range f.only {
		next.Only = append(slices.DeleteFunc(next.Only, func(o Narrowed) bool { return o.Of == n.Of }), n)
	}
	next.kills = next.kills || q.speaksOf("kill")
	next.notes = append(slices.Clip(m.notes), q.corrections()...)
	if len(f.bound) == 0 && len(f.only) == 0 && speaks && !again {
		next.notes = append(next.notes, fmt.Sprintf("%s: %s shows that already", excerpt(text), m.Recipe.Name))
	}
	return &next, nil
}

var (
	// repeats are the words that ask for the same once more, at the beginning of
	// what is said or alone.
	repeats = regexp.MustCompile(`(?i)^\s*(?:(?:ok(?:ay)?|please|pls|now|and|then)[,\s]+)*(?:(?:run|do|show|trace|try|watch|start)\s+)?(?:(?:it|that|this|the same|same)(?:\s+(?:one|thing|trace|request))?\s+)?(?:again|once more|one more time|rerun|re-run|repeat|redo|(?:the )?same(?:\s+(?:one|thing|trace|request|as before))?)(?:\s+(?:it|that|this|again|please))*([\s.,;:!?]|$)`)
	// leaning words begin what cannot stand alone.
	leaning = regexp.MustCompile(`(?i)^\s*(?:(?:ok(?:ay)?|please|pls|hm+|no|yes|actually|now|then|and|but|so)[,\s]+)*(?:only|just|also|again|instead|plus|too|limit|narrow|restrict|make (?:it|that)|keep|as an?|same|the same|with|without|for|per|by|top|on|at|in|to|from|over|under|every|longer|slower|larger|not|except|rerun|re-run|repeat|redo|once more|one more time)\b`)
	// adds are the words that ask for something besides what there is.
	adds = regexp.MustCompile(`(?i)^\s*(?:(?:ok(?:ay)?|please|pls|now|then)[,\s]+)*(?:also|plus|and|additionally|or)\b(?:\s+(?:only|now|then|just))?|\b(?:too|as well|in addition|besides)\s*[.!]?\s*$`)
	// leadIn is what people begin with that says nothing.
	leadIn = regexp.MustCompile(`(?i)^[\s.,;:!?]*(?:(?:no|nope|sorry)\s*,\s*|(?:ok(?:ay)?|yes|actually|hm+|please|pls|and|but|so|now|then)[,\s]+)+`)
	// family is "also v6", "IPv4 as well".
	family = regexp.MustCompile(`(?i)^\s*(?:(?:also|plus|include|including|with)\s+(?:ip)?v[46](?:\s+(?:too|also|as well))?|(?:ip)?v[46]\s+(?:too|also|as well))\b`)
	// asking words begin a request.
	anewWords = regexp.MustCompile(`(?i)^\s*(?:(?:ok(?:ay)?|please|pls|now|then|and|but|so|also|instead)[,\s]+)*(?:who|what|which|where|when|why|how|show|trace|list|watch|log|count|measure|monitor|record|track|find|see|capture|print|profile)\b`)
)

// leans reports whether text seems to change a request before it.
func leans(text string) bool {
	return leaning.MatchString(text) || repeats.MatchString(text) || adds.MatchString(text) && !asksAnew(text)
}

// Again reports whether text asks for nothing but the same once more: "again", "the same",
// "run it again please", or nothing at all.
func Again(text string) bool {
	rest := leadIn.ReplaceAllString(repeats.ReplaceAllString(text, "$1"), "")
	return strings.Trim(rest, " \t\r\n.,;!?") == ""
}

// asksAnew reports whether text begins as a request does.
func asksAnew(text string) bool { return anewWords.MatchString(text) }

// excerpt quotes the beginning of what somebody said.
func excerpt(text string) string {
	const most = 80
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		cut := most
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return `"` + printable(cmp.Or(text, " ")) + `"`
}
