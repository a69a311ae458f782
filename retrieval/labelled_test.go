package retrieval_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"

	"kgent/retrieval"
	"kgent/retrieval/embed"
	"kgent/retrieval/kernel"
)

// labelled is a request and what answers it.
type labelled struct {
	Ask     string
	Recipe  string
	Hooks   []string
	Helpers []string
	Types   []string
}

func labelledSet(t testing.TB, file string) []labelled {
	t.Helper()
	var list []labelled
	if strings.HasSuffix(file, ".tsv") {
		// What the recipes' own matcher is held to; "no" and what follows are not asked here.
		data, err := os.ReadFile(filepath.Join("../agent/recipes/testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) >= 2 && f[1] != "no" && !strings.HasPrefix(line, "#") {
				list = append(list, labelled{Ask: f[0], Recipe: f[1]})
			}
		}
		return list
	}
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalWithOptions(data, &list, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return list
}

// want is one thing that must be found: any of its names.
type want struct {
	ask   string
	kinds []retrieval.Kind
	names []string
}

func wants(list []labelled, kind retrieval.Kind) (out []want) {
	for _, l := range list {
		var groups []string
		kinds := []retrieval.Kind{kind}
		switch kind {
		case retrieval.Recipe:
			if l.Recipe != "" {
				groups = []string{l.Recipe}
			}
		case retrieval.Hook:
			groups = l.Hooks
		case retrieval.Helper:
			groups, kinds = l.Helpers, []retrieval.Kind{retrieval.Helper, retrieval.Kfunc}
		case retrieval.Type:
			groups = l.Types
		}
		for _, g := range groups {
			out = append(out, want{l.Ask, kinds, strings.Split(g, "|")})
		}
	}
	return out
}

var section = regexp.MustCompile(`SEC\("([^".]+)"\)`)

// placeOf is the place that a section's name says.
func placeOf(section string) retrieval.Place {
	kind, target, _ := strings.Cut(section, "/")
	switch kind {
	case "tracepoint", "tp":
		return retrieval.Place{Kind: "tracepoint", Target: strings.Replace(target, "/", ":", 1)}
	case "tcx", "cgroup_skb":
		return retrieval.Place{Kind: section}
	case "perf_event":
		return retrieval.Place{Kind: kind, Target: "cpu-clock"}
	}
	return retrieval.Place{Kind: kind, Target: target}
}

// recipeDocuments are kgent's recipes. They are read as files: this package knows nothing of
// package recipes.
func recipeDocuments(t testing.TB) []retrieval.Document {
	t.Helper()
	files, err := filepath.Glob("../agent/recipes/*/recipe.yaml")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	var docs []retrieval.Document
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r struct {
			Name, Title, Description string
			Phrasings                []string
		}
		if err := yaml.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(filepath.Join(filepath.Dir(file), "program.bpf.c"))
		if err != nil {
			t.Fatal(err)
		}
		var uses []retrieval.Place
		for _, m := range section.FindAllSubmatch(source, -1) {
			uses = append(uses, placeOf(string(m[1])))
		}
		docs = append(docs, retrieval.RecipeDocument(r.Name, r.Title, r.Description, r.Phrasings, uses))
	}
	return docs
}

// host is this machine's kernel, read once.
var host = sync.OnceValues(func() (*kernel.Facts, error) {
	if err := kernel.EnsureMounts(context.Background()); err != nil {
		return nil, err
	}
	return kernel.Live(context.Background())
})

func hostFacts(t testing.TB) *kernel.Facts {
	t.Helper()
	facts, err := host()
	if errors.Is(err, kernel.ErrNoBTF) || errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// model is the embedding model, nil where `make embeddings` has not run.
func model(t testing.TB) embed.Embedder {
	t.Helper()
	path := os.Getenv("KGENT_EMBEDDINGS")
	if path == "" {
		path = filepath.Join("..", "bin", embed.FileName)
	}
	m, err := embed.Load(path)
	if errors.Is(err, embed.ErrNoModel) {
		t.Logf("searching by words only: %v", err)
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// recall is the share of what is wanted that is among the first k hits, and what is not.
func recall(t testing.TB, ix retrieval.Index, kernel string, list []want, k int) (share float64, missed []string) {
	t.Helper()
	found := 0
	for _, w := range list {
		hits, err := ix.Search(context.Background(), retrieval.Query{Text: w.ask, Kinds: w.kinds, Kernel: kernel, Limit: k})
		if err != nil {
			t.Fatalf("%q: %v", w.ask, err)
		}
		if slices.ContainsFunc(hits, func(h retrieval.Hit) bool { return slices.Contains(w.names, h.Name) }) {
			found++
			continue
		}
		var got []string
		for _, h := range hits[:min(3, len(hits))] {
			got = append(got, fmt.Sprintf("%s %.2f (%.2f %.2f)", h.Name, h.Score, h.Lexical, h.Vector))
		}
		missed = append(missed, fmt.Sprintf("%q: want %s, got %s", w.ask, strings.Join(w.names, "|"), strings.Join(got, ", ")))
	}
	return float64(found) / float64(max(1, len(list))), missed
}
