package retrieval

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

var (
	// ErrNoKernel: the kernel was never added to the index.
	ErrNoKernel = errors.New("the index does not have this kernel; add it first")
	// ErrEmpty: there is no word in the request.
	ErrEmpty = errors.New("there is nothing to search for: say it in words, or give a name")
)

// checked fills in what a query leaves open.
func (q Query) checked() (Query, error) {
	if strings.TrimSpace(q.Text) == "" {
		return q, ErrEmpty
	}
	if len(q.Kinds) == 0 {
		q.Kinds = Kinds()
	}
	for _, k := range q.Kinds {
		if !slices.Contains(Kinds(), k) {
			return q, fmt.Errorf("searching: there is no kind %q: use %v", k, Kinds())
		}
	}
	switch {
	case q.Limit == 0:
		q.Limit = 10
	case q.Limit < 0 || q.Limit > MaxLimit:
		return q, fmt.Errorf("searching: a limit of %d: use 1 to %d", q.Limit, MaxLimit)
	}
	return q, nil
}

// prior is how much likelier a document is to be meant than one that fits as well. What
// somebody has described is what on-call work needs; tracepoints are made to be used and
// change little between kernels; of functions there are twenty times as many.
func prior(d *Document) float64 {
	switch {
	case d.Kind == Hook && len(d.Texts) == 0 && len(d.Places) > 0 && d.Places[0].Kind == "fentry":
		return 0.6
	case d.Kind == Hook && len(d.Texts) == 0:
		return 0.8
	case d.Kind == Type && len(d.Texts) == 0:
		return 0.7
	case d.Kind == Hook && len(d.Places) > 0 && (d.Places[0].Kind == "fentry" || d.Places[0].Kind == "lsm"):
		return 0.9
	}
	return 1
}

// scored is a document with the parts of its score.
type scored struct {
	id              uint32
	score           float64
	lexical, vector float64
	recipes         float64 // of the recipe that fits best of those that use it
}

// join adds the scores of the two searches.
func join(byWords []matched, byMeaning map[uint32]float64, w Weights) map[uint32]*scored {
	total := w.Lexical + w.Vector
	if byMeaning == nil {
		total = w.Lexical
	}
	found := make(map[uint32]*scored, len(byWords)+len(byMeaning))
	for _, m := range byWords {
		found[m.doc] = &scored{id: m.doc, lexical: m.score, vector: byMeaning[m.doc]}
	}
	for id, score := range byMeaning {
		if found[id] == nil {
			found[id] = &scored{id: id, vector: score}
		}
	}
	for _, s := range found {
		s.score = (w.Lexical*s.lexical + w.Vector*s.vector) / max(total, 1e-9)
	}
	return found
}

// How much a recipe raises the hooks that it uses: a share of how far its own score is
// above what recipes for something else have as well.
const (
	byRecipe    = 0.6
	recipeFloor = 0.4
)

// byName is what a document gets whose very name was said.
const byName = 1

// raise adds to a hook what the score of a recipe that uses it says.
func raise(found map[uint32]*scored, id uint32, score float64) {
	s := found[id]
	if s == nil {
		s = &scored{id: id}
		found[id] = s
	}
	s.recipes = max(s.recipes, score)
}

// namesIn are the names that a query says: identifiers, and a word that is all of it.
func namesIn(text string) map[string]bool {
	names := map[string]bool{}
	words := cutWords(text)
	for _, w := range words {
		if strings.Contains(w, "_") || len(words) == 1 {
			names[w] = true
		}
	}
	return names
}

// lastPart is a name without what it is part of: openat of syscall/openat.
func lastPart(name string) string {
	return strings.ToLower(name[strings.LastIndexAny(name, "/:")+1:])
}

// pairs is how many times the wanted hits are looked at, to put one of each pair first: the
// begin and the end of the same thing have one description, and who finds one has found
// both. again is what the second of them keeps of its score.
const pairs = 3

const again = 0.9

// best returns the best hits of what is accepted.
func best(found map[uint32]*scored, names map[string]bool, limit int, accept func(uint32) bool, doc func(uint32) *Document) []Hit {
	compare := func(a, b *scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(doc(a.id).Kind, doc(b.id).Kind), cmp.Compare(doc(a.id).Name, doc(b.id).Name))
	}
	wide := pairs * limit
	top := make([]*scored, 0, wide+1) // in order
	for id, s := range found {
		if !accept(id) {
			continue
		}
		s.score = s.score*prior(doc(id)) + byRecipe*max(0, s.recipes-recipeFloor)
		if len(names) > 0 && names[lastPart(doc(id).Name)] {
			s.score += byName
		}
		if s.score <= 0 || len(top) == wide && compare(s, top[wide-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(top, s, compare)
		top = slices.Insert(top, at, s)
		top = top[:min(len(top), wide)]
	}
	said := map[string]int{}
	for _, s := range top {
		if d := doc(s.id); d.Kind == Hook && len(d.Texts) > 0 {
			line := d.Texts[len(d.Texts)-1]
			s.score *= math.Pow(again, float64(said[line]))
			said[line]++
		}
	}
	slices.SortStableFunc(top, compare)
	top = top[:min(len(top), limit)]
	hits := make([]Hit, 0, len(top))
	for _, s := range top {
		hits = append(hits, Hit{Document: *doc(s.id), Score: s.score, Lexical: s.lexical, Vector: s.vector, Recipes: s.recipes})
	}
	return hits
}

// explain says why each hit was found.
func explain(hits []Hit, said []concept) []Hit {
	for i := range hits {
		h := &hits[i]
		has := analyze(&h.Document).weights
		for _, c := range said {
			best, weight := "", 0.0
			for word, x := range c.weights {
				if has[word] > 0 && (x > weight || x == weight && word < best) {
					best, weight = word, x
				}
			}
			switch {
			case best == "":
			case best == c.said || best == stem(c.said):
				h.Why = append(h.Why, c.said)
			default:
				h.Why = append(h.Why, c.said+" → "+best)
			}
		}
		if h.Recipes >= 0.35 {
			h.Why = append(h.Why, fmt.Sprintf("a recipe about this uses it (%.2f)", h.Recipes))
		}
		if h.Vector >= 0.35 {
			h.Why = append(h.Why, fmt.Sprintf("means about the same (%.2f)", h.Vector))
		}
	}
	return hits
}
