package recipes

import (
	"slices"
	"strings"
)

// query is a request, read.
type query struct {
	lex   *lexicon
	words []word
	args  []arg
	cache map[string][]unit // units by the words that are taken
	story int               // how many words stand before the last sentence
	asks  []*Recipe         // what the story alone speaks of

	clauses []clause
}

// unit is a word, or a phrase that means something as a whole.
type unit struct {
	first, last int // words [first, last)
	meaning     meaning
	known       bool
}

func (l *Library) read(text string, opt MatchOptions) *query {
	words := split(text, l.lexicon.inHyphens)
	for i := range words {
		w := &words[i]
		if w.quoted || l.lexicon.programs[w.low] != "" || i > 0 && slices.Contains([]string{"by", "named", "called", "user"}, words[i-1].low) {
			continue
		}
		if fixed, ok := l.lexicon.correct(w.low); ok && !isNumeral(w.low) {
			w.fixed, w.low, w.stem = fixed, fixed, stem(fixed)
		}
	}
	args := readArgs(l.lexicon, words, opt.UserID)
	// Names are found; what is left of hyphens joins words.
	named := make([]bool, len(words))
	for _, a := range args {
		for i := a.first; i < a.last; i++ {
			named[i] = true
		}
	}
	words, place := compounds(words, func(i int) bool { return !named[i] }, l.lexicon.inHyphens)
	for i := range args {
		args[i].first, args[i].last = place[args[i].first], place[args[i].last]
	}
	q := &query{lex: l.lexicon, words: words, args: args, cache: map[string][]unit{}}
	l.findStory(q)
	q.findClauses()
	return q
}

// units returns the phrases of the words that are not taken.
func (q *query) units(taken []byte) []unit {
	if us, ok := q.cache[string(taken)]; ok {
		return us
	}
	var out []unit
	for i := 0; i < len(q.words); {
		if taken[i] != 0 {
			i++
			continue
		}
		end := i
		for end < len(q.words) && taken[end] == 0 {
			end++
		}
		m, n := q.lex.lookup(q.words[i:end])
		u := unit{first: i, last: i + max(n, 1), meaning: m, known: n > 0}
		out = append(out, u)
		i = u.last
	}
	q.cache[string(taken)] = out
	return out
}

// said returns words [first, last) as written.
func (q *query) said(first, last int) string {
	var out []string
	for _, w := range q.words[first:last] {
		out = append(out, w.text)
	}
	return strings.Join(out, " ")
}

// pointsBack reports whether the words from last on are about somebody whom the words
// before name: "ledgerd eats a CPU. Profile it". Then that name is part of what is
// asked, and not to be passed over.
func (q *query) pointsBack(last int) bool {
	for i := last; i < len(q.words); i++ {
		if !q.is(i, "it", "its", "it's", "they", "their", "them", "he", "his") {
			continue
		}
		first := 0
		if q.is(first, "our", "my", "the", "this", "that") {
			first++
		}
		if slices.ContainsFunc(q.args, func(a arg) bool { return a.last <= last && a.readings[0].role == RoleProcess }) {
			return false // who that is has been read
		}
		_, n := q.lex.lookup(q.words[first:last])
		return n == 0 && first < last && !q.is(first, asking...)
	}
	return false
}

// findStory finds the words before the last sentence. They tell what happened
// ("our uploads vanish. Trace deletions under /srv"), and what nobody can explain in
// them is no part of the request; unless they ask for something themselves.
func (l *Library) findStory(q *query) {
	last := len(q.words) - 1
	for last > 0 && !q.words[last-1].stops {
		last--
	}
	if last <= 0 {
		return
	}
	if q.pointsBack(last) {
		return
	}
	told := map[string]bool{}
	for _, u := range q.units(make([]byte, len(q.words))) {
		for _, c := range u.meaning.concepts {
			told[c] = told[c] || u.first < last
		}
	}
	for _, r := range l.recipes {
		if slices.ContainsFunc(r.groups, func(group []string) bool {
			return !slices.ContainsFunc(group, func(c string) bool { return !told[c] })
		}) {
			q.asks = append(q.asks, r)
		}
	}
	q.story = last
}
