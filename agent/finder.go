package agent

import (
	"context"

	"kgent/retrieval/kernel"
)

// HookFinder finds places of a kernel that may fit a request, the best first, at most n: what a
// model is shown. What is found need not be all there is.
type HookFinder interface {
	Hooks(ctx context.Context, facts *kernel.Facts, text string, n int) ([]kernel.Hook, error)
}

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
