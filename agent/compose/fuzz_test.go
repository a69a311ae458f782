package compose

import (
	"context"
	"errors"
	"testing"
	"unicode/utf8"

	"kgent/agent/recipes"
)

// Whatever is said ends in a contract that holds water or in a "no".
func FuzzCompose(f *testing.F) {
	for _, r := range requests(f, "dev.tsv") {
		f.Add(r.text)
	}
	f.Add(`count mmap by "a\" || true || \"" not "x", top 5`)
	c := host(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 400 || !utf8.ValidString(text) {
			return
		}
		got, err := c.Continue(context.Background(), nil, nil, text)
		var no *NoError
		switch {
		case errors.As(err, &no), errors.Is(err, recipes.ErrEmpty), errors.Is(err, recipes.ErrNotText):
		case err != nil:
			t.Fatal(err)
		default:
			if err := c.check(got.Contract); err != nil {
				t.Fatal(err)
			}
			next, err := c.Refine(context.Background(), got, text)
			if err == nil {
				err = c.check(next.Contract)
			}
			if err != nil && !errors.As(err, &no) {
				t.Fatal(err)
			}
		}
	})
}
