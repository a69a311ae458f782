package corpus_test

import (
	"slices"
	"testing"

	"kgent/agent/verify/corpus"
)

// TestClasses holds that every class that a proof is to catch has a wrong and a
// right program, and that every case is of a class.
func TestClasses(t *testing.T) {
	var names []string
	for _, c := range cases(t) {
		names = append(names, c.Name)
	}
	seen := map[string]bool{}
	pairs := 0
	for _, c := range corpus.Classes {
		if (c.By == corpus.Proof) != (len(c.Cases) > 0) {
			t.Errorf("%s: caught by %s, with %d cases", c.Mistake, c.By, len(c.Cases))
		}
		if c.By == corpus.Proof {
			pairs++
		}
		for _, name := range c.Cases {
			if !slices.Contains(names, name) {
				t.Errorf("%s: there is no case %s", c.Mistake, name)
			}
			seen[name] = true
		}
	}
	for _, name := range names {
		if !seen[name] {
			t.Errorf("the case %s is of no class", name)
		}
	}
	t.Logf("%d classes, %d of them for the proof, with %d cases", len(corpus.Classes), pairs, len(names))
}
