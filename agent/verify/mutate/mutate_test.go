package mutate_test

import (
	"slices"
	"strings"
	"testing"

	"kgent/agent/recipes"
	"kgent/agent/verify/mutate"
)

func library(t testing.TB) []*recipes.Recipe {
	t.Helper()
	l, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	return l.Recipes()
}

// TestRecipes holds that every recipe has many mutants, all different, the same
// in every run, each with one line changed or more but no line moved.
func TestRecipes(t *testing.T) {
	total := map[string]int{}
	for _, r := range library(t) {
		src := string(r.Source)
		ms := mutate.Mutants(src)
		if len(ms) < 20 {
			t.Errorf("%s: %d mutants, want at least 20", r.Name, len(ms))
		}
		if again := mutate.Mutants(src); !slices.Equal(ms, again) {
			t.Errorf("%s: a second run gives other mutants", r.Name)
		}
		sources, lines := map[string]bool{}, strings.Split(src, "\n")
		for _, m := range ms {
			total[m.Operator]++
			if m.Source == src || sources[m.Source] {
				t.Errorf("%s: %v is no new program", r.Name, m)
			}
			sources[m.Source] = true
			if got := strings.Split(m.Source, "\n"); len(got) != len(lines) || m.Line < 1 || m.Line > len(lines) || got[m.Line-1] == lines[m.Line-1] {
				t.Errorf("%s: %v: line %d is the same, or %d lines became %d", r.Name, m, m.Line, len(lines), len(got))
			}
			if m.Before == m.After {
				t.Errorf("%s: %v: before and after look alike", r.Name, m)
			}
		}
		t.Logf("%-24s %4d mutants", r.Name, len(ms))
	}
	for _, o := range mutate.Operators() {
		if o.Level == mutate.Source {
			t.Logf("%-16s %4d", o.Name, total[o.Name])
		}
	}
}
