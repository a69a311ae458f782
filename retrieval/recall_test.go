package retrieval_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kgent/retrieval"
)

// hostIndex is an index of this kernel and the recipes.
func hostIndex(t testing.TB, options retrieval.Options) (ix *retrieval.Memory, kernel string) {
	t.Helper()
	facts := hostFacts(t)
	ix, err := retrieval.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := retrieval.AddCommon(t.Context(), ix, recipeDocuments(t), options); err != nil {
		t.Fatal(err)
	}
	if err := retrieval.AddKernel(t.Context(), ix, facts, options); err != nil {
		t.Fatal(err)
	}
	return ix, facts.Hash()
}

var kindsOfRequests = []retrieval.Kind{retrieval.Recipe, retrieval.Hook, retrieval.Helper, retrieval.Type}

// Each label is of something that there is: else a request would count as missed that
// nothing could find, or a slip in a label would go unnoticed.
func TestLabels(t *testing.T) {
	facts := hostFacts(t)
	docs, err := retrieval.FromKernel(t.Context(), facts)
	if err != nil {
		t.Fatal(err)
	}
	common, err := retrieval.Common()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, d := range append(append(docs, common...), recipeDocuments(t)...) {
		known[string(d.Kind)+" "+d.Name] = true
	}
	total := 0
	for _, file := range []string{"tuned.yaml", "untouched.yaml"} {
		set := labelledSet(t, file)
		total += len(set)
		for _, kind := range kindsOfRequests {
			for _, w := range wants(set, kind) {
				ok := false
				for _, name := range w.names {
					for _, k := range w.kinds {
						ok = ok || known[string(k)+" "+name]
					}
				}
				if !ok {
					t.Errorf("%s: %q wants %s, of which this kernel has none", file, w.ask, strings.Join(w.names, "|"))
				}
			}
		}
	}
	if total < 250 {
		t.Errorf("there are %d requests, want 250", total)
	}
}

// What is found on the requests for tuning, by words alone: this needs no model, so it is what
// every machine gets at least.
func TestRecallByWords(t *testing.T) {
	ix, kernel := hostIndex(t, retrieval.Options{})
	set := labelledSet(t, "tuned.yaml")
	for kind, least := range map[retrieval.Kind]float64{retrieval.Recipe: 0.95, retrieval.Hook: 0.85, retrieval.Helper: 0.85} {
		share, missed := recall(t, ix, kernel, wants(set, kind), 5)
		t.Logf("%s: recall@5 %.3f", kind, share)
		if share < least {
			t.Errorf("%s: recall@5 is %.3f, want %.2f; missed:\n%s", kind, share, least, strings.Join(missed, "\n"))
		}
	}
}

// TestAblation prints what each part is worth, on both sets: make retrieval.
func TestAblation(t *testing.T) {
	if os.Getenv("KGENT_ABLATION") == "" {
		t.Skip("make retrieval runs this")
	}
	m := model(t)
	if m == nil {
		t.Fatal("this needs the embedding model: make embeddings")
	}
	cache := t.TempDir()
	rows := []struct {
		name string
		retrieval.Options
	}{
		{"lexical only", retrieval.Options{Cache: cache}},
		{"vector only", retrieval.Options{Embedder: m, Cache: cache, Weights: retrieval.Weights{Vector: 1}}},
		{"both", retrieval.Options{Embedder: m, Cache: cache}},
	}
	files := []string{"tuned.yaml", "untouched.yaml", "dev.tsv", "heldout.tsv"}
	var table strings.Builder
	fmt.Fprintf(&table, "%-14s %-16s %-8s %5s %9s %9s %10s\n", "search", "requests", "kind", "n", "recall@1", "recall@5", "mean time")
	for _, row := range rows {
		ix, kernel := hostIndex(t, row.Options)
		for _, file := range files {
			set := labelledSet(t, file)
			for _, kind := range kindsOfRequests {
				list := wants(set, kind)
				if len(list) == 0 {
					continue
				}
				first, _ := recall(t, ix, kernel, list, 1)
				start := time.Now()
				five, missed := recall(t, ix, kernel, list, 5)
				fmt.Fprintf(&table, "%-14s %-16s %-8s %5d %9.3f %9.3f %10v\n", row.name, file, kind, len(list), first, five, (time.Since(start) / time.Duration(len(list))).Round(time.Microsecond))
				if row.name == "both" && file == os.Getenv("KGENT_MISSED") {
					t.Logf("missed:\n%s", strings.Join(missed, "\n"))
				}
			}
		}
	}
	t.Logf("\n%s", table.String())
}
