package retrieval_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"kgent/retrieval"
)

func TestTune(t *testing.T) {
	facts := hostFacts(t)
	m := model(t)
	ix, err := retrieval.Open(retrieval.Options{Embedder: m})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	options := retrieval.Options{Embedder: m, Cache: os.Getenv("CACHE")}
	if err := retrieval.AddCommon(t.Context(), ix, recipeDocuments(t), options); err != nil {
		t.Fatal(err)
	}
	t.Log("common", time.Since(start))
	if err := retrieval.AddKernel(t.Context(), ix, facts, options); err != nil {
		t.Fatal(err)
	}
	t.Log("added", time.Since(start), ix.Size())
	for _, file := range strings.Fields(os.Getenv("SETS")) {
		set := labelledSet(t, file)
		for _, kind := range []retrieval.Kind{retrieval.Recipe, retrieval.Hook, retrieval.Helper, retrieval.Type} {
			list := wants(set, kind)
			start := time.Now()
			share, missed := recall(t, ix, facts.Hash(), list, 5)
			t.Logf("%s %s: recall@5 %.3f of %d, %v each", file, kind, share, len(list), time.Since(start)/time.Duration(max(1, len(list))))
			if os.Getenv("SHOW") != "" {
				for _, m := range missed {
					t.Log(m)
				}
			}
		}
	}
}
