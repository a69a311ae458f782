package retrieval

import (
	"math"
	"slices"
)

// Constants of the ranking function BM25: how fast another occurrence of a word stops
// mattering, and how much long documents are held against them. Documents that
// have many phrasings are no worse for it, so less than usual.
const (
	saturation = 1.2
	byLength   = 0.35
)

// How much a word counts by where it stands, in quarters.
const (
	inName  = 8
	inText  = 4
	inTitle = 4
	inWords = 2
)

// group is a set of kinds among which a word is rare or common.
type group uint8

const (
	recipeGroup group = iota
	hookGroup
	callGroup
	typeGroup
	groups
)

func groupOf(k Kind) group {
	switch k {
	case Recipe:
		return recipeGroup
	case Hook:
		return hookGroup
	case Helper, Kfunc:
		return callGroup
	}
	return typeGroup
}

// analysis is a document as the lexical search sees it.
type analysis struct {
	weights map[string]uint8 // of each word, in quarters
	length  uint8            // about how many words, at most 255
	own     []string         // words of its texts, and of its name if it has texts
}

// analyze reads a document. The texts of a document that say a word over and over say it
// hardly more than once.
func analyze(d *Document) analysis {
	a := analysis{weights: map[string]uint8{}}
	length := 0
	put := func(word string, weight int) {
		a.weights[word] = uint8(min(int(a.weights[word])+weight, 64))
		length++
	}
	for _, w := range cutWords(d.Name) {
		pieces := parts(w)
		if len(pieces) > 1 {
			put(w, inName)
			length--
		}
		for _, p := range pieces {
			put(stem(p), inName)
			if len(d.Texts) > 0 {
				a.own = append(a.own, stem(p))
			}
		}
	}
	text := func(s string, weight int) {
		seen := map[string]bool{}
		for _, w := range cutWords(s) {
			if silent[w] {
				continue
			}
			pieces := parts(w)
			if len(pieces) > 1 {
				pieces = append(pieces, w)
			}
			for _, p := range pieces {
				if p = stem(p); !seen[p] {
					seen[p] = true
					put(p, weight)
					if weight >= inText {
						a.own = append(a.own, p)
					}
				}
			}
		}
	}
	text(d.Title, inTitle)
	for i, s := range d.Texts {
		if s == d.Title {
			continue
		}
		// Eight phrasings of the same thing are not eight things.
		text(s, max(1, inText-i/2))
	}
	for _, s := range d.Words {
		text(s, inWords)
	}
	a.length = uint8(min(length, math.MaxUint8))
	return a
}

// posting says that a word occurs in a document, and how much.
type posting struct {
	doc    uint32
	weight uint8
}

// words is the inverted index: for each word where it occurs.
type words struct {
	lists     map[string][]posting
	lengths   []uint8
	groups    []group
	count     [groups]int // documents
	total     [groups]int // words
	described map[string]bool
	sorted    []string // of described; nil when it is to be made
}

func newWords() *words {
	return &words{lists: map[string][]posting{}, described: map[string]bool{}}
}

func (w *words) add(d *Document) {
	a := analyze(d)
	id := uint32(len(w.lengths))
	for word, weight := range a.weights {
		w.lists[word] = append(w.lists[word], posting{id, weight})
	}
	for _, word := range a.own {
		w.described[word] = true
	}
	g := groupOf(d.Kind)
	w.lengths, w.groups = append(w.lengths, a.length), append(w.groups, g)
	w.count[g]++
	w.total[g] += int(a.length)
	w.sorted = nil
}

// ready prepares for searches after documents were added. t's words count as described:
// they are what people say.
func (w *words) ready(t *thesaurus) {
	if w.sorted != nil {
		return
	}
	all := map[string]bool{}
	for word := range w.described {
		all[word] = true
	}
	for word := range t.means {
		all[word] = true
	}
	for word := range all {
		w.sorted = append(w.sorted, word)
	}
	slices.Sort(w.sorted)
}

// reader is an inverted index with what the thesaurus explains.
type reader struct {
	*words
	thesaurus *thesaurus
}

func (r reader) has(word string) bool { return len(r.lists[word]) > 0 }

func (r reader) near(word string) map[string]float64 {
	return nearWords(word, r.sorted, func(w string) bool { return r.has(w) || len(r.thesaurus.means[w]) > 0 })
}

// matched is how well a document fits by its words.
type matched struct {
	doc   uint32
	score float64 // of what the query says, the share that the document has
}

// absent is how much it counts against the documents of a group that none of them has
// what is said, against what some have.
const absent = 0.6

// lexical scores all documents that accept lets through. The score is what the document
// has of what a perfect one would have, so that it can be added to other scores.
func lexical(query []concept, list func(word string) []posting, w *words, accept func(doc uint32) bool) []matched {
	const (
		unknown = iota
		in
		out
	)
	state := make([]uint8, len(w.lengths))
	scores := make([]float32, len(w.lengths))
	best := make([]float32, len(w.lengths))
	var found, touched []uint32
	var perfect, mean [groups]float64
	for g := range groups {
		mean[g] = float64(max(1, w.total[g])) / float64(max(1, w.count[g]))
	}
	for _, c := range query {
		touched = touched[:0]
		var most [groups]float64
		for word, weight := range c.weights {
			postings := list(word)
			var with, idf [groups]float64
			for _, p := range postings {
				with[w.groups[p.doc]]++
			}
			for g := range groups {
				idf[g] = weight * math.Log(1+(float64(w.count[g])-with[g]+0.5)/(with[g]+0.5))
			}
			for _, p := range postings {
				if state[p.doc] == unknown {
					if state[p.doc] = out; accept(p.doc) {
						state[p.doc] = in
						found = append(found, p.doc)
					}
				}
				if state[p.doc] == out {
					continue
				}
				g := w.groups[p.doc]
				times := float64(p.weight) / inText
				norm := 1 - byLength + byLength*float64(w.lengths[p.doc])/mean[g]
				if best[p.doc] == 0 {
					touched = append(touched, p.doc)
				}
				best[p.doc] = max(best[p.doc], float32(idf[g]*times*(saturation+1)/(times+saturation*norm)))
				most[g] = max(most[g], idf[g])
			}
		}
		for _, doc := range touched {
			scores[doc] += best[doc]
			best[doc] = 0
		}
		for g := range groups {
			// What nobody of the group has is said all the same.
			if most[g] == 0 {
				most[g] = absent * math.Log(1+(float64(w.count[g])+0.5)/0.5)
			}
			perfect[g] += most[g] * (saturation + 1) / 1.6
		}
	}
	matches := make([]matched, len(found))
	for i, doc := range found {
		matches[i] = matched{doc, float64(scores[doc]) / max(perfect[w.groups[doc]], 1e-9)}
	}
	return matches
}
