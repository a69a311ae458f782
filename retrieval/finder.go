package retrieval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"kgent/retrieval/kernel"
)

// Finder searches kernels by their facts: it puts what a kernel has into the index when it is
// first asked about. It is safe for concurrent use.
type Finder struct {
	index   Index
	options Options
	more    []Document

	lock   sync.Mutex // held while something is put in
	common bool
}

// NewFinder makes a Finder. More documents, such as recipes, are the same for all kernels.
func NewFinder(index Index, more []Document, options Options) *Finder {
	return &Finder{index: index, options: options, more: more}
}

// Prepare puts a kernel in, unless it is there. It takes up to a minute for the first one.
func (f *Finder) Prepare(ctx context.Context, facts *kernel.Facts) error {
	if err := f.prepareCommon(ctx); err != nil {
		return err
	}
	f.lock.Lock()
	defer f.lock.Unlock()
	return AddKernel(ctx, f.index, facts, f.options)
}

func (f *Finder) prepareCommon(ctx context.Context) error {
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.common {
		return nil
	}
	if err := AddCommon(ctx, f.index, f.more, f.options); err != nil {
		return err
	}
	f.common = true
	return nil
}

// Search finds what a kernel has. The query's Kernel is set to it.
func (f *Finder) Search(ctx context.Context, facts *kernel.Facts, q Query) ([]Hit, error) {
	if err := f.Prepare(ctx, facts); err != nil {
		return nil, err
	}
	q.Kernel = facts.Hash()
	return f.index.Search(ctx, q)
}

// Hooks finds n places of a kernel that may fit a request, best first, of the kinds of which
// its facts know the arguments: tracepoints, raw tracepoints and functions. What the kernel
// cannot attach to is left out. A tracepoint that can be had with and without a record
// is two places, a system call is its entry and its exit.
func (f *Finder) Hooks(ctx context.Context, facts *kernel.Facts, text string, n int) ([]kernel.Hook, error) {
	hits, err := f.Search(ctx, facts, Query{Text: text, Kinds: []Kind{Hook}, Limit: min(max(2*n, 1), MaxLimit)})
	if errors.Is(err, ErrEmpty) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var hooks []kernel.Hook
	for _, h := range hits {
		for _, p := range Attachable(facts, h.Places) {
			signature, err := Signature(facts, p)
			if err != nil {
				return nil, fmt.Errorf("describing %s %s: %w", p.Kind, p.Target, err)
			}
			if signature == "" || slices.ContainsFunc(hooks, func(k kernel.Hook) bool { return k.Kind == p.Kind && k.Target == p.Target }) {
				continue
			}
			if hooks = append(hooks, kernel.Hook{Kind: p.Kind, Target: p.Target, Signature: signature, Score: h.Score}); len(hooks) == n {
				return hooks, nil
			}
		}
	}
	return hooks, nil
}

// Recipes are the names of the n recipes that come nearest to a request, best first.
func (f *Finder) Recipes(ctx context.Context, text string, n int) ([]string, error) {
	if err := f.prepareCommon(ctx); err != nil {
		return nil, err
	}
	hits, err := f.index.Search(ctx, Query{Text: text, Kinds: []Kind{Recipe}, Limit: min(max(n, 1), MaxLimit)})
	if errors.Is(err, ErrEmpty) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, h := range hits {
		names = append(names, h.Name)
	}
	return names, nil
}

// Attachable are the places that a kernel can attach to, as far as it is known here; of two kinds
// for the same the better.
func Attachable(facts *kernel.Facts, places []Place) []Place {
	better := map[string]string{kernel.KindRawTracepoint: kernel.KindTPBTF, kernel.KindKprobe: kernel.KindFentry}
	var list []Place
	for _, p := range places {
		if p.Target != "" { // which interface, which cgroup: that is for the request to say
			if err := facts.CheckHook(p.Kind, p.Target); err != nil && !errors.Is(err, kernel.ErrOnNode) {
				continue
			}
		}
		if slices.ContainsFunc(list, func(q Place) bool {
			return q.Target == p.Target && q.Kind == better[p.Kind] || q.Kind == kernel.KindLSM && p.Kind != kernel.KindLSM
		}) {
			continue
		}
		list = append(list, p)
	}
	return list
}

// Signature is what a program sees at a place, by the kernel's facts; empty for the kinds of
// which they do not know it.
func Signature(facts *kernel.Facts, p Place) (string, error) {
	switch p.Kind {
	case kernel.KindTracepoint:
		category, name, _ := strings.Cut(p.Target, ":")
		t, err := facts.Tracepoint(category, name)
		if err != nil {
			return "", err
		}
		return t.Signature(), nil
	case kernel.KindTPBTF, kernel.KindRawTracepoint:
		t, err := facts.RawTracepoint(p.Target)
		if err != nil {
			return "", err
		}
		return t.Signature(), nil
	case kernel.KindFentry, kernel.KindFexit, kernel.KindKprobe, kernel.KindKretprobe:
		fn, err := facts.Function(p.Target)
		if err != nil {
			return "", err
		}
		return fn.Signature(), nil
	}
	return "", nil
}
