package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/recipes"
	"kgent/retrieval/kernel"
)

// HookFinder finds places of a kernel that may fit a request, the best first, at most n: what a
// model is shown. What is found need not be all there is.
type HookFinder interface {
	Hooks(ctx context.Context, facts *kernel.Facts, text string, n int) ([]kernel.Hook, error)
}

// RecipeFinder is a [HookFinder] that also names the recipes nearest to a request, best first: a
// model is shown their programs as examples.
type RecipeFinder interface {
	Recipes(ctx context.Context, text string, n int) ([]string, error)
}

// examples are the recipes nearest to a request: those that were found, then those that the
// matcher named.
func (a *Agent) examples(ctx context.Context, req Request, matched []*recipes.Recipe) ([]*recipes.Recipe, error) {
	finder, ok := a.finder().(RecipeFinder)
	if !ok {
		return matched, nil
	}
	names, err := finder.Recipes(ctx, said(req), examplesInPrompt)
	if err != nil {
		return nil, fmt.Errorf("searching recipes: %w", err)
	}
	var list []*recipes.Recipe
	for _, name := range names {
		if r, ok := a.Recipes.Lookup(name); ok {
			list = append(list, r)
		}
	}
	for _, r := range matched {
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list, nil
}

// said is all that a conversation asks for.
func said(req Request) string { return strings.Join(append(slices.Clip(req.Before), req.Text), " ") }

// namesOnly is the finder of an agent that has none: it compares words with the names of hooks.
type namesOnly struct{}

func (namesOnly) Hooks(_ context.Context, facts *kernel.Facts, text string, n int) ([]kernel.Hook, error) {
	return facts.SearchHooks(text, n)
}

func (a *Agent) finder() HookFinder {
	if a.Finder != nil {
		return a.Finder
	}
	return namesOnly{}
}
