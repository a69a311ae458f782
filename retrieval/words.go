package retrieval

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed thesaurus.yaml
var thesaurusYAML []byte

// maxQueryBytes and maxQueryWords bound the work of a search.
const (
	maxQueryBytes = 4000
	maxQueryWords = 48
)

// cutWords cuts a text into words in lower case: letters and digits; an identifier with
// underscores is kept whole.
func cutWords(text string) []string {
	text = strings.ToLower(text)
	text = strings.ReplaceAll(text, "i/o", "io")
	return strings.FieldsFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && r < 0x80
	})
}

// parts are the words of an identifier: tcp_v4_connect has three.
func parts(word string) []string {
	return strings.FieldsFunc(word, func(r rune) bool { return r == '_' })
}

// stem cuts off what English puts behind a word, so that "connections", "connecting" and
// "connected" are one. It need not be a word; it need only be the same for the same.
func stem(w string) string {
	if len(w) <= 3 || strings.ContainsRune(w, '_') {
		return w
	}
	switch {
	case strings.HasSuffix(w, "ies") && len(w) > 4:
		w = w[:len(w)-3] + "y"
	case strings.HasSuffix(w, "sses"), strings.HasSuffix(w, "xes"), strings.HasSuffix(w, "ches"), strings.HasSuffix(w, "shes"):
		w = w[:len(w)-2]
	case strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") && !strings.HasSuffix(w, "us") && !strings.HasSuffix(w, "is"):
		w = w[:len(w)-1]
	}
	for _, ending := range [...]string{"ing", "ed", "ly"} {
		base, ok := strings.CutSuffix(w, ending)
		if !ok || len(base) < 3 || !strings.ContainsAny(base, "aeiouy") {
			continue
		}
		if n := len(base); base[n-1] == base[n-2] && !strings.ContainsRune("lsz", rune(base[n-1])) {
			base = base[:n-1]
		}
		w = base
		break
	}
	if base, ok := strings.CutSuffix(w, "ion"); ok && len(base) >= 4 && (base[len(base)-1] == 't' || base[len(base)-1] == 's') {
		w = base
	}
	if len(w) > 4 {
		w = strings.TrimSuffix(w, "e")
	}
	return w
}

// silent are words that say nothing about what is looked for.
var silent = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`a about after all also am an and any are as at be because been before being between both but by can could did do does doing
		each else even ever every everything few for from get gets getting give go goes going got had has have having he her here him his how i if in into is it
		its just keep keeps know let like list log look looks make makes many may me might more most much my need needs no not now of off often on once one only or
		other our out over own per please pls plz print really see seem seems seen sees she should show shows so some something sth sthg tell than that the their them then there these
		they thing things this those to too trace traces tracing monitor track until up us use used uses using very via want wants was watch watching way we were
		what wat whats when where whether which while who whom whose why will with without would you your yet catch find capture report w n s t`) {
		m[w] = true
	}
	return m
}()

// thesaurus is what else is meant by a word or by several in a row, by their stems.
type thesaurus struct {
	means   map[string][]string
	longest int // words of the longest key
}

var theThesaurus = sync.OnceValues(func() (*thesaurus, error) {
	var lines map[string]string
	if err := yaml.Unmarshal(thesaurusYAML, &lines); err != nil {
		return nil, fmt.Errorf("reading thesaurus.yaml: %w", err)
	}
	t := &thesaurus{means: map[string][]string{}}
	for key, values := range lines {
		words := cutWords(key)
		for i, w := range words {
			words[i] = stem(w)
		}
		t.longest = max(t.longest, len(words))
		at := strings.Join(words, " ")
		for _, w := range cutWords(values) {
			if w = stem(w); w != at && !silent[w] && !slices.Contains(t.means[at], w) {
				t.means[at] = append(t.means[at], w)
			}
		}
	}
	return t, nil
})

// concept is one thing that a query says: words that stand for it, with how well they do.
type concept struct {
	said    string
	weights map[string]float64
}

// How much a word counts that was not said but is meant.
const (
	thesaurusWeight = 0.65
	partWeight      = 0.8 // a part of an identifier that was said
	slipWeight      = 0.8 // a word that differs in one letter
	beginWeight     = 0.6 // a word that begins so
)

// lexicon is what a query is read with: the words that an index has.
type lexicon interface {
	has(word string) bool
	// near returns words of descriptions that differ from one in a letter or two, or into
	// two of which it falls, or that begin with it; and how much they count.
	near(word string) map[string]float64
}

// concepts reads a query.
func concepts(text string, known lexicon, t *thesaurus) []concept {
	if len(text) > maxQueryBytes {
		text = text[:maxQueryBytes]
	}
	words := cutWords(text)
	words = words[:min(len(words), maxQueryWords)]
	stems := make([]string, len(words))
	for i, w := range words {
		stems[i] = stem(w)
	}
	var list []concept
	for i, w := range words {
		c := concept{said: w, weights: map[string]float64{}}
		use := func(word string, weight float64) {
			if known.has(word) {
				c.weights[word] = max(c.weights[word], weight)
			}
		}
		if !silent[w] && !isNumber(w) {
			use(stems[i], 1)
			use(w, 1) // an identifier as it is
			for _, p := range parts(w) {
				if p != w {
					use(stem(p), partWeight)
				}
			}
			_, explained := t.means[stems[i]]
			if len(c.weights) == 0 && !explained {
				for word, weight := range known.near(stems[i]) {
					use(word, weight)
					for _, other := range t.means[word] {
						use(other, weight*thesaurusWeight)
					}
				}
			}
		}
		// What stands for one word, or for several that begin here.
		for n := 1; n <= t.longest && i+n <= len(words); n++ {
			if n == 1 && silent[w] && w != "off" {
				continue
			}
			for _, other := range t.means[strings.Join(stems[i:i+n], " ")] {
				use(other, thesaurusWeight)
			}
		}
		if len(c.weights) > 0 {
			list = append(list, c)
		}
	}
	return list
}

func isNumber(w string) bool {
	return strings.Trim(w, "0123456789") == "" || strings.Trim(strings.TrimRight(w, "msuhnzk"), "0123456789") == "" && w[0] <= '9'
}

// nearWords looks a word up that is not known, among those of descriptions.
func nearWords(word string, described []string, has func(string) bool) map[string]float64 {
	found := map[string]float64{}
	if len(word) < 4 || len(word) > 30 || strings.ContainsRune(word, '_') {
		return found
	}
	slips := 1
	if len(word) >= 8 {
		slips = 2
	}
	best := slips + 1
	for _, w := range described {
		if len(w) < 3 || len(w)-len(word) > slips || len(word)-len(w) > slips || w[0] != word[0] && w[len(w)-1] != word[len(word)-1] {
			continue
		}
		switch d := distance(word, w, best); {
		case d < best:
			best = d
			clear(found)
			found[w] = slipWeight
		case d == best && d <= slips:
			found[w] = slipWeight
		}
	}
	if best == 1 || best <= slips && len(found) == 1 {
		return found
	}
	clear(found)
	// Two words without a space: "oomkilled". Or the beginning of one: "retrans".
	for i := 3; i+3 <= len(word); i++ {
		if a, b := stem(word[:i]), stem(word[i:]); has(a) && has(b) && isIn(described, a) && isIn(described, b) {
			found[a], found[b] = slipWeight, slipWeight
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, w := range described {
		if strings.HasPrefix(w, word) {
			found[w] = beginWeight
		}
	}
	if len(found) > 8 {
		clear(found)
	}
	return found
}

// isIn looks a word up in a sorted list.
func isIn(sorted []string, word string) bool {
	_, ok := slices.BinarySearch(sorted, word)
	return ok
}

// distance is how many letters must be changed, added, taken out or swapped with their
// neighbour to make b of a; limit if it is that or more.
func distance(a, b string, limit int) int {
	if a == b {
		return 0
	}
	var rows [3][32]int
	before, last, this := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		this[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			this[j] = min(last[j]+1, this[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				this[j] = min(this[j], before[j-2]+1)
			}
			least = min(least, this[j])
		}
		if least >= limit {
			return limit
		}
		before, last, this = last, this, before
	}
	return min(last[len(b)], limit)
}
