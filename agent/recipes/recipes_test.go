package recipes

import (
	"io/fs"
	"path"
	"testing"
	"testing/fstest"
)

// library loads the built-in recipes. Folders that have no program yet get an
// empty one, since matching needs none; TestDefault holds the real thing.
func library(t testing.TB) *Library {
	t.Helper()
	l, err := Load(withPrograms(t))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func withPrograms(t testing.TB) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	err := fs.WalkDir(embedded, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(embedded, name)
		out[name] = &fstest.MapFile{Data: data}
		if program := path.Join(path.Dir(name), "program.bpf.c"); path.Base(name) == "recipe.yaml" && out[program] == nil {
			out[program] = &fstest.MapFile{}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPhrasings(t *testing.T) {
	l := library(t)
	for _, r := range l.Recipes() {
		for _, p := range r.Phrasings {
			m, err := l.Match(p, MatchOptions{UserID: testUser})
			switch {
			case err != nil:
				t.Errorf("%s: %q: %v", r.Name, p, err)
			case m.Recipe != r:
				t.Errorf("%s: %q: got %s", r.Name, p, m.Recipe.Name)
			}
		}
	}
}
