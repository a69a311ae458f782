package eval_test

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kgent/agent/eval"
	"kgent/agent/recipes"
)

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

// plain is a sentence without what does not tell it from another.
func plain(s string) string {
	return strings.Trim(notWord.ReplaceAllString(strings.ToLower(s), " "), " ")
}

// A request that is in an index or a prompt, or that something was tuned to,
// measures nothing.
func TestRequestsAreUnseen(t *testing.T) {
	cases, err := eval.Cases()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range library.Recipes() {
		for _, p := range append([]string{r.Title}, r.Phrasings...) {
			seen[plain(p)] = "recipe " + r.Name
		}
	}
	// Every labelled set, prompt and example in the project, wherever it is.
	files := 0
	for _, root := range []string{"..", "../../retrieval"} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && path == filepath.Join("..", "eval") {
				return filepath.SkipDir
			}
			switch filepath.Ext(path) {
			case ".tsv", ".md", ".yaml", ".txt":
			default:
				return nil
			}
			files++
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			sc := bufio.NewScanner(f)
			sc.Buffer(nil, 1<<20)
			for sc.Scan() {
				for _, part := range strings.Split(sc.Text(), "\t") {
					if p := plain(part); len(p) > 12 {
						seen[p] = path
					}
				}
			}
			return sc.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 30 {
		t.Fatalf("%d files were compared, there must be more", files)
	}
	own := map[string]string{}
	for _, c := range cases {
		for _, r := range c.Requests {
			p := plain(r)
			if where := seen[p]; where != "" {
				t.Errorf("case %s: %q is known from %s", c.Name, r, where)
			}
			if other := own[p]; other != "" {
				t.Errorf("cases %s and %s ask the same: %q", c.Name, other, r)
			}
			own[p] = c.Name
		}
	}
}

// The refusals, and enough of everything.
func TestCases(t *testing.T) {
	cases, err := eval.Cases()
	if err != nil {
		t.Fatal(err)
	}
	light := 0
	for _, c := range cases {
		if c.Light {
			light++
		}
	}
	if light < 2 || light > 4 {
		t.Errorf("%d cases are light, want two to four", light)
	}
}
